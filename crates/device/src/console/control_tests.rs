use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;

use ringwright_ring::ByteOrder;
use ringwright_spec::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, Event, receiveq, transmitq};
use tempfile::TempDir;

use super::backend::{Log, UnixSocket};
use super::*;
use crate::testing::{Bench, Completed, DEADLINE, Queue, formats};

const MULTIPORT: Features = features::MULTIPORT;

/// The name of port 1.
const AGENT: &str = "org.qemu.guest_agent.0";

/// A console that is logged, with sockets for generic ports beside it.
struct Desk {
    folder: TempDir,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn socket(&self, name: &str) -> Port {
        let listener = UnixListener::bind(self.path(name)).unwrap();
        Port::generic(name, Box::new(UnixSocket::new(listener).unwrap()))
    }

    fn log(&self, name: &str) -> Box<Log> {
        Box::new(Log::append(self.path(name)).unwrap())
    }

    fn console(&self, size: Option<Size>) -> Port {
        Port::console(self.log("console"), size)
    }

    /// With one generic port, and room for `most`.
    fn device(&self, most: u32) -> Console {
        Console::with_ports(self.console(None), vec![self.socket(AGENT)], most).unwrap()
    }

    fn connect(&self, name: &str) -> UnixStream {
        let stream = UnixStream::connect(self.path(name)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }
}

/// The driver's end of the control virtqueues.
struct Talk {
    receive: Queue,
    transmit: Queue,
    order: ByteOrder,
}

impl Talk {
    fn start(bench: &mut Bench) -> Self {
        let mut receive = bench.start(CONTROL_RECEIVEQ, 32);
        for _ in 0..8 {
            receive.submit(&[], &[256]);
        }
        Self {
            receive,
            transmit: bench.start(CONTROL_TRANSMITQ, 16),
            order: bench.guest.order,
        }
    }

    fn say(&mut self, event: Event, port: u32, value: u16) {
        let order = self.order;
        let [event, value] = [event.0, value].map(|half| order.bytes16(half));
        // In pieces, which is as good (section 2.6.4).
        assert_eq!(
            self.transmit
                .request(&[&order.bytes32(port), &event, &value], &[]),
            Completed {
                data: vec![],
                written: 0
            }
        );
    }

    fn hear(&mut self) -> (Event, u32, u16, Vec<u8>) {
        let message = self.receive.wait();
        self.receive.submit(&[], &[256]);
        self.parse(message)
    }

    fn parse(&self, message: Completed) -> (Event, u32, u16, Vec<u8>) {
        let bytes = &message.data[..message.written as usize];
        let (head, more) = bytes.split_first_chunk::<8>().unwrap();
        let [a, b, c, d, e, f, g, h] = *head;
        let event = Event(self.order.u16([e, f]));
        let (port, value) = (self.order.u32([a, b, c, d]), self.order.u16([g, h]));
        (event, port, value, more.to_vec())
    }

    fn expect(&mut self, event: Event, port: u32, value: u16, more: &[u8]) {
        assert_eq!(self.hear(), (event, port, value, more.to_vec()));
    }

    /// Nothing is there to hear, once the device has answered something else.
    fn expect_silence(&mut self) {
        self.say(Event::PORT_OPEN, 77, 0);
        assert_eq!(self.receive.poll(), None);
    }

