//! Block driver (section 5.2): reads, writes and flushes, many outstanding, straight into and out of [`Buffer`]s.
//!
//! A request is submitted to one of the device's request virtqueues together with a tag of the caller's, becomes
//! visible to the device with [`Block::publish`], and is returned by [`Block::poll`] with its tag, its buffer and its
//! result, in any order.

mod geometry;
mod slots;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;

use ringwright_memory::{Area, Buffer, DmaSegment};
use ringwright_ring::{AddError, DriverQueue, Used};
use ringwright_spec::Features;
use ringwright_spec::block::{
    self as spec, Config, DEVICE, ID_BYTES, REQUESTQ1, ReqType, SECTOR_SIZE, Status, features,
};
use thiserror::Error;

pub use self::geometry::Geometry;
use self::slots::Slots;
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};

/// Features of the device type that this driver understands.
const UNDERSTOOD: Features = Features(
    features::SIZE_MAX.0
        | features::SEG_MAX.0
        | features::RO.0
        | features::BLK_SIZE.0
        | features::FLUSH.0
        | features::MQ.0,
);

/// [`SECTOR_SIZE`] as the length of a buffer.
const SECTOR_BYTES: usize = SECTOR_SIZE as usize;

/// A disk.
pub struct Block<T: Transport> {
    session: Session<T>,
    queues: Vec<Queue>,
    geometry: Geometry,
}

/// One request; made by [`Request::read`] and its neighbours.
#[derive(Debug)]
pub struct Request {
    kind: ReqType,
    sector: u64,
    buffer: Option<Buffer>,
}

impl Request {
    /// Fills `buffer`, whose length is a multiple of 512 bytes, from the disk at `sector`.
    pub fn read(sector: u64, buffer: Buffer) -> Self {
        Self {
            kind: ReqType::IN,
            sector,
            buffer: Some(buffer),
        }
    }

    /// Writes `buffer`, whose length is a multiple of 512 bytes, to the disk at `sector`.
    pub fn write(sector: u64, buffer: Buffer) -> Self {
        Self {
            kind: ReqType::OUT,
            sector,
            buffer: Some(buffer),
        }
    }

    /// Makes completed writes stable. The sector is 0 (`drv:blk:device-operation:04`).
    pub fn flush() -> Self {
        Self {
            kind: ReqType::FLUSH,
            sector: 0,
            buffer: None,
        }
    }

    /// Fetches the device ID string into `buffer`, of 20 bytes; a shorter one is padded with NUL.
    pub fn get_id(buffer: Buffer) -> Self {
        Self {
            kind: ReqType::GET_ID,
            sector: 0,
            buffer: Some(buffer),
        }
    }

    /// The buffer, of a request that was refused.
    pub fn into_buffer(self) -> Option<Buffer> {
        self.buffer
    }
}

/// A request that the device has finished.
#[derive(Debug)]
pub struct Completion {
    /// The caller's tag.
    pub tag: u64,
    /// The request's buffer.
    pub buffer: Option<Buffer>,
    /// How it ended.
    pub result: Result<(), BlockError>,
}

/// How a request failed; the device stays usable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// `VIRTIO_BLK_S_IOERR`.
    #[error("the device reports an I/O error")]
    Io,
    /// `VIRTIO_BLK_S_UNSUPP`.
    #[error("the device does not support the request")]
    Unsupported,
    /// A status that does not belong to the request.
    #[error("the device answered with status {0:?}")]
    Status(Status),
    /// The status is OK, but the device says that it wrote less than the whole answer.
    #[error("the device wrote {found} of {expected} bytes and reported success")]
    Short {
        /// Length of data and status.
        expected: u32,
        /// Length that the device reported.
        found: u32,
    },
}

/// A request that was not submitted, given back.
#[derive(Debug, Error)]
#[error("{reason}")]
pub struct Refused {
    /// Why.
    pub reason: Refusal,
    /// The request as it was.
    pub request: Request,
}

/// Why a request was not submitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Refusal {
    /// Too many requests are outstanding: poll first.
    #[error("the request virtqueue is full")]
    Full,
    /// There is no such request virtqueue.
    #[error("the device has no such request virtqueue")]
    NoQueue,
    /// `drv:blk:device-operation:02`.
    #[error("the request lies beyond the capacity of {0} sectors")]
    BeyondCapacity(u64),
    /// `drv:blk:device-operation:06`, `drv:blk:device-operation:08`, or longer than the device allows.
    #[error("the buffer's length of {0} bytes does not fit the request")]
    Length(usize),
    /// The device is read-only, or has no flush command.
    #[error("the device does not offer this request")]
    NotOffered,
}

