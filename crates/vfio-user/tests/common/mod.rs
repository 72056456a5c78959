//! What the tests share: a server on a thread, devices whose answers are known, and patience with an end.
#![allow(dead_code, reason = "each test program uses a part of this")]

use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringwright_device::{Device, block, entropy};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};
use ringwright_vfio_user::client::{Client, ClientOptions};
use ringwright_vfio_user::server::Server;
use ringwright_vfio_user::socket::Stop;

/// Longer than anything here takes; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// A server that listens, stopped and joined on drop.
pub struct Listening {
    pub path: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Listening {
    pub fn start(device: impl Device + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = Stop::new().unwrap();
        let raised = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut server = Server::for_device(Box::new(device), Default::default()).unwrap();
            server.serve(&listener, &raised).unwrap();
        });
        Self {
            path,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn client(&self) -> Client {
        Client::connect(&self.path, ClientOptions::default()).unwrap()
    }

    /// Ends the server, whoever is connected.
    pub fn stop(&mut self) {
        self.stop.raise();
        self.thread.take().unwrap().join().unwrap();
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.stop.raise();
        let joined = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            joined.map(Result::unwrap);
        }
    }
}

/// Random bytes that are not: they count, so that a byte lost or written twice is seen.
#[derive(Default)]
pub struct Counting(AtomicU8);

impl entropy::backend::Backend for Counting {
    fn fill(&self, into: &mut [u8]) -> io::Result<()> {
        into.iter_mut()
            .for_each(|byte| *byte = self.0.fetch_add(1, Ordering::Relaxed));
        Ok(())
    }
}

pub fn counting_entropy() -> entropy::Entropy {
    entropy::Entropy::new(Arc::new(Counting::default()))
}

pub fn disk(backend: Arc<dyn block::backend::Backend>) -> block::Block {
    block::Block::new(backend, block::Options::default()).unwrap()
}

pub fn memory() -> Arc<dyn block::backend::Backend> {
    Arc::new(block::backend::Memory::new(4 << 20).unwrap())
}

/// A driver that accepts these ring features and everything of the device type.
pub fn accepting(format: Features) -> Options {
    Options {
        accept: format | feature::DEVICE_TYPE_BITS,
        ..Options::default()
    }
}

/// Both ring formats.
pub const FORMATS: [Features; 2] = [
    feature::VERSION_1.union(feature::EVENT_IDX),
    feature::VERSION_1
        .union(feature::EVENT_IDX)
        .union(feature::RING_PACKED),
];

/// Ends a loop that makes no progress.
pub struct Deadline(Instant);

impl Deadline {
    pub fn new() -> Self {
        Self(Instant::now() + DEADLINE)
    }

    pub fn check(&self) {
        assert!(Instant::now() < self.0, "no end in sight");
        std::thread::yield_now();
    }
}

/// The block of 4 KiB that belongs to a number.
pub fn pattern(number: u64) -> Vec<u8> {
    let bytes = number.to_le_bytes().into_iter().cycle().take(4096).enumerate();
    bytes.map(|(at, byte)| byte ^ at as u8).collect()
}

/// Asks for blocks `numbers` of a disk to be written, without waiting.
pub fn write(disk: &mut Block<impl Transport>, area: &Arc<Area>, numbers: impl Iterator<Item = u64>) {
    for number in numbers {
        let buffer = area.allocate(4096, 512).unwrap();
        buffer.write(0, &pattern(number)).unwrap();
        disk.submit(0, Request::write(number * 8, buffer), number)
            .unwrap();
    }
    disk.publish(0).unwrap();
}

/// Waits for `count` requests by looking.
pub fn finish(disk: &mut Block<impl Transport>, count: usize) {
    let deadline = Deadline::new();
    let mut done = 0;
    while done < count {
        deadline.check();
        while let Some(completion) = disk.poll(0).unwrap() {
            completion.result.unwrap();
            done += 1;
        }
    }
}

/// Reads block `number` of a disk, and waits for it by looking.
pub fn read(disk: &mut Block<impl Transport>, area: &Arc<Area>, number: u64) -> Vec<u8> {
    let buffer = area.allocate(4096, 512).unwrap();
    disk.submit(0, Request::read(number * 8, buffer), 0).unwrap();
    disk.publish(0).unwrap();
    let deadline = Deadline::new();
    loop {
        deadline.check();
        if let Some(completion) = disk.poll(0).unwrap() {
            completion.result.unwrap();
            let mut bytes = vec![0; 4096];
            completion
                .data
                .into_buffer()
                .unwrap()
                .read(0, &mut bytes)
                .unwrap();
            return bytes;
        }
    }
}
