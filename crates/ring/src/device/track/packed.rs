//! Tracking for packed virtqueues: `QueueRegionPacked` and `DescStatePacked`.

use alloc::boxed::Box;
use alloc::vec;
use alloc::vec::Vec;

use super::{Again, InflightRegion, Resubmission};
use crate::packed::{Position, STATE};
use crate::split::Descriptor;
use crate::{SetupError, Violation};

/// Size of the region without its entries.
pub(super) const HEADER: u64 = 32;
/// Size of an entry.
pub(super) const ENTRY: u64 = 32;

/// Offset of `free_head` and `old_free_head`, which are stored at once.
const FREE_HEADS: u64 = 12;
/// Offset of `used_idx`, `old_used_idx` and the two wrap counters, which are stored at once: an index must never be
/// seen with the wrap counter of another.
const USED: u64 = 16;

/// Offsets in an entry.
const INFLIGHT: u64 = 0;
const NEXT: u64 = 2;
const LAST: u64 = 4;
const NUM: u64 = 6;
const COUNTER: u64 = 8;
const ID: u64 = 16;
const FLAGS: u64 = 18;
const LEN: u64 = 20;
const ADDR: u64 = 24;

/// Entries are copies of descriptors, because the ring's own are overwritten; those of a buffer are linked by `next`, and
/// so are the free ones.
///
/// Two things are not as the text has them. The entries of used buffers are put into the free list only when the driver is
/// about to see that they are used: until then they are needed. And the descriptors that were marked used behind one that
/// was not are marked available again on recovery (see `Packed::track`), or the driver would take them for used as soon
/// as that one is.
pub struct TrackPacked {
    region: InflightRegion,
    pub(in crate::device) again: Again,
    counter: u64,
    /// The first free entry, and how many are free.
    free_head: u16,
    free: u16,
    /// By entry, as in the region.
    next: Box<[u16]>,
    /// Entries of each buffer in flight, by id.
    lists: Box<[List]>,
    /// Buffers whose used descriptors the driver does not see yet. Never more than there is room for.
    batch: Vec<u16>,
    /// Where the next used descriptor goes, as the driver knows it.
    used: Position,
    /// Descriptors of the buffer that is being taken.
    pending: Vec<Descriptor>,
    /// Buffers that were served and are not written down: where their used descriptors go, and the second words of these.
    /// Room for all that can be available, twice.
    staged: Box<[(u16, u64)]>,
    /// How many of them there are.
    staged_count: usize,
}

#[derive(Clone, Copy, Default)]
struct List {
    head: u16,
    last: u16,
    descriptors: u16,
}

impl TrackPacked {
    /// Takes up what `region` says of a virtqueue of `size`; a fresh region is set up for one that is at `used`. `is_used`
    /// says whether the descriptor at a position in the ring is not the available one that was taken there any more. Also says
    /// whether the region was not fresh.
    pub fn new(
        region: InflightRegion,
        size: u16,
        used: Position,
        is_used: impl Fn(Position) -> bool,
    ) -> Result<(Self, bool), SetupError> {
        let mut track = Self {
            counter: 0,
            again: Again::default(),
            free_head: 0,
            free: 0,
            next: vec![0; region.entries.into()].into(),
            lists: vec![List::default(); size.into()].into(),
            batch: Vec::with_capacity(size.into()),
            used,
            pending: Vec::with_capacity(size.into()),
            staged: vec![(0, 0); 2 * usize::from(size)].into(),
            staged_count: 0,
            region,
        };
        let mut taken = vec![false; track.next.len()];
        let recovered = track.region.is_used(size)?;
        if recovered {
            track.recover(size, is_used)?;
            track.collect(&mut taken)?;
        }
        track.link_free(&taken);
        track.store_used(track.used, track.used);
        if !recovered {
            track.region.begin();
        }
        Ok((track, recovered))
    }

    /// Where the next used descriptor goes.
    pub fn position(&self) -> Position {
        self.used
    }

    /// How many descriptors in the ring are occupied by the buffers to be taken once more.
    pub fn occupied(&self) -> u16 {
        self.again.descriptors.len() as u16
    }

    /// "When reconnecting", up to the entries in the free list.
    fn recover(&mut self, size: u16, is_used: impl Fn(Position) -> bool) -> Result<(), SetupError> {
        let [index, index_high, old, old_high, wrap, old_wrap, ..] =
            self.region.load::<u64>(USED).to_ne_bytes();
        let (index, old) = (
            u16::from_ne_bytes([index, index_high]),
            u16::from_ne_bytes([old, old_high]),
        );
        if index >= size || old >= size {
            return Err(SetupError::Inflight("its used index is outside of the virtqueue"));
        }
        let (new, old) = (
            Position::used(index, wrap != 0),
            Position::used(old, old_wrap != 0),
        );
        let [free, free_high, old_free, old_free_high] = self.region.load::<u32>(FREE_HEADS).to_ne_bytes();
        let published = new != old && is_used(old);
        let (used, head) = match published {
            true => (new, [free, free_high]),
            false => (old, [old_free, old_free_high]),
        };
        self.used = used;
        let mut index = u16::from_ne_bytes(head);
        // As many steps as there are entries, also where the list is a loop. Its end lies beyond the last entry.
        for _ in 0..self.next.len() {
            if usize::from(index) >= self.next.len() {
                break;
            }
            self.region.store(entry(index) + INFLIGHT, 0u8);
            index = self.region.load(entry(index) + NEXT);
        }
        Ok(())
    }

