//! What the server is asked for, one command after the other, to carry out a request.

use std::io;

use super::handshake::Export;
use crate::block::backend::Request;

const REQUEST_MAGIC: u32 = 0x2560_9513;

const READ: u16 = 0;
const WRITE: u16 = 1;
const DISCONNECT: u16 = 2;
const FLUSH: u16 = 3;
const TRIM: u16 = 4;
const WRITE_ZEROES: u16 = 6;

const FUA: u16 = 1 << 0;
const NO_HOLE: u16 = 1 << 1;

/// Most zeroes in one write, where the server does not zero ranges by itself.
pub(super) const ZEROES: usize = 256 * 1024;

/// Length of a command without its data.
pub(super) const HEADER: usize = 28;

/// One command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    kind: u16,
    flags: u16,
    pub offset: u64,
    pub length: u32,
    pub data: Data,
}

/// What follows a command, or its reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Data {
    #[default]
    None,
    /// The request's data follow the reply.
    Reply,
    /// The request's data follow the command.
    Request,
    /// Zeroes follow the command.
    Zeroes,
}

impl Command {
    /// The command of number `step` that a request comes to; `None` if there are no more. Fails for what the server does not
    /// take.
    pub fn of(request: &Request<'_>, export: &Export, step: u64) -> io::Result<Option<Self>> {
        let (first, stable) = match *request {
            Request::Read { offset, into } => {
                let length = data_length(into.len(), export)?;
                (Self::new(READ, offset, length, Data::Reply), false)
            }
            Request::Write { offset, from, stable } => {
                let length = data_length(from.len(), export)?;
                (Self::new(WRITE, offset, length, Data::Request), stable)
            }
            Request::Flush => {
                let flushes = step == 0 && export.has(Export::SEND_FLUSH);
                return Ok(flushes.then(Self::flush));
            }
            Request::Discard { offset, length } => {
                let trims = step == 0 && export.has(Export::SEND_TRIM);
                let length = range_length(length)?;
                return Ok(trims.then(|| Self::new(TRIM, offset, length, Data::None)));
            }
            Request::WriteZeroes {
                offset,
                length,
                unmap,
                stable,
            } if export.has(Export::SEND_WRITE_ZEROES) => {
                let mut command = Self::new(WRITE_ZEROES, offset, range_length(length)?, Data::None);
                command.flags |= if unmap { 0 } else { NO_HOLE };
                (command, stable)
            }
            Request::WriteZeroes {
                offset,
                length,
                stable,
                ..
            } => {
                let chunk = ZEROES as u64;
                let done = step.saturating_mul(chunk);
                if done < length {
                    let length = (length - done).min(chunk) as u32;
                    return Ok(Some(Self::new(WRITE, offset + done, length, Data::Zeroes)));
                }
                let flushes = stable && step == length.div_ceil(chunk) && export.has(Export::SEND_FLUSH);
                return Ok(flushes.then(Self::flush));
            }
        };
        let fua = export.has(Export::SEND_FUA);
        Ok(match step {
            0 => Some(Self {
                flags: first.flags | if stable && fua { FUA } else { 0 },
                ..first
            }),
            1 if stable && !fua && export.has(Export::SEND_FLUSH) => Some(Self::flush()),
            _ => None,
        })
    }

    /// The command's bytes; the server's reply has the same cookie.
    pub fn bytes(&self, cookie: u64) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..4].copy_from_slice(&REQUEST_MAGIC.to_be_bytes());
        bytes[4..6].copy_from_slice(&self.flags.to_be_bytes());
        bytes[6..8].copy_from_slice(&self.kind.to_be_bytes());
        bytes[8..16].copy_from_slice(&cookie.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.offset.to_be_bytes());
        bytes[24..].copy_from_slice(&self.length.to_be_bytes());
        bytes
    }

    pub fn disconnect() -> Self {
        Self::new(DISCONNECT, 0, 0, Data::None)
    }

    fn flush() -> Self {
        Self::new(FLUSH, 0, 0, Data::None)
    }

    fn new(kind: u16, offset: u64, length: u32, data: Data) -> Self {
        Self {
            kind,
            flags: 0,
            offset,
            length,
            data,
        }
    }
}

fn data_length(length: usize, export: &Export) -> io::Result<u32> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= export.maximum)
        .ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "{length} bytes in one request: the NBD server takes at most {}",
                    export.maximum
                ),
            )
        })
}

fn range_length(length: u64) -> io::Result<u32> {
    u32::try_from(length).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(request: &Request<'_>, flags: u16) -> Vec<Command> {
        let export = Export {
            size: 1 << 30,
            flags,
            minimum: 1,
            maximum: 32 << 20,
        };
        let step = |step| Command::of(request, &export, step).unwrap();
        let commands: Vec<Command> = (0..).map_while(step).collect();
        assert_eq!(
            Command::of(request, &export, commands.len() as u64 + 1).unwrap(),
            None
        );
        commands
    }

    #[test]
    fn what_the_server_cannot_do_is_done_otherwise_or_left_out() {
        let zeroes = Request::WriteZeroes {
            offset: 4096,
            length: 600 * 1024,
            unmap: false,
            stable: true,
        };
        let all = Export::SEND_FLUSH | Export::SEND_FUA | Export::SEND_TRIM | Export::SEND_WRITE_ZEROES;
        let with_all = commands(&zeroes, all);
        assert_eq!(with_all.len(), 1);
        assert_eq!(
            with_all[0].bytes(0x0102)[..],
            *b"\x25\x60\x95\x13\0\x03\0\x06\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\x10\0\0\x09\x60\0"
        );
        let by_hand = commands(&zeroes, Export::SEND_FLUSH);
        let lengths: Vec<(u16, u64, u32)> = by_hand.iter().map(|c| (c.kind, c.offset, c.length)).collect();
        let (chunk, offset) = (ZEROES as u32, 4096);
        assert_eq!(
            lengths,
            [
                (WRITE, offset, chunk),
                (WRITE, offset + u64::from(chunk), chunk),
                (WRITE, offset + 2 * u64::from(chunk), 600 * 1024 - 2 * chunk),
                (FLUSH, 0, 0)
            ]
        );
        let kinds = |request: &Request<'_>, flags| -> Vec<(u16, u16)> {
            commands(request, flags)
                .iter()
                .map(|c| (c.kind, c.flags))
                .collect()
        };
        let write = |stable| Request::Write {
            offset: 0,
            from: ringwright_memory::Slices::empty(),
            stable,
        };
        assert_eq!(kinds(&write(true), all), [(WRITE, FUA)]);
        assert_eq!(kinds(&write(true), Export::SEND_FLUSH), [(WRITE, 0), (FLUSH, 0)]);
        assert_eq!(kinds(&write(false), all), [(WRITE, 0)]);
        assert_eq!(kinds(&Request::Flush, all), [(FLUSH, 0)]);
        assert_eq!(kinds(&Request::Flush, 0), []);
        let discard = Request::Discard {
            offset: 0,
            length: 512,
        };
        assert_eq!(kinds(&discard, all), [(TRIM, 0)]);
        assert_eq!(kinds(&discard, 0), []);
    }
}
