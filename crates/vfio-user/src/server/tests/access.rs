//! Accesses to regions, and the memory that the function is given.

use super::*;

#[test]
fn regions_are_read_and_written() {
    let dialogue = Dialogue::new();
    let write = [access(2, 0x3ffc, 4).as_bytes(), &[1, 2, 3, 4]].concat();
    let reply = dialogue.ask(Command::RegionWrite, &write, &[]).unwrap();
    assert_eq!(reply.read(), Some(access(2, 0x3ffc, 4)));
    let read = access(2, 0x3ff8, 8);
    let (head, data) = dialogue.get::<RegionAccess>(Command::RegionRead, &read).unwrap();
    assert_eq!(
        (head, data.as_slice()),
        (read, [0, 0, 0, 0, 1, 2, 3, 4].as_slice())
    );
    let write = [access(RegionInfo::CONFIG, 4, 2).as_bytes(), &[6, 1]].concat();
    dialogue.ask(Command::RegionWrite, &write, &[]).unwrap();
    assert_eq!(dialogue.insides.lock().unwrap().config[4..6], [6, 1]);
    let (_, all) = dialogue
        .get::<RegionAccess>(Command::RegionRead, &access(RegionInfo::CONFIG, 0, 256))
        .unwrap();
    assert_eq!((all.len(), all[4]), (256, 6));

    for outside in [
        access(2, BAR_SIZE, 1),
        access(2, BAR_SIZE - 1, 2),
        access(2, u64::MAX, 1),
        access(2, 0, u32::MAX),
        access(0, 0, 1),
        access(8, 0, 1),
        access(u32::MAX, 0, 1),
        access(RegionInfo::CONFIG, 0, 257),
    ] {
        assert_eq!(
            dialogue.tell(Command::RegionRead, &outside),
            Err(EINVAL),
            "{outside:?}"
        );
        let mut write = outside.as_bytes().to_vec();
        write.resize(16 + (outside.count.min(300)) as usize, 0);
        assert_eq!(
            dialogue.ask(Command::RegionWrite, &write, &[]).unwrap_err(),
            EINVAL,
            "{outside:?}"
        );
    }
    for (count, length) in [(4, 3), (4, 5), (0, 1)] {
        let mut write = access(2, 0, count).as_bytes().to_vec();
        write.resize(16 + length, 0);
        assert_eq!(
            dialogue.ask(Command::RegionWrite, &write, &[]).unwrap_err(),
            EINVAL
        );
    }
}

#[test]
fn several_writes_are_done_in_order() {
    let dialogue = Dialogue::new();
    let one = |offset, count, value: u64| OneWrite {
        offset,
        region: 2,
        count,
        data: value.to_ne_bytes(),
    };
    let multi = |count: u64, writes: &[OneWrite]| {
        let head = WriteMulti { wr_cnt: count };
        dialogue.ask(
            Command::RegionWriteMulti,
            &[head.as_bytes(), writes.as_bytes()].concat(),
            &[],
        )
    };
    let reply = multi(3, &[one(0, 8, u64::MAX), one(2, 1, 0), one(0x100, 4, 5)]).unwrap();
    assert_eq!(reply.read::<u64>(), Some(3));
    let bar = |range: std::ops::Range<usize>| dialogue.insides.lock().unwrap().bar[range].to_vec();
    assert_eq!(bar(0..8), [255, 255, 0, 255, 255, 255, 255, 255]);
    assert_eq!(bar(0x100..0x104), 5u32.to_ne_bytes());
    // What comes before a write that cannot be done is done.
    assert_eq!(
        multi(2, &[one(0x200, 1, 9), one(0x200, 9, 1)]).unwrap_err(),
        EINVAL
    );
    assert_eq!(bar(0x200..0x201), [9]);
    for (count, writes) in [(0, 1), (2, 1), (u64::MAX, 1), (1 << 61, 0)] {
        assert_eq!(multi(count, &vec![one(0, 1, 1); writes]).unwrap_err(), EINVAL);
    }
}

#[test]
fn memory_is_given_to_the_function_and_taken_away() {
    let dialogue = Dialogue::new();
    let file = memfd(0x2000);
    let map = DmaMap {
        argsz: 32,
        flags: DmaMap::READ | DmaMap::WRITE,
        offset: 0x1000,
        address: 0x4000_0000,
        size: 0x1000,
    };
    let memory = || dialogue.insides.lock().unwrap().memory.clone().unwrap();
    assert!(
        dialogue
            .ask(Command::DmaMap, map.as_bytes(), &[file.as_fd()])
            .unwrap()
            .payload
            .is_empty()
    );
    memory().write(0x4000_0000, b"dma").unwrap();
    let mut found = [0; 3];
    rustix::io::pread(&file, &mut found, 0x1000).unwrap();
    assert_eq!(&found, b"dma");
    assert_eq!(
        dialogue
            .ask(Command::DmaMap, map.as_bytes(), &[file.as_fd()])
            .unwrap_err(),
        17
    );
    // Two descriptors are one too many.
    let other = DmaMap { address: 0, ..map };
    let two = [file.as_fd(), file.as_fd()];
    assert_eq!(
        dialogue.ask(Command::DmaMap, other.as_bytes(), &two).unwrap_err(),
        EINVAL
    );
    let unmap = DmaUnmap {
        argsz: 24,
        flags: 0,
        address: 0x4000_0000,
        size: 0x1000,
    };
    let (echo, _) = dialogue.get::<DmaUnmap>(Command::DmaUnmap, &unmap).unwrap();
    assert_eq!(echo, unmap);
    assert!(memory().regions().is_empty());
    assert_eq!(dialogue.tell(Command::DmaUnmap, &unmap), Err(2));
}
