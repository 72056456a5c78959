//! Virtqueues through the registers: sizes, set-up, reset, notifications.

use ringwright_spec::notification::NotificationData;
use ringwright_spec::{Status, feature};

use super::*;
use crate::testing::{formats, wait_until};
use crate::transport::testing::{probe, sevens};

/// Sets queue 0 to this size, and says whether the device still works.
fn takes_size(packed: bool, size: u32) -> bool {
    let packed = if packed {
        feature::RING_PACKED
    } else {
        Features::NONE
    };
    let mut driver = Driver::new(probe(1), feature::VERSION_1 | packed);
    driver.negotiate();
    driver.write(mmio::QUEUE_SIZE, size);
    !driver.status().contains(Status::DEVICE_NEEDS_RESET)
}

/// `drv:mmio:mmio-device-register-layout:09` as the device enforces it. The device has 1000 at most.
#[test]
fn sizes_that_cannot_be_break_the_device() {
    for size in [1, 2, 256, 512] {
        assert!(takes_size(false, size) && takes_size(true, size), "{size}");
    }
    for size in [3, 511, 999, 1000] {
        assert!(!takes_size(false, size) && takes_size(true, size), "{size}");
    }
    for size in [0, 1001, 1024, 32768, 0x1_0000, 0x1_0001, u32::MAX] {
        assert!(!takes_size(false, size) && !takes_size(true, size), "{size}");
    }
}

#[test]
fn the_maximum_size_depends_on_the_format() {
    let mut driver = Driver::new(probe(1), feature::VERSION_1 | feature::RING_PACKED);
    assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 512);
    driver.negotiate();
    assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 1000);
    let mut queue = driver.guest.queue(0, 1000);
    driver.enable(0, queue.layout());
    driver.drive();
    assert_eq!(driver.request(&mut queue, &[], &[8]).data, [7; 8]);
}

/// Without a size of the driver's the virtqueue has the largest.
#[test]
fn the_size_is_the_maximum_by_default() {
    let mut driver = Driver::new(probe(1), feature::VERSION_1);
    driver.negotiate();
    let mut queue = driver.guest.queue(0, 512);
    let layout = queue.layout();
    driver.write(mmio::QUEUE_DESC_LOW, layout.descriptor_area as u32);
    driver.write(mmio::QUEUE_DESC_HIGH, (layout.descriptor_area >> 32) as u32);
    driver.write(mmio::QUEUE_DRIVER_LOW, layout.driver_area as u32);
    driver.write(mmio::QUEUE_DRIVER_HIGH, (layout.driver_area >> 32) as u32);
    driver.write(mmio::QUEUE_DEVICE_LOW, layout.device_area as u32);
    driver.write(mmio::QUEUE_DEVICE_HIGH, (layout.device_area >> 32) as u32);
    driver.write(mmio::QUEUE_READY, 1);
    driver.drive();
    for _ in 0..600 {
        driver.request(&mut queue, &[], &[1]);
    }
}

#[test]
fn a_virtqueue_that_is_not_in_memory_breaks_the_device() {
    for enabled_first in [true, false] {
        let mut driver = Driver::new(sevens(), feature::VERSION_1);
        driver.negotiate();
        if !enabled_first {
            driver.drive();
        }
        driver.write(mmio::QUEUE_DESC_HIGH, 0xffff_fff0);
        driver.write(mmio::QUEUE_READY, 1);
        if enabled_first {
            assert!(!driver.status().contains(Status::DEVICE_NEEDS_RESET));
            driver.drive();
        }
        assert!(driver.status().contains(Status::DEVICE_NEEDS_RESET));
        assert!(driver.board.is_asserted(), "dev:core:device-status-field:03");
    }
}

