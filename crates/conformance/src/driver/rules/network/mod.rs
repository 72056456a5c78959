//! Network cards (section 5.1).

mod command;
mod config;
mod context;
mod filtering;
mod multiqueue;
mod offload;
mod receive;
mod segment;
mod statistics;
mod steering;
mod transmit;
mod tunnel;
mod tunneled;
mod unnegotiated;

use ringwright_driver::Transport;
use ringwright_spec::network::{DEVICE, Hdr, features};

use crate::driver::{Event, Hand, Mutant, Past, Rule, Told};

/// All of them, by section of the document.
pub(super) const RULES: [&[Rule]; 12] = [
    config::RULES,
    transmit::RULES,
    offload::RULES,
    tunnel::RULES,
    tunneled::RULES,
    receive::RULES,
    filtering::RULES,
    multiqueue::RULES,
    steering::RULES,
    context::RULES,
    statistics::RULES,
    unnegotiated::RULES,
];

/// What the mutants of network cards have in common.
const ALONE: Mutant = Mutant {
    driver: "network",
    ..Mutant::ALONE
};

/// Values of `gso_type`, without its flags.
const TCPV4: u8 = 1;
const UDP: u8 = 3;
const TCPV6: u8 = 4;
const UDP_L4: u8 = 5;
/// Flags of `gso_type`.
const TUNNEL_IPV4: u8 = 0x20;
const TUNNEL_IPV6: u8 = 0x40;
const TUNNEL: u8 = TUNNEL_IPV4 | TUNNEL_IPV6;
const ECN: u8 = 0x80;
/// Flags of `flags`.
const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const RSC_INFO: u8 = 4;
const TUNNEL_CSUM: u8 = 8;

/// Bytes of an Ethernet header, with a VLAN tag.
const ETHERNET: u64 = 18;

/// A packet that is sent: its header.
#[derive(Debug)]
struct Packet {
    flags: u8,
    gso_type: u8,
    hdr_len: u16,
    gso_size: u16,
    /// `csum_start` and `csum_offset`.
    csum: (u16, u16),
    num_buffers: u16,
    /// `outer_th_offset` and `inner_nh_offset`, where there are such.
    tunnel: (u16, u16),
    /// Bytes of the packet, without its header.
    length: u64,
    /// The first ones of them.
    frame: Vec<u8>,
}

impl Packet {
    /// `gso_type` without its flags.
    fn kind(&self) -> u8 {
        self.gso_type & !(TUNNEL | ECN)
    }
}

/// The packet that becomes available in a transmitq.
fn sent(past: &Past, event: &Event) -> Option<Packet> {
    let Event::Available(index, chain) = event else {
        return None;
    };
    if past.device.id != DEVICE.id
        || index.is_multiple_of(2)
        || *index >= 2 * pairs(past)
        || chain.astray.is_some()
    {
        return None;
    }
    let size = Hdr::size(past.features());
    let (header, frame) = chain.sent.0.split_at_checked(size)?;
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    Some(Packet {
        flags: header[0],
        gso_type: header[1],
        hdr_len: word(2),
        gso_size: word(4),
        csum: (word(6), word(8)),
        // Legacy headers end before it (section 5.1.6.1).
        num_buffers: if size < 12 { 0 } else { word(10) },
        tunnel: if size < 24 { (0, 0) } else { (word(20), word(22)) },
        length: chain.length(false) - size as u64,
        frame: frame.to_vec(),
    })
}

/// Whether this is the receiveq of a network card.
fn is_receiveq(past: &Past, index: u16) -> bool {
    past.device.id == DEVICE.id && index.is_multiple_of(2) && index < 2 * pairs(past)
}

/// Pairs of virtqueues that a driver may use.
fn pairs(past: &Past) -> u16 {
    match past.features().intersects(features::MQ | features::RSS) {
        true => past.administration / 2,
        false => 1,
    }
}

/// Notifies the device, and a byte of the header of the last packet is another one.
fn header(hand: &mut Hand, queue: u16, data: u32, offset: u64, byte: u8) -> Told {
    headers(hand, queue, data, &[(offset, byte)])
}

/// The same with several bytes.
fn headers(hand: &mut Hand, queue: u16, data: u32, bytes: &[(u64, u8)]) -> Told {
    if queue == 1 {
        let packet = hand.read_address(hand.head(queue));
        for (offset, byte) in bytes {
            hand.write(packet + offset, &[*byte]);
        }
    }
    hand.device.notify(queue, data)
}

/// Notifies the device, and all receive buffers are of this length.
fn shorten(hand: &mut Hand, queue: u16, data: u32, length: u32) -> Told {
    if queue == 0 {
        let size = hand.layouts.get(&queue).map_or(0, |layout| layout.size);
        for index in 0..size {
            let descriptor = hand.slot(queue, index);
            hand.write(descriptor + 8, &length.to_le_bytes());
        }
    }
    hand.device.notify(queue, data)
}
