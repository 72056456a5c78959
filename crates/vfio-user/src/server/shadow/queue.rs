//! The thread of one virtqueue.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use ringwright_device::{EventNotify, Notify};
use ringwright_memory::Memory;
use ringwright_ring::{DeviceQueue, Layout, State};
use ringwright_socket::readable;
use ringwright_spec::{Features, feature};

use super::chain::{Copier, Due, Taken};
use super::packed::Packed;
use super::split::Split;
use super::{Far, Shadow, drain};
use crate::server::remote::{GiveUp, RemoteError};

/// How the thread is woken, and whom it wakes.
pub(super) struct Events {
    /// Readable when the driver has made buffers available.
    pub kick: OwnedFd,
    /// Readable when the device has used buffers, or when the thread is to end.
    pub used: OwnedFd,
    /// Tells the device that there are buffers.
    pub to_device: EventNotify,
    /// Sends the driver a used buffer notification.
    pub to_driver: Box<dyn Notify>,
}

/// What a virtqueue that is stopped still owes to its driver.
#[derive(Default)]
pub(super) struct Debt {
    /// Writes to the client's memory, in their order.
    due: VecDeque<Due>,
    /// The driver is to be notified after them.
    notify: bool,
}

/// A virtqueue whose thread runs or is about to.
pub(super) struct Queue {
    shadow: Arc<Shadow>,
    /// The newest memory that the virtqueue lies in.
    far: Arc<Far>,
    layout: Layout,
    ring: Ring,
    /// Chains that the device has and has not used, in the order of the driver.
    taken: VecDeque<Taken>,
    /// Used buffers come in that order, and one stands for those before it.
    in_order: bool,
    debt: Debt,
    give_up: GiveUp,
}

enum Ring {
    Split(Split),
    Packed(Packed),
}

/// The chains that the device has and has not used.
pub(super) struct Finish<'a> {
    pub taken: &'a mut VecDeque<Taken>,
    /// A chain stands for those before it.
    pub in_order: bool,
}

/// Used buffers that the device has published: what is to be written for them, and how many there are.
pub(super) struct Used {
    pub due: Vec<Due>,
    pub count: u16,
}

impl Debt {
    pub fn is_settled(&self) -> bool {
        self.due.is_empty() && !self.notify
    }

    /// Settles it in memory that is mapped.
    pub fn settle(self, memory: &Memory, to_driver: &dyn Notify) {
        for due in &self.due {
            if let Err(fault) = memory.write(due.address, &due.bytes) {
                tracing::error!(%fault, "what the device has used does not reach its driver");
            }
        }
        if self.notify {
            to_driver.notify();
        }
    }
}

impl Finish<'_> {
    /// Takes out the chain that the device calls `id`, which is the last, and with it those that it stands for.
    pub fn take(&mut self, id: u16) -> Option<Vec<Taken>> {
        let last = self.taken.iter().position(|chain| chain.id == id)?;
        let first = if self.in_order { 0 } else { last };
        Some(self.taken.drain(first..=last).collect())
    }
}

impl Queue {
    pub fn new(
        shadow: Arc<Shadow>,
        far: Arc<Far>,
        layout: Layout,
        features: Features,
        state: State,
        debt: Debt,
        give_up: GiveUp,
    ) -> Self {
        let events = features.contains(feature::EVENT_IDX);
        let ring = match features.contains(feature::RING_PACKED) {
            true => Ring::Packed(Packed::new(layout, state, events)),
            false => Ring::Split(Split::new(layout, state, events)),
        };
        Self {
            shadow,
            far,
            layout,
            ring,
            taken: VecDeque::new(),
            in_order: features.contains(feature::IN_ORDER),
            debt,
            give_up,
        }
    }

    /// Makes the shadow of the virtqueue one in which nothing is available and nothing used beyond where it stands.
    pub fn prepare(&self) {
        let copier = self.copier();
        match &self.ring {
            Ring::Split(split) => split.prepare(&copier),
            Ring::Packed(packed) => packed.prepare(&copier),
        }
    }

