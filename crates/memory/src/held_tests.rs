use super::*;
use crate::test_memory::{Heap, read_only_region, region};
use crate::{Access, Window};
use std::vec;

fn resolve(memory: &Memory, address: u64, length: u32, access: Access) -> Vec<Segment> {
    let mut segments = Vec::new();
    memory
        .resolve(&mut Window::new(), address, length, access, &mut segments)
        .unwrap();
    segments
}

#[test]
fn a_held_view_outlives_everything_it_came_from() {
    let memory = Arc::new(Memory::new(vec![region(0, 64), region(64, 64)]).unwrap());
    let segments = resolve(&memory, 60, 8, Access::Write);
    assert_eq!(segments.len(), 2);
    let mut held = Held::new();
    {
        // SAFETY: the segments are of this memory, which stays for longer than the view.
        let view = unsafe { Slices::new(&segments) };
        held.hold(view.part(1, 6).unwrap(), &memory).unwrap();
    }
    let weak = Arc::downgrade(&memory);
    drop((memory, segments));
    held.slices().write(0, b"abcdef").unwrap();
    assert_eq!(held.slices().read_array::<6>(0).unwrap(), *b"abcdef");
    assert!(weak.upgrade().is_some());
    for (count, rest) in [(0, &b"abcdef"[..]), (1, b"bcdef"), (4, b"f"), (9, b"")] {
        held.advance(count);
        let mut bytes = vec![0; held.slices().len()];
        held.slices().read(0, &mut bytes).unwrap();
        assert_eq!(bytes, rest);
    }
    held.release();
    assert!(weak.upgrade().is_none());
    assert!(held.slices().is_empty());
}

#[test]
fn what_another_memory_keeps_is_not_held() {
    let memory = Arc::new(Memory::new(vec![region(0, 64)]).unwrap());
    let heap = Heap::new(64);
    let inside = memory.regions()[0].segment();
    for segments in [vec![heap.segment(0, 8)], vec![inside, heap.segment(8, 8)]] {
        // SAFETY: heap and memory outlive the view.
        let view = unsafe { Slices::new(&segments) };
        let mut held = Held::new();
        assert_eq!(held.hold(view, &memory), Err(Foreign));
        assert!(held.slices().is_empty());
    }
}

/// Regions may share a mapping, and one may have less of it than another.
#[cfg(feature = "std")]
#[test]
fn what_ends_outside_of_a_region_is_not_held() {
    let mapping = Arc::new(crate::Mapping::anonymous(128).unwrap());
    let part = |offset, length| {
        let region = crate::Region::part(0, &mapping, offset, length).unwrap();
        Arc::new(Memory::new(vec![region]).unwrap())
    };
    let (whole, middle) = (part(0, 128), part(32, 64));
    let mut held = Held::new();
    for (address, length, held_by_middle) in [
        (32, 64, true),
        (95, 1, true),
        (95, 2, false),
        (33, 64, false),
        (31, 2, false),
        (96, 1, false),
    ] {
        let segments = resolve(&whole, address, length, Access::Write);
        // SAFETY: the segments are of this memory, which stays for longer than the view.
        let view = unsafe { Slices::new(&segments) };
        assert_eq!(
            held.hold(view, &middle).is_ok(),
            held_by_middle,
            "{address} {length}"
        );
        held.hold(view, &whole).unwrap();
    }
}

#[test]
fn a_read_only_view_stays_one_and_read_only_memory_is_not_written() {
    let memory = Arc::new(Memory::new(vec![read_only_region(0, 64)]).unwrap());
    let segments = resolve(&memory, 0, 8, Access::Read);
    // SAFETY: the segments are of this memory, which stays for longer than the view.
    let view = unsafe { Slices::new(&segments) };
    let mut held = Held::new();
    assert_eq!(held.hold(view, &memory), Err(Foreign));
    held.hold(view.read_only(), &memory).unwrap();
    assert_eq!(held.slices().len(), 8);
    assert!(held.slices().write(0, &[1]).is_err());
}
