//! What the device ends of both formats share: memory, the scratch that chains are gathered in, and what is in flight.
//!
//! `unsafe` is needed here to view indirect tables and for the scratch that is written without growing.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::{Fault, Full, Memory, Segment, Sink, Slices, Window};
use ringwright_spec::{Features, feature};

use super::chain::Token;
use super::in_flight::{InFlight, Order};
use super::track::{Resubmission, Tracking};
use super::written::{Marker, WriteRecord};
use crate::split::Descriptor;
use crate::{Format, RingError, SetupError, Violation};

/// Pieces of memory that a chain may have beyond one for each descriptor, for elements that cross region borders
/// (`dev:split:message-framing:02`).
const SPARE_SEGMENTS: usize = 1024;

/// Pieces of memory that an indirect table may lie in.
const TABLE_SEGMENTS: usize = 256;

/// How a format reads entry `index` of an indirect table of `size` entries: the descriptor (with no flags but those that
/// mean something there), and the index of the next entry, if there is to be one.
pub(super) type Decode = fn(index: u32, size: u32, words: [[u8; 8]; 2]) -> (Descriptor, Option<u32>);

/// The format-independent half of a device end.
pub struct Core {
    pub(super) memory: Arc<Memory>,
    pub(super) window: Window,
    pub(super) scratch: Scratch,
    pub(super) table: Scratch,
    pub(super) in_flight: InFlight,
    /// With `VIRTIO_F_IN_ORDER`.
    pub(super) order: Option<Order>,
    /// With a dirty log.
    pub(super) written: Option<WriteRecord>,
    /// Where buffers in flight are written down for the device end after this one.
    pub(super) tracking: Option<Tracking>,
    pub(super) event_idx: bool,
    pub(super) indirect: bool,
    pub(super) notify_on_empty: bool,
    format: Format,
    pub(super) broken: Option<RingError>,
}

impl Core {
    /// Allocates everything a queue of `size` needs.
    pub fn new(size: u16, features: Features, memory: Arc<Memory>, format: Format) -> Self {
        let has = |bit| features.contains(bit);
        let mut core = Self {
            memory,
            window: Window::new(),
            scratch: Scratch::new(usize::from(size) + SPARE_SEGMENTS, size.into()),
            table: Scratch::new(TABLE_SEGMENTS, 0),
            in_flight: InFlight::new(size),
            order: has(feature::IN_ORDER).then(|| Order::new(size)),
            written: None,
            tracking: None,
            event_idx: has(feature::EVENT_IDX),
            indirect: has(feature::INDIRECT_DESC),
            notify_on_empty: has(feature::NOTIFY_ON_EMPTY) && !has(feature::VERSION_1),
            format,
            broken: None,
        };
        core.set_up_log();
        core
    }

    /// Replaces the memory; what is in flight stays.
    pub(super) fn set_memory(&mut self, memory: Arc<Memory>) {
        self.memory = memory;
        self.window = Window::new();
        self.set_up_log();
    }

    fn set_up_log(&mut self) {
        match (self.memory.dirty_log().is_some(), &self.written) {
            (true, None) => self.written = Some(WriteRecord::new(self.in_flight.size())),
            (false, Some(_)) => self.written = None,
            _ => {}
        }
    }

    pub(super) fn format(&self) -> Format {
        self.format
    }

    /// Whether chains may be taken and given back the short way: with no order to keep, no log, no translation and nothing
    /// broken.
    pub(super) fn is_plain(&self) -> bool {
        let translated = self.memory.translation().is_some();
        self.order.is_none() && self.written.is_none() && !translated && self.broken.is_none()
    }

    /// Ends the queue's life for `violation`, and gives the error.
    #[cold]
    pub(super) fn fail(&mut self, violation: Violation) -> RingError {
        let error = RingError {
            kind: violation,
            format: self.format,
        };
        if let Some(written) = &mut self.written {
            written.abandon();
        }
        // What the translation does not know yet may be asked for and tried again.
        let miss = matches!(
            violation,
            Violation::Address(Fault::Miss { .. }) | Violation::Part(SetupError::Address(Fault::Miss { .. }))
        );
        if miss {
            return self.broken.unwrap_or(error);
        }
        *self.broken.get_or_insert(error)
    }

    /// An error of this end's own, which leaves the queue as it is.
    #[cold]
    pub(super) fn refuse(&self, violation: Violation) -> RingError {
        RingError {
            kind: violation,
            format: self.format,
        }
    }

    /// Puts a chain that was taken the long way, or adopted, among those in flight.
    pub(super) fn insert(&mut self, token: &Token, descriptors: u16) -> Result<(), Violation> {
        self.in_flight.insert(token.id, descriptors)?;
        if let Some(order) = &mut self.order {
            order.push(token.id, token.writable);
        }
        if let Some(written) = &mut self.written {
            written.close(token.id);
            // A buffer that was adopted, see `Token::from_id`: where it may be written is not known.
            if token.writable == u64::MAX {
                written.forget(token.id);
            }
        }
        Ok(())
    }

