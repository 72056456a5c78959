//! Messages over a Unix stream socket, with the file descriptors they carry.
//!
//! The socket is never blocked on without also watching for [`Stop`], and every descriptor that arrives is owned from
//! the first moment, so that no error path leaks one.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use crate::message::{Header, MAX_DESCRIPTORS, MAX_PAYLOAD};

/// Why no message could be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The other end is gone, between two messages.
    #[error("the other end closed the connection")]
    Closed,
    /// The other end is gone, in the midst of a message.
    #[error("the connection ended after {found} of {expected} bytes of a message")]
    Truncated {
        /// Bytes the message has.
        expected: usize,
        /// Bytes that came.
        found: usize,
    },
    /// [`Stop::raise`] was called.
    #[error("told to stop")]
    Stopped,
    /// Nothing came in time.
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    /// The header's version is not the one there is.
    #[error("message flags {found:#x} have version {}, expected 1", found & Header::VERSION_MASK)]
    Version {
        /// The header's flags.
        found: u32,
    },
    /// The header announces more than any message has.
    #[error("request {request} announces a payload of {size} bytes, at most {MAX_PAYLOAD} are allowed")]
    TooLarge {
        /// Number of the request.
        request: u32,
        /// Size announced.
        size: u32,
    },
    /// More file descriptors than any message has.
    #[error("a message carries more than {MAX_DESCRIPTORS} file descriptors")]
    TooManyDescriptors,
    /// The system refused.
    #[error("{operation} on the vhost-user socket: {source}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's reason.
        source: Errno,
    },
}

/// One message: header, payload, file descriptors.
#[derive(Debug)]
pub struct Message {
    /// The header; its size is that of the payload.
    pub header: Header,
    /// The payload.
    pub payload: Vec<u8>,
    /// The file descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Tells whoever serves or waits on a socket to end. Clones are the same switch, and it stays raised.
#[derive(Clone, Debug)]
pub struct Stop(Arc<OwnedFd>);

impl Stop {
    /// A switch that is not raised. Fails if the system has no descriptor left.
    pub fn new() -> Result<Self, SocketError> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        eventfd(0, flags)
            .map(|fd| Self(Arc::new(fd)))
            .map_err(os("eventfd"))
    }

    /// Ends what watches this switch, now and from now on.
    pub fn raise(&self) {
        // The only failure is a counter that is full, hence raised already.
        let _ = rustix::io::write(&*self.0, &1u64.to_ne_bytes());
    }

    /// Whether it is raised.
    pub fn is_raised(&self) -> bool {
        readable(self.0.as_fd(), Some(Duration::ZERO)).unwrap_or(true)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Socket {
    stream: OwnedFd,
    stop: Option<Stop>,
    timeout: Option<Duration>,
}

impl Socket {
    /// A connected Unix stream socket that is waited on for ever.
    pub fn new(stream: impl Into<OwnedFd>) -> Self {
        Self {
            stream: stream.into(),
            stop: None,
            timeout: None,
        }
    }

    /// Ends waiting with [`SocketError::Stopped`] once `stop` is raised.
    pub fn with_stop(self, stop: Stop) -> Self {
        Self {
            stop: Some(stop),
            ..self
        }
    }

    /// Ends waiting with [`SocketError::TimedOut`] after `timeout`, counted for each message.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            timeout: Some(timeout),
            ..self
        }
    }

    /// Waits for the next message. The form of the header is checked, the meaning is not.
    pub fn receive(&self) -> Result<Message, SocketError> {
        let deadline = self.deadline();
        let mut descriptors = Vec::new();
        let mut header = Header::new_zeroed();
        match self.fill(header.as_mut_bytes(), &mut descriptors, deadline)? {
            0 => return Err(SocketError::Closed),
            found if found < size_of::<Header>() => {
                return Err(SocketError::Truncated {
                    expected: size_of::<Header>(),
                    found,
                });
            }
            _ => {}
        }
        if header.flags & Header::VERSION_MASK != Header::VERSION {
            return Err(SocketError::Version { found: header.flags });
        }
        let size = header.size as usize;
        if size > MAX_PAYLOAD {
            return Err(SocketError::TooLarge {
                request: header.request,
                size: header.size,
            });
        }
        let mut payload = vec![0; size];
        let found = self.fill(&mut payload, &mut descriptors, deadline)?;
        if found < size {
            let expected = size_of::<Header>() + size;
            return Err(SocketError::Truncated {
                expected,
                found: size_of::<Header>() + found,
            });
        }
        Ok(Message {
            header,
            payload,
            descriptors,
        })
    }

