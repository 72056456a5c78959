//! The buffers that the device has taken and not yet used.

use alloc::boxed::Box;
use alloc::vec;

use crate::Violation;

/// Which ids are in flight, and how many descriptors each occupies.
pub(super) struct InFlight {
    /// By id; 0 for those not in flight.
    descriptors: Box<[u16]>,
}

impl InFlight {
    pub fn new(size: u16) -> Self {
        Self {
            descriptors: vec![0; usize::from(size)].into(),
        }
    }

    /// The queue size.
    pub fn size(&self) -> u16 {
        self.descriptors.len() as u16
    }

    /// Number of buffers in flight. They are counted here and now, so that nothing has to count on the way.
    pub fn chains(&self) -> u16 {
        self.descriptors
            .iter()
            .filter(|descriptors| **descriptors != 0)
            .count() as u16
    }

    /// Adds buffer `id` of a number of descriptors that is not 0.
    ///
    /// Ids not below the queue size are refused. The document does not say that there are none for packed virtqueues,
    /// but no more buffers than that can be in flight, and its own example relies on it.
    #[inline(always)]
    pub fn insert(&mut self, id: u16, descriptors: u16) -> Result<(), Violation> {
        match self.descriptors.get_mut(usize::from(id)) {
            Some(slot @ 0) => *slot = descriptors,
            Some(_) => return Err(Violation::InUse { id }),
            None => {
                return Err(Violation::BufferId {
                    id,
                    size: self.size(),
                });
            }
        }
        Ok(())
    }

    /// As [`insert`](Self::insert), but only tells whether the buffer was added.
    #[inline(always)]
    pub fn try_insert(&mut self, id: u16, descriptors: u16) -> bool {
        match self.descriptors.get_mut(usize::from(id)) {
            Some(slot @ 0) => {
                *slot = descriptors;
                true
            }
            _ => false,
        }
    }

    /// Whether `id` is below the queue size and not in flight.
    #[inline(always)]
    pub fn is_free(&self, id: u16) -> bool {
        self.descriptors.get(usize::from(id)) == Some(&0)
    }

    /// The first id that is not in flight.
    pub fn first_free(&self) -> Option<u16> {
        let free = self.descriptors.iter().position(|&descriptors| descriptors == 0);
        free.map(|id| id as u16)
    }

    /// Number of descriptors of buffer `id`, if it is in flight.
    pub fn descriptors(&self, id: u16) -> Option<u16> {
        self.descriptors
            .get(usize::from(id))
            .copied()
            .filter(|&descriptors| descriptors != 0)
    }

    /// Whether buffer `id` is in flight.
    pub fn contains(&self, id: u16) -> bool {
        self.descriptors(id).is_some()
    }

    /// Takes buffer `id` away, and gives the number of its descriptors.
    #[inline(always)]
    pub fn remove(&mut self, id: u16) -> Option<u16> {
        let slot = self.descriptors.get_mut(usize::from(id))?;
        let descriptors = core::mem::take(slot);
        if descriptors == 0 {
            return None;
        }
        Some(descriptors)
    }
}

/// The order in which buffers were taken, and which of them are complete, for `VIRTIO_F_IN_ORDER`: completions that
/// come early wait here (`dev:feat:reserved-feature-bits:05`).
pub(super) struct Order {
    /// Ids by the order of taking: a ring whose length is a power of 2.
    queue: Box<[u16]>,
    oldest: u16,
    newest: u16,
    records: Box<[Record]>,
}

#[derive(Clone, Copy, Default)]
struct Record {
    writable: u64,
    written: u32,
    complete: bool,
}

/// Buffers that one used entry stands for.
pub(super) struct Batch {
    /// The last buffer of the batch.
    pub id: u16,
    /// Bytes written into it.
    pub written: u32,
    /// Number of buffers.
    pub chains: u16,
    /// Number of descriptors that they occupy.
    pub descriptors: u16,
}

impl Order {
    pub fn new(size: u16) -> Self {
        let slots = usize::from(size).next_power_of_two();
        let records = vec![Record::default(); usize::from(size)].into();
        Self {
            queue: vec![0; slots].into(),
            oldest: 0,
            newest: 0,
            records,
        }
    }

    /// Slot of the queue for a free-running count.
    fn slot(&self, count: u16) -> usize {
        usize::from(count) & (self.queue.len() - 1)
    }

    /// Adds a buffer, which the caller has made sure is not here yet.
    pub fn push(&mut self, id: u16, writable: u64) {
        let slot = self.slot(self.newest);
        self.queue[slot] = id;
        self.records[usize::from(id)] = Record {
            writable,
            written: 0,
            complete: false,
        };
        self.newest = self.newest.wrapping_add(1);
    }

    /// Takes back the last `push`.
    pub fn pop_newest(&mut self) {
        self.newest = self.newest.wrapping_sub(1);
    }

    /// Marks a buffer complete; false if it is already.
    pub fn complete(&mut self, id: u16, written: u32) -> bool {
        let record = &mut self.records[usize::from(id)];
        let news = !record.complete;
        if news {
            (record.written, record.complete) = (written, true);
        }
        news
    }

    /// The next batch of buffers that can be used, all of which leave `in_flight`; `each` is told of every one.
    ///
    /// A batch ends with a buffer that has a device-writable part. The document ends it only with one that was not
    /// written to its end, as the driver takes all others to be "used (read or written) by the device completely"
    /// (section 2.7.9); but DPDK's driver looks for the length of each received frame in a used entry of its own.
    pub fn next_batch(&mut self, in_flight: &mut InFlight, mut each: impl FnMut(u16)) -> Option<Batch> {
        let mut batch: Option<Batch> = None;
        while self.oldest != self.newest {
            let id = self.queue[self.slot(self.oldest)];
            let Record {
                writable,
                written,
                complete,
            } = self.records[usize::from(id)];
            if !complete {
                break;
            }
            self.oldest = self.oldest.wrapping_add(1);
            let (chains, descriptors) = batch.map_or((0, 0), |batch| (batch.chains, batch.descriptors));
            let descriptors = descriptors + in_flight.remove(id).unwrap_or(0);
            each(id);
            batch = Some(Batch {
                id,
                written,
                chains: chains + 1,
                descriptors,
            });
            if writable != 0 {
                break;
            }
        }
        batch
    }
}