    /// Whether there are buffers of an earlier device end that are to be taken first.
    #[inline(always)]
    pub(super) fn has_again(&self) -> bool {
        self.tracking
            .as_ref()
            .is_some_and(|tracking| tracking.again().is_left())
    }

    /// The buffer of an earlier device end that is to be taken next, if there is one.
    pub(super) fn next_again(&self) -> Option<Resubmission> {
        self.tracking.as_ref()?.again().next()
    }

    /// Takes back the newest chain taken, if it is `id` and was an earlier device end's; says whether it was.
    pub(super) fn push_back_again(&mut self, id: u16) -> bool {
        let Some(tracking) = self.tracking.as_mut().filter(|_| self.in_flight.contains(id)) else {
            return false;
        };
        let newest = tracking.again_mut().push_back(id);
        if newest {
            self.forget(id);
        }
        newest
    }

    /// Takes back the newest chain taken.
    pub(super) fn undo(&mut self, id: u16) {
        self.forget(id);
        if let Some(tracking) = &mut self.tracking {
            tracking.undo(id);
        }
    }

    /// The newest chain taken is not in flight.
    fn forget(&mut self, id: u16) {
        self.in_flight.remove(id);
        if let Some(order) = &mut self.order {
            order.pop_newest();
        }
        if let Some(written) = &mut self.written {
            written.forget(id);
        }
    }

    /// Notes that chain `id` is complete with `written` bytes. Gives the descriptors it occupies if its used entry is to be
    /// written now.
    pub(super) fn complete(
        &mut self,
        id: u16,
        written: u32,
        decode: Decode,
    ) -> Result<Option<u16>, Violation> {
        if !self.in_flight.contains(id) {
            return Err(Violation::NotInFlight { id });
        }
        if let Some(order) = &mut self.order
            && !order.complete(id, written)
        {
            return Err(Violation::NotInFlight { id });
        }
        if let Some(record) = &mut self.written {
            let Self {
                memory,
                window,
                scratch,
                table,
                ..
            } = self;
            scratch.clear();
            record.mark(
                id,
                written,
                &mut Marker {
                    memory,
                    window,
                    scratch,
                    table,
                    decode,
                },
            );
        }
        if self.order.is_some() {
            return Ok(None);
        }
        self.in_flight
            .remove(id)
            .map(Some)
            .ok_or(Violation::NotInFlight { id })
    }
}

/// Segments in memory that was allocated at set-up and never grows.
pub(super) struct Scratch {
    segments: Vec<Segment>,
    /// Behind the last segment that may be written in place.
    limit: *mut Segment,
}

// SAFETY: the pointer is into the vector's memory, and only used together with it.
unsafe impl Send for Scratch {}

impl Scratch {
    /// Room for `capacity` segments, of which so many may be written in place.
    fn new(capacity: usize, in_place: usize) -> Self {
        let mut segments: Vec<Segment> = Vec::with_capacity(capacity);
        debug_assert!(in_place <= capacity);
        // SAFETY: within the capacity.
        let limit = unsafe { segments.as_mut_ptr().add(in_place) };
        Self { segments, limit }
    }

    /// Behind the last segment that may be written at [`as_mut_ptr`](Self::as_mut_ptr) and after: one for each descriptor.
    #[inline(always)]
    pub fn limit(&self) -> *mut Segment {
        self.limit
    }

    /// How many there may be.
    pub fn capacity(&self) -> usize {
        self.segments.capacity()
    }

    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// Where the segments are, with room for [`capacity`](Self::capacity).
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut Segment {
        self.segments.as_mut_ptr()
    }

    pub fn clear(&mut self) {
        self.segments.clear();
    }

    /// Sixteen bytes at `index` times 16 of the memory in the scratch.
    pub fn entry(&self, index: u32) -> Option<[[u8; 8]; 2]> {
        // SAFETY: the segments were resolved by the queue's memory for reading, and are read while it is borrowed.
        let view = unsafe { Slices::new(&self.segments) };
        let words = view
            .read_array::<16>(usize::try_from(index).ok()?.checked_mul(16)?)
            .ok()?;
        let (first, second) = words.split_at(8);
        Some([first.try_into().ok()?, second.try_into().ok()?])
    }
}

impl Sink for Scratch {
    #[inline(always)]
    fn push(&mut self, segment: Segment) -> Result<(), Full> {
        if self.segments.len() == self.segments.capacity() {
            return Err(Full);
        }
        self.segments.push(segment);
        Ok(())
    }
}
