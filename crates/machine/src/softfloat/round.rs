//! The one place where numbers are rounded.

use super::number::{shift_right_sticky, signed};
use super::{Flags, Format, Rounding};

/// The number `significand` / 2^127 × 2^`exponent` in `format`. The significand is not 0; it is exact, but for its last
/// bit, which stands for anything below.
pub(super) fn round(
    format: Format,
    negative: bool,
    exponent: i32,
    significand: u128,
    mode: Rounding,
    flags: &mut Flags,
) -> u64 {
    let shift = significand.leading_zeros();
    let (exponent, significand) = (exponent - shift as i32, significand << shift);
    let smallest = 1 - format.bias();
    if exponent >= smallest {
        return round_normal(format, negative, exponent, significand, mode, flags);
    }
    // Subnormal: the last place is that of the smallest normal number.
    let (places, inexact) = round_places(
        shift_right_sticky(significand, smallest.abs_diff(exponent)),
        format,
        negative,
        mode,
    );
    if inexact {
        flags.raise(Flags::INEXACT);
        // Tiny after rounding: with an unbounded exponent the result would still be below the smallest normal number.
        let (unbounded, _) = round_places(significand, format, negative, mode);
        if (exponent + (unbounded >> (format.fraction_bits() + 1)) as i32) < smallest {
            flags.raise(Flags::UNDERFLOW);
        }
    }
    // Should rounding have carried into the next place, that is the exponent field's 1, as it should be.
    signed(format, negative, places)
}

fn round_normal(
    format: Format,
    negative: bool,
    exponent: i32,
    significand: u128,
    mode: Rounding,
    flags: &mut Flags,
) -> u64 {
    let (places, inexact) = round_places(significand, format, negative, mode);
    // The leading 1 adds one to the exponent field, a carry another one.
    let field = i64::from(exponent + format.bias() - 1);
    let bits = ((field as u64) << format.fraction_bits()) + places;
    if bits >= format.infinity() {
        flags.raise(Flags::OVERFLOW | Flags::INEXACT);
        return signed(format, negative, overflowed(format, negative, mode));
    }
    if inexact {
        flags.raise(Flags::INEXACT);
    }
    signed(format, negative, bits)
}

/// Infinity or the largest number, as the mode has it.
fn overflowed(format: Format, negative: bool, mode: Rounding) -> u64 {
    let to_infinity = match mode {
        Rounding::NearestEven | Rounding::NearestAway => true,
        Rounding::TowardsZero => false,
        Rounding::Down => negative,
        Rounding::Up => !negative,
    };
    format.infinity() - u64::from(!to_infinity)
}

/// The significand's bits that `format` keeps, rounded, and whether others were lost.
fn round_places(significand: u128, format: Format, negative: bool, mode: Rounding) -> (u64, bool) {
    let lost_bits = 127 - format.fraction_bits();
    let kept = (significand >> lost_bits) as u64;
    let lost = significand << (128 - lost_bits);
    (
        kept + u64::from(rounds_away(kept, lost, negative, mode)),
        lost != 0,
    )
}

/// Whether a magnitude of `kept` and the fraction `lost` / 2^128 is rounded to the next larger one.
pub(super) fn rounds_away(kept: u64, lost: u128, negative: bool, mode: Rounding) -> bool {
    const HALF: u128 = 1 << 127;
    match mode {
        Rounding::NearestEven => lost > HALF || lost == HALF && kept & 1 == 1,
        Rounding::NearestAway => lost >= HALF,
        Rounding::TowardsZero => false,
        Rounding::Down => negative && lost != 0,
        Rounding::Up => !negative && lost != 0,
    }
}
