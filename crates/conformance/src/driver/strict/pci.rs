//! A strict device that is a function on a PCI bus (section 4.1).
//!
//! All that a driver reaches of it is one range of registers: first the configuration space, and at [`BAR`] the BAR, in which
//! the structures are.

mod interrupts;
mod space;

use std::collections::{BTreeMap, BTreeSet};

use ringwright_device::transport::pci::Bar;
use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::pci::common_cfg as registers;
use ringwright_spec::pci::header::{self, command};
use ringwright_spec::pci::{self as spec, Isr, MSI_NO_VECTOR};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use super::mmio::width;
use super::{Shared, Strict, with};
use crate::driver::event::{Access, Event, Part};
use crate::driver::past::Past;
use crate::driver::scenario::Oddity;

use space::Space;
pub(in crate::driver) use space::{
    BAR_INDEX, BAR_SIZE, COMMON_CAP, IO_SIZE, MSIX_CAP, SR_IOV_CAP, WINDOW_CAP, WINDOW_DATA, is_capability,
};

/// Where the BAR is.
pub(in crate::driver) const BAR: u64 = 0x10_0000;
/// Where the common configuration is.
pub(in crate::driver) const COMMON: u64 = BAR;
/// Where the ISR status is.
pub(in crate::driver) const ISR: u64 = BAR + ISR_START;
/// Where the notifications are.
pub(in crate::driver) const NOTIFY: u64 = BAR + NOTIFY_START;

const ISR_START: u64 = 0x1000;
const DEVICE_START: u64 = 0x2000;
const NOTIFY_START: u64 = 0x4000;
const VECTORS_START: u64 = 0x8000;
/// Where the second instance of a structure is, after the first.
const SECOND_START: u64 = 0x1_0000;
/// Where nothing is, that capabilities name which are to be ignored.
const NOTHING_START: u64 = 0x2_0000;

/// Bytes between the places where two virtqueues are notified.
pub(in crate::driver) const MULTIPLIER: u32 = 4;

/// What the notifications of a virtqueue carry with `VIRTIO_F_NOTIF_CONFIG_DATA`.
pub(in crate::driver) fn notif_config_data(queue: u64) -> u32 {
    0x100 + 3 * queue as u32
}

/// The registers of a strict device that is a PCI function. Clones are the same registers.
#[derive(Clone)]
pub struct StrictPci(Shared);

/// What stands in the registers of a PCI function.
pub(super) struct Function {
    space: Space,
    offered: u32,
    accepted: u32,
    queue: u16,
    queues: BTreeMap<u16, Queue>,
    /// Features that are being written, word by word.
    features: Option<Features>,
    config_vector: u16,
    table: BTreeMap<u64, u32>,
    /// Vectors whose messages are still to be sent.
    waiting: BTreeSet<u16>,
}

/// The registers of a virtqueue.
#[derive(Clone, Copy)]
struct Queue {
    layout: Layout,
    /// Whether the driver has written its size.
    is_sized: bool,
    enabled: bool,
    vector: u16,
}

impl Default for Queue {
    fn default() -> Self {
        Self {
            layout: Layout::default(),
            is_sized: false,
            enabled: false,
            vector: MSI_NO_VECTOR,
        }
    }
}

impl StrictPci {
    /// Where the registers of the BAR begin, after the configuration space.
    pub const BAR: u64 = BAR;

    /// The function that `device` is.
    pub fn new(device: &Shared) -> Self {
        Self(device.clone())
    }

    /// The BAR of all structures, for a machine that has to know where it is.
    pub fn bar(&self) -> Bar {
        with(&self.0, |device| device.function.space.bar())
    }

    /// Takes the BAR's address away, for a machine without firmware that has set it.
    pub fn unset_bar(&self) {
        with(&self.0, |device| device.function.space.unset_bar());
    }

    /// Reads a byte of the configuration space, of which nobody is told.
    pub(in crate::driver) fn peek(&self, offset: u64) -> u8 {
        with(&self.0, |device| {
            device.function.space.read(offset, Width::One) as u8
        })
    }

