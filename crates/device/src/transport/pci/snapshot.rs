//! The state of a function.

use super::Function;
use super::common::Selectors;
use crate::codec::{Rest, put_bytes};
use crate::transport::SnapshotError;

/// First bytes of every saved state; the last one is the version.
const MAGIC: [u8; 4] = *b"RWP\x01";

impl Function {
    /// Puts the device to rest: what is being processed is completed, then memory and interrupts stay as they are. The
    /// driver's accesses are to wait for [`Function::resume`].
    pub fn pause(&mut self) {
        self.core.pause();
    }

    /// Goes on after [`Function::pause`] or [`Function::restore`].
    pub fn resume(&mut self) {
        self.core.resume();
    }

    /// The state of the configuration space and the registers, of the device, and of its virtqueues, perhaps in the middle
    /// of traffic. The device must be paused. The memory is the monitor's to save.
    pub fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = MAGIC.to_vec();
        put_bytes(&mut bytes, &self.core.save()?);
        put_bytes(&mut bytes, self.space.bytes());
        bytes.push(self.hidden.into());
        bytes.extend(self.selectors.device_feature.to_le_bytes());
        bytes.extend(self.selectors.driver_feature.to_le_bytes());
        bytes.extend(self.selectors.queue.to_le_bytes());
        self.interrupts.save(&mut bytes);
        Ok(bytes)
    }

    /// Takes up what [`Function::save`] returned, perhaps in another process; the options must be the same. The device is
    /// paused then, its INTx# pin is asserted if it was, and it goes on with [`Function::resume`], which needs the memory.
    /// After an error it is as after a reset.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        self.reset();
        let outcome = self.try_restore(state);
        if outcome.is_err() {
            self.reset();
            self.core.resume();
        }
        outcome
    }

    fn try_restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        const MALFORMED: SnapshotError = SnapshotError::Malformed("a PCI function of this kind");
        let mut rest = Rest::after(MAGIC, state).ok_or(MALFORMED)?;
        self.core.restore(rest.bytes().ok_or(MALFORMED)?)?;
        self.restore_registers(&mut rest)
            .filter(|()| rest.is_empty())
            .ok_or(MALFORMED)?;
        self.apply_control();
        Ok(())
    }

    fn restore_registers(&mut self, rest: &mut Rest<'_>) -> Option<()> {
        self.space.restore(rest.bytes()?)?;
        self.hidden = rest.flag()?;
        self.selectors = Selectors {
            device_feature: rest.u32()?,
            driver_feature: rest.u32()?,
            queue: rest.u16()?,
        };
        self.interrupts.restore(rest)
    }
}
