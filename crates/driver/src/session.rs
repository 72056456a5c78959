//! A device that a driver has taken: what all drivers do with it.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::{Area, Buffer};
use ringwright_ring::{ByteOrder, DriverQueue, Outstanding};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use crate::field::Field;
use crate::{DriverError, Transport, TransportError};

/// Questions after which a device that has not finished what it was asked to do is taken for one that never will.
pub(crate) const PATIENCE: u32 = 1_000_000;

/// Reads of the configuration space after which a device that changes it each time is taken for broken.
const CONFIG_READS: u32 = 100;

/// A device that this driver has taken.
///
/// When it is dropped, a live device is reset, so that the memory of its virtqueues may be reused
/// (`drv:init:device-cleanup:02`); one that has not become live is told FAILED (`drv:init:device-initialization:04`). If
/// a live device does not finish that reset, it may write to its virtqueues' memory at any time: the area is then never
/// given back to its owner.
pub struct Session<T: Transport> {
    pub(crate) transport: T,
    pub(crate) area: Arc<Area>,
    pub(crate) features: Features,
    pub(crate) progress: Progress,
}

/// How far a device has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// It is being initialized.
    Initializing,
    /// It has been told DRIVER_OK, or may have been.
    Live,
    /// It has been told SUSPEND, or may have been.
    Suspended,
    /// Nothing has been asked of it since it was reset, or found.
    Reset,
}

impl<T: Transport> Session<T> {
    /// The negotiated features.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Whether all of `features` are negotiated.
    pub fn has(&self, features: Features) -> bool {
        self.features.contains(features)
    }

    /// Whether the device is used through the legacy interface (section 2.2.3).
    pub fn is_legacy(&self) -> bool {
        self.transport.legacy().is_some()
    }

    /// Byte order of requests and of the configuration space: little-endian, on legacy interfaces the guest's.
    pub fn byte_order(&self) -> ByteOrder {
        self.transport
            .legacy()
            .map_or(ByteOrder::Little, |legacy| legacy.byte_order)
    }

    /// The transport, for what is the transport's own: waiting for an interrupt, for example.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Buffers of `length` bytes for `queue`, in which each takes `descriptors`: as many as it has room for, `most` at the
    /// most.
    pub fn buffers<D>(
        &self,
        queue: &DriverQueue<D>,
        descriptors: u16,
        most: u16,
        length: usize,
    ) -> Result<Vec<Buffer>, DriverError> {
        (0..(queue.free() / descriptors.max(1)).min(most))
            .map(|_| self.allocate(length))
            .collect()
    }

    /// Memory that the device reaches, `length` bytes long. Its content is whatever it was.
    pub fn allocate(&self, length: usize) -> Result<Buffer, DriverError> {
        self.area
            .allocate(length, 16)
            .ok_or(DriverError::OutOfMemory(length))
    }

    /// Makes the chains added to `queue`, which is virtqueue `index`, available to the device, and notifies it unless
    /// it asked not to be. [`DriverError::NotLive`] before DRIVER_OK, after a [`reset`](Self::reset), and while
    /// [suspended](Self::suspend).
    #[inline]
    pub fn publish<D>(&mut self, index: u16, queue: &mut DriverQueue<D>) -> Result<(), DriverError> {
        // drv:init:device-initialization:06, drv:init:device-suspend:03, drv:init:device-suspend:04
        if self.progress != Progress::Live {
            return Err(DriverError::NotLive);
        }
        if queue.publish() {
            self.transport.notify(index, queue.notification_data(index))?;
        }
        Ok(())
    }

    /// Fails if the device has asked to be reset.
    pub fn check(&mut self) -> Result<(), DriverError> {
        match self.transport.status()?.contains(Status::DEVICE_NEEDS_RESET) {
            true => Err(DriverError::NeedsReset),
            false => Ok(()),
        }
    }

    /// The field at `offset` of the configuration space, read again until the device did not change it meanwhile
    /// (`drv:core:device-configuration-space:01`).
    pub fn config<F: Field>(&mut self, offset: usize) -> Result<F, DriverError> {
        let mut previous = None;
        for _ in 0..CONFIG_READS {
            // Legacy devices have no generation: two reads give the same (section 2.5.4).
            let before = match self.is_legacy() {
                true => None,
                false => Some(self.transport.config_generation()?),
            };
            let mut field = F::new_zeroed();
            self.transport
                .read_config(offset, F::WIDTH, field.as_mut_bytes())?;
            let consistent = match before {
                Some(before) => self.transport.config_generation()? == before,
                None => previous.replace(field) == Some(field),
            };
            if consistent {
                return Ok(field.in_order(self.byte_order()));
            }
        }
        Err(DriverError::Device {
            device: "configuration space",
            what: "it changes during every read",
        })
    }

    /// Writes the field at `offset` of the configuration space. [`DriverError::NotLive`] while the device is suspended
    /// (`drv:init:device-suspend:05`) or reset.
    pub fn write_config<F: Field>(&mut self, offset: usize, field: F) -> Result<(), DriverError> {
        if matches!(self.progress, Progress::Suspended | Progress::Reset) {
            return Err(DriverError::NotLive);
        }
        let field = field.in_order(self.byte_order());
        Ok(self.transport.write_config(offset, F::WIDTH, field.as_bytes())?)
    }

