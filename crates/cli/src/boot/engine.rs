//! What can run a guest, and how the guest then sees our devices.

use std::fmt;
use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::ValueEnum;
use ringwright_device::Device;
use ringwright_spec::{Features, feature};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::guest::Guest;
use super::peers::Parts;
use super::qemu::Emulation;
use super::{embedded, process};
use crate::signals::Ending;

/// What can run a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The machine in this program (RISC-V): all devices, on every bus and with every interface.
    Machine,
    /// QEMU (software emulation): all devices, both ring formats, over vhost-user or vfio-user.
    Qemu,
    /// User Mode Linux: a Linux kernel as a process; the devices that it has drivers for, over vhost-user.
    Uml,
}

/// The format of the virtqueues that the devices offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Ring {
    /// Split virtqueues (section 2.7).
    Split,
    /// Packed virtqueues (section 2.8).
    Packed,
}

/// Where the devices are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Bus {
    /// Virtio over MMIO (section 4.2).
    Mmio,
    /// Virtio over PCI (section 4.1).
    Pci,
    /// Some here, some there.
    Mixed,
}

/// Which drivers the devices are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Interface {
    /// Those of VIRTIO 1.
    Modern,
    /// Those, and on PCI legacy ones too.
    Transitional,
    /// Legacy ones.
    Legacy,
}

/// How PCI functions interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Interrupts {
    /// By message, a vector for each virtqueue.
    Msix,
    /// By pin.
    Intx,
}

/// How a guest sees the devices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presentation {
    /// Format of the virtqueues.
    pub ring: Ring,
    /// The registers, where they are ours: on the embedded machine, and over vfio-user.
    pub wiring: Option<Wiring>,
    /// What QEMU emulates, where it runs the guest.
    #[serde(skip)]
    pub emulation: Option<Emulation>,
}

/// How the devices' registers are joined to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wiring {
    /// Where they are.
    pub bus: Bus,
    /// Which drivers they are for.
    pub interface: Interface,
    /// How PCI functions interrupt.
    pub interrupts: Interrupts,
}

/// Why a wait for a guest is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest has powered off.
    Exited,
    /// The guest wants to be started anew, as a kernel does that panics.
    Restarted,
    /// The time is up.
    Timeout,
    /// Somebody wishes something: the number of the wish.
    Wished(usize),
}

/// A guest that runs. It ends when this is dropped.
pub enum Running {
    /// In this program.
    Embedded(embedded::Running),
    /// In another one.
    Process(process::Running),
}

impl Running {
    /// Starts `guest` on `devices`; returns it with its boot console. `append` goes to the kernel's command line.
    pub fn start(
        guest: &Guest,
        parts: &Parts,
        devices: Vec<Box<dyn Device>>,
        append: &str,
    ) -> anyhow::Result<(Self, PipeReader)> {
        let (console, sink) = io::pipe()?;
        let running = match guest.engine {
            Engine::Machine => Self::Embedded(embedded::boot(guest, parts, devices, append, sink)?),
            Engine::Qemu | Engine::Uml => {
                Self::Process(process::Running::start(guest, parts, devices, append, sink)?)
            }
        };
        Ok((running, console))
    }

    /// Waits until the guest has ended, `timeout` has passed or somebody wishes something.
    pub fn wait(&mut self, timeout: Option<Duration>, wishes: &[&Ending]) -> anyhow::Result<Ended> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose()?;
            let mut polled = vec![PollFd::new(self, PollFlags::IN)];
            polled.extend(wishes.iter().map(|wish| PollFd::new(*wish, PollFlags::IN)));
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(Ended::Timeout),
                Ok(_) if !polled[0].revents().is_empty() => break,
                Ok(_) => {
                    let wish = polled[1..].iter().position(|polled| !polled.revents().is_empty());
                    return Ok(Ended::Wished(wish.unwrap_or(0)));
                }
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match self {
            Self::Embedded(machine) => machine.finish(),
            Self::Process(process) => process.finish(),
        }
    }

    /// What helps to find out why a guest does not go on.
    pub fn complaint(&self) -> String {
        match self {
            Self::Embedded(machine) => machine.complaint(),
            Self::Process(process) => process.complaint(),
        }
    }

    /// Instructions that the guest has executed, where that is known.
    pub fn instructions(&self) -> Option<u64> {
        match self {
            Self::Embedded(machine) => Some(machine.instructions()),
            Self::Process(_) => None,
        }
    }
}

/// Readable once the guest has ended.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Embedded(machine) => machine.as_fd(),
            Self::Process(process) => process.as_fd(),
        }
    }
}

impl Presentation {
    /// Refuses what cannot be.
    pub fn check(&self) -> anyhow::Result<()> {
        if let Some(emulation) = self.emulation {
            let interrupts = self.wiring.map_or(Interrupts::Msix, |wiring| wiring.interrupts);
            emulation.check(interrupts)?;
        }
        let Some(wiring) = self.wiring else {
            return Ok(());
        };
        if self.emulation.is_some() && (wiring.bus != Bus::Pci || wiring.interface != Interface::Modern) {
            bail!("over vfio-user devices are on PCI and for modern drivers");
        }
        if self.ring == Ring::Packed && wiring.interface == Interface::Legacy {
            bail!("legacy drivers know split virtqueues only: --ring split");
        }
        Ok(())
    }
}

impl Ring {
    /// The feature that the devices do not offer, so that this format is what they use.
    pub fn withheld(self) -> Features {
        match self {
            Self::Split => feature::RING_PACKED,
            Self::Packed => Features::NONE,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "machine",
            Self::Qemu => "qemu",
            Self::Uml => "uml",
        })
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => "split",
            Self::Packed => "packed",
        })
    }
}

impl fmt::Display for Wiring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bus = match (self.bus, self.interrupts) {
            (Bus::Mmio, _) => "mmio",
            (Bus::Pci, Interrupts::Msix) => "pci, MSI-X",
            (Bus::Pci, Interrupts::Intx) => "pci, INTx",
            (Bus::Mixed, Interrupts::Msix) => "mmio and pci, MSI-X",
            (Bus::Mixed, Interrupts::Intx) => "mmio and pci, INTx",
        };
        let interface = match self.interface {
            Interface::Modern => "modern",
            Interface::Transitional => "transitional",
            Interface::Legacy => "legacy",
        };
        write!(f, "{bus}, {interface}")
    }
}

impl fmt::Display for Presentation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(emulation) = &self.emulation {
            write!(f, "{emulation}, ")?;
        }
        if let Some(wiring) = &self.wiring {
            write!(f, "{wiring}, ")?;
        }
        write!(f, "{} rings", self.ring)
    }
}
