//! The PCI configuration access capability (section 4.1.4.9): a window into the BARs.

use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_spec::pci::common_cfg::{DEVICE_STATUS, NUM_QUEUES, QUEUE_SELECT};
use ringwright_spec::pci::{Cap, CfgType};

use crate::check::{Check, Ended, Outcome};
use crate::mutant::{Lens, Mutant, Shadow};
use crate::probe::{Probe, holds};
use crate::raw::Structure;

use super::{OVER_PCI, capabilities, function, open};

pub(super) const CHECKS: &[Check] = &[Check {
    name: "pci.window",
    clauses: &[
        "dev:pci:pci-configuration-access-capability:02",
        "dev:pci:pci-configuration-access-capability:03",
    ],
    does: "Reads and writes the common configuration by the window in the configuration space.",
    violation: "What is read or written is not what is there.",
    needs: OVER_PCI,
    run: window,
    mutants: &[
        Mutant {
            name: "what is written to the window goes nowhere",
            breaks: "dev:pci:pci-configuration-access-capability:02",
            lens: Lens {
                write: Some(|shadow, name, offset, _, value| {
                    (!is_data(shadow, name, offset)).then_some(value)
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        },
        Mutant {
            name: "the window shows nothing",
            breaks: "dev:pci:pci-configuration-access-capability:03",
            lens: Lens {
                read: Some(
                    |shadow, name, offset, _, value| if is_data(shadow, name, offset) { 0 } else { value },
                ),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        },
    ],
}];

/// Where the data are in the capability.
const DATA: u64 = size_of::<Cap>() as u64;

fn is_data(shadow: &Shadow, name: &str, offset: u64) -> bool {
    let window = shadow.capabilities.structure(CfgType::PCI_CFG);
    name == "config" && window.is_some_and(|window| offset == window.at + DATA)
}

fn window(probe: &mut Probe) -> Outcome {
    let found = capabilities(probe)?;
    let (Some(window), Some(place)) = (
        found.structure(CfgType::PCI_CFG).copied(),
        found.structure(CfgType::COMMON_CFG).copied(),
    ) else {
        return Err(Ended::NotApplicable("it has no window".into()));
    };
    let mut common = open(probe, CfgType::COMMON_CFG)?;
    let features = probe.wanted(ringwright_spec::Features::NONE)?;
    probe.negotiate(features)?;
    for (register, width) in [
        (NUM_QUEUES, Width::Two),
        (DEVICE_STATUS, Width::One),
        // num_queues, and the vector of configuration changes.
        (NUM_QUEUES - 2, Width::Four),
    ] {
        let direct = common.read(register, width)?;
        aim(probe, &window, &place, register, width)?;
        let seen = function(probe)?.config.read(window.at + DATA, width)?;
        holds(
            seen == direct,
            "dev:pci:pci-configuration-access-capability:03",
            || {
                format!(
                    "{direct:#x} is at {register:#x} of the common configuration, and {seen:#x} is seen by the window"
                )
            },
        )?;
    }
    common.write16(QUEUE_SELECT, 0)?;
    aim(probe, &window, &place, QUEUE_SELECT, Width::Two)?;
    function(probe)?
        .config
        .write(window.at + DATA, Width::Two, 0x123)?;
    let select = common.read16(QUEUE_SELECT)?;
    holds(
        select == 0x123,
        "dev:pci:pci-configuration-access-capability:02",
        || format!("0x123 was written to queue_select by the window, and it is {select:#x}"),
    )
}

/// Points the window at a register of the structure at `place`.
fn aim(probe: &mut Probe, window: &Structure, place: &Structure, register: u64, width: Width) -> Outcome {
    let config = &mut function(probe)?.config;
    config.write8(window.at + 4, place.bar)?;
    config.write32(window.at + 8, (place.offset + register) as u32)?;
    config.write32(window.at + 12, width.bytes() as u32)?;
    Ok(())
}
