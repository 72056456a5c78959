//! Checks, one after the other or side by side, each on its own specimen and with a deadline.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::{Check, Ended, Outcome, Verdict};
use crate::probe::Probe;
use crate::subject::{Subject, SubjectError, Trace};

/// How checks are run.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// How long a check may take.
    pub deadline: Duration,
    /// How long a device may take for what it has to do.
    pub patience: Duration,
    /// How long a device is watched for what it must not do.
    pub quiet: Duration,
    /// How many run at a time, if the subject allows it.
    pub jobs: usize,
    /// Makes the order in which they are begun another one; the order of the document if there is none.
    pub seed: Option<u64>,
    /// Set by whoever wants no more: what runs then is left behind, and the rest is left out.
    pub stop: Arc<AtomicBool>,
}

/// How often a check that runs is asked whether it is still wanted.
const LOOK: Duration = Duration::from_millis(50);

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(20),
            patience: Duration::from_secs(2),
            quiet: Duration::from_millis(20),
            jobs: thread::available_parallelism().map_or(1, usize::from),
            seed: None,
            stop: Arc::default(),
        }
    }
}

/// What a check came to.
#[derive(Clone)]
pub struct Record {
    /// The check.
    pub check: &'static Check,
    /// What is to be said of the subject.
    pub verdict: Verdict,
    /// What was done and seen, line by line.
    pub trace: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

/// Runs `checks` on `subject`, and tells `progress` of each when it is done. The records are in the order of `checks`.
///
/// A check that does not end in time is inconclusive, and left behind; so is one that kills its subject. Only a subject of
/// which there is no specimen to begin with is an error. After a [`stop`](RunOptions::stop) there are records of what was
/// done until then.
pub fn run(
    subject: Arc<dyn Subject>,
    checks: &[&'static Check],
    options: &RunOptions,
    mut progress: impl FnMut(&Record),
) -> Result<Vec<Record>, SubjectError> {
    subject.open(&Trace::default())?;
    let jobs = if subject.is_parallel() {
        options.jobs.max(1)
    } else {
        1
    };
    let mut order: VecDeque<(usize, &'static Check)> = checks.iter().copied().enumerate().collect();
    if let Some(seed) = options.seed {
        shuffle(order.make_contiguous(), seed);
    }
    let waiting = Mutex::new(order);
    let (sender, records) = mpsc::channel();
    let mut done: Vec<(usize, Record)> = thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, subject, waiting) = (sender.clone(), &subject, &waiting);
            scope.spawn(move || {
                let next = || {
                    let wanted = !options.stop.load(Ordering::Relaxed);
                    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
                    wanted.then(|| waiting.pop_front()).flatten()
                };
                while let Some((place, check)) = next() {
                    let Some(record) = run_one(subject, check, options) else {
                        return;
                    };
                    // Nobody listens any more only if the caller has panicked.
                    let _ = sender.send((place, record));
                }
            });
        }
        drop(sender);
        records.iter().inspect(|(_, record)| progress(record)).collect()
    });
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, record)| record).collect())
}

/// Runs one check on a thread of its own, which is left behind if it does not end. `None` if the run is stopped.
fn run_one(subject: &Arc<dyn Subject>, check: &'static Check, options: &RunOptions) -> Option<Record> {
    let start = Instant::now();
    let trace = Trace::default();
    let (sender, receiver) = mpsc::channel();
    let (shared, own, looking) = (trace.clone(), subject.clone(), options.clone());
    thread::spawn(move || {
        let outcome = attempt(&*own, check, &shared, &looking);
        // Whoever hears that it is over may give the subject up, and find what it held free.
        drop(own);
        // Nobody listens any more after the deadline.
        let _ = sender.send(outcome);
    });
    let mut verdict = match wait(&receiver, start + options.deadline, &options.stop) {
        Ok(Err(Ended::Dead(evidence))) => Verdict::Fail {
            clause: check.clauses.first().copied().unwrap_or_default(),
            evidence,
        },
        Ok(outcome) => outcome.into(),
        Err(RecvTimeoutError::Disconnected) => Verdict::Inconclusive("the check itself has failed".into()),
        Err(RecvTimeoutError::Timeout) => {
            subject.give_up();
            if options.stop.load(Ordering::Relaxed) {
                return None;
            }
            let seconds = options.deadline.as_secs();
            Verdict::Inconclusive(format!("the check did not end within {seconds} s"))
        }
    };
    // A process that was killed takes a while to be gone.
    let moment = match verdict {
        Verdict::Pass | Verdict::NotApplicable(_) => Duration::from_millis(1),
        _ => Duration::from_millis(500),
    };
    if let Some(end) = subject.end(moment) {
        trace.note(&end);
        verdict.add(&end);
    }
    Some(Record {
        check,
        verdict,
        trace: trace.take(),
        took: start.elapsed(),
    })
}

/// Waits for the end of a check, or until nobody wants it any more.
fn wait<T>(receiver: &Receiver<T>, deadline: Instant, stop: &AtomicBool) -> Result<T, RecvTimeoutError> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match receiver.recv_timeout(left.min(LOOK)) {
            Err(RecvTimeoutError::Timeout) if left > LOOK && !stop.load(Ordering::Relaxed) => {}
            received => return received,
        }
    }
}

fn attempt(subject: &dyn Subject, check: &Check, trace: &Trace, options: &RunOptions) -> Outcome {
    let mut probe = Probe::new(subject, trace, options)?;
    probe.need(&check.needs)?;
    (check.run)(&mut probe)
}

/// The order that `seed` stands for (Fisher and Yates, with the generator SplitMix64).
fn shuffle<T>(items: &mut [T], mut seed: u64) {
    for end in (1..items.len()).rev() {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut random = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ random >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        items.swap(end, (random % (end as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests;
