//! Status, features, configuration space, and the reset of virtqueues (sections 2.1, 2.2, 2.5, 2.6).

use std::mem::offset_of;

use ringwright_driver::Transport;
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, block, console, feature, network};

use crate::driver::scenario::FOREIGN;
use crate::driver::{Event, Mutant, Past, Place, Rule, Slip};
use crate::subject::Bus;

/// The steps that come before features are accepted.
const TAKEN: Status = Status(Status::ACKNOWLEDGE.0 | Status::DRIVER.0);

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "status.steps",
        &["drv:core:device-status-field:01"],
        "the driver sets DRIVER_OK",
        "A step of the initialization was never recorded in the device status.",
        |watch, past, event| {
            if let Event::StatusWritten(status) = event
                && past.adds(*status).contains(Status::DRIVER_OK)
                && !past.is_suspended()
            {
                let steps = TAKEN | Status::FEATURES_OK;
                watch.expect(past.steps.refused || status.contains(steps), || {
                    format!("DRIVER_OK is set, the status is {status:?}")
                });
            }
        },
        &[Mutant {
            name: "ACKNOWLEDGE is never set",
            slip: Slip {
                set_status: Some(|hand, status| hand.device.set_status(status - Status::ACKNOWLEDGE)),
                ..Slip::NONE
            },
            also: &["init.order"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "status.kept",
        &["drv:core:device-status-field:02"],
        "the driver writes the device status a second time",
        "A bit that is set is written as 0, and it is no reset.",
        |watch, past, event| {
            if let Event::StatusWritten(status) = event
                && *status != Status::NONE
                && past.known != Status::NONE
            {
                // What the device itself has changed in between is none of the driver's business.
                let cleared = (past.status & past.known) - *status;
                watch.expect(cleared == Status::NONE, || {
                    format!("the status was {:?}, {status:?} is written", past.status)
                });
            }
        },
        &[Mutant {
            name: "a step is taken back when the device is live",
            slip: Slip {
                set_status: Some(|hand, status| match status.contains(Status::DRIVER_OK) {
                    true => {
                        hand.device.set_status(status)?;
                        hand.device.set_status(status - Status::DRIVER)
                    }
                    false => hand.device.set_status(status),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "status.failed",
        &["drv:core:device-status-field:03"],
        "the driver goes on after it has set FAILED",
        "It does so without a reset.",
        |watch, past, event| match event {
            Event::StatusWritten(Status::NONE) if past.status.contains(Status::FAILED) => watch.seen(),
            Event::StatusWritten(status) if past.status.contains(Status::FAILED) => {
                watch.expect(past.adds(*status) == Status::NONE, || {
                    format!("the status was {:?}, {status:?} is written", past.status)
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "a device that has been given up is taken again as it is",
            scenario: "stubborn",
            slip: Slip {
                set_status: Some(|hand, status| match status {
                    Status::NONE if hand.status.contains(Status::FAILED) => {
                        hand.note = 1;
                        Ok(())
                    }
                    _ => hand.device.set_status(match hand.note {
                        0 => status,
                        _ => status | Status::FAILED | TAKEN | Status::FEATURES_OK,
                    }),
                }),
                status: Some(|hand| match hand.note {
                    0 => hand.device.status(),
                    _ => Ok(hand.status),
                }),
                ..Slip::NONE
            },
            also: &["init.order", "init.goes-on", "init.late-features", "status.kept"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "features.offered",
        &["drv:core:feature-bits:01"],
        "the driver accepts features",
        "A feature is accepted that is not offered, or without one that it requires.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(features) = event {
                let more = *features - past.offered;
                watch.expect(more.is_empty(), || format!("not offered, but accepted: {more:?}"));
                let lacks = unmet(past, *features);
                watch.expect(lacks.is_none(), || lacks.unwrap_or_default());
            }
        },
        &[Mutant {
            name: "a feature is accepted that is not offered",
            slip: Slip {
                accept: Some(|hand, features| {
                    hand.device.set_driver_features(features | block::features::MQ)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "features.valid",
        &["drv:core:feature-bits:02"],
        "the device offers a feature without one that it requires",
        "The driver accepts it.",
        |watch, past, event| match event {
            Event::FeaturesAccepted(features) if unmet(past, past.offered).is_some() => {
                let lacks = unmet(past, *features);
                watch.expect(lacks.is_none(), || lacks.unwrap_or_default());
            }
            Event::StatusWritten(status)
                if status.contains(Status::FAILED) && unmet(past, past.offered).is_some() =>
            {
                watch.seen();
            }
            _ => {}
        },
        &[Mutant {
            name: "what is offered is accepted as it is",
            scenario: "incomplete",
            driver: "network",
            slip: Slip {
                accept: Some(|hand, features| {
                    let offered = hand.device.device_features()?;
                    hand.device
                        .set_driver_features(features | offered & network::features::GUEST_TSO4)
                }),
                ..Slip::NONE
            },
            also: &["features.offered"],
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "features.known",
        &["drv:core:feature-bits:03"],
        "the device offers features that are not described, reserved, or for other buses or device types",
        "The driver accepts one of them.",
        |watch, past, event| {
            if let Event::FeaturesAccepted(features) = event {
                let foreign = foreign(past);
                if past.offered.intersects(foreign) {
                    let taken = *features & foreign;
                    watch.expect(taken.is_empty(), || format!("accepted: {taken:?}"));
                }
            }
        },
        &[Mutant {
            name: "reserved features are accepted",
            scenario: "odd-features",
            slip: Slip {
                accept: Some(|hand, features| hand.device.set_driver_features(features | Features::bit(44))),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "features.missing",
        &["drv:core:feature-bits:04"],
        "the device does not offer VIRTIO_F_VERSION_1",
        "The driver neither uses it as a legacy device nor sets FAILED.",
        |watch, past, event| {
            if past.offered.contains(feature::VERSION_1) || !past.steps.offered {
                return;
            }
            match event {
                Event::StatusWritten(status) if status.intersects(Status::FAILED | Status::DRIVER_OK) => {
                    watch.note = 1;
                    watch.seen();
                }
                Event::Ends(_) if watch.note == 0 => {
                    watch.broken(format!("it has ended, and the status is {:?}", past.status));
                }
                _ => {}
            }
        },
        &[Mutant {
            name: "a device that does not fit is left without a word",
            scenario: "old",
            slip: Slip {
                set_status: Some(|hand, status| match status.contains(Status::FAILED) {
                    true => Ok(()),
                    false => hand.device.set_status(status),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "features.unknown",
        &["drv:core:feature-bits:05"],
        "the device offers features that the driver cannot know",
        "The driver gives up.",
        |watch, past, event| {
            if !past.offered.contains(feature::VERSION_1) || !past.offered.intersects(foreign(past)) {
                return;
            }
            match event {
                Event::StatusWritten(status) if status.contains(Status::FAILED) => {
                    watch.broken(format!("FAILED is set; {:?} are offered", past.offered));
                }
                Event::StatusWritten(status) if status.contains(Status::DRIVER_OK) => watch.seen(),
                Event::Ends(Err(error)) if past.lives == 0 => {
                    watch.broken(format!("it has never set DRIVER_OK: {error}"));
                }
                _ => {}
            }
        },
        &[Mutant {
            name: "a device that knows more is left alone",
            scenario: "odd-features",
            slip: Slip {
                accept: Some(|hand, _| {
                    let status = hand.device.status()?;
                    hand.device.set_status(status | Status::FAILED)?;
                    Err(ringwright_driver::TransportError::Unsupported("features"))
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "config.generation",
        &["drv:core:device-configuration-space:01"],
        "the driver reads a field of more than 32 bits",
        "It does not look before and after whether the configuration has changed, or does not read again if it has.",
        |watch, past, event| {
            // The generation, plus one; in bit 63 whether the field was read since, in bit 62 whether it has to be again.
            const READ: u64 = 1 << 63;
            const AGAIN: u64 = 1 << 62;
            match event {
                // All of it comes at once there, and drivers keep a count themselves (section 4.3.2.5).
                _ if past.bus == Bus::Ccw => {}
                Event::GenerationRead(now) => {
                    let (now, before) = (u64::from(*now) + 1, watch.note & !(READ | AGAIN));
                    let changed = watch.note & READ != 0 && before != now;
                    // Then it has to be read once more, which is seen when the driver goes on.
                    let again = if changed { AGAIN } else { watch.note & AGAIN };
                    watch.note = now | again;
                }
                Event::ConfigRead(place) if wide(past, place) => {
                    watch.expect(watch.note & !(READ | AGAIN) != 0, || {
                        format!("{place:?} is read, and the generation was not before")
                    });
                    watch.note = watch.note & !AGAIN | READ;
                }
                Event::QueueEnabled(..) | Event::Waits | Event::StatusWritten(_)
                    if watch.note & READ != 0 =>
                {
                    watch.broken(
                        "a field of more than 32 bits was read, and the generation was not after that",
                    );
                    watch.note = 0;
                }
                Event::QueueEnabled(..) | Event::Waits if watch.note & AGAIN != 0 => {
                    watch
                        .broken("the configuration changed while a field was read, which was not read again");
                    watch.note = 0;
                }
                _ => {}
            }
        },
        &[
            Mutant {
                name: "nobody looks whether the configuration has changed",
                slip: Slip {
                    generation: Some(|_| Ok(0)),
                    ..Slip::NONE
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "the configuration is taken as it is although it has changed",
                scenario: "restless",
                slip: Slip {
                    generation: Some(|hand| hand.device.config_generation().map(|_| 0)),
                    ..Slip::NONE
                },
                ..Mutant::ALONE
            },
        ],
    ),
    Rule::new(
        "config.optional",
        &["drv:core:device-configuration-space:02"],
        "the driver reads or writes a field of the configuration space",
        "The field depends on a feature that is not offered, or nobody has looked whether it is.",
        |watch, past, event| {
            if let Event::ConfigRead(place) | Event::ConfigWritten(place) = event {
                let field = fields(past.device.id).iter().find(|(offset, length, features)| {
                    place.touches(*offset, *length) && !past.offered.intersects(*features)
                });
                watch.expect(field.is_none(), || {
                    format!("{place:?}, of which nothing is there with {:?}", past.offered)
                });
                if fields(past.device.id)
                    .iter()
                    .any(|(offset, length, _)| place.touches(*offset, *length))
                {
                    watch.expect(past.steps.offered, || {
                        format!("{place:?}, before the features are read")
                    });
                }
            }
        },
        &[Mutant {
            name: "a field is read that is not there",
            slip: Slip {
                read_config: Some(|hand, offset| {
                    if offset == offset_of!(block::Config, blk_size) {
                        let mut heads = [0; 2];
                        // A strict device refuses nothing.
                        let _ = hand.device.read_config(
                            offset_of!(block::Config, num_queues),
                            ringwright_memory::Width::Two,
                            &mut heads,
                        );
                    }
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "queue-reset.verified",
        &["drv:core:virtqueue-reset:01"],
        "the driver resets a virtqueue",
        "It goes on with the virtqueue before it has seen that the reset is complete.",
        |watch, past, event| match event {
            Event::QueueResetRead(index, true)
                if past.queues.get(index).is_some_and(|q| q.reset.is_some()) =>
            {
                watch.seen();
            }
            Event::QueueEnabled(index, _) => {
                if let Some(seen) = past.queues.get(index).and_then(|queue| queue.reset) {
                    watch.expect(seen, || {
                        format!(
                            "virtqueue {index} is enabled again, and its reset was not seen to be complete"
                        )
                    });
                }
            }
            _ => {}
        },
        &[Mutant {
            name: "a reset of a virtqueue is taken for granted",
            scenario: "queue-reset",
            slip: Slip {
                queue_is_reset: Some(|_, _| Ok(true)),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "queue-reset.again",
        &["drv:core:virtqueue-re-enable:01"],
        "the driver enables a virtqueue again after its reset",
        "It does not say where the virtqueue lies and how large it is, as it did at first.",
        |watch, past, event| {
            if let Event::QueueEnabled(index, layout) = event
                && past.queues.get(index).is_some_and(|queue| queue.reset.is_some())
            {
                let Layout {
                    size,
                    descriptor_area,
                    driver_area,
                    device_area,
                } = *layout;
                let complete = ![u64::from(size), descriptor_area, driver_area, device_area].contains(&0);
                watch.expect(complete && size <= past.scenario.queue_size, || {
                    format!("virtqueue {index} is enabled again with {layout:x?}")
                });
            }
        },
        &[Mutant {
            name: "a virtqueue is enabled again without its addresses",
            scenario: "queue-reset",
            slip: Slip {
                enable_queue: Some(|hand, index, layout| {
                    let again = hand.layouts.contains_key(&index);
                    let device_area = if again { 0 } else { layout.device_area };
                    hand.device.enable_queue(
                        index,
                        &Layout {
                            device_area,
                            ..layout
                        },
                    )
                }),
                ..Slip::NONE
            },
            also: &["feat.physical"],
            ..Mutant::ALONE
        }],
    ),
];

/// What is wrong with a set of features by itself, if anything is.
fn unmet(past: &Past, features: Features) -> Option<String> {
    [feature::ALL, past.device.features].iter().find_map(|table| {
        let (lacking, missing) = feature::unmet(features, table)?;
        Some(format!("{} requires {missing:?}", lacking.name))
    })
}

/// Bits that this driver must not accept.
fn foreign(past: &Past) -> Features {
    let own = past.device.features.iter();
    let own = own.fold(Features::NONE, |all, bit| all | Features::bit(bit.bit));
    let bus = match past.bus {
        // Behind a front-end there is some bus or other.
        Bus::Pci | Bus::VhostUser => Features::NONE,
        Bus::Ccw => feature::NOT_ON_CCW,
        _ => feature::NOT_ON_MMIO,
    };
    (FOREIGN - own) | bus
}

/// Whether a part of the configuration space has some of a field that is wider than 32 bits.
fn wide(past: &Past, place: &Place) -> bool {
    let wide: &[(usize, usize)] = match past.device.id {
        id if id == block::DEVICE.id => &[(offset_of!(block::Config, capacity), 8)],
        id if id == network::DEVICE.id => &[(offset_of!(network::Config, mac), 6)],
        _ => &[],
    };
    wide.iter()
        .any(|(offset, length)| place.touches(*offset, *length))
}

/// The optional fields of a device type: offset, length, and features of which one has to be offered.
fn fields(id: u32) -> &'static [(usize, usize, Features)] {
    match id {
        id if id == block::DEVICE.id => BLOCK,
        id if id == console::DEVICE.id => CONSOLE,
        id if id == network::DEVICE.id => NETWORK,
        _ => &[],
    }
}

const BLOCK: &[(usize, usize, Features)] = {
    use block::Config;
    use block::features::*;
    &[
        (offset_of!(Config, size_max), 4, SIZE_MAX),
        (offset_of!(Config, seg_max), 4, SEG_MAX),
        (offset_of!(Config, geometry), 4, GEOMETRY),
        (offset_of!(Config, blk_size), 4, BLK_SIZE),
        (offset_of!(Config, topology), 8, TOPOLOGY),
        (offset_of!(Config, writeback), 1, CONFIG_WCE),
        (offset_of!(Config, num_queues), 2, MQ),
        (offset_of!(Config, max_discard_sectors), 12, DISCARD),
        (offset_of!(Config, max_write_zeroes_sectors), 9, WRITE_ZEROES),
        (offset_of!(Config, max_secure_erase_sectors), 12, SECURE_ERASE),
        (offset_of!(Config, zoned), 24, ZONED),
    ]
};

const CONSOLE: &[(usize, usize, Features)] = {
    use console::Config;
    use console::features::*;
    &[
        (offset_of!(Config, cols), 4, SIZE),
        (offset_of!(Config, max_nr_ports), 4, MULTIPORT),
        (offset_of!(Config, emerg_wr), 4, EMERG_WRITE),
    ]
};

const NETWORK: &[(usize, usize, Features)] = {
    use network::Config;
    use network::features::*;
    &[
        (offset_of!(Config, mac), 6, MAC),
        (offset_of!(Config, status), 2, STATUS),
        (offset_of!(Config, max_virtqueue_pairs), 2, MQ.union(RSS)),
        (offset_of!(Config, mtu), 2, MTU),
        (offset_of!(Config, speed), 5, SPEED_DUPLEX),
        (offset_of!(Config, rss_max_key_size), 1, RSS.union(HASH_REPORT)),
        (offset_of!(Config, rss_max_indirection_table_length), 2, RSS),
        (
            offset_of!(Config, supported_hash_types),
            4,
            RSS.union(HASH_REPORT),
        ),
    ]
};
