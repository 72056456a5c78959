//! Addition, multiplication, fused multiplication and addition, division, square root.

use super::number::{Kind, Number, invalid, propagate, shift_right_sticky, signed};
use super::round::round;
use super::{Flags, Format, Rounding};

/// `a` + `b`.
pub fn add(format: Format, a: u64, b: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let (left, right) = (Number::new(format, a), Number::new(format, b));
    match (left.kind, right.kind) {
        (Kind::Nan { .. }, _) | (_, Kind::Nan { .. }) => propagate(format, &[left, right], flags),
        (Kind::Infinity, Kind::Infinity) if left.negative != right.negative => invalid(format, flags),
        (Kind::Infinity, _) => a,
        (_, Kind::Infinity) => b,
        (Kind::Zero, Kind::Zero) if left.negative == right.negative => a,
        (Kind::Zero, Kind::Zero) => zero_sum(format, mode),
        (Kind::Zero, _) => b,
        (_, Kind::Zero) => a,
        (
            Kind::Finite {
                exponent: p,
                significand: x,
            },
            Kind::Finite {
                exponent: q,
                significand: y,
            },
        ) => sum(
            format,
            Term::new(left.negative, p, u128::from(x) << 64),
            Term::new(right.negative, q, u128::from(y) << 64),
            mode,
            flags,
        ),
    }
}

/// `a` - `b`.
pub fn subtract(format: Format, a: u64, b: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    // The sign of a NaN does not matter: it is not kept.
    add(format, a, b ^ format.sign(), mode, flags)
}

/// `a` × `b`.
pub fn multiply(format: Format, a: u64, b: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let (left, right) = (Number::new(format, a), Number::new(format, b));
    let negative = left.negative != right.negative;
    match (left.kind, right.kind) {
        (Kind::Nan { .. }, _) | (_, Kind::Nan { .. }) => propagate(format, &[left, right], flags),
        (Kind::Infinity, Kind::Zero) | (Kind::Zero, Kind::Infinity) => invalid(format, flags),
        (Kind::Infinity, _) | (_, Kind::Infinity) => signed(format, negative, format.infinity()),
        (Kind::Zero, _) | (_, Kind::Zero) => signed(format, negative, 0),
        (
            Kind::Finite {
                exponent: p,
                significand: x,
            },
            Kind::Finite {
                exponent: q,
                significand: y,
            },
        ) => round(
            format,
            negative,
            p + q + 1,
            u128::from(x) * u128::from(y),
            mode,
            flags,
        ),
    }
}

/// `a` × `b` + `c`, rounded once.
pub fn multiply_add(format: Format, a: u64, b: u64, c: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let (left, right, addend) = (
        Number::new(format, a),
        Number::new(format, b),
        Number::new(format, c),
    );
    let negative = left.negative != right.negative;
    match (left.kind, right.kind, addend.kind) {
        // Infinity times zero is invalid whatever is added, a quiet NaN included.
        (Kind::Infinity, Kind::Zero, _) | (Kind::Zero, Kind::Infinity, _) => invalid(format, flags),
        (Kind::Nan { .. }, _, _) | (_, Kind::Nan { .. }, _) | (_, _, Kind::Nan { .. }) => {
            propagate(format, &[left, right, addend], flags)
        }
        (Kind::Infinity, _, Kind::Infinity) | (_, Kind::Infinity, Kind::Infinity)
            if negative != addend.negative =>
        {
            invalid(format, flags)
        }
        (Kind::Infinity, _, _) | (_, Kind::Infinity, _) => signed(format, negative, format.infinity()),
        (_, _, Kind::Infinity) => c,
        (Kind::Zero, _, Kind::Zero) | (_, Kind::Zero, Kind::Zero) if negative != addend.negative => {
            zero_sum(format, mode)
        }
        (Kind::Zero, _, _) | (_, Kind::Zero, _) => c,
        (
            Kind::Finite {
                exponent: p,
                significand: x,
            },
            Kind::Finite {
                exponent: q,
                significand: y,
            },
            kind,
        ) => {
            let product = Term::new(negative, p + q + 1, u128::from(x) * u128::from(y));
            if let Kind::Finite {
                exponent,
                significand,
            } = kind
            {
                let addend = Term::new(addend.negative, exponent, u128::from(significand) << 64);
                return sum(format, product, addend, mode, flags);
            }
            round(
                format,
                negative,
                product.exponent,
                product.significand,
                mode,
                flags,
            )
        }
    }
}

