//! The state of a device behind its registers.

use ringwright_spec::mmio::Interrupt;

use super::registers::Selectors;
use super::{Mmio, Version};
use crate::codec::{Rest, put_bytes};
use crate::transport::SnapshotError;

/// First bytes of every saved state; the last one is the version.
const MAGIC: [u8; 4] = *b"RWM\x01";

impl Mmio {
    /// Puts the device to rest: what is being processed is completed, then memory and interrupt stay as they are. The
    /// driver's accesses are to wait for [`Mmio::resume`].
    pub fn pause(&mut self) {
        self.core.pause();
    }

    /// Goes on after [`Mmio::pause`] or [`Mmio::restore`].
    pub fn resume(&mut self) {
        self.core.resume();
    }

    /// The state of the registers, of the device, and of its virtqueues, perhaps in the middle of traffic. The device must
    /// be paused. The memory is the monitor's to save.
    pub fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = MAGIC.to_vec();
        bytes.push((self.options.version == Version::Legacy).into());
        bytes.extend(self.interrupt.pending().to_le_bytes());
        self.selectors.save(&mut bytes);
        put_bytes(&mut bytes, &self.core.save()?);
        Ok(bytes)
    }

    /// Takes up what [`Mmio::save`] returned, perhaps in another process; the options must be the same. The device is paused
    /// then, its line is asserted if it was, and it goes on with [`Mmio::resume`], which needs the memory. After an error
    /// it is as after a reset.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        self.reset();
        let (legacy, interrupt, selectors, core) =
            decode(state).ok_or(SnapshotError::Malformed("a device over MMIO"))?;
        if legacy != (self.options.version == Version::Legacy) {
            return Err(SnapshotError::Mismatch {
                expected: format!("registers of version {:?}", self.options.version),
                found: "the other".into(),
            });
        }
        self.core.restore(core)?;
        self.selectors = selectors;
        self.interrupt.restore(interrupt);
        Ok(())
    }
}

fn decode(state: &[u8]) -> Option<(bool, u32, Selectors, &[u8])> {
    let mut rest = Rest::after(MAGIC, state)?;
    let parts = (
        rest.flag()?,
        rest.u32()
            .filter(|events| Interrupt(*events).unnamed().is_empty())?,
        Selectors::restore(&mut rest)?,
        rest.bytes()?,
    );
    rest.is_empty().then_some(parts)
}
