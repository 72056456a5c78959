//! A guest on the machine in this program.

use std::fs;
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd};

use anyhow::{Context, bail};
use ringwright_device::Device;
use ringwright_device::transport::{self, mmio, pci};
use ringwright_machine::{Kernel, Machine, Options, Outcome};
use ringwright_spec::Features;

use super::engine::{Bus, Interface, Interrupts, Presentation, Wiring};
use super::guest::Guest;
use super::peers::Parts;

/// What the kernel is told besides the user's words. There is no other console than that of the firmware before the
/// virtio console is there, and what is written to the kernel's log goes there too; a panic ends the machine.
const ARGUMENTS: &str =
    "earlycon=sbi keep_bootcon console=none printk.devkmsg=on panic=-1 quiet init_on_alloc=0";

/// The machine while the guest runs.
pub struct Running(ringwright_machine::Running);

impl Running {
    /// Puts the machine together and starts it; the guest's boot console goes to `console`.
    pub fn start(
        guest: &Guest,
        parts: &Parts,
        devices: Vec<Box<dyn Device>>,
        append: &str,
        console: PipeWriter,
    ) -> anyhow::Result<Self> {
        let mut machine = Machine::new(Options {
            memory: u64::from(guest.memory) << 20,
            harts: guest.harts,
        })?;
        let Presentation { ring, wiring } = guest.presentation;
        let wiring = wiring.context("the embedded machine has no wiring")?;
        for (number, device) in devices.into_iter().enumerate() {
            attach(&mut machine, device, number, wiring, ring.withheld())?;
        }
        let path = parts.kernel()?;
        let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let initrd = fs::read(&guest.initrd);
        let initrd = initrd.with_context(|| format!("cannot read {}", guest.initrd.display()))?;
        let mut seed = [0; 32];
        rustix::rand::getrandom(&mut seed, rustix::rand::GetRandomFlags::empty()).context("no randomness")?;
        let kernel = Kernel {
            file: &file,
            initrd: &initrd,
            arguments: &format!("{ARGUMENTS} {append} {}", guest.append),
            seed,
        };
        machine
            .load(&kernel)
            .with_context(|| format!("cannot boot {}", path.display()))?;
        Ok(Self(machine.start(Box::new(console))?))
    }

    /// Says how it ended, which it has.
    pub fn finish(&mut self) -> anyhow::Result<()> {
        match self.0.end() {
            Outcome::PowerOff | Outcome::Ended => Ok(()),
            Outcome::Reboot => bail!("the guest has restarted itself, as a kernel does that panics"),
            Outcome::Fatal { hart, fatal } => bail!("hart {hart}: {fatal}\n{}", self.0.dump()),
            Outcome::Panicked => bail!("a thread of the machine has panicked"),
        }
    }

    /// The registers of the harts.
    pub fn complaint(&self) -> String {
        format!("{} instructions executed\n{}", self.instructions(), self.0.dump())
    }

    /// Instructions that the harts have retired.
    pub fn instructions(&self) -> u64 {
        self.0.instructions()
    }
}

/// Readable once the machine has ended.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn attach(
    machine: &mut Machine,
    device: Box<dyn Device>,
    number: usize,
    wiring: Wiring,
    withheld: Features,
) -> anyhow::Result<()> {
    let common = transport::Options {
        masked_features: withheld,
        ..Default::default()
    };
    let on_pci = match wiring.bus {
        Bus::Mmio => false,
        Bus::Pci => true,
        Bus::Mixed => number.is_multiple_of(2),
    };
    if on_pci {
        let options = pci::Options {
            common,
            kind: match wiring.interface {
                Interface::Modern => pci::Kind::NonTransitional,
                Interface::Transitional => pci::Kind::Transitional,
                Interface::Legacy => pci::Kind::Legacy,
            },
            vectors: match wiring.interrupts {
                Interrupts::Msix => None,
                Interrupts::Intx => Some(0),
            },
            ..Default::default()
        };
        machine.attach_pci(device, options)?;
    } else {
        let options = mmio::Options {
            common,
            version: match wiring.interface {
                // A device over MMIO has one version.
                Interface::Modern | Interface::Transitional => mmio::Version::Modern,
                Interface::Legacy => mmio::Version::Legacy,
            },
            ..Default::default()
        };
        machine.attach_mmio(device, options)?;
    }
    Ok(())
}
