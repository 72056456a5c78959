//! Disks: every request of the document, on plain disks and on zoned ones, each checked by what it has done.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use ringwright_device::block::backend::{Backend, Lane, Lifetime, Memory};
use ringwright_device::block::{self, DiskGeometry, ZoneModel, Zoned};
use ringwright_driver::Transport;
use ringwright_driver::block::{
    Block, BlockError, Blocking, BlockingError, CacheMode, Range, Refusal, Request, ScsiAnswer, Shared,
};
use ringwright_memory::Area;
use ringwright_spec::block::PreEolInfo;
use ringwright_spec::block::zoned::{Model, ZoneState, ZoneType};

use crate::block::bytes;
use crate::common::*;

const CAPACITY: u64 = 2048;
const ZONE: u64 = 128;

/// Memory that wears.
struct Worn(Arc<Memory>);

impl Backend for Worn {
    fn capacity(&self) -> u64 {
        self.0.capacity()
    }

    fn lifetime(&self) -> Option<Lifetime> {
        Some(Lifetime {
            pre_eol_info: PreEolInfo::NORMAL,
            type_a: 3,
            type_b: 11,
        })
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        self.0.clone().lane(depth)
    }
}

fn backend() -> Arc<Worn> {
    let memory = Memory::new(CAPACITY as u32 * 512).unwrap();
    Arc::new(Worn(Arc::new(memory)))
}

/// A disk that offers all there is but zones.
pub fn device() -> block::Block {
    let options = block::Options {
        serial: "a serial number".into(),
        size_max: Some(65536),
        geometry: Some(DiskGeometry {
            cylinders: 2,
            heads: 16,
            sectors: 63,
        }),
        secure_erase: true,
        scsi: true,
        ..block::Options::default()
    };
    block::Block::new(backend(), options).unwrap()
}

/// A zoned disk: 16 zones of 64 KiB, the first of them conventional.
pub fn zoned_device(model: ZoneModel) -> block::Block {
    let options = block::Options {
        secure_erase: true,
        zoned: Some(Zoned {
            model,
            zone_size: 65536,
            zone_capacity: 49152,
            conventional: 1,
            max_open: 2,
            max_active: 3,
            max_append: None,
            state: None,
        }),
        ..block::Options::default()
    };
    block::Block::new(backend(), options).unwrap()
}

fn range(sector: u64, sectors: u32, unmap: bool) -> Range {
    Range {
        sector,
        sectors,
        unmap,
    }
}

/// SCSI packet commands: one that the disk knows, and one that it does not.
fn inquire<T: Transport, W: FnMut(&mut T)>(disk: &mut Blocking<T, W>, area: &Arc<Area>) {
    let order = disk.disk().session().byte_order();
    let mut ask = |command: &[u8], room: usize| {
        let buffers = [command.len(), room, 96, 16].map(|length| area.allocate(length, 16).unwrap());
        buffers[0].write(0, command).unwrap();
        let request = Request::scsi_command(buffers.into(), 1);
        let buffers = disk.perform(request).unwrap().data.into_buffers();
        let answer = ScsiAnswer::read(&buffers[3], order).unwrap();
        (bytes(&buffers[1]), bytes(&buffers[2]), answer)
    };
    let (data, _, answer) = ask(&[0x12, 0, 0, 0, 64, 0], 64);
    assert_eq!(&data[8..16], b"RINGWRGT");
    let expected = |errors, sense_len, residual| ScsiAnswer {
        errors,
        sense_len,
        residual,
    };
    assert_eq!(answer, expected(0, 0, 28));
    let (_, sense, answer) = ask(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], 512);
    assert_eq!((answer, sense[2]), (expected(2, 18, 512), 5));
}

