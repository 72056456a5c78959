//! What the header of a frame leaves to do, checked against the frame.

use ringwright_memory::Slices;
use ringwright_ring::ByteOrder;
use ringwright_spec::Features;
use ringwright_spec::data::Le16;
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{Hdr, features};

use crate::network::framing::ETHERNET;
use crate::network::packet::{IPV4, IPV6, TAGS};

/// Most tags before a packet.
const MOST_TAGS: usize = 2;

/// Bytes of an IPv6 header, and of an IPv4 header without options.
pub(super) const IPV6_HEADER: usize = 40;
const IPV4_HEADER: usize = 20;

/// Bytes of a UDP header, and of a TCP header without options.
const UDP_HEADER: usize = 8;
const TCP_HEADER: usize = 20;
/// Where the checksum is in them.
pub(super) const UDP_CHECKSUM: usize = 6;
const TCP_CHECKSUM: usize = 16;

/// The bits of `gso_type` that say that there is a tunnel.
const TUNNEL: u8 = GsoFlags::UDP_TUNNEL_IPV4.0 | GsoFlags::UDP_TUNNEL_IPV6.0;

/// What is left to do with a frame. All places in it lie within the frame that it was checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Where the bytes begin that the checksum is of.
    pub(super) start: usize,
    /// Where it is stored; its seed is there.
    pub(super) field: usize,
    /// How the frame is to be cut, if it is.
    pub(super) cut: Option<Cut>,
}

/// How a frame is cut into segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cut {
    pub kind: Kind,
    /// Most bytes behind the headers of each segment. Not zero.
    pub size: usize,
    /// Bytes of the headers up to what is cut, which is not empty.
    pub headers: usize,
    /// The IP header before the transport header.
    pub network: Network,
    /// One segment is to say that the congestion window was reduced.
    pub reduces_congestion: bool,
    pub tunnel: Option<Tunnel>,
}

/// What is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// TCP, into segments.
    Tcp,
    /// UDP, into datagrams.
    Udp,
    /// UDP, into fragments of one datagram.
    Fragments,
}

/// An IP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Network {
    /// Where it begins.
    pub at: usize,
    pub is_v6: bool,
}

/// The headers of a UDP tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tunnel {
    pub network: Network,
    /// Where its UDP header begins.
    pub transport: usize,
    /// Whether its checksum is left to do, too.
    pub has_checksum: bool,
}

impl Partial {
    /// What `header`, whose integers are in this `order`, leaves to do with `frame`, to someone who does what `host`
    /// says (those of [`TRANSMITTED`](super::TRANSMITTED)). `None` if it contradicts the frame or itself, or asks for more.
    pub fn of<B: Bytes + ?Sized>(header: &Hdr, order: ByteOrder, host: Features, frame: &B) -> Option<Self> {
        let said = Said::by(header, order);
        if !said.is_accepted(host) || !said.flags.contains(HdrFlags::NEEDS_CSUM) {
            return None;
        }
        let field = said.start + said.offset;
        if said.start < ETHERNET || field + 2 > frame.length() {
            return None;
        }
        let cut = match said.kind {
            GsoType::NONE => None,
            _ => Some(Cut::of(&said, frame)?),
        };
        let partial = Self {
            start: said.start,
            field,
            cut,
        };
        host.contains(partial.host()).then_some(partial)
    }

    /// The header that says so. Its length of the headers is exact (dev:net:processing-of-incoming-packets:25).
    pub fn header(&self, order: ByteOrder) -> Hdr {
        // All these places are within a frame, behind 16 bits.
        let number = |value: usize| Le16::from_bytes(order.bytes16(value as u16));
        let mut header = Hdr {
            flags: HdrFlags::NEEDS_CSUM.0,
            csum_start: number(self.start),
            csum_offset: number(self.field - self.start),
            ..Hdr::default()
        };
        if let Some(cut) = self.cut {
            let kind = match (cut.kind, cut.network.is_v6) {
                (Kind::Tcp, false) => GsoType::TCPV4,
                (Kind::Tcp, true) => GsoType::TCPV6,
                (Kind::Udp, _) => GsoType::UDP_L4,
                (Kind::Fragments, _) => GsoType::UDP,
            };
            header.gso_type = kind.0;
            // dev:net:processing-of-incoming-packets:12
            if cut.reduces_congestion {
                header.gso_type |= GsoFlags::ECN.0;
            }
            header.gso_size = number(cut.size);
            header.hdr_len = number(cut.headers.max(self.field + 2));
            if let Some(tunnel) = cut.tunnel {
                // dev:net:processing-of-incoming-packets:19
                header.gso_type |= match cut.network.is_v6 {
                    false => GsoFlags::UDP_TUNNEL_IPV4.0,
                    true => GsoFlags::UDP_TUNNEL_IPV6.0,
                };
                header.outer_th_offset = number(tunnel.transport);
                header.inner_nh_offset = number(cut.network.at);
                if tunnel.has_checksum {
                    header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
                }
            }
        }
        header
    }

