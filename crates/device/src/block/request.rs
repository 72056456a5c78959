//! The data side of a disk: requests (section 5.2.6).

use std::io;
use std::sync::Arc;

use ringwright_memory::Slices;
use ringwright_ring::{ByteOrder, Chain};
use ringwright_spec::block::{
    DiscardWriteZeroes, DiscardWriteZeroesFlags, ID_BYTES, ReqHead, ReqType, SECTOR_SIZE, Status, features,
};
use ringwright_spec::{Features, feature};
use zerocopy::FromBytes;

use super::backend::Backend;
use super::{MAX_DISCARD_SECTORS, MAX_DISCARD_SEG};
use crate::{Context, DeviceError, Session, Worker};

/// Serves the requests of one queue.
pub(super) struct RequestQueue {
    backend: Arc<dyn Backend>,
    serial: [u8; ID_BYTES],
    capacity: u64,
    features: Features,
    /// Of the integers of a request's head.
    byte_order: ByteOrder,
    /// Every write is made stable before it is completed.
    write_through: bool,
}

/// What becomes of a request: its status, and how many bytes of its device-writable data were written.
type Outcome = Result<usize, Failure>;

/// Why a request fails.
enum Failure {
    /// The driver asks for what this device does not do.
    Unsupported,
    /// The driver asks for what cannot be, or may not.
    Refused(&'static str),
    Io(io::Error),
}

impl Worker for RequestQueue {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        context.serve(queue, |chain| Ok(self.process(chain)))
    }
}

impl RequestQueue {
    pub fn new(backend: Arc<dyn Backend>, serial: [u8; ID_BYTES], session: &Session) -> Self {
        let features = session.features;
        Self {
            capacity: backend.capacity(),
            backend,
            serial,
            features,
            byte_order: session.byte_order,
            // A driver that did not accept FLUSH never flushes (dev:blk:device-operation:11).
            write_through: !features.contains(features::FLUSH),
        }
    }

    /// Carries out one request and says how many bytes it wrote to the driver.
    ///
    /// The driver may frame a request as it likes (`dev:split:message-framing:01`): the head is the first 16 readable
    /// bytes, the status the last writable one, and the data what is between.
    fn process(&self, chain: &Chain<'_>) -> u32 {
        let (readable, writable) = (chain.readable(), chain.writable());
        let Some(length) = writable.len().checked_sub(1) else {
            tracing::debug!("block request without a byte for its status");
            return 0;
        };
        let (written, status) = match self.carry_out(readable, writable, length) {
            Ok(written) => (written, Status::OK),
            Err(failure) => (0, failure.status()),
        };
        // The used length counts from the first writable byte on, so nothing before the status is left unwritten
        // (dev:split:the-virtqueue-used-ring:02).
        if written < length {
            let _ = writable.fill(written, length - written, 0);
        }
        let _ = writable.write(length, &[status.0]);
        u32::try_from(writable.len()).unwrap_or(u32::MAX)
    }

    /// `length` is that of the device-writable data.
    #[inline]
    fn carry_out(&self, readable: Slices<'_>, writable: Slices<'_>, length: usize) -> Outcome {
        const HEAD: usize = size_of::<ReqHead>();
        let short = |_| Failure::Refused("no complete head");
        let head: [u8; HEAD] = readable.read_array(0).map_err(short)?;
        let head = ReqHead::ref_from_bytes(&head).map_err(|_| Failure::Refused("no complete head"))?;
        let to_device = || readable.part(HEAD, readable.len() - HEAD).map_err(short);
        let to_driver = writable.part(0, length).map_err(short)?;
        let sector = self.byte_order.u64(head.sector.to_bytes());
        match ReqType(self.byte_order.u32(head.r#type.to_bytes())) {
            ReqType::IN => {
                let offset = self.offset(sector, to_driver.len() as u64)?;
                self.backend.read(offset, to_driver)?;
                Ok(to_driver.len())
            }
            ReqType::OUT => {
                self.refuse_read_only()?;
                let from = to_device()?;
                let offset = self.offset(sector, from.len() as u64)?;
                self.backend.write(offset, from)?;
                self.settle_write()
            }
            ReqType::FLUSH => self.flush(),
            // Section 5.2.6.3.
            ReqType::FLUSH_OUT if !self.features.contains(feature::VERSION_1) => self.flush(),
            ReqType::GET_ID => {
                let id = &self.serial[..to_driver.len().min(ID_BYTES)];
                to_driver.write(0, id).map_err(short)?;
                Ok(id.len())
            }
            ReqType::DISCARD if self.features.contains(features::DISCARD) => self.for_each_range(
                to_device()?,
                DiscardWriteZeroesFlags::NONE,
                |offset, length, _| self.backend.discard(offset, length),
            ),
            ReqType::WRITE_ZEROES if self.features.contains(features::WRITE_ZEROES) => self.for_each_range(
                to_device()?,
                DiscardWriteZeroesFlags::UNMAP,
                |offset, length, flags| {
                    let unmap = flags.contains(DiscardWriteZeroesFlags::UNMAP);
                    self.backend.write_zeroes(offset, length, unmap)
                },
            ),
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

    /// Checks all ranges of a discard or write zeroes request, then lets `each` carry them out.
    fn for_each_range(
        &self,
        data: Slices<'_>,
        known: DiscardWriteZeroesFlags,
        each: impl Fn(u64, u64, DiscardWriteZeroesFlags) -> io::Result<()>,
    ) -> Outcome {
        const RANGE: usize = size_of::<DiscardWriteZeroes>();
        self.refuse_read_only()?;
        if !data.len().is_multiple_of(RANGE) || data.len() / RANGE > MAX_DISCARD_SEG as usize {
            return Err(Failure::Refused("its data is not an array of at most 16 ranges"));
        }
        let mut ranges = [(0, 0, DiscardWriteZeroesFlags::NONE); MAX_DISCARD_SEG as usize];
        let ranges = &mut ranges[..data.len() / RANGE];
        let mut data = data.reader();
        for place in &mut *ranges {
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
            *place = (self.offset(range.sector.get(), length)?, length, flags);
        }
        for (offset, length, flags) in ranges {
            if *length != 0 {
                each(*offset, *length, *flags)?;
            }
        }
        self.settle_write()
    }

    /// A write request on a read-only disk fails and writes nothing (`dev:blk:device-operation:03`).
    fn refuse_read_only(&self) -> Result<(), Failure> {
        match self.backend.read_only() {
            true => Err(Failure::Refused("the disk is read-only")),
            false => Ok(()),
        }
    }

    fn flush(&self) -> Outcome {
        self.backend.flush()?;
        Ok(0)
    }

    fn settle_write(&self) -> Outcome {
        if self.write_through {
            self.backend.flush()?;
        }
        Ok(0)
    }
}

impl Failure {
    #[cold]
    fn status(self) -> Status {
        match self {
            Self::Unsupported => Status::UNSUPP,
            Self::Refused(reason) => {
                tracing::debug!(reason, "block request refused");
                Status::IOERR
            }
            Self::Io(error) => {
                tracing::warn!(%error, "block request failed");
                Status::IOERR
            }
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
