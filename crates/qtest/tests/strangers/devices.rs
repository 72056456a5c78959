//! What each driver does with QEMU's device.

use std::io::{Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Instant;

use ringwright_driver::block::{Block, BlockError, CacheMode, Range, Ranges, Refusal, Request};
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::init::Setup;
use ringwright_driver::network::{Command, Commanded, Extras, Network, Sent};
use ringwright_driver::session::Session;
use ringwright_driver::{DriverError, Options, Transport, TransportError};
use ringwright_memory::{Area, Buffer};
use ringwright_ring::{DriverOptions, DriverQueue};
use ringwright_spec::network::control::{Rx, Vlan};
use ringwright_spec::{Features, entropy, feature, network};

use crate::rows::Row;
use crate::world::{DEADLINE, DISK, MAC, Outside, SERIAL};

/// How a driver learns that its device has done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// By MSI-X.
    Messages,
    /// By the pin, or the one interrupt that a device over MMIO has.
    Pin,
    /// By looking.
    Polling,
}

/// Takes the device behind `transport`, uses it, and leaves it.
pub fn exercise(
    transport: &mut dyn Transport,
    row: Row,
    options: Options,
    outside: &mut Outside,
    area: &Arc<Area>,
) {
    let free = area.len() / 2;
    assert!(
        area.allocate(free, 4096).is_some(),
        "the memory of the last driver is free"
    );
    match transport.device_id() {
        4 => {
            random_bytes(transport, row, options, area);
            if !row.legacy && options.accept.contains(feature::RING_RESET) {
                reset_a_queue(transport, row, options, area);
            }
        }
        2 => disk(transport, row, options, outside, area),
        1 => card(transport, row, options, outside, area),
        3 => console(transport, row, options, outside, area),
        other => panic!("device {other}"),
    }
}

/// Checks that what was negotiated is what this row is about.
fn check<T: Transport>(session: &mut Session<T>, row: Row, options: Options) {
    let features = session.features();
    assert_eq!(session.is_legacy(), row.legacy);
    assert_eq!(features.contains(feature::VERSION_1), !row.legacy);
    assert_eq!(features.contains(feature::RING_PACKED), row.packed);
    let many = options.accept.contains(feature::EVENT_IDX);
    let expected = match row.legacy {
        true => feature::EVENT_IDX | feature::INDIRECT_DESC,
        false => feature::EVENT_IDX | feature::INDIRECT_DESC | feature::IN_ORDER | feature::RING_RESET,
    };
    let ring = features & expected;
    assert_eq!(ring, if many { expected } else { Features::NONE });
    session.check().unwrap();
}

/// Waits until the device has notified something, or until it is time to look anyway.
fn wait(transport: &mut impl Transport, row: Row, deadline: Instant) {
    while row.waiting != Waiting::Polling && !transport.take_interrupt().unwrap().queue {
        assert!(Instant::now() < deadline, "no notification came");
        std::thread::yield_now();
    }
    assert!(Instant::now() < deadline, "no end in sight");
    std::thread::yield_now();
}

