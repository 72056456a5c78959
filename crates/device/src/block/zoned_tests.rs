//! Requests of zoned disks.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::Mutex;

use ringwright_spec::block::zoned::{ZoneDescriptor, ZoneReport, ZoneState, ZoneType};
use ringwright_spec::block::{ReqType, Status};
use zerocopy::FromBytes;

use super::backend::{File, Lane, Memory, Request};
use super::tests::{ranges, read, request, write};
use super::*;
use crate::testing::{Bench, Queue, formats};

/// A disk of 1 MiB: zones of 64 KiB, of which 48 KiB can be written; the first is conventional.
fn options(model: ZoneModel) -> Options {
    Options {
        queues: 2,
        size_max: Some(8192),
        seg_max: 4,
        secure_erase: true,
        zoned: Some(Zoned {
            model,
            zone_size: 65536,
            zone_capacity: 49152,
            conventional: 1,
            max_open: 2,
            max_active: 3,
            max_append: Some(16384),
            state: None,
        }),
        ..Options::default()
    }
}

const ZONE: u64 = 128;
const ACCEPTED: Features =
    Features(features::FLUSH.0 | features::ZONED.0 | features::SECURE_ERASE.0 | features::MQ.0);

fn memory() -> Arc<Memory> {
    Arc::new(Memory::new(1 << 20).unwrap())
}

fn bench(model: ZoneModel, ring: Features) -> (Bench, Handle) {
    let block = Block::new(memory(), options(model)).unwrap();
    let handle = block.handle();
    (Bench::new(block, ring | ACCEPTED), handle)
}

fn manage(queue: &mut Queue, kind: ReqType, sector: u64) -> Status {
    request(queue, kind, sector, &[], 0).0
}

/// The status of an append, and its sector.
fn append(queue: &mut Queue, sector: u64, data: &[u8]) -> (Status, u64) {
    let (status, data) = request(queue, ReqType::ZONE_APPEND, sector, data, 8);
    (status, u64::from_le_bytes(data.try_into().unwrap()))
}

/// The zones that a report has room for, and how many it says there are.
fn report(queue: &mut Queue, sector: u64, room: usize) -> (u64, Vec<ZoneDescriptor>) {
    let (status, data) = request(queue, ReqType::ZONE_REPORT, sector, &[], 64 + room * 64);
    assert_eq!(status, Status::OK);
    let (head, zones) = data.split_at(64);
    let head = ZoneReport::read_from_bytes(head).unwrap();
    assert_eq!(head.reserved, [0; 56]);
    let count = head.nr_zones.get();
    let zones = zones.chunks(64).take(count as usize);
    let zones = zones.map(|zone| ZoneDescriptor::read_from_bytes(zone).unwrap());
    (count, zones.collect())
}

fn state(queue: &mut Queue, zone: u64) -> (ZoneState, u64) {
    let (count, zones) = report(queue, zone * ZONE + 5, 1);
    assert_eq!((count, zones[0].z_start.get()), (1, zone * ZONE));
    (ZoneState(zones[0].z_state), zones[0].z_wp.get() - zone * ZONE)
}

