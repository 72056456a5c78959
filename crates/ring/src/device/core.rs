//! What the device ends of both formats share: memory, the scratch that chains are gathered in, and what is in flight.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::{Access, Fault, Full, Memory, Segment, Sink, Slices, Window};
use ringwright_spec::split::DescFlags;
use ringwright_spec::{Features, feature};

use super::chain::{Taken, Token};
use super::in_flight::{InFlight, Order};
use super::written::{Marker, WriteRecord};
use crate::split::Descriptor;
use crate::{Format, RingError, SetupError, Violation};

/// Largest number of bytes that a chain describes (`drv:split:the-virtqueue-descriptor-table:01`).
const MAX_BYTES: u64 = 1 << 32;

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
    scratch: Scratch,
    table: Scratch,
    pub(super) in_flight: InFlight,
    /// Descriptor flags that need more than an entry in the scratch.
    pub(super) special: u16,
    /// Whether `order` or `written` is there.
    pub(super) extras: bool,
    /// With `VIRTIO_F_IN_ORDER`.
    pub(super) order: Option<Order>,
    /// With a dirty log.
    pub(super) written: Option<WriteRecord>,
    pub(super) event_idx: bool,
    indirect: bool,
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
            scratch: Scratch::new(usize::from(size) + SPARE_SEGMENTS),
            table: Scratch::new(TABLE_SEGMENTS),
            in_flight: InFlight::new(size),
            special: 0,
            extras: false,
            order: has(feature::IN_ORDER).then(|| Order::new(size)),
            written: None,
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
        self.extras = self.order.is_some() || self.written.is_some();
        let logged = if self.written.is_some() {
            DescFlags::WRITE.0
        } else {
            0
        };
        self.special = DescFlags::INDIRECT.0 | logged;
    }

    /// The segments of the newest chain.
    #[inline(always)]
    pub(super) fn segments(&self) -> &[Segment] {
        &self.scratch.0
    }

    /// Starts gathering a chain.
    #[inline(always)]
    pub(super) fn gather(&mut self, limit: u16) -> Gather<'_> {
        self.scratch.0.clear();
        Gather {
            core: self,
            limit,
            left: limit,
            bytes: 0,
            readable_bytes: 0,
            readable: 0,
            writing: false,
        }
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

    /// Puts a taken chain among those in flight.
    #[inline(always)]
    pub(super) fn insert(&mut self, token: &Token, descriptors: u16) -> Result<(), Violation> {
        self.in_flight.insert(token.id, descriptors)?;
        if self.extras {
            self.insert_extras(token);
        }
        Ok(())
    }

    #[cold]
    fn insert_extras(&mut self, token: &Token) {
        if let Some(order) = &mut self.order {
            order.push(token.id, token.writable);
        }
        if let Some(written) = &mut self.written {
            written.close(token.id);
        }
    }

    /// Takes back the newest chain taken.
    pub(super) fn undo(&mut self, id: u16) {
        self.in_flight.remove(id);
        if let Some(order) = &mut self.order {
            order.pop_newest();
        }
        if let Some(written) = &mut self.written {
            written.forget(id);
        }
    }

    /// Notes that chain `token` is complete with `written` bytes, for features that need more than a used entry.
    /// Gives the descriptors it occupies if the used entry is to be written now.
    #[cold]
    pub(super) fn complete_extras(
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
            scratch.0.clear();
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

/// A chain that is being gathered.
pub(super) struct Gather<'c> {
    core: &'c mut Core,
    limit: u16,
    left: u16,
    bytes: u64,
    readable_bytes: u64,
    readable: usize,
    writing: bool,
}

