//! Disks that are given another size while they are used.

use std::process::Command;

use ringwright_spec::block::Status;

use super::backend::{File, FileOptions, Image, ImageFormat, ImageOptions, Limited, Memory, References};
use super::tests::{pattern, read, write};
use super::*;
use crate::testing::{Bench, formats, peer};

const MIB: u64 = 1 << 20;

fn capacity(bench: &Bench) -> u64 {
    let config = bench.host.config();
    u64::from_le_bytes(config[..8].try_into().unwrap())
}

#[test]
fn a_raw_image_grows_and_shrinks_and_its_driver_is_told() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(MIB).unwrap();
    // Behind limits, as a user may want it.
    let file = Arc::new(File::open(image.path(), false).unwrap());
    let block = Block::new(Arc::new(Limited::new(file, None, None)), Options::default()).unwrap();
    let handle = block.handle();
    let mut bench = Bench::new(block, formats()[0]);
    let mut queue = bench.start(0, 16);
    assert_eq!(read(&mut queue, 4095, 512).0, Status::IOERR);

    let resized = handle.resize(2 * MIB).unwrap();
    assert_eq!((resized.before, resized.now), (MIB, 2 * MIB));
    bench.events.wait_config_changes(1);
    assert_eq!((capacity(&bench), handle.capacity()), (4096, 2 * MIB));
    assert_eq!(read(&mut queue, 4095, 512), (Status::OK, vec![0; 512]));
    assert_eq!(write(&mut queue, 4095, &pattern(512, 1)), Status::OK);

    handle.resize(MIB / 2).unwrap();
    bench.events.wait_config_changes(2);
    assert_eq!(image.as_file().metadata().unwrap().len(), MIB / 2);
    assert_eq!(capacity(&bench), 1024);
    assert_eq!(read(&mut queue, 1024, 512).0, Status::IOERR);
    // What is new is zeroes, also where there was something once.
    handle.resize(2 * MIB).unwrap();
    assert_eq!(read(&mut queue, 4095, 512), (Status::OK, vec![0; 512]));
    handle.resize(2 * MIB).unwrap();
    assert_eq!(bench.events.config_changes(), 3);
}

#[test]
fn what_cannot_have_another_size_says_so_and_keeps_its_own() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(MIB).unwrap();
    let read_only = FileOptions {
        read_only: true,
        ..FileOptions::default()
    };
    let disks: [(Arc<dyn Backend>, &str); 2] = [
        (
            Arc::new(File::open_with(image.path(), read_only).unwrap()),
            "read-only",
        ),
        (Arc::new(Memory::new(MIB as u32).unwrap()), "cannot be resized"),
    ];
    for (backend, why) in disks {
        let handle = Block::new(backend, Options::default()).unwrap().handle();
        let error = handle.resize(2 * MIB).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
        assert!(error.to_string().contains(why), "{error}");
        assert_eq!(handle.capacity(), MIB);
    }
    assert_eq!(image.as_file().metadata().unwrap().len(), MIB);
}

/// Also where the image that it stands on has something beyond the old end.
#[test]
fn a_qcow2_image_grows_by_zeroes_and_qemu_finds_nothing_wrong() {
    let Some(qemu_img) = peer("qemu-img") else { return };
    let folder = tempfile::tempdir().unwrap();
    let img = |arguments: &[&str]| {
        let mut command = Command::new(&qemu_img);
        let output = command
            .args(arguments)
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    std::fs::write(folder.path().join("base"), pattern(4 * MIB as usize, 7)).unwrap();
    img(&["create", "-q", "-f", "qcow2", "alone", "1M"]);
    img(&[
        "create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "over", "1M",
    ]);
    for name in ["alone", "over"] {
        let path = folder.path().join(name);
        let options = ImageOptions {
            format: ImageFormat::Qcow2,
            read_only: false,
            direct: false,
            locking: true,
            references: References::default(),
        };
        let block = Block::new(Arc::new(Image::open(&path, options).unwrap()), Options::default());
        let block = block.unwrap();
        let handle = block.handle();
        let mut bench = Bench::new(block, formats()[0]);
        let mut queue = bench.start(0, 16);
        assert_eq!(handle.resize(8 * MIB).unwrap().now, 8 * MIB);
        bench.events.wait_config_changes(1);
        for sector in [2048, 4096, 16383] {
            assert_eq!(
                read(&mut queue, sector, 512),
                (Status::OK, vec![0; 512]),
                "{name}"
            );
        }
        assert_eq!(write(&mut queue, 16383, &[9; 512]), Status::OK);
        let error = handle.resize(MIB).unwrap_err();
        assert!(error.to_string().contains("only grows"), "{error}");
        assert_eq!(handle.capacity(), 8 * MIB);
        drop((queue, bench, handle));
        img(&["check", "-q", "-f", "qcow2", name]);
        img(&["convert", "-f", "qcow2", "-O", "raw", name, "raw"]);
        let raw = std::fs::read(folder.path().join("raw")).unwrap();
        assert_eq!(raw.len() as u64, 8 * MIB);
        assert!(raw[MIB as usize..raw.len() - 512].iter().all(|byte| *byte == 0));
        assert_eq!(raw[raw.len() - 512..], [9; 512]);
    }
}
