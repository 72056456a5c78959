//! Features, the configuration space, the cache: what a disk says of itself, and what its driver may change.

use std::io;
use std::sync::atomic::{AtomicU64, AtomicUsize};

use ringwright_ring::ByteOrder;
use ringwright_spec::block::zoned::Model;
use ringwright_spec::block::{PreEolInfo, ReqType, Status};

use super::backend::{File, Lane, Lifetime, Limited, Memory, Null, Request};
use super::tests::{ranges, read, request, write};
use super::*;
use crate::HostError;
use crate::testing::{Bench, formats};

/// A disk that counts what is made stable, and whose size and wear can be set.
#[derive(Default)]
struct Counting {
    capacity: AtomicU64,
    flushes: AtomicUsize,
    /// Ranges that may be deallocated.
    unmapped: AtomicUsize,
    lifetime: Option<Lifetime>,
}

impl Counting {
    fn new(lifetime: Option<Lifetime>) -> Arc<Self> {
        Arc::new(Self {
            capacity: AtomicU64::new(1 << 20),
            lifetime,
            ..Self::default()
        })
    }

    /// How often something was made stable since this was last called.
    fn flushes(&self) -> usize {
        self.flushes.swap(0, Ordering::SeqCst)
    }
}

impl Backend for Counting {
    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::SeqCst)
    }

    fn lifetime(&self) -> Option<Lifetime> {
        self.lifetime
    }

    fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
        Ok(Box::new(CountingLane(self)))
    }
}

struct CountingLane(Arc<Counting>);

impl Lane for CountingLane {
    fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
        let stable = match request {
            Request::Flush => true,
            Request::Write { stable, .. } | Request::WriteZeroes { stable, .. } => *stable,
            _ => false,
        };
        self.0.flushes.fetch_add(stable.into(), Ordering::SeqCst);
        let unmapped = matches!(
            request,
            Request::Discard { .. } | Request::WriteZeroes { unmap: true, .. }
        );
        self.0.unmapped.fetch_add(unmapped.into(), Ordering::SeqCst);
        Some(Ok(()))
    }
}

fn null(options: Options) -> Block {
    Block::new(Arc::new(Null { capacity: 1 << 30 }), options).unwrap()
}

fn zoned(model: ZoneModel) -> Zoned {
    Zoned {
        model,
        zone_size: 1 << 20,
        zone_capacity: 768 << 10,
        conventional: 2,
        max_open: 7,
        max_active: 9,
        max_append: None,
        state: None,
    }
}

fn with_zones(model: ZoneModel) -> Options {
    Options {
        zoned: Some(zoned(model)),
        block_size: 4096,
        secure_erase: true,
        ..Options::default()
    }
}

fn config_of(bench: &Bench) -> Config {
    let mut bytes = [0xff; size_of::<Config>()];
    bench.host.read_config(0, &mut bytes).unwrap();
    zerocopy::transmute!(bytes)
}

#[test]
fn every_option_is_in_the_configuration_space() {
    let options = Options {
        size_max: Some(65536),
        seg_max: 30,
        geometry: Some(DiskGeometry {
            cylinders: 1000,
            heads: 16,
            sectors: 63,
        }),
        topology: DiskTopology {
            physical_block_size: 8192,
            alignment_offset: 3,
            min_io_size: 16384,
            opt_io_size: 1 << 20,
        },
        secure_erase: true,
        ..Options::default()
    };
    let bench = Bench::new(null(options), formats()[0]);
    let expected = features::SIZE_MAX
        | features::SEG_MAX
        | features::GEOMETRY
        | features::BLK_SIZE
        | features::FLUSH
        | features::TOPOLOGY
        | features::CONFIG_WCE
        | features::DISCARD
        | features::WRITE_ZEROES
        | features::SECURE_ERASE;
    assert_eq!(
        bench.host.offered_features() & feature::DEVICE_TYPE_BITS,
        expected
    );
    let config = config_of(&bench);
    assert_eq!((config.size_max.get(), config.seg_max.get()), (65536, 30));
    let geometry = config.geometry;
    assert_eq!(
        (geometry.cylinders.get(), geometry.heads, geometry.sectors),
        (1000, 16, 63)
    );
    let topology = config.topology;
    assert_eq!((topology.physical_block_exp, topology.alignment_offset), (4, 3));
    assert_eq!(
        (topology.min_io_size.get(), topology.opt_io_size.get()),
        (32, 2048)
    );
    assert_eq!(config.max_secure_erase_seg.get(), 16);
    assert_eq!(config.secure_erase_sector_alignment.get(), 1);
    assert_eq!(config.write_zeroes_may_unmap, 1);
    // dev:blk:device-initialization:03
    assert_eq!((config.unused0, config.unused1), (0, [0; 3]));
}

