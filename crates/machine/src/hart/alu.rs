//! Integer arithmetic that Rust's operators do not have as RISC-V does.

/// DIV: by zero gives -1, overflow the dividend.
pub(super) fn div(a: u64, b: u64) -> u64 {
    match b as i64 {
        0 => u64::MAX,
        divisor => (a as i64).wrapping_div(divisor) as u64,
    }
}

/// DIVU: by zero gives the largest number.
pub(super) fn divu(a: u64, b: u64) -> u64 {
    a.checked_div(b).unwrap_or(u64::MAX)
}

/// REM: by zero gives the dividend, overflow 0.
pub(super) fn rem(a: u64, b: u64) -> u64 {
    match b as i64 {
        0 => a,
        divisor => (a as i64).wrapping_rem(divisor) as u64,
    }
}

/// REMU: by zero gives the dividend.
pub(super) fn remu(a: u64, b: u64) -> u64 {
    a.checked_rem(b).unwrap_or(a)
}

/// DIVW.
pub(super) fn divw(a: u64, b: u64) -> u64 {
    match b as i32 {
        0 => u64::MAX,
        divisor => (a as i32).wrapping_div(divisor) as u64,
    }
}

/// DIVUW.
pub(super) fn divuw(a: u64, b: u64) -> u64 {
    word((a as u32).checked_div(b as u32).unwrap_or(u32::MAX))
}

/// REMW.
pub(super) fn remw(a: u64, b: u64) -> u64 {
    match b as i32 {
        0 => word(a as u32),
        divisor => (a as i32).wrapping_rem(divisor) as u64,
    }
}

/// REMUW.
pub(super) fn remuw(a: u64, b: u64) -> u64 {
    word((a as u32).checked_rem(b as u32).unwrap_or(a as u32))
}

/// MULH.
pub(super) fn mulh(a: u64, b: u64) -> u64 {
    ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64
}

/// MULHSU.
pub(super) fn mulhsu(a: u64, b: u64) -> u64 {
    ((i128::from(a as i64) * i128::from(b)) >> 64) as u64
}

/// MULHU.
pub(super) fn mulhu(a: u64, b: u64) -> u64 {
    ((u128::from(a) * u128::from(b)) >> 64) as u64
}

/// A 32-bit result in a register: sign-extended, always.
#[inline(always)]
pub(super) fn word(value: u32) -> u64 {
    value as i32 as u64
}
