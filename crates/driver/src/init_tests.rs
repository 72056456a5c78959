use std::vec::Vec;

use ringwright_memory::Buffer;

use super::*;
use crate::session::PATIENCE;
use crate::testing::stairs::{LENGTH, STAIRS, begin, stairs};
use crate::testing::{Call, FORMATS, Fake};

/// The last status that was written.
fn last_status(fake: &Fake) -> Option<Status> {
    fake.board().log.iter().rev().find_map(|call| match call {
        Call::Status(status) => Some(Status(*status)),
        _ => None,
    })
}

/// drv:init:device-initialization:01, drv:core:device-status-field:01
#[test]
fn the_sequence_is_that_of_the_document() {
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

/// drv:init:device-initialization:04, drv:init:device-initialization:05, drv:core:feature-bits:04
#[test]
fn failed_is_told_when_a_step_fails() {
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
        // Nothing comes after it.
        let last = fake.board().log.last().copied();
        assert_eq!(last, Some(Call::Status(status.0)));
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

/// drv:core:feature-bits:01, drv:core:feature-bits:02, drv:core:feature-bits:03
#[test]
fn features_are_offered_understood_and_have_what_they_require() {
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
        // drv:core:feature-bits:03: one of these is not for most transports.
        (RING_FEATURES, all, RING_FEATURES - feature::NOTIF_CONFIG_DATA),
        // Neither is for a driver that has no such queue or functions: drv:feat:reserved-feature-bits:09,
        // drv:feat:reserved-feature-bits:10, drv:pci:common-configuration-structure-layout:10.
        (version_1 | feature::ADMIN_VQ | feature::SR_IOV, all, version_1),
    ];
    for (offered, options, expected) in cases {
        let fake = stairs(offered, &[8]);
        let setup = begin(&fake, options).unwrap();
        assert_eq!(setup.features(), expected, "offered {offered:?}");
        assert_eq!(fake.board().accepted, expected);
    }
    // drv:feat:reserved-feature-bits:12: it is accepted where the transport has it.
    let fake = stairs(RING_FEATURES, &[8]);
    fake.board().unsupported = Features::NONE;
    assert_eq!(begin(&fake, all).unwrap().features(), RING_FEATURES);
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
    fake.board().never_changes = true;
    let error = begin(&fake, Options::default()).err().unwrap();
    assert!(
        matches!(error, DriverError::ResetTimeout(status) if status == before),
        "{error}"
    );
    assert!(fake.calls() < 2 * PATIENCE as usize);
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

/// drv:feat:reserved-feature-bits:03, drv:feat:reserved-feature-bits:04: whoever makes the area knows which addresses the
/// device takes, translated or not; the device gets no other.
#[test]
fn addresses_are_those_that_the_area_says() {
    for platform in [Features::NONE, feature::ACCESS_PLATFORM] {
        for format in FORMATS {
            let fake = stairs(format | platform, &[8]);
            let mut setup = begin(&fake, Options::default()).unwrap();
            assert!(setup.features().contains(format | platform));
            let mut queue: DriverQueue<Buffer> = setup.queue(0, 1).unwrap();
            let mut session = setup.finish().unwrap();
            let buffer = session.allocate(64).unwrap();
            let (area, element) = (fake.area(), buffer.segment());
            queue.add(&[], &[element], buffer).unwrap();
            session.publish(0, &mut queue).unwrap();
            let within = area.device_address()..area.device_address() + area.len() as u64;
            let layout = fake.layout(0).unwrap();
            for address in [layout.descriptor_area, layout.driver_area, layout.device_area] {
                assert!(within.contains(&address));
            }
            // What is said of a buffer is in the ring as it is: the first word of the first descriptor.
            let mut word = [0; 8];
            fake.read_memory(layout.descriptor_area, &mut word);
            assert_eq!(u64::from_le_bytes(word), element.address());
            assert!(within.contains(&element.address()));
        }
    }
}
