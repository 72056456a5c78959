//! SCSI packet commands on the legacy interface.

use ringwright_ring::ByteOrder;
use ringwright_spec::block::{ReqType, Status};
use ringwright_spec::feature;

use super::backend::Memory;
use super::*;
use crate::testing::{Bench, Queue};

fn disk(scsi: bool) -> Block {
    let backend = Arc::new(Memory::new(1 << 20).unwrap());
    let options = Options {
        scsi,
        serial: "0123456789".into(),
        block_size: 1024,
        ..Options::default()
    };
    Block::new(backend, options).unwrap()
}

/// What became of a command.
#[derive(Debug, PartialEq, Eq)]
struct Answer {
    status: Status,
    data: Vec<u8>,
    sense: Vec<u8>,
    /// `errors`, `data_len`, `sense_len`, `residual`.
    numbers: [u32; 4],
}

/// A command in a buffer of its own, room for `read` bytes, and the framing of the document.
fn command(
    queue: &mut Queue,
    order: ByteOrder,
    kind: ReqType,
    command: &[u8],
    more: &[u8],
    read: usize,
) -> Answer {
    let kind = match order {
        ByteOrder::Little => kind.0.to_le_bytes(),
        ByteOrder::Big => kind.0.to_be_bytes(),
    };
    let head = [&kind[..], &[0; 12]].concat();
    let mut readable = vec![&head[..], command];
    if !more.is_empty() {
        readable.push(more);
    }
    let mut writable = vec![96, 16, 1];
    if read != 0 {
        writable.insert(0, read);
    }
    let answer = queue.request(&readable, &writable).data;
    let (data, rest) = answer.split_at(read);
    let (sense, rest) = rest.split_at(96);
    let number = |at: usize| {
        let bytes = rest[at..at + 4].try_into().unwrap();
        match order {
            ByteOrder::Little => u32::from_le_bytes(bytes),
            ByteOrder::Big => u32::from_be_bytes(bytes),
        }
    };
    Answer {
        status: Status(rest[16]),
        data: data.to_vec(),
        sense: sense.to_vec(),
        numbers: [0, 4, 8, 12].map(number),
    }
}

fn each_order(with: impl Fn(&mut Queue, ByteOrder)) {
    for order in [ByteOrder::Little, ByteOrder::Big] {
        let mut bench = Bench::legacy(disk(true), features::FLUSH | features::SCSI, order);
        assert!(bench.host.offered_features().contains(features::SCSI));
        let mut queue = bench.start(0, 128);
        with(&mut queue, order);
    }
}

