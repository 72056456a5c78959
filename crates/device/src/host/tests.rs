use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::time::Instant;

use ringwright_spec::block::{self, ReqType};
use ringwright_spec::{entropy, feature};

use super::*;
use crate::block::{Block, Options, backend};
use crate::testing::{Bench, DEADLINE, Queue, formats, wait_readable, wait_until};
use crate::{Context, DeviceError, EventNotify, Interest, QueueDescription, Source, Worker};

/// Makes a worker for a session.
type MakeWorker = dyn FnMut(&Session) -> Box<dyn Worker> + Send;

/// A device whose workers are made by the test. All queues are in group 0.
struct Probe {
    queues: usize,
    worker: Box<MakeWorker>,
}

impl Probe {
    fn new<W: Worker + 'static>(
        queues: usize,
        mut worker: impl FnMut(&Session) -> W + Send + 'static,
    ) -> Self {
        Self {
            queues,
            worker: Box::new(move |session| Box::new(worker(session))),
        }
    }
}

impl Device for Probe {
    fn description(&self) -> Description {
        Description {
            device_type: &entropy::DEVICE,
            features: Features::NONE,
            queues: vec![
                QueueDescription {
                    max_size: 64,
                    group: 0
                };
                self.queues
            ],
            config_size: 4,
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        vec![1, 2, 3, 4]
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        Ok((self.worker)(session))
    }
}

/// Answers every chain with the number of chains so far.
#[derive(Default)]
struct Count(u32);

impl Worker for Count {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        context.serve(queue, |chain| {
            self.0 += 1;
            let answer = self.0.to_le_bytes();
            Ok(chain.writable().write(0, &answer).map_or(0, |()| 4))
        })
    }

    fn save(&self) -> Vec<u8> {
        self.0.to_le_bytes().to_vec()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        self.0 = u32::from_le_bytes(state.try_into().unwrap());
        Ok(())
    }
}

fn counting(queues: usize) -> Probe {
    Probe::new(queues, |_| Count::default())
}

fn ask(queue: &mut Queue) -> u32 {
    queue.submit(&[], &[4]);
    answer(queue)
}

fn answer(queue: &mut Queue) -> u32 {
    u32::from_le_bytes(queue.wait().data.try_into().unwrap())
}

#[test]
fn a_queue_stops_where_it_is_and_goes_on_there() {
    for features in formats() {
        let mut bench = Bench::new(counting(1), features);
        let mut queue = bench.start(0, 4);
        for round in 0..20 {
            // Three requests of a queue of four: it wraps in every position.
            for request in 1..=3 {
                assert_eq!(ask(&mut queue), round * 4 + request);
            }
            let state = bench.host.stop_queue(0).unwrap();
            assert!(!bench.host.is_running(0));
            queue.submit(&[], &[4]);
            queue.kick();
            assert_eq!(queue.poll(), None);
            bench.start_again(&queue, state);
            assert_eq!(answer(&mut queue), round * 4 + 4);
        }
        assert_eq!(bench.host.counters()[0].chains, 80);
    }
}

