//! What became of each device: a line for each way in which it was driven.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;

use bare::{Failed, println};
use ringwright_driver::Transport;
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};

use crate::drive::{Drive, driver};

/// The formats of virtqueues, with the features that choose them.
const RINGS: [(&str, Features); 4] = [
    ("split", Features::NONE),
    ("packed", feature::RING_PACKED),
    ("split-in-order", feature::IN_ORDER),
    ("packed-in-order", feature::RING_PACKED.union(feature::IN_ORDER)),
];

/// The devices driven so far.
pub struct Report {
    area: Arc<Area>,
    /// How often, by device id.
    times: BTreeMap<u32, u32>,
    passed: u32,
    failed: u32,
}

impl Report {
    /// An empty one, with memory that all devices reach.
    pub fn new(area: Arc<Area>) -> Self {
        Self {
            area,
            times: BTreeMap::new(),
            passed: 0,
            failed: 0,
        }
    }

    /// The memory that all devices reach.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// Drives the device behind `transport`, with each format of virtqueues that it offers. It is on `bus`, and notifies by
    /// `signal`, of which the processor hears if these are `interrupts`.
    pub fn device(&mut self, bus: &str, signal: &str, interrupts: bool, transport: &mut dyn Transport) {
        let id = transport.device_id();
        let interface = match transport.legacy() {
            Some(_) => "legacy",
            None => "modern",
        };
        let Some((name, drive)) = driver(id) else {
            println!("{bus} has a device of type {id}, which is left alone");
            return;
        };
        let offered = match transport.device_features() {
            Ok(features) => features,
            Err(error) => {
                return self.failure(format_args!("{bus} {interface} {signal} split {name}: {error}"));
            }
        };
        for (ring, features) in RINGS {
            if !offered.contains(features) {
                continue;
            }
            let time = self.times.entry(id).or_default();
            *time += 1;
            let result = drive(Drive {
                transport,
                area: &self.area,
                ring: features,
                interrupts,
                time: *time,
            });
            match result {
                Ok(what) => {
                    self.passed += 1;
                    println!("passed {bus} {interface} {signal} {ring} {name}: {what}");
                }
                Err(error) => self.failure(format_args!("{bus} {interface} {signal} {ring} {name}: {error}")),
            }
        }
    }

    /// Notes that something does not work.
    pub fn failure(&mut self, what: core::fmt::Arguments<'_>) {
        self.failed += 1;
        println!("failed {what}");
    }

    /// Sums up.
    pub fn end(self) -> Result<(), Failed> {
        println!("{} passed, {} failed", self.passed, self.failed);
        match (self.passed, self.failed) {
            (1.., 0) => Ok(()),
            _ => Err(Failed),
        }
    }
}
