//! Entropy device (section 5.4): fills the driver's buffers with random bytes.

pub mod backend;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ringwright_spec::{Features, entropy};

use crate::{Context, Description, Device, DeviceError, QueueDescription, Session, Worker};
use backend::Backend;

/// Most bytes that one buffer gets at a time, so that no driver can keep the device busy with one chain.
const MOST: usize = 64 * 1024;

/// The control side: it has nothing to control.
pub struct Entropy(Arc<dyn Backend>);

impl Entropy {
    /// A device that hands out what `backend` produces.
    pub fn new(backend: Arc<dyn Backend>) -> Self {
        Self(backend)
    }
}

impl Device for Entropy {
    fn description(&self) -> Description {
        Description {
            device_type: &entropy::DEVICE,
            features: Features::NONE,
            queues: vec![QueueDescription {
                max_size: 256,
                group: 0,
            }],
            config_size: 0,
            shared_memory: Vec::new(),
        }
    }

    fn worker(&mut self, _group: usize, _session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        Ok(Box::new(Requests(self.0.clone())))
    }
}

/// The data side.
struct Requests(Arc<dyn Backend>);

impl Worker for Requests {
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError> {
        context.serve(queue, |chain| {
            // Fewer bytes than the buffer has are allowed, none are not (dev:entropy:device-operation:01).
            let mut buffer = chain.writable().writer();
            let mut bytes = [0; 256];
            while buffer.written() < MOST && buffer.remaining() > 0 {
                let length = buffer.remaining().min(bytes.len());
                self.0
                    .fill(&mut bytes[..length])
                    .map_err(DeviceError::io("reading randomness"))?;
                buffer.write(&bytes[..length]);
            }
            Ok(buffer.written() as u32)
        })
    }
}
