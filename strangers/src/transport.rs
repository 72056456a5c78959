//! The transport that `virtio-drivers`' drivers are given: each call is one of ours.

use ringwright_driver::Transport as Ours;
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::status::Status;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{Error, PhysAddr, Result};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// How often the device is waited for after a notification, which is what most of these drivers do then.
const WAITS: usize = 4;

/// A strict device, by calls. None of them fails: there is no bus that could.
pub struct Calls<'a> {
    device: std::cell::RefCell<&'a mut (dyn Ours + Send)>,
    wait: &'a mut (dyn FnMut() + Send),
}

impl<'a> Calls<'a> {
    /// The device that is reached by `device`, and waited for by `wait`.
    pub fn new(device: &'a mut (dyn Ours + Send), wait: &'a mut (dyn FnMut() + Send)) -> Self {
        Self {
            device: device.into(),
            wait,
        }
    }
}

impl Transport for Calls<'_> {
    fn device_type(&self) -> DeviceType {
        match self.device.borrow().device_id() {
            1 => DeviceType::Network,
            2 => DeviceType::Block,
            3 => DeviceType::Console,
            _ => DeviceType::EntropySource,
        }
    }

    fn read_device_features(&mut self) -> u64 {
        let features = self.device.get_mut().device_features();
        features.map_or(0, |features| features.0 as u64)
    }

    fn write_driver_features(&mut self, features: u64) {
        let _ = self
            .device
            .get_mut()
            .set_driver_features(Features(features.into()));
    }

    fn max_queue_size(&mut self, queue: u16) -> u32 {
        self.device.get_mut().queue_max_size(queue).map_or(0, u32::from)
    }

    fn notify(&mut self, queue: u16) {
        let _ = self.device.get_mut().notify(queue, queue.into());
        for _ in 0..WAITS {
            (self.wait)();
        }
    }

    fn get_status(&self) -> DeviceStatus {
        let status = self.device.borrow_mut().status().unwrap_or(Status::NONE);
        DeviceStatus::from_bits_truncate(status.0.into())
    }

    fn set_status(&mut self, status: DeviceStatus) {
        let _ = self.device.get_mut().set_status(Status(status.bits() as u8));
    }

    fn set_guest_page_size(&mut self, _: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        queue: u16,
        size: u32,
        descriptors: PhysAddr,
        driver_area: PhysAddr,
        device_area: PhysAddr,
    ) {
        let layout = Layout {
            size: size as u16,
            descriptor_area: descriptors,
            driver_area,
            device_area,
        };
        let _ = self.device.get_mut().enable_queue(queue, &layout);
    }

    /// As the crate does it over PCI.
    fn queue_unset(&mut self, _: u16) {}

    fn queue_used(&mut self, _: u16) -> bool {
        false
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        let interrupt = self.device.get_mut().take_interrupt().unwrap_or_default();
        let mut status = InterruptStatus::empty();
        status.set(InterruptStatus::QUEUE_INTERRUPT, interrupt.queue);
        status.set(InterruptStatus::DEVICE_CONFIGURATION_INTERRUPT, interrupt.config);
        status
    }

    fn read_config_generation(&self) -> u32 {
        self.device.borrow_mut().config_generation().unwrap_or_default()
    }

    fn read_config_space<T: FromBytes + IntoBytes>(&self, offset: usize) -> Result<T> {
        let mut value = T::new_zeroed();
        let bytes = value.as_mut_bytes();
        let width = width(bytes.len());
        let read = self.device.borrow_mut().read_config(offset, width, bytes);
        read.map_err(|_| Error::ConfigSpaceTooSmall)?;
        Ok(value)
    }

    fn write_config_space<T: IntoBytes + Immutable>(&mut self, offset: usize, value: T) -> Result<()> {
        let bytes = value.as_bytes();
        let written = self
            .device
            .get_mut()
            .write_config(offset, width(bytes.len()), bytes);
        written.map_err(|_| Error::ConfigSpaceTooSmall)
    }
}

/// A transport that goes away resets the device, as those of the crate do.
impl Drop for Calls<'_> {
    fn drop(&mut self) {
        self.set_status(DeviceStatus::empty());
        while self.get_status() != DeviceStatus::empty() {}
    }
}

fn width(length: usize) -> Width {
    match length {
        1 => Width::One,
        2 => Width::Two,
        _ => Width::Four,
    }
}
