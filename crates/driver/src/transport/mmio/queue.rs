//! Where a virtqueue lies, told to a device (sections 4.2.3.2 and 4.2.4). The virtqueue is selected and not in use.

use ringwright_ring::Layout;
use ringwright_spec::mmio::{self as spec, legacy};

use super::Mmio;
use crate::transport::legacy::{PAGE_SIZE, first_page};
use crate::transport::{Registers, TransportError};

impl<R: Registers> Mmio<R> {
    /// Whether the selected virtqueue is in use.
    pub(super) fn queue_in_use(&mut self) -> Result<bool, TransportError> {
        let register = match self.legacy {
            Some(_) => legacy::QUEUE_PFN,
            None => spec::QUEUE_READY,
        };
        Ok(self.registers.read32(register)? != 0)
    }

    pub(super) fn enable_modern_queue(&mut self, layout: &Layout) -> Result<(), TransportError> {
        let registers = &mut self.registers;
        registers.write32(spec::QUEUE_SIZE, layout.size.into())?;
        for (low, high, address) in [
            (
                spec::QUEUE_DESC_LOW,
                spec::QUEUE_DESC_HIGH,
                layout.descriptor_area,
            ),
            (
                spec::QUEUE_DRIVER_LOW,
                spec::QUEUE_DRIVER_HIGH,
                layout.driver_area,
            ),
            (
                spec::QUEUE_DEVICE_LOW,
                spec::QUEUE_DEVICE_HIGH,
                layout.device_area,
            ),
        ] {
            registers.write32(low, address as u32)?;
            registers.write32(high, (address >> 32) as u32)?;
        }
        registers.write32(spec::QUEUE_READY, 1)
    }

    pub(super) fn enable_legacy_queue(&mut self, layout: &Layout) -> Result<(), TransportError> {
        let page = first_page(layout)?;
        self.registers.write32(legacy::QUEUE_SIZE, layout.size.into())?;
        self.registers.write32(legacy::QUEUE_ALIGN, PAGE_SIZE)?;
        self.registers.write32(legacy::QUEUE_PFN, page)
    }
}