    /// Resets virtqueue `index`, which is `queue`, and waits until the device says that it has finished
    /// (`drv:core:virtqueue-reset:01`). Gives back what travelled with the buffers that the device had; the virtqueue is
    /// used again after [`enable_queue`](Self::enable_queue). Needs `VIRTIO_F_RING_RESET`.
    pub fn reset_queue<'q, D>(
        &mut self,
        index: u16,
        queue: &'q mut DriverQueue<D>,
    ) -> Result<Outstanding<'q, D>, DriverError> {
        self.need(feature::RING_RESET, "VIRTIO_F_RING_RESET is not negotiated")?;
        self.transport.reset_queue(index)?;
        let is_reset = wait(|| self.transport.queue_is_reset(index).map(|done| (done, done)))?;
        match is_reset {
            Ok(_) => Ok(queue.reset()),
            Err(_) => Err(DriverError::QueueResetTimeout(index)),
        }
    }

    /// Enables virtqueue `index`, which is `queue`, again after its reset (`drv:core:virtqueue-re-enable:01`). It may be
    /// another one than before, of another size.
    pub fn enable_queue<D>(&mut self, index: u16, queue: &DriverQueue<D>) -> Result<(), DriverError> {
        self.need(feature::RING_RESET, "VIRTIO_F_RING_RESET is not negotiated")?;
        Ok(self.transport.enable_queue(index, &queue.layout())?)
    }

    /// Suspends the device, and waits until it says that it is (`drv:init:device-suspend:02`). It uses the buffers that it
    /// has begun with before. Needs `VIRTIO_F_SUSPEND` and a live device (`drv:init:device-suspend:01`).
    pub fn suspend(&mut self) -> Result<(), DriverError> {
        self.need(feature::SUSPEND, "VIRTIO_F_SUSPEND is not negotiated")?;
        // Before it is told so: if telling fails, the device may have heard it nevertheless.
        self.progress = Progress::Suspended;
        self.add_status(Status::SUSPEND)?;
        self.wait_for(Status::SUSPEND, Status::DRIVER_OK)
    }

    /// Lets a suspended device run again, and waits until it does (`drv:init:device-suspend:06`).
    pub fn resume(&mut self) -> Result<(), DriverError> {
        if self.progress != Progress::Suspended {
            return Err(DriverError::NotLive);
        }
        self.add_status(Status::DRIVER_OK)?;
        self.wait_for(Status::DRIVER_OK, Status::SUSPEND)?;
        self.progress = Progress::Live;
        Ok(())
    }

    /// Resets the device, and waits until it says that it has finished (`drv:core:device-reset:01`). What was outstanding
    /// is lost; the device is used again by making another driver for it.
    pub fn reset(&mut self) -> Result<(), DriverError> {
        self.transport.set_status(Status::NONE)?;
        let status = wait(|| {
            let status = self.transport.status()?;
            Ok((status == Status::NONE, status))
        })?;
        status.map_err(DriverError::ResetTimeout)?;
        self.progress = Progress::Reset;
        Ok(())
    }

    pub(crate) fn add_status(&mut self, step: Status) -> Result<(), DriverError> {
        // drv:core:device-status-field:02: bits are only ever added.
        let status = self.transport.status()?;
        self.transport.set_status(status | step)?;
        Ok(())
    }

    /// Fails unless the device is live with `features`.
    fn need(&self, features: Features, lacking: &'static str) -> Result<(), DriverError> {
        if !self.has(features) {
            return Err(TransportError::Unsupported(lacking).into());
        }
        match self.progress {
            Progress::Live => Ok(()),
            _ => Err(DriverError::NotLive),
        }
    }

    /// Waits until the device has set `set` and cleared `clear`, or asks to be reset because it cannot.
    fn wait_for(&mut self, set: Status, clear: Status) -> Result<(), DriverError> {
        let outcome = wait(|| {
            let status = self.transport.status()?;
            let done = status.contains(set) && !status.intersects(clear);
            Ok((done || status.contains(Status::DEVICE_NEEDS_RESET), status))
        })?;
        match outcome {
            Ok(status) if status.contains(Status::DEVICE_NEEDS_RESET) => Err(DriverError::NeedsReset),
            Ok(_) => Ok(()),
            Err(status) => Err(DriverError::SuspendTimeout(status)),
        }
    }
}

/// Asks until the answer, which comes second, is said to be the one waited for; `Err` with the last one if it never is.
fn wait<A>(
    mut ask: impl FnMut() -> Result<(bool, A), TransportError>,
) -> Result<Result<A, A>, TransportError> {
    for _ in 1..PATIENCE {
        if let (true, answer) = ask()? {
            return Ok(Ok(answer));
        }
        core::hint::spin_loop();
    }
    let (done, answer) = ask()?;
    Ok(if done { Ok(answer) } else { Err(answer) })
}

impl<T: Transport> Drop for Session<T> {
    fn drop(&mut self) {
        match self.progress {
            Progress::Initializing => {
                // Nobody is left to hear of an error.
                let _ = self.add_status(Status::FAILED);
            }
            Progress::Live | Progress::Suspended => match self.reset() {
                Ok(()) | Err(DriverError::Transport(TransportError::Gone)) => {}
                Err(_) => core::mem::forget(self.area.clone()),
            },
            Progress::Reset => {}
        }
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
