//! A disk on the legacy interface.

use ringwright_ring::ByteOrder;
use ringwright_spec::block::{ReqType, Status};
use ringwright_spec::feature;

use super::backend::Memory;
use super::*;
use crate::testing::{Bench, Queue};

fn disk() -> Block {
    let backend = Arc::new(Memory::new(1 << 20).unwrap());
    Block::new(backend, Options::default()).unwrap()
}

/// A request with the guest's byte order in its head.
fn request(
    queue: &mut Queue,
    order: ByteOrder,
    r#type: ReqType,
    sector: u64,
    data: &[u8],
    read: usize,
) -> Vec<u8> {
    let mut head = [0; 16];
    let (r#type, sector) = match order {
        ByteOrder::Little => (r#type.0.to_le_bytes(), sector.to_le_bytes()),
        ByteOrder::Big => (r#type.0.to_be_bytes(), sector.to_be_bytes()),
    };
    head[..4].copy_from_slice(&r#type);
    head[8..].copy_from_slice(&sector);
    let readable = [&head[..], data].concat();
    queue.request(&[&readable], &[read + 1]).data
}

#[test]
fn a_request_is_in_the_guests_byte_order() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut bench = Bench::legacy(disk(), features::FLUSH, order);
        let mut queue = bench.start(0, 128);
        let ok = [Status::OK.0];
        assert_eq!(request(&mut queue, order, ReqType::OUT, 2, &[0x5a; 512], 0), ok);
        let read = request(&mut queue, order, ReqType::IN, 2, &[], 512);
        assert_eq!(read, [&[0x5a; 512][..], &ok].concat());
        assert_eq!(request(&mut queue, order, ReqType::FLUSH, 0, &[], 0), ok);
    }
}

#[test]
fn flush_had_another_name() {
    let status = |features, order| {
        let mut bench = Bench::legacy(disk(), features, order);
        let mut queue = bench.start(0, 128);
        request(&mut queue, order, ReqType::FLUSH_OUT, 0, &[], 0)[0]
    };
    for order in [ByteOrder::Little, ByteOrder::Big] {
        assert_eq!(status(features::FLUSH, order), Status::OK.0);
    }
    let modern = features::FLUSH | feature::VERSION_1;
    assert_eq!(status(modern, ByteOrder::Little), Status::UNSUPP.0);
}

/// Section 5.2.6.3: each request of a disk with barriers is begun when the one before it has ended, so that one that says it
/// is a barrier is one.
#[test]
fn barriers() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let backend = Arc::new(Memory::new(1 << 20).unwrap());
        let options = Options {
            barrier: true,
            ..Options::default()
        };
        let block = Block::new(backend, options).unwrap();
        let mut bench = Bench::legacy(block, features::FLUSH | features::BARRIER, order);
        let mut queue = bench.start(0, 128);
        let barrier = |kind: ReqType| ReqType(kind.0 | ReqType::BARRIER.0);
        let ok = [Status::OK.0];
        assert_eq!(
            request(&mut queue, order, barrier(ReqType::OUT), 2, &[0x5a; 512], 0),
            ok
        );
        let read = request(&mut queue, order, barrier(ReqType::IN), 2, &[], 512);
        assert_eq!(read, [&[0x5a; 512][..], &ok].concat());
        assert_eq!(request(&mut queue, order, ReqType::FLUSH, 0, &[], 0), ok);
    }
    // Without the feature it is a type that there is none of.
    let mut bench = Bench::legacy(disk(), features::FLUSH, ByteOrder::Little);
    let mut queue = bench.start(0, 128);
    let kind = ReqType(ReqType::IN.0 | ReqType::BARRIER.0);
    let answer = request(&mut queue, ByteOrder::Little, kind, 2, &[], 512);
    assert_eq!(answer[512], Status::UNSUPP.0);
}

#[test]
fn ranges_are_in_the_guests_byte_order() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let accepted = features::FLUSH | features::WRITE_ZEROES;
        let mut bench = Bench::legacy(disk(), accepted, order);
        let mut queue = bench.start(0, 128);
        request(&mut queue, order, ReqType::OUT, 2, &[7; 1024], 0);
        let range = match order {
            ByteOrder::Little => [
                &3_u64.to_le_bytes()[..],
                &1_u32.to_le_bytes(),
                &1_u32.to_le_bytes(),
            ],
            ByteOrder::Big => [
                &3_u64.to_be_bytes()[..],
                &1_u32.to_be_bytes(),
                &1_u32.to_be_bytes(),
            ],
        };
        let range = range.concat();
        let zeroes = request(&mut queue, order, ReqType::WRITE_ZEROES, 0, &range, 0);
        assert_eq!(zeroes, [Status::OK.0]);
        let read = request(&mut queue, order, ReqType::IN, 2, &[], 1024);
        assert_eq!(
            read,
            [[7; 512], [0; 512]]
                .concat()
                .into_iter()
                .chain([0])
                .collect::<Vec<u8>>()
        );
    }
}

/// Section 5.2.6.3: data, 96 bytes of sense data, 16 bytes of numbers, the status.
#[test]
fn scsi_commands_are_answered_as_unsupported() {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        for kind in [ReqType::SCSI_CMD, ReqType::SCSI_CMD_OUT] {
            let mut bench = Bench::legacy(disk(), features::FLUSH, order);
            let mut queue = bench.start(0, 128);
            let inquiry = [0x12, 0, 0, 0, 36, 0];
            let answer = request(&mut queue, order, kind, 0, &inquiry, 36 + 96 + 16);
            let (status, rest) = answer.split_last().unwrap();
            assert_eq!(*status, Status::UNSUPP.0);
            assert!(rest.iter().all(|byte| *byte == 0));
            assert!(!bench.host.offered_features().contains(features::SCSI));
        }
    }
}
