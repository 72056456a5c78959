//! Floating-point instructions: each one, boxing, rounding modes, flags. The arithmetic has tests of its own.

use super::assembler::*;
use super::{BASE, DATA, Guest};

const BOX: u64 = 0xffff_ffff_0000_0000;
const NAN32: u64 = BOX | 0x7fc0_0000;
const NAN64: u64 = 0x7ff8_0000_0000_0000;
const ILLEGAL: u64 = 2;

fn single(value: f32) -> u64 {
    BOX | u64::from(value.to_bits())
}

fn double(value: f64) -> u64 {
    value.to_bits()
}

/// An instruction of opcode OP-FP with `f1`, `f2` as sources and register 3 as destination.
fn op(function: u32, format: u32, funct3: u32, rs2: u32) -> u32 {
    r(0x53, funct3, function << 2 | format, 3, 1, rs2)
}

/// `f3` and the flags after `word`, with these in `f1`, `f2` and `f4`.
fn float(word: u32, operands: [u64; 3]) -> (u64, u64) {
    let mut guest = Guest::new(&[word, ECALL]);
    guest.change(|state| [state.f[1], state.f[2], state.f[4]] = operands);
    let state = guest.run();
    assert_eq!(state.pc, BASE + 8, "{word:#010x}: {}", guest.hart.dump());
    assert_eq!(state.sstatus >> 13 & 3, 3, "the state is dirty");
    (state.f[3], state.fcsr)
}

/// `x3` and the flags after `word`, with `a` in `f1` and `b` in `f2`.
fn to_integer(word: u32, a: u64, b: u64) -> (u64, u64) {
    let mut guest = Guest::new(&[word, ECALL]);
    guest.change(|state| (state.f[1], state.f[2]) = (a, b));
    let state = guest.run();
    assert_eq!(state.pc, BASE + 8, "{word:#010x}");
    (state.x[3], state.fcsr)
}

#[test]
fn arithmetic_of_both_formats() {
    for (function, rs2, a, b, expected) in [
        (0x00, 2, 1.5_f32, 2.25, 3.75),
        (0x01, 2, 1.5, 2.25, -0.75),
        (0x02, 2, 1.5, -2.5, -3.75),
        (0x03, 2, 7.5, 2.5, 3.0),
        (0x0b, 0, 6.25, 0.0, 2.5),
        (0x05, 2, -1.0, 2.0, -1.0),
    ] {
        let funct3 = if function == 0x05 { 0 } else { 7 };
        let (result, flags) = float(op(function, 0, funct3, rs2), [single(a), single(b), 0]);
        assert_eq!((result, flags), (single(expected), 0), "{function:#x} of singles");
        let operands = [double(a.into()), double(b.into()), 0];
        let (result, flags) = float(op(function, 1, funct3, rs2), operands);
        assert_eq!(
            (result, flags),
            (double(expected.into()), 0),
            "{function:#x} of doubles"
        );
    }
    // FMAX is the other function of FMIN.
    assert_eq!(
        float(op(0x05, 0, 1, 2), [single(-1.0), single(2.0), 0]),
        (single(2.0), 0)
    );
    assert_eq!(float(op(0x05, 1, 1, 2), [double(-0.0), double(0.0), 0]), (0, 0));
}

#[test]
fn fused_multiplications() {
    for (opcode, expected) in [(0x43, 7.0), (0x47, 5.0), (0x4b, -5.0), (0x4f, -7.0)] {
        let word = |format: u32| 4 << 27 | format << 25 | 2 << 20 | 1 << 15 | 7 << 12 | 3 << 7 | opcode;
        let singles = [single(2.0), single(3.0), single(1.0)];
        assert_eq!(float(word(0), singles), (single(expected), 0), "{opcode:#x}");
        let doubles = [double(2.0), double(3.0), double(1.0)];
        assert_eq!(
            float(word(1), doubles),
            (double(expected.into()), 0),
            "{opcode:#x}"
        );
    }
}

