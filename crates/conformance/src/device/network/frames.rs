//! Frames in both directions (section 5.1.6).

use std::mem::offset_of;

use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::network::features::{MRG_RXBUF, MTU};
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{DEVICE, Hdr};
use ringwright_spec::split::USED_RING;

use super::super::basic::use_one;
use super::super::console::use_next;
use super::{ANY, ETHERNET, HEADER, MTU_AT, frame, heard, listen, number, offered, send};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::Live;
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::SplitDesc;

/// Where in the header the number of buffers is.
const NUM_BUFFERS: u64 = offset_of!(Hdr, num_buffers) as u64;

/// Bytes of each of several buffers for a frame.
const SMALL: usize = 64;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.received",
        clauses: &[
            "dev:net:setting-up-receive-buffers:02",
            "dev:net:processing-of-incoming-packets:01",
            "dev:net:processing-of-incoming-packets:05",
            "dev:net:processing-of-incoming-packets:06",
            "dev:net:processing-of-incoming-packets:07",
            "dev:net:processing-of-incoming-packets:08",
            "dev:net:processing-of-incoming-packets:09",
            "dev:net:processing-of-incoming-packets:10",
            "dev:net:processing-of-incoming-packets:11",
            "dev:net:processing-of-incoming-packets:21",
            "dev:net:processing-of-incoming-packets:24",
        ],
        does: "Accepts no offloads, sends a frame to the device, and reads the header that it gets.",
        violation: "There are flags or a gso_type, num_buffers is not 1, or several buffers are used.",
        needs: ANY,
        run: received,
        mutants: &[
            Mutant {
                name: "two buffers are used for a frame",
                breaks: "dev:net:setting-up-receive-buffers:02",
                lens: arriving(|life, queue| {
                    if queue == 0 {
                        use_one(life, queue);
                    }
                }),
                also: &["network.merged", "network.mtu-exceeded"],
                ..Mutant::ALONE
            },
            writing(
                "num_buffers is 0",
                "dev:net:processing-of-incoming-packets:01",
                |life, queue| {
                    if !life.features.contains(MRG_RXBUF) {
                        write_header(life, queue, NUM_BUFFERS, &[0, 0]);
                    }
                },
            ),
            writing(
                "a checksum is said to be valid",
                "dev:net:processing-of-incoming-packets:05",
                |life, queue| write_header(life, queue, 0, &[HdrFlags::DATA_VALID.0]),
            ),
            writing(
                "a frame is a segment of TCP over IPv4",
                "dev:net:processing-of-incoming-packets:06",
                |life, queue| write_header(life, queue, 1, &[GsoType::TCPV4.0]),
            ),
            writing(
                "a frame is a fragment of UDP",
                "dev:net:processing-of-incoming-packets:07",
                |life, queue| write_header(life, queue, 1, &[GsoType::UDP.0]),
            ),
            writing(
                "a frame is a segment of TCP over IPv6",
                "dev:net:processing-of-incoming-packets:08",
                |life, queue| write_header(life, queue, 1, &[GsoType::TCPV6.0]),
            ),
            writing(
                "a frame is a segment of UDP",
                "dev:net:processing-of-incoming-packets:09",
                |life, queue| write_header(life, queue, 1, &[GsoType::UDP_L4.0]),
            ),
            writing(
                "a frame is in a tunnel",
                "dev:net:processing-of-incoming-packets:10",
                |life, queue| write_header(life, queue, 1, &[GsoFlags::UDP_TUNNEL_IPV4.0]),
            ),
            writing(
                "a tunnel has a partial checksum",
                "dev:net:processing-of-incoming-packets:11",
                |life, queue| write_header(life, queue, 0, &[HdrFlags::UDP_TUNNEL_CSUM.0]),
            ),
            writing(
                "gso_type has no meaning",
                "dev:net:processing-of-incoming-packets:21",
                |life, queue| write_header(life, queue, 1, &[0x1f]),
            ),
            writing(
                "segments are said to be coalesced",
                "dev:net:processing-of-incoming-packets:24",
                |life, queue| write_header(life, queue, 0, &[HdrFlags::RSC_INFO.0]),
            ),
        ],
    },
    Check {
        name: "network.merged",
        clauses: &[
            "dev:net:setting-up-receive-buffers:01",
            "dev:net:processing-of-incoming-packets:02",
            "dev:net:processing-of-incoming-packets:03",
            "dev:net:processing-of-incoming-packets:04",
        ],
        does: "Accepts VIRTIO_NET_F_MRG_RXBUF, and sends a frame that needs four buffers, and one that needs one.",
        violation: "num_buffers is another number, a buffer but the last is not full, or not all are used together.",
        needs: Needs::device(DEVICE.id, MRG_RXBUF),
        run: merged,
        mutants: &[
            writing(
                "num_buffers is 0 for a single buffer",
                "dev:net:setting-up-receive-buffers:01",
                |life, queue| {
                    if life.features.contains(MRG_RXBUF) && read_number_of_buffers(life, queue) == 1 {
                        write_header(life, queue, NUM_BUFFERS, &[0, 0]);
                    }
                },
            ),
            writing(
                "num_buffers is one too many",
                "dev:net:processing-of-incoming-packets:02",
                |life, queue| {
                    let number = read_number_of_buffers(life, queue);
                    if number > 1 {
                        write_header(life, queue, NUM_BUFFERS, &(number + 1).to_le_bytes());
                    }
                },
            ),
            writing(
                "the first of several buffers is not full",
                "dev:net:processing-of-incoming-packets:03",
                |life, queue| {
                    if let Some(layout) = life.layouts.get(&queue)
                        && read_number_of_buffers(life, queue) > 1
                    {
                        life.write(layout.device_area + USED_RING + 4, &60u32.to_le_bytes());
                    }
                },
            ),
            writing(
                "the last of several buffers is not used",
                "dev:net:processing-of-incoming-packets:04",
                |life, queue| {
                    if let Some(layout) = life.layouts.get(&queue)
                        && read_number_of_buffers(life, queue) > 1
                    {
                        let index = life.read16(layout.device_area + 2).wrapping_sub(1);
                        life.write(layout.device_area + 2, &index.to_le_bytes());
                    }
                },
            ),
        ],
    },
    Check {
        name: "network.transmitted",
        clauses: &[
            "dev:net:packet-transmission:01",
            "dev:net:packet-transmission:02",
            "dev:net:device-configuration-layout:06",
        ],
        does: "Sends frames with an unknown flag, with csum_start and no flag, and of as many bytes as mtu allows.",
        violation: "They do not come out at the other end as they are.",
        needs: ANY,
        run: transmitted,
        mutants: &[
            Mutant {
                name: "a frame with an unknown flag is dropped",
                breaks: "dev:net:packet-transmission:01",
                lens: dropping(|life, queue| hear(life, queue, |(flags, ..)| flags == 0)),
                ..Mutant::ALONE
            },
            Mutant {
                name: "a frame is dropped for its csum_start",
                breaks: "dev:net:packet-transmission:02",
                lens: dropping(|life, queue| hear(life, queue, |(_, start, _)| start == 0)),
                ..Mutant::ALONE
            },
            Mutant {
                name: "a long frame is dropped",
                breaks: "dev:net:device-configuration-layout:06",
                lens: dropping(|life, queue| hear(life, queue, |(.., length)| length < 1500)),
                ..Mutant::ALONE
            },
        ],
    },
];

