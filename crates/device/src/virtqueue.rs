//! A virtqueue as a worker sees it: chains come out, tokens go back in.

use std::sync::Arc;
use std::time::Instant;

use ringwright_memory::Memory;
use ringwright_ring::{Chain, DeviceQueue, RingError, SetupError, State, Token};

use crate::coalescing::Delay;
use crate::counters::Counters;
use crate::{Coalescing, Notify, QueueCounters};

/// How many chains a worker gets from one queue in one callback. What it has completed is published after the callback,
/// so a larger number saves fences and notifications, a smaller one answers the first chains sooner: with half of what is
/// outstanding, or less, driver and device work at the same time.
pub(crate) const SHARE: u16 = 8;

/// A running virtqueue: the device end of the ring, and what the framework keeps beside it.
///
/// Completed chains are published, and the driver notified, once after the callback. What the driver does wrong is not
/// the worker's concern: the queue then gives no more chains, and the framework stops it.
pub struct Virtqueue {
    index: u16,
    ring: DeviceQueue,
    notify: Box<dyn Notify>,
    counters: Arc<Counters>,
    /// What the counters do not know yet.
    tally: QueueCounters,
    /// Bytes that the newest chain has added to [`QueueCounters::bytes_read`].
    newest: u64,
    /// Chains taken and not given back.
    in_flight: u16,
    /// Chains left of the share of this callback; less than none if it had more.
    share: i32,
    /// [`crate::Worker::queue_ready`] is due.
    ready: bool,
    /// The worker found the queue empty, so it wants to know when there is more.
    starved: bool,
    /// The driver has been asked to notify.
    armed: bool,
    /// There are completed chains to publish.
    unpublished: bool,
    /// With coalesced notifications.
    delay: Option<Delay>,
    /// Chains completed in this callback that are no packets of their own.
    joined: u32,
    fault: Option<RingError>,
    stopped: bool,
}

impl Virtqueue {
    /// Index of the queue within the device.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The queue size.
    pub fn size(&self) -> u16 {
        self.ring.size()
    }

    /// The memory that the chains are in, to hold views of them by (see [`ringwright_memory::Held`]).
    pub fn memory(&self) -> &Arc<Memory> {
        self.ring.memory()
    }

