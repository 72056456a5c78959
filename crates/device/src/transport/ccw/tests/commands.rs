//! Every channel command by itself: lengths, values, and when it is rejected.

use ringwright_spec::ccw::channel::Sense;
use ringwright_spec::ccw::{ThinintArea, VqInfoBlockLegacy};
use ringwright_spec::feature;

use super::*;

/// Virtio's commands, and the length of what goes with them.
const LENGTHS: [(Command, u16); 11] = [
    (Command::SET_VQ, 32),
    (Command::VDEV_RESET, 0),
    (Command::SET_IND, 8),
    (Command::SET_CONF_IND, 8),
    (Command::SET_IND_ADAPTER, 25),
    (Command::READ_FEAT, 5),
    (Command::WRITE_FEAT, 5),
    (Command::WRITE_STATUS, 1),
    (Command::READ_STATUS, 1),
    (Command::READ_VQ_CONF, 4),
    (Command::SET_VIRTIO_REV, 4),
];

fn board() -> Board {
    Board::in_revision(Fields::new(2, &[1; 8]), feature::VERSION_1, Revision::READ_STATUS)
}

#[test]
fn sense_id_describes_the_control_unit() {
    // drv:ccw:basic-concepts:01, the other way round.
    let mut board = Board::new(sevens(), Features::NONE);
    assert_eq!(board.give(Command::SENSE_ID, NONE, 256), DONE);
    let id = board.get::<256>(DATA.into());
    assert_eq!(id[..7], [0xff, 0x38, 0x32, 4, 0, 0, 0]);
    assert_eq!(id[7..], [0; 249]);
    assert_eq!(board.give(Command::SENSE_ID, SLI, 7), DONE);
    assert_eq!(board.give(Command::SENSE_ID, NONE, 7), DONE.with(LENGTH, 0));
}

#[test]
fn what_is_not_supported_is_rejected() {
    // dev:ccw:basic-concepts:01
    let known: Vec<u8> = Command::ALL.iter().map(|(command, _)| command.0).collect();
    let mut board = board();
    for code in 0..=u8::MAX {
        let is_link = code & 0x0f == 8;
        if known.contains(&code) || code & 0x0f == 0 || is_link {
            continue;
        }
        assert_eq!(
            board.give(Command(code), NONE, 5),
            Answer::refused(5),
            "{code:#x}"
        );
        assert_eq!(board.sense(), Sense::COMMAND_REJECT);
        // What BASIC SENSE has told is gone.
        assert_eq!(board.sense(), Sense::NONE);
    }
}

#[test]
fn sense_data_are_of_the_last_command() {
    let mut board = board();
    board.give(Command(0x99), NONE, 0);
    assert_eq!(board.give(Command::NO_OPERATION, NONE, 0), DONE);
    assert_eq!(board.sense(), Sense::COMMAND_REJECT);
    board.give(Command(0x99), NONE, 0);
    assert_eq!(board.give(Command::READ_STATUS, NONE, 1), DONE);
    assert_eq!(board.sense(), Sense::NONE);
    board.give(Command(0x99), NONE, 0);
    assert_eq!(board.give(Command::BASIC_SENSE, SLI, 1), DONE);
    assert_eq!(board.get::<1>(DATA.into()), [Sense::COMMAND_REJECT.0]);
}

#[test]
fn too_much_is_an_incorrect_length_if_the_driver_minds() {
    for (command, length) in LENGTHS {
        for (flags, subchannel) in [(NONE, LENGTH), (SLI, FINE)] {
            let mut board = Board::new(Fields::new(2, &[]), feature::VERSION_1);
            if command != Command::SET_VIRTIO_REV {
                assert_eq!(board.set_revision(2, 0), DONE);
            }
            // dev:ccw:basic-concepts:02, dev:ccw:basic-concepts:04: carried out all the same. (Zeroes are good for any
            // of them, except that there is a revision 1.)
            board.put(DATA.into(), &[0, u8::from(command == Command::SET_VIRTIO_REV)]);
            assert_eq!(
                board.give(command, flags, length + 3),
                DONE.with(subchannel, 3),
                "{command:?}"
            );
        }
    }
}

#[test]
fn too_little_is_a_unit_check() {
    for (command, length) in LENGTHS.into_iter().filter(|(_, length)| *length > 0) {
        for short in 0..length {
            // dev:ccw:basic-concepts:02
            let mut board = Board::new(Fields::new(2, &[]), feature::VERSION_1);
            if command != Command::SET_VIRTIO_REV {
                assert_eq!(board.set_revision(2, 0), DONE);
            }
            let rejected = Answer::rejected();
            assert_eq!(
                board.give(command, NONE, short),
                rejected.with(LENGTH, 0),
                "{command:?} {short}"
            );
            assert_eq!(board.sense(), Sense::COMMAND_REJECT);
            // dev:ccw:basic-concepts:03
            assert_eq!(board.give(command, SLI, short), rejected, "{command:?} {short}");
            assert_eq!(board.sense(), Sense::COMMAND_REJECT);
        }
    }
}

