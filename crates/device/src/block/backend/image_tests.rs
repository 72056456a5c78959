//! Images that QEMU makes, checks and reads, and QEMU's locks.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_spec::block::{ReqType, Status, features};

use super::*;
use crate::block::tests::{pattern, ranges, read, request, write};
use crate::block::{Block, Options};
use crate::testing::{Bench, DEADLINE, Queue, formats, peer};

const MIB: usize = 1 << 20;
const SIZE: usize = 8 * MIB;

/// Runs a program to its end, and gives what it says if that is good.
fn run(program: &Path, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(said),
    }
}

struct Folder {
    folder: tempfile::TempDir,
    qemu_img: PathBuf,
}

impl Folder {
    fn new() -> Option<Self> {
        Some(Self {
            folder: tempfile::tempdir().unwrap(),
            qemu_img: peer("qemu-img")?,
        })
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn img(&self, arguments: &[&str]) -> String {
        run(&self.qemu_img, arguments).unwrap()
    }

    /// The disk in an image, by QEMU.
    fn content(&self, image: &str, format: &str) -> Vec<u8> {
        let raw = self.path("converted");
        self.img(&["convert", "-f", format, "-O", "raw", image, &raw]);
        fs::read(raw).unwrap()
    }
}

fn options(format: ImageFormat, read_only: bool) -> ImageOptions {
    ImageOptions {
        format,
        read_only,
        direct: false,
        locking: true,
        references: References::Beside,
    }
}

fn bench(image: Image) -> Bench {
    let read_only = image.read_only();
    let block = Block::new(Arc::new(image), Options::default()).unwrap();
    let more = match read_only {
        true => features::FLUSH | features::RO,
        false => features::FLUSH | features::DISCARD | features::WRITE_ZEROES,
    };
    Bench::new(block, formats()[1] | more)
}

/// All of the disk, by our device.
fn whole(queue: &mut Queue, size: usize) -> Vec<u8> {
    (0..size / 65536)
        .flat_map(|index| {
            let (status, data) = read(queue, index as u64 * 128, 65536);
            assert_eq!(status, Status::OK);
            data
        })
        .collect()
}

/// Whoever takes the place of a server that is killed finds all that was completed, flushed or not.
#[test]
fn what_is_completed_is_in_the_file() {
    let Some(folder) = Folder::new() else { return };
    let image = folder.path("image");
    folder.img(&["create", "-q", "-f", "qcow2", &image, "8M"]);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Qcow2, false)).unwrap());
    let mut queue = bench.start(0, 128);
    let mut expected = vec![0; SIZE];
    let check = |expected: &[u8]| {
        let copy = folder.path("copy");
        fs::copy(&image, &copy).unwrap();
        folder.img(&["check", "-f", "qcow2", &copy]);
        assert!(folder.content(&copy, "qcow2") == expected);
    };
    for (sector, length) in [(1, 512), (1000, 65536), (9000, 4096)] {
        let data = pattern(length, sector);
        expected[sector * 512..][..length].copy_from_slice(&data);
        assert_eq!(write(&mut queue, sector as u64, &data), Status::OK);
        check(&expected);
    }
    for unmap in [0, 1] {
        let zeroes = ranges(&[(1000 + 64 * u64::from(unmap), 64, unmap)]);
        assert_eq!(
            request(&mut queue, ReqType::WRITE_ZEROES, 0, &zeroes, 0).0,
            Status::OK
        );
        expected[(1000 + 64 * unmap as usize) * 512..][..64 * 512].fill(0);
        check(&expected);
    }
    drop((queue, bench));
}

