//! Tests of a whole function. The fake function itself checks how it is used.

mod discovery;
mod fake;
mod fake_hierarchy;
mod hierarchy;
mod interrupts;

use alloc::boxed::Box;
use alloc::sync::Arc;
use std::sync::Mutex;
use std::vec::Vec;

use ringwright_memory::Width;
use ringwright_ring::{ByteOrder, DriverQueue, Layout};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use self::fake::{BAR, BarSpace, ConfigSpace, Fake, IO_BAR, MODERN, NOTIFY};
use super::*;
use crate::init::Setup;
use crate::testing::lives::{self, IDS, Shared};
use crate::testing::model::Model;
use crate::testing::stairs::STAIRS;
use crate::transport::{Interrupt, Transport};
use crate::{DriverError, Options as DriverOptions};

type Device = Pci<ConfigSpace, BarSpace>;

/// The device id of a type with a transitional PCI device id, and of the type of tests that need none of these.
const ENTROPY: u32 = 4;

fn try_probe(fake: &Fake, options: Options) -> Result<Option<Device>, TransportError> {
    Pci::probe(ConfigSpace(fake.clone()), fake.map(), options)
}

fn probe_with(fake: &Fake, options: Options) -> Device {
    try_probe(fake, options).unwrap().unwrap()
}

fn probe(fake: &Fake) -> Device {
    probe_with(fake, Options::default())
}

/// Messages that arrive when a test says so, for the first vectors.
#[derive(Clone, Default)]
struct Mailbox {
    most: u16,
    asked: Arc<Mutex<Vec<u16>>>,
    arrived: Arc<Mutex<Vec<u16>>>,
}

impl Mailbox {
    fn new(most: u16) -> Self {
        Self {
            most,
            ..Self::default()
        }
    }

    fn options(&self) -> Options {
        Options {
            interrupts: Interrupts::Messages(Box::new(self.clone())),
            ..Options::default()
        }
    }

    fn arrive(&self, vector: u16) {
        self.arrived.lock().unwrap().push(vector);
    }
}

