//! Messages over a Unix stream socket, with the file descriptors they carry.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use ringwright_socket::{Error, Stream};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

pub use ringwright_socket::Stop;

use crate::message::{Command, Header, MAX_DESCRIPTORS, MAX_PAYLOAD};

/// Why no message could be received or sent.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The connection.
    #[error(transparent)]
    Stream(#[from] Error),
    /// The header announces less than a header, or more than any message has.
    #[error("command {command} announces {size} bytes, a message has {} to {}", Header::SIZE, Header::SIZE + MAX_PAYLOAD)]
    Size {
        /// Number of the command.
        command: u16,
        /// Size announced.
        size: u32,
    },
    /// The message says that it is neither a command nor a reply.
    #[error("message flags {found:#x} are neither those of a command nor of a reply")]
    Type {
        /// The header's flags.
        found: u32,
    },
}

/// One message: header, payload, file descriptors.
#[derive(Debug)]
pub struct Message {
    /// The header.
    pub header: Header,
    /// The payload.
    pub payload: Vec<u8>,
    /// The file descriptors that came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// One end of a connection. Messages may be sent from several threads at a time; one thread receives.
#[derive(Debug)]
pub struct Socket {
    stream: Stream,
    sending: std::sync::Mutex<()>,
}

impl Socket {
    /// A connected Unix stream socket that is waited on for ever.
    pub fn new(stream: impl Into<OwnedFd>) -> Self {
        Self {
            stream: Stream::new(stream).with_descriptors(MAX_DESCRIPTORS),
            sending: Default::default(),
        }
    }

    /// Ends waiting with [`Error::Stopped`] once `stop` is raised.
    pub fn with_stop(self, stop: Stop) -> Self {
        Self {
            stream: self.stream.with_stop(stop),
            ..self
        }
    }

    /// Ends waiting with [`Error::TimedOut`] after `timeout`, counted for each message.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self {
            stream: self.stream.with_timeout(timeout),
            ..self
        }
    }

    /// Waits for the next message. The form of the header is checked, the meaning is not.
    pub fn receive(&self) -> Result<Message, SocketError> {
        let deadline = self.stream.deadline();
        let mut descriptors = Vec::new();
        let mut header = Header::new_zeroed();
        match self
            .stream
            .fill(header.as_mut_bytes(), &mut descriptors, deadline)?
        {
            0 => return Err(Error::Closed.into()),
            found if found < Header::SIZE => {
                let expected = Header::SIZE;
                return Err(Error::Truncated { expected, found }.into());
            }
            _ => {}
        }
        let Header { command, size, .. } = header;
        if !header.is_command() && !header.is_reply() {
            return Err(SocketError::Type { found: header.flags });
        }
        let length = (size as usize).checked_sub(Header::SIZE);
        let length = length.filter(|length| *length <= MAX_PAYLOAD);
        let length = length.ok_or(SocketError::Size { command, size })?;
        let mut payload = vec![0; length];
        let found = self.stream.fill(&mut payload, &mut descriptors, deadline)?;
        if found < length {
            let (expected, found) = (size as usize, Header::SIZE + found);
            return Err(Error::Truncated { expected, found }.into());
        }
        Ok(Message {
            header,
            payload,
            descriptors,
        })
    }

    /// Sends a command: the payload given in parts, the descriptors with its first byte.
    pub fn send(
        &self,
        id: u16,
        command: Command,
        flags: u32,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let header = Header {
            id,
            command: command as u16,
            size: 0,
            flags,
            error: 0,
        };
        self.send_message(header, payload, descriptors)
    }

    /// Answers the command with header `to`.
    pub fn reply(
        &self,
        to: &Header,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let header = Header {
            flags: Header::REPLY,
            error: 0,
            ..*to
        };
        self.send_message(header, payload, descriptors)
    }

    /// Answers that the command with header `to` failed, for the reason that the errno value `error` tells. "If an error
    /// occurs, the reply message must only include the reply header."
    pub fn reply_error(&self, to: &Header, error: u32) -> Result<(), SocketError> {
        let header = Header {
            flags: Header::REPLY | Header::ERROR,
            error,
            ..*to
        };
        self.send_message(header, &[], &[])
    }

    /// Whether a message, or the end of the connection, can be received without waiting longer than `timeout`.
    pub fn is_readable(&self, timeout: Duration) -> Result<bool, SocketError> {
        Ok(self.stream.is_readable(timeout)?)
    }

    fn send_message(
        &self,
        header: Header,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let size = Header::SIZE + payload.iter().map(|part| part.len()).sum::<usize>();
        let header = Header {
            size: size as u32,
            ..header
        };
        let mut bytes = Vec::with_capacity(size);
        bytes.extend_from_slice(header.as_bytes());
        payload.iter().for_each(|part| bytes.extend_from_slice(part));
        let _one_at_a_time = self.sending.lock();
        Ok(self.stream.send(&bytes, descriptors)?)
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

#[cfg(test)]
mod tests;
