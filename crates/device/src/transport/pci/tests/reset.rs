//! Resets of the function, bus mastering, power states.

use ringwright_spec::feature;

use super::*;
use crate::transport::testing::probe;

const COMMAND: u64 = header::COMMAND as u64;

/// A function that a driver has done everything with.
fn used(options: Options) -> (Driver, Queue) {
    let mut driver = Driver::new(probe(1), feature::VERSION_1, options);
    let mut queue = driver.start(16);
    driver.request(&mut queue, 8, Driver::wait_intx);
    queue.submit_silently(&[], &[8]);
    driver.publish(&mut queue);
    driver.function.core.break_device("to have an interrupt");
    for bar in driver.bars() {
        driver.config_write(bar.register() as u64, &0x4000_0000u32.to_le_bytes());
    }
    driver.config_write(header::INTERRUPT_LINE as u64, &[11]);
    driver.enable_msix(&[0, 1], 0x1000);
    (driver, queue)
}

#[test]
fn a_reset_of_the_function_leaves_nothing() {
    let conventional = Options {
        conventional: true,
        ..Options::default()
    };
    for options in [Options::default(), conventional] {
        let fresh = {
            let device = probe(1);
            let mut driver = Driver::for_guest(device, options.clone(), Guest::new(feature::VERSION_1));
            driver.state()
        };
        let express = |driver: &mut Driver| {
            let at = driver.offsets.express.unwrap() + header::express::DEVICE_CONTROL;
            driver.config_write(at as u64, &(0x10 | header::express::INITIATE_RESET).to_le_bytes());
        };
        let advanced = |driver: &mut Driver| {
            let at = driver.offsets.advanced.unwrap() + header::advanced_features::CONTROL;
            driver.config_write(at as u64, &[header::advanced_features::INITIATE_RESET]);
        };
        let by_driver: &dyn Fn(&mut Driver) = if options.conventional { &advanced } else { &express };
        let by_bus: &dyn Fn(&mut Driver) = &|driver| driver.reset();
        for reset in [by_driver, by_bus] {
            let (mut driver, _queue) = used(options.clone());
            assert!(driver.state() != fresh);
            reset(&mut driver);
            assert!(driver.state() == fresh);
            assert!(!driver.board.is_asserted());
            driver.config_write(COMMAND, &(command::MEMORY | command::BUS_MASTER).to_le_bytes());
            let mut queue = driver.start(16);
            driver.request(&mut queue, 8, Driver::wait_intx);
        }
    }
}

#[test]
fn without_bus_mastering_no_memory_is_accessed() {
    let mut driver = Driver::new(probe(1), feature::VERSION_1, Options::default());
    driver.config_write(COMMAND, &command::MEMORY.to_le_bytes());
    let mut queue = driver.start(16);
    queue.submit_silently(&[], &[8]);
    driver.publish(&mut queue);
    let places = driver.notify_places();
    driver.bar_write(places.bar, places.offset, &[0, 0]);
    assert!(!driver.notifier().notify(0));
    assert_eq!((queue.poll(), driver.counters()[0].chains), (None, 0));
    let on = command::MEMORY | command::BUS_MASTER;
    for length in 1..20 {
        driver.config_write(COMMAND, &on.to_le_bytes());
        driver.complete(&mut queue, Driver::wait_intx);
        // And again, in the middle of traffic: nothing is lost and nothing done twice.
        driver.config_write(COMMAND, &command::MEMORY.to_le_bytes());
        let chains = driver.counters()[0].chains;
        queue.submit_silently(&[], &[length]);
        driver.bar_write(places.bar, places.offset, &[0, 0]);
        assert_eq!((queue.poll(), driver.counters()[0].chains), (None, chains));
    }
    assert!(!driver.status().contains(Status::DEVICE_NEEDS_RESET));
}

#[test]
fn a_function_in_d3_does_not_answer() {
    let (mut driver, _) = used(Options::default());
    let at = driver.offsets.power.unwrap() + header::power_management::CONTROL;
    assert!(driver.bars().iter().all(|bar| bar.address.is_some()));
    let changed = driver.config_write(at as u64, &[3]);
    assert!(changed && driver.bars().iter().all(|bar| bar.address.is_none()));
    assert!(!driver.notifier().notify(0));
    // NoSoftReset: it is as it was.
    driver.config_write(at as u64, &[0]);
    assert!(driver.bars().iter().all(|bar| bar.address.is_some()));
    let mut driver = Driver::new(probe(1), feature::VERSION_1, Options::default());
    let mut queue = driver.start(16);
    driver.config_write(at as u64, &[3]);
    queue.submit_silently(&[], &[8]);
    assert_eq!(queue.poll(), None);
    driver.config_write(at as u64, &[0]);
    assert_eq!(driver.complete(&mut queue, Driver::wait_intx).data, [7; 8]);
}
