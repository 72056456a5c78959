//! What the headers of a frame say of its flow: addresses and ports.

/// Bytes of a frame that are looked at: with two VLAN tags, those of all headers up to the ports, unless IPv6 has uncommonly
/// many extension headers.
pub(super) const LOOKED_AT: usize = 192;

/// Bytes of the addresses before the type in an Ethernet header.
const ADDRESSES: usize = 12;

/// Types of Ethernet frames.
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Those of VLAN tags, behind which another type stands.
const TAGS: [u16; 2] = [0x8100, 0x88a8];

/// Protocols of IP packets.
const TCP: u8 = 6;
const UDP: u8 = 17;

/// Extension headers of IPv6.
const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

/// An IP packet, by its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Packet<'a> {
    /// Four bytes of IPv4, or 16 of IPv6.
    pub source: &'a [u8],
    /// As many.
    pub destination: &'a [u8],
    /// The protocol that follows.
    pub protocol: u8,
    /// Source and destination port of TCP or UDP. Pieces of a packet have none, so that they stay together.
    pub ports: Option<[u8; 4]>,
}

impl<'a> Packet<'a> {
    /// The packet in a frame, of which the beginning is enough. `None` if there is none, or not its headers.
    pub fn of(frame: &'a [u8]) -> Option<Self> {
        let mut rest = frame.get(ADDRESSES..)?;
        loop {
            let (kind, behind) = rest.split_first_chunk()?;
            match u16::from_be_bytes(*kind) {
                IPV4 => return Self::ipv4(behind),
                IPV6 => return Self::ipv6(behind),
                tag if TAGS.contains(&tag) => rest = behind.get(2..)?,
                _ => return None,
            }
        }
    }

    fn ipv4(packet: &'a [u8]) -> Option<Self> {
        let header = usize::from(packet.first()? & 0xf) * 4;
        let (start, source, destination) = (packet.get(..12)?, packet.get(12..16)?, packet.get(16..20)?);
        // More fragments, or an offset.
        let is_piece = u16::from_be_bytes([start[6], start[7]]) & 0x3fff != 0;
        let protocol = start[9];
        let behind = packet.get(header..).filter(|_| !is_piece && header >= 20);
        Some(Self {
            source,
            destination,
            protocol,
            ports: behind.and_then(|behind| ports(protocol, behind)),
        })
    }

    fn ipv6(packet: &'a [u8]) -> Option<Self> {
        let (source, destination) = (packet.get(8..24)?, packet.get(24..40)?);
        let (mut protocol, mut behind) = (packet[6], &packet[40..]);
        loop {
            let length = match protocol {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => 8 * (1 + usize::from(*behind.get(1)?)),
                AUTHENTICATION => 4 * (2 + usize::from(*behind.get(1)?)),
                _ => break,
            };
            protocol = behind[0];
            behind = behind.get(length..)?;
        }
        Some(Self {
            source,
            destination,
            protocol,
            // A fragment header is not looked behind.
            ports: ports(protocol, behind),
        })
    }

    /// A number for the flow that the packet belongs to, the same in both directions.
    pub fn flow(&self) -> u64 {
        // An odd number without a pattern: 2^64 divided by the golden ratio.
        const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
        let word = |bytes: &[u8]| bytes.iter().fold(0u32, |word, byte| word << 8 | u32::from(*byte));
        let mut flow = u64::from(self.protocol);
        let addresses = self.source.chunks(4).zip(self.destination.chunks(4));
        let ports = self.ports.unwrap_or_default();
        let ports = ports.split_at(2);
        for (from, to) in addresses.chain([ports]) {
            flow = (flow ^ u64::from(word(from) ^ word(to))).wrapping_mul(SPREAD);
            flow ^= flow >> 32;
        }
        flow
    }
}

/// The ports at the beginning of what follows an IP header.
fn ports(protocol: u8, behind: &[u8]) -> Option<[u8; 4]> {
    match protocol {
        TCP | UDP => behind.first_chunk().copied(),
        _ => None,
    }
}
