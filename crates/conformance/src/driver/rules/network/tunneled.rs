//! What a driver says of packets in UDP tunnels that it leaves to the device (section 5.1.9.2).

use ringwright_driver::Transport;
use ringwright_spec::network::features;

use super::segment::{Segment, fold, sum};
use super::{ALONE, Packet, TUNNEL, TUNNEL_CSUM, TUNNEL_IPV4, TUNNEL_IPV6, sent};
use crate::driver::{Event, Hand, Mutant, Past, Rule, Told};

/// What the mutants have in common.
const TUNNELS: Mutant = Mutant {
    scenario: "tunnels",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.tunnel-version",
        &["drv:net:packet-transmission:11"],
        "the driver sends a packet in a UDP tunnel that is to be segmented",
        "The bit of the tunnel is not that of the inner network header.",
        |watch, past, event| {
            if let Some((packet, _)) = sent_tunneled(past, event) {
                let version = packet
                    .frame
                    .get(usize::from(packet.tunnel.1))
                    .map(|first| first >> 4);
                let expected = match packet.gso_type & TUNNEL {
                    TUNNEL_IPV4 => 4,
                    _ => 6,
                };
                watch.expect(version == Some(expected), || format!("{packet:x?}"));
            }
        },
        &[
            TUNNELS.notifying("the other version of IP in a tunnel", |hand, queue, data| {
                tunneled(hand, queue, data, |hand, at, _| {
                    let [kind] = hand.read(at - HEADER + 1);
                    hand.write(at - HEADER + 1, &[kind ^ TUNNEL]);
                })
            }),
        ],
    ),
    Rule::new(
        "net.tunnel-places",
        &["drv:net:packet-transmission:26"],
        "the driver sends a packet in a UDP tunnel that is to be segmented",
        "outer_th_offset, inner_nh_offset, csum_start or csum_offset are not where its headers are.",
        |watch, past, event| {
            if let Some((packet, tunnel)) = sent_tunneled(past, event) {
                let inner = tunnel.inner.as_ref();
                let checksum = inner.map(|inner| (inner.transport as u16, inner.offset as u16));
                watch.expect(
                    usize::from(packet.tunnel.0) == tunnel.outer.transport && checksum == Some(packet.csum),
                    || format!("{packet:x?}"),
                );
            }
        },
        &[
            TUNNELS.notifying("the header of a tunnel is elsewhere", |hand, queue, data| {
                tunneled(hand, queue, data, |hand, at, _| {
                    hand.write(at - HEADER + 20, &[36])
                })
            }),
            TUNNELS
                .notifying(
                    "the network header in a tunnel is elsewhere",
                    |hand, queue, data| {
                        tunneled(hand, queue, data, |hand, at, _| {
                            hand.write(at - HEADER + 22, &[50])
                        })
                    },
                )
                .also(&["net.tunnel-version"]),
            TUNNELS.notifying(
                "the checksum in a tunnel starts elsewhere",
                |hand, queue, data| {
                    tunneled(hand, queue, data, |hand, at, _| {
                        hand.write(at - HEADER + 6, &[34])
                    })
                },
            ),
        ],
    ),
    Rule::new(
        "net.tunnel-checksum-left",
        &["drv:net:packet-transmission:12"],
        "the driver sends a packet to be segmented in a UDP tunnel whose checksum is that of the pseudo header",
        "flags has no VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM, or VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM is not negotiated.",
        |watch, past, event| {
            if let Some((packet, tunnel)) = sent_tunneled(past, event)
                && tunnel.outer.checksum == tunnel.outer.pseudo
            {
                watch.expect(
                    packet.flags & TUNNEL_CSUM != 0 && past.has(features::HOST_UDP_TUNNEL_GSO_CSUM),
                    || format!("{packet:x?}"),
                );
            }
        },
        &[TUNNELS.notifying(
            "nothing is said of the checksum of a tunnel",
            |hand, queue, data| {
                tunneled(hand, queue, data, |hand, at, _| {
                    let [flags] = hand.read(at - HEADER);
                    hand.write(at - HEADER, &[flags & !TUNNEL_CSUM]);
                })
            },
        )],
    ),
    Rule::new(
        "net.tunnel-checksum-seed",
        &["drv:net:packet-transmission:27"],
        "the driver leaves the checksum of a UDP tunnel to the device",
        "It is not that of the pseudo header.",
        |watch, past, event| {
            if let Some((packet, tunnel)) = sent_tunneled(past, event)
                && packet.flags & TUNNEL_CSUM != 0
            {
                watch.expect(tunnel.outer.checksum == tunnel.outer.pseudo, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[
            TUNNELS.notifying("the checksum of a tunnel is empty", |hand, queue, data| {
                tunneled(hand, queue, data, |hand, at, tunnel| {
                    hand.write(at + tunnel.field(), &[0, 0])
                })
            }),
        ],
    ),
    Rule::new(
        "net.tunnel-unchecked",
        &["drv:net:packet-transmission:28"],
        "the driver sends a packet to be segmented in a UDP tunnel, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM is not negotiated",
        "The checksum of the tunnel is still to be completed.",
        |watch, past, event| {
            if let Some((packet, tunnel)) = sent_unchecked(past, event) {
                watch.expect(tunnel.outer.checksum != tunnel.outer.pseudo, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[Mutant {
            scenario: "tunnels-unchecked",
            ..ALONE
        }
        .notifying(
            "the checksum of a tunnel is left to who does not do it",
            |hand, queue, data| {
                tunneled(hand, queue, data, |hand, at, tunnel| {
                    hand.write(at + tunnel.field(), &tunnel.outer.pseudo.to_be_bytes())
                })
            },
        )
        .also(&["net.tunnel-checksum-left", "net.tunnel-checksum-right"])],
    ),
    Rule::new(
        "net.tunnel-checksum-right",
        &["drv:net:packet-transmission:29"],
        "the driver sends a packet to be segmented in a UDP tunnel, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM is not negotiated",
        "The checksum of the tunnel is neither zero nor right for each segment.",
        |watch, past, event| {
            if let Some((packet, tunnel)) = sent_unchecked(past, event) {
                watch.expect(
                    tunnel.outer.checksum == 0 || tunnel.is_right(&packet) != Some(false),
                    || format!("{packet:x?}"),
                );
            }
        },
        &[Mutant {
            scenario: "tunnels-unchecked",
            ..ALONE
        }
        .notifying("the checksum of a tunnel is any number", |hand, queue, data| {
            tunneled(hand, queue, data, |hand, at, tunnel| {
                hand.write(at + tunnel.field(), &[0x12, 0x34])
            })
        })],
    ),
];

/// Bytes of the header in the scenarios of the mutants.
const HEADER: u64 = 24;

/// The headers of a packet in a UDP tunnel.
struct Tunnel {
    outer: Segment,
    /// What is behind the inner network header, where the driver says that this is.
    inner: Option<Segment>,
}

impl Tunnel {
    fn of(frame: &[u8], length: u64, network: u16) -> Option<Self> {
        Some(Self {
            outer: Segment::of(frame, length).filter(|outer| outer.offset == 6)?,
            inner: Segment::at(frame, network.into(), length),
        })
    }

    /// Where its checksum is.
    fn field(&self) -> u64 {
        (self.outer.transport + self.outer.offset) as u64
    }

    /// Whether its checksum is right for each of the segments that the packet is cut into. `None` if that cannot be seen.
    ///
    /// The payload and its checksum add up to the complement of the pseudo header of the segment, and so do the words of an
    /// IPv4 header to nothing.
    fn is_right(&self, packet: &Packet) -> Option<bool> {
        let (inner, network) = (self.inner.as_ref()?, usize::from(packet.tunnel.1));
        let size = u64::from(packet.gso_size);
        let payload = packet.length.checked_sub(inner.end as u64)?;
        let between = packet.frame.get(self.outer.transport..network)?;
        if size == 0 || between.len() % 2 != 0 {
            return None;
        }
        // Segments of different lengths have different checksums.
        if payload % size != 0 {
            return Some(false);
        }
        let shorter = u64::from(!fold(payload - size));
        let header = match packet.gso_type & TUNNEL {
            TUNNEL_IPV6 => sum(packet.frame.get(network..network + 40)?) + shorter,
            _ => 0,
        };
        let outer = u64::from(self.outer.pseudo) + shorter + sum(between);
        let transport = u64::from(!fold(u64::from(inner.pseudo) + shorter));
        Some(fold(outer + header + transport) == 0xffff)
    }
}

/// The packet that becomes available, if it is in a UDP tunnel, and is to be segmented.
fn sent_tunneled(past: &Past, event: &Event) -> Option<(Packet, Tunnel)> {
    let packet = sent(past, event).filter(|packet| {
        past.has(features::HOST_UDP_TUNNEL_GSO)
            && matches!(packet.gso_type & TUNNEL, TUNNEL_IPV4 | TUNNEL_IPV6)
            && packet.kind() != 0
    })?;
    let tunnel = Tunnel::of(&packet.frame, packet.length, packet.tunnel.1)?;
    Some((packet, tunnel))
}

/// The same where checksums of tunnels are not negotiated.
fn sent_unchecked(past: &Past, event: &Event) -> Option<(Packet, Tunnel)> {
    match past.has(features::HOST_UDP_TUNNEL_GSO_CSUM) {
        true => None,
        false => sent_tunneled(past, event),
    }
}

/// Notifies the device, and something is done with the last packet if it is in a tunnel; `at` is where it begins behind its
/// header.
fn tunneled(hand: &mut Hand, queue: u16, data: u32, change: fn(&Hand, u64, &Tunnel)) -> Told {
    if queue == 1 {
        let head = hand.head(queue);
        let at = hand.read_address(head) + HEADER;
        let length = u64::from(u32::from_le_bytes(hand.read(head + 8)));
        let [kind] = hand.read(at - HEADER + 1);
        let network = u16::from_le_bytes(hand.read(at - HEADER + 22));
        let frame: [u8; 200] = hand.read(at);
        if kind & TUNNEL != 0
            && let Some(tunnel) = Tunnel::of(&frame, length - HEADER, network)
        {
            change(hand, at, &tunnel);
        }
    }
    hand.device.notify(queue, data)
}
