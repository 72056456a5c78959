//! What a device says of a frame that has arrived (section 5.1.9.4).

use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::data::Le16;
use ringwright_spec::network::control::GuestOffloads;
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{Hdr, features};

use crate::field::Field;

/// What a device may leave to its driver.
pub(super) const FEATURES: Features = Features(features::GUEST_CSUM.0 | SEGMENTS.0);

/// With these a frame may be as long as a packet can be.
pub(super) const SEGMENTS: Features = Features(
    features::GUEST_TSO4.0
        | features::GUEST_TSO6.0
        | features::GUEST_ECN.0
        | features::GUEST_USO4.0
        | features::GUEST_USO6.0,
);

/// What it may leave in UDP tunnels.
pub(super) const TUNNELS: Features =
    Features(features::GUEST_UDP_TUNNEL_GSO.0 | features::GUEST_UDP_TUNNEL_GSO_CSUM.0);

/// The bits of `gso_type` that say that there is a tunnel.
const TUNNEL: u8 = GsoFlags::UDP_TUNNEL_IPV4.0 | GsoFlags::UDP_TUNNEL_IPV6.0;

/// A frame that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Its length in bytes.
    pub length: usize,
    /// What is known of its checksum.
    pub checksum: Checksum,
    /// Whether it is several segments put together.
    pub segments: Option<Segments>,
}

/// What a device says of the checksum of a frame. In a tunnel it is the inner one that is partial, the outer one that is
/// valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checksum {
    /// Nothing (`drv:net:processing-of-incoming-packets:07`).
    Unknown,
    /// It is right.
    Valid,
    /// The packet comes from someone who has it, but the checksum is still to be computed from byte `start` to the end, and
    /// stored `offset` bytes behind that, where its seed is. Both are within the frame.
    Partial {
        /// Where the transport header begins.
        start: u16,
        /// Where the checksum is in it.
        offset: u16,
    },
}

/// Segments that were put together. Their checksum is partial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segments {
    /// What they are.
    pub kind: GsoType,
    /// How long the payload of each was at the most. Not zero.
    pub size: u16,
    /// One of them says that the congestion window was reduced.
    pub reduces_congestion: bool,
    /// The tunnel that they are in.
    pub tunnel: Option<Tunnel>,
}

/// A UDP tunnel around segments. All places are within the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tunnel {
    /// Where its UDP header begins.
    pub outer_transport: u16,
    /// Where the network header in it begins.
    pub inner_network: u16,
    /// Whether that is one of IPv6.
    pub is_v6: bool,
    /// Whether its checksum is partial, too: computed from its UDP header on.
    pub is_partial: bool,
}

