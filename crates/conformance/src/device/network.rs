//! Network devices (section 5.1): the configuration space, and frames that arrive.

use std::mem::offset_of;

use ringwright_memory::{Buffer, Width};
use ringwright_spec::Features;
use ringwright_spec::network::config::{Duplex, MAX_VIRTQUEUE_PAIRS, MIN_MTU};
use ringwright_spec::network::features::{
    CTRL_RX_EXTRA, CTRL_VQ, HASH_REPORT, MQ, MRG_RXBUF, MTU, RSS, SPEED_DUPLEX,
};
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use ringwright_spec::network::{Config, DEVICE, Hdr};
use ringwright_spec::split::{AVAIL_RING, USED_RING};
use zerocopy::{FromBytes, IntoBytes};

use super::basic::use_one;
use super::console::use_next;
use crate::check::{Check, Ended, Needs, Outcome};
use crate::live::{Live, element};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};
use crate::raw::{SplitDesc, Used};
use crate::subject::Bus;

const MAX_VIRTQUEUE_PAIRS_AT: usize = offset_of!(Config, max_virtqueue_pairs);
const MTU_AT: usize = offset_of!(Config, mtu);
const DUPLEX_AT: usize = offset_of!(Config, duplex);
const MAX_KEY_SIZE_AT: usize = offset_of!(Config, rss_max_key_size);
const MAX_TABLE_AT: usize = offset_of!(Config, rss_max_indirection_table_length);

/// Bytes of the header with what is negotiated here.
const HEADER: usize = Hdr::size(ringwright_spec::feature::VERSION_1);
/// The virtqueue for frames of the driver.
const TRANSMITQ1: u16 = 1;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;
/// Where in the header the number of buffers is.
const NUM_BUFFERS: u64 = offset_of!(Hdr, num_buffers) as u64;

