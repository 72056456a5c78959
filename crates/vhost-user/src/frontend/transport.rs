//! The driver's view of a back-end.

use std::time::Duration;

use ringwright_driver::{Interrupt, Transport, TransportError};
use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use super::{Frontend, FrontendError};
use crate::message::{LOG_ALL, PROTOCOL_FEATURES, ProtocolFeatures, Request};

impl Transport for Frontend {
    fn device_id(&self) -> u32 {
        self.options.device_id
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        Ok(Frontend::device_features(self))
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        self.features = features;
        Ok(self.tell_features()?)
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        let mut status = self.status;
        if self.protocol.contains(ProtocolFeatures::STATUS) {
            status = Status(self.dialogue.number(Request::GET_STATUS)? as u8);
        } else {
            // Nobody is asked, so whether there is still somebody is to be found out.
            self.ready(None, Duration::ZERO)?;
        }
        if self.failed {
            status = status | Status::DEVICE_NEEDS_RESET;
        }
        Ok(status)
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        let starts = status.contains(Status::DRIVER_OK) && !self.status.contains(Status::DRIVER_OK);
        if status == Status::NONE {
            self.stop_all()?;
            self.in_flight = None;
            self.logging = false;
            self.config_written.clear();
        }
        if self.protocol.contains(ProtocolFeatures::STATUS) {
            self.dialogue
                .tell(Request::SET_STATUS, &u64::from(status.0), &[])?;
        } else if status == Status::NONE && self.protocol.contains(ProtocolFeatures::RESET_DEVICE) {
            self.dialogue.tell(Request::RESET_DEVICE, &(), &[])?;
        }
        self.status = status;
        // dev:core:device-status-field:01: no buffer is consumed before DRIVER_OK, so no vring runs before.
        if starts {
            self.track()?;
            self.run_all()?;
        }
        Ok(())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        Ok(if index < self.queues() {
            self.options.queue_size
        } else {
            0
        })
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        Ok(self.start_queue(index, layout, self.fresh_base())?)
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        Ok(self.stop_queue(index).map(drop)?)
    }

    /// Stopping a vring is waited for.
    fn queue_is_reset(&mut self, _index: u16) -> Result<bool, TransportError> {
        Ok(true)
    }

    /// The data has no way to the back-end, which is why it does not offer NOTIFICATION_DATA.
    fn notify(&mut self, index: u16, _data: u32) -> Result<(), TransportError> {
        Ok(self.kick(index)?)
    }

    /// The protocol has none: this counts the changes that the back-end told of.
    fn config_generation(&mut self) -> Result<u32, TransportError> {
        self.dialogue.serve_channel()?;
        Ok(self.dialogue.generation)
    }

    fn read_config(&mut self, offset: usize, _width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        self.need_config(offset, data.len())?;
        Ok(self.config(offset, data)?)
    }

    fn write_config(&mut self, offset: usize, _width: Width, data: &[u8]) -> Result<(), TransportError> {
        self.need_config(offset, data.len())?;
        self.tell_config(offset, data)?;
        let written = &mut self.config_written;
        written.retain(|(place, older)| (*place, older.len()) != (offset, data.len()));
        written.push((offset, data.to_vec()));
        Ok(())
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        Ok(self.interrupt()?)
    }

    /// Shared memory regions need SHMEM, which is not used.
    fn shared_memory(&mut self, _id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        Ok(None)
    }
}

impl Frontend {
    /// Tells the back-end the features that the driver has accepted.
    pub(super) fn tell_features(&mut self) -> Result<(), FrontendError> {
        let logging = match self.logging {
            true => LOG_ALL,
            false => Features::NONE,
        };
        let word = u64::try_from((self.features | logging | (self.offered & PROTOCOL_FEATURES)).0)
            .map_err(|_| FrontendError::Unsupported("feature bits above 63"))?;
        self.dialogue.tell(Request::SET_FEATURES, &word, &[])
    }

    /// Checks that there is a configuration space, and that the protocol has words for a part of it.
    fn need_config(&self, offset: usize, length: usize) -> Result<(), FrontendError> {
        if !self.protocol.contains(ProtocolFeatures::CONFIG) {
            return Err(FrontendError::Unsupported("a configuration space"));
        }
        match offset.checked_add(length).map(u32::try_from) {
            Some(Ok(_)) => Ok(()),
            _ => Err(FrontendError::Config { offset, length }),
        }
    }
}
