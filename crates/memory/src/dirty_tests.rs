//! The log against a set of pages.

use super::*;
use crate::test_memory::Heap;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::sync::atomic::AtomicUsize;
use proptest::prelude::*;
use std::time::{Duration, Instant};

const PAGE: u64 = DirtyLog::PAGE_SIZE;

fn taken(log: &DirtyLog) -> Vec<(u64, u64)> {
    log.take().collect()
}

#[test]
fn the_layout_is_that_of_vhost() {
    let heap = Heap::new(8);
    // SAFETY: the heap owns the segment.
    let log = unsafe { DirtyLog::shared(heap.segment(0, 8), heap.clone()) };
    assert_eq!(log.end(), 64 * PAGE);
    for page in [0, 3, 9, 63] {
        log.mark(page * PAGE + 17, 1);
    }
    let bytes: Vec<u8> = log
        .bytes()
        .iter()
        .map(|byte| byte.load(Ordering::Relaxed))
        .collect();
    assert_eq!(bytes, [0b1001, 0b10, 0, 0, 0, 0, 0, 0b1000_0000]);
}

#[test]
fn ranges_touch_pages_at_both_ends() {
    let log = DirtyLog::new(100 * PAGE);
    log.mark(PAGE - 1, 2);
    assert_eq!(taken(&log), [(0, 2 * PAGE)]);
    log.mark(5 * PAGE, PAGE);
    assert_eq!(taken(&log), [(5 * PAGE, PAGE)]);
    log.mark(5 * PAGE, 0);
    assert_eq!(taken(&log), []);
    log.mark(6 * PAGE, 40 * PAGE);
    log.mark(50 * PAGE, 1);
    assert_eq!(taken(&log), [(6 * PAGE, 40 * PAGE), (50 * PAGE, PAGE)]);
}

#[test]
fn what_the_log_does_not_cover_is_left_out() {
    let log = DirtyLog::new(10 * PAGE);
    assert_eq!(log.end(), 16 * PAGE, "whole bytes");
    log.mark(15 * PAGE, u64::MAX);
    log.mark(u64::MAX, u64::MAX);
    log.mark(u64::MAX, 1);
    log.mark(16 * PAGE, 1);
    assert_eq!(taken(&log), [(15 * PAGE, PAGE)]);
    log.mark(0, u64::MAX);
    assert_eq!(taken(&log), [(0, 16 * PAGE)]);
    let none = DirtyLog::new(0);
    none.mark(0, 1);
    assert_eq!(taken(&none), []);
}

#[test]
fn taking_part_leaves_the_rest() {
    let log = DirtyLog::new(100 * PAGE);
    for page in [0, 2, 90] {
        log.mark(page * PAGE, 1);
    }
    // The rest of the byte, and then a byte further on.
    assert_eq!(log.take().next(), Some((0, PAGE)));
    assert_eq!(log.take().next(), Some((2 * PAGE, PAGE)));
    assert_eq!(taken(&log), [(90 * PAGE, PAGE)]);
}

/// Two threads mark the odd and the even pages, again once all marks were seen; a lost mark leaves a thread waiting.
#[test]
fn no_mark_is_lost_between_threads() {
    let (rounds, pages) = if cfg!(miri) { (2, 16) } else { (30, 8192) };
    let log = DirtyLog::new(pages * PAGE);
    let seen = [const { AtomicUsize::new(0) }; 2];
    let deadline = Instant::now() + Duration::from_secs(60);
    let late = || Instant::now() > deadline;
    let half = pages as usize / 2;
    std::thread::scope(|scope| {
        for (thread, seen) in seen.iter().enumerate() {
            let log = &log;
            scope.spawn(move || {
                for round in 1..=rounds {
                    (thread as u64..pages)
                        .step_by(2)
                        .for_each(|page| log.mark(page * PAGE, 1));
                    while seen.load(Ordering::Acquire) < round * half && !late() {
                        std::thread::yield_now();
                    }
                }
            });
        }
        while seen
            .iter()
            .any(|seen| seen.load(Ordering::Relaxed) < rounds * half)
            && !late()
        {
            for (address, length) in log.take() {
                for page in address / PAGE..(address + length) / PAGE {
                    seen[page as usize % 2].fetch_add(1, Ordering::Release);
                }
            }
        }
    });
    assert!(!late(), "a mark was lost: {seen:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 256 }, failure_persistence: None, ..Default::default() })]

    #[test]
    fn marks_as_a_set_of_pages(ranges in prop::collection::vec((0_u64..70 * PAGE, 0_u64..12 * PAGE), 0..10)) {
        let log = DirtyLog::new(64 * PAGE);
        let mut model = BTreeSet::new();
        for (address, length) in ranges {
            log.mark(address, length);
            if length != 0 {
                model.extend(address / PAGE..=(address + length - 1) / PAGE);
            }
        }
        model.retain(|page| *page < 64);
        let ranges = taken(&log);
        let pages: BTreeSet<u64> =
            ranges.iter().flat_map(|(address, length)| address / PAGE..(address + length) / PAGE).collect();
        prop_assert_eq!(pages, model);
        prop_assert!(ranges.windows(2).all(|pair| pair[0].0 + pair[0].1 < pair[1].0), "neighbours are joined");
        prop_assert_eq!(taken(&log), []);
    }
}
