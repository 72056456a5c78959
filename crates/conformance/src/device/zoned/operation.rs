//! Requests to zones, possible or not.

use ringwright_spec::Features;
use ringwright_spec::block::features::SECURE_ERASE;
use ringwright_spec::block::zoned::{ZoneDescriptor, ZoneReport, ZoneState, ZoneType};
use ringwright_spec::block::{ReqType, SECTOR_SIZE, Status};
use zerocopy::IntoBytes;

use super::super::block::{range, request, request_into};
use super::disk::{Disk, check, ok};
use super::mutants::{answered, answering, feign};
use crate::check::{Check, Outcome};
use crate::mutant::Life;
use crate::probe::{Probe, holds};
use crate::subject::{RDONLY_ZONE, ZONE_SECTORS};

pub(super) const INVALID: &[Status] = &[Status::ZONE_INVALID_CMD];

/// Requests that change a zone's state.
const MANAGEMENT: [ReqType; 4] = [
    ReqType::ZONE_OPEN,
    ReqType::ZONE_CLOSE,
    ReqType::ZONE_FINISH,
    ReqType::ZONE_RESET,
];

pub(in super::super) const CHECKS: &[Check] = &[
    check(
        "zoned.conventional",
        &["dev:blk:device-operation:17"],
        (
            "Opens, closes, finishes and resets a conventional zone.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        conventional,
        &[answering(
            "a conventional zone can be closed",
            "dev:blk:device-operation:17",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::ZONE_CLOSE) && answered.zone() == 0;
                    wrong.then_some(Status::OK)
                })
            },
        )],
    ),
    check(
        "zoned.full",
        &["dev:blk:device-operation:19", "dev:blk:device-operation:21"],
        (
            "Opens and closes a full zone.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        full,
        &[
            answering(
                "a full zone can be opened",
                "dev:blk:device-operation:19",
                |life, queue| {
                    feign(life, queue, |answered| {
                        let wrong = answered.invalid(ReqType::ZONE_OPEN) && answered.in_order();
                        wrong.then_some(Status::OK)
                    })
                },
            ),
            answering(
                "a full zone can be closed",
                "dev:blk:device-operation:21",
                |life, queue| {
                    feign(life, queue, |answered| {
                        let wrong = answered.invalid(ReqType::ZONE_CLOSE) && answered.in_order();
                        wrong.then_some(Status::OK)
                    })
                },
            ),
        ],
    ),
    check(
        "zoned.read-only",
        &[
            "dev:blk:device-operation:22",
            "dev:blk:device-operation:23",
            "dev:blk:device-operation:33",
        ],
        (
            "Finishes, resets, and writes to a zone that is read-only.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        read_only,
        &[
            answering(
                "a read-only zone can be finished",
                "dev:blk:device-operation:22",
                |life, queue| answer_read_only(life, queue, ReqType::ZONE_FINISH),
            ),
            answering(
                "a read-only zone can be reset",
                "dev:blk:device-operation:23",
                |life, queue| answer_read_only(life, queue, ReqType::ZONE_RESET),
            ),
            answering(
                "a read-only zone can be written to",
                "dev:blk:device-operation:33",
                |life, queue| answer_read_only(life, queue, ReqType::OUT),
            ),
        ],
    ),
    check(
        "zoned.offline",
        &["dev:blk:device-operation:34"],
        (
            "Makes all requests to a zone that is offline.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        offline,
        &[answering(
            "an offline zone can be read",
            "dev:blk:device-operation:34",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::IN) && answered.offline();
                    wrong.then_some(Status::OK)
                })
            },
        )],
    ),
    check(
        "zoned.crossing",
        &["dev:blk:device-operation:30"],
        (
            "Reads the last sector of a zone and the first one of the next.",
            "The status is not VIRTIO_BLK_S_ZONE_INVALID_CMD.",
        ),
        crossing,
        &[answering(
            "a read can cross zones",
            "dev:blk:device-operation:30",
            |life, queue| {
                feign(life, queue, |answered| {
                    let wrong = answered.invalid(ReqType::IN) && answered.in_order();
                    wrong.then_some(Status::OK)
                })
            },
        )],
    ),
    check(
        "zoned.write-pointer",
        &["dev:blk:device-operation:31"],
        (
            "Writes behind the write pointer of an empty zone.",
            "The status is not VIRTIO_BLK_S_ZONE_UNALIGNED_WP.",
        ),
        write_pointer,
        &[answering(
            "a write that is not at the write pointer is an error of input and output",
            "dev:blk:device-operation:31",
            |life, queue| {
                feign(life, queue, |answered| {
                    (answered.status == Status::ZONE_UNALIGNED_WP).then_some(Status::IOERR)
                })
            },
        )],
    ),
    check(
        "zoned.unwritten",
        &["dev:blk:device-operation:35", "dev:blk:device-operation:36"],
        (
            "Writes to a zone and resets it, and reads there twice.",
            "What was written is still there, or it is not the same twice.",
        ),
        unwritten,
        &[
            answering(
                "a zone that was reset has its old data",
                "dev:blk:device-operation:35",
                |life, queue| answer_unwritten(life, queue, 0x5a),
            ),
            answering(
                "unwritten sectors are read as something else each time",
                "dev:blk:device-operation:36",
                |life, queue| {
                    life.note += 1;
                    answer_unwritten(life, queue, life.note as u8);
                },
            ),
        ],
    ),
    check(
        "zoned.erase-part",
        &["dev:blk:device-operation:38"],
        ("Erases half of a zone.", "It is done."),
        erase_part,
        &[answering(
            "half of a zone is erased",
            "dev:blk:device-operation:38",
            |life, queue| {
                feign(life, queue, |answered| {
                    let whole = |at: &crate::raw::SplitDesc| {
                        u32::from_le_bytes(life.read(at.address + 8)) as u64 == ZONE_SECTORS / 2
                    };
                    let (_, chain) = super::super::block::last_request(life, queue);
                    let wrong = answered.kind == ReqType::SECURE_ERASE && chain.get(1).is_some_and(whole);
                    wrong.then_some(Status::OK)
                })
            },
        )],
    ),
    check(
        "zoned.erase",
        &["dev:blk:device-operation:39"],
        (
            "Writes to a zone, erases it, and reads a report of zones.",
            "The zone is not empty.",
        ),
        erase,
        &[answering(
            "an erased zone is closed",
            "dev:blk:device-operation:39",
            |life, queue| {
                let Some((answered, chain)) = answered(life, queue) else {
                    return;
                };
                match (answered.kind, &chain[..]) {
                    (ReqType::SECURE_ERASE, [_, range, _]) => {
                        life.note = u64::from_le_bytes(life.read(range.address)) / ZONE_SECTORS;
                    }
                    (ReqType::ZONE_REPORT, [_, report, _]) if life.note != 0 => {
                        let zone = size_of::<ZoneDescriptor>() as u64 * life.note;
                        let state = std::mem::offset_of!(ZoneDescriptor, z_state) as u64;
                        let head = size_of::<ZoneReport>() as u64;
                        life.write(report.address + head + zone + state, &[ZoneState::CLOSED.0]);
                    }
                    _ => {}
                }
            },
        )],
    ),
];

