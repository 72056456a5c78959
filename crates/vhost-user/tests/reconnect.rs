//! Back-ends that go with requests in flight, and the back-ends that take their place.

mod common;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

use common::raw::Raw;
use common::*;
use ringwright_device::{Context, Description, Device, DeviceError, QueueDescription, Session, Worker};
use ringwright_driver::block::{Block, CacheMode, Request as BlockRequest};
use ringwright_driver::entropy::Entropy;
use ringwright_driver::{Options, Transport};
use ringwright_ring::InflightRegion;
use ringwright_spec::{Features, entropy, feature};
use ringwright_vhost_user::backend::{BackendOptions, OFFERED};
use ringwright_vhost_user::frontend::{Frontend, FrontendError};
use ringwright_vhost_user::message::{Header, Inflight, ProtocolFeatures, Request};
use ringwright_vhost_user::socket::Socket;
use zerocopy::IntoBytes;

/// An entropy device that fills every `each`th buffer, and keeps the others until it ends.
struct Keeping {
    each: u32,
    taken: Arc<AtomicU32>,
}

impl Device for Keeping {
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
        Ok(Box::new(Self {
            each: self.each,
            taken: self.taken.clone(),
        }))
    }
}

impl Worker for Keeping {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        let Some(queue) = context.queue(queue) else {
            return Ok(());
        };
        while let Some(chain) = queue.pop() {
            let writable = chain.writable();
            let length = writable.len();
            let filled = self.taken.fetch_add(1, SeqCst).is_multiple_of(self.each);
            if filled {
                writable.fill(0, length, 0xee).unwrap();
            }
            let token = chain.into_token();
            if filled {
                queue.complete(token, length as u32);
            }
        }
        Ok(())
    }
}

fn keeping(each: u32) -> (Server, Arc<AtomicU32>) {
    let taken = Arc::new(AtomicU32::new(0));
    let server = Server::start(Keeping {
        each,
        taken: taken.clone(),
    });
    (server, taken)
}

/// Takes what is filled, each buffer once, until `count` are; waits by notifications alone.
fn collect(driver: &mut Entropy<Frontend>, count: usize) {
    let mut filled = 0;
    while filled < count {
        while let Some((buffer, written)) = driver.poll().unwrap() {
            let mut bytes = vec![0; buffer.len()];
            buffer.read(0, &mut bytes).unwrap();
            assert_eq!((bytes, written), (vec![0xee; buffer.len()], buffer.len()));
            filled += 1;
        }
        if filled < count && !driver.enable_notifications() {
            let frontend = driver.session().transport();
            assert!(
                frontend.wait(None, DEADLINE).unwrap(),
                "{filled} of {count} buffers came"
            );
            frontend.take_interrupt().unwrap();
        }
    }
    assert!(driver.poll().unwrap().is_none(), "more than {count} buffers came");
}

#[test]
fn what_was_in_flight_is_completed_by_the_next_back_end() {
    for format in formats()
        .into_iter()
        // Nothing is given back before what was taken earlier.
        .filter(|format| !format.contains(feature::IN_ORDER))
    {
        let (server, taken) = keeping(3);
        let frontend = server.frontend(ENTROPY);
        let area = frontend.area().clone();
        let mut driver = Entropy::new(frontend, &area, accepting(format)).unwrap();
        let buffer = || area.allocate(64, 16).unwrap();
        (0..9).for_each(|_| driver.request(buffer()).unwrap().unwrap());
        collect(&mut driver, 3);
        // Among them ids that have been used before, out of order.
        (0..3).for_each(|_| driver.request(buffer()).unwrap().unwrap());
        collect(&mut driver, 1);
        let deadline = std::time::Instant::now() + DEADLINE;
        while taken.load(SeqCst) < 12 {
            assert!(std::time::Instant::now() < deadline);
            std::thread::yield_now();
        }
        drop(server);
        // Nobody is there to be notified of these.
        (0..5).for_each(|_| driver.request(buffer()).unwrap().unwrap());
        assert!(driver.session().transport().status().is_err());

        // One back-end more that keeps what it takes, then one that does not.
        let (server, taken) = keeping(u32::MAX);
        taken.store(1, SeqCst);
        driver.session().transport().reconnect(server.stream()).unwrap();
        let deadline = std::time::Instant::now() + DEADLINE;
        while taken.load(SeqCst) < 1 + 8 + 5 {
            assert!(
                std::time::Instant::now() < deadline,
                "{format:?}: {} of 13 are taken",
                taken.load(SeqCst) - 1
            );
            std::thread::yield_now();
        }
        drop(server);
        let (server, taken) = keeping(1);
        driver.session().transport().reconnect(server.stream()).unwrap();
        collect(&mut driver, 13);
        assert_eq!(taken.load(SeqCst), 13, "{format:?}");
        // And it goes on.
        (0..100).for_each(|_| {
            driver.request(buffer()).unwrap().unwrap();
            collect(&mut driver, 1);
        });
    }
}

#[test]
fn a_disk_goes_on_with_another_process() {
    for format in formats() {
        let mut server = Server::start(memory_disk(1, 2));
        let frontend = server.frontend(BLOCK);
        let area = frontend.area().clone();
        let mut disk = Block::new(frontend, &area, 2, accepting(format)).unwrap();
        for (queue, mode) in [
            (0, CacheMode::WriteBack),
            (1, CacheMode::WriteThrough),
            (0, CacheMode::WriteThrough),
            (1, CacheMode::WriteBack),
        ] {
            check_disk(&mut disk, queue, 0, 100);
            assert!(disk.set_cache_mode(mode).unwrap());
            server = Server::start(memory_disk(1, 2));
            let stream = server.stream();
            disk.session().transport().reconnect(stream).unwrap();
            // The driver has switched it, and knows nothing of another process.
            assert_eq!(disk.cache_mode().unwrap(), mode);
        }
        // Another memory disk is empty, which shows who answers.
        let found = perform(
            &mut disk,
            1,
            [BlockRequest::read(0, area.allocate(512, 512).unwrap())],
        );
        assert_eq!(found, [vec![0; 512]]);
        drop(server);
    }
}

