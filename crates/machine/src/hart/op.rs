//! Instructions as the interpreter wants them.

use crate::softfloat::{Format, Integer};

/// A register in the file of [`Registers`](super::registers::Registers): 0 to 31 are `x0` to `x31` to read, writes to
/// `x0` go to [`SINK`], `f0` to `f31` start at [`FLOAT`].
pub(super) type Register = u8;

/// Where writes to `x0` go.
pub(super) const SINK: Register = 32;

/// Where the floating-point registers start.
pub(super) const FLOAT: Register = 64;

/// One decoded instruction, eight bytes. Immediates are sign-extended; those that are relative to `pc` are relative to
/// the start of the block, so that decoding depends on physical addresses only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub(super) enum Op {
    // Integer register and immediate.
    Addi { rd: Register, rs1: Register, imm: i32 },
    Slti { rd: Register, rs1: Register, imm: i32 },
    Sltiu { rd: Register, rs1: Register, imm: i32 },
    Xori { rd: Register, rs1: Register, imm: i32 },
    Ori { rd: Register, rs1: Register, imm: i32 },
    Andi { rd: Register, rs1: Register, imm: i32 },
    Slli { rd: Register, rs1: Register, by: u8 },
    Srli { rd: Register, rs1: Register, by: u8 },
    Srai { rd: Register, rs1: Register, by: u8 },
    Addiw { rd: Register, rs1: Register, imm: i32 },
    Slliw { rd: Register, rs1: Register, by: u8 },
    Srliw { rd: Register, rs1: Register, by: u8 },
    Sraiw { rd: Register, rs1: Register, by: u8 },
    Lui { rd: Register, imm: i32 },
    Auipc { rd: Register, at: u16, imm: i32 },

    // Integer register and register.
    Add { rd: Register, rs1: Register, rs2: Register },
    Sub { rd: Register, rs1: Register, rs2: Register },
    Sll { rd: Register, rs1: Register, rs2: Register },
    Slt { rd: Register, rs1: Register, rs2: Register },
    Sltu { rd: Register, rs1: Register, rs2: Register },
    Xor { rd: Register, rs1: Register, rs2: Register },
    Srl { rd: Register, rs1: Register, rs2: Register },
    Sra { rd: Register, rs1: Register, rs2: Register },
    Or { rd: Register, rs1: Register, rs2: Register },
    And { rd: Register, rs1: Register, rs2: Register },
    Addw { rd: Register, rs1: Register, rs2: Register },
    Subw { rd: Register, rs1: Register, rs2: Register },
    Sllw { rd: Register, rs1: Register, rs2: Register },
    Srlw { rd: Register, rs1: Register, rs2: Register },
    Sraw { rd: Register, rs1: Register, rs2: Register },

    // Multiplication and division.
    Mul { rd: Register, rs1: Register, rs2: Register },
    Mulh { rd: Register, rs1: Register, rs2: Register },
    Mulhsu { rd: Register, rs1: Register, rs2: Register },
    Mulhu { rd: Register, rs1: Register, rs2: Register },
    Div { rd: Register, rs1: Register, rs2: Register },
    Divu { rd: Register, rs1: Register, rs2: Register },
    Rem { rd: Register, rs1: Register, rs2: Register },
    Remu { rd: Register, rs1: Register, rs2: Register },
    Mulw { rd: Register, rs1: Register, rs2: Register },
    Divw { rd: Register, rs1: Register, rs2: Register },
    Divuw { rd: Register, rs1: Register, rs2: Register },
    Remw { rd: Register, rs1: Register, rs2: Register },
    Remuw { rd: Register, rs1: Register, rs2: Register },

    // Loads and stores.
    Lb { rd: Register, rs1: Register, imm: i32 },
    Lh { rd: Register, rs1: Register, imm: i32 },
    Lw { rd: Register, rs1: Register, imm: i32 },
    Ld { rd: Register, rs1: Register, imm: i32 },
    Lbu { rd: Register, rs1: Register, imm: i32 },
    Lhu { rd: Register, rs1: Register, imm: i32 },
    Lwu { rd: Register, rs1: Register, imm: i32 },
    Sb { rs1: Register, rs2: Register, imm: i32 },
    Sh { rs1: Register, rs2: Register, imm: i32 },
    Sw { rs1: Register, rs2: Register, imm: i32 },
    Sd { rs1: Register, rs2: Register, imm: i32 },
    Flw { rd: Register, rs1: Register, imm: i32 },
    Fld { rd: Register, rs1: Register, imm: i32 },
    Fsw { rs1: Register, rs2: Register, imm: i32 },
    Fsd { rs1: Register, rs2: Register, imm: i32 },
    /// CBO.ZERO.
    Zero { rs1: Register },

    // Control transfer. A conditional branch leaves the block only if it is taken; `done` counts the instructions of the
    // block up to and including it.
    Beq { rs1: Register, rs2: Register, done: u8, target: i16 },
    Bne { rs1: Register, rs2: Register, done: u8, target: i16 },
    Blt { rs1: Register, rs2: Register, done: u8, target: i16 },
    Bge { rs1: Register, rs2: Register, done: u8, target: i16 },
    Bltu { rs1: Register, rs2: Register, done: u8, target: i16 },
    Bgeu { rs1: Register, rs2: Register, done: u8, target: i16 },
    Jal { rd: Register, target: i32 },
    Jalr { rd: Register, rs1: Register, imm: i32 },
    /// JAL x0 to itself.
    Spin,

    // Atomics.
    LoadReserved { rd: Register, rs1: Register, wide: bool, order: Order },
    StoreConditional { rd: Register, rs1: Register, rs2: Register, wide: bool },
    Amo { amo: Amo, rd: Register, rs1: Register, rs2: Register, wide: bool },
    /// FENCE that orders earlier writes before later reads.
    FenceFull,
    /// Any other FENCE.
    FencePartial,

    // Floating point.
    Float(Float),
    Fma { kind: Fma, format: Format, rd: Register, rs1: Register, rs2: Register, rs3: Register, rm: u8 },

    /// CSR accesses, ECALL, SRET, WFI, SFENCE.VMA, FENCE.I: the instruction itself, all of 32 bits.
    System { word: u32 },
    /// EBREAK.
    Breakpoint,
    /// Not an instruction.
    Illegal,
}

