//! What a driver asks of a disk, and what it is answered (section 5.2.6).

use std::io;

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{
    DiscardWriteZeroes, DiscardWriteZeroesFlags, ID_BYTES, ReqHead, ReqType, SECTOR_SIZE, Status, features,
};
use ringwright_spec::{Features, feature};
use zerocopy::FromBytes;

use super::backend::Request;
use super::{MAX_DISCARD_SECTORS, MAX_DISCARD_SEG};

/// What requests are understood by.
pub(super) struct Terms {
    pub serial: [u8; ID_BYTES],
    /// Size of the disk in bytes.
    pub capacity: u64,
    pub read_only: bool,
    pub features: Features,
    /// Of the integers of a request's head.
    pub byte_order: ByteOrder,
    /// Every write is made stable before it is completed.
    pub write_through: bool,
}

/// What a request comes to.
pub(super) enum Work<'c> {
    /// Nothing more: so many bytes of its device-writable data were written.
    Done(usize),
    /// A request to the backend, which then has written so many bytes.
    One(Request<'c>, usize),
    /// The requests to the backend in the list given, the last one first. They write nothing.
    Many,
}

/// What becomes of a request: how many bytes of its device-writable data were written, or why it fails.
pub(super) type Outcome = Result<usize, Failure>;

/// Why a request fails.
pub(super) enum Failure {
    /// The driver asks for what this device does not do.
    Unsupported,
    /// The driver asks for what cannot be, or may not.
    Refused(&'static str),
    Io(io::Error),
}

impl Terms {
    /// Finds out what a request asks for. `to_driver` is its device-writable data, without the status; `many` is empty.
    ///
    /// The driver may frame a request as it likes (`dev:split:message-framing:01`): the head is the first 16 readable
    /// bytes, the status the last writable one, and the data what is between.
    #[inline]
    pub fn understand<'c>(
        &self,
        readable: Slices<'c>,
        to_driver: Slices<'c>,
        many: &mut Vec<Request<'static>>,
    ) -> Result<Work<'c>, Failure> {
        const HEAD: usize = size_of::<ReqHead>();
        let short = |_| Failure::Refused("no complete head");
        let head: [u8; HEAD] = readable.read_array(0).map_err(short)?;
        let head = ReqHead::ref_from_bytes(&head).map_err(|_| Failure::Refused("no complete head"))?;
        let to_device = || readable.part(HEAD, readable.len() - HEAD).map_err(short);
        let sector = self.byte_order.u64(head.sector.to_bytes());
        match ReqType(self.byte_order.u32(head.r#type.to_bytes())) {
            ReqType::IN => {
                let offset = self.offset(sector, to_driver.len() as u64)?;
                let into = to_driver;
                Ok(Work::One(Request::Read { offset, into }, into.len()))
            }
            ReqType::OUT => {
                self.refuse_read_only()?;
                let from = to_device()?;
                let offset = self.offset(sector, from.len() as u64)?;
                let stable = self.write_through;
                Ok(Work::One(Request::Write { offset, from, stable }, 0))
            }
            ReqType::FLUSH => Ok(Work::One(Request::Flush, 0)),
            // Section 5.2.6.3.
            ReqType::FLUSH_OUT if !self.features.contains(feature::VERSION_1) => {
                Ok(Work::One(Request::Flush, 0))
            }
            ReqType::GET_ID => {
                let id = &self.serial[..to_driver.len().min(ID_BYTES)];
                to_driver.write(0, id).map_err(short)?;
                Ok(Work::Done(id.len()))
            }
            ReqType::DISCARD if self.features.contains(features::DISCARD) => {
                let request = |offset, length, _| Request::Discard { offset, length };
                self.ranges(to_device()?, DiscardWriteZeroesFlags::NONE, request, many)
            }
            ReqType::WRITE_ZEROES if self.features.contains(features::WRITE_ZEROES) => {
                let request = |offset, length, flags: DiscardWriteZeroesFlags| Request::WriteZeroes {
                    offset,
                    length,
                    unmap: flags.contains(DiscardWriteZeroesFlags::UNMAP),
                    stable: self.write_through,
                };
                self.ranges(to_device()?, DiscardWriteZeroesFlags::UNMAP, request, many)
            }
            _ => Err(Failure::Unsupported),
        }
    }