/// `a` / `b`.
pub fn divide(format: Format, a: u64, b: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let (left, right) = (Number::new(format, a), Number::new(format, b));
    let negative = left.negative != right.negative;
    match (left.kind, right.kind) {
        (Kind::Nan { .. }, _) | (_, Kind::Nan { .. }) => propagate(format, &[left, right], flags),
        (Kind::Infinity, Kind::Infinity) | (Kind::Zero, Kind::Zero) => invalid(format, flags),
        (Kind::Infinity, _) => signed(format, negative, format.infinity()),
        (_, Kind::Infinity) | (Kind::Zero, _) => signed(format, negative, 0),
        (_, Kind::Zero) => {
            flags.raise(Flags::DIVIDE_BY_ZERO);
            signed(format, negative, format.infinity())
        }
        (
            Kind::Finite {
                exponent: p,
                significand: x,
            },
            Kind::Finite {
                exponent: q,
                significand: y,
            },
        ) => {
            let (dividend, divisor) = (u128::from(x) << 64, u128::from(y));
            // 64 or 65 bits of quotient, more than any format has, and whether there would be more.
            let (quotient, rest) = (dividend / divisor, dividend % divisor);
            let significand = quotient << 63 | u128::from(rest != 0);
            round(format, negative, p - q, significand, mode, flags)
        }
    }
}

/// The square root of `a`.
pub fn square_root(format: Format, a: u64, mode: Rounding, flags: &mut Flags) -> u64 {
    let number = Number::new(format, a);
    match number.kind {
        Kind::Nan { .. } => propagate(format, &[number], flags),
        Kind::Zero => a,
        _ if number.negative => invalid(format, flags),
        Kind::Infinity => a,
        Kind::Finite {
            exponent,
            significand,
        } => {
            // An even exponent, so that it can be halved: the radicand is from 1 (inclusive) to 4, times 2^126.
            let radicand = u128::from(significand) << (63 + (exponent & 1));
            let root = radicand.isqrt();
            let significand = root << 64 | u128::from(root * root != radicand);
            round(format, false, exponent >> 1, significand, mode, flags)
        }
    }
}

/// One term of a sum: ± `significand` / 2^127 × 2^`exponent`.
#[derive(Clone, Copy)]
struct Term {
    negative: bool,
    exponent: i32,
    significand: u128,
}

impl Term {
    /// The same with the top bit set.
    fn new(negative: bool, exponent: i32, significand: u128) -> Self {
        let shift = significand.leading_zeros();
        Self {
            negative,
            exponent: exponent - shift as i32,
            significand: significand << shift,
        }
    }
}

/// The sum of two terms that are not 0, with at most 106 significant bits each.
fn sum(format: Format, a: Term, b: Term, mode: Rounding, flags: &mut Flags) -> u64 {
    let (large, small) = match (a.exponent, a.significand) >= (b.exponent, b.significand) {
        true => (a, b),
        false => (b, a),
    };
    // One bit of room for a carry. Both terms end at least 20 bits above the last place, so what is shifted out is lost
    // only if the exponents are so far apart that a difference still has its top bit in the top two places.
    let distance = large.exponent.abs_diff(small.exponent);
    let (x, y) = (
        large.significand >> 1,
        shift_right_sticky(small.significand >> 1, distance),
    );
    let significand = if large.negative == small.negative {
        x + y
    } else {
        x - y
    };
    if significand == 0 {
        return zero_sum(format, mode);
    }
    round(
        format,
        large.negative,
        large.exponent + 1,
        significand,
        mode,
        flags,
    )
}

/// The zero that two equal terms of different sign leave.
fn zero_sum(format: Format, mode: Rounding) -> u64 {
    signed(format, mode == Rounding::Down, 0)
}
