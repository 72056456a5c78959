use std::vec;
use std::vec::Vec;

use ringwright_spec::feature;

use super::line::{BUFFER_BYTES, BUFFERS};
use super::*;
use crate::testing::{Call, Device, FORMATS, Fake};

const LENGTH: usize = 1 << 20;

/// The virtqueues of port 0.
const RECEIVEQ: u16 = 0;
const TRANSMITQ: u16 = 1;

/// A console over virtqueues of up to `size` descriptors, with the device ends of receiveq and transmitq.
fn console(format: Features, size: u16) -> (Fake, Console<Fake>, Device, Device) {
    let fake = Fake::new(DEVICE.id, format, &[size, size], LENGTH);
    let driver = Console::new(fake.clone(), &fake.area(), Options::default()).unwrap();
    let (receive, transmit) = (fake.device(RECEIVEQ), fake.device(TRANSMITQ));
    (fake, driver, receive, transmit)
}

/// Takes output of up to `most` buffers.
fn take(device: &mut Device, most: usize) -> Vec<u8> {
    let mut taken = Vec::new();
    device.serve(most, |readable, writable| {
        assert!(writable.is_empty(), "drv:console:device-operation:02");
        taken.extend_from_slice(readable);
        0
    });
    taken
}

/// Bytes that tell their place.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + at / 251) as u8).collect()
}

