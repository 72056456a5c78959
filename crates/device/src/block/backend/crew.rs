//! A lane whose requests others carry out: threads, or a connection.

#[cfg(test)]
#[path = "crew_tests.rs"]
mod tests;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_memory::Memory;
use rustix::event::{EventfdFlags, eventfd};

use super::{Lane, Parcel, Request};

/// Those who carry out the requests of a backend.
pub(super) trait Crew: Send + Sync {
    /// As [`Lane::now`].
    fn now(&self, _request: &Request<'_>) -> Option<io::Result<()>> {
        None
    }

    /// Takes these jobs. Each is given to its [`Done`] once, unless it is taken back. After an error some may be taken.
    fn hand_over(&self, jobs: &mut Vec<Job>) -> io::Result<()>;

    /// Drops jobs of one lane, so that nothing of their memory is touched any more, and says how many. Those that it leaves
    /// come back without anyone's doing.
    fn take_back(&self, done: &Arc<Done>) -> usize;
}

/// A request on its way.
pub(super) struct Job {
    pub tag: u16,
    pub parcel: Parcel,
    pub done: Arc<Done>,
}

/// What one lane gets back.
pub(super) struct Done {
    jobs: Mutex<Vec<(u16, io::Result<()>, Parcel)>>,
    event: OwnedFd,
}

/// A queue's way to the crew.
pub(super) struct CrewLane {
    crew: Arc<dyn Crew>,
    done: Arc<Done>,
    /// Taken, and not handed over yet.
    batch: Vec<Job>,
    /// Got back, and not given out yet.
    ready: Vec<(u16, io::Result<()>, Parcel)>,
    spare: Vec<Parcel>,
    /// Handed over, and not given out.
    outstanding: usize,
}

impl CrewLane {
    pub fn new(crew: Arc<dyn Crew>) -> io::Result<Self> {
        Ok(Self {
            crew,
            done: Arc::new(Done {
                jobs: Mutex::default(),
                event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            }),
            batch: Vec::new(),
            ready: Vec::new(),
            spare: Vec::new(),
            outstanding: 0,
        })
    }
}

impl Job {
    /// Gives the job back.
    pub fn finish(self, result: io::Result<()>) {
        let mut jobs = lock(&self.done.jobs);
        jobs.push((self.tag, result, self.parcel));
        let first = jobs.len() == 1;
        drop(jobs);
        if first {
            // The counter cannot be full.
            let _ = rustix::io::write(&self.done.event, &1u64.to_ne_bytes());
        }
    }
}

impl Lane for CrewLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        self.crew.now(request)
    }

    fn later(&mut self, tag: u16, request: &Request<'_>, memory: &Arc<Memory>) -> io::Result<()> {
        let mut parcel = self.spare.pop().unwrap_or_default();
        parcel.fill(request, memory)?;
        let done = self.done.clone();
        self.batch.push(Job { tag, parcel, done });
        Ok(())
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.batch.is_empty() {
            return Ok(());
        }
        self.outstanding += self.batch.len();
        let outcome = self.crew.hand_over(&mut self.batch);
        if outcome.is_err() {
            self.outstanding -= self.crew.take_back(&self.done);
        }
        outcome
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        Some(self.done.event.as_fd())
    }

    fn completed(&mut self) -> Option<(u16, io::Result<()>)> {
        if self.ready.is_empty() {
            // Before looking, so that what comes after the look is told of.
            let _ = rustix::io::read(&self.done.event, &mut [0; 8]);
            std::mem::swap(&mut self.ready, &mut *lock(&self.done.jobs));
        }
        let (tag, result, mut parcel) = self.ready.pop()?;
        self.outstanding -= 1;
        parcel.release();
        self.spare.push(parcel);
        Some((tag, result))
    }
}

impl Drop for CrewLane {
    fn drop(&mut self) {
        self.outstanding -= self.crew.take_back(&self.done);
        loop {
            while self.completed().is_some() {}
            if self.outstanding == 0 || self.wait().is_err() {
                return;
            }
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
