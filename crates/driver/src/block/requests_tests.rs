//! Every request as the device sees it, and which of them it never sees.

use std::vec;
use std::vec::Vec;

use ringwright_memory::Buffer;
use ringwright_ring::ByteOrder;
use ringwright_spec::block::{PreEolInfo, ReqType};
use ringwright_spec::feature;
use zerocopy::IntoBytes;

use super::*;
use crate::Legacy;
use crate::testing::{Call, Device, FORMATS, Fake};

const CAPACITY: u64 = 4096;

/// A device with the given features of its type, whose configuration space is `config`.
pub(super) fn device_with(features: Features, config: &Config, size: u16) -> Fake {
    let fake = Fake::new(DEVICE.id, features, &[size], 1 << 20);
    fake.board().config = config.as_bytes().to_vec();
    fake
}

fn config() -> Config {
    Config {
        capacity: CAPACITY.into(),
        size_max: 8192.into(),
        seg_max: 4.into(),
        blk_size: 1024.into(),
        geometry: spec::Geometry {
            cylinders: 0x1234.into(),
            heads: 16,
            sectors: 63,
        },
        topology: spec::Topology {
            physical_block_exp: 2,
            alignment_offset: 1,
            min_io_size: 4.into(),
            opt_io_size: 0x1_0000.into(),
        },
        writeback: 1,
        max_discard_sectors: 100.into(),
        max_discard_seg: 2.into(),
        discard_sector_alignment: 8.into(),
        max_write_zeroes_sectors: 200.into(),
        max_write_zeroes_seg: 3.into(),
        write_zeroes_may_unmap: 1,
        max_secure_erase_sectors: 64.into(),
        max_secure_erase_seg: 4.into(),
        secure_erase_sector_alignment: 16.into(),
        ..Config::default()
    }
}

/// All features but zones and those of legacy devices.
const ALL: Features = Features(
    features::SIZE_MAX.0
        | features::SEG_MAX.0
        | features::GEOMETRY.0
        | features::BLK_SIZE.0
        | features::FLUSH.0
        | features::TOPOLOGY.0
        | features::CONFIG_WCE.0
        | features::DISCARD.0
        | features::WRITE_ZEROES.0
        | features::LIFETIME.0
        | features::SECURE_ERASE.0,
);

pub(super) fn drive(fake: &Fake, options: Options) -> (Block<Fake>, Device) {
    let disk = Block::new(fake.clone(), &fake.area(), 1, options).unwrap();
    (disk, fake.device(REQUESTQ1))
}

pub(super) fn buffer(fake: &Fake, length: usize) -> Buffer {
    let buffer = fake.area().allocate(length, 1).unwrap();
    buffer.write(0, &vec![0; length]).unwrap();
    buffer
}

fn ranges(fake: &Fake, list: &[Range]) -> Ranges {
    Ranges::new(buffer(fake, 16 * list.len().max(1)), list).unwrap()
}

const fn range(sector: u64, sectors: u32, unmap: bool) -> Range {
    Range {
        sector,
        sectors,
        unmap,
    }
}

/// What the device sees of a request: type, sector, what it reads after that, and how much it may write.
pub(super) type Seen = (u32, u64, Vec<u8>, usize);

/// Lets the device carry out what it has, answering with `answer` and status 0.
pub(super) fn see(device: &mut Device, answer: &[u8]) -> Vec<Seen> {
    let mut seen = Vec::new();
    device.serve(99, |readable, writable| {
        let (head, data) = readable.split_at(16);
        let kind = u32::from_le_bytes(head[..4].try_into().unwrap());
        assert_eq!(head[4..8], [0; 4], "reserved");
        let sector = u64::from_le_bytes(head[8..].try_into().unwrap());
        seen.push((kind, sector, data.to_vec(), writable.len()));
        let length = answer.len().min(writable.len() - 1);
        writable.write(0, &answer[..length]).unwrap();
        writable.write(writable.len() - 1, &[0]).unwrap();
        writable.len() as u32
    });
    seen
}

