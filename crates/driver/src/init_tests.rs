use alloc::sync::Arc;
use std::string::ToString;
use std::vec::Vec;

use ringwright_memory::Mapping;
use ringwright_spec::feature::FeatureBit;

use super::*;
use crate::testing::{Call, FORMATS, Fake};

/// A device type with features that build on each other.
static STAIRS: DeviceType = DeviceType {
    id: 77,
    name: "stairs",
    title: "Stairs",
    transitional_pci_id: None,
    queues: &["queue"],
    features: &[
        bit(0, &[]),
        // The requirement comes later in the table, so that one pass over it is not enough.
        bit(1, &[Features(1 << 2)]),
        bit(2, &[Features(1 << 0)]),
    ],
    config_size: 0,
};

const LENGTH: usize = 1 << 20;

const fn bit(bit: u32, requires: &'static [Features]) -> FeatureBit {
    FeatureBit {
        bit,
        name: "step",
        requires,
        legacy: false,
    }
}

fn stairs(offered: Features, sizes: &[u16]) -> Fake {
    Fake::new(STAIRS.id, offered, sizes, LENGTH)
}

fn begin(fake: &Fake, options: Options) -> Result<Setup<Fake>, DriverError> {
    Setup::begin(fake.clone(), &fake.area(), &STAIRS, Features(0b111), options)
}

fn live(fake: &Fake) -> (Session<Fake>, DriverQueue<()>) {
    let mut setup = begin(fake, Options::default()).unwrap();
    let queue = setup.queue(0, 1).unwrap();
    (setup.finish().unwrap(), queue)
}

/// The last status that was written.
fn last_status(fake: &Fake) -> Option<Status> {
    fake.board().log.iter().rev().find_map(|call| match call {
        Call::Status(status) => Some(Status(*status)),
        _ => None,
    })
}

#[test]
fn the_sequence_is_drv_init_device_initialization_01() {
    let fake = stairs(feature::VERSION_1 | Features(0b001), &[8, 8]);
    let mut setup = begin(&fake, Options::default()).unwrap();
    let mut queue: DriverQueue<Buffer> = setup.queue(0, 1).unwrap();
    let _other: DriverQueue<()> = setup.queue(1, 1).unwrap();
    let buffer = setup.session().allocate(16).unwrap();
    queue.add(&[], &[buffer.segment()], buffer).unwrap();
    let mut session = setup.finish().unwrap();
    session.publish(0, &mut queue).unwrap();
    assert!(session.has(feature::VERSION_1 | Features(0b001)) && !session.has(Features(0b010)));
    drop(session);
    let expected = [
        Call::Status(0),
        Call::Status(1),
        Call::Status(1 | 2),
        Call::Features(feature::VERSION_1 | Features(0b001)),
        Call::Status(1 | 2 | 8),
        Call::Enable(0),
        Call::Enable(1),
        Call::Status(1 | 2 | 8 | 4),
        Call::Notify(0),
        // A live device is reset when the driver goes.
        Call::Status(0),
    ];
    assert_eq!(fake.board().log, expected);
    assert_eq!(fake.board().status, Status::NONE);
}

