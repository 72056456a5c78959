//! Instructions by name, for programs in tests. Registers are numbers; immediates are in bytes.

pub(crate) const ZERO: u32 = 0;
pub(crate) const RA: u32 = 1;
pub(crate) const T0: u32 = 5;
pub(crate) const T1: u32 = 6;
pub(crate) const T2: u32 = 7;
pub(crate) const A0: u32 = 10;
pub(crate) const A1: u32 = 11;
pub(crate) const A2: u32 = 12;

pub(crate) const SSTATUS: u32 = 0x100;
pub(crate) const SIE: u32 = 0x104;
pub(crate) const SSCRATCH: u32 = 0x140;
pub(crate) const SEPC: u32 = 0x141;
pub(crate) const SCAUSE: u32 = 0x142;
pub(crate) const SIP: u32 = 0x144;

pub(crate) const ECALL: u32 = 0x0000_0073;
pub(crate) const EBREAK: u32 = 0x0010_0073;
pub(crate) const SRET: u32 = 0x1020_0073;
pub(crate) const WFI: u32 = 0x1050_0073;
pub(crate) const SFENCE_VMA: u32 = 0x1200_0073;
pub(crate) const FENCE: u32 = 0x0ff0_000f;
pub(crate) const FENCE_I: u32 = 0x0000_100f;
pub(crate) const NOP: u32 = 0x0000_0013;

pub(crate) fn r(opcode: u32, funct3: u32, funct7: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    funct7 << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub(crate) fn i(opcode: u32, funct3: u32, rd: u32, rs1: u32, imm: i32) -> u32 {
    (imm as u32) << 20 | rs1 << 15 | funct3 << 12 | rd << 7 | opcode
}

pub(crate) fn s(opcode: u32, funct3: u32, rs1: u32, rs2: u32, imm: i32) -> u32 {
    let imm = imm as u32;
    (imm >> 5) << 25 | rs2 << 20 | rs1 << 15 | funct3 << 12 | (imm & 31) << 7 | opcode
}

pub(crate) fn branch(funct3: u32, rs1: u32, rs2: u32, to: i32) -> u32 {
    let to = to as u32;
    let high = (to >> 12 & 1) << 31 | (to >> 5 & 63) << 25;
    high | rs2 << 20 | rs1 << 15 | funct3 << 12 | (to >> 1 & 15) << 8 | (to >> 11 & 1) << 7 | 0x63
}

pub(crate) fn addi(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x13, 0, rd, rs1, imm)
}

pub(crate) fn slli(rd: u32, rs1: u32, by: i32) -> u32 {
    i(0x13, 1, rd, rs1, by)
}

/// `imm` is the value that the register gets.
pub(crate) fn lui(rd: u32, imm: u32) -> u32 {
    imm & 0xffff_f000 | rd << 7 | 0x37
}

/// `imm` is what is added to `pc`.
pub(crate) fn auipc(rd: u32, imm: u32) -> u32 {
    imm & 0xffff_f000 | rd << 7 | 0x17
}

pub(crate) fn add(rd: u32, rs1: u32, rs2: u32) -> u32 {
    r(0x33, 0, 0, rd, rs1, rs2)
}

pub(crate) fn lbu(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x03, 4, rd, rs1, imm)
}

pub(crate) fn lw(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x03, 2, rd, rs1, imm)
}

pub(crate) fn ld(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x03, 3, rd, rs1, imm)
}

pub(crate) fn sw(rs2: u32, rs1: u32, imm: i32) -> u32 {
    s(0x23, 2, rs1, rs2, imm)
}

pub(crate) fn sd(rs2: u32, rs1: u32, imm: i32) -> u32 {
    s(0x23, 3, rs1, rs2, imm)
}

pub(crate) fn beq(rs1: u32, rs2: u32, to: i32) -> u32 {
    branch(0, rs1, rs2, to)
}

pub(crate) fn bne(rs1: u32, rs2: u32, to: i32) -> u32 {
    branch(1, rs1, rs2, to)
}

pub(crate) fn jal(rd: u32, to: i32) -> u32 {
    let to = to as u32;
    let low = (to >> 1 & 0x3ff) << 21 | (to >> 11 & 1) << 20 | to & 0xf_f000;
    (to >> 20 & 1) << 31 | low | rd << 7 | 0x6f
}

pub(crate) fn jalr(rd: u32, rs1: u32, imm: i32) -> u32 {
    i(0x67, 0, rd, rs1, imm)
}

pub(crate) fn csrrw(rd: u32, csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | 1 << 12 | rd << 7 | 0x73
}

pub(crate) fn csrrs(rd: u32, csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | 2 << 12 | rd << 7 | 0x73
}

pub(crate) fn csrrc(rd: u32, csr: u32, rs1: u32) -> u32 {
    csr << 20 | rs1 << 15 | 3 << 12 | rd << 7 | 0x73
}

/// An AMO, LR or SC by its five function bits, without ordering bits; `width` is 2 for words, 3 for doublewords.
pub(crate) fn amo(function: u32, width: u32, rd: u32, rs1: u32, rs2: u32) -> u32 {
    r(0x2f, width, function << 2, rd, rs1, rs2)
}

pub(crate) fn lr_w(rd: u32, rs1: u32) -> u32 {
    amo(2, 2, rd, rs1, 0)
}

pub(crate) fn lr_d(rd: u32, rs1: u32) -> u32 {
    amo(2, 3, rd, rs1, 0)
}

pub(crate) fn sc_w(rd: u32, rs2: u32, rs1: u32) -> u32 {
    amo(3, 2, rd, rs1, rs2)
}

pub(crate) fn sc_d(rd: u32, rs2: u32, rs1: u32) -> u32 {
    amo(3, 3, rd, rs1, rs2)
}
