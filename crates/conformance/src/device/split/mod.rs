//! Split virtqueues (section 2.7).

mod buffers;
mod framing;
mod notifications;

use ringwright_spec::split::DescFlags;

use crate::check::{Check, Outcome};
use crate::live::{Live, Pending};
use crate::mutant::Life;
use crate::probe::{Probe, holds};
use crate::raw::{SplitDesc, Used};

/// All of them, by subject.
pub(super) const CHECKS: [&[Check]; 3] = [framing::CHECKS, buffers::CHECKS, notifications::CHECKS];

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
