use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use super::backend::{Descriptors, Log, UnixSocket};
use super::*;
use crate::testing::{Bench, DEADLINE, Queue, formats, wait_readable};

const MIB: usize = 1 << 20;

/// The virtqueues of port 0.
const RECEIVEQ: u16 = 0;
const TRANSMITQ: u16 = 1;

/// A console whose input and output are one end of a socket, and the other end.
fn console() -> (Console, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    let backend = Descriptors::new(near.try_clone().unwrap().into(), near.into()).unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    (Console::new(Box::new(backend), None), far)
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 8)) as u8)
        .collect()
}

/// Takes input until there are `length` bytes, giving the device buffers of 1000 bytes.
fn receive(queue: &mut Queue, length: usize) -> Vec<u8> {
    let mut input = Vec::new();
    while input.len() < length {
        queue.submit(&[], &[400, 600]);
        let completed = queue.wait();
        assert!(completed.written > 0);
        input.extend(&completed.data[..completed.written as usize]);
    }
    input
}

#[test]
fn bytes_go_both_ways() {
    for features in formats() {
        let (console, mut far) = console();
        let mut bench = Bench::new(console, features);
        let mut input = bench.start(RECEIVEQ, 16);
        let mut output = bench.start(TRANSMITQ, 16);
        assert_eq!(output.request(&[b"log", b"in: "], &[]).written, 0);
        let mut prompt = [0; 7];
        far.read_exact(&mut prompt).unwrap();
        assert_eq!(&prompt, b"login: ");
        // An empty buffer is given back, and does not end the input.
        far.write_all(b"root\n").unwrap();
        assert_eq!(input.request(&[b"readable"], &[]).written, 0);
        assert_eq!(receive(&mut input, 5), b"root\n");
        far.write_all(b"!").unwrap();
        assert_eq!(receive(&mut input, 1), b"!");
    }
}

#[test]
fn input_without_buffers_waits_and_is_not_lost() {
    for features in formats() {
        let (console, mut far) = console();
        let mut bench = Bench::new(console, features);
        let mut queue = bench.start(RECEIVEQ, 16);
        let writer = std::thread::spawn(move || {
            far.write_all(&pattern(MIB)).unwrap();
            far
        });
        assert!(receive(&mut queue, MIB) == pattern(MIB));
        // The end of the input is no error: the port stays, and its buffers with it.
        drop(writer.join().unwrap());
        queue.submit(&[], &[100]);
        let state = bench.host.stop_queue(RECEIVEQ).unwrap();
        assert_eq!(queue.poll(), None);
        bench.start_again(&queue, state);
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn input_is_heard_again_after_a_reset_while_it_was_waited_for() {
    for features in formats() {
        let (console, mut far) = console();
        let mut bench = Bench::new(console, features);
        for _ in 0..2 {
            let mut queue = bench.start(RECEIVEQ, 16);
            // The last buffer is still waiting for input when the device is reset.
            for _ in 0..3 {
                queue.submit(&[], &[100]);
            }
            for _ in 0..2 {
                far.write_all(b"!").unwrap();
                assert_eq!(queue.wait().written, 1);
            }
            bench.host.reset();
            bench.host.set_features(features).unwrap();
            bench.host.set_memory(bench.memory()).unwrap();
        }
    }
}

#[test]
fn output_that_nobody_takes_waits_and_is_not_lost() {
    for features in formats() {
        let (console, mut far) = console();
        let mut bench = Bench::new(console, features);
        let mut queue = bench.start(TRANSMITQ, 16);
        let data = pattern(2 * MIB);
        for chunk in data.chunks(data.len() / 8) {
            queue.submit(&[chunk], &[]);
        }
        // The socket is full long before.
        assert!(wait_readable(&far, DEADLINE));
        let state = bench.host.stop_queue(TRANSMITQ).unwrap();
        bench.start_again(&queue, state);
        let mut received = vec![0; data.len()];
        far.read_exact(&mut received).unwrap();
        assert!(received == data);
        for _ in 0..8 {
            assert_eq!(queue.wait().written, 0);
        }
        // Chains that were put back are counted once.
        let counters = bench.host.counters()[usize::from(TRANSMITQ)];
        assert_eq!((counters.chains, counters.bytes_read), (8, data.len() as u64));
    }
}

#[test]
fn a_chain_half_sent_is_not_sent_twice_by_a_successor() {
    let (console, mut far) = console();
    let mut bench = Bench::new(console, formats()[0]);
    let mut queue = bench.start(TRANSMITQ, 16);
    let data = pattern(2 * MIB);
    queue.submit(&[&data], &[]);
    assert!(wait_readable(&far, DEADLINE));
    bench.host.suspend().unwrap();
    let saved = bench.host.save().unwrap();
    let (successor, mut new_far) = self::console();
    let mut successor = bench.successor(successor);
    drop(bench);
    let mut received = Vec::new();
    far.read_to_end(&mut received).unwrap();
    assert!(!received.is_empty() && received.len() < data.len());

    let queues = successor.host.restore(&saved).unwrap();
    successor.start_again(&queue, queues[0].1);
    let mut rest = vec![0; data.len() - received.len()];
    new_far.read_exact(&mut rest).unwrap();
    received.extend(rest);
    assert!(received == data);
    queue.wait();
}

#[test]
fn clients_of_a_socket_come_and_go() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("console");
    let backend = UnixSocket::new(UnixListener::bind(&path).unwrap()).unwrap();
    let mut bench = Bench::new(Console::new(Box::new(backend), None), formats()[3]);
    let mut input = bench.start(RECEIVEQ, 16);
    let mut output = bench.start(TRANSMITQ, 16);
    // Nobody is there: output is lost, but does not hold up the driver.
    assert_eq!(output.request(&[b"lost"], &[]).written, 0);
    for round in 0..3u8 {
        let mut client = UnixStream::connect(&path).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        client.write_all(&[round; 10]).unwrap();
        assert_eq!(receive(&mut input, 10), [round; 10]);
        assert_eq!(output.request(&[&[round; 20]], &[]).written, 0);
        let mut received = [0; 20];
        client.read_exact(&mut received).unwrap();
        assert_eq!(received, [round; 20]);
        match round {
            // What a client sent before it left still arrives.
            0 => client.write_all(b"bye").unwrap(),
            _ => continue,
        }
        drop(client);
        assert_eq!(receive(&mut input, 3), b"bye");
    }
    assert!(bench.events.resets().is_empty());
}

#[test]
fn a_log_collects_the_output() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    for round in 1..=2 {
        let mut bench = Bench::new(
            Console::new(Box::new(Log::append(&path).unwrap()), None),
            formats()[2],
        );
        let mut input = bench.start(RECEIVEQ, 16);
        let mut output = bench.start(TRANSMITQ, 16);
        input.submit(&[], &[10]);
        output.request(&[b"one line\n"], &[]);
        assert_eq!(fs::read(&path).unwrap(), b"one line\n".repeat(round));
        assert_eq!(input.poll(), None);
    }
}

