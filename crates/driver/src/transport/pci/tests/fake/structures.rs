//! What is in the BARs.

use ringwright_memory::Width;
use ringwright_spec::feature;
use ringwright_spec::pci::common_cfg as common;
use ringwright_spec::pci::{self, legacy};
use ringwright_spec::register::{self, Access};

use super::{Board, DEVICE, IO_BAR, ISR, MSIX_BAR, NOTIFY};
use crate::testing::model::half;

impl Board {
    pub(super) fn read_bar(&mut self, bar: u8, offset: u64, width: Width) -> u32 {
        match bar {
            IO_BAR => self.read_legacy(offset, width),
            MSIX_BAR => {
                let vector = self.table.get(offset as usize / 16);
                vector.map_or(0, |vector| vector[offset as usize % 16 / 4])
            }
            _ if offset < ISR.into() => self.read_common(offset, width),
            _ if offset < DEVICE.into() => self.take_isr(width),
            _ if offset < NOTIFY.into() => self.read_device(offset - u64::from(DEVICE), width),
            _ => panic!("notifications are not read"),
        }
    }

    pub(super) fn write_bar(&mut self, bar: u8, offset: u64, width: Width, value: u32) {
        match bar {
            IO_BAR => self.write_legacy(offset, width, value),
            MSIX_BAR => self.table[offset as usize / 16][offset as usize % 16 / 4] = value,
            _ if offset < ISR.into() => self.write_common(offset, width, value),
            _ if offset < DEVICE.into() => panic!("the ISR status is not written"),
            _ if offset < NOTIFY.into() => self.write_device(offset - u64::from(DEVICE), width, value),
            _ => self.notified(offset - u64::from(NOTIFY), width, value),
        }
    }

    fn read_device(&mut self, offset: u64, width: Width) -> u32 {
        let bytes = self.model.config(offset, width).iter().rev();
        bytes.fold(0, |value, byte| value << 8 | u32::from(*byte))
    }

    fn write_device(&mut self, offset: u64, width: Width, value: u32) {
        let bytes = &value.to_le_bytes()[..width.bytes()];
        self.model.config(offset, width).copy_from_slice(bytes);
    }

    fn take_isr(&mut self, width: Width) -> u32 {
        assert_eq!(width, Width::One);
        assert!(
            !self.msix_enabled(),
            "drv:pci:isr-status-capability:01: with MSI-X it is left alone"
        );
        core::mem::take(&mut self.isr).into()
    }

    fn notified(&mut self, place: u64, width: Width, value: u32) {
        let expected = match self.model.accepted.contains(feature::NOTIFICATION_DATA) {
            true => Width::Four,
            false => Width::Two,
        };
        assert_eq!(
            width, expected,
            "drv:pci:available-buffer-notifications:01, drv:pci:available-buffer-notifications:02"
        );
        self.model.notify(place, value);
    }

    /// A register of `table` that is accessed as it may be.
    fn check(
        &mut self,
        table: &'static [register::Register],
        offset: u64,
        width: Width,
        allowed: fn(Access) -> bool,
    ) {
        let register = register::at(table, offset).unwrap_or_else(|| panic!("no register at {offset}"));
        assert!(
            allowed(register.access),
            "drv:pci:common-configuration-structure-layout:01: {register:?}"
        );
        let natural = usize::from(register.size).min(4);
        assert!(
            width.bytes() == natural && offset.is_multiple_of(natural as u64),
            "drv:pci:pci-device-layout:01: {register:?} by {width:?} at {offset}"
        );
        if let Some(expected) = self.awaits_vector.take() {
            assert_eq!(
                offset, expected,
                "drv:pci:msi-x-vector-configuration:05: the vector is read back"
            );
        }
    }

    /// Maps an event to a vector.
    fn vector(&mut self, register: u64, value: u32) -> u16 {
        assert!(self.msix_enabled());
        self.awaits_vector = Some(register);
        let vector = value as u16;
        assert!(
            vector == pci::MSI_NO_VECTOR || usize::from(vector) < self.table.len(),
            "drv:pci:msi-x-vector-configuration:04: there are {}",
            self.table.len()
        );
        let [low, _, _, mask] = self.table[usize::from(vector)];
        assert!(low != 0 && mask == 0, "the vector has its message: {vector}");
        match self.unmappable.contains(&vector) {
            true => self.answer,
            false => vector,
        }
    }

