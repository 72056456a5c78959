//! Messages from the control thread to the thread of a queue group.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};

use ringwright_memory::Memory;
use ringwright_ring::{SetupError, State};

use crate::kick::Kick;
use crate::virtqueue::Virtqueue;
use crate::{DeviceError, Source};

/// One message. Those with a `reply` are answered once they are carried out.
pub(crate) enum Message {
    /// Serve this queue.
    Start {
        queue: Box<Virtqueue>,
        kick: Arc<Kick>,
        reply: Sender<Result<(), DeviceError>>,
    },
    /// Stop serving the queue and say where it stands.
    Stop {
        index: u16,
        reply: Sender<Option<State>>,
    },
    /// Reach for everything in this memory from now on. Answers which queues have lost their rings.
    Memory {
        memory: Arc<Memory>,
        reply: Sender<Vec<(u16, SetupError)>>,
    },
    /// Touch neither queues nor sources until told to resume.
    Suspend { reply: Sender<Result<(), DeviceError>> },
    /// Go on after [`Message::Suspend`].
    Resume { reply: Sender<Result<(), DeviceError>> },
    /// Say what a later worker needs to go on from here.
    Save { reply: Sender<SavedGroup> },
    /// Call the worker with this source.
    Wake(Source),
    /// End the thread.
    Quit,
}

/// What a group has to save.
pub(crate) struct SavedGroup {
    pub worker: Vec<u8>,
    pub queues: Vec<(u16, State)>,
}

/// The sending end. Clones lead to the same thread.
#[derive(Clone)]
pub(crate) struct Mailbox {
    sender: Sender<Message>,
    kick: Arc<Kick>,
}

/// The receiving end.
pub(crate) struct Inbox {
    pub receiver: Receiver<Message>,
    kick: Arc<Kick>,
}

/// The thread is gone.
pub(crate) struct Gone;

/// A mailbox and its inbox.
pub(crate) fn mailbox() -> io::Result<(Mailbox, Inbox)> {
    let (sender, receiver) = mpsc::channel();
    let kick = Arc::new(Kick::eventfd()?);
    let inbox = Inbox {
        receiver,
        kick: kick.clone(),
    };
    Ok((Mailbox { sender, kick }, inbox))
}

impl Mailbox {
    pub fn send(&self, message: Message) -> Result<(), Gone> {
        self.sender.send(message).map_err(|_| Gone)?;
        self.kick.ring();
        Ok(())
    }

    /// Sends a message and waits for its reply. A thread that ends drops the reply, so this does not wait for the dead.
    pub fn ask<R>(&self, message: impl FnOnce(Sender<R>) -> Message) -> Result<R, Gone> {
        let (reply, answer) = mpsc::channel();
        self.send(message(reply))?;
        answer.recv().map_err(|_| Gone)
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.kick.as_fd()
    }
}

/// Has a worker called back, from any thread.
#[derive(Clone)]
pub struct Waker {
    mailbox: Mailbox,
    source: Source,
}

impl Waker {
    pub(crate) fn new(mailbox: Mailbox, source: Source) -> Self {
        Self { mailbox, source }
    }

    /// Has [`crate::Worker::source_ready`] called with this waker's source. Nothing happens if the worker has ended.
    pub fn wake(&self) {
        let _ = self.mailbox.send(Message::Wake(self.source));
    }
}
