//! Indicators and interruptions one way, DIAGNOSE the other.

use ringwright_spec::ccw::ThinintArea;
use ringwright_spec::ccw::channel::ScswControl;
use ringwright_spec::feature;

use super::*;
use crate::testing::formats;
use crate::transport::core::Sink;

const UNSOLICITED: ScswControl = ScswControl::ALERT.union(ScswControl::STATUS_PENDING);

fn board(device: impl Device + 'static) -> Board {
    Board::in_revision(device, feature::VERSION_1, Revision::READ_STATUS)
}

impl Board {
    pub fn set_two_stage(&mut self, first_bit: u64) {
        let area = ThinintArea {
            summary_indicator: SUMMARY.into(),
            indicator: AREA.into(),
            bit_nr: first_bit.into(),
            isc: 5,
        };
        assert_eq!(self.send(Command::SET_IND_ADAPTER, area.as_bytes()), DONE);
    }

    /// The device's side of a used buffer notification.
    fn used(&self, queue: u16) {
        self.subchannel.unit.indicators.used_buffer(queue);
    }
}

#[test]
fn requests_with_classic_indicators() {
    for features in formats() {
        let mut board = Board::in_revision(sevens(), features, Revision::VIRTIO_1);
        let mut queue = board.start();
        board.set_classic();
        for length in [1, 100, 5000] {
            let completed = board.request(&mut queue, length, |board| {
                board.interrupts.wait();
                let (_, irb) = board.subchannel.test();
                assert_eq!(irb.scsw.control.get(), UNSOLICITED.0);
                assert_eq!(board.get(CLASSIC), 1_u64.to_be_bytes());
                board.put(CLASSIC, &[0; 8]);
            });
            assert_eq!(completed.data, vec![7; length]);
        }
    }
}

#[test]
fn requests_with_two_stage_indicators() {
    for features in formats() {
        let mut board = Board::in_revision(sevens(), features, Revision::VIRTIO_1);
        let mut queue = board.start();
        board.set_two_stage(13);
        for length in [1, 100, 5000] {
            let completed = board.request(&mut queue, length, |board| {
                assert_eq!(board.interrupts.wait_adapter(), 5);
                assert_eq!(board.get(SUMMARY), [1]);
                board.put(SUMMARY, &[0]);
                assert_eq!(board.get(AREA), [0, 0b0000_0100, 0]);
                board.put(AREA, &[0; 3]);
            });
            assert_eq!(completed.data, vec![7; length]);
        }
        // No status for the subchannel in all of this.
        assert_eq!(board.subchannel.test().0, ConditionCode::STATUS_PENDING);
    }
}

#[test]
fn classic_indicators_are_numbered_from_the_right() {
    let mut board = board(Fields::new(64, &[]));
    board.set_classic();
    for (queue, value) in [(0, 1_u64), (7, 0x81), (8, 0x181), (63, 0x8000_0000_0000_0181)] {
        board.used(queue);
        assert_eq!(board.get(CLASSIC), value.to_be_bytes());
    }
    assert_eq!(board.get(CONFIG), [0; 8]);
}

#[test]
fn two_stage_indicators_are_numbered_from_the_left() {
    let mut board = board(Fields::new(64, &[]));
    board.set_two_stage(6);
    for (queue, value) in [
        (0, [0x02, 0, 0]),
        (1, [0x03, 0, 0]),
        (2, [0x03, 0x80, 0]),
        (10, [0x03, 0x80, 0x80]),
    ] {
        board.used(queue);
        assert_eq!(board.get(AREA), value);
    }
    // Bits of other devices stay.
    board.put(AREA, &[0x80]);
    board.used(0);
    assert_eq!(board.get(AREA), [0x82]);
}

