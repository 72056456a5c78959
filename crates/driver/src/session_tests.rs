use std::string::ToString;
use std::vec::Vec;

use ringwright_memory::Mapping;

use super::*;
use crate::Options;
use crate::testing::stairs::{LENGTH, STAIRS, begin, live, stairs};
use crate::testing::{Call, Fake};

/// drv:core:device-configuration-space:01
#[test]
fn configuration_is_read_again_when_it_changes() {
    let fake = stairs(feature::VERSION_1, &[8]);
    let (mut session, _queue) = live(&fake);
    fake.board().config.fill(10);
    fake.board().changes = 1;
    assert_eq!(session.config::<[u8; 8]>(4).unwrap(), [11; 8]);
    let calls = fake.calls();
    assert_eq!(session.config::<[u8; 8]>(4).unwrap(), [11; 8]);
    assert_eq!(fake.calls() - calls, 3);
    fake.board().config.fill(0);
    fake.board().changes = 200;
    let error = session.config::<[u8; 8]>(4).unwrap_err();
    assert!(error.to_string().contains("changes during every read"), "{error}");
    assert!(fake.calls() - calls < 1000);
}

#[test]
fn a_device_that_needs_a_reset_is_noticed() {
    let fake = stairs(feature::VERSION_1, &[8]);
    let (mut session, _queue) = live(&fake);
    session.check().unwrap();
    let status = fake.board().status;
    fake.board().status = status | Status::DEVICE_NEEDS_RESET;
    assert!(matches!(session.check(), Err(DriverError::NeedsReset)));
    session.reset().unwrap();
    session.check().unwrap();
}

#[test]
fn what_was_reset_already_is_not_touched_on_drop() {
    let fake = stairs(feature::VERSION_1, &[8]);
    let (mut session, _queue) = live(&fake);
    session.reset().unwrap();
    let calls = fake.calls();
    drop(session);
    assert_eq!((fake.calls(), fake.status_now()), (calls, Status::NONE));
}

/// drv:init:device-cleanup:02
#[test]
fn a_device_that_may_still_write_keeps_the_memory() {
    let cases: [(bool, Option<TransportError>, bool); 4] = [
        (false, None, false),
        (true, None, true),
        (false, Some(TransportError::Gone), false),
        (false, Some(TransportError::Os(5)), true),
    ];
    for (never_changes, error, kept) in cases {
        let mapping = Arc::new(Mapping::anonymous(LENGTH).unwrap());
        let memory = Arc::downgrade(&mapping);
        let fake = Fake::on(mapping, STAIRS.id, feature::VERSION_1, &[8]);
        let session = live(&fake);
        fake.board().never_changes = never_changes;
        if let Some(error) = error {
            fake.board().error = error;
            fake.board().faults = 0..usize::MAX;
        }
        drop((session, fake));
        assert_eq!(memory.upgrade().is_some(), kept, "{never_changes} {error:?}");
    }
}

/// drv:init:device-initialization:06
#[test]
fn no_notification_before_driver_ok_or_after_a_reset() {
    for live in [false, true] {
        let fake = stairs(feature::VERSION_1, &[8]);
        let mut setup = begin(&fake, Options::default()).unwrap();
        let mut queue: DriverQueue<Buffer> = setup.queue(0, 1).unwrap();
        let buffer = setup.session().allocate(16).unwrap();
        queue.add(&[], &[buffer.segment()], buffer).unwrap();
        let refused = if live {
            let mut session = setup.finish().unwrap();
            session.reset().unwrap();
            session.publish(0, &mut queue)
        } else {
            setup.session().publish(0, &mut queue)
        };
        assert!(matches!(refused, Err(DriverError::NotLive)));
        assert!(!fake.board().log.contains(&Call::Notify(0)));
    }
}

const RESETTABLE: Features = feature::VERSION_1.union(feature::RING_RESET);
const SUSPENDABLE: Features = feature::VERSION_1.union(feature::SUSPEND);