#[test]
fn the_memory_changes_under_load() {
    for features in formats() {
        let disk = backend::Memory::new(1 << 20).unwrap();
        let disk = Block::new(Arc::new(disk), Options::default()).unwrap();
        let mut bench = Bench::new(disk, features | block::features::FLUSH);
        let mut queue = bench.start(0, 128);
        let driver = std::thread::spawn(move || {
            for round in 0..500u32 {
                let mut head = [0; 16];
                head[8..].copy_from_slice(&u64::from(round).to_le_bytes());
                let data = [round as u8; 512];
                head[0] = ReqType::OUT.0 as u8;
                assert_eq!(queue.request(&[&head, &data], &[1]).data, [0]);
                head[0] = ReqType::IN.0 as u8;
                let read = queue.request(&[&head], &[512, 1]);
                assert_eq!((&read.data[..512], read.data[512]), (&data[..], 0));
            }
        });
        let mut changes = 0;
        while !driver.is_finished() {
            bench.host.set_memory(bench.memory()).unwrap();
            changes += 1;
        }
        driver.join().unwrap();
        assert!(changes > 1, "{changes} changes");
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn a_queue_whose_ring_is_gone_stops() {
    let mut bench = Bench::new(counting(2), formats()[0]);
    let mut queue = bench.start(0, 4);
    assert_eq!(ask(&mut queue), 1);
    let elsewhere = crate::testing::elsewhere();
    let lost = bench.host.set_memory(elsewhere).unwrap_err();
    assert!(matches!(lost, HostError::Ring { index: 0, .. }), "{lost}");
    assert!(bench.events.wait_needs_reset().starts_with("queue 0: "));
    queue.submit(&[], &[4]);
    queue.kick();
    bench.host.stop_queue(0).unwrap();
    assert_eq!(queue.poll(), None);
}

#[test]
fn a_suspended_device_touches_nothing_until_it_resumes() {
    for features in formats() {
        let outlet = Arc::new(Mutex::new(None));
        let to_device = outlet.clone();
        let probe = Probe::new(2, move |session| {
            *to_device.lock().unwrap() = Some(session.outlet.clone());
            Count::default()
        });
        let mut bench = Bench::new(probe, features);
        let mut queue = bench.start(0, 8);
        assert_eq!(ask(&mut queue), 1);
        bench.host.suspend().unwrap();
        assert!(bench.host.is_suspended());
        while queue.notified(Duration::ZERO) {}

        queue.submit(&[], &[4]);
        queue.kick();
        outlet.lock().unwrap().as_ref().unwrap().config_changed();
        // A queue that starts meanwhile waits, too.
        let mut other = bench.start(1, 8);
        other.submit(&[], &[4]);
        // Each of these has an answer from the thread, which it gives between all it does.
        bench.host.set_memory(bench.memory()).unwrap();
        bench.host.save().unwrap();
        assert_eq!((queue.poll(), other.poll()), (None, None));
        assert!(!queue.notified(Duration::ZERO));
        assert_eq!(bench.events.config_changes(), 0);
        // dev:init:device-suspend:02: ignored, not refused.
        assert_eq!(bench.host.write_config(0, &[0]), Ok(()));

        bench.host.resume().unwrap();
        bench.events.wait_config_changes(1);
        let mut answers = [answer(&mut queue), answer(&mut other)];
        answers.sort();
        assert_eq!(answers, [2, 3]);
        assert!(bench.host.write_config(0, &[0]).is_err());
    }
}

#[test]
fn what_was_saved_goes_on_elsewhere() {
    for features in formats() {
        let mut bench = Bench::new(counting(2), features);
        let mut queue = bench.start(1, 4);
        for number in 1..=5 {
            assert_eq!(ask(&mut queue), number);
        }
        assert!(matches!(bench.host.save(), Err(HostError::Running { index: 1 })));
        bench.host.suspend().unwrap();
        queue.submit(&[], &[4]);
        let saved = bench.host.save().unwrap();

        let mut successor = bench.successor(counting(2));
        drop(bench);
        let queues = successor.host.restore(&saved).unwrap();
        let [(1, state)] = queues[..] else {
            panic!("{queues:?}");
        };
        successor.start_again(&queue, state);
        assert_eq!(answer(&mut queue), 6);

        assert!(matches!(
            successor.host.restore(&saved),
            Err(HostError::Running { index: 1 })
        ));
        successor.host.reset();
        assert!(matches!(
            successor.host.restore(&saved[1..]),
            Err(HostError::SavedState)
        ));
        let disk = Block::new(Arc::new(backend::Null { capacity: 512 }), Options::default()).unwrap();
        let mut other = successor.successor(disk);
        assert!(matches!(
            other.host.restore(&saved),
            Err(HostError::SavedDevice {
                expected: 2,
                found: 4
            })
        ));
    }
}

#[test]
fn a_thread_that_panics_hangs_nobody() {
    struct Panics(bool);
    impl Worker for Panics {
        fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
            context.serve(queue, |_| {
                assert!(!self.0, "this test's worker panics");
                Ok(0)
            })
        }
    }
    let mut first = true;
    let probe = Probe::new(2, move |_| Panics(std::mem::take(&mut first)));
    let mut bench = Bench::new(probe, formats()[0]);
    let mut queue = bench.start(0, 4);
    bench.start(1, 4);
    queue.submit(&[], &[4]);
    assert!(bench.events.wait_needs_reset().contains("panicked"));
    assert!(matches!(
        bench.host.stop_queue(0),
        Err(HostError::WorkerGone { group: 0 })
    ));
    assert!(matches!(
        bench.host.set_memory(bench.memory()),
        Err(HostError::WorkerGone { .. })
    ));
    assert!(matches!(bench.host.suspend(), Err(HostError::WorkerGone { .. })));

    bench.host.reset();
    bench.host.set_features(formats()[0]).unwrap();
    let mut queue = bench.start(0, 4);
    assert_eq!(queue.request(&[], &[4]).written, 0);
}

#[test]
fn a_queue_that_never_empties_starves_nobody() {
    /// Queue 0 always has more to do, and a source is always ready.
    struct Busy(UnixStream, Arc<Counters>);
    impl Worker for Busy {
        fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
            context.watch(std::os::fd::AsFd::as_fd(&self.0), Source(7), Interest::Write)
        }
        fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
            if queue == 0 {
                context.queue(0).unwrap().revisit();
                return Ok(());
            }
            context.serve(queue, |_| Ok(0))
        }
        fn source_ready(&mut self, _: &mut Context, source: Source) -> Result<(), DeviceError> {
            assert_eq!(source, Source(7));
            self.1.add(&QueueCounters {
                kicks: 1,
                ..QueueCounters::default()
            });
            Ok(())
        }
    }
    let seen = Arc::new(Counters::default());
    let shared = seen.clone();
    let probe = Probe::new(2, move |_| Busy(UnixStream::pair().unwrap().0, shared.clone()));
    let mut bench = Bench::new(probe, formats()[0]);
    let _busy = bench.start(0, 4);
    let mut other = bench.start(1, 4);
    for _ in 0..100 {
        assert_eq!(other.request(&[], &[4]).written, 0);
    }
    wait_until("the source is served", || seen.snapshot().kicks > 10);
    bench.host.set_memory(bench.memory()).unwrap();
    bench.host.stop_queue(0).unwrap();
    bench.host.stop_queue(1).unwrap();
}

