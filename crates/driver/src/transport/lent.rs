//! Transports that drivers borrow.

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use super::{Interrupt, Legacy, Transport, TransportError};

/// A transport that is lent to a driver serves another one afterwards.
impl<T: Transport + ?Sized> Transport for &mut T {
    fn device_id(&self) -> u32 {
        (**self).device_id()
    }

    fn legacy(&self) -> Option<Legacy> {
        (**self).legacy()
    }

    fn unsupported_features(&self) -> Features {
        (**self).unsupported_features()
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        (**self).device_features()
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        (**self).set_driver_features(features)
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        (**self).status()
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        (**self).set_status(status)
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        (**self).queue_max_size(index)
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        (**self).enable_queue(index, layout)
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        (**self).reset_queue(index)
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        (**self).queue_is_reset(index)
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        (**self).notify(index, data)
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        (**self).config_generation()
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        (**self).read_config(offset, width, data)
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        (**self).write_config(offset, width, data)
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        (**self).take_interrupt()
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        (**self).shared_memory(id)
    }
}
