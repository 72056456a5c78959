//! Atomics: every operation in both widths, reservations, alignment.

use super::assembler::*;
use super::{BASE, DATA, DEVICE, Guest};

/// What memory and `rd` are after an AMO, for memory `old` and operand `b`.
#[track_caller]
fn check(function: u32, width: u32, old: u64, b: u64, expected: (u64, u64)) {
    // All four ordering bits do the same.
    for ordering in 0..4 {
        let mut guest = Guest::new(&[amo(function, width, A0, A1, A2) | ordering << 25, ECALL]);
        guest.ram.store(DATA, old).unwrap();
        guest.hart.set_x(11, DATA);
        guest.hart.set_x(12, b);
        let state = guest.run();
        assert_eq!(state.pc, BASE + 8);
        let got = (guest.ram.load::<u64>(DATA).unwrap(), state.x[10]);
        assert_eq!(
            got, expected,
            "function {function:#x} of {old:#x} and {b:#x}: {got:#x?}"
        );
    }
}

#[test]
fn doubleword_operations() {
    let (a, b) = (0x8000_0000_0000_00f0, 0x0000_0000_0000_0033);
    for (function, new) in [
        (0x00, 0x8000_0000_0000_0123),
        (0x01, b),
        (0x04, 0x8000_0000_0000_00c3),
        (0x08, 0x8000_0000_0000_00f3),
        (0x0c, 0x30),
        (0x10, a),
        (0x14, b),
        (0x18, b),
        (0x1c, a),
    ] {
        check(function, 3, a, b, (new, a));
    }
    check(0x00, 3, u64::MAX, 1, (0, u64::MAX));
}

/// The upper half of memory stays, that of the operand does not matter, and `rd` is sign-extended.
#[test]
fn word_operations() {
    let (old, b) = (0x1111_1111_8000_00f0, 0x2222_2222_0000_0033);
    let read = 0xffff_ffff_8000_00f0;
    for (function, new) in [
        (0x00, 0x8000_0123),
        (0x01, 0x33),
        (0x04, 0x8000_00c3),
        (0x08, 0x8000_00f3),
        (0x0c, 0x30),
        (0x10, 0x8000_00f0),
        (0x14, 0x33),
        (0x18, 0x33),
        (0x1c, 0x8000_00f0),
    ] {
        check(function, 2, old, b, (0x1111_1111_0000_0000 | new, read));
    }
    check(0x00, 2, 0xffff_ffff, 1, (0, u64::MAX));
}

/// `rd` may be `rs1` or `rs2`: the operands are those from before.
#[test]
fn destination_and_source_may_be_the_same() {
    for (word, register) in [(amo(0, 3, A1, A1, A2), 11), (amo(0, 3, A2, A1, A2), 12)] {
        let mut guest = Guest::new(&[word, ECALL]);
        guest.ram.store(DATA, 5_u64).unwrap();
        guest.hart.set_x(11, DATA);
        guest.hart.set_x(12, 7);
        assert_eq!(guest.run().x[register], 5);
        assert_eq!(guest.ram.load::<u64>(DATA), Ok(12));
    }
}

/// Runs a program with `a1` at data that is 0x1_0000_0005, `a2` = 9, `t1` at other data.
fn reserved(program: &[u32]) -> (Guest, u64) {
    let mut guest = Guest::new(program);
    guest.ram.store(DATA, 0x1_0000_0005_u64).unwrap();
    guest.ram.store(DATA + 64, 0x1_0000_0005_u64).unwrap();
    guest.hart.set_x(11, DATA);
    guest.hart.set_x(12, 9);
    guest.hart.set_x(6, DATA + 64);
    guest.hart.set_x(10, 0x55);
    let a0 = guest.run().x[10];
    (guest, a0)
}

/// A reservation is not part of what is saved: the store fails, and the loop around it tries again.
#[test]
fn a_reservation_ends_when_the_hart_is_restored() {
    let (mut guest, _) = reserved(&[lr_d(T0, A1), ECALL, sc_d(A0, A2, A1), ECALL]);
    guest.change(|state| state.pc = super::BASE + 8);
    assert_eq!(guest.run().x[10], 1);
}