fn answer_read_only(life: &Life, queue: u16, kind: ReqType) {
    feign(life, queue, |answered| {
        let wrong = answered.invalid(kind) && answered.zone() == RDONLY_ZONE;
        wrong.then_some(Status::OK)
    });
}

/// What is read from the beginning of a zone that is written in order is this.
fn answer_unwritten(life: &Life, queue: u16, byte: u8) {
    if let Some((answered, chain)) = answered(life, queue)
        && answered.kind == ReqType::IN
        && answered.in_order()
        && let [_, data, _] = &chain[..]
    {
        life.write(data.address, &vec![byte; data.length as usize]);
    }
}

fn conventional(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let zone = disk.zone("conventional", |zone| zone.z_type == ZoneType::CONV.0)?;
    for kind in MANAGEMENT {
        disk.refused(probe, "dev:blk:device-operation:17", ((kind, zone), 0), INVALID)?;
    }
    Ok(())
}

fn full(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let [zone, _] = disk.two_empty()?;
    disk.done(probe, (ReqType::ZONE_OPEN, zone), 0)?;
    disk.done(probe, (ReqType::ZONE_FINISH, zone), 0)?;
    let open = (ReqType::ZONE_OPEN, zone);
    disk.refused(probe, "dev:blk:device-operation:19", (open, 0), INVALID)?;
    let close = (ReqType::ZONE_CLOSE, zone);
    disk.refused(probe, "dev:blk:device-operation:21", (close, 0), INVALID)
}

