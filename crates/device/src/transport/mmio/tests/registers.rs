//! Every register at every width and offset, in every phase of the initialization.

use ringwright_spec::mmio::legacy;
use ringwright_spec::register::{self, Register};
use ringwright_spec::{Status, feature};

use super::*;
use crate::SharedMemory;
use crate::transport::testing::{Probe, probe};

/// Widths of accesses in bytes, legal and illegal ones.
const WIDTHS: [usize; 6] = [1, 2, 3, 4, 8, 16];

/// Everything that a driver can have done when it accesses a register.
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
    let mut probe = probe(2);
    probe.description.shared_memory = vec![SharedMemory {
        id: 3,
        length: 0x1_2345_6000,
    }];
    probe
}

fn options(version: Version) -> Options {
    Options {
        version,
        vendor_id: 0x554d_4551,
        shared_memory: vec![(3, 0x7_8000_0000)],
        ..Options::default()
    }
}

fn modern_in(phase: Phase) -> Driver {
    let features = feature::VERSION_1 | feature::RING_RESET;
    let mut driver = Driver::with_options(device(), features, options(Version::Modern));
    if phase == Phase::Driver {
        driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    }
    if !matches!(phase, Phase::Reset | Phase::Driver) {
        driver.negotiate();
    }
    if !matches!(phase, Phase::Reset | Phase::Driver | Phase::FeaturesOk) {
        let queue = driver.guest.queue(0, 16);
        driver.enable(0, queue.layout());
        driver.drive();
    }
    match phase {
        Phase::NoSuchQueue => driver.write(mmio::QUEUE_SEL, 2),
        Phase::NeedsReset => driver.mmio.core.break_device("the test wants it"),
        _ => {}
    }
    driver
}

fn legacy_in(phase: Phase) -> Driver {
    let mut driver = Driver::with_options(device(), Features::NONE, options(Version::Legacy));
    driver.write(legacy::GUEST_PAGE_SIZE, 4096);
    if phase != Phase::Reset {
        driver.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
    }
    if !matches!(phase, Phase::Reset | Phase::Driver) {
        let queue = driver.guest.queue(0, 16);
        driver.write(legacy::QUEUE_SIZE, 16);
        driver.write(legacy::QUEUE_ALIGN, 4096);
        driver.write(legacy::QUEUE_PFN, queue.layout().page_frame_number(4096).unwrap());
    }
    if !matches!(phase, Phase::Reset | Phase::Driver | Phase::FeaturesOk) {
        driver.drive();
    }
    match phase {
        Phase::NoSuchQueue => driver.write(mmio::QUEUE_SEL, 0x1_0000),
        Phase::NeedsReset => driver.mmio.core.break_device("the test wants it"),
        _ => {}
    }
    driver
}

/// Both versions with their registers, in every phase.
fn everywhere() -> impl Iterator<Item = (Driver, &'static [Register], Phase)> {
    PHASES.into_iter().flat_map(|phase| {
        [
            (modern_in(phase), mmio::REGISTERS, phase),
            (legacy_in(phase), legacy::REGISTERS, phase),
        ]
    })
}

/// The whole state of the model.
fn state(driver: &mut Driver) -> Vec<u8> {
    // That the generation has been read is a part of it.
    driver.read(mmio::CONFIG_GENERATION);
    driver.save()
}

/// `drv:mmio:mmio-device-register-layout:01` and `drv:mmio:mmio-device-register-layout:02` forbid all these accesses.
#[test]
fn reads_that_are_none_of_a_register_are_zero_and_change_nothing() {
    for (mut driver, registers, phase) in everywhere() {
        let before = state(&mut driver);
        for offset in 0..mmio::CONFIG {
            for width in WIDTHS {
                let register = register::at(registers, offset);
                let legal = register.is_some_and(|register| {
                    register.offset == offset && register.access.readable() && width == 4
                });
                let mut data = vec![0xa5; width];
                driver.mmio.read(offset, &mut data);
                if !legal {
                    assert_eq!(data, vec![0; width], "{width} bytes at {offset:#x}, {phase:?}");
                }
            }
        }
        assert!(
            state(&mut driver) == before,
            "a read has a side effect, {phase:?}"
        );
    }
}

#[test]
fn writes_that_are_none_of_a_register_change_nothing() {
    for (mut driver, registers, phase) in everywhere() {
        let before = state(&mut driver);
        for offset in 0..mmio::CONFIG {
            let register = register::at(registers, offset);
            let writable =
                register.is_some_and(|register| register.offset == offset && register.access.writable());
            for width in WIDTHS.into_iter().filter(|width| !writable || *width != 4) {
                for byte in [0, 1, 0xff] {
                    driver.mmio.write(offset, &vec![byte; width]);
                }
            }
            assert!(state(&mut driver) == before, "a write at {offset:#x}, {phase:?}");
        }
    }
}