fn received(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    probe.send_frame(&frame(60))?;
    let buffers = listen(probe, &mut live, &[2048, 2048])?;
    let (_, header) = heard(probe, &mut live, &buffers)?;
    let evidence = || format!("the header is {header:?}");
    let flag = |flag: HdrFlags| header.flags & flag.0 == 0;
    let kind = header.gso_type & !(GsoFlags::UDP_TUNNEL_IPV4 | GsoFlags::UDP_TUNNEL_IPV6 | GsoFlags::ECN).0;
    let is = |other: GsoType| kind != other.0;
    let tunnel = (GsoFlags::UDP_TUNNEL_IPV4 | GsoFlags::UDP_TUNNEL_IPV6).0;
    for (right, clause) in [
        (
            flag(HdrFlags::UDP_TUNNEL_CSUM),
            "dev:net:processing-of-incoming-packets:11",
        ),
        (
            flag(HdrFlags::RSC_INFO),
            "dev:net:processing-of-incoming-packets:24",
        ),
        (header.flags == 0, "dev:net:processing-of-incoming-packets:05"),
        (is(GsoType::TCPV4), "dev:net:processing-of-incoming-packets:06"),
        (is(GsoType::UDP), "dev:net:processing-of-incoming-packets:07"),
        (is(GsoType::TCPV6), "dev:net:processing-of-incoming-packets:08"),
        (is(GsoType::UDP_L4), "dev:net:processing-of-incoming-packets:09"),
        (
            header.gso_type & tunnel == 0,
            "dev:net:processing-of-incoming-packets:10",
        ),
        (
            header.gso_type == GsoType::NONE.0,
            "dev:net:processing-of-incoming-packets:21",
        ),
        (
            header.num_buffers == 1,
            "dev:net:processing-of-incoming-packets:01",
        ),
    ] {
        holds(right, clause, evidence)?;
    }
    let queue = &live.queues[0];
    let alone = probe.never(|_| Ok(queue.has_used()))?;
    holds(alone, "dev:net:setting-up-receive-buffers:02", || {
        "another buffer is used for the same frame".into()
    })
}