impl Messages for Mailbox {
    fn message(&mut self, vector: u16) -> Option<Message> {
        self.asked.lock().unwrap().push(vector);
        (vector < self.most).then(|| Message {
            address: 0x1_fee0_0000 + u64::from(vector),
            data: 0x4000 + u32::from(vector),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        let mut arrived = self.arrived.lock().unwrap();
        let before = arrived.len();
        arrived.retain(|other| *other != vector);
        arrived.len() != before
    }
}

fn drive(fake: &Fake, shared: &Shared, options: Options) -> Result<(), DriverError> {
    let options = Options {
        guest: shared.guest,
        ..options
    };
    let transport = try_probe(fake, options)?.unwrap();
    let with_model = |f: &mut dyn FnMut(&mut Model)| f(&mut fake.board().model);
    lives::live(transport, shared, with_model, Features(u128::MAX))
}

/// Drives a device of every type by every kind of interrupts; `make` makes it.
fn drive_all(make: impl Fn(u32) -> Fake, shared: impl Fn() -> Shared, prefer_legacy: bool) {
    for id in IDS {
        let interrupts: [fn() -> Interrupts; 3] = [
            || Interrupts::Polling,
            || Interrupts::Pin,
            || Interrupts::Messages(Box::new(Mailbox::new(2048))),
        ];
        for interrupts in interrupts {
            let (fake, shared) = (make(id), shared());
            if prefer_legacy {
                fake.board().choose_legacy();
            }
            lives::configure(&mut fake.board().model, shared.guest);
            let options = Options {
                interrupts: interrupts(),
                prefer_legacy,
                ..Options::default()
            };
            drive(&fake, &shared, options).unwrap();
            assert_eq!(fake.board().model.status, Status::NONE);
            assert!(shared.is_whole());
        }
    }
}

fn offers() -> [Features; 4] {
    [
        feature::VERSION_1,
        MODERN | feature::EVENT_IDX | feature::NOTIFICATION_DATA,
        MODERN | feature::RING_PACKED | feature::NOTIF_CONFIG_DATA,
        Features(u128::MAX) - feature::DEVICE_TYPE_BITS,
    ]
}

/// drv:pci:common-configuration-structure-layout:01, :02, :03, :04, :05, :06, drv:pci:pci-device-layout:01, drv:pci:virtio-structure-pci-capabilities:07
#[test]
fn every_driver_over_modern_devices() {
    for offered in offers() {
        drive_all(
            |id| Fake::modern(id, offered | lives::features(id), &[64; 3]),
            Shared::new,
            false,
        );
        drive_all(
            |id| Fake::transitional(id, offered | lives::features(id), &[64; 3]),
            Shared::new,
            false,
        );
    }
}

#[test]
fn every_driver_over_legacy_devices_and_the_legacy_interface_of_transitional_ones() {
    for guest in [ByteOrder::Little, ByteOrder::Big] {
        let shared = || Shared::at(0x8_1000_0000, guest);
        for offered in [Features::NONE, feature::ANY_LAYOUT | feature::EVENT_IDX] {
            drive_all(
                |id| Fake::legacy(id, offered | lives::features(id), &[64; 3]),
                shared,
                false,
            );
            // Only bits 0 to 31 are to be seen.
            let offered = offered | MODERN;
            drive_all(
                |id| Fake::transitional(id, offered | lives::features(id), &[64; 3]),
                shared,
                true,
            );
        }
    }
}

/// drv:pci:pci-configuration-access-capability:01, drv:pci:pci-configuration-access-capability:02
#[test]
fn every_driver_through_the_window_in_configuration_space() {
    for offered in offers() {
        drive_all(
            |id| {
                let fake = Fake::modern(id, offered | lives::features(id), &[64; 3]);
                fake.board().reaches = [false; 2];
                fake
            },
            Shared::new,
            false,
        );
    }
    // BARs without an address are not asked for.
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().config[header::BAR0..header::BAR0 + 24].fill(0);
    let register = header::BAR0 + 4 * usize::from(BAR);
    fake.board().config[register] = 0xc;
    drive(&fake, &Shared::new(), Options::default()).unwrap();
    let log = fake.board().log.clone();
    assert!(log.iter().all(|(bar, _)| *bar == 0xff));
    // The window does not lead to a legacy interface.
    for fake in [
        Fake::legacy(ENTROPY, Features::NONE, &[8]),
        Fake::transitional(ENTROPY, Features::NONE, &[8]),
    ] {
        fake.board().reaches = [false, true];
        let options = Options {
            prefer_legacy: true,
            ..Options::default()
        };
        let refused = try_probe(&fake, options).err();
        assert!(matches!(refused, Some(TransportError::Unsupported(_))));
    }
}

#[test]
fn any_access_can_fail() {
    for id in IDS {
        let makes: [fn(u32) -> Fake; 3] = [
            |id| Fake::modern(id, MODERN | lives::features(id), &[64; 3]),
            |id| Fake::legacy(id, lives::features(id), &[64; 3]),
            |id| {
                let fake = Fake::modern(id, MODERN | lives::features(id), &[64; 3]);
                fake.board().reaches = [false; 2];
                fake
            },
        ];
        for make in makes {
            let device = || {
                let fake = make(id);
                lives::configure(&mut fake.board().model, ByteOrder::Little);
                fake
            };
            let fake = device();
            drive(&fake, &Shared::new(), Mailbox::new(9).options()).unwrap();
            let accesses = fake.board().log.len();
            for number in 0..accesses {
                let (fake, shared) = (device(), Shared::new());
                fake.board().faults = number..number + 1;
                match drive(&fake, &shared, Mailbox::new(9).options()) {
                    Err(DriverError::Transport(TransportError::Os(5))) => {}
                    // The reset at the end is told to nobody; through the window it takes more accesses.
                    Ok(()) => assert!(number + 40 > accesses, "{number} of {accesses}"),
                    Err(error) => panic!("{number}: {error}"),
                }
            }
        }
    }
}

/// A device of type `STAIRS` that has been initialized up to its virtqueues.
fn set_up(fake: &Fake, shared: &Shared, options: Options) -> Setup<Device> {
    let driver_options = DriverOptions::default();
    let transport = probe_with(fake, options);
    Setup::begin(
        transport,
        &shared.area,
        &STAIRS_AS_ENTROPY,
        Features::NONE,
        driver_options,
    )
    .unwrap()
}

/// The type of tests, under a device id that PCI has.
static STAIRS_AS_ENTROPY: ringwright_spec::DeviceType = ringwright_spec::DeviceType {
    id: ENTROPY,
    ..STAIRS
};

#[test]
fn a_virtqueue_is_where_the_driver_says() {
    for packed in [false, true] {
        let offered = match packed {
            true => MODERN | feature::RING_PACKED,
            false => MODERN,
        };
        let (fake, shared) = (Fake::modern(ENTROPY, offered, &[8, 100]), Shared::new());
        let mut setup = set_up(&fake, &shared, Options::default());
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
fn a_legacy_virtqueue_has_the_size_that_the_device_says() {
    let (fake, shared) = (Fake::legacy(ENTROPY, Features::NONE, &[512, 4]), Shared::new());
    let mut setup = set_up(&fake, &shared, Options::default());
    let queue: DriverQueue<()> = setup.queue(0, 1).unwrap();
    assert_eq!(queue.layout().size, 512);
    assert_eq!(fake.board().model.layout(0), Some(queue.layout()));
    let device = setup.session().transport();
    let smaller = Layout::legacy(0x1_0000, 4096, 2, 4096).unwrap();
    assert_eq!(device.enable_queue(1, &smaller), Err(TransportError::NoQueue(1)));
    let low = Layout::legacy(0, 4096, 4, 4096).unwrap();
    assert!(matches!(
        device.enable_queue(1, &low),
        Err(TransportError::Unsupported(_))
    ));
    let again = device.enable_queue(0, &queue.layout());
    assert!(matches!(again, Err(TransportError::Protocol(_))));
    assert!(device.reset_queue(0).is_err() && device.queue_is_reset(0).is_err());
    assert!(device.config_generation().is_err());
    assert_eq!(device.shared_memory(0), Ok(None));
    assert_eq!(fake.board().model.layout(1), None);
}

#[test]
fn queues_that_are_not_there_too_small_or_in_use() {
    let (fake, shared) = (Fake::modern(ENTROPY, MODERN, &[8, 0]), Shared::new());
    let mut setup = set_up(&fake, &shared, Options::default());
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
    for (index, size) in [(0, 16), (1, 1), (2, 8)] {
        let refused = device.enable_queue(index, &layout(size));
        assert_eq!(refused, Err(TransportError::NoQueue(index)));
    }
    device.enable_queue(0, &layout(8)).unwrap();
    let again = device.enable_queue(0, &layout(8));
    assert!(matches!(again, Err(TransportError::Protocol(_))));
}

/// drv:pci:available-buffer-notifications:01, :02, :03, :04, :05, :06
#[test]
fn notifications_go_where_and_say_what_the_device_wants() {
    let cases = [
        (MODERN, [1, 0]),
        (MODERN | feature::NOTIF_CONFIG_DATA, [0x701, 0x700]),
        (MODERN | feature::NOTIFICATION_DATA, [0x8005_0001, 0x0007_0000]),
        (
            MODERN | feature::NOTIFICATION_DATA | feature::NOTIF_CONFIG_DATA,
            [0x8005_0701, 0x0007_0700],
        ),
    ];
    for (features, expected) in cases {
        for (multiplier, offs, places) in [(4, [0, 1], [4, 0]), (0, [7, 9], [0, 0]), (16, [3, 2], [32, 48])] {
            let fake = Fake::modern(ENTROPY, features, &[8, 8]);
            fake.board().notify_off = offs.to_vec();
            let notify = fake.board().capabilities.len() - 2;
            fake.board().capabilities[notify][16] = multiplier;
            fake.board().seal();
            let shared = Shared::new();
            let mut setup = set_up(&fake, &shared, Options::default());
            let _queues: [DriverQueue<()>; 2] = [setup.queue(0, 1).unwrap(), setup.queue(1, 1).unwrap()];
            let mut session = setup.finish().unwrap();
            let device = session.transport();
            device.notify(1, 0x8005_0001).unwrap();
            device.notify(0, 0x0007_0000).unwrap();
            assert_eq!(device.notify(2, 2), Err(TransportError::NoQueue(2)));
            let notified = fake.board().model.notified.clone();
            assert_eq!(notified, [(places[0], expected[0]), (places[1], expected[1])]);
        }
    }
}

#[test]
fn notifications_do_not_leave_their_structure() {
    for features in [MODERN, MODERN | feature::NOTIFICATION_DATA] {
        for (multiplier, off, length, fits) in [
            (4, 63, 0x100, true),
            (4, 64, 0x100, false),
            (0xfffc, 0xffff, 0x100, false),
            (0, 0xffff, 4, true),
            // A device without NOTIFICATION_DATA may do with less.
            (2, 1, 4, !features.contains(feature::NOTIFICATION_DATA)),
            (1, 1, 0x100, false),
        ] {
            let fake = Fake::modern(ENTROPY, features, &[8]);
            fake.board().notify_off = [off].to_vec();
            let notify = fake.board().capabilities.len() - 2;
            let multiplier: u32 = multiplier;
            let capability = fake::capability(
                ringwright_spec::pci::CfgType::NOTIFY_CFG,
                BAR,
                0,
                NOTIFY,
                length,
                &[multiplier],
            );
            fake.board().capabilities[notify] = capability;
            fake.board().seal();
            let shared = Shared::new();
            let mut setup = set_up(&fake, &shared, Options::default());
            let queue = setup.queue::<()>(0, 1);
            assert_eq!(queue.is_ok(), fits, "{multiplier} {off} {length}");
            if let Err(error) = queue {
                assert!(matches!(
                    error,
                    DriverError::Transport(TransportError::Protocol(_))
                ));
                assert_eq!(fake.board().model.layout(0), None);
            }
        }
    }
}

/// drv:pci:common-configuration-structure-layout:07
#[test]
fn a_queue_is_reset_and_enabled_again() {
    let (fake, shared) = (Fake::modern(ENTROPY, MODERN, &[8]), Shared::new());
    let mut setup = set_up(&fake, &shared, Mailbox::new(9).options());
    let mut queue: DriverQueue<()> = setup.queue(0, 1).unwrap();
    let mut session = setup.finish().unwrap();
    drop(session.reset_queue(0, &mut queue).unwrap());
    assert_eq!(fake.board().model.layout(0), None);
    session.enable_queue(0, &queue).unwrap();
    assert_eq!(fake.board().model.layout(0), Some(queue.layout()));
    // drv:core:virtqueue-re-enable:01: its vector, too.
    assert_eq!(fake.board().model.queues[0].vector, 1);
}

/// drv:core:virtqueue-reset:01
#[test]
fn a_queue_reset_that_the_device_does_not_know_is_not_believed() {
    let (fake, shared) = (Fake::modern(ENTROPY, MODERN, &[8]), Shared::new());
    let mut setup = set_up(&fake, &shared, Options::default());
    let mut queue: DriverQueue<()> = setup.queue(0, 1).unwrap();
    let mut session = setup.finish().unwrap();
    fake.board().model.cannot_reset_queues = true;
    let refused = session.reset_queue(0, &mut queue).err();
    assert!(matches!(
        refused,
        Some(DriverError::Transport(TransportError::Protocol(_)))
    ));
}

/// drv:pci:pci-device-layout:01
#[test]
fn configuration_is_accessed_by_the_width_of_its_fields() {
    for fake in [
        Fake::modern(ENTROPY, MODERN, &[8]),
        Fake::legacy(ENTROPY, MODERN, &[8]),
    ] {
        fake.board().model.config = (0..64).collect();
        let mut device = probe(&fake);
        let base = match device.legacy() {
            Some(_) => 20,
            None => 0x2000,
        };
        let mut bytes = [0; 8];
        for (width, accesses) in [(Width::One, 8), (Width::Two, 4), (Width::Four, 2)] {
            let start = fake.board().log.len();
            device.read_config(8, width, &mut bytes).unwrap();
            assert_eq!(bytes, [8, 9, 10, 11, 12, 13, 14, 15]);
            device.write_config(16, width, &bytes).unwrap();
            let log: Vec<u64> = fake.board().log[start..].iter().map(|(_, at)| *at).collect();
            let expected: Vec<u64> = [8, 16]
                .into_iter()
                .flat_map(|at| (0..accesses).map(move |n| base + at + n * width as u64))
                .collect();
            assert_eq!(log, expected);
            assert_eq!(fake.board().model.config[16..24], bytes);
        }
        // Beyond its end.
        assert!(device.read_config(0x80, Width::One, &mut [0]).is_err());
        assert!(device.write_config(0x80, Width::One, &[0]).is_err());
    }
    // A device type without configuration space.
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().capabilities.remove(3);
    fake.board().seal();
    let mut device = probe(&fake);
    let none = Err(TransportError::Config { offset: 0, length: 1 });
    assert_eq!(device.read_config(0, Width::One, &mut [0]), none);
    assert_eq!(device.write_config(0, Width::One, &[0]), none);
}

#[test]
fn a_function_that_was_pulled_out_is_gone() {
    for fake in [
        Fake::modern(ENTROPY, MODERN, &[8]),
        Fake::legacy(ENTROPY, MODERN, &[8]),
    ] {
        let mut device = probe(&fake);
        fake.board().model.status = Status(0xff);
        assert_eq!(device.status(), Ok(Status(0xff)));
        fake.board().gone = true;
        assert_eq!(device.status(), Err(TransportError::Gone));
    }
}

#[test]
fn the_configuration_generation_is_read() {
    let fake = Fake::modern(ENTROPY, MODERN, &[8]);
    fake.board().model.generation = 0xfe;
    assert_eq!(probe(&fake).config_generation(), Ok(0xfe));
}

#[test]
fn features_that_the_common_configuration_has_no_fields_for() {
    for (length, lacking) in [
        (56, feature::NOTIF_CONFIG_DATA | feature::RING_RESET),
        (58, feature::RING_RESET),
        (60, Features::NONE),
        (64, Features::NONE),
    ] {
        let fake = Fake::modern(ENTROPY, MODERN, &[8]);
        fake.board().capabilities[1][12] = length;
        fake.board().seal();
        let never = feature::ADMIN_VQ | feature::SR_IOV;
        assert_eq!(probe(&fake).unsupported_features(), never | lacking);
    }
    let fake = Fake::legacy(ENTROPY, Features(u128::MAX), &[8]);
    assert_eq!(probe(&fake).device_features(), Ok(feature::LEGACY_BITS));
    let fake = Fake::modern(ENTROPY, Features(u128::MAX), &[8]);
    assert_eq!(probe(&fake).device_features(), Ok(Features(u128::MAX)));
}
