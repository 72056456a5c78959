use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use ringwright_spec::network::Hdr;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use super::backend::{MAX_FRAME, Stream, Tap};
use super::*;
use crate::testing::{Bench, DEADLINE, Queue, formats, wait_readable, wait_until};

const HEADER: usize = 12;

fn frame(length: usize, seed: u8) -> Vec<u8> {
    (0..length)
        .map(|i| (i as u8).wrapping_mul(7) ^ (i >> 8) as u8 ^ seed)
        .collect()
}

fn put(stream: &mut UnixStream, frame: &[u8]) {
    let prefix = (frame.len() as u32).to_be_bytes();
    stream.write_all(&[&prefix, frame].concat()).unwrap();
}

fn take(stream: &mut UnixStream) -> Vec<u8> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// An interface on one end of a socket, and the other end.
fn connected(options: Options) -> (Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let backend = Stream::connected(near).unwrap();
    (Network::new(Box::new(backend), options).unwrap(), far)
}

fn transmit(queue: &mut Queue, frame: &[u8]) {
    assert_eq!(queue.request(&[&[0; HEADER], frame], &[]).written, 0);
}

/// A frame in one buffer, without its header.
fn received(queue: &mut Queue) -> Vec<u8> {
    let completed = queue.wait();
    let header = Hdr {
        num_buffers: 1.into(),
        ..Hdr::default()
    };
    assert_eq!(completed.data[..HEADER], header.as_bytes()[..HEADER]);
    completed.data[HEADER..completed.written as usize].to_vec()
}

fn link_up(bench: &Bench) -> bool {
    let mut config = [0xff; 10];
    bench.host.read_config(0, &mut config).unwrap();
    assert_eq!(config[8], 1);
    config[6] == 1
}

#[test]
fn frames_go_both_ways() {
    for features in formats() {
        for more in [Features::NONE, features::MRG_RXBUF] {
            let (network, mut far) = connected(Options::default());
            let mut bench = Bench::new(network, features | more);
            let mut receiveq = bench.start(RECEIVEQ1, 64);
            let mut transmitq = bench.start(TRANSMITQ1, 64);
            for (length, seed) in [(60, 1), (1514, 2), (14, 3), (9000, 4)] {
                receiveq.submit(&[], &[HEADER, 10_000]);
                put(&mut far, &frame(length, seed));
                assert_eq!(received(&mut receiveq), frame(length, seed));
                transmit(&mut transmitq, &frame(length, seed));
                assert_eq!(take(&mut far), frame(length, seed));
            }
        }
    }
}

#[test]
fn a_frame_is_spread_over_the_buffers_it_needs() {
    for features in formats() {
        let (network, mut far) = connected(Options::default());
        let drops = network.drops();
        let mut bench = Bench::new(network, features | features::MRG_RXBUF);
        let mut queue = bench.start(RECEIVEQ1, 128);
        for _ in 0..40 {
            queue.add(&[], &[300, 200]);
        }
        queue.publish();
        let mut counts = Vec::new();
        for (length, seed) in [(488, 1), (489, 2), (5000, 3), (60, 4)] {
            put(&mut far, &frame(length, seed));
            let first = queue.wait();
            let buffers = u16::from_le_bytes([first.data[10], first.data[11]]);
            let mut whole = first.data[HEADER..first.written as usize].to_vec();
            for _ in 1..buffers {
                let next = queue.wait();
                whole.extend(&next.data[..next.written as usize]);
            }
            assert_eq!(whole, frame(length, seed));
            counts.push(buffers);
        }
        assert_eq!(counts, [1, 2, 11, 1]);
        // 25 buffers are left, of 500 bytes each: too few for this one, enough for the next.
        put(&mut far, &frame(25 * 500, 5));
        put(&mut far, &frame(25 * 500 - HEADER, 6));
        let first = queue.wait();
        assert_eq!(first.data[HEADER..], frame(25 * 500 - HEADER, 6)[..500 - HEADER]);
        assert_eq!((drops.receive(), drops.transmit()), (1, 0));
    }
}

#[test]
fn frames_without_buffers_wait() {
    for features in formats() {
        let (network, mut far) = connected(Options::default());
        let mut bench = Bench::new(network, features);
        let mut queue = bench.start(RECEIVEQ1, 16);
        let sender = std::thread::spawn(move || {
            for i in 0..2000u32 {
                put(&mut far, &frame(1000 + i as usize % 500, i as u8));
            }
            far
        });
        for i in 0..2000u32 {
            queue.submit(&[], &[1526]);
            assert_eq!(
                received(&mut queue),
                frame(1000 + i as usize % 500, i as u8),
                "frame {i}"
            );
        }
        drop(sender.join().unwrap());
    }
}

