//! The register file.

use super::op::{FLOAT, Register};
use crate::softfloat::Format;

/// All registers in one file, which is as long as a [`Register`] can name, so that no access needs a check. `x0` is never
/// written: instructions that have it as destination are decoded to write to another place.
pub(super) struct Registers([u64; 256]);

impl Registers {
    pub(super) fn new() -> Self {
        Self([0; 256])
    }

    #[inline(always)]
    pub(super) fn get(&self, register: Register) -> u64 {
        self.0[usize::from(register)]
    }

    #[inline(always)]
    pub(super) fn set(&mut self, register: Register, value: u64) {
        self.0[usize::from(register)] = value;
    }

    /// A floating-point operand of `format`: a single that is not NaN-boxed is the canonical NaN (unprivileged
    /// specification, "NaN Boxing of Narrower Values").
    pub(super) fn float(&self, format: Format, register: Register) -> u64 {
        let bits = self.get(register);
        match format {
            Format::Double => bits,
            Format::Single if bits >= BOX => bits & !BOX,
            Format::Single => Format::Single.nan(),
        }
    }

    /// Sets a floating-point register to a value of `format`, boxed if it is a single.
    pub(super) fn set_float(&mut self, format: Format, register: Register, bits: u64) {
        let boxed = match format {
            Format::Double => bits,
            Format::Single => bits | BOX,
        };
        self.set(register, boxed);
    }

    /// The integer registers.
    pub(super) fn x(&self) -> [u64; 32] {
        std::array::from_fn(|number| self.0[number])
    }

    /// The floating-point registers.
    pub(super) fn f(&self) -> [u64; 32] {
        std::array::from_fn(|number| self.0[usize::from(FLOAT) + number])
    }

    /// Sets all registers.
    pub(super) fn restore(&mut self, x: &[u64; 32], f: &[u64; 32]) {
        for (number, &value) in (1_u8..).zip(&x[1..]) {
            self.set(number, value);
        }
        for (number, &value) in (FLOAT..).zip(f) {
            self.set(number, value);
        }
    }
}

/// The upper half of a register that holds a single.
const BOX: u64 = 0xffff_ffff_0000_0000;
