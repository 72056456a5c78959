//! Another back-end in the place of one that is gone.

use std::os::fd::OwnedFd;

use ringwright_memory::Memory;
use ringwright_ring::Layout;
use ringwright_spec::feature;
use ringwright_spec::status::Status;

use super::{Agreement, Frontend, FrontendError};
use crate::message::{PROTOCOL_FEATURES, ProtocolFeatures, Request};

impl Frontend {
    /// Goes on with the back-end on another connected stream socket, after the one before it has gone: in
    /// [`TransportError::Gone`](ringwright_driver::TransportError::Gone), or in silence. The driver goes on with its session
    /// as if nothing had happened: each request that was out is completed once.
    ///
    /// Needs INFLIGHT_SHMFD on both sides, unless no virtqueue runs, and a back-end that offers what was negotiated. After
    /// an error this may be called again.
    pub fn reconnect(&mut self, stream: impl Into<OwnedFd>) -> Result<(), FrontendError> {
        let running = self.queues.iter().any(|queue| queue.running);
        if running && self.in_flight.is_none() {
            return Err(FrontendError::Unsupported("tracking of requests in flight"));
        }
        let agreement = Agreement::reach(stream, &self.options)?;
        let lacking = (self.features | (self.offered & PROTOCOL_FEATURES)) - agreement.offered;
        if !lacking.is_empty() {
            return Err(FrontendError::Unsupported("the features that were negotiated"));
        }
        if running && !agreement.protocol.contains(ProtocolFeatures::INFLIGHT_SHMFD) {
            return Err(FrontendError::Unsupported("tracking of requests in flight"));
        }
        if agreement.queues < self.queues.len() as u64 {
            return Err(FrontendError::Unsupported("as many virtqueues as before"));
        }
        let generation = self.dialogue.generation;
        self.dialogue = agreement.dialogue;
        // What was in the configuration space of the other process may be different here.
        self.dialogue.config_changed = true;
        self.dialogue.generation = generation.wrapping_add(1);
        self.offered = agreement.offered;
        self.protocol = agreement.protocol;
        self.shared = false;
        // The log is between the front-end and the process that was told of it.
        self.logging = false;
        if self.status.contains(Status::FEATURES_OK) {
            self.tell_features()?;
        }
        if self.status.contains(Status::DRIVER_OK) {
            self.share()?;
            self.hand_on_tracking()?;
        }
        if self.protocol.contains(ProtocolFeatures::STATUS) {
            self.dialogue
                .tell(Request::SET_STATUS, &u64::from(self.status.0), &[])?;
        }
        // What the driver has switched there is as it was before anything goes on.
        for (offset, data) in self.config_written.clone() {
            self.tell_config(offset, &data)?;
        }
        for index in 0..self.queues() {
            self.set_up_again(index)?;
        }
        Ok(())
    }

    /// Sets a virtqueue up as it was, and starts it if it ran.
    fn set_up_again(&mut self, index: u16) -> Result<(), FrontendError> {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return Ok(());
        };
        let Some(layout) = queue.layout() else {
            return Ok(());
        };
        let ran = queue.running;
        let base = self.base_of(&layout)?;
        self.tell_queue(index, &layout, base)?;
        if ran {
            // What ran stays one that is to run, wherever this comes to an end.
            self.run_again(index)?;
            // What was on the way to the other process, and what was on the way from it.
            self.kick(index)?;
            self.wake(index)?;
        }
        Ok(())
    }

    /// The vring base to give for a virtqueue in use, as far as it can be seen from here: of a split one, where the device has
    /// come to with giving back. Back-ends take from the tracking where they really are.
    fn base_of(&self, layout: &Layout) -> Result<u32, FrontendError> {
        if self.features.contains(feature::RING_PACKED) {
            return Ok(self.fresh_base());
        }
        let mut used = [0; 2];
        let memory = Memory::new(self.regions.clone());
        let read = memory.is_ok_and(|memory| memory.read(layout.device_area + 2, &mut used).is_ok());
        match read {
            true => Ok(u16::from_le_bytes(used).into()),
            false => Err(FrontendError::NotShared(layout.device_area)),
        }
    }
}
