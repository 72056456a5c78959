//! The thread of a queue group: waits, calls the worker, publishes and notifies.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_memory::Memory;
use ringwright_ring::SetupError;

use crate::kick::Kick;
use crate::mailbox::{Inbox, Message, SavedGroup};
use crate::patience::Patience;
use crate::poller::{Event, Poller};
use crate::{Context, DeviceError, Outlet, Source, Virtqueue, Worker};

/// Rounds of queue work between two looks at the file descriptors while there is always work.
const ROUNDS_PER_POLL: u32 = 8;

/// Everything one thread has.
pub(crate) struct EventLoop {
    worker: Box<dyn Worker>,
    context: Context,
    /// Available buffer notifications of the running queues, by index.
    kicks: Vec<(u16, Arc<Kick>)>,
    inbox: Inbox,
    outlet: Outlet,
    patience: Patience,
    suspended: bool,
    /// Sources that wakers have named.
    woken: Vec<Source>,
    events: Vec<Event>,
    quit: bool,
}

impl EventLoop {
    /// `queues` is the number of queues of the device, `busy_poll` how long to look for work before sleeping.
    pub fn new(
        worker: Box<dyn Worker>,
        queues: usize,
        inbox: Inbox,
        outlet: Outlet,
        busy_poll: Duration,
        suspended: bool,
    ) -> io::Result<Self> {
        let poller = Poller::new()?;
        poller.add_edge(&inbox, Event::Mailbox)?;
        Ok(Self {
            worker,
            context: Context::new(queues, poller),
            kicks: Vec::new(),
            inbox,
            outlet,
            patience: Patience::new(busy_poll),
            suspended,
            woken: Vec::new(),
            events: Vec::new(),
            quit: false,
        })
    }

    /// Runs until told to quit, or until the thread cannot wait any more.
    pub fn run(mut self) {
        let _alarm = Alarm(self.outlet.clone());
        let outcome = self.worker.start(&mut self.context);
        self.settle(None, outcome);
        let mut last_work = Instant::now();
        let mut round = 0u32;
        loop {
            while let Ok(message) = self.inbox.receiver.try_recv() {
                self.handle(message);
            }
            if self.quit {
                return;
            }
            if self.suspended {
                self.sleep_suspended();
                continue;
            }
            self.fire_timers();
            self.call_woken();
            let worked = self.serve_ready();
            round = round.wrapping_add(1);
            if worked && !self.patience.is_zero() {
                last_work = Instant::now();
            }
            let polling = worked || self.is_patient(last_work);
            if polling && !round.is_multiple_of(ROUNDS_PER_POLL) {
                std::hint::spin_loop();
                continue;
            }
            let timeout = if polling { Some(Duration::ZERO) } else { self.arm() };
            let moved = match self.wait(timeout) {
                Ok(moved) => moved,
                Err(error) => {
                    tracing::error!(%error, "a device thread ends: it cannot wait for events");
                    return self.outlet.needs_reset("the device cannot wait for events");
                }
            };
            if !polling {
                self.patience.slept(last_work.elapsed());
            }
            if moved && !self.patience.is_zero() {
                self.context.for_each(Virtqueue::disarm);
                last_work = Instant::now();
            }
        }
    }

    /// Whether to look for work once more before sleeping.
    fn is_patient(&self, last_work: Instant) -> bool {
        !self.patience.is_zero() && last_work.elapsed() < self.patience.time(self.context.has_outstanding())
    }

    /// Gives every queue that has work one turn. Returns whether any had.
    fn serve_ready(&mut self) -> bool {
        let mut worked = false;
        for position in 0..self.context.running() {
            let Some(queue) = self.context.at(position) else {
                continue;
            };
            if queue.take_ready() {
                let index = queue.index();
                worked = true;
                self.call(Some(index), |worker, context| worker.queue_ready(context, index));
            }
        }
        worked
    }

