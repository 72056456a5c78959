//! Integer instructions: every one, at the edges of its operands.

use super::assembler::*;
use super::{BASE, Guest, result};

const MIN: u64 = 1 << 63;
const MAX: u64 = MIN - 1;
const ONES: u64 = u64::MAX;
/// The smallest 32-bit integer, sign-extended.
const MIN32: u64 = 0xffff_ffff_8000_0000;
const MAX32: u64 = 0x7fff_ffff;

fn register(funct7: u32, funct3: u32) -> u32 {
    r(0x33, funct3, funct7, 3, 1, 2)
}

fn register_word(funct7: u32, funct3: u32) -> u32 {
    r(0x3b, funct3, funct7, 3, 1, 2)
}

#[track_caller]
fn check(word: u32, cases: &[(u64, u64, u64)]) {
    for &(a, b, expected) in cases {
        let got = result(word, a, b);
        assert_eq!(
            got, expected,
            "{word:#010x} of {a:#x} and {b:#x}: {got:#x}, not {expected:#x}"
        );
    }
}

#[track_caller]
fn check_immediate(funct3: u32, cases: &[(u64, i32, u64)]) {
    for &(a, imm, expected) in cases {
        let got = result(i(0x13, funct3, 3, 1, imm), a, 0);
        assert_eq!(
            got, expected,
            "funct3 {funct3} of {a:#x} and {imm}: {got:#x}, not {expected:#x}"
        );
    }
}

#[test]
fn add_and_subtract() {
    check(
        register(0, 0),
        &[(1, 2, 3), (ONES, 1, 0), (MAX, 1, MIN), (MIN, ONES, MAX)],
    );
    check(
        register(0x20, 0),
        &[(1, 2, ONES), (0, MIN, MIN), (MIN, 1, MAX), (5, 5, 0)],
    );
    check_immediate(
        0,
        &[
            (1, 2047, 2048),
            (0, -2048, ONES - 2047),
            (MAX, 1, MIN),
            (ONES, -1, ONES - 1),
        ],
    );
    // The upper halves of operands of word forms do not matter, and the result is sign-extended.
    let word = register_word(0, 0);
    check(
        word,
        &[
            (MAX32, 1, MIN32),
            (0xdead_0000_0000_0001, 2, 3),
            (ONES, 1, 0),
            (MIN32, MIN32, 0),
        ],
    );
    check(
        register_word(0x20, 0),
        &[
            (MIN32, 1, MAX32),
            (0, 1, ONES),
            (0x1_0000_0000, 0x8000_0000, MIN32),
        ],
    );
    for (a, imm, expected) in [
        (MAX32, 1, MIN32),
        (ONES, 1, 0),
        (0x7_0000_0000, -1, ONES),
        (0xffff_ffff, 0, ONES),
    ] {
        assert_eq!(
            result(i(0x1b, 0, 3, 1, imm), a, 0),
            expected,
            "addiw of {a:#x} and {imm}"
        );
    }
}

#[test]
fn comparisons() {
    check(
        register(0, 2),
        &[(MIN, MAX, 1), (MAX, MIN, 0), (ONES, 0, 1), (0, 0, 0), (1, 2, 1)],
    );
    check(
        register(0, 3),
        &[
            (MIN, MAX, 0),
            (MAX, MIN, 1),
            (ONES, 0, 0),
            (0, ONES, 1),
            (7, 7, 0),
        ],
    );
    check_immediate(
        2,
        &[
            (MIN, -2048, 1),
            (ONES, 0, 1),
            (0, -1, 0),
            (2046, 2047, 1),
            (2047, 2047, 0),
        ],
    );
    // The immediate is sign-extended first, then taken as unsigned.
    check_immediate(
        3,
        &[
            (0, 1, 1),
            (1, 1, 0),
            (MAX, -1, 1),
            (ONES, -1, 0),
            (ONES - 1, -1, 1),
        ],
    );
}

#[test]
fn bitwise() {
    let (a, b) = (0xff00_ff00_ff00_ff00, 0x0ff0_0ff0_0ff0_0ff0);
    check(register(0, 4), &[(a, b, 0xf0f0_f0f0_f0f0_f0f0), (ONES, ONES, 0)]);
    check(register(0, 6), &[(a, b, 0xfff0_fff0_fff0_fff0)]);
    check(register(0, 7), &[(a, b, 0x0f00_0f00_0f00_0f00)]);
    check_immediate(4, &[(a, -1, !a), (a, 0x0f0, 0xff00_ff00_ff00_fff0)]);
    check_immediate(
        6,
        &[(a, -256, 0xffff_ffff_ffff_ff00), (a, 0x0f, 0xff00_ff00_ff00_ff0f)],
    );
    check_immediate(7, &[(a, -241, 0xff00_ff00_ff00_ff00), (a, 0x7ff, 0x700)]);
}

