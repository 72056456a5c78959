//! Entropy devices (section 5.4).

use ringwright_spec::{Features, entropy};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::element;
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};

pub(super) const CHECKS: &[Check] = &[Check {
    name: "entropy.bytes",
    clauses: &["dev:entropy:device-operation:01"],
    does: "Makes buffers of several lengths available.",
    violation: "Nothing is written, or the same twice.",
    needs: Needs::device(entropy::DEVICE.id, Features::NONE),
    run: bytes,
    mutants: &[Mutant {
        name: "buffers are used with nothing in them",
        breaks: "dev:entropy:device-operation:01",
        lens: Lens {
            notified: Some(|life, queue| {
                if let Some(entry) = life.last_used_entry(queue).filter(|_| !life.is_packed()) {
                    life.write(entry + 4, &[0; 4]);
                }
            }),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }],
}];

fn bytes(probe: &mut Probe) -> Outcome {
    let clause = "dev:entropy:device-operation:01";
    let mut live = probe.go_live(Features::NONE)?;
    let mut before = Vec::new();
    for length in [1, 2, 16, 64, 64, 1000] {
        let buffer = probe.buffer(length, 0)?;
        live.queue().add(&[element(&buffer, true)]);
        probe.notify(live.queue())?;
        let Some(used) = probe.used(live.queue())? else {
            return Err(Ended::Inconclusive("a buffer is not used".into()));
        };
        holds(used.length >= 1, clause, || {
            format!("a buffer of {length} bytes is used as {used:?}")
        })?;
        let mut data = vec![0; length.min(used.length as usize)];
        // It is no longer than the buffer.
        let _ = buffer.read(0, &mut data);
        // That 16 random bytes come twice never happens.
        holds(data.len() < 16 || data != before, clause, || {
            format!("{data:02x?} has come twice")
        })?;
        before = data;
    }
    Ok(())
}
