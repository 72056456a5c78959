//! The common configuration structure (section 4.1.4.3), and 64-bit fields of the device's own (section 4.1.3).

use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::feature::ADMIN_VQ;
use ringwright_spec::pci::CfgType;
use ringwright_spec::pci::common_cfg::{
    ADMIN_QUEUE_INDEX, ADMIN_QUEUE_NUM, CONFIG_GENERATION, DEVICE_FEATURE, DEVICE_FEATURE_SELECT,
    DEVICE_STATUS, DRIVER_FEATURE, DRIVER_FEATURE_SELECT, NUM_QUEUES, QUEUE_ENABLE, QUEUE_SELECT, QUEUE_SIZE,
};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, block};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Mutant, Shadow};
use crate::probe::{Probe, holds};

use super::{OVER_PCI, open};

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "pci.device-feature",
        clauses: &["dev:pci:common-configuration-structure-layout:03"],
        does: "Reads device_feature for several values of device_feature_select, twice.",
        violation: "It is not what was read before for that value, or not 0 beyond all features.",
        needs: OVER_PCI,
        run: device_feature,
        mutants: &[Mutant {
            name: "device_feature goes round beyond all features",
            breaks: "dev:pci:common-configuration-structure-layout:03",
            lens: Lens {
                read: Some(|shadow, name, offset, _, value| match (name, offset) {
                    ("common", DEVICE_FEATURE) if shadow.last("common", DEVICE_FEATURE_SELECT) > 3 => 1,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "pci.driver-feature",
        clauses: &["dev:pci:common-configuration-structure-layout:04"],
        does: "Accepts features, and reads driver_feature.",
        violation: "A feature that was accepted is not there.",
        needs: OVER_PCI,
        run: driver_feature,
        mutants: &[Mutant {
            name: "driver_feature always reads 0",
            breaks: "dev:pci:common-configuration-structure-layout:04",
            lens: Lens {
                read: Some(|_, name, offset, _, value| match (name, offset) {
                    ("common", DRIVER_FEATURE) => 0,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "pci.config-generation",
        clauses: &["dev:pci:common-configuration-structure-layout:06"],
        does: "Has the configuration change between two reads of it.",
        violation: "config_generation is as it was.",
        needs: OVER_PCI,
        run: config_generation,
        mutants: &[Mutant {
            name: "config_generation is always 0",
            breaks: "dev:pci:common-configuration-structure-layout:06",
            lens: Lens {
                read: Some(|_, name, offset, _, value| match (name, offset) {
                    ("common", CONFIG_GENERATION) => 0,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "pci.reset",
        clauses: &[
            "dev:pci:common-configuration-structure-layout:07",
            "dev:pci:common-configuration-structure-layout:08",
        ],
        does: "Writes 0 to device_status of a live device.",
        violation: "It does not become 0, or queue_enable is not 0 then.",
        needs: OVER_PCI,
        run: reset,
        mutants: &[
            Mutant {
                name: "device_status keeps ACKNOWLEDGE",
                breaks: "dev:pci:common-configuration-structure-layout:07",
                lens: Lens {
                    write: Some(remember_live),
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", DEVICE_STATUS) if after_reset(shadow) => value | 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                also: &["*"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_enable survives a reset",
                breaks: "dev:pci:common-configuration-structure-layout:08",
                lens: Lens {
                    write: Some(remember_live),
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", QUEUE_ENABLE) if after_reset(shadow) => 1,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.queue-size",
        clauses: &[
            "dev:pci:common-configuration-structure-layout:14",
            "dev:pci:common-configuration-structure-layout:15",
        ],
        does: "Reads queue_size of every virtqueue, and of some that are not there.",
        violation: "It is not a power of 2 without VIRTIO_F_RING_PACKED, or not 0 where there is no virtqueue.",
        needs: OVER_PCI,
        run: queue_size,
        mutants: &[
            Mutant {
                name: "queue_size is 8 where there is no virtqueue",
                breaks: "dev:pci:common-configuration-structure-layout:14",
                lens: Lens {
                    read: Some(|shadow, name, offset, _, value| match (name, offset) {
                        ("common", QUEUE_SIZE) if shadow.last("common", QUEUE_SELECT) > 0x100 => 8,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "queue_size is 100",
                breaks: "dev:pci:common-configuration-structure-layout:15",
                lens: Lens {
                    read: Some(|_, name, offset, _, value| match (name, offset, value) {
                        ("common", QUEUE_SIZE, 100..) => 100,
                        _ => value,
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "pci.admin-queues",
        clauses: &["dev:pci:common-configuration-structure-layout:16"],
        does: "Accepts VIRTIO_F_ADMIN_VQ, and reads admin_queue_index and admin_queue_num.",
        violation: "Administration virtqueues are among the others, or have indices beyond 16 bits.",
        needs: Needs {
            features: ADMIN_VQ,
            ..OVER_PCI
        },
        run: admin_queues,
        mutants: &[Mutant {
            name: "the administration virtqueues begin at 0",
            breaks: "dev:pci:common-configuration-structure-layout:16",
            lens: Lens {
                offered: Some(|_, offered| offered | ADMIN_VQ),
                accepted: Some(|_, accepted| accepted - ADMIN_VQ),
                read: Some(|_, name, offset, _, value| match (name, offset) {
                    ("common", ADMIN_QUEUE_INDEX) => 0,
                    ("common", ADMIN_QUEUE_NUM) => 1,
                    _ => value,
                }),
                ..Lens::CLEAR
            },
            also: &["pci.device-feature"],
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "pci.wide-fields",
        clauses: &["dev:pci:pci-device-layout:01"],
        does: "Reads the two halves of a disk's capacity in either order, and each by itself.",
        violation: "A half is not what it was before.",
        needs: Needs {
            device: Some(block::DEVICE.id),
            ..OVER_PCI
        },
        run: wide_fields,
        mutants: &[Mutant {
            name: "the high half of a field can only be read after the low half",
            breaks: "dev:pci:pci-device-layout:01",
            lens: Lens {
                read: Some(|shadow, name, offset, _, value| {
                    let follows =
                        std::mem::replace(&mut shadow.note, u64::from(name == "device" && offset == 0));
                    match (name, offset) {
                        ("device", 4) if follows == 0 => !value,
                        _ => value,
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
];

/// Remembers in a lens that the device has been live.
pub(super) fn remember_live(
    shadow: &mut Shadow,
    name: &str,
    offset: u64,
    _: Width,
    value: u32,
) -> Option<u32> {
    let live = (name, offset) == ("common", DEVICE_STATUS) && value & u32::from(Status::DRIVER_OK.0) != 0;
    shadow.note |= u64::from(live);
    Some(value)
}

pub(super) fn after_reset(shadow: &Shadow) -> bool {
    shadow.note == 1 && shadow.last("common", DEVICE_STATUS) == 0
}

pub(super) fn common(probe: &mut Probe) -> Outcome<Box<dyn Registers + Send>> {
    open(probe, CfgType::COMMON_CFG)
}

fn device_feature(probe: &mut Probe) -> Outcome {
    let offered = probe.offered()?;
    let mut common = common(probe)?;
    for select in [0, 1, 2, 3, 4, 5, 31, 0xffff, u32::MAX, 1, 0] {
        common.write32(DEVICE_FEATURE_SELECT, select)?;
        let word = common.read32(DEVICE_FEATURE)?;
        let expected = if select < 4 { offered.word(select) } else { 0 };
        holds(
            word == expected,
            "dev:pci:common-configuration-structure-layout:03",
            || format!("device_feature is {word:#x} for {select}, not {expected:#x}"),
        )?;
    }
    Ok(())
}

fn driver_feature(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(Features::NONE)?;
    probe.negotiate(features)?;
    let mut common = common(probe)?;
    for select in [0, 1] {
        common.write32(DRIVER_FEATURE_SELECT, select)?;
        let word = common.read32(DRIVER_FEATURE)?;
        let written = features.word(select);
        holds(
            word & written == written,
            "dev:pci:common-configuration-structure-layout:04",
            || format!("{written:#x} was written for {select}, and driver_feature is {word:#x}"),
        )?;
    }
    Ok(())
}

fn config_generation(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    // Once in vain, to know whether it can.
    probe.change_config()?;
    let mut common = common(probe)?;
    let mut look = |probe: &mut Probe| -> Outcome<(u8, [u8; 8])> {
        let mut config = [0; 8];
        probe.transport().read_config(0, Width::Four, &mut config)?;
        Ok((common.read8(CONFIG_GENERATION)?, config))
    };
    let before = look(probe)?;
    probe.change_config()?;
    if !probe.wait(|probe| Ok(look(probe)?.1 != before.1))? {
        return Err(Ended::Inconclusive(
            "its configuration has changed, but not in the first bytes".into(),
        ));
    }
    let after = look(probe)?;
    holds(
        after.0 != before.0,
        "dev:pci:common-configuration-structure-layout:06",
        || {
            format!(
                "the configuration was {:02x?} and is {:02x?}; config_generation is {} as before",
                before.1, after.1, before.0
            )
        },
    )
}

fn reset(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.request(&mut live)?;
    let mut common = common(probe)?;
    common.write8(DEVICE_STATUS, 0)?;
    let done = probe.wait(|_| Ok(common.read8(DEVICE_STATUS)? == 0))?;
    let status = common.read8(DEVICE_STATUS)?;
    holds(done, "dev:pci:common-configuration-structure-layout:07", || {
        format!("0 was written to device_status, and it is {status:#x}")
    })?;
    for queue in 0..common.read16(NUM_QUEUES)? {
        common.write16(QUEUE_SELECT, queue)?;
        let enabled = common.read16(QUEUE_ENABLE)?;
        holds(
            enabled == 0,
            "dev:pci:common-configuration-structure-layout:08",
            || format!("queue_enable of virtqueue {queue} is {enabled} after a reset"),
        )?;
    }
    Ok(())
}

fn queue_size(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(Features::NONE)?;
    probe.negotiate(features)?;
    let mut common = common(probe)?;
    let queues = common.read16(NUM_QUEUES)?;
    for queue in 0..queues {
        common.write16(QUEUE_SELECT, queue)?;
        let size = common.read16(QUEUE_SIZE)?;
        holds(
            size == 0 || size.is_power_of_two(),
            "dev:pci:common-configuration-structure-layout:15",
            || format!("queue_size of virtqueue {queue} is {size}"),
        )?;
    }
    for queue in [queues, 0x101, 0x3ff, 0x1fff, 0xffff] {
        common.write16(QUEUE_SELECT, queue)?;
        // Where it is not taken, the current queue_select is another.
        if queue < queues || common.read16(QUEUE_SELECT)? != queue {
            continue;
        }
        let size = common.read16(QUEUE_SIZE)?;
        holds(
            size == 0,
            "dev:pci:common-configuration-structure-layout:14",
            || format!("there are {queues} virtqueues, and queue_size of virtqueue {queue} is {size}"),
        )?;
    }
    Ok(())
}

fn admin_queues(probe: &mut Probe) -> Outcome {
    let features = probe.wanted(ADMIN_VQ)?;
    probe.negotiate(features)?;
    let mut common = common(probe)?;
    let queues = common.read16(NUM_QUEUES)?;
    let (index, number) = (common.read16(ADMIN_QUEUE_INDEX)?, common.read16(ADMIN_QUEUE_NUM)?);
    holds(
        index >= queues && u32::from(number) <= 0x1_0000 - u32::from(index),
        "dev:pci:common-configuration-structure-layout:16",
        || format!("num_queues is {queues}, admin_queue_index {index}, admin_queue_num {number}"),
    )
}

fn wide_fields(probe: &mut Probe) -> Outcome {
    let mut device = open(probe, CfgType::DEVICE_CFG)?;
    let mut halves = [None; 2];
    for half in [0, 1, 1, 0, 0, 1, 1] {
        let value = device.read32(4 * half)?;
        let before = *halves[half as usize].get_or_insert(value);
        holds(value == before, "dev:pci:pci-device-layout:01", || {
            format!(
                "the half of the capacity at offset {} was {before:#x} and is {value:#x}",
                4 * half
            )
        })?;
    }
    Ok(())
}
