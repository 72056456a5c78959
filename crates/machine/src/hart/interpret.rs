//! The loop that runs instructions.

use super::alu;
use super::code::{CROSSING, Code, Extent};
use super::core::Core;
use super::csr::status;
use super::exception::Exception;
use super::exit::{Exit, Fatal};
use super::memory::{Access, Place};
use super::op::Op;
use super::signals::attention;
use super::state::Privilege;
use crate::softfloat::Format;
use std::sync::atomic::{Ordering, fence};

/// Instructions between two looks at the clock: some tens of microseconds.
const SLICE: u64 = 10_000;

/// How a block was left, if not for the address that control goes to next.
enum Left {
    /// By a taken branch, after so many instructions.
    Branch(u8),
    /// At its end.
    End,
    /// By an exception of the instruction at this index.
    Exception(Exception, usize),
    /// For this instruction, the last of the block.
    System(u32),
    /// For a jump to itself at this index, the last of the block.
    Spin(usize),
}

impl Core {
    /// Runs blocks until something needs the machine.
    pub(super) fn interpret(&mut self, code: &mut Code) -> Exit {
        loop {
            if (self.signals.attention_needed() || self.instret >= self.pause_at)
                && let Some(exit) = self.pause(code)
            {
                return exit;
            }
            let pc = self.pc;
            let extent = match code.find(pc, self.context.is_user()) {
                Some(extent) => extent,
                None => match self.enter(code) {
                    Ok(extent) => extent,
                    Err(exception) => match self.take_exception(exception) {
                        Ok(()) => continue,
                        Err(fatal) => return Exit::Fatal(fatal),
                    },
                },
            };
            let ops = code.ops(extent);
            // Where control goes next: behind the block, unless an instruction says otherwise.
            let mut next = pc.wrapping_add(extent.bytes());
            let left = self.run_block(ops, pc, &mut next);
            match left {
                Left::End => {
                    self.instret += ops.len() as u64;
                    self.pc = next;
                }
                Left::Branch(done) => {
                    self.instret += u64::from(done);
                    self.pc = next;
                }
                Left::System(word) => {
                    self.instret += ops.len() as u64;
                    self.pc = next;
                    match self.system(word, code) {
                        Ok(None) => {}
                        Ok(Some(exit)) => return exit,
                        Err(exception) => {
                            self.instret -= 1;
                            self.pc = next.wrapping_sub(4);
                            if exception == Exception::IllegalInstruction {
                                self.trap_value = word.into();
                            }
                            if let Err(fatal) = self.take_exception(exception) {
                                return Exit::Fatal(fatal);
                            }
                        }
                    }
                }
                Left::Exception(exception, index) => {
                    if let Err(fatal) = self.interrupt_block(code, exception, index) {
                        return Exit::Fatal(fatal);
                    }
                }
                Left::Spin(index) => {
                    self.instret += ops.len() as u64;
                    self.pc = pc.wrapping_add(self.instruction(code, index).0);
                    if self.is_stuck() {
                        return Exit::Fatal(Fatal::Spin { pc: self.pc });
                    }
                }
            }
        }
    }

