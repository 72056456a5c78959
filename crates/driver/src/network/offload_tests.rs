use std::vec::Vec;

use ringwright_spec::feature;
use ringwright_spec::network::Hdr;
use zerocopy::FromBytes;

use super::*;
use crate::testing::{Device, FORMATS, Fake};

const LENGTH: usize = 4 << 20;

/// A card that offers `offered`.
fn card(offered: Features) -> (Fake, Network<Fake>) {
    let fake = Fake::new(DEVICE.id, offered, &[16, 16], LENGTH);
    let extras = Extras {
        offloads: true,
        tunnels: true,
        ..Extras::default()
    };
    let driver = Network::with(fake.clone(), &fake.area(), Options::default(), extras).unwrap();
    (fake, driver)
}

/// A frame of this kind with `payload` bytes behind the transport header, whose checksum is anything.
fn frame(is_v6: bool, is_tcp: bool, payload: usize) -> Vec<u8> {
    let transport = if is_tcp { 20 } else { 8 };
    let length = (transport + payload) as u16;
    let protocol = if is_tcp { 6 } else { 17 };
    let mut frame = Vec::from([2; 12]);
    match is_v6 {
        false => {
            frame.extend([0x08, 0x00, 0x45, 0]);
            frame.extend((20 + length).to_be_bytes());
            frame.extend([0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 0xff]);
        }
        true => {
            frame.extend([0x86, 0xdd, 0x60, 0, 0, 0]);
            frame.extend(length.to_be_bytes());
            frame.extend([protocol, 64]);
            frame.extend([0xfe; 16]);
            frame.extend([0x80; 16]);
        }
    }
    let at = frame.len();
    frame.extend((0..usize::from(length)).map(|byte| byte as u8));
    if is_tcp {
        frame[at + 12..at + 14].copy_from_slice(&[0x50, 0x10]);
    }
    frame
}

