//! The PCI configuration access capability: a window from the configuration space into the virtio structures.

use ringwright_spec::pci::CfgCap;
use zerocopy::FromBytes;

use super::Function;
use super::bars::STRUCTURES_BAR;
use super::config::touches;

/// Offset of the data within the capability.
const DATA: usize = std::mem::offset_of!(CfgCap, pci_cfg_data);

impl Function {
    /// If the driver reads the data of the window, fills it (`dev:pci:pci-configuration-access-capability:03`).
    pub(super) fn read_through_window(&mut self, offset: usize, length: usize) {
        let Some((place, target, width)) = self.window(offset, length) else {
            return;
        };
        let mut data = [0; 4];
        self.bar_read(STRUCTURES_BAR, target, &mut data[..width]);
        self.space.set(place, &data[..width]);
    }

    /// If the driver has written the data of the window, passes it on
    /// (`dev:pci:pci-configuration-access-capability:02`).
    pub(super) fn write_through_window(&mut self, offset: usize, length: usize) {
        let Some((place, target, width)) = self.window(offset, length) else {
            return;
        };
        let data = self.space.u32(place).to_le_bytes();
        self.bar_write(STRUCTURES_BAR, target, &data[..width]);
    }

    /// If the access touches the data of the window, and the window leads to where it may: where the data is, the offset
    /// in the BAR of the structures, and the width.
    fn window(&self, offset: usize, length: usize) -> Option<(usize, u64, usize)> {
        let start = self.offsets.window?;
        let place = start + DATA;
        if !touches(offset, length, place, 4) {
            return None;
        }
        let (cap, _) = CfgCap::ref_from_prefix(self.space.bytes().get(start..)?).ok()?;
        let (target, width) = (cap.cap.offset.get(), cap.cap.length.get());
        // drv:pci:pci-configuration-access-capability:01, drv:pci:pci-configuration-access-capability:02
        let legal =
            cap.cap.bar == STRUCTURES_BAR && matches!(width, 1 | 2 | 4) && target.is_multiple_of(width);
        legal.then_some((place, target.into(), width as usize))
    }
}
