//! The common configuration structure: every field at every width and offset, in every phase of the initialization.

use ringwright_spec::register;
use ringwright_spec::{feature, pci};

use super::*;
use crate::transport::testing::{Probe, probe};

/// Widths of accesses in bytes, legal and illegal ones.
const WIDTHS: [usize; 6] = [1, 2, 3, 4, 8, 16];

/// Everything that a driver can have done when it accesses a field.
const PHASES: [Phase; 6] = [
    Phase::Reset,
    Phase::Driver,
    Phase::FeaturesOk,
    Phase::DriverOk,
    Phase::NoSuchQueue,
    Phase::NeedsReset,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    Reset,
    Driver,
    FeaturesOk,
    DriverOk,
    /// As `DriverOk`, but a queue is selected that the device does not have.
    NoSuchQueue,
    NeedsReset,
}

fn device() -> Probe {
    probe(2)
}

fn in_phase(phase: Phase) -> Driver {
    let features = feature::VERSION_1 | feature::RING_RESET;
    let mut driver = Driver::new(device(), features, Options::default());
    if phase == Phase::Driver {
        driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        driver.write_features(features);
    }
    if !matches!(phase, Phase::Reset | Phase::Driver) {
        driver.negotiate();
    }
    if !matches!(phase, Phase::Reset | Phase::Driver | Phase::FeaturesOk) {
        let queue = driver.guest.queue(0, 16);
        driver.enable(0, queue.layout());
        driver.put16(field::QUEUE_MSIX_VECTOR, 1);
        driver.drive();
    }
    match phase {
        Phase::NoSuchQueue => driver.put16(field::QUEUE_SELECT, 2),
        Phase::NeedsReset => driver.function.core.break_device("the test wants it"),
        _ => {}
    }
    driver
}

/// The whole structure, as naturally wide reads give it.
fn image(driver: &mut Driver) -> Vec<u8> {
    let mut image = Vec::new();
    for register in field::REGISTERS {
        for offset in (0..u64::from(register.size)).step_by(4) {
            let mut data = vec![0; usize::from(register.size.min(4))];
            driver.bar_read(STRUCTURES_BAR, register.offset + offset, &mut data);
            image.extend(data);
        }
    }
    image
}

#[test]
fn reads_of_any_width_see_the_structure_and_change_nothing() {
    for phase in PHASES {
        let mut driver = in_phase(phase);
        driver.get8(field::CONFIG_GENERATION);
        let before = driver.state();
        let mut image = image(&mut driver);
        // Beyond the end there is nothing.
        image.resize(0x200, 0);
        for offset in 0..0x100 {
            for width in WIDTHS {
                let mut data = vec![0xa5; width];
                driver.bar_read(STRUCTURES_BAR, offset as u64, &mut data);
                assert_eq!(
                    data,
                    image[offset..offset + width],
                    "{width} bytes at {offset:#x}, {phase:?}"
                );
            }
        }
        assert!(driver.state() == before, "a read has a side effect, {phase:?}");
    }
}

/// Such as `drv:pci:pci-device-layout:01` and `drv:pci:common-configuration-structure-layout:01` forbid.
#[test]
fn writes_that_are_none_of_a_field_change_nothing() {
    for phase in PHASES {
        let mut driver = in_phase(phase);
        let before = driver.state();
        for offset in 0..0x80 {
            let register = register::at(field::REGISTERS, offset).filter(|field| field.access.writable());
            let legal = |width: usize| {
                register.is_some_and(|register| {
                    let (start, size) = (offset - register.offset, usize::from(register.size));
                    match size {
                        8 => width == 4 && matches!(start, 0 | 4),
                        _ => width == size && start == 0,
                    }
                })
            };
            for width in WIDTHS.into_iter().filter(|width| !legal(*width)) {
                for byte in [0, 1, 0xff] {
                    driver.bar_write(STRUCTURES_BAR, offset, &vec![byte; width]);
                }
            }
            assert!(driver.state() == before, "a write at {offset:#x}, {phase:?}");
        }
    }
}

