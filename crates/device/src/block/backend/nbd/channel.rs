//! What goes to the server and comes from it: bytes on a socket that does not block, as they are or encrypted.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ringwright_memory::Slices;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustls::ClientConnection;

/// Most bytes that are taken out of the driver's memory, or put into it, at once. A record of TLS has no more.
const RECORD: usize = 16 * 1024;

/// A connection. All of its functions fail with `WouldBlock` where they would have to wait.
pub(super) enum Channel {
    /// Bytes as they are. They go straight from and to the driver's memory.
    Plain(OwnedFd),
    /// Bytes encrypted, and memory for what goes between the connection and the driver.
    Encrypted(Box<Encrypted>, Box<[u8; RECORD]>),
}

/// A connection and what it speaks by.
pub(super) struct Encrypted {
    socket: OwnedFd,
    connection: ClientConnection,
}

impl Channel {
    /// A connection whose handshakes are over.
    pub fn encrypted(socket: OwnedFd, connection: ClientConnection) -> Self {
        let encrypted = Encrypted { socket, connection };
        Self::Encrypted(Box::new(encrypted), Box::new([0; RECORD]))
    }

    /// Sends some of `bytes`, and says how many.
    pub fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(send(socket, bytes, SendFlags::NOSIGNAL)?),
            Self::Encrypted(encrypted, _) => encrypted.send(bytes),
        }
    }

    /// Sends some of what is in `view` after its first `done` bytes, and says how many.
    pub fn send_view(&mut self, view: Slices<'_>, done: usize) -> io::Result<usize> {
        let rest = view.part(done, view.len().saturating_sub(done));
        let rest = rest.map_err(io::Error::other)?;
        let count = match self {
            Self::Plain(socket) => rest.writev(&*socket)?,
            Self::Encrypted(encrypted, record) => {
                let length = rest.len().min(RECORD);
                rest.read(0, &mut record[..length]).map_err(io::Error::other)?;
                encrypted.send(&record[..length])?
            }
        };
        match count {
            0 => Err(io::ErrorKind::WriteZero.into()),
            count => Ok(count),
        }
    }

    /// Sends what was taken to be sent and is still here.
    pub fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(_) => Ok(()),
            Self::Encrypted(encrypted, _) => encrypted.flush(),
        }
    }

    /// Whether there is something for [`Channel::flush`].
    pub fn wants_to_send(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Encrypted(encrypted, _) => encrypted.connection.wants_write(),
        }
    }

    /// Receives some bytes, and says how many: 0 if there will be no more.
    pub fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(recv(socket, into, RecvFlags::empty())?.0),
            Self::Encrypted(encrypted, _) => encrypted.receive(into),
        }
    }

    /// Receives some bytes into `view`, and says how many: 0 if there will be no more.
    pub fn receive_view(&mut self, view: Slices<'_>) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => Ok(view.readv(&*socket)?),
            Self::Encrypted(encrypted, record) => {
                let length = view.len().min(RECORD);
                let count = encrypted.receive(&mut record[..length])?;
                view.write(0, &record[..count]).map_err(io::Error::other)?;
                Ok(count)
            }
        }
    }

    /// Takes leave, if that is possible without waiting.
    pub fn close(mut self) {
        if let Self::Encrypted(encrypted, _) = &mut self {
            encrypted.connection.send_close_notify();
            let _ = encrypted.flush();
        }
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(socket) => socket.as_fd(),
            Self::Encrypted(encrypted, _) => encrypted.socket.as_fd(),
        }
    }
}

impl Encrypted {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The connection takes only so much that is not sent yet.
        let count = self.connection.writer().write(bytes)?;
        match self.flush() {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
            _ if count == 0 => Err(io::ErrorKind::WouldBlock.into()),
            _ => Ok(count),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            self.connection.write_tls(&mut Socket(&self.socket))?;
        }
        Ok(())
    }

    fn receive(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                outcome => return outcome,
            }
            if self.connection.read_tls(&mut Socket(&self.socket))? == 0 {
                return Ok(0);
            }
            let state = self.connection.process_new_packets();
            // An alert may be due, whatever was found.
            let sent = self.flush();
            state.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            match sent {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
        }
    }
}

/// The socket, for who knows readers and writers.
struct Socket<'s>(&'s OwnedFd);

impl Read for Socket<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(recv(self.0, into, RecvFlags::empty())?.0)
    }
}

impl Write for Socket<'_> {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        Ok(send(self.0, from, SendFlags::NOSIGNAL)?)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
