//! Where a structure is reached: in a mapped BAR, or through the window in configuration space (section 4.1.4.9).

use ringwright_memory::Width;
use ringwright_spec::pci::CfgCap;

use super::Region;
use crate::transport::{Registers, TransportError};

/// A function's configuration space, and the window into its BARs that may be there.
#[derive(Debug)]
pub(super) struct Access<C> {
    pub config: C,
    /// Offset of the PCI configuration access capability.
    pub window: Option<u64>,
}

/// A structure within a BAR.
#[derive(Debug)]
pub(super) struct Place<R> {
    region: Region,
    /// Its registers, if they are reached directly.
    mapped: Option<R>,
}

impl<R: Registers> Place<R> {
    /// The first of `regions` that `map` leads to, or else the first, if there is a window.
    pub fn find<E: Copy>(
        regions: &[(Region, E)],
        map: &mut impl FnMut(&Region) -> Option<R>,
        window: Option<u64>,
    ) -> Option<(Self, E)> {
        let mapped = regions.iter().find_map(|(region, extra)| {
            let registers = region.address.and_then(|_| map(region))?;
            let mapped = Some(registers);
            let region = *region;
            Some((Self { region, mapped }, *extra))
        });
        mapped.or_else(|| {
            window?;
            let (region, extra) = *regions.first()?;
            let mapped = None;
            Some((Self { region, mapped }, extra))
        })
    }

    /// First byte within the BAR.
    pub fn offset(&self) -> u64 {
        self.region.offset
    }

    /// Length in bytes.
    pub fn length(&self) -> u64 {
        self.region.length
    }

    /// Reads the register at `offset` of the structure.
    #[inline]
    pub fn read(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        width: Width,
    ) -> Result<u32, TransportError> {
        self.check(offset, width)?;
        match &mut self.mapped {
            Some(registers) => registers.read(offset, width),
            None => {
                let data = access.aim(&self.region, offset, width)?;
                access.config.read(data, width)
            }
        }
    }

    /// Writes the register at `offset` of the structure.
    #[inline]
    pub fn write(
        &mut self,
        access: &mut Access<impl Registers>,
        offset: u64,
        width: Width,
        value: u32,
    ) -> Result<(), TransportError> {
        self.check(offset, width)?;
        match &mut self.mapped {
            Some(registers) => registers.write(offset, width, value),
            None => {
                let data = access.aim(&self.region, offset, width)?;
                access.config.write(data, width, value)
            }
        }
    }

    #[inline]
    fn check(&self, offset: u64, width: Width) -> Result<(), TransportError> {
        let room = self.region.length.checked_sub(offset);
        match room.is_some_and(|room| room >= width.bytes() as u64) {
            true => Ok(()),
            false => Err(TransportError::Register { offset, width }),
        }
    }
}

impl<C: Registers> Access<C> {
    /// Aims the window at a register; returns where in configuration space it is now. The access lies within a structure
    /// that some other capability names (`drv:pci:pci-configuration-access-capability:02`).
    fn aim(&mut self, region: &Region, offset: u64, width: Width) -> Result<u64, TransportError> {
        let lost = TransportError::Unsupported("a window into the BARs");
        let window = self.window.ok_or(lost)?;
        // The field has 32 bits.
        let offset = region.offset.checked_add(offset).map(u32::try_from);
        let Some(Ok(offset)) = offset else {
            return Err(lost);
        };
        // A multiple of the width, as structures begin at multiples of their widest register's
        // (drv:pci:pci-configuration-access-capability:01).
        // drv:pci:virtio-structure-pci-capabilities:07: of no other capability is anything written.
        self.config.write8(window + BAR, region.bar)?;
        self.config.write32(window + LENGTH, width as u32)?;
        self.config.write32(window + OFFSET, offset)?;
        Ok(window + DATA)
    }
}

const BAR: u64 = core::mem::offset_of!(CfgCap, cap.bar) as u64;
const OFFSET: u64 = core::mem::offset_of!(CfgCap, cap.offset) as u64;
const LENGTH: u64 = core::mem::offset_of!(CfgCap, cap.length) as u64;
const DATA: u64 = core::mem::offset_of!(CfgCap, pci_cfg_data) as u64;