/// dev:blk:device-operation:25, dev:blk:device-operation:26, dev:blk:device-operation:27,
/// dev:blk:device-operation:30, dev:blk:device-operation:31, dev:blk:device-operation:35, dev:blk:device-operation:36
#[test]
fn zones_are_written_in_order_appended_to_and_read() {
    for ring in formats() {
        let (mut bench, _) = bench(ZoneModel::HostManaged, ring);
        let mut queue = bench.start(0, 128);
        let queue = &mut queue;
        assert_eq!(write(queue, ZONE + 1, &[1; 512]), Status::ZONE_UNALIGNED_WP);
        assert_eq!(write(queue, ZONE, &[1; 1024]), Status::OK);
        assert_eq!(append(queue, ZONE, &[2; 512]), (Status::OK, ZONE + 2));
        assert_eq!(append(queue, ZONE, &[3; 1024]), (Status::OK, ZONE + 3));
        assert_eq!(append(queue, ZONE + 1, &[3; 512]).0, Status::ZONE_INVALID_CMD);
        assert_eq!(append(queue, ZONE, &[3; 511]).0, Status::IOERR);
        assert_eq!(append(queue, 0, &[3; 512]).0, Status::ZONE_INVALID_CMD);
        // dev:blk:device-operation:29
        assert_eq!(append(queue, ZONE, &[3; 16896]).0, Status::ZONE_INVALID_CMD);
        let expected = [vec![1; 1024], vec![2; 512], vec![3; 1024], vec![0; 1536]].concat();
        assert_eq!(read(queue, ZONE, 4096), (Status::OK, expected));
        assert_eq!(read(queue, ZONE + 120, 8192).0, Status::ZONE_INVALID_CMD);
        assert_eq!(read(queue, 2047, 1024).0, Status::IOERR);
        assert_eq!(state(queue, 1), (ZoneState::IOPEN, 5));
        // The conventional zone, anywhere and again.
        for fill in [7, 8] {
            assert_eq!(write(queue, 100, &[fill; 512]), Status::OK);
        }
        assert_eq!(read(queue, 100, 512), (Status::OK, vec![8; 512]));
        // Nothing at all changes nothing.
        assert_eq!(write(queue, 2 * ZONE, &[]), Status::OK);
        assert_eq!(state(queue, 2), (ZoneState::EMPTY, 0));
        // 96 sectors can be written.
        assert_eq!(write(queue, 2 * ZONE, &[4; 97 * 512]), Status::ZONE_INVALID_CMD);
        assert_eq!(write(queue, 2 * ZONE, &[4; 96 * 512]), Status::OK);
        assert_eq!(write(queue, 2 * ZONE + 96, &[4; 512]), Status::ZONE_INVALID_CMD);
        let (_, zones) = report(queue, 2 * ZONE, 1);
        assert_eq!(zones[0].z_state, ZoneState::FULL.0);
        // An append without room for its sector.
        assert_eq!(
            request(queue, ReqType::ZONE_APPEND, ZONE, &[1; 512], 7).0,
            Status::IOERR
        );
        assert_eq!(state(queue, 1), (ZoneState::IOPEN, 5));
    }
}

/// dev:blk:device-operation:28
#[test]
fn a_disk_without_appends() {
    let mut options = options(ZoneModel::HostManaged);
    options.zoned.as_mut().unwrap().max_append = Some(0);
    let block = Block::new(memory(), options).unwrap();
    let mut bench = Bench::new(block, formats()[0] | ACCEPTED);
    let mut queue = bench.start(0, 128);
    assert_eq!(append(&mut queue, ZONE, &[1; 512]).0, Status::UNSUPP);
}

