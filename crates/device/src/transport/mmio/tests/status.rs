//! Device status: negotiation, reset, suspension, errors.

use std::sync::atomic::Ordering;

use ringwright_spec::{Status, block, feature};

use super::*;
use crate::testing::wait_until;
use crate::transport::core::Options as CommonOptions;
use crate::transport::testing::{disk, probe, sevens};

const NEGOTIATED: Status = Status::ACKNOWLEDGE
    .union(Status::DRIVER)
    .union(Status::FEATURES_OK);
const LIVE: Status = NEGOTIATED.union(Status::DRIVER_OK);

/// Tries to negotiate `features`.
fn accepted(driver: &mut Driver, features: Features) -> bool {
    driver.set_status(Status::NONE);
    driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    driver.write_features(features);
    driver.set_status(NEGOTIATED);
    driver.status().contains(Status::FEATURES_OK)
}

/// The bits that `driver` is offered, as it reads them.
fn offered(driver: &mut Driver) -> Features {
    (0..4).fold(Features::NONE, |features, word| {
        driver.write(mmio::DEVICE_FEATURES_SEL, word);
        features.with_word(word, driver.read(mmio::DEVICE_FEATURES))
    })
}

#[test]
fn bits_are_set_one_by_one_and_never_cleared() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.set_status(Status::ACKNOWLEDGE);
    assert_eq!(driver.status(), Status::ACKNOWLEDGE);
    driver.set_status(Status::DRIVER);
    assert_eq!(
        driver.status(),
        Status::ACKNOWLEDGE | Status::DRIVER,
        "drv:core:device-status-field:02"
    );
    // Bits that do not exist, one that is the device's, and one that was not negotiated.
    driver.set_status(Status(32) | Status::DEVICE_NEEDS_RESET | Status::SUSPEND);
    assert_eq!(driver.status(), Status::ACKNOWLEDGE | Status::DRIVER);
    driver.set_status(Status::FAILED);
    assert_eq!(
        driver.status(),
        Status::ACKNOWLEDGE | Status::DRIVER | Status::FAILED
    );
    // Only the low 8 bits of the register are the status.
    driver.write(mmio::STATUS, 0x100);
    assert_eq!(driver.status(), Status::NONE, "dev:core:device-reset:01");
}

/// `dev:core:feature-bits:02`, and `drv:core:feature-bits:01` as the device enforces it.
#[test]
fn features_ok_stays_clear_without_a_valid_subset() {
    let mut driver = Driver::new(disk(), feature::VERSION_1);
    let all = offered(&mut driver);
    let version_1 = feature::VERSION_1;
    assert!(accepted(&mut driver, version_1));
    assert!(accepted(&mut driver, all));
    for bit in all.bits() {
        let one = Features::bit(bit);
        assert!(accepted(&mut driver, version_1 | one), "bit {bit}");
        assert_eq!(
            accepted(&mut driver, all - one),
            one != version_1,
            "all but bit {bit}"
        );
    }
    for bit in (!all).bits() {
        assert!(
            !accepted(&mut driver, version_1 | Features::bit(bit)),
            "bit {bit}"
        );
    }
    assert!(!accepted(&mut driver, Features::NONE));
    // Refused is not the end: dev:core:feature-bits:04.
    assert!(accepted(&mut driver, all));
}

/// `dev:core:feature-bits:02` with features that require others.
#[test]
fn a_feature_without_what_it_requires_is_refused() {
    let mut device = probe(1);
    device.description.device_type = &ringwright_spec::network::DEVICE;
    use ringwright_spec::network::features::{CSUM, HOST_TSO4, MAC};
    device.description.features = CSUM | HOST_TSO4 | MAC;
    let mut driver = Driver::new(device, feature::VERSION_1);
    assert!(accepted(&mut driver, feature::VERSION_1 | CSUM | HOST_TSO4));
    assert!(accepted(&mut driver, feature::VERSION_1 | CSUM));
    assert!(!accepted(&mut driver, feature::VERSION_1 | HOST_TSO4));
    assert!(!accepted(&mut driver, feature::VERSION_1 | HOST_TSO4 | MAC));
}

