//! Words against the same memory seen as bytes, at the borders, and from two threads.

use super::*;
use crate::{Mapping, Memory};

fn region(length: usize) -> Region {
    Region::new(0x1000, Arc::new(Mapping::anonymous(length).unwrap()))
}

#[test]
fn words_are_little_endian_bytes_of_the_region() {
    let region = region(64);
    let words = Words::new(&region).unwrap();
    let memory = Memory::new(std::vec![region]).unwrap();
    words.store(8, 0x1122_3344_5566_7788_u64).unwrap();
    let mut bytes = [0; 8];
    memory.read(0x1008, &mut bytes).unwrap();
    assert_eq!(bytes, [0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11]);
    assert_eq!(words.load::<u32>(12), Some(0x1122_3344));
    assert_eq!(words.load::<u16>(10), Some(0x5566));
    assert_eq!(words.load::<u8>(15), Some(0x11));
    words.store(9, 0xaa_u8).unwrap();
    assert_eq!(words.load::<u64>(8), Some(0x1122_3344_5566_aa88));
}

#[test]
fn nothing_misaligned_or_beyond_the_end() {
    let words = Words::new(&region(64)).unwrap();
    assert_eq!(words.len(), 64);
    assert_eq!(words.load::<u64>(56), Some(0));
    assert_eq!(words.load::<u8>(63), Some(0));
    for offset in [64, 72, 1 << 40, u64::MAX - 7, u64::MAX] {
        assert_eq!(words.load::<u64>(offset), None);
        assert_eq!(words.load::<u8>(offset), None);
        assert_eq!(words.store(offset, 0_u16), None);
        assert_eq!(words.compare_exchange(offset, 0_u32, 1), None);
        assert_eq!(words.update(offset, |word: u32| word), None);
    }
    assert_eq!(words.load::<u16>(1), None);
    assert_eq!(words.load::<u32>(2), None);
    assert_eq!(words.load::<u64>(4), None);
    assert_eq!(words.load::<u64>(60), None, "aligned to 4, half beyond the end");
}

#[test]
fn only_whole_writable_memory() {
    assert!(Words::new(&region(60)).is_none());
    let file = tempfile::tempfile().unwrap();
    file.set_len(64).unwrap();
    let read_only = Mapping::file(file.into(), 0, 64, false).unwrap();
    assert!(Words::new(&Region::new(0, Arc::new(read_only))).is_none());
    let file = tempfile::tempfile().unwrap();
    file.set_len(64).unwrap();
    let misaligned = Mapping::file(file.into(), 4, 56, true).unwrap();
    assert!(Words::new(&Region::new(0, Arc::new(misaligned))).is_none());
}

#[test]
fn exchange_happens_only_from_what_was_expected() {
    let words = Words::new(&region(8)).unwrap();
    assert_eq!(words.compare_exchange(4, 1_u32, 2), Some(false));
    assert_eq!(words.load::<u64>(0), Some(0));
    assert_eq!(words.compare_exchange(4, 0_u32, 2), Some(true));
    assert_eq!(words.load::<u64>(0), Some(2 << 32));
}

#[test]
fn updates_of_two_threads_are_all_seen() {
    let region = region(8);
    let rounds = if cfg!(miri) { 50 } else { 50_000 };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            let words = Words::new(&region).unwrap();
            scope.spawn(move || {
                for _ in 0..rounds {
                    words.update(0, |word: u32| word + 1).unwrap();
                }
            });
        }
    });
    assert_eq!(Words::new(&region).unwrap().load::<u64>(0), Some(2 * rounds));
}
