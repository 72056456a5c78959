//! Tests of the registers' user. The fake registers themselves check how they are used.

mod fake;

use ringwright_ring::DriverQueue;
use std::vec::Vec;

use self::fake::{Fake, MODERN};
use super::*;
use crate::init::Setup;
use crate::testing::lives::{self, IDS, Shared};
use crate::testing::model::Model;
use crate::testing::stairs::STAIRS;
use crate::{DriverError, Options};

fn probe(fake: &Fake) -> Mmio<Fake> {
    Mmio::probe(fake.clone()).unwrap().unwrap()
}

fn drive(fake: &Fake, shared: &Shared, accept: Features) -> Result<(), DriverError> {
    let transport = Mmio::probe_as(fake.clone(), shared.guest)?.unwrap();
    let with_model = |f: &mut dyn FnMut(&mut Model)| f(&mut fake.board().model);
    lives::live(transport, shared, with_model, accept)
}

/// A device of type `STAIRS` that has been initialized up to its virtqueues.
fn set_up(fake: &Fake, shared: &Shared) -> Setup<Mmio<Fake>> {
    let options = Options::default();
    Setup::begin(probe(fake), &shared.area, &STAIRS, Features::NONE, options).unwrap()
}

/// drv:mmio:mmio-device-register-layout:04, :05, :06, drv:mmio:device-initialization:02
#[test]
fn what_is_no_virtio_device_is_ignored() {
    for (magic, version, id) in [
        (0x7472_6975, 2, 4),
        (0, 2, 4),
        (u32::MAX, u32::MAX, u32::MAX),
        // Another byte order.
        (0x7669_7274, 2, 4),
        (spec::MAGIC, 0, 4),
        (spec::MAGIC, 3, 4),
        (spec::MAGIC, 0x0200_0000, 4),
    ] {
        let fake = Fake::modern(id, MODERN, &[8]);
        (fake.board().magic, fake.board().version) = (magic, version);
        let refused = Mmio::probe(fake.clone()).err();
        assert!(
            matches!(refused, Some(TransportError::Protocol(_))),
            "{magic:#x} {version}"
        );
    }
    // A placeholder: no error, and no other register is accessed.
    for fake in [Fake::modern(0, MODERN, &[8]), Fake::legacy(0, MODERN, &[8])] {
        assert!(Mmio::probe(fake.clone()).unwrap().is_none());
        let log = fake.board().log.clone();
        assert_eq!(log, [spec::MAGIC_VALUE, spec::VERSION, spec::DEVICE_ID]);
    }
    let fake = Fake::modern(4, MODERN, &[8]);
    let mut found = probe(&fake);
    assert_eq!((found.device_id(), found.vendor_id()), (4, Ok(0x1234_5678)));
    assert_eq!(found.legacy(), None);
}

/// drv:mmio:mmio-device-register-layout:01, :02, :03, :07, :08, :09, :10, drv:mmio:device-initialization:01, drv:mmio:device-initialization:04
#[test]
fn every_driver_over_modern_devices() {
    let offers = [
        feature::VERSION_1,
        MODERN | feature::EVENT_IDX | feature::NOTIFICATION_DATA,
        MODERN | feature::RING_PACKED | feature::IN_ORDER,
        Features(u128::MAX) - feature::DEVICE_TYPE_BITS,
    ];
    for id in IDS {
        for offered in offers {
            let shared = Shared::new();
            let fake = Fake::modern(id, offered | lives::features(id), &[64; 3]);
            lives::configure(&mut fake.board().model, shared.guest);
            drive(&fake, &shared, Features(u128::MAX)).unwrap();
            assert_eq!(fake.board().model.status, Status::NONE);
            assert!(shared.is_whole());
        }
    }
}

#[test]
fn every_driver_over_legacy_devices() {
    for id in IDS {
        for guest in [ByteOrder::Little, ByteOrder::Big] {
            for offered in [Features::NONE, feature::ANY_LAYOUT | feature::EVENT_IDX] {
                let shared = Shared::at(0x8_1000_0000, guest);
                let fake = Fake::legacy(id, offered | lives::features(id), &[64; 3]);
                lives::configure(&mut fake.board().model, guest);
                drive(&fake, &shared, Features(u128::MAX)).unwrap();
                assert_eq!(fake.board().model.status, Status::NONE);
                assert!(shared.is_whole());
            }
        }
    }
}

