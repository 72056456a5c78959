//! Compressed instructions, expanded to the 32-bit instructions that they stand for (unprivileged specification, chapter
//! "C" Standard Extension).

/// The 32-bit form of the 16-bit instruction `half`, or `None` if it is not one of RV64C with F and D.
pub(super) fn expand(half: u16) -> Option<u32> {
    let half = Half(half.into());
    let (rd, rs2) = (half.bits(7, 5), half.bits(2, 5));
    // The registers of the short fields are x8 to x15.
    let (short_high, short_low) = (8 + half.bits(7, 3), 8 + half.bits(2, 3));
    Some(match (half.bits(0, 2), half.bits(13, 3)) {
        // C.ADDI4SPN
        (0, 0) => {
            let imm = half.gather(&[(11, 2, 4), (7, 4, 6), (6, 1, 2), (5, 1, 3)]);
            if imm == 0 {
                return None;
            }
            i_type(0x13, 0, short_low, 2, imm)
        }
        // C.FLD, C.LW, C.LD
        (0, 1) => i_type(0x07, 3, short_low, short_high, half.offset_8()),
        (0, 2) => i_type(0x03, 2, short_low, short_high, half.offset_4()),
        (0, 3) => i_type(0x03, 3, short_low, short_high, half.offset_8()),
        // C.FSD, C.SW, C.SD
        (0, 5) => s_type(0x27, 3, short_high, short_low, half.offset_8()),
        (0, 6) => s_type(0x23, 2, short_high, short_low, half.offset_4()),
        (0, 7) => s_type(0x23, 3, short_high, short_low, half.offset_8()),
        // C.ADDI (C.NOP), C.ADDIW, C.LI
        (1, 0) => i_type(0x13, 0, rd, rd, half.imm_6()),
        (1, 1) if rd != 0 => i_type(0x1b, 0, rd, rd, half.imm_6()),
        (1, 2) => i_type(0x13, 0, rd, 0, half.imm_6()),
        // C.ADDI16SP
        (1, 3) if rd == 2 => {
            let low = half.gather(&[(6, 1, 4), (5, 1, 6), (3, 2, 7), (2, 1, 5)]);
            let imm = low | half.sign(9);
            if imm == 0 {
                return None;
            }
            i_type(0x13, 0, 2, 2, imm)
        }
        // C.LUI
        (1, 3) => {
            let imm = half.imm_6();
            if imm == 0 {
                return None;
            }
            imm << 12 | rd << 7 | 0x37
        }
        (1, 4) => arithmetic(half, short_high, short_low)?,
        // C.J
        (1, 5) => {
            let low = half.gather(&[
                (3, 3, 1),
                (11, 1, 4),
                (2, 1, 5),
                (7, 1, 6),
                (6, 1, 7),
                (9, 2, 8),
                (8, 1, 10),
            ]);
            let imm = low | half.sign(11);
            (imm & 0x7fe) << 20 | (imm >> 11 & 1) << 20 | imm & 0xf_f000 | (imm >> 20 & 1) << 31 | 0x6f
        }
        // C.BEQZ, C.BNEZ
        (1, funct3 @ (6 | 7)) => {
            let low = half.gather(&[(3, 2, 1), (10, 2, 3), (2, 1, 5), (5, 2, 6)]);
            let imm = low | half.sign(8);
            let fields =
                (imm >> 12 & 1) << 31 | (imm >> 5 & 63) << 25 | (imm >> 1 & 15) << 8 | (imm >> 11 & 1) << 7;
            fields | short_high << 15 | (funct3 - 6) << 12 | 0x63
        }
        // C.SLLI
        (2, 0) => i_type(0x13, 1, rd, rd, half.shift()),
        // C.FLDSP, C.LWSP, C.LDSP
        (2, 1) => i_type(0x07, 3, rd, 2, half.stack_load_8()),
        (2, 2) if rd != 0 => i_type(0x03, 2, rd, 2, half.gather(&[(12, 1, 5), (4, 3, 2), (2, 2, 6)])),
        (2, 3) if rd != 0 => i_type(0x03, 3, rd, 2, half.stack_load_8()),
        // C.JR, C.JALR, C.EBREAK, C.MV, C.ADD
        (2, 4) => match (half.bits(12, 1), rd, rs2) {
            (0, 0, 0) => return None,
            (0, _, 0) => i_type(0x67, 0, 0, rd, 0),
            (1, 0, 0) => 0x0010_0073,
            (1, _, 0) => i_type(0x67, 0, 1, rd, 0),
            (0, _, _) => r_type(0x33, 0, rd, 0, rs2),
            _ => r_type(0x33, 0, rd, rd, rs2),
        },
        // C.FSDSP, C.SWSP, C.SDSP
        (2, 5) => s_type(0x27, 3, 2, rs2, half.stack_store_8()),
        (2, 6) => s_type(0x23, 2, 2, rs2, half.gather(&[(9, 4, 2), (7, 2, 6)])),
        (2, 7) => s_type(0x23, 3, 2, rs2, half.stack_store_8()),
        _ => return None,
    })
}

