use std::vec;
use std::vec::Vec;

use ringwright_memory::Buffer;
use ringwright_spec::block::Status;
use ringwright_spec::feature;

use super::*;
use crate::testing::{Call, Device, FORMATS, Fake};

const LENGTH: usize = 1 << 20;
const CAPACITY: u64 = 100;

/// A device with the given features; its configuration space gives capacity, size_max, blk_size and num_queues.
fn device(features: Features, config: (u32, u32, u16)) -> Fake {
    let fake = Fake::new(DEVICE.id, features, &[16, 16, 16], LENGTH);
    let (size_max, blk_size, num_queues) = config;
    let put = |offset: usize, bytes: &[u8]| {
        fake.board().config[offset..offset + bytes.len()].copy_from_slice(bytes);
    };
    put(offset_of!(Config, capacity), &CAPACITY.to_le_bytes());
    put(offset_of!(Config, size_max), &size_max.to_le_bytes());
    put(offset_of!(Config, blk_size), &blk_size.to_le_bytes());
    put(offset_of!(Config, num_queues), &num_queues.to_le_bytes());
    fake
}

fn drive(fake: &Fake, queues: u16) -> Result<Block<Fake>, DriverError> {
    Block::new(fake.clone(), &fake.area(), queues, Options::default())
}

/// A plain disk over `format`, with the device end of its only virtqueue.
fn disk(format: Features) -> (Fake, Block<Fake>, Device) {
    let fake = device(format | features::FLUSH, (0, 0, 0));
    let disk = drive(&fake, 1).unwrap();
    let device = fake.device(REQUESTQ1);
    (fake, disk, device)
}

fn buffer(fake: &Fake, length: usize) -> Buffer {
    fake.area().allocate(length, 1).unwrap()
}

/// Performs a request, answered with `status` as the last of `written` bytes.
fn answer(
    (fake, disk, device): &mut (Fake, Block<Fake>, Device),
    request: Request,
    status: Option<u8>,
    written: u32,
) -> Result<(), BlockError> {
    disk.submit(0, request, 42).unwrap();
    disk.publish(0).unwrap();
    assert!(disk.poll(0).unwrap().is_none());
    let served = device.serve(9, |_, writable| {
        if let Some(status) = status {
            writable.write(writable.len() - 1, &[status]).unwrap();
        }
        written
    });
    assert_eq!((served, fake.is_live()), (1, true));
    let completion = disk.poll(0).unwrap().unwrap();
    assert_eq!(completion.tag, 42);
    completion.result
}

