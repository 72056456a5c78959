//! The control queue of a network interface.

use std::io::Write;
use std::os::unix::net::UnixStream;

use ringwright_ring::ByteOrder;
use ringwright_spec::network::Hdr;
use ringwright_spec::network::control::{Ack, Announce, Class, Mac as MacCommand, Rx, Stats, Vlan};
use ringwright_spec::network::statistics::StatsTypes;

use super::backend::Stream;
use super::*;
use crate::testing::{Bench, DEADLINE, Queue, formats};

const OWN: [u8; 6] = [2, 0, 0, 0, 0, 1];
const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 9];
const GROUP: [u8; 6] = [1, 0, 0x5e, 0, 0, 1];
const ALL: [u8; 6] = [0xff; 6];

/// Bytes of the header of a frame.
const HEADER: usize = size_of::<Hdr>() - 20;

/// A driver with all three queues.
pub(super) struct Driver {
    pub bench: Bench,
    pub far: UnixStream,
    pub receiveq: Queue,
    pub transmitq: Queue,
    pub controlq: Queue,
}

pub(super) fn interface() -> (Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let options = Options {
        mac: Some(OWN),
        control: true,
        ..Options::default()
    };
    let backend = Stream::connected(near).unwrap();
    (Network::new(Box::new(backend), options).unwrap(), far)
}

impl Driver {
    pub fn new(features: Features) -> Self {
        let (network, far) = interface();
        Self::on(Bench::new(network, features | features::CTRL_VQ), far)
    }

    pub fn on(mut bench: Bench, far: UnixStream) -> Self {
        let [receiveq, transmitq, controlq] =
            [RECEIVEQ1, TRANSMITQ1, CONTROLQ].map(|index| bench.start(index, 64));
        let mut driver = Self {
            bench,
            far,
            receiveq,
            transmitq,
            controlq,
        };
        for _ in 0..16 {
            driver.receiveq.submit(&[], &[256]);
        }
        driver
    }

    /// Whether a command succeeds.
    pub fn command(&mut self, class: Class, command: u8, data: &[u8]) -> bool {
        // No element is empty.
        let command = [&[class.0, command], data];
        let parts = if data.is_empty() { &command[..1] } else { &command };
        let answer = self.controlq.request(parts, &[1]);
        assert_eq!(answer.written, 1);
        answer.data == [Ack::OK.0]
    }

    fn mode(&mut self, mode: Rx, on: bool) {
        assert!(self.command(Class::RX, mode.0, &[on.into()]), "{mode:?}");
    }

    /// Sends frames of these beginnings, and one to everyone at last, and returns which of them have come before it.
    fn passes<const N: usize>(&mut self, beginnings: [&[u8]; N]) -> [bool; N] {
        for (index, beginning) in beginnings.iter().enumerate() {
            self.put(&[beginning, &[0; 60][..], &[index as u8]].concat());
        }
        // This one is of the interface's own, on no VLAN.
        self.put(&[&OWN[..], &[0; 60], &[0xff]].concat());
        let mut passes = [false; N];
        loop {
            let arrived = self.receiveq.wait();
            self.receiveq.submit(&[], &[256]);
            match arrived.data[arrived.written as usize - 1] {
                0xff => return passes,
                index => passes[usize::from(index)] = true,
            }
        }
    }

    pub fn put(&mut self, frame: &[u8]) {
        let bytes = [&(frame.len() as u32).to_be_bytes(), frame].concat();
        self.far.write_all(&bytes).unwrap();
    }

    fn config(&self) -> (Address, u8) {
        let config = self.bench.host.config();
        (*config.first_chunk().unwrap(), config[6])
    }
}

/// The data of a table of addresses.
fn table(addresses: &[[u8; 6]]) -> Vec<u8> {
    let length = (addresses.len() as u32).to_le_bytes();
    [&length[..], addresses.as_flattened()].concat()
}

/// The beginning of a frame to everyone on a VLAN.
fn tagged(id: u16) -> Vec<u8> {
    let [high, low] = (id | 0xe000).to_be_bytes();
    [&ALL[..], &OTHER, &[0x81, 0, high, low]].concat()
}

