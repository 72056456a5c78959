//! What a device offers to drivers that reach it by its legacy interface: an I/O BAR, or revision 0 of channel I/O.

use ringwright_driver::transport::Registers;
use ringwright_driver::transport::pci::{Region, Space};
use ringwright_spec::block::{self, features::ZONED};
use ringwright_spec::ccw::channel::CcwFlags;
use ringwright_spec::ccw::{Command, FeatureDesc, Revision};
use ringwright_spec::{Features, pci};
use zerocopy::IntoBytes;

use super::ccw::{enable_anew, run, select, selects};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};
use crate::subject::{Bus, Raw, RawPci};

/// Bytes of the registers that are looked at.
const REGISTERS: u64 = 20;

pub(super) const CHECKS: &[Check] = &[Check {
    name: "block.legacy-zoned",
    clauses: &["dev:blk:device-initialization:05"],
    does: "Reads the features that are offered by the legacy interface, if there is one.",
    violation: "VIRTIO_BLK_F_ZONED is among them.",
    needs: Needs {
        buses: &[Bus::Ccw, Bus::Pci],
        ..Needs::device(block::DEVICE.id, Features::NONE)
    },
    run: |probe| {
        let offered = offered(probe)?;
        holds(
            !offered.contains(ZONED),
            "dev:blk:device-initialization:05",
            || format!("{offered:?} are offered"),
        )
    },
    mutants: &[Mutant {
        name: "legacy drivers are offered zones",
        breaks: "dev:blk:device-initialization:05",
        lens: Lens {
            command: Some(|program| {
                if let Some(revision) = selects(program) {
                    program.note = u64::from(u16::from(revision) == Revision::LEGACY.0);
                }
                None
            }),
            ended: Some(|program, _| {
                if program.command == Command::READ_FEAT && program.note == 1 && program.byte(4) == 0 {
                    program.set_byte(2, program.byte(2) | (ZONED.0 >> 16) as u8);
                }
            }),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }],
}];

/// Feature bits 0 to 31, as the legacy interface offers them.
fn offered(probe: &mut Probe) -> Outcome<Features> {
    let none = || Ended::NotApplicable("it has no legacy interface".into());
    let offered = match probe.raw() {
        Raw::Pci(function) => registers(function)?
            .ok_or_else(none)?
            .read32(pci::legacy::DEVICE_FEATURES)?,
        Raw::Ccw(_) => {
            enable_anew(probe)?;
            if !select(probe, Revision::LEGACY.0, 0)?.is_done() {
                return Err(none());
            }
            let mut features = FeatureDesc::default();
            let end = run(probe, Command::READ_FEAT, CcwFlags::NONE, features.as_mut_bytes())?;
            if !end.is_done() {
                return Err(Ended::Inconclusive(format!("READ_FEAT ended with {end:?}")));
            }
            features.features.get()
        }
        _ => return Err(none()),
    };
    Ok(Features(offered.into()))
}

/// The registers of the legacy interface of a PCI function; `None` if it has none.
fn registers(function: &mut RawPci) -> Outcome<Option<Box<dyn Registers + Send>>> {
    let device = function.config.read16(pci::header::DEVICE_ID as u64)?;
    let bar = function
        .bars
        .iter()
        .find(|bar| bar.index == 0 && bar.space == Space::Io);
    let Some(bar) = bar.filter(|_| pci::TRANSITIONAL_DEVICE_IDS.contains(&device)) else {
        return Ok(None);
    };
    Ok((function.map)(&Region {
        bar: 0,
        offset: 0,
        length: REGISTERS,
        space: Space::Io,
        address: Some(bar.address),
    }))
}