#[test]
fn options_that_no_disk_can_have() {
    let refused = |change: fn(&mut Options)| {
        let mut options = with_zones(ZoneModel::HostManaged);
        change(&mut options);
        Block::new(Arc::new(Null { capacity: 1 << 30 }), options)
            .err()
            .unwrap()
    };
    fn zones(options: &mut Options) -> &mut Zoned {
        options.zoned.as_mut().unwrap()
    }
    assert_eq!(refused(|o| o.size_max = Some(511)), OptionsError::Segments(256));
    assert_eq!(refused(|o| o.seg_max = 0), OptionsError::Segments(256));
    assert_eq!(
        refused(|o| o.topology.physical_block_size = 512),
        OptionsError::Topology
    );
    assert_eq!(
        refused(|o| o.topology.physical_block_size = 12288),
        OptionsError::Topology
    );
    assert_eq!(refused(|o| o.topology.min_io_size = 512), OptionsError::Topology);
    assert_eq!(refused(|o| o.topology.opt_io_size = 4097), OptionsError::Topology);
    assert_eq!(
        refused(|o| o.topology.min_io_size = 1 << 30),
        OptionsError::Topology
    );
    for change in [
        |o: &mut Options| zones(o).zone_size = 0,
        |o: &mut Options| zones(o).zone_size = 5000,
        |o: &mut Options| zones(o).zone_size = 1 << 50,
        |o: &mut Options| zones(o).zone_capacity = 2 << 20,
        |o: &mut Options| zones(o).zone_capacity = 512,
        |o: &mut Options| zones(o).max_active = 6,
        |o: &mut Options| zones(o).max_append = Some(1 << 20),
        |o: &mut Options| zones(o).max_append = Some(512),
    ] {
        assert!(matches!(refused(change), OptionsError::Zones(_)));
    }
}

