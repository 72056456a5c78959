//! The instructions of opcode SYSTEM, and FENCE.I.

use super::code::Code;
use super::core::Core;
use super::decode::Word;
use super::exception::Exception;
use super::exit::Exit;
use super::interrupt_file::Update;
use super::op::SINK;
use super::state::Privilege;

impl Core {
    /// Performs `word`; `pc` is already behind it. Says whether the machine is needed.
    #[inline(never)]
    pub(super) fn system(&mut self, word: u32, code: &mut Code) -> Result<Option<Exit>, Exception> {
        let fields = Word(word);
        // FENCE.I is the one that is not of opcode SYSTEM.
        if word & 0x7f == 0x0f {
            code.fence();
            return Ok(None);
        }
        match fields.funct3() {
            0 => self.privileged(word, code),
            4 => Err(Exception::IllegalInstruction),
            _ => {
                self.access_csr(fields)?;
                Ok(None)
            }
        }
    }

    /// CSRRW, CSRRS, CSRRC and their immediate forms.
    fn access_csr(&mut self, word: Word) -> Result<(), Exception> {
        let operand = match word.funct3() & 4 {
            0 => self.registers.get(word.rs1()),
            _ => word.rs1().into(),
        };
        let update = match (word.funct3() & 3, word.rs1()) {
            (1, _) => Update::Write(operand),
            (_, 0) => Update::Keep,
            (2, _) => Update::Set(operand),
            _ => Update::Clear(operand),
        };
        let old = self.csr((word.0 >> 20) as u16, update);
        self.registers
            .set(word.rd(), old.ok_or(Exception::IllegalInstruction)?);
        Ok(())
    }

    /// ECALL, SRET, WFI, SFENCE.VMA.
    fn privileged(&mut self, word: u32, code: &mut Code) -> Result<Option<Exit>, Exception> {
        let supervisor = self.privilege == Privilege::Supervisor;
        match word {
            0x0000_0073 if supervisor => return Ok(Some(Exit::Ecall)),
            0x0000_0073 => {
                self.trap_value = 0;
                return Err(Exception::UserEnvironmentCall);
            }
            // In user mode, the others are illegal.
            _ if !supervisor => return Err(Exception::IllegalInstruction),
            0x1020_0073 => self.return_from_trap(),
            0x1050_0073 => {
                self.update_timer();
                if !self.awake() {
                    return Ok(Some(Exit::Wfi));
                }
            }
            _ if word >> 25 == 9 && Word(word).rd() == SINK => {
                // With an address, only that; an address space number does not matter, as there is just one.
                let address = self.registers.get(Word(word).rs1());
                if Word(word).rs1() != 0 && self.forget_translation(address) {
                    code.forget_jumps_into(address);
                } else {
                    self.forget_translations();
                    code.forget_jumps();
                }
            }
            _ => return Err(Exception::IllegalInstruction),
        }
        Ok(None)
    }
}
