//! The driver end of a virtqueue.
//!
//! `unsafe` is needed here where memory taken from the area becomes the parts of a ring.

mod add;
mod buffers;
mod packed;
mod slots;
mod split;
mod table;

use alloc::boxed::Box;
use alloc::sync::Arc;
use core::fmt;

use ringwright_memory::{Area, Buffer, DmaSegment};
use ringwright_spec::split::LegacyLayout;
use ringwright_spec::{Features, feature};

pub(crate) use self::add::Add;
pub(crate) use self::packed::Packed;
pub(crate) use self::slots::Options;
pub(crate) use self::split::Split;
use self::table::Tables;
use crate::packed::PackedRing;
use crate::split::SplitRing;
use crate::words::{Big, Host, Little};
use crate::{ByteOrder, Layout, RingError, SetupError};

/// Queue Align of legacy virtqueues (section 2.7.2): the page size that PCI fixes.
const LEGACY_ALIGN: u32 = 4096;

/// What a driver chooses for a virtqueue, besides what was negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DriverOptions {
    /// The longest chain that goes into an indirect table, in elements; 0 for no tables. With `VIRTIO_F_INDIRECT_DESC`,
    /// every chain of two elements up to this many is put into a table and so takes one descriptor of the ring. One table
    /// per descriptor of the queue is allocated at set-up.
    pub indirect: u16,
}

/// The driver end of one virtqueue: makes buffers available to the device, and takes them back when used.
///
/// A `T` travels with each buffer and comes back with it; it should own the buffer's memory, which must not be given to
/// anything else while the device has it. After set-up nothing is allocated.
pub struct DriverQueue<T> {
    ring: Ring<T>,
    layout: Layout,
    /// The memory of the ring and of the indirect tables.
    _memory: Box<[Buffer]>,
}

/// A buffer that the device has used.
#[derive(Debug, PartialEq, Eq)]
pub struct Used<T> {
    /// What [`DriverQueue::add`] was given.
    pub data: T,
    /// How many bytes the device has written, from the first device-writable one on. What comes after is not to be
    /// relied on (`drv:split:the-virtqueue-used-ring:01`).
    pub written: u32,
}

/// Why a buffer was not made available. Gives back what was to travel with it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AddError<T> {
    /// What [`DriverQueue::add`] was given.
    pub data: T,
    /// Why.
    pub reason: AddRefusal,
}

/// The reasons of [`AddError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddRefusal {
    /// There are not enough free descriptors now; there will be when the device has used buffers.
    #[error("the virtqueue is full")]
    Full,
    /// A buffer has at least one element.
    #[error("the buffer has no elements")]
    Empty,
    /// The buffer has more elements than a chain may have (`drv:split:indirect-descriptors:03`,
    /// `drv:packed:scatter-gather-support:02`).
    #[error("the buffer has more elements than the virtqueue has descriptors")]
    TooLong,
    /// The buffer has more than 2^32 bytes (`drv:split:the-virtqueue-descriptor-table:01`).
    #[error("the buffer has more than 2^32 bytes")]
    TooLarge,
    /// The device broke the rules; the virtqueue has to be reset.
    #[error("the virtqueue is broken")]
    Broken,
}

/// The formats and byte orders.
#[repr(u8)]
enum Ring<T> {
    Split(Split<Little, T>),
    Packed(Packed<Little, T>),
    SplitBig(Split<Big, T>),
}

/// The same expression for each format.
macro_rules! each {
    ($ring:expr, $format:ident => $body:expr) => {
        match $ring {
            Ring::Split($format) => $body,
            Ring::SplitBig($format) => $body,
            Ring::Packed($format) => $body,
        }
    };
}

impl<T> DriverQueue<T> {
    /// A fresh virtqueue of `size` descriptors in memory from `area`, in the format and with the features negotiated.
    /// Without `VIRTIO_F_VERSION_1` it is a legacy virtqueue: one contiguous piece aligned to 4096 bytes, in this
    /// machine's byte order.
    pub fn new(
        area: &Arc<Area>,
        size: u16,
        features: Features,
        options: DriverOptions,
    ) -> Result<Self, SetupError> {
        let legacy = !features.contains(feature::VERSION_1);
        let order = if legacy {
            ByteOrder::NATIVE
        } else {
            ByteOrder::Little
        };
        Self::with_byte_order(area, size, features, options, order)
    }