/// Every request of a disk that offers all.
pub fn exercise<T: Transport>(mut disk: Block<T>, area: &Arc<Area>, wait: impl FnMut(&mut T)) {
    let geometry = disk.geometry();
    assert_eq!((geometry.capacity, geometry.segment_size), (CAPACITY, 65536));
    assert_eq!(geometry.disk.unwrap().heads, 16);
    assert_eq!(geometry.topology.unwrap().physical_block_exp, 3);
    assert_eq!(disk.cache_mode().unwrap(), CacheMode::WriteBack);
    for mode in [CacheMode::WriteThrough, CacheMode::WriteBack] {
        assert!(disk.set_cache_mode(mode).unwrap());
        assert_eq!(disk.cache_mode().unwrap(), mode);
    }
    let legacy = disk.session().is_legacy();
    assert_eq!(geometry.scsi, legacy);
    let mut disk = Blocking::new(disk, 8192, wait);
    if legacy {
        inquire(&mut disk, area);
    }
    let written = content(7, 20 * 512);
    disk.write(3, &written).unwrap();
    disk.flush().unwrap();
    let mut read = vec![0; written.len()];
    disk.read(3, &mut read).unwrap();
    assert!(read == written);
    assert_eq!(&disk.id().unwrap(), b"a serial number\0\0\0\0\0");
    let lifetime = disk.lifetime().unwrap();
    assert_eq!(
        (lifetime.pre_eol_info, lifetime.type_a, lifetime.type_b),
        (PreEolInfo::NORMAL, 3, 11)
    );
    // Zeroes in the middle of what was written, kept and deallocated, and erased.
    disk.write_zeroes(&[range(4, 2, false), range(8, 1, true)])
        .unwrap();
    disk.secure_erase(&[range(10, 3, false)]).unwrap();
    disk.read(3, &mut read).unwrap();
    let mut expected = written.clone();
    for (first, count) in [(4, 2), (8, 1), (10, 3)] {
        expected[(first - 3) * 512..][..count * 512].fill(0);
    }
    assert!(read == expected);
    disk.discard(&[range(16, 4, false), range(1000, 24, false)])
        .unwrap();
    disk.read(3, &mut read).unwrap();
    assert!(read[..13 * 512] == expected[..13 * 512] && read[17 * 512..] == expected[17 * 512..]);
    // Several buffers to one request, if the virtqueue has room for them.
    let buffers = || [512, 2048, 1024].map(|length| area.allocate(length, 512).unwrap());
    let (from, into) = (buffers(), buffers());
    for (number, buffer) in from.iter().enumerate() {
        buffer.write(0, &content(number as u64, buffer.len())).unwrap();
    }
    match disk.perform(Request::write(100, Vec::from(from))) {
        Err(BlockingError::Refused(Refusal::Segments(3))) => {}
        outcome => {
            let expected = outcome.unwrap().data;
            let found = disk.perform(Request::read(100, Vec::from(into))).unwrap().data;
            for (expected, found) in expected.as_slice().iter().zip(found.as_slice()) {
                assert!(bytes(expected) == bytes(found));
            }
            assert_eq!(found.as_slice().len(), 3);
        }
    }
}

/// Every request of a zoned disk.
pub fn exercise_zones<T: Transport>(disk: Block<T>, wait: impl FnMut(&mut T)) {
    let geometry = disk.geometry();
    let zones = geometry.zones.unwrap();
    assert_eq!((zones.zone_sectors, zones.count(CAPACITY)), (128, 16));
    let managed = zones.model == Model::HM;
    let mut disk = Blocking::new(disk, 8192, wait);
    let report = disk.zones(0, 99).unwrap();
    assert_eq!((report.len(), report[0].kind), (16, ZoneType::CONV));
    let state = |disk: &mut Blocking<T, _>, zone: u64| {
        let zone = disk.zones(zone * ZONE + 1, 1).unwrap()[0];
        (zone.state, zone.write_pointer.map(|pointer| pointer - zone.start))
    };
    let data = content(9, 1024);
    if managed {
        assert_eq!(disk.append(ZONE, &data).unwrap(), ZONE);
        assert_eq!(disk.append(ZONE, &data).unwrap(), ZONE + 2);
        assert_eq!(state(&mut disk, 1), (ZoneState::IOPEN, Some(4)));
        assert!(matches!(
            disk.write(ZONE, &data),
            Err(BlockingError::Failed(BlockError::ZoneUnaligned))
        ));
    } else {
        assert!(matches!(
            disk.append(ZONE, &data),
            Err(BlockingError::Failed(BlockError::ZoneInvalidCommand))
        ));
        disk.write(ZONE + 2, &data).unwrap();
        disk.write(ZONE, &data).unwrap();
    }
    disk.write(ZONE + 4, &data).unwrap();
    let mut read = vec![0; 4096];
    disk.read(ZONE, &mut read).unwrap();
    assert!(read == [&data[..], &data, &data, &[0; 1024]].concat());
    disk.perform(Request::zone_close(ZONE)).unwrap();
    assert_eq!(state(&mut disk, 1), (ZoneState::CLOSED, Some(6)));
    for zone in [2, 3] {
        disk.perform(Request::zone_open(zone * ZONE)).unwrap();
    }
    let failure = |disk: &mut Blocking<T, _>, request| match disk.perform(request) {
        Err(BlockingError::Failed(error)) => error,
        other => panic!("{other:?}"),
    };
    let (open, active) = (BlockError::ZoneOpenResource, BlockError::ZoneActiveResource);
    assert_eq!(failure(&mut disk, Request::zone_open(ZONE)), open);
    assert_eq!(failure(&mut disk, Request::zone_open(4 * ZONE)), active);
    let invalid = BlockError::ZoneInvalidCommand;
    assert_eq!(failure(&mut disk, Request::zone_open(0)), invalid);
    disk.perform(Request::zone_finish(ZONE)).unwrap();
    assert_eq!(state(&mut disk, 1), (ZoneState::FULL, None));
    disk.perform(Request::zone_reset(ZONE)).unwrap();
    assert_eq!(state(&mut disk, 1), (ZoneState::EMPTY, Some(0)));
    disk.perform(Request::zone_close(2 * ZONE)).unwrap();
    assert_eq!(state(&mut disk, 2), (ZoneState::EMPTY, Some(0)));
    disk.write(4 * ZONE, &data).unwrap();
    disk.secure_erase(&[range(4 * ZONE, 128, false)]).unwrap();
    assert_eq!(state(&mut disk, 4), (ZoneState::EMPTY, Some(0)));
    disk.perform(Request::zone_reset_all()).unwrap();
    for zone in disk.zones(ZONE, 99).unwrap() {
        assert_eq!(
            (zone.state, zone.write_pointer),
            (ZoneState::EMPTY, Some(zone.start))
        );
    }
}

