//! Registers seen through a lens.

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;

use super::Lens;

/// Registers that a lens lies before, if there is one.
#[derive(Clone)]
pub(crate) struct LensRegisters<R> {
    registers: R,
    name: &'static str,
    lens: Option<&'static Lens>,
}

impl<R> LensRegisters<R> {
    pub fn new(registers: R, name: &'static str, lens: Option<&'static Lens>) -> Self {
        Self {
            registers,
            name,
            lens,
        }
    }
}

impl<R: Registers> Registers for LensRegisters<R> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let value = self.registers.read(offset, width)?;
        Ok(match self.lens.and_then(|lens| lens.read) {
            Some(read) => read(self.name, offset, width, value),
            None => value,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        match self.lens.and_then(|lens| lens.write) {
            Some(write) => match write(self.name, offset, width, value) {
                Some(value) => self.registers.write(offset, width, value),
                None => Ok(()),
            },
            None => self.registers.write(offset, width, value),
        }
    }
}
