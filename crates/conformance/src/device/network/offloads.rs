//! What a header may say of a frame that arrives when the driver accepts offloads (section 5.1.9.4).

use ringwright_spec::Features;
use ringwright_spec::network::features::{CSUM, GUEST_CSUM, GUEST_ECN, GUEST_TSO4, HOST_TSO4, RSC_EXT};
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{DEVICE, Hdr};
use zerocopy::IntoBytes;

use super::{ETHERNET, HEADER, heard_whole};
use crate::check::{Check, Needs, Outcome};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;

/// Bytes of an IPv4 header.
pub(super) const IPV4: usize = 20;
/// Bytes of a TCP header.
pub(super) const TCP_HEADER: usize = 20;
/// Where the transport header of a frame here is, and the checksum in those of TCP and UDP.
pub(super) const TRANSPORT: usize = ETHERNET + IPV4;
pub(super) const TCP_CHECKSUM: usize = 16;
pub(super) const UDP_CHECKSUM: usize = 6;

/// The protocol numbers of IP.
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;

/// Payload of frames with a wrong checksum.
const WRONG: u8 = 0x57;
/// Payload of the others.
const RIGHT: u8 = 0x52;

/// What a driver accepts for segments with more than one flag of them.
const SEGMENTS: Features = GUEST_CSUM.union(GUEST_TSO4);
const ECN: Features = SEGMENTS.union(GUEST_ECN);
const RSC: Features = SEGMENTS.union(CSUM).union(HOST_TSO4).union(RSC_EXT);
/// All of them.
const OFFLOADS: Features = ECN.union(RSC);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.checksums",
        clauses: &[
            "dev:net:processing-of-incoming-packets:16",
            "dev:net:processing-of-incoming-packets:17",
            "dev:net:processing-of-incoming-packets:18",
            "dev:net:processing-of-incoming-packets:26",
            "dev:net:processing-of-incoming-packets:31",
            "dev:net:processing-of-incoming-packets:34",
        ],
        does: "Accepts VIRTIO_NET_F_GUEST_CSUM, and sends a UDP datagram with a wrong checksum, and one with a right one.",
        violation: "The wrong one is said to be valid, the right one is not what its header says, or both went through IPsec.",
        needs: Needs::device(DEVICE.id, GUEST_CSUM),
        run: checksums,
        mutants: &[
            mutant(
                "a wrong checksum is to be completed",
                "dev:net:processing-of-incoming-packets:16",
                |life, queue| {
                    if let Some(arrived) = Arrived::last(life, queue, GUEST_CSUM, WRONG) {
                        arrived.say(life, partial());
                    }
                },
            ),
            mutant(
                "a complete checksum is to be completed",
                "dev:net:processing-of-incoming-packets:17",
                |life, queue| {
                    if let Some(arrived) = Arrived::last(life, queue, GUEST_CSUM, RIGHT) {
                        arrived.say(life, partial());
                    }
                },
            ),
            mutant(
                "a checksum is to be completed in the wrong place",
                "dev:net:processing-of-incoming-packets:18",
                |life, queue| {
                    if let Some(arrived) = Arrived::last(life, queue, GUEST_CSUM, RIGHT) {
                        let header = Hdr {
                            csum_start: (TRANSPORT as u16 + 2).into(),
                            csum_offset: (UDP_CHECKSUM as u16 - 2).into(),
                            ..partial()
                        };
                        arrived.say(life, header);
                        let length = datagram(RIGHT).len() - TRANSPORT;
                        let sum = pseudo_sum(UDP, length).to_be_bytes();
                        life.write(arrived.frame() + (TRANSPORT + UDP_CHECKSUM) as u64, &sum);
                    }
                },
            ),
            mutant(
                "any checksum is valid",
                "dev:net:processing-of-incoming-packets:26",
                |life, queue| saying(life, queue, WRONG, HdrFlags::DATA_VALID),
            ),
            mutant(
                "a datagram has been through IPsec",
                "dev:net:processing-of-incoming-packets:31",
                |life, queue| saying(life, queue, RIGHT, HdrFlags::SECURITY),
            ),
            mutant(
                "IPsec has failed",
                "dev:net:processing-of-incoming-packets:34",
                |life, queue| saying(life, queue, RIGHT, HdrFlags::SECURITY_ERR),
            ),
        ],
    },
    Check {
        name: "network.segments",
        clauses: &["dev:net:processing-of-incoming-packets:22"],
        does: "Accepts VIRTIO_NET_F_GUEST_TSO4, and sends segments of TCP that follow each other.",
        violation: "What arrives has a gso_type, but not VIRTIO_NET_HDR_F_NEEDS_CSUM or no gso_size.",
        needs: Needs::device(DEVICE.id, SEGMENTS),
        run: |probe| {
            segments(
                probe,
                SEGMENTS,
                "dev:net:processing-of-incoming-packets:22",
                |header, _| header.flags & HdrFlags::NEEDS_CSUM.0 != 0 && header.gso_size.get() != 0,
            )
        },
        mutants: &[mutant(
            "a segment has no partial checksum",
            "dev:net:processing-of-incoming-packets:22",
            |life, queue| {
                let header = Hdr {
                    flags: 0,
                    ..segment()
                };
                coalesce(life, queue, SEGMENTS, header);
            },
        )],
    },
    Check {
        name: "network.segments-ecn",
        clauses: &["dev:net:processing-of-incoming-packets:12"],
        does: "Accepts VIRTIO_NET_F_GUEST_ECN, and sends segments of TCP whose congestion window was reduced.",
        violation: "What arrives has a gso_type without VIRTIO_NET_HDR_GSO_ECN.",
        needs: Needs::device(DEVICE.id, ECN),
        run: |probe| {
            segments(
                probe,
                ECN,
                "dev:net:processing-of-incoming-packets:12",
                |header, reduced| !reduced || header.gso_type & GsoFlags::ECN.0 != 0,
            )
        },
        mutants: &[mutant(
            "nothing is said of a reduced congestion window",
            "dev:net:processing-of-incoming-packets:12",
            |life, queue| coalesce(life, queue, ECN, segment()),
        )],
    },
    Check {
        name: "network.segments-counted",
        clauses: &["dev:net:processing-of-incoming-packets:23"],
        does: "Accepts VIRTIO_NET_F_RSC_EXT, and sends segments of TCP that follow each other.",
        violation: "What arrives has a gso_type without VIRTIO_NET_HDR_F_RSC_INFO, or a number of segments that were not sent.",
        needs: Needs::device(DEVICE.id, RSC),
        run: |probe| {
            segments(
                probe,
                RSC,
                "dev:net:processing-of-incoming-packets:23",
                |header, _| {
                    header.flags & HdrFlags::RSC_INFO.0 != 0 && (1..=2).contains(&header.csum_start.get())
                },
            )
        },
        mutants: &[mutant(
            "coalesced segments are not counted",
            "dev:net:processing-of-incoming-packets:23",
            |life, queue| coalesce(life, queue, RSC, segment()),
        )],
    },
];

