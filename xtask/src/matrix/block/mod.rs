//! Linux on our disk, under every engine, with both formats of virtqueues, one and four of them: what each guest saw.

mod cells;
mod checks;
mod disks;
mod findings;
mod guest;
mod host;
pub mod initramfs;
mod nbd;
mod process;
mod table;

use std::path::{Path, PathBuf};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::program;
use crate::setup::{self, Peers, Scope};
use cells::{Cell, Engine};
use checks::{GUEST, SECTIONS, Section};
use disks::GROWN_BYTES;
use findings::Findings;
use guest::{Guest, Setting};
use host::Host;
use process::Interrupted;
use table::{Row, State};

/// The command line of `cargo xtask matrix block`.
#[derive(clap::Args)]
pub struct Options {
    /// Only cells whose names contain one of these words, such as `UML` or `packed, 4`.
    cells: Vec<String>,
    /// Only this section of the checks; may be given more than once.
    #[arg(long, value_name = "SECTION", value_parser = section_names())]
    only: Vec<String>,
    /// Print what was found as JSON, a list of one object for each cell.
    #[arg(long)]
    json: bool,
    /// Copy the guests' boot consoles to standard error.
    #[arg(long)]
    verbose: bool,
}

impl Options {
    fn selects(&self, cell: &Cell) -> bool {
        let name = cell.to_string();
        self.cells.is_empty() || self.cells.iter().any(|word| name.contains(word.as_str()))
    }

    fn sections(&self) -> Vec<&'static Section> {
        let asked = |section: &&Section| {
            self.only.is_empty() || section.name == GUEST || self.only.iter().any(|name| name == section.name)
        };
        SECTIONS.iter().filter(asked).collect()
    }
}

fn section_names() -> Vec<&'static str> {
    SECTIONS
        .iter()
        .map(|section| section.name)
        .filter(|name| *name != GUEST)
        .collect()
}

/// How long a guest may take, and how long it may say nothing. It needs a minute or two on a quiet machine.
const DEADLINE: Duration = Duration::from_secs(1500);
const SILENCE: Duration = Duration::from_secs(400);

/// How often it is looked whether somebody wants this to end.
const NAP: Duration = Duration::from_millis(100);

/// Lines of a guest's console that an error repeats.
const QUOTED_LINES: usize = 12;

/// Sets up, builds, lets every guest use the disks, and prints a table. Any check that fails makes it an error.
pub fn run(options: &Options) -> Result<()> {
    // What is missing then is missing in the table.
    let peers = setup::peers(Scope::Disks).or_else(|error| {
        eprintln!("not everything could be set up: {error:#}");
        Peers::locate()
    })?;
    run_cells(&peers, options)
}

/// The cells that `cargo xtask test` runs, each with some sections, or all.
const TEST: [(&str, &[&str]); 2] = [
    ("UML 6.12, split, 1 queue", &[]),
    (
        "QEMU 11.1, packed, 4 queues",
        &["sysfs", "discard", "resize", "zoned"],
    ),
];

/// The same for a few cells, which take a minute and need no other peers than all tests do.
pub fn test(peers: &Peers) -> Result<()> {
    TEST.iter().try_for_each(|(cell, sections)| {
        let options = Options {
            cells: vec![(*cell).to_owned()],
            only: sections.iter().map(|section| (*section).to_owned()).collect(),
            json: false,
            verbose: false,
        };
        run_cells(peers, &options)
    })
}

