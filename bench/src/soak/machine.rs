//! A guest of QEMU's: its initial file system, its process, what it says, and how it is told to move.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use cpio::newc::{Builder, ModeFileType, trailer};
use serde_json::{Value, json};

use crate::QUEUES;
use crate::server::Ended;

/// The first program; a shell script for busybox.
const INIT: &str = include_str!("init.sh");
/// Writers in the guest.
pub const WRITERS: usize = 4;
/// Bytes of the disk: sixteen slots of 256 KiB for each.
pub const CAPACITY: u64 = WRITERS as u64 * 16 * (256 << 10);
/// How long QEMU may take to answer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a guest is made of.
#[derive(clap::Args)]
pub struct Parts {
    /// QEMU.
    #[arg(long)]
    qemu: PathBuf,
    /// The kernel.
    #[arg(long)]
    kernel: PathBuf,
    /// Folder of its modules.
    #[arg(long)]
    modules: PathBuf,
    /// A static busybox.
    #[arg(long)]
    busybox: PathBuf,
}

/// A QEMU that runs.
pub struct Machine {
    _process: Ended,
    lines: Receiver<String>,
    control: PathBuf,
    /// Rounds that each writer has done.
    pub rounds: [u64; WRITERS],
}

impl Parts {
    /// Writes the initial file system to `file`.
    pub fn initramfs(&self, file: &Path) -> Result<()> {
        let mut out = std::io::BufWriter::new(File::create(file)?);
        let mut inode = 0;
        let mut add = |name: &str, kind, mode, content: &[u8]| -> Result<()> {
            inode += 1;
            let builder = Builder::new(name).ino(inode).mode(mode).nlink(1);
            let mut entry = builder
                .set_mode_file_type(kind)
                .write(&mut out, content.len() as u32);
            entry.write_all(content)?;
            entry.finish()?;
            Ok(())
        };
        for folder in ["bin", "modules"] {
            add(folder, ModeFileType::Directory, 0o755, &[])?;
        }
        add("init", ModeFileType::Regular, 0o755, INIT.as_bytes())?;
        add(
            "bin/busybox",
            ModeFileType::Regular,
            0o755,
            &fs::read(&self.busybox)?,
        )?;
        add("bin/sh", ModeFileType::Symlink, 0o777, b"busybox")?;
        let mut list = String::new();
        // Those that the kernel has not built in.
        for module in ["virtio_pci", "virtio_blk"] {
            let path = self.modules.join(module).with_extension("ko");
            if path.exists() {
                let name = format!("{module}.ko");
                add(
                    &format!("modules/{name}"),
                    ModeFileType::Regular,
                    0o644,
                    &fs::read(path)?,
                )?;
                list += &format!("{name}\n");
            }
        }
        add("modules/list", ModeFileType::Regular, 0o644, list.as_bytes())?;
        trailer(&mut out)?;
        Ok(out.flush()?)
    }