fn checksums(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(GUEST_CSUM)?;
    let has = |header: &Hdr, flag: HdrFlags| header.flags & flag.0 != 0;
    let mut wrong = datagram(WRONG);
    wrong[TRANSPORT + UDP_CHECKSUM] ^= 0x55;
    probe.send_frame(&wrong)?;
    let (header, _) = heard_whole(probe, &mut live)?;
    for (flag, clause) in [
        (HdrFlags::DATA_VALID, "dev:net:processing-of-incoming-packets:26"),
        (HdrFlags::NEEDS_CSUM, "dev:net:processing-of-incoming-packets:16"),
    ] {
        holds(!has(&header, flag), clause, || {
            format!("of a datagram with a wrong checksum the header is {header:?}")
        })?;
    }
    let right = datagram(RIGHT);
    probe.send_frame(&right)?;
    let (header, mut frame) = heard_whole(probe, &mut live)?;
    for (flag, clause) in [
        (HdrFlags::SECURITY, "dev:net:processing-of-incoming-packets:31"),
        (
            HdrFlags::SECURITY_ERR,
            "dev:net:processing-of-incoming-packets:34",
        ),
    ] {
        holds(!has(&header, flag), clause, || {
            format!("of a datagram without IPsec the header is {header:?}")
        })?;
    }
    if !has(&header, HdrFlags::NEEDS_CSUM) {
        return Ok(());
    }
    let at = TRANSPORT + UDP_CHECKSUM;
    let stored = frame.get(at..at + 2).map(|bytes| bytes.to_vec());
    let expected = pseudo_sum(UDP, right.len() - TRANSPORT).to_be_bytes();
    holds(
        stored.as_deref() == Some(&expected),
        "dev:net:processing-of-incoming-packets:17",
        || format!("the checksum is {stored:x?}, that of the pseudo header is {expected:x?}"),
    )?;
    let start = usize::from(header.csum_start.get());
    let at = start + usize::from(header.csum_offset.get());
    if let Some(sum) = frame.get(start..).map(|bytes| !fold(bytes, 0))
        && let Some(place) = frame.get_mut(at..at + 2)
    {
        place.copy_from_slice(&sum.to_be_bytes());
    }
    holds(
        frame == right,
        "dev:net:processing-of-incoming-packets:18",
        || format!("with {header:?} the datagram is completed to {frame:x?}"),
    )
}

