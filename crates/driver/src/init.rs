//! Bringing a device up (section 3.1), once for all drivers, and the live session that results.

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::{Area, Buffer};
use ringwright_ring::{DriverOptions, DriverQueue};
use ringwright_spec::split::MAX_QUEUE_SIZE;
use ringwright_spec::status::Status;
use ringwright_spec::{DeviceType, Features, feature};
use zerocopy::{FromBytes, IntoBytes};

use crate::{DriverError, Transport, TransportError};

/// The device-independent features that every driver here accepts when they are offered.
pub const RING_FEATURES: Features = Features(
    feature::INDIRECT_DESC.0
        | feature::EVENT_IDX.0
        | feature::VERSION_1.0
        | feature::ACCESS_PLATFORM.0
        | feature::RING_PACKED.0
        | feature::IN_ORDER.0
        | feature::ORDER_PLATFORM.0
        | feature::NOTIFICATION_DATA.0
        | feature::RING_RESET.0,
);

/// Status reads after which a reset that has not finished is taken for one that never will.
const RESET_READS: u32 = 1_000_000;

/// Reads of the configuration space after which a device that changes it each time is taken for broken.
const CONFIG_READS: u32 = 100;

/// What the user of a driver may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Features that may be accepted; a feature outside this set is left alone even if the device offers it.
    pub accept: Features,
    /// Greatest size of a virtqueue; a smaller one is taken if the device has no more.
    pub queue_size: u16,
    /// Most descriptors in one indirect table, for which memory is set aside; 0 to use none.
    pub indirect: u16,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            accept: Features(u128::MAX),
            queue_size: 256,
            indirect: 0,
        }
    }
}

/// A device between reset and DRIVER_OK: its features are negotiated, its virtqueues are being set up.
pub struct Setup<T: Transport> {
    session: Session<T>,
    options: Options,
}

/// A device that this driver has taken.
///
/// When it is dropped, a live device is reset, so that the memory of its virtqueues may be reused; one that has not
/// become live is told FAILED (`drv:init:device-initialization:04`). If a live device does not finish that reset, it may
/// write to its virtqueues' memory at any time: the area is then never given back to its owner.
pub struct Session<T: Transport> {
    transport: T,
    area: Arc<Area>,
    features: Features,
    progress: Progress,
}

/// How far a device has come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// It is being initialized.
    Initializing,
    /// It has been told DRIVER_OK, or may have been.
    Live,
    /// It has been reset, and nothing has been asked of it since.
    Reset,
}

impl<T: Transport> Setup<T> {
    /// Resets the device behind `transport`, checks that it is of type `device` and negotiates its features: of those
    /// offered, the ring's, and of the device type's those in `understood`, all within `options.accept`.
    pub fn begin(
        transport: T,
        area: &Arc<Area>,
        device: &DeviceType,
        understood: Features,
        options: Options,
    ) -> Result<Self, DriverError> {
        // A device of another type is left as it is, for its own driver.
        let found = transport.device_id();
        if found != device.id {
            return Err(DriverError::WrongDevice {
                expected: device.id,
                found,
            });
        }
        let mut session = Session {
            transport,
            area: area.clone(),
            features: Features::NONE,
            progress: Progress::Initializing,
        };
        session.reset()?;
        session.progress = Progress::Initializing;
        session.add_status(Status::ACKNOWLEDGE)?;
        session.add_status(Status::DRIVER)?;
        let mut setup = Self { session, options };
        setup.negotiate(device, understood)?;
        Ok(setup)
    }

    /// The negotiated features.
    pub fn features(&self) -> Features {
        self.session.features
    }

    /// The session, for reading the configuration space during set-up.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// Sets up virtqueue `index`, of as many descriptors as the options and the device allow.
    pub fn queue<D>(&mut self, index: u16, needed: u16) -> Result<DriverQueue<D>, DriverError> {
        let Session {
            transport,
            area,
            features,
            ..
        } = &mut self.session;
        let most = transport
            .queue_max_size(index)?
            .min(self.options.queue_size)
            .min(MAX_QUEUE_SIZE);
        // The size of a packed virtqueue need not be a power of 2 (section 2.8.10.1).
        let packed = features.contains(feature::RING_PACKED);
        let size = if packed || most == 0 {
            most
        } else {
            1 << most.ilog2()
        };
        if size < needed {
            return Err(DriverError::QueueTooSmall {
                index,
                found: size,
                needed,
            });
        }
        let indirect = if features.contains(feature::INDIRECT_DESC) {
            self.options.indirect
        } else {
            0
        };
        let queue = DriverQueue::new(area, size, *features, DriverOptions { indirect })?;
        transport.enable_queue(index, &queue.layout())?;
        Ok(queue)
    }

