//! What the tests share: a back-end on a thread, devices whose answers are known, and patience with an end.
#![allow(dead_code, reason = "each test program uses a part of this")]

pub mod raw;

use std::io;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ringwright_device::{Device, block, entropy};
use ringwright_driver::block::{Block, Request};
use ringwright_driver::entropy::Entropy;
use ringwright_driver::{Options, Transport};
use ringwright_spec::{Features, feature};
use ringwright_vhost_user::backend::{Backend, BackendOptions};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use ringwright_vhost_user::socket::Stop;

/// Longer than anything here takes; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub const ENTROPY: u32 = 4;
pub const BLOCK: u32 = 2;

/// The ring features to run with: both formats, with and without what changes how they work.
pub fn formats() -> Vec<Features> {
    let split = feature::VERSION_1;
    let packed = split | feature::RING_PACKED;
    let both = feature::EVENT_IDX | feature::INDIRECT_DESC;
    let mut formats = Vec::new();
    for format in [split, packed] {
        for more in [Features::NONE, feature::EVENT_IDX, feature::INDIRECT_DESC, both] {
            formats.extend([format | more, format | more | feature::IN_ORDER]);
        }
    }
    formats
}

/// A driver that accepts these ring features and everything of the device type.
pub fn accepting(format: Features) -> Options {
    Options {
        accept: format | feature::DEVICE_TYPE_BITS,
        indirect: 8,
        ..Options::default()
    }
}

/// The program of that name, or `None` on a developer's machine without peers, which is said.
#[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
pub fn peer(program: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches {program})");
        return None;
    };
    let path = PathBuf::from(folder).join("bin").join(program);
    assert!(path.exists(), "{} is missing", path.display());
    Some(path)
}

/// A back-end that listens, stopped and joined on drop.
pub struct Server {
    pub path: PathBuf,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Server {
    pub fn start(device: impl Device + 'static) -> Self {
        Self::with_options(device, BackendOptions::default())
    }

    pub fn with_options(device: impl Device + 'static, options: BackendOptions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("device.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let stop = Stop::new().unwrap();
        let raised = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut backend = Backend::new(Box::new(device), options).unwrap();
            backend.serve(&listener, &raised).unwrap();
        });
        Self {
            path,
            stop,
            thread: Some(thread),
            _folder: folder,
        }
    }

    pub fn stream(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    pub fn frontend(&self, device_id: u32) -> Frontend {
        Frontend::connect(&self.path, FrontendOptions::new(device_id)).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.raise();
        let joined = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            joined.unwrap().unwrap();
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

pub fn memory_disk(megabytes: u32, queues: u16) -> block::Block {
    let backend = Arc::new(block::backend::Memory::new(megabytes << 20).unwrap());
    block::Block::new(
        backend,
        block::Options {
            queues,
            ..Default::default()
        },
    )
    .unwrap()
}

/// Fetches `count` buffers of `length` bytes from a counting device, several at a time, and checks that no byte is
/// missing. `first` is the count that the first byte must have, or `None` for any; returns the one that comes next.
pub fn check_counting<T: Transport>(
    driver: &mut Entropy<T>,
    area: &Arc<ringwright_memory::Area>,
    count: usize,
    length: usize,
    mut next: Option<u8>,
    wait: impl Fn(&mut T),
) -> Option<u8> {
    let deadline = Instant::now() + DEADLINE;
    let mut spare: Vec<_> = (0..8).map(|_| area.allocate(length, 16).unwrap()).collect();
    let (mut asked, mut done) = (0, 0);
    while done < count {
        assert!(Instant::now() < deadline, "{done} of {count} buffers came");
        while asked < count
            && let Some(buffer) = spare.pop()
        {
            if let Err(buffer) = driver.request(buffer).unwrap() {
                spare.push(buffer);
                break;
            }
            asked += 1;
        }
        let before = done;
        while let Some((buffer, written)) = driver.poll().unwrap() {
            assert_eq!(written, length);
            let mut bytes = vec![0; length];
            buffer.read(0, &mut bytes).unwrap();
            for byte in bytes {
                assert_eq!(byte, *next.get_or_insert(byte), "in buffer {done}");
                next = Some(byte.wrapping_add(1));
            }
            spare.push(buffer);
            done += 1;
        }
        if done == before {
            wait(driver.session().transport());
        }
    }
    next
}

/// For [`check_counting`] over a front-end. The entropy driver does not ask for notifications anew, so this only naps.
pub fn nap(frontend: &mut Frontend) {
    frontend.wait(None, Duration::from_millis(1)).unwrap();
    frontend.take_interrupt().unwrap();
}

/// Performs requests on `queue` of a disk and waits for all of them by used buffer notifications alone: a lost one is
/// found by the deadline. Returns what the reads brought, by tag.
pub fn perform(
    disk: &mut Block<Frontend>,
    queue: u16,
    requests: impl IntoIterator<Item = Request>,
) -> Vec<Vec<u8>> {
    let mut requests = requests.into_iter().peekable();
    let (mut tag, mut outstanding) = (0u64, 0);
    let mut results = Vec::new();
    while requests.peek().is_some() || outstanding > 0 {
        while let Some(request) = requests.next_if(|_| outstanding < 16) {
            disk.submit(queue, request, tag).unwrap();
            tag += 1;
            outstanding += 1;
            results.push(Vec::new());
        }
        disk.publish(queue).unwrap();
        while let Some(completion) = disk.poll(queue).unwrap() {
            completion.result.unwrap();
            outstanding -= 1;
            for buffer in completion.data.as_slice() {
                let mut bytes = vec![0; buffer.len()];
                buffer.read(0, &mut bytes).unwrap();
                results[completion.tag as usize].extend(bytes);
            }
        }
        if outstanding > 0 && !disk.enable_notifications(queue) {
            let frontend = disk.session().transport();
            assert!(
                frontend.wait(Some(queue), DEADLINE).unwrap(),
                "no notification came"
            );
            frontend.take_interrupt().unwrap();
        }
    }
    results
}

/// Writes `blocks` blocks of 4 KiB from sector `start` on, reads them back and compares.
pub fn check_disk(disk: &mut Block<Frontend>, queue: u16, start: u64, blocks: u64) {
    const BLOCK: usize = 4096;
    let area = disk.session().transport().area().clone();
    let sector = |block: u64| start + block * (BLOCK as u64 / 512);
    let pattern = |block: u64| -> Vec<u8> {
        let seed = (start + block).to_le_bytes();
        seed.iter()
            .copied()
            .cycle()
            .take(BLOCK)
            .enumerate()
            .map(|(at, byte)| byte ^ at as u8)
            .collect()
    };
    let buffer = || area.allocate(BLOCK, 512).unwrap();
    perform(
        disk,
        queue,
        (0..blocks).map(|block| {
            let buffer = buffer();
            buffer.write(0, &pattern(block)).unwrap();
            Request::write(sector(block), buffer)
        }),
    );
    let found = perform(
        disk,
        queue,
        (0..blocks).map(|block| Request::read(sector(block), buffer())),
    );
    for (block, found) in (0..blocks).zip(found) {
        assert_eq!(found, pattern(block), "block {block}");
    }
}
