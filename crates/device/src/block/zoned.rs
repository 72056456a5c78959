//! The requests of a zoned disk (section 5.2.6): what [`Zones`] admits is carried out on the content.
//!
//! They are carried out one after the other on each queue, because a write is where its zone's write pointer is only after
//! the one before it. The zones are locked while they are looked at and changed, not while data are transferred.

use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use ringwright_memory::Slices;
use ringwright_spec::Features;
use ringwright_spec::block::zoned::{ReqZaTail, ZoneDescriptor, ZoneReport};
use ringwright_spec::block::{ReqType, SECTOR_SIZE, Status, features};
use zerocopy::IntoBytes;

use super::backend::Request;
use super::request::{Asked, Failure, Outcome, Terms};
use super::zone_file::ZoneFile;
use super::zones::{Piece, Shape, Zone, Zones};

/// Carries a request to the backend out, however long that takes.
pub(super) type Perform<'a> = dyn FnMut(Request<'_>) -> io::Result<()> + 'a;

/// The zones of a disk, shared by its queues.
#[derive(Debug)]
pub(super) struct ZonedDisk {
    zones: Mutex<Zones>,
    file: Option<ZoneFile>,
}

impl ZonedDisk {
    pub fn new(zones: Zones, file: Option<ZoneFile>) -> Self {
        Self {
            zones: Mutex::new(zones),
            file,
        }
    }

    /// How the disk is divided.
    pub fn shape(&self) -> Shape {
        *self.zones().shape()
    }

    /// Changes a zone from outside, as [`Zones::put`], for the next process as well. `false` if it cannot be so.
    pub fn put(&self, index: usize, zone: Zone) -> bool {
        let mut zones = self.zones();
        let done = zones.put(index, zone).is_some();
        if let Err(error) = self.keep(&mut zones) {
            tracing::warn!(%error, "the state of zone {index} is not kept");
        }
        done
    }

    fn zones(&self) -> MutexGuard<'_, Zones> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Carries out a request; `None` if zones make no difference to it.
    pub fn carry_out(
        &self,
        terms: &Terms,
        asked: &Asked<'_>,
        to_driver: Slices<'_>,
        perform: &mut Perform<'_>,
    ) -> Option<Outcome> {
        let Asked {
            kind,
            sector,
            to_device,
        } = *asked;
        let outcome = match kind {
            ReqType::IN => self.read(terms, sector, to_driver, perform),
            ReqType::OUT => self.write(terms, sector, to_device, perform),
            ReqType::FLUSH => self.flush(perform),
            ReqType::SECURE_ERASE if terms.features.contains(features::SECURE_ERASE) => {
                self.erase(terms, to_device, perform)
            }
            ReqType::ZONE_APPEND
            | ReqType::ZONE_REPORT
            | ReqType::ZONE_OPEN
            | ReqType::ZONE_CLOSE
            | ReqType::ZONE_FINISH
            | ReqType::ZONE_RESET
            | ReqType::ZONE_RESET_ALL
                if terms.features.contains(features::ZONED) =>
            {
                self.manage(terms, asked, to_driver, perform)
            }
            _ => return None,
        };
        Some(outcome.map_err(|failure| in_terms(failure, terms.features)))
    }

    fn read(&self, terms: &Terms, sector: u64, into: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        let mut offset = terms.offset(sector, into.len() as u64)?;
        let sectors = into.len() as u64 / SECTOR_SIZE;
        if sectors == 0 {
            return Ok(0);
        }
        let pieces: Vec<Piece> = self.zones().read(sector, sectors)?.collect();
        let mut at = 0;
        for Piece { sectors, written } in pieces {
            let bytes = sectors * SECTOR_SIZE;
            let length = bytes as usize;
            match written {
                true => {
                    let into = into.part(at, length).map_err(short)?;
                    perform(Request::Read { offset, into })?;
                }
                // dev:blk:device-operation:36: the pattern is zeroes.
                false => into.fill(at, length, 0).map_err(short)?,
            }
            at += length;
            offset += bytes;
        }
        Ok(at)
    }

    fn write(&self, terms: &Terms, sector: u64, from: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        terms.refuse_read_only()?;
        terms.offset(sector, from.len() as u64)?;
        let sectors = from.len() as u64 / SECTOR_SIZE;
        if sectors == 0 {
            return Ok(0);
        }
        self.zones().write(sector, sectors)?;
        self.transfer(terms, sector, from, perform)?;
        Ok(0)
    }

    fn append(
        &self,
        terms: &Terms,
        asked: &Asked<'_>,
        to_driver: Slices<'_>,
        perform: &mut Perform<'_>,
    ) -> Outcome {
        /// The sector comes before the status, which is not among this data.
        const SECTOR: usize = size_of::<ReqZaTail>() - 1;
        terms.refuse_read_only()?;
        let Some(place) = to_driver.len().checked_sub(SECTOR) else {
            return Err(Failure::Refused("an append without room for its sector"));
        };
        let from = asked.to_device;
        if !(from.len() as u64).is_multiple_of(SECTOR_SIZE) {
            return Err(Failure::Refused("its data is no multiple of 512 bytes"));
        }
        let sector = self
            .zones()
            .append(asked.sector, from.len() as u64 / SECTOR_SIZE)?;
        self.transfer(terms, sector, from, perform)?;
        // dev:blk:device-operation:27
        to_driver.fill(0, place, 0).map_err(short)?;
        to_driver.write(place, &sector.to_le_bytes()).map_err(short)?;
        Ok(to_driver.len())
    }

