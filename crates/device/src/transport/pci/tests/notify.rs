//! The notification structure.

use ringwright_spec::notification::NotificationData;
use ringwright_spec::{feature, pci};

use super::*;
use crate::testing::wait_until;
use crate::transport::testing::probe;

const MULTIPLIERS: [u32; 6] = [0, 4, 8, 64, 4096, 0x1_0000];

fn with_multiplier(queues: usize, features: Features, multiplier: u32) -> Driver {
    let options = Options {
        notify_off_multiplier: Multiplier::new(multiplier).unwrap(),
        ..Options::default()
    };
    Driver::new(probe(queues), features, options)
}

/// Writes, and waits until queue 1 has been notified.
fn notify(driver: &mut Driver, offset: u64, data: &[u8]) {
    let before = driver.counters()[1].kicks;
    let bar = driver.notify_places().bar;
    driver.bar_write(bar, offset, data);
    wait_until("a notification", || driver.counters()[1].kicks > before);
}

fn live(features: Features, multiplier: u32) -> Driver {
    let mut driver = with_multiplier(3, features, multiplier);
    driver.negotiate();
    let queue = driver.guest.queue(1, 16);
    driver.enable(1, queue.layout());
    driver.drive();
    driver
}

/// `dev:pci:notification-capability:01`, `dev:pci:notification-capability:02`,
/// `dev:pci:notification-capability:03`, `dev:pci:notification-capability:04`,
/// `dev:pci:notification-capability:05`, `dev:pci:notification-capability:06`,
/// `dev:pci:notification-capability:07`, `dev:pci:notification-capability:08`,
/// `dev:pci:notification-capability:09`.
/// NOTIFICATION_DATA is offered, unless it is masked.
#[test]
fn the_structure_has_room_for_every_queue() {
    for multiplier in MULTIPLIERS {
        for masked in [Features::NONE, feature::NOTIFICATION_DATA] {
            for queues in [1, 2, 3, 65] {
                let options = Options {
                    notify_off_multiplier: Multiplier::new(multiplier).unwrap(),
                    common: crate::transport::Options {
                        masked_features: masked,
                        ..crate::transport::Options::default()
                    },
                    ..Options::default()
                };
                let mut driver = Driver::new(probe(queues), feature::VERSION_1, options);
                let with_data = driver.offered_features().contains(feature::NOTIFICATION_DATA);
                assert_eq!(with_data, masked.is_empty());
                let at = driver.structure(pci::CfgType::NOTIFY_CFG);
                let cap = pci::NotifyCap::read_from_prefix(&driver.space.bytes()[at..])
                    .unwrap()
                    .0;
                let size = if with_data {
                    pci::NOTIFY_DATA_SIZE
                } else {
                    pci::NOTIFY_SIZE
                };
                assert_eq!(cap.notify_off_multiplier.get(), multiplier);
                assert!(cap.cap.offset.get().is_multiple_of(size));
                assert!(multiplier == 0 || (multiplier.is_power_of_two() && multiplier.is_multiple_of(4)));
                let bar = driver
                    .bars()
                    .into_iter()
                    .find(|bar| bar.index == cap.cap.bar)
                    .unwrap();
                assert!(u64::from(cap.cap.offset.get()) + u64::from(cap.cap.length.get()) <= bar.size);
                for queue in 0..queues as u16 {
                    driver.put16(field::QUEUE_SELECT, queue);
                    let notify_off = u32::from(driver.get16(field::QUEUE_NOTIFY_OFF));
                    assert!(cap.cap.length.get() >= notify_off * multiplier + size);
                }
            }
        }
    }
    for multiplier in [1, 2, 3, 6, 12, 0xffff_ffff] {
        assert_eq!(Multiplier::new(multiplier), None);
    }
}

#[test]
fn a_notification_is_two_or_four_bytes_at_the_queues_address() {
    for multiplier in MULTIPLIERS {
        let mut driver = live(feature::VERSION_1, multiplier);
        let places = driver.notify_places();
        let address = places.offset + u64::from(multiplier);
        let queue = |offset, data: &[u8]| places.queue(places.bar, offset, data);
        for (data, expected) in [
            (&[1, 0][..], Some(1)),
            (&[1, 0, 0, 0], Some(1)),
            (&[1], None),
            (&[1, 0, 0], None),
            (&[1, 0, 0, 0, 0, 0, 0, 0], None),
            (&[], None),
        ] {
            assert_eq!(queue(address, data), expected, "{data:?} with {multiplier}");
            if expected.is_some() {
                notify(&mut driver, address, data);
            }
        }
        for offset in [address + 2, places.offset + places.length, address - 2, u64::MAX] {
            assert_eq!(queue(offset, &[1, 0]), None);
        }
        // Where the address says which queue, the value does not matter; else it does.
        let by_address = multiplier != 0;
        assert_eq!(queue(address, &[2, 0]), Some(if by_address { 1 } else { 2 }));
        assert_eq!(
            queue(places.offset, &[2, 0]),
            Some(if by_address { 0 } else { 2 })
        );
        // There is nothing to read.
        let mut data = [0xa5; 4];
        driver.bar_read(places.bar, places.offset, &mut data);
        assert_eq!(data, [0; 4]);
    }
}

#[test]
fn notifications_carry_data_or_the_devices_own_where_negotiated() {
    for multiplier in MULTIPLIERS {
        for more in [
            feature::NOTIFICATION_DATA,
            feature::NOTIF_CONFIG_DATA,
            feature::NOTIFICATION_DATA | feature::NOTIF_CONFIG_DATA,
        ] {
            let mut driver = live(feature::VERSION_1 | more, multiplier);
            driver.put16(field::QUEUE_SELECT, 1);
            let index = match more.contains(feature::NOTIF_CONFIG_DATA) {
                true => driver.get16(field::QUEUE_NOTIF_CONFIG_DATA),
                false => 1,
            };
            let value = match more.contains(feature::NOTIFICATION_DATA) {
                true => NotificationData::split(index, 0x7fff).0.to_le_bytes().to_vec(),
                false => index.to_le_bytes().to_vec(),
            };
            let address = driver.notify_places().offset + u64::from(multiplier);
            notify(&mut driver, address, &value);
        }
    }
}

#[test]
fn a_notifier_needs_no_model() {
    let mut driver = live(feature::VERSION_1, 4);
    let (places, notifier) = (driver.notify_places(), driver.notifier());
    assert_eq!(places.queue(places.bar, places.offset + 4, &[1, 0]), Some(1));
    assert_eq!(places.queue(places.bar, places.offset + 6, &[1, 0]), None);
    assert_eq!(places.queue(places.bar, places.offset - 4, &[1, 0]), None);
    assert_eq!(places.queue(MSIX_BAR, places.offset + 4, &[1, 0]), None);
    assert_eq!(
        places.queue(LEGACY_BAR, 16, &[1, 0]),
        None,
        "there is no legacy interface"
    );
    assert!(notifier.notify(1) && !notifier.notify(0) && !notifier.notify(2) && !notifier.notify(3));
    driver.set_status(Status::NONE);
    assert!(!notifier.notify(1));
}
