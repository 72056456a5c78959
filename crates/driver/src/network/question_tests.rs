//! Commands that ask: how notifications are coalesced, and what was counted.

use std::vec;
use std::vec::Vec;

use ringwright_spec::feature;
use ringwright_spec::network::control::Ack;
use ringwright_spec::network::statistics::{Cvq, ReplyHdr, RxBasic, StatsTypes, TxSpeed};
use zerocopy::IntoBytes;

use super::control_tests::{ALL, card};
use super::*;
use crate::testing::{Device, FORMATS, Fake};

/// Gives a command, which a device with `room` for it answers by these bytes; what it was sent, and whether it has obeyed.
fn ask(
    driver: &mut Network<Fake>,
    control: &mut Device,
    command: Command<'_>,
    room: usize,
    answer: &[u8],
) -> (Vec<u8>, Result<Option<bool>, DriverError>) {
    assert_eq!(driver.command(command).unwrap(), Commanded::Queued);
    driver.publish().unwrap();
    let mut sent = Vec::new();
    let served = control.serve(9, |readable, writable| {
        sent.extend_from_slice(readable);
        assert_eq!(writable.len(), room);
        writable.write(0, answer).unwrap();
        answer.len() as u32
    });
    assert_eq!(served, 1);
    (sent, driver.answer())
}

/// A card with two pairs of three, behind which virtqueue 6 is for commands, that counts `types`.
fn counting(format: Features, types: u64) -> (Fake, Network<Fake>, Device) {
    let (fake, mut driver) = card(format | ALL, 3, 2);
    let mut control = fake.device(6);
    let answer = [&[Ack::OK.0][..], &types.to_le_bytes()].concat();
    let asked = ask(&mut driver, &mut control, Command::AskStatisticsTypes, 9, &answer);
    assert_eq!(asked.0, [8, 0]);
    assert_eq!(asked.1.unwrap(), Some(true));
    (fake, driver, control)
}

fn header(kind: u8, queue: u16, size: usize) -> ReplyHdr {
    ReplyHdr {
        r#type: kind,
        vq_index: queue.into(),
        size: (size as u16).into(),
        ..ReplyHdr::default()
    }
}

#[test]
fn the_parameters_of_a_virtqueue_are_told_drv_net_notifications_coalescing_04() {
    for format in FORMATS {
        let (fake, mut driver) = card(format | ALL, 3, 2);
        let mut control = fake.device(6);
        assert_eq!(driver.coalescing(), None);
        let answer = [0, 5, 0, 0, 0, 0, 1, 0, 0];
        let (sent, obeyed) = ask(&mut driver, &mut control, Command::AskCoalescing(3), 9, &answer);
        assert_eq!((sent, obeyed.unwrap()), (vec![6, 3, 3, 0, 0, 0], Some(true)));
        let told = Coalescing {
            packets: 5,
            microseconds: 0x100,
        };
        assert_eq!(driver.coalescing(), Some(told));
        // What comes with a refusal is nothing.
        let answer = [1, 7, 0, 0, 0, 7, 0, 0, 0];
        let (_, obeyed) = ask(&mut driver, &mut control, Command::AskCoalescing(0), 9, &answer);
        assert_eq!((obeyed.unwrap(), driver.coalescing()), (Some(false), None));
        // Nor is what is too short.
        let (_, obeyed) = ask(
            &mut driver,
            &mut control,
            Command::AskCoalescing(0),
            9,
            &answer[1..3],
        );
        assert!(obeyed.is_err() || driver.coalescing().is_none());
        let (_, obeyed) = ask(&mut driver, &mut control, Command::AskCoalescing(0), 9, &[0; 8]);
        assert!(matches!(obeyed, Err(DriverError::Device { .. })), "{obeyed:?}");
    }
}

