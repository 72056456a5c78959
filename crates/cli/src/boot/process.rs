//! The programs that run a guest on our devices over vhost-user or vfio-user: QEMU and User Mode Linux.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::PipeWriter;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, bail};
use ringwright_device::Device;
use ringwright_sys::leash::{Leash, leashed};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::engine::{Ended, Engine};
use super::guest::Guest;
use super::peers::Parts;
use super::qemu::{self, Sockets, Transport};
use crate::serve::{Endpoint, Protocol, Served};

/// A running engine, with the devices that it uses. Its whole process group ends with it: User Mode Linux has helper processes,
/// and ignores SIGTERM.
pub struct Running {
    /// Its standard input is the leash.
    child: Child,
    /// Readable once the process has ended.
    process: OwnedFd,
    engine: Engine,
    /// What it writes to its standard error.
    complaints: PathBuf,
    _served: Vec<Served>,
}

impl Running {
    /// Serves the devices and starts the engine; the guest's boot console goes to `console`.
    pub fn start(
        guest: &Guest,
        parts: &Parts,
        devices: Vec<Box<dyn Device>>,
        append: &str,
        console: PipeWriter,
    ) -> anyhow::Result<Self> {
        let protocol = match guest
            .setting
            .presentation
            .emulation
            .map(|emulation| emulation.transport)
        {
            Some(Transport::VfioUser) => Protocol::VfioUser,
            _ => Protocol::VhostUser,
        };
        let serve = |device: Box<dyn Device>| {
            let socket = guest
                .folder
                .join(format!("{}.sock", device.description().device_type.name));
            let endpoint = Endpoint::path(socket).without(guest.setting.presentation.ring.withheld());
            Served::start(device, endpoint.over(protocol))
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
            _ => qemu::arguments(guest, parts, &initrd, &sockets, &append)?,
        };
        let program = parts.program()?;
        tracing::debug!(program = %program.display(), ?arguments, "starting the guest");
        let complaints = guest.folder.join("engine.log");
        let mut command = leashed(program.as_os_str(), Leash::Input);
        command
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(console)
            .stderr(File::create(&complaints)?);
        let child = command.spawn();
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
