//! A QEMU process.

use std::io::{Read, Seek};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command};
use std::sync::Arc;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{self, Cam, Ecam, Function, Region};
use ringwright_memory::{Area, Mapping, Region as MemoryRegion};
use ringwright_sys::leash::{Leash, leashed};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::client::{Client, Space};
use crate::machine::{Machine, PciConfig};
use crate::{Config, QtestError, Window};

/// Bytes of RAM for rings and buffers.
const RAM: u64 = 32 << 20;

/// Ports of configuration mechanism 1.
const CAM: u64 = 0xcf8;
/// In the configuration space of a Q35's host bridge: where ECAM is; bit 0 switches it on, for 256 buses.
const PCIEXBAR: u64 = 0x60;

/// A machine without a guest. The process ends with this value.
#[derive(Debug)]
pub struct Qemu {
    machine: Machine,
    client: Arc<Client>,
    area: Arc<Area>,
    process: Process,
}

impl Qemu {
    /// Starts `program` as `machine` with more `arguments`: its devices.
    pub fn start<A: AsRef<std::ffi::OsStr>>(
        program: &Path,
        machine: &Machine,
        arguments: &[A],
    ) -> Result<Self, QtestError> {
        let length = machine.ram_before + RAM;
        let ram = Mapping::memfd("qtest", length as usize)?;
        let ram = MemoryRegion::new(machine.ram - machine.ram_before, Arc::new(ram));
        let Some((file, _)) = ram.file() else {
            return Err(QtestError::Ended("RAM without a file".into()));
        };
        let file = file.try_clone_to_owned()?;
        // What is opened by this path is the same memory.
        let path = format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd());
        let usable = Mapping::file(file.try_clone()?, machine.ram_before, RAM, true)?;
        let area = Area::from_region(MemoryRegion::new(machine.ram, Arc::new(usable)));
        let area = area.ok_or_else(|| QtestError::Ended("RAM that is no area".into()))?;

        let (ours, theirs) = UnixStream::pair()?;
        let mut command = leashed(program.as_os_str(), Leash::Output);
        command
            .args(["-accel", "qtest", "-nodefaults", "-display", "none"])
            // The protocol runs over standard input. That it ends is nothing to QEMU.
            .args(["-chardev", "socket,id=qtest,fd=0", "-qtest", "chardev:qtest"])
            .args(["-qtest-log", "/dev/null"])
            .arg("-m")
            .arg(format!("size={length}B"))
            .arg("-object")
            .arg(format!(
                "memory-backend-file,id=ram,size={length},mem-path={path},share=on"
            ))
            .arg("-machine")
            .arg(format!("{},memory-backend=ram", machine.machine))
            .args(arguments)
            .stdin(OwnedFd::from(theirs));
        let process = Process::start(program, command)?;
        let mut qemu = Self {
            machine: machine.clone(),
            client: Arc::new(Client::new(ours)?),
            area,
            process,
        };
        // QEMU has opened the memory when it answers; until then the descriptor stays open.
        match qemu.memory(machine.ram).read32(0) {
            Ok(_) => {}
            Err(TransportError::Gone) => return Err(qemu.process.failure(program)),
            Err(error) => return Err(error.into()),
        }
        drop(file);
        Ok(qemu)
    }

    /// RAM that the devices reach: rings and buffers go there.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The machine.
    pub fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Registers at a physical address.
    pub fn memory(&self, address: u64) -> Window {
        self.window(Space::Memory, address)
    }

    /// Registers in I/O space, which only some processors have.
    pub fn ports(&self, port: u16) -> Window {
        self.window(Space::Io, port.into())
    }

    /// Where devices over MMIO may be.
    pub fn mmio_places(&self) -> impl Iterator<Item = Window> {
        let (base, distance, count) = self.machine.mmio.unwrap_or_default();
        (0..count).map(move |number| self.memory(base + distance * u64::from(number)))
    }

    /// The way to PCI configuration spaces; `None` for a machine without PCI.
    pub fn config(&self) -> Result<Option<Config>, TransportError> {
        let Some(pci) = &self.machine.pci else {
            return Ok(None);
        };
        let cam = || Cam::new(self.ports(CAM as u16));
        Ok(Some(match &pci.config {
            PciConfig::Cam => Config::Cam(cam()),
            PciConfig::Ecam(base, buses) => Config::Ecam(Ecam::new(self.memory(*base), buses.clone())),
            PciConfig::Q35(base, buses) => {
                self.switch_on_ecam(&cam(), *base)?;
                Config::Ecam(Ecam::new(self.memory(*base), buses.clone()))
            }
        }))
    }

    /// Numbers the buses, gives all functions addresses, and returns them.
    pub fn configure_pci(&self) -> Result<Vec<Function<Box<dyn Registers + Send>>>, TransportError> {
        match (self.config()?, &self.machine.pci) {
            (Some(config), Some(pci)) => pci::configure(&config, 0, &mut pci.windows.clone()),
            _ => Ok(Vec::new()),
        }
    }

    /// The way to the registers of a region of a BAR.
    pub fn map(&self, region: &Region) -> Option<Window> {
        let address = region.address?;
        match (region.space, self.machine.pci.as_ref()?.io) {
            (pci::Space::Memory, _) => Some(self.memory(address)),
            (pci::Space::Io, Some(base)) => Some(self.memory(base + address)),
            (pci::Space::Io, None) => Some(self.ports(u16::try_from(address).ok()?)),
        }
    }

    /// From now on [`asserted`](Self::asserted) tells of the interrupt lines into the object at `path` of QEMU's tree, such
    /// as `ioapic`.
    pub fn intercept(&self, path: &str) -> Result<(), TransportError> {
        self.client.intercept(path)
    }

    /// The intercepted interrupt lines that were asserted when a register was last accessed.
    pub fn asserted(&self) -> Vec<u32> {
        self.client.asserted()
    }

    fn window(&self, space: Space, base: u64) -> Window {
        Window {
            client: self.client.clone(),
            space,
            base,
        }
    }

    fn switch_on_ecam(&self, cam: &Cam<Window>, base: u64) -> Result<(), TransportError> {
        let bridge = pci::Address::new(0, 0, 0).and_then(|address| pci::ConfigAccess::function(cam, address));
        let mut bridge = bridge.ok_or(TransportError::Unsupported("a host bridge"))?;
        bridge.write32(PCIEXBAR + 4, (base >> 32) as u32)?;
        bridge.write32(PCIEXBAR, base as u32 | 1)
    }
}

