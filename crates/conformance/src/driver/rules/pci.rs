//! Functions on a PCI bus (section 4.1).

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::feature;
use ringwright_spec::pci::header::{self, msix};
use ringwright_spec::pci::{MSI_NO_VECTOR, common_cfg as registers};
use ringwright_spec::status::Status;

use super::mmio::field_width;
use crate::driver::scenario::Oddity;
use crate::driver::strict::pci::{
    COMMON, COMMON_CAP, ISR, MSIX_CAP, MULTIPLIER, NOTIFY, WINDOW_CAP, WINDOW_DATA, is_capability,
    is_structure, notif_config_data,
};
use crate::driver::{Access, Event, Mutant, Part, Past, Rule, Slip, SlipAccess, Told, Watch};
use crate::subject::Bus;

/// What the mutants of this bus have in common.
const ALONE: Mutant = Mutant {
    bus: Bus::Pci,
    ..Mutant::ALONE
};

const fn slips(slip: SlipAccess) -> Slip {
    Slip {
        registers: Some(slip),
        ..Slip::NONE
    }
}

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
        "pci.found",
        &["drv:pci:pci-device-discovery:01"],
        "the function has the Vendor ID of virtio and the Device ID of the device type",
        "The driver does not take it.",
        |watch, past, event| taken(watch, past, event, Oddity::None),
        &[Mutant {
            name: "the function is somebody else's",
            slip: slips(|registers, _, access| reads_as(registers, access, header::DEVICE_ID, 0x1234)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.found-transitional",
        &["drv:pci:pci-device-discovery:02"],
        "the function has the Transitional PCI Device ID of the device type",
        "The driver does not take it.",
        |watch, past, event| {
            if past.device.transitional_pci_id.is_some() {
                taken(watch, past, event, Oddity::Transitional);
            }
        },
        &[Mutant {
            name: "a transitional device is somebody else's",
            scenario: "pci-transitional",
            slip: slips(|registers, _, access| reads_as(registers, access, header::DEVICE_ID, 0x1234)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.any-revision",
        &["drv:pci:pci-device-discovery:03"],
        "the Revision ID of the function is 0x5a",
        "The driver does not take it.",
        |watch, past, event| taken(watch, past, event, Oddity::Revision),
        &[Mutant {
            name: "a revision is not known",
            scenario: "pci-revision",
            slip: slips(
                |registers, _, access| match registers.read8(header::REVISION_ID as u64)? {
                    1 => access.make(registers),
                    _ => reads_as(registers, access, header::DEVICE_ID, 0x1234),
                },
            ),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.config-width",
        &["drv:pci:pci-device-layout:01"],
        "the driver accesses a field of the device-specific configuration",
        "The access is not of the field's width, or not aligned.",
        |watch, past, event| {
            if let Event::Function(Part::Device, access) = event
                && let Some(width) = field_width(past.device.id, access.offset)
            {
                let right = access.width == width && access.offset.is_multiple_of(width.bytes() as u64);
                watch.expect(right, || {
                    format!("{access:x?}, the field has {} bytes", width.bytes())
                });
            }
        },
        &[Mutant {
            name: "a field is read by halves",
            slip: slips(|registers, _, access| {
                if !(COMMON + 0x2000..NOTIFY).contains(&access.offset) || access.width != Width::Four {
                    return access.make(registers);
                }
                let low = registers.read16(access.offset)?;
                let high = registers.read16(access.offset + 2)?;
                Ok(u32::from(low) | u32::from(high) << 16)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.reserved-type",
        &["drv:pci:virtio-structure-pci-capabilities:01"],
        "the first capability of virtio has a cfg_type that is reserved",
        "The driver uses what it names, or does not work.",
        |watch, past, event| ignored(watch, past, event, Oddity::ReservedType),
        &[Mutant {
            name: "a type that nobody knows is the common configuration",
            scenario: "pci-reserved-type",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_odd = is_space(&access) && access.width == Width::Four && value >> 24 == 0x77;
                Ok(if is_odd {
                    value & 0xff_ffff | 1 << 24
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.first-instance",
        &["drv:pci:virtio-structure-pci-capabilities:02"],
        "there are two instances of the common configuration",
        "The driver uses the second.",
        |watch, past, event| match event {
            Event::Function(Part::Second, access) => watch.broken(format!("{access:x?}")),
            Event::Ends(_) if past.scenario.function.oddity == Oddity::Twice && past.lives > 0 => {
                watch.seen()
            }
            _ => {}
        },
        &[Mutant {
            name: "the last instance is the best",
            scenario: "pci-twice",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_first = access.reads(COMMON_CAP) && access.width == Width::Four;
                Ok(if is_first {
                    value & 0xff_ffff | 0x77 << 24
                } else {
                    value
                })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.long-capabilities",
        &["drv:pci:virtio-structure-pci-capabilities:03"],
        "cap_len is larger than it has to be",
        "The driver does not take the device.",
        |watch, past, event| taken(watch, past, event, Oddity::LongCapabilities),
        &[Mutant {
            name: "a longer capability is not known",
            scenario: "pci-long-capabilities",
            slip: slips(|registers, _, access| {
                match is_space(&access) && access.width == Width::One && access.offset >= COMMON_CAP {
                    true if registers.read8(access.offset + 2)? > 20 => Ok(0),
                    _ => access.make(registers),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.reserved-bar",
        &["drv:pci:virtio-structure-pci-capabilities:04"],
        "the first capability of virtio has a bar value that is reserved",
        "The driver uses what it names, or does not work.",
        |watch, past, event| ignored(watch, past, event, Oddity::ReservedBar),
        &[Mutant {
            name: "BAR 7 is taken for BAR 4",
            scenario: "pci-reserved-bar",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                let is_odd = is_space(&access) && access.offset > WINDOW_DATA && value == 7;
                Ok(if is_odd { 4 } else { value })
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.large-structures",
        &["drv:pci:virtio-structure-pci-capabilities:06"],
        "structures are larger than they have to be",
        "The driver does not work.",
        |watch, past, event| taken(watch, past, event, Oddity::LargeStructures),
        &[Mutant {
            name: "a structure that is too large is an error",
            scenario: "pci-large-structures",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match access.reads(COMMON_CAP + 12) && value > 64 {
                    true => Err(TransportError::Protocol("a structure is too large")),
                    false => Ok(value),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.large-config",
        &["drv:core:device-configuration-space:03"],
        "the device-specific configuration is larger than the document's",
        "The driver does not work.",
        |watch, past, event| taken(watch, past, event, Oddity::LargeConfig),
        &[Mutant {
            name: "a configuration that is too large is an error",
            scenario: "pci-large-config",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match is_space(&access) && access.width == Width::Four && value == 0x2000 {
                    true => Err(TransportError::Protocol("a configuration is too large")),
                    false => Ok(value),
                }
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.capabilities-kept",
        &["drv:pci:virtio-structure-pci-capabilities:07"],
        "the driver sets DRIVER_OK",
        "A field of a Virtio Structure PCI Capability is written, and it is not that of the window.",
        |watch, _, event| match event {
            Event::Function(Part::Config, access) if access.write => {
                let harmless = !is_capability(access.offset, access.width.bytes() as u64);
                watch.expect(harmless, || format!("{access:x?}"));
            }
            Event::StatusWritten(status) if status.contains(Status::DRIVER_OK) => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "the BAR of a capability is written",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_ENABLE) {
                    registers.write8(COMMON_CAP + 4, 0)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
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
    Rule::new(
        "pci.isr-left-alone",
        &["drv:pci:isr-status-capability:01"],
        "MSI-X is enabled, and the driver waits for used buffers",
        "It accesses the ISR status.",
        |watch, past, event| match event {
            Event::Function(Part::Config, access) if access.writes(MSIX_CAP + msix::CONTROL as u64) => {
                watch.note = u64::from(access.value as u16 & msix::ENABLE);
            }
            Event::Function(Part::Isr, access) if watch.note != 0 && past.is_live() => {
                watch.broken(format!("{access:x?}"));
            }
            Event::Waits if watch.note != 0 && past.is_live() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "the ISR status is read although there are messages",
            scenario: "late",
            slip: slips(|registers, _, access| {
                if is_notification(&access) {
                    registers.read8(ISR)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
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
    Rule::new(
        "pci.any-table-size",
        &["drv:pci:msi-x-vector-configuration:01"],
        "the Table Size of MSI-X is 0, or 0x7ff",
        "The driver does not work.",
        |watch, past, event| {
            if matches!(past.scenario.function.vectors, 1 | 2048) {
                works(watch, past, event);
            }
        },
        &[
            Mutant {
                name: "one vector is too few",
                scenario: "pci-one-vector",
                slip: slips(|registers, _, access| wrong_size(registers, access, 0)),
                also: &["pci.found"],
                ..ALONE
            },
            Mutant {
                name: "2048 vectors are too many",
                scenario: "pci-most-vectors",
                slip: slips(|registers, _, access| wrong_size(registers, access, 0x7ff)),
                also: &["pci.found"],
                ..ALONE
            },
        ],
    ),
    Rule::new(
        "pci.vector-exists",
        &["drv:pci:msi-x-vector-configuration:04"],
        "the driver maps an event to a vector",
        "There is no such vector.",
        |watch, past, event| {
            if let Some(access) = common(event)
                && is_vector(access)
                && access.write
                && access.value != u32::from(MSI_NO_VECTOR)
            {
                let vectors = u32::from(past.scenario.function.vectors);
                watch.expect(access.value < vectors, || {
                    format!("{access:x?}, there are {vectors}")
                });
            }
        },
        &[Mutant {
            name: "the driver tries whether there are more vectors",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + registers::QUEUE_MSIX_VECTOR) {
                    registers.write16(access.offset, 9)?;
                    registers.read16(access.offset)?;
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.vector-verified",
        &["drv:pci:msi-x-vector-configuration:05"],
        "the driver maps an event to a vector",
        "It does not read it back before it uses the virtqueue, or the device.",
        |watch, _, event| {
            let Some(access) = common(event) else {
                return;
            };
            let bit = u64::from(access.offset == registers::CONFIG_MSIX_VECTOR);
            if is_vector(access) && access.write {
                watch.note |= u64::from(access.value != u32::from(MSI_NO_VECTOR)) << bit;
            } else if is_vector(access) {
                watch.note &= !(1 << bit);
                watch.seen();
            } else if access.writes(registers::QUEUE_ENABLE) || access.writes(registers::QUEUE_SELECT) {
                watch.expect(watch.note & 1 == 0, || format!("{access:x?} comes first"));
            } else if access.writes(registers::DEVICE_STATUS) && access.value != 0 {
                watch.expect(watch.note == 0, || format!("{access:x?} comes first"));
            }
        },
        &[Mutant {
            name: "vectors are taken for granted",
            slip: slips(|registers, note, access| {
                let is_vector = access.offset == COMMON + registers::QUEUE_MSIX_VECTOR;
                if is_vector && !access.write {
                    return Ok(*note as u32);
                }
                if is_vector {
                    *note = access.value.into();
                }
                access.make(registers)
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-16",
        &["drv:pci:available-buffer-notifications:01"],
        "VIRTIO_F_NOTIFICATION_DATA is not negotiated, and the driver notifies",
        "The notification is not of 16 bits.",
        |watch, past, event| {
            if let Some(access) = notification(event)
                && !past.has(feature::NOTIFICATION_DATA)
            {
                watch.expect(access.width == Width::Two, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "a notification has 32 bits",
            slip: slips(|registers, _, access| match is_notification(&access) {
                true => registers.write32(access.offset, access.value).map(|()| 0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-32",
        &["drv:pci:available-buffer-notifications:02"],
        "VIRTIO_F_NOTIFICATION_DATA is negotiated, and the driver notifies",
        "The notification is not of 32 bits.",
        |watch, past, event| {
            if let Some(access) = notification(event)
                && past.has(feature::NOTIFICATION_DATA)
            {
                watch.expect(access.width == Width::Four, || format!("{access:x?}"));
            }
        },
        &[Mutant {
            name: "a notification with data has 16 bits",
            scenario: "pci-notification-data",
            slip: slips(|registers, _, access| match is_notification(&access) {
                true => registers.write16(access.offset, access.value as u16).map(|()| 0),
                false => access.make(registers),
            }),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-index",
        &["drv:pci:available-buffer-notifications:03"],
        "neither VIRTIO_F_NOTIFICATION_DATA nor VIRTIO_F_NOTIF_CONFIG_DATA is negotiated, and the driver notifies",
        "The value is not the virtqueue's index.",
        |watch, past, event| says(watch, past, event, false, false),
        &[Mutant {
            name: "a notification has no index",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-data-index",
        &["drv:pci:available-buffer-notifications:04"],
        "VIRTIO_F_NOTIFICATION_DATA is negotiated and VIRTIO_F_NOTIF_CONFIG_DATA is not, and the driver notifies",
        "vq_index is not the virtqueue's index.",
        |watch, past, event| says(watch, past, event, true, false),
        &[Mutant {
            name: "a notification with data has no index",
            scenario: "pci-notification-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-config",
        &["drv:pci:available-buffer-notifications:05"],
        "VIRTIO_F_NOTIF_CONFIG_DATA is negotiated and VIRTIO_F_NOTIFICATION_DATA is not, and the driver notifies",
        "The value is not queue_notif_config_data.",
        |watch, past, event| says(watch, past, event, false, true),
        &[Mutant {
            name: "a notification does not carry what the device says",
            scenario: "pci-notif-config-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.notification-config-data",
        &["drv:pci:available-buffer-notifications:06"],
        "VIRTIO_F_NOTIF_CONFIG_DATA and VIRTIO_F_NOTIFICATION_DATA are negotiated, and the driver notifies",
        "vq_notify_config_data is not queue_notif_config_data.",
        |watch, past, event| says(watch, past, event, true, true),
        &[Mutant {
            name: "a notification with data does not carry what the device says",
            scenario: "pci-notif-config-and-data",
            slip: slips(|registers, _, access| other_value(registers, access)),
            ..ALONE
        }],
    ),
    Rule::new(
        "pci.shared-interrupt",
        &["drv:pci:notification-of-device-configuration-changes:01"],
        "one interrupt is for a change of the configuration and for used buffers",
        "The driver fails.",
        |watch, _, event| match event {
            Event::Function(Part::Isr, access) if access.value & 3 == 3 => watch.note = 1,
            Event::StatusWritten(status) if watch.note == 1 && status.contains(Status::FAILED) => {
                watch.broken(format!("{status:?} is written"));
            }
            Event::Ends(how) if watch.note == 1 => watch.expect(how.is_ok(), || format!("{how:?}")),
            _ => {}
        },
        &[Mutant {
            name: "an interrupt for two things is an error",
            scenario: "pci-pin",
            slip: slips(|registers, _, access| {
                let value = access.make(registers)?;
                match access.reads(ISR) && value == 3 {
                    true => Err(TransportError::Protocol("an interrupt for two things")),
                    false => Ok(value),
                }
            }),
            also: &["split.spurious"],
            ..ALONE
        }],
    ),
];

/// An access to the common configuration.
fn common(event: &Event) -> Option<&Access> {
    match event {
        Event::Function(Part::Common, access) => Some(access),
        _ => None,
    }
}

/// An available buffer notification.
fn notification(event: &Event) -> Option<&Access> {
    match event {
        Event::Function(Part::Notify, access) if access.write => Some(access),
        _ => None,
    }
}

/// A function of this oddity is taken, and works.
fn taken(watch: &mut Watch, past: &Past, event: &Event, oddity: Oddity) {
    if past.bus == Bus::Pci && past.scenario.function.oddity == oddity {
        works(watch, past, event);
    }
}

/// The driver takes the function, and sets DRIVER_OK unless something else is wrong.
fn works(watch: &mut Watch, past: &Past, event: &Event) {
    match event {
        Event::StatusWritten(status) if status.contains(Status::ACKNOWLEDGE) => watch.note = 1,
        Event::Ends(how) if past.bus == Bus::Pci => {
            let may_fail = past.scenario.refuses || !past.offered.contains(feature::VERSION_1);
            let is_used = watch.note == 1 && (may_fail || past.lives > 0);
            watch.expect(is_used, || format!("it is not used: {how:?}"));
        }
        _ => {}
    }
}

/// What the first capability names is left alone, and the function works.
fn ignored(watch: &mut Watch, past: &Past, event: &Event, oddity: Oddity) {
    taken(watch, past, event, oddity);
    if let Event::Function(Part::Nothing, access) = event
        && past.scenario.function.oddity == oddity
    {
        watch.broken(format!("{access:x?}"));
    }
}

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

fn is_vector(access: &Access) -> bool {
    matches!(
        access.offset,
        registers::CONFIG_MSIX_VECTOR | registers::QUEUE_MSIX_VECTOR
    )
}

/// A notification carries what it has to, with data or without.
fn says(watch: &mut Watch, past: &Past, event: &Event, has_data: bool, from_device: bool) {
    if let Some(access) = notification(event)
        && past.has(feature::NOTIFICATION_DATA) == has_data
        && past.has(feature::NOTIF_CONFIG_DATA) == from_device
    {
        let queue = access.offset / u64::from(MULTIPLIER);
        let right = match from_device {
            true => notif_config_data(queue),
            false => queue as u32,
        };
        watch.expect(access.value & 0xffff == right, || {
            format!("{access:x?} is for virtqueue {queue}, which has {right:#x}")
        });
    }
}

/// Whether an access is one to the configuration space.
fn is_space(access: &Access) -> bool {
    access.offset < header::EXPRESS_SIZE as u64 && !access.write
}

/// Whether an access of a hand is a notification.
fn is_notification(access: &Access) -> bool {
    access.write && (NOTIFY..NOTIFY + 0x1000).contains(&access.offset)
}

/// Reads `value` where something else stands in the configuration space.
fn reads_as(registers: &mut dyn Registers, access: Access, offset: usize, value: u32) -> Told<u32> {
    let read = access.make(registers)?;
    Ok(if access.reads(offset as u64) { value } else { read })
}

/// Takes a field of the common configuration for `value`, and does not read it.
fn reads_as_common(registers: &mut dyn Registers, access: Access, offset: u64, value: u32) -> Told<u32> {
    match access.reads(COMMON + offset) {
        true => Ok(value),
        false => access.make(registers),
    }
}

/// Takes a Table Size for an error.
fn wrong_size(registers: &mut dyn Registers, access: Access, size: u32) -> Told<u32> {
    let value = access.make(registers)?;
    match access.reads(MSIX_CAP + msix::CONTROL as u64) && value & u32::from(msix::TABLE_SIZE) == size {
        true => Err(TransportError::Protocol("a wrong number of vectors")),
        false => Ok(value),
    }
}

/// Notifies with another virtqueue's value.
fn other_value(registers: &mut dyn Registers, mut access: Access) -> Told<u32> {
    if is_notification(&access) {
        access.value ^= 0x55;
    }
    access.make(registers)
}