#[test]
fn without_filters_everything_passes() {
    for features in [Features::NONE, features::CTRL_MAC_ADDR | features::DEVICE_STATS] {
        let mut driver = Driver::new(formats()[0] | features);
        assert_eq!(driver.passes([&OTHER, &GROUP, &ALL, &tagged(5)]), [true; 4]);
    }
}

#[test]
fn modes_say_what_passes() {
    for ring in formats() {
        let mut driver = Driver::new(ring | features::CTRL_RX | features::CTRL_RX_EXTRA);
        let frames: [&[u8]; 4] = [&OWN, &OTHER, &GROUP, &ALL];
        assert_eq!(driver.passes(frames), [true, false, false, true]);
        driver.mode(Rx::ALLMULTI, true);
        assert_eq!(driver.passes(frames), [true, false, true, true]);
        driver.mode(Rx::NOBCAST, true);
        assert_eq!(driver.passes(frames), [true, false, true, false]);
        driver.mode(Rx::NOMULTI, true);
        assert_eq!(driver.passes(frames), [true, false, false, false]);
        driver.mode(Rx::NOBCAST, false);
        driver.mode(Rx::ALLUNI, true);
        assert_eq!(driver.passes(frames), [true, true, false, true]);
        driver.mode(Rx::PROMISC, true);
        assert_eq!(driver.passes(frames), [true; 4]);
        driver.mode(Rx::ALLUNI, false);
        driver.mode(Rx::NOUNI, true);
        assert_eq!(driver.passes(frames), [true; 4]);
        // Nothing of that is left after a reset.
        driver.bench.host.reset();
        let ring = ring | features::CTRL_VQ | features::CTRL_RX;
        driver.bench.host.set_features(ring).unwrap();
        let mut driver = Driver::on(driver.bench, driver.far);
        assert_eq!(driver.passes(frames), [true, false, false, true]);
    }
    let mut driver = Driver::new(formats()[0] | features::CTRL_RX | features::CTRL_RX_EXTRA);
    driver.mode(Rx::ALLUNI, true);
    driver.mode(Rx::NOUNI, true);
    driver.put(&[&OWN[..], &[7; 60]].concat());
    driver.put(&[&ALL[..], &[7; 60]].concat());
    assert_eq!(driver.receiveq.wait().data[HEADER..HEADER + 6], ALL);
}

#[test]
fn addresses_in_the_table_pass() {
    let mut driver = Driver::new(formats()[0] | features::CTRL_RX);
    let frames: [&[u8]; 3] = [&OTHER, &GROUP, &[1, 0, 0x5e, 0, 0, 2]];
    let set = |driver: &mut Driver, unicast: &[[u8; 6]], multicast: &[[u8; 6]]| {
        let data = [table(unicast), table(multicast)].concat();
        driver.command(Class::MAC, MacCommand::TABLE_SET.0, &data)
    };
    assert!(set(&mut driver, &[[2; 6], OTHER], &[GROUP]));
    assert_eq!(driver.passes(frames), [true, true, false]);
    // What is no table changes nothing.
    for data in [
        &table(&[OTHER])[..],
        &[table(&[]), vec![1, 0, 0, 0, 1, 0]].concat(),
    ] {
        assert!(!driver.command(Class::MAC, MacCommand::TABLE_SET.0, data));
    }
    assert_eq!(driver.passes(frames), [true, true, false]);
    assert!(set(&mut driver, &[], &[]));
    assert_eq!(driver.passes(frames), [false; 3]);
    // More than are remembered.
    assert!(set(&mut driver, &[], &[[3; 6]; 500]));
    assert_eq!(driver.passes(frames), [false, true, true]);
}

#[test]
fn the_address_is_set_until_reset() {
    let mut driver = Driver::new(formats()[0] | features::MAC | features::CTRL_RX | features::CTRL_MAC_ADDR);
    assert!(driver.command(Class::MAC, MacCommand::ADDR_SET.0, &OTHER));
    assert_eq!(driver.config().0, OTHER);
    for wrong in [&GROUP[..], &[0; 6], &OTHER[..5]] {
        assert!(!driver.command(Class::MAC, MacCommand::ADDR_SET.0, wrong));
    }
    assert_eq!(driver.config().0, OTHER);
    driver.put(&[&OWN[..], &[1; 60]].concat());
    driver.put(&[&OTHER[..], &[2; 60]].concat());
    assert_eq!(driver.receiveq.wait().data[HEADER..HEADER + 6], OTHER);
    driver.bench.host.reset();
    assert_eq!(driver.config().0, OWN);
}

