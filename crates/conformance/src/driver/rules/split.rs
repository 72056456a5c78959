//! Split virtqueues (section 2.7).

use ringwright_driver::Transport;
use ringwright_spec::feature::{EVENT_IDX, IN_ORDER, INDIRECT_DESC};
use ringwright_spec::split;
use ringwright_spec::status::Status;

use super::{MISALIGNED, aligned};
use crate::driver::event::{INDIRECT, NEXT, WRITE};
use crate::driver::{Astray, Chain, Event, Hand, Look, Mutant, Past, Rule, Slip, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "split.aligned",
        &["drv:split:virtqueues:01"],
        "the driver enables a split virtqueue",
        "A part of it is not aligned.",
        |watch, past, event| {
            if let Event::QueueEnabled(index, layout) = event
                && !past.is_packed()
            {
                let parts = [
                    (layout.descriptor_area, split::DESC_ALIGN),
                    (layout.driver_area, split::AVAIL_ALIGN),
                    (layout.device_area, split::USED_ALIGN),
                ];
                aligned(watch, *index, layout, parts);
            }
        },
        &[Mutant {
            name: "a used ring is at an odd address",
            slip: MISALIGNED,
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.framing",
        &["drv:split:message-framing:01"],
        "a buffer has a device-readable and a device-writable part",
        "A device-readable descriptor comes after a device-writable one.",
        |watch, past, event| {
            if let Some(chain) = chain(past, event) {
                let mut elements = chain.elements();
                let writable = elements.any(|element| element.has(WRITE));
                if writable && chain.length(false) > 0 {
                    watch.expect(elements.all(|element| element.has(WRITE)), || {
                        format!("{chain:x?}")
                    });
                }
            }
        },
        &[Mutant::ALONE
            .notifying(
                "the status of a request is device-readable",
                |hand, queue, data| {
                    let last = nth(hand, queue, 2);
                    hand.write16(last + 12, 0);
                    hand.device.notify(queue, data)
                },
            )
            .also(&["blk.whole-sectors"])],
    ),
    Rule::new(
        "split.loop",
        &["drv:split:the-virtqueue-descriptor-table:01"],
        "a buffer becomes available",
        "It has a loop, or more than 2^32 bytes.",
        |watch, past, event| {
            if let Some(chain) = any_chain(past, event) {
                let bytes = chain.length(false) + chain.length(true);
                watch.expect(chain.astray != Some(Astray::Loop) && bytes <= 1 << 32, || {
                    format!("{bytes} bytes: {chain:x?}")
                });
            }
        },
        &[Mutant::ALONE.notifying(
            "the last descriptor leads back to the first",
            |hand, queue, data| {
                let (head, last) = (hand.head(queue), nth(hand, queue, 2));
                let index = (head
                    - hand
                        .layouts
                        .get(&queue)
                        .map_or(0, |layout| layout.descriptor_area))
                    / 16;
                hand.flag(last, NEXT);
                hand.write16(last + 14, index as u16);
                hand.device.notify(queue, data)
            },
        )],
    ),
    Rule::new(
        "split.in-order",
        &["drv:split:the-virtqueue-descriptor-table:02"],
        "a chain of several descriptors becomes available, and VIRTIO_F_IN_ORDER is negotiated",
        "A descriptor is not followed by its neighbour in the table.",
        |watch, past, event| {
            if let Event::Available(index, chain) = event
                && past.has(IN_ORDER)
                && !past.is_packed()
            {
                let size = past.queues.get(index).map_or(1, |queue| queue.layout.size);
                let direct = chain.descriptors.iter().filter(|descriptor| !descriptor.indirect);
                for descriptor in direct.filter(|descriptor| descriptor.has(NEXT)) {
                    let neighbour = (descriptor.index + 1) % size;
                    watch.expect(descriptor.next == neighbour, || {
                        format!("of {size} descriptors: {descriptor:x?}")
                    });
                }
            }
        },
        &[Mutant {
            name: "a descriptor is left out of the order",
            scenario: "in-order",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let (head, second) = (hand.head(queue), nth(hand, queue, 1));
                    let third = hand.read16(second + 14);
                    hand.write16(head + 14, third);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.indirect-unasked",
        &["drv:split:indirect-descriptors:01"],
        "a buffer becomes available",
        "It has an indirect descriptor, and VIRTIO_F_INDIRECT_DESC is not negotiated.",
        |watch, past, event| {
            if let Some(chain) = any_chain(past, event) {
                let allowed = past.has(INDIRECT_DESC);
                let indirect = chain
                    .descriptors
                    .iter()
                    .any(|descriptor| descriptor.has(INDIRECT));
                watch.expect(allowed || !indirect, || format!("{chain:x?}"));
            }
        },
        &[Mutant::ALONE.notifying(
            "an indirect table that was not negotiated",
            |hand, queue, data| {
                let last = nth(hand, queue, 2);
                hand.flag(last, INDIRECT);
                hand.device.notify(queue, data)
            },
        )],
    ),
    Rule::new(
        "split.indirect-nested",
        &["drv:split:indirect-descriptors:02"],
        "a buffer with an indirect table becomes available",
        "A descriptor in the table refers to another one.",
        |watch, past, event| {
            if let Some(chain) = any_chain(past, event) {
                let mut table = chain
                    .descriptors
                    .iter()
                    .filter(|descriptor| descriptor.indirect)
                    .peekable();
                if table.peek().is_some() {
                    let nested = table.find(|descriptor| descriptor.has(INDIRECT));
                    watch.expect(nested.is_none(), || format!("{nested:x?}"));
                }
            }
        },
        &[Mutant {
            name: "a table in a table",
            scenario: "indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let last = hand.table(queue) + 32;
                    hand.flag(last, INDIRECT);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            also: &["blk.whole-sectors"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.chain-length",
        &["drv:split:indirect-descriptors:03"],
        "a buffer becomes available",
        "It has more descriptors than the virtqueue.",
        |watch, past, event| {
            if let (Some(chain), Event::Available(index, _)) = (chain(past, event), event) {
                let size = past.queues.get(index).map_or(0, |queue| queue.layout.size);
                let count = chain.elements().count();
                watch.expect(count <= size.into(), || {
                    format!("{count} descriptors in a virtqueue of {size}")
                });
            }
        },
        &[Mutant {
            name: "an indirect table longer than the virtqueue",
            scenario: "indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    lengthen(hand, queue);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.indirect-next",
        &["drv:split:indirect-descriptors:04"],
        "a buffer with an indirect table becomes available",
        "A descriptor has the flags INDIRECT and NEXT.",
        |watch, past, event| {
            if let Some(chain) = any_chain(past, event) {
                for descriptor in chain
                    .descriptors
                    .iter()
                    .filter(|descriptor| descriptor.has(INDIRECT))
                {
                    watch.expect(!descriptor.has(NEXT), || format!("{descriptor:x?}"));
                }
            }
        },
        &[Mutant {
            name: "a descriptor follows an indirect table",
            scenario: "indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let (head, table) = (hand.head(queue), hand.table(queue));
                    let Some(layout) = hand.layouts.get(&queue).copied() else {
                        return hand.device.notify(queue, data);
                    };
                    let other = ((head - layout.descriptor_area) / 16 + 1) % u64::from(layout.size);
                    // It is the status of the request once more.
                    let mut status: [u8; 16] = hand.read(table + 32);
                    status[12..].copy_from_slice(&[WRITE as u8, 0, 0, 0]);
                    hand.write(layout.descriptor_area + 16 * other, &status);
                    hand.flag(head, NEXT);
                    hand.write16(head + 14, other as u16);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            // The descriptor may be another buffer's.
            also: &["blk.whole-sectors", "cleanup.exposed"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.indirect-in-order",
        &["drv:split:indirect-descriptors:05"],
        "a buffer with an indirect table becomes available, and VIRTIO_F_IN_ORDER is negotiated",
        "The descriptors of the table do not follow each other.",
        |watch, past, event| {
            if let Event::Available(_, chain) = event
                && past.has(IN_ORDER)
                && !past.is_packed()
            {
                let table = chain.descriptors.iter().filter(|descriptor| descriptor.indirect);
                for descriptor in table.filter(|descriptor| descriptor.has(NEXT)) {
                    watch.expect(descriptor.next == descriptor.index + 1, || {
                        format!("{descriptor:x?}")
                    });
                }
            }
        },
        &[Mutant {
            name: "a descriptor is left out of an indirect table",
            scenario: "in-order-indirect",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    let first = hand.table(queue);
                    hand.write16(first + 14, 2);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.index",
        &["drv:split:the-virtqueue-available-ring:01"],
        "buffers become available",
        "The index of the available ring goes back, or forward by more than there are descriptors.",
        |watch, past, event| {
            if let Some((index, look)) = looked(past, event) {
                let size = past.queues.get(&index).map_or(0, |queue| queue.layout.size);
                let (before, now) = look.index;
                if before != now {
                    watch.expect(now.wrapping_sub(before) <= size, || {
                        format!("idx of virtqueue {index} was {before}, and is {now}")
                    });
                }
            }
        },
        &[
            Mutant::ALONE.notifying("a buffer is taken back", |hand, queue, data| {
                hand.device.notify(queue, data)?;
                if hand.notifications == 5
                    && let Some(layout) = hand.layouts.get(&queue).copied()
                {
                    let index = hand.read16(layout.driver_area + 2);
                    hand.write16(layout.driver_area + 2, index.wrapping_sub(1));
                    hand.device.notify(queue, data)?;
                    hand.write16(layout.driver_area + 2, index);
                }
                Ok(())
            }),
        ],
    ),
    Rule::new(
        "split.flags",
        &["drv:split:used-buffer-notification-suppression:01"],
        "the device looks at an available ring, and VIRTIO_F_EVENT_IDX is not negotiated",
        "Its flags are neither 0 nor 1.",
        |watch, past, event| {
            if let Some((index, look)) = looked(past, event)
                && !past.has(EVENT_IDX)
                && past.is_live()
            {
                watch.expect(look.driver.flags <= 1, || {
                    format!("the flags of virtqueue {index} are {:#x}", look.driver.flags)
                });
            }
        },
        &[
            Mutant::ALONE.notifying("a flag that is none", |hand, queue, data| {
                set_flags(hand, queue, 2);
                hand.device.notify(queue, data)
            }),
        ],
    ),
    Rule::new(
        "split.flags-events",
        &["drv:split:used-buffer-notification-suppression:03"],
        "the device looks at an available ring, and VIRTIO_F_EVENT_IDX is negotiated",
        "Its flags are not 0.",
        |watch, past, event| {
            if let Some((index, look)) = looked(past, event)
                && past.has(EVENT_IDX)
                && past.is_live()
            {
                watch.expect(look.driver.flags == 0, || {
                    format!("the flags of virtqueue {index} are {:#x}", look.driver.flags)
                });
            }
        },
        &[Mutant {
            name: "a flag in place of the event index",
            scenario: "events",
            slip: Slip {
                notify: Some(|hand, queue, data| {
                    set_flags(hand, queue, 1);
                    hand.device.notify(queue, data)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.spurious",
        &["drv:split:used-buffer-notification-suppression:05"],
        "the device notifies without a cause",
        "The driver fails.",
        |watch, past, event| {
            if !past.scenario.spurious || past.is_packed() {
                return;
            }
            match event {
                Event::StatusWritten(status) if status.contains(Status::FAILED) => {
                    watch.broken(format!("the status was {:?}, {status:?} is written", past.status));
                }
                Event::Ends(Err(error)) if past.lives > 0 => watch.broken(error.as_str()),
                Event::Ends(Ok(())) if past.buffers.1 > 0 => watch.seen(),
                _ => {}
            }
        },
        &[Mutant {
            name: "a notification without a cause is taken for an error",
            scenario: "spurious",
            slip: Slip {
                interrupt: Some(|hand, interrupt| {
                    if interrupt.config {
                        // A strict device takes any status.
                        let _ = hand.device.set_status(hand.status | Status::FAILED);
                    }
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.used-flags",
        &["drv:split:available-buffer-notification-suppression:01"],
        "the driver enables a split virtqueue",
        "The flags of its used ring are not 0.",
        |watch, past, event| {
            if let Event::QueueFound(index, found, _) = event
                && !past.is_packed()
            {
                watch.expect(found.flags == 0, || {
                    format!("the flags of virtqueue {index} are {:#x}", found.flags)
                });
            }
        },
        &[Mutant {
            name: "the used ring is not what it should be at first",
            slip: Slip {
                enable_queue: Some(|hand, index, layout| {
                    hand.write16(layout.device_area, 1);
                    hand.device.enable_queue(index, &layout)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "split.notify",
        &["drv:split:available-buffer-notification-suppression:04"],
        "a buffer becomes available, the flags of the used ring are 0, and VIRTIO_F_EVENT_IDX is not negotiated",
        "The driver waits, and the device is not notified.",
        |watch, past, event| unannounced(watch, past, event, false),
        &[
            Mutant::ALONE.notifying("notifications are forgotten", |hand, queue, data| {
                match hand.notifications < 5 {
                    true => hand.device.notify(queue, data),
                    false => Ok(()),
                }
            }),
        ],
    ),
    Rule::new(
        "split.notify-event",
        &["drv:split:available-buffer-notification-suppression:06"],
        "the entry that avail_event names becomes available, and VIRTIO_F_EVENT_IDX is negotiated",
        "The driver waits, and the device is not notified.",
        |watch, past, event| unannounced(watch, past, event, true),
        &[Mutant {
            name: "notifications are forgotten, with event indices",
            scenario: "events",
            slip: Slip {
                notify: Some(|hand, queue, data| match hand.notifications < 5 {
                    true => hand.device.notify(queue, data),
                    false => Ok(()),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
];

/// A buffer of a split virtqueue that has become available.
fn any_chain<'e>(past: &Past, event: &'e Event) -> Option<&'e Chain> {
    match event {
        Event::Available(_, chain) if !past.is_packed() => Some(chain),
        _ => None,
    }
}

/// The same, if it could be followed to its end.
fn chain<'e>(past: &Past, event: &'e Event) -> Option<&'e Chain> {
    any_chain(past, event).filter(|chain| chain.astray.is_none())
}

/// A look at a split virtqueue.
fn looked(past: &Past, event: &Event) -> Option<(u16, Look)> {
    match event {
        Event::Looked(index, look) if !past.is_packed() => Some((*index, *look)),
        _ => None,
    }
}

/// Buffers of which the device had to be notified, and was not. The note has a bit for each such virtqueue.
fn unannounced(watch: &mut Watch, past: &Past, event: &Event, events: bool) {
    if past.has(EVENT_IDX) != events || past.is_packed() {
        return;
    }
    match event {
        Event::Looked(index, look) => {
            let (before, now) = look.index;
            let due = match events {
                true => split::need_event(look.device.event, now, before),
                false => before != now && look.device.flags == 0,
            };
            if due && past.is_live() && !past.is_suspended() {
                match look.notified {
                    true => watch.seen(),
                    false => watch.note |= 1 << (index % 64),
                }
            }
        }
        Event::Notified(index, _) => watch.note &= !(1 << (index % 64)),
        Event::StatusWritten(Status::NONE) => watch.note = 0,
        Event::Waits if watch.note != 0 => {
            watch.broken(format!(
                "buffers became available without a notification in virtqueue {}",
                watch.note.trailing_zeros()
            ));
        }
        _ => {}
    }
}

/// Address of the descriptor that comes `number` steps after the first one of the last buffer.
fn nth(hand: &Hand, queue: u16, number: u16) -> u64 {
    let table = hand
        .layouts
        .get(&queue)
        .map_or(0, |layout| layout.descriptor_area);
    (0..number).fold(hand.head(queue), |descriptor, _| {
        table + 16 * u64::from(hand.read16(descriptor + 14))
    })
}

/// Writes the flags of the available ring.
fn set_flags(hand: &Hand, queue: u16, flags: u16) {
    if let Some(layout) = hand.layouts.get(&queue) {
        hand.write16(layout.driver_area, flags);
    }
}

/// Makes the indirect table of the last buffer, a read of a sector, longer than the virtqueue: its data come in many
/// pieces.
fn lengthen(hand: &Hand, queue: u16) {
    const PIECES: u64 = 16;
    let Some(layout) = hand.layouts.get(&queue) else {
        return;
    };
    let [head, data, status]: [[u8; 16]; 3] = [0, 16, 32].map(|offset| hand.read(hand.table(queue) + offset));
    let address = u64::from_le_bytes(*data.first_chunk().unwrap_or(&[0; 8]));
    let mut table = head.to_vec();
    for piece in 0..PIECES {
        table.extend((address + 32 * piece).to_le_bytes());
        table.extend(32u32.to_le_bytes());
        table.extend((NEXT | WRITE).to_le_bytes());
        table.extend((piece as u16 + 2).to_le_bytes());
    }
    table.extend(status);
    // Nothing of the driver's is so far behind its virtqueue.
    let place = layout.descriptor_area + (2 << 20);
    hand.write(place, &table);
    hand.write(hand.head(queue), &place.to_le_bytes());
    hand.write(hand.head(queue) + 8, &(table.len() as u32).to_le_bytes());
}
