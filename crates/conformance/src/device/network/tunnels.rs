//! Segments in UDP tunnels (sections 5.1.9.2 and 5.1.9.4): what a device refuses to send, and what it says of what arrives.

use ringwright_spec::Features;
use ringwright_spec::network::features::{
    CSUM, GUEST_CSUM, GUEST_TSO4, GUEST_TSO6, GUEST_UDP_TUNNEL_GSO, GUEST_UDP_TUNNEL_GSO_CSUM, GUEST_USO4,
    GUEST_USO6, HOST_TSO4, HOST_TSO6, HOST_UDP_TUNNEL_GSO, HOST_UDP_TUNNEL_GSO_CSUM, HOST_USO,
};
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{DEVICE, Hdr};
use ringwright_spec::split::AVAIL_RING;
use ringwright_spec::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::super::console::use_next;
use super::commands::mishearing;
use super::offloads::{
    SEGMENT, TCP_CHECKSUM, TCP_HEADER, TRANSPORT, UDP, UDP_CHECKSUM, fold, packet, pseudo_sum, segment_of,
};
use super::{ETHERNET, TRANSMITQ1, frame, heard_whole, send};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;

/// Bytes of a UDP header, and of the tunnel's own.
const UDP_HEADER: usize = 8;
const GENEVE: usize = TUNNEL_HEADER.len();

/// That of a tunnel by Geneve, for Ethernet frames of network 1.
const TUNNEL_HEADER: [u8; 8] = [0, 0, 0x65, 0x58, 0, 0, 1, 0];

/// Where the headers in a tunnel over IPv4 begin: the frame, its IP header, and its transport header.
const INNER: usize = TRANSPORT + UDP_HEADER + GENEVE;
const INNER_NETWORK: usize = INNER + ETHERNET;
const INNER_TRANSPORT: usize = INNER + TRANSPORT;

/// Bytes of the header with the fields for tunnels.
const HEADER: usize = Hdr::size(HOST);

/// What a driver accepts to send segments in tunnels.
const HOST: Features = CSUM
    .union(HOST_TSO4)
    .union(HOST_TSO6)
    .union(HOST_USO)
    .union(HOST_UDP_TUNNEL_GSO)
    .union(HOST_UDP_TUNNEL_GSO_CSUM);

/// What it accepts to receive some, and some with the checksum of the tunnel left to do.
const GUEST: Features = GUEST_CSUM
    .union(GUEST_TSO4)
    .union(GUEST_TSO6)
    .union(GUEST_USO4)
    .union(GUEST_USO6)
    .union(GUEST_UDP_TUNNEL_GSO);
const GUEST_WITH_CHECKSUM: Features = GUEST.union(GUEST_UDP_TUNNEL_GSO_CSUM);

