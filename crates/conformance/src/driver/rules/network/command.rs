//! Commands, as the strict device finds them in the control virtqueue, and as hands change them.

use ringwright_driver::Transport;
use ringwright_spec::network::control::{Class, GuestOffloadsCommand, Rx};
use ringwright_spec::network::{DEVICE, features};

use super::pairs;
use crate::driver::strict::PAIRS;
use crate::driver::{Event, Hand, Past, Told};

/// A command that a driver sends.
#[derive(Debug)]
pub(super) struct Command {
    class: Class,
    command: u8,
    /// What follows, or its first bytes.
    pub data: Vec<u8>,
    /// Bytes of that.
    length: u64,
    /// Bytes that the device may write.
    pub room: u64,
}

impl Command {
    /// Whether it is this command of this class.
    pub fn is(&self, class: Class, command: u8) -> bool {
        self.class == class && self.command == command
    }

    /// Whether it is any of this class.
    pub fn is_of(&self, class: Class) -> bool {
        self.class == class
    }

    /// The mode of reception that it sets.
    pub fn rx(&self) -> Option<Rx> {
        (self.class == Class::RX).then_some(Rx(self.command))
    }

    /// The offloads that it enables.
    pub fn offloads(&self) -> Option<u64> {
        let enables = self.is(Class::GUEST_OFFLOADS, GuestOffloadsCommand::SET.0);
        let bits = self.data.first_chunk().filter(|_| enables)?;
        Some(u64::from_le_bytes(*bits))
    }

    /// Whether there are two tables of addresses and nothing else, the first one of single addresses and the second one
    /// of multicast ones; of long tables only the beginning is looked at.
    pub fn has_tables(&self) -> bool {
        let mut at = 0;
        for is_multicast in [0, 1] {
            let Some(entries) = self.data.get(at..).and_then(|rest| rest.first_chunk()) else {
                return at as u64 + 4 <= self.length && self.is_cut();
            };
            let end = at as u64 + 4 + 6 * u64::from(u32::from_le_bytes(*entries));
            if end > self.length {
                return false;
            }
            let held = self.data.len().min(end as usize);
            let addresses = self.data.get(at + 4..held).unwrap_or_default();
            if addresses
                .chunks_exact(6)
                .any(|address| address[0] & 1 != is_multicast)
            {
                return false;
            }
            at = end as usize;
        }
        at as u64 == self.length
    }

    fn is_cut(&self) -> bool {
        self.length > self.data.len() as u64
    }
}

/// The command that becomes available.
pub(super) fn command(past: &Past, event: &Event) -> Option<Command> {
    let Event::Available(index, chain) = event else {
        return None;
    };
    let is_control = past.has(features::CTRL_VQ) && *index == 2 * pairs(past);
    if past.device.id != DEVICE.id || !is_control || chain.astray.is_some() {
        return None;
    }
    let (head, data) = chain.sent.0.split_first_chunk::<2>()?;
    Some(Command {
        class: Class(head[0]),
        command: head[1],
        data: data.to_vec(),
        length: chain.length(false) - 2,
        room: chain.length(true),
    })
}

/// Notifies the device, and if the last command is this one, it has these bytes at these offsets.
pub(super) fn replace(
    hand: &mut Hand,
    queue: u16,
    data: u32,
    (class, command): (Class, u8),
    bytes: &[(u64, u8)],
) -> Told {
    if queue == controlq(hand) {
        let sent = hand.read_address(hand.head(queue));
        if hand.read(sent) == [class.0, command] {
            for (offset, byte) in bytes {
                hand.write(sent + offset, &[*byte]);
            }
        }
    }
    hand.device.notify(queue, data)
}

/// Notifies the device, and the last command is this one.
pub(super) fn change(hand: &mut Hand, queue: u16, data: u32, class: Class, command: u8) -> Told {
    if queue == controlq(hand) {
        let sent = hand.read_address(hand.head(queue));
        hand.write(sent, &[class.0, command]);
    }
    hand.device.notify(queue, data)
}

/// If the last command is this one, there is less room for its answer.
pub(super) fn shorten_answer(hand: &mut Hand, queue: u16, (class, command): (Class, u8), room: u32) {
    if queue == controlq(hand) {
        let head = hand.head(queue);
        if hand.read(hand.read_address(head)) == [class.0, command] {
            let answer = hand.slot(queue, hand.read16(head + 14));
            hand.write(answer + 8, &room.to_le_bytes());
        }
    }
}

fn controlq(hand: &Hand) -> u16 {
    match hand.features.intersects(features::MQ | features::RSS) {
        true => 2 * PAIRS,
        false => 2,
    }
}
