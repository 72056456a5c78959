//! Several pairs of virtqueues.

use std::io::Write;
use std::os::unix::net::UnixStream;

use ringwright_spec::feature;
use ringwright_spec::network::Hdr;
use ringwright_spec::network::control::{Ack, Class, Mq};

use super::backend::Stream;
use super::packet::Packet;
use super::*;
use crate::HostOptions;
use crate::testing::{Bench, DEADLINE, Queue, formats, wait_until};

/// Pairs of virtqueues.
pub const PAIRS: u16 = 3;

/// Bytes of the header of a frame.
const HEADER: usize = size_of::<Hdr>() - 20;

/// A driver with several pairs.
pub struct Driver {
    pub bench: Bench,
    pub drops: Drops,
    pub far: UnixStream,
    receiveqs: Vec<Queue>,
    transmitqs: Vec<Queue>,
    pub controlq: Queue,
    /// Bytes of the header of a frame.
    header: usize,
}

pub fn interface(control: bool) -> (Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let options = Options {
        control,
        queue_pairs: PAIRS,
        scaling: true,
        hash_report: true,
        ..Options::default()
    };
    let backend = Stream::connected(near).unwrap();
    (Network::new(Box::new(backend), options).unwrap(), far)
}

impl Driver {
    pub fn new(features: Features) -> Self {
        let (network, far) = interface(true);
        let options = HostOptions {
            transport_features: feature::RING_RESET,
            ..HostOptions::default()
        };
        let drops = network.drops();
        Self::on(Bench::with_options(network, features, options), drops, far)
    }

    pub fn on(mut bench: Bench, drops: Drops, far: UnixStream) -> Self {
        let controlq = Numbering::new(bench.guest.features, PAIRS).control();
        let mut queues: Vec<_> = (0..=controlq).map(|index| bench.start(index, 64)).collect();
        let controlq = queues.pop().unwrap();
        let (mut receiveqs, transmitqs): (Vec<_>, Vec<_>) =
            queues.into_iter().partition(|queue| queue.index() % 2 == 0);
        for queue in &mut receiveqs {
            give_buffers(queue);
        }
        Self {
            header: Hdr::size(bench.guest.features),
            bench,
            drops,
            far,
            receiveqs,
            transmitqs,
            controlq,
        }
    }

    /// Whether the device obeys a command.
    pub fn obeys(&mut self, class: Class, command: u8, data: &[u8]) -> bool {
        let answer = self.controlq.request(&[&[class.0, command], data], &[1]);
        answer.data == [Ack::OK.0]
    }

    /// Whether the device obeys.
    pub fn use_pairs(&mut self, pairs: u16) -> bool {
        self.obeys(Class::MQ, Mq::VQ_PAIRS_SET.0, &pairs.to_le_bytes())
    }

    /// Sends a frame of a flow by a pair.
    fn send(&mut self, flow: u16, pair: u16) {
        let queue = &mut self.transmitqs[usize::from(pair)];
        queue.request(&[&vec![0; self.header], &frame(flow, true)], &[]);
    }

    pub fn arrive(&mut self, frame: &[u8]) {
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame].concat();
        self.far.write_all(&bytes).unwrap();
    }

    /// The pair by which a frame comes that arrives now.
    pub fn pair_of(&mut self, frame: &[u8]) -> u16 {
        self.received(frame).0
    }

    /// The same, and the header before the frame.
    pub fn received(&mut self, frame: &[u8]) -> (u16, Vec<u8>) {
        self.arrive(frame);
        let mut came = None;
        wait_until("a frame comes by some pair", || {
            let queues = self.receiveqs.iter_mut().enumerate();
            came = queues
                .filter_map(|(pair, queue)| Some((pair, queue.poll_or_arm()?)))
                .next();
            came.is_some()
        });
        let (pair, completed) = came.unwrap();
        let (header, content) = completed.data[..completed.written as usize].split_at(self.header);
        assert_eq!(content, frame);
        self.receiveqs[pair].submit(&[], &[256]);
        (pair as u16, header.to_vec())
    }

    /// The pairs by which frames of these flows come that arrive now.
    pub fn pairs_of(&mut self, flows: std::ops::Range<u16>) -> Vec<u16> {
        flows.map(|flow| self.pair_of(&frame(flow, false))).collect()
    }
}