/// A process group that ends with this value, and with this process.
#[derive(Debug)]
struct Process {
    child: Child,
    /// The other end of its leash.
    _leash: UnixStream,
    /// What it writes to standard error.
    words: std::fs::File,
}

impl Process {
    fn start(program: &Path, mut command: Command) -> Result<Self, QtestError> {
        let words = rustix::fs::memfd_create("qemu", rustix::fs::MemfdFlags::CLOEXEC)
            .map_err(std::io::Error::from)?;
        let words = std::fs::File::from(words);
        let (ours, theirs) = UnixStream::pair()?;
        let child = command
            .stdout(OwnedFd::from(theirs))
            .stderr(words.try_clone()?)
            .spawn()
            .map_err(|source| QtestError::Start {
                program: program.display().to_string(),
                source,
            })?;
        Ok(Self {
            child,
            _leash: ours,
            words,
        })
    }

    /// Why it has ended, by what it said before.
    fn failure(&mut self, program: &Path) -> QtestError {
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => return QtestError::Connection(error),
        };
        let mut words = String::new();
        let read = self
            .words
            .rewind()
            .and_then(|()| self.words.read_to_string(&mut words));
        let words = match read {
            Ok(0) | Err(_) => status.to_string(),
            Ok(_) => words.trim_end().to_owned(),
        };
        match status.code() {
            Some(126 | 127) => QtestError::Start {
                program: program.display().to_string(),
                source: std::io::Error::other(words),
            },
            _ => QtestError::Ended(words),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; until it is waited for, its number is nobody else's.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MICROVM;

    #[test]
    fn a_program_that_is_not_there() {
        let error = Qemu::start::<&str>("no such program".as_ref(), &MICROVM, &[]).unwrap_err();
        assert!(matches!(error, QtestError::Start { .. }), "{error}");
        assert!(error.to_string().contains("no such program"));
    }

    #[test]
    fn a_program_that_ends_at_once() {
        let error = Qemu::start::<&str>("false".as_ref(), &MICROVM, &[]).unwrap_err();
        assert!(
            matches!(&error, QtestError::Ended(words) if words.contains("exit status: 1")),
            "{error}"
        );
    }
}