/// Bytes of a number.
fn content(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn bytes(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.read(0, &mut bytes).unwrap();
    bytes
}

/// A virtqueue is reset while the device has a buffer of it, and used again, of another size.
fn reset_a_queue(transport: &mut dyn Transport, row: Row, options: Options, area: &Arc<Area>) {
    let deadline = Instant::now() + DEADLINE;
    let mut setup = Setup::begin(transport, area, &entropy::DEVICE, Features::NONE, options).unwrap();
    let mut queue: DriverQueue<Buffer> = setup.queue(entropy::REQUESTQ, 1).unwrap();
    let mut session = setup.finish().unwrap();
    for size in [4, 8] {
        // Not shown to the device: it has to forget that, too.
        let buffer = area.allocate(16, 16).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        match session.reset_queue(entropy::REQUESTQ, &mut queue) {
            Ok(outstanding) => assert_eq!(outstanding.count(), 1),
            // QEMU offers the feature over MMIO, too, but has no register QueueReset: that is noticed.
            Err(DriverError::Transport(TransportError::Protocol(_))) if row.on_mmio => return,
            Err(error) => panic!("{error}"),
        }
        let driver_options = DriverOptions::default();
        queue = DriverQueue::new(area, size, session.features(), driver_options).unwrap();
        session.enable_queue(entropy::REQUESTQ, &queue).unwrap();
        let buffer = area.allocate(16, 16).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        session.publish(entropy::REQUESTQ, &mut queue).unwrap();
        while queue.in_flight() > 0 {
            if queue.pop().unwrap().is_none() && !queue.enable_notifications() {
                wait(session.transport(), row, deadline);
            }
        }
    }
    session.check().unwrap();
}

fn random_bytes(transport: &mut dyn Transport, row: Row, options: Options, area: &Arc<Area>) {
    let deadline = Instant::now() + DEADLINE;
    let mut driver = Entropy::new(transport, area, options).unwrap();
    check(driver.session(), row, options);
    let mut seen = Vec::new();
    for _ in 0..4 {
        for _ in 0..2 {
            let buffer = area.allocate(64, 16).unwrap();
            buffer.write(0, &[0; 64]).unwrap();
            driver.request(buffer).unwrap().unwrap();
        }
        let mut outstanding = 2;
        while outstanding > 0 {
            while let Some((buffer, length)) = driver.poll().unwrap() {
                assert!((1..=64).contains(&length));
                seen.push(bytes(&buffer)[..length.min(16)].to_vec());
                outstanding -= 1;
            }
            if outstanding > 0 && !driver.enable_notifications() {
                wait(driver.session().transport(), row, deadline);
            }
        }
    }
    drop(driver);
    // 16 random bytes are neither zero nor the same twice.
    assert!(seen.iter().all(|bytes| bytes.iter().any(|byte| *byte != 0)));
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 8);
}

fn disk(transport: &mut dyn Transport, row: Row, options: Options, outside: &Outside, area: &Arc<Area>) {
    let mut disk = Block::new(transport, area, 1, options).unwrap();
    check(disk.session(), row, options);
    let geometry = disk.geometry();
    assert_eq!((geometry.capacity, geometry.block_size), (DISK / 512, 512));
    assert!(geometry.flush && !geometry.read_only);
    let seed = u64::from(options.queue_size) + u64::from(row.packed);
    // Pieces of many sizes, all over the disk.
    let pieces: Vec<(u64, usize)> = (0..24)
        .map(|n| (n * 331 % 7919, 512 * (1 + n as usize * 7 % 40)))
        .collect();
    let mut last = Vec::new();
    for (number, (sector, length)) in pieces.iter().enumerate() {
        let data = content(seed + number as u64, *length);
        let buffer = area.allocate(*length, 512).unwrap();
        buffer.write(0, &data).unwrap();
        last.push((*sector, data));
        perform(&mut disk, row, [Request::write(*sector, buffer)]);
    }
    perform(&mut disk, row, [Request::flush()]);
    // What was written last at each place is in the image.
    let image = std::fs::File::open(&outside.image).unwrap();
    let mut expected = vec![0; DISK as usize];
    let mut written = vec![false; (DISK / 512) as usize];
    for (sector, data) in &last {
        let start = *sector as usize * 512;
        expected[start..start + data.len()].copy_from_slice(data);
        written[*sector as usize..][..data.len() / 512].fill(true);
    }
    let mut found = vec![0; 512];
    for (sector, _) in written.iter().enumerate().filter(|(_, written)| **written) {
        image.read_exact_at(&mut found, sector as u64 * 512).unwrap();
        assert!(
            found == expected[sector * 512..][..512],
            "sector {sector} of the image"
        );
    }
    // All of it at once, back.
    let reads = pieces
        .iter()
        .map(|(sector, length)| Request::read(*sector, area.allocate(*length, 512).unwrap()));
    let answers = perform(&mut disk, row, reads);
    for ((sector, length), answer) in pieces.iter().zip(answers) {
        assert!(
            answer == expected[*sector as usize * 512..][..*length],
            "sector {sector}"
        );
    }
    let id = perform(&mut disk, row, [Request::get_id(area.allocate(20, 4).unwrap())]);
    assert!(id[0].starts_with(SERIAL.as_bytes()));
    let beyond = Request::read(DISK / 512, area.allocate(512, 512).unwrap());
    let refused = disk.submit(0, beyond, 0).unwrap_err();
    assert_eq!(refused.reason, Refusal::BeyondCapacity(DISK / 512));
    rarer_requests(&mut disk, row, area);
}

