//! A driver in all scenarios, watched by all rules.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ringwright_spec::DeviceType;

use super::mutant::Slip;
use super::rule::{Rule, Watch};
use super::scenario::Scenario;
use super::strict::with;
use super::subject::{Driver, Slot, Stage};
use crate::check::Verdict;
use crate::run::Record;
use crate::subject::{Bus, Trace};

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
    let (bus, device) = (driver.bus(), driver.device());
    let mut sums: Vec<Sum> = rules.iter().map(|rule| Sum::new(rule, device, bus)).collect();
    let applicable: Vec<_> = sums.iter().filter_map(Sum::wanted).collect();
    for scenario in scenarios.iter().filter(|scenario| scenario.is_for(device, bus)) {
        let seen = meet(driver, &applicable, scenario, &Slip::NONE, deadline);
        progress(scenario, &seen.ended);
        let open = sums.iter_mut().filter(|sum| sum.wanted().is_some());
        for (sum, (_, watch)) in open.zip(seen.watches) {
            sum.add(watch, scenario, &seen.trace);
        }
    }
    let took = start.elapsed();
    sums.into_iter().map(|sum| sum.record(took)).collect()
}

/// What a rule has seen of a driver in all scenarios.
struct Sum {
    rule: &'static Rule,
    watch: Watch,
    /// What was done when it was broken.
    trace: Vec<String>,
    not_applicable: Option<String>,
}

impl Sum {
    fn new(rule: &'static Rule, device: &DeviceType, bus: Bus) -> Self {
        Self {
            rule,
            watch: Watch::default(),
            trace: Vec::new(),
            not_applicable: rule.is_not_applicable(device, bus),
        }
    }

    /// The rule, if it has something to say of the driver.
    fn wanted(&self) -> Option<&'static Rule> {
        self.not_applicable.is_none().then_some(self.rule)
    }

    fn add(&mut self, watch: Watch, scenario: &Scenario, trace: &[String]) {
        let was_broken = self.watch.is_broken();
        self.watch.join(watch);
        if !was_broken && self.watch.is_broken() {
            let head = format!("scenario {}: {}", scenario.name, scenario.does);
            self.trace = [&[head], trace].concat();
        }
    }

    fn record(self, took: Duration) -> Record {
        Record {
            check: &self.rule.check,
            verdict: match self.not_applicable {
                Some(why) => Verdict::NotApplicable(why),
                None => self.rule.verdict(&self.watch),
            },
            trace: self.trace,
            took,
        }
    }
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
        let ended = driver.meet(&mut stage);
        // Whoever hears that it is over may give the driver up, and find its socket free.
        drop(driver);
        // Nobody listens any more after the deadline.
        let _ = sender.send(ended);
    });
    let outcome = receiver.recv_timeout(deadline);
    let is_over = outcome != Err(RecvTimeoutError::Timeout);
    let ended = match outcome {
        Ok(ended) => ended,
        Err(RecvTimeoutError::Timeout) => Err(format!("it did not end within {} s", deadline.as_secs())),
        Err(RecvTimeoutError::Disconnected) => Err("the driver has panicked".into()),
    };
    let device = device.lock().unwrap_or_else(PoisonError::into_inner).take();
    let watches = device.map(|device| {
        with(&device, |device| {
            if !is_over {
                device.abandon();
            }
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
