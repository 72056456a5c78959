//! The configuration space and the feature bits of network devices (sections 5.1.3, 5.1.4).

use std::mem::offset_of;

use ringwright_memory::Width;
use ringwright_spec::Features;
use ringwright_spec::network::config::{Duplex, MAX_SPEED, MAX_VIRTQUEUE_PAIRS, SPEED_UNKNOWN};
use ringwright_spec::network::features::{
    CTRL_MAC_ADDR, CTRL_RX, CTRL_RX_EXTRA, CTRL_VLAN, CTRL_VQ, GUEST_ANNOUNCE, HASH_REPORT, HASH_TUNNEL, MQ,
    MTU, RSS, RSS_CONTEXT, SPEED_DUPLEX,
};
use ringwright_spec::network::{Config, DEVICE};

use super::{ANY, ETHERNET, HEADER, MTU_AT, frame, heard, listen, mtu, number};
use crate::check::{Check, Ended, Needs, Outcome};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};

const MAX_VIRTQUEUE_PAIRS_AT: usize = offset_of!(Config, max_virtqueue_pairs);

/// What needs a control virtqueue, and is offered with it here.
const CONTROL: Features = CTRL_VQ
    .union(CTRL_RX)
    .union(CTRL_RX_EXTRA)
    .union(CTRL_VLAN)
    .union(CTRL_MAC_ADDR)
    .union(GUEST_ANNOUNCE)
    .union(MQ)
    .union(RSS)
    .union(RSS_CONTEXT)
    .union(HASH_REPORT)
    .union(HASH_TUNNEL);

const SPEED_AT: usize = offset_of!(Config, speed);

const DUPLEX_AT: usize = offset_of!(Config, duplex);

const MAX_KEY_SIZE_AT: usize = offset_of!(Config, rss_max_key_size);

const MAX_TABLE_AT: usize = offset_of!(Config, rss_max_indirection_table_length);

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
            lens: saying(|_, offset, data| put(MAX_VIRTQUEUE_PAIRS_AT, &[0, 0], offset, data)),
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
            lens: saying(|_, offset, data| put(MAX_KEY_SIZE_AT, &[0], offset, data)),
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
            lens: saying(|_, offset, data| put(MAX_TABLE_AT, &[0, 0], offset, data)),
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
        name: "network.speed",
        clauses: &["dev:net:device-configuration-layout:10"],
        does: "Reads speed when VIRTIO_NET_F_SPEED_DUPLEX is negotiated.",
        violation: "It is neither up to 0x7fffffff nor 0xffffffff.",
        needs: Needs::device(DEVICE.id, SPEED_DUPLEX),
        run: |probe| {
            probe.go_live(SPEED_DUPLEX)?;
            let speed = number(probe, SPEED_AT, Width::Four)?;
            holds(
                speed <= MAX_SPEED || speed == SPEED_UNKNOWN,
                "dev:net:device-configuration-layout:10",
                || format!("it is {speed:#x}"),
            )
        },
        mutants: &[Mutant {
            name: "a link is faster than can be said",
            breaks: "dev:net:device-configuration-layout:10",
            lens: Lens {
                offered: Some(|_, offered| offered | SPEED_DUPLEX),
                accepted: Some(|_, accepted| accepted - SPEED_DUPLEX),
                config: Some(|_, offset, data| put(SPEED_AT, &0x8000_0000u32.to_le_bytes(), offset, data)),
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
                    offered: Some(|_, offered| (offered - CONTROL) | HASH_REPORT),
                    accepted: Some(|_, accepted| accepted - HASH_REPORT),
                    ..Lens::CLEAR
                },
                also: &["features.refused", "features.required", "network.hash-key"],
                ..Mutant::ALONE
            },
            Mutant {
                name: "VIRTIO_NET_F_CTRL_RX_EXTRA is offered without a control virtqueue",
                breaks: "dev:net:device-configuration-layout:14",
                lens: Lens {
                    offered: Some(|_, offered| (offered - CONTROL) | CTRL_RX_EXTRA),
                    accepted: Some(|_, accepted| accepted - CTRL_RX_EXTRA),
                    ..Lens::CLEAR
                },
                also: &["features.refused", "features.required"],
                ..Mutant::ALONE
            },
        ],
    },
];

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

/// A lens for the configuration space.
pub(super) const fn saying(config: fn(&mut Life, usize, &mut [u8])) -> Lens {
    Lens {
        config: Some(config),
        ..Lens::CLEAR
    }
}

/// Changes what was read from the configuration space at `at`.
pub(super) fn put(at: usize, bytes: &[u8], offset: usize, data: &mut [u8]) {
    if at == offset && data.len() == bytes.len() {
        data.copy_from_slice(bytes);
    }
}