#[test]
fn vlans_in_the_table_pass() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let (network, far) = interface();
        let features = features::CTRL_VQ | features::CTRL_VLAN | features::MRG_RXBUF;
        let mut driver = match order {
            ByteOrder::Little => Driver::on(Bench::new(network, formats()[0] | features), far),
            ByteOrder::Big => Driver::on(Bench::legacy(network, features, order), far),
        };
        let frames: [&[u8]; 3] = [&tagged(5), &tagged(4095), &OTHER];
        assert_eq!(driver.passes(frames), [false, false, true]);
        for id in [5, 4095] {
            assert!(driver.command(Class::VLAN, Vlan::ADD.0, &order.bytes16(id)));
        }
        assert_eq!(driver.passes(frames), [true; 3]);
        assert!(driver.command(Class::VLAN, Vlan::DEL.0, &order.bytes16(5)));
        assert_eq!(driver.passes(frames), [false, true, true]);
        assert!(!driver.command(Class::VLAN, Vlan::ADD.0, &order.bytes16(4096)));
    }
}

#[test]
fn commands_need_their_features() {
    let mut driver = Driver::new(formats()[0]);
    let commands: [(Class, u8, &[u8]); 9] = [
        (Class::RX, Rx::PROMISC.0, &[1]),
        (Class::RX, Rx::NOUNI.0, &[1]),
        (Class::MAC, MacCommand::TABLE_SET.0, &[0; 8]),
        (Class::MAC, MacCommand::ADDR_SET.0, &OTHER),
        (Class::VLAN, Vlan::ADD.0, &[1, 0]),
        (Class::ANNOUNCE, Announce::ACK.0, &[]),
        (Class::STATS, Stats::QUERY.0, &[]),
        (Class::MQ, 0, &[1, 0]),
        (Class(200), 0, &[]),
    ];
    for (class, command, data) in commands {
        assert!(!driver.command(class, command, data), "{class:?} {command}");
    }
    let mut driver = Driver::new(formats()[0] | features::CTRL_RX | features::CTRL_RX_EXTRA);
    for (command, data) in [
        (Rx::PROMISC.0, &[2][..]),
        (Rx::PROMISC.0, &[]),
        (6, &[1]),
        (255, &[1]),
    ] {
        assert!(!driver.command(Class::RX, command, data), "{command} {data:?}");
    }
    // Neither of these is a command, and the next one is carried out.
    assert_eq!(driver.controlq.request(&[&[0]], &[1]).data, [Ack::ERR.0]);
    assert_eq!(driver.controlq.request(&[&[0, 0, 1]], &[]).written, 0);
    assert_eq!(driver.passes([&OTHER]), [false]);
    driver.mode(Rx::PROMISC, true);
    assert_eq!(driver.passes([&OTHER]), [true]);
}

#[test]
fn what_was_said_moves_and_the_driver_is_asked_to_announce_itself() {
    for (asked, more) in [(1, features::GUEST_ANNOUNCE), (0, Features::NONE)] {
        let mut driver = Driver::new(formats()[2] | features::CTRL_RX | features::CTRL_VLAN | more);
        let data = [table(&[OTHER]), table(&[])].concat();
        assert!(driver.command(Class::MAC, MacCommand::TABLE_SET.0, &data));
        assert!(driver.command(Class::VLAN, Vlan::ADD.0, &[7, 0]));
        driver.mode(Rx::ALLMULTI, true);
        let frames: [&[u8]; 4] = [&OTHER, &GROUP, &tagged(7), &tagged(8)];
        assert_eq!(driver.passes(frames), [true, true, true, false]);
        for queue in [RECEIVEQ1, TRANSMITQ1, CONTROLQ] {
            driver.bench.host.stop_queue(queue).unwrap();
        }
        let saved = driver.bench.host.save().unwrap();
        assert_eq!(driver.config().1, 1);

        let (network, far) = interface();
        let mut bench = driver.bench.successor(network);
        bench.host.reset();
        bench.host.restore(&saved).unwrap();
        let mut driver = Driver::on(bench, far);
        driver.bench.events.wait_config_changes(asked);
        assert_eq!(driver.config().1, 1 | (2 * asked as u8));
        assert_eq!(driver.command(Class::ANNOUNCE, Announce::ACK.0, &[]), asked == 1);
        assert_eq!(driver.config().1, 1);
        assert_eq!(driver.passes(frames), [true, true, true, false]);

        let (network, _far) = interface();
        let mut bench = driver.bench.successor(network);
        bench.host.reset();
        assert!(bench.host.restore(&saved[..saved.len() - 1]).is_err());
    }
}

