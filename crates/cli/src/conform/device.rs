//! `ringwright conform device`: what a device makes of the document.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use ringwright_conformance::report::Report;
use ringwright_conformance::subject::{self, OURS, QEMU, Qemu, Server, VhostUser, ours};
use ringwright_conformance::{Check, Mutant, Side, Subject, device, fits, run as run_checks};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use super::options::{Options, Pace};
use super::screen::Screen;
use super::{HOLDS, conclude};

/// Check a device.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Option<DeviceSubject>,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    pace: Pace,
}

/// A device to check.
#[derive(Subcommand)]
enum DeviceSubject {
    VhostUser(VhostUserSubject),
    Qemu(QemuSubject),
    Ours(OurSubject),
}

/// Checks the device.
pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let Arguments {
        subject,
        options,
        pace,
    } = arguments;
    let chosen = options.select(device::checks())?;
    let mut screen = Screen::new(&options);
    if options.list {
        for check in chosen {
            screen.describe(check, check.mutants.iter().map(|mutant| mutant.name))?;
        }
        return Ok(HOLDS);
    }
    let Some(subject) = subject else {
        bail!("say which device to check: `ringwright conform device --help` lists the kinds");
    };
    let folder = TempDir::with_prefix("ringwright-conform-")?;
    let subject = subject.open(folder.path())?;
    examine(subject, &chosen, &options, &pace, &mut screen)
}

/// Runs the checks, tells of each, and writes the reports.
fn examine(
    subject: Arc<dyn Subject>,
    checks: &[&'static Check],
    options: &Options,
    pace: &Pace,
    screen: &mut Screen,
) -> anyhow::Result<u8> {
    let run = pace.run(options.deadline());
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, run.stop.clone())?;
    }
    let name = options.label.clone().unwrap_or_else(|| subject.name());
    let bus = subject.bus().to_string();
    screen.begin(&name, checks)?;
    let start = Instant::now();
    let (mut failure, progress) = (None, &mut *screen);
    let tell = |record: &_| {
        if let Err(error) = progress.tell(record) {
            failure.get_or_insert(error);
            run.stop.store(true, Ordering::Relaxed);
        }
    };
    let records = run_checks(subject, checks, &run, tell)?;
    if let Some(error) = failure {
        return Err(error.into());
    }
    let mut report = Report::new(name, bus, Side::Device, &records);
    report.complete = records.len() == checks.len();
    conclude(report, start, options, screen)
}

/// A device of any program, behind a vhost-user socket.
///
/// The program has to listen there, and to take one connection after another. With --command it is started for the run, and again
/// when a check has killed it or when it ends with its connection; it ends with the run.
///
/// For example: ringwright conform device vhost-user --type fs --command 'virtiofsd --socket-path {socket} --shared-dir .'
#[derive(Args)]
struct VhostUserSubject {
    /// The Unix socket; with --command it may be left out.
    #[arg(required_unless_present = "command")]
    socket: Option<PathBuf>,
    /// What the device is, as vhost-user itself does not say: net, blk, console, rng, fs, or any other name or virtio device id
    /// of the document. Checks that need an answer know a request for these five.
    #[arg(long = "type", value_name = "TYPE")]
    device_type: String,
    /// What a shell is to start; `{socket}` in it stands for the path of the socket.
    #[arg(long)]
    command: Option<String>,
}

/// One of QEMU's own devices, without a guest: its registers are written by the qtest protocol.
///
/// For example: ringwright conform device qemu block --bus pci --with packed=on,queue_reset=on
#[derive(Args)]
struct QemuSubject {
    /// Which.
    #[arg(value_parser = QEMU.to_vec())]
    device: String,
    /// The bus that it is on: of a microvm, or of a Q35.
    #[arg(long, value_enum, default_value = "pci")]
    bus: QemuBus,
    /// More properties of the device, as -device takes them.
    #[arg(long, value_name = "PROPERTIES")]
    with: Option<String>,
    /// QEMU.
    #[arg(long, value_name = "PROGRAM", default_value = "qemu-system-x86_64")]
    program: PathBuf,
}

