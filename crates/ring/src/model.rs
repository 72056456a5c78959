//! Both ends over loom's atomics, for `tests/loom.rs`: the same code as everywhere, on words that loom watches.
//!
//! Only there with `--cfg loom`.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering;

use loom::sync::atomic::{AtomicU64, fence};
use ringwright_memory::{DmaSegment, Memory};
use ringwright_spec::{Features, feature};

use crate::driver::Add;
use crate::packed::PackedRing;
use crate::split::SplitRing;
use crate::words::Part;
use crate::{Format, State, device, driver};

/// Queue size of the virtqueues here.
const SIZE: u16 = 2;

/// A part of a virtqueue made of loom's atomics, one for each offset at which a word may start.
#[derive(Clone)]
struct Watched {
    words: Arc<Vec<AtomicU64>>,
    fenced: bool,
}

impl Watched {
    fn new(length: usize) -> Arc<Vec<AtomicU64>> {
        Arc::new((0..length / 2).map(|_| AtomicU64::new(0)).collect())
    }

    fn load(&self, offset: usize, ordering: Ordering) -> u64 {
        self.words[offset / 2].load(ordering)
    }

    fn store(&self, offset: usize, value: u64, ordering: Ordering) {
        self.words[offset / 2].store(value, ordering);
    }
}

impl Part for Watched {
    unsafe fn load16(&self, offset: usize, ordering: Ordering) -> u16 {
        self.load(offset, ordering) as u16
    }

    unsafe fn store16(&self, offset: usize, value: u16, ordering: Ordering) {
        self.store(offset, value.into(), ordering);
    }

    unsafe fn load32(&self, offset: usize, ordering: Ordering) -> u32 {
        self.load(offset, ordering) as u32
    }

    unsafe fn store32(&self, offset: usize, value: u32, ordering: Ordering) {
        self.store(offset, value.into(), ordering);
    }

    unsafe fn load64(&self, offset: usize, ordering: Ordering) -> u64 {
        self.load(offset, ordering)
    }

    unsafe fn store64(&self, offset: usize, value: u64, ordering: Ordering) {
        self.store(offset, value, ordering);
    }

    fn fence(&self) {
        if self.fenced {
            fence(Ordering::SeqCst);
        }
    }
}

/// Which of the ends keep their fences.
#[derive(Clone, Copy, Debug)]
pub struct Fences {
    /// The driver end's.
    pub driver: bool,
    /// The device end's.
    pub device: bool,
}

/// A driver end.
pub struct Driver(DriverRing);

enum DriverRing {
    Split(driver::Split<Watched, ()>),
    Packed(driver::Packed<Watched, ()>),
}

/// A device end.
pub struct Device(DeviceRing, device::Core);

enum DeviceRing {
    Split(device::Split<Watched>),
    Packed(device::Packed<Watched>),
}

/// Both ends of a fresh virtqueue of two descriptors.
pub fn pair(format: Format, event_idx: bool, fences: Fences) -> (Driver, Device) {
    let event_idx = if event_idx {
        feature::EVENT_IDX
    } else {
        Features::NONE
    };
    let features = feature::VERSION_1 | event_idx;
    let options = driver::Options::new(features);
    let memory = Memory::new(Vec::new()).expect("nothing overlaps in no memory");
    let core = device::Core::new(SIZE, features, Arc::new(memory), format);
    // Long enough for either format.
    let words = [(); 3].map(|()| Watched::new(64));
    let parts = |fenced| words.clone().map(|words| Watched { words, fenced });
    let ([a, b, c], [d, e, f]) = (parts(fences.driver), parts(fences.device));
    // SAFETY: nothing is accessed out of bounds, as these parts are not memory but panic.
    unsafe {
        match format {
            Format::Split => {
                let driver = driver::Split::with_parts(SplitRing::new(a, b, c, SIZE), None, options);
                let device = device::Split::new(SplitRing::new(d, e, f, SIZE), State::default());
                (
                    Driver(DriverRing::Split(driver)),
                    Device(DeviceRing::Split(device), core),
                )
            }
            Format::Packed => {
                let driver = driver::Packed::with_parts(PackedRing::new(a, b, c, SIZE), None, options);
                let device = device::Packed::new(PackedRing::new(d, e, f, SIZE), State::default());
                (
                    Driver(DriverRing::Packed(driver)),
                    Device(DeviceRing::Packed(device), core),
                )
            }
        }
    }
}