#[test]
fn any_access_can_fail() {
    for id in IDS {
        for legacy in [false, true] {
            let device = || {
                let fake = match legacy {
                    true => Fake::legacy(id, lives::features(id), &[64; 3]),
                    false => Fake::modern(id, MODERN | lives::features(id), &[64; 3]),
                };
                lives::configure(&mut fake.board().model, ByteOrder::Little);
                fake
            };
            let fake = device();
            drive(&fake, &Shared::new(), Features(u128::MAX)).unwrap();
            let accesses = fake.board().log.len();
            for number in 0..accesses {
                let (fake, shared) = (device(), Shared::new());
                fake.board().faults = number..number + 1;
                match drive(&fake, &shared, Features(u128::MAX)) {
                    Err(DriverError::Transport(TransportError::Os(5))) => {}
                    // The reset at the end is told to nobody.
                    Ok(()) => assert!(number + 8 > accesses, "{number} of {accesses}"),
                    Err(error) => panic!("{number}: {error}"),
                }
            }
        }
    }
}

#[test]
fn features_of_all_words() {
    let high = Features::bit(64) | Features::bit(127);
    let fake = Fake::modern(STAIRS.id, MODERN | high, &[8]);
    let mut device = probe(&fake);
    assert_eq!(device.device_features(), Ok(MODERN | high));
    fake.board().model.status = Status::ACKNOWLEDGE | Status::DRIVER;
    device.set_driver_features(MODERN | high).unwrap();
    assert_eq!(fake.board().model.accepted, MODERN | high);
    let mut words = |features| {
        let start = fake.board().log.len();
        device.set_driver_features(features).unwrap();
        fake.board().log.len() - start
    };
    // Two accesses a word; the upper ones only where they are needed.
    assert_eq!((words(MODERN), words(MODERN | Features::bit(64))), (4, 6));
    // drv:core:feature-bits:03: what is not for MMIO is told to the initialization.
    let never = feature::ADMIN_VQ | feature::SR_IOV | feature::NOTIF_CONFIG_DATA;
    assert!(device.unsupported_features().contains(never));
    let fake = Fake::legacy(STAIRS.id, Features(u128::MAX), &[8]);
    assert_eq!(probe(&fake).device_features(), Ok(feature::LEGACY_BITS));
}

#[test]
fn a_virtqueue_is_where_the_driver_says() {
    for packed in [false, true] {
        let offered = match packed {
            true => MODERN | feature::RING_PACKED,
            false => MODERN,
        };
        let (fake, shared) = (Fake::modern(STAIRS.id, offered, &[8, 100]), Shared::new());
        let mut setup = set_up(&fake, &shared);
        let queues: [DriverQueue<()>; 2] = [setup.queue(0, 1).unwrap(), setup.queue(1, 1).unwrap()];
        let _session = setup.finish().unwrap();
        for (index, queue) in queues.iter().enumerate() {
            let told = fake.board().model.layout(index);
            assert_eq!(told, Some(queue.layout()));
            assert!(told.unwrap().device_area > u32::MAX.into());
        }
        assert_eq!(queues[1].layout().size, if packed { 100 } else { 64 });
    }
}

#[test]
fn a_legacy_virtqueue_is_a_page_number() {
    let (fake, shared) = (Fake::legacy(STAIRS.id, Features::NONE, &[8, 100]), Shared::new());
    let mut setup = set_up(&fake, &shared);
    let queue: DriverQueue<()> = setup.queue(1, 1).unwrap();
    let layout = queue.layout();
    assert_eq!(fake.board().model.layout(1), Some(layout));
    // GuestPageSize, then QueueSel, QueuePFN, QueueSizeMax, QueueSize, QueueAlign and QueuePFN, as section 4.2.4 has it.
    let log = fake.board().log.clone();
    let order = [0x30, 0x40, 0x34, 0x38, 0x3c, 0x40];
    assert!(log.ends_with(&order), "{log:x?}");
    let page_size = log.iter().position(|offset| *offset == legacy::GUEST_PAGE_SIZE);
    assert!(page_size.unwrap() < log.len() - order.len());

    let device = setup.session().transport();
    let page = layout.page_frame_number(4096).unwrap();
    let layout = Layout::legacy(page, 4096, 8, 4096).unwrap();
    let elsewhere = [
        // Page 0, an address within a page, one whose page number needs 33 bits, parts that lie apart.
        Layout::legacy(0, 4096, 8, 4096).unwrap(),
        Layout {
            descriptor_area: layout.descriptor_area + 2048,
            ..layout
        },
        Layout {
            descriptor_area: 1 << 44,
            driver_area: (1 << 44) + 128,
            device_area: (1 << 44) + 4096,
            ..layout
        },
        Layout {
            driver_area: layout.driver_area + 2,
            ..layout
        },
        Layout {
            device_area: layout.device_area + 4096,
            ..layout
        },
    ];
    for layout in elsewhere {
        let refused = device.enable_queue(0, &layout);
        assert!(
            matches!(refused, Err(TransportError::Unsupported(_))),
            "{layout:?}"
        );
    }
    assert_eq!(fake.board().model.layout(0), None);
    assert!(device.reset_queue(0).is_err() && device.queue_is_reset(0).is_err());
    assert!(device.config_generation().is_err());
    assert_eq!(device.shared_memory(1), Ok(None));
}

