//! The programs that run a guest on our devices: QEMU and User Mode Linux.

use std::ffi::OsString;
use std::fmt;
use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use ringwright_spec::{DeviceType, Features, block, console, entropy, feature, network};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use crate::signals::Ending;

/// A program that can run a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// QEMU (x86-64, software emulation): all devices, both ring formats.
    Qemu,
    /// User Mode Linux: a Linux kernel as a process; the devices that it has drivers for.
    Uml,
}

/// The format of the virtqueues that the devices offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Ring {
    /// Split virtqueues (section 2.7).
    Split,
    /// Packed virtqueues (section 2.8).
    Packed,
}

/// A guest to be run.
pub struct Guest<'a> {
    /// The engine's program: QEMU, or the User Mode Linux kernel.
    pub program: &'a Path,
    /// The kernel, where the engine is not the kernel itself.
    pub kernel: Option<&'a Path>,
    /// The initial file system.
    pub initrd: &'a Path,
    /// Memory in MiB.
    pub memory: u32,
    /// What to add to the kernel's command line.
    pub append: &'a str,
    /// The ring format to ask for.
    pub ring: Ring,
    /// The vhost-user socket of each device.
    pub sockets: &'a [(&'static DeviceType, PathBuf)],
}

/// Why a wait for an engine is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The guest has powered off.
    Exited,
    /// The time is up.
    Timeout,
    /// Somebody wants to end.
    Wished,
}

/// A running engine. Its whole process group ends with it.
pub struct Running {
    child: Child,
    name: String,
}

impl Engine {
    /// Starts the guest; its boot console goes to `console`, the engine's complaints to `complaints`.
    pub fn start(self, guest: &Guest<'_>, console: Stdio, complaints: File) -> anyhow::Result<Running> {
        let arguments = match self {
            Self::Qemu => qemu(guest)?,
            Self::Uml => uml(guest),
        };
        tracing::debug!(program = %guest.program.display(), ?arguments, "starting the guest");
        let mut command = Command::new(guest.program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(console)
            .stderr(complaints);
        // A group of its own: User Mode Linux has helper processes, and ignores SIGTERM.
        let child = command.process_group(0).spawn();
        let child = child.with_context(|| format!("cannot start {}", guest.program.display()))?;
        Ok(Running {
            child,
            name: self.to_string(),
        })
    }
}

impl Running {
    /// Waits until the guest has powered off, `timeout` has passed or somebody wants to end.
    pub fn wait(&mut self, timeout: Option<Duration>, ending: Option<&Ending>) -> anyhow::Result<Ended> {
        let process = pidfd_open(Pid::from_child(&self.child), PidfdFlags::empty())?;
        let mut polled = vec![PollFd::new(&process, PollFlags::IN)];
        polled.extend(ending.map(|ending| PollFd::new(ending, PollFlags::IN)));
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let left = left.map(Timespec::try_from).transpose()?;
            match poll(&mut polled, left.as_ref()) {
                Ok(0) => return Ok(Ended::Timeout),
                Ok(_) if polled[0].revents().is_empty() => return Ok(Ended::Wished),
                Ok(_) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let status = self.child.wait()?;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(Ended::Exited)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // If the group has gone already there is nothing to end.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

impl Ring {
    /// The feature that the devices do not offer, so that this format is what they use.
    pub fn withheld(self) -> Features {
        match self {
            Self::Split => feature::RING_PACKED,
            Self::Packed => Features::NONE,
        }
    }
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Qemu => "qemu",
            Self::Uml => "uml",
        })
    }
}

impl fmt::Display for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Split => "split",
            Self::Packed => "packed",
        })
    }
}

fn qemu(guest: &Guest<'_>) -> anyhow::Result<Vec<OsString>> {
    let Some(kernel) = guest.kernel else {
        bail!("QEMU needs a kernel: pass --kernel")
    };
    let memory = guest.memory;
    let backend = format!("memory-backend-memfd,id=mem,size={memory}M,share=on");
    let append = format!("console=ttyS0 panic=-1 quiet {}", guest.append);
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
    add("-initrd", &guest.initrd);
    let packed = match guest.ring {
        Ring::Split => "packed=off",
        Ring::Packed => "packed=on",
    };
    for (device, socket) in guest.sockets {
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

fn uml(guest: &Guest<'_>) -> Vec<OsString> {
    let mut initrd = OsString::from("initrd=");
    initrd.push(guest.initrd);
    let mut arguments = vec![format!("mem={}M", guest.memory).into(), initrd];
    for (device, socket) in guest.sockets {
        let mut argument = OsString::from("virtio_uml.device=");
        argument.push(socket);
        argument.push(format!(":{}", device.id));
        arguments.push(argument);
    }
    let fixed = ["con=null", "con0=null,fd:1", "panic=-1", "quiet"];
    arguments.extend(
        fixed
            .into_iter()
            .chain(guest.append.split_whitespace())
            .map(Into::into),
    );
    arguments
}
