//! One end of a connection.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::{Error, Stop, os, wait};

/// The most file descriptors that a stream takes or sends with one message.
pub const MOST_DESCRIPTORS: usize = 32;

/// One end of a connection: bytes in order, with file descriptors among them.
#[derive(Debug)]
pub struct Stream {
    stream: OwnedFd,
    stop: Option<Stop>,
    timeout: Option<Duration>,
    descriptors: usize,
}

impl Stream {
    /// A connected Unix stream socket that is waited on for ever, and takes [`MOST_DESCRIPTORS`] with a message.
    pub fn new(stream: impl Into<OwnedFd>) -> Self {
        Self {
            stream: stream.into(),
            stop: None,
            timeout: None,
            descriptors: MOST_DESCRIPTORS,
        }
    }

    /// Ends waiting with [`Error::Stopped`] once `stop` is raised.
    pub fn with_stop(self, stop: Stop) -> Self {
        Self {
            stop: Some(stop),
            ..self
        }
    }

    /// Ends waiting with [`Error::TimedOut`] after `timeout`, counted for each message.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Takes no more than `most` file descriptors with one message, and never more than [`MOST_DESCRIPTORS`].
    pub fn with_descriptors(self, most: usize) -> Self {
        Self {
            descriptors: most.min(MOST_DESCRIPTORS),
            ..self
        }
    }

    /// How long a wait for a message lasts at most.
    pub fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// When waiting for a message that is begun now ends.
    pub fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Reads until `into` is full or the stream ends, and returns the number of bytes read. The descriptors that came
    /// with them are added to `descriptors`, which belong to one message: more than allowed are an error.
    pub fn fill(
        &self,
        into: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: Option<Instant>,
    ) -> Result<usize, Error> {
        let mut found = 0;
        while let Some(rest) = into.get_mut(found..).filter(|rest| !rest.is_empty()) {
            match self.receive_some(rest, descriptors) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(Error::Os {
                    source: Errno::AGAIN, ..
                }) => self.wait(PollFlags::IN, deadline)?,
                Err(Error::Os {
                    source: Errno::INTR, ..
                }) => {}
                Err(Error::Os {
                    source: Errno::CONNRESET,
                    ..
                }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    /// Sends all of `bytes`, with `descriptors` at the first of them.
    pub fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Error> {
        let deadline = self.deadline();
        let mut descriptors = descriptors;
        let mut rest = bytes;
        while !rest.is_empty() {
            match self.send_some(rest, descriptors) {
                Ok(sent) => {
                    rest = &rest[sent.min(rest.len())..];
                    descriptors = &[];
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(Error::Closed),
                Err(source) => return Err(os("send")(source)),
            }
        }
        Ok(())
    }

    /// Whether something, or the end of the connection, can be received without waiting longer than `timeout`.
    pub fn is_readable(&self, timeout: Duration) -> Result<bool, Error> {
        match self.wait(PollFlags::IN, Some(Instant::now() + timeout)) {
            Err(Error::TimedOut(_)) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    fn receive_some(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, Error> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.stream, &mut [IoSliceMut::new(into)], &mut control, flags)
            .map_err(os("receive"))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > self.descriptors {
            return Err(Error::TooManyDescriptors {
                most: self.descriptors,
            });
        }
        Ok(received.bytes)
    }

    fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::INVAL);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags)
    }

    /// Waits until the socket is ready for `interest`, which includes that the other end is gone.
    fn wait(&self, interest: PollFlags, deadline: Option<Instant>) -> Result<(), Error> {
        let mut polled = Vec::with_capacity(2);
        polled.push(PollFd::new(&self.stream, interest));
        polled.extend(self.stop.as_ref().map(|stop| PollFd::new(stop, PollFlags::IN)));
        wait(&mut polled, deadline)?;
        if polled.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
            return Err(Error::Stopped);
        }
        match polled.first().is_some_and(|stream| !stream.revents().is_empty()) {
            true => Ok(()),
            false => Err(Error::TimedOut(self.timeout.unwrap_or_default())),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