#[test]
fn fields_read_what_they_are() {
    let mut driver = in_phase(Phase::Reset);
    let offered = driver.offered_features();
    let expected = CommonCfg {
        device_feature: offered.word(0).into(),
        config_msix_vector: pci::MSI_NO_VECTOR.into(),
        num_queues: 2.into(),
        queue_size: 512.into(),
        queue_msix_vector: pci::MSI_NO_VECTOR.into(),
        ..CommonCfg::default()
    };
    assert_eq!(image(&mut driver), expected.as_bytes());

    // What was written is read, and the second queue has a place of its own.
    let features = feature::VERSION_1 | feature::RING_RESET;
    let mut driver = in_phase(Phase::FeaturesOk);
    driver.put32(field::DEVICE_FEATURE_SELECT, 1);
    driver.put32(field::DRIVER_FEATURE_SELECT, 1);
    driver.put16(field::CONFIG_MSIX_VECTOR, 2);
    driver.put16(field::QUEUE_SELECT, 1);
    driver.put16(field::QUEUE_SIZE, 64);
    driver.put16(field::QUEUE_MSIX_VECTOR, 0);
    driver.put64(field::QUEUE_DESC, 0x1111_2222_3333_4440);
    driver.put64(field::QUEUE_DRIVER, 0x5555_6666_7777_8880);
    driver.put64(field::QUEUE_DEVICE, 0x9999_aaaa_bbbb_ccc0);
    let expected = CommonCfg {
        device_feature_select: 1.into(),
        device_feature: offered.word(1).into(),
        driver_feature_select: 1.into(),
        driver_feature: features.word(1).into(),
        config_msix_vector: 2.into(),
        num_queues: 2.into(),
        device_status: (Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK).0,
        queue_select: 1.into(),
        queue_size: 64.into(),
        queue_msix_vector: 0.into(),
        queue_notify_off: 1.into(),
        queue_desc: 0x1111_2222_3333_4440.into(),
        queue_driver: 0x5555_6666_7777_8880.into(),
        queue_device: 0x9999_aaaa_bbbb_ccc0.into(),
        ..CommonCfg::default()
    };
    assert_eq!(image(&mut driver), expected.as_bytes());
}

/// `dev:pci:pci-device-layout:01`
#[test]
fn halves_of_addresses_are_independent() {
    let mut driver = in_phase(Phase::FeaturesOk);
    for register in [field::QUEUE_DESC, field::QUEUE_DRIVER, field::QUEUE_DEVICE] {
        driver.put64(register, 0x1111_1111_2222_2222);
        driver.put32(register + 4, 0x3333_3333);
        assert_eq!(driver.get::<8>(register), 0x3333_3333_2222_2222u64.to_le_bytes());
        driver.put32(register, 0x4444_4444);
        assert_eq!(driver.get::<8>(register), 0x3333_3333_4444_4444u64.to_le_bytes());
        assert_eq!(driver.get::<4>(register + 4), 0x3333_3333u32.to_le_bytes());
    }
}

/// `dev:pci:common-configuration-structure-layout:03`, `dev:pci:common-configuration-structure-layout:04`
#[test]
fn features_are_selected_word_by_word() {
    let mut driver = in_phase(Phase::Driver);
    let offered = driver.offered_features();
    for word in [0, 1, 2, 3, 4, 0xffff, u32::MAX] {
        driver.put32(field::DEVICE_FEATURE_SELECT, word);
        assert_eq!(
            driver.get::<4>(field::DEVICE_FEATURE),
            offered.word(word).to_le_bytes()
        );
    }
    driver.write_features(offered);
    for word in [3, 0, 2, 1, 4] {
        driver.put32(field::DRIVER_FEATURE_SELECT, word);
        assert_eq!(
            driver.get::<4>(field::DRIVER_FEATURE),
            offered.word(word).to_le_bytes()
        );
    }
    // There is no word beyond the third.
    driver.put32(field::DRIVER_FEATURE, 0xffff_ffff);
    assert_eq!(driver.get::<4>(field::DRIVER_FEATURE), [0; 4]);
    // They are final with FEATURES_OK (drv:init:device-initialization:03).
    driver.set_status(Status::FEATURES_OK);
    driver.put32(field::DRIVER_FEATURE_SELECT, 0);
    driver.put32(field::DRIVER_FEATURE, 0);
    assert_eq!(
        driver.get::<4>(field::DRIVER_FEATURE),
        offered.word(0).to_le_bytes()
    );
}

