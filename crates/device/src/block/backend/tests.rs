//! Backends that complete requests later, driven through a disk.

use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use ringwright_spec::block::{ReqType, Status, features};

use super::*;
use crate::block::tests::{head, parts, pattern, ranges, read, request, write};
use crate::block::{Block, Cache, Options};
use crate::testing::{Bench, Queue, formats};

const MIB: usize = 1 << 20;

/// Every way into a file.
const WAYS: [(&str, FileOptions); 4] = [
    ("rings", way(false, Rings::Always)),
    ("threads", way(false, Rings::Never)),
    ("rings, past the page cache", way(true, Rings::Always)),
    ("threads, past the page cache", way(true, Rings::Never)),
];

const fn way(direct: bool, rings: Rings) -> FileOptions {
    FileOptions {
        read_only: false,
        direct,
        locking: false,
        rings,
    }
}

/// Opens the image in one of the ways. Not on a machine whose file system does not do it, which is said; in CI it does.
fn open(image: &Path, (name, options): (&str, FileOptions)) -> Option<Arc<File>> {
    match File::open_with(image, options) {
        Ok(file) => match ringwright_sys::uring::Ring::new(1, file.content.file.as_fd()) {
            Err(error) if options.rings == Rings::Always => missing(name, &error),
            _ => Some(Arc::new(file)),
        },
        Err(error @ OpenError::NotDirect(_)) => missing(name, &error),
        Err(error) => panic!("{error}"),
    }
}

fn missing<R>(name: &str, why: &dyn std::fmt::Display) -> Option<R> {
    assert!(std::env::var_os("CI").is_none(), "CI has {name}: {why}");
    eprintln!("not tested, this machine does not do it: {name}: {why}");
    None
}

fn bench(backend: Arc<dyn Backend>) -> Bench {
    let options = Options {
        block_size: backend.block_size(),
        ..Options::default()
    };
    let more = features::FLUSH | features::DISCARD | features::WRITE_ZEROES;
    Bench::new(Block::new(backend, options).unwrap(), formats()[1] | more)
}

/// Takes the page cache's copy of the file away, as far as it lets go.
fn forget(path: &Path) {
    let file = fs::File::open(path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
}

fn wait_ok(queue: &mut Queue, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let (status, data) = parts(queue.wait());
            assert_eq!(status, Status::OK);
            data
        })
        .collect()
}

