//! Programs that we did not write: QEMU's storage daemon behind our front-end, QEMU's tools (by libblkio) before our
//! back-end. They are in the folder that RINGWRIGHT_PEERS names, which `cargo xtask test` sets up.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use common::*;
use ringwright_driver::block::{Block, CacheMode, Range, Ranges, Request};
use ringwright_driver::{Options, Transport};
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::backend::BackendOptions;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions, USED};
use ringwright_vhost_user::message::ProtocolFeatures;

/// A program that is killed and waited for on drop.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Waits until the program listens at `socket`.
    fn wait_for(mut self, socket: &Path) -> Self {
        let deadline = Instant::now() + DEADLINE;
        while std::os::unix::net::UnixStream::connect(socket).is_err() {
            assert!(
                Instant::now() < deadline,
                "nobody listens at {}",
                socket.display()
            );
            assert!(self.0.try_wait().unwrap().is_none(), "the program ended");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
        self
    }
}

/// QEMU's vhost-user-blk export of a raw image.
fn storage_daemon(program: &Path, image: &Path, socket: &Path, options: &str) -> Running {
    let export = format!(
        "type=vhost-user-blk,id=export,node-name=disk,addr.type=unix,addr.path={}{options}",
        socket.display()
    );
    let child = Command::new(program)
        .args([
            "--blockdev",
            &format!("driver=file,node-name=disk,filename={}", image.display()),
        ])
        .args(["--export", &export])
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    Running(child).wait_for(socket)
}

fn image(folder: &Path, bytes: u64) -> PathBuf {
    let path = folder.join("disk.img");
    std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

#[test]
fn qemu_storage_daemon_behind_our_front_end() {
    let Some(program) = peer("qemu-storage-daemon") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (image, socket) = (image(folder.path(), 64 << 20), folder.path().join("qsd.sock"));
    let _daemon = storage_daemon(&program, &image, &socket, ",writable=on,num-queues=2");
    let indirect = feature::INDIRECT_DESC;
    let formats = [
        Features::NONE,
        feature::EVENT_IDX,
        indirect,
        feature::EVENT_IDX | indirect,
    ];
    // The daemon has no packed rings; asking for one is answered by a split one.
    for format in formats.into_iter().chain([feature::RING_PACKED]) {
        for missing in [
            ProtocolFeatures::NONE,
            ProtocolFeatures::CONFIGURE_MEM_SLOTS,
            ProtocolFeatures::REPLY_ACK,
        ] {
            let protocol_features = USED.without(missing);
            let options = FrontendOptions {
                protocol_features,
                queue_size: 128,
                ..FrontendOptions::new(BLOCK)
            };
            let frontend = Frontend::connect(&socket, options).unwrap();
            let area = frontend.area().clone();
            let mut disk = Block::new(frontend, &area, 2, accepting(feature::VERSION_1 | format)).unwrap();
            assert_eq!((disk.queues(), disk.geometry().capacity), (2, 64 << 11));
            assert!(!disk.session().has(feature::RING_PACKED));
            for queue in 0..2 {
                check_disk(&mut disk, queue, u64::from(queue) * 65536, 512);
                rarer_requests(&mut disk, queue);
            }
        }
    }
    // What was written is in the image.
    let bytes = std::fs::read(&image).unwrap();
    assert!(
        bytes[..4096].iter().any(|byte| *byte != 0)
            && bytes[32 << 20..][..4096].iter().any(|byte| *byte != 0)
    );
}

/// What file systems ask of a disk now and then, and the settings of its cache.
fn rarer_requests(disk: &mut Block<Frontend>, queue: u16) {
    let geometry = disk.geometry();
    assert!(geometry.topology.is_some() && geometry.segments < 128);
    let buffer = |disk: &mut Block<Frontend>, length| disk.session().allocate(length).unwrap();
    let ranges = |disk: &mut Block<Frontend>, sector, sectors, unmap| {
        let range = Range {
            sector,
            sectors,
            unmap,
        };
        Ranges::new(buffer(disk, 16), &[range]).unwrap()
    };
    let (first, id) = (100_000, buffer(disk, 20));
    perform(disk, queue, [Request::get_id(id)]);
    let from: Vec<_> = [1024, 512, 1536].map(|length| buffer(disk, length)).into();
    for buffer in &from {
        buffer.write(0, &vec![7; buffer.len()]).unwrap();
    }
    perform(disk, queue, [Request::write(first, from)]);
    assert!(geometry.write_zeroes.is_some() && geometry.discard.is_some());
    for (sector, unmap) in [(first + 1, false), (first + 4, true)] {
        let zeroes = ranges(disk, sector, 1, unmap);
        perform(disk, queue, [Request::write_zeroes(zeroes)]);
    }
    let discard = ranges(disk, 90_000, 64, false);
    perform(disk, queue, [Request::discard(discard)]);
    let into: Vec<_> = [512; 6].map(|length| buffer(disk, length)).into();
    let found = perform(disk, queue, [Request::read(first, into)]).concat();
    let expected = [7, 0, 7, 7, 0, 7].map(|fill| [fill; 512]).concat();
    assert!(found == expected);
    if geometry.switchable_cache {
        for mode in [CacheMode::WriteThrough, CacheMode::WriteBack] {
            assert!(disk.set_cache_mode(mode).unwrap());
            assert_eq!(disk.cache_mode().unwrap(), mode);
        }
    }
}

#[test]
fn qemu_storage_daemon_serves_an_image_that_was_there() {
    let Some(program) = peer("qemu-storage-daemon") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let (image, socket) = (image(folder.path(), 1 << 20), folder.path().join("qsd.sock"));
    let content: Vec<u8> = (0..1u32 << 18).flat_map(u32::to_le_bytes).collect();
    std::fs::write(&image, &content).unwrap();
    let daemon = storage_daemon(&program, &image, &socket, "");
    let options = FrontendOptions {
        queue_size: 128,
        ..FrontendOptions::new(BLOCK)
    };
    let frontend = Frontend::connect(&socket, options).unwrap();
    let area = frontend.area().clone();
    let mut disk = Block::new(frontend, &area, 1, Options::default()).unwrap();
    assert!(disk.geometry().read_only);
    let reads = (0..16).map(|piece| Request::read(piece * 128, area.allocate(65536, 512).unwrap()));
    assert!(perform(&mut disk, 0, reads).concat() == content);
    // The other end dies: the driver is told, and nothing hangs.
    drop(daemon);
    let transport = disk.session().transport();
    while let Ok(came) = transport.wait(None, DEADLINE) {
        assert!(came, "the end of the connection was not noticed");
        let _ = transport.take_interrupt();
    }
    assert!(disk.session().check().is_err());
}

/// The address of a disk for QEMU's tools.
fn blkio(server: &Server) -> String {
    format!(
        "driver=virtio-blk-vhost-user,path={},cache.direct=on",
        server.path.display()
    )
}

fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let text = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{command:?}: {text}");
    text
}

