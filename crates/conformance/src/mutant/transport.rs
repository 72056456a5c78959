//! A transport seen through a lens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ringwright_driver::{Interrupt, Legacy, Transport, TransportError};
use ringwright_memory::{Memory, Width};
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, packed};

use super::{Lens, Life};

/// How long a ring has to stay as it is after a change for the device to have nothing more to do.
const STILL: Duration = Duration::from_millis(3);
/// How long a device may go on.
const AT_MOST: Duration = Duration::from_millis(200);

/// A transport that a lens lies before.
pub(crate) struct LensTransport<T> {
    transport: T,
    lens: &'static Lens,
    life: Life,
}

impl<T: Transport> LensTransport<T> {
    pub fn new(transport: T, lens: &'static Lens, memory: Arc<Memory>) -> Self {
        Self {
            transport,
            lens,
            life: Life::new(memory),
        }
    }

    /// Gives a device that has become live the time to look at its virtqueues, which it does without a notification: a
    /// lens that hears notifications is then the first to know of a buffer.
    fn rest(&self) {
        let start = Instant::now();
        while start.elapsed() < STILL {
            std::thread::yield_now();
        }
    }

    /// Waits until the device has used everything that is available in virtqueue `index`, as long as that may take.
    fn settle(&self, index: u16) {
        let Some(layout) = self.life.layouts.get(&index) else {
            return;
        };
        let start = Instant::now();
        let mut still = Still::default();
        while start.elapsed() < AT_MOST {
            let idle = match self.life.is_packed() {
                true => still.is(&self.life, layout),
                false => self.life.read16(layout.driver_area + 2) == self.life.read16(layout.device_area + 2),
            };
            if idle {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Tells when a packed virtqueue has changed, and then does not any more: how much of it is available cannot be seen from
/// one look.
#[derive(Default)]
struct Still {
    ring: Vec<u8>,
    changes: u32,
    since: Option<Instant>,
}

impl Still {
    fn is(&mut self, life: &Life, layout: &Layout) -> bool {
        let mut ring = vec![0; packed::desc_size(layout.size) as usize];
        // Where there is no memory nothing changes.
        let _ = life.memory.read(layout.descriptor_area, &mut ring);
        if ring != self.ring {
            self.ring = ring;
            self.changes += 1;
            self.since = Some(Instant::now());
        }
        // The first look is a change from nothing.
        self.changes > 1 && self.since.is_some_and(|since| since.elapsed() > STILL)
    }
}

impl<T: Transport> Transport for LensTransport<T> {
    fn device_id(&self) -> u32 {
        self.transport.device_id()
    }

    fn legacy(&self) -> Option<Legacy> {
        self.transport.legacy()
    }

    fn unsupported_features(&self) -> Features {
        self.transport.unsupported_features()
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        let offered = self.transport.device_features()?;
        Ok(match self.lens.offered {
            Some(see) => see(&mut self.life, offered),
            None => offered,
        })
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        self.life.features = features;
        let features = match self.lens.accepted {
            Some(hear) => hear(&mut self.life, features),
            None => features,
        };
        self.transport.set_driver_features(features)
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        let status = self.transport.status()?;
        Ok(match self.lens.status {
            Some(see) => see(&mut self.life, status),
            None => status,
        })
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        let heard = match self.lens.set_status {
            Some(hear) => hear(&mut self.life, status),
            None => Some(status),
        };
        self.life.status = status;
        self.life.was_live |= status.contains(Status::DRIVER_OK);
        if let Some(status) = heard {
            self.transport.set_status(status)?;
        }
        if status.contains(Status::DRIVER_OK) && self.lens.notify.is_some() {
            self.rest();
        }
        Ok(())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        let size = self.transport.queue_max_size(index)?;
        Ok(match self.lens.queue_max_size {
            Some(see) => see(&mut self.life, index, size),
            None => size,
        })
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        let heard = match self.lens.enable_queue {
            Some(hear) => hear(&mut self.life, index, *layout),
            None => Some(*layout),
        };
        self.life.layouts.insert(index, *layout);
        match heard {
            Some(layout) => self.transport.enable_queue(index, &layout),
            None => Ok(()),
        }
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        if self
            .lens
            .reset_queue
            .is_none_or(|hear| hear(&mut self.life, index))
        {
            self.transport.reset_queue(index)?;
        }
        Ok(())
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        self.transport.queue_is_reset(index)
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        self.life.notifications += 1;
        if self.lens.notify.is_none_or(|hear| hear(&mut self.life, index)) {
            self.transport.notify(index, data)?;
        }
        if let Some(happen) = self.lens.notified {
            self.settle(index);
            happen(&mut self.life, index);
        }
        Ok(())
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        self.transport.config_generation()
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        self.transport.read_config(offset, width, data)?;
        if let Some(see) = self.lens.config {
            see(&mut self.life, offset, data);
        }
        Ok(())
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        match self
            .lens
            .write_config
            .is_none_or(|hear| hear(&mut self.life, offset, data))
        {
            true => self.transport.write_config(offset, width, data),
            false => Ok(()),
        }
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        let interrupt = self.transport.take_interrupt()?;
        Ok(match self.lens.interrupt {
            Some(see) => see(&mut self.life, interrupt),
            None => interrupt,
        })
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        self.transport.shared_memory(id)
    }
}
