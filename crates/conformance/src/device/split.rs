//! Split virtqueues, message framing, indirect descriptors and notification suppression (sections 2.6, 2.7).

use ringwright_driver::Interrupt;
use ringwright_spec::Features;
use ringwright_spec::feature::{EVENT_IDX, INDIRECT_DESC, RING_PACKED};
use ringwright_spec::split::DescFlags;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::{Live, Pending, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{Element, SplitDesc, Used};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "framing.any",
        clauses: &["dev:split:message-framing:01"],
        does: "Cuts the parts of a request into elements in several ways, of single bytes among them.",
        violation: "The device does not answer as it does to one element for each part.",
        needs: Needs::NOTHING,
        run: any_framing,
        mutants: &[Mutant {
            name: "a request of more than three elements is refused",
            breaks: "dev:split:message-framing:01",
            lens: Lens {
                notified: Some(|life, queue| {
                    let chain = last_chain(life, queue);
                    if chain.len() > 3
                        && let Some(last) = chain.last()
                    {
                        life.write(last.address + u64::from(last.length.saturating_sub(1)), &[1]);
                    }
                }),
                ..Lens::CLEAR
            },
            also: &["indirect.after-direct", "block.zones-unsupported"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "split.descriptors-unwritten",
        clauses: &[
            "dev:split:the-virtqueue-descriptor-table:01",
            "dev:split:the-virtqueue-descriptor-table:02",
        ],
        does: "Compares the descriptor table and the device-readable part of a request before and after it is used.",
        violation: "The device has written there.",
        needs: Needs::NOTHING,
        run: descriptors_unwritten,
        mutants: &[
            Mutant {
                name: "the device-readable part is written to",
                breaks: "dev:split:the-virtqueue-descriptor-table:01",
                lens: Lens {
                    notified: Some(|life, queue| {
                        let chain = last_chain(life, queue);
                        if let Some(first) = chain
                            .first()
                            .filter(|first| !first.flags.contains(DescFlags::WRITE))
                        {
                            life.write(first.address + u64::from(first.length.saturating_sub(1)), &[0xee]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the descriptor table is written to",
                breaks: "dev:split:the-virtqueue-descriptor-table:02",
                lens: Lens {
                    notified: Some(|life, queue| {
                        if let (Some(layout), Some(used)) = (life.layouts.get(&queue), last_used(life, queue))
                        {
                            life.write(layout.descriptor_area + 16 * u64::from(used.id) + 8, &[0; 4]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "indirect.write-flag",
        clauses: &["dev:split:indirect-descriptors:01"],
        does: "Sets the write-only flag in the descriptor that refers to an indirect table.",
        violation: "The device does not answer as it does without.",
        needs: Needs::features(INDIRECT_DESC),
        run: |probe| {
            let mut live = probe.go_live(INDIRECT_DESC)?;
            indirect(
                probe,
                &mut live,
                0,
                DescFlags::WRITE,
                "dev:split:indirect-descriptors:01",
            )
        },
        mutants: &[Mutant {
            name: "a writable indirect table is refused",
            breaks: "dev:split:indirect-descriptors:01",
            lens: Lens {
                notify: Some(|life, queue| {
                    let flags = next_chain(life, queue).last().map(|last| last.flags);
                    !flags.is_some_and(|flags| flags.contains(DescFlags::INDIRECT | DescFlags::WRITE))
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "indirect.after-direct",
        clauses: &["dev:split:indirect-descriptors:02"],
        does: "Puts the first element of a request into a descriptor of the ring, and the rest into an indirect table behind it.",
        violation: "The device does not answer as it does to a request that is all direct.",
        needs: Needs::features(INDIRECT_DESC),
        run: |probe| {
            let mut live = probe.go_live(INDIRECT_DESC)?;
            for direct in 0..3 {
                indirect(
                    probe,
                    &mut live,
                    direct,
                    DescFlags::NONE,
                    "dev:split:indirect-descriptors:02",
                )?;
            }
            Ok(())
        },
        mutants: &[Mutant {
            name: "an indirect table behind a direct descriptor is not looked at",
            breaks: "dev:split:indirect-descriptors:02",
            lens: Lens {
                notify: Some(|life, queue| {
                    let chain = next_chain(life, queue);
                    let flags = chain.last().map(|last| last.flags);
                    chain.len() < 2 || !flags.is_some_and(|flags| flags.contains(DescFlags::INDIRECT))
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "split.used-length",
        clauses: &["dev:split:the-virtqueue-used-ring:02"],
        does: "Has the same request answered into memory of different content.",
        violation: "A byte within the used length was not written.",
        needs: Needs::NOTHING,
        run: used_length,
        mutants: &[
            Mutant {
                name: "eight bytes of what is said to be written are not",
                breaks: "dev:split:the-virtqueue-used-ring:02",
                lens: Lens {
                    notify: Some(|life, queue| {
                        let target = next_chain(life, queue)
                            .into_iter()
                            .find(|part| part.flags.contains(DescFlags::WRITE));
                        if let Some(part) = target {
                            life.note = u64::from_le_bytes(life.read(part.address));
                        }
                        true
                    }),
                    notified: Some(|life, queue| {
                        let target = last_chain(life, queue)
                            .into_iter()
                            .find(|part| part.flags.contains(DescFlags::WRITE));
                        if let Some(part) = target {
                            life.write(part.address, &life.note.to_le_bytes());
                        }
                    }),
                    ..Lens::CLEAR
                },
                also: &["block.flags", "block.zones-unsupported"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "more bytes are said to be written than the buffer has",
                breaks: "dev:split:the-virtqueue-used-ring:02",
                lens: Lens {
                    notified: Some(|life, queue| {
                        if let Some(entry) = life.last_used_entry(queue) {
                            life.write(entry + 4, &0x10_0000u32.to_le_bytes());
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.interrupt-flag",
        clauses: &[
            "dev:split:used-buffer-notification-suppression:01",
            "dev:split:used-buffer-notification-suppression:02",
            "dev:split:used-buffer-notification-suppression:03",
        ],
        does: "Without VIRTIO_F_EVENT_IDX: has requests answered with the flag of the available ring 0 and 1, and used_event far away.",
        violation: "No notification comes with the flag 0, or one with the flag 1.",
        needs: Needs::NOTHING,
        run: interrupt_flag,
        mutants: &[
            Mutant {
                name: "used_event counts without VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:used-buffer-notification-suppression:01",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            && !life.layouts.iter().any(|(_, layout)| {
                                life.read16(layout.driver_area + 4 + 2 * u64::from(layout.size)) == FAR
                            }),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the flag does not suppress notifications",
                breaks: "dev:split:used-buffer-notification-suppression:02",
                lens: Lens {
                    notified: Some(|life, _| life.note = 1),
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue || std::mem::take(&mut life.note) == 1,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                also: &[
                    "split.interrupt-event",
                    "reset.quiet",
                    "queue-reset.quiet",
                    "status.before-driver-ok",
                    "suspend.quiet",
                ],
                ..Mutant::ALONE
            },
            Mutant {
                name: "used buffers are never notified",
                breaks: "dev:split:used-buffer-notification-suppression:03",
                lens: Lens {
                    interrupt: Some(|_, interrupt| Interrupt {
                        queue: false,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                also: &["split.interrupt-event", "suspend.drained"],
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.interrupt-event",
        clauses: &[
            "dev:split:used-buffer-notification-suppression:04",
            "dev:split:used-buffer-notification-suppression:05",
            "dev:split:used-buffer-notification-suppression:06",
        ],
        does: "With VIRTIO_F_EVENT_IDX: has requests answered with used_event at the next entry and elsewhere, the flag being 1.",
        violation: "No notification comes for the entry that used_event names, or one for another.",
        needs: Needs::features(EVENT_IDX),
        run: interrupt_event,
        mutants: &[
            Mutant {
                name: "the flag counts with VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:used-buffer-notification-suppression:04",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            && !(life.features.contains(EVENT_IDX)
                                && life
                                    .layouts
                                    .values()
                                    .any(|layout| life.read16(layout.driver_area) == 1)),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the entry that used_event names is not notified",
                breaks: "dev:split:used-buffer-notification-suppression:05",
                lens: Lens {
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue && !life.features.contains(EVENT_IDX),
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "entries that used_event does not name are notified",
                breaks: "dev:split:used-buffer-notification-suppression:06",
                lens: Lens {
                    notified: Some(|life, _| life.note = 1),
                    interrupt: Some(|life, interrupt| Interrupt {
                        queue: interrupt.queue
                            || life.features.contains(EVENT_IDX) && std::mem::take(&mut life.note) == 1,
                        ..interrupt
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.used-flags",
        clauses: &[
            "dev:split:available-buffer-notification-suppression:01",
            "dev:split:available-buffer-notification-suppression:03",
        ],
        does: "Reads the flags of the used ring while requests are answered, with and without VIRTIO_F_EVENT_IDX.",
        violation: "They are neither 0 nor 1, or not 0 with VIRTIO_F_EVENT_IDX.",
        needs: Needs::NOTHING,
        run: used_flags,
        mutants: &[
            Mutant {
                name: "the flags of the used ring are 2",
                breaks: "dev:split:available-buffer-notification-suppression:01",
                lens: Lens {
                    notified: Some(|life, _| {
                        for layout in life
                            .layouts
                            .values()
                            .filter(|_| !life.features.contains(EVENT_IDX))
                        {
                            life.write(layout.device_area, &[2, 0]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the flags of the used ring are 1 with VIRTIO_F_EVENT_IDX",
                breaks: "dev:split:available-buffer-notification-suppression:03",
                lens: Lens {
                    notified: Some(|life, _| {
                        for layout in life
                            .layouts
                            .values()
                            .filter(|_| life.features.contains(EVENT_IDX))
                        {
                            life.write(layout.device_area, &[1, 0]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "split.spurious",
        clauses: &["dev:split:available-buffer-notification-suppression:05"],
        does: "Notifies the device five times of nothing, then of a request.",
        violation: "The device uses something that was not available, or does not answer any more.",
        needs: Needs::NOTHING,
        run: spurious,
        mutants: &[Mutant {
            name: "a notification is taken for a buffer",
            breaks: "dev:split:available-buffer-notification-suppression:05",
            lens: Lens {
                notify: Some(|life, queue| {
                    if let Some(layout) = life.layouts.get(&queue).copied().filter(|_| life.is_live()) {
                        let used = life.read16(layout.device_area + 2);
                        if life.read16(layout.driver_area + 2) == used {
                            life.write(layout.device_area + 2, &used.wrapping_add(1).to_le_bytes());
                        }
                    }
                    true
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// A `used_event` that no used index comes near to.
const FAR: u16 = 0x7abc;

fn any_framing(probe: &mut Probe) -> Outcome {
    let formats = [Features::NONE, RING_PACKED];
    let offered = probe.offered()?;
    for format in formats.into_iter().filter(|format| offered.contains(*format)) {
        let mut live = probe.go_live(format)?;
        // Lengths of the first elements of each part; the rest of it is one more.
        let cuts: &[&[u32]] = &[&[], &[1], &[1, 1, 1], &[3, 7], &[8], &[15]];
        for cut in cuts {
            let mut pending = probe.buffers(live.exercise, 0xaa)?;
            let elements: Vec<_> = pending
                .elements()
                .into_iter()
                .flat_map(|part| split_up(part, cut))
                .collect();
            probe.note(format_args!("elements {elements:x?}"));
            pending.id = live.queue().add(&elements);
            answered(probe, &mut live, &pending, "dev:split:message-framing:01")?;
        }
    }
    Ok(())
}

/// The elements of a part that is cut after each of `lengths`, as far as it goes.
fn split_up(part: Element, lengths: &[u32]) -> Vec<Element> {
    let mut elements = Vec::new();
    let mut rest = part;
    for length in lengths.iter().filter(|length| **length < part.length) {
        if *length >= rest.length {
            break;
        }
        elements.push(Element {
            length: *length,
            ..rest
        });
        rest.address += u64::from(*length);
        rest.length -= length;
    }
    elements.push(rest);
    elements
}

/// Notifies the device of a request that is available, which it has to answer as ever.
fn answered(
    probe: &mut Probe,
    live: &mut Live,
    pending: &Pending,
    clause: &'static str,
) -> Outcome<Option<Used>> {
    probe.notify(live.queue())?;
    let used = probe.used(live.queue())?;
    holds(used.is_some(), clause, || "the request is not answered".into())?;
    let mistake = used.and_then(|used| live.exercise.mistake(pending, used));
    holds(mistake.is_none(), clause, || mistake.unwrap_or_default())?;
    Ok(used)
}

fn descriptors_unwritten(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    for _ in 0..3 {
        let pending = probe.prepare(&mut live, 0)?;
        let size = live.queue().layout.size;
        let table = |live: &mut Live| -> Outcome<Vec<SplitDesc>> {
            let ring = live.queue().split()?;
            Ok((0..size).map(|index| ring.descriptor(index)).collect())
        };
        let (before, read) = (table(&mut live)?, pending.read());
        probe.notify(live.queue())?;
        if probe.used(live.queue())?.is_none() {
            return Err(Ended::Inconclusive("a legal request is not answered".into()));
        }
        let changed = pending.read() != read;
        holds(!changed, "dev:split:the-virtqueue-descriptor-table:01", || {
            format!(
                "the device-readable part was {read:02x?} and is {:02x?}",
                pending.read()
            )
        })?;
        let after = table(&mut live)?;
        let differs = before
            .iter()
            .zip(&after)
            .position(|(before, after)| before != after);
        holds(
            differs.is_none(),
            "dev:split:the-virtqueue-descriptor-table:02",
            || match differs {
                Some(index) => format!(
                    "descriptor {index} was {:x?} and is {:x?}",
                    before[index], after[index]
                ),
                None => String::new(),
            },
        )?;
    }
    Ok(())
}

/// A request whose first `direct` elements are in the ring, and whose others are in an indirect table.
fn indirect(
    probe: &mut Probe,
    live: &mut Live,
    direct: usize,
    flags: DescFlags,
    clause: &'static str,
) -> Outcome {
    let mut pending = probe.buffers(live.exercise, 0xaa)?;
    let elements: Vec<_> = pending
        .elements()
        .into_iter()
        .flat_map(|part| split_up(part, &[1, 2]))
        .collect();
    let (direct, rest) = elements.split_at(direct.min(elements.len() - 1));
    let table = probe.buffer(16 * rest.len(), 0)?;
    for (number, part) in rest.iter().enumerate() {
        let mut own = DescFlags::NONE;
        if part.writable {
            own = own | DescFlags::WRITE;
        }
        if number + 1 < rest.len() {
            own = own | DescFlags::NEXT;
        }
        let descriptor = SplitDesc {
            address: part.address,
            length: part.length,
            flags: own,
            next: number as u16 + 1,
        };
        // The table has been made for as many.
        let _ = table.write(16 * number, &descriptor.bytes());
    }
    let mut chain = direct.to_vec();
    chain.push(Element {
        writable: false,
        ..element(&table, false)
    });
    let ring = live.queue().split()?;
    pending.id = ring.describe(&chain, flags | DescFlags::INDIRECT);
    ring.offer(pending.id);
    answered(probe, live, &pending, clause)?;
    Ok(())
}

fn used_length(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    if live.exercise.writable == 0 {
        return Err(Ended::NotApplicable(
            "its requests have no device-writable part".into(),
        ));
    }
    let clause = "dev:split:the-virtqueue-used-ring:02";
    // A byte that was not written has the fill of each turn; no other byte can.
    let mut unwritten: Option<Vec<bool>> = None;
    let mut length = 0;
    for fill in [0x00, 0xa5, 0x5a, 0xff] {
        let pending = probe.prepare(&mut live, fill)?;
        let used = answered(probe, &mut live, &pending, clause)?.map_or(0, |used| used.length);
        let written = pending.written();
        holds(used as usize <= written.len(), clause, || {
            format!(
                "{used} bytes are said to be written into a part of {}",
                written.len()
            )
        })?;
        length = used as usize;
        let same = written.iter().map(|byte| *byte == fill);
        unwritten = Some(match unwritten {
            None => same.collect(),
            Some(before) => before
                .iter()
                .zip(same)
                .map(|(before, now)| *before && now)
                .collect(),
        });
    }
    let first = unwritten
        .unwrap_or_default()
        .iter()
        .take(length)
        .position(|byte| *byte);
    holds(first.is_none(), clause, || {
        format!(
            "{length} bytes are said to be written, but byte {} never was",
            first.unwrap_or_default()
        )
    })
}

fn interrupt_flag(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.interrupt()?;
    for _ in 0..3 {
        probe.request(&mut live)?;
        notified(
            probe,
            "dev:split:used-buffer-notification-suppression:03",
            "the flag is 0",
        )?;
    }
    live.queue().split()?.set_used_event(FAR);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:01",
        "the flag is 0 and used_event is far away",
    )?;
    live.queue().split()?.set_available_flags(1);
    probe.request(&mut live)?;
    not_notified(
        probe,
        "dev:split:used-buffer-notification-suppression:02",
        "the flag is 1",
    )?;
    live.queue().split()?.set_available_flags(0);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:03",
        "the flag is 0 again",
    )
}

fn interrupt_event(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(EVENT_IDX)?;
    probe.interrupt()?;
    for _ in 0..3 {
        let ring = live.queue().split()?;
        ring.set_used_event(ring.used_index());
        probe.request(&mut live)?;
        notified(
            probe,
            "dev:split:used-buffer-notification-suppression:05",
            "used_event names the entry",
        )?;
        live.queue().split()?.set_used_event(FAR);
        probe.request(&mut live)?;
        not_notified(
            probe,
            "dev:split:used-buffer-notification-suppression:06",
            "used_event names another entry",
        )?;
    }
    let ring = live.queue().split()?;
    ring.set_used_event(ring.used_index());
    ring.set_available_flags(1);
    probe.request(&mut live)?;
    notified(
        probe,
        "dev:split:used-buffer-notification-suppression:04",
        "used_event names the entry, and the flag, which means nothing, is 1",
    )
}

fn notified(probe: &mut Probe, clause: &'static str, when: &str) -> Outcome {
    let came = probe.wait(|probe| Ok(probe.interrupt()?.queue))?;
    holds(came, clause, || {
        format!("a buffer is used, {when}, and no notification came")
    })
}

fn not_notified(probe: &mut Probe, clause: &'static str, when: &str) -> Outcome {
    let quiet = probe.never(|probe| Ok(probe.interrupt()?.queue))?;
    holds(quiet, clause, || {
        format!("a buffer is used, {when}, and a notification came")
    })
}

fn used_flags(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    for (features, legal, clause) in [
        (
            Features::NONE,
            1,
            "dev:split:available-buffer-notification-suppression:01",
        ),
        (
            EVENT_IDX,
            0,
            "dev:split:available-buffer-notification-suppression:03",
        ),
    ] {
        if !offered.contains(features) {
            continue;
        }
        let mut live = probe.go_live(features)?;
        for _ in 0..10 {
            probe.request(&mut live)?;
            let flags = live.queue().split()?.used_flags();
            holds(flags <= legal, clause, || {
                format!("the flags of the used ring are {flags:#x}")
            })?;
        }
    }
    Ok(())
}

fn spurious(probe: &mut Probe) -> Outcome {
    let clause = "dev:split:available-buffer-notification-suppression:05";
    let mut live = probe.go_live(Features::NONE)?;
    for _ in 0..3 {
        for _ in 0..5 {
            probe.notify(live.queue())?;
        }
        let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
        holds(quiet, clause, || "a buffer is used that was not available".into())?;
        let pending = probe.prepare(&mut live, 0)?;
        answered(probe, &mut live, &pending, clause)?;
        let more = live.queue().take_used();
        holds(more.is_none(), clause, || {
            format!("one buffer was available, {more:?} is used as well")
        })?;
    }
    Ok(())
}

/// The buffer that a split virtqueue's device used last.
fn last_used(life: &Life, queue: u16) -> Option<Used> {
    let entry = life.last_used_entry(queue).filter(|_| !life.is_packed())?;
    Some(Used {
        id: u32::from_le_bytes(life.read(entry)),
        length: u32::from_le_bytes(life.read(entry + 4)),
    })
}

/// The descriptors of the buffer that a split virtqueue's device used last; those of the ring.
pub(super) fn last_chain(life: &Life, queue: u16) -> Vec<SplitDesc> {
    last_used(life, queue).map_or(Vec::new(), |used| chain(life, queue, used.id as u16))
}

/// The descriptors of the buffer that a split virtqueue's driver made available last; those of the ring.
fn next_chain(life: &Life, queue: u16) -> Vec<SplitDesc> {
    let Some(layout) = life.layouts.get(&queue).filter(|_| !life.is_packed()) else {
        return Vec::new();
    };
    let slot = life.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
    chain(
        life,
        queue,
        life.read16(layout.driver_area + 4 + 2 * u64::from(slot)),
    )
}

fn chain(life: &Life, queue: u16, head: u16) -> Vec<SplitDesc> {
    let Some(layout) = life.layouts.get(&queue) else {
        return Vec::new();
    };
    let mut chain = Vec::new();
    let mut index = head;
    while chain.len() < usize::from(layout.size) {
        let descriptor = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(index)));
        chain.push(descriptor);
        if !descriptor.flags.contains(DescFlags::NEXT) {
            break;
        }
        index = descriptor.next;
    }
    chain
}
