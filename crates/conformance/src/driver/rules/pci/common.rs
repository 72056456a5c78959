//! The common configuration structure (section 4.1.4.3).

use ringwright_driver::transport::Registers;
use ringwright_spec::feature;
use ringwright_spec::pci::common_cfg as registers;

use super::{ALONE, common, slips};
use crate::driver::strict::pci::COMMON;
use crate::driver::{Access, Event, Mutant, Rule, Told};
use crate::subject::Bus;

/// The size and the addresses of a virtqueue.
const QUEUE: &[u64] = &[
    registers::QUEUE_SIZE,
    registers::QUEUE_DESC,
    registers::QUEUE_DESC + 4,
    registers::QUEUE_DRIVER,
    registers::QUEUE_DRIVER + 4,
    registers::QUEUE_DEVICE,
    registers::QUEUE_DEVICE + 4,
];

/// Fields that are the device's.
const READ_ONLY: &[u64] = &[
    registers::DEVICE_FEATURE,
    registers::NUM_QUEUES,
    registers::CONFIG_GENERATION,
    registers::QUEUE_NOTIFY_OFF,
    registers::QUEUE_NOTIF_CONFIG_DATA,
];

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "pci.read-only",
        &["drv:pci:common-configuration-structure-layout:01"],
        "the driver writes the common configuration",
        "It writes a field that is the device's.",
        |watch, _, event| {
            if let Some(access) = common(event)
                && access.write
            {
                watch.expect(!READ_ONLY.contains(&access.offset), || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "num_queues is written",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write16(COMMON + registers::NUM_QUEUES, 1)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.packed-size",
        &["drv:pci:common-configuration-structure-layout:02"],
        "VIRTIO_F_RING_PACKED is negotiated, and the driver writes queue_size",
        "It writes 0.",
        |watch, past, event| {
            if let Some(access) = common(event)
                && access.writes(registers::QUEUE_SIZE)
                && past.is_packed()
            {
                watch.expect(access.value != 0, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "the size of a packed virtqueue is 0 at first",
            scenario: "packed",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_SIZE) {
                    registers.write16(access.offset, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.split-size",
        &["drv:pci:common-configuration-structure-layout:03"],
        "VIRTIO_F_RING_PACKED is not negotiated, and the driver writes queue_size",
        "It writes what is no power of 2.",
        |watch, past, event| {
            if let Some(access) = common(event)
                && access.writes(registers::QUEUE_SIZE)
                && !past.is_packed()
            {
                watch.expect(access.value.is_power_of_two(), || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "the size of a split virtqueue is 3 at first",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_SIZE) {
                    registers.write16(access.offset, 3)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.enable-last",
        &["drv:pci:common-configuration-structure-layout:04"],
        "the driver enables a virtqueue",
        "It writes its size or an address afterwards.",
        |watch, _, event| {
            // The virtqueue that is selected, from bit 32 on; which of the first 32 are enabled.
            let Some(access) = common(event).filter(|access| access.write) else {
                return;
            };
            let queue = (watch.note >> 32) & 31;
            match access.offset {
                registers::QUEUE_SELECT => {
                    watch.note = watch.note & 0xffff_ffff | u64::from(access.value) << 32;
                }
                registers::QUEUE_ENABLE => {
                    watch.note |= u64::from(access.value & 1) << queue;
                    watch.seen();
                }
                registers::QUEUE_RESET => watch.note &= !(1 << queue),
                registers::DEVICE_STATUS if access.value == 0 => watch.note = 0,
                offset if QUEUE.contains(&offset) => {
                    watch.expect(watch.note & 1 << queue == 0, || format!("{access:x?}"));
                }
                _ => {}
            }
        },
        &[Mutant {
            name: "an address is written to a virtqueue that is enabled",
            slip: slips(|registers, _, access| {
                let done = access.make(registers)?;
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write32(COMMON + registers::QUEUE_DESC, 0x4000_0000)?;
                }
                Ok(done)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.reset-awaited",
        &["drv:pci:common-configuration-structure-layout:05"],
        "the driver writes 0 to device_status and goes on",
        "It has not read 0 before.",
        |watch, _, event| {
            if let Some(access) = common(event) {
                if access.writes(registers::DEVICE_STATUS) && access.value == 0 {
                    watch.note = 1;
                } else if access.reads(registers::DEVICE_STATUS) && access.value == 0 {
                    watch.note = 0;
                } else if access.writes(registers::DEVICE_STATUS) {
                    watch.expect(watch.note == 0, || format!("{access:x?}"));
                }
            }
        },
        &[Mutant {
            name: "a reset is taken for granted, over PCI",
            scenario: "slow",
            slip: slips(|registers, note, access| {
                if access.writes(COMMON + registers::DEVICE_STATUS) {
                    *note = u64::from(access.value == 0);
                }
                match *note == 1 && access.reads(COMMON + registers::DEVICE_STATUS) {
                    true => Ok(0),
                    false => access.make(registers),
                }
            }),
            also: &["init.order"],
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.never-disabled",
        &["drv:pci:common-configuration-structure-layout:06"],
        "the driver writes queue_enable",
        "It writes 0.",
        |watch, _, event| {
            if let Some(access) = common(event)
                && access.writes(registers::QUEUE_ENABLE)
            {
                watch.expect(access.value != 0, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "a virtqueue is disabled before it is enabled",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write16(access.offset, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.queue-reset",
        &["drv:pci:common-configuration-structure-layout:07"],
        "the driver writes 1 to queue_reset",
        "The virtqueue is enabled again before queue_reset reads 0.",
        |watch, _, event| {
            if let Some(access) = common(event) {
                if access.writes(registers::QUEUE_RESET) && access.value == 1 {
                    watch.note = 1;
                } else if access.reads(registers::QUEUE_RESET) && access.value == 0 && watch.note == 1 {
                    watch.note = 0;
                    watch.seen();
                } else if access.writes(registers::QUEUE_ENABLE) {
                    watch.expect(watch.note == 0, || "queue_reset has not read 0 before".into());
                }
            }
        },
        &[Mutant {
            name: "a reset of a virtqueue is taken for granted, over PCI",
            scenario: "queue-reset",
            slip: slips(|registers, _, access| reads_as_common(registers, access, registers::QUEUE_RESET, 0)),
            also: &["queue-reset.verified"],
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.admin-queues",
        &["drv:pci:common-configuration-structure-layout:10"],
        "VIRTIO_F_ADMIN_VQ is negotiated, and the driver enables a virtqueue beyond those of the device type",
        "It is no administration virtqueue.",
        |watch, past, event| {
            if let Event::QueueEnabled(index, _) = event
                && past.bus == Bus::Pci
                && past.has(feature::ADMIN_VQ)
                && *index >= past.administration
            {
                // There is one.
                let right = *index == past.administration;
                watch.expect(right, || format!("virtqueue {index} is enabled"));
            }
        },
        &[Mutant {
            name: "an administration virtqueue is looked for behind the last",
            scenario: "pci-admin",
            slip: slips(|registers, note, access| {
                if access.writes(COMMON + registers::DRIVER_FEATURE_SELECT) {
                    *note = access.value.into();
                }
                if access.writes(COMMON + registers::DRIVER_FEATURE) && *note == 1 {
                    let value = access.value | feature::ADMIN_VQ.word(1);
                    return registers.write32(access.offset, value).map(|()| 0);
                }
                let done = access.make(registers)?;
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write16(COMMON + registers::QUEUE_SELECT, 2)?;
                    registers.write16(COMMON + registers::QUEUE_SIZE, 2)?;
                    for (field, address) in [
                        (registers::QUEUE_DESC, 0x4030_0000),
                        (registers::QUEUE_DRIVER, 0x4030_1000),
                        (registers::QUEUE_DEVICE, 0x4030_2000),
                    ] {
                        registers.write32(COMMON + field, address)?;
                    }
                    registers.write16(COMMON + registers::QUEUE_ENABLE, 1)?;
                    registers.write16(COMMON + registers::QUEUE_SELECT, 0)?;
                }
                Ok(done)
            }),
            ..ALONE
        }],
    ),
];

/// Takes a field of the common configuration for `value`, and does not read it.
fn reads_as_common(registers: &mut dyn Registers, access: Access, offset: u64, value: u32) -> Told<u32> {
    match access.reads(COMMON + offset) {
        true => Ok(value),
        false => access.make(registers),
    }
}
