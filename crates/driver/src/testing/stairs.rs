//! A device type for tests of what all drivers share.

use ringwright_ring::DriverQueue;
use ringwright_spec::feature::FeatureBit;
use ringwright_spec::{DeviceType, Features};

use super::Fake;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options};

/// A device type with features that build on each other.
pub const STAIRS: DeviceType = DeviceType {
    id: 77,
    name: "stairs",
    title: "Stairs",
    transitional_pci_id: None,
    queues: &["queue"],
    features: &[
        bit(0, &[]),
        // The requirement comes later in the table, so that one pass over it is not enough.
        bit(1, &[Features(1 << 2)]),
        bit(2, &[Features(1 << 0)]),
    ],
    config_size: 0,
};

pub const LENGTH: usize = 1 << 20;

const fn bit(bit: u32, requires: &'static [Features]) -> FeatureBit {
    FeatureBit {
        bit,
        name: "step",
        requires,
        legacy: false,
    }
}

pub fn stairs(offered: Features, sizes: &[u16]) -> Fake {
    Fake::new(STAIRS.id, offered, sizes, LENGTH)
}

pub fn begin(fake: &Fake, options: Options) -> Result<Setup<Fake>, DriverError> {
    Setup::begin(fake.clone(), &fake.area(), &STAIRS, Features(0b111), options)
}

pub fn live(fake: &Fake) -> (Session<Fake>, DriverQueue<()>) {
    let mut setup = begin(fake, Options::default()).unwrap();
    let queue = setup.queue(0, 1).unwrap();
    (setup.finish().unwrap(), queue)
}