/// A monitor that rearranges memory takes it away and gives it back.
#[test]
fn a_virtqueue_rests_while_its_memory_is_away() {
    for features in formats() {
        let mut driver = Driver::new(sevens(), features);
        let mut queue = driver.start(16);
        driver.request(&mut queue, &[], &[1]);
        for length in 2..5 {
            driver.mmio.set_memory(Arc::new(Memory::new(Vec::new()).unwrap()));
            queue.submit_silently(&[], &[length]);
            driver.write(mmio::QUEUE_NOTIFY, 0);
            assert!(!driver.status().contains(Status::DEVICE_NEEDS_RESET));
            driver.mmio.set_memory(driver.guest.memory());
            assert_eq!(driver.complete(&mut queue).data, vec![7; length]);
        }
        // A driver that resets the device meanwhile has it back as it is after reset.
        driver.mmio.set_memory(Arc::new(Memory::new(Vec::new()).unwrap()));
        driver.set_status(Status::NONE);
        driver.mmio.set_memory(driver.guest.memory());
        assert_eq!(driver.status(), Status::NONE);
    }
}

#[test]
fn a_virtqueue_can_be_enabled_after_driver_ok() {
    let mut driver = Driver::new(probe(2), feature::VERSION_1);
    driver.start(16);
    let mut queue = driver.guest.queue(1, 32);
    driver.enable(1, queue.layout());
    assert_eq!(driver.request(&mut queue, &[], &[8]).data, [7; 8]);
}

/// `dev:mmio:mmio-device-register-layout:07`
#[test]
fn a_virtqueue_that_is_not_ready_is_left_alone() {
    for features in formats() {
        let mut driver = Driver::new(sevens(), features);
        let mut queue = driver.start(16);
        driver.request(&mut queue, &[], &[8]);
        // What is remembered meanwhile is not where a virtqueue begins that is made ready later.
        driver.mmio.pause();
        driver.mmio.resume();
        driver.write(mmio::QUEUE_READY, 0);
        assert_eq!(driver.read(mmio::QUEUE_READY), 0);
        driver.write(mmio::INTERRUPT_ACK, u32::MAX);
        let chains = driver.mmio.counters()[0].chains;
        queue.submit_silently(&[], &[8]);
        driver.write(mmio::QUEUE_NOTIFY, 0);
        assert!(!driver.mmio.notifier().notify(0));
        assert_eq!(driver.mmio.counters()[0].chains, chains);
        assert_eq!(driver.read(mmio::INTERRUPT_STATUS), 0);
        // Ready again, it begins anew, as a virtqueue does.
        let mut queue = driver.guest.queue(0, 8);
        driver.enable(0, queue.layout());
        assert_eq!(driver.request(&mut queue, &[], &[9]).data, [7; 9]);
    }
}

/// `dev:core:virtqueue-reset:01`, `dev:core:virtqueue-reset:02`, `dev:core:virtqueue-re-enable:01`,
/// `dev:mmio:mmio-device-register-layout:08`, `dev:mmio:mmio-device-register-layout:09`,
/// `dev:mmio:mmio-device-register-layout:10`, `dev:mmio:mmio-device-register-layout:11`,
/// `dev:mmio:mmio-device-register-layout:12`
#[test]
fn a_virtqueue_is_reset_and_enabled_again_with_another_size() {
    for features in formats() {
        let mut driver = Driver::new(probe(2), features | feature::RING_RESET);
        driver.negotiate();
        assert_eq!(driver.read(mmio::QUEUE_RESET), 0);
        let mut other = driver.guest.queue(1, 16);
        driver.enable(1, other.layout());
        let mut queue = driver.guest.queue(0, 16);
        driver.enable(0, queue.layout());
        driver.drive();
        driver.write(mmio::QUEUE_SEL, 0);
        for size in [64, 8, 128] {
            for _ in 0..5 {
                driver.request(&mut queue, &[], &[8]);
            }
            driver.write(mmio::QUEUE_RESET, 1);
            // The reset is done with the write, so 1 is never to be seen.
            assert_eq!(
                (driver.read(mmio::QUEUE_RESET), driver.read(mmio::QUEUE_READY)),
                (0, 0)
            );
            driver.write(mmio::INTERRUPT_ACK, u32::MAX);
            let chains = driver.mmio.counters()[0].chains;
            queue.submit_silently(&[], &[8]);
            driver.write(mmio::QUEUE_NOTIFY, 0);
            assert!(!driver.mmio.notifier().notify(0));
            assert_eq!(driver.mmio.counters()[0].chains, chains);
            assert_eq!(driver.read(mmio::INTERRUPT_STATUS), 0);
            // The other one goes on.
            assert_eq!(driver.request(&mut other, &[], &[3]).data, [7; 3]);

            queue = driver.guest.queue(0, size);
            driver.enable(0, queue.layout());
            assert_eq!(driver.read(mmio::QUEUE_RESET), 0);
            assert_eq!(driver.read(mmio::QUEUE_READY), 1);
            for length in 1..=2 * usize::from(size) {
                driver.request(&mut queue, &[], &[length]);
            }
        }
    }
}

