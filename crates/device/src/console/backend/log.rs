//! A file that collects the output; there is no input.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use ringwright_memory::Slices;
use rustix::fs::{Mode, OFlags, open};

use super::Backend;
use crate::{Context, DeviceError, Interest, Source};

/// Appends the output to a file.
#[derive(Debug)]
pub struct Log(OwnedFd);

impl Log {
    /// Opens the file, and creates it (for its owner only) if there is none.
    pub fn append(path: impl AsRef<Path>) -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE | OFlags::NONBLOCK | OFlags::CLOEXEC;
        Ok(Self(open(path.as_ref(), flags, Mode::RUSR | Mode::WUSR)?))
    }
}

impl Backend for Log {
    fn read(&mut self, _into: Slices<'_>) -> io::Result<usize> {
        Ok(0)
    }

    fn write(&mut self, from: Slices<'_>) -> io::Result<usize> {
        match from.writev(&self.0) {
            // A pipe that is full loses output rather than holding up the driver for the sake of a log.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(from.len()),
            outcome => outcome,
        }
    }

    fn put(&mut self, character: u8) {
        let _ = rustix::io::write(&self.0, &[character]);
    }

    fn report_as(&mut self, _source: Source) {}

    fn watch(&mut self, _context: &mut Context, _interest: Option<Interest>) -> Result<(), DeviceError> {
        Ok(())
    }
}
