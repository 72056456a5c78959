//! No wake-up is lost, in any order in which the memory accesses of both ends can take effect:
//! `RUSTFLAGS="--cfg loom" cargo test -p ringwright-ring --release --test loom`. Each check is also run without the fence
//! it stands on, at either end, and has to fail then.
#![cfg(loom)]

use loom::sync::Arc;
use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{AcqRel, Acquire};
use loom::thread;
use ringwright_ring::Format;
use ringwright_ring::model::{Device, Driver, Fences, pair};

const BUFFERS: u16 = 2;
const ALL: Fences = Fences {
    driver: true,
    device: true,
};

/// Explores all orders with up to three preemptions.
fn explore(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = builder.preemption_bound.or(Some(3));
    builder.check(body);
}

/// Notifications, counted as an eventfd does; a sleeper wakes for each that it has not seen.
#[derive(Clone)]
struct Bell(Arc<AtomicU32>);

impl Bell {
    fn new() -> Self {
        Self(Arc::new(AtomicU32::new(0)))
    }

    fn ring(&self) {
        self.0.fetch_add(1, AcqRel);
    }

    fn rung(&self) -> u32 {
        self.0.load(Acquire)
    }
}

/// Where somebody went to sleep.
struct Asleep {
    taken: u16,
    /// Notifications seen before.
    seen: u32,
}

impl Asleep {
    /// Whether the sleeper has everything, or will be woken.
    fn is_well(&self, bell: &Bell) -> bool {
        self.taken == BUFFERS || self.seen != bell.rung()
    }
}

/// Takes what `take` gives, and stops where a sleeper would go to sleep with no notification there: enough was taken, or
/// `enable` says that nothing is left.
fn drain<E>(end: &mut E, bell: &Bell, take: fn(&mut E) -> u16, enable: fn(&mut E) -> bool) -> Asleep {
    let (mut taken, mut seen) = (0, 0);
    loop {
        loop {
            match take(end) {
                0 => break,
                count => taken += count,
            }
        }
        if taken < BUFFERS && enable(end) {
            continue;
        }
        let rung = bell.rung();
        if taken == BUFFERS || rung == seen {
            return Asleep { taken, seen };
        }
        seen = rung;
    }
}

/// How a driver adds two buffers, or takes used ones.
#[derive(Clone, Copy)]
enum Way {
    /// One by one.
    Single,
    /// With one call.
    Batch,
}

/// The driver makes two buffers available; the device sleeps when it sees none. Whoever sleeps with buffers there must have
/// been notified.
fn available(format: Format, event_idx: bool, way: Way, fences: Fences) {
    explore(move || {
        let (mut driver, mut device) = pair(format, event_idx, fences);
        let bell = Bell::new();
        let sleeper = bell.clone();
        let device = thread::spawn(move || {
            device.disable_notifications();
            drain(&mut device, &sleeper, Device::serve, Device::enable_notifications)
        });
        let publish = |driver: &mut Driver| {
            if driver.publish() {
                bell.ring();
            }
        };
        match way {
            Way::Single => {
                for _ in 0..BUFFERS {
                    driver.add();
                    publish(&mut driver);
                }
            }
            Way::Batch => {
                driver.add_all(BUFFERS);
                publish(&mut driver);
            }
        }
        let asleep = device.join().unwrap();
        assert!(asleep.is_well(&bell), "lost wake-up");
    });
}

/// The same the other way around: the device uses two buffers, one by one.
fn used(format: Format, event_idx: bool, way: Way, fences: Fences) {
    explore(move || {
        let (mut driver, mut device) = pair(format, event_idx, fences);
        for _ in 0..BUFFERS {
            driver.add();
        }
        driver.publish();
        let bell = Bell::new();
        let sleeper = bell.clone();
        let driver = thread::spawn(move || {
            driver.disable_notifications();
            let take = match way {
                Way::Single => Driver::pop,
                Way::Batch => Driver::take_used,
            };
            drain(&mut driver, &sleeper, take, Driver::enable_notifications)
        });
        for _ in 0..BUFFERS {
            assert_eq!(device.serve(), 1);
            if device.publish() {
                bell.ring();
            }
        }
        let asleep = driver.join().unwrap();
        assert!(asleep.is_well(&bell), "lost wake-up");
    });
}

macro_rules! checks {
    ($($name:ident: $check:ident, $format:ident, $event_idx:expr, $way:ident;)*) => {
        $(mod $name {
            use super::*;

            #[test]
            fn loses_no_wake_up() {
                $check(Format::$format, $event_idx, Way::$way, ALL);
            }

            #[test]
            #[should_panic(expected = "lost wake-up")]
            fn fails_without_the_fence_of_the_driver() {
                let fences = Fences { driver: false, ..ALL };
                $check(Format::$format, $event_idx, Way::$way, fences);
            }

            #[test]
            #[should_panic(expected = "lost wake-up")]
            fn fails_without_the_fence_of_the_device() {
                let fences = Fences { device: false, ..ALL };
                $check(Format::$format, $event_idx, Way::$way, fences);
            }
        })*
    };
}

checks! {
    available_split_flags: available, Split, false, Single;
    available_split_event_idx: available, Split, true, Single;
    available_packed_flags: available, Packed, false, Single;
    available_packed_event_idx: available, Packed, true, Single;
    batch_available_split_flags: available, Split, false, Batch;
    batch_available_split_event_idx: available, Split, true, Batch;
    batch_available_packed_flags: available, Packed, false, Batch;
    batch_available_packed_event_idx: available, Packed, true, Batch;
    used_split_flags: used, Split, false, Single;
    used_split_event_idx: used, Split, true, Single;
    used_packed_flags: used, Packed, false, Single;
    used_packed_event_idx: used, Packed, true, Single;
    batch_used_split_flags: used, Split, false, Batch;
    batch_used_split_event_idx: used, Split, true, Batch;
    batch_used_packed_flags: used, Packed, false, Batch;
    batch_used_packed_event_idx: used, Packed, true, Batch;
}
