//! Migration and the log of written memory.

use super::*;

fn feature(flags: u32, data: &[u8]) -> Vec<u8> {
    let head = DeviceFeature { argsz: 4096, flags };
    [head.as_bytes(), data].concat()
}

#[test]
fn a_state_moves_from_one_function_to_another() {
    let (from, to) = (Dialogue::new(), Dialogue::new());
    let get = |dialogue: &Dialogue, index| {
        let reply = dialogue
            .ask(
                Command::DeviceFeature,
                &feature(DeviceFeature::GET | index, &[]),
                &[],
            )
            .unwrap();
        let (head, data) = reply.read_prefix::<DeviceFeature>().unwrap();
        assert_eq!(head.argsz as usize, reply.payload.len());
        data.to_vec()
    };
    let set = |dialogue: &Dialogue, state: u32| {
        let state = MigState {
            device_state: state,
            data_fd: u32::MAX,
        };
        let flags = DeviceFeature::SET | DeviceFeature::MIG_DEVICE_STATE;
        dialogue
            .ask(Command::DeviceFeature, &feature(flags, state.as_bytes()), &[])
            .map(|reply| {
                assert_eq!(
                    reply.payload,
                    feature(flags, state.as_bytes()),
                    "the reply is the request"
                );
            })
    };
    assert_eq!(
        get(&from, DeviceFeature::MIGRATION),
        Migration::STOP_COPY.to_ne_bytes()
    );
    assert_eq!(
        get(&from, DeviceFeature::MIG_DEVICE_STATE)[..4],
        MigState::RUNNING.to_ne_bytes()
    );

    let write = [access(2, 0, 1).as_bytes(), &[0x77]].concat();
    from.ask(Command::RegionWrite, &write, &[]).unwrap();
    set(&from, MigState::STOP_COPY).unwrap();
    assert!(!from.insides.lock().unwrap().running);
    assert!(
        from.ask(Command::RegionWrite, &write, &[]).is_err(),
        "its state is what it is"
    );
    set(&to, MigState::RESUMING).unwrap();
    loop {
        let asked = MigData {
            argsz: 3008,
            size: 3000,
        };
        let (head, data) = from.get::<MigData>(Command::MigDataRead, &asked).unwrap();
        assert_eq!(
            (head.size as usize, head.argsz as usize),
            (data.len(), data.len() + 8)
        );
        let piece = [
            MigData {
                argsz: 0,
                size: head.size,
            }
            .as_bytes(),
            &data,
        ]
        .concat();
        assert!(
            to.ask(Command::MigDataWrite, &piece, &[])
                .unwrap()
                .payload
                .is_empty()
        );
        if head.size < asked.size {
            break;
        }
    }
    set(&to, MigState::RUNNING).unwrap();
    assert_eq!(to.insides.lock().unwrap().bar[0], 0x77);
    assert!(to.insides.lock().unwrap().running);
    set(&from, MigState::STOP).unwrap();
    set(&from, MigState::RUNNING).unwrap();
    assert!(from.insides.lock().unwrap().running);
}

#[test]
fn migrations_that_cannot_be_are_refused() {
    let dialogue = Dialogue::new();
    let set = |state: u32| {
        let state = MigState {
            device_state: state,
            data_fd: 0,
        };
        let flags = DeviceFeature::SET | DeviceFeature::MIG_DEVICE_STATE;
        dialogue
            .ask(Command::DeviceFeature, &feature(flags, state.as_bytes()), &[])
            .map(drop)
    };
    let state = || {
        let flags = DeviceFeature::GET | DeviceFeature::MIG_DEVICE_STATE;
        let reply = dialogue
            .ask(Command::DeviceFeature, &feature(flags, &[]), &[])
            .unwrap();
        u32::from_ne_bytes(reply.payload[8..12].try_into().unwrap())
    };
    let read = MigData {
        argsz: 108,
        size: 100,
    };
    assert_eq!(dialogue.tell(Command::MigDataRead, &read), Err(EINVAL), "it runs");
    let piece = [MigData { argsz: 0, size: 4 }.as_bytes(), &[0; 4]].concat();
    assert_eq!(
        dialogue.ask(Command::MigDataWrite, &piece, &[]).unwrap_err(),
        EINVAL
    );
    for impossible in [MigState::ERROR, 5, MigState::PRE_COPY, 7, u32::MAX] {
        assert_eq!(set(impossible), Err(EINVAL));
    }
    assert_eq!(state(), MigState::RUNNING);
    set(MigState::STOP_COPY).unwrap();
    assert_eq!(
        dialogue.tell(
            Command::MigDataRead,
            &MigData {
                argsz: 107,
                size: 100
            }
        ),
        Err(EINVAL)
    );
    assert_eq!(
        dialogue.tell(
            Command::MigDataRead,
            &MigData {
                argsz: u32::MAX,
                size: u32::MAX
            }
        ),
        Err(EINVAL)
    );
    set(MigState::RESUMING).unwrap();
    let short = [MigData { argsz: 0, size: 5 }.as_bytes(), &[0; 4]].concat();
    assert_eq!(
        dialogue.ask(Command::MigDataWrite, &short, &[]).unwrap_err(),
        EINVAL
    );
    dialogue.ask(Command::MigDataWrite, &piece, &[]).unwrap();
    assert_eq!(set(MigState::RUNNING), Err(5), "four bytes are no state");
    assert_eq!(state(), MigState::ERROR);
    assert_eq!(set(MigState::RUNNING), Err(EINVAL), "only a reset helps");
    dialogue.tell(Command::DeviceReset, &()).unwrap();
    assert_eq!(state(), MigState::RUNNING);
}