#[test]
fn qemu_io_before_our_back_end() {
    let Some(program) = peer("qemu-io") else { return };
    for masked_features in [
        Features::NONE,
        feature::EVENT_IDX,
        feature::INDIRECT_DESC,
        feature::RING_PACKED,
    ] {
        let options = BackendOptions {
            masked_features,
            ..BackendOptions::default()
        };
        let server = Server::with_options(memory_disk(64, 1), options);
        let text = run(Command::new(&program)
            .args(["--image-opts", &blkio(&server)])
            .args([
                "-c",
                "write -P 0x5a 1M 4M",
                "-c",
                "flush",
                "-c",
                "read -P 0x5a 1M 4M",
                "-c",
                "read -P 0 0 1M",
                "-c",
                "discard 2M 1M",
                "-c",
                "write -z 1M 1M",
                "-c",
                "read -P 0 1M 1M",
            ]));
        assert!(!text.contains("failed") && !text.contains("error"), "{text}");
        // And the next client, our own, reads what the stranger wrote.
        let frontend = server.frontend(BLOCK);
        let area = frontend.area().clone();
        let mut disk = Block::new(frontend, &area, 1, Options::default()).unwrap();
        let found = perform(
            &mut disk,
            0,
            [Request::read(4 << 11, area.allocate(4096, 512).unwrap())],
        );
        assert_eq!(found, [[0x5a; 4096]]);
    }
}

#[test]
fn qemu_img_bench_before_our_back_end() {
    let Some(program) = peer("qemu-img") else { return };
    let server = Server::start(memory_disk(64, 1));
    for write in [&[][..], &["-w"][..]] {
        run(Command::new(&program)
            .args(["bench", "-c", "20000", "-d", "16", "-s", "4096", "-t", "none"])
            .args(write)
            .args(["--image-opts", &blkio(&server)]));
    }
}
