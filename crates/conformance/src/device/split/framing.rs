//! Message framing and indirect descriptors (sections 2.7.4, 2.7.5.3).

use ringwright_spec::Features;
use ringwright_spec::feature::{INDIRECT_DESC, RING_PACKED};
use ringwright_spec::split::DescFlags;

use super::{answered, last_chain};
use crate::check::{Check, Needs, Outcome};
use crate::live::{Live, Pending, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::Probe;
use crate::raw::{Element, SplitDesc};

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
                    if chain.len() > 3 {
                        fail(life, &chain);
                    }
                }),
                ..Lens::CLEAR
            },
            also: &["block.zones-unsupported"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "indirect.write-flag",
        clauses: &["dev:split:indirect-descriptors:01"],
        does: "Sets the write-only flag in the descriptor that refers to an indirect table.",
        violation: "The device does not answer as it does without.",
        needs: Needs::features(INDIRECT_DESC),
        run: |probe| {
            let mut live = probe.go_live(INDIRECT_DESC)?;
            let pending = indirect(probe, &mut live, 0, DescFlags::NONE)?;
            probe.notify(live.queue())?;
            probe.answer(&mut live, &pending)?;
            let pending = indirect(probe, &mut live, 0, DescFlags::WRITE)?;
            answered(probe, &mut live, &pending, "dev:split:indirect-descriptors:01")?;
            Ok(())
        },
        mutants: &[Mutant {
            name: "a writable indirect table is refused",
            breaks: "dev:split:indirect-descriptors:01",
            lens: Lens {
                notified: Some(|life, queue| {
                    let chain = last_chain(life, queue);
                    let flags = chain.last().map(|last| last.flags);
                    if flags.is_some_and(|flags| flags.contains(DescFlags::INDIRECT | DescFlags::WRITE)) {
                        fail(life, &chain);
                    }
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
            let mut pending = probe.buffers(live.exercise, 0xaa)?;
            pending.id = live.queue().add(&pieces(&pending));
            probe.notify(live.queue())?;
            probe.answer(&mut live, &pending)?;
            for direct in 0..3 {
                let pending = indirect(probe, &mut live, direct, DescFlags::NONE)?;
                answered(probe, &mut live, &pending, "dev:split:indirect-descriptors:02")?;
            }
            Ok(())
        },
        mutants: &[Mutant {
            name: "an indirect table behind a direct descriptor is not looked at",
            breaks: "dev:split:indirect-descriptors:02",
            lens: Lens {
                notified: Some(|life, queue| {
                    let chain = last_chain(life, queue);
                    let flags = chain.last().map(|last| last.flags);
                    if chain.len() > 1 && flags.is_some_and(|flags| flags.contains(DescFlags::INDIRECT)) {
                        fail(life, &chain);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

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

/// The elements of a request, each part of which is in three.
fn pieces(pending: &Pending) -> Vec<Element> {
    let parts = pending.elements().into_iter();
    parts.flat_map(|part| split_up(part, &[1, 2])).collect()
}

/// Makes a request available whose first `direct` elements are in the ring, and whose others are in an indirect table, to
/// which a descriptor with `flags` refers.
fn indirect(probe: &mut Probe, live: &mut Live, direct: usize, flags: DescFlags) -> Outcome<Pending> {
    let mut pending = probe.buffers(live.exercise, 0xaa)?;
    let elements = pieces(&pending);
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
    Ok(pending)
}

/// Answers a disk's request by an error: 1 in the last byte of its last descriptor, which is that of an indirect table if the
/// chain ends in one.
fn fail(life: &Life, chain: &[SplitDesc]) {
    let Some(mut last) = chain.last().copied() else {
        return;
    };
    let end = |descriptor: SplitDesc| descriptor.address + u64::from(descriptor.length);
    if last.flags.contains(DescFlags::INDIRECT) {
        last = SplitDesc::from_bytes(life.read(end(last) - 16));
    }
    life.write(end(last) - 1, &[1]);
}
