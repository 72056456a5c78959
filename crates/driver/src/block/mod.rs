//! Block driver (section 5.2): all requests of the document, many outstanding, straight into and out of
//! [`Buffer`](ringwright_memory::Buffer)s.
//!
//! A request is submitted to one of the device's request virtqueues together with a tag of the caller's, becomes
//! visible to the device with [`Block::publish`], and is returned by [`Block::poll`] with its tag, its buffers and its
//! result, in any order. [`Shared`] makes futures of that, and [`Blocking`] functions that wait.

mod admit;
mod blocking;
mod completion;
mod future;
mod geometry;
mod queue;
mod ranges;
mod request;
mod slots;
mod zones;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;

use ringwright_memory::Area;
use ringwright_spec::Features;
use ringwright_spec::block::zoned::Model;
use ringwright_spec::block::{self as spec, Config, DEVICE, REQUESTQ1, features};

pub use self::admit::{Refusal, Refused};
pub use self::blocking::{Blocking, BlockingError};
pub use self::completion::{BlockError, Completion, Lifetime, ScsiAnswer};
pub use self::future::{Failure, Perform, Shared};
pub use self::geometry::{DiskGeometry, Geometry, RangeLimits, Topology, ZoneLimits};
use self::queue::Queue;
pub use self::ranges::{Range, Ranges};
pub use self::request::{Data, Request};
pub use self::zones::{Zone, read_report};
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};

/// Features of the device type that this driver understands: all of them.
const UNDERSTOOD: Features = Features(
    features::SIZE_MAX.0
        | features::SEG_MAX.0
        | features::GEOMETRY.0
        | features::RO.0
        | features::BLK_SIZE.0
        | features::FLUSH.0
        | features::TOPOLOGY.0
        | features::CONFIG_WCE.0
        | features::MQ.0
        | features::DISCARD.0
        | features::WRITE_ZEROES.0
        | features::LIFETIME.0
        | features::SECURE_ERASE.0
        | features::ZONED.0
        | features::BARRIER.0
        | features::SCSI.0,
);

/// A disk.
pub struct Block<T: Transport> {
    session: Session<T>,
    queues: Vec<Queue>,
    geometry: Geometry,
}

/// What the device does with writes that it has completed (section 5.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheMode {
    /// They are stable.
    WriteThrough,
    /// They are stable after a flush.
    WriteBack,
}

impl<T: Transport> Block<T> {
    /// Takes the device behind `transport`, with at most `queues` request virtqueues; what it needs of memory lies in
    /// `area`.
    pub fn new(transport: T, area: &Arc<Area>, queues: u16, options: Options) -> Result<Self, DriverError> {
        let mut setup = Setup::begin_with(transport, area, &DEVICE, UNDERSTOOD, options, settle_features)?;
        let features = setup.features();
        let geometry = Geometry::read(setup.session())?;
        let offered = match features.contains(features::MQ) {
            true => setup.session().config(offset_of!(Config, num_queues))?,
            false => 1,
        };
        let count = spec::queue_count(features, offered).min(queues).max(1);
        let queues = (0..count)
            .map(|index| {
                let ring = setup.queue(REQUESTQ1 + index, 3)?;
                let zone_sectors = geometry.zones.map_or(0, |zones| zones.zone_sectors);
                Queue::new(setup.session(), ring, zone_sectors)
            })
            .collect::<Result<_, DriverError>>()?;
        Ok(Self {
            session: setup.finish()?,
            queues,
            geometry,
        })
    }

