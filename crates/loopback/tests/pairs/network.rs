//! Network cards: frames in both directions at once.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;

use ringwright_device::network::{self, backend};
use ringwright_driver::Transport;
use ringwright_driver::network::{Network, Sent};
use ringwright_loopback::Loopback;
use ringwright_spec::feature;

use crate::common::*;

/// Frames in each direction.
const FRAMES: u64 = 600;

pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// A network card without limits, and what its cable leads to.
pub fn device(mtu: Option<u16>) -> (network::Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let backend = backend::Stream::connected(near).unwrap();
    let options = network::Options {
        mac: Some(MAC),
        mtu,
        ..network::Options::default()
    };
    (network::Network::new(Box::new(backend), options).unwrap(), far)
}

/// The frame of a number.
pub fn frame(number: u64) -> Vec<u8> {
    content(number, 14 + mix(number) as usize % 1500)
}

/// Sends a frame from the far end of the cable.
pub fn put(far: &mut UnixStream, frame: &[u8]) {
    far.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    far.write_all(frame).unwrap();
}

/// Receives a frame at the far end of the cable.
pub fn take(far: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    far.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    far.read_exact(&mut frame).unwrap();
    frame
}

/// Waits for the next frame at the driver's end.
fn receive(driver: &mut Network<Loopback>, into: &mut [u8]) -> usize {
    loop {
        if let Some(length) = driver.receive(into).unwrap() {
            driver.publish().unwrap();
            return length;
        }
        if !driver.enable_notifications() {
            wait(driver.session().transport());
        }
    }
}

#[test]
fn both_directions_at_once() {
    for (format, size) in shapes() {
        for mtu in [None, Some(1500)] {
            let (device, far) = device(mtu);
            let loopback = join(device, format);
            let area = loopback.area().clone();
            let mut driver = Network::new(loopback, &area, options(format, size)).unwrap();
            assert_eq!(driver.session().features() & !feature::DEVICE_TYPE_BITS, format);
            assert_eq!((driver.mac(), driver.link_up().unwrap()), (Some(MAC), true));

            let far = exercise(&mut driver, far, wait);
            drop(driver);
            drop(far);
            assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
        }
    }
}

/// Both directions at once, on a network card whose cable leads to `far`. That is given back, so that the link stays up.
pub fn exercise<T: Transport>(
    driver: &mut Network<T>,
    mut far: UnixStream,
    mut wait: impl FnMut(&mut T),
) -> UnixStream {
    let mut source = far.try_clone().unwrap();
    let writer = thread::spawn(move || (0..FRAMES).for_each(|number| put(&mut source, &frame(number))));
    // Nothing is taken before all frames have arrived, so that those of the driver back up.
    let (go, start) = channel();
    let reader = thread::spawn(move || {
        start.recv_timeout(DEADLINE).unwrap();
        for number in 0..FRAMES {
            assert!(take(&mut far) == frame(FRAMES + number), "frame {number}");
        }
        far
    });

    let (mut received, mut sent) = (0, 0);
    let mut into = [0; 1600];
    let deadline = Deadline::new();
    while received < FRAMES || sent < FRAMES {
        deadline.check();
        let before = received + sent;
        while sent < FRAMES && driver.send(&frame(FRAMES + sent)).unwrap() == Sent::Queued {
            sent += 1;
        }
        while let Some(length) = driver.receive(&mut into).unwrap() {
            assert!(into[..length] == frame(received), "frame {received}");
            received += 1;
            if received == FRAMES {
                go.send(()).unwrap();
            }
        }
        driver.publish().unwrap();
        let ready = driver.enable_notifications() | driver.enable_send_notifications();
        if received + sent == before && !ready {
            wait(driver.session().transport());
        }
    }
    writer.join().unwrap();
    reader.join().unwrap()
}

#[test]
fn frames_larger_than_a_buffer() {
    for format in formats() {
        let (device, mut far) = device(None);
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let mut driver = Network::new(loopback, &area, options(format, 64)).unwrap();
        let mut into = vec![0; 65536];
        // The device spreads a frame over 32 buffers at most.
        for number in 0..32 {
            let frame = content(number, 1400 + 1500 * number as usize);
            put(&mut far, &frame);
            let length = receive(&mut driver, &mut into);
            assert!(into[..length] == frame, "{} bytes", frame.len());
            assert_eq!(driver.send(&frame[..1400]).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            assert!(take(&mut far) == frame[..1400]);
        }
    }
}

#[test]
fn the_link_goes_down_when_the_peer_leaves() {
    let (device, far) = device(None);
    let loopback = join(device, feature::VERSION_1);
    let area = loopback.area().clone();
    let mut driver = Network::new(loopback, &area, options(feature::VERSION_1, 8)).unwrap();
    assert!(driver.link_up().unwrap());
    drop(far);
    let deadline = Deadline::new();
    while driver.link_up().unwrap() {
        deadline.check();
        wait(driver.session().transport());
    }
}
