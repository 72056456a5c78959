//! Console device (section 5.3): one port that carries bytes both ways.

pub mod backend;
mod port;
#[cfg(test)]
mod tests;

use std::sync::mpsc::{SyncSender, sync_channel};

use ringwright_spec::Features;
use ringwright_spec::console::{Config, DEVICE, features};
use zerocopy::IntoBytes;

use crate::{
    ConfigError, Description, Device, DeviceError, Lender, QueueDescription, Session, Waker, Worker,
};
use backend::Backend;
use port::Port;

/// Index of the queue with the driver's buffers for input.
const RECEIVEQ: u16 = 0;
/// Index of the queue with the driver's output.
const TRANSMITQ: u16 = 1;

/// Offset of `emerg_wr` in the configuration space.
const EMERG_WR: usize = std::mem::offset_of!(Config, emerg_wr);

/// Characters of emergency output that wait for the worker; more are dropped.
const EMERGENCY: usize = 4096;

/// The control side of a console.
pub struct Console {
    backend: Lender<Box<dyn Backend>>,
    size: Option<Size>,
    /// The way to the worker while it has the backend.
    emergency: Option<(SyncSender<u8>, Waker)>,
}

/// Size of a console in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Width.
    pub columns: u16,
    /// Height.
    pub rows: u16,
}

impl Console {
    /// A console on `backend`; the driver learns its size, if there is one.
    pub fn new(backend: Box<dyn Backend>, size: Option<Size>) -> Self {
        Self {
            backend: Lender::new(backend),
            size,
            emergency: None,
        }
    }
}

impl Device for Console {
    fn description(&self) -> Description {
        let size = self.size.map_or(Features::NONE, |_| features::SIZE);
        Description {
            device_type: &DEVICE,
            features: features::EMERG_WRITE | size,
            queues: vec![
                QueueDescription {
                    max_size: 256,
                    group: 0
                };
                2
            ],
            config_size: size_of::<Config>(),
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        let size = self.size.unwrap_or(Size { columns: 0, rows: 0 });
        let config = Config {
            cols: size.columns.into(),
            rows: size.rows.into(),
            max_nr_ports: 1.into(),
            ..Config::default()
        };
        config.as_bytes().to_vec()
    }

    /// Only `emerg_wr` can be written, by any driver at any time (`dev:console:device-initialization:01`); its lower
    /// byte is output (`dev:console:device-initialization:02`).
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        let length = data.len();
        let (EMERG_WR, [character, ..]) = (offset, data) else {
            return Err(ConfigError::ReadOnly { offset, length });
        };
        if let Some(mut backend) = self.backend.lend() {
            backend.put(*character);
        } else if let Some((sender, waker)) = &self.emergency
            && sender.try_send(*character).is_ok()
        {
            waker.wake();
        }
        Ok(())
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        let backend = self
            .backend
            .lend()
            .ok_or(DeviceError::Unavailable("the console is in use"))?;
        let (sender, receiver) = sync_channel(EMERGENCY);
        self.emergency = Some((sender, session.waker(port::EMERGENCY)));
        Ok(Box::new(Port::new(backend, receiver)))
    }
}
