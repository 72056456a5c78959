//! Buffers: never shared, always given back.

use super::*;
use crate::test_memory::{Heap, read_only_region, region};
use proptest::prelude::*;

/// An area that the device sees at 0x10000.
fn area(length: usize) -> Arc<Area> {
    let heap = Heap::new(length);
    // The device's view is aligned like this end's, whatever that is.
    let base = 0x10000 + (heap.segment(0, 0).pointer() as u64 & 0xfff);
    // SAFETY: the heap owns the segment.
    unsafe { Area::from_raw(heap.segment(0, length), base, heap) }.unwrap()
}

#[test]
fn a_buffer_is_where_the_device_sees_it() {
    let area = Area::from_region(region(0x4000, 64)).unwrap();
    let _first = area.allocate(3, 1).unwrap();
    let buffer = area.allocate(16, 8).unwrap();
    assert_eq!((buffer.segment().address(), buffer.segment().len()), (0x4008, 16));
    let part = buffer.segment_at(4, 12).unwrap();
    assert_eq!((part.address(), part.len()), (0x400c, 12));
    assert_eq!(buffer.segment_at(4, 13), None);
    assert_eq!(buffer.segment_at(usize::MAX, 2), None);
    buffer.write(2, &[1, 2, 3]).unwrap();
    let mut bytes = [0; 4];
    buffer.read(1, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3]);
    assert!(buffer.write(14, &[0; 3]).is_err());
    assert!(buffer.read(17, &mut []).is_err());
    assert_eq!(buffer.slices().len(), 16);
}

#[test]
fn what_makes_no_area_is_refused() {
    assert!(Area::from_region(read_only_region(0, 64)).is_none());
    assert!(Area::from_region(region(0, 0)).is_none());
    assert!(Area::from_region(region(u64::MAX, 2)).is_none());
}

#[test]
fn what_does_not_fit_is_refused() {
    let area = area(64);
    assert!(area.allocate(0, 1).is_none());
    assert!(area.allocate(65, 1).is_none());
    assert!(area.allocate(usize::MAX, 1).is_none());
    assert!(area.allocate(8, 0).is_none(), "no power of two");
    assert!(area.allocate(8, 3).is_none(), "no power of two");
    assert!(
        area.allocate(8, 1 << (usize::BITS - 1)).is_none(),
        "not aligned so far"
    );
    let whole = area.allocate(64, 8).unwrap();
    assert!(area.allocate(1, 1).is_none());
    drop(whole);
    assert!(area.allocate(64, 1).is_some());
}

#[test]
fn an_alignment_that_the_views_do_not_share_cannot_be_had() {
    let heap = Heap::new(64);
    let crooked = (heap.segment(0, 0).pointer() as u64 & 0xfff) + 4;
    // SAFETY: the heap owns the segment.
    let area = unsafe { Area::from_raw(heap.segment(0, 64), crooked, heap) }.unwrap();
    assert!(area.allocate(8, 4).is_some());
    assert!(area.allocate(8, 8).is_none());
}

#[test]
fn a_buffer_outlives_its_area() {
    let buffer = area(64).allocate(8, 8).unwrap();
    assert_eq!(buffer.write(0, &[1; 8]), Ok(()));
}

#[test]
fn bytes_are_swapped() {
    let buffer = area(64).allocate(4, 1).unwrap();
    buffer.write(0, &[1, 2, 3, 4]).unwrap();
    assert_eq!(buffer.swap(3, 9), Some(4));
    assert_eq!(buffer.swap(4, 9), None);
    let mut bytes = [0; 4];
    buffer.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [1, 2, 3, 9]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn buffers_are_apart_and_come_back(
        steps in prop::collection::vec((any::<bool>(), 1_usize..200, 0_u32..7, any::<prop::sample::Index>()), 0..80),
    ) {
        let area = area(1024);
        let mut buffers: Vec<Buffer> = Vec::new();
        for (allocate, length, align, index) in steps {
            if allocate {
                let align = 1 << align;
                if let Some(buffer) = area.allocate(length, align) {
                    prop_assert_eq!(buffer.len(), length);
                    prop_assert_eq!(buffer.segment().address() % align as u64, 0);
                    prop_assert_eq!(buffer.as_ptr() as usize % align, 0);
                    buffers.push(buffer);
                }
            } else if !buffers.is_empty() {
                let capacity = area.free.lock().holes.capacity();
                buffers.swap_remove(index.index(buffers.len()));
                prop_assert_eq!(area.free.lock().holes.capacity(), capacity, "giving back allocates nothing");
            }
            let mut taken: Vec<_> = buffers.iter().map(|buffer| (buffer.offset, buffer.len())).collect();
            let holes = area.free.lock().holes.clone();
            prop_assert!(holes.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "neighbours are joined");
            taken.extend(holes);
            taken.sort();
            let mut at = 0;
            for (offset, length) in taken {
                prop_assert_eq!(offset, at, "every byte is in one place");
                at += length;
            }
            prop_assert_eq!(at, 1024);
        }
        buffers.clear();
        prop_assert!(area.allocate(1024, 1).is_some());
    }
}
