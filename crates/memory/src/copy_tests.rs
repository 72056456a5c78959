//! Every alignment and length against plain slices, by words and by string instruction.

use super::*;
use std::vec::Vec;

/// The lengths at which something changes: around a word, around the string instruction, and all short ones.
fn lengths() -> impl Iterator<Item = usize> {
    (0..40).chain([63, 64, 65, 127, 255, 256, 257, 300, 1000])
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|index| (index * 7 + 1) as u8).collect()
}

#[test]
fn reads_and_writes_what_a_slice_copy_would() {
    for (length, shift, other) in lengths().flat_map(|l| (0..9).flat_map(move |s| [0, 3].map(|o| (l, s, o))))
    {
        let source = pattern(length + 32);
        let mut expected = std::vec![0; length + 32];
        expected[shift..shift + length].copy_from_slice(&source[other..other + length]);
        for function in [read, write, copy, words::read, words::write, words::copy] {
            let mut target = std::vec![0; length + 32];
            // SAFETY: both vectors are longer than shift and length together.
            unsafe { function(source.as_ptr().add(other), target.as_mut_ptr().add(shift), length) };
            assert_eq!(target, expected, "{length} bytes from {other} to {shift}");
        }
    }
}

#[test]
fn fills_just_the_range() {
    for (length, shift) in lengths().flat_map(|length| (0..9).map(move |shift| (length, shift))) {
        let mut expected = pattern(length + 32);
        expected[shift..shift + length].fill(0xa5);
        for function in [fill, words::fill] {
            let mut target = pattern(length + 32);
            // SAFETY: the vector is longer than shift and length together.
            unsafe { function(target.as_mut_ptr().add(shift), length, 0xa5) };
            assert_eq!(target, expected, "{length} bytes at {shift}");
        }
    }
}

/// A field that fits one access is never seen half written.
#[test]
fn aligned_fields_are_copied_at_once() {
    let shared = AtomicUsize::new(0);
    let pointer = shared.as_ptr().cast::<u8>();
    let rounds = if cfg!(miri) { 100 } else { 200_000 };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..rounds {
                let value = if round % 2 == 0 { usize::MAX } else { 0 };
                // SAFETY: the atomic outlives the scope and is as long as the value.
                unsafe {
                    write(
                        value.to_ne_bytes().as_ptr(),
                        shared.as_ptr().cast(),
                        size_of::<usize>(),
                    )
                };
            }
        });
        for _ in 0..rounds {
            let mut bytes = [0; size_of::<usize>()];
            // SAFETY: the atomic outlives the scope and is as long as the array.
            unsafe { read(pointer, bytes.as_mut_ptr(), bytes.len()) };
            let value = usize::from_ne_bytes(bytes);
            assert!(value == 0 || value == usize::MAX, "torn: {value:#x}");
        }
    });
}