    /// Reads `data.len()` bytes, 1, 2 or 4, of the configuration space, or of the BAR from [`StrictPci::BAR`] on; zeros for
    /// any other length.
    pub fn read_bytes(&self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(width) = width(data.len()) {
            let value = with(&self.0, |device| device.access_pci(offset, width, None));
            data.copy_from_slice(&value.to_le_bytes()[..data.len()]);
        }
    }

    /// Writes them; nothing for any other length.
    pub fn write_bytes(&self, offset: u64, data: &[u8]) {
        if let Some(width) = width(data.len()) {
            let mut value = [0; 4];
            value[..data.len()].copy_from_slice(data);
            let value = u32::from_le_bytes(value);
            with(&self.0, |device| device.access_pci(offset, width, Some(value)));
        }
    }
}

impl Registers for StrictPci {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        Ok(with(&self.0, |device| device.access_pci(offset, width, None)))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        with(&self.0, |device| device.access_pci(offset, width, Some(value)));
        Ok(())
    }
}

impl Function {
    pub fn new(past: &Past) -> Self {
        Self {
            space: Space::new(past),
            offered: 0,
            accepted: 0,
            queue: 0,
            queues: BTreeMap::new(),
            features: None,
            config_vector: MSI_NO_VECTOR,
            table: BTreeMap::new(),
            waiting: BTreeSet::new(),
        }
    }

    /// What a reset of the device makes of the registers; the configuration space and the table are not the device's.
    fn reset(&mut self) {
        self.offered = 0;
        self.accepted = 0;
        self.queue = 0;
        self.queues.clear();
        self.features = None;
        self.config_vector = MSI_NO_VECTOR;
    }

    /// The vector that an event gets which is to be mapped to `vector`.
    fn vector(&self, past: &Past, vector: u16) -> u16 {
        let function = &past.scenario.function;
        let least = if function.refuses_vectors {
            1
        } else {
            function.vectors
        };
        match vector < least {
            true => vector,
            false => MSI_NO_VECTOR,
        }
    }
}

impl Strict {
    /// Reads, or writes a value.
    fn access_pci(&mut self, offset: u64, width: Width, value: Option<u32>) -> u32 {
        if let Some(offset) = offset.checked_sub(BAR) {
            return self.access_bar(offset, width, value);
        }
        match value {
            Some(value) => {
                self.tell_access(Part::Config, offset, width, Some(value), 0);
                self.write_space(offset, width, value);
                0
            }
            None => {
                let value = match self.window(offset) {
                    Some(place) => self.access_bar(place, width, None),
                    None => self.function.space.read(offset, width),
                };
                self.tell_access(Part::Config, offset, width, None, value);
                value
            }
        }
    }

    fn write_space(&mut self, offset: u64, width: Width, value: u32) {
        match self.window(offset) {
            Some(place) => drop(self.access_bar(place, width, Some(value))),
            None => self.function.space.write(offset, width, value),
        }
    }

    /// Where the window leads to, if it is accessed by `offset`.
    fn window(&self, offset: u64) -> Option<u64> {
        let space = &self.function.space;
        (offset == WINDOW_DATA).then(|| space.read(WINDOW_CAP + 8, Width::Four).into())
    }

    fn access_bar(&mut self, offset: u64, width: Width, value: Option<u32>) -> u32 {
        let (part, within) = self.part(offset);
        if part == Part::Second {
            self.tell_access(part, within, width, value, 0);
            return self.access_bar(within, width, value);
        }
        self.settle_pci(part, within, value.is_some());
        if let Some(value) = value {
            self.tell_access(part, within, width, Some(value), 0);
            self.write_part(part, within, width, value);
            return 0;
        }
        let value = self.read_part(part, within, width);
        self.tell_access(part, within, width, None, value);
        value
    }

    fn tell_access(&mut self, part: Part, offset: u64, width: Width, written: Option<u32>, read: u32) {
        let access = Access {
            write: written.is_some(),
            offset,
            width,
            value: written.unwrap_or(read),
        };
        self.tell(Event::Function(part, access));
    }

