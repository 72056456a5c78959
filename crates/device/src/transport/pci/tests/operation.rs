//! Requests through the registers.

use super::*;
use crate::testing::formats;
use crate::transport::testing::sevens;

#[test]
fn a_device_answers_with_intx() {
    for features in formats() {
        let mut driver = Driver::new(sevens(), features, Options::default());
        let mut queue = driver.start(16);
        for length in [1, 100, 5000] {
            let completed = driver.request(&mut queue, length, Driver::wait_intx);
            assert_eq!(completed.data, vec![7; length]);
        }
        assert_eq!(driver.board.messages(), []);
        driver.set_status(Status::NONE);
        assert_eq!(driver.status(), Status::NONE);
        assert!(!driver.board.is_asserted());
    }
}

#[test]
fn a_device_answers_with_messages() {
    for features in formats() {
        let mut driver = Driver::new(sevens(), features, Options::default());
        driver.enable_msix(&[1], 0x1_fee0_0000);
        driver.negotiate();
        let mut queue = driver.guest.queue(0, 16);
        driver.enable(0, queue.layout());
        driver.put16(field::QUEUE_MSIX_VECTOR, 1);
        assert_eq!(driver.get16(field::QUEUE_MSIX_VECTOR), 1);
        driver.drive();
        let message = |driver: &mut Driver| {
            assert_eq!(driver.board.wait_message(), (1, 0x1_fee0_0000, 1));
        };
        for length in [1, 100, 5000] {
            let completed = driver.request(&mut queue, length, message);
            assert_eq!(completed.data, vec![7; length]);
        }
        assert!(!driver.board.is_asserted());
    }
}
