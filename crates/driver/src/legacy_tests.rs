//! The four drivers over legacy interfaces, of guests of both byte orders: the sections named "Legacy Interface".

use alloc::sync::Arc;
use core::mem::offset_of;
use std::vec;
use std::vec::Vec;

use ringwright_memory::Area;
use ringwright_ring::ByteOrder;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, block, console, feature, network};

use zerocopy::IntoBytes;

use crate::block::{Block, Request};
use crate::console::{Console, Size};
use crate::entropy::Entropy;
use crate::field::Field;
use crate::network::{Network, Sent};
use crate::testing::{Call, Fake};
use crate::{DriverError, Legacy, Options};

const LENGTH: usize = 1 << 20;

/// What a legacy device offers of the ring's features.
const OFFERS: [Features; 3] = [
    Features::NONE,
    feature::ANY_LAYOUT,
    Features(feature::ANY_LAYOUT.0 | feature::EVENT_IDX.0 | feature::INDIRECT_DESC.0),
];

fn interfaces() -> impl Iterator<Item = Legacy> {
    [ByteOrder::Little, ByteOrder::Big]
        .into_iter()
        .flat_map(|byte_order| {
            [false, true].map(|fixed_queue_size| Legacy {
                byte_order,
                fixed_queue_size,
            })
        })
}

/// A legacy device with virtqueues of 16 descriptors.
fn device(id: u32, offered: Features, legacy: Legacy) -> Fake {
    let fake = Fake::new(id, offered, &[16; 3], LENGTH);
    fake.board().legacy = Some(legacy);
    fake
}

fn put<F: Field>(fake: &Fake, offset: usize, field: F) {
    let mut board = fake.board();
    let order = board.legacy.unwrap().byte_order;
    let bytes = field.in_order(order);
    board.config[offset..][..size_of::<F>()].copy_from_slice(bytes.as_bytes());
}

fn get<F: Field>(bytes: &[u8], legacy: Legacy) -> F {
    F::read_from_bytes(bytes).unwrap().in_order(legacy.byte_order)
}

/// All that a driver wrote to the status.
fn steps(fake: &Fake) -> Vec<u8> {
    let status = |call: &Call| match call {
        Call::Status(status) => Some(*status),
        _ => None,
    };
    fake.board().log.iter().filter_map(status).collect()
}

fn options() -> Options {
    Options {
        queue_size: 8,
        ..Options::default()
    }
}

fn entropy(fake: &Fake, area: &Arc<Area>) -> Entropy<Fake> {
    Entropy::new(fake.clone(), area, options()).unwrap()
}

