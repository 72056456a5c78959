//! `ringwright serve`: devices for virtual machines of other programs, over vhost-user or vfio-user.

mod block;
mod config;
mod console;
mod conventions;
mod devices;
mod disks;
mod endpoint;
mod fleet;
mod processors;
mod protocol;
mod systemd;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ringwright_spec::{Features, feature};

pub use self::block::Block;
pub use self::conventions::{capabilities, command_line};
use self::devices::{DeviceOptions, Opened};
pub use self::disks::Disks;
use self::endpoint::Prepared;
pub use self::endpoint::{Endpoint, Served, listen_by};
use self::fleet::Fleet;
use self::processors::Processors;
pub use self::protocol::Protocol;
use self::systemd::{Notifier, Passed};
use crate::control::{Control, beside};
use crate::sandbox::{self, Needs};
use crate::signals::{Asked, Signals};

/// How long a device has to complete what it has begun when the program is asked to end.
const PATIENCE: Duration = Duration::from_secs(10);

/// Shown below the options.
const EXAMPLE: &str = r#"Several devices at once, by `ringwright serve --config devices.toml`:

  [[device]]
  type = "block"
  image = "disk.img"
  socket = "/tmp/disk.sock"

  [[device]]
  type = "entropy"
  socket = "/tmp/rng.sock""#;

/// Serve devices to virtual machines of QEMU, Cloud Hypervisor, crosvm, User Mode Linux: anything with vhost-user, or, with
/// --vfio-user, anything with vfio-user.
///
/// Each device waits on its socket for one client after another, until Ctrl-C or SIGTERM; what is outstanding then is completed
/// first, within 10 seconds. On SIGHUP the sizes of disk images are looked at again, and virtual machines are told of the new
/// ones: truncate -s 2G disk.img; kill -HUP PID. `ringwright stats` and `ringwright resize` ask the server by its control
/// socket.
#[derive(Args)]
#[command(after_help = EXAMPLE, arg_required_else_help = true, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Serve every device of this TOML file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "fd", "busy_poll", "vfio_user", "split", "id", "pin"])]
    config: Option<PathBuf>,
    /// Where `ringwright stats` and `ringwright resize` find this server; `off` for nowhere. SOCKET.control if not given, and
    /// nowhere for --config and --fd. Only this user can connect.
    #[arg(long, global = true, value_name = "PATH")]
    control: Option<PathBuf>,
    /// Whether the server gives up what its devices do not need, before the first virtual machine: it opens no more files,
    /// starts no programs and makes no connections. It then leaves its sockets behind when it ends, for the next one to replace.
    #[arg(long, global = true, value_enum, value_name = "ON|OFF|LOG", default_value_t)]
    sandbox: sandbox::Mode,
    #[command(subcommand)]
    device: Option<DeviceOptions>,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Where a device is served.
#[derive(Args, Default, serde::Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct EndpointArguments {
    /// The Unix socket on which to wait for the virtual machine.
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        visible_alias = "socket-path",
        conflicts_with = "fd"
    )]
    socket: Option<PathBuf>,
    /// Instead of --socket: the number of an open file descriptor, a listening or connected Unix socket. Without both, a socket
    /// that systemd has passed: the one that is named after the device's --id, else the next.
    #[arg(long, global = true, value_name = "N")]
    fd: Option<i32>,
    /// Serve the device as a whole PCI function over vfio-user, instead of its virtqueues over vhost-user. QEMU takes it by
    /// -device '{"driver":"vfio-user-pci","socket":{"type":"unix","path":"PATH"}}'.
    #[arg(long, global = true)]
    #[serde(default)]
    vfio_user: bool,
    /// Offer split virtqueues only, to a virtual machine monitor that has no say in the format itself.
    #[arg(long, global = true)]
    #[serde(default)]
    split: bool,
    /// Microseconds for which an idle queue looks for work before it sleeps; costs processor time, saves latency.
    #[arg(long, global = true, value_name = "MICROSECONDS", default_value_t = 0)]
    #[serde(default)]
    busy_poll: u64,
    /// The device's name for `ringwright stats` and `ringwright resize`; its type, and a number if need be, if not given.
    #[arg(long, global = true, value_name = "NAME")]
    id: Option<String>,
    /// The processors that the device's queues are served on, like 0-3,5: queue 0 on the first, and so on, from the first again
    /// when there are no more.
    #[arg(long, global = true, value_name = "LIST", value_parser = clap::value_parser!(Processors))]
    pin: Option<Processors>,
    /// Print what QEMU's conventions for such programs want to know, as JSON, and do nothing else.
    #[arg(long, global = true)]
    #[serde(skip)]
    print_capabilities: bool,
}