fn give_buffers(queue: &mut Queue) {
    for _ in 0..16 {
        queue.submit(&[], &[256]);
    }
}

/// A TCP segment of this flow, from the driver or to it.
pub fn frame(flow: u16, sent: bool) -> Vec<u8> {
    let mut ends = [([10, 0, 0, 1], 80u16), ([10, 0, 0, 2], 1000 + flow)];
    if !sent {
        ends.reverse();
    }
    let [(source, from), (destination, to)] = ends;
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0]);
    frame.extend([source, destination].concat());
    frame.extend([from.to_be_bytes(), to.to_be_bytes()].concat());
    frame.extend([0; 16]);
    frame
}

const WITH_PAIRS: Features = Features(features::CTRL_VQ.0 | features::MQ.0);

#[test]
fn a_flow_is_received_by_the_pair_that_it_was_sent_by() {
    for features in formats() {
        let mut driver = Driver::new(features | WITH_PAIRS);
        // dev:net:automatic-receive-steering-in-multiqueue-mode:01
        assert_eq!(driver.pairs_of(0..8), [0; 8]);
        assert!(driver.use_pairs(PAIRS));
        let unknown = driver.pairs_of(0..32);
        for pair in 0..PAIRS {
            assert!(unknown.contains(&pair), "{unknown:?}");
        }
        for (flow, pair) in (0..32).zip([0, 1, 2].into_iter().cycle()) {
            driver.send(flow, pair);
        }
        let expected: Vec<_> = [0, 1, 2].into_iter().cycle().take(32).collect();
        assert_eq!(driver.pairs_of(0..32), expected);
        // What is no IP packet goes by the first.
        assert_eq!(driver.pair_of(&[0xff; 60]), 0);

        // dev:net:automatic-receive-steering-in-multiqueue-mode:02
        assert!(driver.use_pairs(2));
        assert!(driver.pairs_of(0..32).iter().all(|pair| *pair < 2));
        assert!(!driver.use_pairs(0) && !driver.use_pairs(PAIRS + 1));
        assert!(driver.use_pairs(1));
        assert_eq!(driver.pairs_of(0..8), [0; 8]);
    }
}

#[test]
fn a_pair_that_is_reset_has_its_flows_elsewhere() {
    let mut driver = Driver::new(formats()[0] | WITH_PAIRS | feature::RING_RESET);
    assert!(driver.use_pairs(2));
    driver.send(5, 1);
    assert_eq!(driver.pairs_of(5..6), [1]);
    driver.bench.host.stop_queue(2).unwrap();
    assert_eq!(driver.pairs_of(0..8), [0; 8]);

    // dev:net:automatic-receive-steering-in-multiqueue-mode:04
    driver.bench.host.stop_queue(0).unwrap();
    driver.arrive(&frame(1, false));
    driver.arrive(&frame(2, false));
    let drops = driver.drops.clone();
    wait_until("frames that nobody can have are dropped", || drops.receive() == 2);
    let mut anew = driver.bench.start(0, 64);
    give_buffers(&mut anew);
    driver.arrive(&frame(3, false));
    let arrived = anew.wait();
    assert_eq!(arrived.data[HEADER..arrived.written as usize], frame(3, false));
}

#[test]
fn without_a_reset_of_virtqueues_frames_wait_for_one() {
    let mut driver = Driver::new(formats()[0] | WITH_PAIRS);
    assert!(driver.use_pairs(2));
    for index in [0, 2] {
        driver.bench.host.stop_queue(index).unwrap();
    }
    driver.arrive(&frame(1, false));
    let mut anew = driver.bench.start(2, 64);
    give_buffers(&mut anew);
    let arrived = anew.wait();
    assert_eq!(arrived.data[HEADER..arrived.written as usize], frame(1, false));
}

