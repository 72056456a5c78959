//! Views over the segments of a buffer.
//!
//! `unsafe` is needed here because a view promises that its segments are mapped.

use crate::{OutOfBounds, Reader, Segment, Writer, copy};

/// A view over segments that stay valid for `'a`: the readable or the writable part of a chain, or some of it. Offsets
/// count through the segments as if they were one, so nothing depends on how the driver framed a message (2.6.4).
///
/// The other end may change the memory at any time. Read what is checked once, into private memory.
///
/// A view may be [`read_only`](Self::read_only); writing to it is then out of bounds from the first byte on.
#[derive(Clone, Copy, Debug)]
pub struct Slices<'a> {
    segments: &'a [Segment],
    /// Bytes of the first segment that come before the view. No more than its length.
    skip: usize,
    /// Length of the view in bytes. No more than the segments have after `skip`.
    length: usize,
    writable: bool,
}

impl<'a> Slices<'a> {
    /// The view of all of `segments`.
    ///
    /// # Safety
    ///
    /// For `'a`, the memory of the segments is valid for reading (and for writing, unless the view is made
    /// [`read_only`](Self::read_only)), and no Rust reference to it exists except to atomics.
    #[inline]
    pub unsafe fn new(segments: &'a [Segment]) -> Self {
        let length = segments
            .iter()
            .fold(0, |sum: usize, segment| sum.saturating_add(segment.len()));
        Self {
            segments,
            skip: 0,
            length,
            writable: true,
        }
    }

    /// As [`new`](Self::new), where the sum of the lengths is known.
    ///
    /// # Safety
    ///
    /// As for [`new`](Self::new), and `length` is no more than the sum of the segments' lengths.
    #[inline(always)]
    pub unsafe fn with_length(segments: &'a [Segment], length: usize) -> Self {
        Self {
            segments,
            skip: 0,
            length,
            writable: true,
        }
    }

    /// The view of nothing.
    pub fn empty() -> Self {
        Self {
            segments: &[],
            skip: 0,
            length: 0,
            writable: true,
        }
    }

    /// The same view, but nothing can be written through it or through parts of it: "A device MUST NOT write to a
    /// device-readable buffer" (dev:split:the-virtqueue-descriptor-table:01), and the memory may not allow it.
    #[inline(always)]
    pub fn read_only(self) -> Self {
        Self {
            writable: false,
            ..self
        }
    }

