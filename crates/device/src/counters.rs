//! Counters of what goes through a virtqueue.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What has gone through one virtqueue since its host was made; starting and stopping the queue does not clear it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueCounters {
    /// Available buffer notifications that woke the device.
    pub kicks: u64,
    /// Chains completed.
    pub chains: u64,
    /// Bytes in the device-readable parts of the chains taken.
    pub bytes_read: u64,
    /// Bytes reported as written in the chains completed.
    pub bytes_written: u64,
    /// Used buffer notifications sent.
    pub notifications: u64,
    /// Those that the driver did not want.
    pub suppressed: u64,
    /// Those that were put off, to send one for several packets.
    pub coalesced: u64,
    /// Errors that stopped the queue.
    pub errors: u64,
    /// Chains that the device has at this moment.
    pub in_flight: u64,
}

/// A look at the counters of a host from any thread, also after the host has ended. Clones look at the same.
#[derive(Clone, Debug, Default)]
pub struct Meter(Vec<Arc<Counters>>);

impl Meter {
    pub(crate) fn new(counters: impl Iterator<Item = Arc<Counters>>) -> Self {
        Self(counters.collect())
    }

    /// What has gone through each queue, by index.
    pub fn read(&self) -> Vec<QueueCounters> {
        self.0.iter().map(|counters| counters.snapshot()).collect()
    }
}

/// The shared form: written by the thread that serves the queue, read by any.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    kicks: AtomicU64,
    chains: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    notifications: AtomicU64,
    suppressed: AtomicU64,
    coalesced: AtomicU64,
    errors: AtomicU64,
    in_flight: AtomicU64,
}

impl Counters {
    /// Adds what a callback has done. Only one thread does so at a time, so no read-modify-write is needed.
    pub fn add(&self, more: &QueueCounters) {
        let add = |counter: &AtomicU64, more: u64| {
            if more != 0 {
                counter.store(
                    counter.load(Ordering::Relaxed).wrapping_add(more),
                    Ordering::Relaxed,
                );
            }
        };
        add(&self.kicks, more.kicks);
        add(&self.chains, more.chains);
        add(&self.bytes_read, more.bytes_read);
        add(&self.bytes_written, more.bytes_written);
        add(&self.notifications, more.notifications);
        add(&self.suppressed, more.suppressed);
        add(&self.coalesced, more.coalesced);
        add(&self.errors, more.errors);
    }

    /// How many chains the device has now.
    pub fn set_in_flight(&self, chains: u64) {
        self.in_flight.store(chains, Ordering::Relaxed);
    }

    pub fn snapshot(&self) -> QueueCounters {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        QueueCounters {
            kicks: load(&self.kicks),
            chains: load(&self.chains),
            bytes_read: load(&self.bytes_read),
            bytes_written: load(&self.bytes_written),
            notifications: load(&self.notifications),
            suppressed: load(&self.suppressed),
            coalesced: load(&self.coalesced),
            errors: load(&self.errors),
            in_flight: load(&self.in_flight),
        }
    }
}
