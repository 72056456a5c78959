//! The device end is killed before or after any store to the region, and another one goes on.

use core::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::vec::Vec;
use std::{boxed::Box, thread_local, vec};

use ringwright_memory::{Area, Buffer, Mapping, Memory, Region, Words};
use ringwright_spec::{Features, feature};

use crate::{DeviceQueue, DriverOptions, DriverQueue, InflightRegion, SetupError, State, Token};

const SPLIT: Features = feature::VERSION_1;
const PACKED: Features = feature::VERSION_1.union(feature::RING_PACKED);

/// What a killed device end ends with.
struct Killed;

thread_local! {
    /// Crash points that the device end lives for; `None` for ever.
    static LIFE: Cell<Option<u32>> = const { Cell::new(None) };
}

/// Whether this is what a kill leaves to run here, which a killed process does not run.
pub(in crate::device) fn is_killed() -> bool {
    LIFE.get() == Some(0) && std::thread::panicking()
}

/// Comes before and after every store to a region, and whatever else a device end does.
pub(super) fn crash_point() {
    if let Some(left) = LIFE.get() {
        if left == 0 {
            resume_unwind(Box::new(Killed));
        }
        LIFE.set(Some(left - 1));
    }
}

/// The next number of a sequence without a pattern that matters.
fn next(seed: &mut u64, below: u64) -> u64 {
    *seed = seed
        .wrapping_mul(6_364_136_223_846_793_005)
        .wrapping_add(1_442_695_040_888_963_407);
    (*seed >> 33) % below
}

fn memory(length: usize) -> (Arc<Memory>, Arc<Area>) {
    let region = Region::new(0x4000_0000, Arc::new(Mapping::anonymous(length).unwrap()));
    let area = Area::from_region(region.clone()).unwrap();
    (Arc::new(Memory::new(vec![region]).unwrap()), area)
}

/// Memory for a region, fresh.
fn words(size: u64) -> Words {
    Words::new(&Region::new(
        0,
        Arc::new(Mapping::anonymous(size as usize).unwrap()),
    ))
    .unwrap()
}

/// Notes that the device end takes buffer `serial`, which has to be the first that it has not taken yet.
fn see(outstanding: &mut BTreeMap<u32, u32>, seen: &mut BTreeSet<u32>, serial: u32) {
    let next = outstanding.iter_mut().find(|(serial, _)| !seen.contains(serial));
    let (first, times) = next.unwrap_or_else(|| panic!("{serial} is not out"));
    assert_eq!(*first, serial, "taken out of order");
    *times += 1;
    seen.insert(serial);
}

/// Both ends, and what both should know.
struct Pair {
    features: Features,
    memory: Arc<Memory>,
    region: InflightRegion,
    driver: DriverQueue<(u32, Buffer)>,
    device: Option<DeviceQueue>,
    area: Arc<Area>,
    /// Buffers that the driver has not got back, and how often the device took them.
    outstanding: BTreeMap<u32, u32>,
    /// Buffers that this device end has taken.
    seen: BTreeSet<u32>,
    added: u32,
    /// Whether every second buffer has a device-writable part.
    replies: bool,
    /// What this device end has taken and not completed.
    taken: Vec<(Token, u32)>,
    resubmitted: u32,
}

impl Pair {
    fn new(size: u16, features: Features) -> Self {
        let (memory, area) = memory(1 << 18);
        let packed = features.contains(feature::RING_PACKED);
        let words = words(InflightRegion::size(size, packed));
        let driver = DriverQueue::new(&area, size, features, DriverOptions { indirect: 3 }).unwrap();
        Self {
            features,
            memory,
            region: InflightRegion::new(words, 0, size, packed).unwrap(),
            driver,
            device: None,
            area,
            outstanding: BTreeMap::new(),
            seen: BTreeSet::new(),
            added: 0,
            replies: false,
            taken: Vec::new(),
            resubmitted: 0,
        }
    }

    /// A new device end, which is told nothing but where the memory is.
    fn start(&mut self) {
        self.taken.clear();
        self.seen.clear();
        self.reap();
        let mut device = DeviceQueue::new(
            self.driver.layout(),
            self.features,
            self.memory.clone(),
            State::default(),
        )
        .unwrap();
        self.resubmitted += u32::from(device.track(self.region.clone()).unwrap());
        self.device = Some(device);
    }

    fn add(&mut self, pieces: usize) {
        let buffer = self.area.allocate(4 * pieces + 4, 4).unwrap();
        for piece in 0..pieces {
            buffer.write(4 * piece, &self.added.to_le_bytes()).unwrap();
        }
        let segments: Vec<_> = (0..pieces)
            .map(|piece| buffer.segment_at(4 * piece, 4).unwrap())
            .collect();
        let replies = usize::from(self.replies && self.added % 2 == 1);
        let writable = &[buffer.segment_at(4 * pieces, 4).unwrap()][..replies];
        if self.driver.add(&segments, writable, (self.added, buffer)).is_ok() {
            self.outstanding.insert(self.added, 0);
            self.added += 1;
        }
        self.driver.publish();
    }

