//! Registers seen through a lens.

use std::sync::{Arc, Mutex, PoisonError};

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;

use super::{Lens, Shadow};

/// Registers that a lens lies before, if there is one.
#[derive(Clone)]
pub(crate) struct LensRegisters<R> {
    registers: R,
    name: &'static str,
    lens: Option<&'static Lens>,
    shadow: Arc<Mutex<Shadow>>,
}

impl<R> LensRegisters<R> {
    /// `shadow` is that of all registers of the device.
    pub fn new(
        registers: R,
        name: &'static str,
        lens: Option<&'static Lens>,
        shadow: &Arc<Mutex<Shadow>>,
    ) -> Self {
        Self {
            registers,
            name,
            lens,
            shadow: shadow.clone(),
        }
    }
}

impl<R: Registers> Registers for LensRegisters<R> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let value = self.registers.read(offset, width)?;
        Ok(match self.lens.and_then(|lens| lens.read) {
            Some(see) => {
                let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
                see(&mut shadow, self.name, offset, width, value)
            }
            None => value,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let heard = match self.lens {
            None => Some(value),
            Some(lens) => {
                let mut shadow = self.shadow.lock().unwrap_or_else(PoisonError::into_inner);
                let heard = lens.write.map_or(Some(value), |hear| {
                    hear(&mut shadow, self.name, offset, width, value)
                });
                shadow.written.insert((self.name, offset), value);
                heard
            }
        };
        match heard {
            Some(value) => self.registers.write(offset, width, value),
            None => Ok(()),
        }
    }
}