fn transmitted(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(Features::NONE)?;
    let flags = Hdr {
        flags: 0x80,
        ..Hdr::default()
    };
    transmit(probe, &mut live, (flags, 60), "dev:net:packet-transmission:01")?;
    let start = Hdr {
        csum_start: 0xffff.into(),
        csum_offset: 0xffff.into(),
        ..Hdr::default()
    };
    transmit(probe, &mut live, (start, 60), "dev:net:packet-transmission:02")?;
    drop(live);
    if !probe.offered()?.contains(MTU) {
        return Ok(());
    }
    let mut live = probe.go_live(MTU)?;
    let largest = ETHERNET + number(probe, MTU_AT, Width::Two)? as usize;
    let clause = "dev:net:device-configuration-layout:06";
    transmit(probe, &mut live, (Hdr::default(), largest), clause)
}

/// Sends a frame of so many bytes with this header, which has to come out at the other end.
fn transmit(
    probe: &mut Probe,
    live: &mut Live,
    (header, length): (Hdr, usize),
    clause: &'static str,
) -> Outcome {
    let frame = frame(length);
    if send(probe, live, &header, &frame)?.is_none() {
        return Err(Ended::Inconclusive("a frame is not taken".into()));
    }
    let sent = probe.sent_frame()?;
    holds(sent.as_ref() == Some(&frame), clause, || match sent {
        Some(other) => format!("of {length} bytes these come out: {other:02x?}"),
        None => format!("a frame of {length} bytes does not come out, with the header {header:?}"),
    })
}

fn merged(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(MRG_RXBUF)?;
    probe.send_frame(&frame(200))?;
    let buffers = listen(probe, &mut live, &[SMALL; 4])?;
    let (first, header) = heard(probe, &mut live, &buffers)?;
    let mut all = vec![first];
    // Those that belong to the same frame are there already.
    while let Some(used) = live.queues[0].take_used() {
        all.push(used);
    }
    let evidence = || {
        format!(
            "num_buffers is {}, and these are used: {all:?}",
            header.num_buffers
        )
    };
    let full = all[..all.len() - 1]
        .iter()
        .all(|used| used.length as usize == SMALL);
    holds(full, "dev:net:processing-of-incoming-packets:03", evidence)?;
    let length: usize = all.iter().map(|used| used.length as usize).sum();
    let whole = length >= HEADER + 200;
    holds(whole, "dev:net:processing-of-incoming-packets:04", evidence)?;
    holds(
        usize::from(header.num_buffers.get()) == all.len(),
        "dev:net:processing-of-incoming-packets:02",
        evidence,
    )?;
    drop(live);
    let mut live = probe.go_live(MRG_RXBUF)?;
    probe.send_frame(&frame(60))?;
    let buffers = listen(probe, &mut live, &[2048])?;
    let (_, header) = heard(probe, &mut live, &buffers)?;
    holds(
        header.num_buffers == 1,
        "dev:net:setting-up-receive-buffers:01",
        || format!("num_buffers is {} for a single buffer", header.num_buffers),
    )
}

/// A lens for what has arrived.
const fn arriving(notified: fn(&mut Life, u16)) -> Lens {
    Lens {
        notified: Some(notified),
        ..Lens::CLEAR
    }
}

const fn writing(name: &'static str, breaks: &'static str, notified: fn(&mut Life, u16)) -> Mutant {
    Mutant {
        name,
        breaks,
        lens: arriving(notified),
        ..Mutant::ALONE
    }
}

/// A lens that keeps a frame from the device that it is not to be told of.
const fn dropping(sent: fn(&mut Life, u16) -> bool) -> Lens {
    Lens {
        notify: Some(sent),
        notified: Some(|life, queue| {
            if std::mem::take(&mut life.note) == 1 {
                use_next(life, queue, &[]);
            }
        }),
        ..Lens::CLEAR
    }
}

/// Whether the device hears of a frame, of which it is known what [`offered`] says.
fn hear(life: &mut Life, queue: u16, fits: impl Fn((u8, u16, u32)) -> bool) -> bool {
    let heard = offered(life, queue).is_none_or(fits);
    life.note = u64::from(!heard);
    heard
}

/// Where the header of the first frame is that has arrived in a split virtqueue.
fn first_header(life: &Life, queue: u16) -> Option<u64> {
    let layout = life
        .layouts
        .get(&queue)
        .filter(|_| queue == 0 && !life.is_packed())?;
    if life.read16(layout.device_area + 2) == 0 {
        return None;
    }
    let head = u32::from_le_bytes(life.read(layout.device_area + USED_RING));
    let descriptor = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
    Some(descriptor.address)
}

fn write_header(life: &Life, queue: u16, offset: u64, bytes: &[u8]) {
    if let Some(header) = first_header(life, queue) {
        life.write(header + offset, bytes);
    }
}

fn read_number_of_buffers(life: &Life, queue: u16) -> u16 {
    first_header(life, queue).map_or(0, |header| life.read16(header + NUM_BUFFERS))
}
