//! Zoned disks.

use std::vec;
use std::vec::Vec;

use ringwright_spec::block::zoned::{Characteristics, ZoneDescriptor, ZoneReport, ZoneState, ZoneType};
use ringwright_spec::feature;
use ringwright_spec::status::Status;
use zerocopy::{FromZeros, IntoBytes};

use super::requests_tests::{buffer, device_with, drive, see};
use super::*;
use crate::testing::{FORMATS, Fake};

/// 16 zones of 64 sectors, the last one short.
const CAPACITY: u64 = 1000;

fn zoned(model: Model) -> Config {
    Config {
        capacity: CAPACITY.into(),
        max_discard_sectors: 8.into(),
        max_discard_seg: 1.into(),
        zoned: Characteristics {
            zone_sectors: 64.into(),
            max_open_zones: 3.into(),
            max_active_zones: 5.into(),
            max_append_sectors: 16.into(),
            write_granularity: 4096.into(),
            model: model.0,
            unused2: [0; 3],
        },
        ..Config::default()
    }
}

fn device(features: Features, model: Model) -> Fake {
    device_with(features | features::ZONED | features::DISCARD, &zoned(model), 64)
}

/// drv:blk:device-initialization:06
#[test]
fn a_host_managed_device_is_driven_without_discard() {
    for (model, discard) in [(Model::HM, false), (Model::HA, true), (Model::NONE, true)] {
        let fake = device(feature::VERSION_1, model);
        let (mut disk, _device) = drive(&fake, Options::default());
        assert!(disk.session().has(features::ZONED));
        assert_eq!(disk.session().has(features::DISCARD), discard);
        assert_eq!(disk.geometry().discard.is_some(), discard);
        let zones = disk.geometry().zones;
        assert_eq!(
            zones.map(|zones| zones.model),
            (model != Model::NONE).then_some(model)
        );
        if let Some(zones) = zones {
            assert_eq!(zones.count(CAPACITY), 16);
            assert_eq!((zones.max_open_zones, zones.max_active_zones), (3, 5));
        }
    }
}

/// drv:blk:device-initialization:08
#[test]
fn a_zone_model_that_cannot_be_used_ends_in_failed_and_not_in_features_ok() {
    let change = |change: fn(&mut Config)| {
        let mut config = zoned(Model::HM);
        change(&mut config);
        let fake = device_with(feature::VERSION_1 | features::ZONED, &config, 8);
        let error = Block::new(fake.clone(), &fake.area(), 1, Options::default()).err();
        assert!(matches!(error, Some(DriverError::Device { .. })));
        let status = fake.status_now();
        assert!(status.contains(Status::FAILED) && !status.contains(Status::FEATURES_OK));
        assert!(fake.is_area_whole());
    };
    change(|config| config.zoned.model = 3);
    change(|config| config.zoned.zone_sectors = 0.into());
    change(|config| config.zoned.write_granularity = 0.into());
    change(|config| config.zoned.write_granularity = 513.into());
}

/// drv:blk:device-operation:17, drv:blk:device-operation:18, drv:blk:device-operation:20,
/// drv:blk:device-operation:21, drv:blk:device-operation:22
#[test]
fn each_zone_request_is_as_the_document_says() {
    for format in FORMATS {
        let fake = device(format, Model::HM);
        let (mut disk, mut device) = drive(&fake, Options::default());
        let requests = [
            Request::zone_report(65, buffer(&fake, 64 + 3 * 64)),
            Request::zone_open(64),
            Request::zone_close(128),
            Request::zone_finish(960),
            Request::zone_reset(0),
            Request::zone_reset_all(),
            Request::zone_append(64, buffer(&fake, 8192)),
            Request::zone_append(64, vec![buffer(&fake, 512), buffer(&fake, 3584)]),
        ];
        for (tag, request) in requests.into_iter().enumerate() {
            disk.submit(0, request, tag as u64).unwrap();
        }
        disk.publish(0).unwrap();
        let at = 70_u64.to_le_bytes();
        assert_eq!(
            see(&mut device, &at),
            [
                (16, 65, vec![], 257),
                (18, 64, vec![], 1),
                (20, 128, vec![], 1),
                (22, 960, vec![], 1),
                (24, 0, vec![], 1),
                (26, 0, vec![], 1),
                (15, 64, vec![0; 8192], 9),
                (15, 64, vec![0; 4096], 9),
            ]
        );
        for tag in 0..8 {
            let completion = disk.poll(0).unwrap().unwrap();
            assert_eq!((completion.tag, completion.result), (tag, Ok(())));
            assert_eq!(completion.append_sector, (tag >= 6).then_some(70));
        }
        drop(disk);
        assert!(fake.is_area_whole());
    }
}