/// dev:blk:device-operation:17, dev:blk:device-operation:18, dev:blk:device-operation:19,
/// dev:blk:device-operation:20, dev:blk:device-operation:21, dev:blk:device-operation:22,
/// dev:blk:device-operation:23, dev:blk:device-operation:24
#[test]
fn zones_are_opened_closed_finished_and_reset() {
    for ring in formats() {
        let (mut bench, _) = bench(ZoneModel::HostManaged, ring);
        let mut queue = bench.start(0, 128);
        let queue = &mut queue;
        for kind in [
            ReqType::ZONE_OPEN,
            ReqType::ZONE_CLOSE,
            ReqType::ZONE_FINISH,
            ReqType::ZONE_RESET,
        ] {
            // Conventional; not the beginning; beyond the disk.
            for sector in [0, ZONE + 1, 2048, u64::MAX] {
                assert_eq!(manage(queue, kind, sector), Status::ZONE_INVALID_CMD);
            }
        }
        assert_eq!(manage(queue, ReqType::ZONE_CLOSE, ZONE), Status::ZONE_INVALID_CMD);
        assert_eq!(manage(queue, ReqType::ZONE_OPEN, ZONE), Status::OK);
        assert_eq!(state(queue, 1), (ZoneState::EOPEN, 0));
        assert_eq!(write(queue, ZONE, &[1; 512]), Status::OK);
        assert_eq!(state(queue, 1), (ZoneState::EOPEN, 1));
        assert_eq!(manage(queue, ReqType::ZONE_CLOSE, ZONE), Status::OK);
        assert_eq!(state(queue, 1), (ZoneState::CLOSED, 1));
        assert_eq!(manage(queue, ReqType::ZONE_OPEN, 2 * ZONE), Status::OK);
        assert_eq!(manage(queue, ReqType::ZONE_OPEN, 3 * ZONE), Status::OK);
        assert_eq!(
            manage(queue, ReqType::ZONE_OPEN, ZONE),
            Status::ZONE_OPEN_RESOURCE
        );
        assert_eq!(write(queue, ZONE + 1, &[1; 512]), Status::ZONE_OPEN_RESOURCE);
        assert_eq!(
            manage(queue, ReqType::ZONE_OPEN, 4 * ZONE),
            Status::ZONE_ACTIVE_RESOURCE
        );
        assert_eq!(append(queue, 4 * ZONE, &[1; 512]).0, Status::ZONE_ACTIVE_RESOURCE);
        assert_eq!(manage(queue, ReqType::ZONE_FINISH, ZONE), Status::OK);
        assert_eq!(state(queue, 1).0, ZoneState::FULL);
        assert_eq!(manage(queue, ReqType::ZONE_OPEN, ZONE), Status::ZONE_INVALID_CMD);
        assert_eq!(
            read(queue, ZONE, 1024),
            (Status::OK, [[1; 512], [0; 512]].concat())
        );
        assert_eq!(manage(queue, ReqType::ZONE_RESET, ZONE), Status::OK);
        assert_eq!(state(queue, 1), (ZoneState::EMPTY, 0));
        assert_eq!(read(queue, ZONE, 512), (Status::OK, vec![0; 512]));
        assert_eq!(manage(queue, ReqType::ZONE_RESET_ALL, 0), Status::OK);
        for zone in 1..16 {
            assert_eq!(state(queue, zone), (ZoneState::EMPTY, 0));
        }
        assert!(bench.events.resets().is_empty());
    }
}

#[test]
fn reports_are_as_long_as_there_is_room_for() {
    let (mut bench, _) = bench(ZoneModel::HostManaged, formats()[0]);
    let mut queue = bench.start(0, 128);
    for (sector, room, expected) in [(0, 20, 16), (0, 3, 3), (ZONE * 15 + 127, 9, 1), (5, 0, 0)] {
        let (count, zones) = report(&mut queue, sector, room);
        assert_eq!((count, zones.len()), (expected, expected as usize));
    }
    let (_, zones) = report(&mut queue, 0, 16);
    assert_eq!(
        (zones[0].z_type, zones[0].z_state),
        (ZoneType::CONV.0, ZoneState::NOT_WP.0)
    );
    assert_eq!(zones[0].z_cap.get(), 128);
    assert!(
        zones[1..]
            .iter()
            .all(|zone| zone.z_type == ZoneType::SWR.0 && zone.z_cap.get() == 96)
    );
    for (sector, length) in [(0, 63), (2048, 128), (u64::MAX, 128)] {
        let (status, _) = request(&mut queue, ReqType::ZONE_REPORT, sector, &[], length);
        assert_eq!(status, Status::ZONE_INVALID_CMD);
    }
}

/// dev:blk:device-operation:16
#[test]
fn without_the_feature_there_are_no_zone_requests() {
    let kinds = [
        ReqType::ZONE_APPEND,
        ReqType::ZONE_REPORT,
        ReqType::ZONE_OPEN,
        ReqType::ZONE_CLOSE,
        ReqType::ZONE_FINISH,
        ReqType::ZONE_RESET,
        ReqType::ZONE_RESET_ALL,
    ];
    let plain = Block::new(memory(), Options::default()).unwrap();
    let aware = Block::new(memory(), options(ZoneModel::HostAware)).unwrap();
    for block in [plain, aware] {
        let mut bench = Bench::new(block, formats()[0] | features::FLUSH);
        let mut queue = bench.start(0, 128);
        for kind in kinds {
            let (status, _) = request(&mut queue, kind, ZONE, &[1; 512], 128);
            assert_eq!(status, Status::UNSUPP, "{kind:?}");
        }
        // And nothing of zones is to be seen: it is a disk like any other.
        assert_eq!(write(&mut queue, ZONE + 50, &[5; 512]), Status::OK);
        assert_eq!(write(&mut queue, ZONE + 3, &[6; 1024]), Status::OK);
        assert_eq!(read(&mut queue, ZONE + 4, 512), (Status::OK, vec![6; 512]));
    }
}

