//! The table of all cells.

use std::time::Duration;

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::cells::Cell;
use super::checks::Section;
use super::findings::{Findings, Verdict};

/// A cell and what came of it.
pub struct Row {
    /// The cell.
    pub cell: Cell,
    /// What came of it.
    pub state: State,
}

/// What came of a cell.
pub enum State {
    /// Its guest has run, for this long.
    Run(Findings, Duration),
    /// There is no such thing, for this reason.
    NotApplicable(&'static str),
    /// This is missing.
    Skipped(String),
}

/// Prints a line for each check, with a column for each cell that has run; then what failed, and why.
pub fn print(rows: &[Row], sections: &[&Section]) {
    let mut columns = Vec::new();
    for row in rows {
        match &row.state {
            State::Run(findings, time) => {
                columns.push(findings);
                let letter = letter(columns.len() - 1);
                println!(
                    "{letter}  {:<28} {:>6.1} s",
                    row.cell.to_string(),
                    time.as_secs_f32()
                );
            }
            State::NotApplicable(why) => println!("-  {:<28} n/a: {why}", row.cell.to_string()),
            State::Skipped(part) => println!("-  {:<28} SKIPPED: no {part}", row.cell.to_string()),
        }
    }
    print!("\n{:<10} {:<34}", "SECTION", "CHECK");
    (0..columns.len()).for_each(|column| print!(" {:<4}", letter(column)));
    println!();
    for section in sections {
        for check in section.checks {
            print!("{:<10} {check:<34}", section.name);
            for findings in &columns {
                let word = findings
                    .get(section.name, check)
                    .map_or("?", |finding| finding.verdict.word());
                print!(" {word:<4}");
            }
            println!();
        }
    }
    for row in rows {
        let State::Run(findings, _) = &row.state else {
            continue;
        };
        for failure in findings.failures() {
            println!(
                "{}: {}: {}: {}",
                row.cell, failure.section, failure.check, failure.detail
            );
        }
    }
}

/// Prints all as JSON.
pub fn print_json(rows: &[Row]) -> Result<()> {
    let rows: Value = rows.iter().map(to_json).collect();
    println!("{}", serde_json::to_string_pretty(&rows)?);
    Ok(())
}

/// Counts, and fails if a check has failed.
pub fn verdict(rows: &[Row]) -> Result<()> {
    let (mut ok, mut failed, mut not_here) = (0, 0, 0);
    let (mut impossible, mut skipped) = (0, 0);
    for row in rows {
        match &row.state {
            State::Run(findings, _) => {
                ok += findings.count(Verdict::Ok);
                failed += findings.count(Verdict::Failed);
                not_here += findings.count(Verdict::NotApplicable);
            }
            State::NotApplicable(_) => impossible += 1,
            State::Skipped(_) => skipped += 1,
        }
    }
    let run = rows.len() - impossible - skipped;
    eprintln!(
        "{run} cells run, {impossible} not applicable, {skipped} SKIPPED; {ok} checks ok, {failed} failed, {not_here} not \
         applicable"
    );
    match (failed, run) {
        (0, 1..) => Ok(()),
        (0, _) => bail!("no cell has run"),
        (failed, _) => bail!("{failed} checks of the matrix failed"),
    }
}

fn to_json(row: &Row) -> Value {
    let mut value = json!({
        "cell": row.cell.to_string(),
        "ring": row.cell.ring(),
        "queues": row.cell.queues,
    });
    match &row.state {
        State::Run(findings, time) => {
            value["seconds"] = json!(time.as_secs_f32());
            value["checks"] = findings.to_json();
        }
        State::NotApplicable(why) => value["not_applicable"] = json!(why),
        State::Skipped(part) => value["skipped"] = json!(format!("no {part}")),
    }
    value
}

fn letter(column: usize) -> char {
    char::from(b'A'.saturating_add(u8::try_from(column).unwrap_or(u8::MAX)))
}

#[cfg(test)]
mod tests {
    use super::super::cells;
    use super::*;

    fn row(state: State) -> Row {
        let cell = cells::all().next().expect("a cell");
        Row { cell, state }
    }

    fn run(holds: bool) -> Row {
        let mut findings = Findings::default();
        findings.hold("sysfs", "serial", holds, "seen");
        row(State::Run(findings, Duration::ZERO))
    }

    #[test]
    fn a_failed_check_is_an_error_and_so_is_a_matrix_that_has_not_run() {
        assert!(verdict(&[run(true), row(State::Skipped("bin/x".into()))]).is_ok());
        assert!(verdict(&[run(true), run(false)]).is_err());
        assert!(
            verdict(&[
                row(State::Skipped("bin/x".into())),
                row(State::NotApplicable("why"))
            ])
            .is_err()
        );
        let json = to_json(&run(false));
        assert_eq!(json["checks"][0]["verdict"], "FAIL");
        assert_eq!(
            to_json(&row(State::Skipped("bin/x".into())))["skipped"],
            "no bin/x"
        );
    }
}