    /// Length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.length
    }

    /// Whether it may be written through the view.
    #[inline]
    pub fn is_writable(&self) -> bool {
        self.writable
    }

    /// Bytes that can be written: all of the view, or none if it is read-only.
    #[inline(always)]
    pub(crate) fn room(&self) -> usize {
        if self.writable { self.length } else { 0 }
    }

    /// Whether the view has no bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// The pieces of memory in the view, without empty ones.
    #[inline]
    pub fn segments(&self) -> Segments<'a> {
        Segments(*self)
    }

    /// The segments as they were given, if the view starts and ends with one: what `preadv` and io_uring take as
    /// iovecs.
    pub fn whole(&self) -> Option<&'a [Segment]> {
        if self.skip != 0 {
            return None;
        }
        let mut length = 0_usize;
        for (count, segment) in self.segments.iter().enumerate() {
            if length >= self.length {
                return (length == self.length).then(|| self.segments.get(..count))?;
            }
            length = length.saturating_add(segment.len());
        }
        (length == self.length).then_some(self.segments)
    }

    /// The `length` bytes from `offset` on.
    pub fn part(&self, offset: usize, length: usize) -> Result<Slices<'a>, OutOfBounds> {
        check(offset, length, self.length)?;
        let mut part = *self;
        part.advance(offset);
        part.length = length;
        Ok(part)
    }

    /// The first `length` bytes, and the rest.
    pub fn split_at(&self, length: usize) -> Result<(Slices<'a>, Slices<'a>), OutOfBounds> {
        Ok((
            self.part(0, length)?,
            self.part(length, self.length.saturating_sub(length))?,
        ))
    }

    /// Fills `into` with the bytes from `offset` on.
    #[inline]
    pub fn read(&self, offset: usize, into: &mut [u8]) -> Result<(), OutOfBounds> {
        let (pointer, length) = (into.as_mut_ptr(), into.len());
        // SAFETY: the piece is valid for 'a; the pieces are together as long as `into`, which is private.
        self.visit(offset, length, |piece, done| unsafe {
            copy::read(piece.pointer(), pointer.add(done), piece.len())
        })
    }

    /// The `N` bytes from `offset` on.
    #[inline]
    pub fn read_array<const N: usize>(&self, offset: usize) -> Result<[u8; N], OutOfBounds> {
        let mut bytes = [0; N];
        self.read(offset, &mut bytes)?;
        Ok(bytes)
    }

    /// Writes `from` from `offset` on.
    #[inline]
    pub fn write(&self, offset: usize, from: &[u8]) -> Result<(), OutOfBounds> {
        check(offset, from.len(), self.room())?;
        // SAFETY: the piece is valid for 'a, also for writing; the pieces are together as long as `from`, which is
        // private.
        self.visit(offset, from.len(), |piece, done| unsafe {
            copy::write(from.as_ptr().add(done), piece.pointer(), piece.len())
        })
    }

    /// Writes `byte` to the `length` bytes from `offset` on.
    pub fn fill(&self, offset: usize, length: usize, byte: u8) -> Result<(), OutOfBounds> {
        check(offset, length, self.room())?;
        // SAFETY: the piece is valid for 'a, also for writing.
        self.visit(offset, length, |piece, _| unsafe {
            copy::fill(piece.pointer(), piece.len(), byte)
        })
    }

    /// Copies from the start of this view to the start of `other`, as much as one has and the other has room for, and
    /// says how much that was. Where the two share memory, the result is some mixture of old and new bytes.
    pub fn copy_to(&self, other: Slices<'_>) -> usize {
        let total = self.length.min(other.room());
        let (mut from, mut to) = (*self, other);
        let mut left = total;
        while left != 0 {
            let (Some(source), Some(target)) = (from.segments().next(), to.segments().next()) else {
                break;
            };
            let length = source.len().min(target.len());
            // SAFETY: both segments are valid for the lives of their views, the target also for writing, and `length`
            // is in both.
            unsafe { copy::copy(source.pointer(), target.pointer(), length) };
            from.advance(length);
            to.advance(length);
            left -= length;
        }
        total - left
    }

    /// A cursor that reads from the start.
    pub fn reader(self) -> Reader<'a> {
        Reader::new(self)
    }

    /// A cursor that writes from the start.
    pub fn writer(self) -> Writer<'a> {
        Writer::new(self)
    }

    /// Takes away the first `count` bytes, no more than there are.
    pub(crate) fn advance(&mut self, count: usize) {
        let mut count = count.min(self.length);
        self.length -= count;
        while let [first, rest @ ..] = self.segments {
            let here = first.len() - self.skip;
            if count < here {
                self.skip += count;
                return;
            }
            count -= here;
            self.segments = rest;
            self.skip = 0;
            if count == 0 {
                return;
            }
        }
    }

    /// Calls `visit` with each piece of the range and the number of bytes before it.
    #[inline(always)]
    fn visit(
        &self,
        offset: usize,
        length: usize,
        mut visit: impl FnMut(Segment, usize),
    ) -> Result<(), OutOfBounds> {
        match self.within_first(offset, length) {
            Some(segment) => {
                visit(segment, 0);
                Ok(())
            }
            None => self.visit_all(offset, length, &mut visit),
        }
    }

    /// The `length` bytes from `offset` on, if they are in the view's first segment, where most messages are.
    #[inline(always)]
    fn within_first(&self, offset: usize, length: usize) -> Option<Segment> {
        check(offset, length, self.length).ok()?;
        self.segments
            .first()?
            .part(self.skip.checked_add(offset)?, length)
    }

    /// As `visit`, for a range in any segments.
    fn visit_all(
        &self,
        offset: usize,
        length: usize,
        visit: &mut dyn FnMut(Segment, usize),
    ) -> Result<(), OutOfBounds> {
        let mut done = 0;
        for piece in self.part(offset, length)?.segments() {
            visit(piece, done);
            done += piece.len();
        }
        Ok(())
    }
}

/// Whether the range lies within `available` bytes.
#[inline(always)]
fn check(offset: usize, length: usize, available: usize) -> Result<(), OutOfBounds> {
    if offset > available || length > available - offset {
        return Err(OutOfBounds {
            offset,
            length,
            available,
        });
    }
    Ok(())
}

/// The pieces of memory in a view; see [`Slices::segments`].
#[derive(Clone, Debug)]
pub struct Segments<'a>(Slices<'a>);

impl Iterator for Segments<'_> {
    type Item = Segment;

    #[inline]
    fn next(&mut self) -> Option<Segment> {
        let view = &mut self.0;
        while view.length != 0 {
            let (first, rest) = view.segments.split_first()?;
            let length = (first.len() - view.skip).min(view.length);
            let segment = first.part(view.skip, length);
            view.segments = rest;
            view.skip = 0;
            view.length -= length;
            if length != 0 {
                return segment;
            }
        }
        None
    }
}

#[cfg(test)]
#[path = "slices_tests.rs"]
mod tests;