/// dev:blk:device-initialization:01, dev:blk:device-initialization:02
#[test]
fn the_cache_is_what_was_negotiated() {
    let both = features::CONFIG_WCE | features::FLUSH;
    let cases = [
        // What the disk is, what is accepted, and whether the cache is a writeback one then.
        (Cache::WriteBack, both, true),
        (Cache::WriteThrough, both, false),
        (Cache::WriteBack, features::CONFIG_WCE, false),
        (Cache::WriteBack, features::FLUSH, true),
        (Cache::WriteBack, Features::NONE, false),
        (Cache::WriteThrough, Features::NONE, false),
    ];
    for (cache, accepted, write_back) in cases {
        let backend = Counting::new(None);
        let options = Options {
            cache,
            ..Options::default()
        };
        let block = Block::new(backend.clone(), options).unwrap();
        let features = formats()[0] | features::WRITE_ZEROES | accepted;
        let mut bench = Bench::new(block, features);
        assert!(bench.host.offered_features().contains(both));
        assert_eq!(
            config_of(&bench).writeback,
            write_back.into(),
            "{cache:?} {accepted:?}"
        );
        let mut queue = bench.start(0, 128);
        let written = |queue: &mut crate::testing::Queue| {
            assert_eq!(write(queue, 0, &[1; 512]), Status::OK);
            let zeroes = request(queue, ReqType::WRITE_ZEROES, 0, &ranges(&[(0, 1, 0)]), 0);
            assert_eq!(zeroes.0, Status::OK);
            backend.flushes()
        };
        assert_eq!(written(&mut queue), if write_back { 0 } else { 2 });
        // The driver switches, if it may: from the next write on it is so.
        let at = offset_of!(Config, writeback);
        let switched = bench.host.write_config(at, &[1]).is_ok();
        assert_eq!(switched, accepted.contains(features::CONFIG_WCE));
        if switched {
            assert_eq!((config_of(&bench).writeback, written(&mut queue)), (1, 0));
            bench.host.write_config(at, &[0]).unwrap();
            assert_eq!((config_of(&bench).writeback, written(&mut queue)), (0, 2));
            for wrong in [(at, 2), (at + 1, 0), (0, 0)] {
                assert!(bench.host.write_config(wrong.0, &[wrong.1]).is_err());
            }
            // It goes with the device to another place.
            drop(queue);
            bench.host.stop_queue(0).unwrap();
            let saved = bench.host.save().unwrap();
            let other = Block::new(Counting::new(None), Options::default()).unwrap();
            let mut successor = bench.successor(other);
            successor.host.restore(&saved).unwrap();
            assert_eq!(config_of(&successor).writeback, 0);
        }
        bench.host.reset();
        assert_eq!(config_of(&bench).writeback, (cache == Cache::WriteBack).into());
    }
}

/// Section 5.2.5.2.
#[test]
fn a_legacy_driver_changes_the_cache_by_nothing_but_driver_ok_and_a_write() {
    let at = offset_of!(Config, writeback);
    let backend = Counting::new(None);
    let block = Block::new(backend, Options::default()).unwrap();
    let mut bench = Bench::legacy(block, features::CONFIG_WCE, ByteOrder::Little);
    assert_eq!(config_of(&bench).writeback, 1, "not for the lack of FLUSH");
    bench.host.write_legacy_config(at, &[0]).unwrap();
    let _queue = bench.start(0, 16);
    assert_eq!(config_of(&bench).writeback, 0);
    let block = Block::new(Counting::new(None), Options::default()).unwrap();
    let mut bench = Bench::legacy(block, Features::NONE, ByteOrder::Little);
    assert_eq!(config_of(&bench).writeback, 1);
    let _queue = bench.start(0, 16);
    assert_eq!(config_of(&bench).writeback, 0, "it does not flush");
}

/// dev:blk:device-operation:02
#[test]
fn a_change_of_capacity_is_told() {
    let backend = Counting::new(None);
    let block = Block::new(backend.clone(), Options::default()).unwrap();
    let handle = block.handle();
    handle.capacity_changed();
    let mut bench = Bench::new(block, formats()[0] | features::FLUSH);
    let mut queue = bench.start(0, 16);
    assert_eq!(read(&mut queue, 4000, 512).0, Status::IOERR);
    backend.capacity.store(2 << 20, Ordering::SeqCst);
    handle.capacity_changed();
    bench.events.wait_config_changes(1);
    assert_eq!(config_of(&bench).capacity.get(), 4096);
    assert_eq!(read(&mut queue, 4000, 512).0, Status::OK);
    drop(queue);
    bench.host.reset();
    handle.capacity_changed();
    assert_eq!(bench.events.config_changes(), 1);
}

