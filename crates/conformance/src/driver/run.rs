//! A driver in all scenarios, watched by all rules.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::mutant::Slip;
use super::rule::{Rule, Watch};
use super::scenario::Scenario;
use super::strict::with;
use super::subject::{Driver, Slot, Stage};
use crate::check::Verdict;
use crate::run::Record;
use crate::subject::Trace;

/// What the rules have seen of a driver in one scenario.
pub struct Seen {
    /// The rules, and what each has seen.
    pub watches: Vec<(&'static Rule, Watch)>,
    /// What was done and seen, line by line.
    pub trace: Vec<String>,
    /// How it has ended for the driver, or why it has not.
    pub ended: Result<(), String>,
}

/// Lets `driver` meet a strict device in each of `scenarios`, watched by `rules`: one record for each rule, in that order.
/// `progress` is told of each scenario when it is over, and how it has ended for the driver.
pub fn watch(
    driver: &Arc<dyn Driver>,
    rules: &[&'static Rule],
    scenarios: &[&'static Scenario],
    deadline: Duration,
    mut progress: impl FnMut(&'static Scenario, &Result<(), String>),
) -> Vec<Record> {
    let start = Instant::now();
    let mut sums: Vec<(&'static Rule, Watch, Vec<String>)> = rules
        .iter()
        .map(|rule| (*rule, Watch::default(), Vec::new()))
        .collect();
    let bus = driver.bus();
    for scenario in scenarios
        .iter()
        .filter(|scenario| scenario.bus.is_none_or(|own| own == bus))
    {
        let seen = meet(driver, rules, scenario, &Slip::NONE, deadline);
        progress(scenario, &seen.ended);
        for ((rule, sum, trace), (_, watch)) in sums.iter_mut().zip(seen.watches) {
            let was_broken = sum.is_broken();
            sum.join(watch);
            if !was_broken && sum.is_broken() {
                *trace = seen.trace.clone();
                trace.insert(0, format!("scenario {}: {}", scenario.name, scenario.does));
                debug_assert!(matches!(
                    rule.verdict(sum),
                    Verdict::Fail { .. } | Verdict::Advice { .. }
                ));
            }
        }
    }
    let took = start.elapsed();
    sums.into_iter()
        .map(|(rule, watch, trace)| Record {
            check: &rule.check,
            verdict: rule.verdict(&watch),
            trace,
            took,
        })
        .collect()
}

/// Lets `driver`, whose hand slips, meet a strict device once, on a thread of its own, which is left behind if it does not
/// end.
pub fn meet(
    driver: &Arc<dyn Driver>,
    rules: &[&'static Rule],
    scenario: &'static Scenario,
    slip: &'static Slip,
    deadline: Duration,
) -> Seen {
    let (sender, receiver) = mpsc::channel();
    let (driver, rules) = (driver.clone(), rules.to_vec());
    let (trace, device) = (Trace::default(), Slot::default());
    let (shared, place) = (trace.clone(), device.clone());
    thread::spawn(move || {
        let mut stage = Stage {
            scenario,
            slip,
            rules: &rules,
            trace: &shared,
            device: place,
        };
        // Nobody listens any more after the deadline.
        let _ = sender.send(driver.meet(&mut stage));
    });
    let ended = match receiver.recv_timeout(deadline) {
        Ok(ended) => ended,
        Err(RecvTimeoutError::Timeout) => Err(format!("it did not end within {} s", deadline.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("the driver has panicked".into()),
    };
    let device = device.lock().unwrap_or_else(PoisonError::into_inner).take();
    let watches = device.map(|device| {
        with(&device, |device| {
            device.end(ended.clone());
            device.watches().to_vec()
        })
    });
    Seen {
        watches: watches.unwrap_or_default(),
        trace: trace.take(),
        ended,
    }
}