/// `dev:pci:common-configuration-structure-layout:14`
#[test]
fn a_queue_that_is_not_there_has_no_size() {
    for phase in PHASES {
        let mut driver = in_phase(phase);
        for queue in [2, 3, 0x7fff, 0xffff] {
            driver.put16(field::QUEUE_SELECT, queue);
            let before = driver.state();
            assert_eq!(driver.get16(field::QUEUE_SIZE), 0);
            for register in [
                field::QUEUE_SIZE,
                field::QUEUE_MSIX_VECTOR,
                field::QUEUE_ENABLE,
                field::QUEUE_RESET,
            ] {
                driver.put16(register, 1);
            }
            driver.put64(field::QUEUE_DESC, 0x1000);
            let places = driver.notify_places();
            driver.bar_write(
                places.bar,
                places.offset + 4 * u64::from(queue),
                &queue.to_le_bytes(),
            );
            assert!(driver.state() == before, "queue {queue}, {phase:?}");
            assert_eq!(driver.get16(field::QUEUE_ENABLE), 0);
            assert_eq!(driver.get16(field::QUEUE_MSIX_VECTOR), pci::MSI_NO_VECTOR);
        }
    }
}

/// `dev:pci:common-configuration-structure-layout:15`; `drv:pci:common-configuration-structure-layout:02` and
/// `drv:pci:common-configuration-structure-layout:03` as the device enforces them. The device has 1000 at most.
#[test]
fn the_queue_size_is_a_power_of_2_unless_packed() {
    for packed in [Features::NONE, feature::RING_PACKED] {
        for size in [0u16, 1, 2, 3, 511, 512, 999, 1000, 1001, 1024, 0x8000, 0xffff] {
            let mut driver = Driver::new(device(), feature::VERSION_1 | packed, Options::default());
            assert_eq!(
                driver.get16(field::QUEUE_SIZE),
                512,
                "before features are negotiated"
            );
            driver.negotiate();
            let max = if packed.is_empty() { 512 } else { 1000 };
            assert_eq!(driver.get16(field::QUEUE_SIZE), max);
            driver.put16(field::QUEUE_SIZE, size);
            let legal = (1..=max).contains(&size) && (!packed.is_empty() || size.is_power_of_two());
            assert_eq!(driver.get16(field::QUEUE_SIZE), if legal { size } else { max });
            assert_eq!(
                driver.status().contains(Status::DEVICE_NEEDS_RESET),
                !legal,
                "{size}"
            );
        }
    }
}

/// `drv:pci:common-configuration-structure-layout:06` as the device enforces it.
#[test]
fn a_queue_that_is_enabled_stays_so_and_cannot_be_set_up() {
    let mut driver = in_phase(Phase::DriverOk);
    let before = driver.state();
    for value in [0, 1, 2, 0xffff] {
        driver.put16(field::QUEUE_ENABLE, value);
    }
    driver.put16(field::QUEUE_SIZE, 8);
    for register in [field::QUEUE_DESC, field::QUEUE_DRIVER, field::QUEUE_DEVICE] {
        driver.put64(register, 0x1234_5000_1234_5000);
    }
    assert!(driver.state() == before);
    let mut driver = in_phase(Phase::FeaturesOk);
    for value in [0, 2, 0xffff] {
        driver.put16(field::QUEUE_ENABLE, value);
        assert_eq!(driver.get16(field::QUEUE_ENABLE), 0);
    }
}

/// `dev:pci:common-configuration-structure-layout:07`, `dev:pci:common-configuration-structure-layout:08`,
/// `dev:pci:common-configuration-structure-layout:09`, `dev:pci:msi-x-vector-configuration:07`
#[test]
fn a_reset_of_the_device_leaves_nothing_of_its_driver() {
    let mut driver = in_phase(Phase::NeedsReset);
    driver.put16(field::CONFIG_MSIX_VECTOR, 2);
    assert_eq!(driver.get16(field::QUEUE_ENABLE), 1);
    driver.set_status(Status::NONE);
    for queue in [0, 1] {
        driver.put16(field::QUEUE_SELECT, queue);
        let fields = [
            field::QUEUE_ENABLE,
            field::QUEUE_RESET,
            field::QUEUE_SIZE,
            field::QUEUE_MSIX_VECTOR,
        ];
        let values = fields.map(|field| driver.get16(field));
        assert_eq!(values, [0, 0, 512, pci::MSI_NO_VECTOR]);
    }
    assert_eq!(driver.get16(field::CONFIG_MSIX_VECTOR), pci::MSI_NO_VECTOR);
    assert_eq!(driver.get8(field::DEVICE_STATUS), 0);
    let isr = driver.places.isr.start;
    assert_eq!(driver.get8(isr), 0);
    assert!(!driver.board.is_asserted());
}

