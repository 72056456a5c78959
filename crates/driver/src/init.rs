//! Bringing a device up (section 3.1), once for all drivers.

use alloc::sync::Arc;

use ringwright_memory::Area;
use ringwright_ring::{DriverOptions, DriverQueue};
use ringwright_spec::split::MAX_QUEUE_SIZE;
use ringwright_spec::status::Status;
use ringwright_spec::{DeviceType, Features, feature};

use crate::session::{Progress, Session};
use crate::{DriverError, Transport};

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
        | feature::NOTIF_CONFIG_DATA.0
        | feature::RING_RESET.0
        | feature::SUSPEND.0,
);

/// The same over legacy interfaces, of which ANY_LAYOUT must be accepted (section 6.3).
pub const LEGACY_FEATURES: Features =
    Features(RING_FEATURES.0 & feature::LEGACY_BITS.0 | feature::ANY_LAYOUT.0);

/// What the user of a driver may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Features that may be accepted; a feature outside this set is left alone even if the device offers it, except those
    /// that the document has every driver accept.
    pub accept: Features,
    /// Greatest size of a virtqueue; a smaller one is taken if the device has no more. Where a legacy interface leaves no
    /// choice it is the device's that counts.
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
        Self::begin_with(transport, area, device, understood, options, |_, features| {
            Ok(features)
        })
    }

    /// The same, for device types whose configuration space has a say in which features are accepted: `settle` is given
    /// those that device and driver have in common, before FEATURES_OK, and says which of them it is to be.
    pub fn begin_with(
        transport: T,
        area: &Arc<Area>,
        device: &DeviceType,
        understood: Features,
        options: Options,
        settle: impl FnOnce(&mut Session<T>, Features) -> Result<Features, DriverError>,
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
            // If the reset does not end, FAILED is not set either:
            // drv:pci:common-configuration-structure-layout:05.
            progress: Progress::Reset,
        };
        session.reset()?;
        session.progress = Progress::Initializing;
        session.add_status(Status::ACKNOWLEDGE)?;
        session.add_status(Status::DRIVER)?;
        let mut setup = Self { session, options };
        setup.negotiate(device, understood, settle)?;
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
        let found = self.session.transport.queue_max_size(index)?;
        let size = self.queue_size(found);
        if size < needed {
            return Err(DriverError::QueueTooSmall {
                index,
                found: size,
                needed,
            });
        }
        let (features, order) = (self.session.features, self.session.byte_order());
        let indirect = if features.contains(feature::INDIRECT_DESC) {
            self.options.indirect
        } else {
            0
        };
        let options = DriverOptions { indirect };
        let queue = DriverQueue::with_byte_order(&self.session.area, size, features, options, order)?;
        self.session.transport.enable_queue(index, &queue.layout())?;
        Ok(queue)
    }

    /// Sets DRIVER_OK: the device is live.
    pub fn finish(mut self) -> Result<Session<T>, DriverError> {
        // Live before it is told so: if telling fails, the device may have heard it nevertheless.
        self.session.progress = Progress::Live;
        self.session.add_status(Status::DRIVER_OK)?;
        Ok(self.session)
    }

    fn negotiate(
        &mut self,
        device: &DeviceType,
        understood: Features,
        settle: impl FnOnce(&mut Session<T>, Features) -> Result<Features, DriverError>,
    ) -> Result<(), DriverError> {
        let session = &mut self.session;
        let offered = session.transport.device_features()?;
        let legacy = session.transport.legacy().is_some();
        // Section 2.2.3: without VERSION_1 it is a legacy device, and used through that interface or not at all.
        if !legacy && !offered.contains(feature::VERSION_1) {
            return Err(DriverError::Legacy);
        }
        let (known, demanded) = match legacy {
            true => (
                LEGACY_FEATURES | understood & feature::LEGACY_BITS,
                feature::ANY_LAYOUT,
            ),
            false => (RING_FEATURES | understood, feature::VERSION_1),
        };
        // drv:core:feature-bits:01, drv:core:feature-bits:03: nothing that is not offered, that is not for this transport,
        // or whose requirements are not accepted.
        let possible = offered & (known - session.transport.unsupported_features());
        let mut accepted = settle(session, possible & (self.options.accept | demanded))? & possible;
        for table in [feature::ALL, device.features] {
            while let Some((lacking, _)) = feature::unmet(accepted, table) {
                accepted = accepted - Features::bit(lacking.bit);
            }
        }
        session.transport.set_driver_features(accepted)?;
        session.features = accepted;
        if legacy {
            // Section 3.1.2: without FEATURES_OK.
            return Ok(());
        }
        session.add_status(Status::FEATURES_OK)?;
        if !session.transport.status()?.contains(Status::FEATURES_OK) {
            return Err(DriverError::FeaturesRefused(accepted));
        }
        Ok(())
    }

    /// The size of a virtqueue that may have up to `found` descriptors; 0 if there is none that can be used.
    fn queue_size(&self, found: u16) -> u16 {
        let session = &self.session;
        if session
            .transport
            .legacy()
            .is_some_and(|legacy| legacy.fixed_queue_size)
        {
            return match found.is_power_of_two() && found <= MAX_QUEUE_SIZE {
                true => found,
                false => 0,
            };
        }
        let most = found.min(self.options.queue_size).min(MAX_QUEUE_SIZE);
        // The size of a packed virtqueue need not be a power of 2 (section 2.8.10.1).
        match session.has(feature::RING_PACKED) {
            false if most != 0 => 1 << most.ilog2(),
            _ => most,
        }
    }
}

#[cfg(test)]
#[path = "init_tests.rs"]
mod tests;
