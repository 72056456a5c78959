//! Memory of the client's that cannot be mapped, and the virtqueues in it.
//!
//! The device works on a shadow: memory of this process at the same DMA addresses. For each virtqueue a thread fetches what
//! the driver makes available, with the buffers that the device is to read, and brings back what the device has used, with
//! the buffers that it has written. The device and its rings notice nothing, and check everything that is fetched as they
//! always do; this only copies, and what it does not understand it leaves for the ring to refuse.

mod chain;
mod packed;
mod queue;
#[cfg(test)]
mod ring_tests;
mod split;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use ringwright_device::transport::Relay;
use ringwright_device::{EventNotify, Notify, QueueSetup};
use ringwright_memory::Memory;
use ringwright_spec::Features;
use rustix::event::{EventfdFlags, eventfd};

use super::remote::{GiveUp, Remote};
use queue::{Debt, Events, Queue};

/// The shadow, for whichever client is connected.
#[derive(Default)]
pub(super) struct Shadow(Mutex<State>);

#[derive(Default)]
struct State {
    /// The client's memory. `None` while it can be mapped, or while nobody is connected.
    memory: Option<Arc<Far>>,
    queues: BTreeMap<u16, Running>,
    /// What virtqueues that are stopped still owe to their drivers.
    debts: BTreeMap<u16, Debt>,
}

/// Memory that is reached by messages, and its shadow.
pub(super) struct Far {
    pub remote: Arc<Remote>,
    /// Everything that the device sees, at DMA addresses.
    pub memory: Arc<Memory>,
    /// First and last address of each piece that is only shadow, ascending.
    pub pieces: Vec<(u64, u64)>,
}

/// The thread of one virtqueue.
struct Running {
    remote: Arc<Remote>,
    give_up: GiveUp,
    wake: EventNotify,
    thread: JoinHandle<Debt>,
}

impl Shadow {
    /// The client's memory is this from now on, or one that can be mapped. Virtqueues go on with the old one until they are
    /// stopped, or with the new one from their next fetch on.
    pub fn set_memory(&self, far: Option<Far>) {
        self.lock().memory = far.map(Arc::new);
    }

    /// The client's memory as it is now.
    fn memory(&self) -> Option<Arc<Far>> {
        self.lock().memory.clone()
    }

    /// Whether a virtqueue is being relayed, or something is owed to its driver: then the state of the device is not all
    /// there is.
    pub fn is_in_use(&self) -> bool {
        let state = self.lock();
        !state.queues.is_empty() || !state.debts.is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The same shadow, as the device's transport knows it.
#[derive(Clone)]
pub(super) struct ShadowRelay(pub Arc<Shadow>);

impl Relay for ShadowRelay {
    fn start(
        &self,
        index: u16,
        features: Features,
        setup: QueueSetup,
        resumed: bool,
    ) -> io::Result<QueueSetup> {
        let debt = self.0.lock().debts.remove(&index).filter(|_| resumed);
        let debt = debt.unwrap_or_default();
        let Some(far) = self.0.memory() else {
            return Ok(setup);
        };
        if far.pieces.is_empty() {
            // What could not be mapped when the virtqueue was stopped can be now.
            debt.settle(&far.memory, &*setup.notify);
            return Ok(setup);
        }
        if !far.holds(setup.layout.descriptor_area) {
            let reason = "the virtqueue can be mapped, and other memory cannot";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
        let QueueSetup {
            layout,
            state,
            kick,
            notify,
        } = setup;
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK);
        let (to_device, from_device, give_up) = (event()?, event()?, GiveUp::default());
        let wake = EventNotify::new(from_device.try_clone()?)?;
        let events = Events {
            kick: kick.ok_or(io::ErrorKind::InvalidInput)?,
            used: from_device.try_clone()?,
            to_device: EventNotify::new(to_device.try_clone()?)?,
            to_driver: notify,
        };
        let remote = far.remote.clone();
        let queue = Queue::new(
            self.0.clone(),
            far,
            layout,
            features,
            state,
            debt,
            give_up.clone(),
        );
        queue.prepare();
        let thread = std::thread::Builder::new()
            .name(format!("shadow-{index}"))
            .spawn(move || queue.run(events))?;
        let running = Running {
            remote,
            give_up,
            wake,
            thread,
        };
        self.0.lock().queues.insert(index, running);
        let from_device = EventNotify::new(from_device)?;
        Ok(QueueSetup {
            layout,
            state,
            kick: Some(to_device),
            notify: Box::new(move || from_device.notify()),
        })
    }

    fn stop(&self, index: u16) {
        let Some(running) = self.0.lock().queues.remove(&index) else {
            return;
        };
        running.remote.raise(&running.give_up);
        running.wake.notify();
        // A panic has been reported by the thread itself.
        let debt = running.thread.join().unwrap_or_default();
        if !debt.is_settled() {
            self.0.lock().debts.insert(index, debt);
        }
    }

    fn forget(&self, index: u16) {
        self.stop(index);
        self.0.lock().debts.remove(&index);
    }
}

impl fmt::Debug for ShadowRelay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShadowRelay")
            .field("queues", &self.0.lock().queues.keys())
            .finish_non_exhaustive()
    }
}

impl Far {
    /// The parts of a range that are only shadow, as address and length.
    fn parts(&self, address: u64, length: u64) -> impl Iterator<Item = (u64, u64)> {
        let last = address.saturating_add(length.saturating_sub(1));
        let from = self.pieces.partition_point(|(_, end)| *end < address);
        let pieces = self.pieces.get(from..).unwrap_or_default().iter();
        let within = pieces.take_while(move |(start, _)| *start <= last && length > 0);
        within.map(move |(start, end)| {
            let (start, end) = (address.max(*start), last.min(*end));
            (start, end - start + 1)
        })
    }

    /// Whether an address is only shadow.
    fn holds(&self, address: u64) -> bool {
        self.parts(address, 1).next().is_some()
    }
}

/// Empties an event descriptor.
fn drain(event: &impl AsFd) {
    // Whatever the outcome: it is looked at again when it is readable.
    let _ = rustix::io::read(event, &mut [0; 8]);
}
