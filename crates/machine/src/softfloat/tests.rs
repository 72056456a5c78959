//! Arithmetic against another implementation (LLVM's, as Rust's compiler has it), against the processor that this runs on,
//! and at the values where something special happens.

use super::*;
use rustc_apfloat::ieee::{Double, Single};
use rustc_apfloat::{Float, FloatConvert, Round, Status, StatusAnd};

const MODES: [(Rounding, Round); 5] = [
    (Rounding::NearestEven, Round::NearestTiesToEven),
    (Rounding::TowardsZero, Round::TowardZero),
    (Rounding::Down, Round::TowardNegative),
    (Rounding::Up, Round::TowardPositive),
    (Rounding::NearestAway, Round::NearestTiesToAway),
];

/// How many random operands each test takes.
const CASES: usize = 30_000;

/// Random numbers that prefer what is special.
struct Random(u64);

impl Random {
    fn new() -> Self {
        Self(0x9e37_79b9_7f4a_7c15)
    }

    /// Any 64 bits (xorshift64*).
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// A number of `format`: often with an exponent at an end or near 0, a fraction of few bits or of all but few.
    fn float(&mut self, format: Format) -> u64 {
        let mask = format.exponent_mask();
        let exponent = match self.below(8) {
            0 => 0,
            1 => 1,
            2 => mask - 1,
            3 => mask,
            4 | 5 => mask / 2 - 8 + self.below(16),
            _ => self.bits() & mask,
        };
        let width = format.fraction_bits();
        let all = (1 << width) - 1;
        let fraction = match self.below(7) {
            0 => 0,
            1 => all,
            2 => 1,
            3 => 1 << self.below(width.into()),
            4 => all ^ 1 << self.below(width.into()),
            _ => self.bits() & all,
        };
        let sign = if self.below(2) == 0 { 0 } else { format.sign() };
        sign | exponent << width | fraction
    }

    /// An integer, often at a power of two.
    fn integer(&mut self) -> u64 {
        let power = 1_u64 << self.below(64);
        match self.below(5) {
            0 => power,
            1 => power.wrapping_sub(1),
            2 => power.wrapping_neg(),
            3 => self.bits() >> self.below(64),
            _ => self.bits(),
        }
    }
}

/// What the other implementation's flags are here. It tells of no overflow where the result is the largest number, and it
/// finds out about underflow in another way (it does not ask whether the result would be tiny if the exponent had no
/// limit), so those two have tests of their own.
fn flags(status: Status) -> u64 {
    [
        (Status::INEXACT, Flags::INEXACT),
        (Status::DIV_BY_ZERO, Flags::DIVIDE_BY_ZERO),
        (Status::INVALID_OP, Flags::INVALID),
    ]
    .into_iter()
    .filter(|(theirs, _)| status.contains(*theirs))
    .fold(0, |flags, (_, ours)| flags | ours)
}

/// The other implementation's result, with NaNs made canonical.
fn expected<F: Float>(format: Format, result: StatusAnd<F>) -> (u64, u64) {
    let bits = match result.value.is_nan() {
        true => format.nan(),
        false => result.value.to_bits() as u64,
    };
    (bits, flags(result.status))
}

/// Result and flags of an operation, but for overflow and underflow.
fn ours(operation: impl FnOnce(&mut Flags) -> u64) -> (u64, u64) {
    let mut flags = Flags::default();
    let bits = operation(&mut flags);
    (bits, flags.0 & !(Flags::OVERFLOW | Flags::UNDERFLOW))
}

fn arithmetic_of<F: Float>(format: Format) {
    let mut random = Random::new();
    for _ in 0..CASES {
        let (mode, round) = MODES[random.below(5) as usize];
        let [a, b, mut c] = [0; 3].map(|_| random.float(format));
        if random.below(4) == 0 {
            // The negative of the product, or almost: what is left is from its last places.
            c = multiply(format, a, b, mode, &mut Flags::default()) ^ format.sign() ^ random.below(4);
        }
        let [x, y, z] = [a, b, c].map(|bits| F::from_bits(bits.into()));
        let context = format!("{a:#x}, {b:#x}, {c:#x}, {mode:?}");
        let sum = ours(|flags| add(format, a, b, mode, flags));
        assert_eq!(sum, expected(format, x.add_r(y, round)), "sum of {context}");
        let difference = ours(|flags| subtract(format, a, b, mode, flags));
        assert_eq!(
            difference,
            expected(format, x.sub_r(y, round)),
            "difference of {context}"
        );
        let product = ours(|flags| multiply(format, a, b, mode, flags));
        assert_eq!(
            product,
            expected(format, x.mul_r(y, round)),
            "product of {context}"
        );
        let quotient = ours(|flags| divide(format, a, b, mode, flags));
        assert_eq!(
            quotient,
            expected(format, x.div_r(y, round)),
            "quotient of {context}"
        );
        let fused = ours(|flags| multiply_add(format, a, b, c, mode, flags));
        assert_eq!(
            fused,
            expected(format, x.mul_add_r(y, z, round)),
            "fused sum of {context}"
        );
    }
}