    /// Finds the buffers in flight, and marks the entries that are `taken` by them.
    fn collect(&mut self, taken: &mut [bool]) -> Result<(), SetupError> {
        let (mut buffers, mut descriptors) = (Vec::new(), Vec::new());
        for head in 0..self.next.len() as u16 {
            if self.region.load::<u8>(entry(head) + INFLIGHT) != 1 {
                continue;
            }
            let count: u16 = self.region.load(entry(head) + NUM);
            let (first, mut index) = (descriptors.len(), head);
            let mut list = List {
                head,
                last: head,
                descriptors: count,
            };
            for _ in 0..count {
                match taken.get_mut(usize::from(index)) {
                    Some(place @ false) => *place = true,
                    _ => {
                        return Err(SetupError::Inflight(
                            "two of its buffers overlap, or one leads out of it",
                        ));
                    }
                }
                list.last = index;
                descriptors.push(self.descriptor(index));
                let next = self.region.load(entry(index) + NEXT);
                if let Some(place) = self.next.get_mut(usize::from(index)) {
                    *place = next;
                }
                index = next;
            }
            let id = descriptors.last().map_or(u16::MAX, |last: &Descriptor| last.link);
            let known = self.lists.get_mut(usize::from(id)).filter(|_| count != 0);
            let place = known.ok_or(SetupError::Inflight("one of its buffers cannot be"))?;
            *place = list;
            buffers.push(Resubmission {
                id,
                counter: self.region.load(entry(head) + COUNTER),
                first,
                descriptors: count,
            });
        }
        if descriptors.len() > self.lists.len() {
            return Err(SetupError::Inflight(
                "it has more descriptors in flight than the virtqueue",
            ));
        }
        self.again = Again::new(buffers, descriptors);
        self.counter = self.again.next_counter();
        Ok(())
    }

    fn descriptor(&self, index: u16) -> Descriptor {
        let entry = entry(index);
        Descriptor {
            address: self.region.load(entry + ADDR),
            length: self.region.load(entry + LEN),
            flags: self.region.load(entry + FLAGS),
            link: self.region.load(entry + ID),
        }
    }

    /// Makes a list of the entries that are not `taken`. None of them is marked in flight, so whatever the list looks like
    /// meanwhile, recovery finds the same.
    fn link_free(&mut self, taken: &[bool]) {
        let end = self.next.len() as u16;
        let mut after = end;
        for index in (0..end).rev() {
            if taken.get(usize::from(index)) == Some(&false) {
                self.link(index, after);
                after = index;
                self.free += 1;
            }
        }
        self.free_head = after;
        self.store_free_heads(after, after);
    }

    /// A descriptor of the buffer that is being taken, with the flags it has in the ring. There are no more than the
    /// virtqueue has.
    pub fn push(&mut self, descriptor: Descriptor) {
        self.pending.push(descriptor);
    }

    /// Forgets the buffer that is being taken.
    pub fn abandon(&mut self) {
        self.pending.clear();
    }

    /// Whether the buffer that is being taken can be written down. It always can, unless the driver makes more available
    /// than there is.
    pub fn check_room(&self, size: u16) -> Result<(), Violation> {
        match self.pending.len() <= usize::from(self.free) {
            true => Ok(()),
            false => Err(Violation::Overrun { size }),
        }
    }

    /// The buffer has been taken: its id is `id`, which is below the queue size.
    pub fn taken(&mut self, id: u16) {
        let (head, mut index) = (self.free_head, self.free_head);
        let descriptors = self.pending.len() as u16;
        let mut last = head;
        for position in 0..self.pending.len() {
            let Some(descriptor) = self.pending.get(position).copied() else {
                break;
            };
            let entry = entry(index);
            self.region.store(entry + ADDR, descriptor.address);
            self.region.store(entry + LEN, descriptor.length);
            self.region.store(entry + FLAGS, descriptor.flags);
            self.region.store(entry + ID, descriptor.link);
            last = index;
            index = self.next.get(usize::from(index)).copied().unwrap_or_default();
        }
        self.pending.clear();
        let entry = entry(head);
        self.region.store(entry + LAST, last);
        self.region.store(entry + NUM, descriptors);
        self.region.store(entry + COUNTER, self.counter);
        self.counter = self.counter.wrapping_add(1);
        self.region.store(entry + INFLIGHT, 1u8);
        self.free_head = index;
        self.free -= descriptors;
        // With this it is in flight.
        self.store_free_heads(index, index);
        if let Some(list) = self.lists.get_mut(usize::from(id)) {
            *list = List {
                head,
                last,
                descriptors,
            };
        }
    }