    /// Runs the block at virtual address `pc`.
    #[inline(always)]
    fn run_block(&mut self, ops: &[Op], pc: u64, next: &mut u64) -> Left {
        let mut rest = ops.iter();
        while let Some(op) = rest.next() {
            /// The index of the instruction.
            macro_rules! index {
                () => {
                    ops.len() - rest.len() - 1
                };
            }
            /// The value of an access, or out of here.
            macro_rules! attempt {
                ($result:expr) => {
                    match $result {
                        Ok(value) => value,
                        Err(exception) => return Left::Exception(exception, index!()),
                    }
                };
            }
            /// `rd` becomes a function of `rs1` and another operand.
            macro_rules! set {
                ($rd:ident, $value:expr) => {
                    self.registers.set($rd, $value)
                };
            }
            macro_rules! x {
                ($register:ident) => {
                    self.registers.get($register)
                };
            }
            macro_rules! load {
                ($rd:ident, $rs1:ident, $imm:ident, $unsigned:ty, $signed:ty) => {{
                    let address = x!($rs1).wrapping_add($imm as u64);
                    let value = attempt!(self.load::<$unsigned>(address));
                    set!($rd, value as $signed as u64);
                }};
            }
            macro_rules! store {
                ($rs1:ident, $rs2:ident, $imm:ident, $unsigned:ty) => {{
                    let address = x!($rs1).wrapping_add($imm as u64);
                    attempt!(self.store(address, x!($rs2) as $unsigned));
                }};
            }
            macro_rules! branch {
                ($condition:expr, $done:ident, $target:ident) => {
                    if $condition {
                        *next = pc.wrapping_add($target as u64);
                        return Left::Branch($done);
                    }
                };
            }
            match *op {
                Op::Addi { rd, rs1, imm } => set!(rd, x!(rs1).wrapping_add(imm as u64)),
                Op::Slti { rd, rs1, imm } => set!(rd, u64::from((x!(rs1) as i64) < i64::from(imm))),
                Op::Sltiu { rd, rs1, imm } => set!(rd, u64::from(x!(rs1) < imm as u64)),
                Op::Xori { rd, rs1, imm } => set!(rd, x!(rs1) ^ imm as u64),
                Op::Ori { rd, rs1, imm } => set!(rd, x!(rs1) | imm as u64),
                Op::Andi { rd, rs1, imm } => set!(rd, x!(rs1) & imm as u64),
                Op::Slli { rd, rs1, by } => set!(rd, x!(rs1) << (by & 63)),
                Op::Srli { rd, rs1, by } => set!(rd, x!(rs1) >> (by & 63)),
                Op::Srai { rd, rs1, by } => set!(rd, (x!(rs1) as i64 >> (by & 63)) as u64),
                Op::Addiw { rd, rs1, imm } => set!(rd, alu::word((x!(rs1) as u32).wrapping_add(imm as u32))),
                Op::Slliw { rd, rs1, by } => set!(rd, alu::word((x!(rs1) as u32) << (by & 31))),
                Op::Srliw { rd, rs1, by } => set!(rd, alu::word(x!(rs1) as u32 >> (by & 31))),
                Op::Sraiw { rd, rs1, by } => set!(rd, (x!(rs1) as i32 >> (by & 31)) as u64),
                Op::Lui { rd, imm } => set!(rd, imm as u64),
                Op::Auipc { rd, at, imm } => set!(rd, pc.wrapping_add(at.into()).wrapping_add(imm as u64)),

                Op::Add { rd, rs1, rs2 } => set!(rd, x!(rs1).wrapping_add(x!(rs2))),
                Op::Sub { rd, rs1, rs2 } => set!(rd, x!(rs1).wrapping_sub(x!(rs2))),
                Op::Sll { rd, rs1, rs2 } => set!(rd, x!(rs1) << (x!(rs2) & 63)),
                Op::Slt { rd, rs1, rs2 } => set!(rd, u64::from((x!(rs1) as i64) < (x!(rs2) as i64))),
                Op::Sltu { rd, rs1, rs2 } => set!(rd, u64::from(x!(rs1) < x!(rs2))),
                Op::Xor { rd, rs1, rs2 } => set!(rd, x!(rs1) ^ x!(rs2)),
                Op::Srl { rd, rs1, rs2 } => set!(rd, x!(rs1) >> (x!(rs2) & 63)),
                Op::Sra { rd, rs1, rs2 } => set!(rd, (x!(rs1) as i64 >> (x!(rs2) & 63)) as u64),
                Op::Or { rd, rs1, rs2 } => set!(rd, x!(rs1) | x!(rs2)),
                Op::And { rd, rs1, rs2 } => set!(rd, x!(rs1) & x!(rs2)),
                Op::Addw { rd, rs1, rs2 } => {
                    set!(rd, alu::word((x!(rs1) as u32).wrapping_add(x!(rs2) as u32)))
                }
                Op::Subw { rd, rs1, rs2 } => {
                    set!(rd, alu::word((x!(rs1) as u32).wrapping_sub(x!(rs2) as u32)))
                }
                Op::Sllw { rd, rs1, rs2 } => set!(rd, alu::word((x!(rs1) as u32) << (x!(rs2) & 31))),
                Op::Srlw { rd, rs1, rs2 } => set!(rd, alu::word(x!(rs1) as u32 >> (x!(rs2) & 31))),
                Op::Sraw { rd, rs1, rs2 } => set!(rd, (x!(rs1) as i32 >> (x!(rs2) & 31)) as u64),

                Op::Mul { rd, rs1, rs2 } => set!(rd, x!(rs1).wrapping_mul(x!(rs2))),
                Op::Mulh { rd, rs1, rs2 } => set!(rd, alu::mulh(x!(rs1), x!(rs2))),
                Op::Mulhsu { rd, rs1, rs2 } => set!(rd, alu::mulhsu(x!(rs1), x!(rs2))),
                Op::Mulhu { rd, rs1, rs2 } => set!(rd, alu::mulhu(x!(rs1), x!(rs2))),
                Op::Div { rd, rs1, rs2 } => set!(rd, alu::div(x!(rs1), x!(rs2))),
                Op::Divu { rd, rs1, rs2 } => set!(rd, alu::divu(x!(rs1), x!(rs2))),
                Op::Rem { rd, rs1, rs2 } => set!(rd, alu::rem(x!(rs1), x!(rs2))),
                Op::Remu { rd, rs1, rs2 } => set!(rd, alu::remu(x!(rs1), x!(rs2))),
                Op::Mulw { rd, rs1, rs2 } => {
                    set!(rd, alu::word((x!(rs1) as u32).wrapping_mul(x!(rs2) as u32)))
                }
                Op::Divw { rd, rs1, rs2 } => set!(rd, alu::divw(x!(rs1), x!(rs2))),
                Op::Divuw { rd, rs1, rs2 } => set!(rd, alu::divuw(x!(rs1), x!(rs2))),
                Op::Remw { rd, rs1, rs2 } => set!(rd, alu::remw(x!(rs1), x!(rs2))),
                Op::Remuw { rd, rs1, rs2 } => set!(rd, alu::remuw(x!(rs1), x!(rs2))),

                Op::Lb { rd, rs1, imm } => load!(rd, rs1, imm, u8, i8),
                Op::Lh { rd, rs1, imm } => load!(rd, rs1, imm, u16, i16),
                Op::Lw { rd, rs1, imm } => load!(rd, rs1, imm, u32, i32),
                Op::Ld { rd, rs1, imm } => load!(rd, rs1, imm, u64, u64),
                Op::Lbu { rd, rs1, imm } => load!(rd, rs1, imm, u8, u8),
                Op::Lhu { rd, rs1, imm } => load!(rd, rs1, imm, u16, u16),
                Op::Lwu { rd, rs1, imm } => load!(rd, rs1, imm, u32, u32),
                Op::Sb { rs1, rs2, imm } => store!(rs1, rs2, imm, u8),
                Op::Sh { rs1, rs2, imm } => store!(rs1, rs2, imm, u16),
                Op::Sw { rs1, rs2, imm } => store!(rs1, rs2, imm, u32),
                Op::Sd { rs1, rs2, imm } => store!(rs1, rs2, imm, u64),
                Op::Flw { rd, rs1, imm } => {
                    attempt!(self.float_enabled());
                    let address = x!(rs1).wrapping_add(imm as u64);
                    let value = attempt!(self.load::<u32>(address));
                    self.registers.set_float(Format::Single, rd, value.into());
                    self.float_dirty();
                }
                Op::Fld { rd, rs1, imm } => {
                    attempt!(self.float_enabled());
                    load!(rd, rs1, imm, u64, u64);
                    self.float_dirty();
                }
                Op::Fsw { rs1, rs2, imm } => {
                    attempt!(self.float_enabled());
                    store!(rs1, rs2, imm, u32);
                }
                Op::Fsd { rs1, rs2, imm } => {
                    attempt!(self.float_enabled());
                    store!(rs1, rs2, imm, u64);
                }
                Op::Zero { rs1 } => {
                    if !self.zero_enabled() {
                        return Left::Exception(Exception::IllegalInstruction, index!());
                    }
                    attempt!(self.zero_block(x!(rs1)));
                }

                Op::Beq {
                    rs1,
                    rs2,
                    done,
                    target,
                } => branch!(x!(rs1) == x!(rs2), done, target),
                Op::Bne {
                    rs1,
                    rs2,
                    done,
                    target,
                } => branch!(x!(rs1) != x!(rs2), done, target),
                Op::Blt {
                    rs1,
                    rs2,
                    done,
                    target,
                } => {
                    branch!((x!(rs1) as i64) < (x!(rs2) as i64), done, target)
                }
                Op::Bge {
                    rs1,
                    rs2,
                    done,
                    target,
                } => {
                    branch!((x!(rs1) as i64) >= (x!(rs2) as i64), done, target)
                }
                Op::Bltu {
                    rs1,
                    rs2,
                    done,
                    target,
                } => branch!(x!(rs1) < x!(rs2), done, target),
                Op::Bgeu {
                    rs1,
                    rs2,
                    done,
                    target,
                } => branch!(x!(rs1) >= x!(rs2), done, target),
                Op::Jal { rd, target } => {
                    set!(rd, *next);
                    *next = pc.wrapping_add(target as u64);
                }
                Op::Jalr { rd, rs1, imm } => {
                    let target = x!(rs1).wrapping_add(imm as u64) & !1;
                    set!(rd, *next);
                    *next = target;
                }
                Op::Spin => return Left::Spin(index!()),

                Op::LoadReserved { rd, rs1, wide, order } => {
                    attempt!(self.load_reserved(rd, rs1, wide, order));
                }
                Op::StoreConditional { rd, rs1, rs2, wide } => {
                    attempt!(self.store_conditional(rd, rs1, rs2, wide));
                }
                Op::Amo {
                    amo,
                    rd,
                    rs1,
                    rs2,
                    wide,
                } => attempt!(self.amo(amo, rd, rs1, rs2, wide)),
                Op::FenceFull => fence(Ordering::SeqCst),
                Op::FencePartial => fence(Ordering::AcqRel),

                Op::Float(float) => attempt!(self.float(float)),
                Op::Fma {
                    kind,
                    format,
                    rd,
                    rs1,
                    rs2,
                    rs3,
                    rm,
                } => {
                    attempt!(self.fma(kind, format, [rd, rs1, rs2, rs3], rm));
                }

                Op::System { word } => return Left::System(word),
                Op::Breakpoint => return Left::Exception(Exception::Breakpoint, index!()),
                Op::Illegal => return Left::Exception(Exception::IllegalInstruction, index!()),
            }
        }
        Left::End
    }