#[test]
fn features_are_probed_and_others_refused() {
    const EOPNOTSUPP: u32 = 95;
    let dialogue = Dialogue::new();
    let ask = |flags| {
        dialogue
            .ask(Command::DeviceFeature, &feature(flags, &[]), &[])
            .map(drop)
    };
    let (get, set, probe) = (DeviceFeature::GET, DeviceFeature::SET, DeviceFeature::PROBE);
    let there = [
        DeviceFeature::MIGRATION | get,
        DeviceFeature::MIG_DEVICE_STATE | get | set,
        DeviceFeature::DMA_LOGGING_START | set,
        DeviceFeature::DMA_LOGGING_STOP | set,
        DeviceFeature::DMA_LOGGING_REPORT | get,
    ];
    for flags in there {
        assert_eq!(ask(probe | flags), Ok(()), "{flags:#x}");
    }
    for flags in [
        0,
        probe,
        get | 3,
        probe | get | 0xffff,
        DeviceFeature::MIGRATION,
        DeviceFeature::MIGRATION | set,
        DeviceFeature::MIG_DEVICE_STATE | get | set,
        DeviceFeature::MIGRATION | get | 1 << 20,
        probe | DeviceFeature::DMA_LOGGING_REPORT | set,
    ] {
        assert_eq!(ask(flags), Err(EOPNOTSUPP), "{flags:#x}");
    }
    let short = DeviceFeature {
        argsz: 15,
        flags: get | DeviceFeature::MIGRATION,
    };
    assert_eq!(dialogue.tell(Command::DeviceFeature, &short), Err(EINVAL));
    assert_eq!(
        dialogue.ask(Command::DeviceFeature, &[0; 7], &[]).unwrap_err(),
        EINVAL
    );
}

#[test]
fn what_the_function_writes_is_logged() {
    let dialogue = Dialogue::new();
    let file = memfd(0x10_0000);
    let map = DmaMap {
        argsz: 32,
        flags: DmaMap::READ | DmaMap::WRITE,
        offset: 0,
        address: 0x10_0000,
        size: 0x10_0000,
    };
    dialogue
        .ask(Command::DmaMap, map.as_bytes(), &[file.as_fd()])
        .unwrap();
    let write = |address| {
        let memory = dialogue.insides.lock().unwrap().memory.clone().unwrap();
        memory.write(address, &[1]).unwrap();
    };
    let report = LoggingReport {
        iova: 0x10_0000,
        length: 0x8_0000,
        page_size: 0x1000,
    };
    let get = DeviceFeature::GET | DeviceFeature::DMA_LOGGING_REPORT;
    let ask = || dialogue.ask(Command::DeviceFeature, &feature(get, report.as_bytes()), &[]);
    write(0x10_1000);
    assert_eq!(ask().unwrap_err(), 95, "nothing is logged yet");
    let control = LoggingControl {
        page_size: 0x1000,
        ..LoggingControl::new_zeroed()
    };
    let set = DeviceFeature::SET | DeviceFeature::DMA_LOGGING_START;
    let ranges = LoggingControl {
        num_ranges: 2,
        ..control
    };
    let one = LoggingRange {
        iova: 0,
        length: 0x1000,
    };
    let too_few = [ranges.as_bytes(), one.as_bytes()].concat();
    assert_eq!(
        dialogue
            .ask(Command::DeviceFeature, &feature(set, &too_few), &[])
            .unwrap_err(),
        EINVAL
    );
    dialogue
        .ask(Command::DeviceFeature, &feature(set, control.as_bytes()), &[])
        .unwrap();
    write(0x10_3000);
    write(0x17_ffff);
    write(0x18_0000);
    let bitmap = |reply: crate::socket::Message| {
        let words = reply.payload[8 + 24..].chunks(8);
        Vec::from_iter(words.map(|word| u64::from_ne_bytes(word.try_into().unwrap())))
    };
    assert_eq!(bitmap(ask().unwrap()), [1 << 3, 1 << 63]);
    assert_eq!(bitmap(ask().unwrap()), [0, 0]);
    let stop = DeviceFeature::SET | DeviceFeature::DMA_LOGGING_STOP;
    dialogue
        .ask(Command::DeviceFeature, &feature(stop, &[]), &[])
        .unwrap();
    write(0x10_3000);
    assert_eq!(ask().unwrap_err(), 95);
}

#[test]
fn a_state_without_end_is_not_taken() {
    const PIECE: usize = 1 << 20;
    let dialogue = Dialogue::new();
    let state = MigState {
        device_state: MigState::RESUMING,
        data_fd: 0,
    };
    let flags = DeviceFeature::SET | DeviceFeature::MIG_DEVICE_STATE;
    dialogue
        .ask(Command::DeviceFeature, &feature(flags, state.as_bytes()), &[])
        .unwrap();
    let head = MigData {
        argsz: (size_of::<MigData>() + PIECE) as u32,
        size: PIECE as u32,
    };
    let piece = [head.as_bytes(), &vec![0; PIECE]].concat();
    let taken = (0..100).take_while(|_| dialogue.ask(Command::MigDataWrite, &piece, &[]).is_ok());
    assert_eq!(taken.count(), 64);
}