#[test]
fn a_qcow2_image_over_a_raw_one_is_read_and_written_as_by_qemu() {
    let Some(folder) = Folder::new() else { return };
    let (base, image) = (folder.path("base"), folder.path("image"));
    let original = pattern(SIZE / 2, 3);
    fs::write(&base, &original).unwrap();
    let size = SIZE.to_string();
    folder.img(&[
        "create", "-q", "-f", "qcow2", "-b", &base, "-F", "raw", &image, &size,
    ]);

    let mut expected = original.clone();
    expected.resize(SIZE, 0);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Qcow2, false)).unwrap());
    let mut queue = bench.start(0, 128);
    assert!(whole(&mut queue, SIZE) == expected);
    // Parts of clusters, whole ones, behind the end of the image below; then some of it zeroed and discarded.
    for (sector, length) in [
        (1, 512),
        (100, 8192),
        (1024, 65536),
        (9000, 1024),
        (12288, 131072),
    ] {
        let data = pattern(length, sector);
        assert_eq!(write(&mut queue, sector as u64, &data), Status::OK);
        expected[sector * 512..][..length].copy_from_slice(&data);
    }
    for (sector, count, unmap) in [(4096usize, 1024usize, 1u32), (1030, 40, 0), (7000, 3, 1)] {
        let range = ranges(&[(sector as u64, count as u32, unmap)]);
        let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &range, 0);
        assert_eq!(zeroes.0, Status::OK);
        expected[sector * 512..][..count * 512].fill(0);
    }
    let discard = request(&mut queue, ReqType::DISCARD, 0, &ranges(&[(12288, 128, 0)]), 0);
    assert_eq!(discard.0, Status::OK);
    assert!(whole(&mut queue, SIZE)[..12288 * 512] == expected[..12288 * 512]);
    assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
    drop((queue, bench));

    folder.img(&["check", "-q", "-f", "qcow2", &image]);
    let found = folder.content(&image, "qcow2");
    assert!(found[..12288 * 512] == expected[..12288 * 512]);
    assert!(found[12416 * 512..] == expected[12416 * 512..]);
    assert!(fs::read(&base).unwrap() == original);
}

#[test]
fn version_2_of_qcow2_is_zeroed_too() {
    let Some(folder) = Folder::new() else { return };
    let (raw, image) = (folder.path("raw"), folder.path("image"));
    let mut content = pattern(SIZE, 4);
    fs::write(&raw, &content).unwrap();
    let old = "compat=0.10";
    folder.img(&["convert", "-f", "raw", "-O", "qcow2", "-o", old, &raw, &image]);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Qcow2, false)).unwrap());
    let mut queue = bench.start(0, 128);
    for (sector, count, unmap) in [(130usize, 300usize, 0u32), (4099, 1024, 1)] {
        let range = ranges(&[(sector as u64, count as u32, unmap)]);
        let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &range, 0);
        assert_eq!(zeroes.0, Status::OK);
        content[sector * 512..][..count * 512].fill(0);
    }
    let discard = request(&mut queue, ReqType::DISCARD, 0, &ranges(&[(8192, 128, 0)]), 0);
    assert_eq!(discard.0, Status::OK);
    assert!(whole(&mut queue, SIZE) == content);
}

#[test]
fn what_is_flushed_is_in_the_image_while_it_is_still_open() {
    let Some(folder) = Folder::new() else { return };
    let image = folder.path("image");
    folder.img(&["create", "-q", "-f", "qcow2", &image, &SIZE.to_string()]);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Qcow2, false)).unwrap());
    let mut queue = bench.start(0, 128);
    let data = pattern(200 * 512, 1);
    assert_eq!(write(&mut queue, 33, &data), Status::OK);
    assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
    // As after a crash: a copy of the file is all there is.
    let copy = folder.path("copy");
    fs::copy(&image, &copy).unwrap();
    assert!(folder.content(&copy, "qcow2")[33 * 512..][..data.len()] == data);
    drop(bench);
}

#[test]
fn compressed_images_and_chains_of_them_are_read() {
    let Some(folder) = Folder::new() else { return };
    let (raw, base, image) = (folder.path("raw"), folder.path("base"), folder.path("image"));
    let mut content = pattern(SIZE, 5);
    content[MIB..3 * MIB].fill(0);
    fs::write(&raw, &content).unwrap();
    folder.img(&["convert", "-c", "-f", "raw", "-O", "qcow2", &raw, &base]);
    folder.img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &image]);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Qcow2, true)).unwrap());
    let mut queue = bench.start(0, 128);
    assert!(whole(&mut queue, SIZE) == content);
    assert_eq!(write(&mut queue, 0, &[1; 512]), Status::IOERR);
}

#[test]
fn vmdk_images_are_read_and_not_written() {
    let Some(folder) = Folder::new() else { return };
    let raw = folder.path("raw");
    let content = pattern(SIZE, 9);
    fs::write(&raw, &content).unwrap();
    let image = folder.path("image.vmdk");
    let flat = "subformat=monolithicFlat";
    folder.img(&["convert", "-f", "raw", "-O", "vmdk", "-o", flat, &raw, &image]);
    let mut bench = bench(Image::open(&image, options(ImageFormat::Vmdk, true)).unwrap());
    let mut queue = bench.start(0, 128);
    assert!(whole(&mut queue, SIZE) == content);
    let writable = Image::open(&image, options(ImageFormat::Vmdk, false)).unwrap_err();
    assert!(matches!(writable, ImageError::ReadOnly(_)));
    // The other kinds of VMDK are refused, and nothing wrong read.
    let sparse = folder.path("sparse.vmdk");
    folder.img(&["convert", "-f", "raw", "-O", "vmdk", &raw, &sparse]);
    assert!(Image::open(&sparse, options(ImageFormat::Vmdk, true)).is_err());
}