#[test]
fn every_request() {
    for (format, size) in shapes() {
        let loopback = join(device(), format);
        let area = loopback.area().clone();
        exercise(
            Block::new(loopback, &area, 1, options(format, size)).unwrap(),
            &area,
            wait,
        );
        for model in [ZoneModel::HostManaged, ZoneModel::HostAware] {
            let loopback = join(zoned_device(model), format);
            let area = loopback.area().clone();
            exercise_zones(
                Block::new(loopback, &area, 1, options(format, size)).unwrap(),
                wait,
            );
            assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
        }
    }
}

/// drv:blk:device-initialization:06, dev:blk:device-initialization:07: neither end wants the other without zones.
#[test]
fn a_host_managed_disk_is_not_driven_without_zones() {
    let format = formats()[0];
    let loopback = join(zoned_device(ZoneModel::HostManaged), format);
    let area = loopback.area().clone();
    let mut options = options(format, 16);
    options.accept = options.accept - ringwright_spec::block::features::ZONED;
    let error = Block::new(loopback, &area, 1, options).err().unwrap();
    let refused = matches!(error, ringwright_driver::DriverError::FeaturesRefused(_));
    assert!(refused, "{error}");
}

/// Some task has been woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn futures_of_many_requests() {
    for (format, size) in shapes() {
        let loopback = join(device(), format);
        let area = loopback.area().clone();
        let disk = Shared::new(Block::new(loopback, &area, 1, options(format, size)).unwrap());
        let task = |number: u64| {
            let (disk, area) = (&disk, &area);
            async move {
                let buffer = || area.allocate(1024, 512).unwrap();
                let data = content(number, 1024);
                let from = buffer();
                from.write(0, &data).unwrap();
                let write = disk.perform(0, Request::write(number * 2, from)).await.unwrap();
                write.result.unwrap();
                let read = disk
                    .perform(0, Request::read(number * 2, buffer()))
                    .await
                    .unwrap();
                read.result.unwrap();
                assert!(bytes(&read.data.into_buffer().unwrap()) == data);
            }
        };
        let mut tasks: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for number in 0..100 {
            tasks.push(Box::pin(task(number)));
        }
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let mut context = Context::from_waker(&waker);
        let deadline = Deadline::new();
        loop {
            tasks.retain_mut(|task| task.as_mut().poll(&mut context) == Poll::Pending);
            if tasks.is_empty() {
                break;
            }
            deadline.check();
            disk.process().unwrap();
            if !woken.0.swap(false, Ordering::Relaxed) && !disk.enable_notifications() {
                disk.with(|disk| wait(disk.session().transport()));
            }
        }
    }
}
