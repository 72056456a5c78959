//! A strict device behind the registers of MMIO (section 4.2).

use std::collections::BTreeMap;
use std::sync::Arc;

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::mmio as spec;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use super::{Shared, Strict, with};
use crate::driver::event::{Access, Event};
use crate::driver::scenario::Identity;

/// Called with the level of the interrupt line whenever it may have changed. It does not reach for the device.
pub type Line = Arc<dyn Fn(bool) + Send + Sync>;

/// The registers of a strict device. Clones are the same registers.
#[derive(Clone)]
pub struct StrictMmio {
    device: Shared,
    line: Line,
}

/// What stands in registers that the device itself knows nothing of.
#[derive(Default)]
pub(super) struct Selected {
    offered: u32,
    accepted: u32,
    queue: u16,
    layouts: BTreeMap<u16, Layout>,
    /// Features that are being written, word by word.
    features: Option<Features>,
    ready: BTreeMap<u16, bool>,
}

impl StrictMmio {
    /// The registers of `device`, whose interrupt line is `line`.
    pub fn new(device: &Shared, line: Line) -> Self {
        Self {
            device: device.clone(),
            line,
        }
    }

    /// The driver waits.
    pub fn turn(&self) {
        self.act(Strict::turn);
    }

    /// Something happens in the device; the interrupt line follows.
    pub fn act(&self, act: impl FnOnce(&mut Strict)) {
        // The line is set under the lock, so that the last one to set it knows best.
        with(&self.device, |device| {
            act(device);
            (self.line)(device.interrupt_status() != 0);
        });
    }

    /// Reads `data.len()` bytes, 1, 2 or 4; zeros for any other length.
    pub fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(width) = width(data.len()) {
            let value = with(&self.device, |device| device.read_mmio(offset, width));
            data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
        }
    }

    /// Writes `data.len()` bytes, 1, 2 or 4; nothing for any other length.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) {
        if let Some(width) = width(data.len()) {
            let mut value = [0; 4];
            value[..data.len()].copy_from_slice(data);
            self.act(|device| device.write_mmio(offset, width, u32::from_le_bytes(value)));
        }
    }
}

pub(super) fn width(length: usize) -> Option<Width> {
    match length {
        1 => Some(Width::One),
        2 => Some(Width::Two),
        4 => Some(Width::Four),
        _ => None,
    }
}

impl Registers for StrictMmio {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut data = [0; 4];
        self.read_bytes(offset, &mut data[..width.bytes()]);
        Ok(u32::from_le_bytes(data))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        self.write_bytes(offset, &value.to_le_bytes()[..width.bytes()]);
        Ok(())
    }
}

impl Strict {
    /// `InterruptStatus`, or what stands for it.
    pub(super) fn interrupt_status(&self) -> u32 {
        u32::from(self.interrupt.queue) | u32::from(self.interrupt.config) << 1
    }

    fn read_mmio(&mut self, offset: u64, width: Width) -> u32 {
        self.settle(offset, false);
        let value = self.mmio_register(offset, width);
        self.tell(Event::Accessed(Access {
            write: false,
            offset,
            width,
            value,
        }));
        value
    }

    fn mmio_register(&mut self, offset: u64, width: Width) -> u32 {
        let identity = self.past.scenario.identity;
        let queue = self.selected.queue;
        match offset {
            spec::MAGIC_VALUE if identity == Identity::Magic => 0x1234_5678,
            spec::MAGIC_VALUE => spec::MAGIC,
            spec::VERSION if identity == Identity::Version => 3,
            spec::VERSION => spec::DEVICE_VERSION,
            spec::DEVICE_ID if identity == Identity::Nobody => 0,
            spec::DEVICE_ID => self.past.device.id,
            spec::VENDOR_ID => 0x7277,
            spec::DEVICE_FEATURES => {
                let word = self.selected.offered;
                self.features().word(word)
            }
            spec::QUEUE_SIZE_MAX => self.queue_max_size(queue).into(),
            spec::QUEUE_READY => {
                let ready = self.selected.ready.get(&queue).copied().unwrap_or_default();
                u32::from(ready)
            }
            spec::QUEUE_RESET => {
                u32::from(self.resetting.contains_key(&queue) && !self.queue_is_reset(queue))
            }
            spec::INTERRUPT_STATUS => {
                // A bit that means nothing, on purpose.
                let odd = if self.past.scenario.spurious { 1 << 7 } else { 0 };
                self.interrupt_status() | odd
            }
            spec::STATUS => self.status().0.into(),
            spec::SHM_LEN_LOW..=spec::SHM_BASE_HIGH => u32::MAX,
            spec::CONFIG_GENERATION => self.generation(),
            offset if offset >= spec::CONFIG => {
                let mut data = [0; 4];
                self.read_config(
                    (offset - spec::CONFIG) as usize,
                    width,
                    &mut data[..width.bytes()],
                );
                u32::from_le_bytes(data)
            }
            _ => 0,
        }
    }

