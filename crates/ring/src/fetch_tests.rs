//! What the other end may change is fetched once: here every word changes as soon as it was read, so that an end that
//! reads it again, where it has already decided by it, comes to another result.

use alloc::rc::Rc;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::cell::RefCell;
use core::sync::atomic::Ordering;
use std::collections::BTreeMap;

use ringwright_memory::{DmaSegment, Mapping, Memory, Region};
use ringwright_spec::packed::DescFlags as PackedFlags;
use ringwright_spec::split::DescFlags;
use ringwright_spec::{Features, feature};

use crate::driver::Add;
use crate::packed::PackedRing;
use crate::split::SplitRing;
use crate::words::Part;
use crate::{Format, State, Used, device, driver};

const SIZE: u16 = 4;
const BASE: u64 = 0x1000;
const NEXT: u64 = DescFlags::NEXT.0 as u64;
const WRITE: u64 = DescFlags::WRITE.0 as u64;

/// A part whose words, when they are watched, change once they are read.
#[derive(Clone, Default)]
struct Fickle(Rc<RefCell<Words>>);

#[derive(Default)]
struct Words {
    values: BTreeMap<usize, u64>,
    /// How often each was read, while watched.
    reads: Option<BTreeMap<usize, u32>>,
}

impl Fickle {
    fn load(&self, offset: usize) -> u64 {
        let Words { values, reads } = &mut *self.0.borrow_mut();
        let value = values.entry(offset).or_default();
        let Some(reads) = reads else { return *value };
        *reads.entry(offset).or_default() += 1;
        // All bits are others: lengths, indices, ids and flags as well.
        core::mem::replace(value, !*value)
    }

    fn store(&self, offset: usize, value: u64) {
        self.0.borrow_mut().values.insert(offset, value);
    }

    fn watch(&self) {
        self.0.borrow_mut().reads = Some(BTreeMap::new());
    }

    /// Offsets of what was read more than once since `watch`; and how much was read.
    fn read_again(&self) -> (Vec<usize>, usize) {
        let reads = self.0.borrow_mut().reads.take().unwrap_or_default();
        let again = reads.iter().filter(|(_, count)| **count > 1);
        (again.map(|(offset, _)| *offset).collect(), reads.len())
    }
}

impl Part for Fickle {
    unsafe fn load16(&self, offset: usize, _: Ordering) -> u16 {
        self.load(offset) as u16
    }

    unsafe fn store16(&self, offset: usize, value: u16, _: Ordering) {
        self.store(offset, value.into());
    }

    unsafe fn load32(&self, offset: usize, _: Ordering) -> u32 {
        self.load(offset) as u32
    }

    unsafe fn store32(&self, offset: usize, value: u32, _: Ordering) {
        self.store(offset, value.into());
    }

    unsafe fn load64(&self, offset: usize, _: Ordering) -> u64 {
        self.load(offset)
    }

    unsafe fn store64(&self, offset: usize, value: u64, _: Ordering) {
        self.store(offset, value);
    }
}

/// Three parts, watched together, and the queue size.
struct Parts([Fickle; 3], u16);

impl Parts {
    /// Of a virtqueue of `size`.
    fn of(size: u16) -> Self {
        Self(Default::default(), size)
    }

    fn split(&self) -> SplitRing<Fickle> {
        let [descriptors, available, used] = self.0.clone();
        // SAFETY: the size is a power of 2; these parts are not memory, so nothing is out of bounds.
        unsafe { SplitRing::new(descriptors, available, used, self.1) }
    }

    fn packed(&self) -> PackedRing<Fickle> {
        let [descriptors, driver, device] = self.0.clone();
        // SAFETY: these parts are not memory, so nothing is out of bounds.
        unsafe { PackedRing::new(descriptors, driver, device, self.1) }
    }

    /// Nothing is read more than once by `body`, which reads at least something. Gives what `body` gives.
    fn once<T>(&self, body: impl FnOnce() -> T) -> T {
        self.0.iter().for_each(Fickle::watch);
        let result = body();
        let mut some = 0;
        for (part, words) in self.0.iter().enumerate() {
            let (again, read) = words.read_again();
            assert!(again.is_empty(), "part {part} was read again at {again:?}");
            some += read;
        }
        assert!(some > 0, "nothing was read");
        result
    }
}

fn core_of(format: Format, features: Features) -> device::Core {
    let region = Region::new(BASE, Arc::new(Mapping::anonymous(0x1000).unwrap()));
    let memory = Arc::new(Memory::new(std::vec![region]).unwrap());
    device::Core::new(SIZE, features, memory, format)
}

