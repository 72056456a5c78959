//! Changes of memory under its users.

use super::*;
use crate::test_memory::region;
use crate::{DirtyLog, Iotlb};
use std::sync::Barrier;
use std::vec;
use std::vec::Vec;

fn starts(map: &MemoryMap) -> Vec<u64> {
    map.load().regions().iter().map(Region::guest_address).collect()
}

#[test]
fn every_change_is_a_new_generation() {
    let map = MemoryMap::new(Memory::new(vec![region(0x2000, 16)]).unwrap());
    let same = map.clone();
    let old = map.load();
    let start = same.generation();
    map.add(region(0x1000, 16)).unwrap();
    assert_eq!(starts(&same), [0x1000, 0x2000]);
    let added = same.generation();
    assert_ne!(added, start);
    let region = map.remove(0x2000).unwrap();
    assert_eq!((region.guest_address(), starts(&same)), (0x2000, vec![0x1000]));
    let removed = same.generation();
    assert_ne!(removed, added);
    map.replace(Memory::new(vec![]).unwrap());
    assert!(starts(&same).is_empty());
    assert_ne!(same.generation(), removed);
    old.write(0x2000, &[1]).unwrap();
}

#[test]
fn a_change_that_is_refused_changes_nothing() {
    let map = MemoryMap::new(Memory::new(vec![region(0x1000, 16)]).unwrap());
    let start = map.generation();
    assert_eq!(
        map.add(region(0x100f, 16)),
        Err(MapError::Overlap {
            first: 0x1000,
            second: 0x100f
        })
    );
    assert_eq!(
        map.remove(0x1001).map(|_| ()),
        Err(MapError::NotFound { address: 0x1001 })
    );
    assert_eq!((map.generation(), starts(&map)), (start, vec![0x1000]));
}

#[test]
fn a_change_keeps_translation_and_log() {
    let memory = Memory::new(vec![])
        .unwrap()
        .with_translation(Arc::new(Iotlb::new()));
    let map = MemoryMap::new(memory.with_dirty_log(Arc::new(DirtyLog::new(0))));
    map.add(region(0, 16)).unwrap();
    let memory = map.load();
    assert!(memory.translation().is_some() && memory.dirty_log().is_some());
}

#[test]
fn a_change_overtaken_by_another_starts_again() {
    let map = MemoryMap::new(Memory::new(vec![]).unwrap());
    let mut calls = 0;
    map.change(|memory| {
        calls += 1;
        if calls == 1 {
            map.add(region(0x1000, 16))?;
        }
        let mut regions = memory.regions().to_vec();
        regions.push(region(0x2000, 16));
        memory.with_regions(regions)
    })
    .unwrap();
    assert_eq!((calls, starts(&map)), (2, vec![0x1000, 0x2000]));
}

#[test]
fn no_change_is_lost_between_threads() {
    let rounds = if cfg!(miri) { 4 } else { 100 };
    let map = MemoryMap::new(Memory::new(vec![]).unwrap());
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (map, start) = (&map, &start);
            scope.spawn(move || {
                start.wait();
                for index in 0..rounds {
                    let address = (thread * rounds + index) * 16;
                    map.add(region(address, 16)).unwrap();
                    let generation = map.generation();
                    map.load().write(address, &[1; 16]).unwrap();
                    if index % 2 == 1 {
                        map.remove(address).unwrap();
                        assert_ne!(map.generation(), generation);
                    }
                }
            });
        }
    });
    assert_eq!(starts(&map).len() as u64, 2 * rounds);
    assert_eq!(map.generation(), 6 * rounds);
}
