//! Reserved feature bits (chapter 6).

use ringwright_driver::Transport;
use ringwright_spec::feature::{ACCESS_PLATFORM, SR_IOV, VERSION_1};
use ringwright_spec::pci::common_cfg;
use ringwright_spec::pci::header::sr_iov;
use ringwright_spec::status::Status;

use super::slips;
use crate::driver::strict::pci::{COMMON, SR_IOV_CAP};
use crate::driver::{Event, Hand, Mutant, Part, Rule, Slip};
use crate::subject::Bus;

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "feat.version-1",
        &["drv:feat:reserved-feature-bits:01"],
        "the device offers VIRTIO_F_VERSION_1, and the driver sets FEATURES_OK or DRIVER_OK",
        "It has not accepted VIRTIO_F_VERSION_1.",
        |watch, past, event| {
            if let Event::StatusWritten(status) = event
                && past
                    .adds(*status)
                    .intersects(Status::FEATURES_OK | Status::DRIVER_OK)
                && past.offered.contains(VERSION_1)
            {
                watch.expect(past.has(VERSION_1), || {
                    format!("{:?} are accepted", past.features())
                });
            }
        },
        &[Mutant {
            name: "VIRTIO_F_VERSION_1 is not accepted",
            slip: Slip {
                accept: Some(|hand, features| hand.device.set_driver_features(features - VERSION_1)),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "feat.translated",
        &["drv:feat:reserved-feature-bits:03"],
        "VIRTIO_F_ACCESS_PLATFORM is negotiated, and the driver gives the device addresses",
        "The platform translates an address to nothing.",
        |watch, past, event| {
            if past.has(ACCESS_PLATFORM)
                && let Some(reached) = reached(event)
            {
                watch.expect(reached, || format!("{event:x?}"));
            }
        },
        &[Mutant {
            name: "a descriptor has an address that the platform does not know",
            scenario: "translated",
            slip: Slip {
                notify: Some(astray),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "feat.physical",
        &["drv:feat:reserved-feature-bits:04"],
        "VIRTIO_F_ACCESS_PLATFORM is not offered, and the driver gives the device addresses",
        "There is no memory at an address.",
        |watch, past, event| {
            if !past.offered.contains(ACCESS_PLATFORM)
                && let Some(reached) = reached(event)
            {
                watch.expect(reached, || format!("{event:x?}"));
            }
        },
        &[Mutant::ALONE.notifying("a descriptor has an address where there is no memory", astray)],
    ),
    Rule::new(
        "feat.sr-iov",
        &["drv:feat:reserved-feature-bits:09"],
        "VIRTIO_F_SR_IOV is offered by a device that has no SR-IOV capability",
        "The driver accepts it.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(features) = event
                && past.offered.contains(SR_IOV)
                && past.bus != Bus::Pci
            {
                watch.expect(!features.contains(SR_IOV), || {
                    format!("{features:?} are accepted")
                });
            }
        },
        &[Mutant {
            name: "VIRTIO_F_SR_IOV is accepted of a device that is on no PCI bus",
            scenario: "odd-features",
            slip: Slip {
                accept: Some(|hand, features| hand.device.set_driver_features(features | SR_IOV)),
                ..Slip::NONE
            },
            also: &["features.known"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "feat.sr-iov-enabled",
        &["drv:feat:reserved-feature-bits:10"],
        "the driver enables virtual functions",
        "VIRTIO_F_SR_IOV has not been negotiated before.",
        |watch, past, event| {
            if let Event::Function(Part::Config, access) = event
                && access.writes(SR_IOV_CAP + sr_iov::CONTROL as u64)
                && access.value as u16 & sr_iov::VF_ENABLE != 0
            {
                // Once is enough, also if there was a reset since.
                watch.expect(watch.note == 1, || format!("{access:x?}"));
            } else if matches!(event, Event::StatusRead(_)) && past.has(SR_IOV) && past.steps.agreed {
                watch.note = 1;
            }
        },
        &[Mutant {
            name: "virtual functions are enabled before the features are agreed upon",
            scenario: "odd-features",
            slip: slips(|registers, _, access| {
                if access.writes(COMMON + common_cfg::DRIVER_FEATURE) {
                    let control = SR_IOV_CAP + sr_iov::CONTROL as u64;
                    registers.write16(control, sr_iov::VF_ENABLE)?;
                }
                access.make(registers)
            }),
            bus: Bus::Pci,
            ..Mutant::ALONE
        }],
    ),
];

/// Whether the device reaches all that an event is about; `None` if it is not about memory.
fn reached(event: &Event) -> Option<bool> {
    match event {
        Event::QueueFound(_, _, reached) => Some(*reached),
        Event::Available(_, chain) => Some(chain.descriptors.iter().all(|descriptor| descriptor.reached)),
        _ => None,
    }
}

/// Moves the first element of the last buffer to where there is nothing.
fn astray(hand: &mut Hand, queue: u16, data: u32) -> Result<(), ringwright_driver::TransportError> {
    let head = hand.head(queue);
    hand.write(head, &0xdead_0000_0000u64.to_le_bytes());
    hand.device.notify(queue, data)
}
