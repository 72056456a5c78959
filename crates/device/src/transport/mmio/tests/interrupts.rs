//! The interrupt, its status and its acknowledgement.

use ringwright_spec::feature;
use ringwright_spec::mmio::Interrupt;

use super::*;
use crate::transport::testing::probe;

/// `dev:mmio:mmio-device-register-layout:03`, `dev:mmio:mmio-device-register-layout:04`
#[test]
fn an_event_is_shown_until_it_is_acknowledged() {
    let device = probe(1);
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1);
    let mut queue = driver.start(16);
    assert_eq!(
        (driver.read(mmio::INTERRUPT_STATUS), driver.board.is_asserted()),
        (0, false)
    );
    queue.submit_silently(&[], &[8]);
    driver.write(mmio::QUEUE_NOTIFY, 0);
    driver.board.wait_asserted();
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), Interrupt::USED_BUFFER.0);
    handle.change_config(&[1]);
    let both = Interrupt::USED_BUFFER | Interrupt::CONFIG_CHANGE;
    assert_eq!(driver.read(mmio::INTERRUPT_STATUS), both.0);
    // Reading does not acknowledge, nor do other bits.
    driver.write(mmio::INTERRUPT_ACK, !both.0);
    driver.write(mmio::INTERRUPT_ACK, 0);
    assert_eq!(
        (driver.read(mmio::INTERRUPT_STATUS), driver.board.is_asserted()),
        (both.0, true)
    );
    driver.write(mmio::INTERRUPT_ACK, Interrupt::USED_BUFFER.0);
    let status = driver.read(mmio::INTERRUPT_STATUS);
    assert_eq!(
        (status, driver.board.is_asserted()),
        (Interrupt::CONFIG_CHANGE.0, true)
    );
    driver.write(mmio::INTERRUPT_ACK, Interrupt::CONFIG_CHANGE.0);
    assert_eq!(
        (driver.read(mmio::INTERRUPT_STATUS), driver.board.is_asserted()),
        (0, false)
    );
    queue.poll().unwrap();
}

#[test]
fn the_line_follows_the_status_however_both_ends_race() {
    let mut driver = Driver::new(probe(1), feature::VERSION_1);
    let mut queue = driver.start(256);
    // Board asserts that the line is never set to what it is; every request needs its interrupt to come through.
    for _ in 0..20_000 {
        driver.request(&mut queue, &[], &[1]);
    }
}
