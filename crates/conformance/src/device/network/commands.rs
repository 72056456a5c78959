//! The control virtqueue of network devices (section 5.1.9.5): how a check gives a command, and how a mutant gets hold of it.

use ringwright_memory::Buffer;
use ringwright_spec::Features;
use ringwright_spec::network::control::{Ack, Class};
use ringwright_spec::network::features::CTRL_VQ;
use ringwright_spec::network::{DEVICE, controlq, pairs};
use ringwright_spec::split::AVAIL_RING;
use ringwright_spec::status::Status;

use crate::check::{Ended, Needs, Outcome};
use crate::live::{Live, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{Element, SplitDesc};
use crate::subject::{Bus, PAIRS};

/// The virtqueue for commands, with one pair of the others.
pub(super) const CONTROLQ: u16 = match controlq(1) {
    Some(index) => index,
    None => 0,
};

/// Bytes of a command's buffer beyond what the device is told of.
const MORE: usize = 64;

/// What fills buffers that the device writes to.
pub(super) const FILL: u8 = 0xee;

/// A device with a control virtqueue that offers `features`.
pub(super) const fn needs(features: Features) -> Needs {
    Needs::device(DEVICE.id, CTRL_VQ.union(features))
}

/// What a device has answered to a command.
pub(super) struct Answer {
    pub ack: Ack,
    /// The room for a result, and as many bytes behind it as a buffer has more.
    pub result: Vec<u8>,
    /// Bytes of the result, as the used buffer says.
    pub length: usize,
}

/// A live device with a control virtqueue.
pub(super) fn go_live(probe: &mut Probe, features: Features) -> Outcome<Live> {
    let mut live = probe.set_up(features | CTRL_VQ)?;
    let queue = probe.queue(CONTROLQ, live.features)?;
    probe.enable(&queue)?;
    live.queues.push(queue);
    probe.add_status(Status::DRIVER_OK)?;
    Ok(live)
}

/// Gives a command, whose result has so much room, and waits for the answer.
pub(super) fn ask(
    probe: &mut Probe,
    live: &mut Live,
    (class, command): (Class, u8),
    data: &[u8],
    room: usize,
) -> Outcome<Answer> {
    let bytes = [&[class.0, command], data].concat();
    let readable = probe.buffer(bytes.len() + MORE, 0)?;
    let writable = probe.buffer(1 + room + MORE, FILL)?;
    // It has just been made longer.
    let _ = readable.write(0, &bytes);
    // It is the last one.
    let Some(queue) = live.queues.last_mut() else {
        return Err(Ended::Inconclusive("there are no virtqueues".into()));
    };
    queue.add(&[
        beginning(&readable, bytes.len(), false),
        beginning(&writable, 1 + room, true),
    ]);
    probe.notify(queue)?;
    let used = match probe.used(queue)? {
        Some(used) => used,
        None if probe.bus() == Bus::VhostUser => {
            let why = "it leaves the control virtqueue to the front-end";
            return Err(Ended::NotApplicable(why.into()));
        }
        None => return Err(Ended::Inconclusive("a command is not answered".into())),
    };
    let mut result = vec![0; writable.len()];
    // The buffer is as long as that.
    let _ = writable.read(0, &mut result);
    let ack = Ack(result.remove(0));
    probe.note(format_args!("{class:?} {command} {data:x?} -> {ack:?}"));
    Ok(Answer {
        ack,
        result,
        length: (used.length as usize).saturating_sub(1),
    })
}

/// Gives a command that the device has to support.
pub(super) fn order(
    probe: &mut Probe,
    live: &mut Live,
    command: (Class, u8),
    data: &[u8],
    clause: &'static str,
) -> Outcome {
    let answer = ask(probe, live, command, data, 0)?;
    holds(answer.ack == Ack::OK, clause, || {
        format!(
            "{:?}, command {} with data {data:x?} is answered by {:?}",
            command.0, command.1, answer.ack
        )
    })
}

/// Gives a command that no clause of the check is about, but what follows from it.
pub(super) fn prepare(probe: &mut Probe, live: &mut Live, command: (Class, u8), data: &[u8]) -> Outcome {
    match ask(probe, live, command, data, 0)?.ack {
        Ack::OK => Ok(()),
        ack => Err(Ended::Inconclusive(format!(
            "{:?}, command {} is answered by {ack:?}",
            command.0, command.1
        ))),
    }
}

/// The first bytes of a buffer, as an element.
fn beginning(buffer: &Buffer, length: usize, writable: bool) -> Element {
    Element {
        length: length as u32,
        ..element(buffer, writable)
    }
}

/// A command that a driver has made available last, in a split virtqueue.
#[derive(Clone, Copy)]
pub(super) struct Pending {
    /// Class and command.
    pub kind: (Class, u8),
    /// The descriptor of the part that the device reads.
    descriptor: u64,
    /// Address of the data.
    pub data: u64,
    /// Address of the answer.
    pub answer: u64,
}

/// What a mutant gets hold of.
pub(super) fn pending(life: &Life, queue: u16) -> Option<Pending> {
    let layout = life.layouts.get(&queue);
    let controlq = controlq(pairs(life.features, PAIRS));
    let layout = layout.filter(|_| controlq == Some(queue) && !life.is_packed())?;
    let slot = life.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * u64::from(slot));
    let place = |index: u16| layout.descriptor_area + 16 * u64::from(index);
    let readable = SplitDesc::from_bytes(life.read(place(head)));
    let writable = SplitDesc::from_bytes(life.read(place(readable.next)));
    let [class, command] = life.read(readable.address);
    Some(Pending {
        kind: (Class(class), command),
        descriptor: place(head),
        data: readable.address + 2,
        answer: writable.address,
    })
}

impl Pending {
    /// Makes another command of it.
    pub fn replace(&self, life: &Life, bytes: &[u8]) {
        life.write(self.data - 2, bytes);
        life.write(self.descriptor + 8, &(bytes.len() as u32).to_le_bytes());
    }
}

/// A mutant to whose device commands, or frames, come differently.
pub(super) const fn mishearing(
    name: &'static str,
    breaks: &'static str,
    notify: fn(&mut Life, u16) -> bool,
) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: Lens {
            notify: Some(notify),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }
}

/// A mutant whose answers are different.
pub(super) const fn misspeaking(
    name: &'static str,
    breaks: &'static str,
    notified: fn(&mut Life, u16),
) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: Lens {
            notified: Some(notified),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }
}

/// Changes the data of a command of this kind.
pub(super) fn change(life: &Life, queue: u16, kind: (Class, u8), data: &[u8]) -> bool {
    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == kind) {
        life.write(pending.data, data);
    }
    true
}

/// Refuses a command of this class that was carried out.
pub(super) fn refuse(life: &Life, queue: u16, kind: (Class, u8)) {
    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == kind) {
        life.write(pending.answer, &[Ack::ERR.0]);
    }
}