#[test]
fn what_was_set_up_is_forgotten_by_a_reset_of_the_virtqueue() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1 | feature::RING_RESET);
    driver.negotiate();
    let fresh = driver.save();
    let queue = driver.guest.queue(0, 16);
    driver.enable(0, queue.layout());
    driver.write(mmio::QUEUE_RESET, 1);
    assert!(driver.save() == fresh);
}

#[test]
fn queue_reset_needs_its_feature_and_a_one() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    driver.start(16);
    driver.write(mmio::QUEUE_RESET, 1);
    assert_eq!(driver.read(mmio::QUEUE_READY), 1);
    let mut driver = Driver::new(sevens(), feature::VERSION_1 | feature::RING_RESET);
    driver.start(16);
    for value in [0, 2, 3, u32::MAX] {
        driver.write(mmio::QUEUE_RESET, value);
        assert_eq!(driver.read(mmio::QUEUE_READY), 1);
    }
}

#[test]
fn notifications_come_with_data_where_that_was_negotiated() {
    for with_data in [false, true] {
        let more = if with_data {
            feature::NOTIFICATION_DATA
        } else {
            Features::NONE
        };
        let mut device = probe(2);
        // One thread for both, which looks at them in the order in which they were notified.
        device.description.queues[1].group = 0;
        let mut driver = Driver::new(device, feature::VERSION_1 | more);
        driver.start(16);
        let queue = driver.guest.queue(1, 16);
        driver.enable(1, queue.layout());
        count_notifications(&mut driver);
        let kicks = driver.mmio.counters()[1].kicks;
        // Bits beyond the index are data, or make an index that there is not.
        driver.write(mmio::QUEUE_NOTIFY, NotificationData::split(1, 2).0);
        count_notifications(&mut driver);
        assert_eq!(driver.mmio.counters()[1].kicks, kicks + u64::from(with_data));
    }
}

/// Waits until whatever was notified before has been counted: a notification of queue 0 has come through behind it.
fn count_notifications(driver: &mut Driver) {
    for _ in 0..2 {
        let before = driver.mmio.counters()[0].kicks;
        driver.write(mmio::QUEUE_NOTIFY, 0);
        wait_until("a notification", || driver.mmio.counters()[0].kicks > before);
    }
}

#[test]
fn a_notifier_needs_no_model() {
    let mut driver = Driver::new(sevens(), feature::VERSION_1);
    let notifier = driver.mmio.notifier();
    assert!(!notifier.notify(0) && !notifier.notify(1) && !notifier.notify(u16::MAX));
    let mut queue = driver.start(16);
    for _ in 0..100 {
        queue.submit_silently(&[], &[8]);
        let notifier = notifier.clone();
        assert!(std::thread::spawn(move || notifier.notify(0)).join().unwrap());
        assert_eq!(driver.complete(&mut queue).data, [7; 8]);
    }
    // Or its descriptor, from wherever.
    queue.submit_silently(&[], &[8]);
    rustix::io::write(notifier.event(0).unwrap(), &1u64.to_ne_bytes()).unwrap();
    driver.complete(&mut queue);
    assert!(notifier.event(1).is_none());
}

/// `dev:feat:reserved-feature-bits:05`
#[test]
fn buffers_are_used_in_order_if_that_was_negotiated() {
    for packed in [Features::NONE, feature::RING_PACKED] {
        let mut driver = Driver::new(sevens(), feature::VERSION_1 | feature::IN_ORDER | packed);
        let mut queue = driver.start(64);
        for length in 1..=60 {
            queue.submit_silently(&[], &[length]);
        }
        driver.write(mmio::QUEUE_NOTIFY, 0);
        for length in 1..=60 {
            assert_eq!(driver.complete(&mut queue).data.len(), length);
        }
    }
}
