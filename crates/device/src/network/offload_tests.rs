//! A network interface with frames of which something is left to do.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;

use ringwright_spec::network::Hdr;
use ringwright_spec::network::control::{Ack, Class};
use ringwright_spec::network::header::{GsoType, HdrFlags};
use zerocopy::FromBytes;

use super::backend::Stream;
use super::offload::tests::{cut, frame, tunnel};
use super::offload::{RECEIVED, TRANSMITTED};
use super::*;
use crate::testing::{Bench, DEADLINE, Queue, formats, wait_readable};

/// Bytes of a header of the driver, and of one on the stream.
const HEADER: usize = 12;
const FAR_HEADER: usize = 24;

/// What all drivers here accept of frames in no tunnel; the header is longer with tunnels.
const SENT: Features = Features(TRANSMITTED.0 & u64::MAX as u128);
const ACCEPTED: Features = Features(RECEIVED.0 & u64::MAX as u128);

/// An interface on one end of a socket, and the other end.
fn interface(headers: bool) -> (Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let stream = Stream::connected(near).unwrap();
    let backend = match headers {
        true => stream.with_headers(),
        false => stream,
    };
    let options = Options {
        control: true,
        ..Options::default()
    };
    (Network::new(Box::new(backend), options).unwrap(), far)
}

fn put(far: &mut UnixStream, bytes: &[u8]) {
    let prefix = (bytes.len() as u32).to_be_bytes();
    far.write_all(&[&prefix, bytes].concat()).unwrap();
}

fn take(far: &mut UnixStream) -> Vec<u8> {
    let mut prefix = [0; 4];
    far.read_exact(&mut prefix).unwrap();
    let mut bytes = vec![0; u32::from_be_bytes(prefix) as usize];
    far.read_exact(&mut bytes).unwrap();
    bytes
}

/// Frames of every kind with something left to do, in no tunnel.
fn partial() -> Vec<(Hdr, Vec<u8>)> {
    let mut frames = vec![frame(GsoType::NONE, false, 700, 0)];
    for (kind, is_v6) in [
        (GsoType::TCPV4, false),
        (GsoType::TCPV6, true),
        (GsoType::UDP_L4, false),
        (GsoType::UDP_L4, true),
        // Fragments of IPv6 count datagrams, so this one comes first.
        (GsoType::UDP, true),
        (GsoType::UDP, false),
    ] {
        frames.push(frame(kind, is_v6, 5000, 1400));
    }
    frames
}

fn exact(header: &Hdr, frame: &[u8]) -> Hdr {
    let partial = offload::Partial::of(header, ringwright_ring::ByteOrder::Little, TRANSMITTED, frame);
    partial.unwrap().header(ringwright_ring::ByteOrder::Little)
}

/// A frame that arrives, spread over any number of buffers, with its header.
fn received(queue: &mut Queue, header_size: usize) -> (Hdr, Vec<u8>) {
    let first = queue.wait();
    let mut header = [0; 32];
    header[..header_size].copy_from_slice(&first.data[..header_size]);
    let header = Hdr::read_from_bytes(&header).unwrap();
    let mut whole = first.data[header_size..first.written as usize].to_vec();
    for _ in 1..header.num_buffers.get() {
        let next = queue.wait();
        whole.extend(&next.data[..next.written as usize]);
    }
    (header, whole)
}

fn one_buffer(header: Hdr) -> Hdr {
    Hdr {
        num_buffers: 1.into(),
        ..header
    }
}

#[test]
fn what_the_driver_leaves_is_done_before_a_stream() {
    for features in formats() {
        let (network, mut far) = interface(false);
        assert!(network.description().features.contains(TRANSMITTED));
        assert!(!network.description().features.intersects(RECEIVED));
        let mut bench = Bench::new(network, features | SENT);
        let mut queue = bench.start(TRANSMITQ1, 64);
        for (header, frame) in partial() {
            // What a driver says of the length of its headers is not looked at (dev:net:packet-transmission:07).
            let header_of_driver = Hdr {
                hdr_len: 0xffff.into(),
                ..header
            };
            queue.request(&[&header_of_driver.as_bytes()[..HEADER], &frame], &[]);
            for expected in cut(&header, &frame) {
                assert_eq!(take(&mut far), expected);
            }
        }
    }
}

#[test]
fn tunnels_are_cut_before_a_stream() {
    let (network, mut far) = interface(false);
    let mut bench = Bench::new(network, formats()[0] | TRANSMITTED);
    let mut queue = bench.start(TRANSMITQ1, 64);
    for has_checksum in [false, true] {
        let (header, frame) = tunnel(GsoType::TCPV6, [false, true], has_checksum);
        queue.request(&[&header.as_bytes()[..24], &frame], &[]);
        for expected in cut(&header, &frame) {
            assert_eq!(take(&mut far), expected);
        }
    }
}