#[test]
fn a_callback_has_its_share_of_chains_and_no_more() {
    /// Answers every chain with the number of the callback.
    struct Callbacks(u32);
    impl Worker for Callbacks {
        fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
            self.0 += 1;
            let answer = self.0.to_le_bytes();
            context.serve(queue, |chain| {
                Ok(chain.writable().write(0, &answer).map_or(0, |()| 4))
            })
        }
    }
    for features in formats() {
        let mut bench = Bench::new(Probe::new(1, |_| Callbacks(0)), features);
        let mut queue = bench.queue(0, 64);
        for _ in 0..60 {
            queue.add(&[], &[4]);
        }
        queue.publish();
        bench.start_again(&queue, State::default());
        let callbacks: Vec<u32> = (0..60).map(|_| answer(&mut queue)).collect();
        let share = u32::from(crate::virtqueue::SHARE);
        let expected: Vec<u32> = (0..60).map(|number| 1 + number / share).collect();
        assert_eq!(callbacks, expected);
    }
}

#[test]
fn with_busy_polling_no_notification_is_needed() {
    let options = HostOptions {
        busy_poll: DEADLINE,
        ..HostOptions::default()
    };
    for features in formats() {
        let mut bench = Bench::with_options(counting(1), features, options.clone());
        let mut queue = bench.queue(0, 4);
        // The first makes the thread busy: only then does its budget begin.
        queue.submit_silently(&[], &[4]);
        bench.start_again(&queue, State::default());
        assert_eq!(answer(&mut queue), 1);
        for number in 2..10 {
            queue.submit_silently(&[], &[4]);
            assert_eq!(answer(&mut queue), number);
        }
        assert_eq!(bench.host.counters()[0].kicks, 0);
        bench.host.stop_queue(0).unwrap();
    }
}