/// A frame with a VLAN tag.
fn tagged(frame: &[u8]) -> Vec<u8> {
    [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat()
}

/// Where the transport header of a frame of this kind begins.
fn transport(is_v6: bool) -> usize {
    if is_v6 { 54 } else { 34 }
}

/// The ones' complement sum of all 16-bit words.
fn sum(bytes: &[u8]) -> u16 {
    bytes.chunks(2).fold(0u16, |sum, word| {
        let word = u16::from_be_bytes([word[0], word.get(1).copied().unwrap_or(0)]);
        let (sum, carry) = sum.overflowing_add(word);
        sum + u16::from(carry)
    })
}

/// The pseudo header of a frame.
fn pseudo(frame: &[u8], is_v6: bool, is_tcp: bool) -> Vec<u8> {
    let length = (frame.len() - transport(is_v6)) as u16;
    let addresses = if is_v6 { &frame[22..54] } else { &frame[26..34] };
    let tail = [0, if is_tcp { 6 } else { 17 }];
    [addresses, &tail, &length.to_be_bytes()].concat()
}

/// Header and frame of what the device is sent next.
fn next(device: &mut Device, driver: &mut Network<Fake>) -> (Hdr, Vec<u8>) {
    driver.publish().unwrap();
    let mut sent = Vec::new();
    device.serve(1, |readable, _| {
        sent.extend_from_slice(readable);
        0
    });
    let head = [&sent[..12], &[0; 20]].concat();
    (Hdr::read_from_bytes(&head).unwrap(), sent.split_off(12))
}

#[test]
fn the_device_completes_checksums() {
    for format in FORMATS {
        for (is_v6, is_tcp) in [(false, false), (false, true), (true, false), (true, true)] {
            for payload in [0, 1, 777] {
                let (fake, mut driver) = card(format | features::CSUM);
                let mut device = fake.device(1);
                let frame = frame(is_v6, is_tcp, payload);
                let outcome = driver.send_partial(&frame, Offload::Checksum).unwrap();
                assert_eq!(outcome, Sent::Queued);
                let (header, mut sent) = next(&mut device, &mut driver);
                let (start, offset) = (header.csum_start.get(), header.csum_offset.get());
                assert_eq!(usize::from(start), transport(is_v6));
                assert_eq!((header.flags, header.gso_type, header.gso_size.get()), (1, 0, 0));
                assert_eq!(header.num_buffers.get(), 0);
                assert_eq!(
                    usize::from(header.hdr_len.get()),
                    transport(is_v6) + if is_tcp { 20 } else { 8 }
                );
                // drv:net:packet-transmission:20: what the device does makes a valid checksum.
                let complete = !sum(&sent[usize::from(start)..]);
                let field = usize::from(start + offset);
                sent[field..field + 2].copy_from_slice(&complete.to_be_bytes());
                let all = [pseudo(&frame, is_v6, is_tcp), sent[usize::from(start)..].to_vec()].concat();
                assert_eq!(sum(&all), 0xffff);
                // Nothing else is changed.
                sent[field..field + 2].copy_from_slice(&frame[field..field + 2]);
                assert_eq!(sent, frame);
            }
        }
    }
}

#[test]
fn the_device_cuts_frames_into_segments() {
    let all = offload::FEATURES;
    for format in FORMATS {
        let (fake, mut driver) = card(format | all);
        let mut device = fake.device(1);
        for (is_v6, is_tcp, kind) in [
            (false, true, 1),
            (true, true, 4),
            (false, false, 5),
            (true, false, 5),
        ] {
            for payload in [1001, 60000] {
                let frame = tagged(&frame(is_v6, is_tcp, payload));
                let outcome = driver.send_partial(&frame, Offload::Segments(1000)).unwrap();
                assert_eq!(outcome, Sent::Queued);
                let (header, sent) = next(&mut device, &mut driver);
                assert_eq!(
                    (header.flags, header.gso_type, header.gso_size.get()),
                    (1, kind, 1000)
                );
                assert_eq!(usize::from(header.csum_start.get()), transport(is_v6) + 4);
                let end = transport(is_v6) + 4 + if is_tcp { 20 } else { 8 };
                assert_eq!(usize::from(header.hdr_len.get()), end);
                assert_eq!(sent.len(), frame.len());
                assert!(sent[end..] == frame[end..]);
            }
        }
        // drv:net:packet-transmission:09
        let mut congested = frame(false, true, 3000);
        congested[34 + 13] |= 0x80;
        driver.send_partial(&congested, Offload::Segments(1000)).unwrap();
        assert_eq!(next(&mut device, &mut driver).0.gso_type, 0x81);
        // What is one segment is not cut.
        driver
            .send_partial(&frame(false, true, 1000), Offload::Segments(1000))
            .unwrap();
        let header = next(&mut device, &mut driver).0;
        assert_eq!((header.flags, header.gso_type, header.gso_size.get()), (1, 0, 0));
        // drv:net:packet-transmission:24
        driver.send(&[0; 99]).unwrap();
        let header = next(&mut device, &mut driver).0;
        assert_eq!((header.flags, header.hdr_len.get()), (0, 99));
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn nothing_is_left_to_a_device_that_does_not_do_it() {
    let kinds = [
        (features::HOST_TSO4, frame(false, true, 3000)),
        (features::HOST_TSO6, frame(true, true, 3000)),
        (features::HOST_USO, frame(false, false, 3000)),
        (features::HOST_USO, frame(true, false, 3000)),
    ];
    for (feature, frame) in &kinds {
        let (_fake, mut driver) = card(feature::VERSION_1 | (offload::FEATURES - *feature));
        let outcome = driver.send_partial(frame, Offload::Segments(1000)).unwrap();
        assert_eq!(outcome, Sent::Unsuitable);
    }
    let (_fake, mut driver) = card(feature::VERSION_1 | (offload::FEATURES - features::HOST_ECN));
    let mut congested = frame(false, true, 3000);
    congested[34 + 13] |= 0x80;
    let outcome = driver.send_partial(&congested, Offload::Segments(1000)).unwrap();
    assert_eq!(outcome, Sent::Unsuitable);
    let (_fake, mut driver) = card(feature::VERSION_1);
    let outcome = driver
        .send_partial(&frame(false, true, 9), Offload::Checksum)
        .unwrap();
    assert_eq!(outcome, Sent::Unsuitable);
    // Without segmentation hdr_len says nothing, and long frames stay where they are.
    let (fake, mut driver) = card(feature::VERSION_1 | features::CSUM);
    let mut device = fake.device(1);
    driver.send(&[0; 99]).unwrap();
    assert_eq!(next(&mut device, &mut driver).0.hdr_len.get(), 0);
    let outcome = driver
        .send_partial(&frame(false, true, 3000), Offload::Checksum)
        .unwrap();
    assert_eq!(outcome, Sent::TooLong);
}

#[test]
fn frames_that_are_no_whole_segments_are_not_sent() {
    let (_fake, mut driver) = card(feature::VERSION_1 | offload::FEATURES);
    let (good, good6) = (frame(false, true, 100), frame(true, false, 100));
    let with = |frame: &[u8], at: usize, byte: u8| {
        let mut frame = frame.to_vec();
        frame[at] = byte;
        frame
    };
    for bad in [
        Vec::new(),
        good[..13].to_vec(),
        good[..40].to_vec(),
        good[..good.len() - 1].to_vec(),
        [&good[..], &[0]].concat(),
        good6[..50].to_vec(),
        [&good6[..], &[0]].concat(),
        // Another kind of frame, a short IP header, fragments, and other protocols.
        with(&good, 12, 9),
        with(&good, 14, 0x44),
        with(&good, 20, 0x20),
        with(&good, 21, 1),
        with(&good, 23, 1),
        with(&good6, 20, 0),
        // TCP headers that are too short, or longer than the frame.
        with(&good, 34 + 12, 0x40),
        with(&frame(false, true, 30), 34 + 12, 0xf0),
        tagged(&tagged(&good)),
    ] {
        for offload in [Offload::Checksum, Offload::Segments(10)] {
            let outcome = driver.send_partial(&bad, offload).unwrap();
            assert_eq!(outcome, Sent::Unsuitable, "{bad:x?}");
        }
    }
    assert_eq!(
        driver.send_partial(&good, Offload::Segments(0)).unwrap(),
        Sent::Unsuitable
    );
}

#[test]
fn as_many_long_frames_are_outstanding_as_there_are_buffers_for() {
    for format in FORMATS {
        let (fake, mut driver) = card(format | offload::FEATURES);
        let mut device = fake.device(1);
        let long = frame(false, true, 65000);
        for _ in 0..3 {
            for _ in 0..8 {
                let outcome = driver.send_partial(&long, Offload::Segments(1448)).unwrap();
                assert_eq!(outcome, Sent::Queued);
            }
            let outcome = driver.send_partial(&long, Offload::Segments(1448)).unwrap();
            assert_eq!(outcome, Sent::Full);
            assert_eq!(driver.send(&[0; 60]).unwrap(), Sent::Queued, "others have room");
            driver.publish().unwrap();
            assert_eq!(device.serve(99, |_, _| 0), 9);
        }
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

/// A frame in a UDP tunnel over IPv4, and where the network header in it begins.
fn tunneled(is_v6: bool, is_tcp: bool, payload: usize, checksum: u16) -> (Vec<u8>, u16) {
    let inner = frame(is_v6, is_tcp, payload);
    let mut outer = frame(false, false, 8 + inner.len());
    let start = transport(false);
    outer[start + 6..start + 8].copy_from_slice(&checksum.to_be_bytes());
    outer.truncate(start + 8 + 8);
    outer.extend(&inner);
    (outer, (start + 8 + 8 + 14) as u16)
}

#[test]
fn the_device_cuts_frames_in_tunnels_into_segments() {
    let all = feature::VERSION_1 | offload::FEATURES | offload::TUNNELS;
    let (fake, mut driver) = card(all);
    let mut device = fake.device(1);
    for (is_v6, is_tcp, kind) in [
        (false, true, 0x21),
        (true, true, 0x44),
        (false, false, 0x25),
        (true, false, 0x45),
    ] {
        for checksum in [0, 0x1234] {
            let (frame, network) = tunneled(is_v6, is_tcp, 3000, checksum);
            let offload = Offload::Tunneled { size: 1000, network };
            assert_eq!(driver.send_partial(&frame, offload).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            let mut bytes = Vec::new();
            device.serve(1, |readable, _| {
                bytes.extend_from_slice(readable);
                0
            });
            let sent = bytes.split_off(24);
            let header = Hdr::read_from_bytes(&[&bytes[..], &[0; 8]].concat()).unwrap();
            assert_eq!(header.flags, if checksum == 0 { 1 } else { 9 });
            assert_eq!((header.gso_type, header.gso_size.get()), (kind, 1000));
            assert_eq!(
                (header.outer_th_offset.get(), header.inner_nh_offset.get()),
                (34, network)
            );
            let start = usize::from(network) - 14 + transport(is_v6);
            let end = start + if is_tcp { 20 } else { 8 };
            assert_eq!(usize::from(header.csum_start.get()), start);
            assert_eq!(header.csum_offset.get(), if is_tcp { 16 } else { 6 });
            assert_eq!(usize::from(header.hdr_len.get()), end);
            // The inner checksum and that of the tunnel are those of pseudo headers; nothing else is changed.
            let inner = &frame[usize::from(network) - 14..];
            let field = start + usize::from(header.csum_offset.get());
            let mut expected = frame.clone();
            let seed = sum(&pseudo(inner, is_v6, is_tcp));
            expected[field..field + 2].copy_from_slice(&seed.to_be_bytes());
            if checksum != 0 {
                let seed = sum(&pseudo(&frame, false, false));
                expected[40..42].copy_from_slice(&seed.to_be_bytes());
            }
            assert_eq!(sent, expected);
        }
    }
}

#[test]
fn what_the_device_does_not_do_in_tunnels_is_not_left_to_it() {
    let all = feature::VERSION_1 | offload::FEATURES | offload::TUNNELS;
    let (plain, network) = tunneled(false, true, 3000, 0);
    let (checked, _) = tunneled(false, true, 3000, 1);
    let sent = |offered, frame: &[u8], size, network| {
        let (_fake, mut driver) = card(offered);
        driver
            .send_partial(frame, Offload::Tunneled { size, network })
            .unwrap()
    };
    assert_eq!(sent(all, &checked, 1000, network), Sent::Queued);
    let lesser = all - features::HOST_UDP_TUNNEL_GSO_CSUM;
    assert_eq!(sent(lesser, &plain, 1000, network), Sent::Queued);
    for (offered, frame, size, network) in [
        (lesser, &checked, 1000, network),
        (all - offload::TUNNELS, &plain, 1000, network),
        (all, &plain, 0, network),
        // One segment only.
        (all, &plain, 3000, network),
        // No header there, or not behind the tunnel's.
        (all, &plain, 1000, network + 1),
        (all, &plain, 1000, 14),
        (all, &plain, 1000, 0xffff),
        (all, &frame(false, true, 3000), 1000, 14),
    ] {
        assert_eq!(sent(offered, frame, size, network), Sent::Unsuitable);
    }
}
