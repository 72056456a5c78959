//! Resolution against a naive model, and the ranges that a hostile driver would try.

use super::*;
use crate::Iotlb;
use crate::test_memory::{Heap, read_only_region, region};
use proptest::prelude::*;
use std::vec;

const PAGE: u64 = 4096;

fn resolve(memory: &Memory, address: u64, length: u32, access: Access) -> Result<Vec<Segment>, Fault> {
    let mut segments = Vec::new();
    memory
        .resolve(&mut Window::new(), address, length, access, &mut segments)
        .map(|()| segments)
}

fn lengths(segments: &[Segment]) -> Vec<usize> {
    segments.iter().map(|segment| segment.len()).collect()
}

#[test]
fn regions_that_make_no_memory_are_refused() {
    let refused = |regions| Memory::new(regions).unwrap_err();
    assert_eq!(
        refused(vec![region(0x1000, 0)]),
        MapError::Empty { address: 0x1000 }
    );
    assert_eq!(
        refused(vec![region(u64::MAX, 2)]),
        MapError::Overflow {
            address: u64::MAX,
            length: 2
        }
    );
    let overlap = MapError::Overlap {
        first: 0x1000,
        second: 0x1fff,
    };
    assert_eq!(refused(vec![region(0x1fff, 8), region(0x1000, 0x1000)]), overlap);
    let same = MapError::Overlap {
        first: 0x1000,
        second: 0x1000,
    };
    assert_eq!(refused(vec![region(0x1000, 1), region(0x1000, 1)]), same);
    assert!(Memory::new(vec![region(0x1000, 8), region(0x1008, 8), region(u64::MAX, 1)]).is_ok());
}

#[test]
fn a_range_past_64_bits_faults() {
    let memory = Memory::new(vec![region(0, 8), region(u64::MAX - 7, 8)]).unwrap();
    let address = u64::MAX - 3;
    assert_eq!(lengths(&resolve(&memory, address, 4, Access::Read).unwrap()), [4]);
    let overflow = Fault::Overflow { address, length: 5 };
    assert_eq!(resolve(&memory, address, 5, Access::Read), Err(overflow));
    let overflow = Fault::Overflow {
        address,
        length: u32::MAX.into(),
    };
    assert_eq!(resolve(&memory, address, u32::MAX, Access::Read), Err(overflow));
    assert!(matches!(
        memory.resolve_one(address, usize::MAX, Access::Read),
        Err(Fault::Overflow { .. })
    ));
    assert!(matches!(
        memory.read(address, &mut [0; 5]),
        Err(Fault::Overflow { .. })
    ));
    // Also when the window already knows the last region.
    let (mut window, mut segments) = (Window::new(), Vec::new());
    memory
        .resolve(&mut window, address, 4, Access::Read, &mut segments)
        .unwrap();
    assert!(
        memory
            .resolve(&mut window, address, 5, Access::Read, &mut segments)
            .is_err()
    );
}

#[test]
fn neighbours_give_two_segments_and_gaps_fault() {
    let memory = Memory::new(vec![
        region(0x1000, 0x100),
        region(0x1100, 0x100),
        region(0x1300, 0x100),
    ])
    .unwrap();
    assert_eq!(
        lengths(&resolve(&memory, 0x10f0, 0x20, Access::Write).unwrap()),
        [0x10, 0x10]
    );
    assert_eq!(
        resolve(&memory, 0x11f0, 0x20, Access::Read),
        Err(Fault::Unmapped { address: 0x1200 })
    );
    assert_eq!(
        resolve(&memory, 0x12ff, 2, Access::Read),
        Err(Fault::Unmapped { address: 0x12ff })
    );
    assert_eq!(
        resolve(&memory, 0xfff, 2, Access::Read),
        Err(Fault::Unmapped { address: 0xfff })
    );
    assert_eq!(
        resolve(&memory, 0x13ff, 2, Access::Read),
        Err(Fault::Unmapped { address: 0x1400 })
    );
    let split = Fault::Split {
        address: 0x10f0,
        length: 0x20,
    };
    assert_eq!(memory.resolve_one(0x10f0, 0x20, Access::Read), Err(split));
    assert_eq!(
        memory
            .resolve_one(0x10f0, 0x10, Access::ReadWrite)
            .map(Segment::len),
        Ok(0x10)
    );
    assert_eq!(
        Memory::new(vec![]).unwrap().read(0, &mut [0]),
        Err(Fault::Unmapped { address: 0 })
    );
}

