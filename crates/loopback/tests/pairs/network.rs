//! Network cards: frames in both directions at once.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::channel;
use std::thread;

use ringwright_device::network::{self, backend};
use ringwright_driver::Transport;
use ringwright_driver::network::{
    Checksum, Coalescing, Command, Commanded, Counters, Extras, Network, Offload, Sent, Statistics,
};
use ringwright_loopback::Loopback;
use ringwright_spec::feature;
use ringwright_spec::network::control::NotfCoal;
use ringwright_spec::network::statistics::StatsTypes;

use crate::common::*;

/// Frames in each direction.
const FRAMES: u64 = 600;

pub const MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// A network card without limits, and what its cable leads to.
pub fn device(mtu: Option<u16>) -> (network::Network, UnixStream) {
    device_with(network::Options {
        mac: Some(MAC),
        mtu,
        ..network::Options::default()
    })
}

fn device_with(options: network::Options) -> (network::Network, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    far.set_read_timeout(Some(DEADLINE)).unwrap();
    far.set_write_timeout(Some(DEADLINE)).unwrap();
    let backend = backend::Stream::connected(near).unwrap();
    (network::Network::new(Box::new(backend), options).unwrap(), far)
}

/// The frame of a number.
pub fn frame(number: u64) -> Vec<u8> {
    content(number, 14 + mix(number) as usize % 1500)
}

/// Sends a frame from the far end of the cable.
pub fn put(far: &mut UnixStream, frame: &[u8]) {
    far.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
    far.write_all(frame).unwrap();
}

/// Receives a frame at the far end of the cable.
pub fn take(far: &mut UnixStream) -> Vec<u8> {
    let mut length = [0; 4];
    far.read_exact(&mut length).unwrap();
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    far.read_exact(&mut frame).unwrap();
    frame
}

/// Waits for the next frame at the driver's end.
fn receive(driver: &mut Network<Loopback>, into: &mut [u8]) -> usize {
    loop {
        if let Some(length) = driver.receive(into).unwrap() {
            driver.publish().unwrap();
            return length;
        }
        if !driver.enable_notifications() {
            wait(driver.session().transport());
        }
    }
}

#[test]
fn both_directions_at_once() {
    for (format, size) in shapes() {
        for mtu in [None, Some(1500)] {
            let (device, far) = device(mtu);
            let loopback = join(device, format);
            let area = loopback.area().clone();
            let mut driver = Network::new(loopback, &area, options(format, size)).unwrap();
            assert_eq!(driver.session().features() & !feature::DEVICE_TYPE_BITS, format);
            assert_eq!((driver.mac(), driver.link_up().unwrap()), (Some(MAC), true));

            let far = exercise(&mut driver, far, wait);
            drop(driver);
            drop(far);
            assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
        }
    }
}

/// Both directions at once, on a network card whose cable leads to `far`. That is given back, so that the link stays up.
pub fn exercise<T: Transport>(
    driver: &mut Network<T>,
    mut far: UnixStream,
    mut wait: impl FnMut(&mut T),
) -> UnixStream {
    let mut source = far.try_clone().unwrap();
    let writer = thread::spawn(move || (0..FRAMES).for_each(|number| put(&mut source, &frame(number))));
    // Nothing is taken before all frames have arrived, so that those of the driver back up.
    let (go, start) = channel();
    let reader = thread::spawn(move || {
        start.recv_timeout(DEADLINE).unwrap();
        for number in 0..FRAMES {
            assert!(take(&mut far) == frame(FRAMES + number), "frame {number}");
        }
        far
    });

    let (mut received, mut sent) = (0, 0);
    let mut into = [0; 1600];
    let deadline = Deadline::new();
    while received < FRAMES || sent < FRAMES {
        deadline.check();
        let before = received + sent;
        while sent < FRAMES && driver.send(&frame(FRAMES + sent)).unwrap() == Sent::Queued {
            sent += 1;
        }
        while let Some(length) = driver.receive(&mut into).unwrap() {
            assert!(into[..length] == frame(received), "frame {received}");
            received += 1;
            if received == FRAMES {
                go.send(()).unwrap();
            }
        }
        driver.publish().unwrap();
        let ready = driver.enable_notifications() | driver.enable_send_notifications();
        if received + sent == before && !ready {
            wait(driver.session().transport());
        }
    }
    writer.join().unwrap();
    reader.join().unwrap()
}

