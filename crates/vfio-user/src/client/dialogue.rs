//! Commands and their replies, and the commands that the server sends meanwhile.
//!
//! A thread reads the socket. It hands a reply to whoever waits for it, and gives the server at once what it asks of the
//! memory: a server that waits for that may be what somebody here waits for.

use std::collections::HashMap;
use std::fmt;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ringwright_memory::{Memory, MemoryMap};
use ringwright_socket::Error;
use rustix::io::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::ClientError;
use crate::message::{Command, DmaAccess, MAX_DATA};
use crate::socket::{Message, Socket, SocketError, Stop};

/// The connection, and the thread that reads it.
pub(super) struct Dialogue {
    wire: Arc<Wire>,
    /// The memory that the server may ask for, by DMA address.
    pub memory: MemoryMap,
    timeout: Duration,
    stop: Stop,
    reader: Option<JoinHandle<()>>,
}

/// What both threads use.
struct Wire {
    socket: Socket,
    next_id: AtomicU16,
    /// Who waits for which reply. `None` once no reply will come any more.
    waiting: Mutex<Option<HashMap<u16, Sender<Message>>>>,
}

impl Dialogue {
    pub fn start(stream: OwnedFd, timeout: Duration) -> Result<Self, ClientError> {
        let stop = Stop::new().map_err(SocketError::from)?;
        let wire = Arc::new(Wire {
            socket: Socket::new(stream).with_stop(stop.clone()),
            next_id: AtomicU16::new(0),
            waiting: Mutex::new(Some(HashMap::new())),
        });
        let memory = MemoryMap::new(Memory::new(Vec::new())?);
        let (wires, memories) = (wire.clone(), memory.clone());
        let reader = std::thread::Builder::new()
            .name("vfio-user".into())
            .spawn(move || wires.read(&memories))
            .map_err(ClientError::Resources)?;
        Ok(Self {
            wire,
            memory,
            timeout,
            stop,
            reader: Some(reader),
        })
    }

    /// Sends a command, and waits for its reply.
    pub fn ask(
        &self,
        command: Command,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Message, ClientError> {
        let id = self.wire.next_id.fetch_add(1, Ordering::Relaxed);
        let (answer, answered) = channel();
        match &mut *self.wire.waiting() {
            Some(waiting) => waiting.insert(id, answer),
            None => return Err(ClientError::Gone(command)),
        };
        let sent = self.wire.socket.send(id, command, 0, &[payload], descriptors);
        let reply = sent.map_err(ClientError::from).and_then(|()| {
            answered.recv_timeout(self.timeout).map_err(|error| match error {
                RecvTimeoutError::Timeout => SocketError::from(Error::TimedOut(self.timeout)).into(),
                RecvTimeoutError::Disconnected => ClientError::Gone(command),
            })
        });
        if let Some(waiting) = &mut *self.wire.waiting() {
            waiting.remove(&id);
        }
        let reply = reply?;
        if reply.header.command != command as u16 {
            return Err(ClientError::Answer(command));
        }
        match reply.header.failure() {
            None => Ok(reply),
            Some(errno) => Err(ClientError::Refused { command, errno }),
        }
    }

    /// Sends a command whose reply says nothing more than that it was done.
    pub fn tell(&self, command: Command, payload: &(impl IntoBytes + Immutable)) -> Result<(), ClientError> {
        self.ask(command, payload.as_bytes(), &[]).map(drop)
    }

    /// Sends a command and reads the structure at the start of the reply; what follows it comes beside.
    pub fn get<T: FromBytes>(
        &self,
        command: Command,
        payload: &(impl IntoBytes + Immutable),
    ) -> Result<(T, Message), ClientError> {
        let reply = self.ask(command, payload.as_bytes(), &[])?;
        let (head, _) = reply.read_prefix().ok_or(ClientError::Answer(command))?;
        Ok((head, reply))
    }

    /// Whether the connection has ended.
    pub fn is_gone(&self) -> bool {
        self.wire.waiting().is_none()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(reader) = self.reader.take() {
            // A panic has been reported by the thread itself.
            let _ = reader.join();
        }
    }
}

impl Wire {
    /// Reads until the connection ends or is ended. Whoever still waits then learns that nothing will come.
    fn read(&self, memory: &MemoryMap) {
        loop {
            let message = match self.socket.receive() {
                Ok(message) => message,
                Err(error) => {
                    tracing::debug!(%error, "vfio-user connection ended");
                    break;
                }
            };
            let taken = match message.header.is_reply() {
                true => {
                    self.deliver(message);
                    Ok(())
                }
                false => self.serve(&message, &memory.load()),
            };
            if taken.is_err() {
                break;
            }
        }
        *self.waiting() = None;
    }

    fn deliver(&self, message: Message) {
        let id = message.header.id;
        let waiting = self.waiting().as_mut().and_then(|waiting| waiting.remove(&id));
        match waiting {
            // Who has stopped waiting a moment ago does not want it any more.
            Some(waiting) => drop(waiting.send(message)),
            None => tracing::warn!(id, "a reply that nobody waits for"),
        }
    }

    /// Answers a command of the server's.
    fn serve(&self, message: &Message, memory: &Memory) -> Result<(), SocketError> {
        let header = &message.header;
        let outcome = match Command::from_number(header.command) {
            _ if !message.descriptors.is_empty() => Err(Errno::INVAL),
            Some(Command::DmaRead) => read_memory(message, memory),
            Some(Command::DmaWrite) => write_memory(message, memory),
            _ => Err(Errno::NOSYS),
        };
        match outcome {
            _ if !header.wants_reply() => Ok(()),
            Ok(payload) => self.socket.reply(header, &[&payload], &[]),
            Err(errno) => self.socket.reply_error(header, errno.raw_os_error() as u32),
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<HashMap<u16, Sender<Message>>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// DMA_READ: the payload of its reply.
fn read_memory(message: &Message, memory: &Memory) -> Result<Vec<u8>, Errno> {
    let access: DmaAccess = message.read().ok_or(Errno::INVAL)?;
    let count = usize::try_from(access.count).map_err(|_| Errno::INVAL)?;
    if count > MAX_DATA {
        return Err(Errno::INVAL);
    }
    let mut payload = access.as_bytes().to_vec();
    payload.resize(size_of::<DmaAccess>() + count, 0);
    let data = &mut payload[size_of::<DmaAccess>()..];
    memory.read(access.address, data).map_err(|_| Errno::FAULT)?;
    Ok(payload)
}

/// DMA_WRITE: the payload of its reply.
fn write_memory(message: &Message, memory: &Memory) -> Result<Vec<u8>, Errno> {
    let (access, data) = message.read_prefix::<DmaAccess>().ok_or(Errno::INVAL)?;
    if access.count != data.len() as u64 {
        return Err(Errno::INVAL);
    }
    memory.write(access.address, data).map_err(|_| Errno::FAULT)?;
    Ok(access.as_bytes().to_vec())
}

impl fmt::Debug for Dialogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dialogue")
            .field("gone", &self.is_gone())
            .finish_non_exhaustive()
    }
}