#[test]
fn arithmetic_as_another_implementation() {
    arithmetic_of::<Single>(Format::Single);
    arithmetic_of::<Double>(Format::Double);
}

fn integers_of<F: Float>(format: Format) {
    let mut random = Random::new();
    for _ in 0..CASES {
        let (mode, round) = MODES[random.below(5) as usize];
        let (a, integer) = (random.float(format), random.integer());
        let x = F::from_bits(a.into());
        for (kind, width, signed) in [
            (Integer::I32, 32, true),
            (Integer::U32, 32, false),
            (Integer::I64, 64, true),
            (Integer::U64, 64, false),
        ] {
            let got = ours(|flags| to_integer(format, kind, a, mode, flags));
            let wanted = match signed {
                true => x.to_i128_r(width, round, &mut false),
                false => x.to_u128_r(width, round, &mut false).map(|value| value as i128),
            };
            // RISC-V makes a NaN the largest integer, they 0.
            let value = match x.is_nan() {
                true if signed => (1 << (width - 1)) - 1,
                true => u64::MAX,
                false => wanted.value as u64,
            };
            let value = if width == 32 { value as i32 as u64 } else { value };
            assert_eq!(got, (value, flags(wanted.status)), "{a:#x} to {kind:?}, {mode:?}");
            let got = ours(|flags| from_integer(format, kind, integer, mode, flags));
            let wanted = match (signed, width) {
                (true, 32) => F::from_i128_r((integer as i32).into(), round),
                (true, _) => F::from_i128_r((integer as i64).into(), round),
                (false, 32) => F::from_u128_r((integer as u32).into(), round),
                (false, _) => F::from_u128_r(integer.into(), round),
            };
            assert_eq!(
                got,
                expected(format, wanted),
                "{integer:#x} of {kind:?}, {mode:?}"
            );
        }
    }
}

#[test]
fn integers_as_another_implementation() {
    integers_of::<Single>(Format::Single);
    integers_of::<Double>(Format::Double);
}

#[test]
fn conversions_as_another_implementation() {
    let mut random = Random::new();
    for _ in 0..CASES {
        let (mode, round) = MODES[random.below(5) as usize];
        let single = random.float(Format::Single);
        // Half of them with exponents that a single has, or almost.
        let mut double = random.float(Format::Double);
        if random.below(2) == 0 {
            double = double & !(0x7ff << 52) | (1023 - 160 + random.below(320)) << 52;
        }
        let got = ours(|flags| to_format(Format::Double, Format::Single, double, mode, flags));
        let wanted: StatusAnd<Single> = Double::from_bits(double.into()).convert_r(round, &mut false);
        assert_eq!(got, expected(Format::Single, wanted), "{double:#x}, {mode:?}");
        let got = ours(|flags| to_format(Format::Single, Format::Double, single, mode, flags));
        let wanted: StatusAnd<Double> = Single::from_bits(single.into()).convert_r(round, &mut false);
        assert_eq!(got, expected(Format::Double, wanted), "{single:#x}, {mode:?}");
    }
}

