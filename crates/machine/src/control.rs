//! What the threads of a machine agree on: whether harts run, rest or end, which of them are started, and how it ended.

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rustix::event::{EventfdFlags, eventfd};
use serde::{Deserialize, Serialize};

use crate::Signals;
use crate::hart::{self, Fatal, Hart};

/// How a machine came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The guest has switched itself off.
    PowerOff,
    /// The guest wants to be started anew. A kernel that panics does, if told so.
    Reboot,
    /// A hart cannot go on.
    Fatal {
        /// Number of the hart.
        hart: usize,
        /// Why.
        fatal: Fatal,
    },
    /// The host has ended it.
    Ended,
    /// A thread of the machine has panicked, which is a bug of ours.
    Panicked,
}

/// Whether a hart executes, as SBI's hart state management has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HartStatus {
    /// It executes.
    Started,
    /// It waits to be started.
    Stopped,
    /// It is about to execute from `pc` on, with `opaque` in `a1`.
    StartPending {
        /// Address of the first instruction.
        pc: u64,
        /// An argument for it.
        opaque: u64,
    },
}

/// The agreement. Shared by the threads of all harts and by whoever has the machine.
#[derive(Debug)]
pub struct Control {
    shared: Mutex<Shared>,
    /// Something in `shared` has changed.
    changed: Condvar,
    signals: Vec<Arc<Signals>>,
    /// Instructions that each hart has retired, as of its last look here.
    instructions: Vec<AtomicU64>,
    /// Readable once there is an outcome.
    ended: OwnedFd,
}

#[derive(Debug)]
struct Shared {
    paused: bool,
    outcome: Option<Outcome>,
    harts: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    status: HartStatus,
    /// The hart's state, while it rests; also after the end.
    rest: Option<(hart::State, String)>,
}

impl Control {
    /// For harts with these signals, all of them stopped.
    pub fn new(signals: Vec<Arc<Signals>>) -> std::io::Result<Self> {
        let entry = |_| Entry {
            status: HartStatus::Stopped,
            rest: None,
        };
        Ok(Self {
            shared: Mutex::new(Shared {
                paused: false,
                outcome: None,
                harts: signals.iter().map(entry).collect(),
            }),
            changed: Condvar::new(),
            instructions: signals.iter().map(|_| AtomicU64::new(0)).collect(),
            signals,
            ended: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// The signals of all harts, by number.
    pub fn signals(&self) -> &[Arc<Signals>] {
        &self.signals
    }

    /// To be called by a hart's thread between two runs. Waits as long as the hart shall not run; `false` when it never
    /// shall again.
    pub fn may_run(&self, hart: &mut Hart) -> bool {
        let number = hart.id() as usize;
        self.instructions[number].store(hart.instructions(), Ordering::Relaxed);
        let mut shared = self.lock();
        loop {
            let stopped = shared.harts[number].status == HartStatus::Stopped;
            if shared.outcome.is_none() && !shared.paused && !stopped {
                break;
            }
            shared.harts[number].rest = Some((hart.save(), hart.dump()));
            self.changed.notify_all();
            if shared.outcome.is_some() {
                return false;
            }
            shared = self.wait(shared, None);
        }
        let entry = &mut shared.harts[number];
        entry.rest = None;
        if let HartStatus::StartPending { pc, opaque } = entry.status {
            hart.start(pc, opaque);
            entry.status = HartStatus::Started;
        }
        true
    }

    /// What a hart is doing; `None` if there is no such hart.
    pub fn status(&self, hart: u64) -> Option<HartStatus> {
        let hart = usize::try_from(hart).ok()?;
        self.lock().harts.get(hart).map(|entry| entry.status)
    }

    /// Starts a hart that is stopped. `false` if it is not.
    pub fn start(&self, hart: usize, pc: u64, opaque: u64) -> bool {
        let mut shared = self.lock();
        let Some(entry) = shared.harts.get_mut(hart) else {
            return false;
        };
        if entry.status != HartStatus::Stopped {
            return false;
        }
        entry.status = HartStatus::StartPending { pc, opaque };
        self.changed.notify_all();
        true
    }

    /// Sets what a hart is doing: when it stops itself, and when a machine is restored.
    pub fn set_status(&self, hart: usize, status: HartStatus) {
        if let Some(entry) = self.lock().harts.get_mut(hart) {
            entry.status = status;
        }
    }

    /// Ends the machine. The first outcome is the one that stays.
    pub fn end(&self, outcome: Outcome) {
        self.lock().outcome.get_or_insert(outcome);
        // It can only fail if the event is set already.
        let _ = rustix::io::write(&self.ended, &1u64.to_ne_bytes());
        self.interrupt();
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.lock().outcome
    }

    /// Waits for the end, until `deadline` if there is one.
    pub fn wait_for_end(&self, deadline: Option<Instant>) -> Option<Outcome> {
        let mut shared = self.lock();
        while shared.outcome.is_none() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            shared = self.wait(shared, deadline);
        }
        shared.outcome
    }

    /// Lets all harts rest. When this returns, none executes, and all states can be had. `false` if the machine has ended.
    pub fn pause(&self) -> bool {
        self.lock().paused = true;
        self.interrupt();
        let mut shared = self.lock();
        while shared.outcome.is_none() && shared.harts.iter().any(|entry| entry.rest.is_none()) {
            shared = self.wait(shared, None);
        }
        shared.outcome.is_none()
    }

    /// Whether the harts rest, or are about to, because of [`Control::pause`].
    pub fn is_paused(&self) -> bool {
        self.lock().paused
    }

    /// Lets the harts go on after [`Control::pause`].
    pub fn resume(&self) {
        self.lock().paused = false;
        self.changed.notify_all();
    }

    /// Status and state of each hart; `None` if not all of them rest.
    pub fn resting(&self) -> Option<Vec<(HartStatus, hart::State)>> {
        let shared = self.lock();
        let entries = shared.harts.iter().zip(&self.signals);
        let entries = entries.map(|(entry, signals)| {
            let (state, _) = entry.rest.as_ref()?;
            // An interrupt may have come since the hart rests.
            let pending = signals.pending();
            Some((
                entry.status,
                hart::State {
                    pending,
                    ..state.clone()
                },
            ))
        });
        entries.collect()
    }

    /// The registers of the harts that rest and have been started, for a person to read.
    pub fn dump(&self) -> String {
        let mut text = String::new();
        for (number, entry) in self.lock().harts.iter().enumerate() {
            match (&entry.rest, entry.status) {
                (_, HartStatus::Stopped) => {}
                (Some((_, dump)), _) => text.push_str(dump),
                (None, _) => {
                    // Writing to a string does not fail.
                    let _ = writeln!(text, "hart {number} runs");
                }
            }
        }
        text
    }

    /// Instructions that all harts have retired.
    pub fn instructions(&self) -> u64 {
        self.instructions
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .sum()
    }

    /// Has every hart's thread look here.
    fn interrupt(&self) {
        for signals in &self.signals {
            signals.leave();
        }
        self.changed.notify_all();
    }

    fn wait<'a>(&self, shared: MutexGuard<'a, Shared>, deadline: Option<Instant>) -> MutexGuard<'a, Shared> {
        match deadline {
            None => self.changed.wait(shared).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) => {
                let left = deadline.saturating_duration_since(Instant::now());
                let waited = self.changed.wait_timeout(shared, left);
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        }
    }

    /// Nothing behind the lock can be left half done.
    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readable once there is an outcome.
impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ended.as_fd()
    }
}
