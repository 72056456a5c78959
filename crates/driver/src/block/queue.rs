//! One request virtqueue.

use alloc::vec::Vec;

use ringwright_memory::{Buffer, DmaSegment};
use ringwright_ring::{AddRefusal, ByteOrder, DriverQueue, Used};
use ringwright_spec::block::{ReqType, Status};

use super::admit::{Refusal, Refused};
use super::completion::{BlockError, Completion};
use super::ranges;
use super::request::{Data, Request};
use super::slots::Slots;
use crate::session::Session;
use crate::{DriverError, Transport};

pub(super) struct Queue {
    pub(super) ring: DriverQueue<Pending>,
    slots: Slots,
    /// Legacy devices often give wrong lengths, which are not to be relied on (section 5.2.6.3).
    trusts_length: bool,
    order: ByteOrder,
    zone_sectors: u64,
    /// The segments of requests of several buffers, with room for as many as a chain can have.
    readable: Vec<DmaSegment>,
    writable: Vec<DmaSegment>,
}

/// What travels with a chain.
pub(super) struct Pending {
    tag: u64,
    slot: u16,
    request: Request,
    /// Bytes that a device which succeeds writes, the status among them.
    expected: u32,
}

impl Queue {
    /// The driver's side of `ring`, of a device whose zones have `zone_sectors` sectors.
    pub(super) fn new<T: Transport>(
        session: &Session<T>,
        ring: DriverQueue<Pending>,
        zone_sectors: u32,
    ) -> Result<Self, DriverError> {
        // No chain is longer than its virtqueue, wherever its descriptors are (drv:split:indirect-descriptors:03).
        let most = usize::from(ring.layout().size);
        Ok(Self {
            slots: Slots::new(session, ring.free())?,
            ring,
            trusts_length: !session.is_legacy(),
            order: session.byte_order(),
            zone_sectors: zone_sectors.into(),
            readable: Vec::with_capacity(most),
            writable: Vec::with_capacity(most),
        })
    }

    #[inline]
    pub(super) fn add(&mut self, request: Request, tag: u64) -> Result<(), Refused> {
        let count = request.data.as_slice().len();
        if count + 2 > usize::from(self.ring.layout().size) {
            return Err(refused(Refusal::Segments(count), request));
        }
        let Some(slot) = self.slots.take() else {
            return Err(refused(Refusal::Full, request));
        };
        let (head, tail) = self.slots.prepare(slot, request.kind, request.sector);
        let pending = |written: u32, request| Pending {
            tag,
            slot,
            request,
            expected: written.saturating_add(tail.len()),
        };
        let added = match &request.data {
            Data::None => self.ring.add(&[head], &[tail], pending(0, request)),
            Data::One(buffer) if request.readable == 0 => {
                let data = buffer.segment();
                self.ring
                    .add(&[head], &[data, tail], pending(data.len(), request))
            }
            Data::One(buffer) => {
                let data = buffer.segment();
                self.settle_order(&request);
                self.ring.add(&[head, data], &[tail], pending(0, request))
            }
            Data::Several(_) => {
                let (readable, writable) = request.parts();
                collect(&mut self.readable, Some(head), readable, None);
                collect(&mut self.writable, None, writable, Some(tail));
                let written = writable
                    .iter()
                    .fold(0, |sum: u32, buffer| sum.saturating_add(buffer.segment().len()));
                self.ring
                    .add(&self.readable, &self.writable, pending(written, request))
            }
        };
        match added {
            Ok(_) => Ok(()),
            Err(error) => {
                let Pending { slot, request, .. } = error.data;
                self.slots.put(slot);
                Err(match error.reason {
                    AddRefusal::TooLong => refused(Refusal::Segments(count), request),
                    AddRefusal::TooLarge => refused(Refusal::Length(usize::MAX), request),
                    _ => refused(Refusal::Full, request),
                })
            }
        }
    }

    #[inline]
    pub(super) fn poll(&mut self) -> Result<Option<Completion>, DriverError> {
        let used = self.ring.pop()?;
        Ok(used.map(|used| finish(&mut self.slots, self.trusts_length, self.zone_sectors, used)))
    }

    #[inline]
    pub(super) fn poll_all(
        &mut self,
        limit: u16,
        mut handle: impl FnMut(Completion),
    ) -> Result<u16, DriverError> {
        let Self {
            ring,
            slots,
            trusts_length,
            zone_sectors,
            ..
        } = self;
        let take = |used| handle(finish(slots, *trusts_length, *zone_sectors, used));
        Ok(ring.take_used(limit, take)?)
    }

    /// Puts integers in the data of a request into the device's byte order.
    #[inline]
    fn settle_order(&self, request: &Request) {
        if self.order == ByteOrder::Big
            && matches!(
                request.base_kind(),
                ReqType::DISCARD | ReqType::WRITE_ZEROES | ReqType::SECURE_ERASE
            )
        {
            for buffer in request.data.as_slice() {
                ranges::put_in_order(buffer, self.order);
            }
        }
    }
}

fn refused(reason: Refusal, request: Request) -> Refused {
    Refused { reason, request }
}

/// Fills `segments`, which never has more than it has room for.
fn collect(
    segments: &mut Vec<DmaSegment>,
    first: Option<DmaSegment>,
    buffers: &[Buffer],
    last: Option<DmaSegment>,
) {
    segments.clear();
    segments.extend(first);
    segments.extend(buffers.iter().map(Buffer::segment));
    segments.extend(last);
}

/// What became of a request that the device has used.
#[inline]
fn finish(slots: &mut Slots, trusts_length: bool, zone_sectors: u64, used: Used<Pending>) -> Completion {
    let Used { data, written } = used;
    let Pending {
        tag,
        slot,
        request,
        expected,
    } = data;
    let mut append_sector = None;
    let result = match slots.status(slot) {
        Status::OK if written < expected && trusts_length => Err(BlockError::Short {
            expected,
            found: written,
        }),
        Status::OK if request.kind == ReqType::ZONE_APPEND => {
            let sector = slots.append_sector(slot);
            let within = sector
                .checked_sub(request.sector)
                .is_some_and(|distance| distance < zone_sectors);
            append_sector = within.then_some(sector);
            append_sector.map(drop).ok_or(BlockError::Appended(sector))
        }
        Status::OK => Ok(()),
        other => Err(BlockError::of(other)),
    };
    slots.put(slot);
    Completion {
        tag,
        data: request.data,
        result,
        append_sector,
    }
}
