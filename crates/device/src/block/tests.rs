use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicUsize, Ordering};

use ringwright_spec::block::{ReqType, Status};
use ringwright_spec::feature;

use super::backend::{File, Lane, Memory, Null, OpenError, Request};
use super::*;
use crate::testing::{Bench, Completed, Queue, formats};

const MIB: usize = 1 << 20;

fn memory_disk(capacity: usize) -> Block {
    Block::new(
        Arc::new(Memory::new(capacity as u32).unwrap()),
        Options::default(),
    )
    .unwrap()
}

pub fn head(r#type: ReqType, sector: u64) -> [u8; 16] {
    let mut head = [0; 16];
    head[..4].copy_from_slice(&r#type.0.to_le_bytes());
    head[8..].copy_from_slice(&sector.to_le_bytes());
    head
}

pub fn pattern(length: usize, seed: usize) -> Vec<u8> {
    (0..length)
        .map(|i| (i.wrapping_mul(31) ^ (i >> 9) ^ seed) as u8)
        .collect()
}

/// Status and data of a request with the usual framing.
pub fn request(
    queue: &mut Queue,
    r#type: ReqType,
    sector: u64,
    to_device: &[u8],
    to_driver: usize,
) -> (Status, Vec<u8>) {
    let head = head(r#type, sector);
    let readable: &[&[u8]] = match to_device {
        [] => &[&head],
        data => &[&head, data],
    };
    let writable: &[usize] = match to_driver {
        0 => &[1],
        length => &[length, 1],
    };
    parts(queue.request(readable, writable))
}

pub fn parts(completed: Completed) -> (Status, Vec<u8>) {
    let mut data = completed.data;
    assert_eq!(completed.written as usize, data.len());
    let status = data.pop().unwrap();
    (Status(status), data)
}

pub fn write(queue: &mut Queue, sector: u64, data: &[u8]) -> Status {
    request(queue, ReqType::OUT, sector, data, 0).0
}

pub fn read(queue: &mut Queue, sector: u64, length: usize) -> (Status, Vec<u8>) {
    request(queue, ReqType::IN, sector, &[], length)
}

pub fn ranges(ranges: &[(u64, u32, u32)]) -> Vec<u8> {
    let range = |(sector, sectors, flags): &(u64, u32, u32)| {
        [
            &sector.to_le_bytes()[..],
            &sectors.to_le_bytes(),
            &flags.to_le_bytes(),
        ]
        .concat()
    };
    ranges.iter().flat_map(range).collect()
}

#[test]
fn what_is_written_is_read_in_every_format() {
    for features in formats() {
        let mut bench = Bench::new(memory_disk(MIB), features | features::FLUSH);
        let mut queue = bench.start(0, 128);
        let data = pattern(64 * 1024, 7);
        assert_eq!(write(&mut queue, 3, &data), Status::OK);
        assert_eq!(read(&mut queue, 3, data.len()), (Status::OK, data.clone()));
        assert_eq!(read(&mut queue, 2, 512), (Status::OK, vec![0; 512]));
        assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
        let counters = bench.host.counters()[0];
        assert_eq!(counters.chains, 4);
        assert_eq!(counters.bytes_read as usize, 4 * 16 + data.len());
        assert_eq!(counters.bytes_written as usize, data.len() + 512 + 4);
    }
}

#[test]
fn a_request_may_be_framed_in_any_way() {
    let mut bench = Bench::new(memory_disk(MIB), formats()[0]);
    let mut queue = bench.start(0, 128);
    let data = pattern(1024, 1);
    // Head and data in one element, or the head torn apart; status with the data, or the data torn apart.
    let whole = [&head(ReqType::OUT, 0)[..], &data].concat();
    assert_eq!(parts(queue.request(&[&whole], &[1])).0, Status::OK);
    let pieces: Vec<&[u8]> = whole.chunks(11).collect();
    assert_eq!(parts(queue.request(&pieces, &[1])).0, Status::OK);
    assert_eq!(
        parts(queue.request(&[&head(ReqType::IN, 0)], &[1025])),
        (Status::OK, data.clone())
    );
    let torn = parts(queue.request(&[&[0; 5], &[0; 11]], &[1, 1000, 24]));
    assert_eq!(torn, (Status::OK, data));
}

#[test]
fn many_requests_in_flight_all_come_back() {
    for features in formats() {
        let mut bench = Bench::new(memory_disk(MIB), features | features::FLUSH);
        let mut queue = bench.start(0, 128);
        for round in 0..20 {
            for sector in 0..40 {
                queue.add(
                    &[
                        &head(ReqType::OUT, sector),
                        &pattern(512, round + sector as usize),
                    ],
                    &[1],
                );
            }
            queue.publish();
            for _ in 0..40 {
                assert_eq!(parts(queue.wait()).0, Status::OK);
            }
            for sector in 0..40 {
                let (status, data) = read(&mut queue, sector, 512);
                assert_eq!(
                    (status, data),
                    (Status::OK, pattern(512, round + sector as usize))
                );
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let mut bench = Bench::new(memory_disk(MIB), formats()[0]);
    let mut queue = bench.start(0, 128);
    let end = (MIB / 512) as u64;
    assert_eq!(write(&mut queue, end - 1, &[1; 512]), Status::OK);
    assert_eq!(write(&mut queue, end - 1, &[1; 1024]), Status::IOERR);
    assert_eq!(write(&mut queue, end, &[1; 512]), Status::IOERR);
    assert_eq!(write(&mut queue, u64::MAX / 512, &[1; 512]), Status::IOERR);
    assert_eq!(write(&mut queue, u64::MAX, &[1; 512]), Status::IOERR);
    assert_eq!(write(&mut queue, 0, &[1; 511]), Status::IOERR);
    // What fails shows none of the driver's, or anyone's, memory.
    assert_eq!(read(&mut queue, end, 512), (Status::IOERR, vec![0; 512]));
    assert_eq!(read(&mut queue, 0, 100), (Status::IOERR, vec![0; 100]));
    for r#type in [
        ReqType::SCSI_CMD,
        ReqType::GET_LIFETIME,
        ReqType::SECURE_ERASE,
        ReqType(99),
    ] {
        assert_eq!(request(&mut queue, r#type, 0, &[], 0).0, Status::UNSUPP);
    }
    // Not negotiated here.
    assert_eq!(
        request(&mut queue, ReqType::DISCARD, 0, &ranges(&[(0, 1, 0)]), 0).0,
        Status::UNSUPP
    );
    // No whole head; no place for the status.
    assert_eq!(parts(queue.request(&[&[0; 15]], &[512, 1])).0, Status::IOERR);
    assert_eq!(parts(queue.request(&[], &[1])).0, Status::IOERR);
    assert_eq!(queue.request(&[&head(ReqType::FLUSH, 0)], &[]).written, 0);
    assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
    assert!(bench.events.resets().is_empty());
}

#[test]
fn discard_and_write_zeroes() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, pattern(MIB, 3)).unwrap();
    let backends: [Arc<dyn Backend>; 2] = [
        Arc::new(File::open(&image, false).unwrap()),
        Arc::new(Memory::new(MIB as u32).unwrap()),
    ];
    for backend in backends {
        let block = Block::new(backend, Options::default()).unwrap();
        let features = formats()[0] | features::FLUSH | features::DISCARD | features::WRITE_ZEROES;
        let mut bench = Bench::new(block, features);
        let mut queue = bench.start(0, 128);
        let data = pattern(8 * 512, 1);
        let mut zeroes = |unmap, expected| {
            assert_eq!(write(&mut queue, 0, &data), Status::OK);
            let ranges = ranges(&[(1, 2, unmap), (6, 1, unmap), (7, 0, unmap)]);
            assert_eq!(
                request(&mut queue, ReqType::WRITE_ZEROES, 0, &ranges, 0).0,
                expected
            );
            read(&mut queue, 0, data.len()).1
        };
        let mut expected = data.clone();
        expected[512..3 * 512].fill(0);
        expected[6 * 512..7 * 512].fill(0);
        assert_eq!(zeroes(0, Status::OK), expected);
        assert_eq!(zeroes(1, Status::OK), expected);
        assert_eq!(zeroes(2, Status::UNSUPP), data);

        let mut discard = |bytes: &[u8]| request(&mut queue, ReqType::DISCARD, 0, bytes, 0).0;
        assert_eq!(discard(&ranges(&[(0, 8, 0)])), Status::OK);
        assert_eq!(discard(&ranges(&[(0, 8, 1)])), Status::UNSUPP);
        assert_eq!(discard(&ranges(&[(0, 8, 0), (2047, 2, 0)])), Status::IOERR);
        assert_eq!(discard(&ranges(&[(0, 8, 0); 16])), Status::OK);
        assert_eq!(discard(&ranges(&[(0, 8, 0); 17])), Status::IOERR);
        assert_eq!(
            discard(&ranges(&[(0, MAX_DISCARD_SECTORS + 1, 0)])),
            Status::IOERR
        );
        assert_eq!(discard(&[0; 15]), Status::IOERR);
    }
}

#[test]
fn the_configuration_space_and_the_serial() {
    let options = Options {
        queues: 4,
        block_size: 4096,
        serial: "ring wright 20 chars".into(),
        ..Options::default()
    };
    let block = Block::new(Arc::new(Null { capacity: 1 << 40 }), options).unwrap();
    let mut bench = Bench::new(block, formats()[0] | features::MQ);
    let mut bytes = [0xff; size_of::<Config>()];
    bench.host.read_config(0, &mut bytes).unwrap();
    let config: Config = zerocopy::transmute!(bytes);
    assert_eq!(config.capacity.get(), 1 << 31);
    assert_eq!(
        (
            config.num_queues.get(),
            config.blk_size.get(),
            config.seg_max.get()
        ),
        (4, 4096, 126)
    );
    assert_eq!(config.topology.physical_block_exp, 0);
    // dev:blk:device-initialization:03
    assert_eq!((config.unused0, config.unused1), (0, [0; 3]));
    assert!(bench.host.read_config(90, &mut [0; 7]).is_err());
    assert!(bench.host.write_config(0, &[0]).is_err());
    assert_eq!(bench.host.description().queues.len(), 4);

    let mut queues: Vec<Queue> = (0..4).map(|index| bench.start(index, 16)).collect();
    for queue in &mut queues {
        let (status, id) = request(queue, ReqType::GET_ID, 0, &[], 20);
        assert_eq!(
            (status, id.as_slice()),
            (Status::OK, b"ring wright 20 chars".as_slice())
        );
        assert_eq!(request(queue, ReqType::GET_ID, 0, &[], 4).1, b"ring");
    }
}

#[test]
fn a_block_is_no_smaller_than_the_backends() {
    struct Large;
    impl Backend for Large {
        fn capacity(&self) -> u64 {
            1 << 20
        }
        fn block_size(&self) -> u32 {
            4096
        }
        fn lane(self: Arc<Self>, _: u16) -> io::Result<Box<dyn Lane>> {
            Ok(Box::new(Null { capacity: 1 << 20 }))
        }
    }
    let block = |block_size| {
        let options = Options {
            block_size,
            ..Options::default()
        };
        Block::new(Arc::new(Large), options).map(drop)
    };
    assert_eq!(block(4096), Ok(()));
    let error = block(512).unwrap_err();
    assert!(error.to_string().contains("pass a block size of 4096"), "{error}");
}

#[test]
fn options_that_cannot_be() {
    let block = |capacity, change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        Block::new(Arc::new(Null { capacity }), options).err().unwrap()
    };
    assert_eq!(block(4096, |o| o.queues = 0), OptionsError::NoQueue);
    assert_eq!(block(4096, |o| o.block_size = 256), OptionsError::BlockSize(256));
    assert_eq!(
        block(4096, |o| o.block_size = 3000),
        OptionsError::BlockSize(3000)
    );
    assert_eq!(
        block(4096, |o| o.block_size = 8192),
        OptionsError::BlockSize(8192)
    );
    let capacity = OptionsError::Capacity {
        capacity: 512,
        block_size: 1024,
    };
    assert_eq!(block(512, |o| o.block_size = 1024), capacity);
    let long = "twenty-one characters";
    assert_eq!(
        block(512, |o| o.serial = "twenty-one characters".into()),
        OptionsError::Serial(long.into())
    );
}

#[test]
fn an_image_file_is_served_and_a_read_only_one_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, pattern(MIB, 3)).unwrap();
    let serve = |read_only, features| {
        let file = File::open(&image, read_only).unwrap();
        Bench::new(Block::new(Arc::new(file), Options::default()).unwrap(), features)
    };

    // Without FLUSH every write is stable; either way it is in the file.
    for features in [formats()[0], formats()[3] | features::FLUSH] {
        let mut bench = serve(false, features);
        let mut queue = bench.start(0, 128);
        assert_eq!(
            read(&mut queue, 0, 128 * 1024),
            (Status::OK, pattern(MIB, 3)[..128 * 1024].to_vec())
        );
        assert_eq!(write(&mut queue, 100, &pattern(4096, 9)), Status::OK);
        assert_eq!(request(&mut queue, ReqType::FLUSH, 0, &[], 0).0, Status::OK);
        assert_eq!(fs::read(&image).unwrap()[100 * 512..][..4096], pattern(4096, 9));
        fs::write(&image, pattern(MIB, 3)).unwrap();
    }

    let mut bench = serve(true, formats()[0] | features::RO);
    assert!(bench.host.offered_features().contains(features::RO));
    assert!(
        !bench
            .host
            .offered_features()
            .intersects(features::DISCARD | features::WRITE_ZEROES)
    );
    let mut queue = bench.start(0, 128);
    assert_eq!(write(&mut queue, 0, &[0; 512]), Status::IOERR);
    assert_eq!(
        read(&mut queue, 0, 512),
        (Status::OK, pattern(MIB, 3)[..512].to_vec())
    );
    assert_eq!(fs::read(&image).unwrap(), pattern(MIB, 3));
}

#[test]
fn writes_are_stable_at_once_if_the_driver_does_not_flush() {
    /// Counts what it is told to make stable.
    struct Stable(AtomicUsize);
    struct StableLane(Arc<Stable>);
    impl Backend for Stable {
        fn capacity(&self) -> u64 {
            4096
        }
        fn lane(self: Arc<Self>, _: u16) -> io::Result<Box<dyn Lane>> {
            Ok(Box::new(StableLane(self)))
        }
    }
    impl Lane for StableLane {
        fn now(&mut self, request: &Request<'_>) -> Option<io::Result<()>> {
            if let Request::Write { stable: true, .. } | Request::WriteZeroes { stable: true, .. } = request {
                self.0.0.fetch_add(1, Ordering::Relaxed);
            }
            Some(Ok(()))
        }
    }
    for (more, expected) in [(Features::NONE, [0, 1, 2]), (features::FLUSH, [0, 0, 0])] {
        let backend = Arc::new(Stable(AtomicUsize::new(0)));
        let block = Block::new(backend.clone(), Options::default()).unwrap();
        let mut bench = Bench::new(block, formats()[0] | features::WRITE_ZEROES | more);
        let mut queue = bench.start(0, 128);
        let stable = || backend.0.load(Ordering::Relaxed);
        assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
        let after_read = stable();
        assert_eq!(write(&mut queue, 0, &[1; 512]), Status::OK);
        let after_write = stable();
        let zeroes = request(&mut queue, ReqType::WRITE_ZEROES, 0, &ranges(&[(0, 1, 0)]), 0);
        assert_eq!(zeroes.0, Status::OK);
        // dev:blk:device-operation:11
        assert_eq!([after_read, after_write, stable()], expected);
    }
}

#[test]
fn an_image_that_shrinks_gives_errors_and_nothing_worse() {
    let folder = tempfile::tempdir().unwrap();
    let image = folder.path().join("disk");
    fs::write(&image, pattern(MIB, 3)).unwrap();
    let file = File::open(&image, false).unwrap();
    let mut bench = Bench::new(
        Block::new(Arc::new(file), Options::default()).unwrap(),
        formats()[0],
    );
    let mut queue = bench.start(0, 128);
    fs::File::options()
        .write(true)
        .open(&image)
        .unwrap()
        .set_len(512)
        .unwrap();
    assert_eq!(read(&mut queue, 1, 512), (Status::IOERR, vec![0; 512]));
    assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
}

#[test]
fn an_image_that_cannot_be_served_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty"), b"").unwrap();
    fs::write(path("truncated"), vec![0; 1000]).unwrap();
    fs::write(path("read-only"), vec![0; 1024]).unwrap();
    fs::set_permissions(path("read-only"), fs::Permissions::from_mode(0o444)).unwrap();
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        path("pipe"),
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
    )
    .unwrap();

    let why = |name: &str| File::open(path(name), false).map(|_| ()).unwrap_err();
    assert!(matches!(why("missing"), OpenError::Missing(_)));
    assert!(matches!(
        why("."),
        OpenError::NotAnImage {
            kind: "a directory",
            ..
        }
    ));
    assert!(matches!(
        why("pipe"),
        OpenError::NotAnImage { kind: "a pipe", .. }
    ));
    assert!(matches!(why("empty"), OpenError::Empty(_)));
    assert!(matches!(
        why("truncated"),
        OpenError::Truncated { size: 1000, .. }
    ));
    assert!(
        why("truncated")
            .to_string()
            .contains("1000 bytes are no whole number of 512-byte sectors")
    );
    assert!(matches!(
        File::open(path("."), true).unwrap_err(),
        OpenError::NotAnImage { .. }
    ));
    // The superuser may write all files of most file systems.
    if rustix::process::geteuid().is_root() {
        let image = File::open(path("read-only"), false).unwrap();
        assert_eq!(image.capacity(), 1024);
    } else {
        assert!(matches!(why("read-only"), OpenError::NotWritable { .. }));
    }
    assert!(File::open(path("read-only"), true).unwrap().read_only());
}