#[test]
fn after_a_source_work_is_looked_for_again() {
    /// Empties its source.
    struct Pipe(UnixStream);
    impl Worker for Pipe {
        fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
            context.watch(std::os::fd::AsFd::as_fd(&self.0), Source(1), Interest::Read)
        }
        fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
            context.serve(queue, |_| Ok(0))
        }
        fn source_ready(&mut self, _: &mut Context, _: Source) -> Result<(), DeviceError> {
            std::io::Read::read(&mut &self.0, &mut [0; 64]).map_err(DeviceError::io("reading"))?;
            Ok(())
        }
    }
    let options = HostOptions {
        busy_poll: Duration::from_millis(50),
        ..HostOptions::default()
    };
    // With EVENT_IDX the driver cannot be asked not to notify.
    for features in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let (near, far) = UnixStream::pair().unwrap();
        let probe = Probe::new(1, move |_| Pipe(near.try_clone().unwrap()));
        let mut bench = Bench::with_options(probe, features, options.clone());
        let mut queue = bench.start(0, 4);
        assert_eq!(queue.request(&[], &[4]).written, 0);
        wait_until("the thread sleeps", || queue.wants_notification(&bench.guest));
        queue.submit_silently(&[], &[4]);
        wait_until("the chain is used", || {
            std::io::Write::write_all(&mut &far, &[0]).unwrap();
            queue.poll().is_some()
        });
        bench.host.stop_queue(0).unwrap();
    }
}

#[test]
fn notifications_go_by_method_or_by_socket_too() {
    for features in formats() {
        let mut bench = Bench::new(counting(2), features);
        let mut by_method = bench.queue(0, 4);
        let setup = QueueSetup {
            kick: None,
            ..by_method.setup(State::default())
        };
        bench.host.start_queue(0, setup).unwrap();
        by_method.submit_silently(&[], &[4]);
        bench.host.kick(0);
        assert_eq!(answer(&mut by_method), 1);

        // As from User Mode Linux. More kicks than a socket holds, if nobody empties it.
        let mut by_socket = bench.queue(1, 4);
        let (kick, device_kick) = UnixStream::pair().unwrap();
        let (call, device_call) = UnixStream::pair().unwrap();
        kick.set_write_timeout(Some(DEADLINE)).unwrap();
        let setup = QueueSetup {
            kick: Some(device_kick.into()),
            notify: Box::new(EventNotify::new(device_call.into()).unwrap()),
            ..by_socket.setup(State::default())
        };
        bench.host.start_queue(1, setup).unwrap();
        for _ in 0..2000 {
            by_socket.submit_silently(&[], &[4]);
            std::io::Write::write_all(&mut &kick, &[0; 1000]).unwrap();
            wait_until("the chain is used", || by_socket.poll().is_some());
        }
        assert!(wait_readable(&call, DEADLINE));
    }
}

