//! Revisions, status, reset.

use ringwright_spec::feature;

use super::*;

/// Commands of all revisions, each good for a device that has just been reset.
const OF_ALL_REVISIONS: [Command; 10] = [
    Command::VDEV_RESET,
    Command::WRITE_STATUS,
    Command::READ_FEAT,
    Command::WRITE_FEAT,
    Command::READ_CONF,
    Command::WRITE_CONF,
    Command::READ_VQ_CONF,
    Command::SET_IND,
    Command::SET_CONF_IND,
    Command::SET_IND_ADAPTER,
];

fn modern_only() -> Options {
    Options {
        transitional: false,
        ..Options::default()
    }
}

fn device() -> Fields {
    Fields::new(1, &[0; 8])
}

#[test]
fn a_revision_that_exists_is_selected_once() {
    for revision in 0..=2 {
        let mut board = Board::new(device(), feature::VERSION_1);
        // dev:ccw:setting-the-virtio-revision:01: the driver goes down from the highest it knows.
        for unknown in [u16::MAX, 3] {
            assert_eq!(board.set_revision(unknown, 0), Answer::rejected());
            assert_eq!(board.sense(), Sense::COMMAND_REJECT);
        }
        assert_eq!(board.set_revision(revision, 0), DONE);
        // dev:ccw:setting-the-virtio-revision:05
        for other in 0..=2 {
            assert_eq!(board.set_revision(other, 0), Answer::rejected());
        }
    }
}

#[test]
fn the_highest_revision_is_the_devices_choice() {
    for max in 0..=2 {
        let options = Options {
            max_revision: Revision(max),
            ..Options::default()
        };
        for revision in 0..=3 {
            let mut board = Board::with_options(device(), feature::VERSION_1, options.clone());
            assert_eq!(board.set_revision(revision, 0).is_rejected(), revision > max);
        }
    }
}

#[test]
fn a_revision_has_no_further_data() {
    for revision in 0..=2 {
        let mut board = Board::new(device(), feature::VERSION_1);
        // dev:ccw:setting-the-virtio-revision:02
        board.put(DATA.into(), &[0, revision, 0, 1, 0]);
        let length = if revision == 0 { NONE } else { SLI };
        assert!(board.give(Command::SET_VIRTIO_REV, length, 5).is_rejected());
        assert_eq!(board.set_revision(revision.into(), u16::MAX), Answer::rejected());
        assert_eq!(board.set_revision(revision.into(), 0), DONE);
    }
}

#[test]
fn a_device_that_is_not_transitional_has_no_revision_0() {
    // dev:ccw:setting-the-virtio-revision:03
    let mut board = Board::with_options(device(), feature::VERSION_1, modern_only());
    assert_eq!(board.set_revision(0, 0), Answer::rejected());
    // Section 4.3.2.1.3: nor does it listen to a driver that knows no other.
    for command in OF_ALL_REVISIONS {
        assert_eq!(board.give(command, SLI, 64), Answer::refused(64), "{command:?}");
        assert_eq!(board.sense(), Sense::COMMAND_REJECT);
    }
    assert_eq!(board.give(Command::SENSE_ID, SLI, 64), DONE);
    assert_eq!(board.set_revision(1, 0), DONE);
}

#[test]
fn a_driver_that_selects_no_revision_is_a_legacy_driver() {
    for command in OF_ALL_REVISIONS {
        let mut board = Board::new(device(), Features::NONE);
        assert!(!board.give(command, SLI, 64).is_rejected(), "{command:?}");
        // Section 4.3.2.1.3: it is as if it had selected revision 0.
        for revision in 0..=2 {
            assert_eq!(board.set_revision(revision, 0), Answer::rejected());
        }
        assert_eq!(board.read_features(1), 0);
        assert_eq!(board.give(Command::READ_STATUS, NONE, 1), Answer::refused(1));
    }
    // Commands that are not virtio's say nothing about the driver.
    let mut board = Board::new(device(), Features::NONE);
    board.give(Command::SENSE_ID, SLI, 64);
    board.give(Command::NO_OPERATION, SLI, 0);
    board.give(Command(0x99), SLI, 0);
    board.sense();
    assert_eq!(board.set_revision(2, 0), DONE);
}

#[test]
fn the_status_is_read_from_revision_2_on() {
    // dev:ccw:setting-the-virtio-revision:04
    for revision in [0, 1] {
        let mut board = Board::in_revision(device(), feature::VERSION_1, Revision(revision));
        assert_eq!(board.give(Command::READ_STATUS, NONE, 1), Answer::refused(1));
    }
    // dev:ccw:communicating-status-information:02
    let mut board = Board::in_revision(device(), feature::VERSION_1, Revision::READ_STATUS);
    assert_eq!(board.status(), Status::NONE);
    board.negotiate();
    assert_eq!(board.status(), negotiated());
}

#[test]
fn the_revision_is_forgotten_when_the_subchannel_is_disabled() {
    // dev:ccw:setting-the-virtio-revision:06
    let mut board = Board::in_revision(device(), feature::VERSION_1, Revision::READ_STATUS);
    // Neither a reset of the device nor a change of something else does that.
    assert_eq!(board.give(Command::VDEV_RESET, NONE, 0), DONE);
    board.enable(true);
    assert_eq!(board.set_revision(1, 0), Answer::rejected());
    board.enable(false);
    board.enable(true);
    assert_eq!(board.set_revision(1, 0), DONE);
    assert_eq!(board.give(Command::READ_STATUS, NONE, 1), Answer::refused(1));
}