#[test]
fn queues_that_are_not_there_too_small_or_in_use() {
    let (fake, shared) = (Fake::modern(STAIRS.id, MODERN, &[8, 0]), Shared::new());
    let mut setup = set_up(&fake, &shared);
    let device = setup.session().transport();
    assert_eq!(
        [0, 1, 2, 0xffff].map(|index| device.queue_max_size(index).unwrap()),
        [8, 0, 0, 0]
    );
    let layout = |size| Layout {
        size,
        descriptor_area: 0x1000,
        driver_area: 0x2000,
        device_area: 0x3000,
    };
    // drv:mmio:mmio-device-register-layout:09
    for (index, size) in [(0, 16), (1, 1), (2, 8)] {
        let refused = device.enable_queue(index, &layout(size));
        assert_eq!(refused, Err(TransportError::NoQueue(index)));
    }
    device.enable_queue(0, &layout(8)).unwrap();
    // drv:mmio:mmio-device-register-layout:10: nothing of it is accessed.
    let start = fake.board().log.len();
    let refused = device.enable_queue(0, &layout(8));
    assert!(matches!(refused, Err(TransportError::Protocol(_))));
    assert_eq!(fake.board().log[start..], [spec::QUEUE_SEL, spec::QUEUE_READY]);
}

#[test]
fn notifications_carry_the_index_or_notification_data() {
    for (features, expected) in [
        (MODERN, [1, 0]),
        (MODERN | feature::NOTIFICATION_DATA, [0x8005_0001, 0x0007_0000]),
    ] {
        let fake = Fake::modern(STAIRS.id, features, &[8, 8]);
        let mut device = probe(&fake);
        fake.board().model.status = Status::ACKNOWLEDGE | Status::DRIVER;
        device.set_driver_features(features).unwrap();
        device
            .set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK | Status::DRIVER_OK)
            .unwrap();
        device.notify(1, 0x8005_0001).unwrap();
        device.notify(0, 0x0007_0000).unwrap();
        let values: Vec<u32> = fake
            .board()
            .model
            .notified
            .iter()
            .map(|(_, value)| *value)
            .collect();
        assert_eq!(values, expected);
    }
}

/// drv:mmio:notifications-from-the-device:01, :03
#[test]
fn interrupts_are_read_and_acknowledged() {
    for fake in [Fake::modern(4, MODERN, &[8]), Fake::legacy(4, MODERN, &[8])] {
        let mut device = probe(&fake);
        let mut expected = Vec::new();
        // drv:mmio:mmio-device-register-layout:12: bits that are not defined mean nothing.
        for (status, queue, config) in [
            (0, false, false),
            (1, true, false),
            (2, false, true),
            (3, true, true),
            (0xffff_fffc, false, false),
            (0xffff_fffd, true, false),
        ] {
            fake.board().interrupt = status;
            assert_eq!(
                device.take_interrupt(),
                Ok(Interrupt { queue, config }),
                "{status:#x}"
            );
            // drv:mmio:mmio-device-register-layout:13: acknowledged is what was handled.
            if status & 3 != 0 {
                expected.push(status & 3);
            }
            assert_eq!(fake.board().acknowledged, expected);
        }
        fake.board().interrupt = 0;
        assert_eq!(device.take_interrupt(), Ok(Interrupt::default()));
    }
}

