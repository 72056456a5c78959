use std::vec;
use std::vec::Vec;

use ringwright_spec::console::Event as Kind;
use ringwright_spec::console::{CONTROL_RECEIVEQ, CONTROL_TRANSMITQ, receiveq, transmitq};
use ringwright_spec::feature;

use super::control::MESSAGES;
use super::*;
use crate::testing::{Device, FORMATS, Fake};

const LENGTH: usize = 1 << 20;

/// A console that says it has room for `most` ports, and a driver for three of them, with the device ends of the control
/// virtqueues.
fn console(format: Features, most: u32) -> (Fake, Console<Fake>, Talk) {
    let fake = Fake::new(DEVICE.id, format | features::MULTIPORT, &[16; 12], LENGTH);
    fake.board().config[4..8].copy_from_slice(&most.to_le_bytes());
    let driver = Console::with_ports(fake.clone(), &fake.area(), Options::default(), 3).unwrap();
    let talk = Talk {
        to_driver: fake.device(CONTROL_RECEIVEQ),
        from_driver: fake.device(CONTROL_TRANSMITQ),
    };
    (fake, driver, talk)
}

struct Talk {
    to_driver: Device,
    from_driver: Device,
}

impl Talk {
    fn say(&mut self, event: Kind, port: u32, value: u16, more: &[u8]) {
        let mut message = message(event, port, value);
        message.extend(more);
        self.to_driver.put(&message);
    }

    /// What the driver has said, each in a buffer of its own.
    fn hear(&mut self) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        self.from_driver.serve(99, |readable, writable| {
            assert!(writable.is_empty(), "drv:console:device-operation:02");
            heard.push(readable.to_vec());
            0
        });
        heard
    }
}

fn message(event: Kind, port: u32, value: u16) -> Vec<u8> {
    let mut bytes = port.to_le_bytes().to_vec();
    bytes.extend(event.0.to_le_bytes());
    bytes.extend(value.to_le_bytes());
    bytes
}

