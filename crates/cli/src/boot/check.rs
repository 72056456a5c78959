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
use ringwright_device::console::Size;

use super::boot_log::panic;
use super::engine::{Bus, Ended, Engine, Interface, Interrupts, Presentation, Ring, Running, Wiring};
use super::guest::{DISK_BYTES, Guest};
use super::peers::Parts;
use super::qemu::{Emulation, Transport};
use super::report::{Finding, Outcome, Report, Table};
use super::{Arguments, folder};
use crate::serve::Disks;
use crate::signals::Ending;

/// The host's mark on the disk stands in the first of the last eight sectors, the guest's in the second.
const HOST_MARK: u64 = DISK_BYTES - 8 * SECTOR;
const GUEST_MARK: u64 = HOST_MARK + SECTOR;
const SECTOR: u64 = 512;

/// The size that the guest's console is told to have; nobody's default.
const SIZE: Size = Size {
    columns: 123,
    rows: 45,
};

/// Checks every guest that was asked for, one after the other, and prints the reports.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let engines = match arguments.engine {
        Some(engine) => vec![engine],
        None if arguments.chooses_emulation() => vec![Engine::Qemu],
        None => Parts::engines(&arguments.peers)?,
    };
    let mut guests = Vec::new();
    for engine in engines {
        let presentations = presentations(engine, arguments)?;
        guests.extend(
            presentations
                .into_iter()
                .map(|presentation| (engine, presentation)),
        );
    }
    if guests.is_empty() {
        bail!("no guest has all that was asked for");
    }
    let mut reports = Vec::new();
    for (engine, presentation) in guests {
        let report = check(arguments, engine, presentation)?;
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
        write!(io::stdout(), "{}", Table(&reports))?;
    }
    let passed = reports.iter().all(|report| report.passed);
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All the ways in which a guest can see its devices, where the user has not said which.
fn presentations(engine: Engine, arguments: &Arguments) -> anyhow::Result<Vec<Presentation>> {
    let rings = [Ring::Split, Ring::Packed]
        .into_iter()
        .filter(|ring| arguments.ring.is_none_or(|asked| asked == *ring));
    let (emulation, wirings) = match arguments.emulation(engine)? {
        Some(emulation) if emulation.transport == Transport::VhostUser && arguments.chooses_wiring() => {
            return Ok(Vec::new());
        }
        None if engine == Engine::Uml && arguments.chooses_wiring() => return Ok(Vec::new()),
        emulation => (emulation, wirings(engine, emulation, arguments)),
    };
    let all = wirings.into_iter().flat_map(|wiring| {
        rings.clone().map(move |ring| Presentation {
            ring,
            wiring,
            emulation,
        })
    });
    Ok(all.filter(|presentation| presentation.check().is_ok()).collect())
}

/// How the registers of the devices can be joined to the machine, where they are ours.
fn wirings(engine: Engine, emulation: Option<Emulation>, arguments: &Arguments) -> Vec<Option<Wiring>> {
    let possible: &[Wiring] = match (engine, emulation.map(|emulation| emulation.transport)) {
        (Engine::Machine, _) => &WIRINGS,
        (_, Some(Transport::VfioUser)) => &FUNCTIONS,
        _ => return vec![None],
    };
    let accepted = possible.iter().filter(|wiring| arguments.accepts(**wiring));
    accepted.map(|wiring| Some(*wiring)).collect()
}

/// What the embedded machine is checked with. Interfaces are a matter of each bus, kinds of interrupt one of PCI.
const WIRINGS: [Wiring; 8] = [
    wiring(Bus::Mmio, Interface::Modern, Interrupts::Msix),
    wiring(Bus::Mmio, Interface::Legacy, Interrupts::Msix),
    wiring(Bus::Pci, Interface::Modern, Interrupts::Msix),
    wiring(Bus::Pci, Interface::Transitional, Interrupts::Msix),
    wiring(Bus::Pci, Interface::Legacy, Interrupts::Msix),
    wiring(Bus::Pci, Interface::Modern, Interrupts::Intx),
    wiring(Bus::Pci, Interface::Legacy, Interrupts::Intx),
    wiring(Bus::Mixed, Interface::Modern, Interrupts::Msix),
];

/// What devices over vfio-user are checked with.
const FUNCTIONS: [Wiring; 2] = [
    wiring(Bus::Pci, Interface::Modern, Interrupts::Msix),
    wiring(Bus::Pci, Interface::Modern, Interrupts::Intx),
];

const fn wiring(bus: Bus, interface: Interface, interrupts: Interrupts) -> Wiring {
    Wiring {
        bus,
        interface,
        interrupts,
    }
}

