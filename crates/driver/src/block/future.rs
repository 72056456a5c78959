//! A disk for `async` code: any executor, or none.

use alloc::vec::Vec;
use core::cell::RefCell;
use core::future::Future;
use core::mem;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};

use thiserror::Error;

use super::{Block, Completion, Refusal, Refused, Request};
use crate::{DriverError, Transport};

/// A disk that many tasks of one thread use at a time.
///
/// A future submits its request when it is first polled, and is woken when [`Shared::process`] finds it finished: call
/// that when the device has notified something. Futures look for themselves, too, whenever they are polled, so that
/// polling alone also gets on. A future that is dropped leaves its request to the device; its buffers are freed once
/// the device has finished with them.
pub struct Shared<T: Transport>(RefCell<Inner<T>>);

struct Inner<T: Transport> {
    disk: Block<T>,
    /// By tag.
    requests: Vec<Entry>,
    /// Entries that are not in use.
    free: Vec<usize>,
    /// Who waits for room in a virtqueue.
    full: Vec<Waker>,
}

/// What is known of a request.
enum Entry {
    Unused,
    /// The device has it; this is to be woken then.
    Outstanding(Option<Waker>),
    /// The device has it, and nobody waits for it.
    Abandoned,
    Finished(Completion),
}

/// Why a request has not been performed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Failure {
    /// It may not be sent to this device; it comes back.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The driver gives up on the device.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// The request was polled again after it had been finished.
    #[error("the future has been polled after its end")]
    Ended,
}

impl<T: Transport> Shared<T> {
    /// Shares `disk`, of which no request is outstanding.
    pub fn new(disk: Block<T>) -> Self {
        Self(RefCell::new(Inner {
            disk,
            requests: Vec::new(),
            free: Vec::new(),
            full: Vec::new(),
        }))
    }

    /// Performs `request` on request virtqueue `queue`: the future ends with what the device has made of it.
    pub fn perform(&self, queue: u16, request: Request) -> Perform<'_, T> {
        Perform {
            shared: self,
            queue,
            state: State::New(request),
        }
    }

    /// Takes what the device has finished on all virtqueues, and wakes who waits for it. Gives the number of requests.
    pub fn process(&self) -> Result<usize, DriverError> {
        self.0.borrow_mut().process()
    }

    /// Asks for used buffer notifications of all virtqueues, before waiting for one. `true`: something has finished
    /// already, so [`process`](Self::process) it instead of waiting.
    pub fn enable_notifications(&self) -> bool {
        let disk = &mut self.0.borrow_mut().disk;
        // All of them are asked.
        (0..disk.queues()).fold(false, |ready, queue| disk.enable_notifications(queue) | ready)
    }

    /// Does something else with the disk; not to be used to poll it.
    pub fn with<R>(&self, act: impl FnOnce(&mut Block<T>) -> R) -> R {
        act(&mut self.0.borrow_mut().disk)
    }
}

/// The future of a request.
#[must_use = "the request is submitted when the future is first polled"]
pub struct Perform<'a, T: Transport> {
    shared: &'a Shared<T>,
    queue: u16,
    state: State,
}

enum State {
    New(Request),
    /// With this tag.
    Submitted(usize),
    Ended,
}

impl<T: Transport> Future for Perform<'_, T> {
    type Output = Result<Completion, Failure>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let inner = &mut *this.shared.0.borrow_mut();
        let tag = match mem::replace(&mut this.state, State::Ended) {
            State::Ended => return Poll::Ready(Err(Failure::Ended)),
            State::Submitted(tag) => tag,
            State::New(request) => match inner.submit(this.queue, request) {
                Ok(tag) => tag,
                Err(Failure::Refused(Refused {
                    reason: Refusal::Full,
                    request,
                })) if inner.is_busy() => {
                    this.state = State::New(request);
                    inner.full.push(context.waker().clone());
                    return match inner.process() {
                        Ok(_) => Poll::Pending,
                        Err(error) => Poll::Ready(Err(error.into())),
                    };
                }
                Err(failure) => return Poll::Ready(Err(failure)),
            },
        };
        this.state = State::Submitted(tag);
        if let Err(error) = inner.process() {
            return Poll::Ready(Err(error.into()));
        }
        match inner.take(tag, context.waker()) {
            None => Poll::Pending,
            Some(completion) => {
                this.state = State::Ended;
                Poll::Ready(Ok(completion))
            }
        }
    }
}

impl<T: Transport> Drop for Perform<'_, T> {
    fn drop(&mut self) {
        if let State::Submitted(tag) = self.state {
            self.shared.0.borrow_mut().abandon(tag);
        }
    }
}

impl<T: Transport> Inner<T> {
    /// Whether some request is outstanding, so that there will be room.
    fn is_busy(&self) -> bool {
        self.free.len() != self.requests.len()
    }

    fn submit(&mut self, queue: u16, request: Request) -> Result<usize, Failure> {
        let tag = match self.free.pop() {
            Some(tag) => tag,
            // No more than there are descriptors.
            None => {
                self.requests.push(Entry::Unused);
                self.requests.len() - 1
            }
        };
        if let Err(refused) = self.disk.submit(queue, request, tag as u64) {
            self.free.push(tag);
            return Err(refused.into());
        }
        self.requests[tag] = Entry::Outstanding(None);
        self.disk.publish(queue)?;
        Ok(tag)
    }

    fn process(&mut self) -> Result<usize, DriverError> {
        let mut count = 0;
        for queue in 0..self.disk.queues() {
            while let Some(completion) = self.disk.poll(queue)? {
                self.finish(completion);
                count += 1;
            }
        }
        if count != 0 {
            self.full.drain(..).for_each(Waker::wake);
        }
        Ok(count)
    }

    fn finish(&mut self, completion: Completion) {
        // Tags are the ones that were given to `submit`.
        let tag = completion.tag as usize;
        match mem::replace(&mut self.requests[tag], Entry::Unused) {
            Entry::Outstanding(waker) => {
                self.requests[tag] = Entry::Finished(completion);
                if let Some(waker) = waker {
                    waker.wake();
                }
            }
            _ => self.free.push(tag),
        }
    }

    /// The request's completion, or `waker` is kept for it.
    fn take(&mut self, tag: usize, waker: &Waker) -> Option<Completion> {
        let entry = &mut self.requests[tag];
        match mem::replace(entry, Entry::Unused) {
            Entry::Finished(completion) => {
                self.free.push(tag);
                Some(completion)
            }
            _ => {
                *entry = Entry::Outstanding(Some(waker.clone()));
                None
            }
        }
    }

    fn abandon(&mut self, tag: usize) {
        match self.requests[tag] {
            Entry::Finished(_) => {
                self.requests[tag] = Entry::Unused;
                self.free.push(tag);
            }
            _ => self.requests[tag] = Entry::Abandoned,
        }
    }
}
