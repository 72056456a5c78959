//! Network device (section 5.1): one pair of queues, whole frames, no offloads.

pub mod backend;
mod interface;
#[cfg(test)]
mod legacy_tests;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ringwright_spec::Features;
use ringwright_spec::network::config::{MIN_MTU, Status};
use ringwright_spec::network::{Config, DEVICE, features};
use zerocopy::IntoBytes;

use crate::{ConfigError, Description, Device, DeviceError, Lender, QueueDescription, Session, Worker};
use backend::Backend;
use interface::Interface;

/// Index of the queue with the driver's buffers for frames.
const RECEIVEQ1: u16 = 0;
/// Index of the queue with the driver's frames.
const TRANSMITQ1: u16 = 1;

/// How a network interface presents itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Its MAC address; without, the driver chooses one.
    pub mac: Option<[u8; 6]>,
    /// The maximum MTU, at least 68 (`dev:net:device-configuration-layout:02`); without, the driver is told none.
    pub mtu: Option<u16>,
}

/// Options that no network interface can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// The MTU.
    #[error("an MTU of {0}: must be at least {MIN_MTU}")]
    Mtu(u16),
    /// The MAC address.
    #[error("MAC address {0:02x?}: must be that of one interface, neither multicast nor zero")]
    Mac([u8; 6]),
}

/// The control side of a network interface.
pub struct Network {
    backend: Lender<Box<dyn Backend>>,
    options: Options,
    /// The MAC address, which legacy drivers may change until the device is reset.
    mac: Option<[u8; 6]>,
    shared: Arc<Shared>,
}

/// What both sides of the device know.
#[derive(Debug, Default)]
struct Shared {
    link_up: AtomicBool,
    dropped_receive: AtomicU64,
    dropped_transmit: AtomicU64,
}

/// A look at the frames that an interface drops, from any thread.
#[derive(Clone, Debug)]
pub struct Drops(Arc<Shared>);

impl Drops {
    /// Frames for the driver that are larger than its buffers, or than the MTU.
    pub fn receive(&self) -> u64 {
        self.0.dropped_receive.load(Ordering::Relaxed)
    }

    /// Frames of the driver that are malformed, or sent while the link is down.
    pub fn transmit(&self) -> u64 {
        self.0.dropped_transmit.load(Ordering::Relaxed)
    }
}

impl Network {
    /// An interface whose frames go through `backend`.
    pub fn new(backend: Box<dyn Backend>, options: Options) -> Result<Self, OptionsError> {
        if let Some(mtu) = options.mtu.filter(|mtu| *mtu < MIN_MTU) {
            return Err(OptionsError::Mtu(mtu));
        }
        if let Some(mac) = options.mac.filter(|mac| mac[0] & 1 != 0 || *mac == [0; 6]) {
            return Err(OptionsError::Mac(mac));
        }
        let shared = Shared {
            link_up: backend.connected().into(),
            ..Shared::default()
        };
        Ok(Self {
            backend: Lender::new(backend),
            mac: options.mac,
            options,
            shared: Arc::new(shared),
        })
    }

    /// The frames that this interface drops.
    pub fn drops(&self) -> Drops {
        Drops(self.shared.clone())
    }
}

impl Device for Network {
    fn description(&self) -> Description {
        let mac = self.options.mac.map_or(Features::NONE, |_| features::MAC);
        let mtu = self.options.mtu.map_or(Features::NONE, |_| features::MTU);
        Description {
            device_type: &DEVICE,
            // There is no control queue, so nothing may be offered that is used through it.
            features: features::MRG_RXBUF | features::STATUS | mac | mtu,
            queues: vec![
                QueueDescription {
                    max_size: 1024,
                    group: 0
                };
                2
            ],
            config_size: size_of::<Config>(),
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        let status = match self.shared.link_up.load(Ordering::Relaxed) {
            true => Status::LINK_UP,
            false => Status::NONE,
        };
        let config = Config {
            mac: self.mac.unwrap_or_default(),
            status: status.0.into(),
            max_virtqueue_pairs: 1.into(),
            mtu: self.options.mtu.unwrap_or_default().into(),
            ..Config::default()
        };
        config.as_bytes().to_vec()
    }

    /// Legacy drivers set the MAC address here (section 5.1.4.3).
    fn write_legacy_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        let length = data.len();
        let mut mac = self.mac.unwrap_or_default();
        let place = mac.get_mut(offset..offset + length);
        place
            .ok_or(ConfigError::ReadOnly { offset, length })?
            .copy_from_slice(data);
        self.mac = Some(mac);
        Ok(())
    }

    fn reset(&mut self) {
        self.mac = self.options.mac;
    }

    fn save(&self) -> Vec<u8> {
        self.mac.map(Vec::from).unwrap_or_default()
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        self.mac = match state {
            [] => None,
            _ => Some(state.try_into().map_err(|_| DeviceError::SavedState {
                expected: "a MAC address or nothing",
                found: format!("{} bytes", state.len()),
            })?),
        };
        Ok(())
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        let backend = self.backend.lend();
        Ok(Box::new(Interface::new(
            backend.ok_or(DeviceError::Unavailable("the network interface is in use"))?,
            self.shared.clone(),
            self.options
                .mtu
                .filter(|_| session.features.contains(features::MTU)),
            session,
        )))
    }
}
