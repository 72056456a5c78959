//! Frames of a tap interface of the host.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use ringwright_memory::Slices;
use rustix::io::Errno;

use super::{Backend, MAX_FRAME};
use crate::{Context, DeviceError, Interest, Source, Watch};

/// A tap interface. The host's end of it is set up by whoever owns it; the link of this end is always up.
#[derive(Debug)]
pub struct Tap {
    tap: OwnedFd,
    /// The frame in hand, in the first bytes.
    buffer: Vec<u8>,
    length: Option<usize>,
    watch: Watch,
}

impl Tap {
    /// Attaches to the tap interface `name`, which is made if there is none; `%d` in it is replaced by a number. Returns
    /// also the interface's name. Errors: see [`ringwright_sys::tap::open_tap`].
    pub fn open(name: &str) -> io::Result<(Self, String)> {
        let (tap, name) = ringwright_sys::tap::open_tap(name)?;
        Ok((Self::from_descriptor(tap)?, name))
    }

    /// Takes a descriptor that carries one frame, without anything before it, with each read and write: a tap opened by
    /// someone else, or a packet socket.
    pub fn from_descriptor(tap: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&tap, true)?;
        Ok(Self {
            tap,
            buffer: vec![0; MAX_FRAME],
            length: None,
            watch: Watch::new(Source(0)),
        })
    }
}

impl Backend for Tap {
    fn connected(&self) -> bool {
        true
    }

    fn frame(&mut self) -> Option<&[u8]> {
        if self.length.is_none() {
            self.length = match rustix::io::read(&self.tap, &mut *self.buffer) {
                Ok(length) => Some(length),
                Err(Errno::AGAIN | Errno::INTR) => None,
                Err(error) => {
                    tracing::debug!(%error, "reading a tap");
                    None
                }
            };
        }
        Some(&self.buffer[..self.length?])
    }

    fn consume(&mut self) {
        self.length = None;
    }

    fn send(&mut self, frame: Slices<'_>) -> bool {
        match frame.writev(&self.tap) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::debug!(%error, "writing a tap");
                true
            }
            Ok(_) => true,
        }
    }

    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError> {
        self.watch.set(context, self.tap.as_fd(), interest)
    }
}