/// Serves until the program is asked to end.
pub fn run(mut arguments: Arguments) -> anyhow::Result<ExitCode> {
    let signals = Signals::catch()?;
    let devices = match (&arguments.config, arguments.device.take()) {
        (Some(file), None) => config::read(file)?,
        (None, Some(device)) => vec![(device, std::mem::take(&mut arguments.endpoint))],
        _ => bail!("say what to serve: a device, or --config with a file"),
    };
    let (mut passed, notifier) = (Passed::look()?, Notifier::connect()?);
    let mut fleet = Fleet::default();
    let place = arguments.control_place(&devices);
    let (mut prepared, mut needs) = (Vec::new(), Needs::default());
    for (options, endpoint) in devices {
        let Opened { device, disk, drops } = options.open()?;
        needs.add(options.needs());
        let one = Prepared::new(device, endpoint.endpoint(&mut passed)?)?;
        fleet.add(endpoint.id, one.device_type().name, disk, drops, one.meter())?;
        prepared.push(one);
    }
    passed.check()?;
    let mut control = place.open()?;
    sandbox::enter(arguments.sandbox, &needs)?;
    let served = prepared.into_iter().map(Prepared::start);
    let served = served.collect::<anyhow::Result<Vec<_>>>()?;
    notifier.say(&format!("READY=1\nSTATUS=Serving: {}", fleet.names()));
    attend(&signals, &mut control, &fleet)?;
    tracing::info!("ending");
    notifier.say("STOPPING=1\nSTATUS=Completing what is outstanding");
    Served::end(served, PATIENCE);
    Ok(ExitCode::SUCCESS)
}

/// Does what is asked for by signals and at the control socket, until it is to end.
fn attend(signals: &Signals, control: &mut Control, fleet: &Fleet) -> anyhow::Result<()> {
    loop {
        control
            .wait(&signals.descriptors())
            .context("cannot wait for signals")?;
        match signals.take() {
            Some(Asked::End) => return Ok(()),
            Some(Asked::LookAgain) => fleet.look_again(),
            None => {}
        }
        control.serve(|question| fleet.answer(question));
    }
}

/// Where the control socket is.
enum ControlPlace {
    Nowhere,
    /// Where the user wants it.
    Asked(PathBuf),
    /// Where it usually is.
    Usual(PathBuf),
}

impl ControlPlace {
    fn open(&self) -> anyhow::Result<Control> {
        match self {
            Self::Nowhere => Ok(Control::default()),
            Self::Asked(path) => Control::listen(path),
            Self::Usual(path) => Control::listen(path).or_else(|error| {
                tracing::warn!("no control socket, so no stats and no resizing: {error:#}");
                Ok(Control::default())
            }),
        }
    }
}

impl Arguments {
    /// Where the control socket for these devices is.
    fn control_place(&self, devices: &[(DeviceOptions, EndpointArguments)]) -> ControlPlace {
        let socket = match devices {
            [(_, endpoint)] if self.config.is_none() => endpoint.socket.as_deref(),
            _ => None,
        };
        match &self.control {
            Some(path) if path.as_os_str() == "off" => ControlPlace::Nowhere,
            Some(path) => ControlPlace::Asked(path.clone()),
            None => socket
                .and_then(beside)
                .map_or(ControlPlace::Nowhere, ControlPlace::Usual),
        }
    }
}

impl EndpointArguments {
    /// Where the device is served; at a socket out of `passed` if nothing else was said.
    fn endpoint(&self, passed: &mut Passed) -> anyhow::Result<Endpoint> {
        let endpoint = match (&self.socket, self.fd) {
            (Some(path), None) => Endpoint::path(path),
            (None, Some(fd)) => Endpoint::inherited(fd)?,
            (None, None) if let Some(fd) = passed.take(self.id.as_deref()) => Endpoint::inherited(fd)?,
            _ => bail!("say where to serve it: --socket PATH, or --fd N"),
        };
        let processors = self.pin.clone().unwrap_or_default();
        processors.check()?;
        let protocol = match self.vfio_user {
            true => Protocol::VfioUser,
            false => Protocol::VhostUser,
        };
        let withheld = match self.split {
            true => feature::RING_PACKED,
            false => Features::NONE,
        };
        Ok(endpoint
            .over(protocol)
            .without(withheld)
            .on(processors.0)
            .busy_poll(Duration::from_micros(self.busy_poll)))
    }
}