/// A live device with one virtqueue, and the buffer of a request that it has.
fn with_a_request(features: Features) -> (Fake, Session<Fake>, DriverQueue<Buffer>) {
    let fake = stairs(features, &[8]);
    let mut setup = begin(&fake, Options::default()).unwrap();
    let mut queue = setup.queue(0, 1).unwrap();
    let mut session = setup.finish().unwrap();
    request(&mut session, &mut queue).unwrap();
    (fake, session, queue)
}

fn request(session: &mut Session<Fake>, queue: &mut DriverQueue<Buffer>) -> Result<(), DriverError> {
    let buffer = session.allocate(16).unwrap();
    queue.add(&[], &[buffer.segment()], buffer).unwrap();
    session.publish(0, queue)
}

/// drv:core:virtqueue-reset:01, drv:core:virtqueue-re-enable:01
#[test]
fn a_queue_is_reset_and_used_again() {
    for format in [RESETTABLE, RESETTABLE | feature::RING_PACKED] {
        let (fake, mut session, mut queue) = with_a_request(format);
        let outstanding = session.reset_queue(0, &mut queue).unwrap();
        assert_eq!(outstanding.count(), 1);
        assert_eq!(fake.layout(0), None);
        // A smaller one in its place.
        let smaller = DriverQueue::new(&fake.area(), 4, session.features(), Default::default());
        queue = smaller.unwrap();
        session.enable_queue(0, &queue).unwrap();
        assert_eq!(fake.layout(0), Some(queue.layout()));
        request(&mut session, &mut queue).unwrap();
        fake.device(0).put(&[1; 16]);
        assert_eq!(queue.pop().unwrap().unwrap().written, 16);
        let log: Vec<_> = fake.board().log[6..].to_vec();
        assert_eq!(
            log,
            [
                Call::Status(15),
                Call::Notify(0),
                Call::Reset(0),
                Call::Enable(0),
                Call::Notify(0)
            ]
        );
        drop((session, queue));
        assert!(fake.is_area_whole());
    }
}

#[test]
fn a_queue_reset_that_does_not_end_gives_nothing_back() {
    let (fake, mut session, mut queue) = with_a_request(RESETTABLE);
    fake.board().never_changes = true;
    let error = session.reset_queue(0, &mut queue).err().unwrap();
    assert!(matches!(error, DriverError::QueueResetTimeout(0)), "{error}");
    assert_eq!(queue.in_flight(), 1);
    fake.board().never_changes = false;
}

#[test]
fn queues_are_not_reset_where_that_was_not_negotiated() {
    let (fake, mut session, mut queue) = with_a_request(feature::VERSION_1);
    assert!(session.reset_queue(0, &mut queue).is_err() && session.enable_queue(0, &queue).is_err());
    drop((session, fake));
    let (fake, mut session, mut queue) = with_a_request(RESETTABLE);
    session.reset().unwrap();
    let calls = fake.calls();
    assert!(matches!(
        session.reset_queue(0, &mut queue).err(),
        Some(DriverError::NotLive)
    ));
    assert_eq!(fake.calls(), calls);
}