#[test]
fn a_file_holds_what_is_written_to_it_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    for way in WAYS {
        fs::write(&image, vec![0xee; 4 * MIB]).unwrap();
        let Some(file) = open(&image, way) else { continue };
        let name = way.0;
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        // 32 requests at once, each to its place, of sizes that cross pages.
        for round in 0..8 {
            for place in 0..32 {
                let data = pattern(4096 * (1 + place % 3), round * 32 + place);
                queue.add(
                    &[
                        &head(ReqType::OUT, ((31 - place) * 24 + round * 1024) as u64),
                        &data,
                    ],
                    &[1],
                );
            }
            queue.publish();
            wait_ok(&mut queue, 32);
        }
        assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
        let content = fs::read(&image).unwrap();
        for round in 0..8 {
            for place in 0..32 {
                let expected = pattern(4096 * (1 + place % 3), round * 32 + place);
                let at = ((31 - place) * 24 + round * 1024) * 512;
                assert!(content[at..][..expected.len()] == expected, "{name}");
            }
        }
        // Again from the storage, with parts of it in the page cache.
        forget(&image);
        for _ in 0..2 {
            for sector in (0..4 * MIB / 512).step_by(256).rev() {
                queue.add(&[&head(ReqType::IN, sector as u64)], &[8192, 1]);
            }
            queue.publish();
            let mut found = wait_ok(&mut queue, 32);
            let mut expected: Vec<Vec<u8>> = (0..32)
                .map(|index| content[index * 128 * 1024..][..8192].to_vec())
                .collect();
            found.sort();
            expected.sort();
            assert!(found == expected, "{name}");
        }
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn zeroes_and_discards_free_the_files_blocks() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    for way in WAYS {
        fs::write(&image, vec![0xee; 4 * MIB]).unwrap();
        let Some(file) = open(&image, way) else { continue };
        let name = way.0;
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        forget(&image);
        let blocks = || fs::metadata(&image).unwrap().blocks() * 512;
        let full = blocks();
        let mut zero = |r#type, flags| {
            let (from, count) = (2048 * (1 + u64::from(flags)), 1024);
            let ranges = ranges(&[(from, count, flags), (from + 1024, count / 2, flags)]);
            assert_eq!(request(&mut queue, r#type, 0, &ranges, 0).0, Status::OK);
            read(&mut queue, from, 8192).1
        };
        assert!(zero(ReqType::WRITE_ZEROES, 0) == [0; 8192], "{name}");
        let written = blocks();
        assert!(zero(ReqType::WRITE_ZEROES, 1) == [0; 8192], "{name}");
        let deallocated = blocks();
        assert!(full <= written && deallocated <= written - 512 * 1024, "{name}");
        let ranges = ranges(&[(0, 2048, 0)]);
        assert_eq!(request(&mut queue, ReqType::DISCARD, 0, &ranges, 0).0, Status::OK);
        assert!(blocks() <= deallocated - 1024 * 1024, "{name}");
        // The rest is as it was.
        assert!(read(&mut queue, 6144, 8192).1 == [0xee; 8192], "{name}");
    }
}

#[test]
fn a_file_system_that_zeroes_no_ranges_gets_zeroes_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, vec![0xee; MIB]).unwrap();
    let file = Arc::new(File::open(&image, false).unwrap());
    let Ok(ring) = ringwright_sys::uring::Ring::new(4, file.content.file.as_fd()) else {
        assert!(std::env::var_os("CI").is_none(), "CI has io_uring");
        return eprintln!("not tested, this machine gives no io_uring");
    };
    let mut lane = file_lane::FileLane::new(file.content.clone(), ring, 4);
    lane.forbid_zeroing();
    let memory = bounce::Bounce::new(512).unwrap().memory().clone();
    let request = Request::WriteZeroes {
        offset: 4096,
        length: 200 * 1024,
        unmap: false,
        stable: true,
    };
    assert!(lane.now(&request).is_none());
    lane.later(3, &request, &memory).unwrap();
    lane.submit().unwrap();
    let (tag, result) = loop {
        match lane.completed() {
            Some(completed) => break completed,
            None => lane.wait().unwrap(),
        }
    };
    result.unwrap();
    assert_eq!(tag, 3);
    let content = fs::read(&image).unwrap();
    assert!(content[..4096].iter().all(|byte| *byte == 0xee));
    assert!(content[4096..][..200 * 1024].iter().all(|byte| *byte == 0));
    assert!(content[4096 + 200 * 1024..].iter().all(|byte| *byte == 0xee));
}

#[test]
fn an_image_that_ends_early_gives_errors_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, vec![1; MIB]).unwrap();
    let same = fs::File::options().write(true).open(&image).unwrap();
    for way in WAYS {
        let Some(file) = open(&image, way) else { continue };
        let name = way.0;
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        same.set_len(8192).unwrap();
        assert_eq!(
            read(&mut queue, 16, 8192),
            (Status::IOERR, vec![0; 8192]),
            "{name}"
        );
        assert_eq!(read(&mut queue, 8, 8192).0, Status::IOERR, "{name}");
        assert_eq!(read(&mut queue, 0, 8192).0, Status::OK, "{name}");
        same.set_len(MIB as u64).unwrap();
        assert!(bench.events.resets().is_empty());
    }
}

