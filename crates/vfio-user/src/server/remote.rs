//! The client's memory, by messages.
//!
//! The server's thread never waits here: it reads the socket, and so it is the one who brings the replies. Whoever waits is
//! a thread of its own, and can be told to give up: a client that waits for the server's reply to a command of its own may not
//! look at ours meanwhile.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use zerocopy::IntoBytes;

use crate::message::{Command, DmaAccess};
use crate::socket::{Message, Socket};

/// Most bytes that are asked for at once, one question at a time. QEMU 11.1 sends an answer by one write, and loses what does not
/// fit into the socket's buffer then.
const MOST_READ: usize = 64 << 10;

/// Reads and writes the client's memory.
pub(super) struct Remote {
    socket: Arc<Socket>,
    /// Most bytes of data in one message.
    limit: usize,
    waiting: Mutex<Waiting>,
    arrived: Condvar,
}

/// Replies that are waited for, and those that have come.
#[derive(Default)]
struct Waiting {
    next_id: u16,
    replies: HashMap<u16, Option<Message>>,
    /// Somebody reads.
    reading: bool,
}

/// Tells one thread to give up. Clones are the same.
#[derive(Clone, Default)]
pub(super) struct GiveUp(Arc<AtomicBool>);

/// No bytes have come or gone.
#[derive(Debug, thiserror::Error)]
pub(super) enum RemoteError {
    /// Told to give up.
    #[error("given up")]
    GivenUp,
    /// The client is gone.
    #[error("the client is gone")]
    Gone,
    /// The client refuses, with this errno value.
    #[error("the client refuses: {}", std::io::Error::from_raw_os_error(*.0 as i32))]
    Refused(u32),
    /// The client's answer is none.
    #[error("the client's answer is no answer")]
    Answer,
}

impl GiveUp {
    /// Whether it has been told.
    pub fn is_raised(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

impl Remote {
    pub fn new(socket: Arc<Socket>, limit: usize) -> Self {
        Self {
            socket,
            limit,
            waiting: Mutex::default(),
            arrived: Condvar::new(),
        }
    }

    /// Fills `into` from DMA address `address` on.
    pub fn read(&self, address: u64, into: &mut [u8], give_up: &GiveUp) -> Result<(), RemoteError> {
        let limit = self.limit.min(MOST_READ);
        for (part, address) in into.chunks_mut(limit).zip((address..).step_by(limit)) {
            let access = DmaAccess {
                address,
                count: part.len() as u64,
            };
            self.begin_reading(give_up)?;
            let reply = self.ask(Command::DmaRead, &[access.as_bytes()], give_up);
            self.end_reading();
            let reply = reply?;
            let data = reply.payload.get(size_of::<DmaAccess>()..);
            let data = data.filter(|data| data.len() == part.len());
            part.copy_from_slice(data.ok_or(RemoteError::Answer)?);
        }
        Ok(())
    }

    /// Writes `bytes` from DMA address `address` on.
    pub fn write(&self, address: u64, bytes: &[u8], give_up: &GiveUp) -> Result<(), RemoteError> {
        for (part, address) in bytes.chunks(self.limit).zip((address..).step_by(self.limit)) {
            let access = DmaAccess {
                address,
                count: part.len() as u64,
            };
            self.ask(Command::DmaWrite, &[access.as_bytes(), part], give_up)?;
        }
        Ok(())
    }

    /// A reply has come. False if nobody waits for it.
    pub fn deliver(&self, message: Message) -> bool {
        match self.lock().replies.get_mut(&message.header.id) {
            Some(reply) => *reply = Some(message),
            None => return false,
        }
        self.arrived.notify_all();
        true
    }

    /// Has those who wait with `give_up` give up, now and from now on.
    pub fn raise(&self, give_up: &GiveUp) {
        let _waiting = self.lock();
        give_up.0.store(true, Ordering::Release);
        self.arrived.notify_all();
    }

    fn begin_reading(&self, give_up: &GiveUp) -> Result<(), RemoteError> {
        let mut waiting = self.lock();
        while waiting.reading {
            if give_up.is_raised() {
                return Err(RemoteError::GivenUp);
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
        waiting.reading = true;
        Ok(())
    }

    fn end_reading(&self) {
        self.lock().reading = false;
        self.arrived.notify_all();
    }

    fn ask(&self, command: Command, payload: &[&[u8]], give_up: &GiveUp) -> Result<Message, RemoteError> {
        let id = {
            let mut waiting = self.lock();
            // More are never under way than there are threads.
            while waiting.replies.contains_key(&waiting.next_id) {
                waiting.next_id = waiting.next_id.wrapping_add(1);
            }
            let id = waiting.next_id;
            waiting.next_id = id.wrapping_add(1);
            waiting.replies.insert(id, None);
            id
        };
        let outcome = match self.socket.send(id, command, 0, payload, &[]) {
            Ok(()) => self.wait(id, give_up),
            Err(_) => Err(RemoteError::Gone),
        };
        self.lock().replies.remove(&id);
        let reply = outcome?;
        match reply.header.failure() {
            Some(errno) => Err(RemoteError::Refused(errno)),
            None if reply.header.command != command as u16 => Err(RemoteError::Answer),
            None => Ok(reply),
        }
    }

    fn wait(&self, id: u16, give_up: &GiveUp) -> Result<Message, RemoteError> {
        let mut waiting = self.lock();
        loop {
            if give_up.is_raised() {
                return Err(RemoteError::GivenUp);
            }
            if let Some(reply) = waiting.replies.get_mut(&id).and_then(Option::take) {
                return Ok(reply);
            }
            waiting = self.arrived.wait(waiting).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
