use super::*;
use crate::{DirtyLog, Iotlb, Region};

const PAGE: u64 = 4096;

/// A memfd of 8 pages, each full of its number, and memory in which addresses from 0x10000 on see these pages of it.
fn scattered(pages: &[u64]) -> (Arc<Mapping>, Memory) {
    let mapping = Arc::new(Mapping::memfd("scattered", 8 * PAGE as usize).unwrap());
    let memory = Memory::new(vec_of(Region::new(0, mapping.clone()))).unwrap();
    for page in 0..8 {
        memory.write(page * PAGE, &[page as u8; PAGE as usize]).unwrap();
    }
    let iotlb = Iotlb::new();
    for (page, address) in pages.iter().zip((0x10000..).step_by(PAGE as usize)) {
        iotlb.insert(address, PAGE, page * PAGE, Access::ReadWrite);
    }
    (mapping, memory.with_translation(Arc::new(iotlb)))
}

fn vec_of(region: Region) -> Vec<Region> {
    [region].into()
}

fn bytes(whole: &Whole) -> Vec<u8> {
    let mut bytes = std::vec![0; whole.segment().len()];
    let segments = [whole.segment()];
    // SAFETY: the memory that it was resolved in lives in the tests for longer than this view.
    let view = unsafe { crate::Slices::new(&segments) };
    view.read(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn pages_from_anywhere_follow_each_other() {
    let (_mapping, memory) = scattered(&[5, 2, 3, 7]);
    let (start, length) = (0x10ff0, 2 * PAGE as usize + 0x20);
    assert!(matches!(
        memory.resolve_one(start, length, Access::Read),
        Err(Fault::Split { .. })
    ));
    let whole = memory
        .resolve_whole(start, length, Access::ReadWrite, None)
        .unwrap();
    let expected = [&[5; 0x10][..], &[2; 4096], &[3; 4096], &[7; 0x10]].concat();
    assert_eq!(bytes(&whole), expected);
    // It is the same memory, not a copy.
    memory.write(0x11000, b"seen").unwrap();
    assert_eq!(bytes(&whole)[0x10..0x14], *b"seen");
    let segments = [whole.segment()];
    // SAFETY: the memory lives for longer than the view.
    let view = unsafe { crate::Slices::new(&segments) };
    view.write(0x10 + 2 * PAGE as usize, b"there").unwrap();
    let mut found = [0; 5];
    memory.read(0x13000, &mut found).unwrap();
    assert_eq!(&found, b"there");
}

#[test]
fn what_is_in_one_piece_is_used_as_it_is() {
    let (mapping, memory) = scattered(&[4, 5]);
    let whole = memory.resolve_whole(0x10100, 0x1000, Access::Read, None).unwrap();
    let expected = mapping.segment().part(4 * 4096 + 0x100, 0x1000).unwrap();
    assert_eq!(whole.segment(), expected);
    assert_eq!(whole.pieces(), [expected]);
}

#[test]
fn what_has_not_changed_is_not_mapped_again() {
    let (_mapping, memory) = scattered(&[5, 2, 6]);
    let resolve = |start, access, before: Option<&Whole>| {
        memory
            .resolve_whole(start, PAGE as usize, access, before)
            .unwrap()
    };
    let first = resolve(0x10800, Access::Read, None);
    assert_eq!(
        resolve(0x10800, Access::Read, Some(&first)).segment(),
        first.segment()
    );
    let elsewhere = resolve(0x11800, Access::Read, Some(&first));
    assert_eq!(bytes(&elsewhere)[..1], [2]);
    let writable = resolve(0x10800, Access::Write, Some(&first));
    assert_ne!(writable.segment(), first.segment());
}

#[test]
fn what_is_written_is_logged_where_the_regions_have_it() {
    let (_mapping, memory) = scattered(&[5, 2]);
    let log = Arc::new(DirtyLog::new(8 * PAGE));
    let memory = memory.with_dirty_log(log.clone());
    let whole = memory
        .resolve_whole(0x10800, PAGE as usize, Access::Write, None)
        .unwrap();
    memory.mark_written(whole.pieces(), PAGE as usize);
    let pages: Vec<_> = log.take().map(|(address, _)| address / PAGE).collect();
    assert_eq!(pages, [2, 5]);
}

#[test]
fn pieces_that_are_no_whole_pages_or_of_no_file_stay_pieces() {
    let split = |memory: &Memory, address| {
        let outcome = memory.resolve_whole(address, 0x1000, Access::Read, None);
        matches!(outcome, Err(Fault::Split { .. }))
    };
    let (mapping, _) = scattered(&[]);
    let memory = Memory::new(vec_of(Region::new(0, mapping))).unwrap();
    let iotlb = Iotlb::new();
    iotlb.insert(0x10000, 0x800, 0, Access::ReadWrite);
    iotlb.insert(0x10800, 0x1000, 0x3000, Access::ReadWrite);
    assert!(split(&memory.with_translation(Arc::new(iotlb)), 0x10400));

    let anonymous = || Arc::new(Mapping::anonymous(0x1000).unwrap());
    let regions = [Region::new(0, anonymous()), Region::new(0x1000, anonymous())];
    assert!(split(&Memory::new(regions.into()).unwrap(), 0x800));
}
