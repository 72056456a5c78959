//! Packets that a driver sends through UDP tunnels, for the device to segment them (section 5.1.9.2).

use ringwright_spec::network::features;

use super::{
    ALONE, DATA_VALID, NEEDS_CSUM, TCPV4, TUNNEL, TUNNEL_CSUM, TUNNEL_IPV4, TUNNEL_IPV6, UDP, headers, sent,
};
use crate::driver::{Event, Past, Rule, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.tunnel",
        &["drv:net:packet-transmission:10"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO is not negotiated",
        "gso_type has a bit of a UDP tunnel.",
        no_tunnel,
        &[ALONE
            .notifying(
                "segments in a tunnel over IPv4 that was not negotiated",
                |hand, queue, data| headers(hand, queue, data, &[(0, NEEDS_CSUM), (1, TUNNEL_IPV4 | TCPV4)]),
            )
            .also(&["net.tunnel-bits", "net.flags", "net.gso-tcpv4", "net.gso-none"])],
    ),
    Rule::new(
        "net.tunnel-bits",
        &["drv:net:packet-transmission:30"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO is not negotiated",
        "gso_type has a bit of a UDP tunnel.",
        no_tunnel,
        &[ALONE
            .notifying(
                "segments in a tunnel over IPv6 that was not negotiated",
                |hand, queue, data| headers(hand, queue, data, &[(0, NEEDS_CSUM), (1, TUNNEL_IPV6 | TCPV4)]),
            )
            .also(&["net.tunnel", "net.flags", "net.gso-tcpv4", "net.gso-none"])],
    ),
    Rule::new(
        "net.tunnel-checksum",
        &["drv:net:packet-transmission:13"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM is not negotiated",
        "A checksum of a tunnel is left to the device.",
        no_checksum,
        &[ALONE
            .notifying(
                "the checksum of a tunnel is left to the device",
                |hand, queue, data| headers(hand, queue, data, &[(0, TUNNEL_CSUM), (1, TUNNEL_IPV4)]),
            )
            .also(&[
                "net.tunnel-checksum-bit",
                "net.tunnel",
                "net.tunnel-bits",
                "net.flags",
                "net.gso-none",
            ])],
    ),
    Rule::new(
        "net.tunnel-checksum-bit",
        &["drv:net:packet-transmission:31"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM is not negotiated",
        "flags has VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM.",
        no_checksum,
        &[ALONE
            .notifying(
                "the checksum of a tunnel over IPv6 is left to the device",
                |hand, queue, data| headers(hand, queue, data, &[(0, TUNNEL_CSUM), (1, TUNNEL_IPV6)]),
            )
            .also(&[
                "net.tunnel-checksum",
                "net.tunnel",
                "net.tunnel-bits",
                "net.flags",
                "net.gso-none",
            ])],
    ),
    Rule::new(
        "net.tunnel-udp",
        &["drv:net:packet-transmission:14"],
        "the driver sends a packet",
        "gso_type has a bit of a UDP tunnel and VIRTIO_NET_HDR_GSO_UDP.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(packet.gso_type & TUNNEL == 0 || packet.kind() != UDP, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[ALONE
            .notifying("fragments in a tunnel", |hand, queue, data| {
                headers(hand, queue, data, &[(1, TUNNEL_IPV4 | UDP)])
            })
            .also(&["net.tunnel", "net.tunnel-bits", "net.gso-udp", "net.gso-none"])],
    ),
    Rule::new(
        "net.tunnel-both",
        &["drv:net:packet-transmission:15"],
        "the driver sends a packet",
        "gso_type has the bits of both UDP tunnels.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(packet.gso_type & TUNNEL != TUNNEL, || format!("{packet:x?}"));
            }
        },
        &[ALONE
            .notifying("a tunnel over both IPv4 and IPv6", |hand, queue, data| {
                headers(hand, queue, data, &[(1, TUNNEL | TCPV4)])
            })
            .also(&["net.tunnel", "net.tunnel-bits", "net.gso-tcpv4", "net.gso-none"])],
    ),
    Rule::new(
        "net.tunnel-checksum-alone",
        &["drv:net:packet-transmission:16"],
        "the driver sends a packet",
        "flags has VIRTIO_NET_HDR_F_UDP_TUNNEL_CSUM, and gso_type has no bit of a UDP tunnel.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(
                    packet.flags & TUNNEL_CSUM == 0 || packet.gso_type & TUNNEL != 0,
                    || format!("{packet:x?}"),
                );
            }
        },
        &[ALONE
            .notifying(
                "the checksum of a tunnel that there is not",
                |hand, queue, data| headers(hand, queue, data, &[(0, TUNNEL_CSUM)]),
            )
            .also(&["net.tunnel-checksum", "net.tunnel-checksum-bit", "net.flags"])],
    ),
    Rule::new(
        "net.tunnel-valid",
        &["drv:net:packet-transmission:34"],
        "the driver sends a packet",
        "flags has VIRTIO_NET_HDR_F_DATA_VALID, and gso_type has a bit of a UDP tunnel.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(
                    packet.flags & DATA_VALID == 0 || packet.gso_type & TUNNEL == 0,
                    || format!("{packet:x?}"),
                );
            }
        },
        &[ALONE
            .notifying(
                "a packet in a tunnel is sent as one whose checksum is valid",
                |hand, queue, data| headers(hand, queue, data, &[(0, DATA_VALID), (1, TUNNEL_IPV4 | TCPV4)]),
            )
            .also(&[
                "net.received-flags",
                "net.tunnel",
                "net.tunnel-bits",
                "net.flags",
                "net.gso-tcpv4",
                "net.gso-none",
            ])],
    ),
];

/// No bit of a tunnel where tunnels are not negotiated.
fn no_tunnel(watch: &mut Watch, past: &Past, event: &Event) {
    if let Some(packet) = sent(past, event)
        && !past.has(features::HOST_UDP_TUNNEL_GSO)
    {
        watch.expect(packet.gso_type & TUNNEL == 0, || format!("{packet:x?}"));
    }
}

/// No checksum of a tunnel where these are not negotiated.
fn no_checksum(watch: &mut Watch, past: &Past, event: &Event) {
    if let Some(packet) = sent(past, event)
        && !past.has(features::HOST_UDP_TUNNEL_GSO_CSUM)
    {
        watch.expect(packet.flags & TUNNEL_CSUM == 0, || format!("{packet:x?}"));
    }
}
