//! What can be said of a run, whatever its subject.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;
use ringwright_conformance::report::{Report, html, junit};
use ringwright_conformance::{Check, RunOptions, Selection};

/// Which checks, how, and where the outcome goes.
#[derive(Args)]
pub struct Options {
    /// Only checks of this name, or of this clause, or of this part of the document: split.used-length,
    /// dev:split:indirect-descriptors:01, split. `*` stands for anything. May be given more than once.
    #[arg(long, global = true, value_name = "NAME|CLAUSE|SCOPE")]
    only: Vec<String>,
    /// Leave out such checks.
    #[arg(long, global = true, value_name = "NAME|CLAUSE|SCOPE")]
    skip: Vec<String>,
    /// Say what each check does, which clauses it is about, and which mutants it has caught; run none.
    #[arg(long, global = true)]
    pub list: bool,
    /// Seconds that a check may take, or a driver in one scenario: 20, or 120 for a driver of another program, which may have
    /// to boot first.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86400))]
    deadline: Option<u64>,
    /// Show everything that each check did and saw, line by line.
    #[arg(long, global = true)]
    pub trace: bool,
    /// Name every check, also those that pass or are not applicable.
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// What reports call the subject.
    #[arg(long, global = true, value_name = "NAME")]
    pub label: Option<String>,
    /// Write the outcome as JSON, `-` for standard output. `conform compare` reads it.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the outcome as JUnit XML.
    #[arg(long, global = true, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the outcome as a page, one file.
    #[arg(long, global = true, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// How checks of devices are run.
#[derive(Args)]
pub struct Pace {
    /// Begin the checks in another order, the same for the same number.
    #[arg(long, global = true, value_name = "N")]
    seed: Option<u64>,
    /// Milliseconds that the subject may take for what it has to do. For what it must not do it is watched a hundredth of that.
    #[arg(long, global = true, value_name = "MILLISECONDS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    patience: u64,
    /// How many checks run at a time, where the subject allows it; as many as there are processors, if not given.
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    jobs: Option<u16>,
}

impl Pace {
    /// The same for the runner.
    pub fn run(&self, deadline: Duration) -> RunOptions {
        let processors = || thread::available_parallelism().map_or(1, usize::from);
        let patience = Duration::from_millis(self.patience);
        RunOptions {
            deadline,
            patience,
            quiet: patience / 100,
            jobs: self.jobs.map_or_else(processors, usize::from),
            seed: self.seed,
            stop: Arc::default(),
        }
    }
}

impl Options {
    /// Those of `checks` that are wanted; there is at least one.
    pub fn select(
        &self,
        checks: impl Iterator<Item = &'static Check>,
    ) -> anyhow::Result<Vec<&'static Check>> {
        let selection = Selection {
            only: self.only.clone(),
            skip: self.skip.clone(),
        };
        let chosen: Vec<_> = checks.filter(|check| selection.includes(check)).collect();
        if chosen.is_empty() {
            bail!("no check is called so, or is about such a clause: --list names them");
        }
        Ok(chosen)
    }

    /// How long each check may take.
    pub fn deadline(&self) -> Duration {
        self.deadline_or(20)
    }

    /// How long that may be where it is `seconds` if nothing is said.
    pub fn deadline_or(&self, seconds: u64) -> Duration {
        Duration::from_secs(self.deadline.unwrap_or(seconds))
    }

    /// Whether standard output is a report's.
    pub fn fills_stdout(&self) -> bool {
        let files = [&self.json, &self.junit, &self.html];
        files.into_iter().flatten().any(|file| file == Path::new("-"))
    }

    /// Writes the reports that are wanted.
    pub fn write_reports(&self, report: Report) -> anyhow::Result<()> {
        let report = if self.trace {
            report
        } else {
            report.without_idle_traces()
        };
        if let Some(file) = &self.json {
            write(file, &(report.to_json()? + "\n"))?;
        }
        if let Some(file) = &self.junit {
            write(file, &junit(&report))?;
        }
        if let Some(file) = &self.html {
            write(file, &html(&[report]))?;
        }
        Ok(())
    }
}

/// Writes a report to a file, or to standard output if it is `-`.
pub fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    if file == Path::new("-") {
        return Ok(io::stdout().write_all(text.as_bytes())?);
    }
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
