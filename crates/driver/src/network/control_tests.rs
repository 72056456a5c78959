use std::vec;
use std::vec::Vec;

use ringwright_spec::feature;
use ringwright_spec::network::control::{Ack, NotfCoal, Rx, Vlan};
use ringwright_spec::network::hash::{HashTypes, TunnelTypes};

use super::*;
use crate::testing::{Device, FORMATS, Fake};

const LENGTH: usize = 4 << 20;

pub(super) const ALL: Features = Features(control::FEATURES.0 | control::STEERING.0 | features::STATUS.0);

/// Any scaling, and any coalescing.
const SCALING: Scaling<'_> = Scaling {
    types: HashTypes::TCPV4,
    table: &[0; 8],
    unclassified: 0,
    transmit: 1,
    key: &[0; 5],
};
const NEVER: Coalescing = Coalescing {
    packets: 0,
    microseconds: 0,
};

/// A card that offers `offered`, with `most` pairs of which at most `wanted` are set up.
pub(super) fn card(offered: Features, most: u16, wanted: u16) -> (Fake, Network<Fake>) {
    let sizes = vec![8; 2 * usize::from(most) + 1];
    let fake = Fake::new(DEVICE.id, offered, &sizes, LENGTH);
    fake.board().config[8..10].copy_from_slice(&most.to_le_bytes());
    // A key of up to 5 bytes, up to 8 entries, and types of hashes and of tunnels, of which one is not known.
    fake.board().config[17..28].copy_from_slice(&[5, 8, 0, 0x3f, 0, 0, 0, 0x10, 0, 0, 0x80]);
    let extras = Extras {
        commands: true,
        pairs: wanted,
        ..Extras::default()
    };
    let driver = Network::with(fake.clone(), &fake.area(), Options::default(), extras).unwrap();
    (fake, driver)
}

/// What the device is sent by the command that is queued, which it answers.
fn served(driver: &mut Network<Fake>, control: &mut Device, ack: u8) -> Vec<u8> {
    let mut sent = Vec::new();
    assert_eq!(control.serve(1, |_, _| 0), 0, "nothing is published yet");
    driver.publish().unwrap();
    let served = control.serve(9, |readable, writable| {
        sent.extend_from_slice(readable);
        assert_eq!(writable.len(), 1);
        writable.write(0, &[ack]).unwrap();
        1
    });
    assert_eq!(served, 1);
    sent
}

