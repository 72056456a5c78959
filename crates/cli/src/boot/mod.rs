//! `ringwright boot`: a Linux guest on our devices, to look around in or to check them.

mod check;
mod engine;
mod initramfs;
mod neighbour;
mod peers;
mod report;
mod terminal;

use std::fs::{self, File};
use std::io::{self, PipeReader};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use anyhow::Context;
use clap::Args;
use ringwright_device::{Device, block, console, entropy, network};
use ringwright_spec::DeviceType;
use tempfile::TempDir;

use self::engine::{Ended, Engine, Guest, Ring, Running};
use self::peers::Parts;
use self::terminal::Terminal;
use crate::serve::{Endpoint, Served};
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
    /// The program that runs the guest; the first that is installed, if not given.
    #[arg(long, value_enum)]
    engine: Option<Engine>,
    /// The format of the virtqueues to offer; split, if not given.
    #[arg(long, value_enum)]
    ring: Option<Ring>,
    /// Run a script in the guest that uses every device, and report what the guest saw: under every engine that is
    /// installed and with both ring formats, where --engine and --ring do not say which.
    #[arg(long)]
    check: bool,
    /// With --check: print the reports as JSON, a list of one for each guest.
    #[arg(long, requires = "check")]
    json: bool,
    /// Memory of the guest in MiB.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = clap::value_parser!(u32).range(128..=65536))]
    memory: u32,
    /// A raw disk image for the guest to use; otherwise it gets an empty disk of 256 MiB that vanishes with it.
    #[arg(long, value_name = "IMAGE", conflicts_with = "check")]
    disk: Option<PathBuf>,
    /// A kernel to boot instead of the one in the peers folder. Its virtio drivers have to be built in.
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

/// Size of the disk that the guest gets, unless the user brings one.
const DISK_BYTES: u64 = 256 << 20;

/// The name under which the guest finds its disk in sysfs.
const SERIAL: &str = "ringwright-boot";

/// MAC address of the guest's card, locally administered.
const MAC: [u8; 6] = [0x52, 0x54, 0x00, 0x72, 0x77, 0x01];

/// Boots, and stays until the guest has ended.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    match arguments.check {
        true => check::run(&arguments),
        false => use_guest(&arguments),
    }
}

/// Everything around the guest: its disk, its devices, and this program's ends of them.
struct Machine {
    folder: PathBuf,
    initrd: PathBuf,
    disk: PathBuf,
    ring: Ring,
    served: Vec<Served>,
    console: UnixStream,
}

impl Machine {
    fn new(arguments: &Arguments, ring: Ring, parts: &Parts, folder: &Path) -> anyhow::Result<Self> {
        let initrd = match &arguments.initrd {
            Some(initrd) => initrd.clone(),
            None => {
                let file = folder.join("initramfs");
                let Parts {
                    busybox,
                    e2fsprogs,
                    modules,
                    ..
                } = parts;
                initramfs::build(
                    &initramfs::Parts {
                        busybox,
                        e2fsprogs,
                        modules,
                    },
                    &file,
                )?;
                file
            }
        };
        let disk = match &arguments.disk {
            Some(disk) => disk.clone(),
            None => {
                let file = folder.join("disk.img");
                File::create(&file)
                    .and_then(|image| image.set_len(DISK_BYTES))
                    .context("cannot make a disk")?;
                file
            }
        };
        let mut machine = Self {
            folder: folder.into(),
            initrd,
            disk,
            ring,
            served: Vec::new(),
            console: UnixStream::pair()?.0,
        };
        machine.serve()?;
        Ok(machine)
    }

    /// Starts the four devices, each on a socket of its own.
    fn serve(&mut self) -> anyhow::Result<()> {
        let image = block::backend::File::open(&self.disk, false)?;
        let options = block::Options {
            serial: SERIAL.into(),
            ..Default::default()
        };
        self.start(Box::new(block::Block::new(Arc::new(image), options)?))?;

        self.start(Box::new(entropy::Entropy::new(Arc::new(entropy::backend::Os))))?;

        let (near, far) = UnixStream::pair()?;
        neighbour::start(far)?;
        let stream = network::backend::Stream::connected(near)?;
        self.start(Box::new(network::Network::new(
            Box::new(stream),
            network::Options {
                mac: Some(MAC),
                mtu: None,
            },
        )?))?;

        let (near, far) = UnixStream::pair()?;
        self.console = far;
        let port = console::backend::Descriptors::new(near.try_clone()?.into(), near.into())?;
        self.start(Box::new(console::Console::new(Box::new(port), None)))
    }

    fn start(&mut self, device: Box<dyn Device>) -> anyhow::Result<()> {
        let socket = self
            .folder
            .join(format!("{}.sock", device.description().device_type.name));
        self.served.push(Served::start(
            device,
            Endpoint::path(socket).without(self.ring.withheld()),
        )?);
        Ok(())
    }

    /// Starts the engine; returns it with the guest's boot console.
    fn boot(
        &self,
        arguments: &Arguments,
        engine: Engine,
        parts: &Parts,
        append: &str,
    ) -> anyhow::Result<(Running, PipeReader)> {
        let (console, sink) = io::pipe()?;
        let complaints = File::create(self.complaints())?;
        let sockets: Vec<(&'static DeviceType, PathBuf)> = self
            .served
            .iter()
            .filter_map(|served| Some((served.device_type(), served.socket()?.to_owned())))
            .collect();
        let guest = Guest {
            program: &parts.program,
            kernel: parts.kernel.as_deref(),
            initrd: &self.initrd,
            memory: arguments.memory,
            append: &format!("{append} {}", arguments.append),
            ring: self.ring,
            sockets: &sockets,
        };
        Ok((engine.start(&guest, sink.into(), complaints)?, console))
    }

    fn complaints(&self) -> PathBuf {
        self.folder.join("engine.log")
    }

    /// What the engine wrote to its standard error, in one line.
    fn complaint(&self) -> String {
        let text = fs::read_to_string(self.complaints()).unwrap_or_default();
        text.lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

/// Joins the user's terminal to the guest's console until the guest has ended or the user leaves.
fn use_guest(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engine = arguments
        .engine
        .map_or_else(|| Parts::engine(&arguments.peers), Ok)?;
    let parts = Parts::find(engine, &arguments.peers, arguments.kernel.as_deref())?;
    let folder = folder()?;
    let machine = Machine::new(
        arguments,
        arguments.ring.unwrap_or(Ring::Split),
        &parts,
        folder.path(),
    )?;
    let ending = Ending::on_signals()?;
    let (mut running, console) = machine.boot(arguments, engine, &parts, "")?;
    let verbose = arguments.verbose;
    thread::Builder::new()
        .name("boot console".into())
        .spawn(move || drain(console, verbose))?;
    let terminal = Terminal::join(machine.console.try_clone()?, ending.wish()?)?;
    let ended = running.wait(None, Some(&ending));
    drop(terminal);
    match ended? {
        Ended::Exited => Ok(ExitCode::SUCCESS),
        _ => {
            tracing::info!("the guest has been ended");
            Ok(ExitCode::SUCCESS)
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

/// Reads the boot console, so that the guest never waits for a reader; copies it if the user wants to see it.
fn drain(mut console: PipeReader, verbose: bool) {
    let copied = match verbose {
        true => io::copy(&mut console, &mut io::stderr()),
        false => io::copy(&mut console, &mut io::sink()),
    };
    if let Err(error) = copied {
        tracing::debug!(%error, "the boot console has ended");
    }
}