    /// Buffer `id`, the newest one, was not taken after all.
    pub fn undo(&mut self, id: u16) {
        let list = self.list(id);
        self.region.store(entry(list.head) + INFLIGHT, 0u8);
        self.link(list.last, self.free_head);
        self.free_head = list.head;
        self.free += list.descriptors;
        self.store_free_heads(self.free_head, self.free_head);
    }

    /// The used descriptor of buffer `id` is written, behind one that the driver does not see yet.
    pub fn used(&mut self, id: u16) {
        if self.batch.len() < self.batch.capacity() {
            self.batch.push(id);
        }
    }

    /// The driver is about to see what was used, after which the next used descriptor goes to `used`.
    pub fn before_publish(&mut self, used: Position) {
        if self.batch.is_empty() {
            return;
        }
        let old = self.free_head;
        for position in 0..self.batch.len() {
            let Some(id) = self.batch.get(position).copied() else {
                break;
            };
            let list = self.list(id);
            self.link(list.last, self.free_head);
            self.free_head = list.head;
            self.free += list.descriptors;
            self.store_free_heads(self.free_head, old);
        }
        self.store_used(used, self.used);
        self.used = used;
    }

    /// The driver sees it.
    pub fn published(&mut self) {
        for position in 0..self.batch.len() {
            if let Some(id) = self.batch.get(position) {
                let list = self.list(*id);
                self.region.store(entry(list.head) + INFLIGHT, 0u8);
            }
        }
        if !self.batch.is_empty() {
            self.batch.clear();
            self.store_free_heads(self.free_head, self.free_head);
            self.store_used(self.used, self.used);
        }
    }

    /// Whether so many buffers can be served before [`show`](Self::show).
    #[inline(always)]
    pub fn can_stage(&self, buffers: usize) -> bool {
        self.staged_count + buffers <= self.staged.len()
    }

    /// A buffer was served, with nothing in flight: its used descriptor is to go to `index`, with `tail` as the second word.
    #[inline(always)]
    pub fn stage(&mut self, index: u16, tail: u64) {
        let place = self.staged.get_mut(self.staged_count);
        debug_assert!(place.is_some(), "`can_stage` said so");
        if let Some(place) = place {
            *place = (index, tail);
            self.staged_count += 1;
        }
    }

    /// Has `write` write the used descriptors of all buffers that were served, behind which the next one goes to `end`.
    ///
    /// A buffer is used when its descriptor says so, and not before: one that is served and not written down is taken from the
    /// ring by the device end after this one, which must find it as the driver wrote it. So it is one descriptor after the
    /// other, each behind the statement that it may be used.
    #[inline(always)]
    pub fn show(&mut self, end: Position, mut write: impl FnMut(u16, u64)) {
        let count = core::mem::take(&mut self.staged_count);
        let staged = self.staged.get(..count).unwrap_or_default();
        let Some((&(mut index, mut tail), rest)) = staged.split_first() else {
            return;
        };
        let mut old = self.used;
        for &(next_index, next_tail) in rest {
            let next = Position {
                index: next_index,
                bits: next_tail & STATE,
            };
            self.store_used(next, old);
            write(index, tail);
            (index, tail, old) = (next_index, next_tail, next);
        }
        self.store_used(end, old);
        write(index, tail);
        self.store_used(end, end);
        self.used = end;
    }

    fn list(&self, id: u16) -> List {
        self.lists.get(usize::from(id)).copied().unwrap_or_default()
    }

    fn link(&mut self, index: u16, next: u16) {
        if let Some(place) = self.next.get_mut(usize::from(index)) {
            *place = next;
        }
        self.region.store(entry(index) + NEXT, next);
    }

    fn store_free_heads(&self, new: u16, old: u16) {
        let ([a, b], [c, d]) = (new.to_ne_bytes(), old.to_ne_bytes());
        self.region.store(FREE_HEADS, u32::from_ne_bytes([a, b, c, d]));
    }

    fn store_used(&self, new: Position, old: Position) {
        let ([a, b], [c, d]) = (new.index.to_ne_bytes(), old.index.to_ne_bytes());
        let bytes = [a, b, c, d, new.wrap().into(), old.wrap().into(), 0, 0];
        self.region.store(USED, u64::from_ne_bytes(bytes));
    }
}

/// Offset of an entry that there is.
fn entry(index: u16) -> u64 {
    HEADER + ENTRY * u64::from(index)
}