#[test]
fn an_image_that_cannot_be_served_says_why() {
    let Some(folder) = Folder::new() else { return };
    let why = |path: &str, format| {
        let error = Image::open(path, options(format, true)).unwrap_err();
        error.to_string()
    };
    let raw = folder.path("raw");
    fs::write(&raw, vec![7; MIB]).unwrap();
    assert!(why(&raw, ImageFormat::Qcow2).contains("cannot be opened as a Qcow2 image"));
    assert!(why(&folder.path("none"), ImageFormat::Qcow2).contains("No such file"));
    // The image below is gone.
    let (base, image) = (folder.path("base"), folder.path("image"));
    folder.img(&["create", "-q", "-f", "qcow2", &base, "1M"]);
    folder.img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "qcow2", &image]);
    fs::remove_file(&base).unwrap();
    let missing = why(&image, ImageFormat::Qcow2);
    assert!(
        missing.contains("No such file") && missing.contains("image"),
        "{missing}"
    );
    // One without reference counts: a writer would take its header for free space.
    let uncounted = folder.path("uncounted");
    folder.img(&["create", "-q", "-f", "qcow2", &uncounted, "1M"]);
    let mut bytes = fs::read(&uncounted).unwrap();
    bytes[0x10000..0x10008].fill(0);
    fs::write(&uncounted, bytes).unwrap();
    assert!(why(&uncounted, ImageFormat::Qcow2).contains("reference counts are missing"));
    // One that ends in the middle of its tables.
    folder.img(&["create", "-q", "-f", "qcow2", &base, "1G"]);
    fs::File::options()
        .write(true)
        .open(&base)
        .unwrap()
        .set_len(200)
        .unwrap();
    assert!(why(&base, ImageFormat::Qcow2).contains("ends before"));
}

/// What an image refers to is opened if it is where the user has said, and not otherwise.
#[test]
fn an_image_opens_only_what_its_user_allows() {
    let Some(folder) = Folder::new() else { return };
    let mine = folder.path("mine");
    fs::create_dir(&mine).unwrap();
    let (secret, below) = (folder.path("secret"), format!("{mine}/below"));
    fs::write(&secret, vec![0x5e; MIB]).unwrap();
    fs::write(&below, vec![0xbe; MIB]).unwrap();
    let link = format!("{mine}/link");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    let pipe = format!("{mine}/pipe");
    run(Path::new("mkfifo"), &[&pipe]).unwrap();
    let over = |name: &str, below: &str, format: &str| {
        let image = format!("{mine}/{name}");
        folder.img(&[
            "create", "-q", "-u", "-f", "qcow2", "-b", below, "-F", format, &image, "1M",
        ]);
        image
    };
    let opened = |image: &str, references: References| {
        let options = ImageOptions {
            references,
            ..options(ImageFormat::Qcow2, false)
        };
        Image::open(image, options)
            .map(drop)
            .map_err(|error| error.to_string())
    };
    let within = || References::Within(vec![folder.folder.path().to_owned()]);
    let outside = [
        over("absolute", &secret, "raw"),
        over("relative", "../secret", "raw"),
        over("linked", "link", "raw"),
    ];
    for image in &outside {
        for references in [References::None, References::Beside] {
            let error = opened(image, references).unwrap_err();
            assert!(error.contains("may refer to"), "{error}");
        }
        for references in [References::Any, within()] {
            assert_eq!(opened(image, references), Ok(()));
        }
    }
    // Two steps away.
    let far = over("far", "absolute", "qcow2");
    assert!(
        opened(&far, References::Beside)
            .unwrap_err()
            .contains("may refer to")
    );
    let beside = over("beside", "below", "raw");
    assert_eq!(opened(&beside, References::Beside), Ok(()));
    assert!(
        opened(&beside, References::None)
            .unwrap_err()
            .contains("may refer to")
    );
    // What cannot be opened at all, whoever allows it.
    let (odd, itself) = (over("odd", "pipe", "raw"), over("itself", "itself", "qcow2"));
    assert!(
        opened(&odd, References::Any)
            .unwrap_err()
            .contains("neither a file")
    );
    assert!(
        opened(&itself, References::Any)
            .unwrap_err()
            .contains("on itself")
    );
    assert!(
        opened(&pipe, References::Any)
            .unwrap_err()
            .contains("neither a file")
    );
    // An external data file is written to, so it matters even more.
    let data = folder.path("data");
    let external = format!("{mine}/external");
    let option = format!("data_file={data}");
    folder.img(&["create", "-q", "-f", "qcow2", "-o", &option, &external, "1M"]);
    assert!(
        opened(&external, References::Beside)
            .unwrap_err()
            .contains("may refer to")
    );
    assert_eq!(opened(&external, References::Any), Ok(()));
    // And the format of what is below is not guessed, unless that was asked for.
    let mut bytes = fs::read(&beside).unwrap();
    let extension = bytes.windows(4).position(|four| four == [0xe2, 0x79, 0x2a, 0xca]);
    bytes[extension.unwrap()] = 0x12;
    fs::write(&beside, bytes).unwrap();
    assert!(
        opened(&beside, References::Beside)
            .unwrap_err()
            .contains("does not say what format")
    );
    assert_eq!(opened(&beside, References::Any), Ok(()));
    // The extents of a VMDK.
    let image = format!("{mine}/vmdk");
    let extent = r#"version=1
CID=1
parentCID=ffffffff
createType="monolithicFlat"
RW 8 FLAT "../secret" 0
"#;
    fs::write(&image, extent).unwrap();
    for (references, allowed) in [(References::Beside, false), (within(), true)] {
        let options = ImageOptions {
            references,
            ..options(ImageFormat::Vmdk, true)
        };
        assert_eq!(Image::open(&image, options).is_ok(), allowed);
    }
}