#[test]
fn a_command_with_too_little_is_not_carried_out() {
    let mut board = board();
    board.put(DATA.into(), &[0xff; 64]);
    assert!(board.give(Command::READ_FEAT, SLI, 4).is_rejected());
    assert!(board.give(Command::READ_VQ_CONF, SLI, 3).is_rejected());
    assert_eq!(board.get(DATA.into()), [0xff; 64]);
    board.negotiate();
    let layout = board.guest.queue(0, 16).layout();
    board.set_vq(1, layout);
    // The end of a good block is missing.
    assert!(board.give(Command::SET_VQ, SLI, 31).is_rejected());
    assert_eq!(board.set_vq(0, layout), DONE);
}

#[test]
fn one_data_area_in_pieces() {
    let mut board = board();
    board.put(DATA.into(), &[0, 0, 0, 0, 1]);
    let word = |command: Command, flags, count: u16, address: u32| Ccw1 {
        command: command.0,
        flags,
        count: count.into(),
        data_address: address.into(),
    };
    let program = [
        word(Command::READ_FEAT, CcwFlags::CHAIN_DATA.0, 3, DATA),
        word(Command(0), CcwFlags::CHAIN_COMMAND.0, 2, DATA + 3),
        word(Command::READ_STATUS, 0, 1, DATA + 8),
    ];
    board.put(0x1000, program.as_bytes());
    let scsw = board.run();
    assert_eq!((scsw.device_status, scsw.subchannel_status), (DONE.device.0, 0));
    // VERSION_1, ACCESS_PLATFORM not, RING_PACKED, IN_ORDER, NOTIFICATION_DATA, SUSPEND, and the device's bit 63.
    let high = board.get::<5>(DATA.into());
    assert_eq!(u32::from_le_bytes([high[0], high[1], high[2], high[3]]) & 1, 1);
    assert_eq!(high[3] & 0x80, 0x80);
    assert_eq!(high[4], 1);
}

#[test]
fn features_are_read_and_accepted() {
    let mut board = board();
    let offered: Vec<u32> = (0..5).map(|index| board.read_features(index)).collect();
    let all = Features::NONE
        .with_word(0, offered[0])
        .with_word(1, offered[1])
        .with_word(2, offered[2])
        .with_word(3, offered[3]);
    assert!(all.contains(feature::VERSION_1 | Features::bit(63) | Features::bit(127)));
    assert!(all.contains(feature::NOTIFICATION_DATA | feature::SUSPEND));
    // Reserved on this transport (section 4.3.4).
    assert!(!all.intersects(feature::RING_RESET | feature::ADMIN_VQ));
    assert_eq!(offered[4], 0);
    assert_eq!(board.read_features(255), 0);
    // Zeroes are accepted for features without a number, others not.
    assert_eq!(board.write_features(4, 0), DONE);
    assert_eq!(board.write_features(4, 1), Answer::rejected());
    assert_eq!(board.write_features(255, 1 << 31), Answer::rejected());
    board.negotiate();
    // drv:init:device-initialization:04
    assert_eq!(board.write_features(0, 0), Answer::rejected());
}

#[test]
fn legacy_drivers_see_the_first_features_only() {
    let mut board = Board::in_revision(Fields::new(1, &[]), Features::NONE, Revision::LEGACY);
    assert_ne!(board.read_features(0), 0);
    for index in 1..=4 {
        assert_eq!(board.read_features(index), 0);
    }
}

#[test]
fn virtqueues_tell_their_size() {
    let mut board = board();
    for (index, size) in [(0_u16, 16_u16), (1, 16), (2, 0), (u16::MAX, 0)] {
        let mut block = index.to_be_bytes().to_vec();
        block.extend([0xff, 0xff]);
        assert_eq!(board.send(Command::READ_VQ_CONF, &block), DONE);
        assert_eq!(board.get::<2>((DATA + 2).into()), size.to_be_bytes(), "{index}");
        assert_eq!(board.get::<2>(DATA.into()), index.to_be_bytes());
    }
}

