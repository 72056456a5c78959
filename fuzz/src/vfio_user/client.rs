//! The client's end of the connection.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

use ringwright_socket::{Error, Stream};
use ringwright_vfio_user::message::{
    Command, DmaAccess, DmaMap, Header, IrqInfo, IrqSet, OneWrite, WriteMulti,
};
use ringwright_vfio_user::socket::{Message, Socket, SocketError};
use zerocopy::IntoBytes;

use super::DEADLINE;
use crate::guest::Guest;
use crate::script::Script;

/// How the client answers questions about its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Manner {
    Truth,
    Refusal,
    /// One byte more than was asked for.
    TooMuch,
    /// Nothing but the header.
    Nothing,
    /// As the reply to another command.
    Elsewhere,
    Silence,
}

impl From<u8> for Manner {
    fn from(choice: u8) -> Self {
        match choice % 8 {
            0 => Self::Refusal,
            1 => Self::TooMuch,
            2 => Self::Nothing,
            3 => Self::Elsewhere,
            4 => Self::Silence,
            _ => Self::Truth,
        }
    }
}

/// The client's end of the connection, until that is closed.
pub(super) struct Client {
    pub socket: Option<Socket>,
    stream: Stream,
    pub manner: Manner,
    next_id: u16,
    /// Whether the server may be waiting for the rest of a message.
    adrift: bool,
    /// First and last addresses that the server was ever allowed to write to.
    writable: Vec<(u64, u64)>,
    /// Questions that came while the client waited for a reply, and have not been answered.
    questions: Vec<Message>,
}

impl Client {
    pub fn new(stream: UnixStream) -> Self {
        let other = stream.try_clone().expect("a descriptor is left");
        Self {
            socket: Some(Socket::new(stream).with_timeout(DEADLINE)),
            stream: Stream::new(other).with_timeout(DEADLINE),
            manner: Manner::Truth,
            next_id: 0,
            adrift: false,
            writable: Vec::new(),
            questions: Vec::new(),
        }
    }

    /// Bytes that need not be a message.
    pub fn send_raw(&mut self, script: &mut Script<'_>) {
        let length = script.index(64);
        let bytes: Vec<u8> = (0..length).map(|_| script.u8()).collect();
        // An error is found again when the next message is sent.
        let _error = self.stream.send(&bytes, &[]);
        self.adrift = true;
    }

    /// Sends a command, and waits for the reply if there is to be one: whatever else the server waits for, it does not keep
    /// its client waiting.
    pub fn ask(
        &mut self,
        command: u16,
        flags: u32,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Option<Message> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let length = payload.iter().map(|part| part.len()).sum::<usize>();
        let header = Header {
            id,
            command,
            size: (Header::SIZE + length) as u32,
            flags,
            error: 0,
        };
        let bytes = [&[header.as_bytes()], payload].concat().concat();
        let outcome = self.stream.send(&bytes, descriptors).map_err(SocketError::from);
        self.note(outcome)?;
        // A reply to nothing has none, and neither has what tells the server not to.
        if self.adrift || header.is_reply() || !header.wants_reply() {
            return None;
        }
        loop {
            let outcome = self.socket.as_ref()?.receive();
            let message = self.note(outcome)?;
            if message.header.is_command() {
                self.questions.push(message);
                continue;
            }
            let Header { id: found, .. } = message.header;
            assert_eq!((found, message.header.command), (id, command), "a reply to this");
            if message.header.failure().is_some() {
                assert!(message.payload.is_empty() && message.descriptors.is_empty());
            }
            return Some(message);
        }
    }

    /// Writes to regions, one write after the other, in one message.
    pub fn write_all(&mut self, writes: &[(u32, u64, u32, u64)]) {
        let mut payload = WriteMulti {
            wr_cnt: writes.len() as u64,
        }
        .as_bytes()
        .to_vec();
        for &(region, offset, count, value) in writes {
            let write = OneWrite {
                offset,
                region,
                count,
                data: value.to_le_bytes(),
            };
            payload.extend(write.as_bytes());
        }
        self.ask(Command::RegionWriteMulti as u16, 0, &[&payload], &[]);
    }

