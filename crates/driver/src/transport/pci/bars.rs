//! Base address registers: what a function asks for, and what it has been given.

use alloc::vec::Vec;

use ringwright_spec::pci::header::{self, bar, bridge, command};

use crate::transport::{Registers, TransportError};

/// The address spaces of PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// I/O space: ports, on processors that have them.
    Io,
    /// Memory space.
    Memory,
}

/// A base address register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Number of the (first) register.
    pub index: u8,
    /// The address space that it is for.
    pub space: Space,
    /// Address on the bus; 0 if it has been given none.
    pub address: u64,
    /// Length in bytes, a power of 2.
    pub length: u64,
    /// Whether the address has 64 bits.
    pub is_64_bit: bool,
    /// Whether reads have no side effects.
    pub is_prefetchable: bool,
}

impl Bar {
    /// The base address registers of the function with configuration space `config`. While they are measured the function
    /// does not answer in I/O and memory space.
    pub fn read_all(config: &mut impl Registers) -> Result<Vec<Self>, TransportError> {
        let layout = config.read8(header::HEADER_TYPE as u64)? & bridge::LAYOUT;
        let count = match layout {
            bridge::TYPE => bridge::BARS,
            _ => header::BARS,
        };
        let before = config.read16(header::COMMAND as u64)?;
        config.write16(header::COMMAND as u64, before & !(command::IO | command::MEMORY))?;
        let bars = Self::measure_all(config, count);
        config.write16(header::COMMAND as u64, before)?;
        bars
    }

    /// Gives it an address, a multiple of its length.
    pub(super) fn assign(&mut self, config: &mut impl Registers, address: u64) -> Result<(), TransportError> {
        config.write32(register(self.index), address as u32)?;
        if self.is_64_bit {
            config.write32(register(self.index) + 4, (address >> 32) as u32)?;
        }
        self.address = address;
        Ok(())
    }

    fn measure_all(config: &mut impl Registers, count: u8) -> Result<Vec<Self>, TransportError> {
        let mut bars = Vec::new();
        let mut index = 0;
        while index < count {
            let bar = Self::measure(config, index, count)?;
            index += match bar {
                Some(Self { is_64_bit: true, .. }) => 2,
                _ => 1,
            };
            bars.extend(bar);
        }
        Ok(bars)
    }

    fn measure(config: &mut impl Registers, index: u8, count: u8) -> Result<Option<Self>, TransportError> {
        let low = config.read32(register(index))?;
        let is_io = low & bar::IO != 0;
        // What follows the last register is something else.
        let is_64_bit = !is_io && low & bar::MEMORY_WIDTH == bar::MEMORY_64 && index + 1 < count;
        let flags = if is_io { bar::IO_FLAGS } else { bar::MEMORY_FLAGS };
        let mut address = u64::from(low & !flags);
        let mut mask = u64::from(ask(config, register(index))? & !flags);
        if is_64_bit {
            let upper = register(index) + 4;
            address |= u64::from(config.read32(upper)?) << 32;
            mask |= u64::from(ask(config, upper)?) << 32;
        }
        // The lowest bit that can be written is the length, whatever bits a function has above it.
        Ok((mask != 0).then(|| Self {
            index,
            space: if is_io { Space::Io } else { Space::Memory },
            address,
            length: 1 << mask.trailing_zeros(),
            is_64_bit,
            is_prefetchable: !is_io && low & bar::PREFETCHABLE != 0,
        }))
    }
}

/// The bits of a register that can be written.
fn ask(config: &mut impl Registers, register: u64) -> Result<u32, TransportError> {
    let before = config.read32(register)?;
    config.write32(register, u32::MAX)?;
    let bits = config.read32(register);
    config.write32(register, before)?;
    bits
}

fn register(index: u8) -> u64 {
    header::BAR0 as u64 + 4 * u64::from(index)
}
