//! The time that passes for a driver which runs at the same time as its device.

use std::time::{Duration, Instant};

use crate::driver::strict::Strict;

/// Time that passes between two looks at a device.
pub(super) const STEP: Duration = Duration::from_millis(20);

/// How long a driver has to leave the device alone to be waiting for it.
const IDLE: Duration = Duration::from_secs(2);

/// When the driver has last done something.
pub(super) struct Pulse {
    events: u64,
    since: Instant,
}

impl Pulse {
    pub fn new() -> Self {
        Self {
            events: 0,
            since: Instant::now(),
        }
    }

    /// A step of time has passed.
    pub fn beat(&mut self, device: &mut Strict) {
        device.pass();
        let is_quiet = device.events() == self.events;
        if is_quiet && self.since.elapsed() > IDLE && device.past().lives > 0 {
            device.wait();
        } else if is_quiet {
            return;
        }
        (self.events, self.since) = (device.events(), Instant::now());
    }
}