#[test]
fn conditional_stores_that_succeed() {
    let (guest, failed) = reserved(&[lr_d(T0, A1), sc_d(A0, A2, A1), ECALL]);
    assert_eq!((failed, guest.hart.x(5)), (0, 0x1_0000_0005));
    assert_eq!(guest.ram.load::<u64>(DATA), Ok(9));
    let (guest, failed) = reserved(&[lr_w(T0, A1), sc_w(A0, A2, A1), ECALL]);
    assert_eq!((failed, guest.hart.x(5)), (0, 5));
    assert_eq!(guest.ram.load::<u64>(DATA), Ok(0x1_0000_0009));
    // LR.W sign-extends, and the SC compares what is in memory.
    let (guest, failed) = reserved(&[
        lui(T0, 0x8000_0000),
        sw(T0, A1, 0),
        lr_w(T0, A1),
        sc_w(A0, A2, A1),
        ECALL,
    ]);
    assert_eq!((failed, guest.hart.x(5)), (0, 0xffff_ffff_8000_0000));
    for ordering in 1..4 {
        let ordering = ordering << 25;
        let (_, failed) = reserved(&[lr_d(T0, A1) | ordering, sc_d(A0, A2, A1) | ordering, ECALL]);
        assert_eq!(failed, 0);
    }
}

#[test]
fn conditional_stores_that_fail() {
    for (name, program) in [
        ("without a reservation", vec![sc_d(A0, A2, A1)]),
        ("elsewhere", vec![lr_d(T0, T1), sc_d(A0, A2, A1)]),
        ("in another width", vec![lr_w(T0, A1), sc_d(A0, A2, A1)]),
        ("in another width", vec![lr_d(T0, A1), sc_w(A0, A2, A1)]),
        (
            "after a store",
            vec![lr_d(T0, A1), sw(A2, A1, 0), sc_d(A0, A1, A1)],
        ),
        (
            "after an SC elsewhere",
            vec![lr_d(T0, A1), sc_d(T2, A2, T1), sc_d(A0, A2, A1)],
        ),
        (
            "a second time",
            vec![lr_d(T0, A1), sc_d(T2, T0, A1), sc_d(A0, A2, A1)],
        ),
    ] {
        let stored = program.contains(&sw(A2, A1, 0));
        let (guest, failed) = reserved(&[program, vec![ECALL]].concat());
        assert_eq!(failed, 1, "{name}");
        let expected = if stored { 0x1_0000_0009 } else { 0x1_0000_0005 };
        assert_eq!(guest.ram.load::<u64>(DATA), Ok(expected), "{name}");
    }
}

#[test]
fn atomics_are_aligned() {
    for (word, misaligned, cause) in [
        (lr_w(A0, A1), 2, 4),
        (lr_d(A0, A1), 4, 4),
        (sc_w(A0, A2, A1), 1, 6),
        (sc_d(A0, A2, A1), 4, 6),
        (amo(0, 2, A0, A1, A2), 2, 6),
        (amo(1, 3, A0, A1, A2), 4, 6),
    ] {
        let mut guest = Guest::new(&[word, ECALL]);
        guest.hart.set_x(11, DATA + misaligned);
        assert_eq!(guest.trap(), (cause, DATA + misaligned, BASE));
        assert_eq!(guest.ram.load::<u64>(DATA), Ok(0));
    }
}

#[test]
fn atomics_are_for_memory() {
    for (word, cause) in [
        (lr_d(A0, A1), 5),
        (sc_d(A0, A2, A1), 7),
        (amo(0, 3, A0, A1, A2), 7),
    ] {
        let mut guest = Guest::new(&[word, ECALL]);
        guest.hart.set_x(11, DEVICE);
        assert_eq!(guest.trap(), (cause, DEVICE, BASE));
        assert!(guest.device.log.lock().unwrap().is_empty());
    }
}

#[test]
fn other_functions_are_illegal() {
    let known = [0x00, 0x01, 0x02, 0x03, 0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, 0x1c];
    for function in (0..32).filter(|function| !known.contains(function)) {
        let word = amo(function, 2, A0, A1, A2);
        assert_eq!(Guest::new(&[word]).trap(), (2, word.into(), BASE));
    }
    for width in [0, 1, 4, 5, 6, 7] {
        let word = amo(0, width, A0, A1, A2);
        assert_eq!(Guest::new(&[word]).trap(), (2, word.into(), BASE));
    }
    let word = lr_d(A0, A1) | 1 << 20;
    assert_eq!(
        Guest::new(&[word]).trap(),
        (2, word.into(), BASE),
        "LR has no rs2"
    );
}
