//! Receive-side scaling, hashes of packets in tunnels, and contexts (section 5.1.9.5).

use std::mem::offset_of;

use ringwright_memory::Width;
use ringwright_spec::feature::RING_RESET;
use ringwright_spec::network::Config;
use ringwright_spec::network::control::{Ack, Class, HashTunnelCommand, Mq, RssCtx};
use ringwright_spec::network::features::{HASH_TUNNEL, RSS, RSS_CONTEXT};
use ringwright_spec::network::hash::{HashTypes, RssConfigHead, RssConfigTail, RssCtxCap, TunnelTypes};

use super::commands::{self, ask, mishearing, misspeaking, pending, prepare};
use super::pairs::{LOST, Pairs, datagram, feign_received};
use super::{ETHERNET, number};
use crate::check::{Check, Outcome};
use crate::mutant::{Lens, Life, Mutant};
use crate::probe::{Probe, holds};

const RSS_CONFIG: (Class, u8) = (Class::MQ, Mq::RSS_CONFIG.0);
const HASH_TUNNEL_SET: (Class, u8) = (Class::HASH_TUNNEL, HashTunnelCommand::SET.0);
const CAP_GET: (Class, u8) = (Class::RSS_CTX, RssCtx::CAP_GET.0);
const ADD: (Class, u8) = (Class::RSS_CTX, RssCtx::ADD.0);
const MOD: (Class, u8) = (Class::RSS_CTX, RssCtx::MOD.0);

/// A key without a pattern, of the length that every device takes.
const KEY: [u8; 40] = [
    0x3d, 0xa1, 0x5c, 0x87, 0xe2, 0x09, 0x74, 0xbf, 0x16, 0xd8, 0x6b, 0x93, 0x2e, 0xc5, 0x40, 0xfa, 0x71,
    0x0d, 0xb6, 0x58, 0x9f, 0x23, 0xee, 0x84, 0x4b, 0xd1, 0x37, 0x60, 0xac, 0x15, 0xf9, 0x8e, 0x52, 0xc7,
    0x2b, 0x90, 0x6d, 0x04, 0xbb, 0xe6,
];

/// Flows that are looked at.
const FLOWS: std::ops::Range<u8> = 0..8;

/// Entries of the indirection table.
const ENTRIES: u16 = 32;

/// Protocols of IP packets.
const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// One whose packets have no ports.
const OTHER: u8 = 253;

