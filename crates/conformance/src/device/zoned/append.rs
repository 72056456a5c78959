//! Appends to zones (section 5.2.6.2).

use ringwright_spec::Features;
use ringwright_spec::block::zoned::ZoneType;
use ringwright_spec::block::{ReqType, SECTOR_SIZE, Status};

use super::super::block::request;
use super::disk::{Disk, MAX_APPEND_SECTORS, check, number, ok};
use super::mutants::{answered, answering, feign, saying};
use super::operation::INVALID;
use crate::check::{Check, Ended, Outcome};
use crate::probe::{Probe, holds};
use crate::subject::ZONE_SECTORS;

pub(in super::super) const CHECKS: &[Check] = &[
    check(
        "zoned.append-conventional",
        &["dev:blk:device-operation:18"],
        (
            "Appends to a zone that need not be written in order.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        append_conventional,
        &[answering(
            "an append to a conventional zone is an error of input and output",
            "dev:blk:device-operation:18",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::ZONE_APPEND) && answered.zone() == 0;
                    wrong.then_some(Status::IOERR)
                })
            },
        )],
    ),
    check(
        "zoned.append-inside",
        &["dev:blk:device-operation:25"],
        (
            "Appends with a sector that is not the first one of its zone.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        append_inside,
        &[answering(
            "an append can name any sector of its zone",
            "dev:blk:device-operation:25",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::ZONE_APPEND)
                        && !answered.sector.is_multiple_of(ZONE_SECTORS);
                    wrong.then_some(Status::OK)
                })
            },
        )],
    ),
    check(
        "zoned.append-beyond",
        &["dev:blk:device-operation:26"],
        (
            "Fills a zone but for the least write, and appends twice that.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        append_beyond,
        &[answering(
            "an append without room is an error of input and output",
            "dev:blk:device-operation:26",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::ZONE_APPEND)
                        && answered.in_order()
                        && answered.sectors == 2;
                    wrong.then_some(Status::IOERR)
                })
            },
        )],
    ),
    check(
        "zoned.append-sector",
        &["dev:blk:device-operation:27"],
        (
            "Appends to a zone twice, and reads append_sector.",
            "It is not the sector that the data are at.",
        ),
        append_sector,
        &[answering(
            "append_sector is the sector behind the data",
            "dev:blk:device-operation:27",
            |life, queue| {
                if let Some((answered, chain)) = answered(life, queue)
                    && answered.kind == ReqType::ZONE_APPEND
                    && let [_, _, place, _] = &chain[..]
                {
                    let sector = u64::from_le_bytes(life.read(place.address));
                    life.write(place.address, &(sector + 1).to_le_bytes());
                }
            },
        )],
    ),
    check(
        "zoned.append-unsupported",
        &["dev:blk:device-operation:28"],
        (
            "Appends to a zone of a disk whose max_append_sectors is 0.",
            "The status is not VIRTIO_BLK_S_UNSUPP.",
        ),
        append_unsupported,
        &[saying(
            "appends are done, and max_append_sectors is 0",
            "dev:blk:device-operation:28",
            |_, offset, data| {
                if offset == MAX_APPEND_SECTORS {
                    data.fill(0);
                }
            },
        )],
    ),
    check(
        "zoned.append-too-long",
        &["dev:blk:device-operation:29"],
        (
            "Appends more than max_append_sectors to an empty zone.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        append_too_long,
        &[answering(
            "an append that is too long is an error of input and output",
            "dev:blk:device-operation:29",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::ZONE_APPEND) && answered.sectors > 16;
                    wrong.then_some(Status::IOERR)
                })
            },
        )],
    ),
];

fn append_conventional(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    disk.most_appended(probe)?;
    let granularity = disk.granularity(probe)?;
    let zone = disk.zone("conventional", |zone| zone.z_type == ZoneType::CONV.0)?;
    let append = (ReqType::ZONE_APPEND, zone);
    disk.refused(
        probe,
        "dev:blk:device-operation:18",
        (append, granularity),
        INVALID,
    )
}

fn append_inside(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    disk.most_appended(probe)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let append = (ReqType::ZONE_APPEND, zone + granularity);
    disk.refused(
        probe,
        "dev:blk:device-operation:25",
        (append, granularity),
        INVALID,
    )
}

fn append_beyond(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let most = disk.most_appended(probe)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let capacity = disk.empty()[0].z_cap.get();
    if most < 2 * granularity || capacity < 2 * granularity {
        return Err(Ended::NotApplicable("its appends or zones are too short".into()));
    }
    disk.done(probe, (ReqType::OUT, zone), capacity - granularity)?;
    let append = (ReqType::ZONE_APPEND, zone);
    disk.refused(
        probe,
        "dev:blk:device-operation:26",
        (append, 2 * granularity),
        INVALID,
    )
}

fn append_sector(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    disk.most_appended(probe)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let data = vec![0x5a; (granularity * SECTOR_SIZE) as usize];
    for expected in [zone, zone + granularity] {
        let append = (ReqType::ZONE_APPEND, zone);
        let (status, sector) = request(probe, &mut disk.live, append, &data, 8)?;
        ok(status, "an append")?;
        let sector = sector
            .try_into()
            .map_or(0, |bytes: [u8; 8]| u64::from_le_bytes(bytes));
        holds(sector == expected, "dev:blk:device-operation:27", || {
            format!("append_sector is {sector}, and the write pointer was at {expected}")
        })?;
    }
    Ok(())
}

fn append_unsupported(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    if number(probe, MAX_APPEND_SECTORS)? != 0 {
        return Err(Ended::NotApplicable("there are appends".into()));
    }
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let append = (ReqType::ZONE_APPEND, zone);
    disk.refused(
        probe,
        "dev:blk:device-operation:28",
        (append, granularity),
        &[Status::UNSUPP],
    )
}

fn append_too_long(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let most = disk.most_appended(probe)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let append = (ReqType::ZONE_APPEND, zone);
    let sectors = most - most % granularity + granularity;
    disk.refused(probe, "dev:blk:device-operation:29", (append, sectors), INVALID)
}