/// `dev:core:feature-bits:01`, `dev:core:feature-bits:03`, `dev:feat:reserved-feature-bits:01`,
/// `dev:feat:reserved-feature-bits:09`
#[test]
fn what_is_offered_can_be_had() {
    use ringwright_spec::network::features::{CSUM, HOST_TSO4, MAC};
    for masked in [Features::NONE, CSUM, feature::VERSION_1, Features(u128::MAX)] {
        let mut device = probe(1);
        device.description.device_type = &ringwright_spec::network::DEVICE;
        device.description.features = CSUM | HOST_TSO4 | MAC;
        let device_type = device.description.device_type;
        let options = Options {
            common: CommonOptions {
                masked_features: masked,
                platform_features: Features(u128::MAX),
                ..CommonOptions::default()
            },
            ..Options::default()
        };
        let mut driver = Driver::with_options(device, feature::VERSION_1, options);
        let offered = offered(&mut driver);
        assert!(offered.contains(feature::VERSION_1));
        assert!(!offered.intersects(feature::NOT_ON_MMIO | (masked - feature::VERSION_1)));
        assert_eq!(
            offered.contains(HOST_TSO4),
            masked.is_empty() || masked == feature::VERSION_1
        );
        for bit in offered.bits() {
            let feature = device_type.feature(bit).expect("described in the document");
            assert!(!feature.legacy, "{}", feature.name);
            assert!(
                feature.requires.iter().all(|any| offered.intersects(*any)),
                "{}",
                feature.name
            );
        }
    }
}

/// `drv:init:device-initialization:03` as the device enforces it.
#[test]
fn features_are_final_with_features_ok() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1);
    driver.negotiate();
    driver.write_features(feature::VERSION_1 | block::features::FLUSH);
    let queue = driver.guest.queue(0, 16);
    driver.enable(0, queue.layout());
    driver.drive();
    assert_eq!(*handle.features.lock().unwrap(), Some(feature::VERSION_1));
}

/// `dev:core:device-status-field:01`
#[test]
fn nothing_is_consumed_before_driver_ok() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.negotiate();
    let mut queue = driver.guest.queue(0, 16);
    driver.enable(0, queue.layout());
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    assert!(!driver.mmio.notifier().notify(0), "the queue does not run");
    assert_eq!(driver.mmio.counters()[0].chains, 0);
    assert_eq!((queue.poll(), driver.read(mmio::INTERRUPT_STATUS)), (None, 0));
    driver.drive();
    assert_eq!(driver.complete(&mut queue).data, [7; 8]);
}

#[test]
fn driver_ok_without_features_ok_breaks_the_device() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::DRIVER_OK);
    let status = Status::ACKNOWLEDGE | Status::DRIVER | Status::DEVICE_NEEDS_RESET;
    assert_eq!(driver.status(), status);
    assert!(
        !driver.board.is_asserted(),
        "there is no driver yet that could be told"
    );
    let mut queue = driver.start(16);
    assert_eq!(driver.request(&mut queue, &[], &[8]).data, [7; 8]);
}

/// `dev:core:device-status-field:02`, `dev:core:device-status-field:03`
#[test]
fn an_error_is_told_with_an_interrupt() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1);
    driver.start(16);
    handle.need_reset();
    driver.board.wait_asserted();
    assert_eq!(
        driver.read(mmio::INTERRUPT_STATUS),
        mmio::Interrupt::CONFIG_CHANGE.0
    );
    assert_eq!(driver.status(), LIVE | Status::DEVICE_NEEDS_RESET);
    // Neither of them can be written away.
    driver.set_status(LIVE);
    assert_eq!(driver.status(), LIVE | Status::DEVICE_NEEDS_RESET);
    driver.set_status(Status::NONE);
    assert_eq!(
        (driver.status(), driver.board.is_asserted()),
        (Status::NONE, false)
    );
}