#[test]
fn signs_and_classes() {
    for (funct3, a, b, expected) in [
        (0, 1.0_f32, -2.0_f32, -1.0_f32),
        (0, -1.0, 2.0, 1.0),
        (1, 1.0, -2.0, 1.0),
        (1, 1.0, 2.0, -1.0),
        (2, -1.0, -2.0, 1.0),
        (2, -1.0, 2.0, -1.0),
    ] {
        assert_eq!(
            float(op(0x04, 0, funct3, 2), [single(a), single(b), 0]).0,
            single(expected)
        );
        let doubles = [double(a.into()), double(b.into()), 0];
        assert_eq!(float(op(0x04, 1, funct3, 2), doubles).0, double(expected.into()));
    }
    // A signaling NaN is moved as it is, and raises nothing.
    let signaling = 0x7ff0_0000_0000_0001;
    assert_eq!(
        float(op(0x04, 1, 0, 2), [signaling, 1 << 63, 0]),
        (signaling | 1 << 63, 0)
    );
    let classes = [
        f64::NEG_INFINITY,
        -1.0,
        -1e-310,
        -0.0,
        0.0,
        1e-310,
        1.0,
        f64::INFINITY,
    ];
    for (class, value) in classes.into_iter().enumerate() {
        assert_eq!(to_integer(op(0x1c, 1, 1, 0), double(value), 0), (1 << class, 0));
    }
    assert_eq!(to_integer(op(0x1c, 1, 1, 0), signaling, 0), (1 << 8, 0));
    assert_eq!(to_integer(op(0x1c, 1, 1, 0), NAN64, 0), (1 << 9, 0));
    assert_eq!(to_integer(op(0x1c, 0, 1, 0), single(-1e-40), 0), (1 << 2, 0));
    assert_eq!(to_integer(op(0x1c, 0, 1, 0), BOX | 0x7f80_0001, 0), (1 << 8, 0));
}

#[test]
fn comparisons() {
    for (funct3, less, equal, greater) in [(2, 0, 1, 0), (1, 1, 0, 0), (0, 1, 1, 0)] {
        let word = |format| op(0x14, format, funct3, 2);
        for (a, b, expected) in [
            (1.0_f32, 2.0_f32, less),
            (2.0, 2.0, equal),
            (2.0, 1.0, greater),
            (-0.0, 0.0, equal),
            (-1.0, -2.0, greater),
        ] {
            assert_eq!(to_integer(word(0), single(a), single(b)), (expected, 0));
            assert_eq!(
                to_integer(word(1), double(a.into()), double(b.into())),
                (expected, 0)
            );
        }
        // A quiet NaN is invalid for the ordered comparisons only.
        let flags = if funct3 == 2 { 0 } else { 0x10 };
        assert_eq!(to_integer(word(1), NAN64, double(1.0)), (0, flags));
        assert_eq!(
            to_integer(word(0), single(1.0), BOX | 0x7f80_0001),
            (0, 0x10),
            "signaling"
        );
    }
}

/// A single that is not boxed is the canonical NaN as an operand, but not to moves and stores.
#[test]
fn boxes_of_singles() {
    let unboxed = u64::from(1.0_f32.to_bits());
    assert_eq!(float(op(0x00, 0, 7, 2), [unboxed, single(1.0), 0]), (NAN32, 0));
    assert_eq!(
        float(op(0x00, 0, 7, 2), [single(1.0), 0x7fff_ffff << 32 | unboxed, 0]),
        (NAN32, 0)
    );
    assert_eq!(to_integer(op(0x1c, 0, 1, 0), unboxed, 0), (1 << 9, 0));
    assert_eq!(
        float(op(0x04, 0, 0, 2), [single(2.0), unboxed, 0]),
        (single(2.0), 0),
        "the NaN is positive"
    );
    assert_eq!(to_integer(op(0x1c, 0, 0, 0), unboxed, 0), (unboxed, 0), "FMV.X.W");
    assert_eq!(
        to_integer(op(0x1c, 0, 0, 0), 0x8000_0000, 0),
        (0xffff_ffff_8000_0000, 0),
        "FMV.X.W extends the sign"
    );
    assert_eq!(to_integer(op(0x1c, 1, 0, 0), unboxed, 0), (unboxed, 0), "FMV.X.D");
    let mut guest = Guest::new(&[r(0x53, 0, 0x78, 3, 1, 0), r(0x53, 0, 0x79, 4, 1, 0), ECALL]);
    guest.hart.set_x(1, 0x1234_5678_9abc_def0);
    let state = guest.run();
    assert_eq!(
        (state.f[3], state.f[4]),
        (BOX | 0x9abc_def0, 0x1234_5678_9abc_def0),
        "FMV.W.X, FMV.D.X"
    );
}

