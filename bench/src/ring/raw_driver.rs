//! The driver end as a harness: writes chains into the ring and takes used ones out, with nothing around it.
//!
//! What it does depends on the pattern only, never on what the subject did, so that its share is the same for every
//! subject. It asks for a notification after the last chain of each batch, and a full fence ends each of its turns:
//! no store of one end is forwarded to a load of the other, as none would be between two processors.

use std::sync::atomic::Ordering::{Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, fence};

use anyhow::Result;

use crate::memory::Rings;
use crate::pattern::{Pattern, QUEUE_SIZE, TABLE};
use crate::position::Position;
use crate::{Format, expect};

const NEXT: u64 = 1;
const WRITE: u64 = 2;
const INDIRECT: u64 = 4;

/// The driver end of either format.
pub enum RawDriver {
    Split(Split),
    Packed(Packed),
}

impl RawDriver {
    /// The driver end of the fresh ring at `rings`.
    pub fn new(format: Format, rings: Rings, pattern: Pattern) -> Self {
        match format {
            Format::Split => Self::Split(Split::new(rings, pattern)),
            Format::Packed => Self::Packed(Packed::new(rings, pattern)),
        }
    }

    /// Makes a batch of chains available.
    #[inline(always)]
    pub fn offer(&mut self) {
        match self {
            Self::Split(driver) => driver.offer(),
            Self::Packed(driver) => driver.offer(),
        }
    }

    /// Takes back the batch.
    #[inline(always)]
    pub fn take(&mut self) {
        match self {
            Self::Split(driver) => driver.take(),
            Self::Packed(driver) => driver.take(),
        }
    }

    /// Whether the device end used all of `rounds` batches and asked to be notified of each.
    pub fn check(&self, rounds: u64) -> Result<()> {
        let (pattern, seen) = match self {
            Self::Split(driver) => (driver.pattern, driver.seen),
            Self::Packed(driver) => (driver.pattern, driver.seen),
        };
        let batch = u64::from(pattern.batch);
        let heads = if let Self::Split(_) = self {
            u64::from(pattern.descriptors())
        } else {
            1
        };
        let ids = batch * (batch - 1) / 2 * heads;
        expect("batches not used in time", seen.late, 0)?;
        expect("sum of used ids", seen.ids, ids * rounds)?;
        expect(
            "bytes written",
            seen.written,
            batch * u64::from(pattern.written()) * rounds,
        )?;
        expect("available buffer notifications", seen.notifications, rounds)
    }
}

/// What the device end did.
#[derive(Clone, Copy, Default)]
struct Seen {
    late: u64,
    ids: u64,
    written: u64,
    notifications: u64,
}

pub struct Split {
    pattern: Pattern,
    buffers: u64,
    tables_address: u64,
    tables: &'static [AtomicU64],
    descriptors: &'static [AtomicU64],
    available: &'static [AtomicU16],
    used: &'static [AtomicU16],
    elements: &'static [AtomicU32],
    /// Chains made available, and used as well between rounds.
    index: u16,
    seen: Seen,
}

impl Split {
    fn new(rings: Rings, pattern: Pattern) -> Self {
        Self {
            pattern,
            buffers: rings.buffers,
            tables_address: rings.tables_address,
            tables: rings.tables(),
            descriptors: rings.descriptors(),
            available: rings.available(),
            used: rings.used(),
            elements: rings.used_elements(),
            index: 0,
            seen: Seen::default(),
        }
    }

    #[inline(never)]
    fn offer(&mut self) {
        let Pattern { batch, segments, .. } = self.pattern;
        let tabled = self.pattern.tabled();
        for slot in 0..batch {
            let head = slot * self.pattern.descriptors();
            // The chain is in the descriptor table from its head on, or in a table of its own.
            let (first, entries) = if tabled {
                let address = self.tables_address + TABLE as u64 * u64::from(slot);
                let at = 2 * usize::from(head);
                self.descriptors[at].store(address, Relaxed);
                self.descriptors[at + 1].store((16 * u64::from(segments)) | (INDIRECT << 32), Relaxed);
                (0, &self.tables[usize::from(slot) * TABLE / 8..])
            } else {
                (head, self.descriptors)
            };
            for segment in 0..segments {
                let last = segment == segments - 1;
                let flags = if segment == 0 { 0 } else { WRITE } | if last { 0 } else { NEXT };
                let next = if last { 0 } else { u64::from(first + segment + 1) };
                let at = 2 * usize::from(first + segment);
                let address = self.buffers + u64::from(self.pattern.offset(slot, segment));
                entries[at].store(address, Relaxed);
                let rest = u64::from(self.pattern.length(segment)) | flags << 32 | next << 48;
                entries[at + 1].store(rest, Relaxed);
            }
            let at = self.index.wrapping_add(slot) % QUEUE_SIZE;
            self.available[2 + usize::from(at)].store(head, Relaxed);
        }
        let old = self.index;
        self.index = old.wrapping_add(batch);
        self.available[2 + usize::from(QUEUE_SIZE)].store(self.index.wrapping_sub(1), Relaxed);
        self.available[1].store(self.index, Release);
        fence(SeqCst);
        let event = self.used[2 + 4 * usize::from(QUEUE_SIZE)].load(Relaxed);
        let wanted = self.index.wrapping_sub(event).wrapping_sub(1) < batch;
        self.seen.notifications += u64::from(wanted);
    }