    /// Looks at all that may have happened meanwhile: requests of other threads, budget, clock, interrupts.
    #[cold]
    #[inline(never)]
    fn pause(&mut self, code: &mut Code) -> Option<Exit> {
        let asked = self.signals.take_attention();
        if asked & attention::FENCE_I != 0 {
            code.fence();
        }
        if asked & attention::SFENCE_VMA != 0 {
            self.forget_translations();
            code.forget_jumps();
        }
        if asked & attention::LEAVE != 0 {
            return Some(Exit::Left);
        }
        if self.instret >= self.budget_end {
            return Some(Exit::Budget);
        }
        self.pause_at = self.budget_end.min(self.instret + SLICE);
        self.update_timer();
        self.take_interrupt();
        None
    }

    /// The block at `pc`, which [`Code::find`] does not know.
    #[cold]
    #[inline(never)]
    fn enter(&mut self, code: &mut Code) -> Result<Extent, Exception> {
        let offset = self.fetch(self.pc)?;
        if let Some(extent) = code.enter(&self.words, offset, self.pc, self.context.is_user()) {
            return Ok(extent);
        }
        // The instruction goes on in the next page, which may be anywhere.
        let low: u16 = self.words.load(offset).unwrap_or(0);
        let behind = self.pc.wrapping_add(2);
        let upper = self.fetch(behind)?;
        let high: u16 = self.words.load(upper).unwrap_or(0);
        Ok(code.enter_crossing(u32::from(high) << 16 | u32::from(low)))
    }