    fn reap(&mut self) {
        while let Some(used) = self.driver.pop().unwrap() {
            let taken = self.outstanding.remove(&used.data.0).unwrap();
            assert!(taken > 0, "a buffer came back that was never taken");
        }
    }

    fn pop(&mut self) -> bool {
        let device = self.device.as_mut().unwrap();
        let Some(chain) = device.pop().unwrap() else {
            return false;
        };
        let mut serial = [0; 4];
        for piece in (0..chain.readable().len()).step_by(4) {
            chain.readable().read(piece, &mut serial).unwrap();
        }
        see(&mut self.outstanding, &mut self.seen, u32::from_le_bytes(serial));
        self.taken.push((chain.into_token(), u32::from_le_bytes(serial)));
        true
    }

    /// Serves up to `limit` buffers, before or after any of which the device end may be killed.
    fn serve(&mut self, limit: u16) {
        let (device, outstanding) = (self.device.as_mut().unwrap(), &mut self.outstanding);
        let mut served = 0;
        let given_back = device.serve(limit, |chain| {
            crash_point();
            let mut serial = [0; 4];
            chain.readable().read(0, &mut serial).unwrap();
            see(outstanding, &mut self.seen, u32::from_le_bytes(serial));
            served += 1;
            crash_point();
            Some(0)
        });
        assert_eq!(given_back, Ok(served));
    }

    fn push_back(&mut self) {
        if let Some((token, serial)) = self.taken.pop() {
            self.seen.remove(&serial);
            self.device.as_mut().unwrap().push_back(token);
        }
    }

    fn complete(&mut self, index: usize) {
        let (token, _) = self.taken.swap_remove(index);
        self.device.as_mut().unwrap().complete(token, 0).unwrap();
    }

    fn publish(&mut self) {
        self.device.as_mut().unwrap().publish().unwrap();
    }

    /// One step of the device end; `Err` if it was killed.
    fn device_step(&mut self, seed: &mut u64) -> Result<(), Killed> {
        let step = AssertUnwindSafe(|| {
            if self.device.is_none() {
                self.start();
            }
            match next(seed, 11) {
                8..=10 => {
                    let limit = 1 + next(seed, 8) as u16;
                    self.serve(limit);
                }
                0..=2 => {
                    // A buffer can only be pushed back right after it was taken.
                    if self.pop() && next(seed, 8) == 0 {
                        self.push_back();
                    }
                }
                3..=5 if !self.taken.is_empty() => {
                    let index = next(seed, self.taken.len() as u64) as usize;
                    self.complete(index);
                }
                6 => self.device.as_mut().unwrap().show().unwrap(),
                _ => self.publish(),
            }
        });
        catch_unwind(step).map_err(|payload| match payload.downcast::<Killed>() {
            Ok(killed) => *killed,
            Err(payload) => resume_unwind(payload),
        })
    }

    /// The driver gets back all that is out.
    fn drain(&mut self) {
        LIFE.set(None);
        if self.device.is_none() {
            self.start();
        }
        while self.pop() {}
        while !self.taken.is_empty() {
            self.complete(0);
        }
        self.publish();
        self.reap();
        assert!(self.outstanding.is_empty(), "lost: {:?}", self.outstanding);
        assert_eq!(self.driver.in_flight(), 0);
    }
}

fn set_ups() -> impl Iterator<Item = (u16, Features)> {
    let more = [
        Features::NONE,
        feature::INDIRECT_DESC,
        feature::IN_ORDER,
        feature::IN_ORDER | feature::EVENT_IDX,
    ];
    more.into_iter().flat_map(|more| {
        [
            (1, SPLIT),
            (4, SPLIT),
            (16, SPLIT),
            (1, PACKED),
            (3, PACKED),
            (16, PACKED),
        ]
        .map(|(size, format)| (size, format | more))
    })
}

#[test]
fn nothing_is_lost_and_nothing_is_used_twice_wherever_the_device_is_killed() {
    for (size, features) in set_ups() {
        let (mut kills, mut resubmitted) = (0, 0);
        for round in 0..60 {
            let mut seed = round * 7919 + u64::from(size);
            let mut pair = Pair::new(size, features);
            pair.replies = size > 1;
            LIFE.set(Some(next(&mut seed, 100) as u32));
            for _ in 0..400 {
                match next(&mut seed, 6) {
                    0 | 1 => {
                        let pieces = 1 + next(&mut seed, 3.min(size.into())) as usize;
                        pair.add(pieces);
                    }
                    2 => pair.reap(),
                    _ if pair.device_step(&mut seed).is_err() => {
                        pair.device = None;
                        kills += 1;
                        LIFE.set(Some(next(&mut seed, 100 + 20 * u64::from(size)) as u32));
                    }
                    _ => {}
                }
            }
            pair.drain();
            resubmitted += pair.resubmitted;
        }
        assert!(
            kills > 100 && resubmitted > 20,
            "{size}, {features:?}: {kills} kills, {resubmitted}"
        );
    }
}