#[test]
fn no_bytes_are_nowhere() {
    let memory = Memory::new(vec![region(0x1000, 0x100)]).unwrap();
    for address in [0, 0x1000, 0x1080, u64::MAX] {
        assert_eq!(resolve(&memory, address, 0, Access::Read), Ok(vec![]));
        assert_eq!(memory.read(address, &mut []), Ok(()));
        assert_eq!(
            memory.resolve_one(address, 0, Access::Read),
            Err(Fault::Unmapped { address })
        );
    }
    let (mut window, mut segments) = (Window::new(), Vec::new());
    memory
        .resolve(&mut window, 0x1000, 8, Access::Read, &mut segments)
        .unwrap();
    memory
        .resolve(&mut window, 0x1000, 0, Access::Read, &mut segments)
        .unwrap();
    assert_eq!(lengths(&segments), [8]);
}

#[test]
fn what_is_read_only_is_not_written() {
    let memory = Memory::new(vec![read_only_region(0x1000, 0x100), region(0x1100, 0x100)]).unwrap();
    let (mut window, mut segments) = (Window::new(), Vec::new());
    memory
        .resolve(&mut window, 0x1000, 8, Access::Read, &mut segments)
        .unwrap();
    let denied = Fault::Denied {
        address: 0x1000,
        access: Access::Write,
    };
    assert_eq!(
        memory.resolve(&mut window, 0x1000, 8, Access::Write, &mut segments),
        Err(denied)
    );
    assert_eq!(memory.write(0x1000, &[1]), Err(denied));
    let denied = Fault::Denied {
        address: 0x10ff,
        access: Access::ReadWrite,
    };
    assert_eq!(memory.resolve_one(0x10ff, 1, Access::ReadWrite), Err(denied));
    assert_eq!(
        memory.write(0x10ff, &[1, 2]),
        Err(Fault::Denied {
            address: 0x10ff,
            access: Access::Write
        })
    );
    let mut bytes = [9; 2];
    memory.read(0x10ff, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0], "a write that faults writes nothing");
}

#[test]
fn a_sink_may_refuse() {
    struct Few(Vec<Segment>);
    impl Sink for Few {
        fn push(&mut self, segment: Segment) -> Result<(), crate::Full> {
            (self.0.len() < 2)
                .then(|| self.0.push(segment))
                .ok_or(crate::Full)
        }
    }
    let memory = Memory::new((0..4).map(|index| region(index * 16, 16)).collect()).unwrap();
    let (mut window, mut few) = (Window::new(), Few(Vec::new()));
    let fault = memory.resolve(&mut window, 0, 64, Access::Read, &mut few);
    assert_eq!(
        fault,
        Err(Fault::TooManySegments {
            address: 0,
            length: 64
        })
    );
    // By the fast path too.
    let fault = memory.resolve(&mut window, 32, 1, Access::Read, &mut few);
    assert_eq!(
        fault,
        Err(Fault::TooManySegments {
            address: 32,
            length: 1
        })
    );
}

#[test]
fn bits_are_set_in_one_byte() {
    let log = Arc::new(DirtyLog::new(0x4000));
    let regions = vec![region(0x1000, 0x1000), read_only_region(0x2000, 0x1000)];
    let memory = Memory::new(regions).unwrap().with_dirty_log(log.clone());
    assert_eq!(memory.set_bits(0x1fff, 0x81), Ok(0));
    assert_eq!(memory.set_bits(0x1fff, 0x03), Ok(0x81));
    let mut bytes = [0; 2];
    memory.read(0x1ffe, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 0x83]);
    assert_eq!(log.take().collect::<Vec<_>>(), [(PAGE, PAGE)]);
    assert_eq!(memory.set_bits(0xfff, 1), Err(Fault::Unmapped { address: 0xfff }));
    let denied = Fault::Denied {
        address: 0x2000,
        access: Access::ReadWrite,
    };
    assert_eq!(memory.set_bits(0x2000, 1), Err(denied));
}

#[test]
fn written_pages_are_logged_at_every_address_they_have() {
    let heap = Heap::new(3 * PAGE as usize);
    // The second page of the heap is seen twice.
    let place = |address, offset, length| {
        // SAFETY: the heap owns the segment.
        unsafe { Region::from_raw(address, heap.segment(offset, length), true, heap.clone()) }
    };
    let page = PAGE as usize;
    let log = Arc::new(DirtyLog::new(64 * PAGE));
    let memory = Memory::new(vec![place(0, 0, 2 * page), place(16 * PAGE, page, 2 * page)]).unwrap();
    let memory = memory.with_dirty_log(log.clone());
    memory.write(PAGE - 2, &[1; 4]).unwrap();
    assert_eq!(log.take().collect::<Vec<_>>(), [(0, 2 * PAGE), (16 * PAGE, PAGE)]);
    memory.read(0, &mut [0; 8]).unwrap();
    let segments = resolve(&memory, 0, 2 * PAGE as u32, Access::Write).unwrap();
    assert_eq!(log.take().count(), 0, "neither reading nor resolving writes");
    memory.mark_written(&segments, 5);
    assert_eq!(
        log.take().collect::<Vec<_>>(),
        [(0, PAGE)],
        "only what was written"
    );
    memory.mark_written(&segments, usize::MAX);
    assert_eq!(log.take().map(|(_, length)| length).sum::<u64>(), 3 * PAGE);
    // The first segment takes all that was written.
    let three = resolve(&memory, 17 * PAGE, 8, Access::Write).unwrap();
    memory.mark_written(&[three[0], segments[0]], 8);
    assert_eq!(log.take().collect::<Vec<_>>(), [(17 * PAGE, PAGE)]);
}