#[test]
fn a_changed_size_is_looked_at_and_told_in_whole_blocks() {
    let image = tempfile::NamedTempFile::new().unwrap();
    image.as_file().set_len(1 << 20).unwrap();
    let file = Arc::new(File::open(image.path(), false).unwrap());
    // As behind limits, which are not the ones to know.
    let limited = Arc::new(Limited::new(file, None, None));
    let options = Options {
        block_size: 4096,
        ..Options::default()
    };
    let block = Block::new(limited.clone(), options).unwrap();
    let handle = block.handle();
    let mut bench = Bench::new(block, formats()[0]);
    let _queue = bench.start(0, 16);
    assert_eq!(handle.refresh().unwrap().now, 1 << 20);
    assert_eq!(bench.events.config_changes(), 0);
    image.as_file().set_len((2 << 20) + 512).unwrap();
    assert_eq!(handle.refresh().unwrap().now, (2 << 20) + 512);
    bench.events.wait_config_changes(1);
    assert_eq!(config_of(&bench).capacity.get(), 4096);
    image.as_file().set_len(0).unwrap();
    assert!(handle.refresh().unwrap_err().to_string().contains("empty"));
    assert_eq!(config_of(&bench).capacity.get(), 4096);

    image.as_file().set_len(1 << 20).unwrap();
    let zoned = Zoned {
        model: ZoneModel::HostAware,
        zone_size: 1 << 20,
        zone_capacity: 0,
        conventional: 0,
        max_open: 0,
        max_active: 0,
        max_append: None,
        state: None,
    };
    let options = Options {
        zoned: Some(zoned),
        ..Options::default()
    };
    let handle = Block::new(limited, options).unwrap().handle();
    assert_eq!(handle.refresh().unwrap_err().kind(), io::ErrorKind::Unsupported);
}

/// dev:blk:device-operation:14, dev:blk:device-operation:15
#[test]
fn the_wear_of_the_storage() {
    let block = Block::new(Counting::new(None), Options::default()).unwrap();
    let mut bench = Bench::new(block, formats()[0]);
    assert!(!bench.host.offered_features().contains(features::LIFETIME));
    let mut queue = bench.start(0, 16);
    assert_eq!(
        request(&mut queue, ReqType::GET_LIFETIME, 0, &[], 6).0,
        Status::UNSUPP
    );
    let told = |pre_eol_info, type_a, type_b| {
        let lifetime = Lifetime {
            pre_eol_info,
            type_a,
            type_b,
        };
        let block = Block::new(Counting::new(Some(lifetime)), Options::default()).unwrap();
        let mut bench = Bench::new(block, formats()[0] | features::LIFETIME);
        let mut queue = bench.start(0, 16);
        let (status, data) = request(&mut queue, ReqType::GET_LIFETIME, 0, &[], 6);
        assert_eq!(status, Status::OK);
        // One with less room is given less.
        assert_eq!(request(&mut queue, ReqType::GET_LIFETIME, 0, &[], 3).1, data[..3]);
        data
    };
    assert_eq!(told(PreEolInfo::WARNING, 1, 11), [2, 0, 1, 0, 11, 0]);
    assert_eq!(told(PreEolInfo(4), 12, 0x100), [0; 6]);
}

