//! The handshake: how a connection comes to serve an export ("Newstyle negotiation" of the protocol's document).

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const NBDMAGIC: u64 = 0x4e42_444d_4147_4943;
const IHAVEOPT: u64 = 0x4948_4156_454f_5054;
const OPTION_REPLY: u64 = 0x0003_e889_0455_65a9;

/// `NBD_FLAG_FIXED_NEWSTYLE` and `NBD_FLAG_NO_ZEROES`; the client's flags have the same values.
const FIXED_NEWSTYLE: u16 = 1 << 0;
const NO_ZEROES: u16 = 1 << 1;

const OPT_STARTTLS: u32 = 5;
const OPT_GO: u32 = 7;
const REP_ACK: u32 = 1;
const REP_INFO: u32 = 3;
/// An error, by its bit; below it is its number.
const REP_ERROR: u32 = 1 << 31;
const INFO_EXPORT: u16 = 0;
const INFO_BLOCK_SIZE: u16 = 3;

/// Longest option reply that is taken in.
const LONGEST_REPLY: u32 = 64 * 1024;

/// Most bytes of data in one request, where the server says nothing else.
const DEFAULT_MAXIMUM: u32 = 32 << 20;

/// A connection of either kind.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection whose reads and writes end at a deadline, however little each of them brings.
#[derive(Debug)]
pub(super) struct Timed {
    stream: Stream,
    deadline: Instant,
}

/// An export, as the server describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Export {
    /// Size in bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Least size and alignment of requests, in bytes.
    pub minimum: u32,
    /// Most bytes of data in one request.
    pub maximum: u32,
}

