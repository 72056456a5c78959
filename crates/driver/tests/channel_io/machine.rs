//! A QEMU process with an s390x machine in which no program runs: its processor executes the I/O instructions that it is
//! told to, one by one.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::{Area, Mapping, Memory, Region};
use ringwright_spec::ccw::DIAGNOSE_NOTIFY;
use ringwright_spec::ccw::channel::{ConditionCode, Irb, Orb, Schib};
use zerocopy::{FromBytes, IntoBytes};

use crate::gdb::{GENERAL, PSW_ADDRESS, PSW_MASK, Stub};

/// Bytes of RAM.
const RAM: u64 = 64 << 20;
/// Where the memory for the driver begins.
const AREA: u64 = 1 << 20;

/// 64-bit addresses, no interruptions.
const MASK: u64 = 0x0000_0001_8000_0000;

/// Where the operand of an instruction is.
const OPERAND: u64 = 0x3000;

/// Instructions, each with a place of its own: TCG does not notice when one is changed by another process. The first four
/// have their operand at the address in general register 2.
const STSCH: (u64, &[u8]) = (0x2000, &[0xb2, 0x34, 0x20, 0x00]);
const MSCH: (u64, &[u8]) = (0x2010, &[0xb2, 0x32, 0x20, 0x00]);
const SSCH: (u64, &[u8]) = (0x2020, &[0xb2, 0x33, 0x20, 0x00]);
const TSCH: (u64, &[u8]) = (0x2030, &[0xb2, 0x35, 0x20, 0x00]);
/// DIAGNOSE 0x500, general registers 2 and 4.
const DIAG: (u64, &[u8]) = (0x2040, &[0x83, 0x24, 0x05, 0x00]);
/// A jump to itself.
const LOOP: (u64, &[u8]) = (0x2050, &[0xa7, 0xf4, 0x00, 0x00]);

/// The machine. The process ends with this value.
pub struct Machine {
    stub: Stub,
    memory: Memory,
    area: Arc<Area>,
    process: Child,
}

impl Machine {
    /// Starts `program` with devices.
    pub fn start(program: &Path, devices: &[String]) -> Self {
        let ram = Region::new(0, Arc::new(Mapping::memfd("s390x", RAM as usize).unwrap()));
        let file = ram.file().unwrap().0.try_clone_to_owned().unwrap();
        let usable = Mapping::file(file.try_clone().unwrap(), AREA, RAM - AREA, true).unwrap();
        let area = Area::from_region(Region::new(AREA, Arc::new(usable))).unwrap();
        // What is opened by this path is the same memory.
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let (ours, theirs) = UnixStream::pair().unwrap();
        let process = Command::new(program)
            .args(["-machine", "s390-ccw-virtio,memory-backend=ram", "-accel", "tcg"])
            .args(["-m", &format!("{}M", RAM >> 20), "-object"])
            .arg(format!(
                "memory-backend-file,id=ram,size={RAM},mem-path={path},share=on"
            ))
            .args(["-nodefaults", "-display", "none", "-S"])
            .args(["-chardev", "socket,id=gdb,fd=0", "-gdb", "chardev:gdb"])
            .args(devices)
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let memory = Memory::new(vec![ram]).unwrap();
        for (address, code) in [STSCH, MSCH, SSCH, TSCH, DIAG, LOOP] {
            memory.write(address, code).unwrap();
        }
        // QEMU has opened the memory when the stub answers; until then the descriptor stays open.
        let stub = Stub::new(ours).unwrap();
        drop(file);
        Self {
            stub,
            memory,
            area,
            process,
        }
    }

    /// RAM for channel programs, rings and buffers.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// Lets the machine run for a while, doing nothing.
    pub fn run(&mut self, time: Duration) -> io::Result<()> {
        self.stub.set_register(PSW_MASK, MASK)?;
        self.stub.set_register(PSW_ADDRESS, LOOP.0)?;
        self.stub.run(time)
    }

    /// Executes an instruction with these values in general registers 1 to 4; gives the condition code and register 2.
    fn execute(
        &mut self,
        (address, _): (u64, &[u8]),
        registers: [u64; 4],
    ) -> io::Result<(ConditionCode, u64)> {
        self.stub.set_register(PSW_MASK, MASK)?;
        self.stub.set_register(PSW_ADDRESS, address)?;
        for (number, value) in (GENERAL + 1..).zip(registers) {
            self.stub.set_register(number, value)?;
        }
        self.stub.step()?;
        let condition = self.stub.register(PSW_MASK)? >> 44 & 3;
        Ok((ConditionCode(condition as u8), self.stub.register(GENERAL + 2)?))
    }

    /// Executes one of the I/O instructions with an operand, which it may change.
    fn io(
        &mut self,
        instruction: (u64, &[u8]),
        id: u32,
        operand: &mut [u8],
    ) -> Result<ConditionCode, TransportError> {
        let fault = |_| TransportError::Protocol("an operand that is not in memory");
        self.memory.write(OPERAND, operand).map_err(fault)?;
        let (condition, _) = self
            .execute(instruction, [id.into(), OPERAND, 0, 0])
            .map_err(gone)?;
        self.memory.read(OPERAND, operand).map_err(fault)?;
        Ok(condition)
    }
}

/// QEMU has gone, or says what nobody understands.
fn gone(error: io::Error) -> TransportError {
    eprintln!("{error}");
    TransportError::Gone
}

impl ChannelSubsystem for Machine {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        let mut schib = Schib::default();
        let condition = self.io(STSCH, id, schib.as_mut_bytes())?;
        Ok((condition == ConditionCode::DONE).then_some(schib))
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        let mut operand = *schib;
        self.io(MSCH, id, operand.as_mut_bytes())
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        // With room for the extension, which nobody looks at.
        let mut operand = [0; 32];
        operand[..size_of::<Orb>()].copy_from_slice(orb.as_bytes());
        self.io(SSCH, id, &mut operand)
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        // The same for the extended-measurement word.
        let mut operand = [0; 96];
        let condition = self.io(TSCH, id, &mut operand)?;
        let irb = Irb::read_from_prefix(&operand).map_or_else(|_| Irb::default(), |(irb, _)| irb);
        Ok((condition, irb))
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        let registers = [DIAGNOSE_NOTIFY, id.into(), data, cookie];
        Ok(self.execute(DIAG, registers).map_err(gone)?.1)
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
