//! How bytes go through a port, in both directions only as fast as the receiver takes them.

use std::io::ErrorKind;

use super::backend::Backend;
use crate::{Interest, Virtqueue};

/// Where the bytes of one port stand in a session.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// The backend has no more input, ever.
    input_ended: bool,
    /// There are buffers for input, but no input yet.
    pub wants_input: bool,
    /// There is output that the backend does not take yet.
    pub wants_output: bool,
    /// How much of the first available chain of the transmitq is output already.
    pub sent: usize,
}

impl Flow {
    /// Input goes straight from the backend into the driver's buffers. Without a buffer nothing is read: it stays where
    /// it comes from, and is not lost.
    pub fn receive(&mut self, backend: &mut dyn Backend, queue: &mut Virtqueue) {
        self.wants_input = false;
        if self.input_ended {
            return;
        }
        while let Some(chain) = queue.pop() {
            let buffer = chain.writable();
            let outcome = (!buffer.is_empty()).then(|| backend.read(buffer));
            let token = chain.into_token();
            match outcome {
                None => queue.complete(token, 0),
                Some(Ok(0)) => {
                    self.input_ended = true;
                    return queue.push_back(token);
                }
                Some(Ok(length)) => queue.complete(token, length as u32),
                Some(Err(error)) => {
                    queue.push_back(token);
                    match error.kind() {
                        ErrorKind::WouldBlock | ErrorKind::Interrupted => self.wants_input = true,
                        _ => {
                            tracing::warn!(%error, "console input ends");
                            self.input_ended = true;
                        }
                    }
                    return;
                }
            }
        }
    }

    /// Output goes straight from the driver's buffers to the backend.
    pub fn transmit(&mut self, backend: &mut dyn Backend, queue: &mut Virtqueue) {
        self.wants_output = false;
        while let Some(chain) = queue.pop() {
            let data = chain.readable();
            // The driver may have replaced a chain that was begun.
            self.sent = self.sent.min(data.len());
            let outcome = match data.part(self.sent, data.len() - self.sent) {
                Ok(rest) if !rest.is_empty() => backend.write(rest),
                _ => Ok(0),
            };
            let left = data.len() - self.sent;
            let token = chain.into_token();
            match outcome {
                Ok(length) if length < left => {
                    self.sent += length;
                    queue.push_back(token);
                    return queue.revisit();
                }
                Ok(_) => {
                    self.sent = 0;
                    queue.complete(token, 0);
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                    self.wants_output = true;
                    return queue.push_back(token);
                }
                Err(error) => {
                    tracing::warn!(%error, "console output is lost");
                    self.sent = 0;
                    queue.complete(token, 0);
                }
            }
        }
    }

    /// What the backend is waited for.
    pub fn interest(&self) -> Option<Interest> {
        Interest::of(self.wants_input, self.wants_output)
    }
}
