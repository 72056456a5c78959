//! The programs that run a guest on our devices over vhost-user: QEMU and User Mode Linux.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, bail};
use ringwright_device::Device;
use ringwright_spec::{DeviceType, block, console, entropy, network};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::engine::{Ended, Engine, Ring};
use super::guest::Guest;
use super::peers::Parts;
use crate::serve::{Endpoint, Served};

/// A running engine, with the devices that it uses. Its whole process group ends with it.
pub struct Running {
    child: Child,
    /// Readable once the process has ended.
    process: OwnedFd,
    engine: Engine,
    /// What it writes to its standard error.
    complaints: PathBuf,
    _served: Vec<Served>,
}

/// The vhost-user socket of each device.
type Sockets = Vec<(&'static DeviceType, PathBuf)>;

impl Running {
    /// Serves the devices and starts the engine; the guest's boot console goes to `console`.
    pub fn start(
        guest: &Guest,
        parts: &Parts,
        devices: Vec<Box<dyn Device>>,
        append: &str,
        console: PipeWriter,
    ) -> anyhow::Result<Self> {
        let serve = |device: Box<dyn Device>| {
            let socket = guest
                .folder
                .join(format!("{}.sock", device.description().device_type.name));
            Served::start(
                device,
                Endpoint::path(socket).without(guest.setting.presentation.ring.withheld()),
            )
        };
        let served = devices
            .into_iter()
            .map(serve)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let sockets = served
            .iter()
            .filter_map(|served| Some((served.device_type(), served.socket()?.to_owned())));
        let initrd = guest.initrd(parts)?;
        let (sockets, append): (Sockets, _) = (sockets.collect(), format!("{append} {}", guest.append));
        let arguments = match guest.engine {
            Engine::Uml => uml(guest, &initrd, &sockets, &append),
            _ => qemu(guest, parts, &initrd, &sockets, &append)?,
        };
        let program = parts.program()?;
        tracing::debug!(program = %program.display(), ?arguments, "starting the guest");
        let complaints = guest.folder.join("engine.log");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(File::create(&complaints)?);
        // A group of its own: User Mode Linux has helper processes, and ignores SIGTERM.
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", program.display()))?;
        Ok(Self {
            process: pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?,
            child,
            engine: guest.engine,
            complaints,
            _served: served,
        })
    }

    /// Collects the process, which has ended.
    pub fn finish(&mut self) -> anyhow::Result<Ended> {
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}: {}", self.engine, self.complaint());
        }
        Ok(Ended::Exited)
    }

    /// What the engine wrote to its standard error, in one line.
    pub fn complaint(&self) -> String {
        let text = fs::read_to_string(&self.complaints).unwrap_or_default();
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        lines.collect::<Vec<_>>().join("; ")
    }
}

/// Readable once the process has ended.
impl AsFd for Running {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.process.as_fd()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If the group has gone already there is nothing to end.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

fn qemu(
    guest: &Guest,
    parts: &Parts,
    initrd: &Path,
    sockets: &Sockets,
    append: &str,
) -> anyhow::Result<Vec<OsString>> {
    let kernel = parts.kernel()?;
    let memory = guest.setting.memory;
    let backend = format!("memory-backend-memfd,id=mem,size={memory}M,share=on");
    let append = format!("console=ttyS0 panic=-1 quiet {append}");
    let mut arguments: Vec<OsString> = Vec::new();
    let mut add = |option: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        arguments.push(option.into());
        arguments.push(value.as_ref().into());
    };
    for (option, value) in [
        ("-machine", "q35,memory-backend=mem"),
        ("-accel", "tcg"),
        ("-cpu", "max"),
        ("-m", &format!("{memory}M")),
        ("-object", &backend),
        ("-display", "none"),
        ("-serial", "stdio"),
        ("-append", &append),
    ] {
        add(option, &value);
    }
    add("-kernel", &kernel);
    add("-initrd", &initrd);
    let packed = match guest.setting.presentation.ring {
        Ring::Split => "packed=off",
        Ring::Packed => "packed=on",
    };
    for (device, socket) in sockets {
        let id = device.name;
        // A comma in an option's value is written twice.
        let socket = socket.display().to_string().replace(',', ",,");
        add("-chardev", &format!("socket,id={id},path={socket}"));
        let front = match device.id {
            id if id == block::DEVICE.id => "vhost-user-blk-pci,chardev=block".to_owned(),
            id if id == entropy::DEVICE.id => "vhost-user-rng-pci,chardev=entropy".to_owned(),
            id if id == network::DEVICE.id => {
                add("-netdev", &"vhost-user,id=net,chardev=network");
                "virtio-net-pci,netdev=net,romfile=".to_owned()
            }
            // No frontend of QEMU's own: its generic one is told what the device is.
            other => format!(
                "vhost-user-test-device-pci,chardev={id},virtio-id={other},num_vqs={},vq_size=64,config_size={}",
                console::DEVICE.queues.len().min(2),
                device.config_size
            ),
        };
        add("-device", &format!("{front},{packed}"));
    }
    arguments.extend(["-nodefaults", "-no-user-config", "-no-reboot"].map(Into::into));
    Ok(arguments)
}

fn uml(guest: &Guest, initrd: &Path, sockets: &Sockets, append: &str) -> Vec<OsString> {
    let mut file = OsString::from("initrd=");
    file.push(initrd);
    let mut arguments = vec![format!("mem={}M", guest.setting.memory).into(), file];
    for (device, socket) in sockets {
        let mut argument = OsString::from("virtio_uml.device=");
        argument.push(socket);
        argument.push(format!(":{}", device.id));
        arguments.push(argument);
    }
    let fixed = ["con=null", "con0=null,fd:1", "panic=-1", "quiet"];
    arguments.extend(fixed.into_iter().chain(append.split_whitespace()).map(Into::into));
    arguments
}
