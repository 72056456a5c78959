//! Legacy interface of PCI (section 4.1.4.10): the registers at the start of BAR0, an I/O region.
//!
//! They are little-endian. The device-specific configuration follows them, in the guest's byte order.

registers! {
    /// The legacy common configuration; the last two registers are there only while MSI-X is enabled.
    REGISTERS {
        /// Feature bits 0 to 31 that the device offers.
        DEVICE_FEATURES = 0, 4, Read, "Device Features bits 0:31";
        /// Feature bits 0 to 31 that the driver accepts.
        DRIVER_FEATURES = 4, 4, ReadWrite, "Driver Features bits 0:31";
        /// Address of the selected virtqueue, divided by [`QUEUE_ALIGN`].
        QUEUE_ADDRESS = 8, 4, ReadWrite, "Queue Address";
        /// Size of the selected virtqueue, which the driver cannot change; 0 if there is none.
        QUEUE_SIZE = 12, 2, Read, "queue_size";
        /// Which virtqueue the queue registers are about.
        QUEUE_SELECT = 14, 2, ReadWrite, "queue_select";
        /// Index of the virtqueue that has available buffers.
        QUEUE_NOTIFY = 16, 2, ReadWrite, "Queue Notify";
        /// [`Status`](crate::Status); writing 0 resets the device.
        DEVICE_STATUS = 18, 1, ReadWrite, "Device Status";
        /// [`Isr`](super::Isr); reading resets it.
        ISR_STATUS = 19, 1, Read, "ISR Status";
        /// MSI-X vector of configuration change notifications.
        CONFIG_MSIX_VECTOR = 20, 2, ReadWrite, "config_msix_vector";
        /// MSI-X vector of the selected virtqueue.
        QUEUE_MSIX_VECTOR = 22, 2, ReadWrite, "queue_msix_vector";
    }
}

/// Offset of the device-specific configuration: it moves when MSI-X is enabled or disabled.
pub const fn config_offset(msix_enabled: bool) -> u64 {
    if msix_enabled { 24 } else { 20 }
}

/// Queue Align on PCI, and the unit of [`QUEUE_ADDRESS`].
pub const QUEUE_ALIGN: u32 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn configuration_follows_the_registers() {
        let end = |n: usize| REGISTERS[n].offset + u64::from(REGISTERS[n].size);
        assert_eq!(config_offset(true), end(REGISTERS.len() - 1));
        assert_eq!(config_offset(false), end(REGISTERS.len() - 3));
    }
}
