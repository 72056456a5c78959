//! Virtio over MMIO (section 4.2), modern and legacy.
//!
//! A bus of this kind cannot be searched: somebody has to know where the registers are. Where there is a device tree,
//! module `device_tree` of this crate finds them (feature `device-tree`).
//!
//! ```
//! use ringwright_driver::transport::{Registers, mmio::Mmio};
//! use ringwright_driver::{Options, entropy::Entropy};
//! # use std::sync::Arc;
//! # use ringwright_memory::Area;
//!
//! fn start(registers: impl Registers, area: &Arc<Area>) -> Result<(), Box<dyn std::error::Error>> {
//!     // A placeholder without a device behind it is no error.
//!     if let Some(transport) = Mmio::probe(registers)? {
//!         let entropy = Entropy::new(transport, area, Options::default())?;
//!     }
//!     Ok(())
//! }
//! ```

mod queue;

use ringwright_memory::Width;
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::mmio::{self as spec, legacy};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use super::legacy::{Legacy, PAGE_SIZE};
use super::{Interrupt, Registers, STILL_IN_USE, Transport, TransportError, config};

/// Words of feature bits.
const FEATURE_WORDS: u32 = 4;

/// A device behind memory-mapped registers.
pub struct Mmio<R> {
    registers: R,
    device_id: u32,
    /// Of a legacy device, its guest's byte order.
    legacy: Option<ByteOrder>,
    features: Features,
}

impl<R: Registers> Mmio<R> {
    /// The device behind `registers`; `None` if they are a placeholder without a device
    /// (`drv:mmio:mmio-device-register-layout:06`). An error if they are no virtio device's: whoever looks for devices
    /// ignores that (`drv:mmio:mmio-device-register-layout:04`, `drv:mmio:mmio-device-register-layout:05`).
    pub fn probe(registers: R) -> Result<Option<Self>, TransportError> {
        Self::probe_as(registers, ByteOrder::NATIVE)
    }

    /// As [`probe`](Self::probe), for a guest of byte order `guest`, should the device be a legacy one.
    pub fn probe_as(mut registers: R, guest: ByteOrder) -> Result<Option<Self>, TransportError> {
        // drv:mmio:device-initialization:01: these first.
        if registers.read32(spec::MAGIC_VALUE)? != spec::MAGIC {
            return Err(TransportError::Protocol("MagicValue is not 0x74726976"));
        }
        let legacy = match registers.read32(spec::VERSION)? {
            spec::DEVICE_VERSION => None,
            legacy::DEVICE_VERSION => Some(guest),
            _ => {
                return Err(TransportError::Protocol(
                    "Version is neither 2 nor, as legacy devices have, 1",
                ));
            }
        };
        // drv:mmio:device-initialization:02: without a device, no other register is accessed.
        let device_id = registers.read32(spec::DEVICE_ID)?;
        if device_id == 0 {
            return Ok(None);
        }
        Ok(Some(Self {
            registers,
            device_id,
            legacy,
            features: Features::NONE,
        }))
    }

    /// The virtio subsystem vendor id.
    pub fn vendor_id(&mut self) -> Result<u32, TransportError> {
        self.registers.read32(spec::VENDOR_ID)
    }

    /// The registers.
    pub fn registers(&mut self) -> &mut R {
        &mut self.registers
    }

    /// Number of feature words that the registers reach.
    fn feature_words(&self) -> u32 {
        match self.legacy {
            Some(_) => 1,
            None => FEATURE_WORDS,
        }
    }

    fn modern(&self, what: &'static str) -> Result<(), TransportError> {
        match self.legacy {
            Some(_) => Err(TransportError::Unsupported(what)),
            None => Ok(()),
        }
    }
}

impl<R: Registers> Transport for Mmio<R> {
    fn device_id(&self) -> u32 {
        self.device_id
    }

