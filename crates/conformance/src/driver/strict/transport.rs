//! A strict device without a bus.

use ringwright_driver::{Interrupt, Transport, TransportError};
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use super::{Shared, with};

/// The driver's view of a strict device in the same process.
#[derive(Clone)]
pub struct StrictTransport {
    device: Shared,
    id: u32,
}

impl StrictTransport {
    pub(in crate::driver) fn new(device: &Shared) -> Self {
        Self {
            device: device.clone(),
            id: with(device, |device| device.past().device.id),
        }
    }

    /// The device.
    pub fn device(&self) -> &Shared {
        &self.device
    }
}

impl Transport for StrictTransport {
    fn device_id(&self) -> u32 {
        self.id
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        Ok(with(&self.device, |device| device.features()))
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        with(&self.device, |device| device.accept(features));
        Ok(())
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        Ok(with(&self.device, |device| device.status()))
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        with(&self.device, |device| device.set_status(status));
        Ok(())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        Ok(with(&self.device, |device| device.queue_max_size(index)))
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        with(&self.device, |device| device.enable_queue(index, *layout));
        Ok(())
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        with(&self.device, |device| device.reset_queue(index));
        Ok(())
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        Ok(with(&self.device, |device| device.queue_is_reset(index)))
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        with(&self.device, |device| device.notify(index, data));
        Ok(())
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        Ok(with(&self.device, |device| device.generation()))
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        with(&self.device, |device| device.read_config(offset, width, data));
        Ok(())
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        with(&self.device, |device| device.write_config(offset, width, data));
        Ok(())
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        Ok(with(&self.device, |device| device.take_interrupt()))
    }

    fn shared_memory(&mut self, _: u8) -> Result<Option<(u64, u64)>, TransportError> {
        Ok(None)
    }
}