    #[inline(never)]
    fn take(&mut self) {
        fence(SeqCst);
        let index = self.used[1].load(Relaxed);
        self.seen.late |= u64::from(index ^ self.index);
        for slot in 0..self.pattern.batch {
            let at = self.index.wrapping_sub(self.pattern.batch).wrapping_add(slot) % QUEUE_SIZE;
            let at = 2 * usize::from(at);
            self.seen.ids += u64::from(self.elements[at].load(Relaxed));
            self.seen.written += u64::from(self.elements[at + 1].load(Relaxed));
        }
    }
}

pub struct Packed {
    pattern: Pattern,
    buffers: u64,
    tables_address: u64,
    tables: &'static [AtomicU64],
    descriptors: &'static [AtomicU64],
    driver_event: &'static AtomicU32,
    device_event: &'static AtomicU32,
    /// Where the next chain goes.
    available: Position,
    /// Where the next used descriptor will be.
    used: Position,
    seen: Seen,
}

impl Packed {
    fn new(rings: Rings, pattern: Pattern) -> Self {
        Self {
            pattern,
            buffers: rings.buffers,
            tables_address: rings.tables_address,
            tables: rings.tables(),
            descriptors: rings.descriptors(),
            driver_event: rings.driver_event(),
            device_event: rings.device_event(),
            available: Position::START,
            used: Position::START,
            seen: Seen::default(),
        }
    }

    #[inline(never)]
    fn offer(&mut self) {
        let Pattern { batch, .. } = self.pattern;
        let first = self.available;
        // The device notifies when it uses the chain whose head is here.
        let last_chain = first.after((batch - 1) * self.pattern.descriptors());
        self.driver_event.store(last_chain.event(), Relaxed);
        if self.pattern.tabled() {
            self.offer_tables();
        } else {
            self.offer_chains();
        }
        fence(SeqCst);
        let event = self.device_event.load(Relaxed);
        let descriptors = batch * self.pattern.descriptors();
        self.seen.notifications += u64::from(first.is_wanted(descriptors, event));
    }

    /// Writes the chains into the ring.
    #[inline(always)]
    fn offer_chains(&mut self) {
        let Pattern { batch, segments, .. } = self.pattern;
        for slot in 0..batch {
            let head = self.available;
            let mut head_word = 0;
            for segment in 0..segments {
                let at = self.available;
                let last = segment == segments - 1;
                let flags = if segment == 0 { 0 } else { WRITE } | if last { 0 } else { NEXT };
                let address = self.buffers + u64::from(self.pattern.offset(slot, segment));
                let rest = u64::from(self.pattern.length(segment))
                    | u64::from(slot) << 32
                    | (flags | at.available_flags()) << 48;
                self.descriptors[at.word()].store(address, Relaxed);
                // The head's flags make the chain available, so they come last.
                if segment == 0 {
                    head_word = rest;
                } else {
                    self.descriptors[at.word() + 1].store(rest, Relaxed);
                }
                self.available = at.after(1);
            }
            self.descriptors[head.word() + 1].store(head_word, Release);
        }
    }

    /// Writes the chains into indirect tables, and those into the ring.
    #[inline(always)]
    fn offer_tables(&mut self) {
        let Pattern { batch, segments, .. } = self.pattern;
        for slot in 0..batch {
            let entries = &self.tables[usize::from(slot) * TABLE / 8..];
            for segment in 0..segments {
                let flags = if segment == 0 { 0 } else { WRITE };
                let at = 2 * usize::from(segment);
                let address = self.buffers + u64::from(self.pattern.offset(slot, segment));
                entries[at].store(address, Relaxed);
                let rest = u64::from(self.pattern.length(segment)) | flags << 48;
                entries[at + 1].store(rest, Relaxed);
            }
            let at = self.available;
            let address = self.tables_address + TABLE as u64 * u64::from(slot);
            self.descriptors[at.word()].store(address, Relaxed);
            let rest = (16 * u64::from(segments))
                | (u64::from(slot) << 32)
                | (INDIRECT | at.available_flags()) << 48;
            self.descriptors[at.word() + 1].store(rest, Release);
            self.available = at.after(1);
        }
    }

    #[inline(never)]
    fn take(&mut self) {
        fence(SeqCst);
        for _ in 0..self.pattern.batch {
            let rest = self.descriptors[self.used.word() + 1].load(Relaxed);
            self.seen.late |= rest >> 48 & Position::BOTH ^ self.used.used_flags();
            self.seen.ids += rest >> 32 & 0xffff;
            self.seen.written += rest & 0xffff_ffff;
            self.used = self.used.after(self.pattern.descriptors());
        }
    }
}
