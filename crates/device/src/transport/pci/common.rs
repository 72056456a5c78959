//! The common configuration structure (section 4.1.4.3).

use ringwright_ring::Layout;
use ringwright_spec::pci::CommonCfg;
use ringwright_spec::pci::common_cfg as field;
use ringwright_spec::register::{self, Register};
use ringwright_spec::{Status, feature};
use zerocopy::IntoBytes;

use super::{Function, set_high, set_low};

/// What the driver has last written to the fields that others depend on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Selectors {
    pub device_feature: u32,
    pub driver_feature: u32,
    pub queue: u16,
}

impl Function {
    /// Reads as what the structure is now, whatever the width.
    pub(super) fn read_common(&mut self, offset: usize, data: &mut [u8]) {
        let generation = field::CONFIG_GENERATION as usize;
        let mut common = self.common();
        if (offset..offset + data.len()).contains(&generation) {
            common.config_generation = self.core.config_generation() as u8;
        }
        let bytes = common.as_bytes().get(offset..).unwrap_or_default();
        for (place, byte) in data.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    /// A write of one field, or of one half of a field of 64 bits (`drv:pci:pci-device-layout:01`,
    /// `dev:pci:pci-device-layout:01`).
    pub(super) fn write_common(&mut self, offset: u64, data: &[u8]) {
        let register = register::at(field::REGISTERS, offset);
        match (register, data) {
            (Some(Register { size: 1, .. }), [byte]) => self.write_field(offset, (*byte).into()),
            (Some(Register { size: 2, .. }), [low, high]) => {
                self.write_field(offset, u16::from_le_bytes([*low, *high]).into());
            }
            (Some(Register { size: 4 | 8, .. }), [a, b, c, d]) => {
                self.write_field(offset, u32::from_le_bytes([*a, *b, *c, *d]));
            }
            _ => tracing::debug!(offset, length = data.len(), "a write that is not of one field"),
        }
    }

    fn common(&self) -> CommonCfg {
        let queue = self.selectors.queue;
        let layout = self.core.queue_layout(queue);
        let exists = queue < self.core.queue_count();
        CommonCfg {
            device_feature_select: self.selectors.device_feature.into(),
            device_feature: self
                .core
                .offered_features()
                .word(self.selectors.device_feature)
                .into(),
            driver_feature_select: self.selectors.driver_feature.into(),
            driver_feature: self
                .core
                .driver_features()
                .word(self.selectors.driver_feature)
                .into(),
            config_msix_vector: self.interrupts.config_vector().into(),
            num_queues: self.core.queue_count().into(),
            device_status: self.core.status().0,
            // Reading it counts, so it is added where it is read.
            config_generation: 0,
            queue_select: queue.into(),
            queue_size: layout.size.into(),
            queue_msix_vector: self.interrupts.queue_vector(queue).into(),
            queue_enable: u16::from(self.core.queue_is_enabled(queue)).into(),
            queue_notify_off: if exists { queue } else { 0 }.into(),
            queue_desc: layout.descriptor_area.into(),
            queue_driver: layout.driver_area.into(),
            queue_device: layout.device_area.into(),
            queue_notif_config_data: self.notif_config_data(queue).into(),
            // A reset is done when the write returns (dev:pci:common-configuration-structure-layout:13).
            queue_reset: 0.into(),
            // No administration virtqueues.
            admin_queue_index: 0.into(),
            admin_queue_num: 0.into(),
        }
    }

    /// The field exists only with `VIRTIO_F_NOTIF_CONFIG_DATA`; it is the virtqueue's index then.
    fn notif_config_data(&self, queue: u16) -> u16 {
        let negotiated = self
            .core
            .negotiated_features()
            .contains(feature::NOTIF_CONFIG_DATA);
        if negotiated && queue < self.core.queue_count() {
            queue
        } else {
            0
        }
    }

    fn write_field(&mut self, offset: u64, value: u32) {
        const HIGH: u64 = 4;
        const DESC_HIGH: u64 = field::QUEUE_DESC + HIGH;
        const DRIVER_HIGH: u64 = field::QUEUE_DRIVER + HIGH;
        const DEVICE_HIGH: u64 = field::QUEUE_DEVICE + HIGH;
        let queue = self.selectors.queue;
        let core = &mut self.core;
        let mut set = |set: fn(&mut Layout, u32)| core.set_queue_layout(queue, |layout| set(layout, value));
        match offset {
            field::QUEUE_DESC => set(|layout, value| set_low(&mut layout.descriptor_area, value)),
            DESC_HIGH => set(|layout, value| set_high(&mut layout.descriptor_area, value)),
            field::QUEUE_DRIVER => set(|layout, value| set_low(&mut layout.driver_area, value)),
            DRIVER_HIGH => set(|layout, value| set_high(&mut layout.driver_area, value)),
            field::QUEUE_DEVICE => set(|layout, value| set_low(&mut layout.device_area, value)),
            DEVICE_HIGH => set(|layout, value| set_high(&mut layout.device_area, value)),
            field::DEVICE_FEATURE_SELECT => self.selectors.device_feature = value,
            field::DRIVER_FEATURE_SELECT => self.selectors.driver_feature = value,
            field::DRIVER_FEATURE => core.set_driver_features(self.selectors.driver_feature, value),
            field::CONFIG_MSIX_VECTOR => self.interrupts.set_config_vector(value as u16),
            field::DEVICE_STATUS => match Status(value as u8) {
                Status::NONE => self.reset_device(),
                status => core.write_status(status),
            },
            field::QUEUE_SELECT => self.selectors.queue = value as u16,
            field::QUEUE_SIZE => core.set_queue_size(queue, value),
            field::QUEUE_MSIX_VECTOR => self.interrupts.set_queue_vector(queue, value as u16),
            // The driver never writes 0 (drv:pci:common-configuration-structure-layout:06).
            field::QUEUE_ENABLE if value == 1 => core.enable_queue(queue),
            // dev:pci:common-configuration-structure-layout:11
            field::QUEUE_RESET if value == 1 && core.can_reset_queues() => {
                core.reset_queue(queue);
                self.interrupts
                    .set_queue_vector(queue, ringwright_spec::pci::MSI_NO_VECTOR);
            }
            _ => {}
        }
    }
}
