//! What a driver asks of a disk, and what it is answered (section 5.2.6).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{
    self as spec, DiscardWriteZeroes, DiscardWriteZeroesFlags, ID_BYTES, ReqHead, ReqType, SECTOR_SIZE,
    Status, features,
};
use ringwright_spec::{Features, feature};
use zerocopy::FromBytes;

use super::backend::{Lifetime, Request};
use super::scsi;

/// What requests are understood by.
pub(super) struct Terms {
    pub serial: [u8; ID_BYTES],
    /// Size of the disk in bytes.
    pub capacity: u64,
    /// Bytes of a logical block.
    pub block_size: u32,
    pub read_only: bool,
    pub features: Features,
    /// Of the integers of a request's head.
    pub byte_order: ByteOrder,
    /// The cache is a writeback one now; else every write is made stable before it is completed.
    pub write_back: Arc<AtomicBool>,
    /// How worn the storage is, if it can tell.
    pub lifetime: Option<Lifetime>,
    /// Zeroes may deallocate sectors.
    pub may_unmap: bool,
    /// Limits of discards and of zeroes.
    pub discard: Limits,
    /// Limits of secure erasures.
    pub erase: Limits,
}

/// What a request of ranges may be.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    /// Most sectors of a range.
    pub sectors: u32,
    /// Most ranges.
    pub ranges: u32,
    /// The flags that ranges may have.
    pub flags: DiscardWriteZeroesFlags,
}

/// A request that was taken apart.
#[derive(Clone, Copy)]
pub(super) struct Asked<'c> {
    /// Its type, without the flag of barriers.
    pub kind: ReqType,
    pub sector: u64,
    /// What follows the head.
    pub to_device: Slices<'c>,
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
    /// A zone does not allow it, for the reason that this status gives.
    Zone(Status),
    Io(io::Error),
}

impl Terms {
    /// Whether a write that completes now has to be stable (`dev:blk:device-operation:11`).
    #[inline]
    pub fn write_through(&self) -> bool {
        !self.write_back.load(Ordering::Relaxed)
    }