#[test]
fn frames_that_the_peer_does_not_take_wait() {
    for features in formats() {
        let (network, mut far) = connected(Options::default());
        let mut bench = Bench::new(network, features);
        let mut queue = bench.start(TRANSMITQ1, 16);
        let reader = std::thread::spawn(move || {
            let mut count = 0;
            // The peer reads only when nothing more fits.
            assert!(wait_readable(&far, DEADLINE));
            while count < 2000 {
                assert_eq!(take(&mut far), frame(1400, count as u8), "frame {count}");
                count += 1;
            }
        });
        let (mut sent, mut back) = (0, 0);
        while back < 2000 {
            while sent < 2000 && sent - back < 8 {
                queue.submit(&[&[0; HEADER], &frame(1400, sent as u8)], &[]);
                sent += 1;
            }
            queue.wait();
            back += 1;
        }
        reader.join().unwrap();
    }
}

#[test]
fn a_frame_in_pieces_is_one_frame() {
    let (network, mut far) = connected(Options::default());
    let mut bench = Bench::new(network, formats()[0]);
    let mut queue = bench.start(RECEIVEQ1, 16);
    let sent = frame(100, 1);
    for byte in [&100u32.to_be_bytes()[..], &sent].concat() {
        queue.submit(&[], &[1526]);
        far.write_all(&[byte]).unwrap();
        if queue.in_flight() == 16 {
            break;
        }
    }
    far.write_all(&sent[12..]).unwrap();
    assert_eq!(received(&mut queue), sent);
}

#[test]
fn when_the_peer_leaves_the_link_is_down_until_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer");
    let listener = UnixListener::bind(&path).unwrap();
    let network = Network::new(Box::new(Stream::listen(listener).unwrap()), Options::default()).unwrap();
    let drops = network.drops();
    let mut bench = Bench::new(network, formats()[3] | features::STATUS);
    let mut receiveq = bench.start(RECEIVEQ1, 16);
    let mut transmitq = bench.start(TRANSMITQ1, 16);
    assert!(!link_up(&bench));
    transmit(&mut transmitq, &frame(60, 0));
    assert_eq!(drops.transmit(), 1);
    for round in 0..3 {
        let mut peer = UnixStream::connect(&path).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        bench.events.wait_config_changes(2 * round + 1);
        assert!(link_up(&bench));
        receiveq.submit(&[], &[1526]);
        put(&mut peer, &frame(60, round as u8));
        assert_eq!(received(&mut receiveq), frame(60, round as u8));
        transmit(&mut transmitq, &frame(60, 9));
        assert_eq!(take(&mut peer), frame(60, 9));
        // It leaves in the middle of a frame, of which nothing may reach the next one's.
        peer.write_all(&[0, 0, 0, 60, 1, 2, 3]).unwrap();
        drop(peer);
        bench.events.wait_config_changes(2 * round + 2);
        assert!(!link_up(&bench));
    }
    assert!(bench.events.resets().is_empty());
}

#[test]
fn we_find_a_peer_that_listens_later_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("peer");
    let network = Network::new(Box::new(Stream::connect(&path)), Options::default()).unwrap();
    let mut bench = Bench::new(network, formats()[0] | features::STATUS);
    let mut queue = bench.start(RECEIVEQ1, 16);
    for round in 0..2 {
        let listener = UnixListener::bind(&path).unwrap();
        assert!(wait_readable(&listener, DEADLINE));
        let (mut peer, _) = listener.accept().unwrap();
        bench.events.wait_config_changes(2 * round + 1);
        queue.submit(&[], &[1526]);
        put(&mut peer, &frame(60, round as u8));
        assert_eq!(received(&mut queue), frame(60, round as u8));
        std::fs::remove_file(&path).unwrap();
        drop((listener, peer));
        bench.events.wait_config_changes(2 * round + 2);
    }
}

#[test]
fn a_peer_that_talks_nonsense_is_cut_off() {
    let (network, mut far) = connected(Options::default());
    let mut bench = Bench::new(network, formats()[0] | features::STATUS);
    let mut queue = bench.start(RECEIVEQ1, 16);
    queue.submit(&[], &[1526]);
    assert!(link_up(&bench));
    far.write_all(&(MAX_FRAME as u32 + 1).to_be_bytes()).unwrap();
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    bench.events.wait_config_changes(1);
    assert!(!link_up(&bench));
    bench.host.stop_queue(RECEIVEQ1).unwrap();
}

