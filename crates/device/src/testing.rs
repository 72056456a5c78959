//! A driver for tests: the ring's driver end in memory that it shares with a [`Host`].

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use ringwright_memory::{Area, Buffer, Mapping, Memory, Region};
use ringwright_ring::{ByteOrder, DriverOptions, DriverQueue, Layout, State};
use ringwright_spec::{Features, feature};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::{Device, EventNotify, Host, HostEvents, HostOptions, QueueSetup};

/// Longer than anything here takes; a test that waits so long has failed.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Where the shared memory is, for the device.
pub const BASE: u64 = 0x1_0000_0000;

/// Bytes of shared memory.
const SIZE: usize = 16 << 20;

/// The ring features that tests run with: both formats, with and without what changes how they notify.
pub fn formats() -> Vec<Features> {
    let split = feature::VERSION_1;
    let packed = split | feature::RING_PACKED;
    let more = feature::EVENT_IDX | feature::INDIRECT_DESC;
    vec![
        split,
        split | more,
        packed,
        packed | more,
        packed | more | feature::IN_ORDER,
    ]
}

/// A guest: its memory, and the features that it uses virtqueues with.
#[derive(Clone)]
pub struct Guest {
    pub region: Region,
    area: Arc<Area>,
    pub features: Features,
    /// Of its virtqueues; little-endian unless the interface is a legacy one.
    pub order: ByteOrder,
}

impl Guest {
    pub fn new(features: Features) -> Self {
        Self::with_byte_order(features, ByteOrder::Little)
    }

    pub fn with_byte_order(features: Features, order: ByteOrder) -> Self {
        let region = Region::new(BASE, Arc::new(Mapping::memfd("test", SIZE).unwrap()));
        let area = Area::from_region(region.clone()).unwrap();
        Self {
            region,
            area,
            features,
            order,
        }
    }

    /// The memory, anew.
    pub fn memory(&self) -> Arc<Memory> {
        Arc::new(Memory::new(vec![self.region.clone()]).unwrap())
    }

    /// A virtqueue that is not started yet.
    pub fn queue(&self, index: u16, size: u16) -> Queue {
        let options = DriverOptions { indirect: 8 };
        Queue {
            index,
            ring: DriverQueue::with_byte_order(&self.area, size, self.features, options, self.order).unwrap(),
            area: self.area.clone(),
            kick: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
            call: eventfd(0, EventfdFlags::NONBLOCK).unwrap(),
        }
    }
}

/// A host with its guest, and what it has reported.
pub struct Bench {
    pub host: Host,
    pub events: Arc<Events>,
    pub guest: Guest,
}

impl Bench {
    pub fn new(device: impl Device + 'static, features: Features) -> Self {
        Self::with_options(device, features, HostOptions::default())
    }

    pub fn with_options(device: impl Device + 'static, features: Features, options: HostOptions) -> Self {
        Self::for_guest(device, options, Guest::new(features))
    }

    /// A driver that uses the legacy interface.
    pub fn legacy(device: impl Device + 'static, features: Features, order: ByteOrder) -> Self {
        let options = HostOptions {
            legacy_byte_order: order,
            ..HostOptions::default()
        };
        Self::for_guest(device, options, Guest::with_byte_order(features, order))
    }

    /// Another host for the same driver.
    pub fn successor(&self, device: impl Device + 'static) -> Self {
        Self::for_guest(device, HostOptions::default(), self.guest.clone())
    }

    fn for_guest(device: impl Device + 'static, options: HostOptions, guest: Guest) -> Self {
        let events = Arc::new(Events::default());
        let mut host = Host::new(Box::new(device), options, events.clone()).unwrap();
        host.set_features(guest.features).unwrap();
        host.set_memory(guest.memory()).unwrap();
        Self { host, events, guest }
    }

    /// The memory, anew.
    pub fn memory(&self) -> Arc<Memory> {
        self.guest.memory()
    }

    /// A virtqueue that is not started yet.
    pub fn queue(&self, index: u16, size: u16) -> Queue {
        self.guest.queue(index, size)
    }

