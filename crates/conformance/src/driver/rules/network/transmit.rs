//! Packets that a driver sends (section 5.1.9.2), as far as nothing is left to the device.

use ringwright_spec::Features;
use ringwright_spec::feature::VERSION_1;
use ringwright_spec::network::features;

use super::{ALONE, DATA_VALID, NEEDS_CSUM, RSC_INFO, TCPV4, TCPV6, UDP, UDP_L4, header, sent};
use crate::driver::{Event, Past, Rule, Watch};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.num-buffers",
        &["drv:net:packet-transmission:02"],
        "the driver sends a packet whose header has num_buffers",
        "It is not 0.",
        |watch, past, event| {
            // The header of a legacy driver ends before it (section 5.1.6.1).
            if let Some(packet) = sent(past, event)
                && past.features().intersects(VERSION_1 | features::MRG_RXBUF)
            {
                watch.expect(packet.num_buffers == 0, || format!("{packet:x?}"));
            }
        },
        &[
            ALONE.notifying("num_buffers is that of a received packet", |hand, queue, data| {
                header(hand, queue, data, 10, 1)
            }),
        ],
    ),
    Rule::new(
        "net.flags",
        &["drv:net:packet-transmission:03"],
        "the driver sends a packet, and VIRTIO_NET_F_CSUM is not negotiated",
        "flags is not 0.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event)
                && !past.has(features::CSUM)
            {
                watch.expect(packet.flags == 0, || format!("{packet:x?}"));
            }
        },
        &[ALONE.notifying(
            "a checksum is left to a device that computes none",
            |hand, queue, data| header(hand, queue, data, 0, NEEDS_CSUM),
        )],
    ),
    Rule::new(
        "net.gso-tcpv4",
        &["drv:net:packet-transmission:05"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_TSO4 is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_TCPV4.",
        |watch, past, event| segmented(watch, past, event, TCPV4, features::HOST_TSO4),
        &[ALONE
            .notifying(
                "segmentation that was not negotiated: TCPV4",
                |hand, queue, data| header(hand, queue, data, 1, TCPV4),
            )
            .also(&["net.gso-none"])],
    ),
    Rule::new(
        "net.gso-tcpv6",
        &["drv:net:packet-transmission:06"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_TSO6 is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_TCPV6.",
        |watch, past, event| segmented(watch, past, event, TCPV6, features::HOST_TSO6),
        &[ALONE
            .notifying(
                "segmentation that was not negotiated: TCPV6",
                |hand, queue, data| header(hand, queue, data, 1, TCPV6),
            )
            .also(&["net.gso-none"])],
    ),
    Rule::new(
        "net.gso-udp",
        &["drv:net:packet-transmission:07"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_UFO is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_UDP.",
        |watch, past, event| segmented(watch, past, event, UDP, features::HOST_UFO),
        &[ALONE
            .notifying(
                "segmentation that was not negotiated: UDP",
                |hand, queue, data| header(hand, queue, data, 1, UDP),
            )
            .also(&["net.gso-none"])],
    ),
    Rule::new(
        "net.gso-udp-l4",
        &["drv:net:packet-transmission:08"],
        "the driver sends a packet, and VIRTIO_NET_F_HOST_USO is not negotiated",
        "gso_type is VIRTIO_NET_HDR_GSO_UDP_L4.",
        |watch, past, event| segmented(watch, past, event, UDP_L4, features::HOST_USO),
        &[ALONE
            .notifying(
                "segmentation that was not negotiated: UDP_L4",
                |hand, queue, data| header(hand, queue, data, 1, UDP_L4),
            )
            .also(&["net.gso-none"])],
    ),
    Rule::new(
        "net.gso-none",
        &["drv:net:packet-transmission:21"],
        "the driver sends a packet, and no segmentation is negotiated",
        "gso_type is not VIRTIO_NET_HDR_GSO_NONE.",
        |watch, past, event| {
            let any = features::HOST_TSO4 | features::HOST_TSO6 | features::HOST_USO | features::HOST_UFO;
            if let Some(packet) = sent(past, event)
                && !past.features().intersects(any)
            {
                watch.expect(packet.gso_type == 0, || format!("{packet:x?}"));
            }
        },
        &[
            ALONE.notifying("a kind of segmentation that there is not", |hand, queue, data| {
                header(hand, queue, data, 1, 2)
            }),
        ],
    ),
    Rule::new(
        "net.received-flags",
        &["drv:net:packet-transmission:33"],
        "the driver sends a packet",
        "A flag is set that is for received packets.",
        |watch, past, event| {
            if let Some(packet) = sent(past, event) {
                watch.expect(packet.flags & (DATA_VALID | RSC_INFO) == 0, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[ALONE
            .notifying(
                "a packet is sent as one whose checksum is valid",
                |hand, queue, data| header(hand, queue, data, 0, DATA_VALID),
            )
            .also(&["net.flags"])],
    ),
];

/// `gso_type` is not `kind` without `needs`.
fn segmented(watch: &mut Watch, past: &Past, event: &Event, kind: u8, needs: Features) {
    if let Some(packet) = sent(past, event)
        && !past.has(needs)
    {
        watch.expect(packet.kind() != kind, || format!("{packet:x?}"));
    }
}
