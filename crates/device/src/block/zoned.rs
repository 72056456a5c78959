//! The requests of a zoned disk (section 5.2.6): what [`Zones`] admits is carried out on the content.
//!
//! They are carried out one after the other on each queue, because a write is where its zone's write pointer is only after
//! the one before it. The zones are locked while they are looked at and changed, not while data are transferred. What they
//! become is written down before the data, with the request that it is for, so that none has its effect twice when another
//! process is given it once more.

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
use super::zone_file::{Chain, ZoneFile};
use super::zone_journal::{Effect, Stage};
use super::zones::{Piece, Shape, Zone, Zones};

/// Carries a request to the backend out, however long that takes.
pub(super) type Perform<'a> = dyn FnMut(Request<'_>) -> io::Result<()> + 'a;

/// A request to a zoned disk.
#[derive(Clone, Copy)]
pub(super) struct Given<'a> {
    pub terms: &'a Terms,
    pub asked: Asked<'a>,
    pub chain: Chain,
}

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
        let kept = match &self.file {
            Some(file) if done => file.put_from_outside(index, zone),
            _ => Ok(()),
        };
        zones.take_changed().for_each(drop);
        if let Err(error) = kept {
            tracing::warn!(%error, "the state of zone {index} is not kept");
        }
        done
    }

    /// The zones.
    pub fn zones(&self) -> MutexGuard<'_, Zones> {
        self.zones.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The driver has the answers to everything that was taken from `queue` before.
    pub fn begin(&self, queue: u16) {
        if let Some(file) = &self.file {
            file.begin(queue);
        }
    }

    /// Carries out a request; `None` if zones make no difference to it.
    pub fn carry_out(
        &self,
        given: &Given<'_>,
        to_driver: Slices<'_>,
        perform: &mut Perform<'_>,
    ) -> Option<Outcome> {
        let Given { terms, asked, .. } = given;
        let outcome = match asked.kind {
            ReqType::IN => self.read(given, to_driver, perform),
            ReqType::OUT => self.write(given, perform),
            ReqType::FLUSH => self.flush(perform),
            ReqType::SECURE_ERASE if terms.features.contains(features::SECURE_ERASE) => {
                self.erase(given, perform)
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
                self.manage(given, to_driver, perform)
            }
            _ => return None,
        };
        Some(outcome.map_err(|failure| in_terms(failure, terms.features)))
    }

    fn read(&self, given: &Given<'_>, into: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        let sector = given.asked.sector;
        let mut offset = given.terms.offset(sector, into.len() as u64)?;
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

    fn write(&self, given: &Given<'_>, perform: &mut Perform<'_>) -> Outcome {
        let Asked {
            sector, to_device, ..
        } = given.asked;
        given.terms.refuse_read_only()?;
        given.terms.offset(sector, to_device.len() as u64)?;
        let sectors = to_device.len() as u64 / SECTOR_SIZE;
        if sectors == 0 {
            return Ok(0);
        }
        self.transfer(given, perform, |zones| {
            zones.write(sector, sectors)?;
            Ok(sector)
        })?;
        Ok(0)
    }

    fn append(&self, given: &Given<'_>, to_driver: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        /// The sector comes before the status, which is not among this data.
        const SECTOR: usize = size_of::<ReqZaTail>() - 1;
        given.terms.refuse_read_only()?;
        let Some(place) = to_driver.len().checked_sub(SECTOR) else {
            return Err(Failure::Refused("an append without room for its sector"));
        };
        let from = given.asked.to_device;
        if !(from.len() as u64).is_multiple_of(SECTOR_SIZE) {
            return Err(Failure::Refused("its data is no multiple of 512 bytes"));
        }
        let sector = self.transfer(given, perform, |zones| {
            zones.append(given.asked.sector, from.len() as u64 / SECTOR_SIZE)
        })?;
        // dev:blk:device-operation:27
        to_driver.fill(0, place, 0).map_err(short)?;
        to_driver.write(place, &sector.to_le_bytes()).map_err(short)?;
        Ok(to_driver.len())
    }

    /// Writes the data of a request to the sector that `admit` finds for them, and gives that. If the process before this one
    /// has found one, it is that, and if it has written them, nothing is left to be done.
    fn transfer(
        &self,
        given: &Given<'_>,
        perform: &mut Perform<'_>,
        admit: impl FnOnce(&mut Zones) -> Result<u64, Status>,
    ) -> Result<u64, Failure> {
        let from = given.asked.to_device;
        let sectors = from.len() as u64 / SECTOR_SIZE;
        let (sector, stage) = match self.effect(given.chain)? {
            Some(Effect { sector, stage, .. }) => (sector, stage),
            None => {
                let mut zones = self.zones();
                let sector = admit(&mut zones)?;
                if let Err(error) = self.record(&mut zones, given.chain, sector, Stage::Begun) {
                    zones.retract(sector, sectors);
                    return Err(error.into());
                }
                (sector, Stage::Begun)
            }
        };
        let stable = given.terms.write_through();
        if stage == Stage::Begun {
            let offset = given.terms.offset(sector, from.len() as u64)?;
            if let Err(error) = perform(Request::Write { offset, from, stable }) {
                let mut zones = self.zones();
                zones.retract(sector, sectors);
                self.record(&mut zones, given.chain, sector, Stage::Undone)?;
                return Err(error.into());
            }
            if let Some(file) = &self.file {
                file.finish(given.chain)?;
            }
        } else if stable {
            perform(Request::Flush)?;
        }
        if stable {
            self.flush_file()?;
        }
        Ok(sector)
    }

    /// What is about zones alone.
    fn manage(&self, given: &Given<'_>, to_driver: Slices<'_>, perform: &mut Perform<'_>) -> Outcome {
        let sector = given.asked.sector;
        match given.asked.kind {
            ReqType::ZONE_REPORT => return self.report(sector, to_driver),
            ReqType::ZONE_APPEND => return self.append(given, to_driver, perform),
            _ => given.terms.refuse_read_only()?,
        }
        if self.effect(given.chain)?.is_none() {
            let mut zones = self.zones();
            let mut unneeded = Vec::new();
            match given.asked.kind {
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
            self.record(&mut zones, given.chain, sector, Stage::Done)?;
            // Nobody writes to the zones meanwhile.
            for sectors in unneeded {
                // Nobody is hurt if they stay.
                if let Err(error) = deallocate(sectors, true, perform) {
                    tracing::debug!(%error, "the sectors of a zone that was reset stay allocated");
                }
            }
        }
        if given.terms.write_through() {
            self.flush_file()?;
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
    fn erase(&self, given: &Given<'_>, perform: &mut Perform<'_>) -> Outcome {
        let terms = given.terms;
        let mut ranges = Vec::new();
        terms.each_range(given.asked.to_device, terms.erase, |sector, sectors, _| {
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
        if self.effect(given.chain)?.is_none() {
            // Nobody writes to the zones meanwhile.
            let mut zones = self.zones();
            let zone_starts = ranges
                .into_iter()
                .flat_map(|(sector, sectors)| (sector..sector + sectors).step_by(zone as usize));
            for first in zone_starts {
                let erased = zones.reset(first)?;
                deallocate(erased, false, perform)?;
            }
            self.record(&mut zones, given.chain, 0, Stage::Done)?;
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

    /// What a request had done when the process before this one ended.
    pub fn effect(&self, chain: Chain) -> io::Result<Option<Effect>> {
        self.file.as_ref().map_or(Ok(None), |file| file.effect(chain))
    }

    /// Writes down what has changed by a request.
    fn record(&self, zones: &mut Zones, chain: Chain, sector: u64, stage: Stage) -> io::Result<()> {
        let changed: Vec<(usize, Zone)> = zones.take_changed().collect();
        match &self.file {
            Some(file) => file.record(chain, &changed, sector, stage),
            None => Ok(()),
        }
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
