//! How a driver accesses registers and the configuration space.

use ringwright_memory::Width;
use ringwright_spec::mmio as spec;
use ringwright_spec::register;

use super::{ALONE, field_width, slips};
use crate::driver::{Access, Event, Mutant, Rule, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "mmio.registers",
        &["drv:mmio:mmio-device-register-layout:01"],
        "the driver accesses a register",
        "There is none, it cannot be read, or it cannot be written.",
        |watch, past, event| {
            if let Event::Accessed(access) = event {
                let allowed = match access.offset.checked_sub(spec::CONFIG) {
                    Some(offset) => offset < past.device.config_size as u64,
                    None => register::at(spec::REGISTERS, access.offset).is_some_and(|register| match access
                        .write
                    {
                        true => register.access.writable(),
                        false => register.access.readable(),
                    }),
                };
                watch.expect(allowed, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "QueueSel is read",
            slip: slips(|registers, _, access| {
                if access.writes(spec::QUEUE_READY) {
                    registers.read32(spec::QUEUE_SEL)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.width",
        &["drv:mmio:mmio-device-register-layout:02"],
        "the driver accesses a control register",
        "The access is not of 32 bits, or not aligned.",
        |watch, _, event| {
            if let Event::Accessed(access) = event
                && access.offset < spec::CONFIG
            {
                let right = access.width == Width::Four && access.offset.is_multiple_of(4);
                watch.expect(right, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "the status is read as a byte",
            slip: slips(|registers, _, access| match access.reads(spec::STATUS) {
                true => registers.read(spec::STATUS, Width::One),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.config-width",
        &["drv:mmio:mmio-device-register-layout:03"],
        "the driver accesses a field of the configuration space",
        "The access is not of the field's width, or not aligned.",
        |watch, past, event| {
            if let Event::Accessed(access) = event
                && let Some(offset) = access.offset.checked_sub(spec::CONFIG)
                && let Some(width) = field_width(past.device.id, offset)
            {
                let right = access.width == width && offset.is_multiple_of(width.bytes() as u64);
                watch.expect(right, || {
                    format!("{access:x?}, the field has {} bytes", width.bytes())
                });
            }
        },
        &[Mutant {
            name: "a field is read byte by byte",
            slip: slips(|registers, _, access| {
                if access.offset < spec::CONFIG || access.width != Width::Four {
                    return access.make(registers);
                }
                let mut bytes = [0; 4];
                for (byte, offset) in bytes.iter_mut().zip(access.offset..) {
                    *byte = registers.read8(offset)?;
                }
                Ok(u32::from_le_bytes(bytes))
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.offered-selected",
        &["drv:mmio:mmio-device-register-layout:07"],
        "the driver reads DeviceFeatures",
        "Nothing has been written to DeviceFeaturesSel before.",
        |watch, _, event| {
            selected(watch, event, spec::DEVICE_FEATURES_SEL, |access| {
                access.reads(spec::DEVICE_FEATURES)
            })
        },
        &[Mutant {
            name: "the first words of features are taken to be selected",
            slip: slips(|registers, _, access| {
                match access.writes(spec::DEVICE_FEATURES_SEL) && access.value == 0 {
                    true => Ok(0),
                    false => access.make(registers),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.accepted-selected",
        &["drv:mmio:mmio-device-register-layout:08"],
        "the driver writes DriverFeatures",
        "Nothing has been written to DriverFeaturesSel before.",
        |watch, _, event| {
            selected(watch, event, spec::DRIVER_FEATURES_SEL, |access| {
                access.writes(spec::DRIVER_FEATURES)
            })
        },
        &[Mutant {
            name: "the first word of features is taken to be selected",
            slip: slips(|registers, _, access| {
                match access.writes(spec::DRIVER_FEATURES_SEL) && access.value == 0 {
                    true => Ok(0),
                    false => access.make(registers),
                }
            }),
            ..ALONE
        }],
    ),
];

/// What `uses` a selection comes after something was written to the register at `selector`.
fn selected(watch: &mut Watch, event: &Event, selector: u64, uses: fn(&Access) -> bool) {
    if let Event::Accessed(access) = event {
        if access.writes(selector) {
            watch.note = 1;
        } else if uses(access) {
            watch.expect(watch.note == 1, || format!("{access:x?}"));
        }
    }
}