/// The same expression for each format.
macro_rules! each {
    ($ring:expr, $kind:ident, $format:ident => $body:expr) => {
        match $ring {
            $kind::Split($format) => $body,
            $kind::Packed($format) => $body,
        }
    };
}

impl Driver {
    /// Adds a buffer of one element without bytes.
    pub fn add(&mut self) {
        // SAFETY: no bytes are described.
        let element = unsafe { DmaSegment::new(0, 0) };
        each!(&mut self.0, DriverRing, ring => ring.add(&[element], &[], ())).expect("there is room");
    }

    /// Adds so many of these with one call.
    pub fn add_all(&mut self, count: u16) {
        // SAFETY: no bytes are described.
        let element = [unsafe { DmaSegment::new(0, 0) }];
        let chains = (0..count).map(|_| (element, [], ()));
        each!(&mut self.0, DriverRing, ring => ring.add_all(chains)).expect("there is room");
    }

    /// As [`DriverQueue::publish`](crate::DriverQueue::publish).
    pub fn publish(&mut self) -> bool {
        each!(&mut self.0, DriverRing, ring => ring.publish())
    }

    /// Takes a used buffer, if there is one; tells how many it took.
    pub fn pop(&mut self) -> u16 {
        each!(&mut self.0, DriverRing, ring => ring.pop())
            .expect("the device keeps the rules")
            .is_some()
            .into()
    }

    /// Takes all used buffers with one call; tells how many.
    pub fn take_used(&mut self) -> u16 {
        each!(&mut self.0, DriverRing, ring => ring.take_used(u16::MAX, &mut |_| {}))
            .expect("the device keeps the rules")
    }

    /// As [`DriverQueue::disable_notifications`](crate::DriverQueue::disable_notifications).
    pub fn disable_notifications(&mut self) {
        each!(&mut self.0, DriverRing, ring => ring.disable_notifications());
    }

    /// As [`DriverQueue::enable_notifications`](crate::DriverQueue::enable_notifications).
    pub fn enable_notifications(&mut self) -> bool {
        each!(&mut self.0, DriverRing, ring => ring.enable_notifications())
    }
}

impl Device {
    /// Takes an available buffer and completes it, if there is one; tells how many it took.
    pub fn serve(&mut self) -> u16 {
        let core = &mut self.1;
        each!(&mut self.0, DeviceRing, ring => {
            let Some(taken) = ring.pop_long(core).expect("the driver keeps the rules") else { return 0 };
            ring.complete_short(core, taken.token.id(), 0).into()
        })
    }

    /// As [`DeviceQueue::publish`](crate::DeviceQueue::publish).
    pub fn publish(&mut self) -> bool {
        each!(&mut self.0, DeviceRing, ring => ring.publish(&self.1))
    }

    /// As [`DeviceQueue::disable_notifications`](crate::DeviceQueue::disable_notifications).
    pub fn disable_notifications(&mut self) {
        match &mut self.0 {
            DeviceRing::Split(ring) => ring.disable_notifications(&self.1),
            DeviceRing::Packed(ring) => ring.disable_notifications(),
        }
    }

    /// As [`DeviceQueue::enable_notifications`](crate::DeviceQueue::enable_notifications).
    pub fn enable_notifications(&mut self) -> bool {
        each!(&mut self.0, DeviceRing, ring => ring.enable_notifications(&self.1))
    }
}
