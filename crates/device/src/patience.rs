//! How long a thread looks for work before it sleeps.

use std::time::Duration;

/// Part of the whole time that queues are looked at for while something is outstanding and looking does not pay: the driver
/// may still have an answer to what was just completed.
const SHORT: u32 = 8;

/// Learns whether looking for work pays while something is outstanding that does not come through a queue.
#[derive(Debug)]
pub(crate) struct Patience {
    whole: Duration,
    while_outstanding: Duration,
}

impl Patience {
    /// At most `whole`; zero not to look for work at all.
    pub fn new(whole: Duration) -> Self {
        Self {
            whole,
            while_outstanding: whole,
        }
    }

    /// Whether there is any looking for work.
    pub fn is_zero(&self) -> bool {
        self.whole.is_zero()
    }

    /// How long to look for work; `outstanding` says whether chains are taken that are not completed.
    pub fn time(&self, outstanding: bool) -> Duration {
        match outstanding {
            true => self.while_outstanding,
            false => self.whole,
        }
    }

    /// The thread has slept, and something has come when it had had nothing to do for `idle`.
    pub fn slept(&mut self, idle: Duration) {
        self.while_outstanding = match idle <= self.whole {
            true => self.whole,
            false => self.whole / SHORT,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_in_vain_is_short_while_something_is_outstanding() {
        let (whole, long) = (Duration::from_micros(32), Duration::from_micros(33));
        let mut patience = Patience::new(whole);
        assert_eq!(
            [true, false].map(|outstanding| patience.time(outstanding)),
            [whole; 2]
        );
        patience.slept(long);
        assert_eq!(patience.time(true), whole / SHORT);
        assert_eq!(
            patience.time(false),
            whole,
            "the driver's next request may come at any time"
        );
        patience.slept(whole);
        assert_eq!(patience.time(true), whole, "it would have paid");
        assert!(!patience.is_zero() && Patience::new(Duration::ZERO).is_zero());
    }
}
