//! Requests to disks (section 5.2).

use std::mem::offset_of;

use ringwright_driver::Transport;
use ringwright_memory::Width;
use ringwright_spec::block::{Config, DEVICE, DiscardWriteZeroes, ID_BYTES, ReqHead, ReqType, SECTOR_SIZE};
use ringwright_spec::status::Status;
use zerocopy::FromBytes;

use crate::driver::strict::{DISK, RANGES};
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
        &[Mutant {
            name: "a read far behind the last sector",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::IN, |hand, parts| {
                        hand.write(parts.head + 8, &(1u64 << 40).to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
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
        &[Mutant {
            name: "a flush of a sector",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::FLUSH, |hand, parts| {
                        hand.write(parts.head + 8, &5u64.to_le_bytes());
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
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
        &[Mutant {
            name: "a byte is missing from a read",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::IN, |hand, parts| {
                        parts.resize(hand, 4095)
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
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
        &[Mutant {
            name: "a range is cut short",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::WRITE_ZEROES, |hand, parts| {
                        parts.resize(hand, 15)
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
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
        &[Mutant {
            name: "room for an id without its last character",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::GET_ID, |hand, parts| {
                        parts.resize(hand, 19)
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.discard-ranges",
        &["drv:blk:device-operation:09"],
        "the driver discards",
        "It does so in more ranges than max_discard_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::DISCARD),
        &[Mutant {
            name: "two ranges in a discard",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::DISCARD, |hand, parts| {
                        parts.resize(hand, 32);
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.erase-ranges",
        &["drv:blk:device-operation:10"],
        "the driver erases",
        "It does so in more ranges than max_secure_erase_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::SECURE_ERASE),
        &[Mutant {
            name: "two ranges in an erasure",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::SECURE_ERASE, |hand, parts| {
                        parts.resize(hand, 32);
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "blk.zeroes-ranges",
        &["drv:blk:device-operation:11"],
        "the driver writes zeroes",
        "It does so in more ranges than max_write_zeroes_seg.",
        |watch, past, event| ranges(watch, past, event, ReqType::WRITE_ZEROES),
        &[Mutant {
            name: "two ranges of zeroes",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::WRITE_ZEROES, |hand, parts| {
                        parts.resize(hand, 32);
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
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
        &[Mutant {
            name: "a discard that unmaps",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    change(hand, queue, data, ReqType::DISCARD, |hand, parts| {
                        hand.write(hand.read_address(parts.data) + 12, &[1]);
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
    let Event::Available(_, chain) = event else {
        return None;
    };
    if past.device.id != DEVICE.id || chain.astray.is_some() {
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