    /// What the device says of itself.
    pub fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// How many request virtqueues are in use.
    pub fn queues(&self) -> u16 {
        self.queues.len() as u16
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// Adds a request to request virtqueue `queue`; [`publish`](Self::publish) shows it to the device.
    #[inline]
    pub fn submit(&mut self, queue: u16, request: Request, tag: u64) -> Result<(), Refused> {
        if let Err(reason) = admit::admit(&self.geometry, &request) {
            return Err(Refused { reason, request });
        }
        match self.queues.get_mut(queue as usize) {
            Some(queue) => queue.add(request, tag),
            None => Err(Refused {
                reason: Refusal::NoQueue,
                request,
            }),
        }
    }

    /// Shows the requests added to `queue` to the device, with one notification for all of them at most.
    pub fn publish(&mut self, queue: u16) -> Result<(), DriverError> {
        match self.queues.get_mut(queue as usize) {
            Some(Queue { ring, .. }) => self.session.publish(REQUESTQ1 + queue, ring),
            None => Ok(()),
        }
    }

    /// The next request of `queue` that the device has finished.
    #[inline]
    pub fn poll(&mut self, queue: u16) -> Result<Option<Completion>, DriverError> {
        match self.queues.get_mut(queue as usize) {
            Some(queue) => queue.poll(),
            None => Ok(None),
        }
    }

    /// Gives `handle` the requests of `queue` that the device has finished, up to `limit` of them; cheaper than one by one.
    /// Gives their number: if it is less than `limit`, there are no more. What `handle` was given before an error is
    /// finished.
    #[inline]
    pub fn poll_all(
        &mut self,
        queue: u16,
        limit: u16,
        handle: impl FnMut(Completion),
    ) -> Result<u16, DriverError> {
        match self.queues.get_mut(queue as usize) {
            Some(queue) => queue.poll_all(limit, handle),
            None => Ok(0),
        }
    }

    /// Asks for used buffer notifications of `queue`, before waiting for one. `true`: some requests have finished
    /// already, so poll instead of waiting.
    pub fn enable_notifications(&mut self, queue: u16) -> bool {
        self.queues
            .get_mut(queue as usize)
            .is_some_and(|queue| queue.ring.enable_notifications())
    }

    /// Asks the device not to send used buffer notifications of `queue`.
    pub fn disable_notifications(&mut self, queue: u16) {
        if let Some(queue) = self.queues.get_mut(queue as usize) {
            queue.ring.disable_notifications();
        }
    }

    /// To be called after a configuration change notification: looks whether the capacity has changed
    /// (`drv:blk:device-operation:01`), and gives the new one, in sectors, if so.
    pub fn look_for_capacity(&mut self) -> Result<Option<u64>, DriverError> {
        let capacity = geometry::capacity(&mut self.session)?;
        if self.geometry.write_zeroes.is_some() {
            let may_unmap: u8 = self.session.config(offset_of!(Config, write_zeroes_may_unmap))?;
            self.geometry.write_zeroes_may_unmap = may_unmap != 0;
        }
        let before = core::mem::replace(&mut self.geometry.capacity, capacity);
        Ok((capacity != before).then_some(capacity))
    }

    /// What the device does with completed writes now. Without the features that say so it is deduced from whether there
    /// is a flush (`drv:blk:device-initialization:02`, `drv:blk:device-initialization:03`).
    pub fn cache_mode(&mut self) -> Result<CacheMode, DriverError> {
        let write_back = match self.geometry.switchable_cache {
            true => self.session.config::<u8>(offset_of!(Config, writeback))? != 0,
            false => self.geometry.flush,
        };
        Ok(match write_back {
            true => CacheMode::WriteBack,
            false => CacheMode::WriteThrough,
        })
    }

    /// Switches the cache. Writes that completed before are no more stable for it: that takes a flush
    /// (`drv:blk:device-operation:13`). `false`: the device does not let its driver do that.
    pub fn set_cache_mode(&mut self, mode: CacheMode) -> Result<bool, DriverError> {
        if !self.geometry.switchable_cache {
            return Ok(false);
        }
        let write_back = u8::from(mode == CacheMode::WriteBack);
        self.session
            .write_config(offset_of!(Config, writeback), write_back)?;
        Ok(true)
    }
}

/// Which of `features`, which driver and device have in common, are accepted: zones decide that, before FEATURES_OK.
fn settle_features<T: Transport>(
    session: &mut Session<T>,
    features: Features,
) -> Result<Features, DriverError> {
    if session.is_legacy() {
        // It cannot be negotiated without FEATURES_OK (section 5.2.5.2).
        return Ok(features - features::ZONED);
    }
    // Nothing is known of their requests but on a legacy interface (section 5.2.3.1).
    let features = features - (features::BARRIER | features::SCSI);
    if !features.contains(features::ZONED) {
        return Ok(features);
    }
    // An error ends in FAILED without FEATURES_OK: drv:blk:device-initialization:08.
    match geometry::zones(session)? {
        // drv:blk:device-initialization:06
        Some(zones) if zones.model == Model::HM => Ok(features - features::DISCARD),
        _ => Ok(features),
    }
}

#[cfg(test)]
mod future_tests;
#[cfg(test)]
mod requests_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod zones_tests;