fn refusal(disk: &mut Block<Fake>, request: Request) -> Refusal {
    let refused = disk.submit(0, request, 0).unwrap_err();
    disk.publish(0).unwrap();
    refused.reason
}

/// drv:blk:device-operation:04, drv:blk:device-operation:05, drv:blk:device-operation:06,
/// drv:blk:device-operation:07, drv:blk:device-operation:08
#[test]
fn each_request_is_as_the_document_says() {
    for format in FORMATS {
        let fake = device_with(format | ALL, &config(), 64);
        let (mut disk, mut device) = drive(&fake, Options::default());
        let listed = [range(5, 3, false), range(1 << 11, 7, false)];
        let requests = [
            Request::read(3, vec![buffer(&fake, 512), buffer(&fake, 1024)]),
            Request::write(4, vec![buffer(&fake, 1024), buffer(&fake, 512)]),
            Request::flush(),
            Request::get_id(buffer(&fake, 20)),
            Request::get_lifetime(buffer(&fake, 6)),
            Request::discard(ranges(&fake, &listed)),
            Request::write_zeroes(ranges(&fake, &[range(9, 200, true)])),
            Request::secure_erase(ranges(&fake, &[range(32, 64, false)])),
        ];
        let count = requests.len();
        for (tag, request) in requests.into_iter().enumerate() {
            disk.submit(0, request, tag as u64).unwrap();
        }
        disk.publish(0).unwrap();
        let mut discarded = vec![0; 32];
        discarded[0] = 5;
        discarded[8] = 3;
        discarded[17] = 8;
        discarded[24] = 7;
        let mut zeroed = vec![0; 16];
        (zeroed[0], zeroed[8], zeroed[12]) = (9, 200, 1);
        let mut erased = vec![0; 16];
        (erased[0], erased[8]) = (32, 64);
        assert_eq!(
            see(&mut device, &[2, 0, 3, 0, 11, 0]),
            [
                (0, 3, vec![], 1537),
                (1, 4, vec![0; 1536], 1),
                (4, 0, vec![], 1),
                (8, 0, vec![], 21),
                (10, 0, vec![], 7),
                (11, 0, discarded, 1),
                (13, 0, zeroed, 1),
                (14, 0, erased, 1),
            ]
        );
        // One segment for each buffer, and nothing copied.
        assert_eq!(device.shapes[0], [vec![16], vec![512, 1024, 1]]);
        assert_eq!(device.shapes[1], [vec![16, 1024, 512], vec![1]]);
        for tag in 0..count as u64 {
            let completion = disk.poll(0).unwrap().unwrap();
            assert_eq!((completion.tag, completion.result), (tag, Ok(())));
            assert_eq!(completion.append_sector, None);
            let buffers = completion.data.into_buffers();
            match tag {
                0 | 1 => assert_eq!(buffers.len(), 2),
                2 => assert!(buffers.is_empty()),
                4 => {
                    let lifetime = Lifetime::read(&buffers[0], ByteOrder::Little).unwrap();
                    let expected = (PreEolInfo::WARNING, 3, 11);
                    assert_eq!(
                        (lifetime.pre_eol_info, lifetime.type_a, lifetime.type_b),
                        expected
                    );
                }
                _ => assert_eq!(buffers.len(), 1),
            }
        }
        drop(disk);
        assert!(fake.is_area_whole());
    }
}

