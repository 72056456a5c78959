//! What a device is moved by: the dirty log while it runs, its state once it has stopped.

mod common;

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use common::raw::Raw;
use common::*;
use ringwright_device::{Context, Description, Device, DeviceError, QueueDescription, Session, Worker};
use ringwright_driver::block::{Block, Request as BlockRequest};
use ringwright_driver::entropy::Entropy;
use ringwright_memory::{Buffer, DirtyLog};
use ringwright_spec::{Features, entropy, feature};
use ringwright_vhost_user::backend::OFFERED;
use ringwright_vhost_user::frontend::{Frontend, FrontendError};
use ringwright_vhost_user::message::{DeviceState, Header, LOG_ALL, Log, ProtocolFeatures, Request};
use ringwright_vhost_user::socket::Socket;
use rustix::pipe::{PipeFlags, pipe_with};
use zerocopy::IntoBytes;

const PAGE: usize = 4096;

/// Numbers of the pages that are marked, which are then not marked any more.
fn marked(log: &DirtyLog) -> Vec<u64> {
    let ranges = log
        .take()
        .flat_map(|(start, length)| start / PAGE as u64..(start + length) / PAGE as u64);
    ranges.collect()
}

fn page(buffer: &Buffer) -> u64 {
    buffer.segment().address() / PAGE as u64
}

#[test]
fn the_log_has_what_the_device_writes_and_little_else() {
    let server = Server::start(memory_disk(1, 1));
    for format in formats() {
        let frontend = server.frontend(BLOCK);
        let area = frontend.area().clone();
        let mut disk = Block::new(frontend, &area, 1, accepting(format)).unwrap();
        // Requests take memory of their own, so the buffers come at the end: pages of nothing else.
        let buffers: Vec<_> = (0..8).map(|_| area.allocate(PAGE, PAGE).unwrap()).collect();
        let pages: Vec<_> = buffers.iter().map(page).collect();
        let log = disk.session().transport().start_logging().unwrap();
        let mut unused = Vec::new();
        for (number, buffer) in buffers.into_iter().enumerate() {
            match number % 4 {
                0 => drop(perform(&mut disk, 0, [BlockRequest::read(0, buffer)])),
                1 => drop(perform(&mut disk, 0, [BlockRequest::write(0, buffer)])),
                _ => unused.push(buffer),
            }
        }
        let found = marked(&log);
        let data: Vec<_> = found.iter().filter(|page| pages.contains(page)).collect();
        assert_eq!(data, [&pages[0], &pages[4]], "{format:?}");
        // The virtqueue, and where the statuses are.
        assert!((2..10).contains(&(found.len() - data.len())), "{found:?}");
        // Nothing is logged any more, though it is written.
        disk.session().transport().stop_logging().unwrap();
        marked(&log);
        let buffer = area.allocate(PAGE, PAGE).unwrap();
        perform(&mut disk, 0, [BlockRequest::read(0, buffer)]);
        assert!(marked(&log).is_empty());
        // And again with another log, in which the old one's marks are not.
        let log = disk.session().transport().start_logging().unwrap();
        assert!(marked(&log).is_empty());
        perform(
            &mut disk,
            0,
            [BlockRequest::read(0, unused.pop().expect("one is left"))],
        );
        assert!(marked(&log).contains(&pages[7]), "{format:?}");
    }
}

/// Takes buffers at once, and fills them when it is told to.
struct Late {
    taken: Arc<AtomicU32>,
    state: Vec<u8>,
}

/// The worker's side of [`Late`]: what it has taken.
struct Holding {
    taken: Arc<AtomicU32>,
    tokens: Vec<ringwright_ring::Token>,
}

impl Device for Late {
    fn description(&self) -> Description {
        Description {
            device_type: &entropy::DEVICE,
            features: Features::NONE,
            queues: vec![QueueDescription {
                max_size: 256,
                group: 0,
            }],
            config_size: 0,
            shared_memory: Vec::new(),
        }
    }

