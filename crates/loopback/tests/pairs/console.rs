//! Consoles: bytes in both directions at once.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::thread;

use ringwright_device::console::{self, backend};
use ringwright_driver::Transport;
use ringwright_driver::console::{Console, Event, Size, emergency_write};
use ringwright_loopback::Loopback;
use ringwright_spec::feature;

use crate::common::*;

/// A console, and what it is connected to.
pub fn device() -> (console::Console, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let backend = backend::Descriptors::new(near.try_clone().unwrap().into(), near.into()).unwrap();
    let size = console::Size {
        columns: 132,
        rows: 43,
    };
    (console::Console::new(Box::new(backend), Some(size)), far)
}

#[test]
fn both_directions_at_once() {
    for (format, size) in shapes() {
        let (device, far) = device();
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let mut driver = Console::new(loopback, &area, options(format, size)).unwrap();
        assert_eq!(driver.session().features() & !feature::DEVICE_TYPE_BITS, format);
        exercise(&mut driver, far, wait);
        drop(driver);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

/// Both directions at once, on a console whose other end is `far`.
pub fn exercise<T: Transport>(driver: &mut Console<T>, mut far: UnixStream, mut wait: impl FnMut(&mut T)) {
    let expected = Size {
        columns: 132,
        rows: 43,
    };
    assert_eq!(driver.size().unwrap(), Some(expected));

    let mut source = far.try_clone().unwrap();
    let writer = thread::spawn(move || {
        // In pieces of many sizes.
        let mut rest = &STREAM[..];
        while !rest.is_empty() {
            let length = (1 + mix(rest.len() as u64) as usize % 3000).min(rest.len());
            source.write_all(&rest[..length]).unwrap();
            rest = &rest[length..];
        }
    });
    // Output is not read before all input has arrived, so that it backs up to the driver.
    let (go, start) = channel();
    let reader = thread::spawn(move || {
        start.recv_timeout(DEADLINE).unwrap();
        let mut bytes = vec![0; STREAM.len()];
        far.read_exact(&mut bytes).unwrap();
        bytes
    });

    let (mut received, mut sent) = (Vec::new(), 0);
    let mut part = [0; 700];
    let deadline = Deadline::new();
    while received.len() < STREAM.len() || sent < STREAM.len() || !driver.flushed().unwrap() {
        deadline.check();
        let length = driver.read(&mut part).unwrap();
        received.extend_from_slice(&part[..length]);
        if length > 0 && received.len() == STREAM.len() {
            go.send(()).unwrap();
        }
        let end = STREAM.len().min(sent + 5000);
        let written = driver.write(&STREAM[sent..end]).unwrap();
        sent += written;
        let idle = length == 0 && written == 0 && !driver.enable_notifications();
        // All may have been taken in between.
        let all = received.len() == STREAM.len() && sent == STREAM.len();
        if idle && !(all && driver.flushed().unwrap()) {
            wait(driver.session().transport());
        }
    }
    writer.join().unwrap();
    assert!(received == *STREAM, "input");
    assert!(reader.join().unwrap() == *STREAM, "output");
}

#[test]
fn emergency_output_before_and_after_set_up() {
    let (device, mut far) = device();
    let mut loopback = join(device, feature::VERSION_1);
    let area = loopback.area().clone();
    assert!(emergency_write(&mut loopback, b'a').unwrap());
    let mut driver = Console::new(&mut loopback, &area, options(feature::VERSION_1, 8)).unwrap();
    assert!(emergency_write(driver.session().transport(), b'b').unwrap());
    let mut bytes = [0; 2];
    far.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"ab");
}

#[test]
fn several_ports() {
    for (format, size) in shapes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("port");
        let listener = UnixListener::bind(&path).unwrap();
        let socket = Box::new(backend::UnixSocket::new(listener).unwrap());
        let log = Box::new(backend::Log::append(folder.path().join("log")).unwrap());
        let console = console::Port::console(log, None);
        let device = console::Console::with_ports(console, vec![], 3).unwrap();
        let handle = device.handle();
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let mut driver = Console::with_ports(loopback, &area, options(format, size), 3).unwrap();
        assert_eq!(
            next_events(&mut driver, 3),
            [Event::Added(0), Event::Console(0), Event::Opened(0)]
        );
        assert_eq!(driver.write(b"text").unwrap(), 4);
        // A port that comes later.
        let port = console::Port::generic("test.0", socket);
        assert_eq!(handle.add(port), Ok(1));
        assert_eq!(next_events(&mut driver, 2), [Event::Added(1), Event::Named(1)]);
        assert_eq!(driver.port(1).unwrap().name(), Some("test.0"));
        let far = UnixStream::connect(&path).unwrap();
        far.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(next_events(&mut driver, 1), [Event::Opened(1)]);
        assert!(driver.open(1, true).unwrap());
        echo(&mut driver, far);
        assert_eq!(next_events(&mut driver, 1), [Event::Closed(1)]);
        handle.remove(1).unwrap();
        assert_eq!(next_events(&mut driver, 1), [Event::Removed(1)]);
        let deadline = Deadline::new();
        while !driver.flushed().unwrap() {
            deadline.check();
            if !driver.enable_notifications() && !driver.flushed().unwrap() {
                wait(driver.session().transport());
            }
        }
        assert_eq!(std::fs::read(folder.path().join("log")).unwrap(), b"text");
        drop(driver);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

/// Sends all that comes through port 1 back, until as much as there is has come back to `far`, which then closes.
fn echo(driver: &mut Console<Loopback>, far: UnixStream) {
    let mut source = far.try_clone().unwrap();
    let writer = thread::spawn(move || source.write_all(&STREAM).unwrap());
    let reader = thread::spawn(move || {
        let (mut far, mut bytes) = (far, vec![0; STREAM.len()]);
        far.read_exact(&mut bytes).unwrap();
        bytes
    });
    let deadline = Deadline::new();
    let (mut pending, mut sent, mut part) = (Vec::new(), 0, [0; 3000]);
    while sent < STREAM.len() {
        deadline.check();
        let mut port = driver.port(1).unwrap();
        let length = port.read(&mut part).unwrap();
        pending.extend_from_slice(&part[..length]);
        let written = port.write(&pending).unwrap();
        pending.drain(..written);
        sent += written;
        if length == 0 && written == 0 && !driver.enable_notifications() {
            wait(driver.session().transport());
        }
    }
    writer.join().unwrap();
    assert!(reader.join().unwrap() == *STREAM);
}

/// The next events, as many, for which the driver waits.
fn next_events(driver: &mut Console<Loopback>, count: usize) -> Vec<Event> {
    let (deadline, mut events) = (Deadline::new(), Vec::new());
    while events.len() < count {
        deadline.check();
        match driver.event().unwrap() {
            Some(event) => events.push(event),
            None if driver.enable_notifications() => {}
            None => wait(driver.session().transport()),
        }
    }
    events
}
