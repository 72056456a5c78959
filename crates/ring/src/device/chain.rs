//! A buffer as the device sees it.
//!
//! `unsafe` is needed here to make views of memory that the queue keeps mapped.

use core::marker::PhantomData;

use ringwright_memory::{Segment, Slices};

use super::core::Core;

/// A buffer that the driver made available: its device-readable and its device-writable bytes, in whatever pieces the
/// driver framed them. Borrowed from the queue; [`into_token`](Self::into_token) keeps hold of it beyond that.
pub struct Chain<'q> {
    segments: *const Segment,
    readable: usize,
    writable: usize,
    readable_bytes: u64,
    pub(super) token: Token,
    queue: PhantomData<&'q Core>,
}

/// Stands for a buffer that is in flight: what [`complete`](super::DeviceQueue::complete) takes. Worth nothing without
/// the queue it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Token {
    pub(super) id: u16,
    /// Where the buffer was taken: available index, or offset with the wrap counter in bit 15.
    pub(super) position: u16,
    /// Length of the device-writable part in bytes.
    pub(super) writable: u64,
}

/// What a ring took: lengths within the scratch, and the token.
pub struct Taken {
    pub readable: usize,
    pub writable: usize,
    pub readable_bytes: u64,
    pub token: Token,
}

impl<'q> Chain<'q> {
    /// The chain that was taken, of the segments from `segments` on.
    ///
    /// # Safety
    ///
    /// `taken` tells of the segments and their lengths. For 'q they stay as they are, the queue keeps its memory, and that
    /// memory was found for reading, and for writing behind the first `taken.readable` of them.
    #[inline(always)]
    pub(super) unsafe fn new(segments: *const Segment, taken: Taken) -> Self {
        let Taken {
            readable,
            writable,
            readable_bytes,
            token,
        } = taken;
        Self {
            segments,
            readable,
            writable,
            readable_bytes,
            token,
            queue: PhantomData,
        }
    }

    /// The device-readable part.
    #[inline]
    pub fn readable(&self) -> Slices<'q> {
        // SAFETY: by the contract of `new` there are `readable + writable` segments for 'q, of which these add up to
        // `readable_bytes`, and their memory is kept.
        unsafe {
            let segments = core::slice::from_raw_parts(self.segments, self.readable);
            Slices::with_length(segments, self.readable_bytes as usize).read_only()
        }
    }

    /// The device-writable part.
    #[inline]
    pub fn writable(&self) -> Slices<'q> {
        // SAFETY: as in `readable`; these segments add up to `token.writable`.
        unsafe {
            let segments = core::slice::from_raw_parts(self.segments.add(self.readable), self.writable);
            Slices::with_length(segments, self.token.writable as usize)
        }
    }

    /// All pieces of memory of the buffer as they were found, first those of the device-readable part, which must not be
    /// written (`dev:split:the-virtqueue-descriptor-table:01`). Where an element is empty, so may a piece be.
    #[inline]
    pub fn segments(&self) -> &'q [Segment] {
        // SAFETY: as in `readable`.
        unsafe { core::slice::from_raw_parts(self.segments, self.readable + self.writable) }
    }

    /// Number of pieces of the device-readable and of the device-writable part.
    #[inline(always)]
    pub(super) fn elements(&self) -> (usize, usize) {
        (self.readable, self.writable)
    }

    /// The buffer's id: index of its first descriptor (split) or buffer id (packed). Unique among those in flight.
    #[inline]
    pub fn id(&self) -> u16 {
        self.token.id
    }

    /// Lets go of the queue. The chain stays in flight until the token is given to
    /// [`complete`](super::DeviceQueue::complete) or [`push_back`](super::DeviceQueue::push_back).
    #[inline]
    pub fn into_token(self) -> Token {
        self.token
    }
}

impl core::fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Chain")
            .field("id", &self.token.id)
            .field("readable", &self.readable_bytes)
            .field("writable", &self.token.writable)
            .finish()
    }
}

impl Token {
    /// The same once more, of which only one may be used.
    #[inline(always)]
    pub(super) fn copy(&self) -> Self {
        let Self {
            id,
            position,
            writable,
        } = *self;
        Self {
            id,
            position,
            writable,
        }
    }

    /// The token of a buffer that was in flight when the queue was saved and that
    /// [`adopt`](super::DeviceQueue::adopt) has made known to the restored one.
    pub fn from_id(id: u16) -> Self {
        Self {
            id,
            position: 0,
            writable: u64::MAX,
        }
    }

    /// The buffer's id.
    #[inline]
    pub fn id(&self) -> u16 {
        self.id
    }
}