/// C.SRLI, C.SRAI, C.ANDI, C.SUB, C.XOR, C.OR, C.AND, C.SUBW, C.ADDW.
fn arithmetic(half: Half, rd: u32, rs2: u32) -> Option<u32> {
    Some(match (half.bits(10, 2), half.bits(12, 1), half.bits(5, 2)) {
        (0, ..) => i_type(0x13, 5, rd, rd, half.shift()),
        (1, ..) => i_type(0x13, 5, rd, rd, half.shift() | 0x400),
        (2, ..) => i_type(0x13, 7, rd, rd, half.imm_6()),
        (3, 0, 0) => r_type(0x33, 0, rd, rd, rs2) | 0x20 << 25,
        (3, 0, 1) => r_type(0x33, 4, rd, rd, rs2),
        (3, 0, 2) => r_type(0x33, 6, rd, rd, rs2),
        (3, 0, 3) => r_type(0x33, 7, rd, rd, rs2),
        (3, 1, 0) => r_type(0x3b, 0, rd, rd, rs2) | 0x20 << 25,
        (3, 1, 1) => r_type(0x3b, 0, rd, rd, rs2),
        _ => return None,
    })
}

fn i_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: u32) -> u32 {
    imm << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

fn s_type(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: u32) -> u32 {
    imm >> 5 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

fn r_type(opcode: u32, funct3: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

/// A 16-bit instruction and its fields.
#[derive(Clone, Copy)]
struct Half(u32);

impl Half {
    /// `count` bits from bit `from` on.
    fn bits(self, from: u32, count: u32) -> u32 {
        self.0 >> from & ((1 << count) - 1)
    }

    /// A number put together from fields: each is (lowest bit, bits, place in the number).
    fn gather(self, fields: &[(u32, u32, u32)]) -> u32 {
        fields.iter().fold(0, |number, &(from, count, place)| {
            number | self.bits(from, count) << place
        })
    }

    /// Bit 12 as the sign of a number, from bit `place` on.
    fn sign(self, place: u32) -> u32 {
        self.bits(12, 1).wrapping_neg() << place
    }

    /// The signed immediate of C.ADDI and others.
    fn imm_6(self) -> u32 {
        self.bits(2, 5) | self.sign(5)
    }

    /// The shift amount of C.SLLI and others.
    fn shift(self) -> u32 {
        self.gather(&[(12, 1, 5), (2, 5, 0)])
    }

    /// The offset of C.LW and C.SW.
    fn offset_4(self) -> u32 {
        self.gather(&[(10, 3, 3), (6, 1, 2), (5, 1, 6)])
    }

    /// The offset of C.LD, C.SD, C.FLD and C.FSD.
    fn offset_8(self) -> u32 {
        self.gather(&[(10, 3, 3), (5, 2, 6)])
    }

    /// The offset of C.LDSP and C.FLDSP.
    fn stack_load_8(self) -> u32 {
        self.gather(&[(12, 1, 5), (5, 2, 3), (2, 3, 6)])
    }

    /// The offset of C.SDSP and C.FSDSP.
    fn stack_store_8(self) -> u32 {
        self.gather(&[(10, 3, 3), (7, 3, 6)])
    }
}

#[cfg(test)]
#[path = "compressed_tests.rs"]
mod tests;