/// A chain of a readable element of ten bytes and two writable ones, from descriptor `start` on.
fn write_chain(parts: &Parts, format: Format, start: u16, id: u16, wrap: bool) {
    let elements = [(10, NEXT), (20, NEXT | WRITE), (30, WRITE)];
    for (element, (length, flags)) in elements.into_iter().enumerate() {
        let count = start + element as u16;
        let (index, next) = (count % SIZE, u64::from((count + 1) % SIZE));
        let tail = match format {
            Format::Split => length | flags << 32 | next << 48,
            Format::Packed => {
                let state = if wrap == (count < SIZE) {
                    PackedFlags::AVAIL
                } else {
                    PackedFlags::USED
                };
                length | u64::from(id) << 32 | (flags | u64::from(state.0)) << 48
            }
        };
        let offset = usize::from(index) * 16;
        parts.0[0].store(offset, BASE + 64 * element as u64);
        parts.0[0].store(offset + 8, tail);
    }
}

/// Makes the split chain at `head` available as number `index`.
fn offer(parts: &Parts, index: u16, head: u16) {
    let available = &parts.0[1];
    available.store(4 + usize::from(index % SIZE) * 2, head.into());
    available.store(2, u64::from(index) + 1);
}

/// The chains here all look the same: id, bytes and pieces.
macro_rules! assert_taken {
    ($taken:expr, $id:expr) => {
        let taken = $taken;
        assert_eq!(
            (
                taken.token.id(),
                taken.readable,
                taken.readable_bytes,
                taken.writable
            ),
            ($id, 1, 10, 2)
        );
    };
}

#[test]
fn split_device_end() {
    for features in [Features::NONE, feature::IN_ORDER] {
        let (parts, mut core) = (Parts::of(SIZE), core_of(Format::Split, features));
        let mut ring = device::Split::new(parts.split(), State::default());
        // The long way, which any way may take.
        write_chain(&parts, Format::Split, 1, 0, true);
        offer(&parts, 0, 1);
        assert_taken!(parts.once(|| ring.pop_long(&mut core)).unwrap().unwrap(), 1);
        // The short way, for memory that it knows from before.
        write_chain(&parts, Format::Split, 2, 0, true);
        offer(&parts, 1, 2);
        assert_taken!(parts.once(|| ring.pop_short(&mut core)).unwrap(), 2);
    }
}

#[test]
fn packed_device_end() {
    for features in [Features::NONE, feature::IN_ORDER] {
        let (parts, mut core) = (Parts::of(SIZE), core_of(Format::Packed, features));
        let mut ring = device::Packed::new(parts.packed(), State::default());
        write_chain(&parts, Format::Packed, 0, 3, true);
        assert_taken!(parts.once(|| ring.pop_long(&mut core)).unwrap().unwrap(), 3);
        let mut ring = device::Packed::new(
            parts.packed(),
            State {
                next_available: 3,
                ..State::default()
            },
        );
        write_chain(&parts, Format::Packed, 3, 1, true);
        assert_taken!(parts.once(|| ring.pop_short(&mut core)).unwrap(), 1);
    }
}

#[test]
fn wishes_of_the_driver() {
    for features in [Features::NONE, feature::EVENT_IDX] {
        let (parts, mut core) = (Parts::of(SIZE), core_of(Format::Split, features));
        let mut ring = device::Split::new(parts.split(), State::default());
        write_chain(&parts, Format::Split, 0, 0, true);
        offer(&parts, 0, 0);
        ring.pop_long(&mut core).unwrap().unwrap();
        assert!(ring.complete_short(&mut core, 0, 5));
        assert!(parts.once(|| ring.publish(&core)));

        let (parts, mut core) = (Parts::of(SIZE), core_of(Format::Packed, features));
        let mut ring = device::Packed::new(parts.packed(), State::default());
        write_chain(&parts, Format::Packed, 0, 3, true);
        ring.pop_long(&mut core).unwrap().unwrap();
        assert!(ring.complete_short(&mut core, 3, 5));
        assert!(parts.once(|| ring.publish(&core)));
    }
}

/// What a driver end is to give once the device has written five bytes.
fn used_by<T>(data: T) -> Used<T> {
    Used { data, written: 5 }
}

/// A buffer of two readable bytes and six writable ones.
fn elements() -> [DmaSegment; 2] {
    // SAFETY: no device reads or writes there.
    unsafe { [DmaSegment::new(BASE, 2), DmaSegment::new(BASE, 6)] }
}

