//! Our own devices hold, and each mutant is caught by its check and by no unrelated one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::subject::{Bus, OURS, ours};
use crate::{Mutant, Record, RunOptions, Verdict, clause, run};

const BUSES: [Bus; 4] = [Bus::Direct, Bus::Mmio, Bus::Pci, Bus::Ccw];

/// Mutants that never answer are given up soon.
fn options() -> RunOptions {
    RunOptions {
        patience: Duration::from_millis(300),
        ..RunOptions::default()
    }
}

#[test]
fn our_devices_break_nothing_on_any_bus() {
    let checks: Vec<_> = checks().collect();
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
            .count();
        assert!(passed >= 15, "{name} over {bus}: only {passed} checks apply");
    }
}

#[test]
fn every_mutant_is_caught_by_its_check() {
    for (check, mutant, device, bus) in mutants() {
        let record = look_at(mutant, device, bus, &[check]).remove(0);
        match &record.verdict {
            Verdict::Fail { clause, .. } | Verdict::Advice { clause, .. } => {
                assert_eq!(
                    *clause,
                    mutant.breaks,
                    "{}: {}: {}",
                    check.name,
                    mutant.name,
                    describe(&record)
                );
            }
            _ => panic!(
                "{}: not caught: {}: {}",
                check.name,
                mutant.name,
                describe(&record)
            ),
        }
    }
}

#[test]
fn no_mutant_is_caught_by_an_unrelated_check() {
    let all: Vec<_> = checks().collect();
    for (check, mutant, device, bus) in mutants() {
        if mutant.also.contains(&"*") {
            continue;
        }
        let others: Vec<_> = all
            .iter()
            .copied()
            .filter(|other| other.name != check.name && !mutant.also.contains(&other.name))
            .collect();
        for record in look_at(mutant, device, bus, &others) {
            let blamed = matches!(record.verdict, Verdict::Fail { .. } | Verdict::Advice { .. });
            assert!(
                !blamed,
                "{} ({}) is blamed by {}",
                mutant.name,
                check.name,
                describe(&record)
            );
        }
    }
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
        check.mutants.iter().map(move |mutant| {
            let id = mutant.on.or(check.needs.device);
            let device = id.and_then(ringwright_spec::device_type::by_id);
            (check, mutant, device.map_or("block", |device| device.name), bus)
        })
    })
}

fn look_at(mutant: &'static Mutant, device: &str, bus: Bus, checks: &[&'static Check]) -> Vec<Record> {
    let subject = ours(device, bus).unwrap().behind(&mutant.lens);
    run(Arc::new(subject), checks, &options(), |_| {}).unwrap()
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
