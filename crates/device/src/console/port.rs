//! The data side of a console: one port.

use std::io::ErrorKind;
use std::sync::mpsc::Receiver;

use super::backend::Backend;
use super::{RECEIVEQ, TRANSMITQ};
use crate::{Context, DeviceError, Interest, Loan, Source, Worker};

/// Where a backend's descriptors report.
pub(super) const BACKEND: Source = Source(0);
/// Where emergency output reports.
pub(super) const EMERGENCY: Source = Source(1);

/// Carries bytes between the two queues and the backend, in both directions only as fast as the receiver takes them.
pub(super) struct Port {
    backend: Loan<Box<dyn Backend>>,
    emergency: Receiver<u8>,
    /// The backend has no more input, ever.
    input_ended: bool,
    /// There are buffers for input, but no input yet.
    wants_input: bool,
    /// There is output that the backend does not take yet.
    wants_output: bool,
    /// How much of the first available chain of the transmitq is output already.
    sent: usize,
}

impl Port {
    pub fn new(backend: Loan<Box<dyn Backend>>, emergency: Receiver<u8>) -> Self {
        Self {
            backend,
            emergency,
            input_ended: false,
            wants_input: false,
            wants_output: false,
            sent: 0,
        }
    }

    /// Input goes straight from the backend into the driver's buffers. Without a buffer nothing is read: it stays where
    /// it comes from, and is not lost.
    fn receive(&mut self, context: &mut Context) {
        self.wants_input = false;
        let Some(queue) = context.queue(RECEIVEQ).filter(|_| !self.input_ended) else {
            return;
        };
        while let Some(chain) = queue.pop() {
            let buffer = chain.writable();
            let outcome = (!buffer.is_empty()).then(|| self.backend.read(buffer));
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

    fn transmit(&mut self, context: &mut Context) {
        self.wants_output = false;
        let Some(queue) = context.queue(TRANSMITQ) else {
            return;
        };
        while let Some(chain) = queue.pop() {
            let data = chain.readable();
            // The driver may have replaced a chain that was begun.
            self.sent = self.sent.min(data.len());
            let outcome = match data.part(self.sent, data.len() - self.sent) {
                Ok(rest) if !rest.is_empty() => self.backend.write(rest),
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

    fn watch(&mut self, context: &mut Context) -> Result<(), DeviceError> {
        let interest = Interest::of(self.wants_input, self.wants_output);
        self.backend.watch(context, interest)
    }
}

impl Worker for Port {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match queue {
            RECEIVEQ => self.receive(context),
            _ => self.transmit(context),
        }
        self.watch(context)
    }

    fn source_ready(&mut self, context: &mut Context, source: Source) -> Result<(), DeviceError> {
        if source == EMERGENCY {
            for character in self.emergency.try_iter() {
                self.backend.put(character);
            }
            return Ok(());
        }
        if self.wants_input {
            self.receive(context);
        }
        if self.wants_output {
            self.transmit(context);
        }
        self.watch(context)
    }

    fn stop_queue(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        match queue {
            RECEIVEQ => self.wants_input = false,
            _ => self.wants_output = false,
        }
        self.watch(context)
    }

    fn save(&self) -> Vec<u8> {
        (self.sent as u64).to_le_bytes().to_vec()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        let bytes = state.try_into().map_err(|_| DeviceError::SavedState {
            expected: "8 bytes",
            found: format!("{} bytes", state.len()),
        })?;
        self.sent = u64::from_le_bytes(bytes) as usize;
        Ok(())
    }
}