const ANY: Needs = Needs::device(DEVICE.id, Features::NONE);

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.pairs",
        clauses: &["dev:net:device-configuration-layout:01"],
        does: "Reads max_virtqueue_pairs of a device that offers VIRTIO_NET_F_MQ.",
        violation: "It is not between 1 and 0x8000.",
        needs: Needs::device(DEVICE.id, MQ),
        run: |probe| {
            let pairs = number(probe, MAX_VIRTQUEUE_PAIRS_AT, Width::Two)?;
            holds(
                (1..=MAX_VIRTQUEUE_PAIRS.into()).contains(&pairs),
                "dev:net:device-configuration-layout:01",
                || format!("it is {pairs}"),
            )
        },
        mutants: &[Mutant {
            name: "a network card has no pair of virtqueues",
            breaks: "dev:net:device-configuration-layout:01",
            lens: Lens {
                offered: Some(|_, offered| offered | MQ | CTRL_VQ),
                accepted: Some(|_, accepted| accepted - (MQ | CTRL_VQ)),
                config: Some(|_, offset, data| {
                    if offset == MAX_VIRTQUEUE_PAIRS_AT {
                        data.fill(0);
                    }
                }),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.mtu",
        clauses: &[
            "dev:net:device-configuration-layout:02",
            "dev:net:device-configuration-layout:03",
            "dev:net:device-configuration-layout:04",
        ],
        does: "Reads mtu before a driver comes, and when the device is live.",
        violation: "It is less than 68, or less than 1280, or not the same.",
        needs: Needs::device(DEVICE.id, MTU),
        run: mtu,
        mutants: &[
            Mutant {
                name: "mtu is 20",
                breaks: "dev:net:device-configuration-layout:02",
                lens: saying(|_, offset, data| put(MTU_AT, &20u16.to_le_bytes(), offset, data)),
                also: &["network.mtu-exceeded"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "mtu is 576",
                breaks: "dev:net:device-configuration-layout:03",
                lens: saying(|_, offset, data| put(MTU_AT, &576u16.to_le_bytes(), offset, data)),
                also: &["network.mtu-exceeded"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "mtu becomes another one",
                breaks: "dev:net:device-configuration-layout:04",
                lens: saying(|life, offset, data| {
                    if life.is_live() {
                        put(MTU_AT, &1501u16.to_le_bytes(), offset, data);
                    }
                }),
                ..Mutant::ALONE
            },
        ],
    },
    Check {
        name: "network.mtu-exceeded",
        clauses: &["dev:net:device-configuration-layout:05"],
        does: "Sends a frame to the device that exceeds mtu, and one that does not.",
        violation: "The first one is passed to the driver.",
        needs: Needs::device(DEVICE.id, MTU),
        run: mtu_exceeded,
        mutants: &[Mutant {
            name: "mtu is smaller than what is received",
            breaks: "dev:net:device-configuration-layout:05",
            lens: saying(|_, offset, data| put(MTU_AT, &1400u16.to_le_bytes(), offset, data)),
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.hash-key",
        clauses: &["dev:net:device-configuration-layout:07"],
        does: "Reads rss_max_key_size.",
        violation: "It is less than 40.",
        needs: ANY,
        run: |probe| {
            if !probe.offered()?.intersects(RSS | HASH_REPORT) {
                return Err(Ended::NotApplicable("it has no hashes".into()));
            }
            let size = number(probe, MAX_KEY_SIZE_AT, Width::One)?;
            holds(size >= 40, "dev:net:device-configuration-layout:07", || {
                format!("it is {size}")
            })
        },
        mutants: &[Mutant {
            name: "a key of hashes has no bytes",
            breaks: "dev:net:device-configuration-layout:07",
            lens: Lens {
                offered: Some(|_, offered| offered | HASH_REPORT | CTRL_VQ),
                accepted: Some(|_, accepted| accepted - (HASH_REPORT | CTRL_VQ)),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.indirection-table",
        clauses: &["dev:net:device-configuration-layout:08"],
        does: "Reads rss_max_indirection_table_length.",
        violation: "It is less than 128.",
        needs: Needs::device(DEVICE.id, RSS),
        run: |probe| {
            let length = number(probe, MAX_TABLE_AT, Width::Two)?;
            holds(length >= 128, "dev:net:device-configuration-layout:08", || {
                format!("it is {length}")
            })
        },
        mutants: &[Mutant {
            name: "an indirection table has no entries",
            breaks: "dev:net:device-configuration-layout:08",
            lens: Lens {
                offered: Some(|_, offered| offered | RSS | CTRL_VQ),
                accepted: Some(|_, accepted| accepted - (RSS | CTRL_VQ)),
                config: Some(|_, offset, data| put(MAX_KEY_SIZE_AT, &[40], offset, data)),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.duplex",
        clauses: &["dev:net:device-configuration-layout:11"],
        does: "Reads duplex when VIRTIO_NET_F_SPEED_DUPLEX is negotiated.",
        violation: "It is neither 0, 1 nor 0xff.",
        needs: Needs::device(DEVICE.id, SPEED_DUPLEX),
        run: |probe| {
            probe.go_live(SPEED_DUPLEX)?;
            let duplex = number(probe, DUPLEX_AT, Width::One)?;
            let known = [Duplex::HALF, Duplex::FULL, Duplex::UNKNOWN];
            holds(
                known.iter().any(|known| u32::from(known.0) == duplex),
                "dev:net:device-configuration-layout:11",
                || format!("it is {duplex}"),
            )
        },
        mutants: &[Mutant {
            name: "a link is neither half nor full duplex",
            breaks: "dev:net:device-configuration-layout:11",
            lens: Lens {
                offered: Some(|_, offered| offered | SPEED_DUPLEX),
                accepted: Some(|_, accepted| accepted - SPEED_DUPLEX),
                config: Some(|_, offset, data| put(DUPLEX_AT, &[7], offset, data)),
                ..Lens::CLEAR
            },
            ..Mutant::ALONE
        }],
    },
    Check {
        name: "network.control-offered",
        clauses: &[
            "dev:net:device-configuration-layout:13",
            "dev:net:device-configuration-layout:14",
        ],
        does: "Reads the offered features.",
        violation: "VIRTIO_NET_F_HASH_REPORT or VIRTIO_NET_F_CTRL_RX_EXTRA is among them without VIRTIO_NET_F_CTRL_VQ.",
        needs: ANY,
        run: |probe| {
            let offered = probe.offered()?;
            for (feature, clause) in [
                (HASH_REPORT, "dev:net:device-configuration-layout:13"),
                (CTRL_RX_EXTRA, "dev:net:device-configuration-layout:14"),
            ] {
                let right = offered.contains(CTRL_VQ) || !offered.contains(feature);
                holds(right, clause, || format!("{offered:?} are offered"))?;
            }
            Ok(())
        },
        mutants: &[
            Mutant {
                name: "VIRTIO_NET_F_HASH_REPORT is offered without a control virtqueue",
                breaks: "dev:net:device-configuration-layout:13",
                lens: Lens {
                    offered: Some(|_, offered| offered | HASH_REPORT),
                    accepted: Some(|_, accepted| accepted - HASH_REPORT),
                    ..Lens::CLEAR
                },
                also: &["features.required", "network.hash-key"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "VIRTIO_NET_F_CTRL_RX_EXTRA is offered without a control virtqueue",
                breaks: "dev:net:device-configuration-layout:14",
                lens: Lens {
                    offered: Some(|_, offered| offered | CTRL_RX_EXTRA),
                    accepted: Some(|_, accepted| accepted - CTRL_RX_EXTRA),
                    ..Lens::CLEAR
                },
                also: &["features.required"],
                ..Mutant::ALONE
            },
        ],
    },
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

/// A field of the configuration space, which is the front-end's where vhost-user does not share it.
fn number(probe: &mut Probe, offset: usize, width: Width) -> Outcome<u32> {
    let mut bytes = [0; 4];
    let length = match width {
        Width::One => 1,
        _ => 2,
    };
    match probe.transport().read_config(offset, width, &mut bytes[..length]) {
        Err(error) if probe.bus() == Bus::VhostUser => Err(Ended::NotApplicable(format!(
            "it leaves the configuration space to the front-end: {error}"
        ))),
        read => Ok(read.map(|()| u32::from_le_bytes(bytes))?),
    }
}

fn mtu(probe: &mut Probe) -> Outcome {
    let before = number(probe, MTU_AT, Width::Two)?;
    for (least, clause) in [
        (MIN_MTU.into(), "dev:net:device-configuration-layout:02"),
        (1280, "dev:net:device-configuration-layout:03"),
    ] {
        holds(before >= least, clause, || format!("it is {before}"))?;
    }
    probe.go_live(MTU)?;
    let after = number(probe, MTU_AT, Width::Two)?;
    holds(before == after, "dev:net:device-configuration-layout:04", || {
        format!("it was {before}, and is {after}")
    })
}

fn mtu_exceeded(probe: &mut Probe) -> Outcome {
    let mut live = probe.go_live(MTU)?;
    let mtu = number(probe, MTU_AT, Width::Two)? as usize;
    let largest = mtu + ETHERNET;
    probe.send_frame(&frame(largest + 1))?;
    probe.send_frame(&frame(largest))?;
    let buffers = listen(probe, &mut live, &[HEADER + largest + 2048])?;
    let (used, _) = heard(probe, &mut live, &buffers)?;
    let length = (used.length as usize).saturating_sub(HEADER);
    holds(
        length <= largest,
        "dev:net:device-configuration-layout:05",
        || format!("a frame of {length} bytes is passed on, and mtu is {mtu}"),
    )
}

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
    let bytes = [&header.as_bytes()[..HEADER], &frame].concat();
    let buffer = probe.buffer(bytes.len(), 0)?;
    // It has just been made of this length.
    let _ = buffer.write(0, &bytes);
    live.queue().add(&[element(&buffer, false)]);
    probe.notify(live.queue())?;
    if probe.used(live.queue())?.is_none() {
        return Err(Ended::Inconclusive("a frame is not taken".into()));
    }
    let sent = probe.sent_frame()?;
    holds(sent.as_ref() == Some(&frame), clause, || match sent {
        Some(other) => format!("of {length} bytes these come out: {other:02x?}"),
        None => format!("a frame of {length} bytes does not come out, with the header {header:?}"),
    })
}

/// Bytes of each of several buffers for a frame.
const SMALL: usize = 64;

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

/// A frame of so many bytes to everyone, of a type for experiments.
fn frame(length: usize) -> Vec<u8> {
    let mut frame = vec![0; length];
    frame[..ETHERNET].copy_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 2, 0x88, 0xb5]);
    frame
}

/// Makes buffers of these lengths available in the receive virtqueue. A frame waits for them.
fn listen(probe: &mut Probe, live: &mut Live, lengths: &[usize]) -> Outcome<Vec<(u16, Buffer)>> {
    let mut buffers = Vec::new();
    for length in lengths {
        let buffer = probe.buffer(*length, 0xee)?;
        buffers.push((live.queues[0].add(&[element(&buffer, true)]), buffer));
    }
    probe.notify(&live.queues[0])?;
    Ok(buffers)
}

/// The next buffer that is used for a frame, and the header in it.
fn heard(probe: &mut Probe, live: &mut Live, buffers: &[(u16, Buffer)]) -> Outcome<(Used, Hdr)> {
    let Some(used) = probe.used(&mut live.queues[0])? else {
        return Err(Ended::Inconclusive("a frame does not arrive".into()));
    };
    let mut bytes = [0; size_of::<Hdr>()];
    if let Some((_, buffer)) = buffers.iter().find(|(id, _)| u32::from(*id) == used.id) {
        // It is longer.
        let _ = buffer.read(0, &mut bytes[..HEADER]);
    }
    let header = Hdr::read_from_bytes(&bytes);
    let header = header.map_err(|_| Ended::Inconclusive("a header is not so long".into()))?;
    probe.note(format_args!("{header:?}"));
    Ok((used, header))
}

/// A lens for the configuration space.
const fn saying(config: fn(&mut Life, usize, &mut [u8])) -> Lens {
    Lens {
        config: Some(config),
        ..Lens::CLEAR
    }
}

/// Changes what was read from the configuration space at `at`.
fn put(at: usize, bytes: &[u8], offset: usize, data: &mut [u8]) {
    if at == offset && data.len() == bytes.len() {
        data.copy_from_slice(bytes);
    }
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

/// Flags, `csum_start` and length of what a driver of a split virtqueue has made available last to be sent.
fn offered(life: &Life, queue: u16) -> Option<(u8, u16, u32)> {
    let layout = life.layouts.get(&queue);
    let layout = layout.filter(|_| queue == TRANSMITQ1 && !life.is_packed())?;
    let slot = life.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
    let head = life.read16(layout.driver_area + AVAIL_RING + 2 * u64::from(slot));
    let first = SplitDesc::from_bytes(life.read(layout.descriptor_area + 16 * u64::from(head)));
    let start = life.read16(first.address + offset_of!(Hdr, csum_start) as u64);
    Some((life.read::<1>(first.address)[0], start, first.length))
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
