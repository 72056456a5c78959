//! A disk as functions that wait: for boot loaders and tests.

use alloc::vec::Vec;
use core::mem::size_of;

use ringwright_memory::Buffer;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{self as spec, ID_BYTES, SECTOR_SIZE};
use thiserror::Error;

use super::ranges::RANGE_BYTES;
use super::zones::{REPORT_BYTES, ZONE_BYTES};
use super::{Block, BlockError, Completion, Lifetime, Range, Ranges, Refusal, Request, Zone, read_report};
use crate::{DriverError, Transport};

/// The virtqueue that requests go to.
const QUEUE: u16 = 0;

/// A disk that is used by one request after the other. `W` waits until the device may have notified something; it may also
/// return at once.
///
/// Data are copied between the caller's memory and one buffer that the device reaches.
pub struct Blocking<T: Transport, W> {
    disk: Block<T>,
    wait: W,
    /// Most bytes of one transfer.
    room: usize,
}

/// Why a function of [`Blocking`] has failed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlockingError {
    /// The request may not be sent to this device.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The device has not carried it out.
    #[error(transparent)]
    Failed(#[from] BlockError),
    /// The driver gives up on the device.
    #[error(transparent)]
    Driver(#[from] DriverError),
    /// What the device has answered contradicts itself.
    #[error("the device's answer contradicts itself: {0}")]
    Answer(&'static str),
}

impl<T: Transport, W: FnMut(&mut T)> Blocking<T, W> {
    /// Functions on `disk`, of which no request is outstanding; transfers are cut into pieces of at most `room` bytes,
    /// which is rounded down to sectors, and up to one.
    pub fn new(disk: Block<T>, room: usize, wait: W) -> Self {
        let sector = SECTOR_SIZE as usize;
        let granularity = disk
            .geometry()
            .zones
            .map_or(sector, |zones| zones.write_granularity as usize);
        let most = room.min(disk.geometry().segment_size as usize);
        Self {
            room: (most / granularity * granularity).max(granularity),
            disk,
            wait,
        }
    }

    /// The disk.
    pub fn disk(&mut self) -> &mut Block<T> {
        &mut self.disk
    }

    /// Fills `into`, of whole sectors, from the disk at `sector`.
    pub fn read(&mut self, mut sector: u64, into: &mut [u8]) -> Result<(), BlockingError> {
        for piece in into.chunks_mut(self.room) {
            let buffer = self.allocate(piece.len())?;
            let buffer = self.fetch(Request::read(sector, buffer))?;
            get(&buffer, 0, piece);
            sector += piece.len() as u64 / SECTOR_SIZE;
        }
        Ok(())
    }

    /// Writes `from`, of whole sectors, to the disk at `sector`.
    pub fn write(&mut self, mut sector: u64, from: &[u8]) -> Result<(), BlockingError> {
        for piece in from.chunks(self.room) {
            let buffer = self.filled(piece)?;
            self.perform(Request::write(sector, buffer))?;
            sector += piece.len() as u64 / SECTOR_SIZE;
        }
        Ok(())
    }

    /// Makes completed writes stable.
    pub fn flush(&mut self) -> Result<(), BlockingError> {
        self.perform(Request::flush()).map(drop)
    }

    /// The device ID string, padded with NUL.
    pub fn id(&mut self) -> Result<[u8; ID_BYTES], BlockingError> {
        let buffer = self.allocate(ID_BYTES)?;
        let buffer = self.fetch(Request::get_id(buffer))?;
        let mut id = [0; ID_BYTES];
        get(&buffer, 0, &mut id);
        Ok(id)
    }

    /// How worn the storage is.
    pub fn lifetime(&mut self) -> Result<Lifetime, BlockingError> {
        let buffer = self.allocate(size_of::<spec::Lifetime>())?;
        let buffer = self.fetch(Request::get_lifetime(buffer))?;
        let order: ByteOrder = self.disk.session().byte_order();
        Lifetime::read(&buffer, order).ok_or(BlockingError::Answer("a reserved value of its lifetime"))
    }

    /// Says that the content of `ranges` is not needed any more.
    pub fn discard(&mut self, ranges: &[Range]) -> Result<(), BlockingError> {
        let ranges = self.ranges(ranges)?;
        self.perform(Request::discard(ranges)).map(drop)
    }

    /// Fills `ranges` with zeroes.
    pub fn write_zeroes(&mut self, ranges: &[Range]) -> Result<(), BlockingError> {
        let ranges = self.ranges(ranges)?;
        self.perform(Request::write_zeroes(ranges)).map(drop)
    }

    /// Erases `ranges` beyond recovery.
    pub fn secure_erase(&mut self, ranges: &[Range]) -> Result<(), BlockingError> {
        let ranges = self.ranges(ranges)?;
        self.perform(Request::secure_erase(ranges)).map(drop)
    }

    /// Up to `most` zones from the one that contains `sector` on.
    pub fn zones(&mut self, sector: u64, most: usize) -> Result<Vec<Zone>, BlockingError> {
        let room = self.room.saturating_sub(REPORT_BYTES) / ZONE_BYTES;
        let buffer = self.allocate(REPORT_BYTES + most.min(room) * ZONE_BYTES)?;
        let buffer = self.fetch(Request::zone_report(sector, buffer))?;
        let zones: Option<Vec<Zone>> = read_report(&buffer).collect();
        zones.ok_or(BlockingError::Answer("a zone that cannot be"))
    }

    /// Appends `from`, of at most as many bytes as go in one request, to the zone that begins at `zone`; the sector where
    /// that begins.
    pub fn append(&mut self, zone: u64, from: &[u8]) -> Result<u64, BlockingError> {
        if from.len() > self.room {
            return Err(Refusal::Length(from.len()).into());
        }
        let buffer = self.filled(from)?;
        let completion = self.perform(Request::zone_append(zone, buffer))?;
        completion
            .append_sector
            .ok_or(BlockingError::Answer("data were appended nowhere"))
    }

    /// Performs a request without data that come back: of zones, for example.
    pub fn perform(&mut self, request: Request) -> Result<Completion, BlockingError> {
        self.disk
            .submit(QUEUE, request, 0)
            .map_err(|refused| refused.reason)?;
        self.disk.publish(QUEUE)?;
        loop {
            if let Some(completion) = self.disk.poll(QUEUE)? {
                completion.result?;
                return Ok(completion);
            }
            if !self.disk.enable_notifications(QUEUE) {
                (self.wait)(self.disk.session().transport());
                self.disk.session().check()?;
            }
        }
    }

    /// Performs a request with one buffer, and gives that back.
    fn fetch(&mut self, request: Request) -> Result<Buffer, BlockingError> {
        let data = self.perform(request)?.data;
        data.into_buffer()
            .ok_or(BlockingError::Answer("the buffer has not come back"))
    }

    fn allocate(&mut self, length: usize) -> Result<Buffer, DriverError> {
        self.disk.session().allocate(length)
    }

    fn filled(&mut self, from: &[u8]) -> Result<Buffer, BlockingError> {
        let buffer = self.allocate(from.len())?;
        buffer.write(0, from).expect(ALLOCATED);
        Ok(buffer)
    }

    fn ranges(&mut self, ranges: &[Range]) -> Result<Ranges, BlockingError> {
        let buffer = self.allocate(ranges.len() * RANGE_BYTES)?;
        Ranges::new(buffer, ranges).map_err(|buffer| Refusal::Length(buffer.len()).into())
    }
}

fn get(buffer: &Buffer, offset: usize, into: &mut [u8]) {
    buffer.read(offset, into).expect(ALLOCATED);
}

const ALLOCATED: &str = "the buffer is as long as what it was allocated for";