    /// As [`new`](Self::new), with another byte order than the features tell (legacy split virtqueues only: packed
    /// ones are always little-endian).
    pub fn with_byte_order(
        area: &Arc<Area>,
        size: u16,
        features: Features,
        options: DriverOptions,
        order: ByteOrder,
    ) -> Result<Self, SetupError> {
        let packed = features.contains(feature::RING_PACKED);
        Layout {
            size,
            ..Layout::default()
        }
        .check(packed)?;
        let parts = if packed {
            PartOffsets::packed(size)
        } else {
            PartOffsets::split(size)
        };
        let room = SetupError::NoRoom { length: parts.length };
        let memory = area
            .allocate(parts.length as usize, parts.align as usize)
            .ok_or(room)?;
        let start = memory.segment().address();
        let layout = Layout {
            size,
            descriptor_area: start,
            driver_area: start + parts.driver,
            device_area: start + parts.device,
        };
        let indirect = if features.contains(feature::INDIRECT_DESC) {
            options.indirect.min(size)
        } else {
            0
        };
        let tables = Tables::allocate(area, size, indirect)?;
        let choices = Options::new(features);
        // SAFETY: the offsets are those of parts with the lengths and alignments of the format; the buffer is kept
        // beside the ring.
        let ring = unsafe {
            match (packed, order) {
                (true, _) => {
                    let [descriptors, driver, device] = parts.place(&memory);
                    Ring::Packed(Packed::new(
                        PackedRing::new(descriptors, driver, device, size),
                        tables.as_ref(),
                        choices,
                    ))
                }
                (false, ByteOrder::Little) => {
                    let [descriptors, driver, device] = parts.place(&memory);
                    Ring::Split(Split::new(
                        SplitRing::new(descriptors, driver, device, size),
                        tables.as_ref(),
                        choices,
                    ))
                }
                (false, ByteOrder::Big) => {
                    let [descriptors, driver, device] = parts.place(&memory);
                    Ring::SplitBig(Split::new(
                        SplitRing::new(descriptors, driver, device, size),
                        tables.as_ref(),
                        choices,
                    ))
                }
            }
        };
        let memory = core::iter::once(memory)
            .chain(tables.map(Tables::into_buffer))
            .collect();
        Ok(Self {
            ring,
            layout,
            _memory: memory,
        })
    }

    /// What to tell the device of the virtqueue.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Puts a buffer into the virtqueue: device-readable elements, then device-writable ones. The device sees it after
    /// the next [`publish`](Self::publish). Gives the buffer's id.
    #[inline]
    pub fn add(
        &mut self,
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        data: T,
    ) -> Result<u16, AddError<T>> {
        match &mut self.ring {
            Ring::Split(ring) => ring.add(readable, writable, data),
            Ring::Packed(ring) => ring.add(readable, writable, data),
            Ring::SplitBig(ring) => ring.add_long(readable, writable, data),
        }
    }

    /// Adds the buffers of `chains`, each as [`add`](Self::add) would: their device-readable elements, their device-writable
    /// ones, and what travels with them. Cheaper than one by one.
    ///
    /// Ends with `chains`, or with the first buffer that is refused, whose data comes back in the error. Those before it are
    /// added, and those after it are still to be had from `chains`, if the caller kept that by giving `&mut chains`.
    #[inline]
    pub fn add_all<R, W>(&mut self, chains: impl IntoIterator<Item = (R, W, T)>) -> Result<(), AddError<T>>
    where
        R: AsRef<[DmaSegment]>,
        W: AsRef<[DmaSegment]>,
    {
        let chains = chains.into_iter();
        match &mut self.ring {
            Ring::Split(ring) => ring.add_all(chains),
            Ring::Packed(ring) => ring.add_all(chains),
            Ring::SplitBig(ring) => {
                for (readable, writable, data) in chains {
                    ring.add_long(readable.as_ref(), writable.as_ref(), data)?;
                }
                Ok(())
            }
        }
    }

    /// Makes all buffers added since the last call available to the device, and tells whether to send an available
    /// buffer notification. Costs one full fence if there are any, else nothing.
    #[inline]
    pub fn publish(&mut self) -> bool {
        each!(&mut self.ring, ring => ring.publish())
    }

    /// Takes the next buffer that the device has used; `None` if there is no more.
    ///
    /// An error says what the device did wrong: the virtqueue is broken until [`reset`](Self::reset).
    #[inline]
    pub fn pop(&mut self) -> Result<Option<Used<T>>, RingError> {
        match &mut self.ring {
            Ring::Split(ring) => ring.pop(),
            Ring::Packed(ring) => ring.pop(),
            Ring::SplitBig(ring) => ring.pop_long(),
        }
    }

