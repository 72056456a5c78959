//! Tracking for split virtqueues: `QueueRegionSplit` and `DescStateSplit`.

use alloc::vec::Vec;

use super::super::in_flight::InFlight;
use super::{Again, InflightRegion, Resubmission};
use crate::SetupError;

/// Size of the region without its entries.
pub(super) const HEADER: u64 = 16;
/// Size of an entry.
pub(super) const ENTRY: u64 = 16;

/// Offsets in the header.
const LAST_BATCH_HEAD: u64 = 12;
const USED_IDX: u64 = 14;

/// Offsets in an entry.
const INFLIGHT: u64 = 0;
const NEXT: u64 = 6;
const COUNTER: u64 = 8;

/// Entries are those of head descriptors, by index.
pub struct TrackSplit {
    region: InflightRegion,
    pub(in crate::device) again: Again,
    counter: u64,
    /// Buffers whose used elements the driver does not see yet. Never more than there is room for.
    batch: Vec<u16>,
    /// A buffer that is not in flight, as far as was known last.
    spare: u16,
}

impl TrackSplit {
    /// Takes up what `region` says of a virtqueue of `size` whose used ring is at `used`. A fresh region is set up.
    /// Also says whether it was not.
    pub fn new(region: InflightRegion, size: u16, used: u16) -> Result<(Self, bool), SetupError> {
        let recovered = region.is_used(size)?;
        let again = if recovered {
            Self::recover(&region, size, used)?
        } else {
            region.store(USED_IDX, used);
            region.begin();
            Again::default()
        };
        let track = Self {
            counter: again.next_counter(),
            again,
            region,
            batch: Vec::with_capacity(size.into()),
            spare: 0,
        };
        Ok((track, recovered))
    }

    /// "When reconnecting".
    fn recover(region: &InflightRegion, size: u16, used: u16) -> Result<Again, SetupError> {
        let last_batch = used.wrapping_sub(region.load(USED_IDX));
        if last_batch > size {
            return Err(SetupError::Inflight(
                "its used index is not that of the virtqueue",
            ));
        }
        let mut index: u16 = region.load(LAST_BATCH_HEAD);
        for _ in 0..last_batch {
            let Some(entry) = entry(index, size) else {
                return Err(SetupError::Inflight("its last batch leads out of it"));
            };
            region.store(entry + INFLIGHT, 0u8);
            index = region.load(entry + NEXT);
        }
        region.store(USED_IDX, used);
        let buffers = (0..size).filter_map(|id| {
            let entry = entry(id, size)?;
            (region.load::<u8>(entry + INFLIGHT) == 1).then(|| Resubmission {
                id,
                counter: region.load(entry + COUNTER),
                first: 0,
                descriptors: 1,
            })
        });
        Ok(Again::new(buffers.collect(), Vec::new()))
    }

    /// Buffer `id`, which is below the queue size, has been taken from the available ring.
    pub fn taken(&mut self, id: u16) {
        let entry = HEADER + ENTRY * u64::from(id);
        self.region.store(entry + COUNTER, self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.region.store(entry + INFLIGHT, 1u8);
    }

    /// Buffer `id` was not taken after all.
    pub fn undo(&mut self, id: u16) {
        self.region.store(HEADER + ENTRY * u64::from(id) + INFLIGHT, 0u8);
    }

    /// The used element of buffer `id` is in the used ring, whose index does not cover it yet.
    pub fn used(&mut self, id: u16) {
        // Only a driver that makes buffers available that it has not got back gets more of them used at a time.
        if self.batch.len() == self.batch.capacity() {
            return;
        }
        // The first one's successor is itself: see `before_shown`.
        let next = self.batch.last().copied().unwrap_or(id);
        self.list(id, next);
        self.batch.push(id);
    }

    /// How many buffers there are whose used elements the driver does not see, and which are written down.
    pub fn batched(&self) -> u16 {
        self.batch.len() as u16
    }

    /// The used index is about to cover all used elements.
    ///
    /// Whoever finds it so, and `used_idx` as it was, goes as many steps along the last batch's list as there are used
    /// elements more, and takes it that no entry there is in flight. There are more steps than entries if buffers were
    /// served that are not written down; so the list goes round at its end, and if nothing else is in it, it has an entry
    /// that is not in flight anyway.
    pub fn before_shown(&mut self, in_flight: &InFlight) {
        if !self.batch.is_empty() {
            return;
        }
        if !in_flight.is_free(self.spare) {
            // There is one, as the buffers that were served are not in flight.
            self.spare = in_flight.first_free().unwrap_or(self.spare);
        }
        self.list(self.spare, self.spare);
    }

    /// The used index has become `used`.
    pub fn shown(&mut self, used: u16) {
        for id in self.batch.drain(..) {
            self.region.store(HEADER + ENTRY * u64::from(id) + INFLIGHT, 0u8);
        }
        self.region.store(USED_IDX, used);
    }

    /// Puts the entry of buffer `id` at the head of the last batch's list, before that of `next`.
    fn list(&self, id: u16, next: u16) {
        self.region.store(HEADER + ENTRY * u64::from(id) + NEXT, next);
        self.region.store(LAST_BATCH_HEAD, id);
    }
}

/// Offset of an entry that another process names.
fn entry(index: u16, size: u16) -> Option<u64> {
    (index < size).then(|| HEADER + ENTRY * u64::from(index))
}
