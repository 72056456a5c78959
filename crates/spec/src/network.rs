//! Network device (section 5.1): a network interface, with receive and transmit virtqueues in pairs.
//!
//! Each packet is preceded by a header, [`Hdr`]. [`control`] has the commands of the control virtqueue, [`hash`] what
//! steers packets to receive virtqueues, [`statistics`] the device's counters; [`filter`] and [`ipsec`] are set up by
//! administration commands, whose numbers are in [`admin`].
//!
//! On a legacy interface every field is in the guest's byte order, which these little-endian types match only for
//! little-endian guests.

pub mod admin;
pub mod config;
pub mod control;
pub mod filter;
pub mod hash;
pub mod header;
pub mod statistics;

mod feature_bits;
#[cfg(test)]
mod tests;

/// Security associations of inline IPsec (section 5.1.9.7): the structures of the crypto device.
pub use crate::crypto::ipsec;
pub use config::Config;
pub use feature_bits::features;
pub use header::Hdr;

use crate::{DeviceType, Features};

/// The network device, id 1.
pub const DEVICE: DeviceType = DeviceType {
    id: 1,
    name: "network",
    title: "Network Device",
    transitional_pci_id: Some(0x1000),
    queues: &["receiveq1", "transmitq1", "controlq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

/// Number of pairs of receive and transmit virtqueues, N (section 5.1.2): `max_virtqueue_pairs` of the configuration
/// space with [`features::MQ`] or [`features::RSS`], else 1.
pub const fn pairs(features: Features, max_virtqueue_pairs: u16) -> u16 {
    if features.intersects(features::MQ.union(features::RSS)) {
        max_virtqueue_pairs
    } else {
        1
    }
}

/// Index of the receive virtqueue of this pair, counted from 0: `receiveq1` is that of pair 0. `None` if it exceeds 16
/// bits.
pub const fn receiveq(pair: u16) -> Option<u16> {
    pair.checked_mul(2)
}

/// Index of the transmit virtqueue of this pair, counted from 0: `transmitq1` is that of pair 0. `None` if it exceeds
/// 16 bits.
pub const fn transmitq(pair: u16) -> Option<u16> {
    match receiveq(pair) {
        Some(index) => Some(index + 1),
        None => None,
    }
}

/// Index of the control virtqueue after this number of [`pairs`], 2N; it exists only with [`features::CTRL_VQ`].
/// `None` if it exceeds 16 bits: the greatest number of pairs, 0x8000, leaves no index for it.
pub const fn controlq(pairs: u16) -> Option<u16> {
    pairs.checked_mul(2)
}
