//! Notifications that come together, by a device that gives back what it gets.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ringwright_spec::entropy::DEVICE;
use ringwright_spec::{Features, feature};

use crate::testing::{Bench, DEADLINE, Queue, formats, wait_until};
use crate::{
    Coalescing, Context, Description, Device, DeviceError, QueueCounters, QueueDescription, Session, Source,
    Waker, Worker,
};

const HOUR: Duration = Duration::from_secs(3600);

/// What the device is told, and by what it is told to look.
type Told = Arc<Mutex<(Coalescing, Option<Waker>)>>;

struct Echo(Told);

impl Device for Echo {
    fn description(&self) -> Description {
        Description {
            device_type: &DEVICE,
            features: Features::NONE,
            queues: vec![QueueDescription {
                max_size: 64,
                group: 0,
            }],
            config_size: 0,
            shared_memory: Vec::new(),
        }
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        self.0.lock().unwrap().1 = Some(session.waker(Source(0)));
        Ok(Box::new(Self(self.0.clone())))
    }
}

impl Worker for Echo {
    fn start_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        let coalescing = self.0.lock().unwrap().0;
        context.queue(queue).unwrap().coalesce(coalescing);
        Ok(())
    }

    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        context.serve(queue, |_| Ok(0))
    }

    fn source_ready(&mut self, context: &mut Context, _source: Source) -> Result<(), DeviceError> {
        self.start_queue(context, 0)
    }
}

/// The device with its driver, which wants to be notified of the next used buffer.
struct Pair {
    bench: Bench,
    queue: Queue,
    told: Told,
}

impl Pair {
    fn new(features: Features, packets: u32, time: Duration) -> Self {
        let told = Told::default();
        told.lock().unwrap().0 = Coalescing { packets, time };
        let mut bench = Bench::new(Echo(told.clone()), features);
        let queue = bench.start(0, 64);
        Self { bench, queue, told }
    }

    fn counters(&self) -> QueueCounters {
        self.bench.host.counters()[0]
    }

    /// Gives the device a buffer, which is back when this returns, and whatever follows that is done.
    fn request(&mut self) {
        let ended =
            |counters: QueueCounters| counters.notifications + counters.suppressed + counters.coalesced;
        let before = ended(self.counters());
        self.queue.submit(&[&[1]], &[]);
        wait_until("it is given back", || ended(self.counters()) == before + 1);
        assert!(self.queue.poll().is_some(), "the driver does not see it");
    }

    /// How often the driver was notified, as it sees it and as the device does.
    fn assert_notified(&mut self, times: u64) {
        wait_until("a notification", || self.counters().notifications >= times);
        assert_eq!(self.counters().notifications, times);
        assert!(self.queue.notified(DEADLINE));
    }
}

#[test]
fn one_notification_is_for_several_packets() {
    for features in formats() {
        let mut pair = Pair::new(features, 3, HOUR);
        for round in 1..4 {
            pair.request();
            pair.request();
            assert!(!pair.queue.notified(Duration::ZERO));
            assert_eq!(pair.counters().notifications, round - 1);
            pair.request();
            pair.assert_notified(round);
            assert_eq!(pair.queue.poll_or_arm(), None);
        }
        assert_eq!(pair.counters().coalesced, 6);
    }
}

#[test]
fn time_ends_the_waiting() {
    for features in formats() {
        let time = Duration::from_micros(700);
        let mut pair = Pair::new(features, 1000, time);
        for round in 1..4 {
            let start = Instant::now();
            pair.queue.submit(&[&[1]], &[]);
            assert!(pair.queue.notified(DEADLINE));
            assert!(start.elapsed() >= time, "{:?}", start.elapsed());
            wait_until("it is counted", || pair.counters().notifications == round);
            assert!(pair.queue.poll_or_arm().is_some() && pair.queue.poll_or_arm().is_none());
        }
    }
}

/// No more can be coalesced than the driver can have given.
#[test]
fn a_queue_full_of_packets_is_notified_of() {
    let mut pair = Pair::new(feature::VERSION_1, 1_000_000, HOUR);
    for _ in 0..63 {
        pair.request();
    }
    assert_eq!(pair.counters().notifications, 0);
    pair.request();
    pair.assert_notified(1);
}

#[test]
fn a_driver_that_does_not_want_it_is_not_notified() {
    for features in formats() {
        let mut pair = Pair::new(features, 2, HOUR);
        pair.request();
        pair.request();
        pair.assert_notified(1);
        pair.queue.submit(&[&[1]], &[]);
        wait_until("a buffer", || pair.counters().coalesced == 2);
        assert!(pair.queue.poll_or_arm().is_some());
        pair.request();
        assert_eq!(pair.counters().suppressed, 1);
        assert!(!pair.queue.notified(Duration::ZERO));
        assert_eq!(pair.counters().notifications, 1);
    }
}

/// What was put off is due if there is nothing more to wait for: other parameters, a queue that stops, a device at rest.
#[test]
fn what_is_put_off_is_not_forgotten() {
    let tell = |pair: &mut Pair, packets, time| {
        let mut told = pair.told.lock().unwrap();
        told.0 = Coalescing { packets, time };
        told.1.as_ref().unwrap().wake();
    };
    type End<'a> = &'a dyn Fn(&mut Pair);
    let ends: [End<'_>; 6] = [
        &|pair| tell(pair, 2, HOUR),
        &|pair| tell(pair, 0, HOUR),
        &|pair| tell(pair, 8, Duration::ZERO),
        &|pair| tell(pair, 8, Duration::from_nanos(1)),
        &|pair| _ = pair.bench.host.stop_queue(0).unwrap(),
        &|pair| pair.bench.host.suspend().unwrap(),
    ];
    for features in formats() {
        for end in ends {
            let mut pair = Pair::new(features, 8, HOUR);
            pair.request();
            pair.request();
            tell(&mut pair, 3, HOUR);
            pair.request();
            pair.assert_notified(1);
            assert_eq!(pair.queue.poll_or_arm(), None);
            tell(&mut pair, 8, HOUR);
            pair.request();
            pair.request();
            end(&mut pair);
            pair.assert_notified(2);
        }
    }
}
