//! A zoned disk under a check.

use std::mem::offset_of;

use ringwright_memory::Width;
use ringwright_spec::block::features::ZONED;
use ringwright_spec::block::zoned::{Characteristics, Model, ZoneDescriptor, ZoneState, ZoneType};
use ringwright_spec::block::{Config, ReqType, SECTOR_SIZE, Status};
use ringwright_spec::{Features, block};
use zerocopy::FromBytes;

use super::super::block::request;
use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::Mutant;
use crate::probe::{Probe, holds};

/// Zones that are looked at; there may be more.
const ZONES: usize = 64;

/// Most sectors of a request here.
const MOST: u64 = 2048;

/// Where the fields of `zoned` are in the configuration space.
pub(super) const ZONE_SECTORS: usize = at(offset_of!(Characteristics, zone_sectors));
pub(super) const MAX_OPEN_ZONES: usize = at(offset_of!(Characteristics, max_open_zones));
pub(super) const MAX_ACTIVE_ZONES: usize = at(offset_of!(Characteristics, max_active_zones));
pub(super) const MAX_APPEND_SECTORS: usize = at(offset_of!(Characteristics, max_append_sectors));
pub(super) const WRITE_GRANULARITY: usize = at(offset_of!(Characteristics, write_granularity));
pub(super) const MODEL: usize = at(offset_of!(Characteristics, model));
pub(super) const UNUSED_2: usize = at(offset_of!(Characteristics, unused2));

const fn at(offset: usize) -> usize {
    offset_of!(Config, zoned) + offset
}

/// A live zoned disk, all of whose zones were reset that can be.
pub(super) struct Disk {
    pub live: Live,
    pub model: Model,
    /// The first zones.
    pub zones: Vec<ZoneDescriptor>,
}

/// A check of zoned disks.
pub(super) const fn check(
    name: &'static str,
    clauses: &'static [&'static str],
    (does, violation): (&'static str, &'static str),
    run: fn(&mut Probe) -> Outcome,
    mutants: &'static [Mutant],
) -> Check {
    Check {
        name,
        clauses,
        does,
        violation,
        needs: Needs::device(block::DEVICE.id, ZONED),
        run,
        mutants,
    }
}

impl Disk {
    /// Brings the disk up with these features as well. Ends the check if it has no zones.
    pub fn open(probe: &mut Probe, features: Features) -> Outcome<Self> {
        let live = probe.go_live(features | ZONED)?;
        let mut model = [0];
        probe.transport().read_config(MODEL, Width::One, &mut model)?;
        let model = Model(model[0]);
        if !matches!(model, Model::HM | Model::HA) {
            return Err(Ended::NotApplicable(format!("its zone model is {model:?}")));
        }
        let mut disk = Self {
            live,
            model,
            zones: Vec::new(),
        };
        let status = disk.ask(probe, (ReqType::ZONE_RESET_ALL, 0), 0)?;
        ok(status, "the reset of all zones")?;
        disk.zones = disk.report(probe)?;
        match disk.zones.len() {
            0 | 1 => Err(Ended::NotApplicable("it has only one zone".into())),
            _ => Ok(disk),
        }
    }

    /// The descriptors of the first zones.
    pub fn report(&mut self, probe: &mut Probe) -> Outcome<Vec<ZoneDescriptor>> {
        let size = size_of::<ZoneDescriptor>();
        let (status, bytes) = request(
            probe,
            &mut self.live,
            (ReqType::ZONE_REPORT, 0),
            &[],
            64 + ZONES * size,
        )?;
        ok(status, "a report of zones")?;
        let mut count = [0; 8];
        count.copy_from_slice(&bytes[..8]);
        let count = u64::from_le_bytes(count).min(ZONES as u64) as usize;
        let zones = bytes[64..].chunks(size).take(count);
        Ok(zones
            .filter_map(|bytes| ZoneDescriptor::read_from_bytes(bytes).ok())
            .collect())
    }

    /// Sectors from one zone to the next.
    pub fn zone_sectors(&self) -> u64 {
        // There are two zones at least.
        self.zones[1]
            .z_start
            .get()
            .wrapping_sub(self.zones[0].z_start.get())
    }

