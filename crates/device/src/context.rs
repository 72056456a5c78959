//! What a worker works with: its virtqueues, its sources and its timers.

use std::os::fd::BorrowedFd;
use std::time::Instant;

use ringwright_ring::Chain;

use crate::poller::{Event, Poller};
use crate::{DeviceError, Interest, Source, Virtqueue};

/// Handed to a worker at every callback.
pub struct Context {
    /// By index; those of other groups, and those not started, are `None`.
    queues: Vec<Option<Virtqueue>>,
    /// Indices of the queues that are there.
    running: Vec<u16>,
    timers: Vec<(Instant, u64)>,
    /// When the first of the notifications that are put off is due.
    pub(crate) next_notification: Option<Instant>,
    pub(crate) poller: Poller,
}

impl Context {
    /// The virtqueue of this index, if it belongs to the worker's group and is running.
    pub fn queue(&mut self, index: u16) -> Option<&mut Virtqueue> {
        self.queues.get_mut(usize::from(index))?.as_mut()
    }

    /// Lets `handle` process each available chain of a queue in turn, up to the share of this callback, and completes
    /// the chain with the number of bytes that `handle` says it wrote. After an error the chain stays available.
    #[inline]
    pub fn serve(
        &mut self,
        queue: u16,
        mut handle: impl FnMut(&Chain<'_>) -> Result<u32, DeviceError>,
    ) -> Result<(), DeviceError> {
        let Some(queue) = self.queue(queue) else {
            return Ok(());
        };
        let mut result = Ok(());
        queue.serve(|chain| handle(chain).map_err(|error| result = Err(error)).ok());
        result
    }

    /// Has [`crate::Worker::source_ready`] called with `source` as long as the descriptor is ready. Called again for the
    /// same descriptor, it changes source and interest. Closing the descriptor ends it, unless there are duplicates.
    pub fn watch(
        &mut self,
        descriptor: BorrowedFd<'_>,
        source: Source,
        interest: Interest,
    ) -> Result<(), DeviceError> {
        self.poller
            .watch(descriptor, Event::Source(source), interest)
            .map_err(DeviceError::io("watching a file descriptor"))
    }

    /// Ends [`Context::watch`]. Nothing happens if the descriptor is not watched.
    pub fn unwatch(&mut self, descriptor: BorrowedFd<'_>) {
        self.poller.remove(descriptor);
    }

    /// Has [`crate::Worker::timer`] called with `timer` at that time, once. A timer of the same number is replaced.
    pub fn set_timer(&mut self, timer: u64, at: Instant) {
        self.clear_timer(timer);
        self.timers.push((at, timer));
    }

    /// Forgets a timer. Nothing happens if it is not set.
    pub fn clear_timer(&mut self, timer: u64) {
        self.timers.retain(|(_, other)| *other != timer);
    }

    pub(crate) fn new(queues: usize, poller: Poller) -> Self {
        Self {
            queues: (0..queues).map(|_| None).collect(),
            running: Vec::new(),
            timers: Vec::new(),
            next_notification: None,
            poller,
        }
    }

    pub(crate) fn insert(&mut self, queue: Virtqueue) {
        let index = queue.index();
        if let Some(place) = self.queues.get_mut(usize::from(index)) {
            *place = Some(queue);
            self.running.push(index);
        }
    }

    pub(crate) fn remove(&mut self, index: u16) -> Option<Virtqueue> {
        self.running.retain(|other| *other != index);
        self.queues.get_mut(usize::from(index))?.take()
    }

    /// Number of running queues.
    pub(crate) fn running(&self) -> usize {
        self.running.len()
    }

    /// The running queue at this position, in order of starting.
    pub(crate) fn at(&mut self, position: usize) -> Option<&mut Virtqueue> {
        let index = *self.running.get(position)?;
        self.queue(index)
    }

    /// Whether a worker has taken chains that it has not completed.
    pub(crate) fn has_outstanding(&self) -> bool {
        let queue = |index: &u16| self.queues.get(usize::from(*index))?.as_ref();
        let mut running = self.running.iter().filter_map(queue);
        running.any(Virtqueue::has_outstanding)
    }

    pub(crate) fn for_each(&mut self, mut each: impl FnMut(&mut Virtqueue)) {
        for position in 0..self.running.len() {
            if let Some(queue) = self.at(position) {
                each(queue);
            }
        }
    }

    /// The time of the next timer, or of a notification that is put off.
    pub(crate) fn next_timer(&self) -> Option<Instant> {
        let timers = self.timers.iter().map(|(at, _)| *at);
        timers.chain(self.next_notification).min()
    }

    /// Takes one timer that has expired.
    pub(crate) fn expired_timer(&mut self, now: Instant) -> Option<u64> {
        let position = self.timers.iter().position(|(at, _)| *at <= now)?;
        Some(self.timers.swap_remove(position).1)
    }
}
