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
