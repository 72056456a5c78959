//! Checksums and segmentation that are left to the device (section 5.1.9.2).

use ringwright_spec::Features;
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{Hdr, features};

/// What is left to the device, and the exact lengths of headers that it is told for it.
pub(super) const FEATURES: Features = Features(
    features::CSUM.0
        | features::HOST_TSO4.0
        | features::HOST_TSO6.0
        | features::HOST_ECN.0
        | features::HOST_USO.0
        | features::GUEST_HDRLEN.0,
);

/// What is left to it in UDP tunnels.
pub(super) const TUNNELS: Features =
    Features(features::HOST_UDP_TUNNEL_GSO.0 | features::HOST_UDP_TUNNEL_GSO_CSUM.0);

/// Those of them with which a frame may be longer than the MTU.
pub(super) const SEGMENTATION: Features =
    Features(features::HOST_TSO4.0 | features::HOST_TSO6.0 | features::HOST_USO.0);

/// Longest frame, without its Ethernet header: an IPv6 header, and what its length can say.
pub(super) const LONGEST: usize = 40 + 0xffff;

/// What a user leaves to the device of a frame that is TCP or UDP over IPv4 or IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// The checksum of the transport header. Needs `VIRTIO_NET_F_CSUM`.
    Checksum,
    /// That, and cutting it into frames with at most as many bytes behind the transport header. Needs
    /// `VIRTIO_NET_F_HOST_TSO4` or `_TSO6` for TCP, with `_ECN` if CWR is set, and `VIRTIO_NET_F_HOST_USO` for UDP.
    Segments(u16),
    /// The same of a packet in a UDP tunnel. Needs `VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO` besides, and
    /// `VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM` unless the checksum of the tunnel is zero.
    Tunneled {
        /// Most bytes behind the inner transport header. There are more of them.
        size: u16,
        /// Where the inner network header begins.
        network: u16,
    },
}

/// How a frame is sent of which something is left to the device.
pub(super) struct Partial {
    /// Its header.
    pub header: Hdr,
    /// What has to stand where checksums are: of the transport header, and of a tunnel.
    pub seeds: [Option<Seed>; 2],
}

/// The sum of a pseudo header.
pub(super) struct Seed {
    /// Where in the frame it goes.
    pub field: usize,
    pub sum: u16,
}

/// How `frame` is sent; `None` if the device cannot do that with it.
pub(super) fn partial(frame: &[u8], offload: Offload, features: Features) -> Option<Partial> {
    match offload {
        Offload::Segments(0) => None,
        Offload::Tunneled { size, network } => tunneled(frame, size, network, features),
        Offload::Segments(size) => in_no_tunnel(frame, size, features),
        // It is one segment.
        Offload::Checksum => in_no_tunnel(frame, u16::MAX, features),
    }
}

fn in_no_tunnel(frame: &[u8], size: u16, features: Features) -> Option<Partial> {
    let headers = Headers::of(frame)?;
    let (gso_type, gso_size, needs) = match frame.len() - headers.end > usize::from(size) {
        true => {
            let (gso_type, needs) = headers.segments();
            (gso_type, size, needs)
        }
        false => (GsoType::NONE.0, 0, features::CSUM),
    };
    // drv:net:packet-transmission:05, :06, :08 and :21; drv:net:packet-transmission:03.
    if !features.contains(needs | features::CSUM) {
        return None;
    }
    Some(Partial {
        header: headers.header(gso_type, gso_size)?,
        seeds: [Some(headers.seed()), None],
    })
}

fn tunneled(frame: &[u8], size: u16, network: u16, features: Features) -> Option<Partial> {
    let outer = Headers::of(frame)?;
    let inner = Headers::at(frame, network.into())?;
    let is_one = frame.len() - inner.end <= usize::from(size);
    if size == 0 || is_one || outer.is_tcp || outer.end > usize::from(network) {
        return None;
    }
    let (gso_type, mut needs) = inner.segments();
    // drv:net:packet-transmission:10, drv:net:packet-transmission:30
    needs = needs | features::CSUM | features::HOST_UDP_TUNNEL_GSO;
    // drv:net:packet-transmission:11; one of them only (drv:net:packet-transmission:15).
    let tunnel = match inner.is_v6 {
        false => GsoFlags::UDP_TUNNEL_IPV4,
        true => GsoFlags::UDP_TUNNEL_IPV6,
    };
    let mut header = inner.header(gso_type | tunnel.0, size)?;
    // drv:net:packet-transmission:26
    header.outer_th_offset = u16::try_from(outer.transport).ok()?.into();
    header.inner_nh_offset = network.into();
    let mut seeds = [Some(inner.seed()), None];
    // drv:net:packet-transmission:28, drv:net:packet-transmission:29: either there is none, or it is left to the device.
    if frame.get(outer.field()..)?.first_chunk()? != &[0, 0] {
        // drv:net:packet-transmission:12, drv:net:packet-transmission:13, drv:net:packet-transmission:31
        needs = needs | features::HOST_UDP_TUNNEL_GSO_CSUM;
        header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
        // drv:net:packet-transmission:27
        seeds[1] = Some(outer.seed());
    }
    features.contains(needs).then_some(Partial { header, seeds })
}

