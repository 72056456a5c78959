//! Hashes against the values that Microsoft has published with receive-side scaling ("Verifying the RSS Hash Calculation",
//! Windows driver documentation).

use std::net::IpAddr;

use super::*;

/// The key of the published values.
pub const KEY: [u8; 40] = [
    0x6d, 0x5a, 0x56, 0xda, 0x25, 0x5b, 0x0e, 0xc2, 0x41, 0x67, 0x25, 0x3d, 0x43, 0xa3, 0x8f, 0xb0, 0xd0,
    0xca, 0x2b, 0xcb, 0xae, 0x7b, 0x30, 0xb4, 0x77, 0xcb, 0x2d, 0xa3, 0x80, 0x30, 0xf2, 0x0c, 0x6a, 0x42,
    0xb7, 0x3b, 0xbe, 0xac, 0x01, 0xfa,
];

/// Destination, source, the hash of the addresses, and that with the ports.
const PUBLISHED: [(&str, u16, &str, u16, u32, u32); 8] = [
    (
        "161.142.100.80",
        1766,
        "66.9.149.187",
        2794,
        0x323e_8fc2,
        0x51cc_c178,
    ),
    (
        "65.69.140.83",
        4739,
        "199.92.111.2",
        14230,
        0xd718_262a,
        0xc626_b0ea,
    ),
    (
        "12.22.207.184",
        38024,
        "24.19.198.95",
        12898,
        0xd2d0_a5de,
        0x5c2b_394a,
    ),
    (
        "209.142.163.6",
        2217,
        "38.27.205.30",
        48228,
        0x8298_9176,
        0xafc7_327f,
    ),
    (
        "202.188.127.2",
        1303,
        "153.39.163.191",
        44251,
        0x5d18_09c5,
        0x10e8_28a2,
    ),
    (
        "3ffe:2501:200:3::1",
        1766,
        "3ffe:2501:200:1fff::7",
        2794,
        0x2cc1_8cd5,
        0x4020_7d3d,
    ),
    (
        "ff02::1",
        4739,
        "3ffe:501:8::260:97ff:fe40:efab",
        14230,
        0x0f0c_461c,
        0xdde5_1bbf,
    ),
    (
        "fe80::200:f8ff:fe21:67cf",
        38024,
        "3ffe:1900:4545:3:200:f8ff:fe21:67cf",
        44251,
        0x4b61_e985,
        0x02d1_feef,
    ),
];

/// The bytes of an address.
fn address(text: &str) -> Vec<u8> {
    match text.parse().unwrap() {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A frame with a packet between these ends, of which `protocol` follows the IP header, or `extension` before it.
pub fn frame(
    source: &[u8],
    destination: &[u8],
    protocol: u8,
    extension: (u8, &[u8]),
    ports: [u16; 2],
) -> Vec<u8> {
    let mut frame = vec![0; 12];
    let next = if extension.1.is_empty() {
        protocol
    } else {
        extension.0
    };
    match source.len() {
        4 => frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, next, 0, 0]),
        _ => frame.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, 20, next, 64]),
    }
    frame.extend([source, destination, extension.1].concat());
    frame.extend(ports.map(u16::to_be_bytes).concat());
    frame.extend([0; 16]);
    frame
}

#[test]
fn the_published_values() {
    for (to, to_port, from, from_port, of_addresses, with_ports) in PUBLISHED {
        let (source, destination) = (address(from), address(to));
        for (protocol, only, types) in [
            (TCP, HashTypes::IPV4 | HashTypes::IPV6, (1, 4)),
            (TCP, HashTypes::TCPV4 | HashTypes::TCPV6, (2, 5)),
            (UDP, HashTypes::UDPV4 | HashTypes::UDPV6, (3, 6)),
            (TCP, TYPES, (2, 5)),
            (UDP, TYPES, (3, 6)),
            (1, TYPES, (1, 4)),
            (1, HashTypes::TCPV4 | HashTypes::UDPV6, (0, 0)),
        ] {
            let hashing = Hashing::new(only, &KEY).unwrap();
            let frame = frame(&source, &destination, protocol, (0, &[]), [from_port, to_port]);
            let hash = hashing.of(Packet::of(&frame));
            let report = if source.len() == 4 { types.0 } else { types.1 };
            let value = match report {
                0 => 0,
                1 | 4 => of_addresses,
                _ => with_ports,
            };
            assert_eq!(
                (hash.value, hash.report.0),
                (value, report),
                "{from} {protocol} {only:?}"
            );
        }
    }
}

#[test]
fn extension_headers_change_addresses_if_that_is_wanted() {
    let (to, to_port, from, from_port, of_addresses, with_ports) = PUBLISHED[5];
    let (source, destination, other) = (address(from), address(to), [0xfd; 16]);
    // Padding, then the home address.
    let home = [&[TCP, 2, 1, 2, 0, 0, 201, 16][..], &source].concat();
    let routing = [&[TCP, 2, 2, 1, 0, 0, 0, 0][..], &destination].concat();
    let hop_by_hop = [TCP, 0, 1, 4, 0, 0, 0, 0];
    let fragment = [TCP, 0, 0, 1, 0, 0, 0, 0];
    for (ends, extension, types, expected) in [
        (
            [&other, &destination[..]],
            (60, &home[..]),
            TYPES,
            (with_ports, 8),
        ),
        ([&source, &other], (43, &routing), TYPES, (with_ports, 8)),
        ([&source, &destination], (0, &hop_by_hop), TYPES, (with_ports, 8)),
        (
            [&source, &destination],
            (0, &hop_by_hop),
            HashTypes::TCPV6,
            (with_ports, 5),
        ),
        ([&source, &destination], (44, &fragment), TYPES, (of_addresses, 7)),
        (
            [&source, &destination],
            (44, &fragment),
            HashTypes::IPV6,
            (of_addresses, 4),
        ),
        (
            [&source, &other],
            (43, &routing),
            HashTypes::IP_EX,
            (of_addresses, 7),
        ),
    ] {
        let frame = frame(ends[0], ends[1], TCP, extension, [from_port, to_port]);
        let hash = Hashing::new(types, &KEY).unwrap().of(Packet::of(&frame));
        assert_eq!((hash.value, hash.report.0), expected, "{extension:?} {types:?}");
    }
}

#[test]
fn what_cannot_be_had_is_refused() {
    assert_eq!(Hashing::new(TYPES, &[0; MAX_KEY + 1]), None);
    assert_eq!(Hashing::new(HashTypes(1 << 9), &KEY), None);
    assert!(Hashing::new(HashTypes::NONE, &[]).unwrap().is_off());
}