    fn legacy(&self) -> Option<Legacy> {
        self.legacy.map(|byte_order| Legacy {
            byte_order,
            fixed_queue_size: false,
        })
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        let mut features = Features::NONE;
        for word in 0..self.feature_words() {
            // drv:mmio:mmio-device-register-layout:07
            self.registers.write32(spec::DEVICE_FEATURES_SEL, word)?;
            features = features.with_word(word, self.registers.read32(spec::DEVICE_FEATURES)?);
        }
        Ok(features)
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        for word in 0..self.feature_words() {
            // Devices older than the features of the upper half have no place for them.
            if word >= 2 && features.word(word) == 0 {
                continue;
            }
            // drv:mmio:mmio-device-register-layout:08
            self.registers.write32(spec::DRIVER_FEATURES_SEL, word)?;
            self.registers
                .write32(spec::DRIVER_FEATURES, features.word(word))?;
        }
        self.features = features;
        match self.legacy {
            // Before any virtqueue is configured (section 4.2.4).
            Some(_) => self.registers.write32(legacy::GUEST_PAGE_SIZE, PAGE_SIZE),
            None => Ok(()),
        }
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        Ok(Status(self.registers.read32(spec::STATUS)? as u8))
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        self.registers.write32(spec::STATUS, status.0.into())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        self.registers.write32(spec::QUEUE_SEL, index.into())?;
        if self.queue_in_use()? {
            return Err(TransportError::Protocol(
                "a virtqueue is in use before it was set up",
            ));
        }
        let most = self.registers.read32(spec::QUEUE_SIZE_MAX)?;
        Ok(u16::try_from(most).unwrap_or(u16::MAX))
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        if layout.size > self.queue_max_size(index)? {
            // drv:mmio:mmio-device-register-layout:09
            return Err(TransportError::NoQueue(index));
        }
        match self.legacy {
            Some(_) => self.enable_legacy_queue(layout),
            None => self.enable_modern_queue(layout),
        }
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        self.modern("a legacy device cannot reset a virtqueue")?;
        self.registers.write32(spec::QUEUE_SEL, index.into())?;
        self.registers.write32(spec::QUEUE_RESET, 1)
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        self.modern("a legacy device cannot reset a virtqueue")?;
        self.registers.write32(spec::QUEUE_SEL, index.into())?;
        // drv:mmio:mmio-device-register-layout:14
        if self.registers.read32(spec::QUEUE_RESET)? != 0 {
            return Ok(false);
        }
        // drv:core:virtqueue-reset:01: a device without the register seems to have finished, too.
        match self.queue_in_use()? {
            false => Ok(true),
            true => Err(STILL_IN_USE),
        }
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        let value = match self.features.contains(feature::NOTIFICATION_DATA) {
            true => data,
            false => index.into(),
        };
        self.registers.write32(spec::QUEUE_NOTIFY, value)
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        self.modern("a legacy device has no configuration generation")?;
        self.registers.read32(spec::CONFIG_GENERATION)
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        config::read(offset, width, data, |offset, width| {
            self.registers.read(spec::CONFIG + offset, width)
        })
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        config::write(offset, width, data, |offset, width, value| {
            self.registers.write(spec::CONFIG + offset, width, value)
        })
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        // drv:mmio:notifications-from-the-device:01
        let status = spec::Interrupt(self.registers.read32(spec::INTERRUPT_STATUS)?);
        // drv:mmio:mmio-device-register-layout:12, drv:mmio:mmio-device-register-layout:13: undefined bits are neither
        // heeded nor acknowledged.
        let known =
            spec::Interrupt(status.0 & (spec::Interrupt::USED_BUFFER | spec::Interrupt::CONFIG_CHANGE).0);
        if known != spec::Interrupt::NONE {
            // drv:mmio:notifications-from-the-device:03. What comes from here on asserts the interrupt anew.
            self.registers.write32(spec::INTERRUPT_ACK, known.0)?;
        }
        Ok(Interrupt {
            queue: known.contains(spec::Interrupt::USED_BUFFER),
            config: known.contains(spec::Interrupt::CONFIG_CHANGE),
        })
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        if self.legacy.is_some() {
            return Ok(None);
        }
        self.registers.write32(spec::SHM_SEL, id.into())?;
        let mut pair = |low, high| -> Result<u64, TransportError> {
            let low = self.registers.read32(low)?;
            Ok(u64::from(self.registers.read32(high)?) << 32 | u64::from(low))
        };
        let length = pair(spec::SHM_LEN_LOW, spec::SHM_LEN_HIGH)?;
        let base = pair(spec::SHM_BASE_LOW, spec::SHM_BASE_HIGH)?;
        if length == spec::SHM_NONE || base == spec::SHM_NONE {
            return Ok(None);
        }
        match base.checked_add(length) {
            Some(_) => Ok(Some((base, length))),
            None => Err(TransportError::Protocol(
                "a shared memory region ends beyond 64 bits",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
