//! Threads that carry out requests which have to be waited for.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use ringwright_memory::Memory;
use rustix::event::{EventfdFlags, eventfd};

use super::{Lane, Parcel, Request};

/// Most threads of one backend. They are started as they are needed.
const THREADS: usize = 8;

/// What the threads work on.
pub(super) trait Blocking: Send + Sync {
    /// Carries out a request if that can be done without waiting, as [`Lane::now`].
    fn now(&self, _request: &Request<'_>) -> Option<io::Result<()>> {
        None
    }

    /// Carries out a request, however long it takes.
    fn carry_out(&self, request: &Request<'_>) -> io::Result<()>;
}

/// The threads of one backend. Dropping it waits for what they are doing.
pub(super) struct Pool {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

struct Shared {
    work: Arc<dyn Blocking>,
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// Threads that wait for a job.
    idle: usize,
    closed: bool,
}

struct Job {
    tag: u16,
    parcel: Parcel,
    done: Arc<Done>,
}

/// What one lane gets back.
struct Done {
    jobs: Mutex<Vec<(u16, io::Result<()>, Parcel)>>,
    event: OwnedFd,
}

/// A queue's way to the threads.
pub(super) struct PoolLane {
    pool: Arc<Pool>,
    done: Arc<Done>,
    /// Taken, and not handed to the threads yet.
    batch: Vec<Job>,
    /// Got back, and not given out yet.
    ready: Vec<(u16, io::Result<()>, Parcel)>,
    spare: Vec<Parcel>,
    /// Handed to the threads, and not got back.
    outstanding: usize,
}

impl Pool {
    pub fn new(work: Arc<dyn Blocking>) -> Self {
        Self {
            shared: Arc::new(Shared {
                work,
                queue: Mutex::default(),
                more: Condvar::new(),
            }),
            threads: Mutex::default(),
        }
    }

    pub fn lane(self: &Arc<Self>) -> io::Result<PoolLane> {
        Ok(PoolLane {
            pool: self.clone(),
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

    /// Hands jobs to the threads, and sees to it that there are enough of them.
    fn hand_over(&self, jobs: &mut Vec<Job>) -> io::Result<()> {
        let missing = {
            let mut queue = lock(&self.shared.queue);
            queue.jobs.extend(jobs.drain(..));
            queue.jobs.len().saturating_sub(queue.idle)
        };
        self.shared.more.notify_all();
        let mut threads = lock(&self.threads);
        while threads.len() < THREADS.min(missing) {
            let shared = self.shared.clone();
            let thread = thread::Builder::new()
                .name("block-io".into())
                .spawn(move || shared.run());
            match thread {
                Ok(thread) => threads.push(thread),
                // Those that there are do the work.
                Err(_) if !threads.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Takes back the jobs of a lane that no thread has begun.
    fn take_back(&self, done: &Arc<Done>) -> usize {
        let mut queue = lock(&self.shared.queue);
        let before = queue.jobs.len();
        queue.jobs.retain(|job| !Arc::ptr_eq(&job.done, done));
        before - queue.jobs.len()
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        lock(&self.shared.queue).closed = true;
        self.shared.more.notify_all();
        for thread in lock(&self.threads).drain(..) {
            // A panic has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut queue = lock(&self.queue);
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                let work = AssertUnwindSafe(|| self.work.carry_out(&job.parcel.request()));
                // The panic itself has been reported; whoever waits for the request must not wait for ever.
                let result = catch_unwind(work)
                    .unwrap_or_else(|_| Err(io::Error::other("the thread that carried it out has panicked")));
                job.done.put(job.tag, result, job.parcel);
                queue = lock(&self.queue);
            } else if queue.closed {
                return;
            } else {
                queue.idle += 1;
                queue = self.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
            }
        }
    }
}

impl Done {
    fn put(&self, tag: u16, result: io::Result<()>, parcel: Parcel) {
        let mut jobs = lock(&self.jobs);
        jobs.push((tag, result, parcel));
        let first = jobs.len() == 1;
        drop(jobs);
        if first {
            // The counter cannot be full.
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl Lane for PoolLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        self.pool.shared.work.now(request)
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
        let outcome = self.pool.hand_over(&mut self.batch);
        if outcome.is_err() {
            self.outstanding -= self.pool.take_back(&self.done);
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

impl Drop for PoolLane {
    fn drop(&mut self) {
        self.outstanding -= self.pool.take_back(&self.done);
        loop {
            while self.completed().is_some() {}
            if self.outstanding == 0 || self.wait().is_err() {
                return;
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