#[test]
fn statistics_are_of_what_went_through() {
    let mut driver = Driver::new(formats()[0] | features::DEVICE_STATS);
    let ask = |entries: &[(u16, u64)]| {
        let entry =
            |(queue, types): &(u16, u64)| [&queue.to_le_bytes()[..], &[0; 6], &types.to_le_bytes()].concat();
        entries.iter().flat_map(entry).collect::<Vec<_>>()
    };
    let answer = driver
        .controlq
        .request(&[&[Class::STATS.0, Stats::QUERY.0]], &[1, 8]);
    assert_eq!((answer.data[0], answer.written), (0, 9));
    assert_eq!(answer.data[1..], 0x1_0001_0001u64.to_le_bytes());

    for _ in 0..3 {
        driver.passes([]);
    }
    driver.transmitq.request(&[&[0; HEADER], &[0; 100]], &[]);
    driver.transmitq.request(&[&[0; HEADER]], &[]);
    let entries = ask(&[
        (CONTROLQ, StatsTypes::CVQ.0),
        (TRANSMITQ1, StatsTypes::TX_BASIC.0),
        (RECEIVEQ1, StatsTypes::RX_BASIC.0),
    ]);
    let get = [Class::STATS.0, Stats::GET.0];
    let answer = driver.controlq.request(&[&get, &entries], &[1 + 24 + 56 + 56]);
    assert_eq!((answer.data[0], answer.written), (0, 137));
    let word = |at: usize| u64::from_le_bytes(*answer.data[at..].first_chunk().unwrap());
    assert_eq!(answer.data[1..9], [32, 0, 2, 0, 0, 0, 24, 0]);
    assert_eq!([9, 17].map(word), [2, 2]);
    assert_eq!(answer.data[25..33], [16, 0, 1, 0, 0, 0, 56, 0]);
    assert_eq!([41, 49, 65, 73].map(word), [1, 100, 1, 1]);
    assert_eq!(answer.data[81..89], [0, 0, 0, 0, 0, 0, 56, 0]);
    assert_eq!([97, 105, 121, 129].map(word), [3, 3 * 67, 0, 0]);
    // The driver need not notify of buffers that the device does not wait for.
    for at in [33, 57, 113] {
        assert!(
            (1..100).contains(&word(at)),
            "notifications at {at}: {}",
            word(at)
        );
    }

    // No more than there is room for.
    let answer = driver.controlq.request(&[&get, &entries], &[1 + 30]);
    assert_eq!((answer.data[0], answer.written), (0, 31));
    for wrong in [
        ask(&[(CONTROLQ, StatsTypes::CVQ.0), (3, StatsTypes::RX_BASIC.0)]),
        ask(&[(RECEIVEQ1, StatsTypes::TX_BASIC.0)]),
        ask(&[(RECEIVEQ1, StatsTypes::RX_CSUM.0 | StatsTypes::RX_BASIC.0)]),
        ask(&[(RECEIVEQ1, 1 << 63)]),
        ask(&[(RECEIVEQ1, 1)])[..15].to_vec(),
        ask(&[(RECEIVEQ1, 1); 65]),
    ] {
        let answer = driver.controlq.request(&[&get, &wrong], &[1 + 1000]);
        assert_eq!((answer.data[0], answer.written), (1, 1));
    }
}