/// Boots one guest and lets it check.
fn check(arguments: &Arguments, engine: Engine, presentation: Presentation) -> anyhow::Result<Report> {
    let parts = Parts::find(
        engine,
        presentation.emulation,
        &arguments.peers,
        arguments.kernel.as_deref(),
    )?;
    let folder = folder()?;
    let guest = Guest::new(
        arguments,
        engine,
        arguments.setting_with(presentation),
        folder.path(),
    )?;
    let (devices, console) = guest.devices(Some(SIZE), &mut Disks::default())?;
    let nonce = nonce()?;
    mark(&guest.disk, &nonce).context("cannot write the disk")?;
    let heard = answer(console, nonce.clone())?;
    let names: Vec<_> = devices
        .iter()
        .map(|device| device.description().device_type.name)
        .collect();
    // Parts of 8 MiB for the disk. What takes long is the guest that makes random bytes and sums them up, before and after,
    // and not the disk: the embedded machine, which interprets every instruction and is checked in 13 ways, writes less.
    let parts_on_disk = if engine == Engine::Machine { 2 } else { 8 };
    let append = format!(
        "ringwright.check={nonce} ringwright.devices={} ringwright.size={},{} ringwright.parts={parts_on_disk}",
        names.join(","),
        SIZE.rows,
        SIZE.columns
    );
    let ending = Ending::on_signals()?;
    let started = Instant::now();
    progress(
        arguments,
        format_args!("booting Linux under {engine} with {presentation}"),
    );
    let (mut running, console) = Running::start(&guest, &parts, devices, &append)?;
    let collector = collect(console, arguments.verbose, !arguments.json)?;
    let ended = running.wait(Some(Duration::from_secs(arguments.timeout)), &[&ending]);
    let seconds = started.elapsed().as_secs_f64();
    let complaint = running.complaint();
    let instructions = running.instructions();
    drop(running);
    let mut findings = collector.join().unwrap_or_default();

    findings.extend(guest_mark(&guest.disk, &nonce));
    findings.extend(console_heard(&findings, &heard));
    findings.extend(everywhere(&findings, "ring", &presentation.ring.to_string()));
    if let Some(wiring) = presentation.wiring {
        findings.extend(as_wired(&findings, wiring));
    }
    if presentation.emulation.is_some_and(|emulation| emulation.iommu) {
        findings.extend(everywhere(&findings, "iommu", "translated"));
    }
    match ended {
        Ok(Ended::Wished(_)) => bail!("interrupted; the guest has been ended"),
        Ok(Ended::Timeout) => {
            let detail = format!("not within {} s; {complaint}", arguments.timeout);
            findings.push(Finding::here("guest", "end", false, detail));
        }
        Err(error) => findings.push(Finding::here("guest", "end", false, format!("{error:#}"))),
        Ok(Ended::Exited) if has_ended(&findings) => {}
        Ok(Ended::Exited | Ended::Restarted) => {
            let detail = format!("it stopped before the end of its checks; {complaint}");
            findings.push(Finding::here("guest", "end", false, detail));
        }
    }
    // The kernels of machines with our registers have drivers for everything.
    let must = |finding: &Finding| match (presentation.wiring, finding.check.as_str()) {
        (Some(_), "driver") => finding.result == Outcome::Ok,
        _ => finding.result != Outcome::Fail,
    };
    let driven = |finding: &Finding| finding.check == "driver" && finding.result == Outcome::Ok;
    Ok(Report {
        engine: engine.to_string(),
        emulation: presentation.emulation.map(|emulation| emulation.to_string()),
        wiring: presentation.wiring.map(|wiring| wiring.to_string()),
        ring: presentation.ring.to_string(),
        passed: findings.iter().all(must) && findings.iter().any(driven),
        seconds,
        instructions,
        findings,
    })
}

/// Whether the guest got to the end of its checks.
fn has_ended(findings: &[Finding]) -> bool {
    findings
        .iter()
        .any(|finding| finding.device == "guest" && finding.check == "end")
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

/// Whether every device that has a finding `check` has this one.
fn everywhere(findings: &[Finding], check: &str, expected: &str) -> Option<Finding> {
    let used: Vec<_> = findings.iter().filter(|finding| finding.check == check).collect();
    let wrong = used.iter().find(|finding| finding.detail != expected);
    let detail = match wrong {
        Some(wrong) => format!("{}: {}", wrong.device, wrong.detail),
        None => format!("{} devices", used.len()),
    };
    let passed = wrong.is_none() && !used.is_empty();
    Some(Finding::here(
        "guest",
        &format!("{check} everywhere: {expected}"),
        passed,
        detail,
    ))
}

/// Whether the guest's drivers found the devices as they were wired.
fn as_wired(findings: &[Finding], wiring: Wiring) -> Vec<Finding> {
    let bus = match wiring.bus {
        Bus::Mmio => Some("mmio"),
        Bus::Pci => Some("pci"),
        Bus::Mixed => None,
    };
    let interrupts = match (wiring.bus, wiring.interrupts) {
        (Bus::Mmio, _) | (Bus::Pci, Interrupts::Intx) => Some("wire"),
        (Bus::Pci, Interrupts::Msix) => Some("message"),
        (Bus::Mixed, _) => None,
    };
    let interface = match wiring.interface {
        // A transitional device is driven as the driver likes, and it likes the modern interface.
        Interface::Modern | Interface::Transitional => "modern",
        Interface::Legacy => "legacy",
    };
    let checks = [
        ("bus", bus),
        ("interface", Some(interface)),
        ("interrupts", interrupts),
    ];
    let checks = checks
        .into_iter()
        .filter_map(|(check, expected)| everywhere(findings, check, expected?));
    checks.collect()
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
            let panic = panic(&line).map(|reason| Finding::here("guest", "kernel panic", false, reason));
            let finding = Finding::parse(&line).or(panic);
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

/// Progress goes to standard error, so that standard output is the report alone. It is not worth failing for.
fn echo(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}
