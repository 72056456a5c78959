//! Disks whose images change their size while they are served.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::Area;
use ringwright_spec::block;
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use rustix::process::{Pid, Signal, kill_process};

/// How long anything here may take.
const DEADLINE: Duration = Duration::from_secs(20);

/// dev:blk:device-operation:02
#[test]
fn a_driver_sees_what_an_image_has_become_when_the_server_is_told_to_look() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk.img");
    fs::write(&image, [1; 8192]).unwrap();
    let resize = |size| File::options().write(true).open(&image).unwrap().set_len(size);
    let mut server = Server::start(folder.path());
    let frontend =
        Frontend::connect(folder.path().join("s"), FrontendOptions::new(block::DEVICE.id)).unwrap();
    let area = frontend.area().clone();
    let mut disk = Block::new(frontend, &area, 1, Options::default()).unwrap();
    assert_eq!(disk.geometry().capacity, 16);
    assert!(!config_changed(&mut disk));

    resize(1 << 20).unwrap();
    server.hang_up();
    wait_until(|| config_changed(&mut disk));
    assert_eq!(disk.look_for_capacity().unwrap(), Some(2048));
    assert_eq!(read(&mut disk, &area, 2047), [0; 512]);
    assert_eq!(read(&mut disk, &area, 15), [1; 512]);

    // What is no size of a disk is not taken over, and the disk goes on as it was.
    resize(1000).unwrap();
    server.hang_up();
    server.says("its size stays as it was");
    resize(1 << 20).unwrap();
    server.hang_up();
    server.says("disk.img: 1048576 bytes");
    assert!(!config_changed(&mut disk));
    assert_eq!(read(&mut disk, &area, 2047), [0; 512]);

    resize(4096).unwrap();
    server.hang_up();
    wait_until(|| config_changed(&mut disk));
    assert_eq!(disk.look_for_capacity().unwrap(), Some(8));
}

/// Whether the device has notified of a change since it was last asked.
fn config_changed(disk: &mut Block<Frontend>) -> bool {
    disk.session().transport().take_interrupt().unwrap().config
}

fn read(disk: &mut Block<Frontend>, area: &Arc<Area>, sector: u64) -> [u8; 512] {
    let buffer = area.allocate(512, 512).unwrap();
    disk.submit(0, Request::read(sector, buffer), 0).unwrap();
    disk.publish(0).unwrap();
    let mut completion = None;
    wait_until(|| {
        completion = disk.poll(0).unwrap();
        completion.is_some()
    });
    let completion = completion.unwrap();
    completion.result.unwrap();
    let buffer = completion.data.into_buffer().unwrap();
    buffer.slices().read_array(0).unwrap()
}

fn wait_until(mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE);
        std::thread::yield_now();
    }
}

/// The program under test, which ends with this.
struct Server {
    child: Child,
    log: Lines<BufReader<ChildStderr>>,
}

impl Server {
    fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringwright"))
            .args(["serve", "block", "disk.img", "--socket", "s"])
            .current_dir(folder)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut server = Self { child, log };
        server.says("waiting");
        server
    }

    /// Reads the log up to a line with this in it.
    fn says(&mut self, text: &str) {
        let found = self
            .log
            .by_ref()
            .map_while(Result::ok)
            .any(|line| line.contains(text));
        assert!(found, "the server has ended");
    }

    fn hang_up(&self) {
        kill_process(Pid::from_child(&self.child), Signal::HUP).unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
