//! `ringwright boot --check`: the guest uses every device, and what it saw is held against what was done here.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, PipeReader, Read, Seek, SeekFrom, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::engine::{Ended, Engine, Ring};
use super::peers::Parts;
use super::report::{Finding, Outcome, Report};
use super::{Arguments, DISK_BYTES, Machine, folder};
use crate::signals::Ending;

/// The host's mark on the disk stands in the first of the last eight sectors, the guest's in the second.
const HOST_MARK: u64 = DISK_BYTES - 8 * SECTOR;
const GUEST_MARK: u64 = HOST_MARK + SECTOR;
const SECTOR: u64 = 512;

/// Checks every guest that was asked for, one after the other, and prints the reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engines = match arguments.engine {
        Some(engine) => vec![engine],
        None => Parts::engines(&arguments.peers)?,
    };
    let rings = arguments
        .ring
        .map_or(vec![Ring::Split, Ring::Packed], |ring| vec![ring]);
    let mut reports = Vec::new();
    for (engine, ring) in engines
        .iter()
        .flat_map(|engine| rings.iter().map(move |ring| (*engine, *ring)))
    {
        let report = check(arguments, engine, ring)?;
        if !arguments.json {
            writeln!(io::stdout(), "{report}\n")?;
        }
        reports.push(report);
    }
    if arguments.json {
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &reports)?;
        writeln!(out)?;
    } else if reports.len() > 1 {
        summarize(&reports)?;
    }
    let passed = reports.iter().all(|report| report.passed);
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// One line for each guest.
fn summarize(reports: &[Report]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for Report {
        engine,
        ring,
        passed,
        seconds,
        ..
    } in reports
    {
        let verdict = if *passed { "passed" } else { "FAILED" };
        writeln!(out, "{verdict}  {engine:6} {ring:6} {seconds:6.1} s")?;
    }
    Ok(())
}

/// Boots one guest and lets it check.
fn check(arguments: &Arguments, engine: Engine, ring: Ring) -> anyhow::Result<Report> {
    let parts = Parts::find(engine, &arguments.peers, arguments.kernel.as_deref())?;
    let folder = folder()?;
    let machine = Machine::new(arguments, ring, &parts, folder.path())?;
    let nonce = nonce()?;
    mark(&machine.disk, &nonce).context("cannot write the disk")?;
    let heard = answer(machine.console.try_clone()?, nonce.clone())?;
    let names: Vec<_> = machine
        .served
        .iter()
        .map(|served| served.device_type().name)
        .collect();
    let append = format!("ringwright.check={nonce} ringwright.devices={}", names.join(","));
    let ending = Ending::on_signals()?;
    let started = Instant::now();
    progress(
        arguments,
        format_args!("booting Linux under {engine} with {ring} rings"),
    );
    let (mut running, console) = machine.boot(arguments, engine, &parts, &append)?;
    let collector = collect(console, arguments.verbose, !arguments.json)?;
    let ended = running.wait(Some(Duration::from_secs(arguments.timeout)), Some(&ending))?;
    drop(running);
    let mut findings = collector.join().unwrap_or_default();
    let seconds = started.elapsed().as_secs_f64();

    findings.extend(guest_mark(&machine.disk, &nonce));
    findings.extend(console_heard(&findings, &heard));
    findings.extend(rings(&findings, engine, ring));
    if ended == Ended::Wished {
        bail!("interrupted; the guest has been ended");
    }
    if ended == Ended::Timeout {
        findings.push(Finding::here(
            "guest",
            "end",
            false,
            format!("not within {} s", arguments.timeout),
        ));
    } else if !findings
        .iter()
        .any(|finding| finding.device == "guest" && finding.check == "end")
    {
        let complaint = machine.complaint();
        findings.push(Finding::here(
            "guest",
            "end",
            false,
            format!("it stopped before the end of its checks; {complaint}"),
        ));
    }
    let passed = findings.iter().all(|finding| finding.result != Outcome::Fail)
        && findings
            .iter()
            .any(|finding| finding.check == "driver" && finding.result == Outcome::Ok);
    let (engine, ring) = (engine.to_string(), ring.to_string());
    Ok(Report {
        engine,
        ring,
        passed,
        seconds,
        findings,
    })
}

