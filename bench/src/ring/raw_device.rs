//! The device end as a harness: takes chains out of the ring and marks them used, with nothing around it.
//!
//! As with [`crate::raw_driver`], what it does depends on the pattern only. It asks for a notification of the first
//! chain of each batch.

use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, fence};

use anyhow::Result;

use crate::memory::Rings;
use crate::pattern::{Pattern, QUEUE_SIZE};
use crate::position::Position;
use crate::{Format, expect};

/// Flag WRITE within a descriptor's second word.
const WRITE: u64 = 2 << 48;

/// The device end of either format.
pub enum RawDevice {
    Split(Split),
    Packed(Packed),
}

impl RawDevice {
    /// The device end of the fresh ring at `rings`.
    pub fn new(format: Format, rings: Rings, pattern: Pattern) -> Self {
        match format {
            Format::Split => Self::Split(Split::new(rings, pattern)),
            Format::Packed => Self::Packed(Packed::new(rings, pattern)),
        }
    }

    /// Takes a batch of chains and marks all of them used.
    #[inline(always)]
    pub fn serve(&mut self) {
        match self {
            Self::Split(device) => device.serve(),
            Self::Packed(device) => device.serve(),
        }
    }

    /// Whether the driver end made `rounds` batches available and asked to be notified of each.
    pub fn check(&self, rounds: u64) -> Result<()> {
        let seen = match self {
            Self::Split(device) => device.seen,
            Self::Packed(device) => device.seen,
        };
        expect("batches not available in time", seen.late, 0)?;
        expect("used buffer notifications", seen.notifications, rounds)
    }
}

/// What the driver end did.
#[derive(Clone, Copy, Default)]
struct Seen {
    late: u64,
    notifications: u64,
}

pub struct Split {
    pattern: Pattern,
    available: &'static [AtomicU16],
    used: &'static [AtomicU16],
    elements: &'static [AtomicU32],
    /// Chains used.
    index: u16,
    seen: Seen,
}

impl Split {
    fn new(rings: Rings, pattern: Pattern) -> Self {
        Self {
            pattern,
            available: rings.available(),
            used: rings.used(),
            elements: rings.used_elements(),
            index: 0,
            seen: Seen::default(),
        }
    }

    #[inline(never)]
    fn serve(&mut self) {
        fence(SeqCst);
        let batch = self.pattern.batch;
        let written = self.pattern.written();
        let end = self.index.wrapping_add(batch);
        self.seen.late |= u64::from(self.available[1].load(Relaxed) ^ end);
        for slot in 0..batch {
            let at = usize::from(self.index.wrapping_add(slot) % QUEUE_SIZE);
            let id = self.available[2 + at].load(Relaxed);
            self.elements[2 * at].store(id.into(), Relaxed);
            self.elements[2 * at + 1].store(written, Relaxed);
        }
        self.used[2 + 4 * usize::from(QUEUE_SIZE)].store(end, Relaxed);
        self.used[1].store(end, Release);
        fence(SeqCst);
        let event = self.available[2 + usize::from(QUEUE_SIZE)].load(Relaxed);
        let wanted = end.wrapping_sub(event).wrapping_sub(1) < batch;
        self.seen.notifications += u64::from(wanted);
        self.index = end;
    }
}

pub struct Packed {
    pattern: Pattern,
    descriptors: &'static [AtomicU64],
    driver_event: &'static AtomicU32,
    device_event: &'static AtomicU32,
    /// Where the next chain is, and where its used descriptor goes: every chain is used in turn.
    position: Position,
    seen: Seen,
}

impl Packed {
    fn new(rings: Rings, pattern: Pattern) -> Self {
        Self {
            pattern,
            descriptors: rings.descriptors(),
            driver_event: rings.driver_event(),
            device_event: rings.device_event(),
            position: Position::START,
            seen: Seen::default(),
        }
    }

    #[inline(never)]
    fn serve(&mut self) {
        fence(SeqCst);
        let (batch, descriptors) = (self.pattern.batch, self.pattern.descriptors());
        let written = u64::from(self.pattern.written());
        // The length of a used descriptor is one only with flag WRITE (section 2.8.4).
        let written = written | if written == 0 { 0 } else { WRITE };
        let first = self.position;
        for _ in 0..batch {
            let head = self.position;
            // The buffer id is in the last descriptor of the chain (section 2.8.6).
            let last = self.descriptors[head.after(descriptors - 1).word() + 1].load(Relaxed);
            self.seen.late |= self.descriptors[head.word() + 1].load(Relaxed) >> 48 & Position::BOTH
                ^ head.available_flags();
            let id = last >> 32 & 0xffff;
            let rest = written | id << 32 | head.used_flags() << 48;
            self.descriptors[head.word() + 1].store(rest, Release);
            self.position = head.after(descriptors);
        }
        self.device_event.store(self.position.event(), Relaxed);
        fence(SeqCst);
        let event = self.driver_event.load(Relaxed);
        self.seen.notifications += u64::from(first.is_wanted(batch * descriptors, event));
    }
}