#[test]
fn segments_that_the_peer_does_not_take_wait() {
    let (network, mut far) = interface(false);
    let mut bench = Bench::new(network, formats()[3] | SENT);
    let mut queue = bench.start(TRANSMITQ1, 16);
    let (header, frame) = frame(GsoType::TCPV4, false, 65_000, 1000);
    let segments = cut(&header, &frame);
    let reader = std::thread::spawn(move || {
        // The peer reads only when nothing more fits.
        assert!(wait_readable(&far, DEADLINE));
        for round in 0..100 {
            for (number, segment) in segments.iter().enumerate() {
                assert_eq!(&take(&mut far), segment, "segment {number} of frame {round}");
            }
        }
    });
    let (mut sent, mut back) = (0, 0);
    while back < 100 {
        while sent < 100 && sent - back < 8 {
            queue.submit(&[&header.as_bytes()[..HEADER], &frame], &[]);
            sent += 1;
        }
        queue.wait();
        back += 1;
    }
    reader.join().unwrap();
}

#[test]
fn a_header_that_is_wrong_about_its_frame_goes_nowhere() {
    for headers in [false, true] {
        let (network, mut far) = interface(headers);
        let drops = network.drops();
        let mut bench = Bench::new(network, formats()[0] | (SENT - features::HOST_UFO));
        let mut queue = bench.start(TRANSMITQ1, 16);
        let (good, tcp) = frame(GsoType::TCPV4, false, 3000, 1000);
        let outside = tcp.len() as u16 - 17;
        let (fragments, udp) = frame(GsoType::UDP, false, 3000, 1000);
        for (header, frame) in [
            (
                Hdr {
                    csum_start: outside.into(),
                    ..good
                },
                &tcp,
            ),
            (
                Hdr {
                    csum_start: outside.into(),
                    gso_type: 0,
                    ..good
                },
                &tcp,
            ),
            (
                Hdr {
                    csum_offset: 0xffff.into(),
                    gso_type: 0,
                    ..good
                },
                &tcp,
            ),
            (
                Hdr {
                    gso_size: 0.into(),
                    ..good
                },
                &tcp,
            ),
            (Hdr { flags: 0, ..good }, &tcp),
            // Was not negotiated.
            (fragments, &udp),
            (
                Hdr {
                    gso_type: good.gso_type | 0x20,
                    ..good
                },
                &tcp,
            ),
        ] {
            queue.request(&[&header.as_bytes()[..HEADER], frame], &[]);
        }
        assert_eq!(drops.transmit(), 7);
        queue.request(&[&[0; HEADER], &tcp[..1000]], &[]);
        assert_eq!(
            take(&mut far)[if headers { FAR_HEADER } else { 0 }..],
            tcp[..1000]
        );
    }
}

#[test]
fn headers_go_through_to_another_card() {
    for (tunnels, header_size) in [(false, HEADER), (true, 24)] {
        let (network, mut far) = interface(true);
        let (sent, accepted, mut frames) = match tunnels {
            false => (SENT, ACCEPTED, partial()),
            true => (TRANSMITTED, RECEIVED, partial()),
        };
        if tunnels {
            frames.push(tunnel(GsoType::TCPV4, [true, false], true));
            frames.push(tunnel(GsoType::UDP_L4, [false, true], false));
        }
        assert!(network.description().features.contains(sent | accepted));
        let mut bench = Bench::new(network, formats()[1] | sent | accepted);
        let mut receiveq = bench.start(RECEIVEQ1, 16);
        let mut transmitq = bench.start(TRANSMITQ1, 16);
        for (header, frame) in frames {
            transmitq.request(&[&header.as_bytes()[..header_size], &frame], &[]);
            let bytes = take(&mut far);
            let exact = exact(&header, &frame);
            assert_eq!(bytes[..FAR_HEADER], exact.as_bytes()[..FAR_HEADER]);
            assert_eq!(bytes[FAR_HEADER..], frame);

            receiveq.submit(&[], &[70_000]);
            put(&mut far, &bytes);
            assert_eq!(received(&mut receiveq, header_size), (one_buffer(exact), frame));
        }
        // A checksum that was looked at already.
        let mut valid = [0; FAR_HEADER];
        valid[0] = HdrFlags::DATA_VALID.0;
        receiveq.submit(&[], &[2000]);
        put(&mut far, &[&valid[..], &[7; 60]].concat());
        assert_eq!(
            received(&mut receiveq, header_size).0.flags,
            HdrFlags::DATA_VALID.0
        );
        // A header that is wrong about its frame goes nowhere, and the next frame is received.
        valid[..2].copy_from_slice(&[1, 1]);
        put(&mut far, &[&valid[..], &[7; 60]].concat());
        receiveq.submit(&[], &[2000]);
        put(&mut far, &[&[0; FAR_HEADER][..], &[8; 60]].concat());
        assert_eq!(
            received(&mut receiveq, header_size),
            (one_buffer(Hdr::default()), vec![8; 60])
        );
    }
}

