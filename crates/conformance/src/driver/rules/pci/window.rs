//! The configuration access capability (section 4.1.4.9).

use ringwright_spec::pci::common_cfg as registers;

use super::{ALONE, slips};
use crate::driver::strict::pci::{WINDOW_CAP, WINDOW_DATA, is_structure};
use crate::driver::{Event, Mutant, Part, Rule, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "pci.window-aligned",
        &["drv:pci:pci-configuration-access-capability:01"],
        "the driver accesses pci_cfg_data",
        "cap.offset is no multiple of cap.length.",
        |watch, _, event| {
            if let Some((_, offset, length)) = window(watch, event) {
                let right = length != 0 && offset.is_multiple_of(length);
                watch.expect(right, || format!("offset {offset:#x}, length {length}"));
            }
        },
        &[Mutant {
            name: "a field is reached at an odd place",
            scenario: "pci-window",
            slip: slips(|registers, _, access| {
                if access.writes(WINDOW_CAP + 8) && u64::from(access.value) == registers::QUEUE_DESC {
                    registers.write32(WINDOW_CAP + 8, access.value + 2)?;
                    registers.read32(WINDOW_DATA)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.window-inside",
        &["drv:pci:pci-configuration-access-capability:02"],
        "the driver accesses pci_cfg_data",
        "The window is not aimed at a structure.",
        |watch, past, event| {
            if let Some((bar, offset, length)) = window(watch, event) {
                let right = matches!(length, 1 | 2 | 4) && is_structure(past, bar, offset, length);
                watch.expect(right, || {
                    format!("BAR {bar}, offset {offset:#x}, length {length}")
                });
            }
        },
        &[Mutant {
            name: "the window is aimed behind the common configuration",
            scenario: "pci-window",
            slip: slips(|registers, note, access| {
                if access.writes(WINDOW_CAP + 8) && *note == 0 {
                    *note = 1;
                    registers.write32(WINDOW_CAP + 8, 0x800)?;
                    registers.read8(WINDOW_DATA)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
];

/// Keeps where the window is aimed at: BAR, offset, length, if it is used now.
fn window(watch: &mut Watch, event: &Event) -> Option<(u8, u64, u64)> {
    let Event::Function(Part::Config, access) = event else {
        return None;
    };
    const BAR: u64 = WINDOW_CAP + 4;
    const OFFSET: u64 = WINDOW_CAP + 8;
    const LENGTH: u64 = WINDOW_CAP + 12;
    let value = u64::from(access.value);
    match access.offset {
        BAR if access.write => watch.note = watch.note & !(0xff << 56) | (value & 0xff) << 56,
        OFFSET if access.write => watch.note = watch.note & !0xffff_ffff | value,
        LENGTH if access.write => watch.note = watch.note & !(0xff << 48) | (value & 0xff) << 48,
        WINDOW_DATA => {
            let length = (watch.note >> 48) & 0xff;
            return Some(((watch.note >> 56) as u8, watch.note & 0xffff_ffff, length));
        }
        _ => {}
    }
    None
}