#[test]
fn input_is_read_in_parts() {
    for format in FORMATS {
        let (fake, mut driver, mut device, _) = console(format, 64);
        let mut into = [0; 5];
        assert_eq!(driver.read(&mut into).unwrap(), 0);
        device.put(b"hello, ");
        device.put(b"world");
        let mut parts = Vec::new();
        loop {
            let length = driver.read(&mut into).unwrap();
            if length == 0 {
                break;
            }
            parts.push(into[..length].to_vec());
        }
        assert_eq!(parts, [&b"hello"[..], b", wor", b"ld"]);
        assert_eq!(driver.read(&mut []).unwrap(), 0);
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn many_small_inputs_keep_their_order_and_buffers_go_back() {
    for format in FORMATS {
        for size in [1, 2, 16, 64] {
            let (_fake, mut driver, mut device, _) = console(format, size);
            let buffers = size.min(BUFFERS);
            let mut sent = 0u8;
            let mut expected = 0u8;
            for _ in 0..50 {
                for _ in 0..buffers {
                    device.put(&[sent]);
                    sent = sent.wrapping_add(1);
                }
                assert_eq!(device.serve(1, |_, _| 0), 0, "no buffer is left");
                let mut into = [0; 64];
                let length = driver.read(&mut into).unwrap();
                assert_eq!(length, usize::from(buffers));
                for byte in &into[..length] {
                    assert_eq!(*byte, expected);
                    expected = expected.wrapping_add(1);
                }
            }
        }
    }
}

#[test]
fn a_buffer_is_not_given_back_before_it_is_read_completely() {
    let (_fake, mut driver, mut device, _) = console(feature::VERSION_1, 1);
    device.put(b"ab");
    assert_eq!(driver.read(&mut [0; 1]).unwrap(), 1);
    assert_eq!(device.serve(1, |_, _| 0), 0);
    let mut into = [0; 9];
    assert_eq!((driver.read(&mut into).unwrap(), into[0]), (1, b'b'));
    device.put(b"c");
}

#[test]
fn empty_used_buffers_go_back() {
    for format in FORMATS {
        let (_fake, mut driver, mut device, _) = console(format, 4);
        for _ in 0..10 {
            assert_eq!(device.serve(9, |_, _| 0), 4);
            assert_eq!(driver.read(&mut [0; 9]).unwrap(), 0);
        }
        device.put(b"x");
        assert_eq!(driver.read(&mut [0; 9]).unwrap(), 1);
    }
}

#[test]
fn output_waits_for_the_device() {
    for format in FORMATS {
        for size in [1, 3, 64] {
            let (fake, mut driver, _, mut device) = console(format, size);
            // The size of a split virtqueue is a power of 2.
            let packed = format.contains(feature::RING_PACKED);
            let buffers = if packed || size != 3 { size.min(BUFFERS) } else { 2 };
            let room = usize::from(buffers) * BUFFER_BYTES;
            let bytes = pattern(100_000);
            let mut done = driver.write(&bytes).unwrap();
            assert_eq!(done, room);
            assert_eq!(driver.write(&bytes[done..]).unwrap(), 0);
            assert!(!driver.flushed().unwrap());
            let mut taken = Vec::new();
            while done < bytes.len() {
                taken.extend(take(&mut device, 1));
                let more = driver.write(&bytes[done..]).unwrap();
                assert_eq!(more, BUFFER_BYTES.min(bytes.len() - done));
                done += more;
            }
            taken.extend(take(&mut device, 99));
            assert!(taken == bytes && driver.flushed().unwrap());
            assert_eq!(driver.write(&[]).unwrap(), 0);
            assert!(driver.flushed().unwrap());
            drop(driver);
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn notifications_are_of_both_directions() {
    for format in FORMATS {
        let (_fake, mut driver, mut receive, mut transmit) = console(format, 8);
        assert!(!driver.enable_notifications());
        receive.put(b"ab");
        assert!(driver.enable_notifications());
        assert_eq!(driver.read(&mut [0; 1]).unwrap(), 1);
        assert!(driver.enable_notifications(), "there is input left");
        assert_eq!(driver.read(&mut [0; 9]).unwrap(), 1);
        assert!(!driver.enable_notifications());
        driver.write(b"c").unwrap();
        assert!(!driver.enable_notifications());
        take(&mut transmit, 1);
        assert!(driver.enable_notifications());
        // Whoever only reads must not be told again and again of output.
        assert_eq!(driver.read(&mut [0; 9]).unwrap(), 0);
        assert!(!driver.enable_notifications());
    }
}

#[test]
fn lies_are_errors() {
    for format in FORMATS {
        for (id, written) in [(0, 1025), (0, u32::MAX), (8, 1), (0xffff, 0)] {
            let (fake, mut driver, ..) = console(format, 8);
            fake.lie(RECEIVEQ, id, written);
            for _ in 0..2 {
                assert!(matches!(driver.read(&mut [0; 9]), Err(DriverError::Ring(_))));
            }
            drop(driver);
            assert!(fake.is_area_whole());
            // The transmitq has no device-writable buffer, and none at all yet.
            for (bytes, written) in [(&b"out"[..], 1), (&b""[..], 0)] {
                let (fake, mut driver, ..) = console(format, 8);
                driver.write(bytes).unwrap();
                fake.lie(TRANSMITQ, id, written);
                assert!(matches!(driver.flushed(), Err(DriverError::Ring(_))));
                assert!(matches!(driver.write(b"more"), Err(DriverError::Ring(_))));
                drop(driver);
                assert!(fake.is_area_whole());
            }
        }
    }
}

#[test]
fn size_is_known_where_the_feature_is_negotiated() {
    for (offered, expected) in [(Features::NONE, None), (features::SIZE, Some((132, 43)))] {
        let fake = Fake::new(DEVICE.id, feature::VERSION_1 | offered, &[8, 8], LENGTH);
        fake.board().config[..4].copy_from_slice(&[132, 0, 43, 0]);
        let mut driver = Console::new(fake.clone(), &fake.area(), Options::default()).unwrap();
        let size = driver.size().unwrap();
        assert_eq!(size.map(|size| (size.columns, size.rows)), expected);
    }
}

#[test]
fn emergency_output_needs_no_set_up() {
    for (offered, expected) in [(Features::NONE, false), (features::EMERG_WRITE, true)] {
        let mut fake = Fake::new(DEVICE.id, feature::VERSION_1 | offered, &[], LENGTH);
        assert_eq!(emergency_write(&mut fake, b'!').unwrap(), expected);
        let written = fake.board().config[offset_of!(Config, emerg_wr)..][..4].to_vec();
        assert_eq!(written, if expected { vec![b'!', 0, 0, 0] } else { vec![0; 4] });
        let log = if expected { vec![Call::Config] } else { vec![] };
        assert_eq!(fake.board().log, log);
    }
}

#[test]
fn buffers_are_posted_before_driver_ok_and_notified_after() {
    let (fake, ..) = console(feature::VERSION_1, 8);
    let log = fake.board().log.clone();
    let at = |call| log.iter().position(|other| *other == call);
    assert!(at(Call::Status(15)).unwrap() < at(Call::Notify(RECEIVEQ)).unwrap());
    assert_eq!(at(Call::Notify(TRANSMITQ)), None);
}