#[test]
fn buffers_are_taken_again_in_the_order_in_which_they_were_taken() {
    for format in [SPLIT, PACKED] {
        let mut pair = Pair::new(8, format);
        pair.start();
        let serials = |pair: &Pair| pair.taken.iter().map(|(_, serial)| *serial).collect::<Vec<_>>();
        (0..8).for_each(|_| pair.add(1));
        while pair.pop() {}
        // Ids now come back, and are given out again, in another order than that of the ring.
        for serial in [3, 1, 6] {
            let index = pair.taken.iter().position(|(_, found)| *found == serial).unwrap();
            pair.complete(index);
            pair.publish();
        }
        pair.reap();
        (0..3).for_each(|_| pair.add(1));
        while pair.pop() {}
        for _ in 0..3 {
            pair.device = None;
            pair.start();
            assert!(pair.device.as_mut().unwrap().has_available());
            assert!(pair.device.as_mut().unwrap().enable_notifications());
            assert!(pair.pop());
            pair.push_back();
            while pair.pop() {}
            assert_eq!(serials(&pair), [0, 2, 4, 5, 7, 8, 9, 10]);
            assert!(!pair.device.as_mut().unwrap().has_available());
        }
        assert_eq!(pair.resubmitted, 3 * 8);
        pair.drain();
    }
}

/// A used descriptor of the driver's next lap must not be left behind an unused one.
#[test]
fn what_was_marked_used_too_early_is_marked_available_again() {
    let mut pair = Pair::new(4, PACKED);
    pair.start();
    (0..2).for_each(|_| pair.add(1));
    while pair.pop() {}
    pair.complete(0);
    pair.complete(0);
    // Killed before the first descriptor is marked used, and after the second one was.
    pair.device = None;
    pair.start();
    assert!(pair.pop() && pair.pop());
    pair.complete(0);
    pair.publish();
    pair.reap();
    assert_eq!(pair.outstanding.keys().copied().collect::<Vec<_>>(), [1]);
    pair.drain();
}

/// Buffers that were served are shown before the next one is taken, because that one is written down.
#[test]
fn the_driver_is_notified_of_what_it_was_shown_early() {
    for format in [SPLIT, PACKED] {
        let mut pair = Pair::new(8, format);
        pair.start();
        // The first one goes the long way, because nothing is known of the memory yet.
        pair.add(1);
        pair.serve(1);
        pair.publish();
        pair.reap();
        (0..3).for_each(|_| pair.add(1));
        pair.serve(2);
        assert!(pair.outstanding.len() == 3 && pair.driver.pop().unwrap().is_none());
        assert!(pair.pop());
        pair.reap();
        assert_eq!(pair.outstanding.len(), 1);
        let device = pair.device.as_mut().unwrap();
        assert_eq!([device.publish(), device.publish()], [Ok(true), Ok(false)]);
        pair.drain();
    }
}

#[test]
fn regions_that_cannot_be_are_refused() {
    for (format, packed) in [(SPLIT, false), (PACKED, true)] {
        let fill = |offset: u64, bytes: &[u8]| {
            let pair = Pair::new(4, format);
            let words = words(InflightRegion::size(4, packed));
            for (offset, byte) in (offset..).zip(bytes) {
                words.store(offset, *byte).unwrap();
            }
            let mut device = DeviceQueue::new(
                pair.driver.layout(),
                format,
                pair.memory.clone(),
                State::default(),
            )
            .unwrap();
            device.track(InflightRegion::new(words, 0, 4, packed).unwrap())
        };
        let refused =
            |offset, bytes: &[u8]| assert!(matches!(fill(offset, bytes), Err(SetupError::Inflight(_))));
        assert_eq!(fill(8, &[0, 0]), Ok(0));
        assert_eq!(fill(8, &[1, 0, 4, 0]), Ok(0));
        refused(8, &[2, 0, 4, 0]);
        refused(8, &[1, 0, 5, 0]);
        if packed {
            // Used index, and a buffer of 5 descriptors, of none, and two that share theirs.
            refused(8, &[1, 0, 4, 0, 0, 0, 0, 0, 4, 0, 0, 0]);
            let heads = [
                1, 0, 4, 0, 4, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
            ];
            let entry = |num| [1, 0, 0, 0, 0, 0, num, 0];
            refused(8, &[&heads[..], &entry(5)].concat());
            refused(8, &[&heads[..], &entry(0)].concat());
            refused(8, &[&heads[..], &entry(2)].concat());
        } else {
            // The used index, and a last batch that leads out of the region.
            refused(8, &[1, 0, 4, 0, 0, 0, 4, 0]);
            refused(8, &[1, 0, 4, 0, 4, 0, 255, 255]);
        }
    }
    assert!(InflightRegion::new(words(64), 8, 2, false).is_none());
    assert!(InflightRegion::new(words(128), 4, 2, false).is_none());
    let mut pair = Pair::new(8, SPLIT);
    pair.region = InflightRegion::new(words(128), 0, 4, false).unwrap();
    assert!(catch_unwind(AssertUnwindSafe(|| pair.start())).is_err());
}