    /// Where in the backend a transfer of `length` bytes from `sector` on begins.
    fn offset(&self, sector: u64, length: u64) -> Result<u64, Failure> {
        if !length.is_multiple_of(SECTOR_SIZE) {
            return Err(Failure::Refused("its data is no multiple of 512 bytes"));
        }
        let offset = sector.checked_mul(SECTOR_SIZE);
        offset
            .filter(|offset| offset.checked_add(length).is_some_and(|end| end <= self.capacity))
            .ok_or(Failure::Refused("it goes beyond the capacity"))
    }

    /// Checks all ranges of a discard or write zeroes request, then makes a `request` of each that is not empty.
    fn ranges<'c>(
        &self,
        data: Slices<'_>,
        known: DiscardWriteZeroesFlags,
        request: impl Fn(u64, u64, DiscardWriteZeroesFlags) -> Request<'static>,
        many: &mut Vec<Request<'static>>,
    ) -> Result<Work<'c>, Failure> {
        const RANGE: usize = size_of::<DiscardWriteZeroes>();
        self.refuse_read_only()?;
        if !data.len().is_multiple_of(RANGE) || data.len() / RANGE > MAX_DISCARD_SEG as usize {
            return Err(Failure::Refused("its data is not an array of at most 16 ranges"));
        }
        let mut left = data.len() / RANGE;
        let mut data = data.reader();
        while left != 0 {
            left -= 1;
            let bytes: [u8; RANGE] = data
                .read_array()
                .map_err(|_| Failure::Refused("its data is short"))?;
            let range = DiscardWriteZeroes::read_from_bytes(&bytes)
                .map_err(|_| Failure::Refused("its data is short"))?;
            let flags = DiscardWriteZeroesFlags(range.flags.get());
            // Also: discard does not know UNMAP (dev:blk:device-operation:04, dev:blk:device-operation:05).
            if !flags.without(known).is_empty() {
                return Err(Failure::Unsupported);
            }
            let sectors = range.num_sectors.get();
            if sectors > MAX_DISCARD_SECTORS {
                return Err(Failure::Refused("a range is larger than the device allows"));
            }
            let length = u64::from(sectors) * SECTOR_SIZE;
            let offset = self.offset(range.sector.get(), length)?;
            if length != 0 {
                many.push(request(offset, length, flags));
            }
        }
        many.reverse();
        Ok(Work::Many)
    }

    /// A write request on a read-only disk fails and writes nothing (`dev:blk:device-operation:03`).
    fn refuse_read_only(&self) -> Result<(), Failure> {
        match self.read_only {
            true => Err(Failure::Refused("the disk is read-only")),
            false => Ok(()),
        }
    }
}

/// The device-writable data of a request, whose last device-writable byte is its status. `None` if there is not even that.
#[inline]
pub(super) fn data_of(writable: Slices<'_>) -> Option<Slices<'_>> {
    let length = writable.len().checked_sub(1)?;
    writable.part(0, length).ok()
}

/// Writes the status of a request, after its data, and gives the used length: that of its device-writable part.
#[inline]
pub(super) fn answer(writable: Slices<'_>, outcome: Result<usize, Status>) -> u32 {
    let Some(length) = writable.len().checked_sub(1) else {
        tracing::debug!("block request without a byte for its status");
        return 0;
    };
    let (written, status) = match outcome {
        Ok(written) => (written, Status::OK),
        Err(status) => (0, status),
    };
    // The used length counts from the first writable byte on, so nothing before the status is left unwritten
    // (dev:split:the-virtqueue-used-ring:02).
    if written < length {
        let _ = writable.fill(written, length - written, 0);
    }
    let _ = writable.write(length, &[status.0]);
    u32::try_from(writable.len()).unwrap_or(u32::MAX)
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
