//! A client of QEMU's gdb stub: registers, and one instruction at a time.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// Longer than QEMU takes for anything here.
const DEADLINE: Duration = Duration::from_secs(60);

/// Registers by the stub's numbers: the PSW's halves, then the general registers.
pub const PSW_MASK: usize = 0;
pub const PSW_ADDRESS: usize = 1;
pub const GENERAL: usize = 2;

/// A processor that stands still, except when it is told to execute something.
pub struct Stub {
    stream: UnixStream,
    received: Vec<u8>,
}

impl Stub {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(DEADLINE))?;
        let received = Vec::new();
        let mut stub = Self { stream, received };
        // The registers have numbers only for those who have read their description.
        stub.ask("qSupported:multiprocess-;xmlRegisters=s390")?;
        for description in ["target.xml", "s390-core64.xml"] {
            stub.ask(&format!("qXfer:features:read:{description}:0,fff"))?;
        }
        Ok(stub)
    }

    pub fn register(&mut self, number: usize) -> io::Result<u64> {
        let value = self.ask(&format!("p{number:x}"))?;
        u64::from_str_radix(&value, 16).map_err(|_| protocol(&value))
    }

    pub fn set_register(&mut self, number: usize, value: u64) -> io::Result<()> {
        match self.ask(&format!("P{number:x}={value:016x}"))?.as_str() {
            "OK" => Ok(()),
            other => Err(protocol(other)),
        }
    }

    /// Executes one instruction.
    pub fn step(&mut self) -> io::Result<()> {
        self.send("s")?;
        self.stopped()
    }

    /// Lets the processor run for a while: QEMU's devices do some things only meanwhile.
    pub fn run(&mut self, time: Duration) -> io::Result<()> {
        self.send("c")?;
        std::thread::sleep(time);
        self.stream.write_all(&[3])?;
        self.stopped()
    }

    fn stopped(&mut self) -> io::Result<()> {
        let answer = self.receive()?;
        match answer.starts_with(['S', 'T']) {
            true => Ok(()),
            false => Err(protocol(&answer)),
        }
    }

    fn ask(&mut self, command: &str) -> io::Result<String> {
        self.send(command)?;
        self.receive()
    }

    fn send(&mut self, command: &str) -> io::Result<()> {
        let sum = command.bytes().fold(0_u8, u8::wrapping_add);
        self.stream.write_all(format!("${command}#{sum:02x}").as_bytes())
    }

    /// The next packet; the acknowledgements before it are skipped.
    fn receive(&mut self) -> io::Result<String> {
        loop {
            let start = self.received.iter().position(|byte| *byte == b'$');
            let end = self.received.iter().position(|byte| *byte == b'#');
            if let (Some(start), Some(end)) = (start, end)
                && self.received.len() >= end + 3
            {
                let packet = self.received.drain(..end + 3).collect::<Vec<_>>();
                self.stream.write_all(b"+")?;
                return Ok(String::from_utf8_lossy(&packet[start + 1..end]).into_owned());
            }
            let mut part = [0; 4096];
            match self.stream.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.received.extend_from_slice(&part[..length]),
            }
        }
    }
}

fn protocol(answer: &str) -> io::Error {
    io::Error::other(format!("QEMU's gdb stub answered {answer:?}"))
}
