use std::vec::Vec;

use ringwright_ring::ByteOrder;
use ringwright_spec::feature;
use ringwright_spec::network::Hdr;
use ringwright_spec::network::control::GuestOffloads;
use ringwright_spec::network::header::{GsoFlags, GsoType, HdrFlags};
use zerocopy::IntoBytes;

use super::*;
use crate::testing::Fake;

const ALL: Features = arrival::FEATURES.union(arrival::TUNNELS);
const LENGTH: usize = 3000;

fn of(header: &Hdr, negotiated: Features) -> Option<Arrival> {
    Arrival::of(header, ByteOrder::Little, negotiated, LENGTH)
}

/// Segments of TCP over IPv4, in a tunnel if so.
fn segments(tunnel: bool) -> Hdr {
    let mut header = Hdr {
        flags: HdrFlags::NEEDS_CSUM.0,
        gso_type: GsoType::TCPV4.0,
        gso_size: 1000.into(),
        csum_start: 34.into(),
        csum_offset: 16.into(),
        num_buffers: 1.into(),
        ..Hdr::default()
    };
    if tunnel {
        header.gso_type |= GsoFlags::UDP_TUNNEL_IPV6.0;
        header.outer_th_offset = 34.into();
        header.inner_nh_offset = 64.into();
        header.csum_start = 104.into();
    }
    header
}

fn with(mut header: Hdr, change: fn(&mut Hdr)) -> Hdr {
    change(&mut header);
    header
}

#[test]
fn what_the_device_says_is_understood() {
    let complete = Arrival {
        length: LENGTH,
        checksum: Checksum::Unknown,
        segments: None,
    };
    assert_eq!(of(&Hdr::default(), ALL), Some(complete));
    let valid = with(Hdr::default(), |header| header.flags = HdrFlags::DATA_VALID.0);
    assert_eq!(of(&valid, ALL).unwrap().checksum, Checksum::Valid);
    // What was not negotiated means nothing.
    assert_eq!(of(&valid, Features::NONE), Some(complete));
    let arrival = of(&segments(false), ALL).unwrap();
    let expected = Segments {
        kind: GsoType::TCPV4,
        size: 1000,
        reduces_congestion: false,
        tunnel: None,
    };
    assert_eq!(
        arrival.checksum,
        Checksum::Partial {
            start: 34,
            offset: 16
        }
    );
    assert_eq!(arrival.segments, Some(expected));
    let congested = with(segments(false), |header| header.gso_type |= GsoFlags::ECN.0);
    assert!(of(&congested, ALL).unwrap().segments.unwrap().reduces_congestion);
    // drv:net:processing-of-incoming-packets:09
    let offsets = with(segments(false), |header| header.outer_th_offset = 0xffff.into());
    assert_eq!(of(&offsets, ALL), Some(arrival));
    for is_partial in [false, true] {
        let mut header = segments(true);
        if is_partial {
            header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
        }
        let tunnel = Tunnel {
            outer_transport: 34,
            inner_network: 64,
            is_v6: true,
            is_partial,
        };
        assert_eq!(of(&header, ALL).unwrap().segments.unwrap().tunnel, Some(tunnel));
    }
    let big = Hdr {
        csum_start: 34u16.swap_bytes().into(),
        csum_offset: 16u16.swap_bytes().into(),
        gso_size: 1000u16.swap_bytes().into(),
        ..segments(false)
    };
    assert_eq!(Arrival::of(&big, ByteOrder::Big, ALL, LENGTH), Some(arrival));
}

