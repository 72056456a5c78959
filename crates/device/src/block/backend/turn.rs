//! Taking turns without sleeping.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

/// How often to let others go first, before going together with them.
const PATIENCE: u32 = 1000;
/// How many turns may follow each other while others wait.
const IN_A_ROW: u32 = 64;

/// Lets one thread at a time write to a file, as the operating system does, too. But who waits there sleeps, and if it was
/// for a thread that had lost its processor in the middle, the two wake each other up at every write from then on.
#[derive(Debug, Default)]
pub(super) struct Turn {
    taken: AtomicBool,
    /// Turns so far; whoever has the turn counts.
    count: AtomicU32,
    /// Threads that wait.
    waiting: AtomicU32,
}

impl Turn {
    /// Waits for one's turn, though not for ever: who has it may be waiting for storage. `None` if it did not come.
    pub fn wait(&self) -> Option<Mine<'_>> {
        self.take().or_else(|| {
            self.waiting.fetch_add(1, Ordering::Relaxed);
            let mine = (0..PATIENCE).find_map(|_| {
                thread::yield_now();
                self.take()
            });
            self.waiting.fetch_sub(1, Ordering::Relaxed);
            mine
        })
    }

    fn take(&self) -> Option<Mine<'_>> {
        let free = !self.taken.swap(true, Ordering::Acquire);
        free.then(|| Mine(self))
    }
}

/// A turn; over on drop.
#[derive(Debug)]
pub(super) struct Mine<'t>(&'t Turn);

impl Drop for Mine<'_> {
    fn drop(&mut self) {
        let Turn {
            taken,
            count,
            waiting,
        } = self.0;
        let number = count.load(Ordering::Relaxed).wrapping_add(1);
        count.store(number, Ordering::Relaxed);
        taken.store(false, Ordering::Release);
        if number.is_multiple_of(IN_A_ROW) && waiting.load(Ordering::Relaxed) != 0 {
            thread::yield_now();
        }
    }
}

#[cfg(test)]
#[path = "turn_tests.rs"]
mod tests;
