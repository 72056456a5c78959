//! Our own drivers hold, and each mutant is caught by its rule and by no unrelated one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ringwright_ring::Layout;
use ringwright_spec::entropy;

use super::*;
use crate::subject::Bus;
use crate::{Verdict, clause};

/// Rules whose occasion none of our drivers gives.
const NEVER: &[&str] = &["mmio.queue-stop", "pci.admin-queues", "feat.sr-iov-enabled"];

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn our_drivers_break_nothing() {
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<_> = SCENARIOS.iter().collect();
    for (name, bus) in all() {
        let driver: Arc<dyn Driver> = Arc::new(ours_on(name, bus).unwrap());
        let records = watch(&driver, &rules, &scenarios, DEADLINE, |scenario, ended| {
            let may_fail = matches!(scenario.name, "old" | "stubborn" | "magic" | "version");
            assert_eq!(ended.is_err(), may_fail, "{name}, {}: {ended:?}", scenario.name);
        });
        for record in &records {
            let blamed = matches!(record.verdict, Verdict::Fail { .. } | Verdict::Advice { .. });
            assert!(
                !blamed,
                "{name}: {}: {:?}\n{}",
                record.check.name,
                record.verdict,
                tail(&record.trace)
            );
        }
        let passed = records
            .iter()
            .filter(|record| record.verdict == Verdict::Pass)
            .count();
        assert!(passed >= 20, "{name}: only {passed} rules pass it");
    }
}

#[test]
fn every_rule_passes_one_of_our_drivers() {
    let rules: Vec<_> = rules().collect();
    let scenarios: Vec<_> = SCENARIOS.iter().collect();
    let mut waiting: BTreeSet<_> = rules.iter().map(|rule| rule.check.name).collect();
    for name in NEVER {
        assert!(waiting.remove(name), "{name}");
    }
    for (name, bus) in all() {
        let driver: Arc<dyn Driver> = Arc::new(ours_on(name, bus).unwrap());
        for record in watch(&driver, &rules, &scenarios, DEADLINE, |_, _| {}) {
            if record.verdict == Verdict::Pass {
                waiting.remove(record.check.name);
            }
        }
    }
    assert!(waiting.is_empty(), "never come to: {waiting:?}");
}

#[test]
fn every_mutant_is_caught_by_its_rule_and_no_unrelated_one() {
    let all: Vec<_> = rules().collect();
    let mut wrong = Vec::new();
    for rule in rules() {
        for mutant in rule.mutants {
            let driver: Arc<dyn Driver> = Arc::new(ours_on(mutant.driver, mutant.bus).unwrap());
            let scenario = scenario(mutant.scenario).unwrap();
            let seen = meet(&driver, &all, scenario, &mutant.slip, DEADLINE);
            let (mut caught, mut blamed) = (false, Vec::new());
            for (other, watch) in &seen.watches {
                let own = other.check.name == rule.check.name;
                caught |= own && watch.is_broken();
                if !own && watch.is_broken() && !mutant.also.contains(&other.check.name) {
                    blamed.push(format!("{}: {:?}", other.check.name, other.verdict(watch)));
                }
            }
            if !caught || !blamed.is_empty() {
                wrong.push(format!(
                    "{}: {}: caught: {caught}, blamed by {blamed:?}, {:?}\n    {}",
                    rule.check.name,
                    mutant.name,
                    seen.ended,
                    tail(&seen.trace)
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn scenarios_are_what_they_say() {
    let trace = |name: &str, driver: &str| {
        let driver: Arc<dyn Driver> = Arc::new(ours(driver).unwrap());
        let seen = meet(&driver, &[], scenario(name).unwrap(), &Slip::NONE, DEADLINE);
        seen.ended.unwrap();
        seen.trace
    };
    let has = |trace: &[String], words: &str| trace.iter().any(|line| line.contains(words));
    // Of 32 bytes that are asked for, and of 11 that come back.
    assert!(has(&trace("short", "entropy"), "written: 7 }"));
    assert!(has(&trace("short", "console"), "written: 3 }"));
    assert!(has(&trace("changing", "network"), "GenerationRead(3)"));
    let trace_of = trace("packed-one-by-one", "rings");
    let used: Vec<usize> = trace_of
        .split(|line| line == "Waits")
        .map(|part| part.iter().filter(|line| line.starts_with("used")).count())
        .collect();
    assert_eq!(used.iter().max(), Some(&1), "{used:?}");
    // In the first life nothing is used.
    let trace = trace("demands-reset", "rings");
    let lives: Vec<_> = trace.split(|line| line == "StatusWritten(Status(0x0))").collect();
    let used = |life: &&[String]| life.iter().filter(|line| line.starts_with("used")).count();
    let used: Vec<_> = lives.iter().map(used).filter(|used| *used > 0).collect();
    assert!(lives.len() > 3 && used.len() == 1, "{used:?}");
}

#[test]
fn an_administration_virtqueue_is_none_of_the_device_type() {
    let mut past = Past::new(&entropy::DEVICE, Bus::Pci, scenario("pci-admin").unwrap());
    past.administration = 1;
    let rule = rules().find(|rule| rule.check.name == "entropy.request").unwrap();
    // Of a source of entropy all buffers are device-writable, commands are not.
    let sees = |index, past: &mut Past| {
        past.take(&Event::QueueEnabled(index, Layout::default()));
        let readable = Chain {
            id: 0,
            descriptors: vec![Descriptor {
                index: 0,
                indirect: false,
                address: 0x1000,
                length: 24,
                flags: 0,
                next: 0,
                reached: true,
            }],
            astray: None,
            sent: Sent::default(),
        };
        let mut watch = Watch::default();
        (rule.watch)(&mut watch, past, &Event::Available(index, readable));
        watch.is_broken()
    };
    assert!(sees(0, &mut past));
    assert!(!sees(1, &mut past));
}

#[test]
fn rules_are_in_order() {
    let (mut names, mut ids) = (BTreeSet::new(), BTreeSet::new());
    for rule in rules() {
        assert!(
            names.insert(rule.check.name),
            "{} is there twice",
            rule.check.name
        );
        assert!(ids.insert(rule.clause()), "{} has two rules", rule.clause());
        assert!(clause(rule.clause()).is_some(), "{}: no clause", rule.check.name);
        assert!(!rule.mutants.is_empty(), "{} has no mutant", rule.check.name);
    }
    for rule in rules() {
        for other in rule.mutants.iter().flat_map(|mutant| mutant.also) {
            assert!(names.contains(other), "{}: no rule {other}", rule.check.name);
        }
    }
}

/// Our drivers, on every bus.
fn all() -> impl Iterator<Item = (&'static str, Bus)> {
    let buses = [Bus::Direct, Bus::Mmio, Bus::Pci, Bus::Ccw];
    OURS.iter().flat_map(move |name| buses.map(|bus| (*name, bus)))
}

fn tail(trace: &[String]) -> String {
    trace[trace.len().saturating_sub(12)..].join("\n    ")
}
