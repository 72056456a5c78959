//! Requests to disks (section 5.2).

use std::mem::offset_of;

use ringwright_driver::{Transport, TransportError};
use ringwright_memory::Width;
use ringwright_spec::block::{
    Config, DEVICE, DiscardWriteZeroes, ID_BYTES, ReqHead, ReqType, SECTOR_SIZE, features,
};
use ringwright_spec::status::Status;
use zerocopy::FromBytes;

use crate::driver::strict::{APPEND, DISK, GRANULARITY, RANGES, ZONE_SECTORS};
use crate::driver::{Event, Hand, Mutant, Past, Rule, Slip, Told, Watch};

/// What the mutants of disks have in common.
const ALONE: Mutant = Mutant {
    driver: "block",
    ..Mutant::ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "blk.writeback-late",
        &["drv:blk:device-initialization:04"],
        "the driver reads writeback",
        "FEATURES_OK is not set yet.",
        |watch, past, event| {
            if let Event::ConfigRead(place) = event
                && past.device.id == DEVICE.id
                && place.touches(offset_of!(Config, writeback), 1)
            {
                watch.expect(past.status.contains(Status::FEATURES_OK), || {
                    format!("the status is {:?}", past.status)
                });
            }
        },
        &[Mutant {
            name: "writeback is read before the features are accepted",
            slip: Slip {
                accept: Some(|hand, features| {
                    let offset = offset_of!(Config, writeback);
                    hand.device.read_config(offset, Width::One, &mut [0])?;
                    hand.device.set_driver_features(features)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.capacity",
        &["drv:blk:device-operation:02"],
        "the driver reads or writes sectors",
        "Some of them are beyond capacity.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::IN, ReqType::OUT]) {
                let start = u128::from(request.head.sector.get()) * u128::from(SECTOR_SIZE);
                let end = start + u128::from(request.data);
                watch.expect(end <= DISK as u128, || format!("{request:x?}, of {DISK} bytes"));
            }
        },
        &[
            ALONE.notifying("a read far behind the last sector", |hand, queue, data| {
                change(hand, queue, data, ReqType::IN, |hand, parts| {
                    hand.write(parts.head + 8, &(1u64 << 40).to_le_bytes());
                })
            }),
        ],
    ),
    Rule::new(
        "blk.flush-sector",
        &["drv:blk:device-operation:04"],
        "the driver flushes",
        "sector is not 0.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::FLUSH]) {
                watch.expect(request.head.sector.get() == 0, || format!("{request:x?}"));
            }
        },
        &[ALONE.notifying("a flush of a sector", |hand, queue, data| {
            change(hand, queue, data, ReqType::FLUSH, |hand, parts| {
                hand.write(parts.head + 8, &5u64.to_le_bytes());
            })
        })],
    ),
    Rule::new(
        "blk.whole-sectors",
        &["drv:blk:device-operation:06"],
        "the driver reads or writes sectors",
        "The data are no multiple of 512 bytes.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::IN, ReqType::OUT]) {
                watch.expect(request.data.is_multiple_of(SECTOR_SIZE), || {
                    format!("{request:x?}")
                });
            }
        },
        &[
            ALONE.notifying("a byte is missing from a read", |hand, queue, data| {
                change(hand, queue, data, ReqType::IN, |hand, parts| {
                    parts.resize(hand, 4095)
                })
            }),
        ],
    ),
    Rule::new(
        "blk.whole-ranges",
        &["drv:blk:device-operation:07"],
        "the driver discards, erases or zeroes",
        "The data are no multiple of the size of a range.",
        |watch, past, event| {
            let types = [ReqType::DISCARD, ReqType::SECURE_ERASE, ReqType::WRITE_ZEROES];
            if let Some(request) = request(past, event, &types) {
                let size = size_of::<DiscardWriteZeroes>() as u64;
                watch.expect(request.data.is_multiple_of(size), || format!("{request:x?}"));
            }
        },
        &[ALONE.notifying("a range is cut short", |hand, queue, data| {
            change(hand, queue, data, ReqType::WRITE_ZEROES, |hand, parts| {
                parts.resize(hand, 15)
            })
        })],
    ),
    Rule::new(
        "blk.id-length",
        &["drv:blk:device-operation:08"],
        "the driver asks for the device's id",
        "The data are not of 20 bytes.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::GET_ID]) {
                watch.expect(request.data == ID_BYTES as u64, || format!("{request:x?}"));
            }
        },
        &[ALONE.notifying(
            "room for an id without its last character",
            |hand, queue, data| {
                change(hand, queue, data, ReqType::GET_ID, |hand, parts| {
                    parts.resize(hand, 19)
                })
            },
        )],
    ),
    Rule::new(
        "blk.discard-ranges",
        &["drv:blk:device-operation:09"],
        "the driver discards",
        "It does so in more ranges than max_discard_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::DISCARD),
        &[ALONE.notifying("two ranges in a discard", |hand, queue, data| {
            change(hand, queue, data, ReqType::DISCARD, |hand, parts| {
                parts.resize(hand, 32);
            })
        })],
    ),
    Rule::new(
        "blk.erase-ranges",
        &["drv:blk:device-operation:10"],
        "the driver erases",
        "It does so in more ranges than max_secure_erase_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::SECURE_ERASE),
        &[ALONE.notifying("two ranges in an erasure", |hand, queue, data| {
            change(hand, queue, data, ReqType::SECURE_ERASE, |hand, parts| {
                parts.resize(hand, 32);
            })
        })],
    ),
    Rule::new(
        "blk.zeroes-ranges",
        &["drv:blk:device-operation:11"],
        "the driver writes zeroes",
        "It does so in more ranges than max_write_zeroes_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::WRITE_ZEROES),
        &[ALONE.notifying("two ranges of zeroes", |hand, queue, data| {
            change(hand, queue, data, ReqType::WRITE_ZEROES, |hand, parts| {
                parts.resize(hand, 32);
            })
        })],
    ),
    Rule::new(
        "blk.discard-unmap",
        &["drv:blk:device-operation:14"],
        "the driver discards",
        "A range has the flag unmap.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::DISCARD]) {
                let (ranges, _) = request.sent.as_chunks::<16>();
                let unmaps = ranges.iter().any(|range| range[12] & 1 != 0);
                watch.expect(!unmaps, || format!("{request:x?}"));
            }
        },
        &[ALONE.notifying("a discard that unmaps", |hand, queue, data| {
            change(hand, queue, data, ReqType::DISCARD, |hand, parts| {
                hand.write(hand.read_address(parts.data) + 12, &[1]);
            })
        })],
    ),
    Rule::new(
        "blk.zoned-discard",
        &["drv:blk:device-initialization:06"],
        "VIRTIO_BLK_F_ZONED is offered by a disk that is host-managed, and the driver accepts features",
        "It accepts VIRTIO_BLK_F_DISCARD.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(accepted) = event
                && past.device.id == DEVICE.id
                && past.offered.contains(features::ZONED)
            {
                watch.expect(!accepted.contains(features::DISCARD), || {
                    format!("{accepted:?} are accepted")
                });
            }
        },
        &[Mutant {
            name: "VIRTIO_BLK_F_DISCARD is accepted of a host-managed disk",
            scenario: "zoned",
            slip: Slip {
                accept: Some(|hand, accepted| hand.device.set_driver_features(accepted | features::DISCARD)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zoned-supported",
        &["drv:blk:device-initialization:08"],
        "VIRTIO_BLK_F_ZONED is accepted of a disk that is host-managed",
        "FEATURES_OK is set, and FAILED later.",
        |watch, past, event| {
            if let Event::StatusWritten(status) = event
                && past.device.id == DEVICE.id
                && past.has(features::ZONED)
            {
                let added = past.adds(*status);
                if added.contains(Status::FAILED) {
                    watch.expect(!past.status.contains(Status::FEATURES_OK), || {
                        format!("the status was {:?}, {status:?} is written", past.status)
                    });
                } else if added.contains(Status::DRIVER_OK) {
                    watch.seen();
                }
            }
        },
        &[Mutant {
            name: "a host-managed disk is given up late",
            scenario: "zoned",
            slip: Slip {
                set_status: Some(|hand, status| match status.contains(Status::DRIVER_OK) {
                    true => {
                        let given_up = (status - Status::DRIVER_OK) | Status::FAILED;
                        hand.device.set_status(given_up)?;
                        Err(TransportError::Protocol("zones that are managed by the host"))
                    }
                    false => hand.device.set_status(status),
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-report",
        &["drv:blk:device-operation:18"],
        "the driver asks for a report of zones",
        "The sector is in no zone.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::ZONE_REPORT]) {
                let right = request.head.sector.get() < DISK as u64 / SECTOR_SIZE;
                watch.expect(right, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "a report begins behind the last zone",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::ZONE_REPORT, |hand, parts| {
                        hand.write(parts.head + 8, &(DISK as u64 / SECTOR_SIZE).to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-start",
        &["drv:blk:device-operation:20"],
        "the driver opens, closes, finishes or resets a zone",
        "The sector is not the first one of a zone.",
        |watch, past, event| {
            let types = [
                ReqType::ZONE_OPEN,
                ReqType::ZONE_CLOSE,
                ReqType::ZONE_FINISH,
                ReqType::ZONE_RESET,
            ];
            if let Some(request) = request(past, event, &types) {
                let right = request.head.sector.get().is_multiple_of(ZONE_SECTORS);
                watch.expect(right, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "a zone is opened in its middle",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::ZONE_OPEN, |hand, parts| {
                        hand.write(parts.head + 8, &72u64.to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-reset-all",
        &["drv:blk:device-operation:21"],
        "the driver resets all zones",
        "The sector is not 0.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::ZONE_RESET_ALL]) {
                watch.expect(request.head.sector.get() == 0, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "all zones are reset from the second on",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::ZONE_RESET_ALL, |hand, parts| {
                        hand.write(parts.head + 8, &64u64.to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-append",
        &["drv:blk:device-operation:22"],
        "the driver appends to a zone",
        "The sector is not the first one of a zone.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::ZONE_APPEND]) {
                let right = request.head.sector.get().is_multiple_of(ZONE_SECTORS);
                watch.expect(right, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "data are appended to the middle of a zone",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::ZONE_APPEND, |hand, parts| {
                        hand.write(parts.head + 8, &72u64.to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-append-size",
        &["drv:blk:device-operation:23"],
        "the driver appends to a zone",
        "The data are no multiple of write_granularity, or more than max_append_sectors.",
        |watch, past, event| {
            if let Some(request) = request(past, event, &[ReqType::ZONE_APPEND]) {
                let right = request.data.is_multiple_of(GRANULARITY) && request.data <= APPEND * SECTOR_SIZE;
                watch.expect(right, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "more is appended than can be",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::ZONE_APPEND, |hand, parts| {
                        parts.resize(hand, 12288);
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zone-granularity",
        &["drv:blk:device-operation:25"],
        "the driver writes or appends to a sequential zone",
        "The data, or where they go, are no multiple of write_granularity.",
        |watch, past, event| {
            let types = [ReqType::OUT, ReqType::ZONE_APPEND];
            if past.has(features::ZONED)
                && let Some(request) = request(past, event, &types)
            {
                let start = request.head.sector.get().wrapping_mul(SECTOR_SIZE);
                let right = (request.data | start).is_multiple_of(GRANULARITY);
                watch.expect(right, || format!("{request:x?}"));
            }
        },
        &[Mutant {
            name: "one sector is written to a zone",
            scenario: "zoned",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::OUT, |hand, parts| {
                        parts.resize(hand, 512);
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
];

/// A request to a disk.
#[derive(Debug)]
struct Request<'e> {
    head: ReqHead,
    /// Bytes of its data, in either direction.
    data: u64,
    /// The first bytes of the data that the driver sends.
    sent: &'e [u8],
}

/// A request of one of `types` that becomes available.
fn request<'e>(past: &Past, event: &'e Event, types: &[ReqType]) -> Option<Request<'e>> {
    let Event::Available(index, chain) = event else {
        return None;
    };
    if past.device.id != DEVICE.id || *index >= past.administration || chain.astray.is_some() {
        return None;
    }
    let (head, sent) = ReqHead::read_from_prefix(&chain.sent.0).ok()?;
    let kind = ReqType(head.r#type.get());
    let data = match kind {
        ReqType::IN | ReqType::GET_ID => chain.length(true).saturating_sub(1),
        _ => chain.length(false).saturating_sub(size_of::<ReqHead>() as u64),
    };
    types.contains(&kind).then_some(Request { head, data, sent })
}

fn ranges(watch: &mut Watch, past: &Past, event: &Event, kind: ReqType) {
    if let Some(request) = request(past, event, &[kind]) {
        let count = request.data / size_of::<DiscardWriteZeroes>() as u64;
        watch.expect(count <= RANGES.into(), || format!("{count} ranges: {request:x?}"));
    }
}

/// Where the parts of the last request are: the head itself, and the descriptor of the data.
struct Parts {
    head: u64,
    data: u64,
}

impl Parts {
    /// Changes the length of the data.
    fn resize(&self, hand: &Hand, length: u32) {
        hand.write(self.data + 8, &length.to_le_bytes());
    }
}

/// Notifies the device, and requests of type `kind` are changed before.
fn change(hand: &mut Hand, queue: u16, data: u32, kind: ReqType, change: fn(&Hand, Parts)) -> Told {
    let descriptor = hand.head(queue);
    let head = hand.read_address(descriptor);
    if u32::from_le_bytes(hand.read(head)) == kind.0 {
        let table = hand
            .layouts
            .get(&queue)
            .map_or(0, |layout| layout.descriptor_area);
        let next = u64::from(hand.read16(descriptor + 14));
        change(
            hand,
            Parts {
                head,
                data: table + 16 * next,
            },
        );
    }
    hand.device.notify(queue, data)
}