/// The headers of a frame.
struct Headers {
    is_v6: bool,
    is_tcp: bool,
    /// Whether a TCP segment has CWR set, which must not be copied to all its parts.
    reduces_congestion: bool,
    /// Offset of the transport header.
    transport: usize,
    /// Where it ends.
    end: usize,
    /// The sum of the pseudo header.
    pseudo: u16,
}

impl Headers {
    /// Those of a whole TCP segment or UDP datagram, with nothing but an IP header and perhaps a VLAN tag before it, and
    /// nothing behind it.
    fn of(frame: &[u8]) -> Option<Self> {
        let network = match word(frame, 12)? {
            VLAN => 18,
            _ => 14,
        };
        match word(frame, network - 2)? {
            IPV4 | IPV6 => Self::at(frame, network),
            _ => None,
        }
    }

    /// The same with an IP header at `network`.
    fn at(frame: &[u8], network: usize) -> Option<Self> {
        let word = |at| word(frame, at);
        let (protocol, addresses, transport) = match frame.get(network)? >> 4 {
            4 => {
                let length = usize::from(frame.get(network)? & 0xf) * 4;
                // Neither a fragment, nor followed by anything.
                let is_whole = word(network + 6)? & 0x3fff == 0
                    && usize::from(word(network + 2)?) == frame.len() - network;
                if length < 20 || !is_whole {
                    return None;
                }
                (
                    *frame.get(network + 9)?,
                    network + 12..network + 20,
                    network + length,
                )
            }
            6 => {
                let end = network + 40 + usize::from(word(network + 4)?);
                if end != frame.len() {
                    return None;
                }
                (*frame.get(network + 6)?, network + 8..network + 40, network + 40)
            }
            _ => return None,
        };
        let (is_tcp, end) = match protocol {
            TCP => (true, transport + usize::from(frame.get(transport + 12)? >> 4) * 4),
            UDP => (false, transport + 8),
            _ => return None,
        };
        if end > frame.len() || (is_tcp && end < transport + 20) {
            return None;
        }
        let length = (frame.len() - transport) as u32;
        Some(Self {
            is_v6: addresses.len() == 32,
            is_tcp,
            reduces_congestion: is_tcp && frame.get(transport + 13)? & 0x80 != 0,
            transport,
            end,
            pseudo: fold(length + u32::from(protocol) + sum(frame.get(addresses)?)),
        })
    }

    /// `gso_type` if it is to be cut, and what that needs.
    fn segments(&self) -> (u8, Features) {
        let (kind, feature) = match (self.is_tcp, self.is_v6) {
            (true, false) => (GsoType::TCPV4, features::HOST_TSO4),
            (true, true) => (GsoType::TCPV6, features::HOST_TSO6),
            (false, _) => (GsoType::UDP_L4, features::HOST_USO),
        };
        match self.reduces_congestion {
            // drv:net:packet-transmission:09
            true => (kind.0 | GsoFlags::ECN.0, feature | features::HOST_ECN),
            false => (kind.0, feature),
        }
    }

    /// The header of a frame whose checksum is left to the device.
    fn header(&self, gso_type: u8, gso_size: u16) -> Option<Hdr> {
        Some(Hdr {
            // drv:net:packet-transmission:22
            flags: HdrFlags::NEEDS_CSUM.0,
            gso_type,
            gso_size: gso_size.into(),
            // drv:net:packet-transmission:23, drv:net:packet-transmission:24
            hdr_len: u16::try_from(self.end).ok()?.into(),
            // drv:net:packet-transmission:20
            csum_start: u16::try_from(self.transport).ok()?.into(),
            csum_offset: self.offset().into(),
            ..Hdr::default()
        })
    }

    /// Where the checksum is in the transport header.
    fn offset(&self) -> u16 {
        match self.is_tcp {
            true => 16,
            false => 6,
        }
    }

    /// Where it is in the frame.
    fn field(&self) -> usize {
        self.transport + usize::from(self.offset())
    }

    /// drv:net:packet-transmission:19
    fn seed(&self) -> Seed {
        Seed {
            field: self.field(),
            sum: self.pseudo,
        }
    }
}

/// EtherTypes, and protocols of IP.
const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

/// The number at `at`.
fn word(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

/// The sum of the 16-bit words of an even number of bytes, few enough.
fn sum(bytes: &[u8]) -> u32 {
    let (words, _) = bytes.as_chunks();
    words
        .iter()
        .map(|word| u32::from(u16::from_be_bytes(*word)))
        .sum()
}

/// The ones' complement sum that this is.
fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}
