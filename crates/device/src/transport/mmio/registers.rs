//! The registers: what each reads as, and what writing it does.

use ringwright_ring::Layout;
use ringwright_spec::mmio::{self, legacy};
use ringwright_spec::{Status, feature};

use super::super::core::{set_high, set_low};
use super::{Mmio, Version};
use crate::codec::{Rest, put_length};

/// Bytes of a register.
const WIDTH: usize = 4;

/// What the driver has last written to the registers that others depend on.
#[derive(Debug, Default)]
pub(super) struct Selectors {
    device_features: u32,
    driver_features: u32,
    /// `None` if there cannot be such a queue.
    queue: Option<u16>,
    shared_memory: u32,
    /// Of legacy drivers. The driver's reset does not touch it: it is written before.
    guest_page_size: u32,
    /// Of legacy drivers, by queue.
    queue_align: Vec<u32>,
}

impl Selectors {
    pub fn new(queues: u16) -> Self {
        Self {
            queue: Some(0),
            queue_align: vec![0; queues.into()],
            ..Self::default()
        }
    }

    /// For a saved state.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.device_features.to_le_bytes());
        bytes.extend(self.driver_features.to_le_bytes());
        bytes.extend(self.queue.map_or(u32::MAX, u32::from).to_le_bytes());
        bytes.extend(self.shared_memory.to_le_bytes());
        bytes.extend(self.guest_page_size.to_le_bytes());
        put_length(bytes, self.queue_align.len());
        for align in &self.queue_align {
            bytes.extend(align.to_le_bytes());
        }
    }

    /// From a saved state.
    pub fn restore(rest: &mut Rest<'_>) -> Option<Self> {
        Some(Self {
            device_features: rest.u32()?,
            driver_features: rest.u32()?,
            queue: u16::try_from(rest.u32()?).ok(),
            shared_memory: rest.u32()?,
            guest_page_size: rest.u32()?,
            queue_align: (0..rest.length()?).map(|_| rest.u32()).collect::<Option<_>>()?,
        })
    }
}