/// A connection to `server` that is cut after so many requests.
fn cut(server: &Server, requests: usize) -> UnixStream {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let near = Socket::new(theirs).with_timeout(DEADLINE);
    let far = Socket::new(server.stream()).with_timeout(DEADLINE);
    std::thread::spawn(move || {
        let forward = |from: &Socket, to: &Socket| {
            let message = from.receive().ok()?;
            let descriptors: Vec<_> = message.descriptors.iter().map(AsFd::as_fd).collect();
            let Header { request, flags, .. } = message.header;
            to.send(request, flags, &[&message.payload], &descriptors).ok()?;
            Some(message.header)
        };
        for _ in 0..requests {
            let Some(header) = forward(&near, &far) else {
                return;
            };
            let answered = Request(header.request).rule().is_some_and(|rule| rule.answered);
            if (answered || header.need_reply()) && forward(&far, &near).is_none() {
                return;
            }
        }
    });
    ours
}

#[test]
fn back_ends_that_go_while_they_are_spoken_to() {
    let server = Server::start(counting_entropy());
    let frontend = server.frontend(ENTROPY);
    let area = frontend.area().clone();
    let mut driver = Entropy::new(frontend, &area, Options::default()).unwrap();
    check_counting(&mut driver, &area, 10, 10, None, nap);
    drop(server);
    let server = Server::start(counting_entropy());
    let mut cuts = 0;
    while driver
        .session()
        .transport()
        .reconnect(cut(&server, cuts))
        .is_err()
    {
        cuts += 1;
    }
    assert!(cuts > 10, "{cuts} requests are all it takes");
    driver.session().transport().reconnect(server.stream()).unwrap();
    check_counting(&mut driver, &area, 10, 10, None, nap);
}

#[test]
fn nothing_goes_on_where_requests_would_be_lost() {
    let without = |features| BackendOptions {
        protocol_features: OFFERED.without(features),
        ..BackendOptions::default()
    };
    let untracked = || Server::with_options(counting_entropy(), without(ProtocolFeatures::INFLIGHT_SHMFD));
    let driver = |server: &Server| {
        let frontend = server.frontend(ENTROPY);
        let area = frontend.area().clone();
        Entropy::new(frontend, &area, Options::default()).unwrap()
    };
    let refused = |driver: &mut Entropy<Frontend>, next: &Server| {
        let again = driver.session().transport().reconnect(next.stream());
        assert!(matches!(again, Err(FrontendError::Unsupported(_))));
    };
    let server = untracked();
    let mut first = driver(&server);
    refused(&mut first, &Server::start(counting_entropy()));
    let server = Server::start(counting_entropy());
    let mut second = driver(&server);
    refused(&mut second, &untracked());
    let masked = BackendOptions {
        masked_features: feature::EVENT_IDX,
        ..BackendOptions::default()
    };
    refused(&mut second, &Server::with_options(counting_entropy(), masked));
    // One that can comes after all.
    let server = Server::start(counting_entropy());
    let stream = server.stream();
    second.session().transport().reconnect(stream).unwrap();
    let area = second.session().transport().area().clone();
    check_counting(&mut second, &area, 10, 10, None, nap);
}

#[test]
fn hostile_memory_for_requests_in_flight() {
    let server = Server::start(counting_entropy());
    let raw = Raw(server.stream()).negotiate();
    let describe = |mmap_size, mmap_offset, queues, queue_size| Inflight {
        mmap_size,
        mmap_offset,
        queues,
        queue_size,
        padding: 0,
    };
    let file = common::raw::memfd(4096);
    for wrong in [
        describe(4096, 0, 0, 16),
        describe(4096, 0, 2, 16),
        describe(4096, 0, 1, 0),
        describe(4096, 0, 1, 257),
        describe(4097, 0, 1, 16),
        describe(4096, 8, 1, 16),
        describe(u64::MAX, 8, 1, 16),
        describe(0, 0, 1, 16),
        describe(1024, 4, 1, 16),
        describe(1020, 0, 1, 16),
    ] {
        raw.send(
            Request::SET_INFLIGHT_FD,
            Header::NEED_REPLY,
            wrong.as_bytes(),
            &[file.as_fd()],
        );
        assert_ne!(raw.number(), 0, "{wrong:?}");
    }
    // What is given is what was asked for, and is fresh.
    let socket = Socket::new(raw.0.try_clone().unwrap()).with_timeout(DEADLINE);
    for (features, packed) in [
        (feature::VERSION_1, false),
        (feature::VERSION_1 | feature::RING_PACKED, true),
    ] {
        raw.send(Request::SET_FEATURES, 0, (features.0 as u64).as_bytes(), &[]);
        raw.send(
            Request::GET_INFLIGHT_FD,
            0,
            describe(0, 0, 1, 256).as_bytes(),
            &[],
        );
        let answer = socket.receive().unwrap();
        let description: Inflight = answer.read().unwrap();
        let size = InflightRegion::size(256, packed);
        assert_eq!(description, describe(size, 0, 1, 256));
        let mut bytes = vec![1; size as usize + 1];
        let read = rustix::io::pread(&answer.descriptors[0], &mut bytes, 0).unwrap();
        assert_eq!((read, &bytes[..read]), (size as usize, &vec![0; read][..]));
    }
    drop((raw, socket));
    raw::check_alive(&server, "after hostile memory");
}
