//! Where things are: the physical address map, and the interrupt sources.

use crate::interrupts::PAGE;
use crate::rtc;

/// The most harts a machine can have.
pub const MAX_HARTS: usize = 32;

/// The most devices on virtio-mmio.
pub const MMIO_SLOTS: usize = 32;

/// The most functions on the PCI bus: device numbers 0 to 31, function 0 of each.
pub const PCI_SLOTS: usize = 32;

/// A range of physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First address.
    pub base: u64,
    /// Length in bytes.
    pub length: u64,
}

impl Window {
    const fn new(base: u64, length: u64) -> Self {
        Self { base, length }
    }

    /// How far into the window an address is, if it is in it.
    #[inline]
    pub fn offset(self, address: u64) -> Option<u64> {
        address
            .checked_sub(self.base)
            .filter(|offset| *offset < self.length)
    }
}

/// The real-time clock.
pub const RTC: Window = Window::new(0x0010_1000, rtc::SIZE);

/// PCI's I/O space; its addresses begin at 0.
pub const PCI_IO: Window = Window::new(0x0300_0000, 0x1_0000);

/// The control region of the APLIC.
pub const APLIC: Window = Window::new(0x0d00_0000, 0x4000);

/// The virtio-mmio slots, [`MMIO_STRIDE`] apart.
pub const MMIO: Window = Window::new(0x1000_1000, MMIO_SLOTS as u64 * MMIO_STRIDE);

/// Distance from one virtio-mmio slot to the next.
pub const MMIO_STRIDE: u64 = 0x1000;

/// The pages of the IMSIC.
pub const IMSIC: Window = Window::new(0x2800_0000, MAX_HARTS as u64 * PAGE);

/// PCI's configuration space: bus 0 alone, 4096 bytes for each function.
pub const PCI_CONFIG: Window = Window::new(0x3000_0000, 1 << 20);

/// PCI's memory space below 4 GiB; bus addresses are physical ones.
pub const PCI_MEMORY_32: Window = Window::new(0x4000_0000, 0x4000_0000);

/// The machine's memory, as much of it as there is.
pub const RAM: Window = Window::new(0x8000_0000, PCI_MEMORY_64.base - 0x8000_0000);

/// PCI's memory space for 64-bit BARs; bus addresses are physical ones.
pub const PCI_MEMORY_64: Window = Window::new(0x40_0000_0000, 0x40_0000_0000);

/// Interrupt source of the real-time clock.
pub const RTC_SOURCE: u32 = 1;

/// Interrupt source of PCI's INTA on device 0; three more follow.
pub const INTX_SOURCE: u32 = 4;

/// Interrupt source of the first virtio-mmio slot; the others follow.
pub const MMIO_SOURCE: u32 = 8;

/// The registers of a virtio-mmio slot.
pub const fn mmio_slot(slot: usize) -> Window {
    Window::new(MMIO.base + slot as u64 * MMIO_STRIDE, MMIO_STRIDE)
}

/// Interrupt source of a virtio-mmio slot.
pub const fn mmio_source(slot: usize) -> u32 {
    MMIO_SOURCE + slot as u32
}

/// Interrupt source that a PCI device's pin, 0 for INTA, is wired to.
pub const fn intx_source(device: usize, pin: usize) -> u32 {
    INTX_SOURCE + ((device + pin) % 4) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupts::{IDENTITIES, SOURCES};

    #[test]
    fn nothing_overlaps() {
        let mut windows = [
            RTC,
            PCI_IO,
            APLIC,
            MMIO,
            IMSIC,
            PCI_CONFIG,
            PCI_MEMORY_32,
            RAM,
            PCI_MEMORY_64,
        ];
        windows.sort_by_key(|window| window.base);
        for pair in windows.windows(2) {
            assert!(pair[0].base + pair[0].length <= pair[1].base, "{pair:x?}");
            assert_eq!(pair[1].offset(pair[1].base - 1), None);
            assert_eq!(pair[0].offset(pair[0].base + pair[0].length), None);
        }
    }

    #[test]
    fn every_source_exists() {
        assert!(mmio_source(MMIO_SLOTS - 1) <= SOURCES);
        const { assert!(INTX_SOURCE + 3 < MMIO_SOURCE && SOURCES <= IDENTITIES) };
        // The standard rotation: device 1's INTA is device 0's INTB.
        assert_eq!(intx_source(1, 0), intx_source(0, 1));
        assert_eq!(intx_source(31, 3), INTX_SOURCE + 2);
    }
}