    /// A virtqueue that runs.
    pub fn start(&mut self, index: u16, size: u16) -> Queue {
        let queue = self.queue(index, size);
        self.start_again(&queue, State::default());
        queue
    }

    /// Starts a virtqueue where it stands.
    pub fn start_again(&mut self, queue: &Queue, state: State) {
        self.host.start_queue(queue.index, queue.setup(state)).unwrap();
    }
}

/// Some other memory.
pub fn elsewhere() -> Arc<Memory> {
    let mapping = Mapping::anonymous(4096).unwrap();
    Arc::new(Memory::new(vec![Region::new(0, Arc::new(mapping))]).unwrap())
}

/// The driver end of one virtqueue.
pub struct Queue {
    index: u16,
    ring: DriverQueue<Request>,
    area: Arc<Area>,
    kick: OwnedFd,
    call: OwnedFd,
}

/// The buffers of a chain.
struct Request {
    _readable: Vec<Buffer>,
    writable: Vec<Buffer>,
}

/// A chain that came back.
#[derive(Debug, PartialEq, Eq)]
pub struct Completed {
    /// Content of the whole device-writable part.
    pub data: Vec<u8>,
    /// How much of it the device says it wrote.
    pub written: u32,
}

impl Queue {
    pub fn setup(&self, state: State) -> QueueSetup {
        QueueSetup {
            layout: self.layout(),
            state,
            kick: Some(self.kick.try_clone().unwrap()),
            notify: Box::new(EventNotify::new(self.call.try_clone().unwrap()).unwrap()),
        }
    }

    pub fn index(&self) -> u16 {
        self.index
    }

    pub fn layout(&self) -> Layout {
        self.ring.layout()
    }

    /// Makes a chain available: these device-readable elements, then device-writable ones of these lengths. The latter
    /// are filled with 0xa5.
    pub fn add(&mut self, readable: &[&[u8]], writable: &[usize]) {
        let copied = readable.iter().map(|bytes| {
            let buffer = self.area.allocate(bytes.len(), 1).unwrap();
            buffer.write(0, bytes).unwrap();
            buffer
        });
        let filled = writable.iter().map(|length| {
            let buffer = self.area.allocate(*length, 1).unwrap();
            buffer.write(0, &vec![0xa5; *length]).unwrap();
            buffer
        });
        let request = Request {
            _readable: copied.collect(),
            writable: filled.collect(),
        };
        let segments = |buffers: &[Buffer]| buffers.iter().map(Buffer::segment).collect::<Vec<_>>();
        let (readable, writable) = (segments(&request._readable), segments(&request.writable));
        if let Err(refused) = self.ring.add(&readable, &writable, request) {
            panic!("{}", refused.reason);
        }
    }

    /// Publishes what was added, and notifies the device if it wants that.
    pub fn publish(&mut self) {
        if self.ring.publish() {
            self.kick();
        }
    }

    /// Publishes what was added, and says whether the device wants to be notified.
    pub fn publish_only(&mut self) -> bool {
        self.ring.publish()
    }

    /// Whether the device wants to be notified. Not for virtqueues with EVENT_IDX.
    pub fn wants_notification(&self, guest: &Guest) -> bool {
        let packed = guest.features.contains(feature::RING_PACKED);
        // `flags`: of the used ring, or behind `desc` of the event suppression structure. 1 asks for nothing in both.
        let offset = if packed { 2 } else { 0 };
        let mut flags = [0; 2];
        let memory = guest.memory();
        memory
            .read(self.layout().device_area + offset, &mut flags)
            .unwrap();
        flags == [0; 2]
    }

    pub fn kick(&self) {
        rustix::io::write(&self.kick, &1u64.to_ne_bytes()).unwrap();
    }

    /// As [`Queue::submit`], but does not notify the device.
    pub fn submit_silently(&mut self, readable: &[&[u8]], writable: &[usize]) {
        self.add(readable, writable);
        self.ring.publish();
    }

    pub fn submit(&mut self, readable: &[&[u8]], writable: &[usize]) {
        self.add(readable, writable);
        self.publish();
    }