/// drv:blk:device-operation:02, drv:blk:device-operation:06, drv:blk:device-operation:08, drv:blk:device-operation:09,
/// drv:blk:device-operation:10, drv:blk:device-operation:11, drv:blk:device-operation:14
#[test]
fn what_a_device_does_not_allow_is_not_sent() {
    let fake = device_with(feature::VERSION_1 | ALL, &config(), 64);
    let (mut disk, mut device) = drive(&fake, Options::default());
    let disk = &mut disk;
    let several =
        |lengths: &[usize]| -> Vec<Buffer> { lengths.iter().map(|length| buffer(&fake, *length)).collect() };
    let whole = |request, reason| (request, reason);
    let beyond = Refusal::BeyondCapacity(CAPACITY);
    let cases = [
        whole(Request::read(0, several(&[512; 5])), Refusal::Segments(5)),
        whole(
            Request::read(0, several(&[512, 8704])),
            Refusal::Segment {
                found: 8704,
                most: 8192,
            },
        ),
        whole(Request::read(0, several(&[512, 100])), Refusal::Length(612)),
        whole(Request::read(0, several(&[])), Refusal::Length(0)),
        whole(Request::write(CAPACITY - 1, several(&[512, 512])), beyond),
        whole(Request::get_id(buffer(&fake, 21)), Refusal::Length(21)),
        whole(Request::get_lifetime(buffer(&fake, 8)), Refusal::Length(8)),
        whole(
            Request::discard(ranges(&fake, &[range(0, 1, false); 3])),
            Refusal::Ranges { found: 3, most: 2 },
        ),
        whole(
            Request::discard(ranges(&fake, &[range(0, 101, false)])),
            Refusal::RangeTooLong {
                found: 101,
                most: 100,
            },
        ),
        whole(
            Request::discard(ranges(&fake, &[range(0, 1, true)])),
            Refusal::Unmap,
        ),
        whole(
            Request::discard(ranges(&fake, &[range(0, 1, false), range(CAPACITY, 1, false)])),
            beyond,
        ),
        whole(
            Request::discard(ranges(&fake, &[range(u64::MAX, 2, false)])),
            beyond,
        ),
        whole(
            Request::write_zeroes(ranges(&fake, &[range(0, 1, false); 4])),
            Refusal::Ranges { found: 4, most: 3 },
        ),
        whole(
            Request::write_zeroes(ranges(&fake, &[range(0, 201, false)])),
            Refusal::RangeTooLong {
                found: 201,
                most: 200,
            },
        ),
        whole(
            Request::secure_erase(ranges(&fake, &[range(0, 16, false); 5])),
            Refusal::Ranges { found: 5, most: 4 },
        ),
        whole(
            Request::secure_erase(ranges(&fake, &[range(8, 16, false)])),
            Refusal::Unaligned(16),
        ),
        whole(
            Request::secure_erase(ranges(&fake, &[range(16, 15, false)])),
            Refusal::Unaligned(16),
        ),
        whole(
            Request::secure_erase(ranges(&fake, &[range(16, 16, true)])),
            Refusal::Unmap,
        ),
        whole(Request::zone_report(0, buffer(&fake, 128)), Refusal::NotOffered),
        whole(Request::zone_reset_all(), Refusal::NotOffered),
        whole(Request::zone_append(0, buffer(&fake, 512)), Refusal::NotOffered),
        whole(
            Request::read(0, buffer(&fake, 512)).with_barrier(),
            Refusal::NotOffered,
        ),
        whole(
            Request::scsi_command(several(&[6, 96, 16]), 1),
            Refusal::NotOffered,
        ),
    ];
    for (number, (request, reason)) in cases.into_iter().enumerate() {
        assert_eq!(refusal(disk, request), reason, "case {number}");
    }
    // 16 bytes for each range: drv:blk:device-operation:07.
    assert!(Ranges::new(buffer(&fake, 17), &[range(0, 1, false)]).is_err());
    assert!(Ranges::new(buffer(&fake, 32), &[range(0, 1, false)]).is_err());
    assert!(see(&mut device, &[]).is_empty());
    assert!(!fake.board().log.contains(&Call::Notify(0)));
}