#[test]
fn ports_are_added_named_opened_and_removed() {
    for format in FORMATS {
        let (fake, mut driver, mut talk) = console(format, 3);
        // drv:console:multiport-device-operation:01
        assert_eq!(talk.hear(), [message(Kind::DEVICE_READY, 0, 1)]);
        assert_eq!(driver.event().unwrap(), None);
        assert!(driver.port(0).is_none() && driver.port(1).is_none());
        let mut input = fake.device(receiveq(1).unwrap());
        assert_eq!(
            input.serve(1, |_, _| 0),
            0,
            "no buffers for a port that there is not"
        );
        assert!(!driver.enable_notifications());
        talk.say(Kind::DEVICE_ADD, 1, 0, b"");
        assert!(driver.enable_notifications());
        assert_eq!(driver.event().unwrap(), Some(Event::Added(1)));
        assert_eq!(talk.hear(), [message(Kind::PORT_READY, 1, 1)]);
        talk.say(Kind::PORT_NAME, 1, 1, "agent.\u{e9}".as_bytes());
        talk.say(Kind::PORT_OPEN, 1, 1, b"");
        assert_eq!(driver.event().unwrap(), Some(Event::Named(1)));
        assert!(!driver.port(1).unwrap().is_open());
        assert_eq!(driver.event().unwrap(), Some(Event::Opened(1)));
        let mut port = driver.port(1).unwrap();
        assert_eq!((port.name(), port.is_open()), (Some("agent.\u{e9}"), true));
        assert!(!port.is_console());
        input.put(b"in");
        let mut into = [0; 9];
        assert_eq!((port.read(&mut into).unwrap(), &into[..2]), (2, &b"in"[..]));
        assert_eq!(port.write(b"out").unwrap(), 3);
        assert!(!port.flushed().unwrap());
        let mut output = fake.device(transmitq(1).unwrap());
        output.serve(9, |readable, _| {
            assert_eq!(readable, b"out");
            0
        });
        assert!(port.flushed().unwrap());
        assert!(driver.open(1, true).unwrap() && driver.open(1, false).unwrap());
        let said = [message(Kind::PORT_OPEN, 1, 1), message(Kind::PORT_OPEN, 1, 0)];
        assert_eq!(talk.hear(), said);
        // Of a port that there is not, nothing is said.
        assert!(driver.open(2, true).unwrap() && driver.open(77, true).unwrap());
        assert!(talk.hear().is_empty());
        // Input that nobody has read is nobody's after that.
        input.put(b"late");
        assert_eq!(driver.port(1).unwrap().read(&mut []).unwrap(), 0);
        talk.say(Kind::PORT_OPEN, 1, 0, b"");
        talk.say(Kind::DEVICE_REMOVE, 1, 0, b"");
        assert_eq!(driver.event().unwrap(), Some(Event::Closed(1)));
        assert_eq!(driver.event().unwrap(), Some(Event::Removed(1)));
        assert!(driver.port(1).is_none());
        talk.say(Kind::DEVICE_ADD, 1, 0, b"");
        assert_eq!(driver.event().unwrap(), Some(Event::Added(1)));
        let mut port = driver.port(1).unwrap();
        assert_eq!(port.name(), None, "it is another port");
        assert_eq!(port.read(&mut into).unwrap(), 0);
        input.put(b"new");
        assert_eq!(port.read(&mut into).unwrap(), 3);
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn a_console_port_is_opened_at_once_and_has_a_size() {
    let (_fake, mut driver, mut talk) = console(feature::VERSION_1, 3);
    talk.hear();
    talk.say(Kind::DEVICE_ADD, 2, 0, b"");
    talk.say(Kind::CONSOLE_PORT, 2, 1, b"");
    talk.say(Kind::RESIZE, 2, 0, &[2, 1, 4, 3]);
    talk.say(Kind::PORT_NAME, 2, 1, b"monitor\0");
    assert_eq!(driver.event().unwrap(), Some(Event::Added(2)));
    assert_eq!(driver.event().unwrap(), Some(Event::Console(2)));
    assert_eq!(driver.event().unwrap(), Some(Event::Resized(2)));
    assert_eq!(driver.event().unwrap(), Some(Event::Named(2)));
    assert_eq!(driver.event().unwrap(), None);
    // drv:console:multiport-device-operation:02
    let said = [message(Kind::PORT_READY, 2, 1), message(Kind::PORT_OPEN, 2, 1)];
    assert_eq!(talk.hear(), said);
    let port = driver.port(2).unwrap();
    let size = Size {
        columns: 0x102,
        rows: 0x304,
    };
    assert!(port.is_console());
    assert_eq!((port.name(), port.size()), (Some("monitor"), Some(size)));
}

#[test]
fn ports_without_virtqueues_here_are_not_ready() {
    let (_fake, mut driver, mut talk) = console(feature::VERSION_1, 5);
    talk.hear();
    talk.say(Kind::DEVICE_ADD, 3, 0, b"");
    talk.say(Kind::PORT_OPEN, 3, 1, b"");
    // What is unknown means nothing, nor does what is no name or size.
    talk.say(Kind::DEVICE_ADD, 0, 0, b"");
    talk.say(Kind(99), 0, 1, b"");
    talk.say(Kind::PORT_NAME, 0, 1, b"\xff");
    talk.say(Kind::RESIZE, 0, 0, &[1; 3]);
    assert_eq!(driver.event().unwrap(), Some(Event::Added(0)));
    assert_eq!(driver.event().unwrap(), None);
    let said = [message(Kind::PORT_READY, 3, 0), message(Kind::PORT_READY, 0, 1)];
    assert_eq!(talk.hear(), said);
}

#[test]
fn a_device_that_does_not_listen_is_not_listened_to() {
    for format in FORMATS {
        let (_fake, mut driver, mut talk) = console(format, 3);
        talk.say(Kind::DEVICE_ADD, 1, 0, b"");
        assert_eq!(driver.event().unwrap(), Some(Event::Added(1)));
        let mut told = 2;
        while driver.open(1, true).unwrap() {
            told += 1;
        }
        // One virtqueue full, and as many that wait.
        assert_eq!(told, 2 * usize::from(MESSAGES));
        talk.say(Kind::PORT_OPEN, 1, 1, b"");
        assert_eq!(driver.event().unwrap(), None);
        assert_eq!(talk.hear().len(), usize::from(MESSAGES));
        assert_eq!(driver.event().unwrap(), None, "there is room now");
        assert_eq!(driver.event().unwrap(), Some(Event::Opened(1)));
        assert_eq!(talk.hear().len(), usize::from(MESSAGES));
    }
}

#[test]
fn a_device_that_breaks_the_rules_is_given_up() {
    let wrong: [&[(Kind, u32)]; 6] = [
        &[(Kind::DEVICE_ADD, 3)],
        &[(Kind::DEVICE_ADD, u32::MAX)],
        &[(Kind::DEVICE_ADD, 1), (Kind::DEVICE_ADD, 1)],
        &[(Kind::DEVICE_REMOVE, 1)],
        &[(Kind::PORT_OPEN, 1)],
        &[
            (Kind::DEVICE_ADD, 1),
            (Kind::DEVICE_REMOVE, 1),
            (Kind::DEVICE_REMOVE, 1),
        ],
    ];
    for messages in wrong {
        let (fake, mut driver, mut talk) = console(feature::VERSION_1, 3);
        for (event, port) in messages {
            talk.say(*event, *port, 1, b"");
        }
        for _ in 1..messages.len() {
            assert!(driver.event().unwrap().is_some());
        }
        let error = driver.event().unwrap_err();
        assert!(
            matches!(error, DriverError::Device { .. }),
            "{messages:?}: {error}"
        );
        drop(driver);
        assert!(fake.is_area_whole());
    }
    let (_fake, mut driver, mut talk) = console(feature::VERSION_1, 3);
    talk.to_driver.put(&[0; 7]);
    assert!(matches!(driver.event(), Err(DriverError::Device { .. })));
    for queue in [CONTROL_RECEIVEQ, CONTROL_TRANSMITQ] {
        let (fake, mut driver, _) = console(feature::VERSION_1, 3);
        fake.lie(queue, 99, 0);
        assert!(matches!(driver.event(), Err(DriverError::Ring(_))));
    }
}

#[test]
fn a_device_of_one_port_has_port_0() {
    let fake = Fake::new(DEVICE.id, feature::VERSION_1, &[8, 8], LENGTH);
    let mut driver = Console::with_ports(fake.clone(), &fake.area(), Options::default(), 9).unwrap();
    assert_eq!(driver.event().unwrap(), None);
    assert!(driver.open(0, true).unwrap());
    fake.device(0).put(b"x");
    assert_eq!(driver.port(0).unwrap().read(&mut [0; 2]).unwrap(), 1);
    assert!(driver.port(1).is_none());
    // And a user of one port has no use for control messages.
    let fake = Fake::new(
        DEVICE.id,
        feature::VERSION_1 | features::MULTIPORT,
        &[8; 6],
        LENGTH,
    );
    let mut driver = Console::new(fake.clone(), &fake.area(), Options::default()).unwrap();
    assert!(!driver.session().has(features::MULTIPORT));
    assert_eq!(
        vec![None; 6][2..],
        (2..6).map(|queue| fake.layout(queue)).collect::<Vec<_>>()
    );
}
