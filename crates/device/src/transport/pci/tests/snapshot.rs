//! A function moves to another model in the middle of traffic.

use ringwright_spec::{Status, feature};

use super::*;
use crate::testing::formats;
use crate::transport::SnapshotError;
use crate::transport::testing::sevens;

/// Another model that goes on where `driver` is.
fn successor(driver: &mut Driver) -> Driver {
    let state = driver.save().unwrap();
    let options = driver.function.options.clone();
    let mut successor = Driver::for_guest(sevens(), options, driver.guest.clone());
    successor.restore(&state).unwrap();
    let again = successor.save().unwrap();
    assert!(again == state, "what was taken up is all there is");
    successor.resume();
    successor
}

#[test]
fn requests_that_wait_are_answered_by_the_successor() {
    const ADDRESS: u64 = 0xfee0_1000;
    for features in formats() {
        let mut driver = Driver::new(sevens(), features, Options::default());
        driver.enable_msix(&[0, 1], ADDRESS);
        driver.negotiate();
        let mut queue = driver.guest.queue(0, 16);
        driver.enable(0, queue.layout());
        driver.put16(field::QUEUE_MSIX_VECTOR, 1);
        driver.drive();
        let message = |driver: &mut Driver| assert_eq!(driver.board.wait_message(), (1, ADDRESS, 1));
        for _ in 0..20 {
            driver.request(&mut queue, 10, message);
        }
        driver.pause();
        for length in 1..=10 {
            queue.submit_silently(&[], &[length]);
        }
        let mut successor = successor(&mut driver);
        drop(driver);
        for length in 1..=10 {
            assert_eq!(successor.complete(&mut queue, message).data, vec![7; length]);
        }
        for length in 1..40 {
            let completed = successor.request(&mut queue, length, message);
            assert_eq!(completed.data, vec![7; length]);
        }
    }
}

#[test]
fn an_interrupt_that_is_pending_is_taken_along() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1, Options::default());
    driver.start(16);
    driver
        .function
        .core
        .break_device("to have an interrupt that is pending");
    driver.pause();
    let mut successor = successor(&mut driver);
    assert!(successor.board.is_asserted());
    successor.wait_intx();
    assert!(!successor.board.is_asserted());
}

#[test]
fn a_message_that_is_masked_is_taken_along() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1, Options::default());
    driver.enable_msix(&[1], 0x1000);
    driver.bar_write(MSIX_BAR, 16 + 12, &msix::MASK.to_le_bytes());
    driver.start(16);
    driver.put16(field::CONFIG_MSIX_VECTOR, 1);
    driver
        .function
        .core
        .break_device("to have a message that is pending");
    driver.pause();
    let mut successor = successor(&mut driver);
    assert_eq!(successor.board.messages(), []);
    successor.bar_write(MSIX_BAR, 16 + 12, &[0; 4]);
    assert_eq!(successor.board.messages(), [(1, 0x1000, 1)]);
}

#[test]
fn a_function_without_bus_mastering_waits_for_it() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1, Options::default());
    let mut queue = driver.start(16);
    driver.request(&mut queue, 3, Driver::wait_intx);
    driver.config_write(header::COMMAND as u64, &command::MEMORY.to_le_bytes());
    driver.pause();
    queue.submit_silently(&[], &[4]);
    let mut successor = successor(&mut driver);
    assert_eq!(queue.poll(), None);
    let command = command::MEMORY | command::BUS_MASTER;
    successor.config_write(header::COMMAND as u64, &command.to_le_bytes());
    assert_eq!(successor.complete(&mut queue, Driver::wait_intx).data, [7; 4]);
}

#[test]
fn what_is_no_saved_state_is_refused_and_leaves_nothing() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1, Options::default());
    driver.start(16);
    driver.pause();
    let state = driver.save().unwrap();
    let mut other = Driver::new(sevens(), feature::VERSION_1, Options::default());
    for length in 0..state.len() {
        assert!(other.restore(&state[..length]).is_err(), "{length} bytes");
    }
    let longer = [state.as_slice(), &[0]].concat();
    assert!(matches!(other.restore(&longer), Err(SnapshotError::Malformed(_))));
    let options = Options {
        kind: Kind::Transitional,
        ..Options::default()
    };
    let mut transitional = Driver::new(sevens(), feature::VERSION_1, options);
    assert!(matches!(
        transitional.restore(&state),
        Err(SnapshotError::Malformed(_))
    ));
    // Or is only not the same function.
    let options = Options {
        subsystem: Some((1, 2)),
        ..Options::default()
    };
    let mut different = Driver::new(sevens(), feature::VERSION_1, options);
    assert!(matches!(
        different.restore(&state),
        Err(SnapshotError::Malformed(_))
    ));
    for driver in [&mut other, &mut transitional, &mut different] {
        assert_eq!(driver.status(), Status::NONE);
        driver.negotiate();
    }
}
