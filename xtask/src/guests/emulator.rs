//! One run of a guest.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::machines::Machine;
use super::port::Port;
use super::{disk, report};
use crate::setup::Peers;

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

/// Runs `program` on `machine` and lets it drive the devices.
pub fn run(machine: &Machine, program: &Path, peers: &Peers) -> Result<Outcome> {
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    let place = |name: &str| folder.path().join(name);
    let mark = format!("{} {} {started:?}", machine.arch.name(), machine.name());
    disk::create(&place("disk"), &mark)?;
    let port = Port::listen(&place("port"))?;
    let mut command = Command::new(peers.folder().join("bin").join(machine.arch.emulator()));
    command
        .args(machine.arguments(program, &place("disk"), &place("port")))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(File::create(place("errors"))?);
    let mut child = Ended(command.spawn().context("cannot start QEMU")?);
    let (mut log, status) = follow(&mut child.0, started + DEADLINE)?;
    drop(child);
    log += &fs::read_to_string(place("errors"))?;
    let report = report::Report::parse(&log);
    let ways = machine.ways();
    let verify = || {
        let status = status.context("it did not end in time")?;
        ensure!(status == machine.good_status(), "QEMU ended with status {status}");
        let (count, expected) = (report.count(), ways.len() * report::DEVICES.len());
        ensure!(count == expected, "its report has {count} lines, not {expected}");
        let conversations = port.conversations()?;
        if conversations != ways.len() {
            bail!("the console's other end was greeted {conversations} times and answered");
        }
        disk::check(&place("disk"), ways.len())
    };
    let fault = verify().err();
    Ok(Outcome {
        report,
        log,
        fault,
        time: started.elapsed(),
    })
}

/// Collects what `child` prints until it ends, and its status; no status if that is not before the deadline.
fn follow(child: &mut Child, deadline: Instant) -> Result<(String, Option<i32>)> {
    let output = child.stdout.take().context("QEMU has no output")?;
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
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok((log, None)),
            // The emulator closes its output when it ends.
            Err(mpsc::RecvTimeoutError::Disconnected) => return Ok((log, child.wait()?.code())),
        }
    }
}

/// A process that does not outlive this.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // Both fail only if it has been waited for already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
