//! What a zoned disk says of itself.

use std::mem::offset_of;

use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::block::features::{SECURE_ERASE, SEG_MAX, SIZE_MAX, ZONED};
use ringwright_spec::block::zoned::{Characteristics, Model, ZoneType};
use ringwright_spec::block::{Config, ReqType, SECTOR_SIZE, Status};
use ringwright_spec::status::Status as DeviceStatus;

use super::disk::{
    Disk, MAX_APPEND_SECTORS, MODEL, UNUSED_2, WRITE_GRANULARITY, ZONE_SECTORS, check, number,
};
use super::mutants::{mutant, saying};
use crate::check::{Check, Ended, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

const ERASE_ALIGNMENT: usize = offset_of!(Config, secure_erase_sector_alignment);

pub(in super::super) const CHECKS: &[Check] = &[
    check(
        "zoned.not-accepted",
        &["dev:blk:device-initialization:06"],
        (
            "Initializes a disk that is not host-managed without VIRTIO_BLK_F_ZONED, and reads zoned.",
            "It is not all zeroes.",
        ),
        not_accepted,
        &[Mutant {
            name: "zones are described to a driver that does not know them",
            breaks: "dev:blk:device-initialization:06",
            lens: Lens {
                offered: Some(|_, offered| offered | ZONED),
                accepted: Some(|_, accepted| accepted - ZONED),
                config: Some(|_, offset, data| {
                    if offset == ZONE_SECTORS {
                        data[0] = 8;
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    ),
    check(
        "zoned.host-managed",
        &["dev:blk:device-initialization:07"],
        (
            "Initializes a host-managed disk without VIRTIO_BLK_F_ZONED.",
            "FEATURES_OK is set.",
        ),
        host_managed,
        &[Mutant {
            also: &["features.refused", "zoned.not-accepted"],
            ..mutant(
                "a host-managed disk takes any driver",
                "dev:blk:device-initialization:07",
                Lens {
                    status: Some(|life, status| match life.features.contains(ZONED) {
                        true => status,
                        false => status | (life.status & DeviceStatus::FEATURES_OK),
                    }),
                    ..Lens::CLEAR
                },
            )
        }],
    ),
    check(
        "zoned.model",
        &["dev:blk:device-initialization:08"],
        (
            "Reads the model, and a report of zones.",
            "The model has no meaning, or its zones are of the other one's type.",
        ),
        model,
        &[
            saying(
                "the zone model has no meaning",
                "dev:blk:device-initialization:08",
                |_, offset, data| {
                    if offset == MODEL {
                        data[0] = 7;
                    }
                },
            ),
            saying(
                "a host-managed disk says that it is host-aware",
                "dev:blk:device-initialization:08",
                |_, offset, data| {
                    if offset == MODEL {
                        data[0] = Model::HA.0;
                    }
                },
            ),
        ],
    ),
    check(
        "zoned.zone-size",
        &["dev:blk:device-initialization:09"],
        (
            "Compares zone_sectors with a report of zones.",
            "A zone but the last has another size.",
        ),
        zone_size,
        &[saying(
            "zone_sectors is half a zone",
            "dev:blk:device-initialization:09",
            |_, offset, data| {
                if offset == ZONE_SECTORS {
                    data[1] /= 2;
                }
            },
        )],
    ),
    check(
        "zoned.append-size",
        &["dev:blk:device-initialization:13"],
        ("Appends max_append_sectors to an empty zone.", "It is refused."),
        append_size,
        &[saying(
            "max_append_sectors is one too many",
            "dev:blk:device-initialization:13",
            |_, offset, data| {
                if offset == MAX_APPEND_SECTORS {
                    data[0] += 1;
                }
            },
        )],
    ),
    check(
        "zoned.append-limit",
        &["dev:blk:device-initialization:14"],
        (
            "Compares max_append_sectors with seg_max and size_max.",
            "It exceeds their product.",
        ),
        append_limit,
        &[saying(
            "size_max is too small for appends",
            "dev:blk:device-initialization:14",
            |_, offset, data| {
                if offset == offset_of!(Config, size_max) {
                    data.fill(0);
                }
            },
        )],
    ),
    check(
        "zoned.granularity",
        &["dev:blk:device-initialization:16"],
        (
            "Writes write_granularity bytes to an empty zone, and less than that.",
            "It is no number of sectors, the first write is refused, or the second one is not.",
        ),
        granularity,
        &[saying(
            "write_granularity is 0",
            "dev:blk:device-initialization:16",
            |_, offset, data| {
                if offset == WRITE_GRANULARITY {
                    data.fill(0);
                }
            },
        )],
    ),
    check(
        "zoned.padding",
        &["dev:blk:device-initialization:17"],
        ("Reads unused2.", "It is not 0."),
        padding,
        &[saying(
            "unused2 is 1",
            "dev:blk:device-initialization:17",
            |_, offset, data| {
                if offset == UNUSED_2 {
                    data[0] = 1;
                }
            },
        )],
    ),
    check(
        "zoned.erase-alignment",
        &["dev:blk:device-operation:37"],
        (
            "Compares secure_erase_sector_alignment with a report of zones.",
            "It is no multiple of a zone.",
        ),
        erase_alignment,
        &[saying(
            "secure_erase_sector_alignment is a sector",
            "dev:blk:device-operation:37",
            |_, offset, data| {
                if offset == ERASE_ALIGNMENT {
                    data.copy_from_slice(&[1, 0, 0, 0]);
                }
            },
        )],
    ),
];

fn not_accepted(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(Features::NONE)? - ZONED;
    if !probe.accept(features)?.contains(DeviceStatus::FEATURES_OK) {
        return Err(Ended::NotApplicable("it insists on VIRTIO_BLK_F_ZONED".into()));
    }
    for offset in (0..size_of::<Characteristics>()).step_by(4) {
        let value = number(probe, ZONE_SECTORS + offset)?;
        holds(value == 0, "dev:blk:device-initialization:06", || {
            format!("there is {value:#x} at offset {offset} of zoned")
        })?;
    }
    Ok(())
}

fn host_managed(probe: &mut Probe) -> Outcome {
    let disk = Disk::open(probe, Features::NONE)?;
    if disk.model != Model::HM {
        return Err(Ended::NotApplicable("it is host-aware".into()));
    }
    let features = disk.live.features - ZONED;
    drop(disk);
    let status = probe.accept(features)?;
    holds(
        !status.contains(DeviceStatus::FEATURES_OK),
        "dev:blk:device-initialization:07",
        || format!("the status is {status:?}"),
    )
}

fn model(probe: &mut Probe) -> Outcome {
    let clause = "dev:blk:device-initialization:08";
    probe.go_live(ZONED)?;
    let mut byte = [0];
    probe.transport().read_config(MODEL, Width::One, &mut byte)?;
    let other = match Model(byte[0]) {
        Model::NONE => return Ok(()),
        Model::HM => ZoneType::SWP,
        Model::HA => ZoneType::SWR,
        _ => return holds(false, clause, || format!("the model is {}", byte[0])),
    };
    let disk = Disk::open(probe, Features::NONE)?;
    let wrong = disk.zones.iter().find(|zone| zone.z_type == other.0);
    holds(wrong.is_none(), clause, || {
        format!("the model is {:?}, and there is {wrong:?}", disk.model)
    })
}

fn zone_size(probe: &mut Probe) -> Outcome {
    let disk = Disk::open(probe, Features::NONE)?;
    let size = u64::from(number(probe, ZONE_SECTORS)?);
    for pair in disk.zones.windows(2) {
        let found = pair[1].z_start.get().wrapping_sub(pair[0].z_start.get());
        holds(found == size, "dev:blk:device-initialization:09", || {
            format!(
                "the zone at {} has {found} sectors, and zone_sectors is {size}",
                pair[0].z_start
            )
        })?;
    }
    Ok(())
}

fn append_size(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let sectors = disk.most_appended(probe)?;
    let [zone, _] = disk.two_empty()?;
    let clause = "dev:blk:device-initialization:13";
    disk.refused(
        probe,
        clause,
        ((ReqType::ZONE_APPEND, zone), sectors),
        &[Status::OK],
    )
}

fn append_limit(probe: &mut Probe) -> Outcome {
    let disk = Disk::open(probe, SIZE_MAX | SEG_MAX)?;
    let sectors = disk.most_appended(probe)?;
    let size = number(probe, offset_of!(Config, size_max))?;
    let segments = number(probe, offset_of!(Config, seg_max))?;
    holds(
        sectors <= u64::from(size) * u64::from(segments),
        "dev:blk:device-initialization:14",
        || format!("max_append_sectors is {sectors}, size_max {size}, seg_max {segments}"),
    )
}

fn granularity(probe: &mut Probe) -> Outcome {
    let clause = "dev:blk:device-initialization:16";
    let mut disk = Disk::open(probe, Features::NONE)?;
    let bytes = u64::from(number(probe, WRITE_GRANULARITY)?);
    holds(bytes != 0 && bytes.is_multiple_of(SECTOR_SIZE), clause, || {
        format!("write_granularity is {bytes}")
    })?;
    let [zone, other] = disk.two_empty()?;
    let write = (ReqType::OUT, zone);
    disk.refused(probe, clause, (write, bytes / SECTOR_SIZE), &[Status::OK])?;
    if bytes == SECTOR_SIZE {
        return Ok(());
    }
    let status = disk.ask(probe, (ReqType::OUT, other), 1)?;
    holds(status != Status::OK, clause, || {
        format!("write_granularity is {bytes}, and a single sector is written")
    })
}

fn padding(probe: &mut Probe) -> Outcome {
    probe.go_live(ZONED)?;
    for offset in UNUSED_2..UNUSED_2 + 3 {
        let mut byte = [0];
        probe.transport().read_config(offset, Width::One, &mut byte)?;
        holds(byte == [0], "dev:blk:device-initialization:17", || {
            format!(
                "the byte at offset {offset} of the configuration space is {:#x}",
                byte[0]
            )
        })?;
    }
    Ok(())
}

fn erase_alignment(probe: &mut Probe) -> Outcome {
    let disk = Disk::open(probe, SECURE_ERASE)?;
    let alignment = u64::from(number(probe, ERASE_ALIGNMENT)?);
    let zone = disk.zone_sectors();
    holds(
        alignment != 0 && alignment.is_multiple_of(zone),
        "dev:blk:device-operation:37",
        || format!("secure_erase_sector_alignment is {alignment}, and a zone has {zone} sectors"),
    )
}
