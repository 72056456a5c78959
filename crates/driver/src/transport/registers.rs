//! The seam below the transports: how the registers of a device are reached.

use alloc::boxed::Box;

use ringwright_memory::{MappedRegisters, NoRegister, Width};

use crate::TransportError;

/// A range of registers of one device: those of a memory-mapped device, a BAR, or a PCI function's configuration space.
///
/// A program on the machine itself uses [`MappedRegisters`] or, on x86, `PortRegisters`. Another process reaches the
/// registers through whatever joins it to the device, which can fail.
pub trait Registers {
    /// Reads the register of `width` at `offset`, as the number that its bytes make in little-endian order. Bytes beyond
    /// the width are 0.
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError>;

    /// Writes the low bytes of `value` to the register of `width` at `offset`, the lowest byte first.
    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError>;

    /// Reads 8 bits.
    fn read8(&mut self, offset: u64) -> Result<u8, TransportError> {
        Ok(self.read(offset, Width::One)? as u8)
    }

    /// Reads 16 bits.
    fn read16(&mut self, offset: u64) -> Result<u16, TransportError> {
        Ok(self.read(offset, Width::Two)? as u16)
    }

    /// Reads 32 bits.
    fn read32(&mut self, offset: u64) -> Result<u32, TransportError> {
        self.read(offset, Width::Four)
    }

    /// Writes 8 bits.
    fn write8(&mut self, offset: u64, value: u8) -> Result<(), TransportError> {
        self.write(offset, Width::One, value.into())
    }

    /// Writes 16 bits.
    fn write16(&mut self, offset: u64, value: u16) -> Result<(), TransportError> {
        self.write(offset, Width::Two, value.into())
    }

    /// Writes 32 bits.
    fn write32(&mut self, offset: u64, value: u32) -> Result<(), TransportError> {
        self.write(offset, Width::Four, value)
    }
}

impl Registers for MappedRegisters {
    #[inline]
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        Ok(MappedRegisters::read(self, offset, width)?)
    }

    #[inline]
    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        Ok(MappedRegisters::write(self, offset, width, value)?)
    }
}

#[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
impl Registers for ringwright_memory::PortRegisters {
    #[inline]
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        Ok(Self::read(self, offset, width)?)
    }

    #[inline]
    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        Ok(Self::write(self, offset, width, value)?)
    }
}

impl<R: Registers + ?Sized> Registers for &mut R {
    #[inline]
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        (**self).read(offset, width)
    }

    #[inline]
    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        (**self).write(offset, width, value)
    }
}

impl<R: Registers + ?Sized> Registers for Box<R> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        (**self).read(offset, width)
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        (**self).write(offset, width, value)
    }
}

/// A part of a larger range of registers.
#[derive(Clone, Debug)]
pub struct Part<R> {
    registers: R,
    start: u64,
    length: u64,
}

impl<R: Registers> Part<R> {
    /// The `length` bytes of `registers` from `start` on. `None` if they do not end within 64 bits.
    pub fn new(registers: R, start: u64, length: u64) -> Option<Self> {
        start.checked_add(length)?;
        Some(Self {
            registers,
            start,
            length,
        })
    }

    fn offset(&self, offset: u64, width: Width) -> Result<u64, TransportError> {
        match offset.checked_add(width.bytes() as u64) {
            Some(end) if end <= self.length => Ok(self.start + offset),
            _ => Err(TransportError::Register { offset, width }),
        }
    }
}

impl<R: Registers> Registers for Part<R> {
    #[inline]
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let offset = self.offset(offset, width)?;
        self.registers.read(offset, width)
    }

    #[inline]
    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let offset = self.offset(offset, width)?;
        self.registers.write(offset, width, value)
    }
}

impl From<NoRegister> for TransportError {
    fn from(refused: NoRegister) -> Self {
        Self::Register {
            offset: refused.offset,
            width: refused.width,
        }
    }
}