#[test]
fn split_driver_end() {
    for features in [
        feature::VERSION_1,
        feature::VERSION_1 | feature::IN_ORDER,
        feature::VERSION_1 | feature::EVENT_IDX,
        Features::NONE,
    ] {
        let parts = Parts::of(SIZE);
        let mut ring = driver::Split::with_parts(parts.split(), None, driver::Options::new(features));
        let [readable, writable] = elements();
        for index in 0..9_u64 {
            let id = ring.add(&[readable], &[writable], index).unwrap();
            parts.once(|| ring.publish());
            let entry = 4 + index as usize % usize::from(SIZE) * 8;
            let used = &parts.0[2];
            used.store(entry, id.into());
            used.store(entry + 4, 5);
            used.store(2, index + 1);
            assert_eq!(parts.once(|| ring.pop()), Ok(Some(used_by(index))));
        }
    }
}

#[test]
fn packed_driver_end() {
    // What `VIRTIO_F_IN_ORDER` and `VIRTIO_F_ORDER_PLATFORM` take is read afresh, after a look that counts for nothing.
    for features in [feature::VERSION_1, feature::VERSION_1 | feature::EVENT_IDX] {
        let parts = Parts::of(SIZE);
        let mut ring = driver::Packed::with_parts(parts.packed(), None, driver::Options::new(features));
        let [readable, writable] = elements();
        for round in 0..9_usize {
            let id = ring.add(&[readable], &[writable], round).unwrap();
            parts.once(|| ring.publish());
            let place = round * 2 % usize::from(SIZE);
            let used = if (round * 2 / usize::from(SIZE)).is_multiple_of(2) {
                PackedFlags::AVAIL.0 | PackedFlags::USED.0
            } else {
                0
            };
            let flags = u64::from(used) | WRITE;
            parts.0[0].store(place * 16 + 8, 5 | u64::from(id) << 32 | flags << 48);
            assert_eq!(parts.once(|| ring.pop()), Ok(Some(used_by(round))));
        }
    }
}

/// Adds three buffers in one go, with the data 10, 11 and 12.
fn add_three(ring: &mut impl Add<u32>) {
    let [readable, writable] = elements();
    ring.add_all((10..13).map(|data| ([readable], [writable], data)))
        .unwrap();
}

#[test]
fn split_driver_end_in_batches() {
    for features in [
        feature::VERSION_1,
        feature::VERSION_1 | feature::IN_ORDER,
        Features::NONE,
    ] {
        let parts = Parts::of(8);
        let mut ring = driver::Split::with_parts(parts.split(), None, driver::Options::new(features));
        for round in 0..9_u64 {
            add_three(&mut ring);
            parts.once(|| ring.publish());
            let (available, used) = (&parts.0[1], &parts.0[2]);
            for index in 3 * round..3 * round + 3 {
                let slot = index as usize % 8;
                used.store(4 + slot * 8, available.load(4 + slot * 2));
                used.store(8 + slot * 8, 5);
            }
            used.store(2, 3 * round + 3);
            let mut taken = Vec::new();
            let count = parts.once(|| ring.take_used(3, &mut |used| taken.push(used)));
            assert_eq!((count, taken), (Ok(3), [10, 11, 12].map(used_by).into()));
        }
    }
}

#[test]
fn packed_driver_end_in_batches() {
    for features in [feature::VERSION_1, feature::VERSION_1 | feature::EVENT_IDX] {
        let parts = Parts::of(16);
        let mut ring = driver::Packed::with_parts(parts.packed(), None, driver::Options::new(features));
        // Marks so many buffers of two descriptors used.
        let mark_used = |first: usize, count: usize| {
            for place in (first..first + 2 * count).step_by(2) {
                let tail = place % 16 * 16 + 8;
                let id = parts.0[0].load(tail) & 0xffff << 32;
                let used = u64::from(PackedFlags::AVAIL.0 | PackedFlags::USED.0);
                parts.0[0].store(tail, 5 | id | (used | WRITE) << 48);
            }
        };
        // Buffers have as many descriptors as the last one, or are looked at once more.
        let [readable, writable] = elements();
        ring.add(&[readable], &[writable], 9).unwrap();
        ring.publish();
        mark_used(0, 1);
        assert_eq!(ring.pop(), Ok(Some(used_by(9))));
        for round in 0..2 {
            add_three(&mut ring);
            parts.once(|| ring.publish());
            mark_used(2 + 6 * round, 3);
            let mut taken = Vec::new();
            let count = parts.once(|| ring.take_used(3, &mut |used| taken.push(used)));
            assert_eq!((count, taken), (Ok(3), [10, 11, 12].map(used_by).into()));
        }
    }
}
