//! Console devices (section 5.3).

use std::collections::BTreeSet;
use std::mem::offset_of;

use ringwright_memory::{Buffer, Width};
use ringwright_spec::console::features::{EMERG_WRITE, MULTIPORT};
use ringwright_spec::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Config, Control, DEVICE, Event};
use ringwright_spec::split::{AVAIL_RING, USED_RING};
use ringwright_spec::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::element;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{Queue, SplitDesc};

const EMERG_WR: usize = offset_of!(Config, emerg_wr);
const MAX_NR_PORTS: usize = offset_of!(Config, max_nr_ports);

/// Buffers for messages of the device; more of them are not looked at.
const MESSAGES: usize = 24;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "console.emergency-write",
        clauses: &["dev:console:device-initialization:01"],
        does: "Writes a character to emerg_wr before the device is initialized, and when it is live.",
        violation: "The write is refused, or the device asks for a reset.",
        needs: Needs::device(DEVICE.id, EMERG_WRITE),
        run: emergency_write,
        mutants: &[Mutant {
            name: "an unconfigured console stumbles over an emergency write",
            breaks: "dev:console:device-initialization:01",
            lens: Lens {
                write_config: Some(|life, offset, _| {
                    life.note |= u64::from(offset == EMERG_WR && !life.is_live());
                    true
                }),
                status: Some(|life, status| match life.note {
                    0 => status,
                    _ => status | Status::DEVICE_NEEDS_RESET,
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "console.ports",
        clauses: &[
            "dev:console:multiport-device-operation:01",
            "dev:console:multiport-device-operation:02",
        ],
        does: "Says that it is ready for control messages, and that the ports are that are added, and reads what comes.",
        violation: "A port is added twice, or its number is not below max_nr_ports; or one is removed that was not added.",
        needs: Needs::device(DEVICE.id, MULTIPORT),
        run: ports,
        mutants: &[
            Mutant {
                name: "a port is added twice",
                breaks: "dev:console:multiport-device-operation:01",
                lens: Lens {
                    notified: Some(|life, queue| say(life, queue, &[(Event::DEVICE_ADD, 0); 2])),
                    ..WITH_PORTS
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a port has the number max_nr_ports",
                breaks: "dev:console:multiport-device-operation:01",
                lens: Lens {
                    notified: Some(|life, queue| say(life, queue, &[(Event::DEVICE_ADD, 3)])),
                    ..WITH_PORTS
                },
                ..Mutant::ALONE
            },
            Mutant {
                name: "a port is removed that was not added",
                breaks: "dev:console:multiport-device-operation:02",
                lens: Lens {
                    notified: Some(|life, queue| {
                        say(life, queue, &[(Event::DEVICE_ADD, 0), (Event::DEVICE_REMOVE, 1)])
                    }),
                    ..WITH_PORTS
                },
                ..Mutant::ALONE
            },
        ],
    },
];

fn emergency_write(probe: &mut Probe) -> Outcome {
    let clause = "dev:console:device-initialization:01";
    if !probe.reset()? {
        return Err(Ended::Inconclusive("the device does not finish its reset".into()));
    }
    put(probe, b'r')?;
    let status = probe.status()?;
    holds(status == Status::NONE, clause, || {
        format!("the status is {status:?} after a character was written to a device that was reset")
    })?;
    let live = probe.go_live(EMERG_WRITE)?;
    put(probe, b'w')?;
    let status = probe.status()?;
    holds(!status.contains(Status::DEVICE_NEEDS_RESET), clause, || {
        format!("the status is {status:?} after a character was written to a live device")
    })?;
    probe.survives(live)
}

/// Writes a character to `emerg_wr`.
fn put(probe: &mut Probe, character: u8) -> Outcome {
    let value = u32::from(character).to_le_bytes();
    probe.note(format_args!("emerg_wr <- {character:#x}"));
    let written = probe.transport().write_config(EMERG_WR, Width::Four, &value);
    holds(written.is_ok(), "dev:console:device-initialization:01", || {
        format!("the write is refused: {written:?}")
    })
}

fn ports(probe: &mut Probe) -> Outcome {
    let live = probe.set_up(MULTIPORT)?;
    let mut most = [0; 4];
    probe
        .transport()
        .read_config(MAX_NR_PORTS, Width::Four, &mut most)?;
    let most = u32::from_le_bytes(most);
    let mut receive = probe.queue(CONTROL_RECEIVEQ, live.features)?;
    let mut transmit = probe.queue(CONTROL_TRANSMITQ, live.features)?;
    probe.enable(&receive)?;
    probe.enable(&transmit)?;
    let room = MESSAGES.min(receive.layout.size.into());
    let mut buffers: Vec<(u16, Buffer)> = Vec::new();
    for _ in 0..room {
        // The longest message has a name behind it.
        let buffer = probe.buffer(256, 0)?;
        buffers.push((receive.add(&[element(&buffer, true)]), buffer));
    }
    probe.add_status(Status::DRIVER_OK)?;
    probe.notify(&receive)?;
    tell(probe, &mut transmit, Event::DEVICE_READY, 0)?;
    let mut added = BTreeSet::new();
    for _ in 0..room {
        // The first one has to come, and others may.
        if added.is_empty() {
            probe.wait(|_| Ok(receive.has_used()))?;
        } else {
            probe.never(|_| Ok(receive.has_used()))?;
        }
        let Some(used) = receive.take_used() else {
            break;
        };
        let mut bytes = [0; size_of::<Control>()];
        if let Some((_, buffer)) = buffers.iter().find(|(id, _)| u32::from(*id) == used.id) {
            // It is longer.
            let _ = buffer.read(0, &mut bytes);
        }
        let control = Control::read_from_bytes(&bytes).unwrap_or_default();
        let (id, event) = (control.id.get(), Event(control.event.get()));
        probe.note(format_args!("{event:?} of port {id}"));
        match event {
            Event::DEVICE_ADD => {
                let clause = "dev:console:multiport-device-operation:01";
                holds(id < most, clause, || {
                    format!("port {id} is added, and max_nr_ports is {most}")
                })?;
                holds(added.insert(id), clause, || format!("port {id} is added twice"))?;
                tell(probe, &mut transmit, Event::PORT_READY, id)?;
            }
            Event::DEVICE_REMOVE => {
                let clause = "dev:console:multiport-device-operation:02";
                holds(added.remove(&id), clause, || {
                    format!("port {id} is removed, and was not added")
                })?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// Tells the device something about a port, with the value 1.
fn tell(probe: &mut Probe, transmit: &mut Queue, event: Event, port: u32) -> Outcome {
    let control = Control {
        id: port.into(),
        event: event.0.into(),
        value: 1.into(),
    };
    let message = probe.buffer(size_of::<Control>(), 0)?;
    // It has just been made of this length.
    let _ = message.write(0, control.as_bytes());
    transmit.add(&[element(&message, false)]);
    probe.notify(transmit)?;
    match probe.used(transmit)? {
        Some(_) => Ok(()),
        None => Err(Ended::Inconclusive(format!(
            "{event:?} of port {port} is not taken note of"
        ))),
    }
}

/// A console that seems to have control virtqueues, of which it does not know.
const WITH_PORTS: Lens = Lens {
    offered: Some(|_, offered| offered | MULTIPORT),
    accepted: Some(|_, accepted| accepted - MULTIPORT),
    queue_max_size: Some(|_, index, size| match index {
        CONTROL_RECEIVEQ | CONTROL_TRANSMITQ => 32,
        _ => size,
    }),
    enable_queue: Some(|_, index, layout| (index < CONTROL_RECEIVEQ).then_some(layout)),
    notify: Some(|_, index| index < CONTROL_RECEIVEQ),
    ..Lens::CLEAR
};

/// Answers what the driver has said first on the split control virtqueue with these messages about ports.
fn say(life: &mut Life, queue: u16, messages: &[(Event, u32)]) {
    if queue != CONTROL_TRANSMITQ {
        return;
    }
    let is_first = std::mem::replace(&mut life.note, 1) == 0;
    for (event, port) in messages.iter().filter(|_| is_first) {
        let message = Control {
            id: (*port).into(),
            event: event.0.into(),
            value: 0.into(),
        };
        use_next(life, CONTROL_RECEIVEQ, message.as_bytes());
    }
    use_next(life, CONTROL_TRANSMITQ, &[]);
}

/// Uses the next available buffer of a split virtqueue, with `bytes` in it.
pub(super) fn use_next(life: &Life, queue: u16, bytes: &[u8]) {
    let Some(layout) = life.layouts.get(&queue) else {
        return;
    };
    let index = life.read16(layout.device_area + 2);
    let slot = u64::from(index % layout.size);
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * slot);
    if !bytes.is_empty() {
        let descriptor = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
        life.write(descriptor.address, bytes);
    }
    let entry = layout.device_area + USED_RING + 8 * slot;
    life.write(entry, &u32::from(head).to_le_bytes());
    life.write(entry + 4, &(bytes.len() as u32).to_le_bytes());
    life.write(layout.device_area + 2, &index.wrapping_add(1).to_le_bytes());
}