    /// Gives `handle` the buffers that the device has used, up to `limit` of them, as [`pop`](Self::pop) would give them one
    /// by one. Cheaper than that. Gives the number of buffers taken; less than `limit` means that there are no more.
    ///
    /// Errors are those of [`pop`](Self::pop). Buffers that `handle` was given before an error are taken.
    #[inline]
    pub fn take_used(&mut self, limit: u16, mut handle: impl FnMut(Used<T>)) -> Result<u16, RingError> {
        match &mut self.ring {
            Ring::Split(ring) => ring.take_used(limit, &mut handle),
            Ring::Packed(ring) => ring.take_used(limit, &mut handle),
            Ring::SplitBig(ring) => {
                let mut taken = 0;
                while taken != limit
                    && let Some(used) = ring.pop_long()?
                {
                    handle(used);
                    taken += 1;
                }
                Ok(taken)
            }
        }
    }

    /// Lets the device know that it need not notify of used buffers; it still may
    /// (`drv:split:used-buffer-notification-suppression:05`).
    pub fn disable_notifications(&mut self) {
        each!(&mut self.ring, ring => ring.disable_notifications());
    }

    /// Asks the device to notify of the next used buffer. True if there is one already, of which no notification may
    /// come: take it before waiting.
    pub fn enable_notifications(&mut self) -> bool {
        each!(&mut self.ring, ring => ring.enable_notifications())
    }

    /// What an available buffer notification carries with `VIRTIO_F_NOTIFICATION_DATA` (section 2.9,
    /// `drv:packed:the-virtqueue-descriptor-table:03`), where `queue_index` is the virtqueue's index or its
    /// notification config data.
    pub fn notification_data(&self, queue_index: u16) -> u32 {
        each!(&self.ring, ring => ring.notification_data(queue_index)).0
    }

    /// Number of free descriptors of the ring.
    pub fn free(&self) -> u16 {
        each!(&self.ring, ring => ring.free())
    }

    /// Number of buffers added and not yet taken back.
    pub fn in_flight(&self) -> u16 {
        each!(&self.ring, ring => ring.in_flight())
    }

    /// What the device did to break the virtqueue, if it did.
    pub fn broken(&self) -> Option<&RingError> {
        each!(&self.ring, ring => ring.broken())
    }

    /// Makes the virtqueue fresh again once what it returns is dropped, which gives back what travelled with the buffers
    /// that the device had. Only to be called when device or queue were reset and have said so
    /// (`drv:core:virtqueue-reset:01`, `:02`).
    pub fn reset(&mut self) -> Outstanding<'_, T> {
        Outstanding {
            ring: &mut self.ring,
            next: 0,
        }
    }
}

/// What travelled with the buffers that the device had at a [`DriverQueue::reset`]. What is not taken is dropped.
pub struct Outstanding<'q, T> {
    ring: &'q mut Ring<T>,
    /// Ids below this were looked at.
    next: u16,
}

impl<T> Iterator for Outstanding<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        let Self { ring, next } = self;
        each!(ring, ring => ring.buffers().take_from(next))
    }
}

impl<T> Drop for Outstanding<'_, T> {
    fn drop(&mut self) {
        self.for_each(drop);
        each!(&mut self.ring, ring => ring.reset());
    }
}

impl<T> fmt::Debug for DriverQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DriverQueue")
            .field("layout", &self.layout)
            .field("free", &self.free())
            .field("in_flight", &self.in_flight())
            .field("broken", &self.broken())
            .finish_non_exhaustive()
    }
}

/// Where the parts lie within one piece of memory, in bytes from its start.
struct PartOffsets {
    driver: u64,
    device: u64,
    length: u64,
    align: u64,
}

impl PartOffsets {
    /// The legacy layout, which is a legal one on all interfaces. The ends of the parts fall on cache lines of their
    /// own, as the used ring starts a page.
    fn split(size: u16) -> Self {
        // Queue Align is a power of 2, so there is a layout.
        let parts = LegacyLayout::new(size, LEGACY_ALIGN);
        let (driver, device, length) = parts.map_or((0, 0, 0), |parts| (parts.avail, parts.used, parts.size));
        Self {
            driver,
            device,
            length,
            align: LEGACY_ALIGN.into(),
        }
    }

    /// The event suppression structures behind the ring, each in a cache line of its own.
    fn packed(size: u16) -> Self {
        const LINE: u64 = 64;
        let driver = ringwright_spec::packed::desc_size(size).next_multiple_of(LINE);
        Self {
            driver,
            device: driver + LINE,
            length: driver + 2 * LINE,
            align: LINE,
        }
    }

    /// The parts within `memory`.
    ///
    /// # Safety
    ///
    /// `memory` has `length` bytes, aligned to `align`, and outlives the parts.
    unsafe fn place<const BIG_ENDIAN: bool>(&self, memory: &Buffer) -> [Host<BIG_ENDIAN>; 3] {
        [0, self.driver, self.device].map(|offset| {
            // SAFETY: the offset lies within the memory, and all offsets are multiples of the parts' alignments.
            unsafe { Host::new(memory.as_ptr().add(offset as usize)) }
        })
    }
}