    /// Takes a request apart.
    ///
    /// The driver may frame it as it likes (`dev:split:message-framing:01`): the head is the first 16 readable bytes, the
    /// status the last writable one, and the data what is between.
    #[inline]
    pub fn take_apart<'c>(&self, readable: Slices<'c>) -> Result<Asked<'c>, Failure> {
        const HEAD: usize = size_of::<ReqHead>();
        let short = |_| Failure::Refused("no complete head");
        let head: [u8; HEAD] = readable.read_array(0).map_err(short)?;
        let head = ReqHead::ref_from_bytes(&head).map_err(|_| Failure::Refused("no complete head"))?;
        let mut kind = ReqType(self.byte_order.u32(head.r#type.to_bytes()));
        if self.features.contains(features::BARRIER) {
            kind.0 &= !ReqType::BARRIER.0;
        }
        Ok(Asked {
            kind,
            sector: self.byte_order.u64(head.sector.to_bytes()),
            to_device: readable.part(HEAD, readable.len() - HEAD).map_err(short)?,
        })
    }

    /// Finds out what a request asks for. `to_driver` is its device-writable data, without the status; `many` is empty.
    #[inline]
    pub fn understand<'c>(
        &self,
        asked: &Asked<'c>,
        to_driver: Slices<'c>,
        many: &mut Vec<Request<'static>>,
    ) -> Result<Work<'c>, Failure> {
        let Asked {
            kind,
            sector,
            to_device,
        } = *asked;
        match kind {
            ReqType::IN => {
                let offset = self.offset(sector, to_driver.len() as u64)?;
                let into = to_driver;
                Ok(Work::One(Request::Read { offset, into }, into.len()))
            }
            ReqType::OUT => {
                self.refuse_read_only()?;
                let from = to_device;
                let offset = self.offset(sector, from.len() as u64)?;
                let stable = self.write_through();
                Ok(Work::One(Request::Write { offset, from, stable }, 0))
            }
            ReqType::FLUSH => Ok(Work::One(Request::Flush, 0)),
            // Section 5.2.6.3.
            ReqType::FLUSH_OUT if !self.features.contains(feature::VERSION_1) => {
                Ok(Work::One(Request::Flush, 0))
            }
            ReqType::SCSI_CMD | ReqType::SCSI_CMD_OUT if self.features.contains(features::SCSI) => {
                Ok(Work::Done(scsi::carry_out(self, to_device, to_driver)?))
            }
            ReqType::GET_ID => {
                let id = &self.serial[..to_driver.len().min(ID_BYTES)];
                to_driver.write(0, id).map_err(short)?;
                Ok(Work::Done(id.len()))
            }
            ReqType::GET_LIFETIME if self.features.contains(features::LIFETIME) => {
                let lifetime = self.lifetime(to_driver.len());
                to_driver.write(0, &lifetime).map_err(short)?;
                Ok(Work::Done(lifetime.len()))
            }
            ReqType::DISCARD if self.features.contains(features::DISCARD) => {
                let limits = Limits {
                    flags: DiscardWriteZeroesFlags::NONE,
                    ..self.discard
                };
                let request = |offset, length, _| Request::Discard { offset, length };
                self.ranges(to_device, limits, request, many)
            }
            ReqType::WRITE_ZEROES if self.features.contains(features::WRITE_ZEROES) => {
                let stable = self.write_through();
                let request = |offset, length, flags: DiscardWriteZeroesFlags| Request::WriteZeroes {
                    offset,
                    length,
                    unmap: self.may_unmap && flags.contains(DiscardWriteZeroesFlags::UNMAP),
                    stable,
                };
                self.ranges(to_device, self.discard, request, many)
            }
            ReqType::SECURE_ERASE if self.features.contains(features::SECURE_ERASE) => {
                let stable = self.write_through();
                let request = |offset, length, _| Request::WriteZeroes {
                    offset,
                    length,
                    unmap: false,
                    stable,
                };
                self.ranges(to_device, self.erase, request, many)
            }
            // Also the requests of zones, where there are none (dev:blk:device-operation:16).
            _ => Err(Failure::Unsupported),
        }
    }

    /// Where in the backend a transfer of `length` bytes from `sector` on begins.
    pub fn offset(&self, sector: u64, length: u64) -> Result<u64, Failure> {
        if !length.is_multiple_of(SECTOR_SIZE) {
            return Err(Failure::Refused("its data is no multiple of 512 bytes"));
        }
        let offset = sector.checked_mul(SECTOR_SIZE);
        offset
            .filter(|offset| offset.checked_add(length).is_some_and(|end| end <= self.capacity))
            .ok_or(Failure::Refused("it goes beyond the capacity"))
    }

    /// Checks all ranges of a request, then makes a `request` of each that is not empty.
    fn ranges<'c>(
        &self,
        data: Slices<'_>,
        limits: Limits,
        request: impl Fn(u64, u64, DiscardWriteZeroesFlags) -> Request<'static>,
        many: &mut Vec<Request<'static>>,
    ) -> Result<Work<'c>, Failure> {
        self.each_range(data, limits, |sector, sectors, flags| {
            many.push(request(sector * SECTOR_SIZE, sectors * SECTOR_SIZE, flags));
        })?;
        many.reverse();
        Ok(Work::Many)
    }

    /// Checks all ranges of a request, and gives `take` each that is not empty: its first sector, its number of sectors and
    /// its flags. What `take` was given before an error is not to be used.
    pub fn each_range(
        &self,
        data: Slices<'_>,
        limits: Limits,
        mut take: impl FnMut(u64, u64, DiscardWriteZeroesFlags),
    ) -> Result<(), Failure> {
        const RANGE: usize = size_of::<DiscardWriteZeroes>();
        self.refuse_read_only()?;
        let count = data.len() / RANGE;
        if !data.len().is_multiple_of(RANGE) || count > limits.ranges as usize {
            return Err(Failure::Refused(
                "its data is not an array of as many ranges as there may be",
            ));
        }
        let mut data = data.reader();
        for _ in 0..count {
            let bytes: [u8; RANGE] = data.read_array().map_err(short)?;
            let range = DiscardWriteZeroes::read_from_bytes(&bytes).map_err(short)?;
            let flags = DiscardWriteZeroesFlags(self.byte_order.u32(range.flags.to_bytes()));
            // Also: discard does not know UNMAP (dev:blk:device-operation:04, dev:blk:device-operation:05).
            if !flags.without(limits.flags).is_empty() {
                return Err(Failure::Unsupported);
            }
            let sectors = self.byte_order.u32(range.num_sectors.to_bytes());
            if sectors > limits.sectors {
                return Err(Failure::Refused("a range is larger than the device allows"));
            }
            let sector = self.byte_order.u64(range.sector.to_bytes());
            self.offset(sector, u64::from(sectors) * SECTOR_SIZE)?;
            if sectors != 0 {
                take(sector, sectors.into(), flags);
            }
        }
        Ok(())
    }

    /// As much of the storage's wear as there is `room` for. Reserved values, if the storage gives any, are not passed on
    /// (`dev:blk:device-operation:15`).
    fn lifetime(&self, room: usize) -> Vec<u8> {
        let Lifetime {
            pre_eol_info,
            type_a,
            type_b,
        } = self.lifetime.unwrap_or_default();
        let known = |value: u16, most: u16| if value > most { 0 } else { value };
        let fields = [
            known(pre_eol_info.0, spec::PreEolInfo::URGENT.0),
            known(type_a, spec::LIFETIME_EXCEEDED),
            known(type_b, spec::LIFETIME_EXCEEDED),
        ];
        let bytes = fields.into_iter().flat_map(|field| match self.byte_order {
            ByteOrder::Little => field.to_le_bytes(),
            ByteOrder::Big => field.to_be_bytes(),
        });
        bytes.take(room).collect()
    }

    /// A write request on a read-only disk fails and writes nothing (`dev:blk:device-operation:03`).
    pub fn refuse_read_only(&self) -> Result<(), Failure> {
        match self.read_only {
            true => Err(Failure::Refused("the disk is read-only")),
            false => Ok(()),
        }
    }
}

fn short<E>(_: E) -> Failure {
    Failure::Refused("its data is short")
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
