//! Which virtqueue is what (section 5.1.2).

use ringwright_spec::Features;
use ringwright_spec::network::pairs;

use super::{CONTROLQ, RECEIVEQ1, TRANSMITQ1};

/// What a virtqueue is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// The receive virtqueue of a pair, counted from 0.
    Receive(u16),
    /// The transmit virtqueue of a pair.
    Transmit(u16),
    /// Commands.
    Control,
}

/// The numbers of virtqueues in a session: one for commands behind all pairs that the features let there be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbering {
    /// At least one.
    pub pairs: u16,
}

impl Numbering {
    /// For a device with at most `most` pairs, whose driver has accepted `features`.
    pub fn new(features: Features, most: u16) -> Self {
        Self {
            pairs: pairs(features, most),
        }
    }

    /// What the virtqueue of this index is for. `None` if there is none.
    pub fn role(self, index: u16) -> Option<Role> {
        match (index / 2, index % 2) {
            (pair, 0) if pair < self.pairs => Some(Role::Receive(pair)),
            (pair, _) if pair < self.pairs => Some(Role::Transmit(pair)),
            (pair, 0) if pair == self.pairs => Some(Role::Control),
            _ => None,
        }
    }

    /// Index of the receive virtqueue of a pair that there is.
    pub fn receive(pair: u16) -> u16 {
        RECEIVEQ1 + 2 * pair
    }

    /// Index of the transmit virtqueue of a pair that there is.
    pub fn transmit(pair: u16) -> u16 {
        TRANSMITQ1 + 2 * pair
    }

    /// Index of the virtqueue for commands.
    pub fn control(self) -> u16 {
        CONTROLQ + 2 * (self.pairs - 1)
    }
}