#[test]
fn shifts() {
    // Only the low six bits of the amount count; five for word forms.
    check(
        register(0, 1),
        &[(1, 63, MIN), (1, 64, 1), (ONES, 0x104, ONES << 4), (3, ONES, MIN)],
    );
    check(
        register(0, 5),
        &[(MIN, 63, 1), (ONES, 64, ONES), (MIN, ONES, 1), (ONES, 1, MAX)],
    );
    check(
        register(0x20, 5),
        &[
            (MIN, 63, ONES),
            (MAX, 62, 1),
            (MIN, 4, 0xf800_0000_0000_0000),
            (5, 64, 5),
        ],
    );
    let sllw = register_word(0, 1);
    check(
        sllw,
        &[
            (1, 31, MIN32),
            (1, 32, 1),
            (0xffff_ffff_0000_0001, 4, 16),
            (0x1800_0001, 3, 0xffff_ffff_c000_0008),
        ],
    );
    let srlw = register_word(0, 5);
    check(
        srlw,
        &[
            (MIN32, 31, 1),
            (0xffff_ffff_8000_0000, 0, MIN32),
            (0x1_8000_0000, 1, 0x4000_0000),
            (ONES, 33, MAX32),
        ],
    );
    let sraw = register_word(0x20, 5);
    check(
        sraw,
        &[
            (MIN32, 31, ONES),
            (0x8000_0000, 4, 0xffff_ffff_f800_0000),
            (MAX32, 30, 1),
            (0xf_0000_0010, 36, 1),
        ],
    );
    for (funct3, high, a, by, expected) in [
        (1, 0, 1, 63, MIN),
        (1, 0, 0x0123_4567_89ab_cdef, 32, 0x89ab_cdef_0000_0000),
        (5, 0, MIN, 63, 1),
        (5, 0, MIN, 32, 0x8000_0000),
        (5, 0x400, MIN, 63, ONES),
        (5, 0x400, MAX, 33, 0x3fff_ffff),
    ] {
        assert_eq!(
            result(i(0x13, funct3, 3, 1, by | high), a, 0),
            expected,
            "{funct3} {by}"
        );
    }
    for (funct3, high, a, by, expected) in [
        (1, 0, 1, 31, MIN32),
        (1, 0, 0xffff_ffff_0000_0001, 1, 2),
        (5, 0, MIN32, 31, 1),
        (5, 0, 0x8000_0000, 0, MIN32),
        (5, 0x400, 0x8000_0000, 31, ONES),
        (5, 0x400, 0xf_4000_0000, 30, 1),
    ] {
        assert_eq!(
            result(i(0x1b, funct3, 3, 1, by | high), a, 0),
            expected,
            "word {funct3} {by}"
        );
    }
}

#[test]
fn multiplication() {
    check(
        register(1, 0),
        &[
            (3, 7, 21),
            (MIN, ONES, MIN),
            (ONES, ONES, 1),
            (1 << 32, 1 << 32, 0),
        ],
    );
    check(
        register(1, 1),
        &[
            (MIN, MIN, 1 << 62),
            (ONES, ONES, 0),
            (ONES, 1, ONES),
            (MIN, ONES, 0),
            (MAX, MAX, MAX >> 1),
        ],
    );
    check(
        register(1, 2),
        &[
            (ONES, ONES, ONES),
            (MIN, ONES, MIN),
            (1, ONES, 0),
            (MAX, ONES, MAX - 1),
            (ONES, 1, ONES),
        ],
    );
    check(
        register(1, 3),
        &[
            (ONES, ONES, ONES - 1),
            (MIN, 2, 1),
            (1 << 32, 1 << 32, 1),
            (1, ONES, 0),
        ],
    );
    check(
        register_word(1, 0),
        &[
            (MAX32, 2, ONES - 1),
            (0x1_0000_0003, 5, 15),
            (0x1_0000, 0x8000, MIN32),
        ],
    );
}

#[test]
fn division() {
    check(
        register(1, 4),
        &[
            (20, 6, 3),
            (ONES - 19, 6, ONES - 2),
            (7, 0, ONES),
            (MIN, ONES, MIN),
            (MIN, 1, MIN),
            (0, 0, ONES),
        ],
    );
    check(
        register(1, 5),
        &[(20, 6, 3), (ONES, 2, MAX), (7, 0, ONES), (MIN, ONES, 0)],
    );
    check(
        register(1, 6),
        &[
            (20, 6, 2),
            (ONES - 19, 6, ONES - 1),
            (7, 0, 7),
            (MIN, ONES, 0),
            (20, ONES - 5, 2),
            (MIN, 0, MIN),
        ],
    );
    check(
        register(1, 7),
        &[(20, 6, 2), (ONES, 2, 1), (7, 0, 7), (MIN, ONES, MIN)],
    );
    let divw = register_word(1, 4);
    check(
        divw,
        &[
            (0xf_0000_0014, 6, 3),
            (MIN32, ONES, MIN32),
            (9, 0x1_0000_0000, ONES),
            (0xffff_ffec, 6, ONES - 2),
        ],
    );
    let divuw = register_word(1, 5);
    check(
        divuw,
        &[
            (ONES, 1, ONES),
            (ONES, 2, MAX32),
            (9, 0x1_0000_0000, ONES),
            (MIN32, 0xffff_ffff, 0),
        ],
    );
    let remw = register_word(1, 6);
    check(
        remw,
        &[
            (MIN32, ONES, 0),
            (0x8000_0009, 0, 0xffff_ffff_8000_0009),
            (0xffff_ffec, 6, ONES - 1),
            (20, 0xffff_fffa, 2),
        ],
    );
    let remuw = register_word(1, 7);
    check(
        remuw,
        &[
            (ONES, 0x10, 15),
            (0x8000_0009, 0, 0xffff_ffff_8000_0009),
            (MIN32, 0xffff_ffff, MIN32),
        ],
    );
}

