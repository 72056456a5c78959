//! File and socket transfers straight from and into shared memory.
//!
//! `unsafe` is needed here for the system calls, which take raw memory: wrappers that take `&mut [u8]` would claim
//! that no one else writes it.

use crate::{Segment, Slices};
use core::mem::MaybeUninit;
use libc::{c_int, iovec};
use std::io;
use std::os::fd::{AsFd, AsRawFd};

// `Segment` is passed where an iovec is asked for.
const _: () =
    assert!(size_of::<Segment>() == size_of::<iovec>() && align_of::<Segment>() == align_of::<iovec>());

/// The most segments that one system call takes (IOV_MAX of Linux).
const MOST: usize = 1024;

impl Slices<'_> {
    /// Fills the view from `file` at byte `offset`, as far as one `preadv` goes, and says how far that was: 0 at the
    /// end of the file, less than the view for a view of more than 1024 segments. Fails with `PermissionDenied` for a
    /// read-only view.
    pub fn pread(&self, file: impl AsFd, offset: u64) -> io::Result<usize> {
        let (file, offset) = (file.as_fd().as_raw_fd(), position(offset)?);
        // SAFETY: the view's memory is valid, also for writing, and the kernel writes only that.
        self.transfer_in(|vectors, count| unsafe { libc::preadv64(file, vectors, count, offset) })
    }

    /// As [`pread`](Self::pread), but only as far as it goes without waiting, which is as far as the page cache has the
    /// data. Fails with `WouldBlock` if it has nothing, with `Unsupported` if the file cannot tell.
    pub fn pread_nowait(&self, file: impl AsFd, offset: u64) -> io::Result<usize> {
        let (file, offset) = (file.as_fd().as_raw_fd(), position(offset)?);
        // SAFETY: the view's memory is valid, also for writing, and the kernel writes only that.
        self.transfer_in(|vectors, count| unsafe {
            libc::preadv64v2(file, vectors, count, offset, libc::RWF_NOWAIT)
        })
    }

    /// Writes the view to `file` at byte `offset`, as far as one `pwritev` goes, and says how far that was.
    pub fn pwrite(&self, file: impl AsFd, offset: u64) -> io::Result<usize> {
        let (file, offset) = (file.as_fd().as_raw_fd(), position(offset)?);
        // SAFETY: the view's memory is valid, and the kernel only reads it.
        self.transfer(|vectors, count| unsafe { libc::pwritev64(file, vectors, count, offset) })
    }

    /// Fills the view from `file`, as far as one `readv` goes, and says how far that was. A packet of a datagram
    /// socket or a tap is cut where the view, or its 1024th segment, ends. Fails with `PermissionDenied` for a
    /// read-only view.
    pub fn readv(&self, file: impl AsFd) -> io::Result<usize> {
        let file = file.as_fd().as_raw_fd();
        // SAFETY: the view's memory is valid, also for writing, and the kernel writes only that.
        self.transfer_in(|vectors, count| unsafe { libc::readv(file, vectors, count) })
    }

    /// Writes the view to `file`, as far as one `writev` goes, and says how far that was.
    pub fn writev(&self, file: impl AsFd) -> io::Result<usize> {
        let file = file.as_fd().as_raw_fd();
        // SAFETY: the view's memory is valid, and the kernel only reads it.
        self.transfer(|vectors, count| unsafe { libc::writev(file, vectors, count) })
    }

    /// The same with `before` in front of it. Fails with `InvalidInput` for a view of more than 1023 segments, so that a
    /// packet is never cut.
    pub fn writev_behind(&self, before: &[u8], file: impl AsFd) -> io::Result<usize> {
        let file = file.as_fd().as_raw_fd();
        let mut vectors = [const { MaybeUninit::<Segment>::uninit() }; MOST];
        // SAFETY: `before` is valid for reading until the call is over, and is only read.
        let first = unsafe { Segment::new(before.as_ptr().cast_mut(), before.len()) };
        let mut count = 0;
        for segment in core::iter::once(first).chain(self.segments()) {
            vectors
                .get_mut(count)
                .ok_or(io::ErrorKind::InvalidInput)?
                .write(segment);
            count += 1;
        }
        // SAFETY: the first `count` vectors are written, and their memory is valid; the kernel only reads it.
        match unsafe { libc::writev(file, vectors.as_ptr().cast(), count as c_int) } {
            -1 => Err(io::Error::last_os_error()),
            count => Ok(count as usize),
        }
    }

    /// Fills all of the view from `file` at byte `offset`. Fails with `UnexpectedEof` if the file ends before, with
    /// the view filled up to there.
    pub fn pread_exact_at(&self, file: impl AsFd, offset: u64) -> io::Result<()> {
        let file = file.as_fd();
        self.repeat(offset, io::ErrorKind::UnexpectedEof, |rest, offset| {
            rest.pread(file, offset)
        })
    }

    /// Writes all of the view to `file` at byte `offset`.
    pub fn pwrite_all_at(&self, file: impl AsFd, offset: u64) -> io::Result<()> {
        let file = file.as_fd();
        self.repeat(offset, io::ErrorKind::WriteZero, |rest, offset| {
            rest.pwrite(file, offset)
        })
    }

    /// Moves on after short transfers until the view is done or a transfer gets nowhere, which is `stuck`.
    fn repeat(
        &self,
        mut offset: u64,
        stuck: io::ErrorKind,
        transfer: impl Fn(&Slices<'_>, u64) -> io::Result<usize>,
    ) -> io::Result<()> {
        let mut rest = *self;
        while !rest.is_empty() {
            match transfer(&rest, offset) {
                Ok(0) => return Err(stuck.into()),
                Ok(count) => {
                    rest.advance(count);
                    offset = offset
                        .checked_add(count as u64)
                        .ok_or(io::ErrorKind::InvalidInput)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// As [`transfer`](Self::transfer), for a call that writes the view's memory.
    fn transfer_in(&self, call: impl FnOnce(*const iovec, c_int) -> isize) -> io::Result<usize> {
        if self.room() < self.len() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.transfer(call)
    }

    /// Calls `call` with the view as iovecs.
    fn transfer(&self, call: impl FnOnce(*const iovec, c_int) -> isize) -> io::Result<usize> {
        let result = match self.whole() {
            Some(segments) => call(segments.as_ptr().cast(), segments.len().min(MOST) as c_int),
            None => self.with_trimmed(call),
        };
        match result {
            -1 => Err(io::Error::last_os_error()),
            count => Ok(count as usize),
        }
    }

    /// Calls `call` with iovecs of the view that end where the view does. A function of its own for its stack frame.
    #[inline(never)]
    fn with_trimmed(&self, call: impl FnOnce(*const iovec, c_int) -> isize) -> isize {
        let mut vectors = [const { MaybeUninit::<Segment>::uninit() }; MOST];
        let mut count = 0;
        for (slot, segment) in vectors.iter_mut().zip(self.segments()) {
            slot.write(segment);
            count += 1;
        }
        call(vectors.as_ptr().cast(), count)
    }
}

/// `offset` as the system takes it.
fn position(offset: u64) -> io::Result<i64> {
    i64::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput.into())
}

#[cfg(test)]
#[path = "io_tests.rs"]
mod tests;