impl Mmio {
    /// The driver reads `data.len()` bytes at `offset`. What it may not read, or not so, reads as zero
    /// (`drv:mmio:mmio-device-register-layout:01`, `drv:mmio:mmio-device-register-layout:02`).
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        if let Some(offset) = offset.checked_sub(mmio::CONFIG) {
            return self.core.read_config(offset, data);
        }
        data.fill(0);
        match <&mut [u8; WIDTH]>::try_from(data) {
            Ok(data) => *data = self.read_register(offset).to_le_bytes(),
            Err(_) => tracing::debug!(offset, "a read of registers that is not 32 bits wide"),
        }
    }

    /// The driver writes at `offset`. What it may not write, or not so, is ignored.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        if let Some(offset) = offset.checked_sub(mmio::CONFIG) {
            return self.core.write_config(offset, data);
        }
        match <[u8; WIDTH]>::try_from(data) {
            Ok(data) => self.write_register(offset, u32::from_le_bytes(data)),
            Err(_) => tracing::debug!(offset, "a write to registers that is not 32 bits wide"),
        }
    }

    fn read_register(&mut self, offset: u64) -> u32 {
        let modern = self.is_modern();
        match offset {
            mmio::MAGIC_VALUE => mmio::MAGIC,
            mmio::VERSION if modern => mmio::DEVICE_VERSION,
            mmio::VERSION => legacy::DEVICE_VERSION,
            mmio::DEVICE_ID => self.core.device_id(),
            mmio::VENDOR_ID => self.options.vendor_id,
            mmio::DEVICE_FEATURES => self.core.offered_features().word(self.selectors.device_features),
            mmio::QUEUE_SIZE_MAX => match self.selectors.queue {
                Some(queue) => self.core.queue_max_size(queue).into(),
                None => 0,
            },
            mmio::QUEUE_READY if modern => match self.selectors.queue {
                Some(queue) => self.core.queue_is_enabled(queue).into(),
                None => 0,
            },
            legacy::QUEUE_PFN if !modern => self.page_frame_number(),
            mmio::INTERRUPT_STATUS => self.interrupt.pending(),
            mmio::STATUS => self.core.status().0.into(),
            mmio::SHM_LEN_LOW if modern => self.shared_memory().1 as u32,
            mmio::SHM_LEN_HIGH if modern => (self.shared_memory().1 >> 32) as u32,
            mmio::SHM_BASE_LOW if modern => self.shared_memory().0 as u32,
            mmio::SHM_BASE_HIGH if modern => (self.shared_memory().0 >> 32) as u32,
            mmio::CONFIG_GENERATION if modern => self.core.config_generation(),
            // Also QueueReset: a queue is reset when the write returns (dev:mmio:mmio-device-register-layout:12).
            _ => 0,
        }
    }

    fn write_register(&mut self, offset: u64, value: u32) {
        let modern = self.is_modern();
        match offset {
            mmio::DEVICE_FEATURES_SEL => self.selectors.device_features = value,
            mmio::DRIVER_FEATURES => self
                .core
                .set_driver_features(self.selectors.driver_features, value),
            mmio::DRIVER_FEATURES_SEL => self.selectors.driver_features = value,
            legacy::GUEST_PAGE_SIZE if !modern => self.selectors.guest_page_size = value,
            mmio::QUEUE_SEL => self.selectors.queue = u16::try_from(value).ok(),
            mmio::QUEUE_NOTIFY => self.notify(value),
            mmio::INTERRUPT_ACK => _ = self.interrupt.clear(value),
            mmio::STATUS => match Status(value as u8) {
                Status::NONE => self.reset_device(),
                status => self.core.write_status(status),
            },
            mmio::SHM_SEL if modern => self.selectors.shared_memory = value,
            _ => match self.selectors.queue {
                Some(queue) if modern => self.write_queue_register(offset, queue, value),
                Some(queue) => self.write_legacy_queue_register(offset, queue, value),
                None => {}
            },
        }
    }

    /// The registers of one virtqueue.
    fn write_queue_register(&mut self, offset: u64, queue: u16, value: u32) {
        let core = &mut self.core;
        let mut set = |set: fn(&mut Layout, u32)| core.set_queue_layout(queue, |layout| set(layout, value));
        match offset {
            mmio::QUEUE_DESC_LOW => set(|layout, value| set_low(&mut layout.descriptor_area, value)),
            mmio::QUEUE_DESC_HIGH => set(|layout, value| set_high(&mut layout.descriptor_area, value)),
            mmio::QUEUE_DRIVER_LOW => set(|layout, value| set_low(&mut layout.driver_area, value)),
            mmio::QUEUE_DRIVER_HIGH => set(|layout, value| set_high(&mut layout.driver_area, value)),
            mmio::QUEUE_DEVICE_LOW => set(|layout, value| set_low(&mut layout.device_area, value)),
            mmio::QUEUE_DEVICE_HIGH => set(|layout, value| set_high(&mut layout.device_area, value)),
            mmio::QUEUE_SIZE => core.set_queue_size(queue, value),
            mmio::QUEUE_READY => match value {
                0 => core.disable_queue(queue),
                1 => core.enable_queue(queue),
                _ => {}
            },
            // dev:mmio:mmio-device-register-layout:10
            mmio::QUEUE_RESET if value == 1 && core.can_reset_queues() => core.reset_queue(queue),
            _ => {}
        }
    }

    fn write_legacy_queue_register(&mut self, offset: u64, queue: u16, value: u32) {
        match offset {
            legacy::QUEUE_SIZE => self.core.set_queue_size(queue, value),
            legacy::QUEUE_ALIGN => {
                if let Some(align) = self.selectors.queue_align.get_mut(usize::from(queue)) {
                    *align = value;
                }
            }
            legacy::QUEUE_PFN => {
                let align = self.selectors.queue_align.get(usize::from(queue));
                let address = u64::from(value) * u64::from(self.selectors.guest_page_size);
                let address = (value != 0).then_some(address);
                self.core
                    .set_legacy_queue(queue, address, align.copied().unwrap_or_default());
            }
            _ => {}
        }
    }

    /// An available buffer notification: the virtqueue's index, above it more that is not needed
    /// (`VIRTIO_F_NOTIFICATION_DATA`).
    fn notify(&mut self, value: u32) {
        let with_data = self
            .core
            .negotiated_features()
            .contains(feature::NOTIFICATION_DATA);
        if with_data || value <= u16::MAX.into() {
            self.core.notify(value as u16);
        }
    }

    /// QueuePFN: 0 while the virtqueue is not in use.
    fn page_frame_number(&self) -> u32 {
        let Some(queue) = self
            .selectors
            .queue
            .filter(|queue| self.core.queue_is_enabled(*queue))
        else {
            return 0;
        };
        let layout = self.core.queue_layout(queue);
        layout
            .page_frame_number(self.selectors.guest_page_size)
            .unwrap_or_default()
    }

    /// Address and length of the selected shared memory region.
    fn shared_memory(&self) -> (u64, u64) {
        let id = self.selectors.shared_memory;
        let mut regions = self.core.description().shared_memory.iter();
        let region = regions.find(|region| u32::from(region.id) == id);
        let mut places = self.options.shared_memory.iter();
        let place = places.find(|(region, _)| u32::from(*region) == id);
        match (region, place) {
            (Some(region), Some((_, base))) => (*base, region.length),
            _ => (mmio::SHM_NONE, mmio::SHM_NONE),
        }
    }

    fn is_modern(&self) -> bool {
        self.options.version == Version::Modern
    }
}
