//! A device moves to another model in the middle of traffic.

use ringwright_spec::{Status, feature};

use super::*;
use crate::testing::formats;
use crate::transport::SnapshotError;
use crate::transport::testing::{disk, sevens};

/// Another model that goes on where `driver` is.
fn successor(driver: &mut Driver, options: Options) -> Driver {
    let state = driver.mmio.save().unwrap();
    let mut successor = Driver::for_guest(sevens(), options, driver.guest.clone());
    successor.mmio.restore(&state).unwrap();
    let again = successor.mmio.save().unwrap();
    assert!(again == state, "what was taken up is all there is");
    successor.mmio.resume();
    successor
}

#[test]
fn requests_that_wait_are_answered_by_the_successor() {
    for features in formats() {
        let mut driver = Driver::new(sevens(), features);
        let mut queue = driver.start(16);
        for _ in 0..20 {
            driver.request(&mut queue, &[], &[10]);
        }
        driver.mmio.pause();
        for length in 1..=10 {
            queue.submit_silently(&[], &[length]);
        }
        let mut successor = successor(&mut driver, Options::default());
        drop(driver);
        for length in 1..=10 {
            assert_eq!(successor.complete(&mut queue).data, vec![7; length]);
        }
        for length in 1..40 {
            let completed = successor.request(&mut queue, &[], &[length]);
            assert_eq!(completed.data, vec![7; length]);
        }
    }
}

#[test]
fn every_register_is_taken_along() {
    let features = feature::VERSION_1 | feature::RING_PACKED;
    let mut driver = Driver::new(sevens(), features);
    driver.start(16);
    driver
        .mmio
        .core
        .break_device("to have an interrupt that is pending");
    driver.write(mmio::DEVICE_FEATURES_SEL, 1);
    driver.mmio.pause();
    let successor = &mut successor(&mut driver, Options::default());
    assert!(successor.board.is_asserted());
    for register in mmio::REGISTERS
        .iter()
        .filter(|register| register.access.readable())
    {
        assert_eq!(
            successor.read(register.offset),
            driver.read(register.offset),
            "{register:?}"
        );
    }
    assert_eq!(
        successor.read(mmio::INTERRUPT_STATUS),
        mmio::Interrupt::CONFIG_CHANGE.0
    );
    assert!(
        successor
            .status()
            .contains(Status::DRIVER_OK | Status::DEVICE_NEEDS_RESET)
    );
    successor.write(mmio::INTERRUPT_ACK, mmio::Interrupt::CONFIG_CHANGE.0);
    assert!(!successor.board.is_asserted());
}

#[test]
fn a_device_that_is_half_initialized_is_taken_along() {
    let features = feature::VERSION_1 | feature::RING_PACKED;
    let mut driver = Driver::new(sevens(), features);
    driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    driver.write_features(features);
    driver.mmio.pause();
    let mut driver = successor(&mut driver, Options::default());
    driver.set_status(Status::FEATURES_OK);
    assert!(
        driver.status().contains(Status::FEATURES_OK),
        "the features are there"
    );
    driver.mmio.pause();
    let mut driver = successor(&mut driver, Options::default());
    let mut queue = driver.guest.queue(0, 16);
    driver.enable(0, queue.layout());
    driver.mmio.pause();
    let mut driver = successor(&mut driver, Options::default());
    driver.drive();
    assert_eq!(driver.request(&mut queue, &[], &[5]).data, [7; 5]);
}

#[test]
fn a_suspended_device_stays_suspended() {
    let features = feature::VERSION_1 | feature::SUSPEND;
    let mut driver = Driver::new(sevens(), features);
    let mut queue = driver.start(16);
    driver.request(&mut queue, &[], &[5]);
    driver.set_status(Status::SUSPEND);
    let suspended = driver.status();
    assert!(suspended.contains(Status::SUSPEND) && !suspended.contains(Status::DRIVER_OK));
    driver.mmio.pause();
    queue.submit_silently(&[], &[9]);
    let mut successor = successor(&mut driver, Options::default());
    assert_eq!(successor.status(), suspended);
    assert_eq!(queue.poll(), None);
    successor.drive();
    assert!(!successor.status().contains(Status::SUSPEND));
    assert_eq!(successor.complete(&mut queue).data, [7; 9]);
}

#[test]
fn a_device_that_runs_is_not_saved() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.start(16);
    assert!(matches!(driver.mmio.save(), Err(SnapshotError::NotPaused)));
    driver.mmio.pause();
    assert!(driver.mmio.save().is_ok());
    driver.mmio.resume();
    assert!(matches!(driver.mmio.save(), Err(SnapshotError::NotPaused)));
}

#[test]
fn what_is_no_saved_state_is_refused_and_leaves_nothing() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.start(16);
    driver.mmio.pause();
    let state = driver.mmio.save().unwrap();
    let mut other = Driver::new(sevens(), feature::VERSION_1);
    for length in 0..state.len() {
        assert!(other.mmio.restore(&state[..length]).is_err(), "{length} bytes");
    }
    let longer = [state.as_slice(), &[0]].concat();
    assert!(matches!(
        other.mmio.restore(&longer),
        Err(SnapshotError::Malformed(_))
    ));
    let mut disk = Driver::new(disk(), feature::VERSION_1);
    assert!(matches!(disk.mmio.restore(&state), Err(SnapshotError::Host(_))));
    for driver in [&mut other, &mut disk] {
        assert_eq!(driver.status(), Status::NONE);
        driver.negotiate();
    }
}
