//! Serving buffers in one go, beside those that are taken and given back one by one.

mod common;

use common::{BOTH, Shared, pieces};
use ringwright_memory::Buffer;
use ringwright_ring::{DeviceQueue, DriverQueue, Violation};
use ringwright_spec::{Features, feature};

/// A driver that sends numbered buffers of all shapes, and knows what is to come back.
struct Sender {
    shared: Shared,
    driver: DriverQueue<u32>,
    device: DeviceQueue,
    sent: u32,
    /// The buffers of everything sent: each test is short, and its memory large enough for all.
    buffers: Vec<(Buffer, Buffer)>,
}

/// Device-readable and device-writable elements of buffer `number`.
fn shape(number: u32) -> (usize, usize) {
    [
        (1, 1),
        (1, 1),
        (1, 0),
        (0, 1),
        (2, 1),
        (1, 2),
        (2, 0),
        (0, 2),
        (3, 2),
    ][number as usize % 9]
}

/// Bytes written into buffer `number`.
fn written(number: u32) -> u32 {
    if shape(number).1 == 0 { 0 } else { number % 8 }
}

impl Sender {
    fn new(size: u16, features: Features, indirect: u16) -> Self {
        let shared = Shared::new(1 << 20);
        let (driver, device) = shared.pair(size, features, indirect);
        Self {
            shared,
            driver,
            device,
            sent: 0,
            buffers: Vec::new(),
        }
    }

    /// Sends as many buffers as there is room for, `most` at most; tells how many.
    fn send(&mut self, most: u32) -> u32 {
        let before = self.sent;
        while self.sent < before + most {
            let (readable, writable) = shape(self.sent);
            let out = self.shared.buffer(12);
            out.write(0, &self.sent.to_le_bytes().repeat(3)).unwrap();
            let back = self.shared.buffer(12);
            let part = |buffer, count| {
                if count == 0 {
                    Vec::new()
                } else {
                    pieces(buffer, count)
                }
            };
            let added = self
                .driver
                .add(&part(&out, readable), &part(&back, writable), self.sent);
            if added.is_err() {
                break;
            }
            self.buffers.push((out, back));
            self.sent += 1;
        }
        self.driver.publish();
        self.sent - before
    }

    /// Serves `limit` buffers at most, of which the first is number `next`.
    fn serve(&mut self, limit: u16, mut next: u32) -> u16 {
        let handle = |chain: &ringwright_ring::Chain<'_>| {
            let (readable, writable) = shape(next);
            assert_eq!(chain.readable().len(), if readable == 0 { 0 } else { 12 });
            assert_eq!(chain.writable().len(), if writable == 0 { 0 } else { 12 });
            assert_eq!(chain.segments().len(), readable + writable);
            if readable == 1 {
                assert_eq!(chain.readable().read_array(0).unwrap(), next.to_le_bytes());
            }
            next += 1;
            Some(written(next - 1))
        };
        self.device.serve(limit, handle).unwrap()
    }

    /// Takes all used buffers, of which the first must be number `next`; gives the next after them.
    fn receive(&mut self, mut next: u32) -> u32 {
        self.device.publish().unwrap();
        while let Some(used) = self.driver.pop().unwrap() {
            assert_eq!((used.data, used.written), (next, written(next)));
            next += 1;
        }
        next
    }
}

fn all_features() -> Vec<Features> {
    let more = [
        Features::NONE,
        feature::EVENT_IDX,
        feature::IN_ORDER,
        feature::INDIRECT_DESC,
    ];
    BOTH.iter()
        .flat_map(|format| more.map(|feature| *format | feature))
        .collect()
}

#[test]
fn buffers_of_all_shapes_are_served_in_turn() {
    for features in all_features() {
        for size in [8, 16, 32] {
            let mut sender = Sender::new(size, features, 4);
            let (mut served, mut received) = (0, 0);
            for round in 0..60 {
                sender.send(round % 7);
                let limit = (round % 5) as u16;
                let due = (sender.sent - served).min(limit.into());
                assert_eq!(u32::from(sender.serve(limit, served)), due, "{features:?} {size}");
                served += due;
                received = sender.receive(received);
                assert_eq!(received, served);
            }
            assert!(served > 60);
        }
    }
}

