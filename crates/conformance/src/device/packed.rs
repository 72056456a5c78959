//! Packed virtqueues (section 2.8).

use ringwright_spec::block;
use ringwright_spec::feature::RING_PACKED;
use ringwright_spec::packed::DescFlags;
use ringwright_spec::split::DescFlags as SplitFlags;

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{Element, Packed, PackedDesc};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "packed.next-used",
        clauses: &["dev:packed:packed-virtqueues:02"],
        does: "Makes eight buffers available at once.",
        violation: "A used descriptor is written behind one that is not, when all are used.",
        needs: Needs::features(RING_PACKED),
        run: next_used,
        mutants: &[Mutant {
            name: "a used descriptor is written one place too far",
            breaks: "dev:packed:packed-virtqueues:02",
            lens: Lens {
                notified: Some(|life, queue| {
                    let last = used_slots(life, queue).last();
                    if let Some((slot, used)) = last.filter(|(slot, _)| *slot > 8) {
                        set_descriptor(life, queue, slot + 1, used);
                        let flags = DescFlags::AVAIL;
                        set_descriptor(life, queue, slot, PackedDesc { flags, ..used });
                    }
                }),
                ..Lens::CLEAR
            },
            also: &["packed.chain-order", "framing.any"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "packed.readable-unwritten",
        clauses: &["dev:packed:the-virtqueue-descriptor-table:01"],
        does: "Compares the device-readable part of a request before and after it is used.",
        violation: "The device has written there.",
        needs: Needs::features(RING_PACKED),
        run: readable_unwritten,
        mutants: &[Mutant {
            name: "the device-readable part is written to",
            breaks: "dev:packed:the-virtqueue-descriptor-table:01",
            lens: Lens {
                notified: Some(|life, queue| {
                    // A buffer of one descriptor that the device wrote nothing to was device-readable; of a longer
                    // one the first descriptor is.
                    let Some((slot, used)) = used_slots(life, queue).last() else {
                        return;
                    };
                    let writable =
                        used.flags.contains(DescFlags::WRITE) && rest(life, queue, slot).is_empty();
                    if !writable {
                        life.write(used.address, &[0xee]);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "packed.unavailable",
        clauses: &["dev:packed:the-virtqueue-descriptor-table:02"],
        does: "Notifies the device of nothing, and of descriptors that are complete but not made available, in the first and in the second round of the ring.",
        violation: "The device uses one.",
        needs: Needs::features(RING_PACKED),
        run: unavailable,
        mutants: &[Mutant {
            name: "a descriptor with a length is taken for available",
            breaks: "dev:packed:the-virtqueue-descriptor-table:02",
            lens: Lens {
                notify: Some(|life, queue| {
                    let both = DescFlags::AVAIL | DescFlags::USED;
                    let size = life.layouts.get(&queue).map_or(0, |layout| layout.size);
                    let next = (0..size)
                        .map(|slot| (slot, descriptor(life, queue, slot)))
                        .find(|(_, found)| found.length > 0 && !found.flags.intersects(both));
                    if let Some((slot, found)) = next.filter(|_| life.is_packed()) {
                        set_descriptor(life, queue, slot, PackedDesc { flags: both, ..found });
                    }
                    true
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "packed.used-unchanged",
        clauses: &["dev:packed:the-virtqueue-descriptor-table:03"],
        does: "Compares used descriptors with what they were when the device had marked them, while it goes on.",
        violation: "One has changed.",
        needs: Needs::features(RING_PACKED),
        run: used_unchanged,
        mutants: &[Mutant {
            name: "the length of a used descriptor is corrected later",
            breaks: "dev:packed:the-virtqueue-descriptor-table:03",
            lens: Lens {
                notified: Some(|life, queue| {
                    let mut used = used_slots(life, queue);
                    if let (Some((slot, first)), Some(_)) = (used.next(), used.next()) {
                        let length = first.length ^ 1;
                        set_descriptor(life, queue, slot, PackedDesc { length, ..first });
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "packed.chain-order",
        clauses: &["dev:packed:scatter-gather-support:01"],
        does: "Cuts a request to read behind the end of the disk into chained descriptors of single bytes.",
        violation: "The status, an error, is not in the last byte: header or data were not taken in order.",
        needs: Needs::device(block::DEVICE.id, RING_PACKED),
        run: chain_order,
        mutants: &[Mutant {
            name: "the last two device-writable descriptors of a long chain change places",
            breaks: "dev:packed:scatter-gather-support:01",
            lens: Lens {
                notified: Some(|life, queue| {
                    let slot = used_slots(life, queue).last().map(|(slot, _)| slot);
                    let rest = slot.map_or(Vec::new(), |slot| rest(life, queue, slot));
                    if let [.., other, last] = &rest[..]
                        && rest.len() > 20
                    {
                        let (first, second) = (life.read::<1>(other.address), life.read::<1>(last.address));
                        life.write(other.address, &second);
                        life.write(last.address, &first);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// A live device with packed virtqueues.
fn go_live(probe: &mut Probe) -> Outcome<Live> {
    probe.go_live(RING_PACKED)
}

fn next_used(probe: &mut Probe) -> Outcome {
    let clause = "dev:packed:packed-virtqueues:02";
    let mut live = go_live(probe)?;
    let mut pending = Vec::new();
    for _ in 0..8 {
        pending.push(probe.prepare(&mut live, 0)?);
    }
    probe.notify(live.queue())?;
    for _ in &pending {
        let used = probe.used(live.queue())?;
        if used.is_some() {
            continue;
        }
        let size = live.queue().layout.size;
        let ring = live.queue().packed()?;
        let next = ring.next_used() & !(1 << 15);
        let later = (next + 1..size).find(|slot| is_used(ring.descriptor(*slot)));
        return match later {
            Some(later) => holds(false, clause, || {
                format!("descriptor {next} is not used, and descriptor {later} behind it is")
            }),
            None => Err(Ended::Inconclusive("a legal request is not answered".into())),
        };
    }
    Ok(())
}

fn readable_unwritten(probe: &mut Probe) -> Outcome {
    let mut live = go_live(probe)?;
    if live.exercise.readable.is_empty() {
        return Err(Ended::NotApplicable(
            "its requests have no device-readable part".into(),
        ));
    }
    for _ in 0..3 {
        let pending = probe.prepare(&mut live, 0)?;
        let before = pending.read();
        probe.notify(live.queue())?;
        let used = probe.used(live.queue())?;
        let after = pending.read();
        holds(
            before == after,
            "dev:packed:the-virtqueue-descriptor-table:01",
            || format!("the device-readable part was {before:02x?} and is {after:02x?}"),
        )?;
        if used.is_none() {
            return Err(Ended::Inconclusive("a legal request is not answered".into()));
        }
    }
    Ok(())
}

fn unavailable(probe: &mut Probe) -> Outcome {
    let mut live = go_live(probe)?;
    let size = live.queue().layout.size;
    for round in 0..2 {
        for _ in 0..3 {
            probe.notify(live.queue())?;
        }
        stays_unused(probe, &mut live, "nothing is available")?;
        let pending = probe.buffers(live.exercise, 0)?;
        let elements = pending.elements();
        let ring = live.queue().packed()?;
        let next = ring.next_available();
        let (slot, wrap) = (next & !(1 << 15), next >> 15 == 1);
        let old: Vec<_> = (0..)
            .zip(&elements)
            .map(|(number, _)| ring.descriptor((slot + number) % size))
            .collect();
        // Everything is right but the two flags, which are those of a descriptor that was used in the round before.
        let flags = match wrap {
            true => DescFlags::NONE,
            false => DescFlags::AVAIL | DescFlags::USED,
        };
        for (number, element) in (0..).zip(&elements) {
            write(
                ring,
                (slot + number) % size,
                element,
                usize::from(number) + 1 < elements.len(),
                flags,
            );
        }
        probe.notify(live.queue())?;
        stays_unused(probe, &mut live, "its flags are those of the round before")?;
        let ring = live.queue().packed()?;
        for (number, old) in (0..).zip(old) {
            ring.write_descriptor((slot + number) % size, old);
        }
        // On into the second round.
        while round == 0 && live.queue().packed()?.next_available() >> 15 == 1 {
            probe.request(&mut live)?;
        }
    }
    probe.request(&mut live)?;
    Ok(())
}

fn write(ring: &Packed, slot: u16, element: &Element, has_next: bool, flags: DescFlags) {
    let next = if has_next {
        DescFlags::NEXT
    } else {
        DescFlags::NONE
    };
    let write = if element.writable {
        DescFlags::WRITE
    } else {
        DescFlags::NONE
    };
    let descriptor = PackedDesc {
        address: element.address,
        length: element.length,
        id: slot,
        flags: flags | next | write,
    };
    ring.write_descriptor(slot, descriptor);
}

fn stays_unused(probe: &mut Probe, live: &mut Live, why: &str) -> Outcome {
    let quiet = probe.never(|_| Ok(live.queue().has_used()))?;
    holds(quiet, "dev:packed:the-virtqueue-descriptor-table:02", || {
        format!("a descriptor is used, but {why}")
    })
}

fn used_unchanged(probe: &mut Probe) -> Outcome {
    let mut live = go_live(probe)?;
    let size = live.queue().layout.size;
    let mut marked: Vec<(u16, PackedDesc)> = Vec::new();
    let compare = |live: &mut Live, marked: &[(u16, PackedDesc)]| -> Outcome {
        let ring = live.queue().packed()?;
        let changed = marked.iter().find(|(slot, was)| ring.descriptor(*slot) != *was);
        holds(
            changed.is_none(),
            "dev:packed:the-virtqueue-descriptor-table:03",
            || match changed {
                Some((slot, was)) => {
                    format!(
                        "used descriptor {slot} was {was:x?} and is {:x?}",
                        ring.descriptor(*slot)
                    )
                }
                None => String::new(),
            },
        )
    };
    // All in the first round: what comes after belongs to the driver again.
    for _ in 0..(size / 4).min(8) {
        let pending = probe.send(&mut live)?;
        let slot = live.queue().packed()?.next_used() & !(1 << 15);
        probe.answer(&mut live, &pending)?;
        marked.push((slot, live.queue().packed()?.descriptor(slot)));
        compare(&mut live, &marked)?;
    }
    probe.never(|_| compare(&mut live, &marked).map(|()| false))?;
    Ok(())
}

fn chain_order(probe: &mut Probe) -> Outcome {
    let mut live = go_live(probe)?;
    let mut elements = Vec::new();
    // VIRTIO_BLK_T_IN of the sector that no disk has: in any other order it is another type.
    let mut header = [0; size_of::<block::ReqHead>()];
    header[8..].fill(0xff);
    let head = probe.buffer(header.len(), 0)?;
    // It has just been made of this length.
    let _ = head.write(0, &header);
    let tail = probe.buffer(8 + 1, 0xaa)?;
    for (part, writable) in [(&head, false), (&tail, true)] {
        let whole = crate::live::element(part, writable);
        elements.extend((0..whole.length).map(|byte| Element {
            address: whole.address + u64::from(byte),
            length: 1,
            writable,
        }));
    }
    if elements.len() > usize::from(live.queue().layout.size) {
        return Err(Ended::NotApplicable("its virtqueue is too small".into()));
    }
    let id = live.queue().packed()?.add(&elements, SplitFlags::NONE);
    probe.notify(live.queue())?;
    let used = probe.used(live.queue())?;
    let Some(used) = used else {
        return Err(Ended::Inconclusive("a legal request is not answered".into()));
    };
    let mut status = [0];
    // It is the last byte.
    let _ = tail.read(tail.len() - 1, &mut status);
    let right = used.id == u32::from(id) && status[0] == block::Status::IOERR.0;
    holds(right, "dev:packed:scatter-gather-support:01", || {
        format!(
            "buffer {id} is used as {used:?}, and its last byte is {:#04x}",
            status[0]
        )
    })?;
    probe.survives(live)
}

/// Whether a descriptor is used, in the first round of the ring.
fn is_used(descriptor: PackedDesc) -> bool {
    descriptor.flags.contains(DescFlags::AVAIL | DescFlags::USED)
}

/// The used descriptors of a packed virtqueue in its first round, with their places.
fn used_slots(life: &Life, queue: u16) -> impl Iterator<Item = (u16, PackedDesc)> {
    let size = match life.is_packed() {
        true => life.layouts.get(&queue).map_or(0, |layout| layout.size),
        false => 0,
    };
    (0..size)
        .map(move |slot| (slot, descriptor(life, queue, slot)))
        .filter(|(_, descriptor)| is_used(*descriptor))
}

/// The descriptors behind the first one of a used buffer, in the first round of the ring: these are left as they were.
fn rest(life: &Life, queue: u16, slot: u16) -> Vec<PackedDesc> {
    let size = life.layouts.get(&queue).map_or(0, |layout| layout.size);
    (slot + 1..size)
        .map(|slot| descriptor(life, queue, slot))
        .take_while(|found| found.flags.contains(DescFlags::AVAIL) && !found.flags.contains(DescFlags::USED))
        .collect()
}

fn descriptor(life: &Life, queue: u16, slot: u16) -> PackedDesc {
    PackedDesc::from_bytes(life.read(address(life, queue, slot)))
}

fn set_descriptor(life: &Life, queue: u16, slot: u16, descriptor: PackedDesc) {
    life.write(address(life, queue, slot), &descriptor.bytes());
}

fn address(life: &Life, queue: u16, slot: u16) -> u64 {
    let ring = life
        .layouts
        .get(&queue)
        .map_or(0, |layout| layout.descriptor_area);
    ring + 16 * u64::from(slot)
}
