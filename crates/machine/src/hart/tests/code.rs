//! Decoded instructions: when changes to code are seen, and how many there can be.

use super::assembler::*;
use super::{BASE, DATA, Guest, LENGTH};
use crate::Fence;

/// A program that overwrites its own instruction and runs it sees the new one after FENCE.I.
#[test]
fn fence_i_makes_stores_visible() {
    let program = [
        jalr(RA, A1, 0),
        add(T0, A0, ZERO),
        sw(A2, A1, 0),
        FENCE_I,
        jalr(RA, A1, 0),
        ECALL,
    ];
    let mut guest = Guest::new(&program);
    guest.write(DATA, &[addi(A0, ZERO, 1), jalr(ZERO, RA, 0)]);
    guest.hart.set_x(11, DATA);
    guest.hart.set_x(12, addi(A0, ZERO, 2).into());
    let state = guest.run();
    assert_eq!((state.x[5], state.x[10]), (1, 2));
}

/// Also behind the program's back: what a device wrote, and what another hart's FENCE.I asks for. Each place is looked at
/// on its own, also in the middle of what was a block.
#[test]
fn a_fence_from_outside_makes_writes_visible() {
    let mut guest = Guest::new(&[jalr(ZERO, A1, 0)]);
    let program = |value| [addi(A0, ZERO, value), addi(A1, ZERO, 5), ECALL];
    for (value, start) in [(1, 0), (2, 0), (3, 0), (4, 4), (4, 0)] {
        guest.write(DATA, &program(value));
        guest.hart.signals().fence(Fence::Instructions);
        guest.jump(BASE);
        guest.hart.set_x(11, DATA + start);
        guest.hart.set_x(10, 77);
        let expected = if start == 0 { value as u64 } else { 77 };
        assert_eq!(guest.run().x[10], expected);
    }
}

/// Blocks that did not change are still there after a fence, and others are not mistaken for them.
#[test]
fn unchanged_blocks_survive_a_fence() {
    let mut guest = Guest::new(&[jalr(RA, A1, 0), jalr(RA, A2, 0), ECALL]);
    let give = |value| [addi(A0, A0, value), jalr(ZERO, RA, 0)];
    guest.write(DATA, &give(1));
    guest.write(DATA + 0x1000, &give(10));
    guest.hart.set_x(11, DATA);
    guest.hart.set_x(12, DATA + 0x1000);
    assert_eq!(guest.run().x[10], 11);
    let decoded = guest.hart.code.decoded();
    guest.hart.fence(Fence::Instructions);
    guest.jump(BASE);
    assert_eq!(guest.run().x[10], 22);
    assert_eq!(guest.hart.code.decoded(), decoded, "nothing was decoded anew");
    guest.write(DATA + 0x1000, &give(100));
    guest.hart.fence(Fence::Instructions);
    guest.jump(BASE);
    assert_eq!(guest.run().x[10], 123);
    assert_eq!(
        guest.hart.code.decoded(),
        decoded + 2,
        "one block of two instructions was"
    );
}

/// More code than the cache holds: it is emptied, and everything still works.
#[test]
fn the_cache_is_emptied_when_it_is_full() {
    // Rounds through all of memory behind DATA; in each, blocks start two bytes further on.
    let mut guest = Guest::new(&[]);
    let nops = vec![0x0001_0001_u32; ((LENGTH - 0x2_0000) / 4) as usize];
    guest.write(DATA, &nops);
    guest.write(BASE + LENGTH - 4, &[ECALL]);
    let expected = (LENGTH - 0x2_0000 - 4) / 2 + 1;
    for start in 0..4 {
        let before = guest.hart.instructions();
        guest.jump(DATA + 2 * start);
        assert_eq!(guest.hart.run(u64::MAX), crate::Exit::Ecall);
        assert_eq!(guest.hart.instructions() - before, expected - start);
    }
    assert!(guest.hart.code.decoded() < 4 * expected, "it was emptied");
}

/// A block ends with its page; the next page is looked up on its own.
#[test]
fn code_runs_on_into_the_next_page() {
    let mut guest = Guest::new(&[]);
    let start = DATA + 0x1000 - 40;
    guest.write(start, &[addi(A0, A0, 1); 20]);
    guest.write(start + 80, &[ECALL]);
    guest.jump(start);
    assert_eq!(guest.run().x[10], 20);
    // With an instruction across the border, twice: it is not taken from a cache.
    let start = DATA + 0x2000 - 2;
    for value in [7, 8] {
        guest.write_halves(
            start,
            &[addi(A0, ZERO, value) as u16, (addi(A0, ZERO, value) >> 16) as u16],
        );
        guest.write(start + 4, &[ECALL]);
        guest.hart.fence(Fence::Instructions);
        guest.jump(start);
        assert_eq!(guest.run().x[10], value as u64);
    }
}

/// An exception of an instruction across pages tells where it is.
#[test]
fn exceptions_across_pages() {
    let mut guest = Guest::new(&[]);
    let start = DATA + 0x1000 - 2;
    guest.write(start, &[0xffff_ffff]);
    guest.jump(start);
    assert_eq!(guest.trap(), (2, 0xffff_ffff, start));
}

/// An exception in the middle of a block of instructions of both lengths tells where it is.
#[test]
fn exceptions_within_blocks() {
    for compressed in 0..8 {
        let mut guest = Guest::new(&[]);
        let halves: Vec<u16> = (0..8)
            .flat_map(|index| {
                if index < compressed {
                    vec![0x0505]
                } else {
                    vec![0x0513, 0x0015]
                }
            })
            .collect();
        guest.write_halves(BASE, &halves);
        let place = BASE + 2 * halves.len() as u64;
        guest.write(place, &[ld(A1, ZERO, 0), ECALL]);
        assert_eq!(guest.trap(), (5, 0, place));
        assert_eq!(guest.hart.x(10), 8);
        assert_eq!(guest.hart.instructions(), 9);
    }
}

/// The table of jumps forgets by counting; when the count starts again, nothing old is found.
#[test]
fn forgotten_jumps_do_not_come_back() {
    let mut guest = Guest::new(&[NOP, ECALL]);
    guest.run();
    let code = &mut guest.hart.code;
    assert!(code.find(BASE, false).is_some());
    assert!(code.find(BASE, true).is_none(), "of the other mode");
    for round in 0..0x2_0001 {
        code.forget_jumps();
        assert!(code.find(BASE, false).is_none(), "after {round} times");
    }
    // Those of one page are forgotten with the page.
    guest.jump(BASE);
    guest.run();
    let code = &mut guest.hart.code;
    code.forget_jumps_into(BASE + 0xfff);
    assert!(code.find(BASE, false).is_none());
}
