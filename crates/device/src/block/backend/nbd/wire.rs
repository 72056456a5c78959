//! Commands and replies on a channel that does not block.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use ringwright_memory::Slices;

use super::channel::Channel;
use super::command::{Command, Data, ZEROES};
use crate::block::backend::Request;
use crate::block::backend::bounce::Bounce;

const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// Length of a simple reply without its data.
const REPLY: usize = 16;

/// Replies that are taken from the socket at once, if there are no data between.
const INPUT: usize = 4096;

pub(super) struct Wire {
    channel: Channel,
    /// Commands on their way out, and how much of them is out.
    output: Vec<u8>,
    sent: usize,
    /// The slot whose data follow them, what kind, and how much of that is out.
    sending: Option<(u32, Command, usize)>,
    /// What came in and is not looked at yet.
    input: Box<[u8]>,
    start: usize,
    end: usize,
    /// The slot whose data come in now, and how much of them is there.
    receiving: Option<(u32, usize)>,
    zeroes: Option<Bounce>,
}

/// A command that the server has answered.
pub(super) struct Reply {
    pub index: u32,
    /// 0, or the protocol's number of an error.
    pub error: u32,
}

impl Wire {
    pub fn new(channel: Channel) -> Self {
        Self {
            channel,
            output: Vec::new(),
            sent: 0,
            sending: None,
            input: vec![0; INPUT].into(),
            start: 0,
            end: 0,
            receiving: None,
            zeroes: None,
        }
    }

    /// Sends the commands of these slots, as far as the socket takes them. `look_up` gives a slot's command and request, and
    /// hears by that that it is being sent.
    pub fn send<'r>(
        &mut self,
        slots: &mut VecDeque<u32>,
        mut look_up: impl FnMut(u32) -> Option<(Command, Request<'r>)>,
    ) -> io::Result<()> {
        loop {
            if self.sent < self.output.len() {
                match self.channel.send(&self.output[self.sent..]) {
                    Ok(count) => self.sent += count,
                    Err(error) => return unless_later(error),
                }
                continue;
            }
            self.output.clear();
            self.sent = 0;
            if let Some((index, command, done)) = self.sending {
                let count = match (command.data, look_up(index)) {
                    (Data::Zeroes, _) => {
                        let zeroes = match &self.zeroes {
                            Some(zeroes) => zeroes,
                            None => self.zeroes.insert(Bounce::new(ZEROES)?),
                        };
                        self.channel
                            .send_view(zeroes.part(command.length as usize)?, done)
                    }
                    (_, Some((_, Request::Write { from, .. }))) => self.channel.send_view(from, done),
                    _ => Err(io::Error::other("a request without its data")),
                };
                match count {
                    Ok(count) => {
                        let done = done + count;
                        let left = done < command.length as usize;
                        self.sending = left.then_some((index, command, done));
                    }
                    Err(error) => return unless_later(error),
                }
                continue;
            }
            if slots.is_empty() {
                return self.channel.flush().or_else(unless_later);
            }
            while let Some(index) = slots.pop_front() {
                let Some((command, _)) = look_up(index) else {
                    continue;
                };
                self.output.extend(command.bytes(index.into()));
                if matches!(command.data, Data::Request | Data::Zeroes) && command.length != 0 {
                    self.sending = Some((index, command, 0));
                    break;
                }
            }
        }
    }

    /// The next answer, if it is there as a whole; its data are then where they belong. `look_up` gives the command that
    /// has a cookie, if one is out, and its request, if its data are still wanted.
    pub fn receive<'r>(
        &mut self,
        look_up: impl Fn(u64) -> Option<(Command, Option<Request<'r>>)>,
    ) -> io::Result<Option<Reply>> {
        loop {
            if let Some((index, done)) = self.receiving {
                let (command, request) = look_up(index.into()).ok_or_else(unexpected)?;
                let into = match request {
                    Some(Request::Read { into, .. }) => Some(into),
                    _ => None,
                };
                let length = command.length as usize;
                match self.take_data(into, length, done) {
                    Ok(count) if done + count == length => {
                        self.receiving = None;
                        return Ok(Some(Reply { index, error: 0 }));
                    }
                    Ok(count) => self.receiving = Some((index, done + count)),
                    Err(error) => return unless_later(error).map(|()| None),
                }
                continue;
            }
            let Some(header) = self.input[self.start..self.end].first_chunk::<REPLY>() else {
                match self.fill() {
                    Ok(()) => continue,
                    Err(error) => return unless_later(error).map(|()| None),
                }
            };
            let word =
                |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
            let (magic, error) = (word(0), word(4));
            let cookie = u64::from(word(8)) << 32 | u64::from(word(12));
            self.start += REPLY;
            if magic != SIMPLE_REPLY_MAGIC {
                return Err(unexpected());
            }
            let (command, _) = look_up(cookie).ok_or_else(unexpected)?;
            let index = cookie as u32;
            if error == 0 && command.data == Data::Reply && command.length != 0 {
                self.receiving = Some((index, 0));
                continue;
            }
            return Ok(Some(Reply { index, error }));
        }
    }

    /// Whether something is left to send that was begun.
    pub fn wants_to_send(&self) -> bool {
        self.sent < self.output.len() || self.sending.is_some() || self.channel.wants_to_send()
    }

    /// Takes leave, as the protocol asks, if that is possible without waiting.
    pub fn disconnect(mut self) {
        if !self.wants_to_send() {
            let _ = self.channel.send(&Command::disconnect().bytes(0));
            self.channel.close();
        }
    }

    /// Takes in data of which `done` bytes are there already: what came with the reply, then straight from the socket.
    fn take_data(&mut self, into: Option<Slices<'_>>, length: usize, done: usize) -> io::Result<usize> {
        let left = length - done;
        let there = &self.input[self.start..self.end];
        if !there.is_empty() {
            let there = &there[..there.len().min(left)];
            if let Some(into) = into {
                into.write(done, there).map_err(io::Error::other)?;
            }
            self.start += there.len();
            return Ok(there.len());
        }
        let count = match into {
            Some(into) => {
                let rest = into.part(done, left).map_err(io::Error::other)?;
                self.channel.receive_view(rest)?
            }
            // Nobody wants them any more.
            None => {
                let room = self.input.len().min(left);
                self.channel.receive(&mut self.input[..room])?
            }
        };
        match count {
            0 => Err(closed()),
            count => Ok(count),
        }
    }

    /// Takes in more replies.
    fn fill(&mut self) -> io::Result<()> {
        self.input.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let count = self.channel.receive(&mut self.input[self.end..])?;
        if count == 0 {
            return Err(closed());
        }
        self.end += count;
        Ok(())
    }
}

impl AsFd for Wire {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.channel.as_fd()
    }
}

/// No error, if it only means that it is to be tried again later.
fn unless_later(error: io::Error) -> io::Result<()> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(()),
        _ => Err(error),
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the server has closed the connection",
    )
}

fn unexpected() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the server answers what it was not asked",
    )
}