#[test]
fn what_is_no_frame_is_dropped() {
    let options = Options {
        mtu: Some(1500),
        ..Options::default()
    };
    let (network, mut far) = connected(options);
    let drops = network.drops();
    let mut bench = Bench::new(network, formats()[0] | features::MTU);
    let mut receiveq = bench.start(RECEIVEQ1, 16);
    let mut transmitq = bench.start(TRANSMITQ1, 16);
    let mut gso = [0; HEADER];
    gso[1] = 1;
    for chain in [
        &[&gso[..], &frame(60, 1)][..],
        &[&[0; 5]],
        &[&[0; HEADER]],
        &[&[0; HEADER], &[0; 13]],
    ] {
        transmitq.request(chain, &[]);
    }
    transmitq.request(&[&[0; HEADER], &vec![0; MAX_FRAME + 1]], &[]);
    transmitq.request(&[], &[100]);
    assert_eq!(drops.transmit(), 6);
    // Flags that were not negotiated mean nothing (dev:net:packet-transmission:01).
    let mut flags = [0; HEADER];
    flags[0] = 0xff;
    transmitq.request(&[&flags, &frame(60, 2)], &[]);
    assert_eq!(take(&mut far), frame(60, 2));

    let mut tagged = frame(1518, 3);
    tagged[12..14].copy_from_slice(&[0x81, 0]);
    for frame in [
        frame(0, 1),
        frame(13, 1),
        frame(1515, 1),
        [&tagged[..], &[1]].concat(),
    ] {
        put(&mut far, &frame);
    }
    receiveq.submit(&[], &[100]);
    put(&mut far, &frame(1000, 1));
    wait_until("five frames are dropped", || drops.receive() == 5);
    put(&mut far, &frame(88, 4));
    assert_eq!(received(&mut receiveq), frame(88, 4));
    receiveq.submit(&[], &[2000]);
    put(&mut far, &tagged);
    assert_eq!(received(&mut receiveq), tagged);
}

#[test]
fn the_configuration_space_and_options() {
    let mac = [0x52, 0x54, 0, 1, 2, 3];
    let options = Options {
        mac: Some(mac),
        mtu: Some(9000),
        ..Options::default()
    };
    let (network, _far) = connected(options);
    let bench = Bench::new(network, formats()[0] | features::MAC | features::MTU);
    let mut config = [0xff; 12];
    bench.host.read_config(0, &mut config).unwrap();
    assert_eq!(config, [0x52, 0x54, 0, 1, 2, 3, 1, 0, 1, 0, 0x28, 0x23]);
    assert!(!bench.host.offered_features().contains(features::CTRL_VQ));

    let (network, _far) = connected(Options::default());
    assert!(
        !network
            .description()
            .features
            .intersects(features::MAC | features::MTU)
    );
    let refused = |options| {
        let (near, _) = UnixStream::pair().unwrap();
        Network::new(Box::new(Stream::connected(near).unwrap()), options)
            .err()
            .unwrap()
    };
    let mtu = refused(Options {
        mtu: Some(67),
        ..Options::default()
    });
    assert_eq!(mtu, OptionsError::Mtu(67));
    for mac in [[0; 6], [1, 0, 0, 0, 0, 1]] {
        let options = Options {
            mac: Some(mac),
            ..Options::default()
        };
        assert_eq!(refused(options), OptionsError::Mac(mac));
    }
}

#[test]
fn a_tap_carries_one_frame_at_a_time() {
    // A packet socket stands in for the interface: what it is given and gives is the same.
    for features in formats() {
        let (near, far) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let backend = Tap::from_descriptor(near).unwrap();
        let network = Network::new(Box::new(backend), Options::default()).unwrap();
        let mut bench = Bench::new(network, features);
        let mut receiveq = bench.start(RECEIVEQ1, 16);
        let mut transmitq = bench.start(TRANSMITQ1, 16);
        for seed in 0..100 {
            rustix::io::write(&far, &frame(60 + usize::from(seed), seed)).unwrap();
            receiveq.submit(&[], &[1526]);
            assert_eq!(received(&mut receiveq), frame(60 + usize::from(seed), seed));
            transmit(&mut transmitq, &frame(1514, seed));
            let mut buffer = [0; 2000];
            assert_eq!(rustix::io::read(&far, &mut buffer).unwrap(), 1514);
            assert_eq!(buffer[..1514], frame(1514, seed));
        }
        assert!(link_up(&bench));
    }
}