/// A small file system in memory, which goes with it.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1M", "tmpfs"])
            .arg(folder.path())
            .output()
            .is_ok_and(|output| output.status.success());
        if !mounted {
            return missing("a small file system", &"it cannot be mounted");
        }
        Some(Self(folder))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_is_an_error_until_there_is_room() {
    let Some(disk) = SmallDisk::new() else { return };
    let (image, filler) = (disk.0.path().join("image"), disk.0.path().join("filler"));
    for rings in [Rings::Always, Rings::Never] {
        let file = fs::File::create(&image).unwrap();
        file.set_len(4 * MIB as u64).unwrap();
        fs::write(&filler, vec![1; 900 * 1024]).unwrap();
        let Some(file) = open(&image, ("a small file system", way(false, rings))) else {
            continue;
        };
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        // Whole pages go to the page cache at once, others another way.
        for (sector, length) in [(0, 256 * 1024), (1, 256 * 1024)] {
            assert_eq!(
                write(&mut queue, sector, &vec![7; length]),
                Status::IOERR,
                "{rings:?}"
            );
        }
        assert_eq!(read(&mut queue, 4096, 512), (Status::OK, vec![0; 512]));
        fs::remove_file(&filler).unwrap();
        for (sector, length) in [(0, 256 * 1024), (1, 256 * 1024)] {
            assert_eq!(
                write(&mut queue, sector, &vec![7; length]),
                Status::OK,
                "{rings:?}"
            );
        }
        assert_eq!(read(&mut queue, 100, 512), (Status::OK, vec![7; 512]));
        assert!(bench.events.resets().is_empty());
    }
}

/// A file system in memory deallocates, and does not zero ranges otherwise.
#[test]
fn zeroes_are_written_where_the_file_system_does_not_zero() {
    let Some(disk) = SmallDisk::new() else { return };
    let image = disk.0.path().join("image");
    for rings in [Rings::Always, Rings::Never] {
        fs::write(&image, vec![0xee; MIB / 2]).unwrap();
        let Some(file) = open(&image, ("a small file system", way(false, rings))) else {
            continue;
        };
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        // Two of each, so that what was learned from the first is used.
        for (sector, unmap) in [(8, 0), (240, 0), (480, 1), (720, 1)] {
            let ranges = ranges(&[(sector, 200, unmap)]);
            let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &ranges, 0);
            assert_eq!(zeroes.0, Status::OK, "{rings:?}");
            assert!(read(&mut queue, sector, 200 * 512).1 == [0; 200 * 512]);
            assert!(read(&mut queue, sector + 200, 512).1 == [0xee; 512]);
        }
    }
}

/// A block device on a file, as long as this lives.
struct Loop(String);