#[test]
fn a_driver_without_zones_is_told_nothing_of_them() {
    let block = Block::new(memory(), options(ZoneModel::HostAware)).unwrap();
    let handle = block.handle();
    let mut bench = Bench::new(block, formats()[0] | features::FLUSH);
    let mut queue = bench.start(0, 128);
    let offline = Zone {
        state: ZoneState::OFFLINE,
        written: 0,
    };
    assert!(handle.put_zone(1, offline));
    assert_eq!(read(&mut queue, ZONE, 512).0, Status::IOERR);
    assert_eq!(write(&mut queue, ZONE, &[1; 512]), Status::IOERR);
}

#[test]
fn host_aware_zones_are_written_anywhere() {
    let (mut bench, _) = bench(ZoneModel::HostAware, formats()[0]);
    let mut queue = bench.start(0, 128);
    assert_eq!(write(&mut queue, ZONE + 10, &[5; 1024]), Status::OK);
    assert_eq!(state(&mut queue, 1), (ZoneState::IOPEN, 12));
    assert_eq!(write(&mut queue, ZONE, &[6; 512]), Status::OK);
    let expected = [vec![6; 512], vec![0; 9 * 512], vec![5; 1024], vec![0; 512]].concat();
    assert_eq!(read(&mut queue, ZONE, 13 * 512), (Status::OK, expected));
    // dev:blk:device-operation:18
    assert_eq!(append(&mut queue, ZONE, &[1; 512]).0, Status::ZONE_INVALID_CMD);
    assert_eq!(report(&mut queue, ZONE, 1).1[0].z_type, ZoneType::SWP.0);
    // What was there before a reset does not come back with a write behind it.
    assert_eq!(manage(&mut queue, ReqType::ZONE_RESET, ZONE), Status::OK);
    assert_eq!(write(&mut queue, ZONE + 20, &[7; 512]), Status::OK);
    assert_eq!(read(&mut queue, ZONE, 512), (Status::OK, vec![0; 512]));
}

/// dev:blk:device-operation:33, dev:blk:device-operation:34
#[test]
fn zones_whose_hardware_has_failed() {
    let (mut bench, handle) = bench(ZoneModel::HostManaged, formats()[0]);
    let mut queue = bench.start(0, 128);
    assert_eq!(write(&mut queue, ZONE, &[1; 512]), Status::OK);
    let put = |state, written| handle.put_zone(1, Zone { state, written });
    assert!(put(ZoneState::RDONLY, 1));
    assert_eq!(write(&mut queue, ZONE + 1, &[1; 512]), Status::ZONE_INVALID_CMD);
    assert_eq!(append(&mut queue, ZONE, &[1; 512]).0, Status::ZONE_INVALID_CMD);
    assert_eq!(
        manage(&mut queue, ReqType::ZONE_RESET, ZONE),
        Status::ZONE_INVALID_CMD
    );
    assert_eq!(
        read(&mut queue, ZONE, 1024),
        (Status::OK, [[1; 512], [0; 512]].concat())
    );
    // It is not among those that are all reset.
    assert_eq!(manage(&mut queue, ReqType::ZONE_RESET_ALL, 0), Status::OK);
    assert_eq!(state(&mut queue, 1).0, ZoneState::RDONLY);
    assert!(put(ZoneState::OFFLINE, 1));
    for kind in [
        ReqType::ZONE_OPEN,
        ReqType::ZONE_CLOSE,
        ReqType::ZONE_FINISH,
        ReqType::ZONE_RESET,
    ] {
        assert_eq!(manage(&mut queue, kind, ZONE), Status::ZONE_INVALID_CMD);
    }
    assert_eq!(write(&mut queue, ZONE + 1, &[1; 512]), Status::ZONE_INVALID_CMD);
    assert_eq!(append(&mut queue, ZONE, &[1; 512]).0, Status::ZONE_INVALID_CMD);
    assert_eq!(read(&mut queue, ZONE, 512).0, Status::ZONE_INVALID_CMD);
    assert!(
        !put(ZoneState::NOT_WP, 0)
            && !handle.put_zone(
                99,
                Zone {
                    state: ZoneState::EMPTY,
                    written: 0
                }
            )
    );
}

