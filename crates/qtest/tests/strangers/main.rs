//! Our four drivers on QEMU's devices, over every bus, interface, ring format and kind of interrupts, on several machines:
//! a table of which every cell is run. QEMU is in the folder that RINGWRIGHT_PEERS names, which `cargo xtask test` sets up.
//!
//! An argument chooses rows: those whose text contains it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this is a program that prints a table"
)]

mod devices;
mod rows;
mod world;

use std::path::PathBuf;
use std::process::exit;
use std::sync::Mutex;
use std::time::Instant;

use rows::{DEVICES, Outcome, Row, Way};

/// Machines at a time.
const WORKERS: usize = 2;

fn main() {
    let started = Instant::now();
    // Test runners give options, too.
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let Some(folder) = std::env::var_os("RINGWRIGHT_PEERS").map(PathBuf::from) else {
        if std::env::var_os("CI").is_some() {
            eprintln!("RINGWRIGHT_PEERS is not set");
            exit(1);
        }
        let count: usize = rows::ways()
            .iter()
            .map(|way| way.rows().len() * DEVICES.len())
            .sum();
        eprintln!(
            "{count} cells skipped: RINGWRIGHT_PEERS is not set (`cargo xtask test` sets it and fetches QEMU)"
        );
        return;
    };
    let ways: Vec<Way> = rows::ways()
        .into_iter()
        .filter(|way| way.rows().iter().any(|row| matches(way, row, &wanted)))
        .collect();
    let next = Mutex::new(ways.iter().enumerate());
    let results: Mutex<Vec<(usize, Row, [Outcome; 4])>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((number, way)) = next.lock().unwrap().next() else {
                        return;
                    };
                    let rows = way.rows().into_iter().filter(|row| matches(way, row, &wanted));
                    for (row, outcomes) in way.run(&folder, rows.collect()) {
                        results.lock().unwrap().push((number, row, outcomes));
                    }
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|(number, ..)| *number);
    print(&ways, &results);
    let cells = results.iter().flat_map(|(.., outcomes)| outcomes);
    let failed = cells.clone().filter(|outcome| outcome.is_err()).count();
    println!(
        "{} cells, {failed} failed, {:.1} s",
        cells.count(),
        started.elapsed().as_secs_f32()
    );
    exit(i32::from(failed > 0));
}

fn matches(way: &Way, row: &Row, wanted: &[String]) -> bool {
    let text = format!("{way} {row}");
    wanted.is_empty() || wanted.iter().any(|word| text.contains(word))
}

fn print(ways: &[Way], results: &[(usize, Row, [Outcome; 4])]) {
    println!(
        "{:<46}{:<28}{}",
        Way::HEAD,
        Row::HEAD,
        DEVICES.map(|(_, name)| format!("{name:>9}")).concat()
    );
    for (number, row, outcomes) in results {
        let cells = outcomes.each_ref().map(|outcome| match outcome {
            Ok(time) => format!("{:>6} ms", time.as_millis()),
            Err(_) => format!("{:>9}", "FAILED"),
        });
        println!(
            "{:<46}{:<28}{}",
            ways[*number].to_string(),
            row.to_string(),
            cells.concat()
        );
    }
    println!("legacy-: a legacy device without ANY_LAYOUT");
    for (number, row, outcomes) in results {
        for ((_, name), outcome) in DEVICES.iter().zip(outcomes) {
            if let Err(reason) = outcome {
                println!("FAILED: {} {row} {name}: {reason}", ways[*number]);
            }
        }
    }
}