/// What file systems ask of a disk now and then, and the settings of its cache.
fn rarer_requests<T: Transport>(disk: &mut Block<T>, row: Row, area: &Arc<Area>) {
    let geometry = disk.geometry();
    assert!(geometry.disk.is_some() && geometry.topology.is_some());
    let buffer = |length| area.allocate(length, 512).unwrap();
    let ranges = |sector, sectors, unmap| {
        let range = Range {
            sector,
            sectors,
            unmap,
        };
        Ranges::new(buffer(16), &[range]).unwrap()
    };
    // Three buffers to one request, and back into others.
    let lengths = [512, 4096, 1024];
    let data = content(99, 5632);
    let (mut from, mut at) = (Vec::new(), 0);
    for length in lengths {
        from.push(buffer(length));
        from.last().unwrap().write(0, &data[at..at + length]).unwrap();
        at += length;
    }
    perform(disk, row, [Request::write(64, from)]);
    let read = |disk: &mut Block<T>| {
        let into: Vec<Buffer> = lengths.iter().rev().map(|length| buffer(*length)).collect();
        perform(disk, row, [Request::read(64, into)]).remove(0)
    };
    assert!(read(disk) == data);
    let mut expected = data;
    assert!(geometry.write_zeroes.is_some() && geometry.discard.is_some());
    for (sector, unmap) in [(65, false), (70, true)] {
        perform(disk, row, [Request::write_zeroes(ranges(sector, 2, unmap))]);
        expected[(sector as usize - 64) * 512..][..1024].fill(0);
        assert!(read(disk) == expected);
    }
    perform(disk, row, [Request::discard(ranges(1024, 64, false))]);
    assert!(geometry.switchable_cache);
    for mode in [CacheMode::WriteThrough, CacheMode::WriteBack] {
        assert!(disk.set_cache_mode(mode).unwrap());
        assert_eq!(disk.cache_mode().unwrap(), mode);
        perform(disk, row, [Request::write(64, buffer(512))]);
    }
    assert_eq!(disk.look_for_capacity().unwrap(), None);
}

/// Performs requests, all outstanding at once as far as there is room; what their buffers hold afterwards, in order.
fn perform<T: Transport>(
    disk: &mut Block<T>,
    row: Row,
    requests: impl IntoIterator<Item = Request>,
) -> Vec<Vec<u8>> {
    let deadline = Instant::now() + DEADLINE;
    let mut requests = requests.into_iter().enumerate().peekable();
    let mut answers: Vec<Option<Vec<u8>>> = Vec::new();
    let mut outstanding = 0;
    while outstanding > 0 || requests.peek().is_some() {
        for (tag, request) in requests.by_ref() {
            answers.resize(answers.len().max(tag + 1), None);
            if let Err(refused) = disk.submit(0, request, tag as u64) {
                panic!("{refused}: there are fewer requests than descriptors");
            }
            outstanding += 1;
        }
        disk.publish(0).unwrap();
        while let Some(completion) = disk.poll(0).unwrap() {
            assert_eq!(completion.result, Ok::<(), BlockError>(()));
            let content = completion.data.as_slice().iter().flat_map(bytes).collect();
            let place = &mut answers[completion.tag as usize];
            assert!(place.replace(content).is_none(), "a request is completed once");
            outstanding -= 1;
        }
        if outstanding > 0 && !disk.enable_notifications(0) {
            wait(disk.session().transport(), row, deadline);
        }
    }
    answers
        .into_iter()
        .map(|answer| answer.expect("every request is completed"))
        .collect()
}

