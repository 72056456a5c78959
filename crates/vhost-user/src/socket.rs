//! Messages over a Unix stream socket, with the file descriptors they carry.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ringwright_socket::{Error, Stream};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub use ringwright_socket::Stop;

use crate::message::{Header, MAX_DESCRIPTORS, MAX_PAYLOAD};

/// Why no message could be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The connection.
    #[error(transparent)]
    Stream(#[from] Error),
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

/// One end of a connection.
#[derive(Debug)]
pub struct Socket(Stream);

impl Socket {
    /// A connected Unix stream socket that is waited on for ever.
    pub fn new(stream: impl Into<OwnedFd>) -> Self {
        Self(Stream::new(stream).with_descriptors(MAX_DESCRIPTORS))
    }

    /// Ends waiting with [`Error::Stopped`] once `stop` is raised.
    pub fn with_stop(self, stop: Stop) -> Self {
        Self(self.0.with_stop(stop))
    }

    /// Ends waiting with [`Error::TimedOut`] after `timeout`, counted for each message.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    /// Waits for the next message. The form of the header is checked, the meaning is not.
    pub fn receive(&self) -> Result<Message, SocketError> {
        let deadline = self.0.deadline();
        let mut descriptors = Vec::new();
        let mut header = Header::new_zeroed();
        match self.0.fill(header.as_mut_bytes(), &mut descriptors, deadline)? {
            0 => return Err(Error::Closed.into()),
            found if found < size_of::<Header>() => {
                let expected = size_of::<Header>();
                return Err(Error::Truncated { expected, found }.into());
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
        let found = self.0.fill(&mut payload, &mut descriptors, deadline)?;
        if found < size {
            let expected = size_of::<Header>() + size;
            let found = size_of::<Header>() + found;
            return Err(Error::Truncated { expected, found }.into());
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
        Ok(self.0.send(&bytes, descriptors)?)
    }

    /// Whether a message, or the end of the connection, can be received without waiting longer than `timeout`.
    pub fn is_readable(&self, timeout: Duration) -> Result<bool, SocketError> {
        Ok(self.0.is_readable(timeout)?)
    }

    /// How long a wait for a message lasts at most.
    pub(crate) fn timeout(&self) -> Option<Duration> {
        self.0.timeout()
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
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

#[cfg(test)]
mod tests;