#[test]
fn data_are_not_appended_to_other_zones() {
    for (sector, fits) in [
        (64, true),
        (127, true),
        (63, false),
        (128, false),
        (u64::MAX, false),
    ] {
        let fake = device(feature::VERSION_1, Model::HM);
        let (mut disk, mut device) = drive(&fake, Options::default());
        disk.submit(0, Request::zone_append(64, buffer(&fake, 4096)), 0)
            .unwrap();
        disk.publish(0).unwrap();
        see(&mut device, &sector.to_le_bytes());
        let completion = disk.poll(0).unwrap().unwrap();
        assert_eq!(completion.append_sector, fits.then_some(sector));
        let expected = match fits {
            true => Ok(()),
            false => Err(BlockError::Appended(sector)),
        };
        assert_eq!(completion.result, expected);
    }
}

/// drv:blk:device-operation:20, drv:blk:device-operation:22, drv:blk:device-operation:23, drv:blk:device-operation:25
#[test]
fn what_a_zoned_device_does_not_allow_is_not_sent() {
    let fake = device(feature::VERSION_1, Model::HM);
    let (mut disk, mut device) = drive(&fake, Options::default());
    let whole = |length| buffer(&fake, length);
    let beyond = Refusal::BeyondCapacity(CAPACITY);
    for (request, reason) in [
        (Request::zone_open(1), Refusal::Unaligned(64)),
        (Request::zone_close(63), Refusal::Unaligned(64)),
        (Request::zone_finish(32), Refusal::Unaligned(64)),
        (Request::zone_reset(65), Refusal::Unaligned(64)),
        (Request::zone_reset(1024), beyond),
        (Request::zone_append(8, whole(4096)), Refusal::Unaligned(64)),
        (Request::zone_append(64, whole(512)), Refusal::Unaligned(8)),
        (Request::zone_append(64, whole(5120)), Refusal::Unaligned(8)),
        (Request::zone_append(64, whole(12288)), Refusal::Length(12288)),
        (Request::zone_append(1024, whole(4096)), beyond),
        (Request::write(64, whole(512)), Refusal::Unaligned(8)),
        (Request::write(65, whole(4096)), Refusal::Unaligned(8)),
        (Request::zone_report(0, whole(63)), Refusal::Length(63)),
        (Request::zone_report(0, whole(100)), Refusal::Length(100)),
        (Request::zone_report(CAPACITY, whole(128)), beyond),
    ] {
        let refused = disk.submit(0, request, 0).unwrap_err();
        assert_eq!(refused.reason, reason);
    }
    disk.publish(0).unwrap();
    assert!(see(&mut device, &[]).is_empty());
    disk.submit(0, Request::write(64, whole(4096)), 0).unwrap();
    disk.submit(0, Request::read(65, whole(512)), 0).unwrap();
}

#[test]
fn reports_are_read_and_not_believed() {
    let fake = device(feature::VERSION_1, Model::HM);
    let descriptor = |start: u64, pointer: u64, kind: ZoneType, state: ZoneState| {
        let mut zone = ZoneDescriptor::new_zeroed();
        zone.z_start = start.into();
        zone.z_cap = 60.into();
        zone.z_wp = pointer.into();
        (zone.z_type, zone.z_state) = (kind.0, state.0);
        zone
    };
    let read = |count: u64, zones: &[ZoneDescriptor]| -> Vec<Option<Zone>> {
        let mut head = ZoneReport::new_zeroed();
        head.nr_zones = count.into();
        let report = buffer(&fake, 64 + 64 * zones.len());
        report.write(0, head.as_bytes()).unwrap();
        report.write(64, zones.as_bytes()).unwrap();
        read_report(&report).collect()
    };
    let good = descriptor(64, 70, ZoneType::SWR, ZoneState::IOPEN);
    let zone = Zone {
        start: 64,
        capacity: 60,
        write_pointer: Some(70),
        kind: ZoneType::SWR,
        state: ZoneState::IOPEN,
    };
    assert_eq!(read(1, &[good, good]), [Some(zone)]);
    assert_eq!(read(3, &[good, good]), [Some(zone), Some(zone), None]);
    assert_eq!(read(u64::MAX, &[]), [None]);
    assert!(read_report(&buffer(&fake, 63)).next().is_none());
    let full = descriptor(0, u64::MAX, ZoneType::SWP, ZoneState::FULL);
    let conventional = descriptor(0, 0, ZoneType::CONV, ZoneState::NOT_WP);
    for (zone, pointer) in [(full, None), (conventional, None)] {
        assert_eq!(read(1, &[zone])[0].unwrap().write_pointer, pointer);
    }
    for wrong in [
        descriptor(64, 63, ZoneType::SWR, ZoneState::IOPEN),
        descriptor(64, 125, ZoneType::SWR, ZoneState::CLOSED),
        descriptor(64, 65, ZoneType::SWR, ZoneState::EMPTY),
        descriptor(64, 64, ZoneType::SWR, ZoneState::NOT_WP),
        descriptor(64, 64, ZoneType::CONV, ZoneState::EMPTY),
        descriptor(64, 64, ZoneType(4), ZoneState::EMPTY),
        descriptor(64, 64, ZoneType::SWR, ZoneState(5)),
        descriptor(u64::MAX, u64::MAX, ZoneType::SWR, ZoneState::FULL),
    ] {
        assert_eq!(read(1, &[wrong]), [None], "{wrong:?}");
    }
}
