//! A level-triggered interrupt with a register that says why it is asserted.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

/// Events that are pending until the driver has handled them, and the line that is asserted meanwhile.
///
/// Raising an event that is pending already takes no lock: the driver has not yet begun to handle it, so it will find
/// whatever came with the second one.
pub(crate) struct Level {
    pending: AtomicU32,
    /// The line may be asserted at all.
    enabled: AtomicBool,
    line: Mutex<Line>,
}

struct Line {
    asserted: bool,
    set: Box<dyn Fn(bool) + Send + Sync>,
}

impl Level {
    /// Nothing is pending. `set` sets the line; it is called only when the level changes.
    pub fn new(set: impl Fn(bool) + Send + Sync + 'static) -> Self {
        Self {
            pending: AtomicU32::new(0),
            enabled: AtomicBool::new(true),
            line: Mutex::new(Line {
                asserted: false,
                set: Box::new(set),
            }),
        }
    }

    /// The pending events.
    pub fn pending(&self) -> u32 {
        self.pending.load(Ordering::Acquire)
    }

    /// These events have happened.
    pub fn raise(&self, events: u32) {
        let before = self.pending.fetch_or(events, Ordering::AcqRel);
        if before & events != events {
            self.update();
        }
    }

    /// These events are pending, and no others.
    pub fn restore(&self, events: u32) {
        self.pending.store(events, Ordering::Release);
        self.update();
    }

    /// These events are not pending any more. Returns what was.
    pub fn clear(&self, events: u32) -> u32 {
        let before = self.pending.fetch_and(!events, Ordering::AcqRel);
        self.update();
        before
    }

    /// Lets pending events assert the line, or not.
    pub fn enable(&self, enabled: bool) {
        self.enabled.store(enabled, Ordering::Release);
        self.update();
    }

    /// Sets the line to what it should be. Every change of that is followed by a call of this, so the last one is right.
    fn update(&self) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        let asserted = self.pending() != 0 && self.enabled.load(Ordering::Acquire);
        if std::mem::replace(&mut line.asserted, asserted) != asserted {
            (line.set)(asserted);
        }
    }
}
