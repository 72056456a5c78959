//! Hashes of packets (section 5.1.9.4, "Hash calculation for incoming packets").

use ringwright_spec::network::hash::{HashReport, HashTypes};

use super::packet::{Packet, TCP, UDP};
use crate::codec::Rest;

/// What can be hashed: everything.
pub(super) const TYPES: HashTypes = HashTypes(
    HashTypes::IPV4.0
        | HashTypes::TCPV4.0
        | HashTypes::UDPV4.0
        | HashTypes::IPV6.0
        | HashTypes::TCPV6.0
        | HashTypes::UDPV6.0
        | HashTypes::IP_EX.0
        | HashTypes::TCP_EX.0
        | HashTypes::UDP_EX.0,
);

/// Most bytes of a key (dev:net:device-configuration-layout:07): what the longest input needs, and four.
pub(super) const MAX_KEY: usize = 40;

/// Bytes of key that are looked at for a byte of input.
const WINDOW: usize = 8;

/// A packet's hash, if it has one, as its header reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hash {
    pub value: u32,
    /// [`HashReport::NONE`] if there is none.
    pub report: HashReport,
}

impl Hash {
    /// Not hashed.
    pub const NONE: Self = Self {
        value: 0,
        report: HashReport::NONE,
    };
}

/// What the driver wants hashed, and with which key. Nothing to begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Hashing {
    types: HashTypes,
    /// Zeros behind its end.
    key: [u8; MAX_KEY + WINDOW],
}

impl Default for Hashing {
    fn default() -> Self {
        Self {
            types: HashTypes::NONE,
            key: [0; MAX_KEY + WINDOW],
        }
    }
}

/// The types for one sort of packets: with TCP, with UDP, with whatever else. TCP goes before UDP before IP.
struct Sort {
    tcp: HashTypes,
    udp: HashTypes,
    ip: HashTypes,
}

const IPV4: Sort = Sort {
    tcp: HashTypes::TCPV4,
    udp: HashTypes::UDPV4,
    ip: HashTypes::IPV4,
};

const IPV6: Sort = Sort {
    tcp: HashTypes::TCPV6,
    udp: HashTypes::UDPV6,
    ip: HashTypes::IPV6,
};

const EXTENDED: Sort = Sort {
    tcp: HashTypes::TCP_EX,
    udp: HashTypes::UDP_EX,
    ip: HashTypes::IP_EX,
};

impl Hashing {
    /// Of these types, with this key. `None` if there are other types, or more key than there may be.
    pub fn new(types: HashTypes, key: &[u8]) -> Option<Self> {
        let mut hashing = Self {
            types,
            ..Self::default()
        };
        hashing.key[..MAX_KEY].get_mut(..key.len())?.copy_from_slice(key);
        TYPES.contains(types).then_some(hashing)
    }

    /// Whether nothing is hashed.
    pub fn is_off(&self) -> bool {
        self.types == HashTypes::NONE
    }

    /// The hash of a packet; of what is none, as of one of another type, there is none.
    pub fn of(&self, packet: Option<Packet<'_>>) -> Hash {
        packet
            .and_then(|packet| self.of_packet(&packet))
            .unwrap_or(Hash::NONE)
    }

    fn of_packet(&self, packet: &Packet<'_>) -> Option<Hash> {
        let addresses = [packet.source, packet.destination];
        let sort = if packet.source.len() == 4 { IPV4 } else { IPV6 };
        let extended = packet.extended.map(|addresses| (EXTENDED, addresses));
        // Extension headers are skipped if what is behind them is not to be hashed.
        for (sort, [source, destination]) in extended.into_iter().chain([(sort, addresses)]) {
            let with_ports = match packet.protocol {
                TCP => sort.tcp,
                UDP => sort.udp,
                _ => HashTypes::NONE,
            };
            if let Some(ports) = packet.ports()
                && self.types.intersects(with_ports)
            {
                return Some(self.hash(with_ports, [source, destination, &ports]));
            }
            if self.types.contains(sort.ip) {
                return Some(self.hash(sort.ip, [source, destination, &[]]));
            }
        }
        None
    }

    fn hash(&self, kind: HashTypes, input: [&[u8]; 3]) -> Hash {
        Hash {
            value: toeplitz(&self.key, input),
            report: HashReport(kind.0.trailing_zeros() as u16 + 1),
        }
    }

    /// For [`restore`](Self::restore).
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.types.0.to_le_bytes());
        bytes.extend(&self.key[..MAX_KEY]);
    }

    /// What [`save`](Self::save) has written. `None` if these bytes are none of its.
    pub fn restore(bytes: &mut Rest<'_>) -> Option<Self> {
        let types = HashTypes(u32::from_le_bytes(bytes.array()?));
        Self::new(types, &bytes.array::<MAX_KEY>()?)
    }
}

/// The Toeplitz hash: for each bit of the input that is set, the 32 bits of key from its place on.
fn toeplitz(key: &[u8; MAX_KEY + WINDOW], input: [&[u8]; 3]) -> u32 {
    let bytes = input.iter().copied().flatten();
    let windows = key.windows(WINDOW).filter_map(|window| window.first_chunk());
    let mut hash = 0;
    for (byte, window) in bytes.zip(windows) {
        let window = u64::from_be_bytes(*window);
        for bit in 0..u8::BITS {
            let is_set = u64::from(*byte >> (7 - bit) & 1);
            hash ^= (window << bit) & is_set.wrapping_neg();
        }
    }
    (hash >> 32) as u32
}

#[cfg(test)]
#[path = "hash_tests.rs"]
pub(super) mod tests;