/// drv:mmio:device-initialization:03
#[test]
fn shared_memory_is_looked_for_when_somebody_asks() {
    let fake = Fake::modern(4, MODERN, &[8]);
    let mut device = probe(&fake);
    let (base, length) = (0x12_3456_7000, 0x3_0000_1000);
    fake.board().shared_memory = Some((base, length));
    assert_eq!(device.shared_memory(1), Ok(Some((base, length))));
    assert_eq!(device.shared_memory(0), Ok(None));
    for region in [(u64::MAX, length), (base, u64::MAX)] {
        fake.board().shared_memory = Some(region);
        assert_eq!(device.shared_memory(1), Ok(None));
    }
    fake.board().shared_memory = Some((u64::MAX - 0xfff, 0x2000));
    assert!(matches!(
        device.shared_memory(1),
        Err(TransportError::Protocol(_))
    ));
}

/// drv:mmio:mmio-device-register-layout:14
#[test]
fn a_queue_is_reset_and_enabled_again() {
    let (fake, shared) = (Fake::modern(STAIRS.id, MODERN, &[8]), Shared::new());
    let mut setup = set_up(&fake, &shared);
    let mut queue: DriverQueue<()> = setup.queue(0, 1).unwrap();
    let mut session = setup.finish().unwrap();
    drop(session.reset_queue(0, &mut queue).unwrap());
    // It took the device a few reads.
    let log = fake.board().log.clone();
    let accesses = log.iter().filter(|offset| **offset == spec::QUEUE_RESET);
    assert_eq!(accesses.count(), 1 + 3);
    assert_eq!(fake.board().model.layout(0), None);
    session.enable_queue(0, &queue).unwrap();
    assert_eq!(fake.board().model.layout(0), Some(queue.layout()));
}

/// drv:core:virtqueue-reset:01
#[test]
fn a_queue_reset_that_the_device_does_not_know_is_not_believed() {
    let (fake, shared) = (Fake::modern(STAIRS.id, MODERN, &[8]), Shared::new());
    let mut setup = set_up(&fake, &shared);
    let mut queue: DriverQueue<()> = setup.queue(0, 1).unwrap();
    let mut session = setup.finish().unwrap();
    fake.board().model.cannot_reset_queues = true;
    let refused = session.reset_queue(0, &mut queue).err();
    assert!(matches!(
        refused,
        Some(DriverError::Transport(TransportError::Protocol(_)))
    ));
}

/// drv:mmio:mmio-device-register-layout:03
#[test]
fn configuration_is_accessed_by_the_width_of_its_fields() {
    let fake = Fake::modern(4, MODERN, &[8]);
    fake.board().model.config = (0..64).collect();
    let mut device = probe(&fake);
    let mut bytes = [0; 8];
    for (width, accesses) in [(Width::One, 8), (Width::Two, 4), (Width::Four, 2)] {
        let start = fake.board().log.len();
        device.read_config(8, width, &mut bytes).unwrap();
        assert_eq!(bytes, [8, 9, 10, 11, 12, 13, 14, 15]);
        device.write_config(16, width, &bytes).unwrap();
        let log = fake.board().log[start..].to_vec();
        let expected: Vec<u64> = [0x108, 0x110]
            .into_iter()
            .flat_map(|base| (0..accesses).map(move |n| base + n * width as u64))
            .collect();
        assert_eq!(log, expected);
        assert_eq!(fake.board().model.config[16..24], bytes);
    }
    let start = fake.board().log.len();
    for (offset, width, length) in [
        (1, Width::Two, 2),
        (2, Width::Four, 4),
        (4, Width::Four, 6),
        (4, Width::Two, 1),
        (usize::MAX - 3, Width::Four, 4),
    ] {
        let refused = Err(TransportError::Config { offset, length });
        assert_eq!(device.read_config(offset, width, &mut bytes[..length]), refused);
        assert_eq!(device.write_config(offset, width, &bytes[..length]), refused);
    }
    assert_eq!(fake.board().log.len(), start);
}

#[test]
fn the_configuration_generation_is_read() {
    let fake = Fake::modern(4, MODERN, &[8]);
    fake.board().model.generation = 0xfe;
    assert_eq!(probe(&fake).config_generation(), Ok(0xfe));
}