pub(super) const CHECKS: &[Check] = &[
    Check {
        name: "network.scaling",
        clauses: &["dev:net:rss-processing:01"],
        does: "Sets an indirection table and a key, and sends frames with and without what is hashed.",
        violation: "A frame does not come by the receive virtqueue that the Toeplitz hash, the table and unclassified_queue say.",
        needs: commands::needs(RSS),
        run: scaling,
        mutants: &[
            mishearing(
                "what has no hash goes by the first pair",
                "dev:net:rss-processing:01",
                |life, queue| {
                    overwrite(
                        life,
                        queue,
                        offset_of!(RssConfigHead, unclassified_queue),
                        &[0, 0],
                    );
                    true
                },
            ),
            Mutant {
                also: &["network.tunnels-matched", "network.tunnels-off"],
                ..mishearing(
                    "the key of hashes is another one",
                    "dev:net:rss-processing:01",
                    |life, queue| {
                        let table = size_of::<RssConfigHead>() + 2 * usize::from(ENTRIES);
                        overwrite(life, queue, table + size_of::<RssConfigTail>(), &[0xff; 40]);
                        true
                    },
                )
            },
        ],
    },
    Check {
        name: "network.scaling-reset",
        clauses: &["dev:net:rss-processing:02"],
        does: "Has all frames received by one pair, resets its receive virtqueue, sends a frame, sets it up anew, and sends another one.",
        violation: "The first one comes, by this pair or by another.",
        needs: commands::needs(RSS.union(RING_RESET)),
        run: scaling_reset,
        mutants: &[misspeaking(
            "a frame for a virtqueue that is reset goes elsewhere",
            "dev:net:rss-processing:02",
            |life, queue| {
                if queue == 2 && life.features.contains(RSS | RING_RESET) {
                    life.note += 1;
                    if life.note == 2 {
                        feign_received(life, 0, &datagram(LOST));
                    }
                }
            },
        )],
    },
    Check {
        name: "network.tunnels-matched",
        clauses: &["dev:net:inner-header-hash:01", "dev:net:inner-header-hash:02"],
        does: "Has the headers in one type of tunnels hashed, and sends packets in others; asks for types that there are not.",
        violation: "A frame does not come by the receive virtqueue that the hash of the outer header says, or the command succeeds.",
        needs: commands::needs(RSS.union(HASH_TUNNEL)),
        run: tunnels_matched,
        mutants: &[
            mishearing(
                "the packet in any tunnel is hashed",
                "dev:net:inner-header-hash:01",
                |life, queue| {
                    replace_types(life, queue, |types| match types {
                        0 => 0,
                        _ => 0x1ff,
                    })
                },
            ),
            misspeaking(
                "tunnels of any type are looked into",
                "dev:net:inner-header-hash:02",
                |life, queue| {
                    if let Some(pending) =
                        pending(life, queue).filter(|pending| pending.kind == HASH_TUNNEL_SET)
                    {
                        life.write(pending.answer, &[Ack::OK.0]);
                    }
                },
            ),
        ],
    },
    Check {
        name: "network.tunnels-off",
        clauses: &["dev:net:inner-header-hash:03"],
        does: "Has the headers in a type of tunnels hashed, and then none, by a command and by a reset; sends packets in such tunnels.",
        violation: "A frame does not come by the receive virtqueue that the hash of the outer header says.",
        needs: commands::needs(RSS.union(HASH_TUNNEL)),
        run: tunnels_off,
        mutants: &[mishearing(
            "tunnels that are looked into stay so",
            "dev:net:inner-header-hash:03",
            |life, queue| {
                replace_types(life, queue, |types| match types {
                    0 => TunnelTypes::IPIP.0,
                    types => types,
                })
            },
        )],
    },
    Check {
        name: "network.contexts",
        clauses: &["dev:net:rss-context:01", "dev:net:rss-context:02"],
        does: "Asks how many contexts there are, adds one, resets the device, and modifies it.",
        violation: "There is none, or it is there after the reset.",
        needs: commands::needs(RSS.union(RSS_CONTEXT)),
        run: contexts,
        mutants: &[
            misspeaking(
                "there are no contexts",
                "dev:net:rss-context:01",
                |life, queue| {
                    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == CAP_GET) {
                        life.write(pending.answer + 1, &[0, 0]);
                    }
                },
            ),
            Mutant {
                name: "contexts survive a reset",
                breaks: "dev:net:rss-context:02",
                lens: Lens {
                    notified: Some(|life, queue| {
                        let Some(pending) = pending(life, queue) else {
                            return;
                        };
                        life.note |= u64::from(pending.kind == ADD);
                        if pending.kind == MOD && life.note != 0 {
                            life.write(pending.answer, &[Ack::OK.0]);
                        }
                    }),
                    ..Lens::CLEAR
                },
                ..Mutant::ALONE
            },
        ],
    },
];

fn scaling(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, RSS)?;
    let configuration = Configuration::of(probe, pairs.number)?;
    prepare(probe, &mut pairs.live, RSS_CONFIG, &configuration.data())?;
    for flow in FLOWS {
        for (protocol, v6) in [
            (TCP, false),
            (UDP, false),
            (OTHER, false),
            (TCP, true),
            (UDP, true),
            (OTHER, true),
        ] {
            let packet = Packet::new(flow, protocol, v6, &[]);
            configuration.expect(probe, &mut pairs, &packet, "dev:net:rss-processing:01")?;
        }
    }
    let unknown = super::frame(60);
    let came = pairs.pairs_of(probe, &unknown)?;
    let expected = configuration.unclassified;
    holds(
        came.last() == Some(&expected),
        "dev:net:rss-processing:01",
        || {
            format!(
                "a frame without a hash comes by pair {:?}, not {expected}, counted from 0",
                came.last()
            )
        },
    )
}

fn scaling_reset(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, RSS | RING_RESET)?;
    let mut configuration = Configuration::of(probe, pairs.number)?;
    configuration.table.fill(1);
    configuration.unclassified = 1;
    prepare(probe, &mut pairs.live, RSS_CONFIG, &configuration.data())?;
    pairs.reset(probe, 1)?;
    pairs.is_lost(probe, 1, "dev:net:rss-processing:02")
}

fn tunnels_matched(probe: &mut Probe) -> Outcome {
    let clause = "dev:net:inner-header-hash:01";
    let mut pairs = Pairs::go_live(probe, RSS | HASH_TUNNEL)?;
    let configuration = Configuration::of(probe, pairs.number)?;
    prepare(probe, &mut pairs.live, RSS_CONFIG, &configuration.data())?;
    let supported = number(probe, offset_of!(Config, supported_tunnel_types), Width::Four)?;
    let others = supported & !TunnelTypes::IPIP.0;
    let one = others & others.wrapping_neg();
    prepare(probe, &mut pairs.live, HASH_TUNNEL_SET, &one.to_le_bytes())?;
    for flow in FLOWS {
        let packet = Packet::in_another(flow);
        configuration.expect(probe, &mut pairs, &packet, clause)?;
    }
    // The first that is not among them.
    let unknown = !supported & supported.wrapping_add(1);
    let answer = ask(probe, &mut pairs.live, HASH_TUNNEL_SET, &unknown.to_le_bytes(), 0)?;
    holds(answer.ack == Ack::ERR, "dev:net:inner-header-hash:02", || {
        format!(
            "of types {supported:#x}, {unknown:#x} is answered by {:?}",
            answer.ack
        )
    })
}

