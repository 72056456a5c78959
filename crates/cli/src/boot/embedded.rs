//! A guest on the machine in this program.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, BufWriter, PipeWriter, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

use anyhow::{Context, bail};
use ringwright_device::Device;
use ringwright_device::transport::{self, mmio, pci};
use ringwright_machine::{Kernel, Machine, Options, Outcome};
use ringwright_spec::Features;

use super::engine::{Bus, Ended, Interface, Interrupts, Presentation, Wiring};
use super::guest::{Guest, Setting};
use super::peers::Parts;

/// What the kernel is told besides the user's words. There is no other console than that of the firmware before the
/// virtio console is there, and what is written to the kernel's log goes there too; a panic ends the machine. The rest
/// is for speed: memory need not be cleared twice, and a source of randomness that nobody uses not be tested.
const ARGUMENTS: &str = "earlycon=sbi keep_bootcon console=none printk.devkmsg=on panic=-1 quiet init_on_alloc=0 \
                         initcall_blacklist=jent_mod_init";

/// The machine while the guest runs.
pub struct Running {
    machine: ringwright_machine::Running,
    /// The first line of a snapshot, as JSON.
    setting: Setting,
}

/// A snapshot that has been opened.
pub struct Snapshot {
    /// What the machine has to be like.
    pub setting: Setting,
    rest: BufReader<File>,
}

/// Puts the machine together and boots a kernel; the guest's boot console goes to `console`.
pub fn boot(
    guest: &Guest,
    parts: &Parts,
    devices: Vec<Box<dyn Device>>,
    append: &str,
    console: PipeWriter,
) -> anyhow::Result<Running> {
    let mut machine = assemble(guest, devices)?;
    let path = parts.kernel()?;
    let file = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let initrd = guest.initrd(parts)?;
    let initrd = fs::read(&initrd).with_context(|| format!("cannot read {}", initrd.display()))?;
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
    start(guest, machine, console)
}

/// Puts the machine together and lets it go on where `snapshot` was taken.
pub fn restore(
    guest: &Guest,
    mut snapshot: Snapshot,
    devices: Vec<Box<dyn Device>>,
    console: PipeWriter,
) -> anyhow::Result<Running> {
    let mut machine = assemble(guest, devices)?;
    machine
        .restore(&mut snapshot.rest)
        .context("cannot restore the machine")?;
    start(guest, machine, console)
}

impl Running {
    /// Says how it ended, which it has.
    pub fn finish(&mut self) -> anyhow::Result<Ended> {
        match self.machine.end() {
            Outcome::PowerOff | Outcome::Ended => Ok(Ended::Exited),
            Outcome::Reboot => Ok(Ended::Restarted),
            Outcome::Fatal { hart, fatal } => bail!("hart {hart}: {fatal}\n{}", self.machine.dump()),
            Outcome::Panicked => bail!("a thread of the machine has panicked"),
        }
    }

    /// The registers of the harts.
    pub fn complaint(&self) -> String {
        format!(
            "{} instructions executed\n{}",
            self.instructions(),
            self.machine.dump()
        )
    }

    /// Instructions that the harts have retired.
    pub fn instructions(&self) -> u64 {
        self.machine.instructions()
    }

    /// Writes a snapshot to `file`, which is there whole or not at all. The machine does not go on.
    pub fn save(&self, file: &Path) -> anyhow::Result<()> {
        self.machine.pause();
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        let unfinished = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
            .with_context(|| format!("cannot write {}", file.display()))?;
        let mut out = BufWriter::new(unfinished);
        serde_json::to_writer(&mut out, &self.setting)?;
        out.write_all(b"\n")?;
        self.machine.save(&mut out)?;
        let finished = out.into_inner().context("cannot write the snapshot")?;
        finished
            .persist(file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(())
    }
}

/// Readable once the machine has ended.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.machine.as_fd()
    }
}

impl Snapshot {
    /// Opens what [`Running::save`] wrote.
    pub fn open(file: &Path) -> anyhow::Result<Self> {
        let open = File::open(file).with_context(|| format!("cannot read {}", file.display()))?;
        let mut rest = BufReader::new(open);
        let mut line = String::new();
        let setting = rest
            .read_line(&mut line)
            .ok()
            .and_then(|_| serde_json::from_str(&line).ok());
        let setting = setting.with_context(|| format!("{} is no snapshot of a guest", file.display()))?;
        Ok(Self { setting, rest })
    }
}

fn assemble(guest: &Guest, devices: Vec<Box<dyn Device>>) -> anyhow::Result<Machine> {
    let mut machine = Machine::new(Options {
        memory: u64::from(guest.setting.memory) << 20,
        harts: guest.setting.harts,
    })?;
    let Presentation { ring, wiring, .. } = guest.setting.presentation;
    let wiring = wiring.context("the embedded machine has no wiring")?;
    for (number, device) in devices.into_iter().enumerate() {
        attach(&mut machine, device, number, wiring, ring.withheld())?;
    }
    Ok(machine)
}

fn start(guest: &Guest, machine: Machine, console: PipeWriter) -> anyhow::Result<Running> {
    Ok(Running {
        machine: machine.start(Box::new(console))?,
        setting: guest.setting,
    })
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
