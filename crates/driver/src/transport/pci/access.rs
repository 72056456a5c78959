//! How the configuration spaces of a PCI hierarchy are reached.

use alloc::sync::Arc;
use core::fmt;
use core::ops::RangeInclusive;

use ringwright_memory::{Lock, Width};
use ringwright_spec::pci::header;

use crate::transport::registers::Part;
use crate::transport::{Registers, TransportError};

/// Where a function is: bus, device (0 to 31) and function (0 to 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address(u16);

impl Address {
    /// `None` if there is no such device or function number.
    pub const fn new(bus: u8, device: u8, function: u8) -> Option<Self> {
        if device > 31 || function > 7 {
            return None;
        }
        Some(Self((bus as u16) << 8 | (device as u16) << 3 | function as u16))
    }

    /// The bus.
    pub const fn bus(self) -> u8 {
        (self.0 >> 8) as u8
    }

    /// The device on the bus.
    pub const fn device(self) -> u8 {
        self.0 as u8 >> 3
    }

    /// The function of the device.
    pub const fn function(self) -> u8 {
        self.0 as u8 & 7
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}:{:02x}.{}", self.bus(), self.device(), self.function())
    }
}

/// A way to configuration spaces.
pub trait ConfigAccess {
    /// The configuration space of one function: where there is none, all bits read as ones.
    type Function: Registers;

    /// The configuration space of the function at `address`; `None` if this way does not lead to its bus.
    fn function(&self, address: Address) -> Option<Self::Function>;
}

/// The enhanced configuration access mechanism of PCI Express: all configuration spaces in memory, one after the other.
#[derive(Clone, Debug)]
pub struct Ecam<R> {
    registers: R,
    buses: RangeInclusive<u8>,
}

impl<R: Registers + Clone> Ecam<R> {
    /// The configuration spaces of `buses` in `registers`, of which each bus takes 1 MiB.
    pub fn new(registers: R, buses: RangeInclusive<u8>) -> Self {
        Self { registers, buses }
    }
}

impl<R: Registers + Clone> ConfigAccess for Ecam<R> {
    type Function = Part<R>;

    fn function(&self, address: Address) -> Option<Part<R>> {
        if !self.buses.contains(&address.bus()) {
            return None;
        }
        let number = u64::from(address.0) - (u64::from(*self.buses.start()) << 8);
        let size = header::EXPRESS_SIZE as u64;
        Part::new(self.registers.clone(), number * size, size)
    }
}

/// Configuration access mechanism 1: an address register and a data register, on x86 at ports 0xcf8 and 0xcfc.
#[derive(Debug)]
pub struct Cam<R>(Arc<Lock<R>>);

impl<R: Registers> Cam<R> {
    /// By `registers`: the address register at offset 0, the data register at offset 4. Whoever else uses them has to be
    /// kept away.
    pub fn new(registers: R) -> Self {
        Self(Arc::new(Lock::new(registers)))
    }
}

impl<R> Clone for Cam<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Registers> ConfigAccess for Cam<R> {
    type Function = CamFunction<R>;

    fn function(&self, address: Address) -> Option<CamFunction<R>> {
        let cam = self.clone();
        Some(CamFunction { cam, address })
    }
}

/// One configuration space, reached by a [`Cam`]: the first 256 bytes of it.
#[derive(Clone, Debug)]
pub struct CamFunction<R> {
    cam: Cam<R>,
    address: Address,
}

impl<R: Registers> CamFunction<R> {
    /// Has the data register show the four bytes around `offset`; calls `access` with where `offset` is now.
    fn select<A>(
        &self,
        offset: u64,
        width: Width,
        access: impl FnOnce(&mut R, u64) -> Result<A, TransportError>,
    ) -> Result<A, TransportError> {
        const ENABLE: u32 = 1 << 31;
        let length = width.bytes() as u64;
        if !offset.is_multiple_of(length) || offset > header::CONVENTIONAL_SIZE as u64 - length {
            return Err(TransportError::Register { offset, width });
        }
        let registers = &mut *self.cam.0.lock();
        let within = offset as u32 & !3;
        registers.write32(0, ENABLE | u32::from(self.address.0) << 8 | within)?;
        access(registers, 4 + (offset & 3))
    }
}

impl<R: Registers> Registers for CamFunction<R> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        self.select(offset, width, |registers, at| registers.read(at, width))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        self.select(offset, width, |registers, at| registers.write(at, width, value))
    }
}
