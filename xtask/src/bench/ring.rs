//! `cargo xtask bench ring`: what one chain costs each end of a virtqueue.
//!
//! Every subject runs against the same raw harness in the same program. Instructions are counted by callgrind at two
//! numbers of chains, of which the difference counts, so start and end fall out. Nanoseconds are the best of many short
//! samples, taken in turn. The harness alone is measured in the same way as a subject of its own, and taken off.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use anyhow::{Context, Result, anyhow};
use serde_json::json;

use super::{Options, verdict};
use crate::command::output;
use crate::program;
use crate::setup::{self, Scope};

/// Chains in the shorter and in the longer run under callgrind. Their difference is many times around every ring, so
/// that wrapping is averaged exactly.
const COUNTED: [u32; 2] = [2048, 2048 + 24 * 1024];
/// Chains in one timed sample.
const TIMED: u32 = 32 * 1024;
/// Most instructions for a chain of two descriptors at batch 32.
const TARGET: f64 = 75.0;
/// The harness alone.
const HARNESS: &str = "harness";
/// Our own.
const RINGWRIGHT: &str = "ringwright";
/// Our own with the tracking of buffers in flight.
const TRACKED: &str = "ringwright, tracked";
/// Most instructions for a chain of two descriptors at batch 32 with tracking, in times of those without.
const TRACKED_TARGET: f64 = 2.0;

/// Subjects with the end and the format that they have.
const SUBJECTS: [(&str, &str, &str); 12] = [
    (HARNESS, "device", "split"),
    (RINGWRIGHT, "device", "split"),
    (TRACKED, "device", "split"),
    ("virtio-queue", "device", "split"),
    (HARNESS, "device", "packed"),
    (RINGWRIGHT, "device", "packed"),
    (TRACKED, "device", "packed"),
    (HARNESS, "driver", "split"),
    (RINGWRIGHT, "driver", "split"),
    ("virtio-drivers", "driver", "split"),
    (HARNESS, "driver", "packed"),
    (RINGWRIGHT, "driver", "packed"),
];

/// One line of the results.
struct Row {
    subject: &'static str,
    end: &'static str,
    format: &'static str,
    batch: u16,
    segments: u16,
    /// Per chain; until the end with the harness's share.
    instructions: f64,
    nanoseconds: f64,
}

/// Sets up, builds, measures and prints.
pub fn run(options: &Options) -> Result<()> {
    setup::peers(Scope::Bench)?;
    let program = program::build("ringwright-bench", "bench-ring")?;
    let mut rows = rows(options.quick);
    count_all(&program, &mut rows)?;
    time_all(&program, &mut rows, options.quick)?;
    take_off_harness(&mut rows);
    if options.json {
        println!("{:#}", rows.iter().map(record).collect::<serde_json::Value>());
    } else {
        print(&rows);
    }
    Ok(())
}

fn rows(quick: bool) -> Vec<Row> {
    let segments: &[u16] = if quick { &[2] } else { &[1, 2, 3] };
    let mut rows = Vec::new();
    for batch in [32, 1] {
        for &segments in segments {
            rows.extend(SUBJECTS.map(|(subject, end, format)| Row {
                subject,
                end,
                format,
                batch,
                segments,
                instructions: 0.0,
                nanoseconds: f64::INFINITY,
            }));
        }
    }
    rows
}

impl Row {
    /// The run of this row for `chains` chains.
    fn command(&self, mut command: Command, chains: u32, samples: u32) -> Command {
        let (subject, option) = match self.subject {
            TRACKED => (RINGWRIGHT, Some("--tracked")),
            subject => (subject, None),
        };
        command.args([subject, self.end, self.format]).args(option).args([
            self.batch.to_string(),
            self.segments.to_string(),
            chains.to_string(),
            samples.to_string(),
        ]);
        command
    }

    /// Whether the other differs in the subject only.
    fn is_like(&self, other: &Row) -> bool {
        (self.end, self.format, self.batch, self.segments)
            == (other.end, other.format, other.batch, other.segments)
    }
}

/// Counts instructions. Counts do not depend on what else runs, so every processor takes part.
fn count_all(program: &Path, rows: &mut [Row]) -> Result<()> {
    let next = AtomicUsize::new(0);
    let worker = || -> Result<Vec<(usize, f64)>> {
        let mut counted = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(row) = rows.get(index) else {
                return Ok(counted);
            };
            eprint!("\rcounting instructions: {} of {}", index + 1, rows.len());
            counted.push((index, count(program, row)?));
        }
    };
    let counted = thread::scope(|scope| {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        let workers: Vec<_> = (0..processors).map(|_| scope.spawn(worker)).collect();
        let join = |worker: thread::ScopedJoinHandle<'_, _>| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a counting thread panicked")))
        };
        workers.into_iter().map(join).collect::<Result<Vec<_>>>()
    });
    eprintln!();
    for (index, instructions) in counted?.into_iter().flatten() {
        rows[index].instructions = instructions;
    }
    Ok(())
}

