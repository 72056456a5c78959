//! Initialization, cleanup, suspension (chapter 3).

use std::mem::offset_of;

use ringwright_driver::Transport;
use ringwright_memory::Width;
use ringwright_spec::status::Status;
use ringwright_spec::{block, console, split};

use crate::driver::{Event, Hand, Mutant, Past, Place, Rule, Slip};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "init.order",
        &["drv:init:device-initialization:01"],
        "the driver initializes the device",
        "A step comes before one that it has to follow.",
        |watch, past, event| {
            if past.steps.refused {
                return;
            }
            if let Event::StatusWritten(status) = event {
                if past.adds(*status).contains(Status::DRIVER_OK) && !past.is_suspended() {
                    watch.seen();
                }
                if past.status.contains(Status::FAILED) {
                    return;
                }
            }
            if let Some(early) = too_early(past, event) {
                watch.broken(early);
            }
        },
        &[
            Mutant {
                name: "the device is not reset",
                slip: Slip {
                    set_status: Some(|hand, status| {
                        match hand.status == Status::NONE && status == Status::NONE {
                            true => Ok(()),
                            false => hand.device.set_status(status),
                        }
                    }),
                    ..Slip::NONE
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "nobody looks whether FEATURES_OK is still set",
                slip: Slip {
                    status: Some(|hand| Ok(hand.status)),
                    ..Slip::NONE
                },
                ..Mutant::ALONE
            },
        ],
    ),
    Rule::new(
        "init.early-config",
        &["drv:init:device-initialization:02"],
        "the driver sets FEATURES_OK",
        "The configuration space is written before.",
        |watch, past, event| match event {
            Event::StatusWritten(status) if past.adds(*status).contains(Status::FEATURES_OK) => watch.seen(),
            Event::ConfigWritten(place)
                if past.status.contains(Status::DRIVER)
                    && !past.status.contains(Status::FEATURES_OK)
                    && !emergency(past, place) =>
            {
                watch.broken(format!("{place:?} is written, the status is {:?}", past.status));
            }
            _ => {}
        },
        &[Mutant {
            name: "the cache is switched before FEATURES_OK",
            slip: Slip {
                accept: Some(|hand, features| {
                    switch_cache(hand)?;
                    hand.device.set_driver_features(features)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "init.late-features",
        &["drv:init:device-initialization:03"],
        "the driver sets DRIVER_OK",
        "New features are accepted after FEATURES_OK.",
        |watch, past, event| match event {
            Event::StatusWritten(status) if past.adds(*status).contains(Status::DRIVER_OK) => watch.seen(),
            Event::FeaturesAccepted(features) if past.status.contains(Status::FEATURES_OK) => {
                let new = *features - past.features();
                watch.expect(new.is_empty(), || {
                    format!("{new:?} are accepted, the status is {:?}", past.status)
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "one more feature is accepted at the end",
            slip: Slip {
                accept: Some(|hand, features| {
                    hand.device.set_driver_features(features - block::features::FLUSH)
                }),
                set_status: Some(|hand, status| {
                    if status.contains(Status::DRIVER_OK) {
                        let features = hand.features;
                        hand.device.set_driver_features(features)?;
                    }
                    hand.device.set_status(status)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "init.goes-on",
        &["drv:init:device-initialization:05"],
        "the device does not agree to the features",
        "The driver goes on with the initialization.",
        |watch, past, event| {
            if !past.steps.refused {
                return;
            }
            match event {
                Event::QueueEnabled(index, _) => {
                    watch.broken(format!("virtqueue {index} is enabled, FEATURES_OK was refused"));
                }
                Event::StatusWritten(status) => {
                    watch.expect(!status.contains(Status::DRIVER_OK), || {
                        format!("FEATURES_OK was refused, {status:?} is written")
                    });
                }
                Event::Ends(_) => watch.seen(),
                _ => {}
            }
        },
        &[Mutant {
            name: "a refusal is not heard",
            scenario: "stubborn",
            slip: Slip {
                status: Some(|hand| {
                    let heard = hand.device.status()?;
                    Ok(heard | Status(hand.status.0 & Status::FEATURES_OK.0))
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "init.quiet",
        &["drv:init:device-initialization:06"],
        "the driver notifies the device",
        "It does so before DRIVER_OK.",
        |watch, past, event| {
            if let Event::Notified(index, _) = event {
                let live = past.is_live() || past.status.contains(Status::SUSPEND);
                watch.expect(live, || {
                    format!("virtqueue {index} is notified, the status is {:?}", past.status)
                });
            }
        },
        &[Mutant {
            name: "the device is notified before DRIVER_OK",
            slip: Slip {
                set_status: Some(|hand, status| {
                    if status.contains(Status::DRIVER_OK) {
                        hand.device.notify(0, 0)?;
                    }
                    hand.device.set_status(status)
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "cleanup.exposed",
        &["drv:init:device-cleanup:01"],
        "the device does not use a buffer at once",
        "The entries of the buffer change in the meantime.",
        |watch, past, event| match event {
            Event::Looked(index, _)
                if past
                    .queues
                    .get(index)
                    .is_some_and(|queue| !queue.exposed.is_empty()) =>
            {
                watch.seen();
            }
            Event::Altered(index, change) if past.is_live() => {
                watch.broken(format!("virtqueue {index}: {}", change.what));
            }
            _ => {}
        },
        &[Mutant {
            name: "a descriptor is written again while the device has it",
            scenario: "late",
            slip: Slip {
                waits: Some(|hand| {
                    let length = hand.head(0) + 8;
                    hand.write(length, &[17]);
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "cleanup.reset",
        &["drv:init:device-cleanup:02"],
        "the driver leaves a device that has buffers of it",
        "It does not reset the device, or the virtqueue.",
        |watch, past, event| match event {
            Event::StatusWritten(Status::NONE) | Event::QueueReset(_) if past.exposed() > 0 => watch.seen(),
            Event::Ends(_) if past.exposed() > 0 => {
                watch.expect(!past.is_live(), || {
                    format!("the driver has ended, the device has {} buffers", past.exposed())
                });
            }
            _ => {}
        },
        &[Mutant {
            name: "the device is left as it is",
            scenario: "deaf",
            slip: Slip {
                set_status: Some(|hand, status| {
                    match status == Status::NONE && hand.status != Status::NONE {
                        true => Ok(()),
                        false => hand.device.set_status(status),
                    }
                }),
                status: Some(|hand| match hand.status == Status::NONE {
                    true => Ok(Status::NONE),
                    false => hand.device.status(),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "suspend.verified",
        &["drv:init:device-suspend:02"],
        "the driver sets SUSPEND",
        "It goes on before it has read that SUSPEND is set and DRIVER_OK is not.",
        |watch, past, event| match event {
            Event::StatusWritten(status) if past.adds(*status).contains(Status::SUSPEND) => watch.note = 1,
            Event::StatusWritten(Status::NONE) => watch.note = 0,
            Event::StatusRead(status) if watch.note == 1 => {
                let done = status.contains(Status::SUSPEND) && !status.contains(Status::DRIVER_OK);
                if done || status.contains(Status::DEVICE_NEEDS_RESET) {
                    watch.note = 0;
                    watch.seen();
                }
            }
            Event::Waits | Event::StatusWritten(_) | Event::Ends(_) if watch.note == 1 => {
                watch.broken("the driver goes on, and has not seen the device suspended");
            }
            _ => {}
        },
        &[Mutant {
            name: "a suspension is taken for granted",
            scenario: "suspend",
            slip: Slip {
                set_status: Some(|hand, status| {
                    hand.note =
                        u64::from(status.contains(Status::SUSPEND) && !hand.status.contains(Status::SUSPEND));
                    hand.device.set_status(status)
                }),
                status: Some(|hand| match hand.note {
                    1 => Ok(hand.status - Status::DRIVER_OK),
                    _ => hand.device.status(),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "suspend.buffers",
        &["drv:init:device-suspend:03"],
        "the driver waits after it has set SUSPEND",
        "A buffer is made available.",
        |watch, past, event| match event {
            Event::Available(index, chain) if past.is_suspended() => {
                watch.broken(format!(
                    "buffer {} of virtqueue {index} is made available",
                    chain.id
                ));
            }
            Event::Waits if past.is_suspended() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "a buffer is made available to a device that is suspended",
            scenario: "suspend",
            slip: Slip {
                waits: Some(|hand| {
                    if hand.status.contains(Status::SUSPEND)
                        && let Some(layout) = hand.layouts.get(&0).copied()
                    {
                        let index = hand.read16(layout.driver_area + 2);
                        let slot =
                            layout.driver_area + split::AVAIL_RING + 2 * u64::from(index % layout.size);
                        hand.write16(slot, 0);
                        hand.write16(layout.driver_area + 2, index.wrapping_add(1));
                    }
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "suspend.notify",
        &["drv:init:device-suspend:04"],
        "the driver waits after it has set SUSPEND",
        "The device is notified.",
        |watch, past, event| match event {
            Event::Notified(index, _) if past.is_suspended() => {
                watch.broken(format!("virtqueue {index} is notified"));
            }
            Event::Waits if past.is_suspended() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "a device that is suspended is notified",
            scenario: "suspend",
            slip: Slip {
                waits: Some(|hand| {
                    if hand.status.contains(Status::SUSPEND) {
                        // A strict device hears everything.
                        let _ = hand.device.notify(0, 0);
                    }
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "suspend.config",
        &["drv:init:device-suspend:05"],
        "the driver waits after it has set SUSPEND",
        "The configuration space is written.",
        |watch, past, event| match event {
            Event::ConfigWritten(place) if past.is_suspended() => {
                watch.broken(format!("{place:?} is written"));
            }
            Event::Waits if past.is_suspended() => watch.seen(),
            _ => {}
        },
        &[Mutant {
            name: "the cache of a device that is suspended is switched",
            scenario: "suspend",
            slip: Slip {
                waits: Some(|hand| {
                    if hand.status.contains(Status::SUSPEND) {
                        let _ = switch_cache(hand);
                    }
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
    Rule::new(
        "suspend.resumed",
        &["drv:init:device-suspend:06"],
        "the driver sets DRIVER_OK of a device that is suspended",
        "It goes on before it has read that DRIVER_OK is set and SUSPEND is not.",
        |watch, past, event| match event {
            Event::StatusWritten(Status::NONE) => watch.note = 0,
            Event::StatusWritten(status) if past.is_suspended() && status.contains(Status::DRIVER_OK) => {
                watch.note = 1;
            }
            Event::StatusRead(status) if watch.note == 1 => {
                let done = status.contains(Status::DRIVER_OK) && !status.contains(Status::SUSPEND);
                if done || status.contains(Status::DEVICE_NEEDS_RESET) {
                    watch.note = 0;
                    watch.seen();
                }
            }
            Event::Available(..) | Event::Notified(..) | Event::ConfigWritten(_) if watch.note == 1 => {
                watch.broken(format!(
                    "the driver goes on, and has not seen the device resumed: {event:x?}"
                ));
            }
            _ => {}
        },
        &[Mutant {
            name: "a resumption is taken for granted",
            scenario: "suspend",
            slip: Slip {
                set_status: Some(|hand, status| {
                    hand.note = u64::from(
                        status.contains(Status::SUSPEND | Status::DRIVER_OK)
                            && hand.status.contains(Status::SUSPEND),
                    );
                    hand.device.set_status(status)
                }),
                status: Some(|hand| match hand.note {
                    1 => Ok(hand.status - Status::SUSPEND),
                    _ => hand.device.status(),
                }),
                ..Slip::NONE
            },
            ..Mutant::ALONE
        }],
    ),
];

/// What an event is too early for, if it is.
pub(super) fn too_early(past: &Past, event: &Event) -> Option<String> {
    let lacks = match event {
        Event::StatusWritten(Status::NONE) => None,
        Event::StatusWritten(status) => {
            let added = past.adds(*status);
            if !past.steps.reset {
                Some("the device was not reset")
            } else if added.contains(Status::DRIVER) && !status.contains(Status::ACKNOWLEDGE) {
                Some("ACKNOWLEDGE is not set")
            } else if added.contains(Status::FEATURES_OK) && past.steps.accepted.is_none() {
                Some("no features were accepted")
            } else if added.contains(Status::DRIVER_OK) && !past.is_suspended() && !past.steps.agreed {
                Some("nobody has looked whether FEATURES_OK is still set")
            } else {
                None
            }
        }
        Event::FeaturesAccepted(_) => {
            if !past.status.contains(Status::ACKNOWLEDGE | Status::DRIVER) {
                Some("ACKNOWLEDGE and DRIVER are not set")
            } else if !past.steps.offered {
                Some("nobody has read what is offered")
            } else {
                None
            }
        }
        Event::QueueEnabled(..) if !past.steps.agreed => Some("FEATURES_OK is not set and read again"),
        _ => None,
    };
    lacks.map(|lacks| format!("{event:x?}, but {lacks}"))
}

/// Whether a part of the configuration space is the character that a console takes at any time (section 5.3.5).
fn emergency(past: &Past, place: &Place) -> bool {
    past.device.id == console::DEVICE.id && place.offset == offset_of!(console::Config, emerg_wr)
}

/// Writes a field of a disk's configuration space.
fn switch_cache(hand: &mut Hand) -> Result<(), ringwright_driver::TransportError> {
    hand.device
        .write_config(offset_of!(block::Config, writeback), Width::One, &[1])
}