    fn write_mmio(&mut self, offset: u64, width: Width, value: u32) {
        self.settle(offset, true);
        self.tell(Event::Accessed(Access {
            write: true,
            offset,
            width,
            value,
        }));
        let queue = self.selected.queue;
        let layout = self.selected.layouts.entry(queue).or_default();
        let low = |half: u64| half & !0xffff_ffff | u64::from(value);
        let high = |half: u64| half & 0xffff_ffff | u64::from(value) << 32;
        match offset {
            spec::DEVICE_FEATURES_SEL => self.selected.offered = value,
            spec::DRIVER_FEATURES_SEL => self.selected.accepted = value,
            spec::DRIVER_FEATURES => {
                let word = self.selected.accepted;
                let so_far = self.selected.features.unwrap_or(self.past.features());
                self.selected.features = Some(so_far.with_word(word, value));
            }
            spec::QUEUE_SEL => self.selected.queue = value as u16,
            spec::QUEUE_SIZE => layout.size = value as u16,
            spec::QUEUE_DESC_LOW => layout.descriptor_area = low(layout.descriptor_area),
            spec::QUEUE_DESC_HIGH => layout.descriptor_area = high(layout.descriptor_area),
            spec::QUEUE_DRIVER_LOW => layout.driver_area = low(layout.driver_area),
            spec::QUEUE_DRIVER_HIGH => layout.driver_area = high(layout.driver_area),
            spec::QUEUE_DEVICE_LOW => layout.device_area = low(layout.device_area),
            spec::QUEUE_DEVICE_HIGH => layout.device_area = high(layout.device_area),
            spec::QUEUE_READY => {
                let layout = *layout;
                self.selected.ready.insert(queue, value & 1 == 1);
                match value & 1 {
                    1 => self.enable_queue(queue, layout),
                    _ => drop(self.ends.remove(&queue)),
                }
            }
            spec::QUEUE_RESET if value & 1 == 1 => {
                self.selected.ready.insert(queue, false);
                self.reset_queue(queue);
            }
            spec::QUEUE_NOTIFY => {
                let index = match self.past.has(feature::NOTIFICATION_DATA) {
                    true => value as u16,
                    // All of it is the index then.
                    false => u16::try_from(value).unwrap_or(u16::MAX),
                };
                self.notify(index, value);
            }
            spec::INTERRUPT_ACK => {
                self.interrupt.queue &= value & 1 == 0;
                self.interrupt.config &= value & 2 == 0;
            }
            spec::STATUS => {
                self.set_status(Status(value as u8));
                if value == 0 {
                    self.selected = Selected::default();
                }
            }
            offset if offset >= spec::CONFIG => {
                let bytes = &value.to_le_bytes()[..width.bytes()];
                self.write_config((offset - spec::CONFIG) as usize, width, bytes);
            }
            _ => {}
        }
    }

    /// Features come word by word: they are accepted when the driver goes on to something else.
    fn settle(&mut self, offset: u64, write: bool) {
        let goes_on = !(write && matches!(offset, spec::DRIVER_FEATURES | spec::DRIVER_FEATURES_SEL));
        if goes_on && let Some(features) = self.selected.features.take() {
            self.accept(features);
        }
    }
}