impl Export {
    pub const READ_ONLY: u16 = 1 << 1;
    pub const SEND_FLUSH: u16 = 1 << 2;
    pub const SEND_FUA: u16 = 1 << 3;
    pub const SEND_TRIM: u16 = 1 << 5;
    pub const SEND_WRITE_ZEROES: u16 = 1 << 6;

    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

/// The server's greeting, and the client's. After that, the connection takes options.
pub(super) fn greet(stream: &mut (impl Read + Write)) -> io::Result<()> {
    if take(stream).map(u64::from_be_bytes)? != NBDMAGIC {
        return Err(invalid("what answers there does not speak NBD"));
    }
    if take(stream).map(u64::from_be_bytes)? != IHAVEOPT {
        return Err(invalid("the server speaks an NBD older than exports with names"));
    }
    let flags = take(stream).map(u16::from_be_bytes)?;
    if flags & FIXED_NEWSTYLE == 0 {
        return Err(invalid("the server speaks an NBD older than the fixed newstyle"));
    }
    let ours = u32::from(flags & (FIXED_NEWSTYLE | NO_ZEROES));
    stream.write_all(&ours.to_be_bytes())
}

/// Asks for TLS. After that, the connection takes the first message of a TLS handshake.
pub(super) fn start_tls(stream: &mut (impl Read + Write)) -> io::Result<()> {
    stream.write_all(&option(OPT_STARTTLS, &[]))?;
    let (kind, text) = reply(stream, OPT_STARTTLS)?;
    match kind {
        REP_ACK => Ok(()),
        // What came before is not to be read as TLS.
        kind if kind & REP_ERROR != 0 => Err(refusal(kind & !REP_ERROR, &text, "TLS")),
        _ => Err(invalid("the server does not say whether it speaks TLS")),
    }
}

/// Asks for the export `name`. After that, the connection takes requests.
pub(super) fn go(stream: &mut (impl Read + Write), name: &str) -> io::Result<Export> {
    let mut payload = (name.len() as u32).to_be_bytes().to_vec();
    payload.extend(name.as_bytes());
    payload.extend(1u16.to_be_bytes());
    payload.extend(INFO_BLOCK_SIZE.to_be_bytes());
    stream.write_all(&option(OPT_GO, &payload))?;

    let (mut size_and_flags, mut sizes) = (None, None);
    loop {
        let (kind, payload) = reply(stream, OPT_GO)?;
        let mut payload = payload.as_slice();
        match kind {
            REP_ACK => break,
            REP_INFO => match take(&mut payload).map(u16::from_be_bytes)? {
                INFO_EXPORT => {
                    let size = take(&mut payload).map(u64::from_be_bytes)?;
                    size_and_flags = Some((size, take(&mut payload).map(u16::from_be_bytes)?));
                }
                INFO_BLOCK_SIZE => {
                    let minimum = take(&mut payload).map(u32::from_be_bytes)?;
                    let _preferred: [u8; 4] = take(&mut payload)?;
                    sizes = Some((minimum, take(&mut payload).map(u32::from_be_bytes)?));
                }
                // To be ignored.
                _ => {}
            },
            kind if kind & REP_ERROR != 0 => return Err(refusal(kind & !REP_ERROR, payload, name)),
            // To be ignored as well.
            _ => {}
        }
    }
    let (size, flags) =
        size_and_flags.ok_or_else(|| invalid("the server does not say how large the export is"))?;
    let (minimum, maximum) = sizes.unwrap_or((1, DEFAULT_MAXIMUM));
    if !minimum.is_power_of_two() || minimum > 4096 {
        return Err(invalid("the server asks for blocks of a size that no disk has"));
    }
    Ok(Export {
        size,
        flags,
        minimum,
        maximum: maximum.max(minimum),
    })
}

fn option(number: u32, payload: &[u8]) -> Vec<u8> {
    let (number, length) = (number.to_be_bytes(), (payload.len() as u32).to_be_bytes());
    [&IHAVEOPT.to_be_bytes()[..], &number, &length, payload].concat()
}

/// The next reply to an option: its kind and what it carries.
fn reply(stream: &mut impl Read, option: u32) -> io::Result<(u32, Vec<u8>)> {
    if take(stream).map(u64::from_be_bytes)? != OPTION_REPLY
        || take(stream).map(u32::from_be_bytes)? != option
    {
        return Err(invalid(
            "the server answers something else than what it was asked",
        ));
    }
    let kind = take(stream).map(u32::from_be_bytes)?;
    let length = take(stream).map(u32::from_be_bytes)?;
    if length > LONGEST_REPLY {
        return Err(invalid("the server's answer is longer than any can be"));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload)?;
    Ok((kind, payload))
}

/// What the server says instead of serving the export.
fn refusal(number: u32, text: &[u8], name: &str) -> io::Error {
    let said = String::from_utf8_lossy(text);
    let reason = match number {
        1 => format!("the server does not know what is asked for ({name:?})"),
        2 => "the server does not allow it".into(),
        5 => "the server wants TLS; pass credentials for it".into(),
        6 => format!("the server has no export named {name:?}"),
        7 => "the server is about to end".into(),
        number => format!("error {number}"),
    };
    let said = if said.is_empty() {
        String::new()
    } else {
        format!(" ({said})")
    };
    io::Error::new(io::ErrorKind::NotFound, format!("refused: {reason}{said}"))
}

fn take<const N: usize>(from: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Stream {
    /// The same, for talk that ends at `deadline`.
    pub fn until(self, deadline: Instant) -> Timed {
        Timed {
            stream: self,
            deadline,
        }
    }
}

impl Timed {
    /// The socket, which does not block any more.
    pub fn into_nonblocking(self) -> io::Result<OwnedFd> {
        match self.stream {
            Stream::Tcp(stream) => stream.set_nonblocking(true).map(|()| stream.into()),
            Stream::Unix(stream) => stream.set_nonblocking(true).map(|()| stream.into()),
        }
    }

    /// Time that is left, which is some.
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(Some(left)),
        }
    }
}

impl Read for Timed {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.stream {
            Stream::Tcp(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
            Stream::Unix(stream) => stream.set_read_timeout(left).and_then(|()| stream.read(into)),
        }
    }
}

