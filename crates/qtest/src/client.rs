//! The qtest protocol: a line for each command, a line for each answer.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ringwright_driver::TransportError;
use ringwright_memory::Width;

/// Longer than QEMU takes for anything.
const PATIENCE: Duration = Duration::from_secs(60);

/// The address spaces of a processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Space {
    Memory,
    Io,
}

/// The connection to QEMU.
#[derive(Debug)]
pub(crate) struct Client(Mutex<Connection>);

#[derive(Debug)]
struct Connection {
    stream: BufReader<UnixStream>,
    /// Command and answer, to be used again.
    line: String,
    /// Interrupt lines that are asserted, of those that QEMU tells of.
    asserted: BTreeSet<u32>,
}

impl Client {
    pub fn new(stream: UnixStream) -> std::io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Self(Mutex::new(Connection {
            stream: BufReader::new(stream),
            line: String::new(),
            asserted: BTreeSet::new(),
        })))
    }

    pub fn read(&self, space: Space, address: u64, width: Width) -> Result<u32, TransportError> {
        let verb = match space {
            Space::Memory => "read",
            Space::Io => "in",
        };
        self.command(
            |line| write!(line, "{verb}{} {address:#x}", suffix(width)),
            number,
        )
    }

    pub fn write(&self, space: Space, address: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let verb = match space {
            Space::Memory => "write",
            Space::Io => "out",
        };
        self.command(
            |line| write!(line, "{verb}{} {address:#x} {value:#x}", suffix(width)),
            |_| Some(()),
        )
    }

    /// From now on QEMU tells of the interrupt lines into the object at `path`, which gets them no longer.
    pub fn intercept(&self, path: &str) -> Result<(), TransportError> {
        self.command(|line| write!(line, "irq_intercept_in {path}"), |_| Some(()))
    }

    /// The lines that were asserted when QEMU was last heard of.
    pub fn asserted(&self) -> Vec<u32> {
        let connection = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        connection.asserted.iter().copied().collect()
    }

    /// Sends the command that `compose` writes, and reads the answer by `parse`, which is given what follows "OK".
    fn command<A>(
        &self,
        compose: impl FnOnce(&mut String) -> std::fmt::Result,
        parse: impl FnOnce(&str) -> Option<A>,
    ) -> Result<A, TransportError> {
        let Connection {
            stream,
            line,
            asserted,
        } = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        line.clear();
        // Writing to a string cannot fail.
        let _ = compose(line);
        line.push('\n');
        stream.get_mut().write_all(line.as_bytes()).map_err(lost)?;
        loop {
            line.clear();
            if stream.read_line(line).map_err(lost)? == 0 {
                return Err(TransportError::Gone);
            }
            // Interrupts are told of in between, if somebody has asked for that.
            if let Some(change) = line.strip_prefix("IRQ ") {
                note(change.trim_end(), asserted);
                continue;
            }
            let answer = line.trim_end().strip_prefix("OK").map(str::trim_start);
            return answer
                .and_then(parse)
                .ok_or(TransportError::Protocol("an answer that is not OK"));
        }
    }
}

/// Takes note of a line that was asserted, or is no longer.
fn note(change: &str, asserted: &mut BTreeSet<u32>) {
    let (verb, number) = change.split_once(' ').unwrap_or_default();
    match (verb, number.parse()) {
        ("raise", Ok(number)) => drop(asserted.insert(number)),
        ("lower", Ok(number)) => drop(asserted.remove(&number)),
        _ => {}
    }
}

fn suffix(width: Width) -> char {
    match width {
        Width::One => 'b',
        Width::Two => 'w',
        Width::Four => 'l',
    }
}

fn number(answer: &str) -> Option<u32> {
    u32::from_str_radix(answer.strip_prefix("0x")?, 16).ok()
}

fn lost(error: std::io::Error) -> TransportError {
    match (error.kind(), error.raw_os_error()) {
        // The other end is not there any more.
        (ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, _) | (_, None) => TransportError::Gone,
        (_, Some(number)) => TransportError::Os(number),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// Answers one command, which it returns.
    fn exchange<A: Send>(
        answer: &str,
        ask: impl FnOnce(&Client) -> Result<A, TransportError>,
    ) -> (String, Result<A, TransportError>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let client = Client::new(ours).unwrap();
        thread::scope(|scope| {
            let other_end = scope.spawn(move || {
                let mut command = String::new();
                let mut stream = BufReader::new(theirs);
                stream.read_line(&mut command).unwrap();
                stream.get_mut().write_all(answer.as_bytes()).unwrap();
                command
            });
            let result = ask(&client);
            (other_end.join().unwrap(), result)
        })
    }

    #[test]
    fn accesses_are_lines_of_text() {
        let read = |width| move |client: &Client| client.read(Space::Memory, 0xfeb0_0000, width);
        assert_eq!(
            exchange("OK 0x0000000074726976\n", read(Width::Four)),
            ("readl 0xfeb00000\n".into(), Ok(0x7472_6976))
        );
        let (command, value) = exchange("IRQ raise 5\nIRQ lower 5\nOK 0x12\n", read(Width::One));
        assert_eq!((command.as_str(), value), ("readb 0xfeb00000\n", Ok(0x12)));
        let (command, value) = exchange("OK 0x1234\n", |client| client.read(Space::Io, 0xc010, Width::Two));
        assert_eq!((command.as_str(), value), ("inw 0xc010\n", Ok(0x1234)));
        let (command, value) = exchange("OK\n", |client| {
            client.write(Space::Io, 0xcf8, Width::Four, 0x8000_0000)
        });
        assert_eq!((command.as_str(), value), ("outl 0xcf8 0x80000000\n", Ok(())));
        let (command, value) = exchange("OK\n", |client| client.write(Space::Memory, 0x10, Width::One, 7));
        assert_eq!((command.as_str(), value), ("writeb 0x10 0x7\n", Ok(())));
    }

    #[test]
    fn interrupt_lines_are_noted_in_between() {
        let (_, asserted) = exchange(
            "IRQ raise 5\nIRQ raise 16\nIRQ lower 5\nIRQ what\nOK\n",
            |client| {
                client.intercept("ioapic")?;
                Ok(client.asserted())
            },
        );
        assert_eq!(asserted, Ok(vec![16]));
    }

    #[test]
    fn answers_that_are_none() {
        for answer in [
            "FAIL Unknown command\n",
            "OK\n",
            "OK 12\n",
            "OK 0x123456789\n",
            "OK 0xno\n",
            "\n",
        ] {
            let (_, value) = exchange(answer, |client| client.read(Space::Memory, 0, Width::Four));
            assert!(matches!(value, Err(TransportError::Protocol(_))), "{answer}");
        }
        let (_, value) = exchange("", |client| client.read(Space::Memory, 0, Width::Four));
        assert_eq!(value, Err(TransportError::Gone));
    }
}