/// drv:init:device-suspend:02, :03, :04, :05, :06
#[test]
fn a_suspended_device_is_left_alone_until_it_has_resumed() {
    let (fake, mut session, mut queue) = with_a_request(SUSPENDABLE);
    session.suspend().unwrap();
    // drv:init:device-suspend:02: it is believed when SUSPEND is set and DRIVER_OK is clear.
    assert_eq!(fake.status_now(), Status(1 | 2 | 8 | 16));
    let calls = fake.calls();
    // drv:init:device-suspend:03, drv:init:device-suspend:04, drv:init:device-suspend:05
    assert!(matches!(
        request(&mut session, &mut queue),
        Err(DriverError::NotLive)
    ));
    assert!(matches!(session.write_config(0, 1_u8), Err(DriverError::NotLive)));
    assert!(matches!(session.suspend(), Err(DriverError::NotLive)));
    assert_eq!(fake.calls(), calls);
    // Reading is not forbidden.
    session.config::<u32>(0).unwrap();
    session.resume().unwrap();
    // drv:init:device-suspend:06
    assert_eq!(fake.status_now(), Status(1 | 2 | 4 | 8));
    session.publish(0, &mut queue).unwrap();
    session.write_config(0, 1_u8).unwrap();
    assert!(matches!(session.resume(), Err(DriverError::NotLive)));
    let log: Vec<_> = fake.board().log[5..].to_vec();
    let expected = [
        Call::Enable(0),
        Call::Status(15),
        Call::Notify(0),
        Call::Status(15 | 16),
        // drv:core:device-status-field:02: nothing is cleared.
        Call::Status(15 | 16),
        Call::Notify(0),
        Call::Config,
    ];
    assert_eq!(log, expected);
}

/// drv:init:device-suspend:01
#[test]
fn nobody_suspends_what_is_not_live_or_cannot() {
    let (fake, mut session, _queue) = with_a_request(feature::VERSION_1);
    let calls = fake.calls();
    assert!(matches!(session.suspend(), Err(DriverError::Transport(_))));
    assert_eq!(fake.calls(), calls);
    let fake = stairs(SUSPENDABLE, &[8]);
    let mut setup = begin(&fake, Options::default()).unwrap();
    let calls = fake.calls();
    assert!(matches!(setup.session().suspend(), Err(DriverError::NotLive)));
    assert_eq!(fake.calls(), calls);
}

#[test]
fn devices_that_cannot_suspend_or_resume() {
    for gives_up in [true, false] {
        let spoil = |fake: &Fake| {
            fake.board().gives_up = gives_up;
            fake.board().never_changes = !gives_up;
        };
        let as_expected = |outcome: Result<(), DriverError>| match outcome.unwrap_err() {
            DriverError::NeedsReset => gives_up,
            DriverError::SuspendTimeout(_) => !gives_up,
            _ => false,
        };
        let (fake, mut session, mut queue) = with_a_request(SUSPENDABLE);
        spoil(&fake);
        assert!(as_expected(session.suspend()));
        assert!(request(&mut session, &mut queue).is_err());

        let (fake, mut session, mut queue) = with_a_request(SUSPENDABLE);
        session.suspend().unwrap();
        spoil(&fake);
        assert!(as_expected(session.resume()));
        assert!(request(&mut session, &mut queue).is_err());
        // It may still use the buffers, so it is reset before they are freed.
        (fake.board().gives_up, fake.board().never_changes) = (false, false);
        drop((session, queue));
        assert!(fake.is_area_whole());
        assert_eq!(fake.status_now(), Status::NONE);
    }
}

/// drv:init:device-cleanup:01
#[test]
fn entries_of_exposed_buffers_stay_as_they_are() {
    for format in [feature::VERSION_1, feature::VERSION_1 | feature::RING_PACKED] {
        let (fake, mut session, mut queue) = with_a_request(format);
        let layout = fake.layout(0).unwrap();
        let entry = || {
            let mut descriptor = [0; 16];
            fake.read_memory(layout.descriptor_area, &mut descriptor);
            let mut available = [0; 2];
            // The first entry of a split virtqueue's available ring.
            fake.read_memory(layout.driver_area + 4, &mut available);
            (
                descriptor,
                format.contains(feature::RING_PACKED) || available == [0; 2],
            )
        };
        let before = entry();
        for _ in 0..7 {
            request(&mut session, &mut queue).unwrap();
            queue.disable_notifications();
            queue.enable_notifications();
            assert!(queue.pop().unwrap().is_none());
        }
        let full = session.allocate(16).unwrap();
        assert!(queue.add(&[], &[full.segment()], full).is_err());
        assert_eq!(entry(), before);
    }
}