#[test]
fn a_hostile_chain_stops_its_queue_and_no_other() {
    for ring in formats() {
        let options = Options {
            queues: 2,
            ..Options::default()
        };
        let block = Block::new(Arc::new(Null { capacity: 4096 }), options).unwrap();
        let mut bench = Bench::new(block, (ring - feature::INDIRECT_DESC) | features::MQ);
        let mut good = bench.start(0, 16);
        let mut bad = bench.queue(1, 16);
        bad.submit(&[&head(ReqType::IN, 0)], &[512, 1]);
        // The address of the first descriptor, in both formats.
        let nowhere = 0xdead_0000_0000u64.to_le_bytes();
        bench
            .memory()
            .write(bad.layout().descriptor_area, &nowhere)
            .unwrap();
        bench.start_again(&bad, Default::default());

        let reason = bench.events.wait_needs_reset();
        assert!(
            reason.starts_with("queue 1: ") && reason.contains("0xdead00000000"),
            "{reason}"
        );
        assert_eq!(read(&mut good, 0, 512).0, Status::OK);
        bad.kick();
        assert_eq!(read(&mut good, 0, 512).0, Status::OK);
        assert_eq!(bad.poll(), None);
        assert_eq!(bench.events.resets().len(), 1);
        assert_eq!(bench.host.counters()[1].errors, 1);

        bench.host.reset();
        bench.host.set_features(ring).unwrap();
        let mut queue = bench.start(1, 16);
        assert_eq!(read(&mut queue, 0, 512).0, Status::OK);
    }
}
