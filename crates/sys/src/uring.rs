//! io_uring: many requests to a file outstanding at once, their data in shared memory.
//!
//! `unsafe` is needed here because the kernel reads and writes the data until a request is complete.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use ringwright_memory::{Held, Memory, Slices};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;

/// The most segments that one request takes (IOV_MAX of Linux).
const MOST: usize = 1024;

/// A ring whose requests go to one file. Each request has a tag, lower than the ring's depth, that no other outstanding one
/// has. Transfers that the kernel ends early are gone on with, so that a request is complete as a whole or fails.
///
/// Dropping the ring waits for what is outstanding.
pub struct Ring {
    uring: IoUring,
    slots: Box<[Slot]>,
    outstanding: usize,
    /// Entries that the kernel has not been told of.
    unsubmitted: usize,
}

/// What is behind a tag.
#[derive(Default)]
struct Slot {
    request: Option<Request>,
    /// What is left of the request's data.
    data: Held,
}

#[derive(Clone, Copy)]
enum Request {
    Read { offset: u64 },
    Write { offset: u64, stable: bool },
    Sync,
    Allocate { mode: i32, offset: u64, length: u64 },
}

impl Ring {
    /// A ring for `depth` requests to `file`, which stays open as long as the ring is there. Errors: those of the operating
    /// system, which may not have io_uring (`Unsupported`), or not allow it (`PermissionDenied`).
    pub fn new(depth: u16, file: BorrowedFd<'_>) -> io::Result<Self> {
        let entries = u32::from(depth.max(1));
        // Completions need not interrupt this thread, which looks for them before it sleeps. Linux before 5.19 cannot know.
        let built = IoUring::builder().setup_coop_taskrun().build(entries);
        let uring = match built {
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => IoUring::new(entries)?,
            built => built?,
        };
        uring.submitter().register_files(&[file.as_raw_fd()])?;
        Ok(Self {
            uring,
            slots: (0..depth).map(|_| Slot::default()).collect(),
            outstanding: 0,
            unsubmitted: 0,
        })
    }

