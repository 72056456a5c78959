//! The advanced platform-level interrupt controller: one supervisor-level domain that forwards wired interrupts as
//! messages to the [`Imsic`].

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::Imsic;
use crate::AccessFault;

/// The highest interrupt source; sources count from 1.
pub const SOURCES: u32 = 63;

/// Length of what is indexed by source number.
const PLACES: usize = SOURCES as usize + 1;

/// Offsets of registers in the domain's control region. The arrays of `sourcecfg` and `target` fill the pages at 0 and
/// 0x3000; in the place of their element 0 is another register.
mod register {
    pub const DOMAINCFG: u64 = 0x0000;
    pub const SETIP: u64 = 0x1c00;
    pub const SETIP_1: u64 = SETIP + 4;
    pub const SETIPNUM: u64 = 0x1cdc;
    pub const IN_CLRIP: u64 = 0x1d00;
    pub const IN_CLRIP_1: u64 = IN_CLRIP + 4;
    pub const CLRIPNUM: u64 = 0x1ddc;
    pub const SETIE: u64 = 0x1e00;
    pub const SETIE_1: u64 = SETIE + 4;
    pub const SETIENUM: u64 = 0x1edc;
    pub const CLRIE: u64 = 0x1f00;
    pub const CLRIE_1: u64 = CLRIE + 4;
    pub const CLRIENUM: u64 = 0x1fdc;
    pub const SETIPNUM_LE: u64 = 0x2000;
    pub const GENMSI: u64 = 0x3000;
}

/// Values of field SM (source mode) of `sourcecfg`.
mod mode {
    pub const INACTIVE: u32 = 0;
    pub const DETACHED: u32 = 1;
    pub const EDGE1: u32 = 4;
    pub const EDGE0: u32 = 5;
    pub const LEVEL1: u32 = 6;
    pub const LEVEL0: u32 = 7;
}

/// Bits of `domaincfg`: the read-only byte that tells byte order, interrupt enable, and delivery by message, which cannot
/// be changed.
mod domaincfg {
    pub const ALWAYS: u32 = 0x80 << 24 | DM;
    pub const IE: u32 = 1 << 8;
    const DM: u32 = 1 << 2;
}

/// Fields of `target` and `genmsi` that exist: hart index, and interrupt identity.
const TARGET_FIELDS: u32 = 0x3fff << 18 | 0x7ff;

/// The controller.
pub struct Aplic {
    state: Mutex<AplicState>,
    imsic: Arc<Imsic>,
}

/// What the controller remembers. Bit maps have a bit for each source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AplicState {
    /// Bit IE of `domaincfg`.
    pub interrupts_enabled: bool,
    /// The level of each wire.
    pub wires: u64,
    /// Pending interrupts.
    pub pending: u64,
    /// Enabled interrupts.
    pub enabled: u64,
    /// `sourcecfg` of each source, by number; 0 for source 0.
    pub sourcecfg: Vec<u32>,
    /// `target` of each source, by number; 0 for source 0.
    pub target: Vec<u32>,
    /// `genmsi`.
    pub genmsi: u32,
}

impl Aplic {
    /// A controller at reset, with all wires low, that sends its messages to `imsic`.
    pub fn new(imsic: Arc<Imsic>) -> Self {
        Self {
            state: Mutex::default(),
            imsic,
        }
    }

    /// Sets the level of a wire. Nothing happens if there is no such source.
    pub fn set_wire(&self, source: u32, high: bool) {
        if let Some(bit) = bit(source) {
            self.change(|state| match high {
                true => state.wires |= bit,
                false => state.wires &= !bit,
            });
        }
    }