    pub fn map(&mut self, map: DmaMap, flags: u32, file: &[BorrowedFd<'_>]) {
        if map.flags & DmaMap::WRITE != 0
            && let Some(last) = map
                .size
                .checked_sub(1)
                .and_then(|rest| map.address.checked_add(rest))
        {
            self.writable.push((map.address, last));
        }
        self.ask(Command::DmaMap as u16, flags, &[map.as_bytes()], file);
    }

    /// Has the INTx line signal `event`.
    pub fn take_intx(&mut self, event: &OwnedFd) {
        let set = IrqSet {
            argsz: size_of::<IrqSet>() as u32,
            flags: IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER,
            index: IrqInfo::INTX,
            start: 0,
            count: 1,
        };
        let number = Command::DeviceSetIrqs as u16;
        self.ask(number, 0, &[set.as_bytes()], &[event.as_fd()]);
    }

    /// Takes a message of the server's that nobody waits for.
    pub fn take_one(&mut self) {
        if let Some(socket) = &self.socket {
            let outcome = socket.receive();
            let message = self.note(outcome);
            self.questions
                .extend(message.filter(|message| message.header.is_command()));
        }
    }

    /// Answers all questions that have come.
    pub fn answer_all(&mut self, guest: &Guest) {
        for question in std::mem::take(&mut self.questions) {
            self.answer(&question, guest);
        }
    }

    pub fn answer(&mut self, question: &Message, guest: &Guest) {
        let (access, data) = question.read_prefix::<DmaAccess>().expect("a question");
        let mut bytes = Vec::new();
        let outcome = match Command::from_number(question.header.command) {
            Some(Command::DmaRead) => {
                assert!(data.is_empty() && access.count <= 1 << 20);
                bytes = vec![0; access.count as usize];
                guest.memory().read(access.address, &mut bytes)
            }
            Some(Command::DmaWrite) => {
                assert!(data.len() as u64 == access.count && access.count > 0);
                assert!(
                    self.may_write(access.address, access.address + (access.count - 1)),
                    "a write to {:#x} of {:#x} bytes",
                    access.address,
                    access.count
                );
                guest.memory().write(access.address, data)
            }
            _ => panic!("a question that servers do not ask"),
        };
        let Some(socket) = &self.socket else { return };
        let header = question.header;
        let head = access.as_bytes();
        let outcome = match (self.manner, outcome) {
            (Manner::Silence, _) => return,
            (Manner::Refusal, _) | (_, Err(_)) => socket.reply_error(&header, 14),
            (Manner::Truth, _) => socket.reply(&header, &[head, &bytes], &[]),
            (Manner::TooMuch, _) => socket.reply(&header, &[head, &bytes, &[0]], &[]),
            (Manner::Nothing, _) => socket.reply(&header, &[], &[]),
            (Manner::Elsewhere, _) => {
                let header = Header { command: 3, ..header };
                socket.reply(&header, &[head, &bytes], &[])
            }
        };
        self.note(outcome);
    }

    /// Whether every address of a range could ever be written.
    pub fn may_write(&self, first: u64, last: u64) -> bool {
        let mut next = first;
        // Each piece found brings the end nearer.
        while let Some((_, end)) = self
            .writable
            .iter()
            .find(|(start, end)| *start <= next && *end >= next)
        {
            if *end >= last {
                return true;
            }
            next = end + 1;
        }
        false
    }

    pub fn note<T>(&mut self, outcome: Result<T, SocketError>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            Err(SocketError::Stream(Error::Closed | Error::Truncated { .. } | Error::Os { .. })) => {
                self.socket = None;
            }
            Err(error) => panic!("{error}"),
        }
        None
    }
}

/// Flags of a message: now and then such that no reply is wanted, or such that it is no command.
pub(super) fn flags(script: &mut Script<'_>) -> u32 {
    match script.u8() {
        odd @ 0xf0.. => (odd & 0xf).into(),
        0xe0.. => Header::NO_REPLY,
        _ => 0,
    }
}