/// dev:blk:device-operation:03, dev:blk:device-operation:04, dev:blk:device-operation:05
#[test]
fn what_is_written_to_a_read_only_disk_and_what_is_unknown() {
    struct ReadOnly;
    impl Backend for ReadOnly {
        fn capacity(&self) -> u64 {
            1 << 20
        }
        fn read_only(&self) -> bool {
            true
        }
        fn lane(self: Arc<Self>, _depth: u16) -> io::Result<Box<dyn Lane>> {
            Ok(Box::new(Self))
        }
    }
    impl Lane for ReadOnly {
        fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
            assert!(matches!(request, Request::Read { .. }), "{request:?}");
            Some(Ok(()))
        }
    }
    let options = || Options {
        secure_erase: true,
        ..Options::default()
    };
    let block = Block::new(Arc::new(ReadOnly), options()).unwrap();
    let mut bench = Bench::new(block, formats()[0] | features::RO);
    let changing = features::DISCARD | features::WRITE_ZEROES | features::SECURE_ERASE;
    assert!(!bench.host.offered_features().intersects(changing));
    let mut queue = bench.start(0, 16);
    assert_eq!(write(&mut queue, 0, &[1; 512]), Status::IOERR);
    assert_eq!(read(&mut queue, 0, 512).0, Status::OK);

    let backend = Arc::new(Memory::new(1 << 20).unwrap());
    let block = Block::new(backend, options()).unwrap();
    let mut bench = Bench::new(block, formats()[0] | features::FLUSH | changing);
    let mut queue = bench.start(0, 16);
    let mut status = |kind, flags| {
        let list = ranges(&[(0, 1, 0), (8, 8, flags)]);
        request(&mut queue, kind, 0, &list, 0).0
    };
    for kind in [ReqType::DISCARD, ReqType::WRITE_ZEROES, ReqType::SECURE_ERASE] {
        assert_eq!(status(kind, 0), Status::OK);
        for unknown in [2, 1 << 31, 3] {
            assert_eq!(status(kind, unknown), Status::UNSUPP, "{kind:?}");
        }
    }
    assert_eq!(status(ReqType::DISCARD, 1), Status::UNSUPP);
    assert_eq!(status(ReqType::SECURE_ERASE, 1), Status::UNSUPP);
    assert_eq!(status(ReqType::WRITE_ZEROES, 1), Status::OK);
}

#[test]
fn nothing_is_deallocated_unless_that_is_allowed() {
    for (discard, expected) in [(true, 1), (false, 0)] {
        let backend = Counting::new(None);
        let options = Options {
            discard,
            ..Options::default()
        };
        let block = Block::new(backend.clone(), options).unwrap();
        let mut bench = Bench::new(block, formats()[0] | features::WRITE_ZEROES);
        let mut queue = bench.start(0, 16);
        for unmap in [0, 1] {
            let list = ranges(&[(0, 1, unmap)]);
            let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &list, 0);
            assert_eq!(zeroes.0, Status::OK);
        }
        assert_eq!(backend.unmapped.load(Ordering::SeqCst), expected);
    }
}

/// dev:blk:device-operation:08
#[test]
fn zeroes_are_read_whether_or_not_they_are_deallocated() {
    for discard in [true, false] {
        let options = Options {
            discard,
            secure_erase: true,
            ..Options::default()
        };
        let block = Block::new(Arc::new(Memory::new(1 << 20).unwrap()), options).unwrap();
        let accepted = features::FLUSH | features::WRITE_ZEROES | features::SECURE_ERASE;
        let mut bench = Bench::new(block, formats()[0] | accepted);
        // dev:blk:device-operation:09
        assert_eq!(config_of(&bench).write_zeroes_may_unmap, discard.into());
        assert_eq!(bench.host.offered_features().contains(features::DISCARD), discard);
        let mut queue = bench.start(0, 16);
        for (kind, unmap) in [
            (ReqType::WRITE_ZEROES, 0),
            (ReqType::WRITE_ZEROES, 1),
            (ReqType::SECURE_ERASE, 0),
        ] {
            assert_eq!(write(&mut queue, 0, &[7; 2048]), Status::OK);
            let list = ranges(&[(1, 2, unmap)]);
            assert_eq!(request(&mut queue, kind, 0, &list, 0).0, Status::OK);
            let expected = [[7; 512], [0; 512], [0; 512], [7; 512]].concat();
            assert_eq!(read(&mut queue, 0, 2048), (Status::OK, expected));
        }
    }
}

