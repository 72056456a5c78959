//! When requests may fail, and when not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

/// Times in which the storage is at fault. Clones know the same.
#[derive(Clone, Default)]
pub struct Trouble(Arc<Mutex<Times>>);

#[derive(Default)]
struct Times {
    /// There is a fault.
    now: bool,
    /// There is none any more, but the server need not know that yet.
    ending: Option<Instant>,
    /// When the last one has ended.
    ended: Option<Instant>,
    /// When the newest request was made that has succeeded.
    success: Option<Instant>,
    /// The server that is there now has seen one by which a flush may have failed: all its flushes fail.
    spoiled: bool,
}

impl Trouble {
    /// A fault begins, by which flushes may fail, or not.
    pub fn begin(&self, flushes: bool) {
        let mut times = self.times();
        times.now = true;
        times.ending = None;
        times.spoiled |= flushes;
    }

    /// It has ended, and everybody knows.
    pub fn end(&self) {
        let mut times = self.times();
        times.now = false;
        times.ended = Some(Instant::now());
    }

    /// It has ended, which is known when the first request that is made from now on succeeds.
    pub fn begin_to_end(&self) {
        self.times().ending = Some(Instant::now());
    }

    /// Another server is there, if no fault is.
    pub fn served_anew(&self) {
        let mut times = self.times();
        times.spoiled &= times.now;
    }

    /// Whether there is a fault that the load has not seen the end of.
    pub fn is_now(&self) -> bool {
        self.times().now
    }

    /// Whether a request that was made after that moment has succeeded.
    pub fn has_succeeded_after(&self, moment: Instant) -> bool {
        self.times().success.is_some_and(|success| success > moment)
    }

    /// A request that was made at `since` has succeeded.
    pub fn succeeded(&self, since: Instant) {
        let mut times = self.times();
        times.success = times.success.max(Some(since));
        if times.ending.is_some_and(|ending| since > ending) {
            times.now = false;
            times.ending = None;
            times.ended = Some(Instant::now());
        }
    }

    /// Whether a request that was made at `since` may have failed.
    pub fn excuses(&self, since: Instant, flush: bool) -> bool {
        let times = self.times();
        times.now || times.ended.is_some_and(|ended| since <= ended) || (flush && times.spoiled)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