struct Queue {
    ring: DriverQueue<Pending>,
    slots: Slots,
    /// Legacy devices often give wrong lengths, which are not to be relied on (section 5.2.6.3).
    trusts_length: bool,
}

/// What travels with a chain.
struct Pending {
    tag: u64,
    slot: u16,
    kind: ReqType,
    sector: u64,
    buffer: Option<Buffer>,
    /// Bytes that a device which succeeds writes, the status among them.
    expected: u32,
}

impl<T: Transport> Block<T> {
    /// Takes the device behind `transport`, with at most `queues` request virtqueues; what it needs of memory lies in
    /// `area`.
    pub fn new(transport: T, area: &Arc<Area>, queues: u16, options: Options) -> Result<Self, DriverError> {
        let mut setup = Setup::begin(transport, area, &DEVICE, UNDERSTOOD, options)?;
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
                let session = setup.session();
                let slots = Slots::new(session, ring.free())?;
                Ok(Queue {
                    ring,
                    slots,
                    trusts_length: !session.is_legacy(),
                })
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
        if let Err(reason) = self.admit(&request) {
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

    fn admit(&self, request: &Request) -> Result<(), Refusal> {
        let Geometry {
            capacity,
            segment_size,
            read_only,
            flush,
            ..
        } = self.geometry;
        let length = request.buffer.as_ref().map_or(0, Buffer::len);
        match request.kind {
            ReqType::FLUSH if !flush => Err(Refusal::NotOffered),
            ReqType::FLUSH => Ok(()),
            ReqType::GET_ID if length != ID_BYTES => Err(Refusal::Length(length)),
            ReqType::GET_ID => Ok(()),
            ReqType::OUT if read_only => Err(Refusal::NotOffered),
            _ if length == 0 || !length.is_multiple_of(SECTOR_BYTES) || length > segment_size as usize => {
                Err(Refusal::Length(length))
            }
            _ => match request.sector.checked_add((length / SECTOR_BYTES) as u64) {
                Some(end) if end <= capacity => Ok(()),
                _ => Err(Refusal::BeyondCapacity(capacity)),
            },
        }
    }
}

impl Queue {
    #[inline]
    fn add(&mut self, request: Request, tag: u64) -> Result<(), Refused> {
        let Some(slot) = self.slots.take() else {
            return Err(Refused {
                reason: Refusal::Full,
                request,
            });
        };
        let Request { kind, sector, buffer } = request;
        let (header, status) = self.slots.prepare(slot, kind, sector);
        let data = buffer.as_ref().map(Buffer::segment);
        let written = if kind == ReqType::OUT {
            0
        } else {
            data.map_or(0, DmaSegment::len)
        };
        let pending = Pending {
            tag,
            slot,
            kind,
            sector,
            buffer,
            expected: written + 1,
        };
        let added = match data {
            None => self.ring.add(&[header], &[status], pending),
            Some(data) if kind == ReqType::OUT => self.ring.add(&[header, data], &[status], pending),
            Some(data) => self.ring.add(&[header], &[data, status], pending),
        };
        added.map(drop).map_err(
            |AddError {
                 data:
                     Pending {
                         slot,
                         kind,
                         sector,
                         buffer,
                         ..
                     },
                 ..
             }| {
                self.slots.put(slot);
                Refused {
                    reason: Refusal::Full,
                    request: Request { kind, sector, buffer },
                }
            },
        )
    }

    #[inline]
    fn poll(&mut self) -> Result<Option<Completion>, DriverError> {
        let used = self.ring.pop()?;
        Ok(used.map(|used| finish(&mut self.slots, self.trusts_length, used)))
    }

    #[inline]
    fn poll_all(&mut self, limit: u16, mut handle: impl FnMut(Completion)) -> Result<u16, DriverError> {
        let Self {
            ring,
            slots,
            trusts_length,
        } = self;
        let take = |used| handle(finish(slots, *trusts_length, used));
        Ok(ring.take_used(limit, take)?)
    }
}

/// What became of a request that the device has used.
#[inline]
fn finish(slots: &mut Slots, trusts_length: bool, used: Used<Pending>) -> Completion {
    let Used { data, written } = used;
    let Pending {
        tag,
        slot,
        buffer,
        expected,
        ..
    } = data;
    let result = match slots.status(slot) {
        Status::OK if written >= expected || !trusts_length => Ok(()),
        Status::OK => Err(BlockError::Short {
            expected,
            found: written,
        }),
        Status::IOERR => Err(BlockError::Io),
        Status::UNSUPP => Err(BlockError::Unsupported),
        other => Err(BlockError::Status(other)),
    };
    slots.put(slot);
    Completion { tag, buffer, result }
}

#[cfg(test)]
mod tests;