    fn worker(&mut self, _group: usize, _session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        Ok(Box::new(Holding {
            taken: self.taken.clone(),
            tokens: Vec::new(),
        }))
    }

    fn save(&self) -> Vec<u8> {
        self.state.clone()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        if state.first() == Some(&13) {
            return Err(DeviceError::Unavailable("an unlucky state"));
        }
        self.state = state.to_vec();
        Ok(())
    }
}

impl Worker for Holding {
    /// A buffer of one byte lets go of all that came before.
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        let Some(queue) = context.queue(queue) else {
            return Ok(());
        };
        while let Some(chain) = queue.pop() {
            let length = chain.writable().len();
            let _ = chain.writable().fill(0, length, 0xee);
            self.tokens.push(chain.into_token());
            self.taken.fetch_add(1, SeqCst);
            if length == 1 {
                self.tokens.drain(..).for_each(|token| queue.complete(token, 1));
            }
        }
        Ok(())
    }

    fn stop_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        if let Some(queue) = context.queue(queue) {
            self.tokens.drain(..).for_each(|token| queue.complete(token, 1));
        }
        Ok(())
    }
}

fn late(state: &[u8]) -> (Server, Arc<AtomicU32>) {
    let taken = Arc::new(AtomicU32::new(0));
    let server = Server::start(Late {
        taken: taken.clone(),
        state: state.to_vec(),
    });
    (server, taken)
}

#[test]
fn a_buffer_taken_before_there_was_a_log_is_in_it() {
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let (server, taken) = late(&[]);
        let frontend = server.frontend(ENTROPY);
        let area = frontend.area().clone();
        let mut driver = Entropy::new(frontend, &area, accepting(format)).unwrap();
        let buffer = area.allocate(PAGE, PAGE).unwrap();
        let early = page(&buffer);
        driver.request(buffer).unwrap().unwrap();
        let deadline = std::time::Instant::now() + DEADLINE;
        while taken.load(SeqCst) == 0 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        let log = driver.session().transport().start_logging().unwrap();
        driver.request(area.allocate(1, 1).unwrap()).unwrap().unwrap();
        let mut back = 0;
        while back < 2 {
            assert!(std::time::Instant::now() < deadline);
            nap(driver.session().transport());
            while driver.poll().unwrap().is_some() {
                back += 1;
            }
        }
        assert!(marked(&log).contains(&early), "{format:?}");
    }
}

#[test]
fn a_state_goes_from_one_back_end_to_another() {
    // More than a pipe holds.
    let state: Vec<u8> = (0..1_000_000u32).map(|number| number.to_le_bytes()[1]).collect();
    let (server, _) = late(&state);
    let mut source = server.frontend(ENTROPY);
    let saved = source.save_state().unwrap();
    assert!(saved.len() > state.len());
    let (other, _) = late(&[]);
    let mut destination = other.frontend(ENTROPY);
    assert_ne!(destination.save_state().unwrap(), saved);
    destination.load_state(&saved).unwrap();
    assert_eq!(destination.save_state().unwrap(), saved);
    // The source can go on, and be asked again.
    assert_eq!(source.save_state().unwrap(), saved);

    // What is no state, and what is one that the device does not like.
    let refused = |frontend: &mut Frontend, state: &[u8]| {
        let refused = frontend.load_state(state);
        assert!(matches!(refused, Err(FrontendError::Refused { .. })));
    };
    refused(&mut destination, &saved[..saved.len() - 1]);
    refused(&mut destination, b"no state");
    refused(&mut destination, b"");
    let (unlucky, _) = late(&[13]);
    let unlucky = unlucky.frontend(ENTROPY).save_state().unwrap();
    refused(&mut destination, &unlucky);

    // Nor is a state moved while a virtqueue runs, and it can be afterwards.
    let area = source.area().clone();
    let mut driver = Entropy::new(source, &area, accepting(feature::VERSION_1)).unwrap();
    let transport = driver.session().transport();
    let running = transport.save_state();
    assert!(matches!(running, Err(FrontendError::Refused { .. })));
    refused(transport, &saved);
    transport.stop_queue(0).unwrap();
    transport.save_state().unwrap();
}