#[test]
fn a_driver_that_breaks_the_rings_rules_needs_a_reset() {
    let mut driver = Driver::new(probe(2), feature::VERSION_1);
    driver.negotiate();
    let queues = [0, 1].map(|index| driver.guest.queue(index, 16));
    for queue in &queues {
        driver.enable(queue.index(), queue.layout());
    }
    driver.drive();
    let [hostile, mut honest] = queues;
    // The available index jumps by more than the queue size.
    driver
        .guest
        .memory()
        .write(hostile.layout().driver_area + 2, &[0xff, 0x7f])
        .unwrap();
    driver.write(mmio::QUEUE_NOTIFY, 0);
    wait_until("the device needs a reset", || {
        driver.status().contains(Status::DEVICE_NEEDS_RESET)
    });
    // The other queue goes on.
    assert_eq!(driver.request(&mut honest, &[], &[8]).data, [7; 8]);
}

/// `dev:core:device-reset:01`, `dev:core:device-reset:02`, `dev:mmio:mmio-device-register-layout:05`
#[test]
fn a_reset_leaves_nothing() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    let fresh = driver.save();
    let mut queue = driver.start(16);
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    driver.board.wait_asserted();
    driver.mmio.core.break_device("the test wants it");
    driver.set_status(Status::NONE);
    assert_eq!(driver.status(), Status::NONE);
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), 0);
    assert_eq!(driver.read(mmio::QUEUE_READY), 0);
    let chains = driver.mmio.counters()[0].chains;
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    assert!(!driver.mmio.notifier().notify(0));
    assert_eq!(driver.mmio.counters()[0].chains, chains);
    assert!(!driver.board.is_asserted());
    driver.mmio.reset();
    assert!(driver.save() == fresh);
}

/// `dev:core:feature-bits:04`
#[test]
fn the_same_features_can_be_negotiated_again() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1 | feature::RING_PACKED);
    for _ in 0..3 {
        let mut queue = driver.start(16);
        assert_eq!(driver.request(&mut queue, &[], &[8]).data, [7; 8]);
    }
}

/// `dev:init:device-suspend:01`
#[test]
fn suspend_is_ignored_before_the_device_is_initialized_or_without_the_feature() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1 | feature::SUSPEND);
    driver.set_status(Status::SUSPEND);
    assert_eq!(driver.status(), Status::NONE);
    driver.negotiate();
    driver.set_status(NEGOTIATED | Status::SUSPEND);
    assert_eq!(driver.status(), NEGOTIATED);
    // Both at once: it is not initialized before the write.
    driver.set_status(LIVE | Status::SUSPEND);
    assert_eq!(driver.status(), LIVE);
    let mut without = Driver::new(sevens(), feature::VERSION_1);
    without.start(16);
    without.set_status(LIVE | Status::SUSPEND);
    assert_eq!(without.status(), LIVE);
}

