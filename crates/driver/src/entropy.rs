//! Entropy driver (section 5.4).

use alloc::sync::Arc;

use ringwright_memory::{Area, Buffer};
use ringwright_ring::{AddError, DriverQueue};
use ringwright_spec::Features;
use ringwright_spec::entropy::{DEVICE, REQUESTQ};

use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};

/// A source of random bytes.
pub struct Entropy<T: Transport> {
    session: Session<T>,
    requests: DriverQueue<Buffer>,
}

impl<T: Transport> Entropy<T> {
    /// Takes the device behind `transport`; its virtqueue and buffers lie in `area`.
    pub fn new(transport: T, area: &Arc<Area>, options: Options) -> Result<Self, DriverError> {
        let mut setup = Setup::begin(transport, area, &DEVICE, Features::NONE, options)?;
        let requests = setup.queue(REQUESTQ, 1)?;
        Ok(Self {
            session: setup.finish()?,
            requests,
        })
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// Asks the device to fill `buffer`; gives it back if too many requests are outstanding.
    pub fn request(&mut self, buffer: Buffer) -> Result<Result<(), Buffer>, DriverError> {
        // drv:entropy:device-operation:01: the buffer is device-writable only.
        match self.requests.add(&[], &[buffer.segment()], buffer) {
            Ok(_) => self.session.publish(REQUESTQ, &mut self.requests).map(Ok),
            Err(AddError { data, .. }) => Ok(Err(data)),
        }
    }

    /// A buffer that the device has filled, with the number of random bytes at its start
    /// (`drv:entropy:device-operation:02`).
    pub fn poll(&mut self) -> Result<Option<(Buffer, usize)>, DriverError> {
        Ok(self
            .requests
            .pop()?
            .map(|used| (used.data, used.written as usize)))
    }

    /// Asks for a notification when a buffer is filled, before waiting for one. `true`: one is filled already.
    pub fn enable_notifications(&mut self) -> bool {
        self.requests.enable_notifications()
    }
}

#[cfg(test)]
#[path = "entropy_tests.rs"]
mod tests;