#[test]
fn virtqueues_are_set_up_once_and_well() {
    let mut board = board();
    board.negotiate();
    let good = board.guest.queue(0, 16).layout();
    for (what, index, layout) in [
        ("index", 2, good),
        ("index", u16::MAX, good),
        ("no descriptors", 0, Layout { size: 0, ..good }),
        ("no power of 2", 0, Layout { size: 12, ..good }),
        ("too many", 0, Layout { size: 32, ..good }),
        ("far too many", 0, Layout { size: 0x8001, ..good }),
        (
            "descriptors",
            0,
            Layout {
                descriptor_area: good.descriptor_area + 8,
                ..good
            },
        ),
        (
            "available ring",
            0,
            Layout {
                driver_area: good.driver_area + 1,
                ..good
            },
        ),
        (
            "used ring",
            0,
            Layout {
                device_area: good.device_area + 2,
                ..good
            },
        ),
    ] {
        assert_eq!(board.set_vq(index, layout), Answer::rejected(), "{what}");
    }
    assert_eq!(board.set_vq(0, good), DONE);
    assert_eq!(board.set_vq(0, good), Answer::rejected());
    // Given up, it can be set up again.
    let none = Layout::default();
    assert_eq!(board.set_vq(2, none), Answer::rejected());
    assert_eq!(board.set_vq(0, none), DONE);
    assert_eq!(board.set_vq(0, none), DONE);
    assert_eq!(board.set_vq(0, Layout { size: 8, ..good }), DONE);
    assert_eq!(board.set_status(live()), DONE);
    assert_eq!(board.status(), live());
}

#[test]
fn packed_virtqueues_have_any_size() {
    let features = feature::VERSION_1 | feature::RING_PACKED;
    let mut board = Board::in_revision(Fields::new(1, &[]), features, Revision::VIRTIO_1);
    board.negotiate();
    assert_eq!(board.send(Command::READ_VQ_CONF, &[0; 4]), DONE);
    assert_eq!(board.get::<2>((DATA + 2).into()), 24_u16.to_be_bytes());
    let good = board.guest.queue(0, 24).layout();
    assert_eq!(board.set_vq(0, Layout { size: 25, ..good }), Answer::rejected());
    let askew = Layout {
        driver_area: good.driver_area + 2,
        ..good
    };
    assert_eq!(board.set_vq(0, askew), Answer::rejected());
    assert_eq!(board.set_vq(0, good), DONE);
}

#[test]
fn legacy_virtqueues_are_in_one_piece() {
    let mut board = Board::in_revision(Fields::new(1, &[]), Features::NONE, Revision::LEGACY);
    let mut set = |index: u16, queue: u64, size: u16, align: u32| {
        let block = VqInfoBlockLegacy {
            queue: queue.into(),
            align: align.into(),
            index: index.into(),
            size: size.into(),
        };
        board.send(Command::SET_VQ, block.as_bytes())
    };
    for (index, queue, size, align) in [
        (1, 0x4000, 16, 4096),
        (0, 0x4000, 32, 4096),
        (0, 0x4000, 12, 4096),
        (0, 0x4000, 0, 4096),
        (0, 0x4000, 16, 4095),
        (0, 0x4000, 16, 0),
        (0, 0x4008, 16, 4096),
        (0, u64::MAX - 0xfff, 16, 4096),
    ] {
        assert_eq!(
            set(index, queue, size, align),
            Answer::rejected(),
            "{queue:#x} {size} {align}"
        );
    }
    assert_eq!(set(0, 0x4000, 16, 4096), DONE);
    assert_eq!(set(0, 0x4000, 16, 4096), Answer::rejected());
    assert_eq!(set(0, 0, 0, 0), DONE);
    assert_eq!(set(0, 0x4000, 16, 4096), DONE);
}

#[test]
fn the_configuration_space_is_transmitted_from_its_beginning() {
    let device = Fields::new(1, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let written = device.written.clone();
    let mut board = Board::in_revision(device, feature::VERSION_1, Revision::VIRTIO_1);
    board.put(DATA.into(), &[0xff; 16]);
    // As much of it as the driver wants.
    assert_eq!(board.give(Command::READ_CONF, NONE, 3), DONE);
    assert_eq!(board.get(DATA.into()), [1, 2, 3, 0xff]);
    assert_eq!(board.give(Command::READ_CONF, NONE, 12), DONE);
    assert_eq!(
        board.get(DATA.into()),
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0xff]
    );
    assert_eq!(board.give(Command::READ_CONF, NONE, 14), DONE.with(LENGTH, 2));
    assert_eq!(board.give(Command::READ_CONF, SLI, 14), DONE.with(FINE, 2));
    // Only what is different is written, a field at a time, and what cannot be written does no harm.
    let new = [0, 2, 3, 4, 9, 6, 9, 8, 9, 10, 11, 9];
    assert_eq!(board.send(Command::WRITE_CONF, &new), DONE);
    assert_eq!(*written.lock().unwrap(), [(4, vec![9, 6, 9]), (11, vec![9])]);
    assert_eq!(board.give(Command::READ_CONF, NONE, 12), DONE);
    assert_eq!(board.get(DATA.into()), [1, 2, 3, 4, 9, 6, 9, 8, 9, 10, 11, 9]);
    // The end may be left out, and nothing may be beyond it.
    written.lock().unwrap().clear();
    assert_eq!(board.send(Command::WRITE_CONF, &[1, 2, 3, 4, 5]), DONE);
    assert_eq!(*written.lock().unwrap(), [(4, vec![5])]);
    board.put(DATA.into(), &[1, 2, 3, 4, 5, 6, 9, 8, 9, 10, 11, 9, 0xaa]);
    assert_eq!(board.give(Command::WRITE_CONF, NONE, 13), DONE.with(LENGTH, 1));
    assert_eq!(board.give(Command::WRITE_CONF, SLI, 13), DONE.with(FINE, 1));
    // A device without configuration space.
    let mut board = Board::in_revision(sevens(), feature::VERSION_1, Revision::VIRTIO_1);
    assert_eq!(board.give(Command::READ_CONF, NONE, 0), DONE);
    assert_eq!(board.give(Command::READ_CONF, NONE, 1), DONE.with(LENGTH, 1));
    assert_eq!(board.give(Command::WRITE_CONF, SLI, 1), DONE.with(FINE, 1));
}