#[test]
fn commands_are_written_as_the_document_says() {
    let single = [[2, 1, 1, 1, 1, 1], [4, 2, 2, 2, 2, 2]];
    let multicast = [[3, 3, 3, 3, 3, 3]];
    let table = [
        &[1, 0, 2, 0, 0, 0][..],
        single.as_flattened(),
        &[1, 0, 0, 0],
        &multicast[0],
    ];
    let scaling = Scaling {
        types: HashTypes::TCPV4 | HashTypes::IPV6,
        table: &[0, 1, 1, 0],
        unclassified: 1,
        transmit: 2,
        key: &[1, 2, 3],
    };
    let scaled = [
        &[4, 1, 10, 0, 0, 0, 3, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0][..],
        &[2, 0, 3, 1, 2, 3],
    ];
    let often = Coalescing {
        packets: 5,
        microseconds: 0x100,
    };
    let commands: [(Command<'_>, Vec<u8>); 13] = [
        (Command::Receive(Rx::PROMISC, true), vec![0, 0, 1]),
        (Command::Receive(Rx::NOBCAST, false), vec![0, 5, 0]),
        (Command::Filter(&single, &multicast), table.concat()),
        (Command::Filter(&[], &[]), vec![1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        (Command::Address(single[0]), vec![1, 1, 2, 1, 1, 1, 1, 1]),
        (Command::Vlan(Vlan::ADD, 0x123), vec![2, 0, 0x23, 1]),
        (Command::Vlan(Vlan::DEL, 0xfff), vec![2, 1, 0xff, 0xf]),
        (Command::AcknowledgeAnnouncement, vec![3, 0]),
        (Command::Pairs(2), vec![4, 0, 2, 0]),
        (Command::Scale(scaling), scaled.concat()),
        (Command::HashInside(TunnelTypes::VXLAN), vec![7, 0, 16, 0, 0, 0]),
        (
            Command::Coalesce(NotfCoal::RX_SET, often),
            vec![6, 1, 5, 0, 0, 0, 0, 1, 0, 0],
        ),
        (
            Command::CoalesceVirtqueue(3, often),
            vec![6, 2, 3, 0, 0, 0, 5, 0, 0, 0, 0, 1, 0, 0],
        ),
    ];
    for format in FORMATS {
        let (fake, mut driver) = card(format | ALL, 3, 2);
        let mut control = fake.device(6);
        for ack in [Ack::OK, Ack::ERR] {
            for (command, bytes) in &commands {
                assert_eq!(driver.answer().unwrap(), None);
                assert_eq!(driver.command(*command).unwrap(), Commanded::Queued);
                assert_eq!(driver.command(*command).unwrap(), Commanded::Busy);
                assert_eq!(driver.answer().unwrap(), None);
                assert_eq!(served(&mut driver, &mut control, ack.0), *bytes, "{command:?}");
                assert_eq!(driver.answer().unwrap(), Some(ack == Ack::OK));
            }
        }
        drop(driver);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn commands_without_their_features_are_not_sent() {
    let commands = [
        (Command::Receive(Rx::PROMISC, true), features::CTRL_RX),
        (Command::Receive(Rx::ALLMULTI, true), features::CTRL_RX),
        (Command::Receive(Rx::ALLUNI, true), features::CTRL_RX_EXTRA),
        (Command::Receive(Rx::NOMULTI, true), features::CTRL_RX_EXTRA),
        (Command::Receive(Rx::NOUNI, true), features::CTRL_RX_EXTRA),
        (Command::Receive(Rx::NOBCAST, true), features::CTRL_RX_EXTRA),
        (Command::Filter(&[], &[]), features::CTRL_RX),
        (Command::Address([0; 6]), features::CTRL_RX),
        (Command::Address([0; 6]), features::CTRL_MAC_ADDR),
        (Command::Vlan(Vlan::ADD, 1), features::CTRL_VLAN),
        (Command::AcknowledgeAnnouncement, features::GUEST_ANNOUNCE),
        (Command::Pairs(1), features::MQ),
        (Command::Scale(SCALING), features::RSS),
        (Command::HashInside(TunnelTypes::NONE), features::HASH_TUNNEL),
        (Command::Coalesce(NotfCoal::TX_SET, NEVER), features::NOTF_COAL),
        (Command::CoalesceVirtqueue(0, NEVER), features::VQ_NOTF_COAL),
        (Command::AskCoalescing(0), features::VQ_NOTF_COAL),
        (Command::AskStatisticsTypes, features::DEVICE_STATS),
        (Command::AskStatistics(&[]), features::DEVICE_STATS),
    ];
    for (command, feature) in commands {
        for lacking in [feature, features::CTRL_VQ] {
            let (_fake, mut driver) = card(feature::VERSION_1 | (ALL - lacking), 1, 2);
            let outcome = driver.command(command).unwrap();
            assert_eq!(outcome, Commanded::Unavailable, "{command:?}");
            assert_eq!(driver.answer().unwrap(), None);
        }
    }
}

#[test]
fn modes_of_reception_need_commands_drv_net_device_configuration_layout_13() {
    let (_fake, mut driver) = card(feature::VERSION_1 | features::CTRL_RX_EXTRA, 1, 1);
    assert!(!driver.session().has(features::CTRL_RX_EXTRA));
    let (_fake, mut driver) = card(
        feature::VERSION_1 | features::CTRL_RX_EXTRA | features::CTRL_VQ,
        1,
        1,
    );
    assert!(driver.session().has(features::CTRL_RX_EXTRA));
}

#[test]
fn commands_that_there_are_not_are_not_sent() {
    let (single, multicast) = ([[0; 6]; MOST_ADDRESSES], [[1; 6]; 2]);
    let (fake, mut driver) = card(feature::VERSION_1 | ALL, 3, 2);
    for command in [
        Command::Receive(Rx(6), true),
        Command::Filter(&single, &multicast),
        Command::Filter(&multicast, &[]),
        Command::Filter(&[], &single[..1]),
        Command::Address([1; 6]),
        Command::Vlan(Vlan(2), 1),
        Command::Vlan(Vlan::ADD, 0x1000),
        Command::Pairs(0),
        Command::Pairs(3),
        Command::HashInside(TunnelTypes::GRE_UDP),
        // The device has it, and nobody knows what it is.
        Command::HashInside(TunnelTypes(1 << 31)),
        Command::Coalesce(NotfCoal::VQ_SET, NEVER),
        Command::CoalesceVirtqueue(4, NEVER),
        Command::AskCoalescing(4),
    ] {
        let outcome = driver.command(command).unwrap();
        assert_eq!(outcome, Commanded::Invalid, "{command:?}");
    }
    for scaling in [
        Scaling {
            table: &[],
            ..SCALING
        },
        Scaling {
            table: &[0; 3],
            ..SCALING
        },
        Scaling {
            table: &[0; 16],
            ..SCALING
        },
        Scaling {
            table: &[0, 2],
            ..SCALING
        },
        Scaling {
            unclassified: 2,
            ..SCALING
        },
        Scaling {
            transmit: 0,
            ..SCALING
        },
        Scaling {
            transmit: 3,
            ..SCALING
        },
        Scaling {
            key: &[0; 6],
            ..SCALING
        },
        Scaling {
            types: HashTypes::UDP_EX,
            ..SCALING
        },
    ] {
        let outcome = driver.command(Command::Scale(scaling)).unwrap();
        assert_eq!(outcome, Commanded::Invalid, "{scaling:?}");
    }
    // The longest one fits.
    let command = Command::Filter(&single[2..], &multicast);
    assert_eq!(driver.command(command).unwrap(), Commanded::Queued);
    let sent = served(&mut driver, &mut fake.device(6), 0);
    assert_eq!(sent.len(), 2 + 8 + 6 * MOST_ADDRESSES);
}

#[test]
fn answers_that_are_none_are_errors() {
    for ack in [2, 0xff] {
        let (fake, mut driver) = card(feature::VERSION_1 | ALL, 1, 1);
        driver.command(Command::Vlan(Vlan::ADD, 1)).unwrap();
        served(&mut driver, &mut fake.device(2), ack);
        let error = driver.answer().unwrap_err();
        assert!(matches!(
            error,
            DriverError::Device {
                device: "network",
                ..
            }
        ));
    }
}

#[test]
fn pairs_are_used_when_they_are_enabled_drv_net_automatic_receive_steering_in_multiqueue_mode_03() {
    for format in FORMATS {
        let (fake, mut driver) = card(format | ALL, 4, 3);
        assert_eq!(driver.pairs(), 3);
        let mut control = fake.device(8);
        let usable = |driver: &mut Network<Fake>| -> Vec<bool> {
            let sent = (0..3).map(|number| driver.pair(number).unwrap().send(&[0; 60]).unwrap());
            sent.map(|sent| sent == Sent::Queued).collect()
        };
        assert_eq!(usable(&mut driver), [true, false, false]);
        driver.command(Command::Pairs(3)).unwrap();
        assert_eq!(usable(&mut driver), [true, false, false], "not answered yet");
        served(&mut driver, &mut control, Ack::OK.0);
        driver.answer().unwrap();
        assert_eq!(usable(&mut driver), [true; 3]);
        driver.command(Command::Pairs(2)).unwrap();
        assert_eq!(usable(&mut driver), [true, true, false], "at once");
        served(&mut driver, &mut control, Ack::OK.0);
        driver.answer().unwrap();
        driver.command(Command::Pairs(3)).unwrap();
        served(&mut driver, &mut control, Ack::ERR.0);
        driver.answer().unwrap();
        assert_eq!(usable(&mut driver), [true, true, false], "it was refused");
        // Each has its own virtqueues: frames come out where they went in, and all have receive buffers.
        driver.publish().unwrap();
        for number in 0..3 {
            let sent = fake.device(2 * number + 1).serve(9, |_, _| 0);
            assert_eq!(sent, [5, 3, 1][usize::from(number)], "pair {number}");
            fake.device(2 * number).put(&[number as u8; 12 + 60]);
            let mut frame = [0; 60];
            let length = driver.pair(number).unwrap().receive(&mut frame).unwrap();
            assert_eq!((length, frame), (Some(60), [number as u8; 60]));
        }
        assert!(driver.pair(3).is_none());
    }
}

#[test]
fn a_card_has_as_many_pairs_as_device_and_user_agree_on() {
    for (most, wanted, pairs) in [(1, 8, 1), (4, 0, 1), (4, 1, 1), (4, 2, 2), (4, 9, 4)] {
        let (fake, driver) = card(feature::VERSION_1 | ALL, most, wanted);
        assert_eq!(driver.pairs(), pairs);
        // Without MQ the control virtqueue comes after the first pair.
        let control = if wanted > 1 { 2 * most } else { 2 };
        assert!(fake.layout(control).is_some());
    }
    let plain = feature::VERSION_1 | (ALL - features::MQ - features::RSS);
    assert_eq!(card(plain, 4, 4).1.pairs(), 1);
}

#[test]
fn a_device_with_a_number_of_pairs_that_there_is_not_is_refused() {
    for most in [0u16, 0x8000] {
        let fake = Fake::new(DEVICE.id, feature::VERSION_1 | ALL, &[8; 8], LENGTH);
        fake.board().config[8..10].copy_from_slice(&most.to_le_bytes());
        let extras = Extras {
            commands: true,
            pairs: 2,
            ..Extras::default()
        };
        let refused = Network::with(fake.clone(), &fake.area(), Options::default(), extras).err();
        assert!(matches!(refused, Some(DriverError::Device { .. })), "{refused:?}");
        assert!(fake.is_area_whole());
    }
}

#[test]
fn an_announcement_is_wanted_when_the_device_says_so() {
    for (offered, status, wanted) in [
        (ALL, 3, true),
        (ALL, 1, false),
        (ALL - features::GUEST_ANNOUNCE, 3, false),
    ] {
        let (fake, mut driver) = card(feature::VERSION_1 | offered, 1, 1);
        fake.board().config[6] = status;
        assert_eq!(driver.announcement_wanted().unwrap(), wanted);
        assert!(driver.link_up().unwrap());
    }
}