    /// Sets DRIVER_OK: the device is live.
    pub fn finish(mut self) -> Result<Session<T>, DriverError> {
        // Live before it is told so: if telling fails, the device may have heard it nevertheless.
        self.session.progress = Progress::Live;
        self.session.add_status(Status::DRIVER_OK)?;
        Ok(self.session)
    }

    fn negotiate(&mut self, device: &DeviceType, understood: Features) -> Result<(), DriverError> {
        let session = &mut self.session;
        let offered = session.transport.device_features()?;
        if !offered.contains(feature::VERSION_1) {
            return Err(DriverError::Legacy);
        }
        // drv:core:feature-bits:01: nothing that is not offered, and nothing whose requirements are not accepted.
        let mut accepted =
            offered & (RING_FEATURES | understood) & (self.options.accept | feature::VERSION_1);
        for table in [feature::ALL, device.features] {
            while let Some((lacking, _)) = feature::unmet(accepted, table) {
                accepted = accepted - Features::bit(lacking.bit);
            }
        }
        session.transport.set_driver_features(accepted)?;
        session.add_status(Status::FEATURES_OK)?;
        if !session.transport.status()?.contains(Status::FEATURES_OK) {
            return Err(DriverError::FeaturesRefused(accepted));
        }
        session.features = accepted;
        Ok(())
    }
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

    /// The transport, for what is the transport's own: waiting for an interrupt, for example.
    pub fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Buffers of `length` bytes for `queue`: one for each of its descriptors, `most` at the most.
    pub fn buffers<D>(
        &self,
        queue: &DriverQueue<D>,
        most: u16,
        length: usize,
    ) -> Result<Vec<Buffer>, DriverError> {
        (0..queue.free().min(most))
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
    /// it asked not to be. [`DriverError::NotLive`] before DRIVER_OK and after a [`reset`](Self::reset).
    #[inline]
    pub fn publish<D>(&mut self, index: u16, queue: &mut DriverQueue<D>) -> Result<(), DriverError> {
        // drv:init:device-initialization:06
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

    /// The structure `C` at `offset` of the configuration space, read again until the device did not change it
    /// meanwhile (`drv:core:device-configuration-space:01`).
    pub fn config<C: FromBytes + IntoBytes>(&mut self, offset: usize) -> Result<C, DriverError> {
        let mut config = C::new_zeroed();
        for _ in 0..CONFIG_READS {
            let before = self.transport.config_generation()?;
            self.transport.read_config(offset, config.as_mut_bytes())?;
            if self.transport.config_generation()? == before {
                return Ok(config);
            }
        }
        Err(DriverError::Device {
            device: "configuration space",
            what: "it changes during every read",
        })
    }

    /// Resets the device, and waits until it says that it has finished (`drv:core:device-reset:01`). What was outstanding
    /// is lost; the device is used again by making another driver for it.
    pub fn reset(&mut self) -> Result<(), DriverError> {
        self.transport.set_status(Status::NONE)?;
        let mut status = Status::NONE;
        for _ in 0..RESET_READS {
            status = self.transport.status()?;
            if status == Status::NONE {
                self.progress = Progress::Reset;
                return Ok(());
            }
            core::hint::spin_loop();
        }
        Err(DriverError::ResetTimeout(status))
    }

    fn add_status(&mut self, step: Status) -> Result<(), DriverError> {
        // drv:core:device-status-field:02: bits are only ever added.
        let status = self.transport.status()?;
        self.transport.set_status(status | step)?;
        Ok(())
    }
}

/// Puts `buffer` into `receive`, a virtqueue of device-writable buffers that are one descriptor each.
pub(crate) fn post(receive: &mut DriverQueue<Buffer>, buffer: Buffer) {
    // There are never more buffers than descriptors, so this cannot fail; if it did, the buffer would be freed.
    let _ = receive.add(&[], &[buffer.segment()], buffer);
}

impl<T: Transport> Drop for Session<T> {
    fn drop(&mut self) {
        match self.progress {
            Progress::Initializing => {
                // Nobody is left to hear of an error.
                let _ = self.add_status(Status::FAILED);
            }
            Progress::Live => match self.reset() {
                Ok(()) | Err(DriverError::Transport(TransportError::Gone)) => {}
                Err(_) => core::mem::forget(self.area.clone()),
            },
            Progress::Reset => {}
        }
    }
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
