//! Interrupts as messages without an interrupt controller: a message is a write to memory, so it may go to memory.

use alloc::sync::Arc;
use core::sync::atomic::{AtomicU32, Ordering};

use ringwright_driver::transport::pci::{Message, Messages};
use ringwright_memory::{Area, Buffer};

/// Messages that there are words for.
const WORDS: u16 = 16;

/// Words of memory that devices write their messages to, to be looked at now and then.
pub struct MessageWords(Buffer);

impl MessageWords {
    /// Words in `area`; `None` if there is no room.
    pub fn new(area: &Arc<Area>) -> Option<Self> {
        let words = Self(area.allocate(4 * usize::from(WORDS), 4)?);
        for number in 0..WORDS {
            words.word(number)?.store(0, Ordering::Relaxed);
        }
        Some(words)
    }

    fn word(&self, number: u16) -> Option<&AtomicU32> {
        // SAFETY: the buffer lives as long as this borrow, and is only used as such words.
        unsafe { self.0.memory().atomic(4 * usize::from(number)) }
    }
}

impl Messages for MessageWords {
    fn message(&mut self, vector: u16) -> Option<Message> {
        let place = self.0.segment_at(4 * usize::from(vector), 4)?;
        Some(Message {
            address: place.address(),
            data: 1,
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        self.word(vector)
            .is_some_and(|word| word.swap(0, Ordering::Acquire) != 0)
    }
}
