//! The threads of a host, one for each queue group.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;

use rustix::thread::{CpuSet, sched_setaffinity};

use super::HostError;
use crate::DeviceError;
use crate::event_loop::EventLoop;
use crate::mailbox::{Gone, Mailbox, Message};

/// The queue groups that run, by number.
#[derive(Default)]
pub(super) struct Groups(BTreeMap<usize, Group>);

struct Group {
    mailbox: Mailbox,
    thread: JoinHandle<()>,
}

impl Groups {
    pub fn contains(&self, group: usize) -> bool {
        self.0.contains_key(&group)
    }

    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.keys().copied()
    }

    /// Runs `event_loop`, which `mailbox` leads to, on a thread of this name, on one processor only if there is one given.
    pub fn start(
        &mut self,
        group: usize,
        name: String,
        processor: Option<usize>,
        mailbox: Mailbox,
        event_loop: EventLoop,
    ) -> Result<(), HostError> {
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            if let Some(processor) = processor {
                pin(processor);
            }
            event_loop.run();
        });
        let thread = thread.map_err(HostError::Thread)?;
        self.0.insert(group, Group { mailbox, thread });
        Ok(())
    }

    /// Sends a message to one group, and waits for its answer.
    pub fn ask<R>(&self, group: usize, message: impl FnOnce(Sender<R>) -> Message) -> Result<R, HostError> {
        let gone = |Gone| HostError::WorkerGone { group };
        let running = self.0.get(&group).ok_or(Gone).map_err(gone)?;
        running.mailbox.ask(message).map_err(gone)
    }

    /// Asks every group, also after one has failed; returns the first failure.
    pub fn ask_all(
        &self,
        message: impl Fn(Sender<Result<(), DeviceError>>) -> Message,
    ) -> Result<(), HostError> {
        let mut outcome = Ok(());
        for group in self.numbers() {
            let answer = self.ask(group, &message);
            let answer =
                answer.and_then(|answer| answer.map_err(|source| HostError::Worker { group, source }));
            outcome = outcome.and(answer);
        }
        outcome
    }

    /// Ends all threads, and waits until they have.
    pub fn end(&mut self) {
        for group in self.0.values() {
            // A thread that is gone needs no message.
            let _ = group.mailbox.send(Message::Quit);
        }
        for group in std::mem::take(&mut self.0).into_values() {
            // A panic has been reported by the thread itself.
            let _ = group.thread.join();
        }
    }
}

/// Keeps this thread on one processor. It works as well on any other, only not as fast as was hoped for.
fn pin(processor: usize) {
    let mut only = CpuSet::new();
    only.set(processor);
    if let Err(error) = sched_setaffinity(None, &only) {
        tracing::warn!(%error, processor, "a queue's thread is not kept on its processor");
    }
}