    fn read_common(&mut self, offset: u64, width: Width) -> u32 {
        self.check(common::REGISTERS, offset, width, Access::readable);
        let selected = self.model.selected;
        let of_queue = |values: &[u16]| values.get(selected).copied().unwrap_or_default().into();
        match offset {
            common::DEVICE_FEATURE => {
                let word = self
                    .device_feature_select
                    .expect("device_feature_select comes first");
                self.model.offered.word(word)
            }
            common::CONFIG_MSIX_VECTOR => self.config_vector.into(),
            common::NUM_QUEUES => self.model.queues.len() as u32,
            common::DEVICE_STATUS => self.model.read_status(),
            common::CONFIG_GENERATION => self.model.generation.into(),
            common::QUEUE_SIZE => self.model.queue().size.into(),
            common::QUEUE_MSIX_VECTOR => self.model.queue().vector.into(),
            common::QUEUE_ENABLE => self.model.queue().enabled.into(),
            common::QUEUE_NOTIFY_OFF => of_queue(&self.notify_off),
            common::QUEUE_NOTIF_CONFIG_DATA => {
                assert!(self.model.accepted.contains(feature::NOTIF_CONFIG_DATA));
                of_queue(&self.notif_config_data)
            }
            common::QUEUE_RESET => self.model.queue_reset(),
            _ => panic!("no driver needs to read {offset}"),
        }
    }

    fn write_common(&mut self, offset: u64, width: Width, value: u32) {
        self.check(common::REGISTERS, offset, width, Access::writable);
        let low = offset.is_multiple_of(8);
        match offset {
            common::DEVICE_FEATURE_SELECT => self.device_feature_select = Some(value),
            common::DRIVER_FEATURE_SELECT => self.driver_feature_select = Some(value),
            common::DRIVER_FEATURE => {
                let word = self
                    .driver_feature_select
                    .expect("driver_feature_select comes first");
                self.model.accept(word, value);
            }
            common::CONFIG_MSIX_VECTOR => self.config_vector = self.vector(offset, value),
            common::DEVICE_STATUS => self.set_status(value),
            common::QUEUE_SELECT => self.model.selected = value as usize,
            common::QUEUE_SIZE => self.model.set_size(value),
            common::QUEUE_MSIX_VECTOR => {
                let vector = self.vector(offset, value);
                self.model.set_up(|queue| queue.vector = vector);
            }
            common::QUEUE_ENABLE => {
                assert_eq!(value, 1, "drv:pci:common-configuration-structure-layout:06");
                self.model.enable();
            }
            32..40 => self
                .model
                .set_up(|queue| half(&mut queue.descriptor_area, !low, value)),
            40..48 => self
                .model
                .set_up(|queue| half(&mut queue.driver_area, !low, value)),
            48..56 => self
                .model
                .set_up(|queue| half(&mut queue.device_area, !low, value)),
            common::QUEUE_RESET => self.model.reset_queue(value),
            _ => panic!("no driver needs to write {offset}"),
        }
    }

    fn set_status(&mut self, value: u32) {
        if value == 0 {
            self.config_vector = pci::MSI_NO_VECTOR;
        }
        self.model.set_status(value);
    }

    fn read_legacy(&mut self, offset: u64, width: Width) -> u32 {
        let start = legacy::config_offset(self.msix_enabled());
        if offset >= start {
            return self.read_device(offset - start, width);
        }
        self.check(legacy::REGISTERS, offset, width, Access::readable);
        match offset {
            legacy::DEVICE_FEATURES => self.model.offered.word(0),
            legacy::QUEUE_ADDRESS => (self.model.queue().descriptor_area / 4096) as u32,
            legacy::QUEUE_SIZE => self.model.queue().most.into(),
            legacy::DEVICE_STATUS => self.model.read_status(),
            legacy::ISR_STATUS => self.take_isr(width),
            legacy::CONFIG_MSIX_VECTOR => self.config_vector.into(),
            legacy::QUEUE_MSIX_VECTOR => self.model.queue().vector.into(),
            _ => panic!("no driver needs to read {offset}"),
        }
    }

    fn write_legacy(&mut self, offset: u64, width: Width, value: u32) {
        let start = legacy::config_offset(self.msix_enabled());
        if offset >= start {
            return self.write_device(offset - start, width, value);
        }
        self.check(legacy::REGISTERS, offset, width, Access::writable);
        match offset {
            legacy::DRIVER_FEATURES => self.model.accept(0, value),
            legacy::QUEUE_ADDRESS => {
                self.model.set_up(|queue| {
                    let layout = ringwright_ring::Layout::legacy(value, 4096, queue.most, 4096).unwrap();
                    (queue.descriptor_area, queue.driver_area, queue.device_area) =
                        (layout.descriptor_area, layout.driver_area, layout.device_area);
                });
                self.model.enable();
            }
            legacy::QUEUE_SELECT => self.model.selected = value as usize,
            legacy::QUEUE_NOTIFY => self.model.notify(value.into(), value),
            legacy::DEVICE_STATUS => self.set_status(value),
            legacy::CONFIG_MSIX_VECTOR => self.config_vector = self.vector(offset, value),
            legacy::QUEUE_MSIX_VECTOR => {
                let vector = self.vector(offset, value);
                self.model.set_up(|queue| queue.vector = vector);
            }
            _ => panic!("no driver needs to write {offset}"),
        }
    }
}