/// Where one of QEMU's devices can be.
#[derive(Clone, Copy, ValueEnum)]
enum QemuBus {
    Mmio,
    Pci,
}

/// One of the devices here, in this process.
#[derive(Args)]
struct OurSubject {
    /// Which.
    #[arg(value_parser = OURS.to_vec())]
    device: String,
    /// The bus that it is on.
    #[arg(long, value_enum, default_value = "mmio")]
    bus: Bus,
    /// Let it break a clause, to see the checks catch it: `conform device --list` names the mutants. `*` stands for anything.
    #[arg(long, value_name = "NAME")]
    mutant: Option<String>,
}

/// Where one of our devices can be.
#[derive(Clone, Copy, ValueEnum)]
enum Bus {
    /// No bus: the calls that a driver makes are the device's own.
    Direct,
    Mmio,
    Pci,
    Ccw,
}

impl DeviceSubject {
    /// Makes it; `folder` is there for what it needs.
    fn open(self, folder: &Path) -> anyhow::Result<Arc<dyn Subject>> {
        Ok(match self {
            Self::VhostUser(subject) => Arc::new(subject.open(folder)?),
            Self::Qemu(subject) => Arc::new(subject.open()?),
            Self::Ours(subject) => Arc::new(subject.open()?),
        })
    }
}

impl VhostUserSubject {
    fn open(self, folder: &Path) -> anyhow::Result<VhostUser> {
        let id = crate::explain::device_id(&self.device_type)?;
        let socket = self.socket.unwrap_or_else(|| folder.join("subject.sock"));
        let subject = VhostUser::new(socket, id);
        Ok(match self.command {
            Some(command) => subject.served_by(Server::new(command)),
            None => subject,
        })
    }
}

impl QemuSubject {
    fn open(&self) -> anyhow::Result<Qemu> {
        let bus = match self.bus {
            QemuBus::Mmio => subject::Bus::Mmio,
            QemuBus::Pci => subject::Bus::Pci,
        };
        let missing = || anyhow!("QEMU's {} device is not known here", self.device);
        let subject = Qemu::new(&self.program, &self.device, bus).ok_or_else(missing)?;
        Ok(match &self.with {
            Some(properties) => subject.with(properties),
            None => subject,
        })
    }
}

impl OurSubject {
    fn open(&self) -> anyhow::Result<subject::InProcess> {
        let bus = match self.bus {
            Bus::Direct => subject::Bus::Direct,
            Bus::Mmio => subject::Bus::Mmio,
            Bus::Pci => subject::Bus::Pci,
            Bus::Ccw => subject::Bus::Ccw,
        };
        let missing = || anyhow!("there is no {} device here", self.device);
        let subject = ours(&self.device, bus).ok_or_else(missing)?;
        let Some(wanted) = &self.mutant else {
            return Ok(subject);
        };
        let (check, mutant) = find_mutant(wanted)?;
        if let Some(own) = mutant.device(check).filter(|own| *own != self.device) {
            bail!("the mutant `{}` is a {own} device", mutant.name);
        }
        Ok(subject.behind(&mutant.lens))
    }
}

/// The one mutant that `pattern` means.
fn find_mutant(pattern: &str) -> anyhow::Result<(&'static Check, &'static Mutant)> {
    let all = device::checks().flat_map(|check| check.mutants.iter().map(move |mutant| (check, mutant)));
    let found: Vec<_> = all.filter(|(_, mutant)| fits(pattern, mutant.name)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => bail!("there is no mutant `{pattern}`: `ringwright conform device --list` names them"),
        _ => bail!(
            "{} mutants are called `{pattern}`: {}",
            found.len(),
            names(&found)
        ),
    }
}

fn names(found: &[(&Check, &Mutant)]) -> String {
    let names: Vec<_> = found.iter().map(|(_, mutant)| mutant.name).collect();
    names.join("; ")
}