#[test]
fn what_cannot_be_is_not_accepted() {
    type Change = fn(&mut Hdr);
    let wrong: [(bool, Change); 15] = [
        (false, |header| header.flags = 0),
        (false, |header| header.gso_size = 0.into()),
        (false, |header| header.gso_type = 2),
        (false, |header| header.csum_start = 2983.into()),
        (false, |header| header.csum_offset = 0xffff.into()),
        // drv:net:processing-of-incoming-packets:08
        (true, |header| header.gso_type |= GsoFlags::UDP_TUNNEL_IPV4.0),
        // drv:net:processing-of-incoming-packets:10
        (true, |header| header.flags = 0),
        (true, |header| header.flags |= HdrFlags::DATA_VALID.0),
        (true, |header| header.gso_type = GsoFlags::UDP_TUNNEL_IPV4.0),
        // drv:net:processing-of-incoming-packets:11
        (false, |header| header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0),
        (false, |header| {
            header.flags |= HdrFlags::UDP_TUNNEL_CSUM.0;
            header.gso_type = 0;
        }),
        (true, |header| header.outer_th_offset = 64.into()),
        (true, |header| header.inner_nh_offset = 104.into()),
        (true, |header| header.outer_th_offset = 0xffff.into()),
        (true, |header| header.gso_type ^= 1 | GsoType::UDP.0),
    ];
    for (tunnel, change) in wrong {
        let header = with(segments(tunnel), change);
        assert_eq!(of(&header, ALL), None, "{header:?}");
    }
    for (header, feature) in [
        (segments(false), features::GUEST_TSO4),
        (segments(true), features::GUEST_UDP_TUNNEL_GSO),
        (
            with(segments(false), |header| header.gso_type = 4),
            features::GUEST_TSO6,
        ),
        (
            with(segments(false), |header| header.gso_type = 5),
            features::GUEST_USO4 | features::GUEST_USO6,
        ),
    ] {
        assert!(of(&header, ALL).is_some());
        assert_eq!(of(&header, ALL - feature), None, "{header:?}");
    }
}

fn card(offered: Features) -> (Fake, Network<Fake>) {
    let fake = Fake::new(DEVICE.id, offered, &[16, 16, 16], 4 << 20);
    let extras = Extras {
        commands: true,
        offloads: true,
        tunnels: true,
        incomplete: true,
        ..Extras::default()
    };
    let driver = Network::with(fake.clone(), &fake.area(), Options::default(), extras).unwrap();
    (fake, driver)
}

#[test]
fn frames_arrive_incomplete_and_those_that_cannot_be_are_dropped() {
    let offered = feature::VERSION_1 | features::MRG_RXBUF | ALL;
    let (fake, mut driver) = card(offered);
    let mut device = fake.device(0);
    let bad = with(segments(true), |header| header.gso_type |= 0x60);
    for (header, byte) in [
        (bad, 1),
        (segments(true), 2),
        (
            Hdr {
                num_buffers: 1.into(),
                ..Hdr::default()
            },
            3,
        ),
    ] {
        device.put(&[&header.as_bytes()[..24], &[byte; 1000]].concat());
    }
    let mut into = [0; 2000];
    let arrival = driver.receive_incomplete(&mut into).unwrap().unwrap();
    assert_eq!((arrival.length, into[0]), (1000, 2));
    assert!(arrival.segments.unwrap().tunnel.is_some());
    let arrival = driver.receive_incomplete(&mut into).unwrap().unwrap();
    assert_eq!((arrival.checksum, into[0]), (Checksum::Unknown, 3));
    assert_eq!(driver.receive_incomplete(&mut into).unwrap(), None);
    // Without buffers that can be put together only checksums are left to do.
    let (_fake, mut driver) = card(offered - features::MRG_RXBUF);
    let negotiated = driver.session().features();
    assert!(negotiated.contains(features::GUEST_CSUM) && !negotiated.intersects(arrival::SEGMENTS));
    assert!(!negotiated.intersects(arrival::TUNNELS));
}

#[test]
fn offloads_are_switched_only_if_they_were_negotiated() {
    let offered = feature::VERSION_1
        | features::MRG_RXBUF
        | features::CTRL_VQ
        | features::CTRL_GUEST_OFFLOADS
        | (ALL - features::GUEST_TSO6 - arrival::TUNNELS);
    let (fake, mut driver) = card(offered);
    let mut device = fake.device(2);
    for (offloads, outcome) in [
        (GuestOffloads::GUEST_TSO6, Commanded::Unavailable),
        (GuestOffloads::GUEST_UDP_TUNNEL_GSO, Commanded::Unavailable),
        (GuestOffloads(1 << 3), Commanded::Invalid),
        (
            GuestOffloads::GUEST_CSUM | GuestOffloads::GUEST_USO4,
            Commanded::Queued,
        ),
    ] {
        assert_eq!(
            driver.command(Command::Accept(offloads)).unwrap(),
            outcome,
            "{offloads:?}"
        );
    }
    driver.publish().unwrap();
    let mut sent = Vec::new();
    device.serve(1, |readable, writable| {
        sent.extend_from_slice(readable);
        writable.write(0, &[0]).unwrap();
        1
    });
    assert_eq!(sent, [5, 0, 2, 0, 0, 0, 0, 0, 0x40, 0]);
    assert_eq!(driver.answer().unwrap(), Some(true));
}