#[test]
fn another_interface_begins_anew() {
    let mut board = Board::in_revision(device(), feature::VERSION_1, Revision::READ_STATUS);
    board.start();
    board.enable(false);
    board.enable(true);
    // The status stays for a driver of the same interface.
    assert_eq!(board.set_revision(2, 0), DONE);
    assert_eq!(board.status(), live());
    board.enable(false);
    board.enable(true);
    assert_eq!(board.set_revision(0, 0), DONE);
    board.enable(false);
    board.enable(true);
    assert_eq!(board.set_revision(2, 0), DONE);
    assert_eq!(board.status(), Status::NONE);
}

#[test]
fn a_status_that_cannot_be_is_rejected_and_stays() {
    let begun = Status::ACKNOWLEDGE | Status::DRIVER;
    let mut board = Board::in_revision(device(), feature::VERSION_1, Revision::READ_STATUS);
    // dev:ccw:communicating-status-information:01: no VERSION_1, and nothing that is not offered.
    for features in [
        Features::NONE,
        feature::VERSION_1 | feature::RING_RESET,
        feature::VERSION_1 | Features::bit(60),
    ] {
        assert_eq!(board.give(Command::VDEV_RESET, NONE, 0), DONE);
        for index in 0..4 {
            assert_eq!(board.write_features(index, features.word(index.into())), DONE);
        }
        // All bits at once: none is set.
        assert_eq!(board.set_status(begun | Status::FEATURES_OK), Answer::rejected());
        assert_eq!(board.sense(), Sense::COMMAND_REJECT);
        assert_eq!(board.status(), Status::NONE);
        assert_eq!(board.set_status(begun), DONE);
        assert_eq!(board.set_status(begun | Status::FEATURES_OK), Answer::rejected());
        assert_eq!(board.status(), begun);
        // Neither is the device live without it.
        for status in [begun | Status::DRIVER_OK, live()] {
            assert_eq!(board.set_status(status), Answer::rejected());
            assert_eq!(board.status(), begun);
        }
    }
    board.negotiate();
    for (what, status) in [
        ("a bit without a meaning", negotiated() | Status(32)),
        ("the device's own", negotiated() | Status::DEVICE_NEEDS_RESET),
        ("a bit cleared", begun),
        ("suspended, but not negotiated", negotiated() | Status::SUSPEND),
    ] {
        assert_eq!(board.set_status(status), Answer::rejected(), "{what}");
        assert_eq!(board.status(), negotiated());
    }
    assert_eq!(board.set_status(live() | Status::FAILED), DONE);
    assert_eq!(board.status(), live() | Status::FAILED);
}

#[test]
fn a_legacy_status_knows_no_negotiation() {
    let begun = Status::ACKNOWLEDGE | Status::DRIVER;
    let mut board = Board::in_revision(device(), Features::NONE, Revision::LEGACY);
    assert_eq!(board.set_status(begun), DONE);
    assert_eq!(board.set_status(begun | Status::FEATURES_OK), Answer::rejected());
    assert_eq!(board.set_status(begun | Status::DRIVER_OK), DONE);
}

#[test]
fn the_device_is_suspended_and_resumed() {
    let features = feature::VERSION_1 | feature::SUSPEND;
    let mut board = Board::in_revision(sevens(), features, Revision::READ_STATUS);
    board.negotiate();
    // dev:init:device-suspend:01
    assert_eq!(
        board.set_status(negotiated() | Status::SUSPEND),
        Answer::rejected()
    );
    let mut queue = board.start();
    board.set_classic();
    assert_eq!(board.set_status(live() | Status::SUSPEND), DONE);
    assert_eq!(board.status(), negotiated() | Status::SUSPEND);
    queue.add(&[], &[8]);
    board.publish(&mut queue);
    // Resumed by DRIVER_OK, whether or not the driver leaves SUSPEND set.
    for status in [live(), live() | Status::SUSPEND] {
        assert_eq!(board.set_status(status), DONE);
        assert_eq!(board.status(), live());
        assert_eq!(board.set_status(live() | Status::SUSPEND), DONE);
    }
    assert_eq!(board.set_status(live()), DONE);
    let completed = loop {
        if let Some(completed) = queue.poll_or_arm() {
            break completed;
        }
        board.interrupts.wait();
        board.subchannel.test();
    };
    assert_eq!(completed.data, [7; 8]);
}

#[test]
fn a_reset_is_finished_with_its_command() {
    for by_status in [false, true] {
        let mut board = Board::in_revision(sevens(), feature::VERSION_1, Revision::READ_STATUS);
        let mut queue = board.start();
        board.set_classic();
        let answer = match by_status {
            false => board.give(Command::VDEV_RESET, NONE, 0),
            true => board.set_status(Status::NONE),
        };
        assert_eq!(answer, DONE);
        // dev:ccw:resetting-devices:01
        assert_eq!(board.status(), Status::NONE);
        // dev:ccw:resetting-devices:02
        let before = board.interrupts.pending().count;
        queue.add(&[], &[8]);
        board.publish(&mut queue);
        assert!(queue.poll().is_none());
        assert_eq!(board.get::<16>(CLASSIC), [0; 16]);
        // Initialized again, it works.
        let mut queue = board.start();
        board.set_classic();
        assert!(board.interrupts.pending().count > before);
        let completed = board.request(&mut queue, 8, |board| {
            board.interrupts.wait();
            board.subchannel.test();
        });
        assert_eq!(completed.data, [7; 8]);
    }
}
