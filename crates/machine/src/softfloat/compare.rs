//! Comparison, minimum and maximum, classification.

use super::number::{Kind, Number, propagate};
use super::{Flags, Format};
use std::cmp::Ordering;

/// What a comparison asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// `a` = `b`; invalid for signaling NaNs only.
    Equal,
    /// `a` < `b`; invalid for any NaN.
    Less,
    /// `a` ≤ `b`; invalid for any NaN.
    LessOrEqual,
}

/// Whether `a` and `b` are in `relation`; with a NaN they are in none.
pub fn compare(format: Format, a: u64, b: u64, relation: Relation, flags: &mut Flags) -> bool {
    let (left, right) = (Number::new(format, a), Number::new(format, b));
    if left.is_nan() || right.is_nan() {
        if relation != Relation::Equal || left.is_signaling() || right.is_signaling() {
            flags.raise(Flags::INVALID);
        }
        return false;
    }
    let ordering = match (left.kind, right.kind) {
        (Kind::Zero, Kind::Zero) => Ordering::Equal,
        _ => order(format, a, b),
    };
    match relation {
        Relation::Equal => ordering.is_eq(),
        Relation::Less => ordering.is_lt(),
        Relation::LessOrEqual => ordering.is_le(),
    }
}

/// The smaller of `a` and `b`, the number if one is a NaN (IEEE 754-2019 `minimumNumber`). -0 is smaller than +0.
pub fn minimum(format: Format, a: u64, b: u64, flags: &mut Flags) -> u64 {
    choose(format, a, b, Ordering::Less, flags)
}

/// The larger of `a` and `b`, the number if one is a NaN (IEEE 754-2019 `maximumNumber`). +0 is larger than -0.
pub fn maximum(format: Format, a: u64, b: u64, flags: &mut Flags) -> u64 {
    choose(format, a, b, Ordering::Greater, flags)
}

/// The class of `a` as FCLASS gives it: one bit of ten.
pub fn classify(format: Format, a: u64) -> u64 {
    let number = Number::new(format, a);
    let subnormal = a >> format.fraction_bits() & format.exponent_mask() == 0;
    // From minus infinity (0) to minus zero (3), then back from plus zero (4) to plus infinity (7).
    let size = match number.kind {
        Kind::Nan { signaling: true } => return 1 << 8,
        Kind::Nan { signaling: false } => return 1 << 9,
        Kind::Zero => 0,
        Kind::Finite { .. } if subnormal => 1,
        Kind::Finite { .. } => 2,
        Kind::Infinity => 3,
    };
    1 << if number.negative { 3 - size } else { 4 + size }
}

/// The operand that is in `wanted` order to the other.
fn choose(format: Format, a: u64, b: u64, wanted: Ordering, flags: &mut Flags) -> u64 {
    let (left, right) = (Number::new(format, a), Number::new(format, b));
    let nan = propagate(format, &[left, right], flags);
    match (left.is_nan(), right.is_nan()) {
        (true, true) => nan,
        (true, false) => b,
        (false, true) => a,
        (false, false) if order(format, a, b) == wanted => a,
        (false, false) => b,
    }
}

/// The order of two patterns that are not NaNs, with -0 below +0.
fn order(format: Format, a: u64, b: u64) -> Ordering {
    let key = |bits: u64| {
        let magnitude = (bits & (format.sign() - 1)) as i64;
        if bits & format.sign() != 0 {
            !magnitude
        } else {
            magnitude
        }
    };
    key(a).cmp(&key(b))
}