    /// A chain that has come back already.
    pub fn poll(&mut self) -> Option<Completed> {
        let used = self.ring.pop().unwrap()?;
        let mut data = Vec::new();
        for buffer in &used.data.writable {
            let start = data.len();
            data.resize(start + buffer.len(), 0);
            buffer.read(0, &mut data[start..]).unwrap();
        }
        Some(Completed {
            data,
            written: used.written,
        })
    }

    /// The next chain that comes back, for which the device notifies.
    pub fn wait(&mut self) -> Completed {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(completed) = self.poll_or_arm() {
                return completed;
            }
            assert!(
                self.notified(deadline.saturating_duration_since(Instant::now())),
                "no used buffer in time"
            );
        }
    }

    /// A chain that has come back already; without one the device will notify of the next.
    pub fn poll_or_arm(&mut self) -> Option<Completed> {
        loop {
            self.ring.disable_notifications();
            if let Some(completed) = self.poll() {
                return Some(completed);
            }
            if !self.ring.enable_notifications() {
                return None;
            }
        }
    }

    /// Whether a used buffer notification is there, or comes within `timeout`; it is taken.
    pub fn notified(&self, timeout: Duration) -> bool {
        let readable = wait_readable(&self.call, timeout);
        if readable {
            rustix::io::read(&self.call, &mut [0; 8]).unwrap();
        }
        readable
    }

    pub fn request(&mut self, readable: &[&[u8]], writable: &[usize]) -> Completed {
        self.submit(readable, writable);
        self.wait()
    }

    pub fn in_flight(&self) -> u16 {
        self.ring.in_flight()
    }
}

/// What a host has reported.
#[derive(Default)]
pub struct Events {
    seen: Mutex<(usize, Vec<String>)>,
    changed: Condvar,
}

impl HostEvents for Events {
    fn config_changed(&self) {
        self.seen.lock().unwrap().0 += 1;
        self.changed.notify_all();
    }

    fn needs_reset(&self, reason: &str) {
        self.seen.lock().unwrap().1.push(reason.to_owned());
        self.changed.notify_all();
    }
}

impl Events {
    /// How often the configuration space has changed.
    pub fn config_changes(&self) -> usize {
        self.seen.lock().unwrap().0
    }

    /// Waits until it has changed so often.
    pub fn wait_config_changes(&self, count: usize) {
        self.wait(|seen| (seen.0 >= count).then_some(()));
    }

    pub fn resets(&self) -> Vec<String> {
        self.seen.lock().unwrap().1.clone()
    }

    /// Waits until the device needs a reset, and says why.
    pub fn wait_needs_reset(&self) -> String {
        self.wait(|seen| seen.1.first().cloned())
    }

    fn wait<R>(&self, done: impl Fn(&(usize, Vec<String>)) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(result) = done(&seen) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no such event in time");
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

/// Waits until `done`, looking again and again.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !done() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::yield_now();
    }
}

/// Whether the descriptor becomes readable within `timeout`.
pub fn wait_readable(descriptor: &impl std::os::fd::AsFd, timeout: Duration) -> bool {
    let timeout = Timespec {
        tv_sec: timeout.as_secs() as i64,
        tv_nsec: timeout.subsec_nanos().into(),
    };
    let mut descriptors = [PollFd::new(descriptor, PollFlags::IN)];
    loop {
        match poll(&mut descriptors, Some(&timeout)) {
            Err(rustix::io::Errno::INTR) => {}
            outcome => return outcome.unwrap() == 1,
        }
    }
}

/// A program of the peers folder, which `RINGWRIGHT_PEERS` names. `None` without it, which is said; in CI it is there.
pub fn peer(program: &str) -> Option<PathBuf> {
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS") else {
        assert!(std::env::var_os("CI").is_none(), "RINGWRIGHT_PEERS is not set");
        eprintln!("skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches {program})");
        return None;
    };
    let path = PathBuf::from(folder).join("bin").join(program);
    if !path.exists() {
        assert!(std::env::var_os("CI").is_none(), "{} is missing", path.display());
        eprintln!(
            "skipped: {} is missing (`cargo xtask setup` fetches it)",
            path.display()
        );
        return None;
    }
    Some(path)
}