/// dev:blk:device-initialization:08, dev:blk:device-initialization:09, dev:blk:device-initialization:11,
/// dev:blk:device-initialization:12, dev:blk:device-initialization:13, dev:blk:device-initialization:14,
/// dev:blk:device-initialization:16, dev:blk:device-initialization:17, dev:blk:device-operation:37
#[test]
fn zones_are_in_the_configuration_space() {
    for (model, expected) in [
        (ZoneModel::HostManaged, Model::HM),
        (ZoneModel::HostAware, Model::HA),
    ] {
        let bench = Bench::new(null(with_zones(model)), formats()[0] | features::ZONED);
        let offered = bench.host.offered_features();
        assert!(offered.contains(features::ZONED | features::SIZE_MAX | features::SECURE_ERASE));
        assert!(!offered.intersects(features::DISCARD | features::WRITE_ZEROES));
        let config = config_of(&bench);
        let zoned = config.zoned;
        assert_eq!(zoned.model, expected.0);
        assert_eq!(zoned.zone_sectors.get(), 2048);
        assert_eq!((zoned.max_open_zones.get(), zoned.max_active_zones.get()), (7, 9));
        assert_eq!(zoned.write_granularity.get(), 4096);
        assert_eq!(zoned.unused2, [0; 3]);
        let append = u64::from(zoned.max_append_sectors.get()) * 512;
        assert_eq!(append, 768 << 10);
        assert!(append <= u64::from(config.size_max.get()) * u64::from(config.seg_max.get()));
        assert!(
            config
                .secure_erase_sector_alignment
                .get()
                .is_multiple_of(zoned.zone_sectors.get())
        );
    }
    let small = Options {
        size_max: Some(4096),
        seg_max: 3,
        ..with_zones(ZoneModel::HostManaged)
    };
    let bench = Bench::new(null(small), formats()[0] | features::ZONED);
    assert_eq!(config_of(&bench).zoned.max_append_sectors.get(), 24);
}

/// dev:blk:device-initialization:06, dev:blk:device-initialization:07
#[test]
fn a_driver_without_zones() {
    // What the bench accepts is refused for the host-managed disk only.
    let mut bench = Bench::new(
        null(with_zones(ZoneModel::HostManaged)),
        formats()[0] | features::ZONED,
    );
    bench.host.reset();
    assert_eq!(
        config_of(&bench).zoned.model,
        Model::HM.0,
        "before that it can be seen"
    );
    let refused = bench.host.set_features(formats()[0] | features::FLUSH);
    assert!(matches!(refused, Err(HostError::Refused { .. })));
    bench.host.set_features(formats()[0] | features::ZONED).unwrap();
    let bench = Bench::new(null(with_zones(ZoneModel::HostAware)), formats()[0]);
    assert_eq!(config_of(&bench).zoned.as_bytes(), [0; 24]);
    // dev:blk:device-initialization:04
    let bench = Bench::new(null(Options::default()), formats()[0]);
    assert!(!bench.host.offered_features().contains(features::ZONED));
}

/// dev:blk:device-initialization:05
#[test]
fn zones_are_not_offered_on_a_legacy_interface() {
    use crate::transport::mmio;
    for (version, offered) in [(mmio::Version::Legacy, false), (mmio::Version::Modern, true)] {
        let block = null(with_zones(ZoneModel::HostAware));
        let options = mmio::Options {
            version,
            ..mmio::Options::default()
        };
        let features = offered_over_mmio(Box::new(block), options);
        assert_eq!(features.contains(features::ZONED), offered, "{version:?}");
        assert!(features.contains(features::FLUSH | features::SECURE_ERASE));
    }
}

fn offered_over_mmio(device: Box<dyn Device>, options: crate::transport::mmio::Options) -> Features {
    use crate::transport::mmio::{InterruptLine, Mmio};
    use ringwright_spec::mmio;

    struct NoLine;
    impl InterruptLine for NoLine {
        fn set_level(&self, _asserted: bool) {}
    }
    let mut model = Mmio::new(device, options, Arc::new(NoLine)).unwrap();
    let mut word = [0; 4];
    model.write(mmio::DEVICE_FEATURES_SEL, &0_u32.to_le_bytes());
    model.read(mmio::DEVICE_FEATURES, &mut word);
    Features(u32::from_le_bytes(word).into())
}