/// Underflow: the result, rounded as if exponents had no limit, is below the smallest normal number, and is inexact. The
/// other implementation, asked in a format with more exponents but the same places, could tell; here the few cases are
/// spelled out.
#[test]
fn underflow_is_told_after_rounding() {
    let smallest = f64::MIN_POSITIVE.to_bits();
    let below = smallest - 1;
    let half = 0.5_f64.to_bits();
    let almost_one = 1.0_f64.to_bits() - 1;
    let both = Flags::UNDERFLOW | Flags::INEXACT;
    for (a, b, mode, result, flags) in [
        // A quarter of a place below the smallest normal number: with all 53 bits it would round up to it.
        (smallest, almost_one, Rounding::NearestEven, smallest, both),
        (smallest, almost_one, Rounding::TowardsZero, below, both),
        (smallest, almost_one, Rounding::Up, smallest, both),
        // Exact, however small.
        (smallest, half, Rounding::NearestEven, smallest >> 1, 0),
        // Half the smallest of all.
        (1, half, Rounding::NearestEven, 0, both),
        (1, half, Rounding::Up, 1, both),
        (1, half, Rounding::NearestAway, 1, both),
        // Normal, though inexact.
        (
            smallest + 1,
            almost_one,
            Rounding::NearestEven,
            smallest,
            Flags::INEXACT,
        ),
    ] {
        let mut raised = Flags::default();
        let product = multiply(Format::Double, a, b, mode, &mut raised);
        assert_eq!(
            (product, raised.0),
            (result, flags),
            "{a:#x} times {b:#x}, {mode:?}"
        );
    }
    // Less by 2^-104 of itself: with 53 bits and no limit it rounds to the smallest normal number, so it is not tiny.
    let (a, b) = (smallest + 1, (1.0 - f64::EPSILON).to_bits());
    let mut raised = Flags::default();
    let product = multiply_add(Format::Double, a, b, 0, Rounding::NearestEven, &mut raised);
    assert_eq!((product, raised.0), (smallest, Flags::INEXACT));
}

/// Square roots to nearest are the processor's; in the other modes they are on the right side of the true one, and next
/// to it, which an exact residue tells.
#[test]
fn square_roots() {
    let mut random = Random::new();
    for _ in 0..CASES {
        let a = random.float(Format::Double);
        let x = f64::from_bits(a);
        let (root, raised) = ours(|flags| square_root(Format::Double, a, Rounding::NearestEven, flags));
        if x.is_nan() || x < 0.0 {
            let signaling = x.is_nan() && a >> 51 & 1 == 0;
            let invalid = if x < 0.0 || signaling { Flags::INVALID } else { 0 };
            assert_eq!((root, raised), (Format::Double.nan(), invalid));
            continue;
        }
        assert_eq!(root, x.sqrt().to_bits(), "of {x:e}");
        // Far enough from 0 for the residue to be exact.
        if !(1e-200..1e200).contains(&x) {
            continue;
        }
        let residue = |root: u64| f64::from_bits(root).mul_add(f64::from_bits(root), -x);
        let down = square_root(Format::Double, a, Rounding::Down, &mut Flags::default());
        let up = square_root(Format::Double, a, Rounding::Up, &mut Flags::default());
        assert_eq!(raised != 0, residue(root) != 0.0, "inexact of {x:e}");
        assert!(residue(down) <= 0.0 && residue(up) >= 0.0, "of {x:e}");
        assert_eq!(up - down, u64::from(raised != 0), "of {x:e}");
        let zero = square_root(Format::Double, a, Rounding::TowardsZero, &mut Flags::default());
        assert_eq!(zero, down);
        let single = random.float(Format::Single) & 0x7fff_ffff;
        let y = f32::from_bits(single as u32);
        if !y.is_nan() {
            let root = square_root(
                Format::Single,
                single,
                Rounding::NearestEven,
                &mut Flags::default(),
            );
            assert_eq!(root, u64::from(y.sqrt().to_bits()), "of {y:e}");
        }
    }
}

/// The processor's own results, to nearest.
#[test]
fn arithmetic_as_the_processor() {
    let mut random = Random::new();
    let canonical = |value: f64| {
        if value.is_nan() {
            Format::Double.nan()
        } else {
            value.to_bits()
        }
    };
    for _ in 0..CASES {
        let [a, b, c] = [0; 3].map(|_| random.float(Format::Double));
        let [x, y, z] = [a, b, c].map(f64::from_bits);
        let mode = Rounding::NearestEven;
        let flags = &mut Flags::default();
        assert_eq!(
            add(Format::Double, a, b, mode, flags),
            canonical(x + y),
            "{x:e} + {y:e}"
        );
        assert_eq!(
            multiply(Format::Double, a, b, mode, flags),
            canonical(x * y),
            "{x:e} * {y:e}"
        );
        assert_eq!(
            divide(Format::Double, a, b, mode, flags),
            canonical(x / y),
            "{x:e} / {y:e}"
        );
        let fused = multiply_add(Format::Double, a, b, c, mode, flags);
        assert_eq!(fused, canonical(x.mul_add(y, z)), "{x:e} * {y:e} + {z:e}");
    }
}

