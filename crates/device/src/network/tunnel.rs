//! Packets in packets (section 5.1.9.4, "Inner Header Hash").

use ringwright_spec::network::hash::TunnelTypes;

use super::packet::{IPV4, IPV6, Packet, UDP};

/// Protocols of IP packets.
const IPIP: u8 = 4;
const GRE: u8 = 47;

/// Ports of UDP that tunnels end at.
const GRE_IN_UDP: u16 = 4754;
const VXLAN: u16 = 4789;
const VXLAN_GPE: u16 = 4790;
const GENEVE: u16 = 6081;

/// A type of Ethernet frames that says that a whole one follows.
const BRIDGED: u16 = 0x6558;

/// Flags of a GRE header, each for four bytes more: a checksum, a key, a sequence number.
const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;
const SEQUENCE: u16 = 0x1000;
/// Its version, which is 0.
const VERSION: u16 = 7;

/// Bytes of a UDP header.
const UDP_HEADER: usize = 8;

/// The packet whose headers are hashed: the one in a tunnel of these types, or that in the frame itself, if it is in none
/// (dev:net:inner-header-hash:01). `None` if there is no packet there.
pub(super) fn innermost<'a>(frame: &'a [u8], types: TunnelTypes) -> Option<Packet<'a>> {
    let outer = Packet::of(frame)?;
    // dev:net:inner-header-hash:03
    if types == TunnelTypes::NONE {
        return Some(outer);
    }
    match tunnel(&outer).filter(|tunnel| types.contains(tunnel.kind)) {
        Some(tunnel) => tunnel.packet(),
        None => Some(outer),
    }
}

/// What a packet is the outside of.
struct Tunnel<'a> {
    kind: TunnelTypes,
    /// Type of an Ethernet frame, and what follows that.
    inside: (u16, &'a [u8]),
}

impl<'a> Tunnel<'a> {
    fn packet(&self) -> Option<Packet<'a>> {
        match self.inside {
            (BRIDGED, frame) => Packet::of(frame),
            (kind, packet) => Packet::of_type(kind, packet),
        }
    }
}

fn tunnel<'a>(outer: &Packet<'a>) -> Option<Tunnel<'a>> {
    match outer.protocol {
        IPIP => Some(Tunnel {
            kind: TunnelTypes::IPIP,
            inside: (IPV4, outer.content),
        }),
        GRE => generic(outer, outer.content),
        UDP => in_udp(outer),
        _ => None,
    }
}

fn in_udp<'a>(outer: &Packet<'a>) -> Option<Tunnel<'a>> {
    let content = outer.content.get(UDP_HEADER..)?;
    let behind = |length| content.get(length..);
    let word = |at: usize| Some(u16::from_be_bytes([*content.get(at)?, *content.get(at + 1)?]));
    let (kind, inside) = match u16::from_be_bytes([outer.content[2], outer.content[3]]) {
        GRE_IN_UDP => {
            let tunnel = generic(outer, content)?;
            (TunnelTypes::GRE_UDP, tunnel.inside)
        }
        VXLAN => (TunnelTypes::VXLAN, (BRIDGED, behind(8)?)),
        VXLAN_GPE => {
            let kind = match content.get(3)? {
                1 => IPV4,
                2 => IPV6,
                3 => BRIDGED,
                _ => 0,
            };
            (TunnelTypes::VXLAN_GPE, (kind, behind(8)?))
        }
        GENEVE => {
            let options = 4 * usize::from(content.first()? & 0x3f);
            (TunnelTypes::GENEVE, (word(2)?, behind(8 + options)?))
        }
        _ => return None,
    };
    Some(Tunnel { kind, inside })
}

/// Generic routing encapsulation.
fn generic<'a>(outer: &Packet<'a>, content: &'a [u8]) -> Option<Tunnel<'a>> {
    let [flags, kind] =
        [content.get(..2)?, content.get(2..4)?].map(|word| u16::from_be_bytes([word[0], word[1]]));
    if flags & VERSION != 0 {
        return None;
    }
    let more = [CHECKSUM, KEY, SEQUENCE]
        .iter()
        .filter(|flag| flags & **flag != 0);
    let inside = (kind, content.get(4 + 4 * more.count()..)?);
    let with_ipv6 = kind == IPV6 || outer.source.len() == 16;
    let kind = match flags & (KEY | SEQUENCE) {
        KEY if kind == BRIDGED => TunnelTypes::NVGRE,
        0 if with_ipv6 => TunnelTypes::GRE_7676,
        0 => TunnelTypes::GRE_2784,
        _ => TunnelTypes::GRE_2890,
    };
    Some(Tunnel { kind, inside })
}