    /// The part of the BAR that `offset` is in.
    fn part(&self, offset: u64) -> (Part, u64) {
        let enabled = self.function.space.read(header::COMMAND as u64, Width::Two) as u16;
        let through_window = self.past.scenario.function.oddity == Oddity::Window;
        if enabled & command::MEMORY == 0 && !through_window {
            return (Part::Nothing, offset);
        }
        match offset {
            0..ISR_START => (Part::Common, offset),
            ISR_START..DEVICE_START => (Part::Isr, offset - ISR_START),
            DEVICE_START..NOTIFY_START => (Part::Device, offset - DEVICE_START),
            NOTIFY_START..VECTORS_START => (Part::Notify, offset - NOTIFY_START),
            VECTORS_START..SECOND_START => (Part::Vectors, offset - VECTORS_START),
            SECOND_START..NOTHING_START => (Part::Second, offset - SECOND_START),
            _ => (Part::Nothing, offset),
        }
    }

    fn read_part(&mut self, part: Part, offset: u64, width: Width) -> u32 {
        match part {
            Part::Common => self.read_common(offset),
            Part::Isr if offset == 0 && !self.function.space.has_messages() => {
                let interrupt = std::mem::take(&mut self.interrupt);
                let bit = |is_set, bit: Isr| if is_set { u32::from(bit.0) } else { 0 };
                bit(interrupt.queue, Isr::QUEUE) | bit(interrupt.config, Isr::CONFIG)
            }
            Part::Device => {
                let mut data = [0; 4];
                self.read_config(offset as usize, width, &mut data[..width.bytes()]);
                u32::from_le_bytes(data)
            }
            Part::Vectors => self.function.table.get(&offset).copied().unwrap_or_default(),
            _ => 0,
        }
    }

    fn write_part(&mut self, part: Part, offset: u64, width: Width, value: u32) {
        match part {
            Part::Common => self.write_common(offset, value),
            Part::Device => {
                self.write_config(offset as usize, width, &value.to_le_bytes()[..width.bytes()]);
            }
            Part::Notify => {
                let index = (offset / u64::from(MULTIPLIER)) as u16;
                let data = match self.past.has(feature::NOTIFICATION_DATA) {
                    true => value & 0xffff_0000 | u32::from(index),
                    false => index.into(),
                };
                self.notify(index, data);
            }
            Part::Vectors => drop(self.function.table.insert(offset, value)),
            _ => {}
        }
    }

    fn read_common(&mut self, offset: u64) -> u32 {
        let index = self.function.queue;
        let queue = self.function.queues.get(&index).copied().unwrap_or_default();
        let low = |address: u64| address as u32;
        let high = |address: u64| (address >> 32) as u32;
        match offset {
            registers::DEVICE_FEATURE_SELECT => self.function.offered,
            registers::DEVICE_FEATURE => {
                let word = self.function.offered;
                self.features().word(word)
            }
            registers::DRIVER_FEATURE_SELECT => self.function.accepted,
            registers::DRIVER_FEATURE => self.past.features().word(self.function.accepted),
            registers::CONFIG_MSIX_VECTOR => self.function.config_vector.into(),
            registers::NUM_QUEUES => self.model.queues().into(),
            registers::DEVICE_STATUS => self.status().0.into(),
            registers::CONFIG_GENERATION => self.generation() & 0xff,
            registers::QUEUE_SELECT => index.into(),
            registers::QUEUE_SIZE => {
                let most = self.queue_max_size(index);
                let is_admin = index == self.model.queues() && self.past.offered.contains(feature::ADMIN_VQ);
                match (queue.is_sized, is_admin) {
                    (true, _) => queue.layout.size.into(),
                    (false, true) => self.past.scenario.queue_size.into(),
                    (false, false) => most.into(),
                }
            }
            registers::QUEUE_MSIX_VECTOR => queue.vector.into(),
            registers::QUEUE_ENABLE => queue.enabled.into(),
            registers::QUEUE_NOTIFY_OFF => index.into(),
            registers::QUEUE_DESC => low(queue.layout.descriptor_area),
            QUEUE_DESC_HIGH => high(queue.layout.descriptor_area),
            registers::QUEUE_DRIVER => low(queue.layout.driver_area),
            QUEUE_DRIVER_HIGH => high(queue.layout.driver_area),
            registers::QUEUE_DEVICE => low(queue.layout.device_area),
            QUEUE_DEVICE_HIGH => high(queue.layout.device_area),
            registers::QUEUE_NOTIF_CONFIG_DATA => notif_config_data(index.into()),
            registers::QUEUE_RESET => {
                u32::from(self.resetting.contains_key(&index) && !self.queue_is_reset(index))
            }
            registers::ADMIN_QUEUE_INDEX => self.model.queues().into(),
            registers::ADMIN_QUEUE_NUM => self.past.offered.contains(feature::ADMIN_VQ).into(),
            _ => 0,
        }
    }