    /// A read of the control region.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        let data: &mut [u8; 4] = data.try_into().map_err(|_| AccessFault)?;
        *data = self.lock().read(offset).to_le_bytes();
        Ok(())
    }

    /// A write to the control region.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), AccessFault> {
        let value = u32::from_le_bytes(data.try_into().map_err(|_| AccessFault)?);
        if offset == register::GENMSI {
            let mut state = self.lock();
            state.genmsi = value & TARGET_FIELDS;
            self.send(state.genmsi);
        } else {
            self.change(|state| state.write(offset, value));
        }
        Ok(())
    }

    /// The controller's state.
    pub fn save(&self) -> AplicState {
        self.lock().clone()
    }

    /// Goes on from what [`Aplic::save`] returned.
    pub fn restore(&self, state: &AplicState) {
        *self.lock() = state.clone();
    }

    /// Changes the state, and does what follows from that.
    fn change(&self, change: impl FnOnce(&mut AplicState)) {
        let mut state = self.lock();
        let before = state.rectified();
        change(&mut state);
        state.settle(before);
        if state.interrupts_enabled {
            let mut ready = state.pending & state.enabled;
            state.pending &= !ready;
            while ready != 0 {
                self.send(state.target[ready.trailing_zeros() as usize]);
                ready &= ready - 1;
            }
        }
    }

    /// Sends the message that a `target` describes.
    fn send(&self, target: u32) {
        self.imsic.send((target >> 18) as usize, target & 0x7ff);
    }

    /// Nothing behind the lock can be left half done.
    fn lock(&self) -> MutexGuard<'_, AplicState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AplicState {
    /// Whether there is a place for each source, as a state has that was saved.
    pub(crate) fn is_complete(&self) -> bool {
        self.sourcecfg.len() == PLACES && self.target.len() == PLACES
    }

    fn read(&self, offset: u64) -> u32 {
        let number = (offset % 0x1000 / 4) as usize;
        match offset {
            register::DOMAINCFG => {
                domaincfg::ALWAYS | if self.interrupts_enabled { domaincfg::IE } else { 0 }
            }
            register::GENMSI => self.genmsi,
            _ if !offset.is_multiple_of(4) => 0,
            0x0004..0x1000 => self.sourcecfg.get(number).copied().unwrap_or(0),
            0x3004..0x4000 => self.target.get(number).copied().unwrap_or(0),
            register::SETIP | register::SETIP_1 => half(self.pending, offset),
            register::IN_CLRIP | register::IN_CLRIP_1 => half(self.rectified(), offset),
            register::SETIE | register::SETIE_1 => half(self.enabled, offset),
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, value: u32) {
        let number = (offset % 0x1000 / 4) as usize;
        let numbered = bit(value).unwrap_or(0);
        let half = u64::from(value) << (offset % 8 * 8);
        match offset {
            register::DOMAINCFG => self.interrupts_enabled = value & domaincfg::IE != 0,
            _ if !offset.is_multiple_of(4) => {}
            0x0004..0x1000 => self.set_sourcecfg(number, value),
            0x3004..0x4000 => self.set_target(number, value),
            register::SETIP | register::SETIP_1 => self.pending |= half & self.settable(),
            register::SETIPNUM | register::SETIPNUM_LE => self.pending |= numbered & self.settable(),
            register::IN_CLRIP | register::IN_CLRIP_1 => self.pending &= !half,
            register::CLRIPNUM => self.pending &= !numbered,
            register::SETIE | register::SETIE_1 => self.enabled |= half,
            register::SETIENUM => self.enabled |= numbered,
            register::CLRIE | register::CLRIE_1 => self.enabled &= !half,
            register::CLRIENUM => self.enabled &= !numbered,
            _ => {}
        }
    }

    /// Field SM, if it is a mode that exists; there is no domain to delegate to.
    fn set_sourcecfg(&mut self, source: usize, value: u32) {
        let legal = matches!(value & 0x407, mode::DETACHED | mode::EDGE1..=mode::LEVEL0);
        if let Some(sourcecfg) = self.sourcecfg.get_mut(source) {
            *sourcecfg = if legal { value & 7 } else { mode::INACTIVE };
        }
    }

    fn set_target(&mut self, source: usize, value: u32) {
        if let Some(target) = self.target.get_mut(source) {
            *target = value & TARGET_FIELDS;
        }
    }

    /// After a change: what follows for pending bits ("Precise effects on interrupt-pending bits") and for sources that are
    /// inactive. `before` are the rectified inputs from before.
    fn settle(&mut self, before: u64) {
        let rectified = self.rectified();
        self.pending |= rectified & !before;
        self.pending &= rectified | !self.in_mode(|mode| mode >= mode::LEVEL1);
        let active = self.in_mode(|mode| mode != mode::INACTIVE);
        self.pending &= active;
        self.enabled &= active;
        for (source, target) in self.target.iter_mut().enumerate() {
            if active & 1 << source == 0 {
                *target = 0;
            }
        }
    }

    /// The wires as their sources' modes see them: high is an interrupt.
    fn rectified(&self) -> u64 {
        let inverted = self.in_mode(|mode| matches!(mode, mode::EDGE0 | mode::LEVEL0));
        (self.wires ^ inverted) & self.in_mode(|mode| mode >= mode::EDGE1)
    }

    /// The sources that software can make pending.
    fn settable(&self) -> u64 {
        self.rectified() | self.in_mode(|mode| (mode::DETACHED..=mode::EDGE0).contains(&mode))
    }

    /// The sources in such a mode; never source 0.
    fn in_mode(&self, is: impl Fn(u32) -> bool) -> u64 {
        let sources = self.sourcecfg.iter().enumerate().skip(1);
        sources.fold(0, |bits, (source, mode)| bits | u64::from(is(*mode)) << source)
    }
}

impl Default for AplicState {
    fn default() -> Self {
        Self {
            interrupts_enabled: false,
            wires: 0,
            pending: 0,
            enabled: 0,
            sourcecfg: vec![mode::INACTIVE; PLACES],
            target: vec![0; PLACES],
            genmsi: 0,
        }
    }
}

/// The bit of a source in a bit map, if there is such a source.
fn bit(source: u32) -> Option<u64> {
    (1..=SOURCES).contains(&source).then(|| 1 << source)
}

/// The half of a bit map that the register at `offset`, element 0 or 1 of an array, has.
fn half(bits: u64, offset: u64) -> u32 {
    (bits >> (offset % 8 * 8)) as u32
}

#[cfg(test)]
#[path = "aplic_tests.rs"]
mod tests;
