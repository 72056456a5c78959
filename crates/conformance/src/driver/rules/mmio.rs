//! Registers of MMIO (section 4.2).

use ringwright_driver::TransportError;
use ringwright_memory::Width;
use ringwright_spec::mmio as spec;
use ringwright_spec::register;
use ringwright_spec::status::Status;
use ringwright_spec::{block, console, network};

use super::init::too_early;
use crate::driver::scenario::Identity;
use crate::driver::{Access, Event, Mutant, Past, Rule, Slip, Watch};
use crate::subject::Bus;

/// What the mutants of this bus have in common.
const ALONE: Mutant = Mutant {
    bus: Bus::Mmio,
    ..Mutant::ALONE
};

/// The registers that are set before a virtqueue is enabled.
const QUEUE: &[u64] = &[
    spec::QUEUE_SIZE,
    spec::QUEUE_DESC_LOW,
    spec::QUEUE_DESC_HIGH,
    spec::QUEUE_DRIVER_LOW,
    spec::QUEUE_DRIVER_HIGH,
    spec::QUEUE_DEVICE_LOW,
    spec::QUEUE_DEVICE_HIGH,
];

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
            slip: Slip {
                registers: Some(|registers, _, access| {
                    if access.writes(spec::QUEUE_READY) {
                        registers.read32(spec::QUEUE_SEL)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
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
            slip: Slip {
                registers: Some(|registers, _, access| match access.reads(spec::STATUS) {
                    true => registers.read(spec::STATUS, Width::One),
                    false => access.make(registers),
                }),
                ..Slip::NONE
            },
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
            slip: Slip {
                registers: Some(|registers, _, access| {
                    if access.offset < spec::CONFIG || access.width != Width::Four {
                        return access.make(registers);
                    }
                    let mut bytes = [0; 4];
                    for (byte, offset) in bytes.iter_mut().zip(access.offset..) {
                        *byte = registers.read8(offset)?;
                    }
                    Ok(u32::from_le_bytes(bytes))
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.magic",
        &["drv:mmio:mmio-device-register-layout:04"],
        "MagicValue is wrong",
        "The driver does not ignore the device.",
        |watch, past, event| ignored(watch, past, event, Identity::Magic),
        &[Mutant {
            name: "any magic value is good",
            scenario: "magic",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    let value = access.make(registers)?;
                    Ok(if access.reads(spec::MAGIC_VALUE) {
                        spec::MAGIC
                    } else {
                        value
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.version",
        &["drv:mmio:mmio-device-register-layout:05"],
        "Version is none that the driver knows",
        "The driver does not ignore the device.",
        |watch, past, event| ignored(watch, past, event, Identity::Version),
        &[Mutant {
            name: "any version is good",
            scenario: "version",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    let value = access.make(registers)?;
                    Ok(if access.reads(spec::VERSION) {
                        spec::DEVICE_VERSION
                    } else {
                        value
                    })
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.nobody",
        &["drv:mmio:mmio-device-register-layout:06"],
        "DeviceID is 0",
        "The driver reports an error.",
        |watch, past, event| {
            if let Event::Ends(how) = event
                && past.scenario.identity == Identity::Nobody
            {
                watch.expect(how.is_ok(), || format!("{how:?}"));
            }
        },
        &[Mutant {
            name: "a placeholder is an error",
            scenario: "nobody",
            slip: Slip {
                registers: Some(|registers, _, access| match access.reads(spec::DEVICE_ID) {
                    true => {
                        access.make(registers)?;
                        Err(TransportError::Protocol("DeviceID is 0"))
                    }
                    false => access.make(registers),
                }),
                ..Slip::NONE
            },
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
            slip: Slip {
                registers: Some(|registers, _, access| {
                    match access.writes(spec::DEVICE_FEATURES_SEL) && access.value == 0 {
                        true => Ok(0),
                        false => access.make(registers),
                    }
                }),
                ..Slip::NONE
            },
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
            slip: Slip {
                registers: Some(|registers, _, access| {
                    match access.writes(spec::DRIVER_FEATURES_SEL) && access.value == 0 {
                        true => Ok(0),
                        false => access.make(registers),
                    }
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-size",
        &["drv:mmio:mmio-device-register-layout:09"],
        "the driver writes QueueSize",
        "It is greater than QueueSizeMax.",
        |watch, past, event| {
            if let Event::Accessed(access) = event
                && access.writes(spec::QUEUE_SIZE)
            {
                let most = u32::from(past.scenario.queue_size);
                watch.expect(access.value <= most, || {
                    format!("{} of at most {most}", access.value)
                });
            }
        },
        &[Mutant {
            name: "a greater virtqueue is tried first",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    if access.writes(spec::QUEUE_SIZE) {
                        registers.write32(spec::QUEUE_SIZE, 2 * access.value)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-ready",
        &["drv:mmio:mmio-device-register-layout:10"],
        "the driver sets up a virtqueue",
        "It accesses the virtqueue's size or addresses while QueueReady is not 0.",
        |watch, _, event| {
            // The virtqueue that is selected, from bit 32 on; which of the first 32 are ready.
            if let Event::Accessed(access) = event {
                let queue = (watch.note >> 32) & 31;
                if access.writes(spec::QUEUE_SEL) {
                    watch.note = watch.note & 0xffff_ffff | u64::from(access.value) << 32;
                } else if access.writes(spec::QUEUE_READY) {
                    watch.note = watch.note & !(1 << queue) | u64::from(access.value & 1) << queue;
                } else if access.writes(spec::QUEUE_RESET) {
                    watch.note &= !(1 << queue);
                } else if access.writes(spec::STATUS) && access.value == 0 {
                    watch.note = 0;
                } else if QUEUE.contains(&access.offset) {
                    watch.expect(watch.note & 1 << queue == 0, || format!("{access:x?}"));
                }
            }
        },
        &[Mutant {
            name: "QueueSize is written to a virtqueue that is enabled",
            slip: Slip {
                registers: Some(|registers, note, access| {
                    let done = access.make(registers)?;
                    if access.writes(spec::QUEUE_SIZE) {
                        *note = access.value.into();
                    }
                    if access.writes(spec::QUEUE_READY) {
                        registers.write32(spec::QUEUE_SIZE, *note as u32)?;
                    }
                    Ok(done)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-stop",
        &["drv:mmio:mmio-device-register-layout:11"],
        "the driver writes 0 to QueueReady",
        "It does not read QueueReady back.",
        |watch, _, event| match event {
            Event::Accessed(access) if watch.note == 1 => {
                watch.note = 0;
                watch.expect(access.reads(spec::QUEUE_READY), || {
                    format!("the next access is {access:x?}")
                });
            }
            Event::Accessed(access) if access.writes(spec::QUEUE_READY) && access.value & 1 == 0 => {
                watch.note = 1
            }
            Event::Ends(_) if watch.note == 1 => watch.broken("nothing is accessed after that"),
            _ => {}
        },
        &[Mutant {
            name: "a virtqueue is stopped before the reset, and nobody looks",
            slip: Slip {
                registers: Some(|registers, note, access| {
                    *note |= u64::from(access.writes(spec::QUEUE_READY));
                    if *note == 1 && access.writes(spec::STATUS) && access.value == 0 {
                        registers.write32(spec::QUEUE_READY, 0)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.undefined-interrupt",
        &["drv:mmio:mmio-device-register-layout:12"],
        "the driver reads an InterruptStatus with a bit that means nothing",
        "The driver fails.",
        |watch, past, event| match event {
            Event::Accessed(access) if access.reads(spec::INTERRUPT_STATUS) && access.value & !3 != 0 => {
                watch.note = 1
            }
            Event::StatusWritten(status) if watch.note == 1 && status.contains(Status::FAILED) => {
                watch.broken(format!("the status was {:?}, {status:?} is written", past.status));
            }
            Event::Ends(how) if watch.note == 1 => watch.expect(how.is_ok(), || format!("{how:?}")),
            _ => {}
        },
        &[Mutant {
            name: "an undefined interrupt is an error",
            scenario: "spurious",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    let value = access.make(registers)?;
                    match access.reads(spec::INTERRUPT_STATUS) && value & !3 != 0 {
                        true => Err(TransportError::Protocol("an undefined interrupt")),
                        false => Ok(value),
                    }
                }),
                ..Slip::NONE
            },
            also: &["split.spurious", "mmio.interrupt-handled"],
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-ack",
        &["drv:mmio:mmio-device-register-layout:13"],
        "the driver writes InterruptACK",
        "A bit is set that means nothing.",
        |watch, _, event| {
            if let Event::Accessed(access) = event
                && access.writes(spec::INTERRUPT_ACK)
            {
                watch.expect(access.value & !3 == 0, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "all bits are acknowledged",
            scenario: "late",
            slip: Slip {
                registers: Some(|registers, _, access| match access.writes(spec::INTERRUPT_ACK) {
                    true => registers.write32(spec::INTERRUPT_ACK, 0xff).map(|()| 0),
                    false => access.make(registers),
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.queue-reset",
        &["drv:mmio:mmio-device-register-layout:14"],
        "the driver writes 1 to QueueReset",
        "The virtqueue is enabled again before QueueReset reads 0.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.writes(spec::QUEUE_RESET) && access.value & 1 == 1 {
                    watch.note = 1;
                } else if access.reads(spec::QUEUE_RESET) && access.value == 0 && watch.note == 1 {
                    watch.note = 0;
                    watch.seen();
                } else if access.writes(spec::QUEUE_READY) && access.value & 1 == 1 {
                    watch.expect(watch.note == 0, || "QueueReset has not read 0 before".into());
                }
            }
        },
        &[Mutant {
            name: "a reset of a virtqueue is taken for granted, over MMIO",
            scenario: "queue-reset",
            slip: Slip {
                registers: Some(|registers, _, access| match access.reads(spec::QUEUE_RESET) {
                    true => Ok(0),
                    false => access.make(registers),
                }),
                ..Slip::NONE
            },
            also: &["queue-reset.verified"],
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.first",
        &["drv:mmio:device-initialization:01"],
        "the driver accesses the device",
        "It begins with something else than MagicValue and Version.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.reads(spec::MAGIC_VALUE) {
                    watch.note |= 1;
                } else if access.reads(spec::VERSION) {
                    watch.note |= 2;
                } else {
                    watch.expect(watch.note == 3, || format!("{access:x?} comes first"));
                }
            }
        },
        &[Mutant {
            name: "the first thing is the device's type",
            slip: Slip {
                registers: Some(|registers, note, access| {
                    if *note == 0 {
                        *note = 1;
                        registers.read32(spec::DEVICE_ID)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.no-device",
        &["drv:mmio:device-initialization:02"],
        "DeviceID is 0",
        "Another register is accessed.",
        |watch, past, event| match event {
            _ if past.scenario.identity != Identity::Nobody => {}
            Event::Accessed(access) => {
                let known = [spec::MAGIC_VALUE, spec::VERSION, spec::DEVICE_ID];
                watch.expect(!access.write && known.contains(&access.offset), || {
                    format!("{access:x?}")
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "a placeholder is asked who made it",
            scenario: "nobody",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    let value = access.make(registers)?;
                    if access.reads(spec::DEVICE_ID) {
                        registers.read32(spec::VENDOR_ID)?;
                    }
                    Ok(value)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.no-shared-memory",
        &["drv:mmio:device-initialization:03"],
        "a driver of a device type without shared memory sets DRIVER_OK",
        "It accesses the registers of shared memory.",
        |watch, past, event| match event {
            Event::Accessed(access) if (spec::SHM_SEL..=spec::SHM_BASE_HIGH).contains(&access.offset) => {
                watch.broken(format!("{access:x?}"));
            }
            Event::Accessed(_) if past.is_live() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "a disk is asked for shared memory",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    if access.writes(spec::QUEUE_READY) {
                        registers.write32(spec::SHM_SEL, 0)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.initialization",
        &["drv:mmio:device-initialization:04"],
        "the driver sets DRIVER_OK over MMIO",
        "The initialization is not that of section 3.1.",
        |watch, past, event| {
            if past.bus != Bus::Mmio || past.steps.refused || past.status.contains(Status::FAILED) {
                return;
            }
            if let Some(early) = too_early(past, event) {
                watch.broken(early);
            } else if let Event::StatusWritten(status) = event
                && status.contains(Status::DRIVER_OK)
            {
                watch.seen();
            }
        },
        &[Mutant {
            name: "a virtqueue is enabled before the features are agreed upon",
            slip: Slip {
                registers: Some(|registers, _, access| {
                    if access.writes(spec::DRIVER_FEATURES) {
                        registers.write32(spec::QUEUE_SEL, 0)?;
                        registers.write32(spec::QUEUE_READY, 1)?;
                        registers.write32(spec::QUEUE_READY, 0)?;
                        registers.read32(spec::QUEUE_READY)?;
                    }
                    access.make(registers)
                }),
                ..Slip::NONE
            },
            also: &["init.order"],
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-read",
        &["drv:mmio:notifications-from-the-device:01"],
        "the driver acknowledges an interrupt",
        "It has not read InterruptStatus since the last time.",
        |watch, _, event| {
            if let Event::Accessed(access) = event {
                if access.reads(spec::INTERRUPT_STATUS) {
                    watch.note = 1;
                } else if access.writes(spec::INTERRUPT_ACK) {
                    watch.expect(watch.note == 1, || format!("{access:x?}"));
                    watch.note = 0;
                }
            }
        },
        &[Mutant {
            name: "every interrupt is taken to be for used buffers",
            scenario: "late",
            slip: Slip {
                registers: Some(
                    |registers, _, access| match access.reads(spec::INTERRUPT_STATUS) {
                        true => Ok(1),
                        false => access.make(registers),
                    },
                ),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "mmio.interrupt-handled",
        &["drv:mmio:notifications-from-the-device:03"],
        "the driver reads an InterruptStatus that is not 0",
        "It does not acknowledge what it has read before it waits again.",
        |watch, _, event| match event {
            Event::Accessed(access) if access.reads(spec::INTERRUPT_STATUS) => {
                watch.note |= u64::from(access.value & 3);
            }
            Event::Accessed(access) if access.writes(spec::INTERRUPT_ACK) => {
                watch.note &= !u64::from(access.value);
                watch.seen();
            }
            Event::StatusWritten(Status::NONE) => watch.note = 0,
            Event::Waits | Event::Ends(_) if watch.note != 0 => {
                watch.broken(format!("{:#x} was read and not acknowledged", watch.note));
            }
            _ => {}
        },
        &[Mutant {
            name: "interrupts are not acknowledged",
            scenario: "late",
            slip: Slip {
                registers: Some(|registers, _, access| match access.writes(spec::INTERRUPT_ACK) {
                    true => Ok(0),
                    false => access.make(registers),
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
];

/// A device that says that it is something else is ignored: nothing but MagicValue and Version is accessed.
fn ignored(watch: &mut Watch, past: &Past, event: &Event, identity: Identity) {
    if past.scenario.identity != identity {
        return;
    }
    if let Event::Accessed(access) = event {
        let harmless = access.reads(spec::MAGIC_VALUE) || access.reads(spec::VERSION);
        watch.expect(harmless, || format!("{access:x?}"));
    }
}

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

/// The width of accesses to the field at `offset` of a device type's configuration space; `None` if there is no field.
pub(super) fn field_width(id: u32, offset: u64) -> Option<Width> {
    let fields = match id {
        id if id == block::DEVICE.id => BLOCK,
        id if id == console::DEVICE.id => CONSOLE,
        id if id == network::DEVICE.id => NETWORK,
        _ => &[],
    };
    let field = fields
        .iter()
        .find(|(start, end, _)| (*start..*end).contains(&offset));
    field.map(|(_, _, width)| *width)
}

/// First byte, last byte and one more, width.
type Fields = &'static [(u64, u64, Width)];

const BLOCK: Fields = &[
    (0, 16, Width::Four),
    (16, 18, Width::Two),
    (18, 20, Width::One),
    (20, 24, Width::Four),
    (24, 26, Width::One),
    (26, 28, Width::Two),
    (28, 32, Width::Four),
    (32, 34, Width::One),
    (34, 36, Width::Two),
    (36, 56, Width::Four),
    (56, 60, Width::One),
    (60, 92, Width::Four),
    (92, 96, Width::One),
];

const CONSOLE: Fields = &[(0, 4, Width::Two), (4, 12, Width::Four)];

const NETWORK: Fields = &[
    (0, 6, Width::One),
    (6, 12, Width::Two),
    (12, 16, Width::Four),
    (16, 18, Width::One),
    (18, 20, Width::Two),
    (20, 28, Width::Four),
];