#[test]
fn an_interruption_that_is_pending_is_not_made_again() {
    let mut board = board(Fields::new(64, &[]));
    board.set_classic();
    let before = board.interrupts.pending().count;
    board.used(3);
    board.used(4);
    board.used(3);
    assert_eq!(board.interrupts.pending().count, before + 1);
    board.subchannel.test();
    board.used(3);
    assert_eq!(board.interrupts.pending().count, before + 2);
    // The status of a program does as well.
    board.subchannel.test();
    board.place(Command::NO_OPERATION, NONE, 0);
    let orb = board.orb();
    board.subchannel.start(&orb);
    board.used(9);
    assert_eq!(board.interrupts.pending().count, before + 3);
    let (_, irb) = board.subchannel.test();
    assert_eq!(irb.scsw.device_status, DONE.device.0);
    assert_eq!(board.get(CLASSIC), 0x218_u64.to_be_bytes());
    // Of which nothing is left in what comes unasked.
    board.used(9);
    assert_eq!(board.subchannel.test().1.scsw.device_status, 0);
}

#[test]
fn an_adapter_interruption_needs_a_summary_that_was_clear() {
    // dev:ccw:notification-via-adapter-i-o-interrupts:01
    let mut board = board(Fields::new(64, &[]));
    board.set_two_stage(0);
    board.used(3);
    board.used(4);
    assert_eq!(board.interrupts.pending().adapter, [5]);
    assert_eq!(board.get(SUMMARY), [1]);
    board.put(SUMMARY, &[0]);
    board.used(4);
    assert_eq!(board.interrupts.pending().adapter, [5, 5]);
}

#[test]
fn nothing_is_notified_without_indicators_or_to_a_disabled_subchannel() {
    let mut board = board(Fields::new(64, &[]));
    let before = board.interrupts.pending().count;
    board.used(3);
    board.subchannel.unit.indicators.config_changed();
    assert_eq!(board.interrupts.pending().count, before);
    board.set_classic();
    let before = board.interrupts.pending().count;
    board.enable(false);
    board.used(3);
    assert_eq!(board.interrupts.pending().count, before);
    assert_eq!(board.get(CLASSIC), 8_u64.to_be_bytes());
}

#[test]
fn indicators_whose_memory_has_gone_cost_a_notification_and_no_more() {
    let mut board = board(Fields::new(64, &[]));
    board.set_classic();
    let before = board.interrupts.pending().count;
    board.subchannel.set_memory(board.guest.memory());
    board.used(3);
    board.subchannel.unit.indicators.config_changed();
    assert_eq!(board.interrupts.pending().count, before);
    board.subchannel.set_memory(board.memory.clone());
    board.used(3);
    assert_eq!(board.interrupts.pending().count, before + 1);
}

#[test]
fn configuration_changes_are_told_by_classic_interrupts_always() {
    for two_stage in [false, true] {
        let device = Fields::new(1, &[0; 8]);
        let outlet = device.outlet.clone();
        let mut board = board(device);
        board.start();
        if two_stage {
            board.set_two_stage(0);
            assert_eq!(board.send(Command::SET_CONF_IND, &CONFIG.to_be_bytes()), DONE);
        } else {
            board.set_classic();
        }
        outlet.lock().unwrap().as_ref().unwrap().config_changed();
        assert_eq!(board.interrupts.wait().subclass, 3);
        let (_, irb) = board.subchannel.test();
        assert_eq!(irb.scsw.control.get(), UNSOLICITED.0);
        assert_eq!(board.get(CONFIG), 1_u64.to_be_bytes());
        assert_eq!(board.get(CLASSIC), [0; 8]);
        assert!(board.interrupts.pending().adapter.is_empty());
        // After a reset there is no one to tell (dev:ccw:resetting-devices:02).
        assert_eq!(board.give(Command::VDEV_RESET, NONE, 0), DONE);
        board.put(CONFIG, &[0; 8]);
        let before = board.interrupts.pending().count;
        outlet.lock().unwrap().as_ref().unwrap().config_changed();
        assert_eq!(board.interrupts.pending().count, before);
        assert_eq!(board.get(CONFIG), [0; 8]);
    }
}