#[test]
fn comparisons_as_the_processor() {
    let mut random = Random::new();
    for _ in 0..CASES {
        let a = random.float(Format::Double);
        let b = if random.below(4) == 0 {
            a
        } else {
            random.float(Format::Double)
        };
        let (x, y) = (f64::from_bits(a), f64::from_bits(b));
        let signaling = |bits: u64| f64::from_bits(bits).is_nan() && bits >> 51 & 1 == 0;
        let invalid = signaling(a) || signaling(b);
        let unordered = x.is_nan() || y.is_nan();
        for (relation, holds, raises) in [
            (Relation::Equal, x == y, invalid),
            (Relation::Less, x < y, unordered),
            (Relation::LessOrEqual, x <= y, unordered),
        ] {
            let mut flags = Flags::default();
            assert_eq!(
                compare(Format::Double, a, b, relation, &mut flags),
                holds,
                "{x:e} {relation:?} {y:e}"
            );
            assert_eq!(flags.0 == Flags::INVALID, raises);
        }
        let mut flags = Flags::default();
        let (least, most) = (
            minimum(Format::Double, a, b, &mut flags),
            maximum(Format::Double, a, b, &mut flags),
        );
        assert_eq!(flags.0 == Flags::INVALID, invalid);
        match (x.is_nan(), y.is_nan()) {
            (true, true) => assert_eq!((least, most), (Format::Double.nan(), Format::Double.nan())),
            (true, false) => assert_eq!((least, most), (b, b)),
            (false, true) => assert_eq!((least, most), (a, a)),
            (false, false) => {
                let in_order = x.total_cmp(&y).is_le();
                assert_eq!((least, most), if in_order { (a, b) } else { (b, a) });
            }
        }
    }
}

/// Infinity times zero is invalid even if a quiet NaN is added; an operation on a quiet NaN alone is not.
#[test]
fn not_a_number() {
    let (infinity, nan, one) = (Format::Double.infinity(), Format::Double.nan(), 1.0_f64.to_bits());
    for (a, b, c, raised) in [
        (infinity, 0, nan, Flags::INVALID),
        (0, infinity, one, Flags::INVALID),
        (infinity, one, infinity | Format::Double.sign(), Flags::INVALID),
        (one, one, nan | 1, 0),
        (one, one, infinity | 1, Flags::INVALID),
    ] {
        let mut flags = Flags::default();
        let fused = multiply_add(Format::Double, a, b, c, Rounding::NearestEven, &mut flags);
        assert_eq!((fused, flags.0), (nan, raised), "{a:#x} * {b:#x} + {c:#x}");
    }
}

/// The sign of a sum that is exactly zero.
#[test]
fn zeros_have_signs() {
    let (one, minus_one) = (1.0_f64.to_bits(), (-1.0_f64).to_bits());
    let minus_zero = Format::Double.sign();
    for (mode, _) in MODES {
        let expected = if mode == Rounding::Down { minus_zero } else { 0 };
        for (a, b) in [(one, minus_one), (0, minus_zero), (minus_zero, 0)] {
            let flags = &mut Flags::default();
            assert_eq!(add(Format::Double, a, b, mode, flags), expected, "{mode:?}");
            assert_eq!(
                multiply_add(Format::Double, a, one, b, mode, flags),
                expected,
                "{mode:?}"
            );
            assert_eq!(flags.0, 0);
        }
        let flags = &mut Flags::default();
        assert_eq!(
            add(Format::Double, minus_zero, minus_zero, mode, flags),
            minus_zero
        );
        assert_eq!(square_root(Format::Double, minus_zero, mode, flags), minus_zero);
    }
}

/// Results and all flags of many operations as one number.
fn checksum(operation: impl Fn(&mut Random, Rounding, &mut Flags) -> u64) -> u64 {
    let mut random = Random::new();
    (0..CASES).fold(0xcbf2_9ce4_8422_2325, |sum, _| {
        let (mode, _) = MODES[random.below(5) as usize];
        let mut flags = Flags::default();
        let result = operation(&mut random, mode, &mut flags);
        [result, flags.0]
            .iter()
            .fold(sum, |sum: u64, part| (sum ^ part).wrapping_mul(0x100_0000_01b3))
    })
}