#[test]
fn translation_stands_before_memory() {
    let tlb = Arc::new(Iotlb::new());
    let memory = Memory::new(vec![region(0x1000, 0x3000)])
        .unwrap()
        .with_translation(tlb.clone());
    let miss = Fault::Miss {
        address: 0x8000,
        access: Access::Read,
    };
    assert_eq!(resolve(&memory, 0x8000, 1, Access::Read), Err(miss));
    assert!(tlb.insert(0x8000, 0x1000, 0x2000, Access::ReadWrite));
    assert!(tlb.insert(0x9000, 0x1000, 0x3000, Access::Read));
    assert!(tlb.insert(0xa000, 0x1000, 0x1000, Access::Read));
    // The first two continue each other in memory, the third does not.
    let segments = resolve(&memory, 0x8ff0, 0x1020, Access::Read).unwrap();
    assert_eq!(lengths(&segments), [0x1010, 0x10]);
    assert_eq!(
        memory.resolve_one(0x8000, 0x2000, Access::Read).map(Segment::len),
        Ok(0x2000)
    );
    assert!(matches!(
        memory.resolve_one(0x9000, 0x2000, Access::Read),
        Err(Fault::Split { .. })
    ));
    let denied = Fault::Denied {
        address: 0x9000,
        access: Access::Write,
    };
    assert_eq!(resolve(&memory, 0x8ff0, 0x20, Access::Write), Err(denied));
    // A translation to where no memory is.
    assert!(tlb.insert(0xb000, 0x1000, 0x4000, Access::Read));
    assert_eq!(
        resolve(&memory, 0xb000, 1, Access::Read),
        Err(Fault::Unmapped { address: 0x4000 })
    );
}

#[test]
fn a_window_forgets_with_the_translation() {
    let tlb = Arc::new(Iotlb::new());
    let memory = Memory::new(vec![region(0x1000, 0x3000)])
        .unwrap()
        .with_translation(tlb.clone());
    let (mut window, mut segments) = (Window::new(), Vec::new());
    tlb.insert(0x8000, 0x1000, 0x1000, Access::Read);
    memory
        .resolve(&mut window, 0x8000, 8, Access::Read, &mut segments)
        .unwrap();
    tlb.insert(0x8000, 0x1000, 0x2000, Access::Read);
    memory
        .resolve(&mut window, 0x8000, 8, Access::Read, &mut segments)
        .unwrap();
    let distance = segments[1].pointer() as usize - segments[0].pointer() as usize;
    assert_eq!(distance, 0x1000, "the new place");
    tlb.remove(0x8000, 1);
    let miss = Fault::Miss {
        address: 0x8000,
        access: Access::Read,
    };
    assert_eq!(
        memory.resolve(&mut window, 0x8000, 8, Access::Read, &mut segments),
        Err(miss)
    );
    memory
        .resolve(&mut window, 0x8001, 8, Access::Read, &mut segments)
        .unwrap();
}

#[test]
fn a_window_knows_each_part_of_a_translation() {
    let tlb = Arc::new(Iotlb::new());
    let memory = Memory::new(vec![region(0, 0x100), region(0x100, 0x100)]).unwrap();
    let memory = memory.with_translation(tlb.clone());
    tlb.insert(0x8000, 0x200, 0, Access::Read);
    for (address, part) in [(0x8080, 0), (0x8100, 1)] {
        let (mut window, mut segments) = (Window::new(), Vec::new());
        memory
            .resolve(&mut window, 0x8080, 0x100, Access::Read, &mut segments)
            .unwrap();
        memory
            .resolve(&mut window, address, 1, Access::Read, &mut segments)
            .unwrap();
        assert_eq!(segments[2].pointer(), segments[part].pointer(), "{address:#x}");
    }
}