/// Instructions per chain.
fn count(program: &Path, row: &Row) -> Result<f64> {
    let total = |chains| -> Result<f64> {
        let mut valgrind = Command::new("valgrind");
        valgrind
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--log-fd=1"])
            .arg(program);
        let report = output(&mut row.command(valgrind, chains, 1))?;
        let (_, collected) = report
            .split_once("Collected : ")
            .context("callgrind says no count")?;
        let count = collected
            .split_whitespace()
            .next()
            .context("callgrind says no count")?;
        Ok(count.parse()?)
    };
    Ok((total(COUNTED[1])? - total(COUNTED[0])?) / f64::from(COUNTED[1] - COUNTED[0]))
}

/// Takes the best time of several rounds, in each of which every row has its turn.
fn time_all(program: &Path, rows: &mut [Row], quick: bool) -> Result<()> {
    let (rounds, samples) = if quick { (3, 10) } else { (8, 20) };
    for round in 0..rounds {
        eprint!("\rtiming: round {} of {rounds}", round + 1);
        for row in &mut *rows {
            let best = output(&mut row.command(Command::new(program), TIMED, samples))?;
            row.nanoseconds = row.nanoseconds.min(best.trim().parse()?);
        }
    }
    eprintln!();
    Ok(())
}

/// Leaves the subjects' own shares.
fn take_off_harness(rows: &mut Vec<Row>) {
    let (harness, mut subjects): (Vec<Row>, Vec<Row>) =
        rows.drain(..).partition(|row| row.subject == HARNESS);
    for row in &mut subjects {
        if let Some(share) = harness.iter().find(|share| share.is_like(row)) {
            row.instructions -= share.instructions;
            row.nanoseconds -= share.nanoseconds;
        }
    }
    *rows = subjects;
}

fn record(row: &Row) -> serde_json::Value {
    let rounded = |value: f64| (value * 100.0).round() / 100.0;
    json!({
        "bench": "ring",
        "subject": row.subject,
        "end": row.end,
        "format": row.format,
        "batch": row.batch,
        "segments": row.segments,
        "instructions_per_chain": rounded(row.instructions),
        "nanoseconds_per_chain": rounded(row.nanoseconds),
    })
}

fn print(rows: &[Row]) {
    println!(
        "Per chain, without the harness's share; the ratio is the other crate's instructions and nanoseconds to ours.\n"
    );
    println!(
        "{:<6} {:<6} {:>5} {:>8} {:<19} {:>12} {:>11}  RATIO",
        "END", "FORMAT", "BATCH", "SEGMENTS", "SUBJECT", "INSTRUCTIONS", "NANOSECONDS"
    );
    for end in ["device", "driver"] {
        for row in rows.iter().filter(|row| row.end == end) {
            let ratio = rival(rows, row).map_or(String::new(), |rival| {
                format!(
                    "{:.1} {:.1}",
                    rival.instructions / row.instructions,
                    rival.nanoseconds / row.nanoseconds
                )
            });
            println!(
                "{:<6} {:<6} {:>5} {:>8} {:<19} {:>12.1} {:>11.1}  {ratio}",
                row.end, row.format, row.batch, row.segments, row.subject, row.instructions, row.nanoseconds
            );
        }
    }
    println!("\nTargets, for chains of two descriptors at batch 32:");
    for end in ["device", "driver"] {
        print_targets(rows, end);
    }
}

/// The row of the other crate, which has split virtqueues only, for a row of ours.
fn rival<'r>(rows: &'r [Row], ours: &Row) -> Option<&'r Row> {
    let theirs = |row: &&Row| {
        ![RINGWRIGHT, TRACKED].contains(&row.subject)
            && (row.end, row.batch, row.segments) == (ours.end, ours.batch, ours.segments)
    };
    rows.iter().find(theirs).filter(|_| ours.subject == RINGWRIGHT)
}

fn print_targets(rows: &[Row], end: &str) {
    let row = |subject, format| {
        rows.iter().find(|row| {
            (row.subject, row.end, row.format) == (subject, end, format)
                && (row.batch, row.segments) == (32, 2)
        })
    };
    let (Some(split), Some(packed)) = (row(RINGWRIGHT, "split"), row(RINGWRIGHT, "packed")) else {
        return;
    };
    for row in [split, packed] {
        println!(
            "  {end} end, {:<6}: {:.1} instructions, at most {TARGET}: {}",
            row.format,
            row.instructions,
            verdict(row.instructions <= TARGET)
        );
    }
    for plain in [split, packed] {
        if let Some(tracked) = row(TRACKED, plain.format) {
            let times = tracked.instructions / plain.instructions;
            println!(
                "  {end} end, {:<6}: {times:.2} times the instructions with tracking, at most {TRACKED_TARGET}: {}",
                plain.format,
                verdict(times <= TRACKED_TARGET)
            );
        }
    }
    println!(
        "  {end} end, packed not slower than split: {:.1} and {:.1} ns: {}",
        packed.nanoseconds,
        split.nanoseconds,
        verdict(packed.nanoseconds <= split.nanoseconds)
    );
}

#[cfg(test)]
#[path = "ring_tests.rs"]
mod tests;