fn pipe() -> (OwnedFd, OwnedFd) {
    pipe_with(PipeFlags::CLOEXEC).unwrap()
}

#[test]
fn hostile_logs_and_states() {
    let (server, _) = late(&vec![7; 1 << 20]);
    let raw = Raw(server.stream()).negotiate();
    let file = common::raw::memfd(4096);
    for (size, offset) in [(0, 0), (4097, 0), (4096, 1), (u64::MAX, 1), (1 << 40, 0)] {
        raw.send(
            Request::SET_LOG_BASE,
            Header::NEED_REPLY,
            Log { size, offset }.as_bytes(),
            &[file.as_fd()],
        );
        assert_ne!(raw.number(), 0, "{size:#x}, {offset:#x}");
    }
    // A log of one byte, for memory of many; a descriptor to notify by that is none.
    raw.send(
        Request::SET_LOG_BASE,
        0,
        Log { size: 1, offset: 9 }.as_bytes(),
        &[file.as_fd()],
    );
    let socket = Socket::new(raw.0.try_clone().unwrap()).with_timeout(DEADLINE);
    assert!(socket.receive().unwrap().payload.is_empty());
    raw.send(Request::SET_LOG_FD, Header::NEED_REPLY, &[], &[file.as_fd()]);
    assert_eq!(raw.number(), 0);
    let features = (feature::VERSION_1 | LOG_ALL).0 as u64;
    raw.send(
        Request::SET_FEATURES,
        Header::NEED_REPLY,
        features.as_bytes(),
        &[],
    );
    assert_eq!(raw.number(), 0);

    let begin = |direction, phase, file: BorrowedFd<'_>| {
        let parameters = DeviceState { direction, phase };
        raw.send(Request::SET_DEVICE_STATE_FD, 0, parameters.as_bytes(), &[file]);
        raw.number()
    };
    let check = || {
        raw.send(Request::CHECK_DEVICE_STATE, 0, &[], &[]);
        raw.number()
    };
    assert_ne!(check(), 0, "nothing was moved");
    let (reader, writer) = pipe();
    assert_eq!(begin(2, 0, writer.as_fd()), 0x101);
    assert_eq!(begin(0, 1, writer.as_fd()), 0x101);
    // Nobody reads it to its end, and nobody reads it.
    assert_eq!(begin(0, 0, writer.as_fd()), 0x100);
    assert_ne!(check(), 0);
    drop(reader);
    assert_eq!(begin(0, 0, writer.as_fd()), 0x100);
    assert_ne!(check(), 0);
    // A state without end, one that never begins, and one through a descriptor for writing only.
    let zeros = File::open("/dev/zero").unwrap();
    assert_eq!(begin(1, 0, zeros.as_fd()), 0x100);
    assert_ne!(check(), 0);
    let (reader, writer) = pipe();
    assert_eq!(begin(1, 0, reader.as_fd()), 0x100);
    assert_ne!(check(), 0);
    assert_eq!(begin(1, 0, writer.as_fd()), 0x100);
    assert_ne!(check(), 0);
    // Messages go on meanwhile, and the end of the connection ends it.
    assert_eq!(begin(1, 0, reader.as_fd()), 0x100);
    raw.send(Request::GET_QUEUE_NUM, 0, &[], &[]);
    assert_eq!(raw.number(), 1);
    drop((raw, socket));

    let raw = Raw(server.stream());
    let alone = OFFERED.without(ProtocolFeatures::INFLIGHT_SHMFD).0;
    raw.send(Request::SET_PROTOCOL_FEATURES, 0, alone.as_bytes(), &[]);
    raw.expect_close("stopping with requests in flight, which are not tracked");
    let frontend = server.frontend(ENTROPY);
    assert_eq!(frontend.queues(), 1);
}