    /// Fills `into` from byte `offset` on. `memory` is what the view is in, as for the other requests with data. Errors: a
    /// tag in use or too high, a view elsewhere; nothing is done then.
    pub fn read(&mut self, tag: u16, offset: u64, into: Slices<'_>, memory: &Arc<Memory>) -> io::Result<()> {
        if !into.is_writable() {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.start(tag, Request::Read { offset }, Some((into, memory)))
    }

    /// Writes `from` from byte `offset` on; `stable` as if [`Ring::sync`] followed.
    pub fn write(
        &mut self,
        tag: u16,
        offset: u64,
        from: Slices<'_>,
        stable: bool,
        memory: &Arc<Memory>,
    ) -> io::Result<()> {
        self.start(tag, Request::Write { offset, stable }, Some((from, memory)))
    }

    /// Makes the data stable that were written (`fdatasync`).
    pub fn sync(&mut self, tag: u16) -> io::Result<()> {
        self.start(tag, Request::Sync, None)
    }

    /// Deallocates or zeroes the range (`fallocate`).
    pub fn allocate(&mut self, tag: u16, mode: FallocateFlags, offset: u64, length: u64) -> io::Result<()> {
        let mode = mode.bits().cast_signed();
        self.start(tag, Request::Allocate { mode, offset, length }, None)
    }

    /// Tells the kernel of the requests since the last call.
    pub fn submit(&mut self) -> io::Result<()> {
        if self.unsubmitted == 0 {
            return Ok(());
        }
        loop {
            match self.uring.submit() {
                Ok(count) => {
                    self.unsubmitted = self.unsubmitted.saturating_sub(count);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The tag and the result of a request that is complete. What came short is submitted again when there is nothing more.
    pub fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        loop {
            let Some(entry) = self.uring.completion().next() else {
                // It stays unsubmitted after an error, until the next call.
                let _ = self.submit();
                return None;
            };
            let tag = entry.user_data() as u16;
            if let Some(result) = self.settle(tag, entry.result()) {
                return Some((tag, result));
            }
        }
    }

    /// Submits, and waits until something is complete. Returns at once if nothing is outstanding.
    pub fn wait(&mut self) -> io::Result<()> {
        if self.outstanding == 0 {
            return Ok(());
        }
        match self.uring.submit_and_wait(1) {
            Ok(count) => {
                self.unsubmitted = self.unsubmitted.saturating_sub(count);
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn start(
        &mut self,
        tag: u16,
        request: Request,
        data: Option<(Slices<'_>, &Arc<Memory>)>,
    ) -> io::Result<()> {
        let slot = self.slots.get_mut(usize::from(tag));
        let slot = slot
            .filter(|slot| slot.request.is_none())
            .ok_or(io::ErrorKind::InvalidInput)?;
        if let Some((view, memory)) = data {
            slot.data
                .hold(view, memory)
                .map_err(|_| io::ErrorKind::InvalidInput)?;
        }
        slot.request = Some(request);
        match self.push(tag, squeue::Flags::empty()) {
            Ok(()) => {
                self.outstanding += 1;
                Ok(())
            }
            Err(error) => {
                self.end(tag);
                Err(error)
            }
        }
    }

    /// Queues what is left of a request.
    fn push(&mut self, tag: u16, flags: squeue::Flags) -> io::Result<()> {
        let Some(Slot {
            request: Some(request),
            data,
        }) = self.slots.get(usize::from(tag))
        else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let entry = entry(*request, data).user_data(tag.into()).flags(flags);
        // SAFETY: the segments, and the memory that they lie in, are kept by the slot until the request is complete; nothing
        // changes them before, because a tag in use is refused. `drop` waits for completion, or leaks the slots.
        if unsafe { self.uring.submission().push(&entry) }.is_err() {
            // Not so with an entry for each tag, unless the kernel has refused to take some.
            return Err(io::ErrorKind::ResourceBusy.into());
        }
        self.unsubmitted += 1;
        Ok(())
    }

    /// Takes in what the kernel says of a request, and goes on with it if something is left.
    fn settle(&mut self, tag: u16, result: i32) -> Option<io::Result<()>> {
        let slot = self.slots.get_mut(usize::from(tag))?;
        let request = slot.request.as_mut()?;
        let outcome = match usize::try_from(result) {
            Err(_) => match Errno::from_raw_os_error(result.saturating_neg()) {
                Errno::INTR | Errno::AGAIN => None,
                error => Some(Err(error.into())),
            },
            Ok(count) => {
                slot.data.advance(count);
                let left = !slot.data.slices().is_empty();
                match request {
                    Request::Read { .. } if left && count == 0 => {
                        Some(Err(io::ErrorKind::UnexpectedEof.into()))
                    }
                    Request::Write { .. } if left && count == 0 => Some(Err(io::ErrorKind::WriteZero.into())),
                    Request::Read { offset } | Request::Write { offset, .. } if left => {
                        *offset += count as u64;
                        None
                    }
                    _ => Some(Ok(())),
                }
            }
        };
        // The kernel may wait for the rest, on a thread of its own.
        let outcome = outcome.or_else(|| self.push(tag, squeue::Flags::ASYNC).err().map(Err))?;
        self.end(tag);
        self.outstanding -= 1;
        Some(outcome)
    }

    fn end(&mut self, tag: u16) {
        if let Some(slot) = self.slots.get_mut(usize::from(tag)) {
            slot.request = None;
            slot.data.release();
        }
    }
}

/// Readable when there is something for [`Ring::completed`].
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: the descriptor is the ring's own, and open as long as the ring is borrowed.
        unsafe { BorrowedFd::borrow_raw(self.uring.as_raw_fd()) }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.outstanding != 0 {
            if self.wait().is_err() {
                // The kernel may still write: what it writes to must not be given back.
                std::mem::forget(std::mem::take(&mut self.slots));
                return;
            }
            while self.completed().is_some() {}
        }
    }
}

fn entry(request: Request, data: &Held) -> squeue::Entry {
    const FILE: types::Fixed = types::Fixed(0);
    let segments = data.slices().whole().unwrap_or_default();
    let vectors = segments.as_ptr().cast();
    let count = segments.len().min(MOST) as u32;
    match request {
        Request::Read { offset } => opcode::Readv::new(FILE, vectors, count).offset(offset).build(),
        Request::Write { offset, stable } => {
            let flags = if stable { libc::RWF_DSYNC } else { 0 };
            opcode::Writev::new(FILE, vectors, count)
                .offset(offset)
                .rw_flags(flags)
                .build()
        }
        Request::Sync => opcode::Fsync::new(FILE)
            .flags(types::FsyncFlags::DATASYNC)
            .build(),
        Request::Allocate { mode, offset, length } => opcode::Fallocate::new(FILE, length)
            .offset(offset)
            .mode(mode)
            .build(),
    }
}

#[cfg(test)]
#[path = "uring_tests.rs"]
mod tests;
