//! Snapshots that are whole, but not what a machine saves.

use super::*;
use crate::{Machine, Options};

fn machine() -> Machine {
    let options = Options {
        memory: 4 << 20,
        harts: 2,
    };
    Machine::new(options).unwrap()
}

/// What a machine saves, with a change.
fn restore(change: impl Fn(&mut Saved)) -> Result<(), SnapshotError> {
    let running = machine().start(Box::new(io::sink())).unwrap();
    assert!(running.pause());
    let mut snapshot = Vec::new();
    running.save(&mut snapshot)?;
    let mut saved = read_saved(&mut snapshot.as_slice())?;
    change(&mut saved);
    let bytes = postcard::to_stdvec(&saved)?;
    let parts: [&[u8]; 4] = [
        &MAGIC,
        &(bytes.len() as u64).to_le_bytes(),
        &bytes,
        &END.to_le_bytes(),
    ];
    machine().restore(&mut parts.concat().as_slice())
}

#[test]
fn tables_of_other_lengths_are_refused() {
    restore(|_| {}).unwrap();
    let shortened: [fn(&mut Saved); 4] = [
        |saved| saved.harts.truncate(1),
        |saved| saved.imsic.truncate(1),
        |saved| saved.aplic.target.truncate(1),
        |saved| saved.aplic.sourcecfg.truncate(1),
    ];
    for (number, change) in shortened.into_iter().enumerate() {
        assert!(restore(change).is_err(), "{number}");
    }
    assert!(restore(|saved| saved.mmio.push(Vec::new())).is_err());
    assert!(restore(|saved| saved.pci.push(Vec::new())).is_err());
}