/// Sends two segments of a connection, and looks at the header of each frame that arrives with a `gso_type`: it has to be
/// `right`, given whether the congestion window was reduced.
fn segments(
    probe: &mut Probe,
    features: Features,
    clause: &'static str,
    right: fn(&Hdr, bool) -> bool,
) -> Outcome {
    let mut live = probe.go_live(features)?;
    let reduced = features.contains(GUEST_ECN);
    let mut payload = 0;
    for number in 0..2 {
        probe.send_frame(&segment_of(number, reduced))?;
    }
    while payload < 2 * SEGMENT {
        let (header, frame) = heard_whole(probe, &mut live)?;
        payload += frame.len().saturating_sub(TRANSPORT + TCP_HEADER).max(1);
        let kind = header.gso_type & !GsoFlags::ECN.0;
        holds(kind == GsoType::NONE.0 || right(&header, reduced), clause, || {
            format!("the header is {header:?}")
        })?;
    }
    Ok(())
}

/// Bytes of payload of a segment.
pub(super) const SEGMENT: usize = 400;

/// A segment of a connection, by its number.
pub(super) fn segment_of(number: usize, reduced: bool) -> Vec<u8> {
    let mut tcp = vec![RIGHT; TCP_HEADER + SEGMENT];
    tcp[..4].copy_from_slice(&[0x30, 0x39, 0x30, 0x3a]);
    let sequence = (1000 + number * SEGMENT) as u32;
    tcp[4..8].copy_from_slice(&sequence.to_be_bytes());
    tcp[8..12].fill(1);
    // Five words of header; ACK, and CWR if so.
    tcp[12..14].copy_from_slice(&[0x50, 0x10 | u8::from(reduced) << 7]);
    tcp[14..20].copy_from_slice(&[0xff, 0xff, 0, 0, 0, 0]);
    packet(TCP, tcp, TCP_CHECKSUM)
}

/// A UDP datagram with a payload of these bytes.
fn datagram(payload: u8) -> Vec<u8> {
    let mut udp = vec![payload; 8 + 64];
    udp[..4].copy_from_slice(&[0x30, 0x39, 0x30, 0x3a]);
    let length = udp.len() as u16;
    udp[4..6].copy_from_slice(&length.to_be_bytes());
    udp[6..8].fill(0);
    packet(UDP, udp, UDP_CHECKSUM)
}