#[test]
fn requests_look_as_the_document_says() {
    for format in FORMATS {
        let (fake, mut disk, mut device) = disk(format);
        let data = buffer(&fake, 1024);
        data.write(0, &[7; 1024]).unwrap();
        let requests = [
            Request::write(3, data),
            Request::read(98, buffer(&fake, 1024)),
            Request::flush(),
            Request::get_id(buffer(&fake, 20)),
        ];
        for (tag, request) in requests.into_iter().enumerate() {
            disk.submit(0, request, tag as u64).unwrap();
        }
        disk.publish(0).unwrap();
        assert_eq!(fake.board().log.last(), Some(&Call::Notify(0)));
        let mut seen = Vec::new();
        device.serve(9, |readable, writable| {
            let (head, data) = readable.split_at(16);
            let word = |at| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
            let sector = u64::from_le_bytes(head[8..].try_into().unwrap());
            assert!(data.iter().all(|byte| *byte == 7) && word(4) == 0);
            seen.push((word(0), sector, data.len(), writable.len()));
            writable.fill(0, writable.len() - 1, word(0) as u8).unwrap();
            writable.write(writable.len() - 1, &[0]).unwrap();
            writable.len() as u32
        });
        // Types OUT, IN, FLUSH and GET_ID; the sector of a flush is 0 (drv:blk:device-operation:04).
        assert_eq!(
            seen,
            [(1, 3, 1024, 1), (0, 98, 0, 1025), (4, 0, 0, 1), (8, 0, 0, 21)]
        );
        for (tag, content) in [(0, 7), (1, 0), (2, 0), (3, 8)] {
            let completion = disk.poll(0).unwrap().unwrap();
            assert_eq!((completion.tag, completion.result), (tag, Ok(())));
            if let Some(buffer) = completion.data.into_buffer() {
                let mut bytes = vec![0xff; buffer.len()];
                buffer.read(0, &mut bytes).unwrap();
                assert_eq!(bytes, vec![content; buffer.len()]);
            }
        }
        drop(disk);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn refused_requests_come_back_and_reach_no_device() {
    let all = feature::VERSION_1 | features::SIZE_MAX;
    let fake = device(all, (4096, 0, 0));
    let mut disk = drive(&fake, 1).unwrap();
    let read_only = device(all | features::RO, (4096, 0, 0));
    let mut read_only_disk = drive(&read_only, 1).unwrap();
    let (length, beyond) = (Refusal::Length, Refusal::BeyondCapacity(CAPACITY));
    let cases: [(u64, usize, Refusal); 8] = [
        (0, 511, length(511)),
        (0, 513, length(513)),
        (0, 1, length(1)),
        (
            0,
            8192,
            Refusal::Segment {
                found: 8192,
                most: 4096,
            },
        ),
        (CAPACITY, 512, beyond),
        (CAPACITY - 1, 1024, beyond),
        (u64::MAX, 512, beyond),
        (u64::MAX - 7, 4096, beyond),
    ];
    for (sector, bytes, reason) in cases {
        for make in [Request::read as fn(u64, Buffer) -> Request, Request::write] {
            let refused = disk.submit(0, make(sector, buffer(&fake, bytes)), 0).unwrap_err();
            assert_eq!(refused.reason, reason);
            assert_eq!(refused.request.into_data().into_buffer().unwrap().len(), bytes);
        }
    }
    let refuse = |fake: &Fake, disk: &mut Block<Fake>, queue, request, reason| {
        assert_eq!(disk.submit(queue, request, 0).unwrap_err().reason, reason);
        disk.publish(queue).unwrap();
        assert!(!fake.board().log.contains(&Call::Notify(0)));
    };
    for bytes in [19, 21, 512] {
        refuse(
            &fake,
            &mut disk,
            0,
            Request::get_id(buffer(&fake, bytes)),
            length(bytes),
        );
    }
    refuse(&fake, &mut disk, 0, Request::flush(), Refusal::NotOffered);
    refuse(
        &fake,
        &mut disk,
        1,
        Request::read(0, buffer(&fake, 512)),
        Refusal::NoQueue,
    );
    let write = Request::write(0, buffer(&read_only, 512));
    refuse(&read_only, &mut read_only_disk, 0, write, Refusal::NotOffered);
    // What just fits is not refused.
    for (sector, bytes) in [(0, 4096), (CAPACITY - 8, 4096), (CAPACITY - 1, 512)] {
        disk.submit(0, Request::read(sector, buffer(&fake, bytes)), 0)
            .unwrap();
    }
    read_only_disk
        .submit(0, Request::read(0, buffer(&read_only, 512)), 0)
        .unwrap();
}

#[test]
fn a_virtqueue_without_room_refuses_until_requests_return() {
    for format in FORMATS {
        let (fake, mut disk, mut device) = disk(format);
        for round in 0..4u64 {
            // 16 descriptors, three for each request.
            for tag in 0..5 {
                disk.submit(0, Request::read(tag, buffer(&fake, 512)), tag)
                    .unwrap();
            }
            let refused = disk
                .submit(0, Request::read(0, buffer(&fake, 512)), 9)
                .unwrap_err();
            assert_eq!(refused.reason, Refusal::Full);
            disk.publish(0).unwrap();
            assert!(!disk.enable_notifications(0));
            let served = device.serve(9, |readable, writable| {
                writable.write(0, &[readable[8]; 512]).unwrap();
                writable.write(512, &[0]).unwrap();
                513
            });
            assert_eq!(served, 5, "round {round}");
            assert!(disk.enable_notifications(0));
            for tag in 0..5 {
                let completion = disk.poll(0).unwrap().unwrap();
                let mut byte = [0xff];
                completion
                    .data
                    .into_buffer()
                    .unwrap()
                    .read(511, &mut byte)
                    .unwrap();
                assert_eq!(
                    (completion.tag, completion.result, byte),
                    (tag, Ok(()), [tag as u8])
                );
            }
        }
    }
}

#[test]
fn statuses_become_results_and_the_disk_stays_usable() {
    for format in FORMATS {
        let mut pair = disk(format);
        let cases = [
            (Some(0), 513, Ok(())),
            (Some(1), 513, Err(BlockError::Io)),
            (Some(1), 0, Err(BlockError::Io)),
            (Some(2), 1, Err(BlockError::Unsupported)),
            (Some(3), 513, Err(BlockError::ZoneInvalidCommand)),
            (Some(4), 513, Err(BlockError::ZoneUnaligned)),
            (Some(5), 513, Err(BlockError::ZoneOpenResource)),
            (Some(6), 513, Err(BlockError::ZoneActiveResource)),
            (Some(7), 513, Err(BlockError::Status(Status(7)))),
            (Some(0xff), 513, Err(BlockError::Status(Status(0xff)))),
            // The status byte was never written, and is not that of an earlier request.
            (None, 513, Err(BlockError::Status(Status(0xff)))),
            (
                Some(0),
                512,
                Err(BlockError::Short {
                    expected: 513,
                    found: 512,
                }),
            ),
            (
                Some(0),
                0,
                Err(BlockError::Short {
                    expected: 513,
                    found: 0,
                }),
            ),
            (Some(0), 513, Ok(())),
        ];
        for (status, written, expected) in cases {
            let read = Request::read(0, buffer(&pair.0, 512));
            assert_eq!(
                answer(&mut pair, read, status, written),
                expected,
                "{status:?} {written}"
            );
        }
        let short = Err(BlockError::Short {
            expected: 1,
            found: 0,
        });
        let write = Request::write(0, buffer(&pair.0, 512));
        assert_eq!(answer(&mut pair, write, Some(0), 0), short);
        let write = Request::write(0, buffer(&pair.0, 512));
        assert_eq!(answer(&mut pair, write, Some(0), 1), Ok(()));
    }
}

#[test]
fn lies_of_the_device_are_errors() {
    for format in FORMATS {
        for (id, written) in [
            (0, 514),
            (0, u32::MAX),
            (1, 513),
            (15, 513),
            (16, 0),
            (0xffff, 513),
        ] {
            let (fake, mut disk, _) = disk(format);
            disk.submit(0, Request::read(0, buffer(&fake, 512)), 1).unwrap();
            disk.publish(0).unwrap();
            fake.lie(REQUESTQ1, id, written);
            for _ in 0..2 {
                let polled = disk.poll_all(0, 9, |_| panic!("nothing is finished"));
                assert!(matches!(polled, Err(DriverError::Ring(_))), "{id} {written}");
                assert!(
                    matches!(disk.poll(0), Err(DriverError::Ring(_))),
                    "{id} {written}"
                );
            }
            assert!(!disk.enable_notifications(0));
            let refused = disk
                .submit(0, Request::read(0, buffer(&fake, 512)), 1)
                .unwrap_err();
            assert_eq!(refused.reason, Refusal::Full);
            drop((disk, refused));
            assert!(fake.is_area_whole());
        }
    }
}

#[test]
fn finished_requests_are_taken_together() {
    for format in FORMATS {
        let (fake, mut disk, mut device) = disk(format);
        let poll_all = |disk: &mut Block<Fake>, queue, limit| {
            let mut tags = Vec::new();
            let count = disk.poll_all(queue, limit, |done| {
                done.result.unwrap();
                assert_eq!(done.data.into_buffer().unwrap().len(), 512);
                tags.push(done.tag);
            });
            assert_eq!(usize::from(count.unwrap()), tags.len());
            tags
        };
        for _ in 0..9 {
            for tag in 0..5 {
                let request = Request::read(0, buffer(&fake, 512));
                disk.submit(0, request, tag).unwrap();
            }
            disk.publish(0).unwrap();
            assert!(poll_all(&mut disk, 0, 9).is_empty());
            let served = device.serve(9, |_, writable| {
                writable.write(512, &[0]).unwrap();
                513
            });
            assert_eq!(served, 5);
            assert!(poll_all(&mut disk, 0, 0).is_empty());
            assert_eq!(poll_all(&mut disk, 0, 3), [0, 1, 2]);
            assert_eq!(disk.poll(0).unwrap().unwrap().tag, 3);
            assert_eq!(poll_all(&mut disk, 0, u16::MAX), [4]);
            assert!(poll_all(&mut disk, 7, 9).is_empty());
        }
        drop(disk);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn a_request_that_was_never_made_is_not_completed() {
    for format in FORMATS {
        let (fake, mut disk, _) = disk(format);
        fake.lie(REQUESTQ1, 0, 1);
        assert!(matches!(disk.poll(0), Err(DriverError::Ring(_))));
    }
}

/// drv:core:device-configuration-space:02
#[test]
fn geometry_is_read_where_its_features_are_negotiated() {
    let config = (8192, 4096, 3);
    let fake = device(feature::VERSION_1, config);
    let absent = Geometry {
        capacity: CAPACITY,
        block_size: 512,
        segment_size: u32::MAX,
        segments: u32::MAX,
        ..Geometry::default()
    };
    assert_eq!(drive(&fake, 9).unwrap().geometry(), absent);
    let all = feature::VERSION_1
        | features::SIZE_MAX
        | features::BLK_SIZE
        | features::RO
        | features::FLUSH
        | features::MQ;
    let fake = device(all, config);
    let disk = drive(&fake, 9).unwrap();
    let present = Geometry {
        capacity: CAPACITY,
        block_size: 4096,
        segment_size: 8192,
        segments: u32::MAX,
        read_only: true,
        flush: true,
        ..Geometry::default()
    };
    assert_eq!((disk.geometry(), disk.queues()), (present, 3));
    for blk_size in [0, 256, 513, u32::MAX] {
        let fake = device(all, (8192, blk_size, 1));
        assert!(matches!(drive(&fake, 1).err(), Some(DriverError::Device { .. })));
        assert!(!fake.is_live() && fake.is_area_whole());
    }
}

#[test]
fn as_many_queues_as_both_want() {
    for (offered, wanted, expected) in [
        (3, 2, Some(2)),
        (2, 9, Some(2)),
        (0, 4, Some(1)),
        (1, 0, Some(1)),
        (4, 4, None),
    ] {
        let fake = device(feature::VERSION_1 | features::MQ, (0, 0, offered));
        match (drive(&fake, wanted), expected) {
            (Ok(disk), Some(queues)) => assert_eq!(disk.queues(), queues),
            // num_queues says 4, but there is no fourth.
            (Err(DriverError::QueueTooSmall { index: 3, .. }), None) => assert!(fake.is_area_whole()),
            (outcome, _) => panic!("{offered} {wanted}: {:?}", outcome.err()),
        }
    }
}

#[test]
fn queues_are_independent() {
    let fake = device(feature::VERSION_1 | features::MQ, (0, 0, 2));
    let mut disk = drive(&fake, 2).unwrap();
    let mut devices = [0, 1].map(|queue| fake.device(queue));
    for queue in [0, 1] {
        disk.submit(queue, Request::read(0, buffer(&fake, 512)), queue.into())
            .unwrap();
        disk.publish(queue).unwrap();
    }
    let ok = |_: &[u8], writable: ringwright_memory::Slices<'_>| {
        writable.write(512, &[0]).unwrap();
        513
    };
    devices[1].serve(9, ok);
    assert!(disk.poll(0).unwrap().is_none());
    assert_eq!(disk.poll(1).unwrap().unwrap().tag, 1);
    devices[0].serve(9, ok);
    assert_eq!(disk.poll(0).unwrap().unwrap().tag, 0);
    assert!(disk.poll(7).unwrap().is_none());
    assert!(!disk.enable_notifications(7));
    disk.disable_notifications(7);
    disk.publish(7).unwrap();
}

#[test]
fn a_queue_too_small_for_a_request() {
    for format in FORMATS {
        let fake = Fake::new(DEVICE.id, format, &[2], LENGTH);
        assert!(matches!(
            drive(&fake, 1).err(),
            Some(DriverError::QueueTooSmall {
                index: 0,
                found: 2,
                needed: 3
            })
        ));
    }
}