    /// What it takes of a device to accept such a frame.
    pub fn host(&self) -> Features {
        self.needs(
            |cut| match (cut.kind, cut.network.is_v6) {
                (Kind::Tcp, false) => features::HOST_TSO4,
                (Kind::Tcp, true) => features::HOST_TSO6,
                (Kind::Udp, _) => features::HOST_USO,
                (Kind::Fragments, _) => features::HOST_UFO,
            },
            [
                features::CSUM,
                features::HOST_ECN,
                features::HOST_UDP_TUNNEL_GSO,
                features::HOST_UDP_TUNNEL_GSO_CSUM,
            ],
        )
    }

    /// What it takes of a driver to accept such a frame (dev:net:processing-of-incoming-packets:06 to
    /// dev:net:processing-of-incoming-packets:12).
    pub fn guest(&self) -> Features {
        self.needs(
            |cut| match (cut.kind, cut.network.is_v6) {
                (Kind::Tcp, false) => features::GUEST_TSO4,
                (Kind::Tcp, true) => features::GUEST_TSO6,
                (Kind::Udp, false) => features::GUEST_USO4,
                (Kind::Udp, true) => features::GUEST_USO6,
                (Kind::Fragments, _) => features::GUEST_UFO,
            },
            [
                features::GUEST_CSUM,
                features::GUEST_ECN,
                features::GUEST_UDP_TUNNEL_GSO,
                features::GUEST_UDP_TUNNEL_GSO_CSUM,
            ],
        )
    }

    /// Most bytes of the frames that it is cut into, if it is.
    pub fn longest_segment(&self) -> Option<usize> {
        self.cut.map(|cut| cut.headers + cut.size)
    }

    fn needs(
        &self,
        kind: impl Fn(&Cut) -> Features,
        [checksum, congestion, tunnel, tunnel_checksum]: [Features; 4],
    ) -> Features {
        let mut needs = checksum;
        if let Some(cut) = &self.cut {
            needs = needs | kind(cut);
            if cut.reduces_congestion {
                needs = needs | congestion;
            }
            if let Some(through) = cut.tunnel {
                needs = needs | tunnel;
                if through.has_checksum {
                    needs = needs | tunnel_checksum;
                }
            }
        }
        needs
    }
}

/// What stands in a header, in numbers.
struct Said {
    flags: HdrFlags,
    kind: GsoType,
    reduces_congestion: bool,
    /// The bits of `gso_type` for tunnels.
    tunnel: u8,
    size: usize,
    /// `csum_start` and `csum_offset`.
    start: usize,
    offset: usize,
    outer_transport: usize,
    inner_network: usize,
}

impl Said {
    fn by(header: &Hdr, order: ByteOrder) -> Self {
        let number = |field: Le16| usize::from(order.u16(field.to_bytes()));
        Self {
            flags: HdrFlags(header.flags),
            kind: GsoType(header.gso_type & !(GsoFlags::ECN.0 | TUNNEL)),
            reduces_congestion: header.gso_type & GsoFlags::ECN.0 != 0,
            tunnel: header.gso_type & TUNNEL,
            size: number(header.gso_size),
            start: number(header.csum_start),
            offset: number(header.csum_offset),
            outer_transport: number(header.outer_th_offset),
            inner_network: number(header.inner_nh_offset),
        }
    }

    /// dev:net:packet-transmission:08, dev:net:packet-transmission:10, dev:net:packet-transmission:11
    fn is_accepted(&self, host: Features) -> bool {
        match self.tunnel {
            // A flag that was not negotiated means nothing (dev:net:packet-transmission:01).
            0 => {
                !self.flags.contains(HdrFlags::UDP_TUNNEL_CSUM)
                    || !host.contains(features::HOST_UDP_TUNNEL_GSO_CSUM)
            }
            TUNNEL => false,
            _ => self.kind != GsoType::NONE && !self.flags.contains(HdrFlags::DATA_VALID),
        }
    }