    /// Starts a guest whose disk is at `socket`, or one that waits for another one to move here, at `incoming`.
    pub fn start(
        &self,
        name: &str,
        folder: &Path,
        socket: &Path,
        packed: bool,
        incoming: Option<&Path>,
    ) -> Result<Machine> {
        let control = folder.join(format!("{name}.qmp"));
        let packed = if packed { "on" } else { "off" };
        let mut command = Command::new(&self.qemu);
        command
            .args([
                "-machine",
                "q35,memory-backend=mem",
                "-m",
                "256M",
                "-cpu",
                "max",
                "-accel",
                "tcg",
            ])
            .args(["-object", "memory-backend-memfd,id=mem,size=256M,share=on"])
            .args([
                "-display",
                "none",
                "-nodefaults",
                "-no-user-config",
                "-no-reboot",
                "-serial",
                "stdio",
            ])
            .arg("-kernel")
            .arg(&self.kernel)
            .arg("-initrd")
            .arg(folder.join("initramfs"))
            .args(["-append", "console=ttyS0 panic=-1 quiet"])
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", control.display()))
            .arg("-chardev")
            .arg(format!(
                "socket,id=disk,path={},reconnect-ms=20",
                socket.display()
            ))
            .arg("-device")
            .arg(format!(
                "vhost-user-blk-pci,chardev=disk,num-queues={QUEUES},packed={packed}"
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // It complains of every server that is killed.
            .stderr(File::create(folder.join(format!("{name}.log")))?);
        if let Some(incoming) = incoming {
            command
                .arg("-incoming")
                .arg(format!("unix:{}", incoming.display()));
        }
        let mut process = Ended(command.spawn().context("starting QEMU")?);
        let output = process.0.stdout.take().context("QEMU's output")?;
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Machine {
            _process: process,
            lines,
            control,
            rounds: [0; WRITERS],
        })
    }
}

impl Machine {
    /// Takes what the guest says within `time`. Fails if something is not as it was written, or the guest has ended.
    pub fn listen(&mut self, time: Duration) -> Result<()> {
        let deadline = Instant::now() + time;
        loop {
            let line = match self
                .lines
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return Ok(()),
                Err(RecvTimeoutError::Disconnected) => bail!("the guest has ended"),
            };
            let line = line.trim();
            let Some(report) = line.strip_prefix("SOAK|") else {
                if line.contains("rror") {
                    eprintln!("guest: {line}");
                }
                continue;
            };
            let mut words = report.splitn(3, '|');
            let mut number = || words.next().and_then(|word| word.parse::<u64>().ok());
            let (Some(writer), Some(round)) = (number(), number()) else {
                continue;
            };
            let result = words.next().unwrap_or_default();
            ensure!(result == "ok", "the guest finds: {line}");
            if let Some(rounds) = self.rounds.get_mut(writer as usize) {
                *rounds = round;
            }
        }
    }

    /// Waits until every writer has done `more` rounds.
    pub fn go_on(&mut self, more: u64, patience: Duration) -> Result<()> {
        let goal = self.rounds.map(|rounds| rounds + more);
        let deadline = Instant::now() + patience;
        while self.rounds.iter().zip(goal).any(|(rounds, goal)| *rounds < goal) {
            ensure!(
                Instant::now() < deadline,
                "a writer hangs: after {:?} rounds, {goal:?} expected",
                self.rounds
            );
            self.listen(Duration::from_millis(200))?;
        }
        Ok(())
    }

    /// Moves the guest to the QEMU that waits at `incoming`; says how many bytes of memory went there.
    pub fn move_to(&mut self, incoming: &Path) -> Result<u64> {
        let mut control = Control::open(&self.control)?;
        control.execute(json!({
            "execute": "migrate",
            "arguments": { "uri": format!("unix:{}", incoming.display()) },
        }))?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = control.execute(json!({ "execute": "query-migrate" }))?;
            match state["status"].as_str() {
                Some("completed") => return Ok(state["ram"]["transferred"].as_u64().unwrap_or(0)),
                Some("failed" | "cancelled") => bail!("the guest does not move: {state}"),
                _ => ensure!(
                    Instant::now() < deadline,
                    "the guest does not move in time: {state}"
                ),
            }
            self.listen(Duration::from_millis(50))?;
        }
    }
}

/// QEMU's control socket.
struct Control(BufReader<UnixStream>);

impl Control {
    fn open(path: &Path) -> Result<Self> {
        let stream = UnixStream::connect(path).context("QEMU's control socket")?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut control = Self(BufReader::new(stream));
        control.execute(json!({ "execute": "qmp_capabilities" }))?;
        Ok(control)
    }

    /// Carries out a command, and gives its answer.
    fn execute(&mut self, command: Value) -> Result<Value> {
        writeln!(self.0.get_ref(), "{command}")?;
        loop {
            let mut line = String::new();
            ensure!(
                self.0.read_line(&mut line)? != 0,
                "QEMU closes its control socket"
            );
            let mut answer: Value = serde_json::from_str(&line)?;
            if let Some(answer) = answer.get_mut("return") {
                return Ok(answer.take());
            }
            ensure!(answer.get("error").is_none(), "{command}: {answer}");
        }
    }
}
