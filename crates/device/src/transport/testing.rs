//! The monitor's end, for tests: interrupts that can be waited for.

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use crate::testing::DEADLINE;

/// An interrupt line that remembers.
#[derive(Default)]
pub struct Line {
    level: Mutex<bool>,
    changed: Condvar,
}

impl Line {
    pub fn set(&self, asserted: bool) {
        let mut level = self.level.lock().unwrap();
        assert_ne!(*level, asserted, "set to what it is already");
        *level = asserted;
        self.changed.notify_all();
    }

    pub fn is_asserted(&self) -> bool {
        *self.level.lock().unwrap()
    }

    /// Waits until it is asserted.
    pub fn wait(&self) {
        let deadline = Instant::now() + DEADLINE;
        let mut level = self.level.lock().unwrap();
        while !*level {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no interrupt in time");
            level = self.changed.wait_timeout(level, left).unwrap().0;
        }
    }
}