impl Write for Timed {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        let left = self.left()?;
        match &mut self.stream {
            Stream::Tcp(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(from)),
            Stream::Unix(stream) => stream.set_write_timeout(left).and_then(|()| stream.write(from)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that says what is given to it, whatever it is asked.
    struct Script<'s>(&'s [u8], Vec<u8>);

    impl Read for Script<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            self.0.read(into)
        }
    }

    impl Write for Script<'_> {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.1.write(from)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn handshake(stream: &mut (impl Read + Write), name: &str) -> io::Result<Export> {
        greet(stream)?;
        go(stream, name)
    }

    fn reply(kind: u32, payload: &[u8]) -> Vec<u8> {
        let (option, length) = (OPT_GO.to_be_bytes(), (payload.len() as u32).to_be_bytes());
        [
            &OPTION_REPLY.to_be_bytes()[..],
            &option,
            &kind.to_be_bytes(),
            &length,
            payload,
        ]
        .concat()
    }

    fn greeting(flags: u16) -> Vec<u8> {
        [
            &NBDMAGIC.to_be_bytes()[..],
            &IHAVEOPT.to_be_bytes(),
            &flags.to_be_bytes(),
        ]
        .concat()
    }

    fn export(size: u64, flags: u16) -> Vec<u8> {
        reply(
            REP_INFO,
            &[&0u16.to_be_bytes()[..], &size.to_be_bytes(), &flags.to_be_bytes()].concat(),
        )
    }

    fn outcome(parts: &[Vec<u8>]) -> Result<Export, String> {
        let script = parts.concat();
        handshake(&mut Script(&script, Vec::new()), "disk").map_err(|error| error.to_string())
    }

    /// One that goes on saying what is to be ignored would be listened to for ever.
    #[test]
    fn the_handshake_ends_in_time() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let start = Instant::now();
        let server = std::thread::spawn(move || {
            // The client is never without an answer, for longer than it may take.
            let mut said = theirs.write_all(&greeting(3));
            while said.is_ok() && start.elapsed() < Duration::from_secs(5) {
                said = theirs.write_all(&reply(REP_INFO, b"\0\x01"));
            }
        });
        let mut stream = Stream::Unix(ours).until(start + Duration::from_millis(200));
        let error = handshake(&mut stream, "disk").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(10));
        drop(stream);
        server.join().unwrap();
    }

    #[test]
    fn an_export_is_described_by_the_server() {
        let block_size = reply(
            REP_INFO,
            &[
                &3u16.to_be_bytes()[..],
                &[0, 0, 2, 0],
                &[0, 0, 16, 0],
                &[2, 0, 0, 0],
            ]
            .concat(),
        );
        let name = reply(REP_INFO, b"\0\x01disk");
        let script = [
            greeting(3),
            name,
            export(1 << 20, 0x6d),
            block_size,
            reply(REP_ACK, &[]),
        ]
        .concat();
        let mut server = Script(&script, Vec::new());
        let found = handshake(&mut server, "disk").unwrap();
        let expected = Export {
            size: 1 << 20,
            flags: 0x6d,
            minimum: 512,
            maximum: 32 << 20,
        };
        assert_eq!(found, expected);
        let mut asked = vec![0, 0, 0, 3];
        asked.extend(b"IHAVEOPT\0\0\0\x07\0\0\0\x0c\0\0\0\x04disk\0\x01\0\x03");
        assert_eq!(server.1, asked);
    }

    #[test]
    fn what_a_server_may_say_instead() {
        for (parts, part) in [
            (vec![b"HTTP/1.1".to_vec()], "does not speak NBD"),
            (
                vec![NBDMAGIC.to_be_bytes().to_vec(), vec![0; 8]],
                "older than exports",
            ),
            (vec![greeting(0)], "fixed newstyle"),
            (
                vec![greeting(3), reply(REP_ERROR + 6, b"no such thing")],
                "no export named \"disk\" (no such thing)",
            ),
            (vec![greeting(3), reply(REP_ERROR + 5, b"")], "TLS"),
            (vec![greeting(3), reply(REP_ACK, b"")], "how large"),
            (vec![greeting(3), vec![0; 20]], "something else"),
            (vec![greeting(3), reply(REP_INFO, b"\0\0\x01")], "failed to fill"),
        ] {
            let error = outcome(&parts).unwrap_err();
            assert!(error.contains(part), "{part}: {error}");
        }
        // It ends anywhere.
        let whole = [greeting(3), export(512, 1), reply(REP_ACK, &[])].concat();
        for length in 0..whole.len() {
            assert!(outcome(&[whole[..length].to_vec()]).is_err(), "{length}");
        }
        assert!(outcome(&[whole]).is_ok());
        // Sizes of blocks that no disk has, and a maximum below the minimum.
        let blocks = |minimum: u32, maximum: u32| {
            let sizes = [minimum, minimum, maximum].map(u32::to_be_bytes).concat();
            let info = reply(REP_INFO, &[&3u16.to_be_bytes()[..], &sizes].concat());
            outcome(&[greeting(3), export(8192, 1), info, reply(REP_ACK, &[])])
        };
        for minimum in [0, 1536, 8192] {
            assert!(
                blocks(minimum, 1 << 20).unwrap_err().contains("blocks"),
                "{minimum}"
            );
        }
        assert_eq!(blocks(4096, 0).unwrap().maximum, 4096);
        let mut endless = reply(REP_INFO, &[]);
        endless[16..20].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(outcome(&[greeting(3), endless]).unwrap_err().contains("longer"));
    }
}