fn read_only(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let granularity = disk.granularity(probe)?;
    let zone = disk.zone_in("read-only", ZoneState::RDONLY)?;
    for (kind, sectors, clause) in [
        (ReqType::ZONE_FINISH, 0, "dev:blk:device-operation:22"),
        (ReqType::ZONE_RESET, 0, "dev:blk:device-operation:23"),
        (ReqType::OUT, granularity, "dev:blk:device-operation:33"),
    ] {
        disk.refused(probe, clause, ((kind, zone), sectors), INVALID)?;
    }
    Ok(())
}

fn offline(probe: &mut Probe) -> Outcome {
    let clause = "dev:blk:device-operation:34";
    let mut disk = Disk::open(probe, Features::NONE)?;
    let granularity = disk.granularity(probe)?;
    let zone = disk.zone_in("offline", ZoneState::OFFLINE)?;
    for kind in [ReqType::IN, ReqType::OUT] {
        disk.refused(probe, clause, ((kind, zone), granularity), INVALID)?;
    }
    for kind in MANAGEMENT {
        disk.refused(probe, clause, ((kind, zone), 0), INVALID)?;
    }
    Ok(())
}

fn crossing(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let [zone, _] = disk.two_empty()?;
    let sector = zone + disk.zone_sectors() - 1;
    let read = (ReqType::IN, sector);
    disk.refused(probe, "dev:blk:device-operation:30", (read, 2), INVALID)
}

fn write_pointer(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    let write = (ReqType::OUT, zone + granularity);
    disk.refused(
        probe,
        "dev:blk:device-operation:31",
        (write, granularity),
        &[Status::ZONE_UNALIGNED_WP],
    )
}

fn unwritten(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, Features::NONE)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    disk.done(probe, (ReqType::OUT, zone), granularity)?;
    disk.done(probe, (ReqType::ZONE_RESET, zone), 0)?;
    let length = (granularity * SECTOR_SIZE) as usize;
    let mut found = Vec::new();
    // What is not filled keeps what was there.
    for fill in [0xaa, 0x55] {
        let read = (ReqType::IN, zone);
        let (status, data) = request_into(probe, &mut disk.live, read, &[], (length, fill))?;
        if status != Status::OK {
            return Ok(());
        }
        holds(
            data.iter().any(|byte| *byte != 0x5a),
            "dev:blk:device-operation:35",
            || "the zone was reset, and what was written to it is still read".into(),
        )?;
        found.push(data);
    }
    holds(found[0] == found[1], "dev:blk:device-operation:36", || {
        format!(
            "unwritten sectors are read as {:02x?}, and then as {:02x?}",
            &found[0][..16],
            &found[1][..16]
        )
    })
}

fn erase_part(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, SECURE_ERASE)?;
    let [zone, _] = disk.two_empty()?;
    let half = disk.zone_sectors() / 2;
    let part = range(zone, half as u32, 0);
    let (status, _) = request(
        probe,
        &mut disk.live,
        (ReqType::SECURE_ERASE, 0),
        part.as_bytes(),
        0,
    )?;
    holds(status != Status::OK, "dev:blk:device-operation:38", || {
        format!("{half} sectors of a zone are erased")
    })
}

fn erase(probe: &mut Probe) -> Outcome {
    let mut disk = Disk::open(probe, SECURE_ERASE)?;
    let granularity = disk.granularity(probe)?;
    let [zone, _] = disk.two_empty()?;
    disk.done(probe, (ReqType::OUT, zone), granularity)?;
    let whole = range(zone, disk.zone_sectors() as u32, 0);
    let erase = (ReqType::SECURE_ERASE, 0);
    let (status, _) = request(probe, &mut disk.live, erase, whole.as_bytes(), 0)?;
    ok(status, "the erasure of a zone")?;
    let zones = disk.report(probe)?;
    let found = zones.iter().find(|other| other.z_start == zone);
    holds(
        found.is_some_and(|found| found.z_state == ZoneState::EMPTY.0),
        "dev:blk:device-operation:39",
        || format!("a zone that was erased is {found:?}"),
    )
}