    /// The offset in memory of the instruction at virtual `address`.
    fn fetch(&mut self, address: u64) -> Result<u64, Exception> {
        match self.translate(address, Access::Fetch)? {
            Place::Memory(offset) => Ok(offset),
            Place::Device(_) => Err(self.fail(Exception::InstructionAccessFault, address)),
        }
    }

    /// Takes the exception of instruction number `index` of a block.
    #[cold]
    #[inline(never)]
    fn interrupt_block(&mut self, code: &Code, exception: Exception, index: usize) -> Result<(), Fatal> {
        let (offset, word) = self.instruction(code, index);
        self.instret += index as u64;
        self.pc = self.pc.wrapping_add(offset);
        match exception {
            Exception::IllegalInstruction => self.trap_value = word.into(),
            Exception::Breakpoint => self.trap_value = self.pc,
            _ => {}
        }
        self.take_exception(exception)
    }

    /// Instruction number `index` of the block at `pc`, which has just been run: its offset in bytes, and the instruction.
    fn instruction(&self, code: &Code, index: usize) -> (u64, u32) {
        // What is not to be found is an instruction that crosses a page border.
        let extent = code.find(self.pc, self.context.is_user());
        code.instruction(extent.unwrap_or(CROSSING), index)
    }

    /// Whether a jump to itself never ends: no interrupt can be taken.
    fn is_stuck(&self) -> bool {
        self.privilege == Privilege::Supervisor && self.sstatus & status::SIE == 0
    }
}