/// `dev:init:device-suspend:02`, `dev:init:device-suspend:03`, `dev:init:device-suspend:04`,
/// `dev:init:device-suspend:05`, `dev:init:device-suspend:07`, `dev:init:device-suspend:08`
#[test]
fn a_suspended_device_rests_until_it_is_resumed() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1 | feature::SUSPEND);
    let mut queue = driver.start(16);
    driver.request(&mut queue, &[], &[8]);
    for length in 1..=5 {
        queue.submit_silently(&[], &[length]);
    }
    driver.write(mmio::QUEUE_NOTIFY, 0);
    driver.set_status(LIVE | Status::SUSPEND);
    assert_eq!(driver.status(), NEGOTIATED | Status::SUSPEND);
    // dev:init:device-suspend:08: what was being processed has been used and notified.
    let chains = driver.mmio.counters()[0].chains;
    let used: Vec<_> = std::iter::from_fn(|| queue.poll()).collect();
    assert_eq!(1 + used.len() as u64, chains);
    assert_eq!(
        driver.board.is_asserted(),
        driver.read(mmio::INTERRUPT_STATUS) != 0
    );
    driver.write(mmio::INTERRUPT_ACK, mmio::Interrupt::USED_BUFFER.0);

    // dev:init:device-suspend:03: no virtqueue is accessed, nothing notified.
    queue.submit_silently(&[], &[6]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    driver.mmio.notifier().notify(0);
    assert_eq!(driver.mmio.counters()[0].chains, chains);
    // dev:init:device-suspend:02
    driver.mmio.write(mmio::CONFIG, &[1]);
    assert!(handle.written.lock().unwrap().is_empty());
    // dev:init:device-suspend:04
    handle.change_config(&[1, 2, 3]);
    assert_eq!(
        (driver.read(mmio::INTERRUPT_STATUS), driver.board.is_asserted()),
        (0, false)
    );
    // SUSPEND once more, or no bit at all that is new, is nothing.
    driver.set_status(NEGOTIATED | Status::SUSPEND);
    driver.set_status(NEGOTIATED);
    assert_eq!(driver.status(), NEGOTIATED | Status::SUSPEND);

    // dev:init:device-suspend:07, dev:init:device-suspend:05
    driver.set_status(LIVE | Status::SUSPEND);
    assert_eq!(driver.status(), LIVE);
    driver.board.wait_asserted();
    assert_ne!(
        driver.read(mmio::INTERRUPT_STATUS) & mmio::Interrupt::CONFIG_CHANGE.0,
        0
    );
    for _ in used.len()..6 {
        driver.complete(&mut queue);
    }
    driver.mmio.write(mmio::CONFIG, &[1]);
    assert_eq!(handle.written.lock().unwrap().len(), 1);
}

#[test]
fn a_virtqueue_that_is_enabled_while_suspended_starts_when_resumed() {
    let mut driver = Driver::new(probe(2), feature::VERSION_1 | feature::SUSPEND);
    driver.start(16);
    driver.set_status(LIVE | Status::SUSPEND);
    let mut queue = driver.guest.queue(1, 16);
    driver.enable(1, queue.layout());
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 1);
    assert!(!driver.mmio.notifier().notify(1));
    driver.set_status(LIVE);
    assert_eq!(driver.complete(&mut queue).data, [7; 8]);
}

/// `dev:init:device-suspend:06`, `dev:init:device-suspend:07`
#[test]
fn a_device_that_cannot_suspend_or_resume_needs_a_reset() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1 | feature::SUSPEND);
    driver.start(16);
    handle.stubborn.store(true, Ordering::SeqCst);
    driver.set_status(LIVE | Status::SUSPEND);
    assert_eq!(driver.status(), LIVE | Status::DEVICE_NEEDS_RESET);
    assert!(driver.board.is_asserted());

    handle.stubborn.store(false, Ordering::SeqCst);
    driver.start(16);
    driver.set_status(LIVE | Status::SUSPEND);
    handle.stubborn.store(true, Ordering::SeqCst);
    driver.set_status(LIVE);
    let status = driver.status();
    assert!(status.contains(Status::DEVICE_NEEDS_RESET) && !status.contains(Status::DRIVER_OK));
    driver.set_status(Status::NONE);
    assert_eq!(driver.status(), Status::NONE);
}

/// A driver that has read the configuration before it was ready to be told of a change is told then.
#[test]
fn a_change_before_driver_ok_is_told_with_driver_ok() {
    let device = probe(2);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1);
    driver.start(16);
    driver.negotiate();
    handle.change_config(&[1]);
    assert!(!driver.board.is_asserted());
    driver.drive();
    assert!(driver.board.is_asserted());
    driver.negotiate();
    driver.drive();
    assert!(!driver.board.is_asserted(), "once");
}