#[test]
fn what_was_counted_has_its_type() {
    for format in FORMATS {
        let (_fake, mut driver, mut control) = counting(format, 0x1_000f_000f);
        assert_eq!(driver.statistics_types(), StatsTypes(0x1_000f_000f));
        let counters = |queue, types| Counters { queue, types };
        let asked = [
            counters(6, StatsTypes::CVQ),
            counters(2, StatsTypes::RX_BASIC),
            counters(3, StatsTypes::TX_BASIC | StatsTypes::TX_SPEED),
        ];
        let received = RxBasic {
            hdr: header(0, 2, 56),
            rx_packets: 7.into(),
            ..RxBasic::default()
        };
        let slow = TxSpeed {
            hdr: header(19, 3, 24),
            tx_packets_allowance_exceeded: 3.into(),
            ..TxSpeed::default()
        };
        // A later document may say more.
        let commands = Cvq {
            hdr: header(32, 6, 32),
            command_num: 5.into(),
            ok_num: 4.into(),
        };
        let parts = [
            &[0][..],
            commands.as_bytes(),
            &[0xff; 8],
            received.as_bytes(),
            slow.as_bytes(),
        ];
        let answer = parts.concat();
        let room = 1 + 24 + 56 + 56 + 24;
        let (sent, obeyed) = ask(
            &mut driver,
            &mut control,
            Command::AskStatistics(&asked),
            room,
            &answer,
        );
        assert_eq!(obeyed.unwrap(), Some(true));
        let entries = [
            [6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0],
            [2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
            [3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0],
        ];
        assert_eq!(sent, [&[8, 1], entries.as_flattened()].concat());
        let found = driver.statistics().collect::<Result<Vec<_>, _>>().unwrap();
        let expected = [
            Statistics::Cvq(commands),
            Statistics::RxBasic(received),
            Statistics::TxSpeed(slow),
        ];
        assert_eq!(found, expected);
        // What comes with a refusal is nothing.
        let refused = [&[1][..], &answer[1..]].concat();
        let command = Command::AskStatistics(&asked);
        let (_, obeyed) = ask(&mut driver, &mut control, command, room, &refused);
        assert_eq!((obeyed.unwrap(), driver.statistics().count()), (Some(false), 0));
    }
}

#[test]
fn only_what_is_counted_is_asked_for_drv_net_device_statistics_02() {
    let counters = |queue, types| Counters { queue, types };
    let receive = [counters(0, StatsTypes::RX_BASIC)];
    let (_fake, mut driver) = card(feature::VERSION_1 | ALL, 3, 2);
    let outcome = driver.command(Command::AskStatistics(&receive)).unwrap();
    assert_eq!(
        outcome,
        Commanded::Invalid,
        "the device has not said what it counts"
    );
    // It counts something that nobody knows, too.
    let (_fake, mut driver, mut control) = counting(feature::VERSION_1, 1 << 63 | 0x1_0001_0003);
    assert_eq!(driver.statistics_types(), StatsTypes(0x1_0001_0003));
    for wrong in [
        counters(0, StatsTypes::NONE),
        counters(0, StatsTypes::RX_GSO),
        counters(0, StatsTypes(1 << 63)),
        counters(0, StatsTypes::TX_BASIC),
        counters(1, StatsTypes::RX_BASIC),
        counters(1, StatsTypes::TX_BASIC | StatsTypes::CVQ),
        counters(4, StatsTypes::RX_BASIC),
        counters(6, StatsTypes::RX_BASIC),
        counters(7, StatsTypes::CVQ),
    ] {
        let outcome = driver
            .command(Command::AskStatistics(&[receive[0], wrong]))
            .unwrap();
        assert_eq!(outcome, Commanded::Invalid, "{wrong:?}");
    }
    let most = vec![counters(2, StatsTypes::RX_BASIC | StatsTypes::RX_CSUM); MOST_COUNTERS];
    let more = [&most[..], &receive].concat();
    assert_eq!(
        driver.command(Command::AskStatistics(&more)).unwrap(),
        Commanded::Invalid
    );
    let room = 1 + 96 * MOST_COUNTERS;
    let (_, obeyed) = ask(
        &mut driver,
        &mut control,
        Command::AskStatistics(&most),
        room,
        &[0],
    );
    assert_eq!((obeyed.unwrap(), driver.statistics().count()), (Some(true), 0));
}

#[test]
fn statistics_that_are_none_are_errors() {
    let counters = [Counters {
        queue: 1,
        types: StatsTypes::TX_BASIC,
    }];
    for (kind, size, length) in [
        (16, 57, 56),
        (16, 40, 56),
        (16, 7, 56),
        (16, 0, 56),
        (33, 56, 56),
        (16, 56, 4),
    ] {
        let (_fake, mut driver, mut control) = counting(feature::VERSION_1, 1 << 16);
        let mut answer = [&[0], header(kind, 1, size).as_bytes(), &[0; 48]].concat();
        answer.truncate(1 + length);
        let command = Command::AskStatistics(&counters);
        ask(&mut driver, &mut control, command, 57, &answer).1.unwrap();
        let found: Vec<_> = driver.statistics().collect();
        assert!(
            matches!(found[..], [Err(DriverError::Device { .. })]),
            "{kind} {size}: {found:?}"
        );
    }
}
