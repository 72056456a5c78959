//! Memory that both ends of a virtqueue see, and shorthands for both ends.
#![allow(dead_code, reason = "each test program uses some of it")]

use std::sync::Arc;

use ringwright_memory::{Area, Buffer, DmaSegment, Mapping, Memory, Region};
use ringwright_ring::{DeviceQueue, DriverOptions, DriverQueue, State};
use ringwright_spec::{Features, feature};

/// Guest address of the memory.
pub const BASE: u64 = 0x4000_0000;

pub const SPLIT: Features = feature::VERSION_1;
pub const PACKED: Features = feature::VERSION_1.union(feature::RING_PACKED);
pub const BOTH: [Features; 2] = [SPLIT, PACKED];

/// One region of memory for both ends.
pub struct Shared {
    pub memory: Arc<Memory>,
    pub area: Arc<Area>,
}

impl Shared {
    pub fn new(length: usize) -> Self {
        let region = Region::new(BASE, Arc::new(Mapping::anonymous(length).unwrap()));
        let area = Area::from_region(region.clone()).unwrap();
        Self {
            memory: Arc::new(Memory::new(vec![region]).unwrap()),
            area,
        }
    }

    pub fn buffer(&self, length: usize) -> Buffer {
        self.area.allocate(length, 1).unwrap()
    }

    /// Both ends of a fresh virtqueue.
    pub fn pair<T>(&self, size: u16, features: Features, indirect: u16) -> (DriverQueue<T>, DeviceQueue) {
        let driver = DriverQueue::new(&self.area, size, features, DriverOptions { indirect }).unwrap();
        let device =
            DeviceQueue::new(driver.layout(), features, self.memory.clone(), State::default()).unwrap();
        (driver, device)
    }
}

/// A buffer in as many elements of one byte to nine bytes.
pub fn pieces(buffer: &Buffer, count: usize) -> Vec<DmaSegment> {
    let step = buffer.len() / count;
    (0..count)
        .map(|piece| buffer.segment_at(piece * step, step).unwrap())
        .collect()
}
