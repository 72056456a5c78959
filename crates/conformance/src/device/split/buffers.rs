//! What the device writes, and what it must not (sections 2.7.5, 2.7.8).

use ringwright_spec::Features;
use ringwright_spec::split::DescFlags;

use super::{answered, last_chain, last_used, next_chain};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;

pub(super) const CHECKS: &[Check] = &[
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
];

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
