//! What became of each device: a line for each way in which it was driven.

use alloc::sync::Arc;

use bare::{Failed, println};
use ringwright_driver::{Options, Transport};
use ringwright_memory::Area;
use ringwright_spec::{Features, feature};

use crate::drive::{Drive, driver};

/// The devices driven so far.
pub struct Report {
    area: Arc<Area>,
    passed: u32,
    failed: u32,
}

impl Report {
    /// An empty one, with memory that all devices reach.
    pub fn new(area: Arc<Area>) -> Self {
        Self {
            area,
            passed: 0,
            failed: 0,
        }
    }

    /// The memory that all devices reach.
    #[cfg(target_arch = "s390x")]
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// Drives the device behind `transport`, which is on `bus`, with each format of virtqueues that it offers.
    pub fn device(&mut self, bus: &str, transport: &mut dyn Transport) {
        let legacy = transport.legacy().is_some();
        let interface = if legacy { "legacy" } else { "modern" };
        let Some((name, drive)) = driver(transport.device_id()) else {
            println!(
                "{bus} has a device of type {}, which is left alone",
                transport.device_id()
            );
            return;
        };
        let packed = match transport.device_features() {
            Ok(features) => features.contains(feature::RING_PACKED) && !legacy,
            Err(error) => return self.failure(format_args!("{bus} {interface} split {name}: {error}")),
        };
        let all = Features(u128::MAX);
        let mut ways = [("split", all - feature::RING_PACKED), ("packed", all)].into_iter();
        for (time, (ring, accept)) in ways.by_ref().take(1 + usize::from(packed)).enumerate() {
            let options = Options {
                accept,
                ..Options::default()
            };
            let result = drive(Drive {
                transport,
                area: &self.area,
                options,
                time: time as u32 + 1,
            });
            match result {
                Ok(what) => {
                    self.passed += 1;
                    println!("passed {bus} {interface} {ring} {name}: {what}");
                }
                Err(error) => self.failure(format_args!("{bus} {interface} {ring} {name}: {error}")),
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
