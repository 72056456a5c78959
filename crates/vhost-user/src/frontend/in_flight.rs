//! The memory in which the back-end tracks requests in flight, kept here for the back-end that may come after it.

use std::os::fd::{AsFd, OwnedFd};

use super::{Frontend, FrontendError};
use crate::message::{Inflight, ProtocolFeatures, Request};

/// Where it is.
#[derive(Debug)]
pub(super) struct InFlight {
    file: OwnedFd,
    description: Inflight,
}

impl Frontend {
    /// Gets fresh memory for the virtqueues that are set up, if the back-end tracks.
    pub(super) fn track(&mut self) -> Result<(), FrontendError> {
        self.in_flight = None;
        if !self.protocol.contains(ProtocolFeatures::INFLIGHT_SHMFD) {
            return Ok(());
        }
        let sizes = self.queues.iter().filter_map(|queue| Some(queue.layout()?.size));
        let Some(queue_size) = sizes.max() else {
            return Ok(());
        };
        let request = Request::GET_INFLIGHT_FD;
        let asked = Inflight {
            queues: self.queues(),
            queue_size,
            ..Inflight::default()
        };
        let mut reply = self.dialogue.ask(request, &asked, &[])?;
        let (description, file) = (reply.read::<Inflight>(), reply.descriptors.pop());
        let (Some(description), Some(file)) = (description, file) else {
            return Err(FrontendError::Answer {
                request,
                found: request,
                flags: reply.header.flags,
                size: reply.payload.len(),
            });
        };
        self.in_flight = Some(InFlight { file, description });
        self.hand_on_tracking()
    }

    /// Gives the memory to the back-end.
    pub(super) fn hand_on_tracking(&mut self) -> Result<(), FrontendError> {
        match &self.in_flight {
            Some(InFlight { file, description }) => {
                self.dialogue
                    .tell(Request::SET_INFLIGHT_FD, description, &[file.as_fd()])
            }
            None => Ok(()),
        }
    }
}