#[test]
fn a_translated_range_may_end_with_the_address_space() {
    let tlb = Arc::new(Iotlb::new());
    assert!(tlb.insert(u64::MAX - 7, 8, 0, Access::ReadWrite));
    let memory = Memory::new(vec![region(0, 8)]).unwrap().with_translation(tlb);
    let segments = resolve(&memory, u64::MAX - 3, 4, Access::Write).unwrap();
    assert_eq!(lengths(&segments), [4]);
    let whole = memory.resolve_one(u64::MAX - 7, 8, Access::ReadWrite);
    assert_eq!(whole.map(Segment::len), Ok(8));
}

#[test]
fn a_translation_is_not_trusted_to_answer_sensibly() {
    struct Bad(u64, u64);
    impl Translate for Bad {
        fn translate(&self, _: u64, _: u64, _: Access) -> Result<(u64, u64), Fault> {
            Ok((self.0, self.1))
        }
        fn generation(&self) -> u64 {
            0
        }
    }
    let behind = |bad| {
        Memory::new(vec![region(0, 0x100)])
            .unwrap()
            .with_translation(Arc::new(bad))
    };
    let miss = Fault::Miss {
        address: 0,
        access: Access::Read,
    };
    assert_eq!(
        resolve(&behind(Bad(0, 0)), 0, 8, Access::Read),
        Err(miss),
        "no progress"
    );
    assert_eq!(
        resolve(&behind(Bad(u64::MAX, 8)), 0, 8, Access::Read),
        Err(miss),
        "past 64 bits"
    );
    assert_eq!(
        lengths(&resolve(&behind(Bad(0, u64::MAX)), 0, 8, Access::Read).unwrap()),
        [8],
        "too much"
    );
}

#[test]
#[should_panic(expected = "a window serves one memory")]
#[cfg(debug_assertions)]
fn a_window_of_another_memory_is_noticed() {
    let mut window = Window::new();
    for _ in 0..2 {
        let memory = Memory::new(vec![region(0, 8)]).unwrap();
        memory
            .resolve(&mut window, 0, 8, Access::Read, &mut Vec::new())
            .unwrap();
    }
}

/// Regions in a small space, so that ranges often touch borders: `(gap before, length, writable)`.
fn layouts() -> impl Strategy<Value = Vec<(u64, usize, bool)>> {
    prop::collection::vec(
        (prop_oneof![Just(0), 0_u64..20], 1_usize..40, any::<bool>()),
        0..6,
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 512 }, failure_persistence: None, ..Default::default() })]

    /// The model looks up each byte by itself in the list of regions.
    #[test]
    fn resolves_as_the_model_does(
        base in prop_oneof![Just(0), Just(u64::MAX - 100), any::<u64>()],
        layout in layouts(),
        ranges in prop::collection::vec((0_u64..250, 0_u32..100, any::<bool>()), 0..40),
    ) {
        let mut regions = Vec::new();
        let mut at = Some(base);
        for (gap, length, writable) in layout {
            let Some(start) = at.and_then(|at| at.checked_add(gap)) else { break };
            if start.checked_add(length as u64 - 1).is_none() {
                break;
            }
            regions.push(if writable { region(start, length) } else { read_only_region(start, length) });
            at = start.checked_add(length as u64);
        }
        let byte = |address: u64| {
            let hit = regions.iter().find(|r| address >= r.guest_address() && address - r.guest_address() < r.len());
            hit.map(|r| (r.pointer() as usize + (address - r.guest_address()) as usize, r.writable()))
        };
        let mut shuffled = regions.clone();
        shuffled.reverse();
        let memory = Memory::new(shuffled).unwrap();
        let mut window = Window::new();
        for (offset, length, write) in ranges {
            let address = base.wrapping_add(offset).wrapping_sub(10);
            let access = if write { Access::Write } else { Access::Read };
            let mut segments = Vec::new();
            let result = memory.resolve(&mut window, address, length, access, &mut segments);
            let expected: Result<Vec<usize>, Fault> = if length != 0 && address.checked_add(u64::from(length) - 1).is_none() {
                Err(Fault::Overflow { address, length: length.into() })
            } else {
                (0..u64::from(length)).map(|index| address + index).map(|address| match byte(address) {
                    None => Err(Fault::Unmapped { address }),
                    Some((_, false)) if write => Err(Fault::Denied { address, access }),
                    Some((host, _)) => Ok(host),
                }).collect()
            };
            let got = result.map(|()| {
                segments.iter().flat_map(|s| (0..s.len()).map(|index| s.pointer() as usize + index)).collect()
            });
            prop_assert_eq!(got, expected);
            prop_assert!(segments.iter().all(|segment| !segment.is_empty()));
        }
    }
}