impl Gather<'_> {
    /// Counts one descriptor; loops end here.
    #[inline(always)]
    pub fn count(&mut self) -> Result<(), Violation> {
        if self.left == 0 {
            return Err(Violation::ChainTooLong { limit: self.limit });
        }
        self.left -= 1;
        Ok(())
    }

    /// Adds an element of the buffer.
    #[inline(always)]
    pub fn element(&mut self, address: u64, length: u32, flags: u16) -> Result<(), Violation> {
        let access = if flags & DescFlags::WRITE.0 != 0 {
            if !self.writing {
                self.end_readable();
                self.writing = true;
            }
            Access::Write
        } else if self.writing {
            return Err(Violation::ReadableAfterWritable);
        } else {
            Access::Read
        };
        self.bytes += u64::from(length);
        let Core {
            memory,
            window,
            scratch,
            ..
        } = &mut *self.core;
        memory
            .resolve(window, address, length, access, scratch)
            .map_err(|fault| fault_of(fault, scratch))
    }

    #[inline(always)]
    fn end_readable(&mut self) {
        self.readable = self.core.scratch.0.len();
        self.readable_bytes = self.bytes;
    }

    /// The gathered chain.
    #[inline(always)]
    pub fn finish(mut self, id: u16, position: u16) -> Result<Taken, Violation> {
        if !self.writing {
            self.end_readable();
        }
        if self.bytes > MAX_BYTES {
            return Err(Violation::ChainTooLarge { length: self.bytes });
        }
        Ok(Taken {
            readable: self.readable,
            writable: self.core.scratch.0.len() - self.readable,
            readable_bytes: self.readable_bytes,
            token: Token {
                id,
                position,
                writable: self.bytes - self.readable_bytes,
            },
        })
    }

    /// Adds an element whose flags are among `Core::special`, other than one that refers to a table.
    #[cold]
    pub fn logged_element(&mut self, address: u64, length: u32, flags: u16) -> Result<(), Violation> {
        if let Some(written) = &mut self.core.written {
            written.push_element(address, length);
        }
        self.element(address, length, flags)
    }

    /// Adds the elements that an indirect table lists.
    #[cold]
    pub fn table(&mut self, address: u64, length: u32, decode: Decode) -> Result<(), Violation> {
        if !self.core.indirect {
            return Err(Violation::IndirectNotNegotiated);
        }
        if length == 0 || !length.is_multiple_of(16) {
            return Err(Violation::IndirectLength { length });
        }
        if let Some(written) = &mut self.core.written {
            written.push_table(address, length);
        }
        let Core {
            memory,
            window,
            table,
            ..
        } = &mut *self.core;
        table.0.clear();
        memory
            .resolve(window, address, length, Access::Read, table)
            .map_err(|fault| fault_of(fault, table))?;
        let size = length / 16;
        let mut index = 0;
        loop {
            self.count()?;
            // Each entry is read once, into private memory.
            let words = self.core.table.entry(index);
            let words = words.ok_or(Violation::DescriptorIndex {
                index: index as u16,
                size,
            })?;
            let (entry, next) = decode(index, size, words);
            if entry.flags & DescFlags::INDIRECT.0 != 0 {
                return Err(Violation::NestedIndirect);
            }
            self.element(entry.address, entry.length, entry.flags)?;
            match next {
                Some(next) => index = next,
                None => return Ok(()),
            }
        }
    }
}

fn fault_of(fault: Fault, scratch: &Scratch) -> Violation {
    match fault {
        Fault::TooManySegments { .. } => Violation::TooManySegments {
            limit: scratch.0.capacity(),
        },
        fault => Violation::Address(fault),
    }
}

/// Segments in memory that was allocated at set-up and never grows.
pub(super) struct Scratch(pub Vec<Segment>);

impl Scratch {
    fn new(capacity: usize) -> Self {
        Self(Vec::with_capacity(capacity))
    }

    /// Sixteen bytes at `index` times 16 of the memory in the scratch.
    pub fn entry(&self, index: u32) -> Option<[[u8; 8]; 2]> {
        // SAFETY: the segments were resolved by the queue's memory for reading, and are read while it is borrowed.
        let view = unsafe { Slices::new(&self.0) };
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
        if self.0.len() == self.0.capacity() {
            return Err(Full);
        }
        self.0.push(segment);
        Ok(())
    }
}
