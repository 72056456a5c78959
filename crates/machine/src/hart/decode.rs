//! From instruction words to [`Op`]s (unprivileged specification, chapter "RV32/64G Instruction Set Listings").

use super::op::{Amo, FLOAT, Float, Fma, Op, Order, Register, SINK, Sign};
use crate::softfloat::{Format, Integer, Relation};

/// Decodes the 32-bit instruction `word`, which stands `at` bytes behind the start of its block as instruction number
/// `done`, counted from 1.
pub(super) fn decode(word: u32, at: u16, done: u8) -> Op {
    decode_valid(Word(word), at, done).unwrap_or(Op::Illegal)
}

/// `None` for what is no instruction.
fn decode_valid(word: Word, at: u16, done: u8) -> Option<Op> {
    let (rd, rs1, rs2) = (word.rd(), word.rs1(), word.rs2());
    Some(match word.opcode() {
        0x03 => load(word)?,
        0x07 => {
            let (rd, imm) = (word.frd(), word.imm_i());
            match word.funct3() {
                2 => Op::Flw { rd, rs1, imm },
                3 => Op::Fld { rd, rs1, imm },
                _ => return None,
            }
        }
        0x0f => match word.funct3() {
            0 => fence(word),
            1 => Op::System { word: word.0 },
            // CBO.ZERO of Zicboz.
            2 if word.0 >> 20 == 4 && rd == SINK => Op::Zero { rs1 },
            _ => return None,
        },
        0x13 => immediate(word)?,
        0x17 => Op::Auipc {
            rd,
            at,
            imm: word.imm_u(),
        },
        0x1b => immediate_word(word)?,
        0x23 => {
            let imm = word.imm_s();
            match word.funct3() {
                0 => Op::Sb { rs1, rs2, imm },
                1 => Op::Sh { rs1, rs2, imm },
                2 => Op::Sw { rs1, rs2, imm },
                3 => Op::Sd { rs1, rs2, imm },
                _ => return None,
            }
        }
        0x27 => {
            let (rs2, imm) = (word.frs2(), word.imm_s());
            match word.funct3() {
                2 => Op::Fsw { rs1, rs2, imm },
                3 => Op::Fsd { rs1, rs2, imm },
                _ => return None,
            }
        }
        0x2f => atomic(word)?,
        0x33 => register(word)?,
        0x37 => Op::Lui {
            rd,
            imm: word.imm_u(),
        },
        0x3b => register_word(word)?,
        0x43 => fma(word, Fma::Add)?,
        0x47 => fma(word, Fma::Subtract)?,
        0x4b => fma(word, Fma::NegateSubtract)?,
        0x4f => fma(word, Fma::NegateAdd)?,
        0x53 => Op::Float(float(word)?),
        0x63 => {
            // At most 4 KiB from an instruction within a page: it fits.
            let target = word.imm_b() + at as i16;
            match word.funct3() {
                0 => Op::Beq {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                1 => Op::Bne {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                4 => Op::Blt {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                5 => Op::Bge {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                6 => Op::Bltu {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                7 => Op::Bgeu {
                    rs1,
                    rs2,
                    done,
                    target,
                },
                _ => return None,
            }
        }
        0x67 if word.funct3() == 0 => Op::Jalr {
            rd,
            rs1,
            imm: word.imm_i(),
        },
        0x6f if word.imm_j() == 0 && rd == SINK => Op::Spin,
        0x6f => Op::Jal {
            rd,
            target: word.imm_j() + i32::from(at),
        },
        0x73 if word.0 == 0x0010_0073 => Op::Breakpoint,
        0x73 => Op::System { word: word.0 },
        _ => return None,
    })
}

fn load(word: Word) -> Option<Op> {
    let (rd, rs1, imm) = (word.rd(), word.rs1(), word.imm_i());
    Some(match word.funct3() {
        0 => Op::Lb { rd, rs1, imm },
        1 => Op::Lh { rd, rs1, imm },
        2 => Op::Lw { rd, rs1, imm },
        3 => Op::Ld { rd, rs1, imm },
        4 => Op::Lbu { rd, rs1, imm },
        5 => Op::Lhu { rd, rs1, imm },
        6 => Op::Lwu { rd, rs1, imm },
        _ => return None,
    })
}

fn fence(word: Word) -> Op {
    // Predecessor O or W, successor I or R. TSO (mode 8) leaves writes before reads unordered.
    let (writes, reads) = (word.0 >> 24 & 5 != 0, word.0 >> 20 & 10 != 0);
    match word.0 >> 28 {
        8 => Op::FencePartial,
        _ if writes && reads => Op::FenceFull,
        _ => Op::FencePartial,
    }
}

fn immediate(word: Word) -> Option<Op> {
    let (rd, rs1, imm) = (word.rd(), word.rs1(), word.imm_i());
    let by = (word.0 >> 20 & 63) as u8;
    Some(match (word.funct3(), word.0 >> 26) {
        (0, _) => Op::Addi { rd, rs1, imm },
        (1, 0) => Op::Slli { rd, rs1, by },
        (2, _) => Op::Slti { rd, rs1, imm },
        (3, _) => Op::Sltiu { rd, rs1, imm },
        (4, _) => Op::Xori { rd, rs1, imm },
        (5, 0) => Op::Srli { rd, rs1, by },
        (5, 0x10) => Op::Srai { rd, rs1, by },
        (6, _) => Op::Ori { rd, rs1, imm },
        (7, _) => Op::Andi { rd, rs1, imm },
        _ => return None,
    })
}

fn immediate_word(word: Word) -> Option<Op> {
    let (rd, rs1, imm) = (word.rd(), word.rs1(), word.imm_i());
    let by = (word.0 >> 20 & 31) as u8;
    Some(match (word.funct3(), word.funct7()) {
        (0, _) => Op::Addiw { rd, rs1, imm },
        (1, 0) => Op::Slliw { rd, rs1, by },
        (5, 0) => Op::Srliw { rd, rs1, by },
        (5, 0x20) => Op::Sraiw { rd, rs1, by },
        _ => return None,
    })
}

fn register(word: Word) -> Option<Op> {
    let (rd, rs1, rs2) = (word.rd(), word.rs1(), word.rs2());
    Some(match (word.funct7(), word.funct3()) {
        (0, 0) => Op::Add { rd, rs1, rs2 },
        (0, 1) => Op::Sll { rd, rs1, rs2 },
        (0, 2) => Op::Slt { rd, rs1, rs2 },
        (0, 3) => Op::Sltu { rd, rs1, rs2 },
        (0, 4) => Op::Xor { rd, rs1, rs2 },
        (0, 5) => Op::Srl { rd, rs1, rs2 },
        (0, 6) => Op::Or { rd, rs1, rs2 },
        (0, 7) => Op::And { rd, rs1, rs2 },
        (0x20, 0) => Op::Sub { rd, rs1, rs2 },
        (0x20, 5) => Op::Sra { rd, rs1, rs2 },
        (1, 0) => Op::Mul { rd, rs1, rs2 },
        (1, 1) => Op::Mulh { rd, rs1, rs2 },
        (1, 2) => Op::Mulhsu { rd, rs1, rs2 },
        (1, 3) => Op::Mulhu { rd, rs1, rs2 },
        (1, 4) => Op::Div { rd, rs1, rs2 },
        (1, 5) => Op::Divu { rd, rs1, rs2 },
        (1, 6) => Op::Rem { rd, rs1, rs2 },
        (1, 7) => Op::Remu { rd, rs1, rs2 },
        _ => return None,
    })
}

fn register_word(word: Word) -> Option<Op> {
    let (rd, rs1, rs2) = (word.rd(), word.rs1(), word.rs2());
    Some(match (word.funct7(), word.funct3()) {
        (0, 0) => Op::Addw { rd, rs1, rs2 },
        (0, 1) => Op::Sllw { rd, rs1, rs2 },
        (0, 5) => Op::Srlw { rd, rs1, rs2 },
        (0x20, 0) => Op::Subw { rd, rs1, rs2 },
        (0x20, 5) => Op::Sraw { rd, rs1, rs2 },
        (1, 0) => Op::Mulw { rd, rs1, rs2 },
        (1, 4) => Op::Divw { rd, rs1, rs2 },
        (1, 5) => Op::Divuw { rd, rs1, rs2 },
        (1, 6) => Op::Remw { rd, rs1, rs2 },
        (1, 7) => Op::Remuw { rd, rs1, rs2 },
        _ => return None,
    })
}

fn atomic(word: Word) -> Option<Op> {
    let (rd, rs1, rs2) = (word.rd(), word.rs1(), word.rs2());
    let wide = match word.funct3() {
        2 => false,
        3 => true,
        _ => return None,
    };
    let amo = match word.0 >> 27 {
        0x00 => Amo::Add,
        0x01 => Amo::Swap,
        0x02 if rs2 == 0 => {
            let order = match word.0 >> 25 & 3 {
                0 => Order::Relaxed,
                2 => Order::Acquire,
                _ => Order::Full,
            };
            return Some(Op::LoadReserved { rd, rs1, wide, order });
        }
        0x03 => return Some(Op::StoreConditional { rd, rs1, rs2, wide }),
        0x04 => Amo::Xor,
        0x08 => Amo::Or,
        0x0c => Amo::And,
        0x10 => Amo::Min,
        0x14 => Amo::Max,
        0x18 => Amo::Minu,
        0x1c => Amo::Maxu,
        _ => return None,
    };
    Some(Op::Amo {
        amo,
        rd,
        rs1,
        rs2,
        wide,
    })
}

fn fma(word: Word, kind: Fma) -> Option<Op> {
    Some(Op::Fma {
        kind,
        format: word.format()?,
        rd: word.frd(),
        rs1: word.frs1(),
        rs2: word.frs2(),
        rs3: FLOAT + (word.0 >> 27) as u8,
        rm: word.rounding(),
    })
}

fn float(word: Word) -> Option<Float> {
    let (rd, rs1, rs2) = (word.frd(), word.frs1(), word.frs2());
    let (format, selector) = (word.format()?, word.0 >> 20 & 31);
    let rm = word.rounding();
    let integer = match selector {
        0 => Some(Integer::I32),
        1 => Some(Integer::U32),
        2 => Some(Integer::I64),
        3 => Some(Integer::U64),
        _ => None,
    };
    Some(match (word.0 >> 27, word.funct3()) {
        (0x00, _) => Float::Add {
            format,
            rd,
            rs1,
            rs2,
            rm,
        },
        (0x01, _) => Float::Subtract {
            format,
            rd,
            rs1,
            rs2,
            rm,
        },
        (0x02, _) => Float::Multiply {
            format,
            rd,
            rs1,
            rs2,
            rm,
        },
        (0x03, _) => Float::Divide {
            format,
            rd,
            rs1,
            rs2,
            rm,
        },
        (0x0b, _) if selector == 0 => Float::SquareRoot { format, rd, rs1, rm },
        (0x04, funct3 @ 0..=2) => {
            let sign = [Sign::Copy, Sign::Negate, Sign::Xor][funct3 as usize];
            Float::Sign {
                format,
                rd,
                rs1,
                rs2,
                sign,
            }
        }
        (0x05, 0) => Float::Minimum { format, rd, rs1, rs2 },
        (0x05, 1) => Float::Maximum { format, rd, rs1, rs2 },
        (0x08, _) => {
            let from = match selector {
                0 => Format::Single,
                1 => Format::Double,
                _ => return None,
            };
            if from == format {
                return None;
            }
            Float::Convert {
                from,
                to: format,
                rd,
                rs1,
                rm,
            }
        }
        (0x14, funct3 @ 0..=2) => {
            let relation = [Relation::LessOrEqual, Relation::Less, Relation::Equal][funct3 as usize];
            Float::Compare {
                format,
                rd: word.rd(),
                rs1,
                rs2,
                relation,
            }
        }
        (0x18, _) => Float::ToInteger {
            format,
            rd: word.rd(),
            rs1,
            integer: integer?,
            rm,
        },
        (0x1a, _) => Float::FromInteger {
            format,
            rd,
            rs1: word.rs1(),
            integer: integer?,
            rm,
        },
        (0x1c, 0) if selector == 0 => Float::MoveToInteger {
            format,
            rd: word.rd(),
            rs1,
        },
        (0x1c, 1) if selector == 0 => Float::Classify {
            format,
            rd: word.rd(),
            rs1,
        },
        (0x1e, 0) if selector == 0 => Float::MoveFromInteger {
            format,
            rd,
            rs1: word.rs1(),
        },
        _ => return None,
    })
}

/// A 32-bit instruction and its fields.
#[derive(Clone, Copy)]
pub(super) struct Word(pub(super) u32);

impl Word {
    fn opcode(self) -> u32 {
        self.0 & 0x7f
    }

    /// Destination register; [`SINK`] for `x0`.
    pub(super) fn rd(self) -> Register {
        match (self.0 >> 7 & 31) as u8 {
            0 => SINK,
            rd => rd,
        }
    }

    pub(super) fn rs1(self) -> Register {
        (self.0 >> 15 & 31) as u8
    }

    pub(super) fn rs2(self) -> Register {
        (self.0 >> 20 & 31) as u8
    }

    fn frd(self) -> Register {
        FLOAT + (self.0 >> 7 & 31) as u8
    }

    fn frs1(self) -> Register {
        FLOAT + self.rs1()
    }

    fn frs2(self) -> Register {
        FLOAT + self.rs2()
    }

    pub(super) fn funct3(self) -> u32 {
        self.0 >> 12 & 7
    }

    pub(super) fn funct7(self) -> u32 {
        self.0 >> 25
    }

    fn imm_i(self) -> i32 {
        self.0 as i32 >> 20
    }

    fn imm_s(self) -> i32 {
        self.0 as i32 >> 25 << 5 | (self.0 >> 7 & 31) as i32
    }

    fn imm_b(self) -> i16 {
        let low = self.0 >> 7 & 0x1e | self.0 >> 20 & 0x7e0 | self.0 << 4 & 0x800;
        (low | (self.0 as i32 >> 31 << 12) as u32) as i16
    }

    fn imm_u(self) -> i32 {
        (self.0 & 0xffff_f000) as i32
    }

    fn imm_j(self) -> i32 {
        let low = self.0 >> 20 & 0x7fe | self.0 >> 9 & 0x800 | self.0 & 0xf_f000;
        low as i32 | self.0 as i32 >> 31 << 20
    }

    /// The format of a floating-point instruction; `None` for those that are not here.
    fn format(self) -> Option<Format> {
        match self.0 >> 25 & 3 {
            0 => Some(Format::Single),
            1 => Some(Format::Double),
            _ => None,
        }
    }

    /// The rounding field: a mode, or 7 for that of the `frm` CSR.
    fn rounding(self) -> u8 {
        self.funct3() as u8
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
