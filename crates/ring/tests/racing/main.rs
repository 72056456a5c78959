//! Everything changes between two reads: while a virtqueue is used by the rules, another thread rewrites descriptors, tables,
//! rings and events all the time, and what the end under test gives out still has to be sound, whatever it has seen of it.

#[path = "../common/mod.rs"]
mod common;
mod device_end;
mod driver_end;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

/// Queue size.
const SIZE: u16 = 8;
/// How often the end under test goes around, and how often the other thread changes something, at least.
const ROUNDS: u32 = 50_000;
const CHANGES: u32 = 50_000;

/// Numbers without a pattern that matters.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 24
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn pick<const N: usize>(&mut self, values: [u64; N]) -> u64 {
        values[self.below(N as u64) as usize]
    }
}

/// Calls `round` over and over while another thread does so with `change`.
fn against(mut change: impl FnMut() + Send, mut round: impl FnMut()) {
    /// Ends the other thread also when a round panics.
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Relaxed);
        }
    }
    let (stop, changes) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !stop.load(Relaxed) {
                change();
                changes.fetch_add(1, Relaxed);
            }
        });
        let stop = Stop(&stop);
        let mut rounds = 0;
        while rounds < ROUNDS || changes.load(Relaxed) < CHANGES {
            round();
            rounds = rounds.saturating_add(1);
        }
        drop(stop);
        // Joined, because ThreadSanitizer does not see how a scope waits, and takes what uses the stack next for a race.
        other.join().unwrap();
    });
}
