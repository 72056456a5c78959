//! The configuration space (section 2.5) and its generation.

use ringwright_ring::ByteOrder;

use super::{Core, Interface};
use crate::codec::{Rest, put_bytes};

/// Tells whether the configuration space has changed between two reads.
///
/// The generation changes when the driver reads something of a configuration space that differs from the one it last read
/// of, so whatever the driver puts together from several reads is of one generation, or it can see that it is not. It
/// changes once for each time that it is looked at, so that 8 bits of it are enough.
#[derive(Debug)]
pub(super) struct Generation {
    count: u32,
    /// The driver has read `count`.
    seen: bool,
    /// What the configuration space was when the driver last read of it.
    config: Vec<u8>,
}

impl Generation {
    pub fn new(config: Vec<u8>) -> Self {
        Self {
            count: 0,
            seen: false,
            config,
        }
    }

    /// For a saved state.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.count.to_le_bytes());
        bytes.push(self.seen.into());
        put_bytes(bytes, &self.config);
    }

    /// From a saved state.
    pub fn restore(rest: &mut Rest<'_>) -> Option<Self> {
        Some(Self {
            count: rest.u32()?,
            seen: rest.flag()?,
            config: rest.bytes()?.to_vec(),
        })
    }

    fn look_at(&mut self, config: Vec<u8>) {
        if self.config == config {
            return;
        }
        self.config = config;
        if self.seen {
            self.seen = false;
            self.count = self.count.wrapping_add(1);
        }
    }
}

impl Core {
    /// The configuration atomicity value. It has changed if reads of the configuration space since it was last read may
    /// not go together (`dev:pci:common-configuration-structure-layout:06`,
    /// `dev:mmio:mmio-device-register-layout:06`).
    pub fn config_generation(&mut self) -> u32 {
        self.generation.seen = true;
        self.generation.count
    }

    /// The driver reads the configuration space, at any time (`dev:core:device-configuration-space:01`). Bytes beyond its
    /// end are zero.
    pub fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        self.generation.look_at(self.host.config());
        let config = self.config_for_driver();
        data.fill(0);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let present = config.get(offset..).unwrap_or_default();
        let length = present.len().min(data.len());
        data[..length].copy_from_slice(&present[..length]);
    }

    /// The driver writes to the configuration space. What the device does not take is ignored.
    pub fn write_config(&mut self, offset: u64, data: &[u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let outcome = match self.interface {
            Interface::Modern => self.host.write_config(offset, data),
            Interface::Legacy => {
                let Some((offset, data)) = self.config_from_driver(offset, data) else {
                    return;
                };
                self.host.write_legacy_config(offset, &data)
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "a write to the configuration space is ignored");
        }
    }

    /// Byte order of the configuration space as the driver sees it.
    pub(super) fn config_order(&self) -> ByteOrder {
        match self.interface {
            Interface::Modern => ByteOrder::Little,
            Interface::Legacy => self.legacy_byte_order,
        }
    }
}
