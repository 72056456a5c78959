//! `ringwright serve`: devices for virtual machines of other programs, over vhost-user or vfio-user.

mod block;
mod config;
mod devices;
mod disks;
mod endpoint;
mod protocol;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use clap::Args;
use ringwright_spec::{Features, feature};

pub use self::block::Block;
use self::devices::DeviceOptions;
pub use self::disks::Disks;
pub use self::endpoint::{Endpoint, Served};
pub use self::protocol::Protocol;
use crate::signals::Signals;

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
/// Each device waits on its socket for one client after another, until Ctrl-C or SIGTERM. On SIGHUP the sizes of disk images
/// are looked at again, and virtual machines are told of the new ones: truncate -s 2G disk.img; kill -HUP PID.
#[derive(Args)]
#[command(after_help = EXAMPLE, arg_required_else_help = true, args_conflicts_with_subcommands = true)]
pub struct Arguments {
    /// Serve every device of this TOML file.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "fd", "busy_poll", "vfio_user", "split"])]
    config: Option<PathBuf>,
    #[command(subcommand)]
    device: Option<DeviceOptions>,
    #[command(flatten)]
    endpoint: EndpointArguments,
}

/// Where a device is served.
#[derive(Args, serde::Deserialize)]
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
    /// Instead of --socket: the number of an open file descriptor, a listening or connected Unix socket.
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
}

/// Serves until the program is asked to end.
pub fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let mut signals = Signals::catch()?;
    let mut disks = Disks::default();
    let served = match (&arguments.config, &arguments.device) {
        (Some(file), None) => config::read(file)?
            .into_iter()
            .map(|(device, endpoint)| Served::start(device.open(&mut disks)?, endpoint.endpoint()?))
            .collect::<anyhow::Result<Vec<_>>>()?,
        (None, Some(device)) => {
            vec![Served::start(
                device.open(&mut disks)?,
                arguments.endpoint.endpoint()?,
            )?]
        }
        _ => bail!("say what to serve: a device, or --config with a file"),
    };
    signals.wait_for_end(|| disks.refresh());
    tracing::info!("ending");
    drop(served);
    Ok(ExitCode::SUCCESS)
}

impl EndpointArguments {
    fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let endpoint = match (&self.socket, self.fd) {
            (Some(path), None) => Endpoint::path(path),
            (None, Some(fd)) => Endpoint::inherited(fd)?,
            _ => bail!("say where to serve it: --socket PATH, or --fd N"),
        };
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
            .busy_poll(Duration::from_micros(self.busy_poll)))
    }
}
