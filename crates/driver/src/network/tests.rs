use std::string::ToString;
use std::vec;
use std::vec::Vec;

use ringwright_spec::feature;

use super::*;
use crate::testing::{Device, FORMATS, Fake};

const LENGTH: usize = 4 << 20;

/// Virtqueues of the first pair.
const RECEIVEQ: u16 = 0;
const TRANSMITQ: u16 = 1;

/// Length of the header before each frame.
const HEADER: usize = 12;

/// Length of each receive buffer where the device says no MTU.
const BUFFER: usize = HEADER + ETHERNET_HEADER + DEFAULT_MTU as usize;

type Card = (Fake, Network<Fake>, Device, Device);

/// A card over virtqueues of up to `size` descriptors, with the device ends of receiveq and transmitq.
fn card(offered: Features, size: u16) -> Card {
    card_with(offered, size, 0)
}

fn card_with(offered: Features, size: u16, mtu: u16) -> Card {
    let fake = Fake::new(DEVICE.id, offered, &[size, size], LENGTH);
    fake.board().config[..8].copy_from_slice(&[2, 3, 4, 5, 6, 7, 1, 0]);
    let at = offset_of!(Config, mtu);
    fake.board().config[at..at + 2].copy_from_slice(&mtu.to_le_bytes());
    let driver = Network::new(fake.clone(), &fake.area(), Options::default()).unwrap();
    let (receive, transmit) = (fake.device(RECEIVEQ), fake.device(TRANSMITQ));
    (fake, driver, receive, transmit)
}

fn frame(length: usize, seed: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 13 + seed) as u8).collect()
}

/// A frame with its header, cut into buffers of `lengths` bytes.
fn spread(frame: &[u8], num_buffers: u16, lengths: &[usize]) -> Vec<Vec<u8>> {
    let mut bytes = vec![0; HEADER - 2];
    bytes.extend(num_buffers.to_le_bytes());
    bytes.extend(frame);
    let mut rest = &bytes[..];
    let parts = lengths.iter().map(|length| {
        let (part, others) = rest.split_at((*length).min(rest.len()));
        rest = others;
        part.to_vec()
    });
    parts.collect()
}

/// Receives one frame that the device has put into buffers of `lengths`.
fn arrive(
    driver: &mut Network<Fake>,
    device: &mut Device,
    parts: &[Vec<u8>],
    into: &mut [u8],
) -> Result<Option<usize>, DriverError> {
    for part in parts {
        device.put(part);
    }
    driver.receive(into)
}

#[test]
fn frames_arrive_in_one_buffer_each() {
    for format in FORMATS {
        for offered in [Features::NONE, features::MRG_RXBUF] {
            for size in [1, 4, 64] {
                let (fake, mut driver, mut device, _) = card(format | offered, size);
                let mut into = [0; 2000];
                assert_eq!(driver.receive(&mut into).unwrap(), None);
                for round in 0..3 * usize::from(size) {
                    let frame = frame(14 + round, round);
                    let parts = spread(&frame, 1, &[BUFFER]);
                    let length = arrive(&mut driver, &mut device, &parts, &mut into).unwrap();
                    assert_eq!(length, Some(frame.len()));
                    assert_eq!(into[..frame.len()], frame);
                    driver.publish().unwrap();
                }
                drop(driver);
                assert!(fake.is_area_whole());
            }
        }
    }
}