fn tunnels_off(probe: &mut Probe) -> Outcome {
    let clause = "dev:net:inner-header-hash:03";
    for is_reset in [false, true] {
        let mut pairs = Pairs::go_live(probe, RSS | HASH_TUNNEL)?;
        let configuration = Configuration::of(probe, pairs.number)?;
        let ipip = TunnelTypes::IPIP.0.to_le_bytes();
        prepare(probe, &mut pairs.live, HASH_TUNNEL_SET, &ipip)?;
        if is_reset {
            drop(pairs);
            pairs = Pairs::go_live(probe, RSS | HASH_TUNNEL)?;
        } else {
            prepare(probe, &mut pairs.live, HASH_TUNNEL_SET, &[0; 4])?;
        }
        prepare(probe, &mut pairs.live, RSS_CONFIG, &configuration.data())?;
        for flow in FLOWS {
            let packet = Packet::in_another(flow);
            configuration.expect(probe, &mut pairs, &packet, clause)?;
        }
    }
    Ok(())
}

fn contexts(probe: &mut Probe) -> Outcome {
    let mut pairs = Pairs::go_live(probe, RSS | RSS_CONTEXT)?;
    let answer = ask(probe, &mut pairs.live, CAP_GET, &[], size_of::<RssCtxCap>())?;
    let most = u16::from_le_bytes([answer.result[0], answer.result[1]]);
    holds(
        answer.ack == Ack::OK && most > 0,
        "dev:net:rss-context:01",
        || format!("it is answered by {:?} and {most}", answer.ack),
    )?;
    let configuration = Configuration::of(probe, pairs.number)?.data();
    let context = [&1u16.to_le_bytes()[..], &[0; 6], &configuration].concat();
    let before = ask(probe, &mut pairs.live, MOD, &context, 0)?.ack;
    prepare(probe, &mut pairs.live, ADD, &context)?;
    drop(pairs);
    let mut pairs = Pairs::go_live(probe, RSS | RSS_CONTEXT)?;
    let after = ask(probe, &mut pairs.live, MOD, &context, 0)?.ack;
    // Where any context can be modified, nothing can be said.
    holds(
        after != Ack::OK || before == Ack::OK,
        "dev:net:rss-context:02",
        || "context 1 can be modified".into(),
    )
}

/// Changes a configuration on its way to the device.
fn overwrite(life: &Life, queue: u16, at: usize, bytes: &[u8]) {
    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == RSS_CONFIG) {
        life.write(pending.data + at as u64, bytes);
    }
}

/// Changes the types of tunnels on their way to the device.
fn replace_types(life: &Life, queue: u16, change: fn(u32) -> u32) -> bool {
    if let Some(pending) = pending(life, queue).filter(|pending| pending.kind == HASH_TUNNEL_SET) {
        let types = change(u32::from_le_bytes(life.read(pending.data)));
        life.write(pending.data, &types.to_le_bytes());
    }
    true
}

/// How frames are spread.
struct Configuration {
    types: HashTypes,
    table: Vec<u16>,
    unclassified: u16,
    pairs: u16,
}

impl Configuration {
    /// All hashes that the device has, over so many pairs.
    fn of(probe: &mut Probe, pairs: u16) -> Outcome<Self> {
        let types = number(probe, offset_of!(Config, supported_hash_types), Width::Four)?;
        // The frames here have no extension headers.
        let plain = [
            HashTypes::IPV4,
            HashTypes::TCPV4,
            HashTypes::UDPV4,
            HashTypes::IPV6,
            HashTypes::TCPV6,
            HashTypes::UDPV6,
        ];
        let plain = plain.into_iter().fold(HashTypes::NONE, |all, one| all | one);
        Ok(Self {
            types: HashTypes(types & plain.0),
            table: (0..ENTRIES)
                .map(|entry| (entry * 7 + entry / 4) % pairs)
                .collect(),
            unclassified: pairs - 1,
            pairs,
        })
    }

