//! The driver's view.

use std::sync::Arc;

use ringwright_device::{ConfigError, HostError, QueueSetup};
use ringwright_driver::{Interrupt, Transport, TransportError};
use ringwright_memory::Width;
use ringwright_ring::{Layout, State};
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use crate::Loopback;

impl Transport for Loopback {
    fn device_id(&self) -> u32 {
        self.host.description().device_type.id
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        Ok(self.host.offered_features() - self.masked)
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        self.features = features;
        Ok(())
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        let needs_reset = if self.signal.needs_reset() {
            Status::DEVICE_NEEDS_RESET
        } else {
            Status::NONE
        };
        Ok(self.status | needs_reset)
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        if status == Status::NONE {
            self.host.reset();
            self.signal.clear();
            self.waiting.fill(None);
            self.status = Status::NONE;
            return Ok(());
        }
        let added = status - self.status;
        self.status = status - Status::DEVICE_NEEDS_RESET;
        if added.contains(Status::FEATURES_OK)
            && (self.features.intersects(self.masked) || self.host.set_features(self.features).is_err())
        {
            // dev:core:feature-bits:02: what is no valid subset is told by FEATURES_OK staying clear.
            self.status = self.status - Status::FEATURES_OK;
        }
        if added.contains(Status::DRIVER_OK) {
            for index in 0..self.waiting.len() as u16 {
                self.start(index)?;
            }
        }
        Ok(())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        Ok(self
            .host
            .description()
            .queues
            .get(usize::from(index))
            .map_or(0, |queue| queue.max_size))
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        let place = self
            .waiting
            .get_mut(usize::from(index))
            .ok_or(TransportError::NoQueue(index))?;
        *place = Some(*layout);
        // dev:core:device-status-field:01: no buffer is consumed before DRIVER_OK.
        if self.status.contains(Status::DRIVER_OK) {
            self.start(index)
        } else {
            Ok(())
        }
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        if self.host.is_running(index) {
            self.host.stop_queue(index).map_err(host_error)?;
        }
        Ok(())
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        Ok(!self.host.is_running(index))
    }

    fn notify(&mut self, index: u16, _data: u32) -> Result<(), TransportError> {
        self.host.kick(index);
        Ok(())
    }

    /// The configuration space is read in one piece, so there is nothing to count.
    fn config_generation(&mut self) -> Result<u32, TransportError> {
        Ok(0)
    }

    fn read_config(&mut self, offset: usize, _width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        self.host.read_config(offset, data).map_err(config_error)
    }

    fn write_config(&mut self, offset: usize, _width: Width, data: &[u8]) -> Result<(), TransportError> {
        self.host.write_config(offset, data).map_err(config_error)
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        Ok(self.signal.take())
    }

    fn shared_memory(&mut self, _id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        Ok(None)
    }
}

impl Loopback {
    fn start(&mut self, index: u16) -> Result<(), TransportError> {
        let Some(layout) = self.waiting.get_mut(usize::from(index)).and_then(Option::take) else {
            return Ok(());
        };
        let signal = Arc::clone(&self.signal);
        let setup = QueueSetup {
            layout,
            state: State::default(),
            kick: None,
            notify: Box::new(move || signal.queue()),
        };
        self.host.start_queue(index, setup).map_err(host_error)
    }
}

fn host_error(error: HostError) -> TransportError {
    tracing::debug!(%error, "loopback");
    match error {
        HostError::NoSuchQueue { index, .. } => TransportError::NoQueue(index),
        _ => TransportError::Protocol("the device's host refuses"),
    }
}

fn config_error(error: ConfigError) -> TransportError {
    match error {
        ConfigError::OutOfBounds { offset, length, .. } | ConfigError::ReadOnly { offset, length } => {
            TransportError::Config { offset, length }
        }
    }
}
