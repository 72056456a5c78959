//! The vector table of MSI-X and its pending bits.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_spec::pci::header::msix::{MASK, VECTOR_SIZE};

use super::PciInterrupts;
use crate::codec::{Rest, put_length};

/// Sends messages, or remembers that they are to be sent.
pub(super) struct Msix {
    interrupts: Arc<dyn PciInterrupts>,
    /// The table is the client's: messages go by vector number alone, and it masks them.
    client_table: bool,
    enabled: AtomicBool,
    /// No message can be sent: the function mask is set, or the function is no bus master.
    held: AtomicBool,
    vectors: Vec<Mutex<Vector>>,
}

/// An entry of the table, and its pending bit.
#[derive(Clone, Copy, Debug)]
struct Vector {
    address: u64,
    data: u32,
    masked: bool,
    pending: bool,
}

impl Default for Vector {
    fn default() -> Self {
        Self {
            address: 0,
            data: 0,
            masked: true,
            pending: false,
        }
    }
}

impl Msix {
    pub fn new(vectors: u16, client_table: bool, interrupts: Arc<dyn PciInterrupts>) -> Self {
        Self {
            interrupts,
            client_table,
            enabled: AtomicBool::new(false),
            held: AtomicBool::new(true),
            vectors: (0..vectors).map(|_| Mutex::default()).collect(),
        }
    }

    /// Number of vectors.
    pub fn size(&self) -> u16 {
        self.vectors.len() as u16
    }

    /// Whether the driver has enabled MSI-X.
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Acquire)
    }

    /// Whether MSI-X is enabled, and whether its messages are held back. Those that were go out when they are not any more.
    pub fn control(&self, enabled: bool, held: bool) {
        self.enabled.store(enabled, Ordering::Release);
        self.held.store(held, Ordering::Release);
        for index in 0..self.size() {
            self.change(index, |_| {});
        }
    }

    /// Sends the message of a vector, or sets its pending bit. Nothing happens without such a vector.
    pub fn send(&self, index: u16) {
        if self.client_table && index < self.size() {
            return self.interrupts.message(index, 0, 0);
        }
        self.change(index, |vector| vector.pending = true);
    }

    /// The driver reads the table: aligned words of 32 or 64 bits.
    pub fn read_table(&self, offset: u64, data: &mut [u8]) {
        read_words(offset, data, |offset| {
            let vector = *self.vector((offset / VECTOR_SIZE) as u16)?;
            Some(match offset % VECTOR_SIZE {
                0 => vector.address as u32,
                4 => (vector.address >> 32) as u32,
                8 => vector.data,
                _ => u32::from(vector.masked) * MASK,
            })
        });
    }

    /// The driver writes to the table, likewise.
    pub fn write_table(&self, offset: u64, data: &[u8]) {
        if !is_word(offset, data.len()) {
            return;
        }
        for (word, offset) in data.as_chunks().0.iter().zip((offset..).step_by(4)) {
            let word = u32::from_le_bytes(*word);
            self.change((offset / VECTOR_SIZE) as u16, |vector| {
                match offset % VECTOR_SIZE {
                    0 => super::set_low(&mut vector.address, word),
                    4 => super::set_high(&mut vector.address, word),
                    8 => vector.data = word,
                    _ => vector.masked = word & MASK != 0,
                }
            });
        }
    }

    /// The driver reads the pending bits.
    pub fn read_pending(&self, offset: u64, data: &mut [u8]) {
        read_words(offset, data, |offset| {
            let bits = (0..32).map(|bit| {
                let vector = self.vector((offset * 8 + bit) as u16);
                u32::from(vector.is_some_and(|vector| vector.pending)) << bit
            });
            Some(bits.fold(0, |all, bit| all | bit))
        });
    }

    /// Back to what it is after a reset of the function.
    pub fn reset(&self) {
        self.control(false, true);
        for index in 0..self.size() {
            self.change(index, |vector| *vector = Vector::default());
        }
    }

    /// For a saved state.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        put_length(bytes, self.vectors.len());
        for vector in (0..self.size()).filter_map(|index| self.vector(index)) {
            bytes.extend(vector.address.to_le_bytes());
            bytes.extend(vector.data.to_le_bytes());
            bytes.push(vector.masked.into());
            bytes.push(vector.pending.into());
        }
    }

    /// From a saved state: takes up the table, while no message can be sent. `None` if it is not of this size.
    pub fn restore(&self, rest: &mut Rest<'_>) -> Option<()> {
        if rest.length()? != self.vectors.len() {
            return None;
        }
        for index in 0..self.size() {
            let saved = Vector {
                address: rest.u64()?,
                data: rest.u32()?,
                masked: rest.flag()?,
                pending: rest.flag()?,
            };
            self.change(index, |vector| *vector = saved);
        }
        Some(())
    }

    /// Changes a vector; if then a message is pending that can be sent, sends it.
    fn change(&self, index: u16, change: impl FnOnce(&mut Vector)) {
        let Some(mut vector) = self.vector(index) else {
            return;
        };
        change(&mut vector);
        // Whoever lifts the hold looks at every vector afterwards.
        if vector.pending && !vector.masked && self.is_enabled() && !self.held.load(Ordering::Acquire) {
            vector.pending = false;
            self.interrupts.message(index, vector.address, vector.data);
        }
    }

    fn vector(&self, index: u16) -> Option<MutexGuard<'_, Vector>> {
        let vector = self.vectors.get(usize::from(index))?;
        Some(vector.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Whether this is an access to the table that \[PCI\] defines.
fn is_word(offset: u64, length: usize) -> bool {
    matches!(length, 4 | 8) && offset.is_multiple_of(length as u64)
}

/// Reads 32 bits at a time; what is not there, or not to be read so, is zero.
fn read_words(offset: u64, data: &mut [u8], word: impl Fn(u64) -> Option<u32>) {
    data.fill(0);
    if is_word(offset, data.len()) {
        for (place, offset) in data.as_chunks_mut().0.iter_mut().zip((offset..).step_by(4)) {
            *place = word(offset).unwrap_or_default().to_le_bytes();
        }
    }
}
