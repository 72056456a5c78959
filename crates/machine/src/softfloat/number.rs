//! Bit patterns taken apart.

use super::{Flags, Format};

/// What a bit pattern stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Zero,
    /// `significand` / 2^63 × 2^`exponent`. The top bit of the significand is set, also for subnormal numbers.
    Finite {
        exponent: i32,
        significand: u64,
    },
    Infinity,
    Nan {
        signaling: bool,
    },
}

/// A bit pattern taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    pub(super) negative: bool,
    pub(super) kind: Kind,
}

impl Number {
    pub(super) fn new(format: Format, bits: u64) -> Self {
        let fraction = bits & ((1 << format.fraction_bits()) - 1);
        let field = bits >> format.fraction_bits() & format.exponent_mask();
        let kind = if field == format.exponent_mask() {
            match fraction {
                0 => Kind::Infinity,
                _ => Kind::Nan {
                    signaling: fraction >> (format.fraction_bits() - 1) == 0,
                },
            }
        } else if field != 0 {
            Kind::Finite {
                exponent: field as i32 - format.bias(),
                significand: (fraction | 1 << format.fraction_bits()) << (63 - format.fraction_bits()),
            }
        } else if fraction != 0 {
            let shift = fraction.leading_zeros();
            Kind::Finite {
                exponent: 1 - format.bias() + (63 - format.fraction_bits() as i32) - shift as i32,
                significand: fraction << shift,
            }
        } else {
            Kind::Zero
        };
        Self {
            negative: bits & format.sign() != 0,
            kind,
        }
    }

    pub(super) fn is_nan(self) -> bool {
        matches!(self.kind, Kind::Nan { .. })
    }

    pub(super) fn is_signaling(self) -> bool {
        self.kind == Kind::Nan { signaling: true }
    }
}

/// The result of an operation that is not a number: the canonical NaN. A signaling operand makes the operation invalid.
pub(super) fn propagate(format: Format, operands: &[Number], flags: &mut Flags) -> u64 {
    if operands.iter().any(|operand| operand.is_signaling()) {
        flags.raise(Flags::INVALID);
    }
    format.nan()
}

/// The result of an operation that has none.
pub(super) fn invalid(format: Format, flags: &mut Flags) -> u64 {
    flags.raise(Flags::INVALID);
    format.nan()
}

/// `bits` with a sign.
pub(super) fn signed(format: Format, negative: bool, bits: u64) -> u64 {
    if negative { bits | format.sign() } else { bits }
}

/// `value` shifted right by `count`, with the last bit set if anything was lost.
pub(super) fn shift_right_sticky(value: u128, count: u32) -> u128 {
    match count {
        0 => value,
        1..=127 => value >> count | u128::from(value << (128 - count) != 0),
        _ => u128::from(value != 0),
    }
}