#[test]
fn registers_read_what_they_are() {
    let mut driver = modern_in(Phase::Reset);
    let expected = [
        // dev:mmio:mmio-device-register-layout:01
        ("MagicValue", 0x7472_6976),
        // dev:mmio:mmio-device-register-layout:02
        ("Version", 2),
        ("DeviceID", 2),
        ("VendorID", 0x554d_4551),
        ("DeviceFeatures", driver.mmio.core.offered_features().word(0)),
        // A power of 2, before packed virtqueues are negotiated.
        ("QueueSizeMax", 512),
        ("QueueReady", 0),
        ("InterruptStatus", 0),
        ("Status", 0),
        ("SHMLenLow", u32::MAX),
        ("SHMLenHigh", u32::MAX),
        ("SHMBaseLow", u32::MAX),
        ("SHMBaseHigh", u32::MAX),
        ("QueueReset", 0),
        ("ConfigGeneration", 0),
    ];
    let readable = mmio::REGISTERS
        .iter()
        .filter(|register| register.access.readable());
    let read: Vec<_> = readable
        .map(|register| (register.name, driver.read(register.offset)))
        .collect();
    assert_eq!(read, expected);
    driver.write(mmio::SHM_SEL, 3);
    let read = |register| driver.read(register);
    let shared = [
        mmio::SHM_LEN_LOW,
        mmio::SHM_LEN_HIGH,
        mmio::SHM_BASE_LOW,
        mmio::SHM_BASE_HIGH,
    ]
    .map(read);
    assert_eq!(shared, [0x2345_6000, 1, 0x8000_0000, 7]);
    driver.write(mmio::SHM_SEL, 0x103);
    assert_eq!(driver.read(mmio::SHM_LEN_LOW), u32::MAX);
}

#[test]
fn legacy_registers_read_what_they_are() {
    let mut driver = legacy_in(Phase::Reset);
    let expected = [
        ("MagicValue", 0x7472_6976),
        ("Version", 1),
        ("DeviceID", 2),
        ("VendorID", 0x554d_4551),
        ("HostFeatures", driver.mmio.core.offered_features().word(0)),
        ("QueueSizeMax", 512),
        ("QueuePFN", 0),
        ("InterruptStatus", 0),
        ("Status", 0),
    ];
    let readable = legacy::REGISTERS
        .iter()
        .filter(|register| register.access.readable());
    let read: Vec<_> = readable
        .map(|register| (register.name, driver.read(register.offset)))
        .collect();
    assert_eq!(read, expected);
}

/// `dev:core:feature-bits:03`: only words 0 to 3 have bits; a legacy device has those of word 0.
#[test]
fn features_are_shown_word_by_word() {
    for (phase, version) in [(Phase::Driver, 2), (Phase::Driver, 1)] {
        let mut driver = if version == 2 {
            modern_in(phase)
        } else {
            legacy_in(phase)
        };
        let offered = driver.mmio.core.offered_features();
        for word in [0, 1, 2, 3, 4, 0x8000_0000, u32::MAX] {
            driver.write(mmio::DEVICE_FEATURES_SEL, word);
            assert_eq!(
                driver.read(mmio::DEVICE_FEATURES),
                offered.word(word),
                "word {word}"
            );
        }
        assert_eq!(offered.contains(feature::VERSION_1), version == 2);
        assert_eq!(offered.contains(feature::ANY_LAYOUT), version == 1);
    }
}

#[test]
fn a_queue_that_is_not_there_is_not_available() {
    for version in [Version::Modern, Version::Legacy] {
        for queue in [2, 0xffff, 0x1_0000, u32::MAX] {
            let mut driver = Driver::with_options(device(), feature::VERSION_1, options(version));
            driver.write(mmio::QUEUE_SEL, 1);
            assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 512);
            driver.write(mmio::QUEUE_SEL, queue);
            assert_eq!(driver.read(mmio::QUEUE_SIZE_MAX), 0, "queue {queue:#x}");
            let before = state(&mut driver);
            for register in [
                mmio::QUEUE_SIZE,
                mmio::QUEUE_READY,
                mmio::QUEUE_RESET,
                mmio::QUEUE_DESC_LOW,
                mmio::QUEUE_DRIVER_HIGH,
                legacy::QUEUE_ALIGN,
                legacy::QUEUE_PFN,
            ] {
                driver.write(register, 1);
            }
            driver.write(mmio::QUEUE_NOTIFY, queue);
            assert!(state(&mut driver) == before, "queue {queue:#x}");
            assert_eq!(driver.read(mmio::QUEUE_READY), 0);
            assert_eq!(driver.read(legacy::QUEUE_PFN), 0);
        }
    }
}

/// `drv:mmio:mmio-device-register-layout:10` forbids them.
#[test]
fn a_queue_that_is_ready_cannot_be_set_up() {
    let mut driver = modern_in(Phase::DriverOk);
    let before = state(&mut driver);
    for register in [
        mmio::QUEUE_SIZE,
        mmio::QUEUE_READY,
        mmio::QUEUE_DESC_LOW,
        mmio::QUEUE_DESC_HIGH,
        mmio::QUEUE_DRIVER_LOW,
        mmio::QUEUE_DRIVER_HIGH,
        mmio::QUEUE_DEVICE_LOW,
        mmio::QUEUE_DEVICE_HIGH,
    ] {
        driver.write(register, 1);
        assert!(state(&mut driver) == before, "register {register:#x}");
    }
    driver.write(mmio::QUEUE_READY, 2);
    assert!(state(&mut driver) == before);
}
