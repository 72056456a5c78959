//! What checks are pointed at.

mod in_process;
mod ours;
mod qemu;
pub(crate) mod server;
mod trace;
mod vhost_user;

use std::any::Any;
use std::fmt;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Bar, Region};
use ringwright_driver::{Transport, TransportError};
use ringwright_memory::Area;

use crate::raw::RawCcw;

pub use in_process::InProcess;
pub use ours::{Made, OURS, ours};
pub(crate) use ours::{OFFLINE_ZONE, PAIRS, RDONLY_ZONE, ZONE_SECTORS};
pub use qemu::{QEMU, Qemu};
pub use server::Server;
pub use trace::{Trace, Traced};
pub use vhost_user::VhostUser;

/// A device that checks are pointed at: each of them gets a specimen of its own, in the state after a reset.
pub trait Subject: Send + Sync {
    /// Its name, for reports.
    fn name(&self) -> String;

    /// The bus that it is on.
    fn bus(&self) -> Bus;

    /// A specimen that no driver has met, or that has been reset. What its registers are asked is written down in `trace`.
    fn open(&self, trace: &Trace) -> Result<Specimen, SubjectError>;

    /// Whether there can be several specimens at a time.
    fn is_parallel(&self) -> bool;

    /// Says how it has ended, if it has since the last call, or does so within `moment`, and was not meant to.
    fn end(&self, _moment: Duration) -> Option<String> {
        None
    }

    /// A specimen is left behind with a check that does not end: whatever keeps the next one from being made has to go.
    fn give_up(&self) {}
}

/// How a subject is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bus {
    /// In this process, without any registers.
    Direct,
    /// Over a vhost-user socket, which has no registers either.
    VhostUser,
    /// Virtio over MMIO.
    Mmio,
    /// Virtio over PCI.
    Pci,
    /// Virtio over channel I/O.
    Ccw,
}

/// A device under a check.
pub struct Specimen {
    /// The driver's view of the bus.
    pub transport: Box<dyn Transport + Send>,
    /// Memory that the device reaches.
    pub area: Arc<Area>,
    /// The registers, for checks of the bus itself.
    pub raw: Raw,
    /// Makes the device's configuration change, if anything can: from behind, as whoever operates it does.
    pub change: Option<Change>,
    /// The far end of a network card's cable, if it can be reached: before each frame stands its length, 32 bits big-endian.
    pub cable: Option<UnixStream>,
    /// What ends with the specimen: a process, a machine.
    pub keep: Box<dyn Any + Send>,
}

/// Makes the configuration of a device change. Whether it did.
pub type Change = Box<dyn FnMut() -> bool + Send>;

/// The registers of a specimen.
pub enum Raw {
    /// It has none.
    Nothing,
    /// Those of Virtio over MMIO.
    Mmio(Box<dyn Registers + Send>),
    /// Those of a PCI function.
    Pci(RawPci),
    /// A subchannel, which takes programs.
    Ccw(RawCcw),
}

/// A PCI function: its configuration space, and its BARs.
pub struct RawPci {
    /// The configuration space.
    pub config: Box<dyn Registers + Send>,
    /// The base address registers.
    pub bars: Vec<Bar>,
    /// Gives the registers of a part of a BAR.
    pub map: MapRegion,
}

/// Gives the registers of a part of a BAR; `None` if they cannot be reached.
pub type MapRegion = Box<dyn FnMut(&Region) -> Option<Box<dyn Registers + Send>> + Send>;

/// Why there is no specimen.
#[derive(Debug, thiserror::Error)]
pub enum SubjectError {
    /// The device was not joined with memory and a bus.
    #[error(transparent)]
    Loopback(#[from] ringwright_loopback::LoopbackError),
    /// It has no place on the channel subsystem.
    #[error(transparent)]
    Host(#[from] ringwright_device::HostError),
    /// It is no PCI function.
    #[error(transparent)]
    Function(#[from] ringwright_device::transport::pci::FunctionError),
    /// Its registers could not be reached.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The vhost-user back-end refuses.
    #[error(transparent)]
    Frontend(#[from] ringwright_vhost_user::frontend::FrontendError),
    /// The program that serves it has not come so far as to listen.
    #[error("`{command}` {what}")]
    Server {
        /// Its command line.
        command: String,
        /// What it did instead.
        what: String,
    },
    /// QEMU does not start, or has ended.
    #[error(transparent)]
    Qemu(#[from] ringwright_qtest::QtestError),
    /// There is no device.
    #[error("there is no virtio device on {0}")]
    NoDevice(Bus),
    /// What it stands on could not be made: a file, a process.
    #[error("{what}: {source}")]
    System {
        /// What was to be made.
        what: String,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Bus {
    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::VhostUser => "vhost-user",
            Self::Mmio => "mmio",
            Self::Pci => "pci",
            Self::Ccw => "ccw",
        }
    }
}

impl fmt::Display for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
