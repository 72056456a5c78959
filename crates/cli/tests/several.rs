//! Several devices out of one configuration file, each used by a driver of its own at the same time, while nobody reads the
//! log any more.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ringwright_driver::Options;
use ringwright_driver::block::{Block, Request};
use ringwright_driver::entropy::Entropy;
use ringwright_memory::{Area, Buffer};
use ringwright_spec::{Features, block, entropy, feature};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};

const CONFIGURATION: &str = r#"
    [[device]]
    type = "block"
    image = "first.img"
    serial = "one"
    socket = "first.sock"

    [[device]]
    type = "block"
    image = "second.img"
    readonly = true
    socket = "second.sock"

    [[device]]
    type = "entropy"
    socket = "entropy.sock"
"#;

/// How long a device may take.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn devices_of_one_file_serve_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("devices.toml"), CONFIGURATION).unwrap();
    fs::write(path("first.img"), [1; 8192]).unwrap();
    fs::write(path("second.img"), [2; 4096]).unwrap();
    let _server = Server::start(folder.path());

    let mut first = Disk::connect(&path("first.sock"), feature::RING_PACKED);
    let mut second = Disk::connect(&path("second.sock"), Features::NONE);
    let frontend = connect(&path("entropy.sock"), entropy::DEVICE.id);
    let area = frontend.area().clone();
    let mut source = Entropy::new(frontend, &area, Options::default()).unwrap();

    assert_eq!(
        (
            first.driver.geometry().capacity,
            second.driver.geometry().capacity
        ),
        (16, 8)
    );
    assert_eq!(first.read(3), [1; 512]);
    first.write(3, [7; 512]);
    assert_eq!(second.read(3), [2; 512]);
    assert!(second.driver.geometry().read_only);
    assert_eq!((first.read(3), second.read(3)), ([7; 512], [2; 512]));
    assert_eq!(first.serial()[..4], *b"one\0");

    let random = |driver: &mut Entropy<Frontend>| {
        let buffer = area.allocate(32, 1).unwrap();
        driver.request(buffer).unwrap().unwrap();
        let (buffer, written) = wait(|| driver.poll().unwrap());
        assert_eq!(written, 32);
        buffer.slices().read_array::<32>(0).unwrap()
    };
    assert_ne!(random(&mut source), random(&mut source));
    drop(first);
    assert_eq!(fs::read(path("first.img")).unwrap()[3 * 512..4 * 512], [7; 512]);
}

/// A disk and its driver.
struct Disk {
    driver: Block<Frontend>,
    area: Arc<Area>,
}

impl Disk {
    fn connect(socket: &Path, wanted: Features) -> Self {
        let frontend = connect(socket, block::DEVICE.id);
        let area = frontend.area().clone();
        let driver = Block::new(frontend, &area, 1, Options::default()).unwrap();
        let mut disk = Self { driver, area };
        assert!(disk.driver.session().has(wanted));
        disk
    }

    fn read(&mut self, sector: u64) -> [u8; 512] {
        let buffer = self.area.allocate(512, 512).unwrap();
        let buffer = self.carry_out(Request::read(sector, buffer));
        buffer.slices().read_array(0).unwrap()
    }

    fn write(&mut self, sector: u64, data: [u8; 512]) {
        let buffer = self.area.allocate(512, 512).unwrap();
        buffer.slices().write(0, &data).unwrap();
        self.carry_out(Request::write(sector, buffer));
    }

    fn serial(&mut self) -> [u8; block::ID_BYTES] {
        let buffer = self.area.allocate(block::ID_BYTES, 1).unwrap();
        let buffer = self.carry_out(Request::get_id(buffer));
        buffer.slices().read_array(0).unwrap()
    }

    /// Gives the request's buffer back.
    fn carry_out(&mut self, request: Request) -> Buffer {
        self.driver.submit(0, request, 0).unwrap();
        self.driver.publish(0).unwrap();
        let completion = wait(|| self.driver.poll(0).unwrap());
        completion.result.unwrap();
        completion.data.into_buffer().unwrap()
    }
}

fn connect(socket: &Path, device: u32) -> Frontend {
    Frontend::connect(socket, FrontendOptions::new(device)).unwrap()
}

/// Asks until there is an answer.
fn wait<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "no answer");
        thread::yield_now();
    }
}

/// The program under test, which ends with this.
struct Server(Child);

impl Server {
    /// Starts it, and waits until all devices say that they wait for a client.
    fn start(folder: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_ringwright"))
            .args(["serve", "--config", "devices.toml"])
            .current_dir(folder)
            .env("RUST_LOG", "info")
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut server = Self(child);
        let log = BufReader::new(server.0.stderr.take().unwrap());
        let waiting = log
            .lines()
            .map_while(Result::ok)
            .filter(|line| line.contains("waiting"));
        assert_eq!(waiting.take(3).count(), 3);
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
