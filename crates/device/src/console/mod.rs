//! Console device (section 5.3): ports that carry bytes both ways, each with something else behind it.

pub mod backend;
mod control;
#[cfg(test)]
mod control_tests;
mod flow;
mod handle;
mod port;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};

use ringwright_spec::Features;
use ringwright_spec::console::{Config, DEVICE, features, queue_count};
use zerocopy::IntoBytes;

use crate::{ConfigError, Description, Device, DeviceError, QueueDescription, Session, Waker, Worker};
use backend::Backend;
pub use handle::Handle;
use handle::Shared;
pub use port::{LONGEST_NAME, Port, PortError, check_names};
use worker::ConsoleWorker;

/// Most ports of a device: their virtqueues, and those for control, are the 256 that vhost-user knows.
pub const MOST_PORTS: u32 = 127;

/// Offset of `emerg_wr` in the configuration space.
const EMERG_WR: usize = std::mem::offset_of!(Config, emerg_wr);

/// Characters of emergency output that wait for the worker; more are dropped.
const EMERGENCY: usize = 4096;

/// The control side of a console.
pub struct Console {
    shared: Arc<Shared>,
    features: Features,
    /// The way to the worker while it has the ports.
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
    /// A console with one port, on `backend`; the driver learns its size, if there is one.
    pub fn new(backend: Box<dyn Backend>, size: Option<Size>) -> Self {
        let ports = Shared::new(vec![Port::console(backend, size)], 1);
        Self {
            shared: ports.expect("there is room for one port without a name"),
            features: features_of(size),
            emergency: None,
        }
    }

    /// A console with other ports beside it, numbered from 1, and room for `most` ports altogether: more can be added while it
    /// is in use. Drivers that do not know of several ports have the first one.
    pub fn with_ports(console: Port, others: Vec<Port>, most: u32) -> Result<Self, PortError> {
        let size = console.size;
        let ports = std::iter::once(console).chain(others).collect();
        Ok(Self {
            shared: Shared::new(ports, most)?,
            features: features_of(size) | features::MULTIPORT,
            emergency: None,
        })
    }

    /// A way to change it later.
    pub fn handle(&self) -> Handle {
        self.shared.handle()
    }
}

/// What a console can do whose first port has this size.
fn features_of(size: Option<Size>) -> Features {
    features::EMERG_WRITE | size.map_or(Features::NONE, |_| features::SIZE)
}

impl Device for Console {
    fn description(&self) -> Description {
        let queue = QueueDescription {
            max_size: 256,
            group: 0,
        };
        // MOST_PORTS have no more than there can be.
        let queues = queue_count(self.features, self.shared.most()).unwrap_or_default();
        Description {
            device_type: &DEVICE,
            features: self.features,
            queues: vec![queue; queues as usize],
            config_size: size_of::<Config>(),
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        let size = self
            .shared
            .size()
            .filter(|_| self.features.contains(features::SIZE));
        let size = size.unwrap_or(Size { columns: 0, rows: 0 });
        let config = Config {
            cols: size.columns.into(),
            rows: size.rows.into(),
            max_nr_ports: self.shared.most().into(),
            ..Config::default()
        };
        config.as_bytes().to_vec()
    }

    /// Only `emerg_wr` can be written, by any driver at any time (`dev:console:device-initialization:01`); its lower
    /// byte is output of port 0 (`dev:console:device-initialization:02`).
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        let length = data.len();
        let (EMERG_WR, [character, ..]) = (offset, data) else {
            return Err(ConfigError::ReadOnly { offset, length });
        };
        if let Some(mut ports) = self.shared.lend() {
            if let Some(Some(port)) = ports.first_mut() {
                port.backend.put(*character);
            }
        } else if let Some((sender, waker)) = &self.emergency
            && sender.try_send(*character).is_ok()
        {
            waker.wake();
        }
        Ok(())
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        let changes = session.waker(worker::CHANGES);
        self.shared.set_session(Some((changes, session.outlet.clone())));
        let ports = self
            .shared
            .lend()
            .ok_or(DeviceError::Unavailable("the console is in use"))?;
        let (sender, receiver) = sync_channel(EMERGENCY);
        self.emergency = Some((sender, session.waker(worker::EMERGENCY)));
        let shared = self.shared.clone();
        Ok(Box::new(ConsoleWorker::new(ports, shared, receiver, session)))
    }

    fn reset(&mut self) {
        self.shared.set_session(None);
    }
}