#[test]
fn what_the_driver_does_not_take_is_done_for_it() {
    for features in formats() {
        for mergeable in [Features::NONE, features::MRG_RXBUF] {
            let (network, mut far) = interface(true);
            let mut bench = Bench::new(network, features | mergeable);
            let mut queue = bench.start(RECEIVEQ1, 64);
            let mut frames = partial();
            frames.push(tunnel(GsoType::TCPV4, [true, false], true));
            for (header, frame) in frames {
                let segments = cut(&header, &frame);
                put(
                    &mut far,
                    &[&exact(&header, &frame).as_bytes()[..FAR_HEADER], &frame].concat(),
                );
                for segment in segments {
                    // One at a time: the rest waits.
                    queue.submit(&[], &[1600]);
                    assert_eq!(
                        received(&mut queue, HEADER),
                        (one_buffer(Hdr::default()), segment)
                    );
                }
            }
            let mut valid = [0; FAR_HEADER];
            valid[0] = HdrFlags::DATA_VALID.0;
            queue.submit(&[], &[2000]);
            put(&mut far, &[&valid[..], &[7; 60]].concat());
            // dev:net:processing-of-incoming-packets:05
            assert_eq!(received(&mut queue, HEADER).0.flags, 0);
        }
    }
}

#[test]
fn offloads_are_switched_by_command_and_move() {
    fn command(queue: &mut Queue, command: u8, offloads: u64) -> bool {
        let answer = queue.request(
            &[&[Class::GUEST_OFFLOADS.0, command], &offloads.to_le_bytes()],
            &[1],
        );
        answer.data == [Ack::OK.0]
    }
    /// Whether a frame arrives as it was sent.
    fn passes(receiveq: &mut Queue, far: &mut UnixStream) -> bool {
        let (header, frame) = frame(GsoType::TCPV4, false, 5000, 1400);
        put(
            far,
            &[&exact(&header, &frame).as_bytes()[..FAR_HEADER], &frame].concat(),
        );
        let mut arrived = 0;
        while arrived < 5000 {
            receiveq.submit(&[], &[6000]);
            let (header, frame) = received(receiveq, HEADER);
            if header.gso_type != 0 {
                return true;
            }
            arrived += frame.len() - 66;
        }
        false
    }
    const CSUM_AND_TSO: u64 = 1 << 1 | 1 << 7;
    let features = formats()[0]
        | features::CTRL_VQ
        | features::CTRL_GUEST_OFFLOADS
        | features::GUEST_CSUM
        | features::GUEST_TSO4;
    let (network, mut far) = interface(true);
    let bench = Bench::new(network, features);
    let start = |mut bench: Bench| {
        let queues = [RECEIVEQ1, CONTROLQ].map(|index| bench.start(index, 16));
        (bench, queues)
    };
    let (mut bench, [mut receiveq, mut controlq]) = start(bench);
    // "Upon feature negotiation corresponding offload gets enabled".
    assert!(passes(&mut receiveq, &mut far));
    for (number, offloads) in [
        (1, CSUM_AND_TSO),
        (0, 1 << 8),
        (0, CSUM_AND_TSO | 1 << 46),
        (0, CSUM_AND_TSO | 1 << 3),
        (0, CSUM_AND_TSO | 1 << 63),
    ] {
        assert!(!command(&mut controlq, number, offloads), "{number} {offloads:x}");
    }
    assert!(passes(&mut receiveq, &mut far));
    assert!(command(&mut controlq, 0, 1 << 1));
    assert!(!passes(&mut receiveq, &mut far));
    assert!(command(&mut controlq, 0, CSUM_AND_TSO));
    assert!(passes(&mut receiveq, &mut far));
    assert!(command(&mut controlq, 0, 0));
    assert!(!passes(&mut receiveq, &mut far));

    for queue in [RECEIVEQ1, CONTROLQ] {
        bench.host.stop_queue(queue).unwrap();
    }
    let saved = bench.host.save().unwrap();
    let (network, mut far) = interface(true);
    let mut other = bench.successor(network);
    other.host.reset();
    other.host.restore(&saved).unwrap();
    let (mut other, [mut receiveq, _controlq]) = start(other);
    assert!(!passes(&mut receiveq, &mut far));
    for queue in [RECEIVEQ1, CONTROLQ] {
        other.host.stop_queue(queue).unwrap();
    }
    other.host.reset();
    other.host.set_features(features).unwrap();
    let memory = other.memory();
    other.host.set_memory(memory).unwrap();
    let (_other, [mut receiveq, _controlq]) = start(other);
    assert!(passes(&mut receiveq, &mut far));
}

#[test]
fn without_the_features_there_is_no_command() {
    for offered in [true, false] {
        let (network, _far) = interface(offered);
        let has = network
            .description()
            .features
            .contains(features::CTRL_GUEST_OFFLOADS);
        assert_eq!(has, offered);
        let mut bench = Bench::new(network, formats()[0] | features::CTRL_VQ);
        let mut queue = bench.start(CONTROLQ, 16);
        let answer = queue.request(&[&[Class::GUEST_OFFLOADS.0, 0], &[0; 8]], &[1]);
        assert_eq!(answer.data, [Ack::ERR.0]);
    }
}