#[test]
fn a_broken_device_tells_that_it_needs_a_reset() {
    for revision in [Revision::VIRTIO_1, Revision::READ_STATUS] {
        let mut board = Board::in_revision(sevens(), feature::VERSION_1, revision);
        let mut queue = board.start();
        board.set_classic();
        // A descriptor index beyond the virtqueue.
        queue.add(&[], &[8]);
        let ring = queue.layout().driver_area;
        board.put(ring + 4, &[0xff, 0xff]);
        board.publish(&mut queue);
        board.interrupts.wait();
        board.subchannel.test();
        // dev:core:device-status-field:03
        assert_eq!(board.get(CONFIG), 1_u64.to_be_bytes());
        let broken = live() | Status::DEVICE_NEEDS_RESET;
        if revision == Revision::READ_STATUS {
            assert_eq!(board.status(), broken);
            assert_eq!(board.set_status(broken | Status::FAILED), DONE);
        } else {
            // A driver that cannot read it does not know.
            assert_eq!(board.set_status(live() | Status::FAILED), DONE);
        }
        assert_eq!(board.give(Command::VDEV_RESET, NONE, 0), DONE);
        board.negotiate();
    }
}

#[test]
fn diagnose_notifies_the_device_that_it_names() {
    let mut board = board(sevens());
    let mut queue = board.start();
    board.set_two_stage(0);
    let Board {
        subchannel,
        interrupts,
        memory,
        ..
    } = board;
    let id = subchannel.id();
    let mut subsystem = ChannelSubsystem::new();
    subsystem.attach(subchannel).unwrap();
    let other = Subchannel::new(Box::new(sevens()), Options::default(), interrupts.clone()).unwrap();
    assert!(subsystem.attach(other).is_err());

    // dev:ccw:guest-host-notification:01
    for left in [0, 0xffff_ffff_0000_0000] {
        let mut registers = [0xaa; 16];
        registers[1] = 3;
        registers[2] = left | u64::from(id);
        registers[3] = 0;
        queue.submit_silently(&[], &[8]);
        assert!(subsystem.diagnose(&mut registers));
        // dev:ccw:guest-host-notification:02: a cookie, not an error.
        assert_eq!(registers[..5], [0xaa, 3, 0, 0, 0xaa]);
        assert_eq!(interrupts.wait_adapter(), 5);
        memory.write(SUMMARY, &[0]).unwrap();
        assert_eq!(queue.poll().unwrap().data, [7; 8]);
    }
    // A virtqueue that is not there is no one's business; a device that is not there is an error.
    let mut registers = [3; 16];
    registers[2] = id.into();
    registers[3] = 77;
    assert!(subsystem.diagnose(&mut registers));
    assert_eq!(registers[2], 0);
    registers[2] = u64::from(id) + 1;
    assert!(subsystem.diagnose(&mut registers));
    assert!((registers[2] as i64) < 0);
    // Another function.
    let mut registers = [4; 16];
    assert!(!subsystem.diagnose(&mut registers));
    assert_eq!(registers, [4; 16]);
    assert!(subsystem.subchannel(id + 1).is_none());
    assert!(subsystem.detach(id).is_some());
    assert_eq!(subsystem.iter_mut().count(), 0);
}

#[test]
fn notifications_may_carry_more_than_the_index() {
    let features = feature::VERSION_1 | feature::RING_PACKED | feature::NOTIFICATION_DATA;
    let mut board = Board::in_revision(sevens(), features, Revision::VIRTIO_1);
    let mut queue = board.start();
    board.set_two_stage(0);
    queue.submit_silently(&[], &[8]);
    // next_off 1, next_wrap 1.
    board.subchannel.notify(0x8001_0000);
    board.interrupts.wait_adapter();
    assert_eq!(queue.poll().unwrap().data, [7; 8]);
    // Past the model.
    board.put(SUMMARY, &[0]);
    queue.submit_silently(&[], &[8]);
    assert!(board.subchannel.notifier().notify(0));
    assert!(!board.subchannel.notifier().notify(1));
    board.interrupts.wait_adapter();
    assert_eq!(queue.poll().unwrap().data, [7; 8]);
}
