//! `ringwright conform compare`: several subjects side by side.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use ringwright_conformance::report::{Report, Word, html};
use ringwright_conformance::{Clause, clauses};

use super::HOLDS;
use super::options::write;

/// Put what several runs have found side by side.
///
/// For example: ringwright conform compare ours.json theirs.json --html both.html
#[derive(Args)]
#[command(name = "compare")]
pub struct Arguments {
    /// What --json has written.
    #[arg(required = true, num_args = 1..)]
    reports: Vec<PathBuf>,
    /// Write a page, one file, `-` for standard output; otherwise the clauses are listed of which the subjects make something different.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Writes the page, or lists the differences.
pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let reports = arguments
        .reports
        .iter()
        .map(|file| read(file))
        .collect::<anyhow::Result<Vec<_>>>()?;
    match &arguments.html {
        Some(file) => write(file, &html(&reports))?,
        None => list(&mut io::stdout().lock(), &reports)?,
    }
    Ok(HOLDS)
}

fn read(file: &Path) -> anyhow::Result<Report> {
    let name = || file.display().to_string();
    let text = fs::read_to_string(file).with_context(name)?;
    Report::from_json(&text).with_context(name)
}

fn list(out: &mut impl Write, reports: &[Report]) -> io::Result<()> {
    for clause in clauses() {
        let words: Vec<(&Report, Option<Word>)> = reports
            .iter()
            .filter(|report| report.side == clause.side.into())
            .map(|report| (report, report.clause(clause).word))
            .collect();
        if words.windows(2).any(|pair| pair[0].1 != pair[1].1) {
            print(out, clause, &words)?;
        }
    }
    Ok(())
}

fn print(out: &mut impl Write, clause: &Clause, words: &[(&Report, Option<Word>)]) -> io::Result<()> {
    writeln!(out, "{}\n    {}", clause.id, clause.says)?;
    for (report, word) in words {
        let word = word.map_or("not checked", Word::name);
        writeln!(out, "    {word:<15} {}", report.subject)?;
    }
    Ok(())
}
