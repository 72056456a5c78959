//! What the headers of a frame say of its flow: addresses and ports.

/// Bytes of a frame that are looked at: with two VLAN tags, those of all headers up to the ports, unless IPv6 has uncommonly
/// many extension headers.
pub(super) const LOOKED_AT: usize = 192;

/// Bytes of the addresses before the type in an Ethernet header.
const ADDRESSES: usize = 12;

/// Types of Ethernet frames.
pub(super) const IPV4: u16 = 0x0800;
pub(super) const IPV6: u16 = 0x86dd;
/// Those of VLAN tags, behind which another type stands.
pub(super) const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Protocols of IP packets.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Extension headers of IPv6.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
pub(super) const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// In IPv6 destination options: a byte of padding, and the home address.
const PAD1: u8 = 0;
const HOME_ADDRESS: u8 = 201;

/// An IP packet, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Four bytes of IPv4, or 16 of IPv6.
    pub source: &'a [u8],
    /// As many.
    pub destination: &'a [u8],
    /// What extension headers of IPv6 make of both addresses, if there are extension headers.
    pub extended: Option<[&'a [u8]; 2]>,
    /// The protocol that follows.
    pub protocol: u8,
    /// What follows. Nothing in pieces of a packet, so that they stay together.
    pub content: &'a [u8],
}

impl<'a> Packet<'a> {
    /// The packet in a frame, of which the beginning is enough. `None` if there is none, or not its headers.
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        let mut rest = frame.get(ADDRESSES..)?;
        loop {
            let (kind, behind) = rest.split_first_chunk()?;
            match u16::from_be_bytes(*kind) {
                tag if TAGS.contains(&tag) => rest = behind.get(2..)?,
                kind => return Self::of_type(kind, behind),
            }
        }
    }

    /// The packet that follows this type of Ethernet frames.
    pub fn of_type(kind: u16, packet: &'a [u8]) -> Option<Self> {
        match kind {
            IPV4 => Self::ipv4(packet),
            IPV6 => Self::ipv6(packet),
            _ => None,
        }
    }

    fn ipv4(packet: &'a [u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0xf) * 4;
        let (start, source, destination) = (packet.get(..12)?, packet.get(12..16)?, packet.get(16..20)?);
        // More fragments, or an offset.
        let is_piece = u16::from_be_bytes([start[6], start[7]]) & 0x3fff != 0;
        let content = packet.get(header..).filter(|_| !is_piece && header >= 20);
        Some(Self {
            source,
            destination,
            extended: None,
            protocol: start[9],
            content: content.unwrap_or_default(),
        })
    }

    fn ipv6(packet: &'a [u8]) -> Option<Self> {
        let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
        let (mut protocol, mut content) = (packet[6], &packet[40..]);
        let mut extended = None;
        while let HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS = protocol {
            let [from, to] = extended.get_or_insert([source, destination]);
            let length = match protocol {
                FRAGMENT => 8,
                AUTHENTICATION => 4 * (2 + usize::from(*content.get(1)?)),
                _ => 8 * (1 + usize::from(*content.get(1)?)),
            };
            let (header, behind) = content.split_at_checked(length)?;
            match protocol {
                ROUTING => *to = routed_to(header).unwrap_or(to),
                DESTINATION_OPTIONS => *from = home_address(header).unwrap_or(from),
                _ => {}
            }
            let is_piece = protocol == FRAGMENT;
            (protocol, content) = (header[0], behind);
            if is_piece {
                content = &[];
                break;
            }
        }
        Some(Self {
            source,
            destination,
            extended,
            protocol,
            content,
        })
    }

    /// Source and destination port of TCP or UDP.
    pub fn ports(&self) -> Option<[u8; 4]> {
        match self.protocol {
            TCP | UDP => self.content.first_chunk().copied(),
            _ => None,
        }
    }

    /// A number for the flow that the packet belongs to, the same in both directions.
    pub fn flow(&self) -> u64 {
        // An odd number without a pattern: 2^64 divided by the golden ratio.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let word = |bytes: &[u8]| bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let mut flow = u64::from(self.protocol);
        let addresses = self.source.chunks(4).zip(self.destination.chunks(4));
        let ports = self.ports().unwrap_or_default();
        let ports = ports.split_at(2);
        for (from, to) in addresses.chain([ports]) {
            flow = (flow ^ u64::from(word(from) ^ word(to))).wrapping_mul(SPREAD);
            flow ^= flow >> 32;
        }
        flow
    }
}

/// The address in a routing header of type 2.
fn routed_to(header: &[u8]) -> Option<&[u8]> {
    header.get(8..24).filter(|_| header[2] == 2)
}

/// The home address in a header with destination options.
fn home_address(header: &[u8]) -> Option<&[u8]> {
    let mut options = header.get(2..)?;
    loop {
        options = match options {
            [PAD1, rest @ ..] => rest,
            [HOME_ADDRESS, 16, rest @ ..] => return rest.get(..16),
            [_, length, rest @ ..] => rest.get(usize::from(*length)..)?,
            _ => return None,
        };
    }
}
