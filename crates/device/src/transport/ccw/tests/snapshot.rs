//! A device moves to another subchannel model in the middle of traffic.

use ringwright_spec::ccw::ThinintArea;
use ringwright_spec::ccw::channel::ScswControl;
use ringwright_spec::feature;

use super::*;
use crate::testing::formats;
use crate::transport::SnapshotError;
use crate::transport::testing::disk;

/// Another model that goes on where `board` is.
fn successor(board: &mut Board) -> Board {
    board.subchannel.pause();
    let state = board.subchannel.save().unwrap();
    let (guest, memory) = (board.guest.clone(), board.memory.clone());
    let mut successor = Board::for_guest(sevens(), Options::default(), guest, memory);
    successor.subchannel.restore(&state).unwrap();
    let again = successor.subchannel.save().unwrap();
    assert!(again == state, "what was taken up is all there is");
    successor.subchannel.resume();
    successor
}

#[test]
fn requests_that_wait_are_answered_by_the_successor() {
    for features in formats() {
        for two_stage in [false, true] {
            let mut board = Board::in_revision(sevens(), features, Revision::VIRTIO_1);
            let mut queue = board.start();
            if two_stage {
                board.set_two_stage(13);
            } else {
                board.set_classic();
            }
            let wait = |board: &mut Board| match two_stage {
                true => {
                    assert_eq!(board.interrupts.wait_adapter(), 5);
                    board.put(SUMMARY, &[0]);
                }
                false => {
                    board.interrupts.wait();
                    board.subchannel.test();
                }
            };
            for _ in 0..20 {
                board.request(&mut queue, 10, wait);
            }
            board.subchannel.pause();
            if two_stage {
                // An interruption that has been made pending is the monitor's, which would take it along.
                board.put(SUMMARY, &[0]);
            }
            for length in 1..=10 {
                queue.submit_silently(&[], &[length]);
            }
            let mut successor = successor(&mut board);
            drop(board);
            for length in 1..=10 {
                let completed = loop {
                    match queue.poll_or_arm() {
                        Some(completed) => break completed,
                        None => wait(&mut successor),
                    }
                };
                assert_eq!(completed.data, vec![7; length]);
            }
            for length in 1..40 {
                assert_eq!(successor.request(&mut queue, length, wait).data, vec![7; length]);
            }
        }
    }
}

#[test]
fn the_status_and_the_interruption_that_are_pending_are_taken_along() {
    let mut board = Board::in_revision(sevens(), feature::VERSION_1, Revision::READ_STATUS);
    board.negotiate();
    board.place(Command(0x99), NONE, 7);
    let orb = board.orb();
    assert_eq!(board.subchannel.start(&orb), ConditionCode::DONE);
    let schib = board.subchannel.store();
    let mut successor = successor(&mut board);
    assert_eq!(successor.subchannel.store(), schib);
    assert_eq!(successor.interrupts.wait(), board.interrupts.wait());
    let (code, irb) = successor.subchannel.test();
    assert_eq!((code, irb.scsw), (ConditionCode::DONE, schib.scsw));
    // So are the sense data, the revision, and the status of the device.
    assert_eq!(successor.sense(), Sense::COMMAND_REJECT);
    assert_eq!(successor.set_revision(1, 0), Answer::rejected());
    assert_eq!(successor.status(), negotiated());
}

#[test]
fn a_device_that_is_half_initialized_is_taken_along() {
    for revision in [None, Some(Revision::LEGACY), Some(Revision::VIRTIO_1)] {
        let mut board = Board::new(sevens(), feature::VERSION_1);
        if let Some(revision) = revision {
            assert_eq!(board.set_revision(revision.0, 0), DONE);
        }
        let mut successor = successor(&mut board);
        assert_eq!(successor.set_revision(2, 0).is_rejected(), revision.is_some());
        // In revision 0 there is no feature above bit 31.
        assert_eq!(
            successor.read_features(1) == 0,
            revision == Some(Revision::LEGACY)
        );
    }
}

#[test]
fn a_program_that_is_suspended_is_resumed_by_the_successor() {
    let mut board = Board::in_revision(sevens(), feature::VERSION_1, Revision::READ_STATUS);
    board.put(DATA.into(), &[1]);
    board.place(Command::WRITE_STATUS, CcwFlags::SUSPEND, 1);
    let mut orb = board.orb();
    orb.control = (orb.control.get() | OrbControl::SUSPEND.0).into();
    assert_eq!(board.subchannel.start(&orb), ConditionCode::DONE);
    board.subchannel.test();
    let mut successor = successor(&mut board);
    successor.place(Command::WRITE_STATUS, NONE, 1);
    assert_eq!(successor.subchannel.resume_program(), ConditionCode::DONE);
    let (_, irb) = successor.subchannel.test();
    assert!(ScswControl(irb.scsw.control.get()).contains(ScswControl::PRIMARY));
    assert_eq!(successor.status(), Status::ACKNOWLEDGE);
}

#[test]
fn a_device_that_runs_is_not_saved() {
    let mut board = Board::new(sevens(), feature::VERSION_1);
    assert!(matches!(board.subchannel.save(), Err(SnapshotError::NotPaused)));
    board.subchannel.pause();
    assert!(board.subchannel.save().is_ok());
}

#[test]
fn what_is_no_saved_state_is_refused_and_leaves_nothing() {
    let mut board = Board::in_revision(sevens(), feature::VERSION_1, Revision::READ_STATUS);
    board.start();
    board.set_classic();
    board.subchannel.pause();
    let state = board.subchannel.save().unwrap();
    let mut other = Board::new(sevens(), feature::VERSION_1);
    for length in 0..state.len() {
        let refused = other.subchannel.restore(&state[..length]);
        assert!(
            matches!(refused, Err(SnapshotError::Malformed(_))),
            "{length} bytes"
        );
    }
    let longer = [state.as_slice(), &[0]].concat();
    assert!(other.subchannel.restore(&longer).is_err());
    let mut disk = Board::new(disk(), feature::VERSION_1);
    assert!(matches!(
        disk.subchannel.restore(&state),
        Err(SnapshotError::Host(_))
    ));
    let options = Options {
        max_revision: Revision::VIRTIO_1,
        ..Options::default()
    };
    let mut older = Board::with_options(sevens(), feature::VERSION_1, options);
    assert!(matches!(
        older.subchannel.restore(&state),
        Err(SnapshotError::Mismatch { .. })
    ));
    // As after a reset: neither enabled, nor with indicators.
    for board in [&mut other, &mut disk, &mut older] {
        let fresh = Subchannel::new(Box::new(sevens()), Options::default(), board.interrupts.clone());
        assert_eq!(board.subchannel.store(), fresh.unwrap().store());
        board.enable(true);
        let area = ThinintArea {
            summary_indicator: SUMMARY.into(),
            indicator: AREA.into(),
            ..ThinintArea::default()
        };
        assert_eq!(board.set_revision(1, 0), DONE);
        assert_eq!(board.send(Command::SET_IND_ADAPTER, area.as_bytes()), DONE);
    }
}