    /// Meets the console and the agent's port, whose far end nobody is at.
    fn introduce(&mut self) {
        self.say(Event::DEVICE_READY, 0, 1);
        self.expect(Event::DEVICE_ADD, 0, 0, b"");
        self.expect(Event::DEVICE_ADD, 1, 0, b"");
        self.say(Event::PORT_READY, 0, 1);
        self.expect(Event::CONSOLE_PORT, 0, 1, b"");
        self.expect(Event::PORT_OPEN, 0, 1, b"");
        self.say(Event::PORT_READY, 1, 1);
        self.expect(Event::PORT_NAME, 1, 1, AGENT.as_bytes());
    }
}

/// Whether input comes that is `expected`.
fn receive(queue: &mut Queue, expected: &[u8]) {
    let mut input: Vec<u8> = Vec::new();
    while input.len() < expected.len() {
        let completed = queue.wait();
        input.extend(&completed.data[..completed.written as usize]);
        queue.submit(&[], &[64]);
    }
    assert_eq!(input, expected);
}

#[test]
fn ports_are_introduced_and_opened() {
    for format in formats() {
        let desk = Desk::new();
        let mut bench = Bench::new(desk.device(2), format | MULTIPORT);
        let mut talk = Talk::start(&mut bench);
        let mut output = bench.start(transmitq(1).unwrap(), 16);
        let mut input = bench.start(receiveq(1).unwrap(), 16);
        input.submit(&[], &[64]);
        assert_eq!(
            talk.receive.poll(),
            None,
            "the driver has not said that it is ready"
        );
        talk.introduce();
        talk.expect_silence();
        let mut client = desk.connect(AGENT);
        talk.expect(Event::PORT_OPEN, 1, 1, b"");
        // Input waits until the driver has opened the port.
        client.write_all(b"sync").unwrap();
        talk.expect_silence();
        assert_eq!(input.poll(), None);
        talk.say(Event::PORT_OPEN, 1, 1);
        receive(&mut input, b"sync");
        output.request(&[b"pong"], &[]);
        let mut answer = [0; 4];
        client.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        // And again while it has closed it.
        talk.say(Event::PORT_OPEN, 1, 0);
        client.write_all(b"later").unwrap();
        talk.expect_silence();
        assert_eq!(input.poll(), None);
        talk.say(Event::PORT_OPEN, 1, 1);
        receive(&mut input, b"later");
        // What a client sent before it left arrives before it is known to have left; the next one is another.
        client.write_all(b"bye").unwrap();
        drop(client);
        let _next = desk.connect(AGENT);
        receive(&mut input, b"bye");
        talk.expect(Event::PORT_OPEN, 1, 0, b"");
        talk.expect(Event::PORT_OPEN, 1, 1, b"");
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn ports_do_not_hold_each_other_up() {
    let desk = Desk::new();
    let ports = vec![desk.socket("slow"), desk.socket("quick")];
    let device = Console::with_ports(desk.console(None), ports, 3).unwrap();
    let (mut slow, mut quick) = (desk.connect("slow"), desk.connect("quick"));
    let mut bench = Bench::new(device, formats()[1] | MULTIPORT);
    let mut first = bench.start(transmitq(1).unwrap(), 16);
    let mut second = bench.start(transmitq(2).unwrap(), 16);
    let data = vec![7; 1 << 20];
    first.submit(&[&data], &[]);
    let mut answer = [0; 5];
    second.request(&[b"quick"], &[]);
    quick.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"quick");
    assert_eq!(first.poll(), None);
    let mut all = vec![0; data.len()];
    slow.read_exact(&mut all).unwrap();
    assert!(all == data);
    first.wait();
}

#[test]
fn ports_come_and_go() {
    for format in formats() {
        let desk = Desk::new();
        let device = desk.device(4);
        let handle = device.handle();
        let mut bench = Bench::new(device, format | MULTIPORT);
        // Before there is a driver.
        assert_eq!(handle.add(desk.socket("early")), Ok(2));
        assert_eq!(handle.remove(2), Ok(()));
        assert!(
            UnixStream::connect(desk.path("early")).is_err(),
            "nobody listens any more"
        );
        let mut talk = Talk::start(&mut bench);
        talk.introduce();
        // The virtqueues of a port are there before it is.
        let mut output = bench.start(transmitq(3).unwrap(), 16);
        output.submit(&[b"early"], &[]);
        talk.expect_silence();
        assert_eq!(output.poll(), None);
        assert_eq!(handle.add(desk.socket("late")), Ok(3));
        output.wait();
        assert_eq!(output.request(&[b"more"], &[]).written, 0);
        talk.expect(Event::DEVICE_ADD, 3, 0, b"");
        talk.say(Event::PORT_READY, 3, 1);
        talk.expect(Event::PORT_NAME, 3, 1, b"late");
        let names: Vec<_> = handle.ports().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, [None, Some(AGENT.into()), Some("late".into())]);
        // A port with a client and in use.
        let mut client = desk.connect(AGENT);
        talk.expect(Event::PORT_OPEN, 1, 1, b"");
        talk.say(Event::PORT_OPEN, 1, 1);
        assert_eq!(handle.remove(1), Ok(()));
        talk.expect(Event::DEVICE_REMOVE, 1, 0, b"");
        assert_eq!(
            client.read(&mut [0; 1]).unwrap(),
            0,
            "the client's connection ends"
        );
        // What the driver says of it still is about nothing.
        talk.say(Event::PORT_READY, 1, 1);
        talk.say(Event::PORT_OPEN, 1, 1);
        talk.expect_silence();
        // All numbers have been given out: now they are used again, and the driver hears of both.
        assert_eq!(handle.remove(3), Ok(()));
        talk.expect(Event::DEVICE_REMOVE, 3, 0, b"");
        assert_eq!(handle.add(desk.socket("one")), Ok(1));
        talk.expect(Event::DEVICE_ADD, 1, 0, b"");
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn a_driver_that_does_not_listen_hears_the_latest() {
    let desk = Desk::new();
    let device = desk.device(3);
    let handle = device.handle();
    let mut bench = Bench::new(device, formats()[0] | MULTIPORT);
    let mut talk = Talk {
        receive: bench.start(CONTROL_RECEIVEQ, 32),
        transmit: bench.start(CONTROL_TRANSMITQ, 16),
        order: ByteOrder::Little,
    };
    talk.say(Event::DEVICE_READY, 0, 1);
    // One buffer is for one message; one that is too small loses it.
    talk.receive.submit(&[], &[8]);
    assert_eq!(talk.receive.wait().written, 8);
    talk.receive.submit(&[], &[7]);
    assert_eq!(talk.receive.wait().written, 0);
    for _ in 0..100 {
        talk.say(Event::DEVICE_READY, 0, 1);
        talk.say(Event::PORT_READY, 1, 1);
    }
    // Of a port that came and went it never hears.
    assert_eq!(handle.add(desk.socket("short")), Ok(2));
    assert_eq!(handle.remove(2), Ok(()));
    assert_eq!(handle.remove(1), Ok(()));
    assert_eq!(handle.add(desk.socket("new")), Ok(1));
    // The changes have come to the device's thread when it answers the second time.
    for _ in 0..2 {
        talk.say(Event::PORT_OPEN, 77, 0);
    }
    for _ in 0..20 {
        talk.receive.submit(&[], &[256]);
    }
    talk.expect(Event::DEVICE_REMOVE, 1, 0, b"");
    talk.expect(Event::DEVICE_ADD, 1, 0, b"");
    talk.say(Event::PORT_READY, 1, 1);
    talk.expect(Event::PORT_NAME, 1, 1, b"new");
    talk.expect_silence();
}

#[test]
fn what_makes_no_sense_is_ignored() {
    let desk = Desk::new();
    let mut bench = Bench::new(desk.device(2), formats()[2] | MULTIPORT);
    let mut talk = Talk::start(&mut bench);
    // Nothing is known of ports that the driver does not know of.
    talk.say(Event::PORT_READY, 1, 1);
    talk.say(Event::PORT_OPEN, 1, 1);
    // Nothing is said to a driver that has failed.
    talk.say(Event::DEVICE_READY, 0, 0);
    talk.expect_silence();
    talk.introduce();
    for event in [
        Event::DEVICE_ADD,
        Event::DEVICE_REMOVE,
        Event::RESIZE,
        Event(8),
        Event(u16::MAX),
    ] {
        talk.say(event, 1, 1);
    }
    for port in [2, 126, u32::MAX] {
        talk.say(Event::PORT_READY, port, 1);
        talk.say(Event::PORT_OPEN, port, 1);
    }
    talk.transmit.request(&[b"1234567"], &[]);
    talk.transmit.request(&[], &[8]);
    talk.say(Event::DEVICE_READY, 0, 1);
    talk.expect_silence();
    // Nor of a port that the driver could not set up.
    talk.say(Event::PORT_READY, 1, 0);
    let _client = desk.connect(AGENT);
    talk.expect_silence();
    assert!(bench.events.resets().is_empty());
}

#[test]
fn every_console_has_a_size() {
    let desk = Desk::new();
    let size = |columns, rows| Size { columns, rows };
    let second = Port::console(desk.log("second"), Some(size(80, 25))).named("monitor");
    let console = desk.console(Some(size(132, 43)));
    let others = vec![second, desk.socket(AGENT)];
    let device = Console::with_ports(console, others, 3).unwrap();
    let handle = device.handle();
    let mut bench = Bench::new(device, formats()[0] | MULTIPORT | features::SIZE);
    let mut talk = Talk::start(&mut bench);
    talk.say(Event::DEVICE_READY, 0, 1);
    for port in 0..3 {
        talk.expect(Event::DEVICE_ADD, port, 0, b"");
    }
    talk.say(Event::PORT_READY, 0, 1);
    talk.expect(Event::CONSOLE_PORT, 0, 1, b"");
    talk.expect(Event::RESIZE, 0, 0, &[132, 0, 43, 0]);
    talk.expect(Event::PORT_OPEN, 0, 1, b"");
    talk.say(Event::PORT_READY, 1, 1);
    talk.expect(Event::CONSOLE_PORT, 1, 1, b"");
    talk.expect(Event::RESIZE, 1, 0, &[80, 0, 25, 0]);
    talk.expect(Event::PORT_NAME, 1, 1, b"monitor");
    talk.expect(Event::PORT_OPEN, 1, 1, b"");
    // Columns come first.
    assert_eq!(handle.resize(1, size(0x102, 3)), Ok(()));
    talk.expect(Event::RESIZE, 1, 0, &[2, 1, 3, 0]);
    assert_eq!(bench.events.config_changes(), 0);
    // The configuration space has that of port 0 only.
    assert_eq!(handle.resize(0, size(100, 30)), Ok(()));
    bench.events.wait_config_changes(1);
    talk.expect(Event::RESIZE, 0, 0, &[100, 0, 30, 0]);
    let mut config = [0; 8];
    bench.host.read_config(0, &mut config).unwrap();
    assert_eq!(config, [100, 0, 30, 0, 3, 0, 0, 0]);
    assert_eq!(handle.resize(2, size(1, 1)), Err(PortError::NotConsole(2)));
    assert_eq!(handle.resize(3, size(1, 1)), Err(PortError::Missing(3)));
}

#[test]
fn a_legacy_driver_is_spoken_to_in_its_byte_order() {
    let desk = Desk::new();
    let size = Size {
        columns: 0x102,
        rows: 0x304,
    };
    let device = Console::with_ports(desk.console(Some(size)), vec![], 1).unwrap();
    let mut bench = Bench::legacy(device, MULTIPORT, ByteOrder::Big);
    let mut talk = Talk::start(&mut bench);
    talk.say(Event::DEVICE_READY, 0, 1);
    talk.expect(Event::DEVICE_ADD, 0, 0, b"");
    talk.say(Event::PORT_READY, 0, 1);
    talk.expect(Event::CONSOLE_PORT, 0, 1, b"");
    talk.expect(Event::RESIZE, 0, 0, &[1, 2, 3, 4]);
}

#[test]
fn a_driver_without_multiport_has_the_first_port() {
    let desk = Desk::new();
    let mut bench = Bench::new(desk.device(2), formats()[1]);
    let mut output = bench.start(transmitq(0).unwrap(), 16);
    output.request(&[b"alone"], &[]);
    assert_eq!(std::fs::read(desk.path("console")).unwrap(), b"alone");
    // Virtqueues that it does not know of are not served.
    let mut other = bench.start(CONTROL_TRANSMITQ, 16);
    other.submit(&[&[0; 8]], &[]);
    output.request(&[b"!"], &[]);
    assert_eq!(other.poll(), None);
}

#[test]
fn a_successor_goes_on_with_the_talk() {
    for format in [formats()[0], formats()[3]] {
        let (desk, next_desk) = (Desk::new(), Desk::new());
        let features = format | MULTIPORT;
        let mut bench = Bench::new(desk.device(3), features);
        let mut talk = Talk::start(&mut bench);
        let mut input = bench.start(receiveq(1).unwrap(), 16);
        input.submit(&[], &[64]);
        talk.introduce();
        let _client = desk.connect(AGENT);
        talk.expect(Event::PORT_OPEN, 1, 1, b"");
        talk.say(Event::PORT_OPEN, 1, 1);
        bench.host.suspend().unwrap();
        let saved = bench.host.save().unwrap();
        let mut successor = bench.successor(next_desk.device(3));
        let mut client = next_desk.connect(AGENT);
        let mut smaller = bench.successor(Desk::new().device(2));
        drop(bench);
        let queues = smaller.host.restore(&saved).unwrap();
        let start = smaller
            .host
            .start_queue(CONTROL_RECEIVEQ, talk.receive.setup(queues[0].1));
        assert!(start.is_err(), "there is no room for what was said");
        drop(smaller);
        let queues = successor.host.restore(&saved).unwrap();
        for (index, state) in queues {
            let queue = match index {
                CONTROL_RECEIVEQ => &talk.receive,
                CONTROL_TRANSMITQ => &talk.transmit,
                _ => &input,
            };
            successor.start_again(queue, state);
        }
        // Who was there is gone, and who is here is another one; the driver's end is still open.
        talk.expect(Event::PORT_OPEN, 1, 0, b"");
        talk.expect(Event::PORT_OPEN, 1, 1, b"");
        client.write_all(b"still here").unwrap();
        receive(&mut input, b"still here");
        talk.expect_silence();
    }
}

#[test]
fn a_driver_that_is_ready_again_is_a_new_one_only_if_the_virtqueues_have_stopped() {
    let desk = Desk::new();
    let mut bench = Bench::new(desk.device(2), formats()[0] | MULTIPORT);
    let mut talk = Talk::start(&mut bench);
    talk.introduce();
    // dev:console:multiport-device-operation:01: the ports exist.
    talk.say(Event::DEVICE_READY, 0, 1);
    talk.expect_silence();
    for queue in [CONTROL_RECEIVEQ, CONTROL_TRANSMITQ] {
        bench.host.stop_queue(queue).unwrap();
    }
    let mut talk = Talk::start(&mut bench);
    talk.expect_silence();
    talk.introduce();
}

#[test]
fn a_reset_forgets_the_talk() {
    let desk = Desk::new();
    let device = desk.device(2);
    let handle = device.handle();
    let features = formats()[0] | MULTIPORT;
    let mut bench = Bench::new(device, features);
    for round in 0..2 {
        let mut talk = Talk::start(&mut bench);
        talk.expect_silence();
        if round == 0 {
            talk.introduce();
            handle.remove(1).unwrap();
            talk.expect(Event::DEVICE_REMOVE, 1, 0, b"");
        } else {
            talk.say(Event::DEVICE_READY, 0, 1);
            talk.expect(Event::DEVICE_ADD, 0, 0, b"");
            talk.expect_silence();
        }
        bench.host.reset();
        bench.host.set_features(features).unwrap();
        bench.host.set_memory(bench.memory()).unwrap();
    }
}

#[test]
fn ports_that_cannot_be() {
    let desk = Desk::new();
    let log = |name: &str| Port::generic(name, desk.log("log"));
    let device = |others: Vec<Port>, most| Console::with_ports(desk.console(None), others, most).map(|_| ());
    assert_eq!(
        check_names(&["a", "b", "a"]),
        Err(PortError::NameTaken("a".into()))
    );
    assert_eq!(check_names(&["a", "b\0"]), Err(PortError::Name("b\0".into())));
    assert_eq!(check_names(&["a", "b"]), Ok(()));
    let names: Vec<String> = (1..=MOST_PORTS).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    assert_eq!(check_names(&names), Err(PortError::TooMany { most: MOST_PORTS }));
    assert_eq!(check_names(&names[1..]), Ok(()));
    for most in [0, MOST_PORTS + 1, u32::MAX] {
        assert_eq!(device(vec![], most), Err(PortError::Room(most)));
    }
    assert_eq!(
        device(vec![log("a"), log("b")], 2),
        Err(PortError::TooMany { most: 2 })
    );
    assert_eq!(
        device(vec![log("a"), log("a")], 9),
        Err(PortError::NameTaken("a".into()))
    );
    let (longest, longer) = ("n".repeat(LONGEST_NAME), "n".repeat(LONGEST_NAME + 1));
    for name in ["", "with\0nul", "line\n", "a/b", &longer] {
        assert_eq!(device(vec![log(name)], 2), Err(PortError::Name(name.into())));
    }
    assert_eq!(device(vec![log(&longest), log("é.0")], 3), Ok(()));
    let console = desk.device(2);
    let handle = console.handle();
    assert_eq!(handle.add(log("more")), Err(PortError::TooMany { most: 2 }));
    assert_eq!(handle.remove(0), Err(PortError::Lasting));
    assert_eq!(handle.remove(5), Err(PortError::Missing(5)));
    assert_eq!(handle.remove(1), Ok(()));
    assert_eq!(handle.add(log(AGENT)), Ok(1));
    assert_eq!(
        Console::with_ports(desk.console(None), vec![], MOST_PORTS)
            .unwrap()
            .description()
            .queues
            .len(),
        256
    );
}