/// A qemu-io that has the image open until it is dropped.
struct QemuIo(Child);

impl QemuIo {
    fn open(program: &Path, arguments: &[&str], image: &str) -> Self {
        let mut child = Command::new(program)
            .args(arguments)
            .args(["-f", "raw", image])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Commands are read once the image is open.
        writeln!(child.stdin.as_mut().unwrap(), "length").unwrap();
        let deadline = Instant::now() + DEADLINE;
        let file = fs::File::open(image).unwrap();
        // It has at least the permission to read.
        while !ringwright_sys::lock::is_locked(&file, 100).unwrap() {
            assert!(Instant::now() < deadline, "qemu-io has not opened the image");
            std::thread::sleep(Duration::from_millis(1));
        }
        Self(child)
    }
}

impl Drop for QemuIo {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn two_writers_are_refused_whichever_comes_first() {
    let Some(folder) = Folder::new() else { return };
    let Some(qemu_io) = peer("qemu-io") else { return };
    let image = folder.path("image");
    fs::write(&image, vec![0; MIB]).unwrap();
    let ours = |read_only| {
        let options = FileOptions {
            read_only,
            locking: true,
            ..FileOptions::default()
        };
        File::open_with(&image, options)
    };
    let theirs = |arguments: &[&str]| {
        let arguments = [arguments, &["-f", "raw", "-c", "read 0 512", &image]].concat();
        run(&qemu_io, &arguments)
    };
    let refused = |result: Result<File, OpenError>| match result.unwrap_err() {
        OpenError::Locked { source, .. } => source.to_string(),
        other => panic!("{other}"),
    };
    // Ours first.
    let writer = ours(false).unwrap();
    assert!(theirs(&[]).unwrap_err().contains("lock"));
    assert!(refused(ours(false)).contains("another program"));
    assert!(refused(ours(true)).contains("is writing"));
    drop(writer);
    let reader = ours(true).unwrap();
    theirs(&["-r"]).unwrap();
    assert!(theirs(&[]).unwrap_err().contains("lock"));
    assert!(ours(true).is_ok());
    assert!(refused(ours(false)).contains("relies on its not being changed"));
    drop(reader);
    // Theirs first.
    let writer = QemuIo::open(&qemu_io, &[], &image);
    assert!(refused(ours(false)).contains("another program"));
    assert!(refused(ours(true)).contains("is writing"));
    drop(writer);
    let reader = QemuIo::open(&qemu_io, &["-r"], &image);
    assert!(ours(true).is_ok());
    drop(reader);
    // And nobody is refused after that.
    assert!(ours(false).is_ok());

    let other = folder.path("other");
    folder.img(&["create", "-q", "-f", "qcow2", &other, "1M"]);
    let first = Image::open(&other, options(ImageFormat::Qcow2, false)).unwrap();
    assert!(
        run(&folder.qemu_img, &["info", &other])
            .unwrap_err()
            .contains("lock")
    );
    let second = Image::open(&other, options(ImageFormat::Qcow2, false)).unwrap_err();
    assert!(matches!(second, ImageError::Locked { .. }));
    drop(first);
    folder.img(&["info", &other]);
}