#[test]
fn requests_whose_feature_is_missing_are_not_sent() {
    let requests = |fake: &Fake| {
        [
            (features::FLUSH, Request::flush()),
            (features::LIFETIME, Request::get_lifetime(buffer(fake, 6))),
            (
                features::DISCARD,
                Request::discard(ranges(fake, &[range(0, 16, false)])),
            ),
            (
                features::WRITE_ZEROES,
                Request::write_zeroes(ranges(fake, &[range(0, 16, false)])),
            ),
            (
                features::SECURE_ERASE,
                Request::secure_erase(ranges(fake, &[range(0, 16, false)])),
            ),
        ]
    };
    for number in 0..5 {
        for (offers, accepts) in [(true, true), (true, false), (false, true)] {
            let fake = device_with(feature::VERSION_1 | ALL, &config(), 64);
            let (feature, request) = requests(&fake).into_iter().nth(number).unwrap();
            if !offers {
                fake.board().offered = feature::VERSION_1 | (ALL - feature);
            }
            let mut options = Options::default();
            if !accepts {
                options.accept = options.accept - feature;
            }
            let (mut disk, _device) = drive(&fake, options);
            match disk.submit(0, request, 0) {
                Ok(()) => assert!(offers && accepts),
                Err(refused) => {
                    assert!(!(offers && accepts));
                    assert_eq!(refused.reason, Refusal::NotOffered);
                }
            }
        }
    }
    // A device that is read-only changes nothing, whatever it offers.
    let fake = device_with(feature::VERSION_1 | ALL | features::RO, &config(), 64);
    let (mut disk, _device) = drive(&fake, Options::default());
    for (_, request) in requests(&fake).into_iter().skip(2) {
        assert_eq!(refusal(&mut disk, request), Refusal::NotOffered);
    }
}

/// drv:core:device-configuration-space:02
#[test]
fn geometry_tells_all_that_is_negotiated_and_nothing_else() {
    let fake = device_with(feature::VERSION_1 | ALL, &config(), 64);
    let (disk, _device) = drive(&fake, Options::default());
    let limits = |sectors, ranges, alignment| {
        Some(RangeLimits {
            sectors,
            ranges,
            alignment,
        })
    };
    let all = Geometry {
        capacity: CAPACITY,
        block_size: 1024,
        segment_size: 8192,
        segments: 4,
        flush: true,
        switchable_cache: true,
        disk: Some(DiskGeometry {
            cylinders: 0x1234,
            heads: 16,
            sectors: 63,
        }),
        topology: Some(Topology {
            physical_block_exp: 2,
            alignment_offset: 1,
            min_io_size: 4,
            opt_io_size: 0x1_0000,
        }),
        discard: limits(100, 2, 8),
        write_zeroes: limits(200, 3, 0),
        write_zeroes_may_unmap: true,
        secure_erase: limits(64, 4, 16),
        lifetime: true,
        ..Geometry::default()
    };
    assert_eq!(disk.geometry(), all);
    let fake = device_with(feature::VERSION_1, &config(), 64);
    let (disk, _device) = drive(&fake, Options::default());
    let nothing = Geometry {
        capacity: CAPACITY,
        block_size: 512,
        segment_size: u32::MAX,
        segments: u32::MAX,
        ..Geometry::default()
    };
    assert_eq!(disk.geometry(), nothing);
}

#[test]
fn more_buffers_than_a_chain_has_room_for() {
    for (format, indirect) in [
        (feature::VERSION_1, 0),
        (feature::VERSION_1 | feature::RING_PACKED, 0),
        (feature::VERSION_1 | feature::INDIRECT_DESC, 16),
    ] {
        let fake = device_with(format, &config(), 8);
        let options = Options {
            indirect,
            ..Options::default()
        };
        let (mut disk, mut device) = drive(&fake, options);
        let read = |count| Request::read(0, (0..count).map(|_| buffer(&fake, 512)).collect::<Vec<_>>());
        assert_eq!(refusal(&mut disk, read(7)), Refusal::Segments(7));
        for round in 0..3 {
            disk.submit(0, read(6), round).unwrap();
            disk.publish(0).unwrap();
            if indirect == 0 {
                assert_eq!(refusal(&mut disk, read(1)), Refusal::Full);
            }
            assert_eq!(see(&mut device, &[7; 3072]), [(0, 0, vec![], 3073)]);
            let completion = disk.poll(0).unwrap().unwrap();
            assert_eq!(completion.result, Ok(()));
            for buffer in completion.data.into_buffers() {
                let mut bytes = [0; 512];
                buffer.read(0, &mut bytes).unwrap();
                assert_eq!(bytes, [7; 512]);
            }
        }
    }
}