/// A word that no earlier run has used.
fn nonce() -> anyhow::Result<String> {
    let mut bytes = [0; 8];
    File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut bytes))
        .context("no randomness")?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

fn mark(disk: &Path, nonce: &str) -> io::Result<()> {
    let mut disk = OpenOptions::new().write(true).open(disk)?;
    disk.seek(SeekFrom::Start(HOST_MARK))?;
    disk.write_all(nonce.as_bytes())
}

/// Whether the guest's mark is in the image.
fn guest_mark(disk: &Path, nonce: &str) -> Option<Finding> {
    let expected = format!("guest-{nonce}");
    let mut seen = vec![0; expected.len()];
    let read = File::open(disk).and_then(|mut disk| {
        disk.seek(SeekFrom::Start(GUEST_MARK))
            .and_then(|_| disk.read_exact(&mut seen))
    });
    let passed = read.is_ok() && seen == expected.as_bytes();
    Some(Finding::here(
        "block",
        "guest's mark in the image",
        passed,
        String::from_utf8_lossy(&seen).trim_matches('\0'),
    ))
}

/// Answers the guest's line on the console; the receiver hears what the guest said.
fn answer(console: UnixStream, nonce: String) -> anyhow::Result<Receiver<String>> {
    let (say, heard) = mpsc::channel();
    let talk = move || {
        let mut line = String::new();
        let mut lines = BufReader::new(&console);
        while lines.read_line(&mut line).is_ok_and(|length| length > 0) {
            let (said, known) = (
                line.trim().to_owned(),
                line.trim() == format!("guest says {nonce}"),
            );
            // Nobody listens any more when everything ends.
            let _ = say.send(said);
            if known
                && (&console)
                    .write_all(format!("host says {nonce}\n").as_bytes())
                    .is_err()
            {
                return;
            }
            line.clear();
        }
    };
    thread::Builder::new()
        .name("console".into())
        .spawn(talk)
        .context("cannot start a thread")?;
    Ok(heard)
}

/// What the guest said on the console, if it has a driver for it.
fn console_heard(findings: &[Finding], heard: &Receiver<String>) -> Option<Finding> {
    findings
        .iter()
        .find(|finding| finding.device == "console" && finding.result == Outcome::Ok)?;
    let said: Vec<_> = heard.try_iter().collect();
    let passed = said.iter().any(|line| line.starts_with("guest says "));
    Some(Finding::here(
        "console",
        "a line from the guest arrived",
        passed,
        said.join("; "),
    ))
}

/// Whether each device used the ring format that was asked for.
fn rings(findings: &[Finding], engine: Engine, asked: Ring) -> Option<Finding> {
    let used: Vec<_> = findings
        .iter()
        .filter(|finding| finding.check == "ring")
        .collect();
    let wrong: Vec<_> = used
        .iter()
        .filter(|finding| finding.detail != asked.to_string())
        .collect();
    let detail = match wrong.first() {
        Some(first) => format!("{} uses {} rings", first.device, first.detail),
        None => format!("{} devices", used.len()),
    };
    Some(Finding::here(
        "guest",
        &format!("{asked} rings everywhere under {engine}"),
        wrong.is_empty(),
        detail,
    ))
}

/// Reads the guest's boot console to its end; the thread returns the findings in it.
fn collect(
    console: PipeReader,
    verbose: bool,
    show: bool,
) -> anyhow::Result<thread::JoinHandle<Vec<Finding>>> {
    let read = move || {
        let mut findings = Vec::new();
        for line in BufReader::new(console).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            let finding = Finding::parse(&line);
            if verbose {
                echo(line.trim_end());
            } else if let Some(finding) = finding.as_ref().filter(|_| show) {
                echo(&format!("  {}: {}", finding.device, finding.check));
            }
            findings.extend(finding);
        }
        findings
    };
    thread::Builder::new()
        .name("boot console".into())
        .spawn(read)
        .context("cannot start a thread")
}

fn progress(arguments: &Arguments, message: std::fmt::Arguments<'_>) {
    if !arguments.json {
        echo(&message.to_string());
    }
}

/// Progress goes to standard error, so that standard output is the report alone.
#[expect(clippy::print_stderr, reason = "this is the program's own voice")]
fn echo(line: &str) {
    eprintln!("{line}");
}
