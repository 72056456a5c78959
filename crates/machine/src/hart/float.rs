//! Floating-point instructions.

use super::core::Core;
use super::csr::status;
use super::exception::Exception;
use super::op::{Float, Fma, Register, Sign};
use crate::softfloat::{self, Flags, Format, Rounding};

impl Core {
    /// Whether floating-point instructions may be used (field FS of `sstatus`).
    #[inline(always)]
    pub(super) fn float_enabled(&self) -> Result<(), Exception> {
        match self.sstatus & status::FS {
            0 => Err(Exception::IllegalInstruction),
            _ => Ok(()),
        }
    }

    /// Remembers that floating-point state has changed.
    #[inline(always)]
    pub(super) fn float_dirty(&mut self) {
        self.sstatus |= status::FS;
    }

    /// One instruction with up to two operands.
    pub(super) fn float(&mut self, float: Float) -> Result<(), Exception> {
        self.float_enabled()?;
        let mut flags = Flags::default();
        match float {
            Float::Add {
                format,
                rd,
                rs1,
                rs2,
                rm,
            } => {
                self.arithmetic(softfloat::add, format, [rd, rs1, rs2], rm, &mut flags)?;
            }
            Float::Subtract {
                format,
                rd,
                rs1,
                rs2,
                rm,
            } => {
                self.arithmetic(softfloat::subtract, format, [rd, rs1, rs2], rm, &mut flags)?;
            }
            Float::Multiply {
                format,
                rd,
                rs1,
                rs2,
                rm,
            } => {
                self.arithmetic(softfloat::multiply, format, [rd, rs1, rs2], rm, &mut flags)?;
            }
            Float::Divide {
                format,
                rd,
                rs1,
                rs2,
                rm,
            } => {
                self.arithmetic(softfloat::divide, format, [rd, rs1, rs2], rm, &mut flags)?;
            }
            Float::SquareRoot { format, rd, rs1, rm } => {
                let a = self.registers.float(format, rs1);
                let root = softfloat::square_root(format, a, self.rounding(rm)?, &mut flags);
                self.registers.set_float(format, rd, root);
            }
            Float::Sign {
                format,
                rd,
                rs1,
                rs2,
                sign,
            } => {
                let (a, b) = (
                    self.registers.float(format, rs1),
                    self.registers.float(format, rs2),
                );
                let bit = match sign {
                    Sign::Copy => b,
                    Sign::Negate => !b,
                    Sign::Xor => a ^ b,
                };
                let signed = a & !format.sign() | bit & format.sign();
                self.registers.set_float(format, rd, signed);
            }
            Float::Minimum { format, rd, rs1, rs2 } => {
                let (a, b) = (
                    self.registers.float(format, rs1),
                    self.registers.float(format, rs2),
                );
                let least = softfloat::minimum(format, a, b, &mut flags);
                self.registers.set_float(format, rd, least);
            }
            Float::Maximum { format, rd, rs1, rs2 } => {
                let (a, b) = (
                    self.registers.float(format, rs1),
                    self.registers.float(format, rs2),
                );
                let most = softfloat::maximum(format, a, b, &mut flags);
                self.registers.set_float(format, rd, most);
            }
            Float::Compare {
                format,
                rd,
                rs1,
                rs2,
                relation,
            } => {
                let (a, b) = (
                    self.registers.float(format, rs1),
                    self.registers.float(format, rs2),
                );
                let holds = softfloat::compare(format, a, b, relation, &mut flags);
                self.registers.set(rd, holds.into());
            }
            Float::Classify { format, rd, rs1 } => {
                let class = softfloat::classify(format, self.registers.float(format, rs1));
                self.registers.set(rd, class);
            }
            Float::ToInteger {
                format,
                rd,
                rs1,
                integer,
                rm,
            } => {
                let a = self.registers.float(format, rs1);
                let whole = softfloat::to_integer(format, integer, a, self.rounding(rm)?, &mut flags);
                self.registers.set(rd, whole);
            }
            Float::FromInteger {
                format,
                rd,
                rs1,
                integer,
                rm,
            } => {
                let bits = self.registers.get(rs1);
                let number = softfloat::from_integer(format, integer, bits, self.rounding(rm)?, &mut flags);
                self.registers.set_float(format, rd, number);
            }
            Float::Convert {
                from,
                to,
                rd,
                rs1,
                rm,
            } => {
                let a = self.registers.float(from, rs1);
                let number = softfloat::to_format(from, to, a, self.rounding(rm)?, &mut flags);
                self.registers.set_float(to, rd, number);
            }
            Float::MoveToInteger { format, rd, rs1 } => {
                // The bits as they are, boxed or not.
                let bits = self.registers.get(rs1);
                let value = match format {
                    Format::Single => bits as i32 as u64,
                    Format::Double => bits,
                };
                self.registers.set(rd, value);
            }
            Float::MoveFromInteger { format, rd, rs1 } => {
                let bits = self.registers.get(rs1);
                self.registers.set_float(format, rd, bits);
            }
        }
        self.accrue(flags);
        Ok(())
    }

    /// FMADD and its kin, with registers `rd`, `rs1`, `rs2` and `rs3`.
    pub(super) fn fma(
        &mut self,
        kind: Fma,
        format: Format,
        [rd, rs1, rs2, rs3]: [Register; 4],
        rm: u8,
    ) -> Result<(), Exception> {
        self.float_enabled()?;
        let mode = self.rounding(rm)?;
        let (negate_product, negate_addend) = match kind {
            Fma::Add => (false, false),
            Fma::Subtract => (false, true),
            Fma::NegateSubtract => (true, false),
            Fma::NegateAdd => (true, true),
        };
        let negated = |bits, negate| if negate { bits ^ format.sign() } else { bits };
        let a = negated(self.registers.float(format, rs1), negate_product);
        let b = self.registers.float(format, rs2);
        let c = negated(self.registers.float(format, rs3), negate_addend);
        let mut flags = Flags::default();
        let number = softfloat::multiply_add(format, a, b, c, mode, &mut flags);
        self.registers.set_float(format, rd, number);
        self.accrue(flags);
        Ok(())
    }

    fn arithmetic(
        &mut self,
        operation: fn(Format, u64, u64, Rounding, &mut Flags) -> u64,
        format: Format,
        [rd, rs1, rs2]: [Register; 3],
        rm: u8,
        flags: &mut Flags,
    ) -> Result<(), Exception> {
        let mode = self.rounding(rm)?;
        let (a, b) = (
            self.registers.float(format, rs1),
            self.registers.float(format, rs2),
        );
        let number = operation(format, a, b, mode, flags);
        self.registers.set_float(format, rd, number);
        Ok(())
    }

    /// The mode that the rounding field `rm` asks for; 7 is that of the `frm` CSR, which may hold a reserved one.
    fn rounding(&self, rm: u8) -> Result<Rounding, Exception> {
        let number = match rm {
            7 => self.fcsr >> 5,
            _ => rm.into(),
        };
        Rounding::from_number(number).ok_or(Exception::IllegalInstruction)
    }

    fn accrue(&mut self, flags: Flags) {
        self.fcsr |= flags.0;
        self.float_dirty();
    }
}
