//! `ringwright boot`: a Linux guest on our devices, to look around in or to check them.

mod check;
mod embedded;
mod engine;
mod guest;
mod initramfs;
mod neighbour;
mod peers;
mod process;
mod report;
mod terminal;

use std::io::{self, BufRead, BufReader, PipeReader, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use anyhow::{Context, bail};
use clap::Args;
use tempfile::TempDir;

use self::engine::{Bus, Ended, Engine, Interface, Interrupts, Presentation, Ring, Running, Wiring};
use self::guest::Guest;
use self::peers::Parts;
use self::terminal::Terminal;
use crate::signals::Ending;

/// Boot a Linux guest on our devices: a disk, a network, a console and a source of randomness.
///
/// It ends in the guest's shell, on our console device. Ctrl-A X leaves; so does `exit`. The host is 10.0.2.2 on the
/// guest's network: it answers ping, and echoes TCP port 7.
///
/// With --check the guest runs a script that uses every device, and a table says what it saw; the exit code is 0 only
/// if all of it is right.
#[derive(Args)]
pub struct Arguments {
    /// What runs the guest; the machine in this program, if not given.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
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
    /// How PCI functions of the embedded machine interrupt; by message, if not given.
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
    /// With --check: seconds after which a guest that has not finished is ended.
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
        false => use_guest(&arguments),
    }
}

impl Arguments {
    /// The drivers that the devices are for, if the user says so.
    fn interface(&self) -> Option<Interface> {
        self.legacy.then_some(Interface::Legacy).or(self.interface)
    }

    /// Whether the user says something that only the embedded machine can do.
    fn chooses_wiring(&self) -> bool {
        self.bus.is_some() || self.interrupts.is_some() || self.interface().is_some()
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

    /// How the guest is to see its devices.
    fn presentation(&self, engine: Engine) -> anyhow::Result<Presentation> {
        let wiring = Wiring {
            bus: self.bus.unwrap_or(Bus::Pci),
            interface: self.interface().unwrap_or(Interface::Modern),
            interrupts: self.interrupts.unwrap_or(Interrupts::Msix),
        };
        let presentation = Presentation {
            ring: self.ring.unwrap_or(Ring::Split),
            wiring: (engine == Engine::Machine).then_some(wiring),
        };
        if self.chooses_wiring() && presentation.wiring.is_none() {
            bail!(
                "--bus, --interface, --legacy and --interrupts are for the embedded machine: --engine machine"
            );
        }
        presentation.check()?;
        Ok(presentation)
    }
}

/// Joins the user's terminal to the guest's console until the guest has ended or the user leaves.
fn use_guest(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engine = arguments.engine.unwrap_or(Engine::Machine);
    let presentation = arguments.presentation(engine)?;
    let parts = Parts::find(engine, &arguments.peers, arguments.kernel.as_deref())?;
    let folder = folder()?;
    let guest = Guest::new(arguments, engine, presentation, &parts, folder.path())?;
    let (devices, console) = guest.devices(terminal::size())?;
    let ending = Ending::on_signals()?;
    let (mut running, boot_console) = Running::start(&guest, &parts, devices, "")?;
    let verbose = arguments.verbose;
    let drained = thread::Builder::new()
        .name("boot console".into())
        .spawn(move || drain(boot_console, verbose))?;
    let terminal = Terminal::join(console, ending.wish()?)?;
    let ended = running.wait(None, &ending);
    drop(terminal);
    drop(running);
    let panicked = drained.join().unwrap_or_default();
    match (ended, panicked) {
        (Ok(Ended::Exited), _) => Ok(ExitCode::SUCCESS),
        (Ok(_), _) => {
            tracing::info!("the guest has been ended");
            Ok(ExitCode::SUCCESS)
        }
        (Err(_), Some(panic)) => bail!("the guest's kernel has given up: {panic}"),
        (Err(error), None) => Err(error),
    }
}

/// A folder for this run's files, which goes with it.
fn folder() -> anyhow::Result<TempDir> {
    tempfile::Builder::new()
        .prefix("ringwright-")
        .tempdir()
        .context("cannot make a folder")
}

/// What a kernel writes before the reason why it gives up.
const PANIC: &str = "Kernel panic - not syncing: ";

/// The reason, if the line is the one with it.
fn panic(line: &str) -> Option<&str> {
    line.split_once(PANIC).map(|(_, reason)| reason.trim_end())
}

/// Reads the boot console, so that the guest never waits for a reader; copies it if the user wants to see it. Returns why
/// the kernel has given up, if it has.
fn drain(console: PipeReader, verbose: bool) -> Option<String> {
    let mut reason = None;
    for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        reason = reason.or_else(|| panic(&line).map(str::to_owned));
        if verbose && writeln!(io::stderr(), "{}\r", line.trim_end()).is_err() {
            break;
        }
    }
    reason
}

fn harts(text: &str) -> Result<usize, String> {
    let most = ringwright_machine::map::MAX_HARTS;
    match text.parse() {
        Ok(harts) if (1..=most).contains(&harts) => Ok(harts),
        _ => Err(format!("from 1 to {most} are possible")),
    }
}
