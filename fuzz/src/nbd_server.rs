//! The server's part of [`nbd`](crate::nbd).

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::script::Script;

/// Bytes of the export.
pub const SIZE: usize = 1 << 16;

/// How long the client is listened to before the server goes on.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 300_000,
};

const READ: u16 = 0;
const WRITE: u16 = 1;
const WRITE_ZEROES: u16 = 6;

const READ_ONLY: u16 = 1 << 1;

/// Serves one connection after the other until `ended` says that there will be no more. A server that is not honest ends
/// with its script.
pub fn serve(script: &mut Script<'_>, listener: UnixListener, ended: &UnixStream, honest: bool) {
    let mut content = vec![0; SIZE];
    let mut first = true;
    while honest || !script.is_empty() {
        let mut events = [
            PollFd::new(&listener, PollFlags::IN),
            PollFd::new(ended, PollFlags::IN),
        ];
        let _ = poll(&mut events, None);
        if !events[1].revents().is_empty() {
            return;
        }
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let _ = stream.set_nonblocking(true);
        let mut talk = Talk {
            stream,
            heard: Vec::new(),
            outstanding: Vec::new(),
            content: &mut content,
            honest,
            stays: first,
        };
        // That it has gone is all there is to say of it.
        let _ = talk.talk(script, ended);
        first = false;
    }
}

/// One connection.
struct Talk<'c> {
    stream: UnixStream,
    /// What the client has said, and was not looked at.
    heard: Vec<u8>,
    outstanding: Vec<Command>,
    content: &'c mut Vec<u8>,
    honest: bool,
    /// The handshake is not to be broken off.
    stays: bool,
}

struct Command {
    kind: u16,
    cookie: [u8; 8],
    offset: u64,
    length: usize,
    data: Vec<u8>,
}

/// The connection has ended.
struct Gone;