#[test]
fn a_disk_says_what_it_is() {
    each_order(|queue, order| {
        let mut ask = |cdb: &[u8], read| command(queue, order, ReqType::SCSI_CMD, cdb, &[], read);
        let mut good = |cdb: &[u8], read: usize, expected: &[u8]| {
            let answer = ask(cdb, read);
            assert_eq!(answer.status, Status::OK);
            let mut data = expected.to_vec();
            data.resize(read, 0);
            assert_eq!(answer.data, data, "{cdb:x?}");
            assert_eq!(answer.sense, [0; 96]);
            let left = (read - expected.len()) as u32;
            assert_eq!(answer.numbers, [0, read as u32, 0, left], "{cdb:x?}");
        };
        // TEST UNIT READY.
        good(&[0; 6], 0, &[]);
        // INQUIRY, with more room than it takes, and cut short by its allocation length and by its room.
        let standard = b"\0\0\x06\x02\x1f\0\0\0RINGWRGTVIRTIO-BLK      0   ";
        good(&[0x12, 0, 0, 0, 96, 0], 96, standard);
        good(&[0x12, 0, 0, 0, 5, 0], 96, &standard[..5]);
        good(&[0x12, 0, 0, 0, 96, 0], 8, &standard[..8]);
        good(&[0x12, 1, 0, 0, 96, 0], 96, &[0, 0, 0, 3, 0, 0x80, 0x83]);
        good(&[0x12, 1, 0x80, 0, 96, 0], 96, b"\0\x80\0\x0a0123456789");
        good(
            &[0x12, 1, 0x83, 0, 96, 0],
            96,
            b"\0\x83\0\x16\x02\x01\0\x12RINGWRGT0123456789",
        );
        // READ CAPACITY (10) and (16): 1024 blocks of 1024 bytes.
        good(
            &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            8,
            &[0, 0, 3, 0xff, 0, 0, 4, 0],
        );
        let mut sixteen = [0; 16];
        (sixteen[0], sixteen[1], sixteen[13]) = (0x9e, 0x10, 32);
        let mut capacity = [0; 32];
        (capacity[6], capacity[7], capacity[10]) = (3, 0xff, 4);
        good(&sixteen, 32, &capacity);
        // REQUEST SENSE: nothing is wrong. MODE SENSE (6): not write-protected.
        good(
            &[3, 0, 0, 0, 18, 0],
            18,
            &[0x70, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        );
        good(&[0x1a, 0, 0x3f, 0, 4, 0], 4, &[3, 0, 0, 0]);
        // REPORT LUNS: one.
        let mut luns = [0; 12];
        (luns[0], luns[9]) = (0xa0, 16);
        good(&luns, 16, &[0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    });
}

#[test]
fn what_is_not_known_ends_with_check_condition() {
    each_order(|queue, order| {
        let mut code = |cdb: &[u8], more: &[u8], read: usize| {
            let answer = command(queue, order, ReqType::SCSI_CMD_OUT, cdb, more, read);
            assert_eq!(answer.status, Status::OK);
            assert_eq!(answer.data, vec![0; read]);
            let length = (more.len() + read) as u32;
            assert_eq!(answer.numbers, [2, length, 18, length]);
            // ILLEGAL REQUEST.
            assert_eq!((answer.sense[0], answer.sense[2]), (0x70, 5));
            assert_eq!(answer.sense[18..], [0; 78]);
            answer.sense[12]
        };
        // READ (10) and WRITE (10) are what there are other requests for.
        assert_eq!(code(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[], 512), 0x20);
        assert_eq!(code(&[0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[7; 512], 0), 0x20);
        // Pages and service actions that there are none of, and commands that are cut off.
        assert_eq!(code(&[0x12, 0, 1, 0, 96, 0], &[], 96), 0x24);
        assert_eq!(code(&[0x12, 1, 0x99, 0, 96, 0], &[], 96), 0x24);
        assert_eq!(code(&[0x9e; 16], &[], 32), 0x24);
        assert_eq!(code(&[0x12, 0, 0, 0, 96], &[], 96), 0x24);
        assert_eq!(code(&[0x25], &[], 8), 0x24);
    });
}

#[test]
fn commands_that_are_not_framed_as_such_or_not_offered() {
    each_order(|queue, order| {
        // No room for the sense data.
        let kind = match order {
            ByteOrder::Little => [2, 0, 0, 0],
            ByteOrder::Big => [0, 0, 0, 2],
        };
        let head = [&kind[..], &[0; 12]].concat();
        let answer = queue.request(&[&head, &[0x12, 0, 0, 0, 36, 0]], &[36, 1]);
        assert_eq!(answer.data.last(), Some(&Status::IOERR.0));
        // No command at all.
        let empty = queue.request(&[&head], &[96, 16, 1]).data;
        assert_eq!((empty[2], empty[112]), (5, Status::OK.0));
    });
    let mut bench = Bench::legacy(disk(false), features::FLUSH, ByteOrder::Little);
    assert!(!bench.host.offered_features().contains(features::SCSI));
    let mut queue = bench.start(0, 128);
    let refused = command(&mut queue, ByteOrder::Little, ReqType::SCSI_CMD, &[0; 6], &[], 0);
    assert_eq!(refused.status, Status::UNSUPP);
    // A driver that is no legacy one knows nothing of it.
    let mut bench = Bench::new(disk(true), feature::VERSION_1 | features::FLUSH);
    let mut queue = bench.start(0, 128);
    let refused = command(&mut queue, ByteOrder::Little, ReqType::SCSI_CMD, &[0; 6], &[], 0);
    assert_eq!(refused.status, Status::UNSUPP);
}
