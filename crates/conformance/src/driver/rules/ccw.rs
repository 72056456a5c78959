//! Virtio over channel I/O (section 4.3).

use ringwright_spec::ccw::channel::CcwFlags;
use ringwright_spec::ccw::{CU_TYPE, Command, Revision};

use super::works;
use crate::driver::event::Channel;
use crate::driver::{Event, Mutant, Rule, Slip};
use crate::subject::Bus;

/// What the mutants of this bus have in common.
const ALONE: Mutant = Mutant {
    bus: Bus::Ccw,
    ..Mutant::ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "ccw.control-unit",
        &["drv:ccw:basic-concepts:01"],
        "the driver has asked what the control unit is",
        "It uses one that is no virtio device, or leaves a virtio device alone for its device type and model.",
        |watch, past, event| {
            if past.scenario.subchannel.control_unit == CU_TYPE {
                works(watch, past, event, Bus::Ccw);
            } else if let Event::Channel(Channel::Command(command, ..)) = event {
                watch.expect(!is_virtio(*command), || format!("{command:?} is given"));
            }
        },
        &[
            Mutant {
                name: "any control unit is a virtio device",
                scenario: "ccw-control-unit",
                slip: Slip {
                    command: Some(|hand, command| {
                        let started = hand.go_on()?;
                        if command == Command::SENSE_ID {
                            hand.write(hand.data() + 1, &CU_TYPE.to_be_bytes());
                        }
                        Ok(started)
                    }),
                    ..Slip::NONE
                },
                ..ALONE
            },
            Mutant {
                name: "a virtio device is known by its device type, too",
                slip: Slip {
                    command: Some(|hand, command| {
                        let started = hand.go_on()?;
                        let device_type = hand.read64(hand.data()) >> 16 & 0xffff;
                        if command == Command::SENSE_ID && device_type != 0 {
                            hand.write(hand.data() + 1, &[0, 0]);
                        }
                        Ok(started)
                    }),
                    ..Slip::NONE
                },
                ..ALONE
            },
        ],
    ),
    Rule::new(
        "ccw.length",
        &["drv:ccw:basic-concepts:02"],
        "the driver gives a command whose data have one length",
        "They have another one.",
        |watch, _, event| {
            if let Event::Channel(Channel::Command(command, length, _)) = event
                && let Some(right) = length_of(*command)
            {
                watch.expect(*length == right, || {
                    format!("{command:?} with {length} bytes, it has {right}")
                });
            }
        },
        &[Mutant {
            name: "a byte too many is asked for",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::READ_FEAT {
                        let mut word = hand.word();
                        word.count.set(word.count.get() + 1);
                        word.flags |= CcwFlags::SUPPRESS_LENGTH.0;
                        hand.set_word(word);
                    }
                    hand.go_on()
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.revision-highest",
        &["drv:ccw:setting-the-virtio-revision:01"],
        "the driver selects a revision",
        "It has tried a lower one before.",
        |watch, past, event| match event {
            Event::Channel(Channel::Enabled(_)) => watch.note = 0,
            Event::Channel(Channel::Command(Command::SET_VIRTIO_REV, _, sent)) if past.revision.is_none() => {
                // The one that was tried before, plus one.
                let (revision, before) = (u64::from(be16(&sent.0)), watch.note);
                watch.expect(before == 0 || revision < before - 1, || {
                    format!("{revision} is tried after {}", before - 1)
                });
                watch.note = revision + 1;
            }
            _ => {}
        },
        &[Mutant {
            name: "revisions are tried from the lowest on",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::SET_VIRTIO_REV {
                        hand.give(command, &[0, 0, 0, 0])?;
                    }
                    hand.go_on()
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.revision-first",
        &["drv:ccw:setting-the-virtio-revision:02"],
        "the driver gives a command of virtio",
        "No revision is selected.",
        |watch, past, event| {
            if let Event::Channel(Channel::Command(command, ..)) = event
                && is_virtio(*command)
                && *command != Command::SET_VIRTIO_REV
            {
                watch.expect(past.revision.is_some(), || format!("{command:?} comes first"));
            }
        },
        &[Mutant {
            name: "the device is reset before all",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::SET_VIRTIO_REV {
                        hand.give(Command::VDEV_RESET, &[])?;
                    }
                    hand.go_on()
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.revision-once",
        &["drv:ccw:setting-the-virtio-revision:03"],
        "the driver has selected a revision",
        "It tries to select a different one.",
        |watch, past, event| {
            if let Event::Channel(Channel::Command(command, _, sent)) = event
                && let Some(selected) = past.revision
            {
                let again = *command == Command::SET_VIRTIO_REV && be16(&sent.0) != selected.0;
                watch.expect(!again, || {
                    format!("{selected:?} is selected, {:02x?} is tried", sent.0)
                });
            }
        },
        &[Mutant {
            name: "a later revision is tried once more",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::WRITE_FEAT {
                        hand.give(Command::SET_VIRTIO_REV, &[0, 3, 0, 0])?;
                    }
                    hand.go_on()
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.read-status",
        &["drv:ccw:communicating-status-information:03"],
        "there is no revision 2",
        "The driver gives READ_STATUS.",
        |watch, past, event| {
            if let Event::Channel(Channel::Command(command, ..)) = event
                && past
                    .revision
                    .is_some_and(|revision| revision < Revision::READ_STATUS)
            {
                watch.expect(*command != Command::READ_STATUS, || {
                    format!("it is given in {:?}", past.revision)
                });
            }
        },
        &[Mutant {
            name: "the status is read in any revision",
            scenario: "ccw-revision-1",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::WRITE_STATUS {
                        hand.give(Command::READ_STATUS, &[0])?;
                    }
                    hand.go_on()
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.summary",
        &["drv:ccw:notification-via-adapter-i-o-interrupts:01"],
        "the driver has processed the queue indicators after an adapter I/O interrupt",
        "It has not cleared the summary indicator.",
        |watch, _, event| {
            if let Event::Channel(Channel::Processed { cleared }) = event {
                watch.expect(*cleared, || "the summary indicator is still set".into());
            }
        },
        &[Mutant {
            name: "the summary indicator stays set",
            scenario: "late",
            slip: Slip {
                command: Some(|hand, command| {
                    if command == Command::SET_IND_ADAPTER {
                        hand.note = hand.read64(hand.data());
                    }
                    hand.go_on()
                }),
                hypercall: Some(|hand, data, cookie| {
                    hand.write(hand.note, &[1]);
                    hand.notify(data, cookie)
                }),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
    Rule::new(
        "ccw.cookie",
        &["drv:ccw:guest-host-notification:01"],
        "the driver notifies once more",
        "It does not pass the host cookie of the notification before.",
        |watch, _, event| {
            if let Event::Channel(Channel::Hypercall { cookie, expected }) = event
                && *expected != [0, 0]
            {
                watch.expect(expected.contains(cookie), || {
                    format!("{cookie:#x} is passed, one of {expected:x?} was returned")
                });
            }
        },
        &[Mutant {
            name: "host cookies are forgotten",
            slip: Slip {
                hypercall: Some(|hand, data, _| hand.notify(data, 0)),
                ..Slip::NONE
            },
            ..ALONE
        }],
    ),
];

/// Whether it is one of virtio's own commands.
fn is_virtio(command: Command) -> bool {
    let common = [
        Command::NO_OPERATION,
        Command::BASIC_SENSE,
        Command::TRANSFER_IN_CHANNEL,
        Command::SENSE_ID,
    ];
    !common.contains(&command)
}

/// The bytes that the data of a command have to have, if that does not depend on the device.
fn length_of(command: Command) -> Option<usize> {
    Some(match command {
        Command::VDEV_RESET => 0,
        Command::WRITE_STATUS | Command::READ_STATUS => 1,
        Command::SET_VIRTIO_REV | Command::READ_VQ_CONF => 4,
        Command::READ_FEAT | Command::WRITE_FEAT => 5,
        Command::SET_IND | Command::SET_CONF_IND => 8,
        Command::SET_IND_ADAPTER => 25,
        Command::SET_VQ => 32,
        _ => return None,
    })
}

fn be16(bytes: &[u8]) -> u16 {
    bytes.first_chunk().copied().map_or(0, u16::from_be_bytes)
}