/// `dev:pci:common-configuration-structure-layout:10`, `dev:pci:common-configuration-structure-layout:11`,
/// `dev:pci:common-configuration-structure-layout:12`, `dev:pci:common-configuration-structure-layout:13`,
/// `dev:core:virtqueue-reset:02`
#[test]
fn a_queue_is_reset_and_enabled_again() {
    let mut driver = in_phase(Phase::DriverOk);
    let places = driver.notify_places();
    for size in [8, 64, 256] {
        driver.put16(field::QUEUE_RESET, 1);
        // The reset is done with the write, so 1 is never to be seen.
        let fields = [
            field::QUEUE_RESET,
            field::QUEUE_ENABLE,
            field::QUEUE_SIZE,
            field::QUEUE_MSIX_VECTOR,
        ];
        assert_eq!(
            fields.map(|field| driver.get16(field)),
            [0, 0, 512, pci::MSI_NO_VECTOR]
        );
        assert_eq!(driver.get::<8>(field::QUEUE_DESC), [0; 8]);
        let mut queue = driver.guest.queue(0, size);
        queue.submit_silently(&[], &[8]);
        driver.bar_write(places.bar, places.offset, &[0, 0]);
        assert!(!driver.notifier().notify(0));
        driver.enable(0, queue.layout());
        assert_eq!(driver.get16(field::QUEUE_RESET), 0);
        assert_eq!(driver.complete(&mut queue, Driver::wait_intx).data, [7; 8]);
        for value in [0, 2, 0xffff] {
            driver.put16(field::QUEUE_RESET, value);
            assert_eq!(driver.get16(field::QUEUE_ENABLE), 1);
        }
    }
    let mut driver = Driver::new(device(), feature::VERSION_1, Options::default());
    driver.start(16);
    driver.put16(field::QUEUE_RESET, 1);
    assert_eq!(
        driver.get16(field::QUEUE_ENABLE),
        1,
        "without VIRTIO_F_RING_RESET"
    );
}

/// `dev:pci:common-configuration-structure-layout:06`
#[test]
fn the_generation_changes_after_a_read_of_what_has_changed() {
    let device = device();
    let handle = device.handle.clone();
    let mut driver = Driver::new(device, feature::VERSION_1, Options::default());
    let mut config = handle.config.lock().unwrap().clone();
    let place = driver.places.device.start;
    // Often enough for 8 bits to come round.
    for round in 0..700 {
        let before = driver.get8(field::CONFIG_GENERATION);
        driver.get::<4>(place);
        assert_eq!(driver.get8(field::CONFIG_GENERATION), before);
        // However often it changes between two looks at it.
        for _ in 0..=round % 300 {
            config[0] = config[0].wrapping_add(1);
            handle.change_config(&config);
            driver.get::<4>(place);
        }
        assert_ne!(driver.get8(field::CONFIG_GENERATION), before, "round {round}");
    }
}

/// `dev:pci:common-configuration-structure-layout:16`: no administration virtqueues are offered, and the fields are 0.
#[test]
fn fields_of_features_that_are_not_negotiated_are_zero() {
    for more in [Features::NONE, feature::NOTIF_CONFIG_DATA] {
        let mut driver = Driver::new(device(), feature::VERSION_1 | more, Options::default());
        assert!(!driver.offered_features().contains(feature::ADMIN_VQ));
        driver.negotiate();
        driver.put16(field::QUEUE_SELECT, 1);
        let data = if more.is_empty() { 0 } else { 1 };
        assert_eq!(driver.get16(field::QUEUE_NOTIF_CONFIG_DATA), data);
        assert_eq!(driver.get16(field::ADMIN_QUEUE_INDEX), 0);
        assert_eq!(driver.get16(field::ADMIN_QUEUE_NUM), 0);
        driver.put16(field::QUEUE_SELECT, 2);
        assert_eq!(driver.get16(field::QUEUE_NOTIF_CONFIG_DATA), 0);
    }
}