fn card(
    transport: &mut dyn Transport,
    row: Row,
    mut options: Options,
    outside: &mut Outside,
    area: &Arc<Area>,
) {
    const FRAMES: u64 = 40;
    let deadline = Instant::now() + DEADLINE;
    // Receive buffers that are put together only with many features.
    if !options.accept.contains(feature::EVENT_IDX) {
        options.accept = options.accept - network::features::MRG_RXBUF;
    }
    let extras = Extras {
        commands: true,
        ..Extras::default()
    };
    let mut card = Network::with(transport, area, options, extras).unwrap();
    check(card.session(), row, options);
    assert_eq!((card.mac(), card.link_up().unwrap()), (Some(MAC), true));
    let frame = |number: u64| {
        let mut frame = content(number, 60 + number as usize * 37 % 1454);
        frame[..6].copy_from_slice(&MAC);
        frame
    };
    let cable = &mut outside.cable;
    for number in 0..FRAMES {
        // To the driver.
        let bytes = frame(number);
        cable.write_all(&(bytes.len() as u32).to_be_bytes()).unwrap();
        cable.write_all(&bytes).unwrap();
        // From the driver.
        let own = frame(1000 + number);
        assert_eq!(card.send(&own).unwrap(), Sent::Queued);
        card.publish().unwrap();
        let mut length = [0; 4];
        cable.read_exact(&mut length).unwrap();
        let mut found = vec![0; u32::from_be_bytes(length) as usize];
        cable.read_exact(&mut found).unwrap();
        assert!(found == own, "frame {number} from the driver");
        let mut into = [0; 1600];
        let length = loop {
            if let Some(length) = card.receive(&mut into).unwrap() {
                break length;
            }
            if !card.enable_notifications() {
                wait(card.session().transport(), row, deadline);
            }
        };
        assert!(into[..length] == bytes, "frame {number} to the driver");
        card.publish().unwrap();
    }
    if row.legacy || !options.accept.contains(network::features::CTRL_VQ) {
        return;
    }
    for command in [
        Command::Receive(Rx::PROMISC, false),
        Command::Receive(Rx::NOBCAST, true),
        Command::Filter(&[MAC], &[[3; 6]]),
        Command::Address(MAC),
        Command::Vlan(Vlan::ADD, 5),
    ] {
        assert_eq!(card.command(command).unwrap(), Commanded::Queued, "{command:?}");
        card.publish().unwrap();
        let obeyed = loop {
            if let Some(obeyed) = card.answer().unwrap() {
                break obeyed;
            }
            assert!(Instant::now() < deadline, "{command:?} is not answered");
            std::thread::yield_now();
        };
        assert!(obeyed, "{command:?}");
    }
}

fn console(
    transport: &mut dyn Transport,
    row: Row,
    options: Options,
    outside: &mut Outside,
    area: &Arc<Area>,
) {
    let deadline = Instant::now() + DEADLINE;
    let mut console = Console::new(transport, area, options).unwrap();
    check(console.session(), row, options);
    let terminal = &mut outside.terminal;
    for round in 0..3 {
        let output = content(round, 3000);
        let mut sent = 0;
        while sent < output.len() {
            sent += console.write(&output[sent..]).unwrap();
            if sent < output.len() && !console.enable_notifications() {
                wait(console.session().transport(), row, deadline);
            }
        }
        let mut found = vec![0; output.len()];
        terminal.read_exact(&mut found).unwrap();
        assert!(found == output, "output");
        let input = content(100 + round, 1500);
        terminal.write_all(&input).unwrap();
        let (mut received, mut into) = (Vec::new(), [0; 700]);
        while received.len() < input.len() {
            let length = console.read(&mut into).unwrap();
            received.extend_from_slice(&into[..length]);
            if length == 0 && !console.enable_notifications() {
                wait(console.session().transport(), row, deadline);
            }
        }
        assert!(received == input, "input");
        while !console.flushed().unwrap() {
            if !console.enable_notifications() {
                wait(console.session().transport(), row, deadline);
            }
        }
    }
}
