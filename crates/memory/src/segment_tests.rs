//! Parts and atomics of a segment.

use super::*;
use crate::test_memory::Heap;
use core::sync::atomic::Ordering;

#[test]
fn parts_stay_within() {
    let heap = Heap::new(16);
    let segment = heap.segment(0, 16);
    assert_eq!(
        segment.part(4, 12).map(|part| part.pointer()),
        Some(segment.pointer().wrapping_add(4))
    );
    assert_eq!(segment.part(16, 0).map(Segment::len), Some(0));
    assert_eq!(segment.part(17, 0), None);
    assert_eq!(segment.part(5, 12), None);
    assert_eq!(segment.part(usize::MAX, 2), None);
    assert_eq!(segment.part(8, usize::MAX), None);
}

#[test]
fn atomics_are_within_and_aligned() {
    let heap = Heap::new(16);
    let segment = heap.segment(0, 14);
    // SAFETY: the heap outlives the references.
    unsafe {
        let field = segment.atomic::<AtomicU16>(12).unwrap();
        field.store(0x0201_u16.to_le(), Ordering::Relaxed);
        assert_eq!(segment.atomic::<AtomicU8>(13).unwrap().load(Ordering::Relaxed), 2);
        assert!(segment.atomic::<AtomicU32>(12).is_none(), "ends outside");
        assert!(segment.atomic::<AtomicU16>(3).is_none(), "not aligned");
        assert!(segment.atomic::<AtomicU64>(8).is_none(), "ends outside");
    }
}