/// dev:blk:device-operation:38, dev:blk:device-operation:39
#[test]
fn a_secure_erasure_resets_its_zones() {
    let backend = memory();
    let block = Block::new(backend, options(ZoneModel::HostManaged)).unwrap();
    let mut bench = Bench::new(block, formats()[0] | ACCEPTED);
    let mut queue = bench.start(0, 128);
    for zone in [1, 2, 3] {
        assert_eq!(write(&mut queue, zone * ZONE, &[1; 512]), Status::OK);
    }
    let mut erase =
        |list: &[(u64, u32, u32)]| request(&mut queue, ReqType::SECURE_ERASE, 0, &ranges(list), 0).0;
    assert_eq!(erase(&[(ZONE, 64, 0)]), Status::IOERR);
    assert_eq!(erase(&[(ZONE + 1, 128, 0)]), Status::IOERR);
    assert_eq!(erase(&[(ZONE, 128, 1)]), Status::UNSUPP);
    // As a reset of a conventional zone.
    assert_eq!(erase(&[(0, 128, 0)]), Status::ZONE_INVALID_CMD);
    assert_eq!(erase(&[(ZONE, 256, 0)]), Status::OK);
    let states = [1, 2, 3].map(|zone| state(&mut queue, zone));
    let (empty, open) = ((ZoneState::EMPTY, 0), (ZoneState::IOPEN, 1));
    assert_eq!(states, [empty, empty, open]);
}

#[test]
fn zones_are_shared_by_the_queues() {
    let (mut bench, _) = bench(ZoneModel::HostManaged, formats()[0]);
    let mut queues: Vec<Queue> = (0..2).map(|index| bench.start(index, 128)).collect();
    for round in 0..20_u8 {
        let queue = &mut queues[usize::from(round % 2)];
        let expected = (Status::OK, ZONE + u64::from(round));
        assert_eq!(append(queue, ZONE, &[round; 512]), expected);
    }
    let (_, data) = read(&mut queues[0], ZONE, 20 * 512);
    let expected: Vec<u8> = (0..20).flat_map(|round| [round; 512]).collect();
    assert!(data == expected);
}

/// A disk whose writes fail where it is told so.
struct Failing {
    disk: Arc<Memory>,
    fails: Mutex<HashMap<u64, io::ErrorKind>>,
}

struct FailingLane(Arc<Failing>, Box<dyn Lane>);

impl Backend for Failing {
    fn capacity(&self) -> u64 {
        self.disk.capacity()
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        let lane = self.disk.clone().lane(depth)?;
        Ok(Box::new(FailingLane(self, lane)))
    }
}

impl Lane for FailingLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        if let Request::Write { offset, .. } = request
            && let Some(kind) = self.0.fails.lock().unwrap().remove(offset)
        {
            return Some(Err(kind.into()));
        }
        self.1.now(request)
    }
}

#[test]
fn a_write_that_fails_leaves_the_write_pointer_where_it_was() {
    let backend = Arc::new(Failing {
        disk: memory(),
        fails: Mutex::default(),
    });
    let block = Block::new(backend.clone(), options(ZoneModel::HostManaged)).unwrap();
    let mut bench = Bench::new(block, formats()[0] | ACCEPTED);
    let mut queue = bench.start(0, 128);
    let fail = |sector: u64| {
        let kind = io::ErrorKind::StorageFull;
        backend.fails.lock().unwrap().insert(sector * 512, kind);
    };
    assert_eq!(write(&mut queue, ZONE, &[1; 512]), Status::OK);
    fail(ZONE + 1);
    assert_eq!(write(&mut queue, ZONE + 1, &[2; 512]), Status::IOERR);
    assert_eq!(state(&mut queue, 1), (ZoneState::IOPEN, 1));
    fail(ZONE + 1);
    assert_eq!(append(&mut queue, ZONE, &[2; 512]).0, Status::IOERR);
    assert_eq!(append(&mut queue, ZONE, &[3; 512]), (Status::OK, ZONE + 1));
    assert_eq!(read(&mut queue, ZONE + 1, 512), (Status::OK, vec![3; 512]));
}

