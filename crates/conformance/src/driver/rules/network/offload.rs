//! Checksums and segmentation that a driver leaves to the device (section 5.1.9.2).

use ringwright_driver::Transport;
use ringwright_spec::Features;
use ringwright_spec::network::features;

use super::segment::Segment;
use super::{ALONE, ECN, NEEDS_CSUM, Packet, TUNNEL, sent};
use crate::driver::{Event, Hand, Mutant, Past, Rule, Told};

/// What the mutants have in common.
const OFFLOADS: Mutant = Mutant {
    scenario: "offloads",
    ..ALONE
};

pub(super) const RULES: &[Rule] = &[
    Rule::new(
        "net.checksum-seed",
        &["drv:net:packet-transmission:19"],
        "the driver leaves the checksum of a packet to the device",
        "It is not that of the pseudo header.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && packet.flags & NEEDS_CSUM != 0
            {
                watch.expect(segment.checksum == segment.pseudo, || format!("{packet:x?}"));
            }
        },
        &[OFFLOADS.notifying("the checksum is empty", |hand, queue, data| {
            partial(hand, queue, data, |hand, at, segment| {
                hand.write(at + (segment.transport + segment.offset) as u64, &[0, 0])
            })
        })],
    ),
    Rule::new(
        "net.checksum-place",
        &["drv:net:packet-transmission:20"],
        "the driver leaves the checksum of a packet to the device",
        "csum_start and csum_offset are not where it is.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && packet.flags & NEEDS_CSUM != 0
            {
                watch.expect(
                    packet.csum == (segment.transport as u16, segment.offset as u16),
                    || format!("{packet:x?}"),
                );
            }
        },
        &[
            OFFLOADS.notifying("the checksum starts with the IP header", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, _| {
                    hand.write(at - HEADER + 6, &[14])
                })
            }),
            OFFLOADS.notifying("the checksum is stored elsewhere", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, _| hand.write(at - HEADER + 8, &[4]))
            }),
        ],
    ),
    Rule::new(
        "net.gso-checksum",
        &["drv:net:packet-transmission:22"],
        "the driver sends a packet that is to be segmented",
        "VIRTIO_NET_HDR_F_NEEDS_CSUM is not set, or gso_size is 0.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && packet.kind() != 0
            {
                watch.expect(
                    packet.flags & NEEDS_CSUM != 0 && packet.gso_size != 0 && segment.end != 0,
                    || format!("{packet:x?}"),
                );
            }
        },
        &[
            OFFLOADS.notifying("segments without checksums", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, _| hand.write(at - HEADER, &[0]))
            }),
            OFFLOADS.notifying("segments of no size", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, _| {
                    hand.write(at - HEADER + 4, &[0, 0])
                })
            }),
        ],
    ),
    Rule::new(
        "net.header-length",
        &["drv:net:packet-transmission:23"],
        "the driver sends a packet that is to be segmented, and VIRTIO_NET_F_GUEST_HDRLEN is negotiated",
        "hdr_len is not the length of its headers.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && packet.kind() != 0
                && past.has(features::GUEST_HDRLEN)
            {
                watch.expect(usize::from(packet.hdr_len) == segment.end, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[
            OFFLOADS.notifying("headers that are longer than they are", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, segment| {
                    hand.write(at - HEADER + 2, &[segment.end as u8 + 1])
                })
            }),
        ],
    ),
    Rule::new(
        "net.header-length-least",
        &["drv:net:packet-transmission:24"],
        "the driver sends a packet that is not to be segmented, or VIRTIO_NET_F_GUEST_HDRLEN is not negotiated; segmentation is",
        "hdr_len is less than the length of its headers.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && (packet.kind() == 0 || !past.has(features::GUEST_HDRLEN))
                && past.features().intersects(SEGMENTATION)
            {
                watch.expect(usize::from(packet.hdr_len) >= segment.end, || {
                    format!("{packet:x?}")
                });
            }
        },
        &[OFFLOADS
            .notifying("headers that are shorter than they are", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, segment| {
                    hand.write(at - HEADER + 2, &[segment.end as u8 - 1])
                })
            })
            .also(&["net.header-length"])],
    ),
    Rule::new(
        "net.ecn",
        &["drv:net:packet-transmission:09"],
        "the driver sends a TCP packet that is to be segmented and has CWR set, and VIRTIO_NET_F_HOST_ECN is negotiated",
        "gso_type has no VIRTIO_NET_HDR_GSO_ECN.",
        |watch, past, event| {
            if let Some((packet, segment)) = sent_segment(past, event)
                && packet.kind() != 0
                && segment.reduces_congestion
                && past.has(features::HOST_ECN)
            {
                watch.expect(packet.gso_type & ECN != 0, || format!("{packet:x?}"));
            }
        },
        &[
            OFFLOADS.notifying("segments that all have CWR set", |hand, queue, data| {
                partial(hand, queue, data, |hand, at, _| {
                    let [kind] = hand.read(at - HEADER + 1);
                    hand.write(at - HEADER + 1, &[kind & !ECN])
                })
            }),
        ],
    ),
];

/// Features with which a packet may be segmented.
const SEGMENTATION: Features =
    Features(features::HOST_TSO4.0 | features::HOST_TSO6.0 | features::HOST_UFO.0 | features::HOST_USO.0);

/// Bytes of the header in the scenario of the mutants.
const HEADER: u64 = 12;

/// The packet that becomes available, if it is TCP or UDP and in no tunnel.
fn sent_segment(past: &Past, event: &Event) -> Option<(Packet, Segment)> {
    let packet = sent(past, event).filter(|packet| packet.gso_type & TUNNEL == 0)?;
    let segment = Segment::of(&packet.frame, packet.length)?;
    Some((packet, segment))
}

/// Notifies the device, and something is done with the last packet if a part of it is left to the device; `at` is where
/// it begins behind its header.
fn partial(hand: &mut Hand, queue: u16, data: u32, change: fn(&Hand, u64, &Segment)) -> Told {
    if queue == 1 {
        let head = hand.head(queue);
        let at = hand.read_address(head) + HEADER;
        let length = u64::from(u32::from_le_bytes(hand.read(head + 8)));
        let frame: [u8; 100] = hand.read(at);
        let [flags] = hand.read(at - HEADER);
        if flags & NEEDS_CSUM != 0
            && let Some(segment) = Segment::of(&frame, length - HEADER)
        {
            change(hand, at, &segment);
        }
    }
    hand.device.notify(queue, data)
}
