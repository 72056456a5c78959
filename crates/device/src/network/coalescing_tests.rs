//! Coalesced notifications of a network interface.

use std::os::unix::net::UnixStream;

use ringwright_spec::network::control::{Ack, Class, NotfCoal};

use super::backend::Stream;
use super::control_tests::{Driver, interface};
use super::*;
use crate::QueueCounters;
use crate::testing::{Bench, formats, wait_until};

const COALESCING: Features = features::NOTF_COAL.union(features::VQ_NOTF_COAL);

/// The longest time there is, in microseconds.
const LONG: u32 = u32::MAX;

/// Parameters in a command: packets and microseconds.
fn both(packets: u32, time: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&packets.to_le_bytes());
    bytes[4..].copy_from_slice(&time.to_le_bytes());
    bytes
}

impl Driver {
    fn set(&mut self, command: NotfCoal, parameters: [u8; 8]) -> bool {
        self.command(Class::NOTF_COAL, command.0, &parameters)
    }

    fn set_queue(&mut self, queue: u16, parameters: [u8; 8]) -> bool {
        // What is reserved is no concern of the device's.
        let data = [&queue.to_le_bytes()[..], &[0xff, 0xee], &parameters].concat();
        self.command(Class::NOTF_COAL, NotfCoal::VQ_SET.0, &data)
    }

    fn get(&mut self, queue: u16) -> Option<[u8; 8]> {
        let command = [Class::NOTF_COAL.0, NotfCoal::VQ_GET.0];
        let data = [&queue.to_le_bytes()[..], &[0xff; 2]].concat();
        let answer = self.controlq.request(&[&command, &data], &[1, 8]);
        match Ack(answer.data[0]) {
            Ack::OK => {
                assert_eq!(answer.written, 9);
                answer.data[1..].try_into().ok()
            }
            _ => {
                assert_eq!(answer.written, 1);
                None
            }
        }
    }

    fn counters(&self, queue: u16) -> QueueCounters {
        self.bench.host.counters()[usize::from(queue)]
    }

    /// Waits until buffers were shown so often without a notification.
    fn wait_coalesced(&self, queue: u16, times: u64) {
        wait_until("packets", || self.counters(queue).coalesced == times);
    }

    fn wait_notified(&self, queue: u16, times: u64) {
        wait_until("a notification", || self.counters(queue).notifications >= times);
        assert_eq!(self.counters(queue).notifications, times);
    }
}

#[test]
fn the_last_command_counts() {
    let mut driver = Driver::new(formats()[0] | COALESCING);
    assert_eq!([driver.get(0), driver.get(1)], [Some([0; 8]); 2]);
    let [a, b, c, d] = [1, 2, 3, 4].map(|number| both(10 * number, number));
    assert!(driver.set(NotfCoal::RX_SET, a));
    assert_eq!([driver.get(0), driver.get(1)], [Some(a), Some([0; 8])]);
    assert!(driver.set_queue(0, b) && driver.set_queue(1, c));
    assert_eq!([driver.get(0), driver.get(1)], [Some(b), Some(c)]);
    assert!(driver.set(NotfCoal::TX_SET, d));
    assert_eq!([driver.get(0), driver.get(1)], [Some(b), Some(d)]);

    // Neither the control virtqueue, nor one that there is not.
    for other in [CONTROLQ, 3, u16::MAX] {
        assert!(!driver.set_queue(other, a) && driver.get(other).is_none());
    }
    let too_short = &a[..7];
    assert!(!driver.command(Class::NOTF_COAL, NotfCoal::RX_SET.0, too_short));
    assert!(!driver.command(Class::NOTF_COAL, 4, &[0; 12]));
    assert_eq!([driver.get(0), driver.get(1)], [Some(b), Some(d)]);
}

/// The example of the text, with two pairs.
#[test]
fn parameters_of_all_virtqueues_of_a_kind_are_set_together() {
    let (near, _far) = UnixStream::pair().unwrap();
    let options = Options {
        control: true,
        queue_pairs: 2,
        ..Options::default()
    };
    let network = Network::new(Box::new(Stream::connected(near).unwrap()), options).unwrap();
    let features = formats()[0] | COALESCING | features::CTRL_VQ | features::MQ;
    let mut bench = Bench::new(network, features);
    let _queues = [0, 1, 2, 3].map(|queue| bench.start(queue, 64));
    let mut controlq = bench.start(4, 64);
    let mut command = |command: NotfCoal, data: &[u8]| {
        let answer = controlq.request(&[&[Class::NOTF_COAL.0, command.0], data], &[1, 8]);
        (answer.data[0] == Ack::OK.0).then_some(answer.data[1..].to_vec())
    };
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| both(10 * number, number));
    let with = |queue: u8, parameters: [u8; 8]| [&[queue, 0, 0, 0][..], &parameters].concat();
    assert!(command(NotfCoal::RX_SET, &first).is_some());
    assert!(command(NotfCoal::VQ_SET, &with(0, second)).is_some());
    assert!(command(NotfCoal::VQ_SET, &with(1, third)).is_some());
    assert!(command(NotfCoal::TX_SET, &fourth).is_some());
    for (queue, parameters) in [(0, second), (1, fourth), (2, first), (3, fourth)] {
        let found = command(NotfCoal::VQ_GET, &[queue, 0, 0, 0]);
        assert_eq!(found, Some(parameters.to_vec()), "{queue}");
    }
    assert_eq!(command(NotfCoal::VQ_GET, &[4, 0, 0, 0]), None);
}

