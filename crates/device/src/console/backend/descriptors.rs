//! A pair of file descriptors, such as standard input and output.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use ringwright_memory::Slices;
use rustix::fs::{FileType, Mode, OFlags, fstat, open};

use super::Backend;
use crate::{Context, DeviceError, Interest, Source, Watch};

/// Input from one descriptor, output to another.
#[derive(Debug)]
pub struct Descriptors {
    input: OwnedFd,
    output: OwnedFd,
    watch_input: Watch,
    watch_output: Watch,
}

impl Descriptors {
    /// Takes two descriptors: terminals, pipes, sockets, files. They are used without blocking; those of a terminal or a
    /// pipe are opened anew for that, because others who share them, such as the user's shell, would be affected.
    pub fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        Ok(Self {
            input: non_blocking(input, OFlags::RDONLY)?,
            output: non_blocking(output, OFlags::WRONLY)?,
            watch_input: Watch::new(Source(0)),
            watch_output: Watch::new(Source(0)),
        })
    }

    /// Standard input and output of this process.
    pub fn stdio() -> io::Result<Self> {
        Self::new(
            io::stdin().as_fd().try_clone_to_owned()?,
            io::stdout().as_fd().try_clone_to_owned()?,
        )
    }
}

impl Backend for Descriptors {
    fn read(&mut self, into: Slices<'_>) -> io::Result<usize> {
        into.readv(&self.input)
    }

    fn write(&mut self, from: Slices<'_>) -> io::Result<usize> {
        from.writev(&self.output)
    }

    fn put(&mut self, character: u8) {
        let _ = rustix::io::write(&self.output, &[character]);
    }

    fn report_as(&mut self, source: Source) {
        (self.watch_input, self.watch_output) = (Watch::new(source), Watch::new(source));
    }

    fn watch(&mut self, context: &mut Context, interest: Option<Interest>) -> Result<(), DeviceError> {
        let read = interest.filter(|interest| *interest != Interest::Write);
        let write = interest.filter(|interest| *interest != Interest::Read);
        self.watch_input
            .set(context, self.input.as_fd(), read.map(|_| Interest::Read))?;
        self.watch_output
            .set(context, self.output.as_fd(), write.map(|_| Interest::Write))
    }
}

fn non_blocking(descriptor: OwnedFd, access: OFlags) -> io::Result<OwnedFd> {
    let kind = FileType::from_raw_mode(fstat(&descriptor)?.st_mode);
    if matches!(kind, FileType::CharacterDevice | FileType::Fifo) {
        let path = format!("/proc/self/fd/{}", descriptor.as_raw_fd());
        let flags = access | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        if let Ok(own) = open(path, flags, Mode::empty()) {
            return Ok(own);
        }
    }
    if kind != FileType::RegularFile {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
    }
    Ok(descriptor)
}
