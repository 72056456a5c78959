//! Limits of open and active zones.

use ringwright_spec::Features;
use ringwright_spec::block::zoned::ZoneState;
use ringwright_spec::block::{ReqType, Status};

use super::disk::{Disk, MAX_ACTIVE_ZONES, MAX_OPEN_ZONES, check, number};
use super::mutants::{answering, feign, saying};
use crate::check::{Check, Ended, Outcome};
use crate::probe::{Probe, holds};

/// What a disk without room for another open or active zone answers.
const EXHAUSTED: &[Status] = &[Status::ZONE_OPEN_RESOURCE, Status::ZONE_ACTIVE_RESOURCE];

pub(in super::super) const CHECKS: &[Check] = &[
    check(
        "zoned.most-open",
        &["dev:blk:device-initialization:11"],
        (
            "Opens empty zones until that is refused.",
            "There are then not max_open_zones of them, or max_active_zones if these are fewer.",
        ),
        most_open,
        &[saying(
            "max_open_zones is one too many",
            "dev:blk:device-initialization:11",
            |_, offset, data| {
                if offset == MAX_OPEN_ZONES {
                    data[0] += 1;
                }
            },
        )],
    ),
    check(
        "zoned.most-active",
        &["dev:blk:device-initialization:12"],
        (
            "Writes to empty zones and closes them, until that is refused.",
            "There are then not max_active_zones of them.",
        ),
        most_active,
        &[saying(
            "max_active_zones is one too many",
            "dev:blk:device-initialization:12",
            |_, offset, data| {
                if offset == MAX_ACTIVE_ZONES {
                    data[0] += 1;
                }
            },
        )],
    ),
    check(
        "zoned.open-exhausted",
        &["dev:blk:device-operation:20"],
        (
            "Opens empty zones until there are too many.",
            "The status is not one of the two for that, or the zone's state changes.",
        ),
        open_exhausted,
        &[answering(
            "too many open zones are an invalid command",
            "dev:blk:device-operation:20",
            |life, queue| {
                feign(life, queue, |answered| {
                    let exhausted = answered.exhausted(ReqType::ZONE_OPEN);
                    exhausted.then_some(Status::ZONE_INVALID_CMD)
                })
            },
        )],
    ),
    check(
        "zoned.write-exhausted",
        &["dev:blk:device-operation:24"],
        (
            "Writes to an empty zone when as many are explicitly open as can be.",
            "The status is not one of the two for that.",
        ),
        write_exhausted,
        &[answering(
            "a write with too many open zones is an error of input and output",
            "dev:blk:device-operation:24",
            |life, queue| {
                feign(life, queue, |answered| {
                    let exhausted = answered.exhausted(ReqType::OUT);
                    exhausted.then_some(Status::IOERR)
                })
            },
        )],
    ),
];

/// Opens empty zones until that is refused. How many are open, and the one that is not, with the status.
fn open_all(probe: &mut Probe, disk: &mut Disk) -> Outcome<(usize, u64, Status)> {
    for (count, zone) in disk.empty().iter().enumerate() {
        let zone = zone.z_start.get();
        match disk.ask(probe, (ReqType::ZONE_OPEN, zone), 0)? {
            Status::OK => {}
            status => return Ok((count, zone, status)),
        }
    }
    Err(Ended::NotApplicable(
        "all of the zones that were looked at can be open at once".into(),
    ))
}

fn most_open(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let limits = [number(probe, MAX_OPEN_ZONES)?, number(probe, MAX_ACTIVE_ZONES)?];
    let (count, _, status) = open_all(probe, &mut disk)?;
    let limit = limits.iter().filter(|limit| **limit != 0).min();
    holds(
        limit.is_some_and(|limit| *limit as usize == count),
        "dev:blk:device-initialization:11",
        || {
            format!(
                "{count} zones are open, the next one has status {status:?}; max_open_zones is {}, max_active_zones {}",
                limits[0], limits[1]
            )
        },
    )
}

fn most_active(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let limit = number(probe, MAX_ACTIVE_ZONES)? as usize;
    let granularity = disk.granularity(probe)?;
    for (count, zone) in disk.empty().iter().enumerate() {
        let zone = zone.z_start.get();
        let status = disk.ask(probe, (ReqType::OUT, zone), granularity)?;
        if status != Status::OK {
            return holds(count == limit, "dev:blk:device-initialization:12", || {
                format!(
                    "{count} zones are active, the next one has status {status:?}; max_active_zones is {limit}"
                )
            });
        }
        disk.done(probe, (ReqType::ZONE_CLOSE, zone), 0)?;
    }
    Err(Ended::NotApplicable(
        "all of the zones that were looked at can be active at once".into(),
    ))
}

fn open_exhausted(probe: &mut Probe) -> Outcome {
    let clause = "dev:blk:device-operation:20";
    let mut disk = Disk::open(probe, Features::NONE)?;
    let (count, zone, status) = open_all(probe, &mut disk)?;
    holds(EXHAUSTED.contains(&status), clause, || {
        format!("{count} zones are open, and opening another one has status {status:?}")
    })?;
    let zones = disk.report(probe)?;
    let other = zones
        .iter()
        .find(|other| other.z_start == zone && other.z_state != ZoneState::EMPTY.0);
    holds(other.is_none(), clause, || {
        format!("an empty zone that was not opened is now {other:?}")
    })
}

fn write_exhausted(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let granularity = disk.granularity(probe)?;
    let (_, zone, _) = open_all(probe, &mut disk)?;
    let write = (ReqType::OUT, zone);
    disk.refused(
        probe,
        "dev:blk:device-operation:24",
        (write, granularity),
        EXHAUSTED,
    )
}