/// The frame of a packet whose transport checksum, at this place of it, is zero yet.
pub(super) fn packet(protocol: u8, mut transport: Vec<u8>, checksum: usize) -> Vec<u8> {
    let sum = !fold(&transport, pseudo_sum(protocol, transport.len()));
    transport[checksum..checksum + 2].copy_from_slice(&sum.to_be_bytes());
    let mut frame = super::frame(ETHERNET);
    frame[12..14].copy_from_slice(&[8, 0]);
    let mut header = [0; IPV4];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((IPV4 + transport.len()) as u16).to_be_bytes());
    header[8..10].copy_from_slice(&[64, protocol]);
    header[12..].copy_from_slice(&ADDRESSES);
    let sum = !fold(&header, 0);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [frame, header.to_vec(), transport].concat()
}

/// Source and destination, for examples.
const ADDRESSES: [u8; 8] = [192, 0, 2, 1, 192, 0, 2, 2];

/// The sum of the pseudo header of TCP and UDP over IPv4.
pub(super) fn pseudo_sum(protocol: u8, length: usize) -> u16 {
    let [high, low] = (length as u16).to_be_bytes();
    fold(&[&ADDRESSES[..], &[0, protocol, high, low]].concat(), 0)
}

/// The ones' complement sum of 16-bit words, and one more.
pub(super) fn fold(bytes: &[u8], more: u16) -> u16 {
    let words = bytes.chunks(2).map(|word| match word {
        [high, low] => u32::from(u16::from_be_bytes([*high, *low])),
        [high] => u32::from(*high) << 8,
        _ => 0,
    });
    let mut sum = words.sum::<u32>() + u32::from(more);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// The header of a datagram whose checksum is partial.
fn partial() -> Hdr {
    Hdr {
        flags: HdrFlags::NEEDS_CSUM.0,
        csum_start: (TRANSPORT as u16).into(),
        csum_offset: (UDP_CHECKSUM as u16).into(),
        num_buffers: 1.into(),
        ..Hdr::default()
    }
}

/// The header of segments that were put together.
fn segment() -> Hdr {
    Hdr {
        gso_type: GsoType::TCPV4.0,
        gso_size: (SEGMENT as u16).into(),
        csum_offset: (TCP_CHECKSUM as u16).into(),
        ..partial()
    }
}

/// A frame that has arrived in a split virtqueue, for a mutant.
struct Arrived(u64);

impl Arrived {
    /// The last one, if the driver accepts just these offloads and its payload is of these bytes.
    fn last(life: &Life, queue: u16, offloads: Features, payload: u8) -> Option<Self> {
        let entry = life
            .last_used_entry(queue)
            .filter(|_| queue == 0 && !life.is_packed() && life.features & OFFLOADS == offloads)?;
        let head = u32::from_le_bytes(life.read(entry));
        let table = life.layouts.get(&queue)?.descriptor_area;
        let descriptor = SplitDesc::from_bytes(life.read(table + 16 * u64::from(head)));
        let arrived = Self(descriptor.address);
        let byte = life.read(arrived.frame() + (TRANSPORT + TCP_HEADER) as u64);
        (byte == [payload]).then_some(arrived)
    }

    fn frame(&self) -> u64 {
        self.0 + HEADER as u64
    }

    fn say(&self, life: &Life, header: Hdr) {
        life.write(self.0, &header.as_bytes()[..HEADER]);
    }
}

/// Sets a flag of a datagram with this payload.
fn saying(life: &Life, queue: u16, payload: u8, flag: HdrFlags) {
    if let Some(arrived) = Arrived::last(life, queue, GUEST_CSUM, payload) {
        life.write(arrived.0, &[flag.0]);
    }
}

/// Says of a segment that it is several.
fn coalesce(life: &Life, queue: u16, offloads: Features, header: Hdr) {
    if let Some(arrived) = Arrived::last(life, queue, offloads, RIGHT) {
        arrived.say(life, header);
    }
}

/// A mutant that offers what our device never makes use of.
const fn mutant(name: &'static str, breaks: &'static str, notified: fn(&mut Life, u16)) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: Lens {
            offered: Some(|_, offered| offered | OFFLOADS),
            accepted: Some(|_, accepted| accepted - OFFLOADS),
            notified: Some(notified),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }
}
