//! The incoming MSI controller: a supervisor-level interrupt file for each hart.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::{AccessFault, Interrupt, InterruptFile, Signals, Update};

/// The highest interrupt identity; identities count from 1.
pub const IDENTITIES: u32 = 255;

/// Bytes of physical address space that each hart's interrupt file takes.
pub const PAGE: u64 = 0x1000;

/// 64-bit registers of a bit array, with a bit for identity 0, which does not exist.
const WORDS: usize = (IDENTITIES as usize + 1) / 64;

/// `seteipnum_le`: the port for messages, at the start of a page.
const SETEIPNUM_LE: u64 = 0;

/// The registers that `siselect` chooses.
mod select {
    pub const EIDELIVERY: u64 = 0x70;
    pub const EITHRESHOLD: u64 = 0x72;
    pub const EIP0: u64 = 0x80;
    pub const EIP63: u64 = 0xbf;
    pub const EIE0: u64 = 0xc0;
    pub const EIE63: u64 = 0xff;
}

/// The interrupt files of all harts.
pub struct Imsic(Vec<Arc<File>>);

/// What an interrupt file remembers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileState {
    /// `eidelivery`: 0 or 1.
    pub delivery: u64,
    /// `eithreshold`.
    pub threshold: u64,
    /// The `eip` array.
    pub pending: [u64; WORDS],
    /// The `eie` array.
    pub enabled: [u64; WORDS],
}

struct File {
    state: Mutex<FileState>,
    /// The hart's, for its external interrupt.
    signals: Arc<Signals>,
}

impl Imsic {
    /// An interrupt file for each hart, by the way to it.
    pub fn new(harts: &[Arc<Signals>]) -> Self {
        let file = |signals: &Arc<Signals>| {
            Arc::new(File {
                state: Mutex::default(),
                signals: signals.clone(),
            })
        };
        Self(harts.iter().map(file).collect())
    }

    /// The interrupt file of a hart, for its CSRs.
    pub fn file(&self, hart: usize) -> Option<Arc<dyn InterruptFile>> {
        Some(self.0.get(hart)?.clone())
    }

    /// Makes interrupt `identity` pending at a hart. Nothing happens if there is no such hart or identity.
    pub fn send(&self, hart: usize, identity: u32) {
        if let Some(file) = self.0.get(hart)
            && (1..=IDENTITIES).contains(&identity)
        {
            let mut state = file.lock();
            let (word, bit) = place(identity);
            state.pending[word] |= bit;
            file.settle(&state);
        }
    }

    /// A read within the pages of the interrupt files, `offset` from the first: all zero.
    pub fn read(&self, _offset: u64, data: &mut [u8]) -> Result<(), AccessFault> {
        if data.len() != 4 {
            return Err(AccessFault);
        }
        data.fill(0);
        Ok(())
    }

    /// A write within the pages of the interrupt files, `offset` from the first: a message, if it hits a port.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), AccessFault> {
        let identity = u32::from_le_bytes(data.try_into().map_err(|_| AccessFault)?);
        if offset % PAGE == SETEIPNUM_LE
            && let Ok(hart) = usize::try_from(offset / PAGE)
        {
            self.send(hart, identity);
        }
        Ok(())
    }

    /// The state of every file.
    pub fn save(&self) -> Vec<FileState> {
        self.0.iter().map(|file| *file.lock()).collect()
    }

    /// Goes on from what [`Imsic::save`] returned.
    pub fn restore(&self, states: &[FileState]) {
        for (file, state) in self.0.iter().zip(states) {
            let mut current = file.lock();
            *current = *state;
            file.settle(&current);
        }
    }
}

impl File {
    /// Nothing behind the lock can be left half done.
    fn lock(&self) -> MutexGuard<'_, FileState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the hart's external interrupt to what `state` says, which is locked, so that the last change wins.
    fn settle(&self, state: &FileState) {
        if state.delivery == 1 && state.top() != 0 {
            self.signals.raise(Interrupt::External);
        } else {
            self.signals.lower(Interrupt::External);
        }
    }
}

impl InterruptFile for File {
    fn register(&self, select: u64, update: Update) -> Option<u64> {
        let mut state = self.lock();
        let (register, legal) = match select {
            select::EIDELIVERY => (Some(&mut state.delivery), 1),
            select::EITHRESHOLD => (Some(&mut state.threshold), u64::from(IDENTITIES)),
            // With 64-bit registers the odd ones do not exist.
            select::EIP0..=select::EIE63 if select % 2 == 1 => return None,
            select::EIP0..=select::EIP63 => array(&mut state.pending, select - select::EIP0),
            select::EIE0..=select::EIE63 => array(&mut state.enabled, select - select::EIE0),
            _ => (None, 0),
        };
        // What is reserved, or belongs to identities that do not exist, is zero.
        let Some(register) = register else {
            return Some(0);
        };
        let old = *register;
        *register = update.apply(old) & legal;
        if update != Update::Keep {
            self.settle(&state);
        }
        Some(old)
    }

    fn top(&self) -> u64 {
        self.lock().top()
    }

    fn claim(&self) -> u64 {
        let mut state = self.lock();
        let top = state.top();
        let (word, bit) = place(top as u32 & 0x7ff);
        state.pending[word] &= !bit;
        self.settle(&state);
        top
    }
}

impl FileState {
    /// What `stopei` reads.
    fn top(&self) -> u64 {
        let mut candidates = self.pending.iter().zip(&self.enabled).enumerate();
        let first = candidates.find_map(|(word, (pending, enabled))| {
            let both = pending & enabled;
            (both != 0).then(|| word as u64 * 64 + u64::from(both.trailing_zeros()))
        });
        match first {
            Some(identity) if self.threshold == 0 || identity < self.threshold => identity << 16 | identity,
            _ => 0,
        }
    }
}

/// Where the bit of an identity is.
fn place(identity: u32) -> (usize, u64) {
    (identity as usize / 64, 1 << (identity % 64))
}

/// Register `number` of an array, if it has any identities, and which of its bits do.
fn array(words: &mut [u64; WORDS], number: u64) -> (Option<&mut u64>, u64) {
    let legal = if number == 0 { !1 } else { !0 };
    (words.get_mut(number as usize / 2), legal)
}

#[cfg(test)]
#[path = "imsic_tests.rs"]
mod tests;
