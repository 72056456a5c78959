use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ringwright_memory::{Access, Mapping, Region, Segment, Window};

use super::*;

/// Longer than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// A ring, or `None` on a machine that has none, which is said.
fn ring(depth: u16, file: &impl AsFd) -> Option<Ring> {
    match Ring::new(depth, file.as_fd()) {
        Ok(ring) => Some(ring),
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "CI has io_uring: {error}");
            eprintln!("not tested, this machine gives no io_uring: {error}");
            None
        }
    }
}

fn memory(length: usize) -> Arc<Memory> {
    let mapping = Arc::new(Mapping::anonymous(length).unwrap());
    Arc::new(Memory::new(vec![Region::new(0, mapping)]).unwrap())
}

/// Calls `with` with a view of the bytes from `address` on, in pieces of `piece` bytes.
fn view<R>(
    memory: &Memory,
    address: u64,
    length: usize,
    piece: usize,
    with: impl FnOnce(Slices<'_>) -> R,
) -> R {
    let mut segments: Vec<Segment> = Vec::new();
    for start in (0..length).step_by(piece) {
        let piece = piece.min(length - start) as u32;
        memory
            .resolve(
                &mut Window::new(),
                address + start as u64,
                piece,
                Access::Write,
                &mut segments,
            )
            .unwrap();
    }
    // SAFETY: the segments are of the memory, which is borrowed for longer than the view lives.
    with(unsafe { Slices::new(&segments) })
}

fn finish(ring: &mut Ring, count: usize) -> Vec<(u16, io::Result<()>)> {
    ring.submit().unwrap();
    let mut done = Vec::new();
    while done.len() < count {
        match ring.completed() {
            Some(completed) => done.push(completed),
            None => ring.wait().unwrap(),
        }
    }
    assert!(ring.completed().is_none());
    done
}

#[test]
fn many_transfers_at_once_each_go_to_their_place() {
    const BLOCK: usize = 4096;
    let file = tempfile::tempfile().unwrap();
    let Some(mut ring) = ring(64, &file) else { return };
    let memory = memory(64 * BLOCK);
    for tag in 0..64u16 {
        let at = usize::from(tag) * BLOCK;
        memory.write(at as u64, &[tag as u8 + 1; BLOCK]).unwrap();
        // In reverse order in the file.
        let offset = (63 * BLOCK - at) as u64;
        view(&memory, at as u64, BLOCK, 1000, |from| {
            ring.write(tag, offset, from, tag % 2 == 0, &memory).unwrap();
        });
    }
    let mut tags: Vec<u16> = finish(&mut ring, 64)
        .into_iter()
        .map(|(tag, result)| {
            result.unwrap();
            tag
        })
        .collect();
    tags.sort_unstable();
    assert!(tags.into_iter().eq(0..64));
    let mut content = vec![0; 64 * BLOCK];
    file.read_exact_at(&mut content, 0).unwrap();
    for (index, block) in content.chunks(BLOCK).enumerate() {
        assert!(block.iter().all(|byte| *byte == 64 - index as u8));
    }

    ring.sync(7).unwrap();
    ring.allocate(
        9,
        FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        0,
        BLOCK as u64,
    )
    .unwrap();
    for (_, result) in finish(&mut ring, 2) {
        result.unwrap();
    }
    view(&memory, 0, 2 * BLOCK, BLOCK, |into| {
        ring.read(0, 0, into, &memory).unwrap()
    });
    finish(&mut ring, 1).remove(0).1.unwrap();
    let mut read = vec![0xff; 2 * BLOCK];
    memory.read(0, &mut read).unwrap();
    assert!(read[..BLOCK].iter().all(|byte| *byte == 0));
    assert!(read[BLOCK..].iter().all(|byte| *byte == 63));
}

#[test]
fn more_segments_than_one_system_call_takes() {
    const LENGTH: usize = 2500 * 16;
    let file = tempfile::tempfile().unwrap();
    let Some(mut ring) = ring(1, &file) else { return };
    let memory = memory(2 * 65536);
    let bytes: Vec<u8> = (0..LENGTH).map(|index| (index % 251) as u8).collect();
    memory.write(0, &bytes).unwrap();
    view(&memory, 0, LENGTH, 16, |from| {
        ring.write(0, 5, from, false, &memory).unwrap()
    });
    finish(&mut ring, 1).remove(0).1.unwrap();
    view(&memory, 65536, LENGTH, 16, |into| {
        ring.read(0, 5, into, &memory).unwrap()
    });
    finish(&mut ring, 1).remove(0).1.unwrap();
    let mut read = vec![0; LENGTH];
    memory.read(65536, &mut read).unwrap();
    assert!(read == bytes);
}

#[test]
fn what_cannot_be_is_refused_or_fails() {
    let file = tempfile::tempfile().unwrap();
    file.write_all_at(&[1; 1000], 0).unwrap();
    let Some(mut ring) = ring(2, &file) else { return };
    let (memory, other) = (memory(4096), memory(4096));
    let kind = |result: io::Result<()>| result.unwrap_err().kind();
    view(&memory, 0, 2000, 4096, |into| {
        assert_eq!(kind(ring.read(2, 0, into, &memory)), io::ErrorKind::InvalidInput);
        assert_eq!(kind(ring.read(0, 0, into, &other)), io::ErrorKind::InvalidInput);
        let no_writing = ring.read(0, 0, into.read_only(), &memory);
        assert_eq!(kind(no_writing), io::ErrorKind::PermissionDenied);
        // The file ends before.
        ring.read(0, 0, into, &memory).unwrap();
        assert_eq!(kind(ring.sync(0)), io::ErrorKind::InvalidInput);
    });
    let (tag, result) = finish(&mut ring, 1).remove(0);
    assert_eq!((tag, kind(result)), (0, io::ErrorKind::UnexpectedEof));

    let read_only = File::open("/proc/self/exe").unwrap();
    let mut ring = self::ring(2, &read_only).unwrap();
    view(&memory, 0, 512, 4096, |from| {
        ring.write(1, 0, from, false, &memory).unwrap()
    });
    let (tag, result) = finish(&mut ring, 1).remove(0);
    assert_eq!(tag, 1);
    assert_eq!(
        result.unwrap_err().raw_os_error(),
        Some(Errno::BADF.raw_os_error())
    );
}

#[test]
fn a_ring_that_is_dropped_waits_for_what_the_kernel_still_writes() {
    let (reader, mut writer) = io::pipe().unwrap();
    let Some(mut ring) = ring(1, &reader) else { return };
    let memory = memory(4096);
    view(&memory, 0, 6, 4096, |into| {
        ring.read(0, 0, into, &memory).unwrap()
    });
    ring.submit().unwrap();
    assert!(ring.completed().is_none());
    let (dropped, drop_seen) = channel();
    let held = memory.clone();
    let thread = thread::spawn(move || {
        drop(ring);
        let mut bytes = [0; 6];
        held.read(0, &mut bytes).unwrap();
        dropped.send(bytes).unwrap();
    });
    assert!(drop_seen.recv_timeout(Duration::from_millis(50)).is_err());
    io::Write::write_all(&mut writer, b"abcdef").unwrap();
    assert_eq!(drop_seen.recv_timeout(DEADLINE).unwrap(), *b"abcdef");
    thread.join().unwrap();
}