#[test]
fn no_notification_before_driver_ok_or_after_a_reset_drv_init_device_initialization_06() {
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

#[test]
fn failed_is_told_when_a_step_fails_drv_init_device_initialization_04() {
    let legacy = stairs(Features(0b111), &[8]);
    assert!(matches!(
        begin(&legacy, Options::default()).err(),
        Some(DriverError::Legacy)
    ));
    let refused = stairs(feature::VERSION_1 | Features(0b1), &[8]);
    refused.board().unacceptable = Features(0b1);
    let error = begin(&refused, Options::default()).err().unwrap();
    assert!(
        matches!(error, DriverError::FeaturesRefused(features) if features == refused.board().accepted),
        "{error}"
    );
    let absent = stairs(feature::VERSION_1, &[]);
    let mut setup = begin(&absent, Options::default()).unwrap();
    assert!(setup.queue::<()>(0, 1).is_err());
    drop(setup);
    for fake in [legacy, refused, absent] {
        let status = last_status(&fake).unwrap();
        assert!(status.contains(Status::FAILED | Status::ACKNOWLEDGE | Status::DRIVER));
        assert!(!fake.is_live());
        // drv:core:device-status-field:03: the next driver resets the device first.
        fake.board().offered = feature::VERSION_1;
        fake.board().unacceptable = Features::NONE;
        drop(begin(&fake, Options::default()).unwrap());
    }
}

#[test]
fn a_device_of_another_type_is_left_alone() {
    let fake = Fake::new(3, feature::VERSION_1, &[8], LENGTH);
    let error = begin(&fake, Options::default()).err().unwrap();
    assert!(matches!(
        error,
        DriverError::WrongDevice {
            expected: 77,
            found: 3
        }
    ));
    assert_eq!(fake.calls(), 0);
}

#[test]
fn features_are_offered_understood_and_have_what_they_require_drv_core_feature_bits_01() {
    let version_1 = feature::VERSION_1;
    let accept = |accept| Options {
        accept,
        ..Options::default()
    };
    let all = accept(Features(u128::MAX));
    let cases = [
        // A feature that nobody knows is no reason to fail (drv:core:feature-bits:05).
        (version_1 | Features::bit(3) | Features::bit(100), all, version_1),
        (version_1 | Features(0b111), all, version_1 | Features(0b111)),
        // Without its foundation the whole stair falls.
        (version_1 | Features(0b110), all, version_1),
        (version_1 | Features(0b011), all, version_1 | Features(0b001)),
        (version_1 | Features(0b111), accept(Features(0b110)), version_1),
        (
            version_1 | Features(0b111),
            accept(Features(0b101)),
            version_1 | Features(0b101),
        ),
        // drv:feat:reserved-feature-bits:01: whatever the user wants, VERSION_1 is accepted.
        (
            version_1 | feature::RING_PACKED,
            accept(Features::NONE),
            version_1,
        ),
        (RING_FEATURES, all, RING_FEATURES),
        // Neither is for a driver that has no such queue or functions.
        (version_1 | feature::ADMIN_VQ | feature::SR_IOV, all, version_1),
    ];
    for (offered, options, expected) in cases {
        let fake = stairs(offered, &[8]);
        let setup = begin(&fake, options).unwrap();
        assert_eq!(setup.features(), expected, "offered {offered:?}");
        assert_eq!(fake.board().accepted, expected);
    }
    let understood_by_none = stairs(version_1 | Features(0b111), &[8]);
    let setup = Setup::begin(
        understood_by_none.clone(),
        &understood_by_none.area(),
        &STAIRS,
        Features(0b110),
        all,
    );
    assert_eq!(setup.unwrap().features(), version_1);
}

#[test]
fn a_reset_that_does_not_end_is_given_up() {
    let fake = stairs(feature::VERSION_1, &[8]);
    let before = fake.board().status;
    fake.board().never_resets = true;
    let error = begin(&fake, Options::default()).err().unwrap();
    assert!(
        matches!(error, DriverError::ResetTimeout(status) if status == before),
        "{error}"
    );
    assert!(fake.calls() < 2 * RESET_READS as usize);
}

#[test]
fn queue_sizes() {
    let packed = feature::VERSION_1 | feature::RING_PACKED;
    // Format, what the device allows, what the user wants, what is taken.
    let cases = [
        (feature::VERSION_1, 256, 256, Some(256)),
        (feature::VERSION_1, 255, 256, Some(128)),
        (feature::VERSION_1, 3, 256, Some(2)),
        (feature::VERSION_1, 1024, 100, Some(64)),
        (feature::VERSION_1, 1, 256, None),
        (feature::VERSION_1, 0, 256, None),
        (feature::VERSION_1, 256, 0, None),
        (feature::VERSION_1, 0xffff, 0xffff, Some(0x8000)),
        (packed, 255, 256, Some(255)),
        (packed, 1024, 99, Some(99)),
        (packed, 2, 256, Some(2)),
        (packed, 1, 256, None),
        (packed, 0, 256, None),
        (packed, 0xffff, 0xffff, Some(0x8000)),
    ];
    for (features, most, wanted, expected) in cases {
        let fake = stairs(features, &[most]);
        let options = Options {
            queue_size: wanted,
            ..Options::default()
        };
        let mut setup = begin(&fake, options).unwrap();
        match (setup.queue::<()>(0, 2), expected) {
            (Ok(queue), Some(size)) => assert_eq!(queue.layout().size, size),
            (Err(DriverError::QueueTooSmall { index, found, needed }), None) => {
                assert_eq!((index, found, needed), (0, most.min(wanted), 2));
            }
            (outcome, _) => panic!("{features:?}, {most}, {wanted}: {outcome:?}"),
        }
    }
}

#[test]
fn no_memory_for_a_queue_or_a_buffer() {
    let fake = Fake::new(STAIRS.id, feature::VERSION_1, &[256], 4096);
    let mut setup = begin(&fake, Options::default()).unwrap();
    assert!(matches!(setup.queue::<()>(0, 1), Err(DriverError::Setup(_))));
    assert!(matches!(
        setup.session().allocate(4097),
        Err(DriverError::OutOfMemory(4097))
    ));
    drop(setup);
    assert!(fake.is_area_whole());
}

#[test]
fn configuration_is_read_again_when_it_changes_drv_core_device_configuration_space_01() {
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

#[test]
fn a_device_that_may_still_write_keeps_the_memory() {
    let cases: [(bool, Option<TransportError>, bool); 4] = [
        (false, None, false),
        (true, None, true),
        (false, Some(TransportError::Gone), false),
        (false, Some(TransportError::Os(5)), true),
    ];
    for (never_resets, error, kept) in cases {
        let mapping = Arc::new(Mapping::anonymous(LENGTH).unwrap());
        let memory = Arc::downgrade(&mapping);
        let fake = Fake::on(mapping, STAIRS.id, feature::VERSION_1, &[8]);
        let session = live(&fake);
        fake.board().never_resets = never_resets;
        if let Some(error) = error {
            fake.board().error = error;
            fake.board().faults = 0..usize::MAX;
        }
        drop((session, fake));
        assert_eq!(memory.upgrade().is_some(), kept, "{never_resets} {error:?}");
    }
}

#[test]
fn a_lent_transport_serves_one_driver_after_another() {
    for features in FORMATS {
        let mut fake = stairs(features, &[8]);
        let area = fake.area();
        for _ in 0..3 {
            let setup = Setup::begin(&mut fake, &area, &STAIRS, Features::NONE, Options::default());
            drop(setup.unwrap().finish().unwrap());
        }
        let statuses: Vec<_> = fake
            .board()
            .log
            .iter()
            .filter(|call| **call == Call::Status(15))
            .copied()
            .collect();
        assert_eq!(statuses.len(), 3);
        assert!(fake.is_area_whole());
    }
}