#[test]
fn loads_and_stores() {
    let program = [
        i(0x07, 2, 3, A1, 4),
        i(0x07, 3, 4, A1, 8),
        s(0x27, 2, A1, 4, 16),
        s(0x27, 3, A1, 3, 24),
        ECALL,
    ];
    let mut guest = Guest::new(&program);
    guest.ram.store(DATA, 0x1122_3344_5566_7788_u64).unwrap();
    guest.ram.store(DATA + 8, 0x99aa_bbcc_ddee_ff00_u64).unwrap();
    guest.hart.set_x(11, DATA);
    let state = guest.run();
    assert_eq!(
        (state.f[3], state.f[4]),
        (BOX | 0x1122_3344, 0x99aa_bbcc_ddee_ff00)
    );
    assert_eq!(guest.ram.load::<u64>(DATA + 16), Ok(0xddee_ff00));
    assert_eq!(guest.ram.load::<u64>(DATA + 24), Ok(BOX | 0x1122_3344));
    assert_eq!(state.sstatus >> 13 & 3, 3);
    // Each load on its own makes the state dirty, and no store does.
    for (word, dirty) in program[..4].iter().zip([3, 3, 1, 1]) {
        let mut guest = Guest::new(&[*word, ECALL]);
        guest.hart.set_x(11, DATA);
        assert_eq!(guest.run().sstatus >> 13 & 3, dirty);
    }
}

#[test]
fn conversions() {
    let (w, wu, l, lu) = (0, 1, 2, 3);
    let rtz = 1;
    for (integer, value, expected, flags) in [
        (w, -1.5, -1_i64 as u64, 1),
        (w, 3e9, 0x7fff_ffff, 0x10),
        (wu, 3e9, 3_000_000_000_u32 as i32 as u64, 0),
        (wu, -1.0, 0, 0x10),
        (wu, -0.5, 0, 1),
        (l, -1e18, -1_000_000_000_000_000_000_i64 as u64, 0),
        (l, 1e19, i64::MAX as u64, 0x10),
        (lu, 1e19, 10_000_000_000_000_000_000, 0),
        (lu, f64::INFINITY, u64::MAX, 0x10),
        (w, f64::NAN, 0x7fff_ffff, 0x10),
        (wu, f64::NAN, u64::MAX, 0x10),
        (wu, f64::NEG_INFINITY, 0, 0x10),
        (w, f64::NEG_INFINITY, 0xffff_ffff_8000_0000, 0x10),
    ] {
        let word = op(0x18, 1, rtz, integer);
        assert_eq!(
            to_integer(word, double(value), 0),
            (expected, flags),
            "{integer} of {value}"
        );
    }
    assert_eq!(
        to_integer(op(0x18, 0, 0, w), single(2.5), 0),
        (2, 1),
        "to nearest, ties to even"
    );
    for (integer, value, as_single, as_double) in [
        (w, 0xffff_ffff_ffff_ffff_u64, -1.0_f32, -1.0_f64),
        (w, 0x7_0000_0003, 3.0, 3.0),
        (wu, 0xffff_ffff, 4294967296.0, 4294967295.0),
        (l, 1 << 63, -9223372036854775808.0, -9223372036854775808.0),
        (lu, 1 << 63, 9223372036854775808.0, 9223372036854775808.0),
    ] {
        let mut guest = Guest::new(&[op(0x1a, 0, 7, integer), ECALL]);
        guest.hart.set_x(1, value);
        assert_eq!(guest.run().f[3], single(as_single), "{integer} of {value:#x}");
        let mut guest = Guest::new(&[op(0x1a, 1, 7, integer), ECALL]);
        guest.hart.set_x(1, value);
        assert_eq!(guest.run().f[3], double(as_double), "{integer} of {value:#x}");
    }
    assert_eq!(
        float(op(0x08, 0, 7, 1), [double(1.1), 0, 0]),
        (single(1.1), 1),
        "FCVT.S.D"
    );
    assert_eq!(
        float(op(0x08, 1, 7, 0), [single(1.5), 0, 0]),
        (double(1.5), 0),
        "FCVT.D.S"
    );
    assert_eq!(
        float(op(0x08, 1, 7, 0), [1, 0, 0]),
        (NAN64, 0),
        "of a single that is not boxed"
    );
}

