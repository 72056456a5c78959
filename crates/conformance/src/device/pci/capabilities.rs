//! Discovery, and the capabilities that locate structures (sections 4.1.2 and 4.1.4).

use ringwright_spec::Features;
use ringwright_spec::feature::NOTIFICATION_DATA;
use ringwright_spec::pci::common_cfg::{NUM_QUEUES, QUEUE_NOTIFY_OFF, QUEUE_SELECT};
use ringwright_spec::pci::header::{self, bar};
use ringwright_spec::pci::{
    self, Cap, Cap64, CfgCap, CfgType, DEVICE_ID_BASE, DEVICE_IDS, NON_TRANSITIONAL_REVISION_ID,
    NON_TRANSITIONAL_SUBSYSTEM_ID, NotifyCap, TRANSITIONAL_DEVICE_IDS, VENDOR_ID, VndrData,
};

use crate::check::{Check, Outcome};
use crate::mutant::{Lens, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{Capabilities, Structure};

use super::{OVER_PCI, capabilities, function, is_live, open, with_byte, with_field};

/// A mutant that shows another byte in the configuration space of a live device: at an offset, or in the capability of a
/// type.
macro_rules! byte {
    ($breaks:literal, $name:literal, at $at:expr => $byte:expr) => {
        Mutant {
            name: $name,
            breaks: $breaks,
            lens: Lens {
                read: Some(|shadow, name, offset, width, value| {
                    with_byte(shadow, (name, offset, width), value, $at as u64, $byte)
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }
    };
    ($breaks:literal, $name:literal, $type:ident + $field:literal => $byte:expr) => {
        byte!($breaks, $name, $type + $field => $byte, offered None, also &[])
    };
    ($breaks:literal, $name:literal, $type:ident + $field:literal => $byte:expr, offered $offered:expr, also $also:expr) => {
        Mutant {
            name: $name,
            breaks: $breaks,
            lens: Lens {
                read: Some(|shadow, name, offset, width, value| {
                    with_field(shadow, (name, offset, width), value, CfgType::$type, $field, $byte)
                }),
                offered: $offered,
                ..Lens::CLEAR
            },
            also: $also,
            ..Mutant::ALONE
        }
    };
}

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "pci.identity",
        clauses: &[
            "dev:pci:pci-device-discovery:01",
            "dev:pci:pci-device-discovery:02",
            "dev:pci:pci-device-discovery:04",
            "dev:pci:pci-device-discovery:05",
            "dev:pci:pci-device-discovery:06",
        ],
        does: "Reads the ids in the configuration space of a live device.",
        violation: "They are not those of a virtio device, or those of a legacy one though it is none.",
        needs: OVER_PCI,
        run: identity,
        mutants: &[
            byte!("dev:pci:pci-device-discovery:01", "the Vendor ID is another's", at header::VENDOR_ID => 0xf5),
            byte!("dev:pci:pci-device-discovery:02", "the Device ID is beyond those of virtio", at header::DEVICE_ID => 0x80),
            Mutant {
                name: "the Device ID is a transitional one without an I/O BAR",
                breaks: "dev:pci:pci-device-discovery:04",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        with_byte(
                            shadow,
                            (name, offset, width),
                            value,
                            header::DEVICE_ID as u64,
                            0x01,
                        )
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            byte!("dev:pci:pci-device-discovery:05", "the Revision ID is 0", at header::REVISION_ID => 0),
            Mutant {
                name: "the Subsystem Device ID is 2",
                breaks: "dev:pci:pci-device-discovery:06",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let (place, at) = ((name, offset, width), header::SUBSYSTEM_ID as u64);
                        let value = with_byte(shadow, place, value, at, 2);
                        with_byte(shadow, place, value, at + 1, 0)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.structures",
        clauses: &[
            "dev:pci:virtio-structure-pci-capabilities:01",
            "dev:pci:common-configuration-structure-layout:01",
            "dev:pci:common-configuration-structure-layout:02",
            "dev:pci:notification-capability:01",
            "dev:pci:isr-status-capability:01",
            "dev:pci:device-specific-configuration:01",
            "dev:pci:pci-configuration-access-capability:01",
        ],
        does: "Reads the capability list of a live device.",
        violation: "A structure is missing, does not begin where it has to, or its capability is shorter than what it has.",
        needs: OVER_PCI,
        run: structures,
        mutants: &[
            byte!("dev:pci:virtio-structure-pci-capabilities:01", "cap_len leaves out the multiplier", NOTIFY_CFG + 2 => 16),
            byte!("dev:pci:common-configuration-structure-layout:01", "the common configuration begins at an odd place", COMMON_CFG + 8 => 2, offered None, also &["*"]),
            byte!("dev:pci:common-configuration-structure-layout:02", "there is no common configuration", COMMON_CFG + 3 => 0x70),
            byte!("dev:pci:notification-capability:01", "there is no notification capability", NOTIFY_CFG + 3 => 0x70),
            byte!("dev:pci:isr-status-capability:01", "there is no ISR status", ISR_CFG + 3 => 0x70),
            byte!("dev:pci:device-specific-configuration:01", "the device configuration begins at an odd place", DEVICE_CFG + 8 => 2),
            byte!("dev:pci:pci-configuration-access-capability:01", "there is no window", PCI_CFG + 3 => 0x70),
        ],
    },
    Check {
        name: "pci.notification",
        clauses: &[
            "dev:pci:notification-capability:02",
            "dev:pci:notification-capability:03",
            "dev:pci:notification-capability:04",
            "dev:pci:notification-capability:05",
            "dev:pci:notification-capability:06",
            "dev:pci:notification-capability:07",
            "dev:pci:notification-capability:08",
            "dev:pci:notification-capability:09",
        ],
        does: "Reads the notification capability of a live device, and queue_notify_off of each virtqueue.",
        violation: "Offset or multiplier are not what they may be, or a virtqueue's notifications go beyond the structure.",
        needs: OVER_PCI,
        run: notification,
        mutants: &[
            byte!("dev:pci:notification-capability:02", "notifications begin at an odd offset", NOTIFY_CFG + 8 => 1, offered WITHOUT_DATA, also MASKED),
            byte!("dev:pci:notification-capability:03", "the multiplier is 3", NOTIFY_CFG + 16 => 3, offered WITHOUT_DATA, also MASKED),
            Mutant {
                name: "there is room for a byte",
                breaks: "dev:pci:notification-capability:04",
                lens: Lens {
                    offered: WITHOUT_DATA,
                    read: Some(|shadow, name, offset, width, value| {
                        short_notify(shadow, name, offset, width, value, 1)
                    }),
                    ..Lens::CLEAR
                },
                also: MASKED,
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_notify_off leads beyond the structure",
                breaks: "dev:pci:notification-capability:05",
                lens: Lens {
                    offered: WITHOUT_DATA,
                    read: Some(far_notify),
                    ..Lens::CLEAR
                },
                also: MASKED,
                ..Mutant::ALONE
            },
            byte!("dev:pci:notification-capability:06", "the multiplier is 2", NOTIFY_CFG + 16 => 2),
            byte!("dev:pci:notification-capability:07", "notifications begin at offset 2", NOTIFY_CFG + 8 => 2),
            Mutant {
                name: "there is room for two bytes",
                breaks: "dev:pci:notification-capability:08",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        short_notify(shadow, name, offset, width, value, 2)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_notify_off leads beyond the structure",
                breaks: "dev:pci:notification-capability:09",
                lens: Lens {
                    read: Some(far_notify),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.shared-memory",
        clauses: &[
            "dev:pci:shared-memory-capability:01",
            "dev:pci:shared-memory-capability:02",
        ],
        does: "Reads the capabilities that locate shared memory.",
        violation: "A region is not within its BAR, or two have the same id.",
        needs: OVER_PCI,
        run: shared_memory,
        mutants: &[
            Mutant {
                name: "shared memory lies far behind the end of its BAR",
                breaks: "dev:pci:shared-memory-capability:01",
                lens: Lens {
                    // The vendor's bytes are offset and length.
                    read: Some(|shadow, name, offset, width, value| {
                        let place = (name, offset, width);
                        let value = with_field(shadow, place, value, CfgType::VENDOR_CFG, 4, 2);
                        with_field(
                            shadow,
                            place,
                            value,
                            CfgType::VENDOR_CFG,
                            3,
                            CfgType::SHARED_MEMORY_CFG.0,
                        )
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "two shared memory regions have the same id",
                breaks: "dev:pci:shared-memory-capability:02",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let vendors: Vec<u64> = shadow
                            .capabilities
                            .of(CfgType::VENDOR_CFG)
                            .map(|cap| cap.at)
                            .collect();
                        vendors.into_iter().fold(value, |value, at| {
                            let shared = [(3, CfgType::SHARED_MEMORY_CFG.0), (4, 0), (5, 7)];
                            let none = (8..24).map(|field| (field, 0));
                            shared
                                .into_iter()
                                .chain(none)
                                .fold(value, |value, (field, byte)| {
                                    with_byte(shadow, (name, offset, width), value, at + field, byte)
                                })
                        })
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.vendor-data",
        clauses: &[
            "dev:pci:vendor-data-capability:01",
            "dev:pci:vendor-data-capability:02",
            "dev:pci:vendor-data-capability:03",
        ],
        does: "Reads vendor data twice, and looks at what else is in the configuration space.",
        violation: "They are virtio's own, not a multiple of 4 bytes long, or something has changed.",
        needs: OVER_PCI,
        run: vendor_data,
        mutants: &[
            Mutant {
                name: "vendor data of virtio's own vendor",
                breaks: "dev:pci:vendor-data-capability:01",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        let place = (name, offset, width);
                        let value = with_field(shadow, place, value, CfgType::VENDOR_CFG, 4, 0xf4);
                        with_field(shadow, place, value, CfgType::VENDOR_CFG, 5, 0x1a)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            byte!("dev:pci:vendor-data-capability:02", "vendor data of 23 bytes", VENDOR_CFG + 2 => 23),
            Mutant {
                name: "vendor data are others at each read",
                breaks: "dev:pci:vendor-data-capability:03",
                lens: Lens {
                    read: Some(|shadow, name, offset, width, value| {
                        shadow.note += 1;
                        let byte = shadow.note as u8;
                        with_field(shadow, (name, offset, width), value, CfgType::VENDOR_CFG, 8, byte)
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
];

/// Offers everything but VIRTIO_F_NOTIFICATION_DATA.
const WITHOUT_DATA: Option<fn(&mut crate::mutant::Life, Features) -> Features> =
    Some(|_, offered| offered - NOTIFICATION_DATA);

/// Checks that see that the registers offer another feature.
const MASKED: &[&str] = &["features.refused", "pci.device-feature"];

fn short_notify(
    shadow: &mut crate::mutant::Shadow,
    name: &str,
    offset: u64,
    width: ringwright_memory::Width,
    value: u32,
    length: u8,
) -> u32 {
    let bytes = [(12, length), (13, 0), (14, 0), (15, 0), (16, 0)];
    bytes.into_iter().fold(value, |value, (field, byte)| {
        with_field(
            shadow,
            (name, offset, width),
            value,
            CfgType::NOTIFY_CFG,
            field,
            byte,
        )
    })
}

fn far_notify(
    shadow: &mut crate::mutant::Shadow,
    name: &str,
    offset: u64,
    _: ringwright_memory::Width,
    value: u32,
) -> u32 {
    match (name, offset) {
        ("common", QUEUE_NOTIFY_OFF) if is_live(shadow) => 0x7000,
        _ => value,
    }
}

fn live_capabilities(probe: &mut Probe) -> Outcome<Capabilities> {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    capabilities(probe)
}

fn identity(probe: &mut Probe) -> Outcome {
    live_capabilities(probe)?;
    let config = &mut function(probe)?.config;
    let vendor = config.read16(header::VENDOR_ID as u64)?;
    let device = config.read16(header::DEVICE_ID as u64)?;
    let revision = config.read8(header::REVISION_ID as u64)?;
    let subsystem = config.read16(header::SUBSYSTEM_ID as u64)?;
    let has_io = config.read32(header::BAR0 as u64)? & bar::IO != 0;
    holds(vendor == VENDOR_ID, "dev:pci:pci-device-discovery:01", || {
        format!("the Vendor ID is {vendor:#06x}")
    })?;
    let known = DEVICE_IDS.contains(&device) && pci::virtio_id(device).is_some();
    holds(known, "dev:pci:pci-device-discovery:02", || {
        format!("the Device ID is {device:#06x}")
    })?;
    let transitional = TRANSITIONAL_DEVICE_IDS.contains(&device);
    // Without an I/O BAR there is no legacy interface.
    holds(!transitional || has_io, "dev:pci:pci-device-discovery:04", || {
        format!(
            "the Device ID is {device:#06x}, and there is no legacy interface; it is below {DEVICE_ID_BASE:#06x}"
        )
    })?;
    holds(
        transitional || revision >= NON_TRANSITIONAL_REVISION_ID,
        "dev:pci:pci-device-discovery:05",
        || format!("the Revision ID is {revision}"),
    )?;
    holds(
        transitional || subsystem >= NON_TRANSITIONAL_SUBSYSTEM_ID,
        "dev:pci:pci-device-discovery:06",
        || format!("the Subsystem Device ID is {subsystem:#x}"),
    )
}

fn structures(probe: &mut Probe) -> Outcome {
    let found = live_capabilities(probe)?;
    for (cfg_type, clause) in [
        (
            CfgType::COMMON_CFG,
            "dev:pci:common-configuration-structure-layout:02",
        ),
        (CfgType::NOTIFY_CFG, "dev:pci:notification-capability:01"),
        (CfgType::ISR_CFG, "dev:pci:isr-status-capability:01"),
        (CfgType::PCI_CFG, "dev:pci:pci-configuration-access-capability:01"),
    ] {
        holds(found.structure(cfg_type).is_some(), clause, || {
            format!("there is no capability of type {}", cfg_type.0)
        })?;
    }
    for structure in &found.structures {
        let Structure {
            at,
            cap_len,
            cfg_type,
            offset,
            ..
        } = *structure;
        let least = match cfg_type {
            CfgType::NOTIFY_CFG => size_of::<NotifyCap>(),
            CfgType::PCI_CFG => size_of::<CfgCap>(),
            CfgType::SHARED_MEMORY_CFG => size_of::<Cap64>(),
            CfgType::VENDOR_CFG => size_of::<VndrData>(),
            _ => size_of::<Cap>(),
        };
        holds(
            usize::from(cap_len) >= least && at + u64::from(cap_len) <= header::CONVENTIONAL_SIZE as u64,
            "dev:pci:virtio-structure-pci-capabilities:01",
            || {
                format!(
                    "the capability at {at:#x}, of type {}, has cap_len {cap_len}, not {least} at least",
                    cfg_type.0
                )
            },
        )?;
        let clause = match cfg_type {
            CfgType::COMMON_CFG => "dev:pci:common-configuration-structure-layout:01",
            CfgType::DEVICE_CFG => "dev:pci:device-specific-configuration:01",
            _ => continue,
        };
        holds(offset.is_multiple_of(4), clause, || {
            format!("it begins at offset {offset:#x}")
        })?;
    }
    Ok(())
}

fn notification(probe: &mut Probe) -> Outcome {
    let found = live_capabilities(probe)?;
    let with_data = probe.offered()?.contains(NOTIFICATION_DATA);
    let size = if with_data {
        pci::NOTIFY_DATA_SIZE
    } else {
        pci::NOTIFY_SIZE
    };
    let pick = |plain, data| if with_data { data } else { plain };
    let mut common = open(probe, CfgType::COMMON_CFG)?;
    for Structure {
        at, offset, length, ..
    } in found.of(CfgType::NOTIFY_CFG)
    {
        let multiplier = function(probe)?.config.read32(at + size_of::<Cap>() as u64)?;
        probe.note(format_args!(
            "notifications: offset {offset:#x}, length {length:#x}, multiplier {multiplier}"
        ));
        holds(
            offset.is_multiple_of(size.into()),
            pick(
                "dev:pci:notification-capability:02",
                "dev:pci:notification-capability:07",
            ),
            || format!("notifications begin at offset {offset:#x}"),
        )?;
        holds(
            multiplier == 0 || multiplier.is_power_of_two() && multiplier.is_multiple_of(size),
            pick(
                "dev:pci:notification-capability:03",
                "dev:pci:notification-capability:06",
            ),
            || format!("notify_off_multiplier is {multiplier}"),
        )?;
        holds(
            *length >= size.into(),
            pick(
                "dev:pci:notification-capability:04",
                "dev:pci:notification-capability:08",
            ),
            || format!("the structure has {length} bytes"),
        )?;
        for queue in 0..common.read16(NUM_QUEUES)? {
            common.write16(QUEUE_SELECT, queue)?;
            let place = u64::from(common.read16(QUEUE_NOTIFY_OFF)?) * u64::from(multiplier);
            holds(
                *length >= place + u64::from(size),
                pick(
                    "dev:pci:notification-capability:05",
                    "dev:pci:notification-capability:09",
                ),
                || format!("notifications of virtqueue {queue} go to {place:#x} of {length:#x} bytes"),
            )?;
        }
    }
    Ok(())
}

fn shared_memory(probe: &mut Probe) -> Outcome {
    let found = live_capabilities(probe)?;
    let mut ids = Vec::new();
    for region in found.of(CfgType::SHARED_MEMORY_CFG) {
        let bar = function(probe)?.bars.iter().find(|bar| bar.index == region.bar);
        let room = bar.map_or(0, |bar| bar.length);
        let end = region.offset.checked_add(region.length);
        holds(
            end.is_some_and(|end| end <= room),
            "dev:pci:shared-memory-capability:01",
            || format!("{region:x?} is in a BAR of {room:#x} bytes"),
        )?;
        holds(
            !ids.contains(&region.id),
            "dev:pci:shared-memory-capability:02",
            || format!("two shared memory regions have the id {}", region.id),
        )?;
        ids.push(region.id);
    }
    Ok(())
}

fn vendor_data(probe: &mut Probe) -> Outcome {
    let found = live_capabilities(probe)?;
    for cap in found.of(CfgType::VENDOR_CFG) {
        let vendor = u16::from_le_bytes([cap.bar, cap.id]);
        holds(vendor != VENDOR_ID, "dev:pci:vendor-data-capability:01", || {
            format!("vendor_id of the vendor data at {:#x} is {vendor:#06x}", cap.at)
        })?;
        holds(
            cap.cap_len.is_multiple_of(4),
            "dev:pci:vendor-data-capability:02",
            || format!("the vendor data at {:#x} have {} bytes", cap.at, cap.cap_len),
        )?;
        let mut look = || -> Outcome<(Vec<u32>, ringwright_spec::status::Status)> {
            let config = &mut function(probe)?.config;
            let words = (cap.at..cap.at + u64::from(cap.cap_len)).step_by(4);
            let words = words.map(|at| config.read32(at)).collect::<Result<_, _>>()?;
            Ok((words, probe.status()?))
        };
        let (before, after) = (look()?, look()?);
        holds(before == after, "dev:pci:vendor-data-capability:03", || {
            format!("data and status were {before:x?}, and are {after:x?} when they are read again")
        })?;
    }
    Ok(())
}