    /// Runs until told to give up. Returns what was not brought to the driver any more.
    pub fn run(mut self, events: Events) -> Debt {
        // Buffers may be available already.
        let mut ready = [true, true];
        while !self.give_up.is_raised() {
            match self.step(&events, ready) {
                Ok(()) => {}
                Err(RemoteError::GivenUp) => break,
                Err(error) => {
                    tracing::error!(%error, "the client's memory cannot be reached; the virtqueue rests");
                    break;
                }
            }
            match readable(&[events.kick.as_fd(), events.used.as_fd()], None) {
                Ok(now) => ready = [now[0], now[1]],
                Err(error) => {
                    tracing::error!(%error, "a virtqueue cannot wait for events, and rests");
                    break;
                }
            }
        }
        // The device has stopped: all that it has used is published in the shadow.
        let used = self.collect();
        self.debt.notify |= used.count > 0;
        self.debt.due.extend(used.due);
        self.debt
    }

    fn step(&mut self, events: &Events, [kicked, used]: [bool; 2]) -> Result<(), RemoteError> {
        self.renew_memory();
        if used {
            drain(&events.used);
            self.bring(events)?;
        }
        if kicked {
            drain(&events.kick);
            if self.fetch()? {
                events.to_device.notify();
            }
        }
        Ok(())
    }

    /// Goes on with changed memory, unless the virtqueue is not in it: then it is about to be stopped, and what the device
    /// has used is in the old one.
    fn renew_memory(&mut self) {
        if let Some(far) = self.shadow.memory()
            && DeviceQueue::check(&self.layout, self.is_packed(), &far.memory).is_ok()
        {
            self.far = far;
        }
    }

    /// Brings what the device has used to the driver, and notifies it if it wants that.
    fn bring(&mut self, events: &Events) -> Result<(), RemoteError> {
        loop {
            let used = self.collect();
            if used.count == 0 && self.debt.is_settled() {
                return Ok(());
            }
            let owed = std::mem::replace(&mut self.debt.notify, true);
            self.debt.due.extend(used.due);
            while let Some(due) = self.debt.due.front() {
                self.far.remote.write(due.address, &due.bytes, &self.give_up)?;
                self.debt.due.pop_front();
            }
            let copier = self.copier();
            let wanted = match &self.ring {
                Ring::Split(split) => split.wants_notification(&copier, used.count)?,
                Ring::Packed(packed) => packed.wants_notification(&copier, used.count)?,
            };
            if wanted || owed {
                events.to_driver.notify();
            }
            self.debt.notify = false;
        }
    }

    /// Shows the device what the driver has made available. Whether there was any.
    fn fetch(&mut self) -> Result<bool, RemoteError> {
        let (copier, ring, taken) = self.parts();
        match ring {
            Ring::Split(split) => split.fetch(&copier, taken),
            Ring::Packed(packed) => packed.fetch(&copier, taken),
        }
    }

    /// What the device has used since the last call.
    fn collect(&mut self) -> Used {
        let in_order = self.in_order;
        let (copier, ring, taken) = self.parts();
        let mut finish = Finish { taken, in_order };
        match ring {
            Ring::Split(split) => split.collect(&copier, &mut finish),
            Ring::Packed(packed) => packed.collect(&copier, &mut finish),
        }
    }

    fn is_packed(&self) -> bool {
        matches!(self.ring, Ring::Packed(_))
    }

    fn copier(&self) -> Copier<'_> {
        Copier {
            far: &self.far,
            give_up: &self.give_up,
            packed: self.is_packed(),
        }
    }

    fn parts(&mut self) -> (Copier<'_>, &mut Ring, &mut VecDeque<Taken>) {
        let packed = self.is_packed();
        let copier = Copier {
            far: &self.far,
            give_up: &self.give_up,
            packed,
        };
        (copier, &mut self.ring, &mut self.taken)
    }
}
