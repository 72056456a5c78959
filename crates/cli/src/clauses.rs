//! `ringwright clauses`: the normative sentences of the document, and which of them are checked.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use ringwright_conformance::{Check, Clause, Observed, Side, Strength, caught, clauses, coverage, left};
use serde::Serialize;

use crate::conform;

/// List what the document demands, sentence by sentence, in our own words.
///
/// Each clause has an id of four parts: dev or drv, whose conduct it is about; the part of the document; the section; a number.
/// For example: ringwright clauses split indirect, or: ringwright clauses --scope pci --side device --must --missing
#[derive(Args)]
pub struct Arguments {
    /// Only clauses that have each of these words in their id or their text.
    filter: Vec<String>,
    /// Only those of this part of the document: split, pci, blk. May be given more than once.
    #[arg(long, value_name = "SCOPE")]
    scope: Vec<String>,
    /// Only those about this end.
    #[arg(long, value_enum)]
    side: Option<End>,
    /// Only those that are binding: MUST, MUST NOT, SHALL.
    #[arg(long)]
    must: bool,
    /// Only those that are binding, can be observed from outside, and have no check that has caught a mutant; and why.
    #[arg(long)]
    missing: bool,
    /// Print how many of them are checked, for each part of the document and each end.
    #[arg(long)]
    coverage: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// An end of a virtqueue.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum End {
    Device,
    Driver,
}

/// A clause with its checks.
#[derive(Serialize)]
struct Entry {
    id: &'static str,
    scope: &'static str,
    side: &'static str,
    strength: &'static str,
    observed: &'static str,
    says: &'static str,
    checks: Vec<&'static str>,
    with_mutant: bool,
    /// Why there is no check, if one is wanted.
    left: Option<String>,
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    scope: &'static str,
    side: &'static str,
    must_wire: usize,
    must_strict: usize,
    checked: usize,
    checked_with_mutant: usize,
}

/// Lists, to standard output.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (checks, caught): (Vec<&Check>, _) = (conform::checks().collect(), caught());
    let entries: Vec<Entry> = clauses()
        .iter()
        .map(|clause| (clause, entry(clause, &checks, caught.contains(clause.id))))
        .filter(|(clause, entry)| arguments.include(clause, entry))
        .map(|(_, entry)| entry)
        .collect();
    let mut out = io::stdout().lock();
    match (arguments.coverage, arguments.json) {
        (true, json) => print_coverage(&mut out, &table(&checks, &entries), json)?,
        (false, true) => {
            serde_json::to_writer_pretty(&mut out, &entries)?;
            writeln!(out)?;
        }
        (false, false) => entries.iter().try_for_each(|entry| print(&mut out, entry))?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Arguments {
    fn include(&self, clause: &Clause, entry: &Entry) -> bool {
        let side = match clause.side {
            Side::Device => End::Device,
            Side::Driver => End::Driver,
        };
        let says = clause.says.to_lowercase();
        let has = |word: &String| clause.id.contains(word.as_str()) || says.contains(&word.to_lowercase());
        self.side.is_none_or(|wanted| wanted == side)
            && (self.scope.is_empty() || self.scope.iter().any(|scope| scope == clause.scope()))
            && (!self.must || clause.strength == Strength::Must)
            && (!self.missing || entry.left.is_some())
            && self.filter.iter().all(has)
    }
}

fn entry(clause: &Clause, checks: &[&'static Check], with_mutant: bool) -> Entry {
    let own = checks.iter().filter(|check| check.clauses.contains(&clause.id));
    Entry {
        id: clause.id,
        scope: clause.scope(),
        side: side_name(clause.side),
        strength: match clause.strength {
            Strength::Must => "must",
            Strength::Should => "should",
            Strength::May => "may",
        },
        observed: match clause.observed {
            Observed::Wire => "on the wire",
            Observed::StrictDevice => "by a strict device",
            Observed::Inside => "inside",
            Observed::Never => "never",
        },
        says: clause.says,
        checks: own.map(|check| check.name).collect(),
        with_mutant,
        left: left(clause).map(|left| format!("{}: {}", left.obstacle(), left.why)),
    }
}

fn print(out: &mut impl Write, entry: &Entry) -> io::Result<()> {
    let checks = match (&entry.checks[..], &entry.left) {
        (checks @ [_, ..], _) => format!("checked by {}", checks.join(", ")),
        ([], Some(left)) => format!("no check, {left}"),
        ([], None) => "no check".to_owned(),
    };
    writeln!(
        out,
        "{}  {}, seen {}, {checks}\n    {}",
        entry.id,
        entry.strength.to_uppercase(),
        entry.observed,
        entry.says
    )
}

/// The rows of what `entries` include.
fn table(checks: &[&'static Check], entries: &[Entry]) -> Vec<Row> {
    let rows = coverage(checks.iter().copied()).into_iter();
    let wanted = rows.filter(|((scope, side), _)| {
        entries
            .iter()
            .any(|entry| entry.scope == *scope && entry.side == side_name(*side))
    });
    let row = |((scope, side), counts): (_, ringwright_conformance::Coverage)| Row {
        scope,
        side: side_name(side),
        must_wire: counts.must_wire,
        must_strict: counts.must_strict,
        checked: counts.checked,
        checked_with_mutant: counts.checked_with_mutant,
    };
    wanted.map(row).collect()
}

fn print_coverage(out: &mut impl Write, rows: &[Row], json: bool) -> anyhow::Result<()> {
    if json {
        serde_json::to_writer_pretty(&mut *out, rows)?;
        writeln!(out)?;
        return Ok(());
    }
    writeln!(
        out,
        "Binding clauses that can be observed, on the wire or by a strict device:\n\n\
         {:<12} {:<7} {:>8} {:>8} {:>8} {:>12} {:>8}",
        "SCOPE", "SIDE", "WIRE", "STRICT", "CHECKED", "WITH MUTANT", "PERCENT"
    )?;
    let percent = |part: usize, all: usize| match all {
        0 => String::new(),
        _ => (100 * part / all).to_string(),
    };
    let mut sum = [0; 4];
    let mut line = |name: &str, side: &str, counts: [usize; 4]| {
        let [wire, strict, checked, mutants] = counts;
        let percent = percent(mutants, wire + strict);
        writeln!(
            out,
            "{name:<12} {side:<7} {wire:>8} {strict:>8} {checked:>8} {mutants:>12} {percent:>8}"
        )
    };
    for row in rows {
        let counts = [
            row.must_wire,
            row.must_strict,
            row.checked,
            row.checked_with_mutant,
        ];
        sum.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
        line(row.scope, row.side, counts)?;
    }
    line("all", "", sum)?;
    Ok(())
}

fn side_name(side: Side) -> &'static str {
    match side {
        Side::Device => "device",
        Side::Driver => "driver",
    }
}