    /// The next available chain, or `None` if there is none or this callback has had its share; then the framework
    /// calls [`crate::Worker::queue_ready`] as soon as there is more.
    pub fn pop(&mut self) -> Option<Chain<'_>> {
        if self.share <= 0 {
            self.ready = !self.stopped;
            return None;
        }
        self.pop_more()
    }

    /// The next available chain, or `None` if there is none, whatever this callback's share: for what a worker has begun and
    /// needs several chains for.
    pub fn pop_more(&mut self) -> Option<Chain<'_>> {
        if self.stopped {
            return None;
        }
        match self.ring.pop() {
            Ok(Some(chain)) => {
                self.share -= 1;
                self.in_flight += 1;
                self.newest = chain.readable().len() as u64;
                self.tally.bytes_read = self.tally.bytes_read.wrapping_add(self.newest);
                Some(chain)
            }
            Ok(None) => {
                self.starved = true;
                None
            }
            Err(error) => {
                self.fault = Some(error);
                None
            }
        }
    }

    /// What has gone through the virtqueue before this callback.
    pub fn counters(&self) -> QueueCounters {
        self.counters.snapshot()
    }

    /// Whether the next chain was taken before, by a device in another process, which has not given it back: what is asked for
    /// in it may have been done.
    pub fn repeats(&self) -> bool {
        self.ring.repeats()
    }

    /// Gives a chain back to the driver, `written` bytes of its device-writable part written from its beginning
    /// (`dev:split:the-virtqueue-used-ring:02`).
    pub fn complete(&mut self, token: Token, written: u32) {
        match self.ring.complete(token, written) {
            Ok(()) => {
                self.unpublished = true;
                self.in_flight = self.in_flight.saturating_sub(1);
                self.tally.chains += 1;
                self.tally.bytes_written += u64::from(written);
            }
            Err(error) => self.fault = Some(error),
        }
    }

    /// Lets `handle` process the available chains in turn, up to the share of this callback, and completes each with the
    /// number of bytes that `handle` says it wrote. `None` from it ends this; that chain stays available, and the worker
    /// takes it up by itself. Cheaper than to pop and complete each.
    #[inline]
    pub fn serve(&mut self, mut handle: impl FnMut(&Chain<'_>) -> Option<u32>) {
        let (mut tally, mut put_off) = (QueueCounters::default(), false);
        let result = self.ring.serve(self.share(), |chain| {
            let answer = handle(chain);
            match answer {
                // The ring refuses to complete a chain with more.
                Some(written) if written as usize <= chain.writable().len() => {
                    tally.chains += 1;
                    tally.bytes_read += chain.readable().len() as u64;
                    tally.bytes_written += u64::from(written);
                }
                Some(_) => {}
                None => put_off = true,
            }
            answer
        });
        // The ring serves no more than the share.
        self.share -= tally.chains as i32;
        self.unpublished |= tally.chains != 0;
        self.tally.chains += tally.chains;
        self.tally.bytes_read = self.tally.bytes_read.wrapping_add(tally.bytes_read);
        self.tally.bytes_written += tally.bytes_written;
        match result {
            Err(error) => self.fault = Some(error),
            Ok(_) if put_off => {}
            Ok(_) if self.share <= 0 => self.ready = !self.stopped,
            Ok(_) => self.starved = true,
        }
    }

    /// Undoes the newest [`Virtqueue::pop`]: the chain will be popped again. The worker takes it up by itself, when what
    /// it waited for has come; the framework does not call it for this chain.
    pub fn push_back(&mut self, token: Token) {
        self.ring.push_back(token);
        // Less than nothing if the chain was counted in an earlier callback; the counters go round, too.
        self.tally.bytes_read = self.tally.bytes_read.wrapping_sub(self.newest);
        self.in_flight -= 1;
        self.share += 1;
    }

    /// Has the driver notified of used buffers like this from now on. If that makes due what is put off, it is notified now.
    pub fn coalesce(&mut self, coalescing: Coalescing) {
        let (is_owed, size) = (self.owes_notification(), self.ring.size());
        self.delay = Delay::change(self.delay.take(), coalescing);
        self.unpublished |= is_owed && self.delay.as_ref().is_none_or(|delay| delay.is_met(size));
    }

    /// The newest `chains` completed are one packet: [`coalesce`](Self::coalesce) counts them so.
    pub fn join(&mut self, chains: u32) {
        self.joined += chains.saturating_sub(1);
    }

    /// Has [`crate::Worker::queue_ready`] called again soon, because this callback has done its share of something else.
    pub fn revisit(&mut self) {
        self.set_ready();
    }

    /// Whether the worker has taken chains that it has not completed.
    pub(crate) fn has_outstanding(&self) -> bool {
        self.in_flight != 0
    }

    /// How many more chains this callback can have.
    fn share(&self) -> u16 {
        self.share.max(0) as u16
    }

    pub(crate) fn new(
        index: u16,
        mut ring: DeviceQueue,
        notify: Box<dyn Notify>,
        counters: Arc<Counters>,
    ) -> Self {
        ring.disable_notifications();
        Self {
            index,
            ring,
            notify,
            counters,
            tally: QueueCounters::default(),
            newest: 0,
            in_flight: 0,
            share: 0,
            ready: true,
            starved: false,
            armed: false,
            unpublished: false,
            delay: None,
            joined: 0,
            fault: None,
            stopped: false,
        }
    }

    /// A new callback begins.
    pub(crate) fn renew_share(&mut self) {
        self.share = if self.stopped { 0 } else { SHARE.into() };
    }

    /// Whether [`crate::Worker::queue_ready`] is due; if so it is not any more.
    pub(crate) fn take_ready(&mut self) -> bool {
        // As long as the driver is not asked to notify, its ring is looked at instead.
        let ready = self.ready || (self.starved && !self.armed && self.ring.has_available());
        if ready {
            self.ready = false;
            self.starved = false;
            self.disarm();
        }
        ready
    }

    /// Looks at the ring from now on, and asks the driver not to notify.
    pub(crate) fn disarm(&mut self) {
        if std::mem::take(&mut self.armed) {
            self.ring.disable_notifications();
        }
    }

    pub(crate) fn set_ready(&mut self) {
        self.ready = !self.stopped;
    }

    pub(crate) fn kicked(&mut self) {
        self.tally.kicks += 1;
        self.set_ready();
    }

    /// Asks the driver to notify, before the thread sleeps. True if there is something to do instead of sleeping.
    pub(crate) fn arm(&mut self) -> bool {
        if self.starved && !self.armed && !self.stopped {
            self.armed = true;
            self.ready |= self.ring.enable_notifications();
        }
        self.ready
    }

    /// Publishes what the callback has completed, notifies, and counts. Returns the driver's fault, if there was one.
    pub(crate) fn settle(&mut self) -> Option<RingError> {
        // Counted first, so that whoever sees a used buffer also sees it counted.
        self.counters.set_in_flight(self.in_flight.into());
        let chains = self.tally.chains as u32;
        if self.tally != QueueCounters::default() {
            self.counters.add(&std::mem::take(&mut self.tally));
        }
        if std::mem::take(&mut self.unpublished) {
            let packets = chains.saturating_sub(std::mem::take(&mut self.joined));
            let size = self.ring.size();
            match self
                .delay
                .as_mut()
                .is_some_and(|delay| delay.puts_off(packets, size))
            {
                true => self.show(),
                false => self.publish(),
            }
        }
        self.fault.take()
    }

    /// Notifies the driver of what it was shown, if that was put off until now.
    pub(crate) fn notify_due(&mut self, now: Instant) {
        if self.notification_due().is_some_and(|due| due <= now) {
            self.publish();
        }
    }

    /// Notifies the driver of what it was shown, if that is still put off.
    pub(crate) fn notify_owed(&mut self) {
        if self.owes_notification() {
            self.publish();
        }
    }

    /// When a notification is due that is put off.
    pub(crate) fn notification_due(&self) -> Option<Instant> {
        self.delay.as_ref()?.due()
    }

    fn owes_notification(&self) -> bool {
        self.delay.as_ref().is_some_and(Delay::is_owed)
    }

    /// Shows the driver what is complete, and notifies it if it wants that (dev:net:notifications-coalescing:08).
    fn publish(&mut self) {
        if let Some(delay) = &mut self.delay {
            delay.decided();
        }
        match self.ring.publish() {
            Ok(wanted) => {
                self.counters.add(&QueueCounters {
                    notifications: wanted.into(),
                    suppressed: (!wanted).into(),
                    ..QueueCounters::default()
                });
                if wanted {
                    self.notify.notify();
                }
            }
            Err(error) => self.fail(error),
        }
    }

    /// Shows the driver what is complete.
    fn show(&mut self) {
        match self.ring.show() {
            Ok(()) => self.counters.add(&QueueCounters {
                coalesced: 1,
                ..QueueCounters::default()
            }),
            Err(error) => self.fail(error),
        }
    }

    fn fail(&mut self, error: RingError) {
        self.unpublished = true;
        self.fault = Some(error);
    }

    /// No chain is given out any more.
    pub(crate) fn stop(&mut self) {
        self.tally.errors += u64::from(!self.stopped);
        self.stopped = true;
        self.share = 0;
        self.ready = false;
        self.starved = false;
    }

    pub(crate) fn state(&self) -> State {
        self.ring.state()
    }

    pub(crate) fn set_memory(&mut self, memory: Arc<Memory>) -> Result<(), SetupError> {
        self.ring.set_memory(memory)
    }
}

impl Drop for Virtqueue {
    /// What was in flight is not any more: the driver does not get it back.
    fn drop(&mut self) {
        self.counters.set_in_flight(0);
    }
}