impl Arrival {
    /// What `header` says of a frame of `length` bytes. `None` if the driver must not accept it, because it contradicts
    /// itself or the frame, or says what was not negotiated.
    pub(super) fn of(header: &Hdr, order: ByteOrder, negotiated: Features, length: usize) -> Option<Self> {
        let number = |field: Le16| u16::from_ne_bytes(field.to_bytes()).in_order(order);
        let is_within = |at: u16, bytes: usize| usize::from(at) + bytes <= length;
        // drv:net:processing-of-incoming-packets:01: what was not negotiated has no meaning.
        let flags = match negotiated.contains(features::GUEST_CSUM) {
            true => HdrFlags(header.flags),
            false => HdrFlags::NONE,
        };
        let is_partial = flags.contains(HdrFlags::NEEDS_CSUM);
        let (start, offset) = (number(header.csum_start), number(header.csum_offset));
        // drv:net:processing-of-incoming-packets:04
        if is_partial && !is_within(start, usize::from(offset) + 2) {
            return None;
        }
        let has_tunnel_checksum = negotiated.contains(features::GUEST_UDP_TUNNEL_GSO_CSUM)
            && flags.contains(HdrFlags::UDP_TUNNEL_CSUM);
        let kind = GsoType(header.gso_type & !(GsoFlags::ECN.0 | TUNNEL));
        let tunnel = match header.gso_type & TUNNEL {
            // drv:net:processing-of-incoming-packets:11; the offsets mean nothing
            // (drv:net:processing-of-incoming-packets:09).
            0 if has_tunnel_checksum && is_partial => return None,
            0 => None,
            // drv:net:processing-of-incoming-packets:08
            TUNNEL => return None,
            // drv:net:processing-of-incoming-packets:10
            _ if !is_partial || flags.contains(HdrFlags::DATA_VALID) || kind == GsoType::NONE => return None,
            inner => Some(Tunnel {
                outer_transport: number(header.outer_th_offset),
                inner_network: number(header.inner_nh_offset),
                is_v6: inner == GsoFlags::UDP_TUNNEL_IPV6.0,
                is_partial: has_tunnel_checksum,
            }),
        };
        if let Some(Tunnel {
            outer_transport,
            inner_network,
            ..
        }) = tunnel
            && !(is_within(outer_transport, 8) && outer_transport < inner_network && inner_network < start)
        {
            return None;
        }
        let segments = match kind {
            GsoType::NONE => None,
            _ => Some(Segments {
                kind,
                size: number(header.gso_size),
                reduces_congestion: header.gso_type & GsoFlags::ECN.0 != 0,
                tunnel,
            }),
        };
        if let Some(segments) = &segments
            && !(is_partial && segments.size != 0 && segments.are_accepted(negotiated))
        {
            return None;
        }
        let checksum = match is_partial {
            true => Checksum::Partial { start, offset },
            false if flags.contains(HdrFlags::DATA_VALID) => Checksum::Valid,
            false => Checksum::Unknown,
        };
        Some(Self {
            length,
            checksum,
            segments,
        })
    }
}

impl Segments {
    /// Whether the driver has said that it takes them.
    fn are_accepted(&self, negotiated: Features) -> bool {
        let takes = match self.kind {
            GsoType::TCPV4 => negotiated.contains(features::GUEST_TSO4),
            GsoType::TCPV6 => negotiated.contains(features::GUEST_TSO6),
            GsoType::UDP_L4 => negotiated.intersects(features::GUEST_USO4 | features::GUEST_USO6),
            _ => false,
        };
        takes && (self.tunnel.is_none() || negotiated.contains(features::GUEST_UDP_TUNNEL_GSO))
    }
}

/// The offloads of a command, each with its feature.
const OFFLOADS: [(GuestOffloads, Features); 9] = [
    (GuestOffloads::GUEST_CSUM, features::GUEST_CSUM),
    (GuestOffloads::GUEST_TSO4, features::GUEST_TSO4),
    (GuestOffloads::GUEST_TSO6, features::GUEST_TSO6),
    (GuestOffloads::GUEST_ECN, features::GUEST_ECN),
    (GuestOffloads::GUEST_UFO, features::GUEST_UFO),
    (GuestOffloads::GUEST_USO4, features::GUEST_USO4),
    (GuestOffloads::GUEST_USO6, features::GUEST_USO6),
    (
        GuestOffloads::GUEST_UDP_TUNNEL_GSO,
        features::GUEST_UDP_TUNNEL_GSO,
    ),
    (
        GuestOffloads::GUEST_UDP_TUNNEL_GSO_CSUM,
        features::GUEST_UDP_TUNNEL_GSO_CSUM,
    ),
];

/// Whether there are none but these.
pub(super) fn are_known(offloads: GuestOffloads) -> bool {
    let known = OFFLOADS.iter().fold(0, |known, (offload, _)| known | offload.0);
    offloads.0 & !known == 0
}

/// The features without which a driver must not switch these offloads on (drv:net:setting-offloads-state:01).
pub(super) fn of_offloads(offloads: GuestOffloads) -> Features {
    let needed = OFFLOADS.iter().filter(|(offload, _)| offloads.contains(*offload));
    needed.fold(Features::NONE, |needs, (_, feature)| needs | *feature)
}