fn two_stage(board: &mut Board, change: impl FnOnce(&mut ThinintArea)) -> Answer {
    let mut area = ThinintArea {
        summary_indicator: SUMMARY.into(),
        indicator: AREA.into(),
        bit_nr: 0.into(),
        isc: 5,
    };
    change(&mut area);
    board.send(Command::SET_IND_ADAPTER, area.as_bytes())
}

#[test]
fn the_two_kinds_of_indicators_exclude_each_other() {
    let classic = CLASSIC.to_be_bytes();
    let mut board = board();
    assert_eq!(board.send(Command::SET_IND, &classic), DONE);
    // dev:ccw:setting-up-two-stage-queue-indicators:01
    assert_eq!(two_stage(&mut board, |_| ()), Answer::rejected());
    assert_eq!(board.send(Command::SET_IND, &classic), DONE);
    // Taken away, or forgotten with a reset, they exclude nothing.
    assert_eq!(board.send(Command::SET_IND, &[0; 8]), DONE);
    assert_eq!(two_stage(&mut board, |_| ()), DONE);
    // Section 4.3.2.6.1
    assert_eq!(board.send(Command::SET_IND, &classic), Answer::rejected());
    assert_eq!(two_stage(&mut board, |area| area.indicator = 0.into()), DONE);
    assert_eq!(board.send(Command::SET_IND, &classic), DONE);
    assert_eq!(board.give(Command::VDEV_RESET, NONE, 0), DONE);
    assert_eq!(two_stage(&mut board, |_| ()), DONE);
    // The configuration indicators are another matter.
    assert_eq!(board.send(Command::SET_CONF_IND, &CONFIG.to_be_bytes()), DONE);
}

#[test]
fn indicators_are_in_memory() {
    let mut board = board();
    let end = LOW as u64;
    for command in [Command::SET_IND, Command::SET_CONF_IND] {
        for address in [end, end - 7, u64::MAX] {
            assert_eq!(
                board.send(command, &address.to_be_bytes()),
                Answer::rejected(),
                "{address:#x}"
            );
        }
        assert_eq!(board.send(command, &(end - 8).to_be_bytes()), DONE);
        assert_eq!(board.send(command, &[0; 8]), DONE);
    }
    assert_eq!(
        two_stage(&mut board, |area| area.summary_indicator = end.into()),
        Answer::rejected()
    );
    assert_eq!(
        two_stage(&mut board, |area| area.indicator = end.into()),
        Answer::rejected()
    );
    assert_eq!(
        two_stage(&mut board, |area| area.bit_nr = u64::MAX.into()),
        Answer::rejected()
    );
    assert_eq!(
        two_stage(&mut board, |area| area.indicator = u64::MAX.into()),
        Answer::rejected()
    );
    assert_eq!(two_stage(&mut board, |area| area.isc = 8), Answer::rejected());
    // Of two virtqueues the second one would be beyond the end.
    let bits = (end - AREA) * 8;
    assert_eq!(
        two_stage(&mut board, |area| area.bit_nr = (bits - 1).into()),
        Answer::rejected()
    );
    assert_eq!(
        two_stage(&mut board, |area| area.bit_nr = (bits - 2).into()),
        DONE
    );
}

#[test]
fn classic_indicators_are_for_64_virtqueues() {
    for (queues, answer) in [(64, DONE), (65, Answer::rejected())] {
        let device = Fields::new(queues, &[]);
        let mut board = Board::in_revision(device, feature::VERSION_1, Revision::VIRTIO_1);
        assert_eq!(board.send(Command::SET_IND, &CLASSIC.to_be_bytes()), answer);
        assert_eq!(two_stage(&mut board, |_| ()).is_rejected(), answer == DONE);
    }
}
