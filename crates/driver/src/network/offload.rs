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
}

/// How a frame is sent of which something is left to the device.
pub(super) struct Partial {
    /// Its header.
    pub header: Hdr,
    /// Where in the frame its checksum is.
    pub field: usize,
    /// What has to stand there: the sum of the pseudo header.
    pub seed: u16,
}

/// How `frame` is sent; `None` if the device cannot do that with it.
pub(super) fn partial(frame: &[u8], offload: Offload, features: Features) -> Option<Partial> {
    let headers = Headers::of(frame)?;
    let (kind, feature) = match (headers.is_tcp, headers.is_v6) {
        (true, false) => (GsoType::TCPV4, features::HOST_TSO4),
        (true, true) => (GsoType::TCPV6, features::HOST_TSO6),
        (false, _) => (GsoType::UDP_L4, features::HOST_USO),
    };
    let (gso_type, gso_size, needs) = match offload {
        Offload::Segments(0) => return None,
        Offload::Segments(size) if frame.len() - headers.end > usize::from(size) => {
            match headers.reduces_congestion {
                // drv:net:packet-transmission:09
                true => (kind.0 | GsoFlags::ECN.0, size, feature | features::HOST_ECN),
                false => (kind.0, size, feature),
            }
        }
        // It is one segment.
        Offload::Segments(_) | Offload::Checksum => (GsoType::NONE.0, 0, features::CSUM),
    };
    // drv:net:packet-transmission:05, :06, :08 and :21; drv:net:packet-transmission:03.
    if !features.contains(needs | features::CSUM) {
        return None;
    }
    let offset = match headers.is_tcp {
        true => 16,
        false => 6,
    };
    let header = Hdr {
        // drv:net:packet-transmission:22
        flags: HdrFlags::NEEDS_CSUM.0,
        gso_type,
        gso_size: gso_size.into(),
        // drv:net:packet-transmission:23, drv:net:packet-transmission:24
        hdr_len: u16::try_from(headers.end).ok()?.into(),
        // drv:net:packet-transmission:20
        csum_start: u16::try_from(headers.transport).ok()?.into(),
        csum_offset: offset.into(),
        ..Hdr::default()
    };
    Some(Partial {
        header,
        field: headers.transport + usize::from(offset),
        // drv:net:packet-transmission:19
        seed: headers.seed,
    })
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
    seed: u16,
}

impl Headers {
    /// Those of a whole TCP segment or UDP datagram, with nothing but an IP header and perhaps a VLAN tag before it, and
    /// nothing behind it.
    fn of(frame: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u16::from_be_bytes(*frame.get(at..)?.first_chunk()?));
        let network = match word(12)? {
            VLAN => 18,
            _ => 14,
        };
        let (protocol, addresses, transport) = match word(network - 2)? {
            IPV4 => {
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
            IPV6 => {
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
            seed: fold(length + u32::from(protocol) + sum(frame.get(addresses)?)),
        })
    }
}

/// EtherTypes, and protocols of IP.
const VLAN: u16 = 0x8100;
const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const TCP: u8 = 6;
const UDP: u8 = 17;

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