#[test]
fn upper_immediates() {
    assert_eq!(result(lui(3, 0x8000_0000), 0, 0), MIN32);
    assert_eq!(result(lui(3, 0x7fff_f000), 0, 0), 0x7fff_f000);
    assert_eq!(result(auipc(3, 0x1000), 0, 0), BASE + 0x1000);
    assert_eq!(result(auipc(3, 0xffff_f000), 0, 0), BASE - 0x1000);
    // Relative to the instruction, not to the start of its block; also where the sum leaves 32 bits.
    let mut guest = Guest::new(&[NOP, NOP, auipc(A0, 0x7fff_f000), auipc(A1, 0x8000_0000), ECALL]);
    let state = guest.run();
    assert_eq!(state.x[10], BASE + 8 + 0x7fff_f000);
    assert_eq!(state.x[11], BASE + 12 - 0x8000_0000);
}

#[test]
fn x0_stays_zero() {
    let writes = [
        addi(ZERO, ZERO, 7),
        lui(ZERO, 0x1000),
        jal(ZERO, 4),
        csrrs(ZERO, SSTATUS, ZERO),
        lr_d(ZERO, A1),
        sc_d(ZERO, A1, A1),
        ld(ZERO, A1, 0),
        add(A0, ZERO, ZERO),
        ECALL,
    ];
    let mut guest = Guest::new(&writes);
    guest.hart.set_x(11, super::DATA);
    guest.hart.set_x(0, 9);
    guest.write(super::DATA, &[1, 1]);
    let state = guest.run();
    assert_eq!((state.pc, state.x[0], state.x[10]), (BASE + 36, 0, 0));
    assert_eq!(guest.hart.x(0), 0);
    assert_eq!(guest.hart.x(32), 0, "there is no such register");
}

/// Where each branch goes for (less, equal, greater) and signed against unsigned.
#[test]
fn branches() {
    for (funct3, a, b, taken) in [
        (0, 5, 5, true),
        (0, 5, 6, false),
        (1, 5, 5, false),
        (1, MIN, 0, true),
        (4, ONES, 0, true),
        (4, 0, ONES, false),
        (4, 3, 3, false),
        (5, ONES, 0, false),
        (5, 3, 3, true),
        (5, MAX, MIN, true),
        (6, ONES, 0, false),
        (6, 0, ONES, true),
        (6, 3, 3, false),
        (7, ONES, 0, true),
        (7, 3, 3, true),
        (7, MAX, MIN, false),
    ] {
        for to in [12_i32, 4094, -4096] {
            let mut guest = Guest::new(&[]);
            let start = BASE + 0x8004;
            guest.write(start, &[branch(funct3, 1, 2, to), ECALL]);
            guest.write(start.wrapping_add(to as u64), &[ECALL]);
            guest.change(|state| {
                state.pc = start;
                (state.x[1], state.x[2]) = (a, b);
            });
            let state = guest.run();
            let target = if taken {
                start.wrapping_add(to as u64)
            } else {
                start + 4
            };
            assert_eq!(
                state.pc,
                target + 4,
                "funct3 {funct3} of {a:#x} and {b:#x} to {to}"
            );
        }
    }
}

#[test]
fn jumps_and_their_links() {
    for to in [8_i32, 0xf_fffe, -0x10_0000] {
        let mut guest = Guest::new(&[]);
        let start = BASE + 0x20_0004;
        guest.write(start - 4, &[NOP, jal(RA, to)]);
        guest.write(start.wrapping_add(to as u64), &[ECALL]);
        guest.jump(start - 4);
        let state = guest.run();
        assert_eq!(
            (state.pc, state.x[1]),
            (start.wrapping_add(to as u64) + 4, start + 4)
        );
    }
    // The lowest bit of the sum is dropped, and the source may be the destination.
    let mut guest = Guest::new(&[jalr(T0, T0, -3), ECALL, NOP, ECALL]);
    guest.hart.set_x(5, BASE + 16);
    let state = guest.run();
    assert_eq!((state.pc, state.x[5]), (BASE + 16, BASE + 4));
}
