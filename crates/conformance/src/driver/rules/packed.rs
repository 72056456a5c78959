//! Packed virtqueues (section 2.8).
//!
//! The mutants slip with the first buffer, which begins at the first descriptor of the ring.

use ringwright_driver::Transport;
use ringwright_spec::feature::{INDIRECT_DESC, NOTIFICATION_DATA};
use ringwright_spec::{block, packed};

use super::{MISALIGNED, aligned};
use crate::driver::event::{INDIRECT, NEXT, WRITE};
use crate::driver::strict::SEG_MAX;
use crate::driver::{Astray, Chain, Event, Hand, Mutant, Past, Rule, Slip, Told};

/// `VIRTQ_DESC_F_AVAIL` and `VIRTQ_DESC_F_USED`.
const AVAIL: u16 = 1 << 7;
const USED: u16 = 1 << 15;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "packed.aligned",
        &["drv:packed:packed-virtqueues:01"],
        "the driver enables a packed virtqueue",
        "A part of it is not aligned.",
        |watch, past, event| {
            if let Event::QueueEnabled(index, layout) = event
                && past.is_packed()
            {
                let parts = [
                    (layout.descriptor_area, packed::DESC_ALIGN),
                    (layout.driver_area, packed::EVENT_ALIGN),
                    (layout.device_area, packed::EVENT_ALIGN),
                ];
                aligned(watch, *index, layout, parts);
            }
        },
        &[Mutant {
            name: "an event suppression structure is at an odd address",
            scenario: "packed",
            slip: MISALIGNED,
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.unused",
        &["drv:packed:the-virtqueue-descriptor-table:01"],
        "the device does not use a buffer at once",
        "A descriptor of it is made available anew in the meantime.",
        |watch, past, event| match event {
            Event::Looked(index, _) if waits(past, *index) => watch.seen(),
            Event::Altered(index, change) if past.is_packed() && change.again => {
                watch.broken(format!("virtqueue {index}: {}", change.what));
            }
            _ => {}
        },
        &[Mutant {
            name: "a descriptor is made available again while the device has it",
            scenario: "packed-late",
            slip: Slip {
                waits: Some(|hand| {
                    if hand.notifications == 1 {
                        let flags = hand.slot(0, 0) + 14;
                        hand.write16(flags, hand.read16(flags) & !AVAIL | USED);
                    }
                }),
                ..Slip::NONE
            },
            also: &["cleanup.exposed"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.unchanged",
        &["drv:packed:the-virtqueue-descriptor-table:02"],
        "the device does not use a buffer at once",
        "A descriptor of it changes after it was made available.",
        |watch, past, event| match event {
            Event::Looked(index, _) if waits(past, *index) => watch.seen(),
            Event::Altered(index, change) if past.is_packed() && !change.again => {
                watch.broken(format!("virtqueue {index}: {}", change.what));
            }
            _ => {}
        },
        &[Mutant {
            name: "a length is written after the flags",
            scenario: "packed-late",
            slip: Slip {
                waits: Some(|hand| {
                    if hand.notifications == 1 {
                        let length = hand.slot(0, 0) + 8;
                        hand.write(length, &[17]);
                    }
                }),
                ..Slip::NONE
            },
            also: &["cleanup.exposed"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.notification-data",
        &["drv:packed:the-virtqueue-descriptor-table:03"],
        "the device is notified, and VIRTIO_F_NOTIFICATION_DATA is negotiated",
        "next_off and next_wrap are not those of the next descriptor.",
        |watch, past, event| {
            if !past.is_packed() || !past.has(NOTIFICATION_DATA) {
                return;
            }
            match event {
                Event::Notified(index, data) => {
                    watch.note = u64::from(*data) | 1 << 63;
                    watch.note |= u64::from(*index) << 32;
                }
                // It may already be further than it was when it was notified.
                Event::Looked(index, look)
                    if look.notified && watch.note >> 32 == 1 << 31 | u64::from(*index) =>
                {
                    let told = (watch.note >> 16) as u16;
                    let size = past.queues.get(index).map_or(1, |queue| queue.layout.size);
                    let from = distance(look.index.0, told, size);
                    watch.expect(from <= distance(look.index.0, look.index.1, size), || {
                        format!(
                            "told {told:#x}, the next one was {:#x}, and is {:#x}",
                            look.index.0, look.index.1
                        )
                    });
                }
                _ => {}
            }
        },
        &[Mutant {
            name: "the next descriptor is always the first",
            scenario: "packed-odd-size",
            slip: Slip {
                notify: Some(|hand, queue, data| hand.device.notify(queue, data & 0xffff | 0x8000_0000)),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.list-allowed",
        &["drv:packed:scatter-gather-support:01"],
        "a buffer becomes available",
        "It has more elements than the device allows.",
        |watch, past, event| {
            if let Some((index, chain)) = whole(past, event)
                && chain.descriptors.iter().all(|descriptor| !descriptor.indirect)
            {
                let most = allowed(past, index);
                let count = chain.elements().count();
                watch.expect(count <= most, || format!("{count} elements, {most} are allowed"));
            }
        },
        &[Mutant {
            name: "more segments than the disk allows",
            scenario: "packed",
            slip: Slip {
                notify: Some(|hand, queue, data| stretched(hand, queue, data, 8)),
                ..Slip::NONE
            },
            also: &["blk.whole-sectors"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.list-length",
        &["drv:packed:scatter-gather-support:02"],
        "a buffer becomes available",
        "Its list is longer than the virtqueue.",
        |watch, past, event| {
            if let Some((_, chain)) = available(past, event) {
                watch.expect(chain.astray != Some(Astray::Loop), || format!("{chain:x?}"));
            }
        },
        &[Mutant {
            name: "a list that does not end",
            scenario: "packed",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let size = hand.layouts.get(&queue).map_or(0, |layout| layout.size);
                    if hand.notifications == 1 {
                        for slot in 0..size {
                            let at = hand.slot(queue, slot);
                            if slot > 2 {
                                let element: [u8; 16] = hand.read(hand.slot(queue, 2));
                                hand.write(at, &element);
                            }
                            hand.flag_packed(at, NEXT);
                        }
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.framing",
        &["drv:packed:scatter-gather-support:03"],
        "a buffer has a device-readable and a device-writable part",
        "A device-readable element comes after a device-writable one.",
        |watch, past, event| {
            if let Some((_, chain)) = whole(past, event) {
                let mut elements = chain.elements();
                let writable = elements.any(|element| element.has(WRITE));
                if writable && chain.length(false) > 0 {
                    watch.expect(elements.all(|element| element.has(WRITE)), || {
                        format!("{chain:x?}")
                    });
                }
            }
        },
        &[Mutant {
            name: "the status of a request is device-readable",
            scenario: "packed",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if hand.notifications == 1 {
                        let flags = hand.slot(queue, 2) + 14;
                        hand.write16(flags, hand.read16(flags) & !WRITE);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            also: &["blk.whole-sectors"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.space",
        &["drv:packed:scatter-gather-support:05"],
        "a buffer becomes available",
        "There is no room for it: with those that the device has it takes more descriptors than there are.",
        |watch, past, event| {
            if let Some((index, chain)) = available(past, event)
                && let Some(queue) = past.queues.get(&index)
            {
                let taken: usize = queue.exposed.values().sum();
                watch.expect(taken + chain.direct() <= queue.layout.size.into(), || {
                    format!(
                        "{} descriptors of {} are taken, it takes {}",
                        taken,
                        queue.layout.size,
                        chain.direct()
                    )
                });
            }
        },
        &[Mutant {
            name: "a list goes on where the device has another one",
            scenario: "packed-deaf",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    hand.device.notify(queue, data)?;
                    // Two reads of three elements are there, in a ring of 16.
                    let element: [u8; 16] = hand.read(hand.slot(queue, 2));
                    for slot in 6..17 {
                        let at = hand.slot(queue, slot);
                        hand.write(at, &element);
                        let own = if slot < 16 { AVAIL } else { USED };
                        let next = if slot < 16 { NEXT } else { 0 };
                        hand.write16(at + 14, own | next | WRITE);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            also: &["packed.unused", "cleanup.exposed", "packed.list-allowed"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.last-first",
        &["drv:packed:scatter-gather-support:06"],
        "a list of several descriptors becomes available",
        "Its first descriptor is available before the others.",
        |watch, past, event| {
            if let Some((_, chain)) = available(past, event)
                && (chain.direct() > 1 || chain.astray.is_some())
            {
                let torn = matches!(chain.astray, Some(Astray::NotAvailable(_)));
                watch.expect(!torn, || format!("{chain:x?}"));
            }
        },
        &[Mutant {
            name: "the first descriptor is made available first",
            scenario: "packed",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let flags = hand.slot(queue, 1) + 14;
                    let own = hand.read16(flags);
                    if hand.notifications == 1 {
                        hand.write16(flags, own & !(AVAIL | USED));
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.indirect-unasked",
        &["drv:packed:indirect-descriptors:01"],
        "a buffer becomes available",
        "It has an indirect descriptor, and VIRTIO_F_INDIRECT_DESC is not negotiated.",
        |watch, past, event| {
            if let Some((_, chain)) = available(past, event) {
                let indirect = chain
                    .descriptors
                    .iter()
                    .any(|descriptor| descriptor.has(INDIRECT));
                watch.expect(past.has(INDIRECT_DESC) || !indirect, || format!("{chain:x?}"));
            }
        },
        &[Mutant {
            name: "an indirect table that was not negotiated",
            scenario: "packed",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if hand.notifications == 1 {
                        hand.flag_packed(hand.slot(queue, 2), INDIRECT);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            also: &["blk.whole-sectors", "packed.indirect-list"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.indirect-flags",
        &["drv:packed:indirect-descriptors:02"],
        "a buffer with an indirect table becomes available",
        "A descriptor of the table has another flag than WRITE.",
        |watch, past, event| {
            if let Some((_, chain)) = available(past, event) {
                for descriptor in chain.descriptors.iter().filter(|descriptor| descriptor.indirect) {
                    watch.expect(descriptor.flags & !WRITE == 0, || format!("{descriptor:x?}"));
                }
            }
        },
        &[Mutant {
            name: "the descriptors of a table are chained",
            scenario: "packed-indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if hand.notifications == 1 {
                        let table = u64::from_le_bytes(hand.read(hand.slot(queue, 0)));
                        hand.flag_packed(table, NEXT);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.indirect-allowed",
        &["drv:packed:indirect-descriptors:03"],
        "a buffer with an indirect table becomes available",
        "The table has more elements than the device allows.",
        |watch, past, event| {
            if let Some((index, chain)) = whole(past, event)
                && chain.descriptors.iter().any(|descriptor| descriptor.indirect)
            {
                let most = allowed(past, index);
                let count = chain.elements().count();
                watch.expect(count <= most, || format!("{count} elements, {most} are allowed"));
            }
        },
        &[Mutant {
            name: "more segments in a table than the disk allows",
            scenario: "packed-indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if hand.notifications == 1 {
                        lengthen(hand, queue);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "packed.indirect-list",
        &["drv:packed:indirect-descriptors:04"],
        "a buffer with an indirect descriptor becomes available",
        "The descriptor is in a list of several.",
        |watch, past, event| {
            if let Some((_, chain)) = available(past, event)
                && let Some(indirect) = chain
                    .descriptors
                    .iter()
                    .find(|descriptor| descriptor.has(INDIRECT))
            {
                watch.expect(chain.direct() == 1 && !indirect.has(NEXT), || {
                    format!("{chain:x?}")
                });
            }
        },
        &[Mutant {
            name: "a descriptor follows an indirect table",
            scenario: "packed-indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    if hand.notifications == 1 {
                        let (first, second) = (hand.slot(queue, 0), hand.slot(queue, 1));
                        let table = u64::from_le_bytes(hand.read(first));
                        // It is the status of the request once more.
                        let status: [u8; 12] = hand.read(table + 32);
                        hand.write(second, &status);
                        hand.write16(second + 12, hand.read16(first + 12));
                        hand.write16(second + 14, AVAIL | WRITE);
                        hand.flag_packed(first, NEXT);
                    }
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            also: &["blk.whole-sectors"],
            ..Mutant::ALONE
        }],
    ),
];

/// A buffer of a packed virtqueue that has become available.
fn available<'e>(past: &Past, event: &'e Event) -> Option<(u16, &'e Chain)> {
    match event {
        Event::Available(index, chain) if past.is_packed() => Some((*index, chain)),
        _ => None,
    }
}

/// The same, if it could be followed to its end.
fn whole<'e>(past: &Past, event: &'e Event) -> Option<(u16, &'e Chain)> {
    available(past, event).filter(|(_, chain)| chain.astray.is_none())
}

/// Whether the device has buffers of a packed virtqueue.
fn waits(past: &Past, index: u16) -> bool {
    let queue = past.queues.get(&index);
    past.is_packed() && queue.is_some_and(|queue| !queue.exposed.is_empty())
}

/// How many elements the device allows in a buffer.
fn allowed(past: &Past, index: u16) -> usize {
    let is_disks = past.device.id == block::DEVICE.id && index < past.administration;
    match is_disks && past.has(block::features::SEG_MAX) {
        // Head and status are no segments of the data.
        true => SEG_MAX as usize + 2,
        false => past
            .queues
            .get(&index)
            .map_or(0, |queue| queue.layout.size.into()),
    }
}

/// How many descriptors lie between two positions, of which bit 15 is the wrap counter.
fn distance(from: u16, to: u16, size: u16) -> u16 {
    let place = |word: u16| (word & 0x7fff) % size;
    match (from ^ to) & 0x8000 {
        0 => place(to).wrapping_sub(place(from)),
        _ => place(to).wrapping_add(size).wrapping_sub(place(from)),
    }
}

/// Notifies the device, and the first buffer, a read, has `descriptors`, the last of them over and over.
fn stretched(hand: &mut Hand, queue: u16, data: u32, descriptors: u16) -> Told {
    if hand.notifications == 1 {
        let element: [u8; 16] = hand.read(hand.slot(queue, 2));
        for slot in 2..descriptors {
            let at = hand.slot(queue, slot);
            hand.write(at, &element);
            if slot + 1 < descriptors {
                hand.flag_packed(at, NEXT);
            }
        }
    }
    hand.device.notify(queue, data)
}

/// Makes the indirect table of the first buffer, a read of a sector, longer than the disk allows: its data come in many
/// pieces.
fn lengthen(hand: &Hand, queue: u16) {
    const PIECES: u64 = 8;
    let first = hand.slot(queue, 0);
    let table = u64::from_le_bytes(hand.read(first));
    let [head, data, status]: [[u8; 16]; 3] = [0, 16, 32].map(|offset| hand.read(table + offset));
    let address = u64::from_le_bytes(*data.first_chunk().unwrap_or(&[0; 8]));
    let mut longer = head.to_vec();
    for piece in 0..PIECES {
        longer.extend((address + 64 * piece).to_le_bytes());
        longer.extend(64u32.to_le_bytes());
        longer.extend([0, 0]);
        longer.extend(WRITE.to_le_bytes());
    }
    longer.extend(status);
    // Nothing of the driver's is so far behind its virtqueue.
    let place = first + (2 << 20);
    hand.write(place, &longer);
    hand.write(first, &place.to_le_bytes());
    hand.write(first + 8, &(longer.len() as u32).to_le_bytes());
}