impl Talk<'_> {
    fn talk(&mut self, script: &mut Script<'_>, ended: &UnixStream) -> Result<(), Gone> {
        self.shake_hands(script)?;
        self.stays = false;
        loop {
            self.listen(ended)?;
            self.understand()?;
            if script.is_empty() {
                if !self.honest {
                    return Err(Gone);
                }
                while !self.outstanding.is_empty() {
                    self.answer(0, script)?;
                }
                continue;
            }
            match script.u8() % 8 {
                0 => {}
                1 if script.u8().is_multiple_of(4) => return Err(Gone),
                2 if !self.honest => {
                    let junk: Vec<u8> = (0..script.u8() % 40).map(|_| script.u8()).collect();
                    self.send(&junk)?;
                }
                _ if !self.outstanding.is_empty() => {
                    let index = script.index(self.outstanding.len());
                    self.answer(index, script)?;
                }
                _ => {}
            }
        }
    }

    fn shake_hands(&mut self, script: &mut Script<'_>) -> Result<(), Gone> {
        let no_zeroes = u16::from(script.u8() % 2) << 1;
        let greeting = [&b"NBDMAGICIHAVEOPT"[..], &(no_zeroes | 1).to_be_bytes()].concat();
        self.say(greeting, script)?;
        // The client's flags, and its option with the name of the export.
        self.wait_for(4 + 16)?;
        let length = u32::from_be_bytes(self.heard[16..20].try_into().expect("four bytes"));
        self.wait_for(20 + length as usize)?;
        self.heard.drain(..20 + length as usize);

        let mut flags = 1 | u16::from(script.u8()) & !(READ_ONLY | 1 << 4 | 1 << 7);
        let mut size = SIZE as u64;
        let (mut minimum, mut maximum) = (1 << (script.u8() % 10), 1 << (14 + script.u8() % 12));
        if !self.honest {
            match script.u8() % 8 {
                0 => size = script.u64(),
                1 => flags |= READ_ONLY,
                2 => (minimum, maximum) = (script.u32(), script.u32()),
                3 => flags = script.u16(),
                _ => {}
            }
        }
        let info = [&[0, 0][..], &size.to_be_bytes(), &flags.to_be_bytes()].concat();
        self.say(reply(3, &info), script)?;
        if script.u8().is_multiple_of(2) {
            let sizes = [minimum, 4096, maximum].map(u32::to_be_bytes).concat();
            self.say(reply(3, &[&[0, 3][..], &sizes].concat()), script)?;
        }
        let kind = match script.u8() {
            odd @ 0..32 if !self.honest => 1 << 31 | u32::from(odd),
            _ => 1,
        };
        self.say(reply(kind, &[]), script)
    }

    /// Answers a command, and no more with a server that is honest.
    fn answer(&mut self, index: usize, script: &mut Script<'_>) -> Result<(), Gone> {
        let mut command = self.outstanding.remove(index);
        let range = command.offset as usize..(command.offset as usize).saturating_add(command.length);
        let mut bytes = 0x6744_6698_u32.to_be_bytes().to_vec();
        let mut error = 0_u32;
        if !self.honest {
            match script.u8() % 16 {
                0 => error = script.u8().into(),
                1 => error = 108,
                2 => bytes = 0x668e_33ef_u32.to_be_bytes().to_vec(),
                3 => command.cookie[script.index(8)] ^= script.u8(),
                // It is answered again.
                4 => self.outstanding.push(Command {
                    data: command.data.clone(),
                    ..command
                }),
                _ => {}
            }
        }
        bytes.extend(error.to_be_bytes());
        bytes.extend(command.cookie);
        match command.kind {
            READ => match self.content.get(range) {
                Some(content) => bytes.extend(content),
                None => bytes.resize(bytes.len() + command.length.min(1 << 16), 7),
            },
            WRITE | WRITE_ZEROES => {
                let zeroes = vec![0; command.length.min(SIZE)];
                let data = if command.kind == WRITE {
                    &command.data
                } else {
                    &zeroes
                };
                if let Some(content) = self.content.get_mut(range) {
                    content.copy_from_slice(data);
                }
            }
            _ => {}
        }
        self.say(bytes, script)
    }

    /// Sends something, or what it can become.
    fn say(&mut self, mut bytes: Vec<u8>, script: &mut Script<'_>) -> Result<(), Gone> {
        if self.honest {
            // It may go away in the middle.
            if !self.stays && script.u8() % 32 == 1 {
                bytes.truncate(script.index(bytes.len()));
                let _ = self.send(&bytes);
                return Err(Gone);
            }
            return self.send(&bytes);
        }
        match script.u8() % 32 {
            0 => {
                let at = script.index(bytes.len());
                bytes[at] = script.u8();
            }
            1 => bytes.truncate(script.index(bytes.len())),
            2 => bytes.extend((0..script.u8() % 32).map(|_| script.u8())),
            3 => bytes.extend(bytes.clone()),
            4 => return Err(Gone),
            5 => return Ok(()),
            _ => {}
        }
        self.send(&bytes)
    }

    fn send(&mut self, mut bytes: &[u8]) -> Result<(), Gone> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(count) => bytes = &bytes[count..],
                // The client is busy sending; whether it ever reads is its affair.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let hung = self.hear(Some(&PATIENCE), PollFlags::OUT | PollFlags::IN)?;
                    if hung {
                        return Err(Gone);
                    }
                }
                Err(_) => return Err(Gone),
            }
        }
        Ok(())
    }

    /// Waits until the client has said so much.
    fn wait_for(&mut self, length: usize) -> Result<(), Gone> {
        // Ten seconds are its own patience.
        for _ in 0..100 {
            if self.heard.len() >= length {
                return Ok(());
            }
            let tenth = Timespec {
                tv_sec: 0,
                tv_nsec: 100_000_000,
            };
            self.hear(Some(&tenth), PollFlags::IN)?;
        }
        Err(Gone)
    }

    /// Takes in what the client says. With nothing to do, waits for it, or for the end.
    fn listen(&mut self, ended: &UnixStream) -> Result<(), Gone> {
        self.hear(Some(&PATIENCE), PollFlags::IN)?;
        let mut end = [PollFd::new(ended, PollFlags::IN)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut end, Some(&now)) {
            Ok(0) => Ok(()),
            _ => Err(Gone),
        }
    }

    /// Takes in what the client says; true if it has said nothing.
    fn hear(&mut self, timeout: Option<&Timespec>, events: PollFlags) -> Result<bool, Gone> {
        let _ = poll(&mut [PollFd::new(&self.stream, events)], timeout);
        let mut bytes = [0; 4096];
        let before = self.heard.len();
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.heard.extend(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(self.heard.len() == before);
                }
                Err(_) => return Err(Gone),
            }
        }
    }

    /// Takes commands from what was heard.
    fn understand(&mut self) -> Result<(), Gone> {
        while let Some(head) = self.heard.first_chunk::<28>() {
            assert_eq!(head[..4], 0x2560_9513_u32.to_be_bytes(), "what the client sends");
            let kind = u16::from_be_bytes([head[6], head[7]]);
            let word = |at: usize| u64::from_be_bytes(head[at..at + 8].try_into().expect("eight bytes"));
            let (offset, length) = (word(16), (word(20) & 0xffff_ffff) as usize);
            let cookie = word(8).to_be_bytes();
            let data = if kind == WRITE { length } else { 0 };
            if self.heard.len() < 28 + data {
                return Ok(());
            }
            let data = self.heard.drain(..28 + data).skip(28).collect();
            match kind {
                2 => return Err(Gone),
                0..=6 => self.outstanding.push(Command {
                    kind,
                    cookie,
                    offset,
                    length,
                    data,
                }),
                _ => panic!("the client asks for {kind}"),
            }
        }
        Ok(())
    }
}

/// A reply to the client's only option.
fn reply(kind: u32, payload: &[u8]) -> Vec<u8> {
    [
        &0x0003_e889_0455_65a9_u64.to_be_bytes()[..],
        &7_u32.to_be_bytes(),
        &kind.to_be_bytes(),
        &(payload.len() as u32).to_be_bytes(),
        payload,
    ]
    .concat()
}