/// 1 + 2^-60, and its negative, in every mode, as an operand of the instruction and of `frm`.
#[test]
fn rounding_modes() {
    let tiny = double(f64::from_bits(0x3c30_0000_0000_0000));
    let above = double(1.0) + 1;
    for (mode, positive, negative) in [
        (0, double(1.0), double(-1.0)),
        (1, double(1.0), double(-1.0)),
        (2, double(1.0), 1 << 63 | above),
        (3, above, double(-1.0)),
        (4, double(1.0), double(-1.0)),
    ] {
        for (one, addend, expected) in [(1.0, tiny, positive), (-1.0, tiny | 1 << 63, negative)] {
            assert_eq!(
                float(op(0x00, 1, mode, 2), [double(one), addend, 0]),
                (expected, 1)
            );
            let mut guest = Guest::new(&[op(0x00, 1, 7, 2), ECALL]);
            guest.change(|state| {
                (state.f[1], state.f[2]) = (double(one), addend);
                state.fcsr = u64::from(mode) << 5;
            });
            assert_eq!(guest.run().f[3], expected, "mode {mode} from frm");
        }
    }
    // Reserved modes are illegal: in the instruction always, in `frm` for those that ask it.
    for mode in [5, 6] {
        let word = op(0x00, 1, mode, 2);
        assert_eq!(Guest::new(&[word]).trap(), (ILLEGAL, word.into(), BASE));
    }
    for mode in 5..8 {
        for (word, illegal) in [
            (op(0x00, 1, 7, 2), true),
            (op(0x00, 1, 0, 2), false),
            (op(0x04, 1, 0, 2), false),
            (op(0x08, 1, 7, 0), true),
            (op(0x18, 1, 7, 0), true),
            (op(0x0b, 1, 7, 0), true),
        ] {
            let mut guest = Guest::new(&[word, ECALL]);
            guest.change(|state| state.fcsr = mode << 5);
            let state = guest.run();
            assert_eq!(state.pc != BASE + 8, illegal, "{word:#010x} with frm {mode}");
            if illegal {
                assert_eq!((state.scause, state.stval), (ILLEGAL, word.into()));
            }
        }
    }
}

#[test]
fn flags_accrue() {
    let program = [
        op(0x03, 1, 7, 2),
        csrrs(A0, 1, ZERO),
        r(0x53, 7, 0x0d, 3, 4, 4),
        csrrs(A1, 1, ZERO),
        ECALL,
    ];
    let mut guest = Guest::new(&program);
    guest.change(|state| {
        state.f[1] = double(1.0);
        state.fcsr = 1;
    });
    let state = guest.run();
    assert_eq!(
        (state.x[10], state.x[11]),
        (0x09, 0x19),
        "divided by zero, then invalid too"
    );
}

/// With the unit off, all are illegal, loads, stores and moves too.
#[test]
fn everything_needs_the_unit_on() {
    for word in [
        op(0x00, 0, 7, 2),
        op(0x04, 1, 0, 2),
        op(0x1c, 0, 0, 0),
        op(0x1e, 1, 0, 0),
        op(0x14, 1, 0, 2),
        op(0x18, 1, 7, 0),
        4 << 27 | 2 << 20 | 1 << 15 | 7 << 12 | 3 << 7 | 0x43,
        i(0x07, 2, 3, A1, 0),
        i(0x07, 3, 3, A1, 0),
        s(0x27, 2, A1, 3, 0),
        s(0x27, 3, A1, 3, 0),
    ] {
        let mut guest = Guest::new(&[word, ECALL]);
        guest.change(|state| {
            state.sstatus = 0;
            state.x[11] = DATA;
        });
        assert_eq!(guest.trap(), (ILLEGAL, word.into(), BASE), "{word:#010x}");
    }
}

/// Formats, functions and fields that are not there.
#[test]
fn other_functions_are_illegal() {
    let known = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x0b, 0x14, 0x18, 0x1a, 0x1c, 0x1e,
    ];
    let unknown = (0..32)
        .filter(|function| !known.contains(function))
        .map(|function| op(function, 1, 0, 0));
    let fields = [
        op(0x00, 2, 0, 2),
        op(0x00, 3, 0, 2),
        op(0x04, 1, 3, 2),
        op(0x05, 1, 2, 2),
        op(0x0b, 1, 0, 1),
        op(0x08, 0, 0, 0),
        op(0x08, 1, 0, 1),
        op(0x08, 1, 0, 2),
        op(0x14, 1, 3, 2),
        op(0x18, 1, 0, 4),
        op(0x1a, 1, 0, 4),
        op(0x1c, 1, 0, 1),
        op(0x1c, 1, 2, 0),
        op(0x1e, 1, 1, 0),
        i(0x07, 1, 3, A1, 0),
        i(0x07, 4, 3, A1, 0),
        s(0x27, 1, A1, 3, 0),
        4 << 27 | 2 << 25 | 0x43,
        4 << 27 | 5 << 12 | 0x4f,
    ];
    for word in unknown.chain(fields) {
        assert_eq!(
            Guest::new(&[word]).trap(),
            (ILLEGAL, word.into(), BASE),
            "{word:#010x}"
        );
    }
}