#[test]
fn frames_arrive_together_and_their_buffers_go_back_together() {
    for format in FORMATS {
        let (fake, mut driver, mut device, _) = card(format, 8);
        let mut into = [0; 2000];
        let mut next = 0;
        let mut receive = |driver: &mut Network<Fake>| {
            let length = driver.receive(&mut into).unwrap()?;
            assert_eq!(into[..length], frame(14 + next, next));
            next += 1;
            Some(length)
        };
        let put = |device: &mut Device, number: usize| {
            device.put(&spread(&frame(14 + number, number), 1, &[BUFFER])[0]);
        };
        for number in 0..5 {
            put(&mut device, number);
        }
        for left in (0..5).rev() {
            assert!(receive(&mut driver).is_some());
            assert_eq!(driver.enable_notifications(), left != 0, "{left} frames are here");
        }
        assert_eq!(receive(&mut driver), None);
        for number in 5..8 {
            put(&mut device, number);
        }
        assert!(receive(&mut driver).is_some());
        assert_eq!(device.serve(9, |_, _| 0), 0, "no buffer has gone back");
        driver.publish().unwrap();
        // Those that have arrived are still to be received.
        for number in 8..14 {
            put(&mut device, number);
        }
        assert_eq!(device.serve(9, |_, _| 0), 0, "two buffers are with the driver");
        for _ in 6..14 {
            assert!(receive(&mut driver).is_some());
        }
        assert_eq!(receive(&mut driver), None);
        driver.publish().unwrap();
        assert_eq!(device.serve(99, |_, _| HEADER as u32), 8);
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn frames_arrive_spread_over_buffers() {
    for format in FORMATS {
        let (fake, mut driver, mut device, _) = card(format | features::MRG_RXBUF, 8);
        let frame = frame(5000, 1);
        let splits: [&[usize]; 4] = [
            &[BUFFER, BUFFER, BUFFER, BUFFER],
            // The header alone, and buffers that are not full.
            &[HEADER, 1000, 1500, 1500, 1000],
            &[HEADER + 1, 1000, 1500, 1500, 999],
            &[1012, 0, 1000, 0, 1500, 1500, 0],
        ];
        for _ in 0..5 {
            for lengths in splits {
                let parts = spread(&frame, lengths.len() as u16, lengths);
                let mut into = [0; 6000];
                let length = arrive(&mut driver, &mut device, &parts, &mut into).unwrap();
                assert_eq!(length, Some(5000));
                assert!(into[..5000] == frame);
                assert_eq!(driver.receive(&mut into).unwrap(), None);
                driver.publish().unwrap();
            }
        }
        // All buffers are the device's again.
        assert_eq!(device.serve(99, |_, _| HEADER as u32), 8);
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn a_frame_longer_than_the_callers_buffer_is_cut() {
    for format in FORMATS {
        let (_fake, mut driver, mut device, _) = card(format | features::MRG_RXBUF, 8);
        let frame = frame(3000, 5);
        for room in [0, 1, 60, 1499, 1522, 1523, 2999] {
            let parts = spread(&frame, 2, &[BUFFER, BUFFER]);
            let mut into = vec![0; room];
            let length = arrive(&mut driver, &mut device, &parts, &mut into).unwrap();
            assert_eq!(length, Some(3000));
            assert!(into == frame[..room]);
            driver.publish().unwrap();
        }
    }
}

#[test]
fn lies_about_the_number_of_buffers_are_errors() {
    for format in FORMATS {
        for (num_buffers, what) in [
            (0, "num_buffers"),
            (3, "fewer buffers"),
            (u16::MAX, "fewer buffers"),
        ] {
            let (fake, mut driver, mut device, _) = card(format | features::MRG_RXBUF, 8);
            let parts = spread(&frame(2000, 0), num_buffers, &[BUFFER, BUFFER]);
            let error = arrive(&mut driver, &mut device, &parts, &mut [0; 60]).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
            assert!(matches!(
                error,
                DriverError::Device {
                    device: "network",
                    ..
                }
            ));
            drop(driver);
            assert!(fake.is_area_whole());
        }
        // Without MRG_RXBUF the field says nothing to the driver.
        for num_buffers in [0, 3] {
            let (_fake, mut driver, mut device, _) = card(format, 8);
            let parts = spread(&frame(60, 0), num_buffers, &[BUFFER]);
            let length = arrive(&mut driver, &mut device, &parts, &mut [0; 60]);
            assert_eq!(length.unwrap(), Some(60));
        }
    }
}

#[test]
fn a_frame_shorter_than_its_header_is_an_error() {
    for format in FORMATS {
        for length in [0, 1, HEADER - 1] {
            let (_fake, mut driver, mut device, _) = card(format, 8);
            let error = arrive(&mut driver, &mut device, &[vec![1; length]], &mut [0; 60]).unwrap_err();
            assert!(error.to_string().contains("shorter"), "{error}");
        }
        let (_fake, mut driver, mut device, _) = card(format, 8);
        let empty = arrive(&mut driver, &mut device, &[vec![0; HEADER]], &mut [0; 60]);
        assert_eq!(empty.unwrap(), Some(0));
    }
}

#[test]
fn frames_are_sent_behind_an_empty_header() {
    for format in FORMATS {
        let (fake, mut driver, _, mut device) = card(format, 4);
        let mut sent = 0;
        for round in 0..20 {
            for number in 0..4 {
                let outcome = driver.send(&frame(60 + 300 * number, round)).unwrap();
                assert_eq!(outcome, Sent::Queued);
            }
            assert_eq!(driver.send(&frame(60, 0)).unwrap(), Sent::Full);
            assert_eq!(device.serve(9, |_, _| 0), 0, "nothing is published yet");
            driver.publish().unwrap();
            assert_eq!(driver.send(&frame(60, 0)).unwrap(), Sent::Full);
            assert!(!driver.enable_send_notifications());
            let mut number = 0;
            device.serve(9, |readable, writable| {
                let (header, content) = readable.split_at(12);
                assert!(writable.is_empty() && header == [0; 12]);
                assert!(content == frame(60 + 300 * number, round));
                number += 1;
                0
            });
            assert!(driver.enable_send_notifications());
            sent += number;
        }
        assert_eq!(sent, 80);
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn frames_beyond_the_mtu_are_not_sent_drv_net_device_configuration_layout_08() {
    let with_mtu = feature::VERSION_1 | features::MTU;
    for (offered, mtu, longest) in [
        (feature::VERSION_1, 0, 1522),
        (with_mtu, 68, 86),
        (with_mtu, 1500, 1518),
        (with_mtu, 9000, 9018),
        (with_mtu, u16::MAX, 65553),
        // No device may say so, but one does.
        (with_mtu, 0, 18),
    ] {
        let (_fake, mut driver, mut receive, _) = card_with(offered, 8, mtu);
        assert_eq!(driver.send(&vec![1; longest]).unwrap(), Sent::Queued);
        assert_eq!(driver.send(&vec![1; longest + 1]).unwrap(), Sent::TooLong);
        // drv:net:device-configuration-layout:07: such a frame can be received in one buffer, and so can the 1526 bytes
        // that every driver has room for (drv:net:setting-up-receive-buffers:02).
        receive.serve(1, |_, writable| {
            assert!(writable.len() >= HEADER + longest && writable.len() >= 1526);
            HEADER as u32
        });
    }
}

#[test]
fn fields_are_read_where_their_features_are_negotiated() {
    let (fake, mut driver, ..) = card(feature::VERSION_1, 8);
    fake.board().config.fill(0);
    assert_eq!((driver.mac(), driver.mtu()), (None, DEFAULT_MTU));
    assert!(
        driver.link_up().unwrap(),
        "drv:net:device-configuration-layout:05"
    );
    let all = feature::VERSION_1 | features::MAC | features::STATUS | features::MTU;
    let (fake, mut driver, ..) = card_with(all, 8, 1280);
    assert_eq!((driver.mac(), driver.mtu()), (Some([2, 3, 4, 5, 6, 7]), 1280));
    assert!(driver.link_up().unwrap());
    fake.board().config[6] = 0;
    assert!(!driver.link_up().unwrap());
}

#[test]
fn lies_of_the_ring_are_errors() {
    for format in FORMATS {
        for (id, written) in [(0, BUFFER as u32 + 1), (8, 60), (0xffff, 60)] {
            let (fake, mut driver, ..) = card(format, 8);
            fake.lie(RECEIVEQ, id, written);
            for _ in 0..2 {
                assert!(matches!(driver.receive(&mut [0; 60]), Err(DriverError::Ring(_))));
            }
            fake.lie(TRANSMITQ, 0, 0);
            assert!(matches!(driver.send(&[0; 60]), Err(DriverError::Ring(_))));
            drop(driver);
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn a_device_that_asks_for_more_memory_than_there_is() {
    let offered = feature::VERSION_1 | features::MTU;
    let fake = Fake::new(DEVICE.id, offered, &[256, 256], LENGTH);
    fake.board().config.fill(0xff);
    let error = Network::new(fake.clone(), &fake.area(), Options::default()).err();
    assert!(matches!(error, Some(DriverError::OutOfMemory(_))));
    assert!(!fake.is_live() && fake.is_area_whole());
}
