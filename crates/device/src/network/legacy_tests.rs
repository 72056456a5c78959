//! A network interface on the legacy interface.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ringwright_ring::ByteOrder;

use super::backend::Stream;
use super::*;
use crate::testing::{Bench, DEADLINE};

/// An interface on one end of a socket, and the other end.
fn connected(options: Options) -> (Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    let backend = Stream::connected(near).unwrap();
    (Network::new(Box::new(backend), options).unwrap(), far)
}

/// Header and frame as the driver gets a frame of 60 bytes.
fn received(features: Features, order: ByteOrder) -> Vec<u8> {
    let (network, mut far) = connected(Options::default());
    let mut bench = Bench::legacy(network, features, order);
    let mut queue = bench.start(RECEIVEQ1, 16);
    queue.submit(&[], &[100]);
    far.write_all(&[&60u32.to_be_bytes()[..], &[0x77; 60]].concat())
        .unwrap();
    let completed = queue.wait();
    completed.data[..completed.written as usize].to_vec()
}

#[test]
fn the_header_is_shorter_without_mergeable_buffers() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let bytes = received(Features::NONE, order);
        assert_eq!(bytes, [&[0; 10][..], &[0x77; 60]].concat());
        let bytes = received(features::MRG_RXBUF, order);
        let buffers = order.bytes16(1);
        assert_eq!(bytes, [&[0; 10][..], &buffers, &[0x77; 60]].concat());
    }
}

#[test]
fn a_frame_is_sent_behind_the_shorter_header() {
    let (network, mut far) = connected(Options::default());
    let mut bench = Bench::legacy(network, Features::NONE, ByteOrder::Big);
    let mut queue = bench.start(TRANSMITQ1, 16);
    queue.request(&[&[0; 10], &[0x33; 60]], &[]);
    let mut bytes = [0; 64];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(bytes, [&60u32.to_be_bytes()[..], &[0x33; 60]].concat()[..]);
}

#[test]
fn the_mac_address_can_be_written_until_reset() {
    let ours = [2, 0, 0, 0, 0, 1];
    let options = Options {
        mac: Some(ours),
        ..Options::default()
    };
    let (network, _far) = connected(options);
    let mut bench = Bench::legacy(network, features::MAC, ByteOrder::Little);
    let mac = |bench: &Bench| <[u8; 6]>::try_from(&bench.host.config()[..6]).unwrap();
    assert!(bench.host.write_config(0, &[9; 6]).is_err());
    bench.host.write_legacy_config(0, &[9; 6]).unwrap();
    bench.host.write_legacy_config(5, &[8]).unwrap();
    assert_eq!(mac(&bench), [9, 9, 9, 9, 9, 8]);
    assert!(bench.host.write_legacy_config(5, &[7, 7]).is_err());
    assert_eq!(mac(&bench), [9, 9, 9, 9, 9, 8]);
    let state = bench.host.save().unwrap();
    bench.host.reset();
    assert_eq!(mac(&bench), ours);
    bench.host.restore(&state).unwrap();
    assert_eq!(mac(&bench), [9, 9, 9, 9, 9, 8]);
    let (network, _far) = connected(options);
    let mut bench = bench.successor(network);
    assert_eq!(mac(&bench), ours);
    bench.host.reset();
    bench.host.restore(&state).unwrap();
    assert_eq!(mac(&bench), [9, 9, 9, 9, 9, 8]);
}
