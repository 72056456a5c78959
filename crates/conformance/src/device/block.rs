//! Block devices (section 5.2); those with zones have checks of their own, too.

use ringwright_memory::{Buffer, Width};
use ringwright_spec::Features;
use ringwright_spec::block::features::{
    CONFIG_WCE, DISCARD, FLUSH, LIFETIME, RO, SECURE_ERASE, WRITE_ZEROES, ZONED,
};
use ringwright_spec::block::{
    Config, DEVICE, DiscardWriteZeroes, DiscardWriteZeroesFlags, LIFETIME_EXCEEDED, Lifetime, PreEolInfo,
    ReqHead, ReqType, SECTOR_SIZE, Status,
};
use zerocopy::{FromBytes, IntoBytes};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::{Live, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;

use super::split::last_chain;

const ANY: Needs = Needs::device(DEVICE.id, Features::NONE);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "block.flush-offered",
        clauses: &["dev:blk:device-initialization:01"],
        does: "Reads the offered features.",
        violation: "VIRTIO_BLK_F_CONFIG_WCE is among them, and VIRTIO_BLK_F_FLUSH is not.",
        needs: ANY,
        run: |probe| {
            let offered = probe.offered()?;
            holds(
                offered.contains(FLUSH) || !offered.contains(CONFIG_WCE),
                "dev:blk:device-initialization:01",
                || format!("{offered:?} are offered"),
            )
        },
        mutants: &[Mutant {
            name: "VIRTIO_BLK_F_FLUSH is not offered",
            breaks: "dev:blk:device-initialization:01",
            lens: Lens {
                offered: Some(|_, offered| offered - FLUSH),
                ..Lens::CLEAR
            },
            also: &["features.refused"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.writeback-without-flush",
        clauses: &["dev:blk:device-initialization:02"],
        does: "Accepts VIRTIO_BLK_F_CONFIG_WCE without VIRTIO_BLK_F_FLUSH, and reads writeback.",
        violation: "It is not 0.",
        needs: Needs::device(DEVICE.id, CONFIG_WCE),
        run: |probe| {
            probe.go_live(CONFIG_WCE)?;
            let writeback = read_byte(probe, WRITEBACK)?;
            holds(writeback == 0, "dev:blk:device-initialization:02", || {
                format!("writeback is {writeback}")
            })
        },
        mutants: &[Mutant {
            name: "writeback is 1 without VIRTIO_BLK_F_FLUSH",
            breaks: "dev:blk:device-initialization:02",
            lens: Lens {
                config: Some(|life, offset, data| {
                    if offset == WRITEBACK && !life.features.contains(FLUSH) {
                        data[0] = 1;
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.padding",
        clauses: &["dev:blk:device-initialization:03"],
        does: "Reads unused0 and, if there are fields behind it, unused1.",
        violation: "They are not 0.",
        needs: Needs::device(DEVICE.id, CONFIG_WCE),
        run: padding,
        mutants: &[Mutant {
            name: "unused0 is 1",
            breaks: "dev:blk:device-initialization:03",
            lens: Lens {
                config: Some(|_, offset, data| {
                    if offset == UNUSED_0 {
                        data[0] = 1;
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.read-only",
        clauses: &["dev:blk:device-operation:03"],
        does: "Writes to a disk that offers VIRTIO_BLK_F_RO, and reads what is there.",
        violation: "The status is not VIRTIO_BLK_S_IOERR, or the data are there.",
        needs: Needs::device(DEVICE.id, RO),
        run: read_only,
        mutants: &[Mutant {
            name: "a disk that is said to be read-only is written to",
            breaks: "dev:blk:device-operation:03",
            lens: Lens {
                offered: Some(|_, offered| offered | RO),
                accepted: Some(|_, accepted| accepted - RO),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.flags",
        clauses: &["dev:blk:device-operation:04", "dev:blk:device-operation:05"],
        does: "Makes discard, write zeroes and secure erase requests with unknown flags, and a discard request with unmap.",
        violation: "The status is not VIRTIO_BLK_S_UNSUPP.",
        needs: ANY,
        run: flags,
        mutants: &[
            Mutant {
                name: "unknown flags are ignored",
                breaks: "dev:blk:device-operation:04",
                lens: Lens {
                    notified: Some(|life, queue| answer_with_flags(life, queue, 1 << 7)),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a discard request with unmap is done",
                breaks: "dev:blk:device-operation:05",
                lens: Lens {
                    notified: Some(|life, queue| {
                        answer_with_flags(life, queue, DiscardWriteZeroesFlags::UNMAP.0)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "block.write-zeroes",
        clauses: &["dev:blk:device-operation:08"],
        does: "Writes sectors, makes write zeroes requests for some of them, with and without unmap, and reads them.",
        violation: "There is something other than zeroes.",
        needs: Needs::device(DEVICE.id, WRITE_ZEROES),
        run: write_zeroes,
        mutants: &[Mutant {
            name: "a byte is left by write zeroes",
            breaks: "dev:blk:device-operation:08",
            lens: Lens {
                notified: Some(|life, queue| {
                    let (kind, chain) = last_request(life, queue);
                    life.note |= u64::from(kind == ReqType::WRITE_ZEROES);
                    if let (1, ReqType::IN, Some(data)) = (life.note, kind, chain.get(1)) {
                        life.write(data.address + 77, &[1]);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.lifetime",
        clauses: &["dev:blk:device-operation:15"],
        does: "Asks for the lifetime of the disk.",
        violation: "It has reserved values.",
        needs: Needs::device(DEVICE.id, LIFETIME),
        run: lifetime,
        mutants: &[Mutant {
            name: "the lifetime is a reserved value",
            breaks: "dev:blk:device-operation:15",
            lens: Lens {
                offered: Some(|_, offered| offered | LIFETIME),
                accepted: Some(|_, accepted| accepted - LIFETIME),
                notified: Some(|life, queue| {
                    let (kind, chain) = last_request(life, queue);
                    if let (ReqType::GET_LIFETIME, [_, data, status]) = (kind, &chain[..]) {
                        life.write(data.address, &[0x77, 0]);
                        life.write(status.address, &[Status::OK.0]);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "block.zones-unsupported",
        clauses: &["dev:blk:device-operation:16"],
        does: "Makes requests to zones without VIRTIO_BLK_F_ZONED.",
        violation: "The status is not VIRTIO_BLK_S_UNSUPP.",
        needs: ANY,
        run: zones_unsupported,
        mutants: &[Mutant {
            name: "all zones are opened on a disk without zones",
            breaks: "dev:blk:device-operation:16",
            lens: Lens {
                notified: Some(|life, queue| {
                    let (kind, chain) = last_request(life, queue);
                    if let (ReqType::ZONE_OPEN, Some(status)) = (kind, chain.last()) {
                        life.write(status.address, &[Status::OK.0]);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

const WRITEBACK: usize = std::mem::offset_of!(Config, writeback);
const UNUSED_0: usize = std::mem::offset_of!(Config, unused0);
const UNUSED_1: usize = std::mem::offset_of!(Config, unused1);

/// The type of the request that a device with a split virtqueue answered last, and its descriptors.
pub(super) fn last_request(life: &Life, queue: u16) -> (ReqType, Vec<SplitDesc>) {
    let chain = last_chain(life, queue);
    let kind = chain.first().map_or([0; 4], |head| life.read(head.address));
    (ReqType(u32::from_le_bytes(kind)), chain)
}

/// A request for ranges with these flags is answered with VIRTIO_BLK_S_OK.
fn answer_with_flags(life: &Life, queue: u16, flags: u32) {
    let (kind, chain) = last_request(life, queue);
    let is_one = matches!(
        kind,
        ReqType::DISCARD | ReqType::WRITE_ZEROES | ReqType::SECURE_ERASE
    );
    if let ([_, range, status], true) = (&chain[..], is_one) {
        let found = u32::from_le_bytes(life.read(range.address + 12));
        // Write zeroes may have unmap.
        if found == flags && (kind != ReqType::WRITE_ZEROES || flags != DiscardWriteZeroesFlags::UNMAP.0) {
            life.write(status.address, &[Status::OK.0]);
        }
    }
}

/// Makes a request of any type: what it carries, and as many bytes of an answer; the status and the answer.
pub(super) fn request(
    probe: &mut Probe,
    live: &mut Live,
    asked: (ReqType, u64),
    payload: &[u8],
    answer: usize,
) -> Outcome<(Status, Vec<u8>)> {
    request_into(probe, live, asked, payload, (answer, 0xaa))
}

/// As [`request`], into a buffer that was full of such bytes.
pub(super) fn request_into(
    probe: &mut Probe,
    live: &mut Live,
    (kind, sector): (ReqType, u64),
    payload: &[u8],
    (answer, fill): (usize, u8),
) -> Outcome<(Status, Vec<u8>)> {
    let head = ReqHead {
        r#type: kind.0.into(),
        reserved: 0.into(),
        sector: sector.into(),
    };
    let filled = |probe: &mut Probe, bytes: &[u8]| -> Outcome<Buffer> {
        let buffer = probe.buffer(bytes.len(), 0)?;
        // It has just been made of this length.
        let _ = buffer.write(0, bytes);
        Ok(buffer)
    };
    let head = filled(probe, head.as_bytes())?;
    let status = filled(probe, &[0xff])?;
    let payload = (!payload.is_empty())
        .then(|| filled(probe, payload))
        .transpose()?;
    let data = (answer > 0).then(|| probe.buffer(answer, fill)).transpose()?;
    let mut elements = vec![element(&head, false)];
    elements.extend(payload.iter().map(|payload| element(payload, false)));
    elements.extend(data.iter().map(|data| element(data, true)));
    elements.push(element(&status, true));
    live.queue().add(&elements);
    probe.notify(live.queue())?;
    if probe.used(live.queue())?.is_none() {
        return Err(Ended::Inconclusive(format!(
            "a request of type {kind:?} is not answered"
        )));
    }
    let (mut byte, mut bytes) = ([0], vec![0; answer]);
    let _ = status.read(0, &mut byte);
    if let Some(data) = &data {
        let _ = data.read(0, &mut bytes);
    }
    probe.note(format_args!("{kind:?} at {sector} -> {:?}", Status(byte[0])));
    Ok((Status(byte[0]), bytes))
}

fn read_byte(probe: &mut Probe, offset: usize) -> Outcome<u8> {
    let mut byte = [0];
    probe.transport().read_config(offset, Width::One, &mut byte)?;
    Ok(byte[0])
}

fn padding(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    // Where nothing comes behind it the configuration space may end before it.
    let later = match offered.intersects(SECURE_ERASE | ZONED) {
        true => UNUSED_1..UNUSED_1 + 3,
        false => 0..0,
    };
    for offset in std::iter::once(UNUSED_0).chain(later) {
        let byte = read_byte(probe, offset)?;
        holds(byte == 0, "dev:blk:device-initialization:03", || {
            format!("the byte at offset {offset} of the configuration space is {byte:#x}")
        })?;
    }
    Ok(())
}

fn read_only(probe: &mut Probe) -> Outcome {
    let clause = "dev:blk:device-operation:03";
    let mut live = probe.go_live(RO)?;
    let sector = SECTOR_SIZE as usize;
    let (_, before) = request(probe, &mut live, (ReqType::IN, 0), &[], sector)?;
    let other: Vec<u8> = before.iter().map(|byte| !byte).collect();
    let (status, _) = request(probe, &mut live, (ReqType::OUT, 0), &other, 0)?;
    holds(status == Status::IOERR, clause, || {
        format!("a sector was written, and the status is {status:?}")
    })?;
    let (_, after) = request(probe, &mut live, (ReqType::IN, 0), &[], sector)?;
    holds(before == after, clause, || {
        "the sector has other data after that".into()
    })
}

/// Requests for ranges that a disk may have, by their features.
const RANGES: [(ReqType, Features); 3] = [
    (ReqType::DISCARD, DISCARD),
    (ReqType::WRITE_ZEROES, WRITE_ZEROES),
    (ReqType::SECURE_ERASE, SECURE_ERASE),
];

fn flags(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    let kinds: Vec<_> = RANGES
        .into_iter()
        .filter(|(_, feature)| offered.contains(*feature))
        .collect();
    if kinds.is_empty() {
        return Err(Ended::NotApplicable("it has no requests for ranges".into()));
    }
    let features = kinds
        .iter()
        .fold(Features::NONE, |all, (_, feature)| all | *feature);
    let mut live = probe.go_live(features)?;
    let unmap = DiscardWriteZeroesFlags::UNMAP.0;
    for (kind, _) in kinds {
        let clauses = [
            (1 << 7, "dev:blk:device-operation:04"),
            (1 << 31, "dev:blk:device-operation:04"),
            (unmap, "dev:blk:device-operation:05"),
        ];
        // Only discard must not have unmap.
        let count = if kind == ReqType::DISCARD { 3 } else { 2 };
        for (flags, clause) in &clauses[..count] {
            let range = range(0, 8, *flags);
            let (status, _) = request(probe, &mut live, (kind, 0), range.as_bytes(), 0)?;
            holds(status == Status::UNSUPP, clause, || {
                format!("a request {kind:?} with flags {flags:#x} has status {status:?}")
            })?;
        }
    }
    Ok(())
}

pub(super) fn range(sector: u64, sectors: u32, flags: u32) -> DiscardWriteZeroes {
    DiscardWriteZeroes {
        sector: sector.into(),
        num_sectors: sectors.into(),
        flags: flags.into(),
    }
}

fn write_zeroes(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(WRITE_ZEROES)?;
    let length = 8 * SECTOR_SIZE as usize;
    for flags in [0, DiscardWriteZeroesFlags::UNMAP.0] {
        let done = |(status, _): (Status, Vec<u8>), what: &str| match status {
            Status::OK => Ok(()),
            other => Err(Ended::Inconclusive(format!("{what}: {other:?}"))),
        };
        done(
            request(probe, &mut live, (ReqType::OUT, 0), &vec![0x5a; length], 0)?,
            "a write",
        )?;
        let range = range(2, 4, flags);
        done(
            request(probe, &mut live, (ReqType::WRITE_ZEROES, 0), range.as_bytes(), 0)?,
            "write zeroes",
        )?;
        let (_, data) = request(probe, &mut live, (ReqType::IN, 2), &[], length / 2)?;
        let left = data.iter().position(|byte| *byte != 0);
        holds(left.is_none(), "dev:blk:device-operation:08", || {
            format!(
                "byte {} is not 0 after write zeroes with flags {flags:#x}",
                left.unwrap_or_default()
            )
        })?;
    }
    Ok(())
}

fn lifetime(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(LIFETIME)?;
    let (status, data) = request(
        probe,
        &mut live,
        (ReqType::GET_LIFETIME, 0),
        &[],
        size_of::<Lifetime>(),
    )?;
    if status != Status::OK {
        return Err(Ended::Inconclusive(format!(
            "the lifetime is not told: {status:?}"
        )));
    }
    let lifetime = Lifetime::read_from_bytes(&data).unwrap_or_default();
    let estimates = [
        lifetime.device_lifetime_est_typ_a.get(),
        lifetime.device_lifetime_est_typ_b.get(),
    ];
    let right = lifetime.pre_eol_info.get() <= PreEolInfo::URGENT.0
        && estimates.iter().all(|estimate| *estimate <= LIFETIME_EXCEEDED);
    holds(right, "dev:blk:device-operation:15", || {
        format!("it is {data:02x?}")
    })
}

fn zones_unsupported(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    if live.features.contains(ZONED) {
        return Err(Ended::NotApplicable("it is a zoned disk in any case".into()));
    }
    for kind in [
        ReqType::ZONE_REPORT,
        ReqType::ZONE_OPEN,
        ReqType::ZONE_CLOSE,
        ReqType::ZONE_FINISH,
        ReqType::ZONE_RESET,
        ReqType::ZONE_RESET_ALL,
        ReqType::ZONE_APPEND,
    ] {
        let (payload, answer) = match kind {
            // A report's head, and one zone.
            ReqType::ZONE_REPORT => (0, 64 + 64),
            ReqType::ZONE_APPEND => (SECTOR_SIZE as usize, 8),
            _ => (0, 0),
        };
        let (status, _) = request(probe, &mut live, (kind, 0), &vec![0; payload], answer)?;
        holds(status == Status::UNSUPP, "dev:blk:device-operation:16", || {
            format!("a request {kind:?} has status {status:?}")
        })?;
    }
    Ok(())
}
