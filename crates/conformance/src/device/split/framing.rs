//! Message framing and indirect descriptors (sections 2.7.4, 2.7.5.3).

use ringwright_spec::Features;
use ringwright_spec::feature::{INDIRECT_DESC, RING_PACKED};
use ringwright_spec::split::DescFlags;

use super::{answered, last_chain, next_chain};
use crate::check::{Check, Needs, Outcome};
use crate::live::{Live, element};
use crate::mutant::{Lens, Mutant};
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