#[test]
fn entropy_over_legacy_interfaces() {
    for legacy in interfaces() {
        for offered in OFFERS {
            let fake = device(4, offered, legacy);
            let mut driver = entropy(&fake, &fake.area());
            assert_eq!(driver.session().features(), offered);
            assert!(driver.session().is_legacy());
            let mut device = fake.device(0);
            driver
                .request(fake.area().allocate(8, 1).unwrap())
                .unwrap()
                .unwrap();
            device.put(&[1, 2, 3]);
            assert_eq!(driver.poll().unwrap().unwrap().1, 3);
            // A length that cannot be: cut to what can be (section 2.7.8.1).
            driver
                .request(fake.area().allocate(8, 1).unwrap())
                .unwrap()
                .unwrap();
            device.put(&[1, 2, 3]);
            device.overstate(4000);
            assert_eq!(driver.poll().unwrap().unwrap().1, 8);
            drop(driver);
            // Section 3.1.2: no FEATURES_OK.
            assert_eq!(steps(&fake), [0, 1, 1 | 2, 1 | 2 | 4, 0]);
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn queue_sizes_of_legacy_interfaces() {
    // Whether the size is fixed, what the device has, what is taken of it.
    let cases = [
        (false, 16, Some(8)),
        (false, 4, Some(4)),
        (false, 6, Some(4)),
        (true, 16, Some(16)),
        (true, 4, Some(4)),
        (true, 32768, Some(32768)),
        (true, 6, None),
        (true, 0, None),
        (true, 0xffff, None),
        (false, 0, None),
    ];
    for (fixed_queue_size, found, expected) in cases {
        let fake = Fake::new(4, Features::NONE, &[found], 4 << 20);
        fake.board().legacy = Some(Legacy {
            byte_order: ByteOrder::NATIVE,
            fixed_queue_size,
        });
        match (Entropy::new(fake.clone(), &fake.area(), options()), expected) {
            (Ok(_driver), Some(size)) => {
                let layout = fake.layout(0).unwrap();
                assert_eq!(layout.size, size);
                // Section 2.7.2: one piece, the parts one after the other, the used ring on the next page.
                let page = layout.page_frame_number(4096).unwrap();
                let legacy = ringwright_ring::Layout::legacy(page, 4096, size, 4096);
                assert_eq!(legacy, Some(layout));
            }
            (Err(DriverError::QueueTooSmall { .. }), None) => {
                assert!(fake.status_now().contains(Status::FAILED));
            }
            (outcome, _) => panic!("{fixed_queue_size} {found}: {:?}", outcome.err()),
        }
    }
}

#[test]
fn only_low_features_and_any_layout_if_it_is_offered() {
    let legacy = Legacy {
        byte_order: ByteOrder::NATIVE,
        fixed_queue_size: false,
    };
    // Whatever a device says beyond bit 31 is not for legacy interfaces, and some bits are to be left alone.
    let fake = device(4, Features(u128::MAX) - feature::VERSION_1, legacy);
    let none = Options {
        accept: Features::NONE,
        ..Options::default()
    };
    let mut driver = Entropy::new(fake.clone(), &fake.area(), Options::default()).unwrap();
    let expected = feature::ANY_LAYOUT | feature::EVENT_IDX | feature::INDIRECT_DESC;
    assert_eq!(driver.session().features(), expected);
    drop(driver);
    let mut driver = Entropy::new(fake.clone(), &fake.area(), none).unwrap();
    assert_eq!(driver.session().features(), feature::ANY_LAYOUT);
    drop(driver);
    // Without a legacy interface there is no way.
    fake.board().legacy = None;
    let refused = Entropy::new(fake.clone(), &fake.area(), none);
    assert!(matches!(refused.err(), Some(DriverError::Legacy)));
    assert!(fake.status_now().contains(Status::FAILED));
}

#[test]
fn configuration_is_read_until_two_reads_agree() {
    for legacy in interfaces() {
        let fake = device(4, Features::NONE, legacy);
        let mut driver = entropy(&fake, &fake.area());
        put(&fake, 8, 0x0102_0304_0506_0708_u64);
        fake.board().changes = 1;
        let calls = fake.calls();
        let found: u64 = driver.session().config(8).unwrap();
        assert_eq!((found, fake.calls() - calls), (0x0203_0405_0607_0809, 3));
        let parts = driver.session().config::<[u16; 4]>(8).unwrap();
        let expected = match legacy.byte_order {
            ByteOrder::Little => [0x0809, 0x0607, 0x0405, 0x0203],
            ByteOrder::Big => [0x0203, 0x0405, 0x0607, 0x0809],
        };
        assert_eq!(parts, expected);
        driver.session().write_config(8, 0x1122_u16).unwrap();
        assert_eq!(get::<u16>(&fake.board().config[8..10], legacy), 0x1122);
        fake.board().config.fill(0);
        fake.board().changes = 200;
        assert!(driver.session().config::<u64>(8).is_err());
    }
}

#[test]
fn block_over_legacy_interfaces() {
    for legacy in interfaces() {
        for offered in OFFERS {
            let features = block::features::FLUSH | block::features::BLK_SIZE;
            let fake = device(2, offered | features, legacy);
            put(&fake, offset_of!(block::Config, capacity), 0x1_0000_u64);
            put(&fake, offset_of!(block::Config, blk_size), 4096_u32);
            let mut disk = Block::new(fake.clone(), &fake.area(), 1, options()).unwrap();
            let geometry = disk.geometry();
            assert_eq!((geometry.capacity, geometry.block_size), (0x1_0000, 4096));
            let mut device = fake.device(0);
            let write = Request::write(0x1234, fake.area().allocate(512, 1).unwrap());
            let read = Request::read(0x4321, fake.area().allocate(512, 1).unwrap());
            disk.submit(0, write, 1).unwrap();
            disk.submit(0, read, 2).unwrap();
            disk.publish(0).unwrap();
            let mut heads = Vec::new();
            device.serve(9, |readable, writable| {
                heads.push((
                    get::<u32>(&readable[..4], legacy),
                    get::<u64>(&readable[8..16], legacy),
                ));
                writable.fill(0, writable.len(), 0).unwrap();
                0
            });
            // Lengths that legacy devices give: of the whole chain, and none at all.
            device.overstate(529);
            assert_eq!(heads, [(1, 0x1234), (0, 0x4321)]);
            // Section 5.2.6.5: header, data and status apart.
            assert_eq!(
                device.shapes,
                [[vec![16, 512], vec![1]], [vec![16], vec![512, 1]]]
            );
            for tag in [1, 2] {
                let completion = disk.poll(0).unwrap().unwrap();
                assert_eq!((completion.tag, completion.result), (tag, Ok(())));
            }
            drop(disk);
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn console_over_legacy_interfaces() {
    for legacy in interfaces() {
        for offered in OFFERS {
            let offered = offered | console::features::SIZE | console::features::EMERG_WRITE;
            let mut fake = device(3, offered, legacy);
            put(&fake, offset_of!(console::Config, cols), [80_u16, 25]);
            assert!(crate::console::emergency_write(&mut fake, b'!').unwrap());
            let emergency = offset_of!(console::Config, emerg_wr);
            assert_eq!(
                get::<u32>(&fake.board().config[emergency..][..4], legacy),
                u32::from(b'!')
            );
            let mut driver = Console::new(fake.clone(), &fake.area(), options()).unwrap();
            let (columns, rows) = (80, 25);
            assert_eq!(driver.size().unwrap(), Some(Size { columns, rows }));
            let (mut receive, mut transmit) = (fake.device(0), fake.device(1));
            receive.put(b"in");
            let mut into = [0; 9];
            assert_eq!((driver.read(&mut into).unwrap(), &into[..2]), (2, &b"in"[..]));
            driver.write(b"out").unwrap();
            // The length of a transmitted buffer, which the driver ignores (section 5.3.6.3).
            transmit.serve(9, |_, _| 0);
            transmit.overstate(3);
            assert!(driver.flushed().unwrap());
            assert_eq!(transmit.shapes, [[vec![3], vec![]]]);
            drop(driver);
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn network_over_legacy_interfaces() {
    for legacy in interfaces() {
        for ring in OFFERS {
            for mergeable in [Features::NONE, network::features::MRG_RXBUF] {
                let offered = ring | mergeable | network::features::STATUS | network::features::MAC;
                let fake = device(1, offered, legacy);
                put(&fake, offset_of!(network::Config, mac), [2_u8, 3, 4, 5, 6, 7]);
                put(&fake, offset_of!(network::Config, status), 1_u16);
                let mut driver = Network::new(fake.clone(), &fake.area(), options()).unwrap();
                assert_eq!(driver.mac(), Some([2, 3, 4, 5, 6, 7]));
                assert!(driver.link_up().unwrap());
                // Section 5.1.9.1: num_buffers is there only with MRG_RXBUF.
                let header = if mergeable.is_empty() { 10 } else { 12 };
                let (mut receive, mut transmit) = (fake.device(0), fake.device(1));
                for round in 0..40 {
                    assert_eq!(driver.send(&[round; 60]).unwrap(), Sent::Queued);
                    driver.publish().unwrap();
                    let served = transmit.serve(9, |readable, _| {
                        assert_eq!(readable[..header], vec![0; header]);
                        assert_eq!(readable[header..], [round; 60]);
                        0
                    });
                    // The length of the whole, which the driver ignores (section 5.1.9.1).
                    transmit.overstate(70);
                    assert_eq!(served, 1);
                    let mut bytes = vec![0; 10];
                    if header == 12 {
                        bytes.extend(2_u16.in_order(legacy.byte_order).as_bytes());
                    }
                    bytes.extend([round; 50]);
                    receive.put(&bytes);
                    if header == 12 {
                        receive.put(&[round; 9]);
                    }
                    let mut into = [0; 99];
                    let length = driver.receive(&mut into).unwrap().unwrap();
                    assert_eq!(length, if header == 12 { 59 } else { 50 });
                    assert_eq!(into[..length], vec![round; length]);
                    assert_eq!(driver.receive(&mut into).unwrap(), None);
                    driver.publish().unwrap();
                }
                // Section 5.1.9.13: without ANY_LAYOUT the header has a descriptor of its own.
                let (sent, received) = (&transmit.shapes[0][0], &receive.shapes[0][1]);
                if ring.contains(feature::ANY_LAYOUT) {
                    assert_eq!((sent.len(), received.len()), (1, 1));
                } else {
                    assert_eq!((sent, received[0]), (&vec![header, 60], header));
                    assert_eq!(received.len(), 2);
                }
                drop(driver);
                assert!(fake.is_area_whole());
            }
        }
    }
}
