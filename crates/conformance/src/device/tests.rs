//! Our own devices hold, and each mutant is caught by its check and by no unrelated one.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::*;
use crate::subject::{Bus, OURS, ours};
use crate::{Mutant, Record, RunOptions, Verdict, clause, run};

const BUSES: [Bus; 4] = [Bus::Direct, Bus::Mmio, Bus::Pci, Bus::Ccw];

/// Checks for which none of our devices has what they need; their mutants do.
const NOT_OURS: &[&str] = &[
    "pci.admin-queues",
    "block.read-only",
    "block.lifetime",
    "network.pairs",
    "network.hash-key",
    "network.indirection-table",
    "network.duplex",
    "network.speed",
    "network.checksums",
    "network.segments",
    "network.segments-ecn",
    "network.segments-counted",
    "network.tunnel-segments",
    "network.tunnel-checksums",
    "zoned.not-accepted",
    "zoned.append-unsupported",
];

/// Mutants that never answer are given up soon, because there are many.
fn at_a_glance() -> RunOptions {
    RunOptions {
        patience: Duration::from_millis(300),
        ..RunOptions::default()
    }
}

/// What is wrong at a glance may be so because the machine has much to do. It counts if it is still wrong with this.
fn at_leisure() -> RunOptions {
    RunOptions {
        deadline: Duration::from_secs(300),
        patience: Duration::from_secs(20),
        quiet: Duration::from_millis(500),
        jobs: 1,
        ..RunOptions::default()
    }
}

#[test]
fn our_devices_break_nothing_on_any_bus() {
    let checks: Vec<_> = checks().collect();
    let mut made = BTreeSet::new();
    for (name, bus) in OURS.iter().flat_map(|name| BUSES.map(|bus| (name, bus))) {
        let subject = Arc::new(ours(name, bus).unwrap());
        let records = run(subject, &checks, &RunOptions::default(), |_| {}).unwrap();
        let bad: Vec<_> = records
            .iter()
            .filter(|record| !matches!(record.verdict, Verdict::Pass | Verdict::NotApplicable(_)))
            .map(describe)
            .collect();
        assert!(bad.is_empty(), "{name} over {bus}:\n{}", bad.join("\n"));
        let passed = records
            .iter()
            .filter(|record| record.verdict == Verdict::Pass)
            .map(|record| record.check.name);
        let passed: Vec<_> = passed.collect();
        assert!(
            passed.len() >= 15,
            "{name} over {bus}: only {} checks apply",
            passed.len()
        );
        made.extend(passed);
    }
    let never: Vec<_> = checks
        .iter()
        .map(|check| check.name)
        .filter(|name| !made.contains(name) && !NOT_OURS.contains(name))
        .collect();
    assert!(
        never.is_empty(),
        "checks that apply to none of our devices: {never:?}"
    );
}

#[test]
fn every_mutant_is_caught_by_its_check() {
    let wrong = each_mutant(|check, mutant, device, bus| {
        let is_caught = |record: &Record| blamed(record) == Some(mutant.breaks);
        let record = look_at(mutant, device, bus, &[check], is_caught).pop()?;
        Some(format!(
            "{}: {} was to be blamed: {}",
            mutant.name,
            mutant.breaks,
            describe(&record)
        ))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_mutant_is_caught_by_an_unrelated_check() {
    let all: Vec<_> = checks().collect();
    let wrong = each_mutant(|check, mutant, device, bus| {
        if mutant.also.contains(&"*") {
            return None;
        }
        let others: Vec<_> = all
            .iter()
            .copied()
            .filter(|other| other.name != check.name && !mutant.also.contains(&other.name))
            .collect();
        let blaming = look_at(mutant, device, bus, &others, |record| blamed(record).is_none());
        let blaming: Vec<_> = blaming
            .iter()
            .map(|record| {
                format!(
                    "{} ({}) is blamed by {}",
                    mutant.name,
                    check.name,
                    describe(record)
                )
            })
            .collect();
        (!blaming.is_empty()).then(|| blaming.join("\n"))
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn checks_are_in_order() {
    let mut names = BTreeSet::new();
    for check in checks() {
        assert!(names.insert(check.name), "{} is there twice", check.name);
        for id in check.clauses {
            assert!(clause(id).is_some(), "{}: {id} is no clause", check.name);
            let has_mutant = check.mutants.iter().any(|mutant| mutant.breaks == *id);
            assert!(has_mutant, "{}: {id} has no mutant", check.name);
        }
        for mutant in check.mutants {
            assert!(
                check.clauses.contains(&mutant.breaks),
                "{}: {}",
                check.name,
                mutant.name
            );
        }
    }
}

/// What `look` finds wrong with each mutant. They are looked at side by side, because most of the time is waiting.
fn each_mutant(
    look: impl Fn(&'static Check, &'static Mutant, &'static str, Bus) -> Option<String> + Sync,
) -> Vec<String> {
    let waiting = Mutex::new(mutants());
    let next = || waiting.lock().unwrap().next();
    let work = || {
        let mut wrong = Vec::new();
        while let Some((check, mutant, device, bus)) = next() {
            wrong.extend(look(check, mutant, device, bus));
        }
        wrong
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..8).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    })
}

/// Every mutant with its check, and where the check can be made.
fn mutants() -> impl Iterator<Item = (&'static Check, &'static Mutant, &'static str, Bus)> {
    checks().flat_map(|check| {
        let bus = match check.needs.buses {
            [] => Bus::Mmio,
            buses => buses
                .iter()
                .copied()
                .find(|bus| *bus != Bus::Direct)
                .unwrap_or(Bus::Direct),
        };
        check
            .mutants
            .iter()
            .map(move |mutant| (check, mutant, mutant.device(check).unwrap_or("block"), bus))
    })
}

/// What checks come to that is not right, neither at a glance nor at leisure.
fn look_at(
    mutant: &'static Mutant,
    device: &str,
    bus: Bus,
    checks: &[&'static Check],
    is_right: impl Fn(&Record) -> bool,
) -> Vec<Record> {
    let subject = Arc::new(ours(device, bus).unwrap().behind(&mutant.lens));
    let wrong = |checks: &[_], options: &RunOptions| {
        let mut records = run(subject.clone(), checks, options, |_| {}).unwrap();
        records.retain(|record| !is_right(record));
        records
    };
    let hasty = wrong(checks, &at_a_glance());
    let checks: Vec<_> = hasty.iter().map(|record| record.check).collect();
    match checks.is_empty() {
        true => hasty,
        false => wrong(&checks, &at_leisure()),
    }
}

/// The clause that a check blames the device for breaking.
fn blamed(record: &Record) -> Option<&'static str> {
    match record.verdict {
        Verdict::Fail { clause, .. } | Verdict::Advice { clause, .. } => Some(clause),
        _ => None,
    }
}

fn describe(record: &Record) -> String {
    let end = record.trace.len().saturating_sub(12);
    format!(
        "{}: {:?}\n    {}",
        record.check.name,
        record.verdict,
        record.trace[end..].join("\n    ")
    )
}
