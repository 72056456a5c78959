//! The legacy interface (section 4.1.4.10): the registers of the I/O BAR, and what a legacy driver finds at a device that
//! is not for it.

use ringwright_spec::Status;
use ringwright_spec::pci::legacy::{self as register, QUEUE_ALIGN};

use super::Function;

impl Function {
    /// Reads as what the registers are now, whatever the width. A read that includes the ISR status resets it.
    pub(super) fn read_legacy(&mut self, offset: u64, data: &mut [u8]) {
        let config = register::config_offset(self.interrupts.msix.is_enabled());
        if let Some(offset) = offset.checked_sub(config) {
            return self.core.read_config(offset, data);
        }
        let registers = self.legacy_registers();
        for (byte, offset) in data.iter_mut().zip(offset..config) {
            *byte = match offset {
                register::ISR_STATUS => self.interrupts.take_isr(),
                _ => registers[offset as usize],
            };
        }
    }

    /// A write of one register, or of the configuration space.
    pub(super) fn write_legacy(&mut self, offset: u64, data: &[u8]) {
        let msix = self.interrupts.msix.is_enabled();
        if let Some(offset) = offset.checked_sub(register::config_offset(msix)) {
            return self.core.write_config(offset, data);
        }
        let queue = self.selectors.queue;
        match (offset, data) {
            (register::DRIVER_FEATURES, [a, b, c, d]) => {
                self.core
                    .set_driver_features(0, u32::from_le_bytes([*a, *b, *c, *d]));
            }
            (register::QUEUE_ADDRESS, [a, b, c, d]) => {
                let page = u32::from_le_bytes([*a, *b, *c, *d]);
                let address = (page != 0).then_some(u64::from(page) * u64::from(QUEUE_ALIGN));
                self.core.set_legacy_queue(queue, address, QUEUE_ALIGN);
            }
            (register::DEVICE_STATUS, [0]) => self.reset_device(),
            (register::DEVICE_STATUS, [status]) => self.core.write_status(Status(*status)),
            (_, [low, high]) => {
                let value = u16::from_le_bytes([*low, *high]);
                match offset {
                    register::QUEUE_SELECT => self.selectors.queue = value,
                    register::QUEUE_NOTIFY => self.core.notify(value),
                    register::CONFIG_MSIX_VECTOR => self.interrupts.set_config_vector(value),
                    register::QUEUE_MSIX_VECTOR => self.interrupts.set_queue_vector(queue, value),
                    _ => {}
                }
            }
            _ => tracing::debug!(offset, length = data.len(), "a write that is not of one register"),
        }
    }

    /// A driver that takes the device for a legacy one resets it first: it shall find nothing
    /// (`dev:pci:non-transitional-device-with-legacy-driver:01`).
    pub(super) fn guard_against_legacy(&mut self, offset: u64, data: &[u8]) {
        if (offset, data) == (register::DEVICE_STATUS, &[0]) {
            tracing::warn!("a legacy driver tries to drive a device that is not transitional");
            self.hidden = true;
        }
    }

    /// The registers, without the ISR status. Those of MSI-X are there only while that is enabled.
    fn legacy_registers(&self) -> [u8; register::config_offset(true) as usize] {
        let mut registers = [0; register::config_offset(true) as usize];
        let mut put = |offset: u64, value: &[u8]| {
            registers[offset as usize..][..value.len()].copy_from_slice(value);
        };
        let queue = self.selectors.queue;
        let layout = self.core.queue_layout(queue);
        let page = match self.core.queue_is_enabled(queue) {
            true => layout.page_frame_number(QUEUE_ALIGN).unwrap_or_default(),
            false => 0,
        };
        put(
            register::DEVICE_FEATURES,
            &self.core.offered_features().word(0).to_le_bytes(),
        );
        put(
            register::DRIVER_FEATURES,
            &self.core.driver_features().word(0).to_le_bytes(),
        );
        put(register::QUEUE_ADDRESS, &page.to_le_bytes());
        put(register::QUEUE_SIZE, &layout.size.to_le_bytes());
        put(register::QUEUE_SELECT, &queue.to_le_bytes());
        put(register::DEVICE_STATUS, &[self.core.status().0]);
        put(
            register::CONFIG_MSIX_VECTOR,
            &self.interrupts.config_vector().to_le_bytes(),
        );
        put(
            register::QUEUE_MSIX_VECTOR,
            &self.interrupts.queue_vector(queue).to_le_bytes(),
        );
        registers
    }
}