    /// The beginning of a zone that is like that.
    pub fn zone(&self, what: &str, fits: impl Fn(&ZoneDescriptor) -> bool) -> Outcome<u64> {
        let zone = self.zones.iter().find(|zone| fits(zone));
        let zone = zone.ok_or_else(|| Ended::NotApplicable(format!("it has no {what} zone")))?;
        Ok(zone.z_start.get())
    }

    /// The beginning of a zone in this state.
    pub fn zone_in(&self, what: &str, state: ZoneState) -> Outcome<u64> {
        self.zone(what, |zone| zone.z_state == state.0)
    }

    /// The empty zones that have to be written in order.
    pub fn empty(&self) -> Vec<ZoneDescriptor> {
        let empty =
            |zone: &&ZoneDescriptor| zone.z_type == ZoneType::SWR.0 && zone.z_state == ZoneState::EMPTY.0;
        self.zones.iter().filter(empty).copied().collect()
    }

    /// The first two empty zones that have to be written in order; their beginnings.
    pub fn two_empty(&self) -> Outcome<[u64; 2]> {
        match self.empty()[..] {
            [first, second, ..] => Ok([first.z_start.get(), second.z_start.get()]),
            _ => Err(Ended::NotApplicable(
                "it has no two empty zones to be written in order".into(),
            )),
        }
    }

    /// Sectors of the least write to a zone.
    pub fn granularity(&self, probe: &mut Probe) -> Outcome<u64> {
        let bytes = u64::from(number(probe, WRITE_GRANULARITY)?);
        Ok(bytes.div_ceil(SECTOR_SIZE).max(1))
    }

    /// Most sectors of an append. Ends the check if there is none.
    pub fn most_appended(&self, probe: &mut Probe) -> Outcome<u64> {
        match number(probe, MAX_APPEND_SECTORS)? {
            0 => Err(Ended::NotApplicable("there are no appends".into())),
            sectors => Ok(sectors.into()),
        }
    }

    /// Makes a request with as many sectors of data; those of a write are 0x5a.
    pub fn ask(&mut self, probe: &mut Probe, asked: (ReqType, u64), sectors: u64) -> Outcome<Status> {
        if sectors > MOST {
            return Err(Ended::NotApplicable(format!(
                "a request of {sectors} sectors is too long for this check"
            )));
        }
        let bytes = (sectors * SECTOR_SIZE) as usize;
        let (to_device, to_driver) = match asked.0 {
            ReqType::IN => (0, bytes),
            ReqType::ZONE_APPEND => (bytes, 8),
            _ => (bytes, 0),
        };
        let (status, _) = request(probe, &mut self.live, asked, &vec![0x5a; to_device], to_driver)?;
        Ok(status)
    }

    /// Makes a request, which must not fail for reasons that the clause is not about.
    pub fn done(&mut self, probe: &mut Probe, asked: (ReqType, u64), sectors: u64) -> Outcome {
        let status = self.ask(probe, asked, sectors)?;
        ok(status, &format!("{:?} at {}", asked.0, asked.1))
    }

    /// Makes a request, which has to have one of these answers.
    pub fn refused(
        &mut self,
        probe: &mut Probe,
        clause: &'static str,
        (asked, sectors): ((ReqType, u64), u64),
        answers: &[Status],
    ) -> Outcome {
        let status = self.ask(probe, asked, sectors)?;
        holds(answers.contains(&status), clause, || {
            format!(
                "{:?} at {} with {sectors} sectors of data has status {status:?}, not {answers:?}",
                asked.0, asked.1
            )
        })
    }
}

/// A field of 32 bits of the configuration space.
pub(super) fn number(probe: &mut Probe, offset: usize) -> Outcome<u32> {
    let mut bytes = [0; 4];
    probe.transport().read_config(offset, Width::Four, &mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

pub(super) fn ok(status: Status, what: &str) -> Outcome {
    match status {
        Status::OK => Ok(()),
        other => Err(Ended::Inconclusive(format!("{what} has status {other:?}"))),
    }
}
