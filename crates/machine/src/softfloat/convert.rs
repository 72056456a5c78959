//! Conversions between the formats and to and from integers.

use super::number::{Kind, Number, propagate, shift_right_sticky, signed};
use super::round::{round, rounds_away};
use super::{Flags, Format, Rounding};

/// An integer type of the conversion instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Integer {
    /// W: signed, 32 bits.
    I32,
    /// WU: unsigned, 32 bits.
    U32,
    /// L: signed, 64 bits.
    I64,
    /// LU: unsigned, 64 bits.
    U64,
}

impl Integer {
    /// The smallest and the largest value.
    fn range(self) -> (i128, i128) {
        match self {
            Self::I32 => (i32::MIN.into(), i32::MAX.into()),
            Self::U32 => (0, u32::MAX.into()),
            Self::I64 => (i64::MIN.into(), i64::MAX.into()),
            Self::U64 => (0, u64::MAX.into()),
        }
    }

    /// The value that the register `bits` holds.
    fn value(self, bits: u64) -> i128 {
        match self {
            Self::I32 => (bits as i32).into(),
            Self::U32 => (bits as u32).into(),
            Self::I64 => (bits as i64).into(),
            Self::U64 => bits.into(),
        }
    }

    /// The register that holds `value`: 32-bit integers are sign-extended, unsigned ones too.
    fn register(self, value: i128) -> u64 {
        match self {
            Self::I32 | Self::U32 => value as i32 as u64,
            Self::I64 | Self::U64 => value as u64,
        }
    }
}

/// `a` of format `from` in format `to`.
pub fn to_format(from: Format, to: Format, a: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let number = Number::new(from, a);
    match number.kind {
        Kind::Nan { .. } => propagate(to, &[number], flags),
        Kind::Infinity => signed(to, number.negative, to.infinity()),
        Kind::Zero => signed(to, number.negative, 0),
        Kind::Finite {
            exponent,
            significand,
        } => {
            let significand = u128::from(significand) << 64;
            round(to, number.negative, exponent, significand, mode, flags)
        }
    }
}

/// The integer in register `bits` as a number.
pub fn from_integer(format: Format, integer: Integer, bits: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    match integer.value(bits) {
        0 => 0,
        value => round(format, value < 0, 127, value.unsigned_abs(), mode, flags),
    }
}

/// `a` as an integer in a register. What does not fit is invalid and gives the nearest integer that does, a NaN the
/// largest.
pub fn to_integer(format: Format, integer: Integer, a: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let (lowest, highest) = integer.range();
    let number = Number::new(format, a);
    let (value, inexact) = match number.kind {
        Kind::Zero => (0, false),
        Kind::Nan { .. } => (i128::MAX, false),
        Kind::Infinity => (if number.negative { i128::MIN } else { i128::MAX }, false),
        Kind::Finite {
            exponent,
            significand,
        } => to_whole(number.negative, exponent, significand, mode),
    };
    let fitting = value.clamp(lowest, highest);
    if fitting != value {
        flags.raise(Flags::INVALID);
    } else if inexact {
        flags.raise(Flags::INEXACT);
    }
    integer.register(fitting)
}

/// A finite number rounded to a whole one, and whether that changed it. Numbers of 2^64 and more come out as some number
/// of 2^64 or more.
fn to_whole(negative: bool, exponent: i32, significand: u64, mode: Rounding) -> (i128, bool) {
    let (kept, lost) = match exponent {
        64.. => return (if negative { i128::MIN } else { i128::MAX }, false),
        0..64 => {
            let both = u128::from(significand) << 64;
            // 0 to 63 bits of the significand are behind the point.
            (significand >> (63 - exponent), both << (exponent + 1))
        }
        _ => {
            let below = u128::from(significand) << 64;
            (0, shift_right_sticky(below, (-1 - exponent) as u32))
        }
    };
    let magnitude = i128::from(kept) + i128::from(rounds_away(kept, lost, negative, mode));
    (if negative { -magnitude } else { magnitude }, lost != 0)
}