    /// The IP header before the transport header, and the tunnel that it is in.
    fn networks<B: Bytes + ?Sized>(&self, frame: &B) -> Option<(Network, Option<Tunnel>)> {
        let outer = Network::behind_ethernet(frame)?;
        if self.tunnel == 0 {
            // dev:net:packet-transmission:09
            return Some((outer, None));
        }
        let inner = Network::at(frame, self.inner_network)?;
        let is_right = outer.ends(frame, self.outer_transport)
            && self.outer_transport + UDP_HEADER <= inner.at
            && inner.is_v6 == (self.tunnel == GsoFlags::UDP_TUNNEL_IPV6.0);
        let tunnel = Tunnel {
            network: outer,
            transport: self.outer_transport,
            has_checksum: self.flags.contains(HdrFlags::UDP_TUNNEL_CSUM),
        };
        is_right.then_some((inner, Some(tunnel)))
    }
}

impl Cut {
    /// What is `said` of a frame that is to be cut.
    fn of<B: Bytes + ?Sized>(said: &Said, frame: &B) -> Option<Self> {
        let (network, tunnel) = said.networks(frame)?;
        let (kind, is_v6) = match said.kind {
            GsoType::TCPV4 => (Kind::Tcp, false),
            GsoType::TCPV6 => (Kind::Tcp, true),
            GsoType::UDP_L4 => (Kind::Udp, network.is_v6),
            GsoType::UDP => (Kind::Fragments, network.is_v6),
            _ => return None,
        };
        let (length, checksum) = match kind {
            Kind::Tcp => (usize::from(frame.byte(said.start + 12)? >> 4) * 4, TCP_CHECKSUM),
            Kind::Udp | Kind::Fragments => (UDP_HEADER, UDP_CHECKSUM),
        };
        let (headers, size) = match kind {
            Kind::Tcp | Kind::Udp => (said.start + length, said.size),
            // The UDP header is in the first one only, and all begin at multiples of 8.
            Kind::Fragments => (said.start, said.size / 8 * 8),
        };
        let suits = match kind {
            Kind::Tcp => length >= TCP_HEADER,
            Kind::Udp => !said.reduces_congestion,
            // A fragment header is put where there are no other extension headers.
            Kind::Fragments => {
                !said.reduces_congestion
                    && tunnel.is_none()
                    && (!network.is_v6 || headers == network.at + IPV6_HEADER)
            }
        };
        let is_right = suits
            && is_v6 == network.is_v6
            && network.ends(frame, said.start)
            && said.offset == checksum
            && said.start + length < frame.length()
            && size != 0;
        is_right.then_some(Self {
            kind,
            size,
            headers,
            network,
            reduces_congestion: said.reduces_congestion,
            tunnel,
        })
    }
}

impl Network {
    /// The one behind the Ethernet header, and tags.
    fn behind_ethernet<B: Bytes + ?Sized>(frame: &B) -> Option<Self> {
        let mut at = ETHERNET;
        for _ in 0..=MOST_TAGS {
            match frame.word(at - 2)? {
                tag if TAGS.contains(&tag) => at += 4,
                IPV4 | IPV6 => return Self::at(frame, at),
                _ => return None,
            }
        }
        None
    }

    /// The one that begins at `at`.
    fn at<B: Bytes + ?Sized>(frame: &B, at: usize) -> Option<Self> {
        match frame.byte(at)? >> 4 {
            4 => Some(Self { at, is_v6: false }),
            6 => Some(Self { at, is_v6: true }),
            _ => None,
        }
    }

    /// Whether a transport header at `transport` can be behind it. Extension headers of IPv6 may be between them.
    fn ends<B: Bytes + ?Sized>(self, frame: &B, transport: usize) -> bool {
        match self.is_v6 {
            true => transport >= self.at + IPV6_HEADER,
            false => frame.byte(self.at).is_some_and(|first| {
                let length = usize::from(first & 0xf) * 4;
                length >= IPV4_HEADER && transport == self.at + length
            }),
        }
    }
}

/// A frame, wherever it lies.
pub trait Bytes {
    /// How many there are.
    fn length(&self) -> usize;

    /// The one at `at`.
    fn byte(&self, at: usize) -> Option<u8>;

    /// The big-endian number at `at`.
    fn word(&self, at: usize) -> Option<u16> {
        let (high, low) = (self.byte(at)?, self.byte(at + 1)?);
        Some(u16::from_be_bytes([high, low]))
    }
}

impl Bytes for [u8] {
    fn length(&self) -> usize {
        self.len()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.get(at).copied()
    }
}

impl Bytes for Slices<'_> {
    fn length(&self) -> usize {
        self.len()
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.read_array(at).ok().map(|[byte]| byte)
    }
}
