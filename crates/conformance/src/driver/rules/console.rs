//! What drivers of consoles put into each virtqueue, and what they say of ports (section 5.3).

use ringwright_driver::Transport;
use ringwright_spec::console::{
    CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Control, DEVICE, Event as Kind, Role, features::MULTIPORT, role,
};
use ringwright_spec::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::one_way;
use crate::driver::event::WRITE;
use crate::driver::strict::PORTS;
use crate::driver::{Event, Hand, Mutant, Past, Rule, Told};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "console.receive",
        &["drv:console:device-operation:01"],
        "a buffer becomes available in a receiveq",
        "Some of it is device-readable.",
        |watch, past, event| {
            one_way(
                watch,
                past,
                event,
                |queue| matches!(of_port(past, queue), Some(Role::Receive(_))),
                true,
            );
        },
        &[
            CONSOLE.notifying("a buffer for input is device-readable", |hand, queue, data| {
                if queue == 0 {
                    hand.write16(hand.head(queue) + 12, 0);
                }
                hand.device.notify(queue, data)
            }),
            PORTED.notifying(
                "a buffer for input of the second port is device-readable",
                |hand, queue, data| {
                    if queue == 4 {
                        hand.write16(hand.head(queue) + 12, 0);
                    }
                    hand.device.notify(queue, data)
                },
            ),
        ],
    ),
    Rule::new(
        "console.transmit",
        &["drv:console:device-operation:02"],
        "a buffer becomes available in a transmitq",
        "Some of it is device-writable.",
        |watch, past, event| {
            one_way(
                watch,
                past,
                event,
                |queue| matches!(of_port(past, queue), Some(Role::Transmit(_))),
                false,
            );
        },
        &[
            CONSOLE.notifying("output is device-writable", |hand, queue, data| {
                if queue == 1 {
                    hand.write16(hand.head(queue) + 12, WRITE);
                }
                hand.device.notify(queue, data)
            }),
            PORTED.notifying(
                "output of the second port is device-writable",
                |hand, queue, data| {
                    if queue == 5 {
                        hand.write16(hand.head(queue) + 12, WRITE);
                    }
                    hand.device.notify(queue, data)
                },
            ),
        ],
    ),
    Rule::new(
        "console.ready",
        &["drv:console:multiport-device-operation:01"],
        "a driver that has negotiated several ports leaves its device",
        "It has not said before that it is ready (DEVICE_READY).",
        |watch, past, event| {
            if let Some((Kind::DEVICE_READY, ..)) = said(past, event) {
                watch.note = 1;
            }
            if leaves(past, event) {
                let is_said = std::mem::take(&mut watch.note) == 1;
                watch.expect(is_said, || "DEVICE_READY never came".into());
            }
        },
        &[
            PORTED.notifying("it does not say that it is ready", |hand, queue, data| {
                change(hand, queue, data, Kind::DEVICE_READY, |message| {
                    message.event = UNKNOWN.into()
                })
            }),
        ],
    ),
    Rule::new(
        "console.open",
        &["drv:console:multiport-device-operation:02"],
        "the driver has been told that a port is a console (CONSOLE_PORT)",
        "It does not open the port (PORT_OPEN), or says 0 where it should say 1.",
        |watch, past, event| {
            // The ports that are to be opened, and how often the driver has waited since, or given a buffer for a message back.
            let (ports, signs) = (watch.note & OWED, watch.note >> 32);
            match (event, said(past, event)) {
                (Event::Told(told), _) if Kind(told.event.get()) == Kind::CONSOLE_PORT => {
                    watch.note = ports | 1 << told.id.get().min(31);
                }
                (_, Some((Kind::PORT_OPEN, port, value))) if ports >> port.min(31) & 1 != 0 => {
                    watch.expect(value == 1, || {
                        format!("port {port} is opened with the value {value}")
                    });
                    watch.note &= !(1 << port.min(31));
                }
                (event, _) if ports != 0 && has_come(past, event) => watch.note = ports | (signs + 1) << 32,
                _ if leaves(past, event) => {
                    // A driver that has not come to read the message, behind those before it, has broken nothing.
                    if ports != 0 && signs > u64::from(PORTS) {
                        watch.broken(format!("of the ports {ports:#b} (a bit each), none was opened"));
                    }
                    watch.note = 0;
                }
                _ => {}
            }
        },
        &[
            PORTED.notifying("a console is not opened", |hand, queue, data| {
                change(hand, queue, data, Kind::PORT_OPEN, |message| {
                    if message.id.get() == 0 {
                        message.event = UNKNOWN.into();
                    }
                })
            }),
            PORTED.notifying("a console is closed instead of opened", |hand, queue, data| {
                change(hand, queue, data, Kind::PORT_OPEN, |message| {
                    message.value = 0.into()
                })
            }),
        ],
    ),
];

/// The half of a note that has ports.
const OWED: u64 = u32::MAX as u64;

/// A control message that means nothing.
const UNKNOWN: u16 = 0x5257;

/// What mutants of consoles have in common, and those that know of several ports.
const CONSOLE: Mutant = Mutant {
    driver: "console",
    ..Mutant::ALONE
};
const PORTED: Mutant = Mutant {
    scenario: "ports",
    ..CONSOLE
};

/// What a virtqueue of a console is for, if it is that of a port.
fn of_port(past: &Past, queue: u16) -> Option<Role> {
    let is_console = past.device.id == DEVICE.id;
    // Without several ports there are two virtqueues.
    let is_its = queue < past.administration;
    (is_console && is_its && (queue < CONTROL_RECEIVEQ || past.has(MULTIPORT))).then(|| role(queue))
}

/// The control message that becomes available: its kind, port and value.
fn said(past: &Past, event: &Event) -> Option<(Kind, u32, u16)> {
    let Event::Available(index, chain) = event else {
        return None;
    };
    if of_port(past, *index) != Some(Role::ControlTransmit) || chain.astray.is_some() {
        return None;
    }
    let (message, _) = Control::read_from_prefix(&chain.sent.0).ok()?;
    Some((Kind(message.event.get()), message.id.get(), message.value.get()))
}

/// Whether the driver has come to what it has been told: it waits for more, or has a buffer again for a message.
fn has_come(past: &Past, event: &Event) -> bool {
    match event {
        Event::Waits => true,
        Event::Available(index, _) => of_port(past, *index) == Some(Role::ControlReceive),
        _ => false,
    }
}

/// Whether a driver that has negotiated several ports leaves its device, of its own will.
fn leaves(past: &Past, event: &Event) -> bool {
    let ends = matches!(event, Event::StatusWritten(Status::NONE) | Event::Ends(Ok(())));
    ends && past.device.id == DEVICE.id && past.is_live() && past.has(MULTIPORT)
}

/// Notifies the device, and if the last message is of this kind, it is changed.
fn change(hand: &mut Hand, queue: u16, data: u32, kind: Kind, change: fn(&mut Control)) -> Told {
    if queue == CONTROL_TRANSMITQ {
        let address = hand.read_address(hand.head(queue));
        let bytes: [u8; size_of::<Control>()] = hand.read(address);
        if let Ok(mut message) = Control::read_from_bytes(&bytes)
            && message.event.get() == kind.0
        {
            change(&mut message);
            hand.write(address, message.as_bytes());
        }
    }
    hand.device.notify(queue, data)
}