/// drv:blk:device-initialization:04: `writeback` is neither read nor written before FEATURES_OK.
#[test]
fn the_cache_is_asked_for_and_switched() {
    let mode = |features: Features, writeback| {
        let fake = device_with(feature::VERSION_1 | features, &config(), 8);
        fake.board().config[offset_of!(Config, writeback)] = writeback;
        let (mut disk, _device) = drive(&fake, Options::default());
        let mode = disk.cache_mode().unwrap();
        let switched = disk.set_cache_mode(CacheMode::WriteThrough).unwrap();
        let written = fake.board().log.contains(&Call::Config);
        assert_eq!(switched, written);
        let log = fake.board().log.clone();
        let features_ok = log
            .iter()
            .position(|call| *call == Call::Status(1 | 2 | 8))
            .unwrap();
        let config = log.iter().position(|call| *call == Call::Config);
        assert!(config.is_none_or(|config| config > features_ok));
        let now = fake.board().config[offset_of!(Config, writeback)];
        assert_eq!(now, if switched { 0 } else { writeback });
        (mode, switched)
    };
    let both = features::CONFIG_WCE | features::FLUSH;
    assert_eq!(mode(both, 1), (CacheMode::WriteBack, true));
    assert_eq!(mode(both, 0), (CacheMode::WriteThrough, true));
    assert_eq!(mode(features::FLUSH, 0), (CacheMode::WriteBack, false));
    assert_eq!(mode(Features::NONE, 1), (CacheMode::WriteThrough, false));
}

/// drv:blk:device-operation:01
#[test]
fn the_capacity_is_looked_at_again_when_the_configuration_changes() {
    let fake = device_with(feature::VERSION_1 | ALL, &config(), 8);
    let (mut disk, _device) = drive(&fake, Options::default());
    assert_eq!(disk.look_for_capacity().unwrap(), None);
    fake.board().config[..8].copy_from_slice(&8192_u64.to_le_bytes());
    fake.board().config[offset_of!(Config, write_zeroes_may_unmap)] = 0;
    assert_eq!(
        refusal(&mut disk, Request::read(5000, buffer(&fake, 512))),
        Refusal::BeyondCapacity(CAPACITY)
    );
    assert_eq!(disk.look_for_capacity().unwrap(), Some(8192));
    assert!(!disk.geometry().write_zeroes_may_unmap);
    disk.submit(0, Request::read(5000, buffer(&fake, 512)), 0)
        .unwrap();
}

/// drv:blk:device-operation:03
#[test]
fn a_read_only_device_is_accepted() {
    let fake = device_with(feature::VERSION_1 | features::RO, &config(), 8);
    let (mut disk, _device) = drive(&fake, Options::default());
    assert!(disk.session().has(features::RO));
    assert_eq!(
        refusal(&mut disk, Request::write(0, buffer(&fake, 512))),
        Refusal::NotOffered
    );
}

#[test]
fn lifetimes_with_reserved_values_are_none() {
    let fake = device_with(feature::VERSION_1, &config(), 8);
    let buffer = buffer(&fake, 6);
    let read = |values: [u16; 3]| {
        buffer.write(0, values.map(u16::to_be).as_bytes()).unwrap();
        Lifetime::read(&buffer, ByteOrder::Big)
    };
    assert!(read([3, 11, 0]).is_some());
    assert_eq!(read([4, 1, 1]), None);
    assert_eq!(read([0, 12, 0]), None);
    assert_eq!(read([0, 0, 12]), None);
}

