//! `cargo xtask bench block`: what serving a disk to another process costs.
//!
//! One client, with our own driver, asks the same of each server in turn: ours, and `qemu-storage-daemon`, each in a process of
//! its own, with the same content behind it. The client has one processor and the servers another, where there are two.
//! Every figure is the median of the rounds; a ratio is the median of the ratios in each round.

mod case;
mod chart;
mod report;
mod server;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use self::case::{Case, Content, KERNEL, Kind};
use self::server::{Folder, Server};
use crate::command::{output, workspace};
use crate::program;
use crate::setup::{self, Scope};

/// What the client measures, in the order of the records.
const MEASURES: [&str; 6] = [
    "requests_per_second",
    "cpu_seconds_per_million_requests",
    "p50_us",
    "p99_us",
    "p999_us",
    "resident_bytes",
];
/// What the client itself takes beside the measurement.
const OVERHEAD: Duration = Duration::from_millis(80);
/// Most that our process may have in memory with one queue idle.
const IDLE_BYTES: u64 = 8 << 20;

/// The command line of `cargo xtask bench block`.
#[derive(clap::Args)]
pub struct Options {
    /// Print the results as a JSON list of records.
    #[arg(long, conflicts_with = "markdown")]
    json: bool,
    /// Print the results as Markdown tables.
    #[arg(long)]
    markdown: bool,
    /// Draw the results into this folder; docs/img if none is given.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "docs/img")]
    svg: Option<PathBuf>,
    /// Only the null disk, with fewer and shorter measurements.
    #[arg(long)]
    quick: bool,
    /// How often each case is measured; every figure is the median.
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: Option<u32>,
    /// Only disks with this content; may be given several times.
    #[arg(long, value_enum)]
    only: Vec<Content>,
    /// Measure nothing: take the results from this file, which a run with --json printed.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["quick", "rounds", "only"])]
    from: Option<PathBuf>,
}

/// Rounds, and milliseconds of warm-up and measurement in each.
struct Effort {
    rounds: usize,
    warm_up: u64,
    time: u64,
}

/// Long enough to write all of a disk in memory.
const FILLING: Effort = Effort {
    rounds: 1,
    warm_up: 0,
    time: 3000,
};

/// Sets up, builds, measures and prints.
pub fn run(options: &Options) -> Result<()> {
    let records = match &options.from {
        Some(file) => {
            let text = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{} has no records", file.display()))?
        }
        None => measure(options)?,
    };
    if let Some(folder) = &options.svg {
        // A relative folder is meant from the root of the workspace.
        chart::draw(&records, &workspace().join(folder))?;
    }
    if options.json {
        println!("{:#}", Value::from(records));
    } else if options.markdown {
        report::markdown(&records);
    } else {
        report::table(&records);
    }
    Ok(())
}

/// Every server in turn, in every round, for every case.
fn measure(options: &Options) -> Result<Vec<Value>> {
    let peers = setup::peers(Scope::Bench)?;
    let client = program::build("ringwright-bench", "bench-block")?;
    let program = program::build("ringwright", "ringwright")?;
    let mut effort = match options.quick {
        true => Effort {
            rounds: 3,
            warm_up: 80,
            time: 220,
        },
        false => Effort {
            rounds: 5,
            warm_up: 120,
            time: 700,
        },
    };
    effort.rounds = options.rounds.map_or(effort.rounds, |rounds| rounds as usize);
    let contents: Vec<Content> = match (options.quick, &options.only[..]) {
        (_, only @ [_, ..]) => only.to_vec(),
        (true, []) => vec![Content::Null],
        (false, []) => Content::ALL.to_vec(),
    };
    let kinds = Kind::all(options.quick);
    let cases = |content: Content, kind: Kind| content.cases(kind, options.quick);
    let count: usize = contents
        .iter()
        .flat_map(|&content| kinds.iter().map(move |&kind| cases(content, kind).len()))
        .sum();
    let each = Duration::from_millis(effort.warm_up + effort.time) + OVERHEAD;
    let total = each * (count * effort.rounds) as u32;
    eprintln!(
        "{count} measurements in {} rounds: about {} minutes",
        effort.rounds,
        total.as_secs().div_ceil(60)
    );
    let mut records = Vec::new();
    for content in contents {
        for (number, &kind) in kinds.iter().enumerate() {
            let folder = Folder::new()?;
            let servers = server::start(content, kind.bytes, &program, &peers, &folder)?;
            match content {
                Content::Null if number == 0 => records.push(idle(&client, &servers)?),
                // Memory that nobody has written to is not there yet, and is slow to come.
                Content::Memory => drop(ask(&client, &servers, &Case::filling(), &FILLING)?),
                _ => {}
            }
            let cases = cases(content, kind);
            records.extend(measure_cases(&client, content, &servers, &effort, cases)?);
        }
    }
    Ok(records)
}

