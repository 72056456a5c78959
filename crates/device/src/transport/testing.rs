//! The monitor's end, for tests: interrupts that can be waited for, and a device that says where its bytes come from.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Instant;

use ringwright_spec::{Features, block};

use crate::block::backend::Null;
use crate::block::{Block, Options};
use crate::entropy::Entropy;
use crate::testing::DEADLINE;
use crate::{
    ConfigError, Context, Description, Device, DeviceError, Outlet, QueueDescription, Session, Worker,
};

/// What a device has done to its monitor.
#[derive(Debug, Default)]
pub struct Board {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    asserted: bool,
    messages: Vec<(u16, u64, u32)>,
}

impl Board {
    /// The line changes.
    pub fn set(&self, asserted: bool) {
        let mut seen = self.seen.lock().unwrap();
        assert_ne!(seen.asserted, asserted, "set to what it is already");
        seen.asserted = asserted;
        self.changed.notify_all();
    }

    /// A message is sent.
    pub fn send(&self, vector: u16, address: u64, data: u32) {
        self.seen.lock().unwrap().messages.push((vector, address, data));
        self.changed.notify_all();
    }

    /// Whether the line is asserted.
    pub fn is_asserted(&self) -> bool {
        self.seen.lock().unwrap().asserted
    }

    /// Waits until the line is asserted.
    pub fn wait_asserted(&self) {
        self.wait(|seen| seen.asserted.then_some(()));
    }

    /// Takes the messages sent so far: vector, address, data.
    pub fn messages(&self) -> Vec<(u16, u64, u32)> {
        std::mem::take(&mut self.seen.lock().unwrap().messages)
    }

    /// Waits for a message, and takes the first.
    pub fn wait_message(&self) -> (u16, u64, u32) {
        self.wait(|seen| (!seen.messages.is_empty()).then(|| seen.messages.remove(0)))
    }

    fn wait<R>(&self, mut done: impl FnMut(&mut Seen) -> Option<R>) -> R {
        let deadline = Instant::now() + DEADLINE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(result) = done(&mut seen) {
                return result;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no interrupt in time");
            seen = self.changed.wait_timeout(seen, left).unwrap().0;
        }
    }
}

/// An entropy device whose bytes are all 7.
pub fn sevens() -> Entropy {
    Entropy::new(Arc::new(Sevens))
}

/// A disk that reads as zeroes.
pub fn disk() -> Block {
    let backend = Arc::new(Null { capacity: 1 << 20 });
    Block::new(backend, Options::default()).unwrap()
}

struct Sevens;

impl crate::entropy::backend::Backend for Sevens {
    fn fill(&self, into: &mut [u8]) -> std::io::Result<()> {
        into.fill(7);
        Ok(())
    }
}

/// A device that is only there to be looked at. Its virtqueues fill buffers with 7.
pub struct Probe {
    pub description: Description,
    pub handle: Arc<Handle>,
}

/// The test's end of a [`Probe`].
#[derive(Default)]
pub struct Handle {
    /// The configuration space.
    pub config: Mutex<Vec<u8>>,
    /// What was written to it: offset, bytes, whether through the legacy interface.
    pub written: Mutex<Vec<(usize, Vec<u8>, bool)>>,
    /// The features of the last session.
    pub features: Mutex<Option<Features>>,
    outlet: Mutex<Option<Outlet>>,
    /// Suspending and resuming fail.
    pub stubborn: AtomicBool,
}

impl Handle {
    /// The configuration space changes.
    pub fn change_config(&self, config: &[u8]) {
        *self.config.lock().unwrap() = config.to_vec();
        if let Some(outlet) = self.outlet.lock().unwrap().as_ref() {
            outlet.config_changed();
        }
    }

    /// The device cannot go on.
    pub fn need_reset(&self) {
        self.outlet
            .lock()
            .unwrap()
            .as_ref()
            .unwrap()
            .needs_reset("the test wants it");
    }
}

/// A probe that claims to be a disk, with so many virtqueues.
pub fn probe(queues: usize) -> Probe {
    let queue = |group| QueueDescription {
        max_size: 1000,
        group,
    };
    let handle = Handle::default();
    *handle.config.lock().unwrap() = (0..block::DEVICE.config_size as u8).collect();
    Probe {
        description: Description {
            device_type: &block::DEVICE,
            features: block::features::FLUSH | block::features::BLK_SIZE,
            queues: (0..queues).map(queue).collect(),
            config_size: block::DEVICE.config_size,
            shared_memory: Vec::new(),
        },
        handle: Arc::new(handle),
    }
}

impl Device for Probe {
    fn description(&self) -> Description {
        self.description.clone()
    }

    fn config(&self) -> Vec<u8> {
        self.handle.config.lock().unwrap().clone()
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.handle
            .written
            .lock()
            .unwrap()
            .push((offset, data.to_vec(), false));
        Ok(())
    }

    fn write_legacy_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.handle
            .written
            .lock()
            .unwrap()
            .push((offset, data.to_vec(), true));
        Ok(())
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        *self.handle.features.lock().unwrap() = Some(session.features);
        *self.handle.outlet.lock().unwrap() = Some(session.outlet.clone());
        Ok(Box::new(Filler(self.handle.clone())))
    }
}

struct Filler(Arc<Handle>);

impl Filler {
    fn refuse_if_stubborn(&self) -> Result<(), DeviceError> {
        match self.0.stubborn.load(Ordering::SeqCst) {
            true => Err(DeviceError::Unavailable("the test wants it so")),
            false => Ok(()),
        }
    }
}

impl Worker for Filler {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        context.serve(queue, |chain| {
            let length = chain.writable().len();
            chain
                .writable()
                .fill(0, length, 7)
                .map_err(|_| DeviceError::Unavailable("buffer"))?;
            Ok(length as u32)
        })
    }

    fn suspend(&mut self, _context: &mut Context) -> Result<(), DeviceError> {
        self.refuse_if_stubborn()
    }

    fn resume(&mut self, _context: &mut Context) -> Result<(), DeviceError> {
        self.refuse_if_stubborn()
    }
}
