//! The time that harts read.

use std::time::{Duration, Instant};

/// Ticks per second of the `time` CSR: `timebase-frequency` in the device tree.
pub const TIMEBASE_HZ: u64 = 10_000_000;

/// Nanoseconds in a tick.
const TICK_NANOSECONDS: u64 = 1_000_000_000 / TIMEBASE_HZ;

/// The machine's real-time counter, driven by the host's monotonic clock and shared by all harts.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    ticks_at_start: u64,
}

impl Clock {
    /// A clock that shows `ticks` now: 0 at power-on, the saved value when a machine is restored.
    pub fn starting_at(ticks: u64) -> Self {
        Self {
            start: Instant::now(),
            ticks_at_start: ticks,
        }
    }

    /// The time in ticks of [`TIMEBASE_HZ`].
    pub fn ticks(&self) -> u64 {
        let elapsed = self.start.elapsed().as_nanos() / u128::from(TICK_NANOSECONDS);
        self.ticks_at_start.wrapping_add(elapsed as u64)
    }

    /// How long until the clock shows `ticks`; zero if it does or has.
    pub fn until(&self, ticks: u64) -> Duration {
        let left = ticks.saturating_sub(self.ticks());
        Duration::from_nanos(left.saturating_mul(TICK_NANOSECONDS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_on_from_where_it_was_set() {
        let clock = Clock::starting_at(1 << 40);
        let first = clock.ticks();
        assert!((1 << 40..(1 << 40) + 100 * TIMEBASE_HZ).contains(&first));
        assert!(clock.ticks() >= first);
    }

    #[test]
    fn waits_are_ten_million_ticks_a_second() {
        let clock = Clock::starting_at(5);
        assert_eq!(clock.until(0), Duration::ZERO);
        let wait = clock.until(5 + 100 * TIMEBASE_HZ);
        assert!(
            wait <= Duration::from_secs(100) && wait > Duration::from_secs(50),
            "{wait:?}"
        );
        assert!(clock.until(u64::MAX) > Duration::from_secs(1 << 30));
    }
}
