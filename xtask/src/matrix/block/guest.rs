//! A guest with our disks: a server of the disks where that is another process, and what runs the guest.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::cells::{Cell, Engine};
use super::disks::Disk;
use super::process::{Process, lines};

/// Memory of a guest in MiB. Its initial file system has 70 MiB.
const MEMORY: u32 = 512;

/// How long the server may take to be there.
const SERVER_DEADLINE: Duration = Duration::from_secs(30);

/// What a guest is started with.
pub struct Setting<'a> {
    /// The way to the disks.
    pub cell: &'a Cell,
    /// The disks.
    pub disks: &'a [Disk],
    /// The initial file system.
    pub initrd: &'a Path,
    /// Words for the kernel's command line.
    pub append: &'a str,
    /// A folder for files.
    pub folder: &'a Path,
    /// The folder of the peers.
    pub peers: &'a Path,
    /// Our program.
    pub ringwright: &'a Path,
}

/// A guest that runs.
pub struct Guest {
    /// Dropped before the server, as it may wait for that otherwise.
    pub engine: Process,
    server: Option<Process>,
    /// What the guest writes to its boot console.
    pub console: Receiver<String>,
}

impl Guest {
    /// Starts it.
    pub fn start(setting: &Setting<'_>) -> Result<Self> {
        match setting.cell.engine {
            Engine::Machine => setting.start_machine(),
            Engine::Qemu(_) => setting.start_with_server(qemu(setting)),
            Engine::Uml(_) => setting.start_with_server(uml(setting)),
        }
    }

    /// Has the sizes of the images looked at again.
    pub fn look_again(&self) -> Result<()> {
        match &self.server {
            Some(server) => server.signal(Signal::HUP),
            None => self.engine.signal(Signal::USR2),
        }
    }
}

impl Setting<'_> {
    fn start_machine(&self) -> Result<Guest> {
        let mut boot = Command::new(self.ringwright);
        boot.args(["boot", "--engine", "machine", "--verbose", "--timeout", "600"])
            .args([
                "--ring",
                self.cell.ring(),
                "--harts",
                &self.cell.queues.to_string(),
            ])
            .args(["--memory", &MEMORY.to_string()]);
        for disk in self.disks {
            boot.args(["--block", &disk.words(self.cell)]);
        }
        boot.arg("--initrd")
            .arg(self.initrd)
            .args(["--append", self.append]);
        boot.arg("--peers").arg(self.peers);
        // What the guest says comes on standard error; standard input is its console, which stays open.
        boot.env("TMPDIR", self.folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut engine = Process::start(&mut boot)?.tidy();
        let output = engine.child.stderr.take().context("no output")?;
        Ok(Guest {
            engine,
            server: None,
            console: lines(output),
        })
    }

    fn start_with_server(&self, mut command: Command) -> Result<Guest> {
        let server = self.serve()?;
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(self.folder.join("engine.log"))?);
        let mut engine = Process::start(&mut command)?;
        let output = engine.child.stdout.take().context("no output")?;
        Ok(Guest {
            engine,
            server: Some(server),
            console: lines(output),
        })
    }

    /// `ringwright serve` with all disks.
    fn serve(&self) -> Result<Process> {
        let config = self.folder.join("disks.toml");
        let tables = self.disks.iter().map(|disk| disk.table(self.cell, self.folder));
        fs::write(&config, tables.collect::<String>())?;
        let log = self.folder.join("server.log");
        let mut serve = Command::new(self.ringwright);
        serve.arg("serve").arg("--config").arg(&config);
        serve.stdin(Stdio::null()).stderr(File::create(&log)?);
        let mut server = Process::start(&mut serve)?.tidy();
        let deadline = Instant::now() + SERVER_DEADLINE;
        while !self.disks.iter().all(|disk| disk.socket(self.folder).exists()) {
            if Instant::now() > deadline || !matches!(server.child.try_wait(), Ok(None)) {
                bail!("the disks are not served: {}", fs::read_to_string(&log)?.trim());
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    fn program(&self) -> PathBuf {
        let program = self.cell.engine.program().unwrap_or_default();
        self.peers.join("bin").join(program)
    }
}

fn qemu(setting: &Setting<'_>) -> Command {
    let Cell { packed, queues, .. } = setting.cell;
    let mut qemu = Command::new(setting.program());
    qemu.args([
        "-machine",
        "q35,memory-backend=mem",
        "-accel",
        "tcg",
        "-cpu",
        "max",
    ]);
    qemu.args(["-m", &format!("{MEMORY}M"), "-smp", &queues.to_string()]);
    qemu.args([
        "-object",
        &format!("memory-backend-memfd,id=mem,size={MEMORY}M,share=on"),
    ]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot"]);
    qemu.args(["-display", "none", "-serial", "stdio"]);
    qemu.arg("-kernel")
        .arg(setting.peers.join("kernels/x86_64/vmlinuz"));
    qemu.arg("-initrd").arg(setting.initrd);
    // Emulated on a busy machine, the timer can be too late for Linux, which then gives up: it does not test it.
    let append = format!("console=ttyS0 no_timer_check panic=-1 quiet {}", setting.append);
    qemu.args(["-append", &append]);
    for disk in setting.disks {
        let (name, socket) = (disk.name, disk.socket(setting.folder));
        if disk.vfio_user {
            let device = serde_json::json!({
                "driver": "vfio-user-pci",
                "socket": { "type": "unix", "path": socket },
            });
            qemu.args(["-device", &device.to_string()]);
            continue;
        }
        let packed = if *packed { "on" } else { "off" };
        qemu.args(["-chardev", &format!("socket,id={name},path={}", socket.display())]);
        qemu.args([
            "-device",
            &format!("vhost-user-blk-pci,chardev={name},num-queues={queues},packed={packed}"),
        ]);
    }
    qemu
}

fn uml(setting: &Setting<'_>) -> Command {
    let mut uml = Command::new(setting.program());
    uml.arg(format!("mem={MEMORY}M"))
        .arg(format!("initrd={}", setting.initrd.display()));
    for disk in setting.disks {
        let socket = disk.socket(setting.folder);
        uml.arg(format!("virtio_uml.device={}:2", socket.display()));
    }
    uml.args(["con=null", "con0=null,fd:1", "panic=-1", "quiet"]);
    uml.args(setting.append.split_whitespace());
    uml.env("TMPDIR", setting.folder);
    uml
}