/// Section 5.2.6.3.
#[test]
fn legacy_requests() {
    for byte_order in [ByteOrder::Little, ByteOrder::Big] {
        let offered = features::BARRIER | features::SCSI | features::DISCARD | features::ZONED;
        let mut config = config();
        let number = |value: u32| match byte_order {
            ByteOrder::Little => value.into(),
            ByteOrder::Big => value.swap_bytes().into(),
        };
        config.capacity = match byte_order {
            ByteOrder::Little => CAPACITY.into(),
            ByteOrder::Big => CAPACITY.swap_bytes().into(),
        };
        (config.max_discard_sectors, config.max_discard_seg) = (number(9), number(9));
        let fake = device_with(offered, &config, 32);
        fake.board().legacy = Some(Legacy {
            byte_order,
            fixed_queue_size: false,
        });
        let (mut disk, mut device) = drive(&fake, Options::default());
        // Zones cannot be negotiated without FEATURES_OK.
        assert!(!disk.session().has(features::ZONED));
        let parts = |lengths: &[usize]| -> Vec<Buffer> {
            lengths.iter().map(|length| buffer(&fake, *length)).collect()
        };
        let scsi = |lengths: &[usize], readable| Request::scsi_command(parts(lengths), readable);
        for (request, reason) in [
            (scsi(&[6, 96, 15], 1), Refusal::Segments(2)),
            (scsi(&[6, 95, 16], 1), Refusal::Length(95)),
            (scsi(&[96, 16], 0), Refusal::Segments(0)),
            (scsi(&[6, 512, 512, 96, 16], 1), Refusal::Segments(4)),
            (scsi(&[6, 512, 512, 96, 16], 3), Refusal::Segments(3)),
        ] {
            assert_eq!(refusal(&mut disk, request), reason);
        }
        let requests = [
            Request::write(1, buffer(&fake, 512)).with_barrier(),
            Request::discard(ranges(&fake, &[range(0x0102, 9, false)])),
            scsi(&[6, 512, 96, 16], 1),
            scsi(&[10, 512, 96, 16], 2),
        ];
        for (tag, request) in requests.into_iter().enumerate() {
            disk.submit(0, request, tag as u64).unwrap();
        }
        disk.publish(0).unwrap();
        let mut seen = Vec::new();
        let u32_at = |bytes: &[u8], at: usize| {
            let bytes = bytes[at..at + 4].try_into().unwrap();
            match byte_order {
                ByteOrder::Little => u32::from_le_bytes(bytes),
                ByteOrder::Big => u32::from_be_bytes(bytes),
            }
        };
        device.serve(99, |readable, writable| {
            seen.push(u32_at(readable, 0));
            if seen.last() == Some(&ReqType::DISCARD.0) {
                let high = u32_at(readable, 16).max(u32_at(readable, 20));
                assert_eq!((high, u32_at(readable, 24)), (0x0102, 9));
            }
            // errors, data_len, sense_len and residual.
            if writable.len() > 16 {
                let answer: Vec<u8> = [1_u32, 2, 3, 4]
                    .into_iter()
                    .flat_map(|number| match byte_order {
                        ByteOrder::Little => number.to_le_bytes(),
                        ByteOrder::Big => number.to_be_bytes(),
                    })
                    .collect();
                writable.write(writable.len() - 17, &answer).unwrap();
            }
            writable.write(writable.len() - 1, &[0]).unwrap();
            0
        });
        assert_eq!(seen, [1 | 0x8000_0000, 11, 2, 2]);
        assert_eq!(
            device.shapes,
            [
                [vec![16, 512], vec![1]],
                [vec![16, 16], vec![1]],
                [vec![16, 6], vec![512, 96, 16, 1]],
                [vec![16, 10, 512], vec![96, 16, 1]],
            ]
        );
        for _ in 0..4 {
            let completion = disk.poll(0).unwrap().unwrap();
            assert_eq!(completion.result, Ok(()));
            if completion.tag >= 2 {
                let answer = completion.data.into_buffers().pop().unwrap();
                let answer = ScsiAnswer::read(&answer, byte_order).unwrap();
                let ScsiAnswer {
                    errors,
                    sense_len,
                    residual,
                } = answer;
                assert_eq!((errors, sense_len, residual), (1, 3, 4));
            }
        }
    }
}
