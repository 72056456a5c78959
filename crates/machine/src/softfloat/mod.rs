//! IEEE 754 arithmetic in integers: every rounding mode, every flag, the same on every host.
//!
//! Numbers are bit patterns in a `u64`, of either [`Format`]; the format is a value, not a type, because the code is the
//! same for both. An operation takes its operands apart ([`number`]), computes a result that is exact but for one sticky
//! bit far below the last place, and has it rounded once ([`round`]). Results that are NaN are the canonical NaN, as
//! RISC-V has it (unprivileged specification, "NaN Generation and Propagation").

mod arithmetic;
mod compare;
mod convert;
mod number;
mod round;

pub use arithmetic::{add, divide, multiply, multiply_add, square_root, subtract};
pub use compare::{Relation, classify, compare, maximum, minimum};
pub use convert::{Integer, from_integer, to_format, to_integer};

/// A binary interchange format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// binary32.
    Single,
    /// binary64.
    Double,
}

impl Format {
    /// Bits of the fraction field.
    const fn fraction_bits(self) -> u32 {
        match self {
            Self::Single => 23,
            Self::Double => 52,
        }
    }

    /// The exponent field of infinities and NaNs, all ones.
    const fn exponent_mask(self) -> u64 {
        match self {
            Self::Single => 0xff,
            Self::Double => 0x7ff,
        }
    }

    /// What the exponent field is more than the exponent.
    const fn bias(self) -> i32 {
        (self.exponent_mask() / 2) as i32
    }

    /// The sign bit alone.
    pub const fn sign(self) -> u64 {
        match self {
            Self::Single => 1 << 31,
            Self::Double => 1 << 63,
        }
    }

    /// Positive infinity.
    pub const fn infinity(self) -> u64 {
        self.exponent_mask() << self.fraction_bits()
    }

    /// The canonical NaN: positive, quiet, nothing else set.
    pub const fn nan(self) -> u64 {
        self.infinity() | 1 << (self.fraction_bits() - 1)
    }
}

/// A rounding mode, numbered as in the `frm` CSR.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Rounding {
    /// To nearest, ties to even (RNE).
    NearestEven = 0,
    /// Towards zero (RTZ).
    TowardsZero = 1,
    /// Down (RDN).
    Down = 2,
    /// Up (RUP).
    Up = 3,
    /// To nearest, ties away from zero (RMM).
    NearestAway = 4,
}

impl Rounding {
    /// The mode that `frm` or an instruction's rounding field calls `number`; `None` for reserved ones.
    pub fn from_number(number: u64) -> Option<Self> {
        Some(match number {
            0 => Self::NearestEven,
            1 => Self::TowardsZero,
            2 => Self::Down,
            3 => Self::Up,
            4 => Self::NearestAway,
            _ => return None,
        })
    }
}

/// The accrued exceptions of an operation, bits as in the `fflags` CSR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u64);

impl Flags {
    /// Inexact (NX).
    pub const INEXACT: u64 = 1 << 0;
    /// Underflow (UF): tiny after rounding, and inexact.
    pub const UNDERFLOW: u64 = 1 << 1;
    /// Overflow (OF).
    pub const OVERFLOW: u64 = 1 << 2;
    /// Divide by zero (DZ).
    pub const DIVIDE_BY_ZERO: u64 = 1 << 3;
    /// Invalid operation (NV).
    pub const INVALID: u64 = 1 << 4;

    /// Raises `flags`.
    pub fn raise(&mut self, flags: u64) {
        self.0 |= flags;
    }
}

#[cfg(test)]
mod tests;