fn run_cells(peers: &Peers, options: &Options) -> Result<()> {
    let interrupted = Interrupted::on_signals()?;
    let ringwright = program::build("ringwright", "ringwright")?;
    let mut rows = Vec::new();
    for cell in cells::all().filter(|cell| options.selects(cell)) {
        let state = match (cell.impossible(), cell.engine.missing(peers.folder())) {
            (Some(why), _) => State::NotApplicable(why),
            (None, Some(part)) => State::Skipped(part),
            (None, None) => {
                eprintln!("{cell}");
                let started = Instant::now();
                let attempt = Attempt {
                    cell,
                    options,
                    peers: peers.folder(),
                    ringwright: &ringwright,
                    interrupted: &interrupted,
                };
                let findings = attempt.run();
                if interrupted.check().is_err() {
                    break;
                }
                let findings = findings?;
                for failure in findings.failures() {
                    eprintln!(
                        "  {}: {}: FAIL: {}",
                        failure.section, failure.check, failure.detail
                    );
                }
                State::Run(findings, started.elapsed())
            }
        };
        rows.push(Row { cell, state });
    }
    if rows.is_empty() {
        interrupted.check()?;
        bail!("no cell has such a name");
    }
    match options.json {
        true => table::print_json(&rows)?,
        false => table::print(&rows, &options.sections()),
    }
    interrupted.check()?;
    table::verdict(&rows)
}

/// One cell.
struct Attempt<'a> {
    cell: Cell,
    options: &'a Options,
    peers: &'a Path,
    ringwright: &'a PathBuf,
    interrupted: &'a Interrupted,
}

impl Attempt<'_> {
    /// Lets the guest use the disks. What goes wrong on the way is a finding, unless somebody wants all this to end.
    fn run(&self) -> Result<Findings> {
        let folder = tempfile::Builder::new().prefix("ringwright-matrix-").tempdir()?;
        let mut host = Host::new(self.cell, folder.path(), self.peers);
        let used = self.use_disks(&mut host, folder.path());
        self.interrupted.check()?;
        if let Err(error) = used {
            host.findings.hold(GUEST, "end", false, format!("{error:#}"));
        }
        let mut findings = std::mem::take(&mut host.findings);
        findings.complete(&self.cell, &self.options.sections());
        Ok(findings)
    }

    fn use_disks(&self, host: &mut Host, folder: &Path) -> Result<()> {
        let sections = self.options.sections();
        let names = sections.iter().map(|section| section.name);
        let names: Vec<_> = names
            .filter(|name| *name != GUEST && self.cell.leaves_out(name).is_none())
            .collect();
        let disks = disks::make(&self.cell, &names, folder, self.peers)?;
        let initrd = initramfs::build(self.cell.engine, folder, self.peers)?;
        host.prepare()?;
        // The embedded machine interprets every instruction.
        let megabytes = if self.cell.engine == Engine::Machine {
            16
        } else {
            32
        };
        let append = format!(
            "ringwright.sections={} ringwright.jobs={} ringwright.megabytes={megabytes} ringwright.grown={}",
            names.join(","),
            self.cell.queues,
            GROWN_BYTES / 512
        );
        let setting = Setting {
            cell: &self.cell,
            disks: &disks,
            initrd: &initrd,
            append: &append,
            folder,
            peers: self.peers,
            ringwright: self.ringwright,
        };
        self.attend(Guest::start(&setting)?, host)?;
        host.finish()
    }

    /// Listens to the guest until it has ended.
    fn attend(&self, guest: Guest, host: &mut Host) -> Result<()> {
        let (started, mut heard) = (Instant::now(), Instant::now());
        let mut quoted: Vec<String> = Vec::new();
        loop {
            self.interrupted.check()?;
            let line = match guest.console.recv_timeout(NAP) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout)
                    if started.elapsed() > DEADLINE || heard.elapsed() > SILENCE =>
                {
                    bail!("the guest does not go on; its last words: {}", quoted.join(" / "));
                }
                Err(RecvTimeoutError::Timeout) => continue,
            };
            heard = Instant::now();
            if self.options.verbose {
                eprintln!("{line}");
            }
            host.hear(&guest, &line)?;
            quoted.push(line);
            quoted.drain(..quoted.len().saturating_sub(QUOTED_LINES));
        }
        ensure!(
            host.has_ended(),
            "the guest has ended before its last check; its last words: {}",
            quoted.join(" / ")
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_and_section_for_the_tests_is_there_once() {
        for (name, sections) in TEST {
            let found = cells::all().filter(|cell| cell.to_string() == name);
            assert_eq!(found.count(), 1, "{name}");
            assert!(sections.iter().all(|section| section_names().contains(section)));
        }
    }
}