impl Loop {
    fn new(file: &Path) -> Option<Self> {
        let made = Command::new("losetup")
            .args(["--find", "--show"])
            .arg(file)
            .output();
        match made {
            Ok(output) if output.status.success() => {
                Some(Self(String::from_utf8(output.stdout).unwrap().trim().into()))
            }
            _ => missing("a loop device", &"losetup makes none"),
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_written_zeroed_and_discarded_in_every_way() {
    let folder = tempfile::tempdir().unwrap();
    let behind = folder.path().join("behind");
    for way in WAYS {
        fs::write(&behind, vec![0xee; 4 * MIB]).unwrap();
        let Some(device) = Loop::new(&behind) else { return };
        let Some(file) = open(device.0.as_ref(), way) else {
            continue;
        };
        let name = way.0;
        assert_eq!(file.capacity(), 4 * MIB as u64);
        let mut bench = bench(file);
        let mut queue = bench.start(0, 128);
        let data = pattern(3 * 4096, 5);
        assert_eq!(write(&mut queue, 8, &data), Status::OK, "{name}");
        assert!(read(&mut queue, 8, data.len()).1 == data, "{name}");
        let mut empty = |r#type, ranges: &[(u64, u32, u32)]| {
            let ranges = super::super::tests::ranges(ranges);
            assert_eq!(request(&mut queue, r#type, 0, &ranges, 0).0, Status::OK, "{name}");
            assert_eq!(
                request(&mut queue, ReqType::FLUSH, 0, &[], 0).0,
                Status::OK,
                "{name}"
            );
            fs::metadata(&behind).unwrap().blocks() * 512
        };
        let full = empty(ReqType::WRITE_ZEROES, &[(1024, 1024, 0)]);
        let deallocated = empty(ReqType::WRITE_ZEROES, &[(2048, 2048, 1)]);
        assert!(deallocated <= full - MIB as u64, "{name}");
        let discarded = empty(ReqType::DISCARD, &[(4096, 2048, 0)]);
        assert!(discarded <= deallocated - MIB as u64, "{name}");
        for sector in [1024, 2032, 2048, 4080] {
            assert!(read(&mut queue, sector, 8192).1 == [0; 8192], "{name}");
        }
        assert!(read(&mut queue, 6144, 8192).1 == [0xee; 8192], "{name}");
        assert!(fs::read(&behind).unwrap()[4096..][..data.len()] == data, "{name}");
        assert!(bench.events.resets().is_empty());
    }
}

/// A device that promises no zeroes where it has discarded is asked in another way. A loop device takes both.
#[test]
fn a_block_device_discards_what_it_cannot_deallocate() {
    let folder = tempfile::tempdir().unwrap();
    let behind = folder.path().join("behind");
    fs::write(&behind, vec![0xee; 4 * MIB]).unwrap();
    let Some(device) = Loop::new(&behind) else { return };
    let allocated = || fs::metadata(&behind).unwrap().blocks() * 512;
    let before = allocated();
    let content = File::open(&device.0, false).unwrap().content.clone();
    let mib = MIB as u64;
    content.discard(mib, 2 * mib).unwrap();
    assert!(allocated() <= before - 2 * mib);
    assert!(content.discard(mib + 1, 512).is_err(), "no whole sector");
    // A file is not asked: what is there stays.
    let content = File::open(&behind, false).unwrap().content.clone();
    content.discard(0, mib).unwrap();
    assert!(fs::read(&behind).unwrap()[..MIB] == [0xee; MIB]);
}

/// A block device that has no room behind it: the page cache takes everything, and cannot get rid of it.
#[test]
fn what_cannot_be_made_stable_is_an_error_for_good() {
    let Some(disk) = SmallDisk::new() else { return };
    let (behind, filler) = (disk.0.path().join("behind"), disk.0.path().join("filler"));
    for rings in [Rings::Always, Rings::Never] {
        for write_through in [false, true] {
            fs::write(&filler, vec![1; 900 * 1024]).unwrap();
            fs::File::create(&behind)
                .unwrap()
                .set_len(4 * MIB as u64)
                .unwrap();
            let Some(device) = Loop::new(&behind) else { return };
            let file = open(device.0.as_ref(), ("a block device", way(false, rings)));
            let Some(file) = file else { continue };
            let options = Options {
                cache: match write_through {
                    true => Cache::WriteThrough,
                    false => Cache::WriteBack,
                },
                ..Options::default()
            };
            let more = if write_through {
                features::CONFIG_WCE
            } else {
                features::FLUSH
            };
            let mut bench = Bench::new(Block::new(file, options).unwrap(), formats()[1] | more);
            let mut queue = bench.start(0, 128);
            let name = format!("{rings:?}, write-through {write_through}");
            // This fills what is left. A loop device does not notice that, but what comes after it.
            write(&mut queue, 0, &vec![7; 256 * 1024]);
            request(&mut queue, ReqType::FLUSH, 0, &[], 0);
            let outcome = write(&mut queue, 2048, &vec![7; 256 * 1024]);
            if write_through {
                assert_eq!(outcome, Status::IOERR, "{name}");
                continue;
            }
            assert_eq!(outcome, Status::OK, "{name}");
            let mut flush = || request(&mut queue, ReqType::FLUSH, 0, &[], 0).0;
            assert_eq!(flush(), Status::IOERR, "{name}");
            // The kernel has forgotten what is lost, and would say that all is well.
            fs::remove_file(&filler).unwrap();
            assert_eq!(flush(), Status::IOERR, "{name}");
            assert_eq!(read(&mut queue, 4096, 512).0, Status::OK, "{name}");
        }
    }
}

#[test]
fn the_size_is_looked_at_again_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, vec![1; MIB]).unwrap();
    let file = Arc::new(File::open(&image, false).unwrap());
    let mut bench = bench(file.clone());
    let mut queue = bench.start(0, 128);
    let end = (MIB / 512) as u64;
    assert_eq!(read(&mut queue, end, 512).0, Status::IOERR);
    let same = fs::File::options().write(true).open(&image).unwrap();
    same.set_len(2 * MIB as u64).unwrap();
    assert_eq!(read(&mut queue, end, 512).0, Status::IOERR);
    file.refresh().unwrap();
    assert_eq!(read(&mut queue, end, 512), (Status::OK, vec![0; 512]));
    same.set_len(1000).unwrap();
    assert!(matches!(
        file.look_at_size(),
        Err(OpenError::Truncated { size: 1000, .. })
    ));
    assert_eq!(file.capacity(), 2 * MIB as u64);
}