    /// Sends a message: the payload given in parts, the descriptors with its first byte.
    pub fn send(
        &self,
        request: u32,
        flags: u32,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let size = payload.iter().map(|part| part.len()).sum::<usize>();
        let header = Header {
            request,
            flags: flags | Header::VERSION,
            size: size as u32,
        };
        let mut bytes = Vec::with_capacity(size_of::<Header>() + size);
        bytes.extend_from_slice(header.as_bytes());
        payload.iter().for_each(|part| bytes.extend_from_slice(part));
        let deadline = self.deadline();
        let mut descriptors = descriptors;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match self.send_some(rest, descriptors) {
                Ok(sent) => {
                    rest = &rest[sent.min(rest.len())..];
                    descriptors = &[];
                }
                Err(Errno::AGAIN) => self.wait(PollFlags::OUT, deadline)?,
                Err(Errno::INTR) => {}
                Err(Errno::PIPE | Errno::CONNRESET) => return Err(SocketError::Closed),
                Err(source) => {
                    return Err(SocketError::Os {
                        operation: "send",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Whether a message, or the end of the connection, can be received without waiting longer than `timeout`.
    pub fn is_readable(&self, timeout: Duration) -> Result<bool, SocketError> {
        match self.wait(PollFlags::IN, Some(Instant::now() + timeout)) {
            Err(SocketError::TimedOut(_)) => Ok(false),
            outcome => outcome.map(|()| true),
        }
    }

    /// Reads until `into` is full or the stream ends; returns the bytes read.
    fn fill(
        &self,
        into: &mut [u8],
        descriptors: &mut Vec<OwnedFd>,
        deadline: Option<Instant>,
    ) -> Result<usize, SocketError> {
        let mut found = 0;
        while let Some(rest) = into.get_mut(found..).filter(|rest| !rest.is_empty()) {
            match self.receive_some(rest, descriptors) {
                Ok(0) => break,
                Ok(more) => found += more,
                Err(SocketError::Os {
                    source: Errno::AGAIN, ..
                }) => self.wait(PollFlags::IN, deadline)?,
                Err(SocketError::Os {
                    source: Errno::INTR, ..
                }) => {}
                Err(SocketError::Os {
                    source: Errno::CONNRESET,
                    ..
                }) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(found)
    }

    fn receive_some(&self, into: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> Result<usize, SocketError> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.stream, &mut [IoSliceMut::new(into)], &mut control, flags)
            .map_err(os("receive"))?;
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > MAX_DESCRIPTORS {
            return Err(SocketError::TooManyDescriptors);
        }
        Ok(received.bytes)
    }

    fn send_some(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<usize, Errno> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::INVAL);
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        sendmsg(&self.stream, &[IoSlice::new(bytes)], &mut control, flags)
    }

    /// The time-out, in the form that `poll` takes.
    pub(crate) fn timespec(&self) -> Option<Timespec> {
        timespec(self.timeout)
    }

    fn deadline(&self) -> Option<Instant> {
        self.timeout.map(|timeout| Instant::now() + timeout)
    }

    /// Waits until the socket is ready for `interest`, which includes that the other end is gone.
    fn wait(&self, interest: PollFlags, deadline: Option<Instant>) -> Result<(), SocketError> {
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let mut ready = Vec::with_capacity(2);
            ready.push(PollFd::new(&self.stream, interest));
            ready.extend(self.stop.as_ref().map(|stop| PollFd::new(stop, PollFlags::IN)));
            match poll(&mut ready, timespec(left).as_ref()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(source) => {
                    return Err(SocketError::Os {
                        operation: "poll",
                        source,
                    });
                }
            }
            if ready.get(1).is_some_and(|stop| !stop.revents().is_empty()) {
                return Err(SocketError::Stopped);
            }
            if ready.first().is_some_and(|stream| !stream.revents().is_empty()) {
                return Ok(());
            }
            if left.is_some_and(|left| left.is_zero()) {
                return Err(SocketError::TimedOut(self.timeout.unwrap_or_default()));
            }
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

impl Message {
    /// The payload as a structure, if it is exactly as long.
    pub fn read<T: FromBytes>(&self) -> Option<T> {
        T::read_from_bytes(&self.payload).ok()
    }

    /// The structure at the start of the payload, and what follows it.
    pub fn read_prefix<T: FromBytes>(&self) -> Option<(T, &[u8])> {
        T::read_from_prefix(&self.payload).ok()
    }
}

/// Whether `fd` becomes readable, or its other end is gone, within `timeout`; for ever without one.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> Result<bool, SocketError> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [PollFd::new(&fd, PollFlags::IN)], timespec(left).as_ref()) {
            Ok(count) => return Ok(count > 0),
            Err(Errno::INTR) => {}
            Err(source) => {
                return Err(SocketError::Os {
                    operation: "poll",
                    source,
                });
            }
        }
    }
}

fn os(operation: &'static str) -> impl Fn(Errno) -> SocketError {
    move |source| SocketError::Os { operation, source }
}

pub(crate) fn timespec(duration: Option<Duration>) -> Option<Timespec> {
    duration.map(|duration| Timespec {
        tv_sec: duration.as_secs().min(i32::MAX as u64) as _,
        tv_nsec: duration.subsec_nanos() as _,
    })
}

#[cfg(test)]
mod tests;