#[test]
fn others_may_be_in_flight_the_while() {
    for features in BOTH {
        let mut sender = Sender::new(16, features, 0);
        for _ in 0..50 {
            let first = sender.sent;
            assert!(sender.send(4) == 4);
            let token = sender.device.pop().unwrap().unwrap().into_token();
            assert_eq!(sender.serve(10, first + 1), 3);
            assert_eq!(sender.device.in_flight(), 1);
            sender.device.publish().unwrap();
            let mut numbers = Vec::new();
            while let Some(used) = sender.driver.pop().unwrap() {
                numbers.push(used.data);
            }
            assert_eq!(numbers, [first + 1, first + 2, first + 3]);
            sender.device.complete(token, written(first)).unwrap();
            assert_eq!(sender.receive(first), first + 1);
        }
    }
}

#[test]
fn what_is_put_off_stays_available() {
    for features in all_features() {
        let mut sender = Sender::new(16, features, 0);
        let mut next = 0;
        for _ in 0..30 {
            sender.send(3);
            let mut calls = 0;
            let served = sender.device.serve(10, |_| {
                calls += 1;
                (calls == 1).then_some(written(next))
            });
            assert_eq!((served.unwrap(), calls), (1, 2));
            sender.device.publish().unwrap();
            assert_eq!(sender.device.in_flight(), 0);
            assert!(sender.device.has_available());
            assert_eq!(sender.serve(10, next + 1), 2);
            next = sender.receive(next);
            assert_eq!(next, sender.sent);
        }
    }
}

#[test]
fn more_bytes_written_than_there_are_harm_nothing() {
    for features in all_features() {
        let mut sender = Sender::new(16, features, 0);
        for next in 0..30 {
            sender.send(1);
            let error = sender
                .device
                .serve(1, |chain| Some(chain.writable().len() as u32 + 1))
                .unwrap_err();
            assert!(matches!(error.kind, Violation::WrittenTooLong { .. }), "{error}");
            assert!(sender.device.broken().is_none());
            assert_eq!(sender.serve(1, next), 1);
            assert_eq!(sender.receive(next), next + 1);
        }
    }
}

#[test]
fn nothing_is_served_where_there_is_nothing() {
    for features in all_features() {
        let mut sender = Sender::new(4, features, 0);
        assert_eq!(sender.serve(u16::MAX, 0), 0);
        assert!(!sender.device.publish().unwrap());
        assert_eq!(sender.send(1), 1);
        assert_eq!(sender.serve(0, 0), 0);
        assert!(sender.device.has_available());
    }
}

#[test]
fn the_device_panics_while_it_processes_a_buffer() {
    for features in all_features() {
        let mut sender = Sender::new(32, features, 4);
        let mut next = 0;
        for round in 0..40 {
            let sent = sender.send(5);
            let last = round % sent;
            let mut served = 0;
            let device = &mut sender.device;
            let serve = || {
                device.serve(10, |_| {
                    if served == last {
                        std::panic::resume_unwind(Box::new(()));
                    }
                    served += 1;
                    Some(written(next + served - 1))
                })
            };
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(serve)).unwrap_err();
            // Those before it are given back, and it is available again.
            assert_eq!(sender.receive(next), next + last);
            assert!(sender.device.has_available());
            assert_eq!(u32::from(sender.serve(10, next + last)), sent - last);
            next = sender.receive(next + last);
            assert_eq!((next, sender.device.in_flight()), (sender.sent, 0));
        }
    }
}

#[test]
fn any_shape_after_any_other() {
    let pairs = (0..9).flat_map(|before| (0..9).map(move |after| (before, after)));
    for (before, after) in pairs {
        for features in BOTH {
            let shared = Shared::new(1 << 16);
            let (mut driver, mut device) = shared.pair(16, features, 0);
            // By then the device knows where the memory is, and what shape to expect.
            for number in [before, before, before, after, after] {
                let (readable, writable) = shape(number);
                let (out, back) = (shared.buffer(12), shared.buffer(12));
                let part = |buffer, count| match count {
                    0 => Vec::new(),
                    _ => pieces(buffer, count),
                };
                let added = driver.add(&part(&out, readable), &part(&back, writable), number);
                added.unwrap();
                driver.publish();
                let served = device.serve(10, |chain| {
                    assert_eq!(chain.readable().len(), if readable == 0 { 0 } else { 12 });
                    assert_eq!(chain.writable().len(), if writable == 0 { 0 } else { 12 });
                    Some(written(number))
                });
                assert_eq!(served, Ok(1), "{before} {after} {features:?}");
                assert!(device.pop().unwrap().is_none());
                device.publish().unwrap();
                let used = driver.pop().unwrap().unwrap();
                assert_eq!((used.data, used.written), (number, written(number)));
            }
        }
    }
}
