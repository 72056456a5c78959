//! Threads that carry out requests which have to be waited for.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::Request;
use super::crew::{Crew, Done, Job, lock};

/// Most threads of one backend. They are started as they are needed.
const THREADS: usize = 8;

/// What the threads work on.
pub(super) trait Blocking: Send + Sync {
    /// Carries out a request if that can be done without waiting, as [`super::Lane::now`].
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
}

impl Crew for Pool {
    fn now(&self, request: &Request<'_>) -> Option<io::Result<()>> {
        self.shared.work.now(request)
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
        let wanted = THREADS.min(threads.len() + missing);
        while threads.len() < wanted {
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
                job.finish(result);
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