    /// Asks the drivers to notify, and says how long to sleep: not at all if something has come in meanwhile.
    fn arm(&mut self) -> Option<Duration> {
        let mut ready = !self.woken.is_empty();
        self.context.for_each(|queue| ready |= queue.arm());
        if ready {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        self.context
            .next_timer()
            .map(|at| at.saturating_duration_since(now))
    }

    /// Sleeps until something comes in. Returns whether a source was it: then chains may have been completed, and the driver
    /// is likely to have an answer soon.
    fn wait(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        let mut moved = false;
        let mut events = std::mem::take(&mut self.events);
        self.context.poller.wait(timeout, &mut events)?;
        for event in events.drain(..) {
            match event {
                // Messages are taken, and timers looked at, in every round.
                Event::Mailbox | Event::Clock => {}
                Event::Kick(index) => {
                    if let Some((_, kick)) = self.kicks.iter().find(|(other, _)| *other == index) {
                        kick.drain();
                    }
                    if let Some(queue) = self.context.queue(index) {
                        queue.kicked();
                    }
                }
                Event::Source(source) => {
                    moved = true;
                    self.call_source(source);
                }
            }
        }
        self.events = events;
        Ok(moved)
    }

    /// While suspended only messages are looked at; what the sources report meanwhile stays there.
    fn sleep_suspended(&mut self) {
        match self.inbox.receiver.recv() {
            Ok(message) => self.handle(message),
            Err(_) => self.quit = true,
        }
    }

    fn fire_timers(&mut self) {
        if self.context.next_timer().is_none() {
            return;
        }
        let now = Instant::now();
        if self.context.next_notification.is_some_and(|due| due <= now) {
            self.context.for_each(|queue| queue.notify_due(now));
            self.settle(None, Ok(()));
        }
        while let Some(timer) = self.context.expired_timer(now) {
            self.call(None, |worker, context| worker.timer(context, timer));
        }
    }

    fn call_woken(&mut self) {
        for source in std::mem::take(&mut self.woken) {
            self.call_source(source);
        }
    }

    fn call_source(&mut self, source: Source) {
        self.call(None, |worker, context| worker.source_ready(context, source));
    }

    /// Calls the worker and does what follows every callback. `queue` is the queue that an error stops.
    fn call(
        &mut self,
        queue: Option<u16>,
        callback: impl FnOnce(&mut dyn Worker, &mut Context) -> Result<(), DeviceError>,
    ) {
        self.context.for_each(Virtqueue::renew_share);
        let outcome = callback(&mut *self.worker, &mut self.context);
        self.settle(queue, outcome);
    }

    /// Publishes and notifies once for each queue that the callback has touched, and deals with what went wrong.
    fn settle(&mut self, queue: Option<u16>, outcome: Result<(), DeviceError>) {
        let (mut faulty, mut due) = (None, None);
        self.context.for_each(|queue| {
            if let Some(fault) = queue.settle() {
                faulty = Some((queue.index(), fault));
            }
            due = due.into_iter().chain(queue.notification_due()).min();
        });
        self.context.next_notification = due;
        if let Some((index, fault)) = faulty {
            tracing::error!(queue = index, error = %fault, "virtqueue stopped: the driver broke its rules");
            self.break_queue(index, &format!("queue {index}: {fault}"));
        }
        if let Err(error) = outcome {
            tracing::error!(queue, %error, "device error");
            match queue {
                Some(index) => self.break_queue(index, &format!("queue {index}: {error}")),
                None => self.outlet.needs_reset(&error.to_string()),
            }
        }
    }

    /// Stops one queue for good; everything else goes on.
    fn break_queue(&mut self, index: u16, reason: &str) {
        if let Some(queue) = self.context.queue(index) {
            queue.stop();
            queue.settle();
            queue.notify_owed();
        }
        self.forget_kick(index);
        self.outlet.needs_reset(reason);
    }

    fn forget_kick(&mut self, index: u16) {
        if let Some(position) = self.kicks.iter().position(|(other, _)| *other == index) {
            let (_, kick) = self.kicks.swap_remove(position);
            self.context.poller.remove(&*kick);
        }
    }

    /// Carries out a message. A reply that nobody waits for any more is dropped.
    fn handle(&mut self, message: Message) {
        match message {
            Message::Start { queue, kick, reply } => {
                let _ = reply.send(self.start(*queue, kick));
            }
            Message::Stop { index, reply } => {
                if !self.suspended && self.context.queue(index).is_some() {
                    self.call(Some(index), |worker, context| worker.stop_queue(context, index));
                }
                self.forget_kick(index);
                let queue = self.context.remove(index).map(|mut queue| {
                    queue.notify_owed();
                    queue.state()
                });
                let _ = reply.send(queue);
            }
            Message::Memory { memory, reply } => {
                let _ = reply.send(self.set_memory(&memory));
            }
            Message::Suspend { reply } => {
                let outcome = self.change_suspended(true);
                let _ = reply.send(outcome);
            }
            Message::Resume { reply } => {
                let outcome = self.change_suspended(false);
                self.context.for_each(Virtqueue::set_ready);
                let _ = reply.send(outcome);
            }
            Message::Save { reply } => {
                let mut queues = Vec::new();
                self.context
                    .for_each(|queue| queues.push((queue.index(), queue.state())));
                let _ = reply.send(SavedGroup {
                    worker: self.worker.save(),
                    queues,
                });
            }
            Message::Wake(source) => self.woken.push(source),
            Message::Quit => self.quit = true,
        }
    }

    fn start(&mut self, queue: Virtqueue, kick: Arc<Kick>) -> Result<(), DeviceError> {
        let index = queue.index();
        self.context
            .poller
            .add_edge(&*kick, Event::Kick(index))
            .map_err(DeviceError::io(
                "watching a queue's available buffer notifications",
            ))?;
        self.kicks.push((index, kick));
        self.context.insert(queue);
        self.call(Some(index), |worker, context| worker.start_queue(context, index));
        Ok(())
    }

    fn set_memory(&mut self, memory: &Arc<Memory>) -> Vec<(u16, SetupError)> {
        let mut lost = Vec::new();
        self.context.for_each(|queue| {
            if let Err(error) = queue.set_memory(memory.clone()) {
                lost.push((queue.index(), error));
            }
        });
        for (index, error) in &lost {
            tracing::error!(queue = index, %error, "virtqueue stopped: its ring is not in the new memory");
            self.break_queue(*index, &format!("queue {index}: {error}"));
        }
        lost
    }

    fn change_suspended(&mut self, suspended: bool) -> Result<(), DeviceError> {
        if self.suspended == suspended {
            return Ok(());
        }
        // The worker may touch its queues as long as, and as soon as, the device runs.
        self.context.for_each(Virtqueue::renew_share);
        let outcome = match suspended {
            true => self.worker.suspend(&mut self.context),
            false => self.worker.resume(&mut self.context),
        };
        self.settle(None, Ok(()));
        if suspended {
            self.context.for_each(Virtqueue::notify_owed);
        }
        self.suspended = suspended;
        outcome
    }
}

/// Reports a thread that ends by a panic.
struct Alarm(Outlet);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("a device thread has panicked");
            self.0.needs_reset("a device thread has panicked");
        }
    }
}
