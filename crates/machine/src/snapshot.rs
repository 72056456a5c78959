//! A machine saved in the middle of whatever it does, and taken up again, perhaps in another process.
//!
//! A snapshot is a header, the state of harts, interrupt controllers and devices (postcard), and the pages of memory that
//! are not all zero. The files and sockets behind the devices are not in it.

use std::io::{self, Read, Write};

use ringwright_device::transport;
use serde::{Deserialize, Serialize};

use crate::board::Board;
use crate::control::{Control, HartStatus};
use crate::interrupts::{AplicState, FileState};
use crate::{AccessFault, Clock, Ram, hart};

/// First bytes of every snapshot; the last one is the version.
const MAGIC: [u8; 8] = *b"RWMACH\0\x01";

/// Bytes of memory that are saved or left out together.
const PAGE: usize = 4096;

/// Stands for the address of a page, after the last one.
const END: u64 = u64::MAX;

/// The most bytes that the state of everything but memory takes.
const MOST: u64 = 1 << 28;

/// Why a machine cannot be saved, or a snapshot not be taken up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SnapshotError {
    /// The machine runs, so its state changes while it is looked at.
    #[error("the machine is not paused")]
    NotPaused,
    /// The snapshot cannot be written or read.
    #[error("a snapshot: {0}")]
    Io(#[from] io::Error),
    /// It is none.
    #[error("not the snapshot of a machine, or of another version")]
    NotASnapshot,
    /// What it holds is damaged.
    #[error("the snapshot is damaged: {0}")]
    Damaged(#[from] postcard::Error),
    /// It is of a machine that was put together differently.
    #[error("the snapshot is of a machine with {found}; this one has {expected}")]
    Mismatch {
        /// What this machine has.
        expected: String,
        /// What the saved one had.
        found: String,
    },
    /// A device cannot be saved, or does not take up its state.
    #[error(transparent)]
    Device(#[from] transport::SnapshotError),
    /// A page is not in this machine's memory.
    #[error("the snapshot has pages outside of memory")]
    Outside(#[from] AccessFault),
}

/// Everything but memory.
#[derive(Serialize, Deserialize)]
struct Saved {
    memory: u64,
    ticks: u64,
    rtc_offset: i64,
    harts: Vec<(HartStatus, hart::State)>,
    imsic: Vec<FileState>,
    aplic: AplicState,
    mmio: Vec<Vec<u8>>,
    pci: Vec<Vec<u8>>,
}

/// What the harts of a restored machine begin with.
pub(crate) struct Resumption {
    pub harts: Vec<hart::State>,
    pub ticks: u64,
}

/// Writes the snapshot of a machine whose harts and devices are paused.
pub(crate) fn save(
    into: &mut dyn Write,
    control: &Control,
    board: &Board,
    ram: &Ram,
    clock: &Clock,
) -> Result<(), SnapshotError> {
    let models = board.mmio.iter().map(|slot| slot.model().save());
    let saved = Saved {
        memory: ram.len(),
        ticks: clock.ticks(),
        rtc_offset: board.rtc.offset(),
        harts: control.resting().ok_or(SnapshotError::NotPaused)?,
        imsic: board.imsic.save(),
        aplic: board.aplic.save(),
        mmio: models.collect::<Result<_, _>>()?,
        pci: board.pci.save()?,
    };
    let bytes = postcard::to_stdvec(&saved)?;
    into.write_all(&MAGIC)?;
    into.write_all(&(bytes.len() as u64).to_le_bytes())?;
    into.write_all(&bytes)?;
    let mut page = [0; PAGE];
    for address in (ram.base()..ram.base() + ram.len()).step_by(PAGE) {
        ram.read(address, &mut page)?;
        if page != [0; PAGE] {
            into.write_all(&address.to_le_bytes())?;
            into.write_all(&page)?;
        }
    }
    into.write_all(&END.to_le_bytes())?;
    Ok(into.flush()?)
}

/// Takes up a snapshot in a machine that has never run, with the same devices. They stay paused.
pub(crate) fn restore(
    from: &mut dyn Read,
    control: &Control,
    board: &Board,
    ram: &Ram,
) -> Result<Resumption, SnapshotError> {
    let saved = read_saved(from)?;
    check("bytes of memory", ram.len(), saved.memory)?;
    check("harts", control.signals().len(), saved.harts.len())?;
    check("harts", control.signals().len(), saved.imsic.len())?;
    check("devices on virtio-mmio", board.mmio.len(), saved.mmio.len())?;
    check("functions on PCI", board.pci.len(), saved.pci.len())?;
    if !saved.aplic.is_complete() {
        return Err(SnapshotError::NotASnapshot);
    }
    let mut page = [0; PAGE];
    loop {
        let address = read_number(from)?;
        if address == END {
            break;
        }
        from.read_exact(&mut page)?;
        ram.write(address, &page)?;
    }
    for (slot, state) in board.mmio.iter().zip(&saved.mmio) {
        slot.model().restore(state)?;
    }
    board.pci.restore(&saved.pci)?;
    // After the devices, whose wires and messages have changed them.
    board.aplic.restore(&saved.aplic);
    board.imsic.restore(&saved.imsic);
    board.rtc.set_offset(saved.rtc_offset);
    let mut harts = Vec::new();
    for (number, (status, state)) in saved.harts.into_iter().enumerate() {
        control.set_status(number, status);
        harts.push(state);
    }
    Ok(Resumption {
        harts,
        ticks: saved.ticks,
    })
}

fn read_saved(from: &mut dyn Read) -> Result<Saved, SnapshotError> {
    let mut magic = [0; MAGIC.len()];
    from.read_exact(&mut magic)?;
    let length = read_number(from)?;
    if magic != MAGIC || length > MOST {
        return Err(SnapshotError::NotASnapshot);
    }
    let mut bytes = Vec::new();
    from.take(length).read_to_end(&mut bytes)?;
    Ok(postcard::from_bytes(&bytes)?)
}

fn read_number(from: &mut dyn Read) -> io::Result<u64> {
    let mut bytes = [0; 8];
    from.read_exact(&mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

fn check<T: PartialEq + std::fmt::Display>(what: &str, expected: T, found: T) -> Result<(), SnapshotError> {
    if expected == found {
        return Ok(());
    }
    Err(SnapshotError::Mismatch {
        expected: format!("{expected} {what}"),
        found: format!("{found} {what}"),
    })
}

#[cfg(test)]
#[path = "snapshot_tests.rs"]
mod tests;
