//! Contexts of receive-side scaling, and reports of hashes.

use ringwright_spec::feature;
use ringwright_spec::network::control::Ack;
use ringwright_spec::network::hash::HashReport;

use super::control_tests::card;
use super::*;
use crate::testing::{Device, Fake};

const SCALING: Scaling<'_> = Scaling {
    types: HashTypes::TCPV4,
    table: &[1, 0],
    unclassified: 1,
    transmit: 2,
    key: &[7; 3],
};

const DIVIDED: Features = Features(
    feature::VERSION_1.0 | features::CTRL_VQ.0 | features::MQ.0 | features::RSS.0 | features::RSS_CONTEXT.0,
);

/// What the device is sent by a command, which it answers so.
fn served(driver: &mut Network<Fake>, control: &mut Device, command: Command<'_>, answer: &[u8]) -> Vec<u8> {
    assert_eq!(driver.command(command).unwrap(), Commanded::Queued, "{command:?}");
    driver.publish().unwrap();
    let mut sent = Vec::new();
    let served = control.serve(9, |readable, writable| {
        sent.extend_from_slice(readable);
        assert_eq!(writable.len(), answer.len());
        writable.write(0, answer).unwrap();
        answer.len() as u32
    });
    assert_eq!(served, 1);
    assert_eq!(driver.answer().unwrap(), Some(answer[0] == Ack::OK.0));
    sent
}

#[test]
fn contexts_are_made_and_deleted_drv_net_rss_context_02() {
    let (fake, mut driver) = card(DIVIDED, 2, 2);
    let mut control = fake.device(4);
    let refused = |driver: &mut Network<Fake>, command: Command<'_>| {
        let outcome = driver.command(command).unwrap();
        assert_eq!(outcome, Commanded::Invalid, "{command:?}");
    };
    // Nobody has said yet how many there can be.
    refused(&mut driver, Command::AddContext(1, SCALING));
    assert_eq!(
        served(&mut driver, &mut control, Command::AskContexts, &[0, 3, 0]),
        [9, 0]
    );
    assert_eq!(driver.contexts(), 3);
    for command in [
        Command::AddContext(0, SCALING),
        Command::AddContext(4, SCALING),
        Command::AddContext(
            1,
            Scaling {
                table: &[2],
                ..SCALING
            },
        ),
        Command::ModifyContext(1, SCALING),
        Command::DeleteContext(1),
        Command::DeleteContext(0),
    ] {
        refused(&mut driver, command);
    }
    // drv:net:rss-context:03
    served(&mut driver, &mut control, Command::Pairs(2), &[0]);
    served(&mut driver, &mut control, Command::AddContext(3, SCALING), &[1]);
    served(&mut driver, &mut control, Command::Pairs(2), &[0]);
    let sent = served(&mut driver, &mut control, Command::AddContext(3, SCALING), &[0]);
    let scaling = [2, 0, 0, 0, 1, 0, 1, 0, 1, 0, 0, 0, 2, 0, 3, 7, 7, 7];
    assert_eq!(sent, [&[9, 1, 3, 0, 0, 0, 0, 0, 0, 0][..], &scaling].concat());
    refused(&mut driver, Command::Pairs(2));
    refused(&mut driver, Command::AddContext(3, SCALING));
    let sent = served(
        &mut driver,
        &mut control,
        Command::ModifyContext(3, SCALING),
        &[0],
    );
    assert_eq!(sent[..4], [9, 2, 3, 0]);
    let sent = served(&mut driver, &mut control, Command::DeleteContext(3), &[0]);
    assert_eq!(sent, [9, 3, 3, 0]);
    served(&mut driver, &mut control, Command::Pairs(2), &[0]);
}

#[test]
fn a_result_that_is_too_short_is_an_error() {
    let (fake, mut driver) = card(DIVIDED, 2, 2);
    driver.command(Command::AskContexts).unwrap();
    driver.publish().unwrap();
    fake.device(4).serve(1, |_, writable| {
        writable.write(0, &[0]).unwrap();
        1
    });
    assert!(matches!(driver.answer(), Err(DriverError::Device { .. })));
}

/// A card that reports hashes.
fn reporting(offered: Features) -> (Fake, Network<Fake>) {
    let fake = Fake::new(DEVICE.id, feature::VERSION_1 | offered, &[8; 3], 0x10_0000);
    fake.board().config[17..24].copy_from_slice(&[40, 0, 0, 0x3f, 0, 0, 0]);
    let extras = Extras {
        commands: true,
        hashes: true,
        ..Extras::default()
    };
    let driver = Network::with(fake.clone(), &fake.area(), Options::default(), extras).unwrap();
    (fake, driver)
}

#[test]
fn hashes_are_reported() {
    let (fake, mut driver) = reporting(features::CTRL_VQ | features::HASH_REPORT);
    let hashing = Hashing {
        types: HashTypes::IPV4 | HashTypes::UDPV4,
        key: &[5; 4],
    };
    let sent = served(&mut driver, &mut fake.device(2), Command::Hash(hashing), &[0]);
    assert_eq!(sent, [4, 2, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 5, 5, 5, 5]);
    for hashing in [
        Hashing {
            types: HashTypes::IP_EX,
            ..hashing
        },
        Hashing {
            key: &[0; 41],
            ..hashing
        },
    ] {
        assert_eq!(
            driver.command(Command::Hash(hashing)).unwrap(),
            Commanded::Invalid
        );
    }
    let header = |report: u8| [&[0; 10][..], &[1, 0, 1, 2, 3, 4, report, 0, 0, 0]].concat();
    let hash = Hash {
        value: 0x0403_0201,
        of: HashReport::UDPV4,
    };
    let mut receiveq = fake.device(0);
    for (report, expected) in [(3, Some(hash)), (0, None)] {
        receiveq.put(&[&header(report)[..], &[9; 60]].concat());
        let mut frame = [0; 60];
        assert_eq!(driver.receive(&mut frame).unwrap(), Some(60));
        assert_eq!(frame, [9; 60]);
        assert_eq!(driver.pair(0).unwrap().hash(), expected);
    }
}

#[test]
fn reports_need_commands_drv_net_device_configuration_layout_12() {
    let (_fake, mut driver) = reporting(features::HASH_REPORT);
    assert!(!driver.session().has(features::HASH_REPORT));
    assert_eq!(driver.pair(0).unwrap().hash(), None);
}