    /// Writes the data of a write that the zones have admitted; keeps what has become of them after that, so that a request
    /// that is repeated by another process finds the zone as it was.
    fn transfer(
        &self,
        terms: &Terms,
        sector: u64,
        from: Slices<'_>,
        perform: &mut Perform<'_>,
    ) -> Result<(), Failure> {
        let offset = sector * SECTOR_SIZE;
        let stable = terms.write_through();
        let result = perform(Request::Write { offset, from, stable });
        let mut zones = self.zones();
        if result.is_err() {
            zones.retract(sector, from.len() as u64 / SECTOR_SIZE);
        }
        self.keep(&mut zones)?;
        drop(zones);
        if stable && result.is_ok() {
            self.flush_file()?;
        }
        Ok(result?)
    }

    /// What is about zones alone.
    fn manage(
        &self,
        terms: &Terms,
        asked: &Asked<'_>,
        to_driver: Slices<'_>,
        perform: &mut Perform<'_>,
    ) -> Outcome {
        let sector = asked.sector;
        match asked.kind {
            ReqType::ZONE_REPORT => return self.report(sector, to_driver),
            ReqType::ZONE_APPEND => return self.append(terms, asked, to_driver, perform),
            _ => terms.refuse_read_only()?,
        }
        let mut zones = self.zones();
        let mut unneeded = Vec::new();
        match asked.kind {
            ReqType::ZONE_OPEN => zones.open(sector)?,
            ReqType::ZONE_CLOSE => zones.close(sector)?,
            ReqType::ZONE_FINISH => zones.finish(sector)?,
            ReqType::ZONE_RESET => unneeded.push(zones.reset(sector)?),
            // The zones that are in another state are left alone.
            _ => {
                let shape = *zones.shape();
                for index in 0..shape.count() {
                    if zones.can_be_reset(index) {
                        unneeded.push(zones.reset(shape.sectors(index).start)?);
                    }
                }
            }
        }
        self.keep(&mut zones)?;
        drop(zones);
        if terms.write_through() {
            self.flush_file()?;
        }
        for sectors in unneeded {
            // Nobody is hurt if they stay.
            if let Err(error) = deallocate(sectors, true, perform) {
                tracing::debug!(%error, "the sectors of a zone that was reset stay allocated");
            }
        }
        Ok(0)
    }

    fn report(&self, sector: u64, to_driver: Slices<'_>) -> Outcome {
        const HEAD: usize = size_of::<ZoneReport>();
        const ZONE: usize = size_of::<ZoneDescriptor>();
        let Some(room) = to_driver.len().checked_sub(HEAD) else {
            return Err(Failure::Zone(Status::ZONE_INVALID_CMD));
        };
        let zones = self.zones();
        let mut end = HEAD;
        for zone in zones.report(sector)?.take(room / ZONE) {
            to_driver.write(end, zone.as_bytes()).map_err(short)?;
            end += ZONE;
        }
        let head = ZoneReport {
            nr_zones: ((end - HEAD) as u64 / ZONE as u64).into(),
            reserved: [0; 56],
        };
        to_driver.write(0, head.as_bytes()).map_err(short)?;
        Ok(end)
    }

    /// A secure erasure resets its zones (`dev:blk:device-operation:39`), after their sectors have been overwritten.
    fn erase(&self, terms: &Terms, data: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        let mut ranges = Vec::new();
        terms.each_range(data, terms.erase, |sector, sectors, _| {
            ranges.push((sector, sectors))
        })?;
        let shape = self.shape();
        let zone = u64::from(shape.zone_sectors);
        // dev:blk:device-operation:38
        let whole = |number: u64| number.is_multiple_of(zone);
        let ragged = |(sector, sectors): &(u64, u64)| {
            !whole(*sector) || !(whole(*sectors) || sector + sectors == shape.capacity)
        };
        if ranges.iter().any(ragged) {
            return Err(Failure::Refused("a secure erasure is of whole zones"));
        }
        for (sector, sectors) in ranges {
            for first in (sector..sector + sectors).step_by(zone as usize) {
                let erased = self.zones().reset(first)?;
                deallocate(erased, false, perform)?;
                self.keep(&mut self.zones())?;
            }
        }
        if terms.write_through() {
            self.flush(perform)?;
        }
        Ok(0)
    }

    /// Data first: what the zones say is written then is.
    fn flush(&self, perform: &mut Perform<'_>) -> Outcome {
        perform(Request::Flush)?;
        self.flush_file()?;
        Ok(0)
    }

    fn flush_file(&self) -> io::Result<()> {
        self.file.as_ref().map_or(Ok(()), ZoneFile::flush)
    }

    /// Writes down what has changed.
    fn keep(&self, zones: &mut Zones) -> io::Result<()> {
        for (index, zone) in zones.take_changed() {
            if let Some(file) = &self.file {
                file.put(index, zone)?;
            }
        }
        Ok(())
    }
}

/// Makes sectors read as zeroes.
fn deallocate(sectors: Range<u64>, unmap: bool, perform: &mut Perform<'_>) -> io::Result<()> {
    if sectors.is_empty() {
        return Ok(());
    }
    perform(Request::WriteZeroes {
        offset: sectors.start * SECTOR_SIZE,
        length: (sectors.end - sectors.start) * SECTOR_SIZE,
        unmap,
        stable: false,
    })
}

/// A driver that knows nothing of zones is told nothing of them.
fn in_terms(failure: Failure, features: Features) -> Failure {
    match failure {
        Failure::Zone(_) if !features.contains(features::ZONED) => {
            Failure::Refused("a zone does not allow it")
        }
        failure => failure,
    }
}

fn short<E>(_: E) -> Failure {
    Failure::Refused("its data is short")
}

impl From<Status> for Failure {
    fn from(status: Status) -> Self {
        Self::Zone(status)
    }
}
