//! One run of a guest.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::machines::{Machine, Maker};
use super::port::Port;
use super::{disk, image, report};
use crate::command::Ended;

/// How long a guest may take. It needs a second on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// What came of a run.
pub struct Outcome {
    /// What the guest said.
    pub report: report::Report,
    /// What was printed on its console.
    pub log: String,
    /// What was wrong with the run as a whole.
    pub fault: Option<anyhow::Error>,
    /// How long it took.
    pub time: Duration,
}

/// What guests are run with.
pub struct Emulators {
    /// The folder with QEMU.
    pub peers: PathBuf,
    /// This project's own program.
    pub ringwright: PathBuf,
}

/// Runs `program` on `machine` and lets it drive the devices.
pub fn run(machine: &Machine, program: &Path, emulators: &Emulators) -> Result<Outcome> {
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    let disk = folder.path().join("disk");
    let mark = format!("{} {} {started:?}", machine.arch.name(), machine.name());
    disk::create(&disk, &mark)?;
    let Started {
        mut process,
        output,
        port,
    } = match machine.maker {
        Maker::Qemu => start_qemu(machine, program, emulators, folder.path())?,
        Maker::Ringwright => start_ringwright(machine, program, emulators, folder.path())?,
    };
    let (log, ended) = follow(output, started + DEADLINE);
    let status = if ended { process.0.wait()?.code() } else { None };
    drop(process);
    let report = report::Report::parse(&log);
    let ways = machine.ways();
    let verify = || {
        ensure!(ended, "it did not end in time");
        ensure!(
            status == Some(machine.good_status()),
            "it ended with status {status:?}"
        );
        let (count, expected) = (report.count(), ways.len() * report::DEVICES.len());
        ensure!(count == expected, "its report has {count} lines, not {expected}");
        let conversations = port.conversations()?;
        if conversations != ways.len() {
            bail!("the console's other end was greeted {conversations} times and answered");
        }
        disk::check(&disk, ways.len())
    };
    let fault = verify().err();
    Ok(Outcome {
        report,
        log,
        fault,
        time: started.elapsed(),
    })
}

/// A guest that runs.
struct Started {
    process: Ended,
    /// What the guest prints.
    output: Box<dyn Read + Send>,
    /// The other end of its console.
    port: Port,
}

fn start_qemu(machine: &Machine, program: &Path, emulators: &Emulators, folder: &Path) -> Result<Started> {
    let port = Port::listen(&folder.join("port"))?;
    let (output, for_qemu) = std::io::pipe()?;
    let mut command = Command::new(emulators.peers.join("bin").join(machine.arch.emulator()));
    command
        .args(machine.qemu(program, &folder.join("disk"), &folder.join("port")))
        .stdin(Stdio::null())
        .stderr(for_qemu.try_clone()?)
        .stdout(for_qemu);
    Ok(Started {
        process: Ended(command.spawn().context("cannot start QEMU")?),
        output: Box::new(output),
        port,
    })
}

/// Its console is standard input and output there, and what the guest prints by the firmware is on standard error.
fn start_ringwright(
    machine: &Machine,
    program: &Path,
    emulators: &Emulators,
    folder: &Path,
) -> Result<Started> {
    let (image, initrd) = (folder.join("image"), folder.join("initrd"));
    fs::write(&image, image::flatten(&fs::read(program)?)?)?;
    fs::write(&initrd, [])?;
    let mut command = Command::new(&emulators.ringwright);
    command
        .args(machine.ringwright(&image, &initrd, &folder.join("disk")))
        .arg("--peers")
        .arg(&emulators.peers)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut process = Ended(command.spawn().context("cannot start ringwright")?);
    let (said, answers) = (process.0.stdout.take(), process.0.stdin.take());
    let output = process.0.stderr.take().context("no standard error")?;
    Ok(Started {
        port: Port::join(
            said.context("no standard output")?,
            answers.context("no standard input")?,
        ),
        process,
        output: Box::new(output),
    })
}

/// Collects what is printed until the end, and whether that was before the deadline.
fn follow(output: impl Read + Send + 'static, deadline: Instant) -> (String, bool) {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        let mut output = BufReader::new(output);
        let mut line = Vec::new();
        while output.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
            if sender.send(String::from_utf8_lossy(&line).into_owned()).is_err() {
                return;
            }
            line.clear();
        }
    });
    let mut log = String::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => log += &line.replace('\r', ""),
            Err(mpsc::RecvTimeoutError::Timeout) => return (log, false),
            // An emulator closes its output when it ends.
            Err(mpsc::RecvTimeoutError::Disconnected) => return (log, true),
        }
    }
}
