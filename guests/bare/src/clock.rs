//! Time, as far as somebody who waits wants to know it.

use core::time::Duration;

use crate::machine;

/// A time after which nobody should wait any more.
#[derive(Clone, Copy, Debug)]
pub struct Deadline(Duration);

impl Deadline {
    /// The time that is `duration` from now, or somewhat earlier where the machine's clock is not known well.
    pub fn after(duration: Duration) -> Self {
        Self(machine::now().saturating_add(duration))
    }

    /// Whether it has come.
    pub fn is_over(&self) -> bool {
        machine::now() >= self.0
    }
}
