//! `ringwright boot`: a Linux guest on our devices, to look around in or to check them.

mod boot_log;
mod check;
mod embedded;
mod engine;
mod guest;
mod initramfs;
mod neighbour;
mod peers;
mod process;
mod qemu;
mod report;
mod session;
mod terminal;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Args;
use tempfile::TempDir;

use self::engine::{Bus, Engine, Interface, Interrupts, Presentation, Ring, Wiring};
use self::guest::Setting;
use self::qemu::{Emulation, Processor, Transport};
pub use self::terminal::size as terminal_size;

/// Boot a Linux guest on our devices: a disk, a network, a console and a source of randomness.
///
/// It ends in the guest's shell, on our console device. Ctrl-A X leaves; so does `exit`. With --save, Ctrl-A S saves the
/// guest for --restore, and leaves. The host is 10.0.2.2 on the guest's network: it answers ping, and echoes TCP port 7.
///
/// With --check the guest runs a script that uses every device, and a table says what it saw; the exit code is 0 only
/// if all of it is right.
#[derive(Args)]
pub struct Arguments {
    /// What runs the guest; the machine in this program, if not given.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// How the devices come to QEMU; over vhost-user, if not given.
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// The processor that QEMU emulates; x86-64, if not given. The others need --transport vfio-user.
    #[arg(long, value_enum)]
    arch: Option<Processor>,
    /// Put the devices behind an IOMMU. Needs --transport vfio-user.
    #[arg(long)]
    iommu: bool,
    /// Let QEMU share the guest's memory with nobody, so that the devices reach it by messages. Needs --transport vfio-user.
    #[arg(long)]
    private_memory: bool,
    /// Where the embedded machine has the devices; on PCI, if not given.
    #[arg(long, value_enum)]
    bus: Option<Bus>,
    /// The format of the virtqueues to offer; split, if not given.
    #[arg(long, value_enum)]
    ring: Option<Ring>,
    /// Which drivers the devices of the embedded machine are for; modern ones, if not given.
    #[arg(long, value_enum)]
    interface: Option<Interface>,
    /// The same as --interface legacy.
    #[arg(long, conflicts_with = "interface")]
    legacy: bool,
    /// How PCI functions of the embedded machine, or over vfio-user, interrupt; by message, if not given.
    #[arg(long, value_enum)]
    interrupts: Option<Interrupts>,
    /// Run a script in the guest that uses every device, and report what the guest saw: under every engine that is
    /// installed, with both ring formats, and in the embedded machine on every bus, with every interface and kind of
    /// interrupt, where the other options do not say which.
    #[arg(long)]
    check: bool,
    /// With --check: print the reports as JSON, a list of one for each guest.
    #[arg(long, requires = "check")]
    json: bool,
    /// Memory of the guest in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory: u32,
    /// Processors of the guest in the embedded machine.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = harts)]
    harts: usize,
    /// A raw disk image for the guest to use; otherwise it gets an empty disk of 256 MiB that vanishes with it.
    #[arg(long, value_name = "IMAGE", conflicts_with = "check")]
    disk: Option<PathBuf>,
    /// A disk for the guest instead of that, as the words behind `ringwright serve block` say: --block 'disk.qcow2 --format
    /// qcow2 --queues 4'. The embedded machine may have several. On SIGUSR2 the sizes of images are looked at again.
    #[arg(long, value_name = "WORDS", conflicts_with_all = ["check", "disk"])]
    block: Vec<String>,
    /// Exchange the guest's frames over this Unix stream socket, as passt and QEMU's `-netdev stream` do, instead of with
    /// the host that is built in.
    #[arg(long, value_name = "SOCKET", conflicts_with = "check")]
    network: Option<PathBuf>,
    /// Where to save the embedded machine, in the middle of whatever it does, on Ctrl-A S or SIGUSR1; it ends then. The
    /// disk must be one that stays.
    #[arg(long, value_name = "FILE", requires = "disk", conflicts_with = "check")]
    save: Option<PathBuf>,
    /// Go on with a machine that was saved, on the same disk.
    #[arg(
        long,
        value_name = "FILE",
        requires = "disk",
        conflicts_with_all = ["check", "engine", "transport", "arch", "iommu", "private_memory", "bus", "ring", "interface", "legacy", "interrupts", "memory", "harts", "kernel", "initrd"]
    )]
    restore: Option<PathBuf>,
    /// A kernel to boot instead of the one in the peers folder. Its virtio drivers have to be built in. For the embedded
    /// machine: an Image for RISC-V, which may be compressed with gzip.
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// An initial file system to boot instead of ours.
    #[arg(long, value_name = "FILE", conflicts_with = "check")]
    initrd: Option<PathBuf>,
    /// More words for the kernel's command line.
    #[arg(long, value_name = "WORDS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Folder with the engines, kernels and guest programs, as `cargo xtask setup` fills it.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "RINGWRIGHT_PEERS",
        default_value = "target/peers"
    )]
    peers: PathBuf,
    /// Seconds after which a guest is ended that has not shown its shell, or, with --check, not finished.
    #[arg(long, value_name = "SECONDS", default_value_t = 180)]
    timeout: u64,
    /// Copy the guest's boot console to standard error.
    #[arg(long)]
    verbose: bool,
}