#[test]
fn what_cannot_be_done_is_refused() {
    let events = Arc::new(crate::testing::Events::default());
    let mut host = Host::new(Box::new(counting(2)), HostOptions::default(), events).unwrap();
    let bench = Bench::new(counting(2), formats()[0]);
    let queue = bench.queue(0, 4);
    let start = |host: &mut Host, index| host.start_queue(index, queue.setup(State::default()));
    assert!(matches!(start(&mut host, 0), Err(HostError::NotNegotiated)));
    let refused = host.set_features(Features::bit(3)).unwrap_err();
    assert!(matches!(refused, HostError::NotOffered { refused } if refused == Features::bit(3)));
    host.set_features(formats()[0]).unwrap();
    assert!(matches!(start(&mut host, 0), Err(HostError::NoMemory)));
    host.set_memory(bench.memory()).unwrap();
    assert!(matches!(
        start(&mut host, 2),
        Err(HostError::NoSuchQueue { index: 2, queues: 2 })
    ));
    assert!(matches!(
        host.stop_queue(0),
        Err(HostError::NotRunning { index: 0 })
    ));
    start(&mut host, 0).unwrap();
    assert!(matches!(
        start(&mut host, 0),
        Err(HostError::AlreadyRunning { index: 0 })
    ));
    assert!(matches!(
        host.set_features(formats()[1]),
        Err(HostError::Running { index: 0 })
    ));
    host.set_features(formats()[0]).unwrap();

    let large = bench.queue(1, 128);
    let refused = host.start_queue(1, large.setup(State::default())).unwrap_err();
    assert!(matches!(
        refused,
        HostError::QueueTooLarge {
            index: 1,
            size: 128,
            max_size: 64
        }
    ));
    let nowhere = QueueSetup {
        layout: Layout {
            descriptor_area: 0x1000,
            ..queue.layout()
        },
        ..queue.setup(State::default())
    };
    assert!(matches!(
        host.start_queue(1, nowhere),
        Err(HostError::Ring { index: 1, .. })
    ));
    assert!(!host.is_running(1));

    host.reset();
    assert_eq!(host.features(), None);
    assert!(matches!(start(&mut host, 0), Err(HostError::NotNegotiated)));
    // A kick may come at any time.
    host.kick(0);
    host.kick(9);
}

#[test]
fn timers_wakers_and_sources_call_the_worker() {
    /// A timer wakes by a waker, that writes to a socket, whose other end is watched.
    struct Chain {
        near: UnixStream,
        far: UnixStream,
        waker: crate::Waker,
        outlet: Outlet,
        due: Instant,
    }
    impl Worker for Chain {
        fn start(&mut self, context: &mut Context) -> Result<(), DeviceError> {
            context.set_timer(1, Instant::now());
            context.set_timer(2, Instant::now() + DEADLINE);
            context.clear_timer(1);
            context.set_timer(2, self.due);
            context.watch(std::os::fd::AsFd::as_fd(&self.near), Source(1), Interest::Read)
        }
        fn timer(&mut self, _: &mut Context, timer: u64) -> Result<(), DeviceError> {
            assert!(timer == 2 && Instant::now() >= self.due);
            let waker = self.waker.clone();
            std::thread::spawn(move || waker.wake()).join().unwrap();
            Ok(())
        }
        fn source_ready(&mut self, context: &mut Context, source: Source) -> Result<(), DeviceError> {
            match source {
                Source(5) => std::io::Write::write_all(&mut self.far, &[1]).unwrap(),
                _ => {
                    context.unwatch(std::os::fd::AsFd::as_fd(&self.near));
                    self.outlet.config_changed();
                    return Err(DeviceError::Unavailable("an error that only is reported"));
                }
            }
            Ok(())
        }
        fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
            context.serve(queue, |_| Ok(0))
        }
    }
    let probe = Probe::new(1, |session| {
        let (near, far) = UnixStream::pair().unwrap();
        Chain {
            near,
            far,
            waker: session.waker(Source(5)),
            outlet: session.outlet.clone(),
            due: Instant::now() + Duration::from_millis(20),
        }
    });
    let mut bench = Bench::new(probe, formats()[0]);
    let mut queue = bench.start(0, 4);
    bench.events.wait_config_changes(1);
    assert_eq!(bench.events.wait_needs_reset(), "an error that only is reported");
    assert_eq!(queue.request(&[], &[4]).written, 0);
    bench.host.stop_queue(0).unwrap();
    assert_eq!(bench.events.config_changes(), 1);
}