#[test]
fn zones_are_as_they_were_in_the_next_process() {
    let folder = tempfile::tempdir().unwrap();
    let (image, kept) = (folder.path().join("disk"), folder.path().join("disk.zones"));
    fs::write(&image, vec![0; 1 << 20]).unwrap();
    let with_state = || {
        let mut options = options(ZoneModel::HostManaged);
        options.zoned.as_mut().unwrap().state = Some(kept.clone());
        options
    };
    let open = |options| Block::new(Arc::new(File::open(&image, false).unwrap()), options);
    let block = open(with_state()).unwrap();
    let handle = block.handle();
    let mut bench = Bench::new(block, formats()[0] | ACCEPTED);
    let mut queue = bench.start(0, 128);
    assert_eq!(write(&mut queue, ZONE, &[1; 1024]), Status::OK);
    assert_eq!(manage(&mut queue, ReqType::ZONE_OPEN, 2 * ZONE), Status::OK);
    assert_eq!(append(&mut queue, 3 * ZONE, &[2; 512]).0, Status::OK);
    assert_eq!(manage(&mut queue, ReqType::ZONE_FINISH, 3 * ZONE), Status::OK);
    assert_eq!(manage(&mut queue, ReqType::FLUSH, 0), Status::OK);
    let failed = Zone {
        state: ZoneState::RDONLY,
        written: 0,
    };
    assert!(handle.put_zone(5, failed));
    // The first device does not end in any orderly way.
    let mut next = Bench::new(open(with_state()).unwrap(), formats()[0] | ACCEPTED);
    let mut queue = next.start(0, 128);
    assert_eq!(state(&mut queue, 1), (ZoneState::CLOSED, 2));
    assert_eq!(state(&mut queue, 2), (ZoneState::EOPEN, 0));
    assert_eq!(state(&mut queue, 3).0, ZoneState::FULL);
    assert_eq!(state(&mut queue, 5).0, ZoneState::RDONLY);
    assert_eq!(read(&mut queue, 3 * ZONE, 512), (Status::OK, vec![2; 512]));
    assert_eq!(append(&mut queue, ZONE, &[3; 512]), (Status::OK, ZONE + 2));
    assert_eq!(manage(&mut queue, ReqType::ZONE_OPEN, 4 * ZONE), Status::OK);

    // Other zones, another file, and what cannot be.
    let refused = |options: Options| match open(options).err() {
        Some(OptionsError::ZoneFile(reason)) => reason,
        other => panic!("{other:?}"),
    };
    let mut other = with_state();
    other.zoned.as_mut().unwrap().zone_size = 131072;
    assert!(refused(other).contains("other zones"));
    let mut other = with_state();
    other.zoned.as_mut().unwrap().conventional = 2;
    assert!(refused(other).contains("other zones"));
    let mut bytes = fs::read(&kept).unwrap();
    // Behind the zones there is a journal of two queues.
    assert_eq!(bytes.len(), 4096 + 2 * 64 + 2 * (64 + 256 * 64));
    bytes[64 + 8..64 + 16].copy_from_slice(&(2_u64 << 56 | 97).to_le_bytes());
    fs::write(&kept, &bytes).unwrap();
    let reason = refused(with_state());
    assert!(reason.contains("zone 1") && reason.contains("97"), "{reason}");
    fs::write(&kept, "something else").unwrap();
    assert!(refused(with_state()).contains("another disk"));
    fs::remove_file(&kept).unwrap();
    let mut bench = Bench::new(open(with_state()).unwrap(), formats()[0] | ACCEPTED);
    let mut queue = bench.start(0, 128);
    assert_eq!(state(&mut queue, 1), (ZoneState::EMPTY, 0));
}