#[test]
fn a_front_end_enables_pairs_by_starting_them() {
    let (network, far) = interface(false);
    let drops = network.drops();
    let options = HostOptions {
        has_front_end: true,
        ..HostOptions::default()
    };
    let mut bench = Bench::with_options(network, formats()[0] | features::MQ, options);
    let mut receiveqs: Vec<_> = [0, 2].map(|index| bench.start(index, 64)).into();
    receiveqs.iter_mut().for_each(give_buffers);
    let transmitqs = vec![bench.start(1, 64), bench.start(3, 64)];
    // One that never runs.
    let controlq = bench.queue(4, 64);
    let mut driver = Driver {
        header: HEADER,
        bench,
        drops,
        far,
        receiveqs,
        transmitqs,
        controlq,
    };
    let unknown = driver.pairs_of(0..32);
    assert!(unknown.contains(&0) && unknown.contains(&1), "{unknown:?}");
    for flow in 0..8 {
        driver.send(flow, flow % 2);
    }
    assert_eq!(driver.pairs_of(0..8), [0, 1, 0, 1, 0, 1, 0, 1]);
    driver.bench.host.stop_queue(2).unwrap();
    assert_eq!(driver.pairs_of(0..8), [0; 8]);
}

#[test]
fn with_one_pair_commands_are_where_the_second_pair_would_be() {
    let (network, _far) = interface(true);
    let mut bench = Bench::new(network, formats()[0] | features::CTRL_VQ);
    let mut controlq = bench.start(CONTROLQ, 64);
    let head = [Class::MQ.0, Mq::VQ_PAIRS_SET.0];
    let answer = controlq.request(&[&head, &[1, 0]], &[1]);
    assert_eq!(answer.data, [Ack::ERR.0]);
}

#[test]
fn enabled_pairs_outlive_a_migration_but_no_reset() {
    let mut driver = Driver::new(formats()[0] | WITH_PAIRS);
    assert!(driver.use_pairs(PAIRS));
    driver.bench.host.suspend().unwrap();
    let saved = driver.bench.host.save().unwrap();
    drop(driver);

    let (network, far) = interface(true);
    let drops = network.drops();
    let mut bench = Bench::new(network, formats()[0] | WITH_PAIRS);
    bench.host.restore(&saved).unwrap();
    let mut driver = Driver::on(bench, drops, far);
    let pairs = driver.pairs_of(0..32);
    assert!(pairs.contains(&2), "{pairs:?}");

    driver.bench.host.reset();
    driver.bench.host.set_features(formats()[0] | WITH_PAIRS).unwrap();
    let mut driver = Driver::on(driver.bench, driver.drops, driver.far);
    assert_eq!(driver.pairs_of(0..8), [0; 8]);
}

#[test]
fn only_so_many_pairs_there_can_be() {
    for queue_pairs in [0, MAX_QUEUE_PAIRS + 1] {
        let (near, _far) = UnixStream::pair().unwrap();
        let backend = Box::new(Stream::connected(near).unwrap());
        let options = Options {
            queue_pairs,
            ..Options::default()
        };
        let refused = Network::new(backend, options).err();
        assert_eq!(refused, Some(OptionsError::QueuePairs(queue_pairs)));
    }
}

#[test]
fn a_flow_has_one_number_in_both_directions() {
    let flow = |frame: &[u8]| Packet::of(frame).unwrap().flow();
    assert_eq!(flow(&frame(7, true)), flow(&frame(7, false)));
    assert_ne!(flow(&frame(7, true)), flow(&frame(8, true)));
    // Behind a VLAN tag as well.
    let mut tagged = frame(7, true);
    tagged.splice(12..12, [0x81, 0, 0, 5]);
    assert_eq!(flow(&tagged), flow(&frame(7, true)));
    // A piece has no ports.
    let mut piece = frame(7, true);
    piece[20] = 0x20;
    let packet = Packet::of(&piece).unwrap();
    assert_eq!((packet.protocol, packet.ports()), (6, None));
    // Headers that end too soon are none.
    for length in 0..34 {
        assert_eq!(Packet::of(&frame(7, true)[..length]), None);
    }
}