#[test]
fn frames_larger_than_a_buffer() {
    for format in formats() {
        let (device, mut far) = device(None);
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let mut driver = Network::new(loopback, &area, options(format, 64)).unwrap();
        let mut into = vec![0; 65536];
        // The device spreads a frame over 32 buffers at most.
        for number in 0..32 {
            let frame = content(number, 1400 + 1500 * number as usize);
            put(&mut far, &frame);
            let length = receive(&mut driver, &mut into);
            assert!(into[..length] == frame, "{} bytes", frame.len());
            assert_eq!(driver.send(&frame[..1400]).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            assert!(take(&mut far) == frame[..1400]);
        }
    }
}

#[test]
fn the_link_goes_down_when_the_peer_leaves() {
    let (device, far) = device(None);
    let loopback = join(device, feature::VERSION_1);
    let area = loopback.area().clone();
    let mut driver = Network::new(loopback, &area, options(feature::VERSION_1, 8)).unwrap();
    assert!(driver.link_up().unwrap());
    drop(far);
    let deadline = Deadline::new();
    while driver.link_up().unwrap() {
        deadline.check();
        wait(driver.session().transport());
    }
}

/// Gives a command, which is obeyed.
fn obey(driver: &mut Network<Loopback>, command: Command<'_>) {
    assert_eq!(driver.command(command).unwrap(), Commanded::Queued);
    driver.publish().unwrap();
    let deadline = Deadline::new();
    let obeyed = loop {
        deadline.check();
        if let Some(obeyed) = driver.answer().unwrap() {
            break obeyed;
        }
    };
    assert!(obeyed, "{command:?}");
}

/// A UDP datagram of a flow, from the driver or to it.
fn datagram(flow: u8, sent: bool) -> Vec<u8> {
    let (near, far) = ([10, 0, 0, 1, 0, 53], [10, 0, 0, 2, 9, flow]);
    let (from, to) = if sent { (near, far) } else { (far, near) };
    let mut frame = vec![0; 12];
    frame.extend([8, 0, 0x45, 0, 0, 28, 0, 0, 0x40, 0, 64, 17, 0, 0]);
    frame.extend([&from[..4], &to[..4], &from[4..], &to[4..], &[0, 8, 0, 0]].concat());
    frame
}

#[test]
fn each_flow_keeps_to_its_pair() {
    const PAIRS: u16 = 3;
    for format in formats() {
        let (device, mut far) = device_with(network::Options {
            control: true,
            queue_pairs: PAIRS,
            ..network::Options::default()
        });
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let extras = Extras {
            commands: true,
            pairs: PAIRS,
            ..Extras::default()
        };
        let mut driver = Network::with(loopback, &area, options(format, 64), extras).unwrap();
        assert_eq!(driver.pairs(), PAIRS);
        let beyond = driver.pair(1).unwrap().send(&datagram(0, true)).unwrap();
        assert_eq!(beyond, Sent::Disabled);
        obey(&mut driver, Command::Pairs(PAIRS));
        let deadline = Deadline::new();
        for flow in 0..24 {
            let pair = driver.pair(u16::from(flow) % PAIRS).unwrap();
            assert_eq!(pair.send(&datagram(flow, true)).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            assert_eq!(take(&mut far), datagram(flow, true));
        }
        for flow in 0..24 {
            put(&mut far, &datagram(flow, false));
        }
        let mut into = [0; 1600];
        for flow in 0..24 {
            let pair = driver.pair(u16::from(flow) % PAIRS).unwrap();
            let length = loop {
                deadline.check();
                if let Some(length) = pair.receive(&mut into).unwrap() {
                    break length;
                }
            };
            assert_eq!(into[..length], datagram(flow, false));
        }
    }
}

/// A segment of TCP with this payload and no checksum, behind the headers of UDP and Geneve if it is in a tunnel.
fn long_frame(payload: usize, tunnel: bool) -> Vec<u8> {
    let packet = |protocol, behind: &[u8]| {
        let length = (20 + behind.len()) as u16;
        let [high, low] = length.to_be_bytes();
        let head = [
            0x45, 0, high, low, 0, 1, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2,
        ];
        [&MAC[..], &MAC, &[8, 0], &head, behind].concat()
    };
    let tcp = [
        &[
            0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0,
        ],
        &content(9, payload)[..],
    ]
    .concat();
    let frame = packet(6, &tcp);
    if !tunnel {
        return frame;
    }
    let [high, low] = (16 + frame.len() as u16).to_be_bytes();
    let udp = [
        0x30, 0x39, 0x17, 0xc1, high, low, 0, 1, 0, 0, 0x65, 0x58, 0, 0, 1, 0,
    ];
    packet(17, &[&udp, &frame[..]].concat())
}

#[test]
fn two_cards_leave_each_other_what_is_to_do() {
    for format in formats() {
        let (near, far) = UnixStream::pair().unwrap();
        let extras = Extras {
            offloads: true,
            tunnels: true,
            incomplete: true,
            ..Extras::default()
        };
        let [mut sender, mut receiver] = [near, far].map(|end| {
            let backend = backend::Stream::connected(end).unwrap().with_headers();
            let card = network::Network::new(Box::new(backend), network::Options::default()).unwrap();
            let loopback = join(card, format);
            let area = loopback.area().clone();
            Network::with(loopback, &area, options(format, 64), extras).unwrap()
        });
        let (plain, tunneled) = (long_frame(20_000, false), long_frame(20_000, true));
        let small = long_frame(100, false);
        let network = 14 + 20 + 16 + 14;
        for (frame, offload, segments) in [
            (&small, Offload::Checksum, false),
            (&plain, Offload::Segments(1400), true),
            (&tunneled, Offload::Tunneled { size: 1400, network }, true),
        ] {
            assert_eq!(sender.send_partial(frame, offload).unwrap(), Sent::Queued);
            sender.publish().unwrap();
            let deadline = Deadline::new();
            let mut into = vec![0; 70_000];
            let arrival = loop {
                deadline.check();
                if let Some(arrival) = receiver.receive_incomplete(&mut into).unwrap() {
                    break arrival;
                }
            };
            receiver.publish().unwrap();
            assert!(matches!(arrival.checksum, Checksum::Partial { offset: 16, .. }));
            assert_eq!(
                arrival.segments.map(|segments| segments.size),
                segments.then_some(1400)
            );
            let tunnel = arrival.segments.and_then(|segments| segments.tunnel);
            assert_eq!(
                tunnel.map(|tunnel| (tunnel.inner_network, tunnel.is_partial)),
                matches!(offload, Offload::Tunneled { .. }).then_some((network, true))
            );
            assert_eq!(arrival.length, frame.len());
            assert_eq!(
                into[frame.len() - 20_000.min(frame.len() - 60)..frame.len()],
                frame[frame.len() - 20_000.min(frame.len() - 60)..]
            );
        }
    }
}

#[test]
fn what_was_counted_and_how_notifications_come_together_is_told() {
    for format in formats() {
        let (device, mut far) = device_with(network::Options {
            control: true,
            ..network::Options::default()
        });
        let loopback = join(device, format);
        let area = loopback.area().clone();
        let extras = Extras {
            commands: true,
            ..Extras::default()
        };
        let mut driver = Network::with(loopback, &area, options(format, 64), extras).unwrap();
        let together = Coalescing {
            packets: 7,
            microseconds: 1000,
        };
        obey(&mut driver, Command::Coalesce(NotfCoal::TX_SET, together));
        obey(&mut driver, Command::AskCoalescing(1));
        assert_eq!(driver.coalescing(), Some(together));
        obey(&mut driver, Command::AskCoalescing(0));
        assert_ne!(driver.coalescing(), Some(together));

        for flow in 0..5 {
            assert_eq!(driver.send(&datagram(flow, true)).unwrap(), Sent::Queued);
            driver.publish().unwrap();
            take(&mut far);
        }
        obey(&mut driver, Command::AskStatisticsTypes);
        let asked = [
            (1, StatsTypes::TX_BASIC),
            (0, StatsTypes::RX_BASIC),
            (2, StatsTypes::CVQ),
        ];
        let asked = asked.map(|(queue, types)| Counters { queue, types });
        obey(&mut driver, Command::AskStatistics(&asked));
        let counted = driver.statistics().collect::<Result<Vec<_>, _>>().unwrap();
        let [
            Statistics::TxBasic(sent),
            Statistics::RxBasic(received),
            Statistics::Cvq(commands),
        ] = counted[..]
        else {
            panic!("{counted:?}");
        };
        let bytes = 5 * datagram(0, true).len() as u64;
        assert_eq!((sent.tx_packets.get(), sent.tx_bytes.get()), (5, bytes));
        assert_eq!(received.rx_packets.get(), 0);
        assert_eq!((commands.command_num.get(), commands.ok_num.get()), (5, 5));
    }
}
