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

#[test]
fn a_legacy_driver_finds_its_registers() {
    use ringwright_spec::pci::legacy as register;
    for kind in [Kind::Transitional, Kind::Legacy] {
        let options = Options {
            kind,
            ..Options::default()
        };
        let mut driver = Driver::new(sevens(), Features::NONE, options);
        let write = |driver: &mut Driver, offset, data: &[u8]| driver.bar_write(LEGACY_BAR, offset, data);
        write(&mut driver, register::DEVICE_STATUS, &[0]);
        write(&mut driver, register::DEVICE_STATUS, &[3]);
        write(&mut driver, register::DRIVER_FEATURES, &0u32.to_le_bytes());
        let mut queue = driver.guest.queue(0, 256);
        let page = queue.layout().page_frame_number(4096).unwrap();
        write(&mut driver, register::QUEUE_SELECT, &[0, 0]);
        let mut size = [0; 2];
        driver.bar_read(LEGACY_BAR, register::QUEUE_SIZE, &mut size);
        assert_eq!(u16::from_le_bytes(size), 256);
        write(&mut driver, register::QUEUE_ADDRESS, &page.to_le_bytes());
        write(&mut driver, register::DEVICE_STATUS, &[7]);
        queue.submit_silently(&[], &[100]);
        write(&mut driver, register::QUEUE_NOTIFY, &[0, 0]);
        loop {
            if let Some(completed) = queue.poll_or_arm() {
                assert_eq!(completed.data, [7; 100]);
                break;
            }
            driver.board.wait_asserted();
            let mut isr = [0];
            driver.bar_read(LEGACY_BAR, register::ISR_STATUS, &mut isr);
            assert_eq!(isr, [1]);
        }
    }
}
