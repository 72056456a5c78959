//! Checks, one after the other or side by side, each on its own specimen and with a deadline.

use std::collections::VecDeque;
use std::sync::mpsc::{self, RecvTimeoutError};
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
    /// How many run at a time, if the subject allows it.
    pub jobs: usize,
}

impl Default for RunOptions {
    fn default() -> Self {
        Self {
            deadline: Duration::from_secs(20),
            patience: Duration::from_secs(2),
            jobs: thread::available_parallelism().map_or(1, usize::from),
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
/// which there is no specimen to begin with is an error.
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
    let waiting: Mutex<VecDeque<(usize, &'static Check)>> =
        Mutex::new(checks.iter().copied().enumerate().collect());
    let (sender, records) = mpsc::channel();
    let mut done: Vec<(usize, Record)> = thread::scope(|scope| {
        for _ in 0..jobs {
            let (sender, subject, waiting) = (sender.clone(), &subject, &waiting);
            scope.spawn(move || {
                let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                while let Some((place, check)) = next() {
                    // Nobody listens any more only if the caller has panicked.
                    let _ = sender.send((place, run_one(subject, check, options)));
                }
            });
        }
        drop(sender);
        records.iter().inspect(|(_, record)| progress(record)).collect()
    });
    done.sort_by_key(|(place, _)| *place);
    Ok(done.into_iter().map(|(_, record)| record).collect())
}

/// Runs one check on a thread of its own, which is left behind if it does not end.
fn run_one(subject: &Arc<dyn Subject>, check: &'static Check, options: &RunOptions) -> Record {
    let RunOptions {
        deadline, patience, ..
    } = *options;
    let start = Instant::now();
    let trace = Trace::default();
    let (sender, receiver) = mpsc::channel();
    let (subject, shared) = (subject.clone(), trace.clone());
    thread::spawn(move || {
        // Nobody listens any more after the deadline.
        let _ = sender.send(attempt(&*subject, check, &shared, patience));
    });
    let verdict = match receiver.recv_timeout(deadline) {
        Ok(Err(Ended::Dead(evidence))) => Verdict::Fail {
            clause: check.clauses.first().copied().unwrap_or_default(),
            evidence,
        },
        Ok(outcome) => outcome.into(),
        Err(RecvTimeoutError::Timeout) => {
            Verdict::Inconclusive(format!("the check did not end within {} s", deadline.as_secs()))
        }
        Err(RecvTimeoutError::Disconnected) => Verdict::Inconclusive("the check itself has failed".into()),
    };
    Record {
        check,
        verdict,
        trace: trace.take(),
        took: start.elapsed(),
    }
}

fn attempt(subject: &dyn Subject, check: &Check, trace: &Trace, patience: Duration) -> Outcome {
    let mut probe = Probe::new(subject, trace, patience)?;
    probe.need(&check.needs)?;
    (check.run)(&mut probe)
}