#[test]
fn commands_to_coalesce_need_their_features() {
    for (all, each) in [(true, false), (false, true)] {
        let feature = if all {
            features::NOTF_COAL
        } else {
            features::VQ_NOTF_COAL
        };
        let mut driver = Driver::new(formats()[0] | feature);
        assert_eq!(driver.set(NotfCoal::RX_SET, both(1, 1)), all);
        assert_eq!(driver.set(NotfCoal::TX_SET, both(1, 1)), all);
        assert_eq!(driver.set_queue(0, both(1, 1)), each);
        assert_eq!(driver.get(0).is_some(), each);
    }
}

/// A virtqueue that is enabled once more has what its kind was told last; a reset leaves nothing; a move everything.
#[test]
fn parameters_last_as_long_as_they_should() {
    let features = formats()[0] | COALESCING | features::CTRL_VQ;
    let mut driver = Driver::new(features);
    let [a, b, c] = [1, 2, 3].map(|number| both(10 * number, number));
    assert!(driver.set(NotfCoal::TX_SET, a) && driver.set_queue(0, b) && driver.set_queue(1, c));
    for queue in [RECEIVEQ1, TRANSMITQ1] {
        driver.bench.host.stop_queue(queue).unwrap();
        assert!(driver.get(queue).is_none() && !driver.set_queue(queue, a));
    }
    driver.receiveq = driver.bench.start(RECEIVEQ1, 64);
    driver.transmitq = driver.bench.start(TRANSMITQ1, 64);
    assert_eq!([driver.get(0), driver.get(1)], [Some([0; 8]), Some(a)]);

    assert!(driver.set_queue(0, b) && driver.set_queue(1, c));
    for queue in [RECEIVEQ1, TRANSMITQ1, CONTROLQ] {
        driver.bench.host.stop_queue(queue).unwrap();
    }
    let saved = driver.bench.host.save().unwrap();
    let (network, far) = interface();
    let mut bench = driver.bench.successor(network);
    bench.host.reset();
    bench.host.restore(&saved).unwrap();
    let mut driver = Driver::on(bench, far);
    assert_eq!([driver.get(0), driver.get(1)], [Some(b), Some(c)]);
    driver.bench.host.stop_queue(TRANSMITQ1).unwrap();
    driver.transmitq = driver.bench.start(TRANSMITQ1, 64);
    assert_eq!([driver.get(0), driver.get(1)], [Some(b), Some(a)]);

    driver.bench.host.reset();
    driver.bench.host.set_features(features).unwrap();
    let mut driver = Driver::on(driver.bench, driver.far);
    assert_eq!([driver.get(0), driver.get(1)], [Some([0; 8]); 2]);
    driver.bench.host.stop_queue(TRANSMITQ1).unwrap();
    driver.transmitq = driver.bench.start(TRANSMITQ1, 64);
    assert_eq!(driver.get(1), Some([0; 8]));
}

#[test]
fn notifications_come_together() {
    for ring in formats() {
        let mut driver = Driver::new(ring | COALESCING | features::MRG_RXBUF);
        assert!(driver.set(NotfCoal::RX_SET, both(3, LONG)) && driver.set(NotfCoal::TX_SET, both(2, LONG)));
        // A frame in three buffers is one packet.
        driver.put(&[1; 600]);
        driver.wait_coalesced(RECEIVEQ1, 1);
        driver.put(&[2; 60]);
        driver.wait_coalesced(RECEIVEQ1, 2);
        assert_eq!(driver.counters(RECEIVEQ1).notifications, 0);
        driver.put(&[3; 60]);
        driver.wait_notified(RECEIVEQ1, 1);

        let frame: [&[u8]; 2] = [&[0; 12], &[7; 60]];
        driver.transmitq.submit(&frame, &[]);
        driver.wait_coalesced(TRANSMITQ1, 1);
        assert_eq!(driver.counters(TRANSMITQ1).notifications, 0);
        driver.transmitq.submit(&frame, &[]);
        driver.wait_notified(TRANSMITQ1, 1);

        // What a change of parameters makes due is due at once.
        for _ in 0..5 {
            assert!(driver.receiveq.poll_or_arm().is_some());
        }
        assert_eq!(driver.receiveq.poll_or_arm(), None);
        driver.put(&[4; 60]);
        driver.wait_coalesced(RECEIVEQ1, 3);
        assert!(driver.set(NotfCoal::TX_SET, both(1, LONG)));
        assert_eq!(driver.counters(RECEIVEQ1).notifications, 1);
        assert!(driver.set_queue(0, both(1, LONG)));
        driver.wait_notified(RECEIVEQ1, 2);
    }
}
