//! The monitor's end, for tests: interrupts that can be waited for, and a device that says where its bytes come from.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::block::backend::Null;
use crate::block::{Block, Options};
use crate::entropy::Entropy;
use crate::testing::DEADLINE;

/// What a device has done to its monitor.
#[derive(Debug, Default)]
pub struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    asserted: bool,
    messages: Vec<(u16, u64, u32)>,
}

impl Board {
    /// The line changes.
    pub fn set(&self, asserted: bool) {
        let mut seen = self.seen.lock().unwrap();
        assert_ne!(seen.asserted, asserted, "set to what it is already");
        seen.asserted = asserted;
        self.changed.notify_all();
    }

    /// A message is sent.
    pub fn send(&self, vector: u16, address: u64, data: u32) {
        self.seen.lock().unwrap().messages.push((vector, address, data));
        self.changed.notify_all();
    }

    /// Whether the line is asserted.
    pub fn is_asserted(&self) -> bool {
        self.seen.lock().unwrap().asserted
    }

    /// Waits until the line is asserted.
    pub fn wait_asserted(&self) {
        self.wait(|seen| seen.asserted.then_some(()));
    }

    /// Takes the messages sent so far: vector, address, data.
    pub fn messages(&self) -> Vec<(u16, u64, u32)> {
        std::mem::take(&mut self.seen.lock().unwrap().messages)
    }

    /// Waits for a message, and takes the first.
    pub fn wait_message(&self) -> (u16, u64, u32) {
        self.wait(|seen| (!seen.messages.is_empty()).then(|| seen.messages.remove(0)))
    }

    fn wait<R>(&self, mut done: impl FnMut(&mut Seen) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(result) = done(&mut seen) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no interrupt in time");
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

/// An entropy device whose bytes are all 7.
pub fn sevens() -> Entropy {
    Entropy::new(std::sync::Arc::new(Sevens))
}

/// A disk that reads as zeroes.
pub fn disk() -> Block {
    let backend = std::sync::Arc::new(Null { capacity: 1 << 20 });
    Block::new(backend, Options::default()).unwrap()
}

struct Sevens;

impl crate::entropy::backend::Backend for Sevens {
    fn fill(&self, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(7);
        Ok(())
    }
}