/// All cases of disks with the same content.
fn measure_cases(
    client: &Path,
    content: Content,
    servers: &[Server],
    effort: &Effort,
    cases: Vec<Case>,
) -> Result<Vec<Value>> {
    let mut cases: Vec<(Case, Vec<Value>)> = cases.into_iter().map(|case| (case, Vec::new())).collect();
    let count = cases.len();
    for round in 0..effort.rounds {
        for (number, (case, results)) in cases.iter_mut().enumerate() {
            eprint!(
                "\r{}: round {} of {}, {} of {count}   ",
                content.name(),
                round + 1,
                effort.rounds,
                number + 1
            );
            results.push(ask(client, servers, case, effort)?);
        }
    }
    eprintln!();
    let record = |(case, results): &(Case, Vec<Value>)| {
        let mut record = case.record();
        for measure in MEASURES {
            record[measure] = median(results, measure);
        }
        record["rounds"] = results
            .iter()
            .map(|result| {
                let rounded = |measure: &str, digits: f64| {
                    let value = result[measure].as_f64().unwrap_or(f64::NAN);
                    json!((value * digits).round() / digits)
                };
                json!([
                    rounded("requests_per_second", 1.0),
                    rounded("cpu_seconds_per_million_requests", 1e3)
                ])
            })
            .collect();
        record
    };
    Ok(cases.iter().map(record).collect())
}

/// One run of the client.
fn ask(client: &Path, servers: &[Server], case: &Case, effort: &Effort) -> Result<Value> {
    let mut command = ask_command(client, servers, case)?;
    for (name, value) in [("--warm-up", effort.warm_up), ("--time", effort.time)] {
        command.args([name, &value.to_string()]);
    }
    let said = output(&mut server::on_processor(0, command))?;
    serde_json::from_str(&said).with_context(|| format!("the client says {said:?}"))
}

/// How much memory our process has when it has just one queue, and nothing to do.
fn idle(client: &Path, servers: &[Server]) -> Result<Value> {
    let case = Case::idle();
    let mut command = ask_command(client, servers, &case)?;
    command.args(["--warm-up", "0", "--time", "0", "--idle"]);
    let said = output(&mut command)?;
    let said: Value = serde_json::from_str(&said).with_context(|| format!("the client says {said:?}"))?;
    Ok(json!({
        "bench": "block, idle",
        "subject": case.subject,
        "content": case.content.name(),
        "queues": case.queues,
        "resident_bytes": said["resident_bytes"],
    }))
}

fn ask_command(client: &Path, servers: &[Server], case: &Case) -> Result<Command> {
    let server = servers
        .iter()
        .find(|server| server.serves(case.subject))
        .with_context(|| format!("nobody serves {}", case.subject))?;
    let mut command = Command::new(client);
    match case.subject {
        KERNEL => command.arg("--path").args(server.image()),
        _ => command
            .arg("--path")
            .arg(server.socket())
            .args(["--pid", &server.id().to_string()]),
    };
    for (name, value) in [
        ("--protocol", case.protocol().to_owned()),
        ("--operation", case.operation.to_owned()),
        ("--places", case.kind.places.to_owned()),
        ("--bytes", case.kind.bytes.to_string()),
        ("--depth", case.depth_of_queue().to_string()),
        ("--queues", case.queues.to_string()),
    ] {
        command.args([name, &value]);
    }
    command.args(case.tracked().then_some("--tracked"));
    Ok(command)
}

/// The median of one measure over all rounds, to three decimals; whole numbers stay whole.
fn median(results: &[Value], measure: &str) -> Value {
    let values = results
        .iter()
        .filter_map(|result| result[measure].as_f64())
        .collect();
    let middle = median_of(values).unwrap_or(f64::NAN);
    match measure {
        "requests_per_second" | "resident_bytes" => json!(middle.round() as u64),
        _ => json!((middle * 1000.0).round() / 1000.0),
    }
}

/// The value in the middle, if there is any.
fn median_of(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}