    fn write_common(&mut self, offset: u64, value: u32) {
        let function = &mut self.function;
        let index = function.queue;
        let mapped = function.vector(&self.past, value as u16);
        let queue = function.queues.entry(index).or_default();
        let low = |half: u64| half & !0xffff_ffff | u64::from(value);
        let high = |half: u64| half & 0xffff_ffff | u64::from(value) << 32;
        let layout = &mut queue.layout;
        match offset {
            registers::DEVICE_FEATURE_SELECT => function.offered = value,
            registers::DRIVER_FEATURE_SELECT => function.accepted = value,
            registers::DRIVER_FEATURE => {
                let so_far = function.features.unwrap_or(self.past.features());
                function.features = Some(so_far.with_word(function.accepted, value));
            }
            registers::CONFIG_MSIX_VECTOR => function.config_vector = mapped,
            registers::DEVICE_STATUS => {
                self.set_status(Status(value as u8));
                if value as u8 == 0 {
                    self.function.reset();
                }
            }
            registers::QUEUE_SELECT => function.queue = value as u16,
            registers::QUEUE_SIZE => {
                layout.size = value as u16;
                queue.is_sized = true;
            }
            registers::QUEUE_MSIX_VECTOR => queue.vector = mapped,
            registers::QUEUE_ENABLE if value == 1 => {
                if !queue.is_sized {
                    layout.size = self.past.scenario.queue_size;
                }
                let layout = *layout;
                queue.enabled = true;
                self.enable_queue(index, layout);
            }
            registers::QUEUE_DESC => layout.descriptor_area = low(layout.descriptor_area),
            QUEUE_DESC_HIGH => layout.descriptor_area = high(layout.descriptor_area),
            registers::QUEUE_DRIVER => layout.driver_area = low(layout.driver_area),
            QUEUE_DRIVER_HIGH => layout.driver_area = high(layout.driver_area),
            registers::QUEUE_DEVICE => layout.device_area = low(layout.device_area),
            QUEUE_DEVICE_HIGH => layout.device_area = high(layout.device_area),
            registers::QUEUE_RESET if value == 1 => {
                *queue = Queue::default();
                self.reset_queue(index);
            }
            _ => {}
        }
    }

    /// Features come word by word: they are accepted when the driver goes on to something else.
    fn settle_pci(&mut self, part: Part, offset: u64, write: bool) {
        let is_features = part == Part::Common
            && write
            && matches!(
                offset,
                registers::DRIVER_FEATURE | registers::DRIVER_FEATURE_SELECT
            );
        if !is_features && let Some(features) = self.function.features.take() {
            self.accept(features);
        }
    }
}

const QUEUE_DESC_HIGH: u64 = registers::QUEUE_DESC + 4;
const QUEUE_DRIVER_HIGH: u64 = registers::QUEUE_DRIVER + 4;
const QUEUE_DEVICE_HIGH: u64 = registers::QUEUE_DEVICE + 4;

/// Whether `length` bytes of a BAR lie within a structure that a capability names.
pub(in crate::driver) fn is_structure(past: &Past, bar: u8, offset: u64, length: u64) -> bool {
    let queues = u64::from(MULTIPLIER) * (u64::from(past.administration) + 1);
    let inside = |start: u64, size: u64| offset >= start && offset + length <= start + size;
    bar == BAR_INDEX
        && (inside(0, size_of::<spec::CommonCfg>() as u64)
            || inside(ISR_START, 1)
            || inside(DEVICE_START, past.device.config_size as u64)
            || inside(NOTIFY_START, queues))
}