#[test]
fn input_from_a_file_ends_with_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    fs::write(&path, pattern(100_000)).unwrap();
    let output = fs::File::create(folder.path().join("output")).unwrap();
    let backend = Descriptors::new(fs::File::open(&path).unwrap().into(), output.into()).unwrap();
    let mut bench = Bench::new(Console::new(Box::new(backend), None), formats()[0]);
    let mut queue = bench.start(RECEIVEQ, 16);
    assert!(receive(&mut queue, 100_000) == pattern(100_000));
    queue.submit(&[], &[10]);
    bench.host.stop_queue(RECEIVEQ).unwrap();
    assert_eq!(queue.poll(), None);
}

#[test]
fn emergency_output_needs_no_driver() {
    let (console, mut far) = console();
    let offset = EMERG_WR;
    let mut bench = Bench::new(console, formats()[0]);
    let mut received = [0; 2];
    bench.host.reset();
    // dev:console:device-initialization:01: an unconfigured device.
    bench.host.write_config(offset, &[b'A', 1, 2, 3]).unwrap();
    bench.host.write_config(offset, b"B").unwrap();
    far.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"AB");

    // While the worker has the backend, and again when it has not.
    bench.host.set_features(formats()[0]).unwrap();
    let mut queue = bench.start(TRANSMITQ, 16);
    queue.request(&[b"x"], &[]);
    bench.host.write_config(offset, b"C").unwrap();
    far.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"xC");
    bench.host.reset();
    bench.host.write_config(offset, b"D").unwrap();
    far.read_exact(&mut received[..1]).unwrap();
    assert_eq!(received[0], b'D');
    for (offset, length) in [(0, 4), (4, 4), (9, 1), (offset, 0)] {
        assert!(bench.host.write_config(offset, &[0; 4][..length]).is_err());
    }
}

#[test]
fn the_size_is_in_the_configuration_space() {
    let size = Size {
        columns: 132,
        rows: 43,
    };
    let (near, _far) = UnixStream::pair().unwrap();
    let backend = Descriptors::new(near.try_clone().unwrap().into(), near.into()).unwrap();
    let bench = Bench::new(
        Console::new(Box::new(backend), Some(size)),
        formats()[0] | features::SIZE,
    );
    let mut config = [0xff; 12];
    bench.host.read_config(0, &mut config).unwrap();
    assert_eq!(config, [132, 0, 43, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    let (console, _far) = console();
    assert!(!console.description().features.contains(features::SIZE));
}