/// Boots, and stays until the guest has ended.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.check {
        true => check::run(&arguments),
        false => session::run(&arguments),
    }
}

impl Arguments {
    /// The drivers that the devices are for, if the user says so.
    fn interface(&self) -> Option<Interface> {
        self.legacy.then_some(Interface::Legacy).or(self.interface)
    }

    /// Whether the user says something about the registers, which are not everywhere ours.
    fn chooses_wiring(&self) -> bool {
        self.bus.is_some() || self.interrupts.is_some() || self.interface().is_some()
    }

    /// Whether the user says something that only QEMU can do.
    fn chooses_emulation(&self) -> bool {
        self.transport.is_some() || self.arch.is_some() || self.iommu || self.private_memory
    }

    /// What QEMU is to emulate, if it is to run the guest.
    fn emulation(&self, engine: Engine) -> anyhow::Result<Option<Emulation>> {
        match engine {
            Engine::Qemu => Ok(Some(Emulation {
                processor: self.arch.unwrap_or(Processor::X86_64),
                transport: self.transport.unwrap_or(Transport::VhostUser),
                iommu: self.iommu,
                private_memory: self.private_memory,
            })),
            _ if self.chooses_emulation() => {
                bail!("--transport, --arch, --iommu and --private-memory are for QEMU: --engine qemu")
            }
            _ => Ok(None),
        }
    }

    /// Whether the user has nothing against this wiring.
    fn accepts(&self, wiring: Wiring) -> bool {
        self.bus.is_none_or(|bus| bus == wiring.bus)
            && self
                .interface()
                .is_none_or(|interface| interface == wiring.interface)
            && self
                .interrupts
                .is_none_or(|interrupts| interrupts == wiring.interrupts)
    }

    /// What the guest is to be like.
    fn setting(&self, engine: Engine) -> anyhow::Result<Setting> {
        let wiring = Wiring {
            bus: self.bus.unwrap_or(Bus::Pci),
            interface: self.interface().unwrap_or(Interface::Modern),
            interrupts: self.interrupts.unwrap_or(Interrupts::Msix),
        };
        let emulation = self.emulation(engine)?;
        let over_vfio = emulation.is_some_and(|emulation| emulation.transport == Transport::VfioUser);
        let presentation = Presentation {
            ring: self.ring.unwrap_or(Ring::Split),
            wiring: (engine == Engine::Machine || over_vfio).then_some(wiring),
            emulation,
        };
        if self.chooses_wiring() && presentation.wiring.is_none() {
            bail!(
                "--bus, --interface, --legacy and --interrupts are for the embedded machine (--engine machine), and \
                 --interrupts for --transport vfio-user"
            );
        }
        presentation.check()?;
        Ok(self.setting_with(presentation))
    }

    /// The same, where it is known how the guest sees its devices.
    fn setting_with(&self, presentation: Presentation) -> Setting {
        Setting {
            presentation,
            memory: self.memory,
            harts: self.harts,
        }
    }
}

/// A folder for this run's files, which goes with it.
fn folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("ringwright-")
        .tempdir()
        .context("cannot make a folder")
}

fn harts(text: &str) -> Result<usize, String> {
    let most = ringwright_machine::map::MAX_HARTS;
    match text.parse() {
        Ok(harts) if (1..=most).contains(&harts) => Ok(harts),
        _ => Err(format!("from 1 to {most} are possible")),
    }
}