/// The bits of `gso_type` for tunnels.
const TUNNEL: u8 = GsoFlags::UDP_TUNNEL_IPV4.union(GsoFlags::UDP_TUNNEL_IPV6).0;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.tunnel-refused",
        clauses: &[
            "dev:net:packet-transmission:08",
            "dev:net:packet-transmission:10",
            "dev:net:packet-transmission:11",
        ],
        does: "Accepts VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO_CSUM, and sends frames whose headers contradict themselves about a tunnel.",
        violation: "One of them comes out at the other end.",
        needs: Needs::device(DEVICE.id, HOST),
        run: refused,
        mutants: &[
            mishearing(
                "a tunnel over both IPv4 and IPv6 is accepted",
                "dev:net:packet-transmission:08",
                |life, queue| accept(life, queue, |header| header.gso_type & TUNNEL == TUNNEL),
            ),
            mishearing(
                "a tunnel without a partial checksum is accepted",
                "dev:net:packet-transmission:10",
                |life, queue| {
                    accept(life, queue, |header| {
                        in_one_tunnel(header) && header.flags & HdrFlags::NEEDS_CSUM.0 == 0
                    })
                },
            ),
            mishearing(
                "a tunnel with a valid checksum is accepted",
                "dev:net:packet-transmission:10",
                |life, queue| {
                    accept(life, queue, |header| {
                        in_one_tunnel(header) && header.flags & HdrFlags::DATA_VALID.0 != 0
                    })
                },
            ),
            mishearing(
                "a tunnel without segments is accepted",
                "dev:net:packet-transmission:10",
                |life, queue| {
                    accept(life, queue, |header| {
                        in_one_tunnel(header) && header.gso_type & !TUNNEL == GsoType::NONE.0
                    })
                },
            ),
            mishearing(
                "the checksum of no tunnel is accepted",
                "dev:net:packet-transmission:11",
                |life, queue| {
                    accept(life, queue, |header| {
                        header.gso_type == GsoType::NONE.0 && header.flags & HdrFlags::UDP_TUNNEL_CSUM.0 != 0
                    })
                },
            ),
        ],
    },
    Check {
        name: "network.tunnel-offsets",
        clauses: &["dev:net:packet-transmission:09"],
        does: "Accepts VIRTIO_NET_F_HOST_UDP_TUNNEL_GSO, and sends a frame in no tunnel with offsets of headers of one.",
        violation: "It does not come out at the other end as it is.",
        needs: Needs::device(DEVICE.id, HOST),
        run: offsets,
        mutants: &[Mutant {
            name: "a frame is dropped for its offsets",
            breaks: "dev:net:packet-transmission:09",
            lens: Lens {
                notify: Some(|life, queue| {
                    let heard = last_header(life, queue).is_none_or(|(_, header)| {
                        header.gso_type != GsoType::NONE.0 || header.outer_th_offset == 0
                    });
                    life.note = u64::from(!heard);
                    heard
                }),
                notified: Some(|life, queue| {
                    if std::mem::take(&mut life.note) == 1 {
                        use_next(life, queue, &[]);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.tunnel-segments",
        clauses: &[
            "dev:net:processing-of-incoming-packets:19",
            "dev:net:processing-of-incoming-packets:20",
            "dev:net:processing-of-incoming-packets:27",
        ],
        does: "Accepts VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO, and sends segments of TCP that follow each other in a UDP tunnel.",
        violation: "What arrives is to be segmented, and says nothing of the tunnel, or wrong, or leaves its checksum to do.",
        needs: Needs::device(DEVICE.id, GUEST),
        run: segments,
        mutants: &[
            merging(
                "segments are said to be in no tunnel",
                "dev:net:processing-of-incoming-packets:19",
                |life, queue| merge(life, queue, GUEST, |header| header.gso_type &= !TUNNEL),
            ),
            merging(
                "segments are said to be in IPv6",
                "dev:net:processing-of-incoming-packets:19",
                |life, queue| {
                    merge(life, queue, GUEST, |header| {
                        header.gso_type ^= TUNNEL;
                    })
                },
            ),
            merging(
                "the network header in a tunnel is elsewhere",
                "dev:net:processing-of-incoming-packets:19",
                |life, queue| {
                    merge(life, queue, GUEST, |header| {
                        header.inner_nh_offset = (INNER as u16).into();
                    })
                },
            ),
            merging(
                "the checksum of a tunnel is left to do",
                "dev:net:processing-of-incoming-packets:20",
                |life, queue| {
                    merge(life, queue, GUEST, |_| {});
                    seed(life, queue, GUEST);
                },
            ),
            merging(
                "segments in a tunnel are said to be valid",
                "dev:net:processing-of-incoming-packets:27",
                |life, queue| {
                    merge(life, queue, GUEST, |header| {
                        header.flags |= HdrFlags::DATA_VALID.0
                    })
                },
            ),
        ],
    },
    Check {
        name: "network.tunnel-checksums",
        clauses: &[
            "dev:net:processing-of-incoming-packets:28",
            "dev:net:processing-of-incoming-packets:29",
        ],
        does: "Accepts VIRTIO_NET_F_GUEST_UDP_TUNNEL_GSO_CSUM, and sends segments of TCP that follow each other in a UDP tunnel.",
        violation: "The checksum of the tunnel is not what its header says.",
        needs: Needs::device(DEVICE.id, GUEST_WITH_CHECKSUM),
        run: checksums,
        mutants: &[
            merging(
                "the checksum of a tunnel is complete, and is to be completed",
                "dev:net:processing-of-incoming-packets:28",
                |life, queue| {
                    merge(life, queue, GUEST_WITH_CHECKSUM, |header| {
                        header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
                    })
                },
            ),
            merging(
                "the checksum of a tunnel is not to be completed, and is not complete",
                "dev:net:processing-of-incoming-packets:29",
                |life, queue| {
                    merge(life, queue, GUEST_WITH_CHECKSUM, |_| {});
                    seed(life, queue, GUEST_WITH_CHECKSUM);
                },
            ),
        ],
    },
];

fn refused(probe: &mut Probe) -> Outcome {
    let with = |flags: HdrFlags, gso_type: u8| Hdr {
        flags: flags.0,
        gso_type,
        ..merged()
    };
    let (needs, tcp) = (HdrFlags::NEEDS_CSUM, GsoType::TCPV4.0);
    let ipv4 = GsoFlags::UDP_TUNNEL_IPV4.0;
    for (header, clause) in [
        (with(needs, TUNNEL | tcp), "dev:net:packet-transmission:08"),
        (with(HdrFlags::NONE, ipv4 | tcp), "dev:net:packet-transmission:10"),
        (
            with(needs | HdrFlags::DATA_VALID, ipv4 | tcp),
            "dev:net:packet-transmission:10",
        ),
        (with(needs, ipv4), "dev:net:packet-transmission:10"),
        (
            with(HdrFlags::UDP_TUNNEL_CSUM, GsoType::NONE.0),
            "dev:net:packet-transmission:11",
        ),
    ] {
        let mut live = probe.go_live(HOST)?;
        let taken = send(probe, &mut live, &header, &tunneled(0))?;
        // A device may also refuse to go on.
        let gives_up = probe.status()?.contains(Status::DEVICE_NEEDS_RESET);
        let last = frame(60);
        if !gives_up && (taken.is_none() || send(probe, &mut live, &Hdr::default(), &last)?.is_none()) {
            return Err(Ended::Inconclusive("a frame is not taken".into()));
        }
        let sent = probe.sent_frame()?;
        let is_refused = match &sent {
            Some(sent) => *sent == last,
            None => gives_up,
        };
        if sent.is_none() && !gives_up {
            return Err(Ended::Inconclusive("a good frame does not come out".into()));
        }
        holds(is_refused, clause, || {
            format!("with {header:?} this comes out: {sent:02x?}")
        })?;
    }
    Ok(())
}

fn offsets(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(HOST)?;
    let header = Hdr {
        outer_th_offset: 0xffff.into(),
        inner_nh_offset: 0xffff.into(),
        ..Hdr::default()
    };
    let frame = frame(60);
    if send(probe, &mut live, &header, &frame)?.is_none() {
        return Err(Ended::Inconclusive("a frame is not taken".into()));
    }
    let sent = probe.sent_frame()?;
    holds(
        sent.as_ref() == Some(&frame),
        "dev:net:packet-transmission:09",
        || format!("with {header:?} this comes out: {sent:02x?}"),
    )
}

fn segments(probe: &mut Probe) -> Outcome {
    receive(probe, GUEST, |header, frame| {
        let is_in_tunnel = header.gso_type & TUNNEL == GsoFlags::UDP_TUNNEL_IPV4.0
            && usize::from(header.outer_th_offset.get()) == TRANSPORT
            && usize::from(header.inner_nh_offset.get()) == INNER_NETWORK;
        let evidence = || format!("the header is {header:?}");
        holds(
            is_in_tunnel,
            "dev:net:processing-of-incoming-packets:19",
            evidence,
        )?;
        holds(
            header.flags & HdrFlags::UDP_TUNNEL_CSUM.0 == 0 && has_right_checksum(frame),
            "dev:net:processing-of-incoming-packets:20",
            || format!("the header is {header:?}, the frame {frame:02x?}"),
        )?;
        holds(
            header.flags & HdrFlags::DATA_VALID.0 == 0,
            "dev:net:processing-of-incoming-packets:27",
            evidence,
        )
    })
}

fn checksums(probe: &mut Probe) -> Outcome {
    receive(probe, GUEST_WITH_CHECKSUM, |header, frame| {
        let evidence = || format!("the header is {header:?}, the frame {frame:02x?}");
        if header.flags & HdrFlags::UDP_TUNNEL_CSUM.0 != 0 {
            let expected = pseudo_sum(UDP, frame.len() - TRANSPORT);
            return holds(
                outer_checksum(frame) == Some(expected),
                "dev:net:processing-of-incoming-packets:28",
                evidence,
            );
        }
        holds(
            has_right_checksum(frame),
            "dev:net:processing-of-incoming-packets:29",
            evidence,
        )
    })
}

/// Sends two segments of a connection in a tunnel, and has each frame looked at that arrives to be segmented.
fn receive(probe: &mut Probe, features: Features, look: fn(&Hdr, &[u8]) -> Outcome) -> Outcome {
    let mut live = probe.go_live(features)?;
    for number in 0..2 {
        probe.send_frame(&tunneled(number))?;
    }
    let mut payload = 0;
    while payload < 2 * SEGMENT {
        let (header, frame) = heard_whole(probe, &mut live)?;
        payload += frame.len().saturating_sub(INNER_TRANSPORT + TCP_HEADER).max(1);
        if header.gso_type != GsoType::NONE.0 {
            look(&header, &frame)?;
        }
    }
    Ok(())
}

/// A segment of a connection in a tunnel, by its number. Both checksums are right.
fn tunneled(number: usize) -> Vec<u8> {
    let inside = segment_of(number, false);
    let mut udp = vec![0x30, 0x39, 0x17, 0xc1, 0, 0, 0, 0];
    let length = (UDP_HEADER + GENEVE + inside.len()) as u16;
    udp[4..6].copy_from_slice(&length.to_be_bytes());
    udp.extend(TUNNEL_HEADER);
    udp.extend(inside);
    packet(UDP, udp, UDP_CHECKSUM)
}

/// The checksum of the tunnel of a frame.
fn outer_checksum(frame: &[u8]) -> Option<u16> {
    let field = frame.get(TRANSPORT + UDP_CHECKSUM..)?.first_chunk()?;
    Some(u16::from_be_bytes(*field))
}

/// Whether it is none, or complete.
fn has_right_checksum(frame: &[u8]) -> bool {
    let behind = frame.get(TRANSPORT..).unwrap_or_default();
    outer_checksum(frame) == Some(0) || fold(behind, pseudo_sum(UDP, behind.len())) == 0xffff
}

/// The header of segments in a tunnel that were put together.
fn merged() -> Hdr {
    Hdr {
        flags: HdrFlags::NEEDS_CSUM.0,
        gso_type: GsoType::TCPV4.0 | GsoFlags::UDP_TUNNEL_IPV4.0,
        hdr_len: ((INNER_TRANSPORT + TCP_HEADER) as u16).into(),
        gso_size: (SEGMENT as u16 / 2).into(),
        csum_start: (INNER_TRANSPORT as u16).into(),
        csum_offset: (TCP_CHECKSUM as u16).into(),
        num_buffers: 1.into(),
        outer_th_offset: (TRANSPORT as u16).into(),
        inner_nh_offset: (INNER_NETWORK as u16).into(),
        ..Hdr::default()
    }
}

/// Whether exactly one of the bits for tunnels is set.
fn in_one_tunnel(header: &Hdr) -> bool {
    (header.gso_type & TUNNEL).count_ones() == 1
}

/// Address of the header of what a driver of a split virtqueue has made available last to be sent, and the header, if it
/// may be in a tunnel.
fn last_header(life: &Life, queue: u16) -> Option<(u64, Hdr)> {
    let layout = life.layouts.get(&queue)?;
    if queue != TRANSMITQ1 || life.is_packed() || !life.features.contains(HOST) {
        return None;
    }
    let slot = life.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * u64::from(slot));
    let first = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
    let bytes: [u8; size_of::<Hdr>()] = life.read(first.address);
    Some((first.address, Hdr::read_from_bytes(&bytes).ok()?))
}

/// Lets the device take a frame with such a header for a complete one. It always hears of it.
fn accept(life: &mut Life, queue: u16, such: fn(&Hdr) -> bool) -> bool {
    if let Some((at, header)) = last_header(life, queue)
        && such(&header)
    {
        life.write(at, &[0, GsoType::NONE.0]);
    }
    true
}

/// Where the header is of the segment in a tunnel that has arrived last, if the driver accepts just these features.
fn arrived(life: &Life, queue: u16, features: Features) -> Option<u64> {
    let accepted = life.features & GUEST_WITH_CHECKSUM;
    let entry = life
        .last_used_entry(queue)
        .filter(|_| queue == 0 && !life.is_packed() && accepted == features)?;
    let head = u32::from_le_bytes(life.read(entry));
    let table = life.layouts.get(&queue)?.descriptor_area;
    let at = SplitDesc::from_bytes(life.read(table + 16 * u64::from(head))).address;
    let marked = life.read(at + (HEADER + TRANSPORT + UDP_HEADER) as u64) == TUNNEL_HEADER;
    marked.then_some(at)
}

/// Says of it that it is several.
fn merge(life: &Life, queue: u16, features: Features, change: fn(&mut Hdr)) {
    if let Some(at) = arrived(life, queue, features) {
        let mut header = merged();
        change(&mut header);
        life.write(at, &header.as_bytes()[..HEADER]);
    }
}

/// Makes the checksum of its tunnel partial.
fn seed(life: &Life, queue: u16, features: Features) {
    if let Some(at) = arrived(life, queue, features) {
        let sum = pseudo_sum(UDP, tunneled(0).len() - TRANSPORT);
        let field = at + (HEADER + TRANSPORT + UDP_CHECKSUM) as u64;
        life.write(field, &sum.to_be_bytes());
    }
}

/// A mutant that offers to the driver what our device, before this cable, does not. It has headers of the same length.
const fn merging(name: &'static str, breaks: &'static str, notified: fn(&mut Life, u16)) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: Lens {
            offered: Some(|_, offered| offered | GUEST_WITH_CHECKSUM),
            accepted: Some(|_, accepted| match accepted.contains(GUEST_UDP_TUNNEL_GSO) {
                true => (accepted - GUEST_WITH_CHECKSUM) | HOST,
                false => accepted - GUEST_WITH_CHECKSUM,
            }),
            notified: Some(notified),
            ..Lens::CLEAR
        },
        ..Mutant::ALONE
    }
}