    fn data(&self) -> Vec<u8> {
        let mut data = self.types.0.to_le_bytes().to_vec();
        for number in [self.table.len() as u16 - 1, self.unclassified] {
            data.extend(number.to_le_bytes());
        }
        data.extend(self.table.iter().flat_map(|pair| pair.to_le_bytes()));
        data.extend(self.pairs.to_le_bytes());
        data.push(KEY.len() as u8);
        data.extend(KEY);
        data
    }

    /// A packet comes by the pair that the hash of its outer header says.
    fn expect(&self, probe: &mut Probe, pairs: &mut Pairs, packet: &Packet, clause: &'static str) -> Outcome {
        let expected = match packet.hash(self.types) {
            Some(hash) => self.table[hash as usize % self.table.len()],
            None => self.unclassified,
        };
        let came = pairs.pairs_of(probe, &packet.frame)?;
        holds(came.last() == Some(&expected), clause, || {
            format!(
                "a packet of protocol {} from {:x?} to {:x?} comes by pair {:?}, not {expected}, counted from 0",
                packet.protocol,
                packet.ends[0],
                packet.ends[1],
                came.last()
            )
        })
    }
}

/// An IP packet in a frame.
struct Packet {
    frame: Vec<u8>,
    protocol: u8,
    /// Source and destination address.
    ends: [Vec<u8>; 2],
    ports: [u8; 4],
}

impl Packet {
    /// One of a flow: with ports, or with this content.
    fn new(flow: u8, protocol: u8, v6: bool, content: &[u8]) -> Self {
        let length = if v6 { 16 } else { 4 };
        let ends = [vec![flow ^ 0x2a; length], vec![9; length]];
        let ports = [0x30, flow, 0, 80];
        let mut frame = super::frame(ETHERNET);
        let behind = if content.is_empty() {
            [&ports[..], &[flow; 44]].concat()
        } else {
            content.to_vec()
        };
        match v6 {
            false => {
                frame[ETHERNET - 2..].copy_from_slice(&[8, 0]);
                frame.extend([
                    0x45,
                    0,
                    0,
                    20 + behind.len() as u8,
                    0,
                    0,
                    0x40,
                    0,
                    64,
                    protocol,
                    0,
                    0,
                ]);
            }
            true => {
                frame[ETHERNET - 2..].copy_from_slice(&[0x86, 0xdd]);
                frame.extend([0x60, 0, 0, 0, 0, behind.len() as u8, protocol, 64]);
            }
        }
        frame.extend(ends.concat());
        frame.extend(behind);
        Self {
            frame,
            protocol,
            ends,
            ports,
        }
    }

    /// A packet of a flow in one of another flow: IP in IP.
    fn in_another(flow: u8) -> Self {
        let inner = Self::new(flow.wrapping_mul(5) ^ 0x11, UDP, false, &[]);
        Self::new(flow, IPIP, false, &inner.frame[ETHERNET..])
    }

    /// The hash of its outer header, of these types.
    fn hash(&self, types: HashTypes) -> Option<u32> {
        let [ip, tcp, udp] = match self.ends[0].len() {
            4 => [HashTypes::IPV4, HashTypes::TCPV4, HashTypes::UDPV4],
            _ => [HashTypes::IPV6, HashTypes::TCPV6, HashTypes::UDPV6],
        };
        let mut input = self.ends.concat();
        let with_ports =
            (self.protocol == TCP && types.contains(tcp)) || (self.protocol == UDP && types.contains(udp));
        if with_ports {
            input.extend(self.ports);
        } else if !types.contains(ip) {
            return None;
        }
        Some(toeplitz(&KEY, &input))
    }
}

/// The Toeplitz hash, bit by bit.
fn toeplitz(key: &[u8], input: &[u8]) -> u32 {
    let bit = |bytes: &[u8], at: usize| bytes.get(at / 8).is_some_and(|byte| byte << (at % 8) & 0x80 != 0);
    let word = |at: usize| (at..at + 32).fold(0u32, |word, at| word << 1 | u32::from(bit(key, at)));
    let set = (0..8 * input.len()).filter(|at| bit(input, *at));
    set.fold(0, |hash, at| hash ^ word(at))
}

#[cfg(test)]
mod tests {
    use super::toeplitz;

    /// Two of the values that Microsoft has published with receive-side scaling ("Verifying the RSS Hash Calculation").
    #[test]
    fn the_published_values() {
        let key = [
            0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0,
            0xd0, 0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c,
            0x6a, 0x42, 0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
        ];
        let input = [66, 9, 149, 187, 161, 142, 100, 80, 0x0a, 0xea, 0x06, 0xe6];
        assert_eq!(toeplitz(&key, &input), 0x51cc_c178);
        assert_eq!(toeplitz(&key, &input[..8]), 0x323e_8fc2);
    }
}
