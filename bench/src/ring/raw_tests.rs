//! The two raw ends against each other.
//!
//! `unsafe` is needed here to allocate the ring's memory.

use std::alloc::{Layout, alloc_zeroed};

use crate::Format;
use crate::memory::{DESCRIPTOR_AREA, DEVICE_AREA, DRIVER_AREA, Rings};
use crate::pattern::{MAX_BATCH, Pattern, TABLE};
use crate::raw_device::RawDevice;
use crate::raw_driver::RawDriver;

/// More than enough for the indices to wrap.
const ROUNDS: u64 = 70_000;

fn rings() -> Rings {
    let part = |length| {
        let layout = Layout::from_size_align(length, 16).unwrap();
        // SAFETY: no part has length 0.
        unsafe { alloc_zeroed(layout) }
    };
    Rings {
        descriptor_area: part(DESCRIPTOR_AREA),
        driver_area: part(DRIVER_AREA),
        device_area: part(DEVICE_AREA),
        tables: part(MAX_BATCH as usize * TABLE),
        tables_address: 0x100,
        buffers: 0x1000,
    }
}

fn every_case(test: impl Fn(Format, Pattern)) {
    for format in [Format::Split, Format::Packed] {
        for batch in [1, 2, 31, 32] {
            for segments in 1..=3 {
                for indirect in [false, true] {
                    test(format, Pattern::new(batch, segments, indirect).unwrap());
                }
            }
        }
    }
}

#[test]
fn raw_ends_understand_each_other() {
    every_case(|format, pattern| {
        let rings = rings();
        let mut driver = RawDriver::new(format, rings, pattern);
        let mut device = RawDevice::new(format, rings, pattern);
        for _ in 0..ROUNDS {
            driver.offer();
            device.serve();
            driver.take();
        }
        driver.check(ROUNDS).unwrap();
        device.check(ROUNDS).unwrap();
    });
}

#[test]
fn a_batch_that_is_not_served_is_noticed() {
    every_case(|format, pattern| {
        let rings = rings();
        let mut driver = RawDriver::new(format, rings, pattern);
        let mut device = RawDevice::new(format, rings, pattern);
        for round in 0..10 {
            driver.offer();
            if round != 5 {
                device.serve();
            }
            driver.take();
        }
        driver.check(10).unwrap_err();
    });
}

#[test]
fn a_batch_that_is_not_offered_is_noticed() {
    every_case(|format, pattern| {
        let rings = rings();
        let mut device = RawDevice::new(format, rings, pattern);
        device.serve();
        device.check(1).unwrap_err();
    });
}