/// The same operations with Berkeley SoftFloat 3, in its RISC-V variant (crate `softfloat-wrapper`, feature `riscv`), give the
/// same checksums: that is the arithmetic that the RISC-V reference simulator has.
#[test]
fn everything_as_berkeley_softfloat() {
    type Two = fn(Format, u64, u64, Rounding, &mut Flags) -> u64;
    let (single, double) = (Format::Single, Format::Double);
    let two: [(&str, Two, [u64; 2]); 4] = [
        ("add", add, [0x1c60_702a_ebf7_ab49, 0x0218_e478_5eeb_0ac4]),
        (
            "subtract",
            subtract,
            [0xa50f_ea89_53f4_9498, 0xc5ef_6993_e9d2_d1c8],
        ),
        (
            "multiply",
            multiply,
            [0xae63_4dcc_5ea3_acbb, 0xd0c0_dd85_264f_8515],
        ),
        ("divide", divide, [0x2b80_e4d9_50bc_b446, 0xc3d8_4c37_4a62_8b36]),
    ];
    for (name, operation, expected) in two {
        let got = [single, double].map(|format| {
            checksum(|random, mode, flags| {
                let [a, b] = [0; 2].map(|_| random.float(format));
                operation(format, a, b, mode, flags)
            })
        });
        assert_eq!(got, expected, "{name}: {got:#018x?}");
    }
    let got = [single, double]
        .map(|format| checksum(|random, mode, flags| square_root(format, random.float(format), mode, flags)));
    assert_eq!(
        got,
        [0x0cf2_d157_98bf_7de3, 0xa5fc_e876_02dc_0bf0],
        "square_root: {got:#018x?}"
    );
    let got = [single, double].map(|format| {
        checksum(|random, mode, flags| {
            let [a, b, mut c] = [0; 3].map(|_| random.float(format));
            if random.below(4) == 0 {
                c = multiply(format, a, b, mode, &mut Flags::default()) ^ format.sign() ^ random.below(4);
            }
            multiply_add(format, a, b, c, mode, flags)
        })
    });
    assert_eq!(
        got,
        [0x97f4_4b70_5b59_7c2f, 0x44e7_af51_500c_1329],
        "multiply_add: {got:#018x?}"
    );
    let got = [(single, double), (double, single)].map(|(from, to)| {
        checksum(|random, mode, flags| to_format(from, to, random.float(from), mode, flags))
    });
    assert_eq!(
        got,
        [0x2d8b_487d_1565_01f5, 0xf131_9807_e912_fe13],
        "to_format: {got:#018x?}"
    );
    for (integer, to, from) in [
        (
            Integer::I32,
            [0x994c_f64b_4c97_42ea, 0xc931_f16e_921b_421f],
            [0xb031_e100_0377_6c77, 0x79c1_3ae5_8595_a2a5],
        ),
        (
            Integer::U32,
            [0xd6ca_1e1a_f5c3_6674, 0xc14b_9c79_3ac9_7eca],
            [0x8713_96d3_d62f_d493, 0x2ff8_fb6f_3175_a2a5],
        ),
        (
            Integer::I64,
            [0xac34_e283_7047_93f5, 0xa156_fdae_349a_9a92],
            [0xccd5_7e1f_18d0_9e99, 0x44ef_b0c1_7b84_6444],
        ),
        (
            Integer::U64,
            [0x3345_1afb_157c_ec1c, 0xa6d5_2d6d_d38c_f8a0],
            [0xa287_1b5f_008d_73fa, 0x1397_25eb_8eaf_8a81],
        ),
    ] {
        let got = [single, double].map(|format| {
            checksum(|random, mode, flags| to_integer(format, integer, random.float(format), mode, flags))
        });
        assert_eq!(got, to, "to_integer {integer:?}: {got:#018x?}");
        let got = [single, double].map(|format| {
            checksum(|random, mode, flags| from_integer(format, integer, random.integer(), mode, flags))
        });
        assert_eq!(got, from, "from_integer {integer:?}: {got:#018x?}");
    }
}