/// The order that an LR asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Relaxed,
    Acquire,
    /// With `rl` set, alone or with `aq`.
    Full,
}

/// What an AMO does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Amo {
    Swap,
    Add,
    Xor,
    And,
    Or,
    Min,
    Max,
    Minu,
    Maxu,
}

/// The four fused multiplications.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fma {
    /// FMADD: `rs1` × `rs2` + `rs3`.
    Add,
    /// FMSUB: `rs1` × `rs2` - `rs3`.
    Subtract,
    /// FNMSUB: -(`rs1` × `rs2`) + `rs3`.
    NegateSubtract,
    /// FNMADD: -(`rs1` × `rs2`) - `rs3`.
    NegateAdd,
}

/// Floating-point instructions with up to two operands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[rustfmt::skip]
pub(super) enum Float {
    Add { format: Format, rd: Register, rs1: Register, rs2: Register, rm: u8 },
    Subtract { format: Format, rd: Register, rs1: Register, rs2: Register, rm: u8 },
    Multiply { format: Format, rd: Register, rs1: Register, rs2: Register, rm: u8 },
    Divide { format: Format, rd: Register, rs1: Register, rs2: Register, rm: u8 },
    SquareRoot { format: Format, rd: Register, rs1: Register, rm: u8 },
    /// FSGNJ, FSGNJN, FSGNJX.
    Sign { format: Format, rd: Register, rs1: Register, rs2: Register, sign: Sign },
    Minimum { format: Format, rd: Register, rs1: Register, rs2: Register },
    Maximum { format: Format, rd: Register, rs1: Register, rs2: Register },
    /// FEQ, FLT, FLE.
    Compare { format: Format, rd: Register, rs1: Register, rs2: Register, relation: crate::softfloat::Relation },
    Classify { format: Format, rd: Register, rs1: Register },
    /// FCVT.W.S and its kin.
    ToInteger { format: Format, rd: Register, rs1: Register, integer: Integer, rm: u8 },
    /// FCVT.S.W and its kin.
    FromInteger { format: Format, rd: Register, rs1: Register, integer: Integer, rm: u8 },
    /// FCVT.S.D, FCVT.D.S.
    Convert { from: Format, to: Format, rd: Register, rs1: Register, rm: u8 },
    /// FMV.X.W, FMV.X.D.
    MoveToInteger { format: Format, rd: Register, rs1: Register },
    /// FMV.W.X, FMV.D.X.
    MoveFromInteger { format: Format, rd: Register, rs1: Register },
}

/// Which sign FSGNJ and its kin give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// That of `rs2`.
    Copy,
    /// The opposite of that of `rs2`.
    Negate,
    /// That of `rs1`, turned round if `rs2` is negative.
    Xor,
}

impl Op {
    /// Whether control never goes on behind the instruction within its block.
    pub(super) fn ends_block(self) -> bool {
        matches!(
            self,
            Op::Jal { .. } | Op::Jalr { .. } | Op::Spin | Op::System { .. } | Op::Breakpoint | Op::Illegal
        )
    }
}
