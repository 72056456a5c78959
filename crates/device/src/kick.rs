//! Available buffer notifications, as they arrive at a thread.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::FileType;
use rustix::io::Errno;

/// A descriptor that becomes readable when a driver has made buffers available.
///
/// It is watched edge-triggered. An eventfd reports every write as an edge, so it is never read: that saves a system call
/// per notification. What can fill up (a socket, a pipe) is emptied.
#[derive(Debug)]
pub(crate) struct Kick {
    descriptor: OwnedFd,
    fills: bool,
}

impl Kick {
    /// Takes the other end's descriptor.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(&descriptor)?.st_mode);
        let fills = matches!(kind, FileType::Fifo | FileType::Socket);
        if fills {
            rustix::io::ioctl_fionbio(&descriptor, true)?;
        }
        Ok(Self { descriptor, fills })
    }

    /// One of our own, for those who call [`Kick::ring`].
    pub fn eventfd() -> io::Result<Self> {
        Self::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?)
    }

    /// Makes it readable.
    pub fn ring(&self) {
        // An eventfd that cannot take another 1 is readable already.
        let _ = rustix::io::write(&self.descriptor, &1u64.to_ne_bytes());
    }

    /// To be called when it was found readable.
    pub fn drain(&self) {
        if !self.fills {
            return;
        }
        let mut sink = [0; 256];
        loop {
            match rustix::io::read(&self.descriptor, &mut sink) {
                Ok(length) if length == sink.len() => {}
                Err(Errno::INTR) => {}
                _ => return,
            }
        }
    }
}

impl AsFd for Kick {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
