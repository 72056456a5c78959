//! Network device (section 5.1): pairs of queues, with offloads, and a control queue.

pub mod backend;
mod coalescing;
#[cfg(test)]
mod coalescing_tests;
mod control;
#[cfg(test)]
mod control_tests;
mod filter;
mod framing;
mod hash;
mod interface;
#[cfg(test)]
mod legacy_tests;
mod numbering;
pub mod offload;
#[cfg(test)]
mod offload_tests;
mod packet;
mod spreading;
#[cfg(test)]
mod spreading_tests;
mod statistics;
mod steering;
#[cfg(test)]
mod steering_tests;
#[cfg(test)]
mod tests;
mod tunnel;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_spec::Features;
use ringwright_spec::network::config::{MIN_MTU, Status};
use ringwright_spec::network::control::GuestOffloads;
use ringwright_spec::network::{Config, DEVICE, features};
use zerocopy::IntoBytes;

use crate::codec::Rest;
use crate::{ConfigError, Description, Device, DeviceError, Lender, QueueDescription, Session, Worker};
use backend::Backend;
use coalescing::Parameters;
use filter::{Address, Filter};
use interface::Interface;
use numbering::Numbering;
use spreading::{MAX_ENTRIES, Spreading, TUNNELS};

/// Index of the first queue with the driver's buffers for frames.
const RECEIVEQ1: u16 = 0;
/// Index of the first queue with the driver's frames.
const TRANSMITQ1: u16 = 1;
/// Index of the queue with the driver's commands behind one pair of the others.
const CONTROLQ: u16 = 2;

/// Most frames and buffers that wait in a queue.
const FRAMES: u16 = 1024;

/// Most commands that wait: as many as frames, as a vhost-user front-end cannot know that there are fewer.
const COMMANDS: u16 = FRAMES;

/// Most pairs of queues: as many as vhost-user can name, with one queue for commands.
pub const MAX_QUEUE_PAIRS: u16 = 127;

/// An address that is none, where one is kept in 64 bits.
const NO_ADDRESS: u64 = u64::MAX;

/// How a network interface presents itself.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Its MAC address; without, the driver chooses one.
    pub mac: Option<[u8; 6]>,
    /// The maximum MTU, at least 68 (`dev:net:device-configuration-layout:02`); without, the driver is told none.
    pub mtu: Option<u16>,
    /// Whether there is a control queue, by which the driver chooses what it receives, sets its address and asks for
    /// statistics. A vhost-user front-end with a control queue of its own, as QEMU is, needs none here.
    pub control: bool,
    /// How many pairs of queues there are, from 1 to [`MAX_QUEUE_PAIRS`]. A driver begins with the first one, and enables more
    /// by the control queue: the interface's, or that of a vhost-user front-end, which then enables the queues. All are
    /// served by one thread.
    pub queue_pairs: u16,
    /// Whether the driver may have frames spread over the pairs by their hash (receive-side scaling), for which it needs the
    /// interface's control queue and more than one pair.
    pub scaling: bool,
    /// Whether the driver may have the hash of each frame reported, for which it needs the interface's control queue.
    pub hash_report: bool,
}

impl Default for Options {
    /// No address, no MTU, no control queue, one pair.
    fn default() -> Self {
        Self {
            mac: None,
            mtu: None,
            control: false,
            queue_pairs: 1,
            scaling: false,
            hash_report: false,
        }
    }
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
    /// The number of pairs.
    #[error("{0} pairs of queues: must be from 1 to {MAX_QUEUE_PAIRS}")]
    QueuePairs(u16),
}

/// The control side of a network interface.
pub struct Network {
    backend: Lender<Box<dyn Backend>>,
    /// What the backend may leave to the driver.
    received: Features,
    options: Options,
    shared: Arc<Shared>,
}

/// What both sides of the device know.
#[derive(Debug, Default)]
struct Shared {
    link_up: AtomicBool,
    /// Which the driver may change until the device is reset, by the control queue, or as a legacy driver.
    mac: Mac,
    /// The driver is asked to announce itself.
    announce: AtomicBool,
    /// What the driver has said by the control queue, as the worker left it last.
    filter: Mutex<Filter>,
    spreading: Mutex<Spreading>,
    /// The same of its offloads.
    accepted: Mutex<Option<GuestOffloads>>,
    coalescing: Mutex<Parameters>,
    dropped_receive: AtomicU64,
    dropped_transmit: AtomicU64,
}

/// The MAC address of an interface, if it has one.
#[derive(Debug)]
struct Mac(AtomicU64);

impl Default for Mac {
    fn default() -> Self {
        Self(NO_ADDRESS.into())
    }
}

impl Mac {
    fn get(&self) -> Option<Address> {
        match self.0.load(Ordering::Relaxed) {
            NO_ADDRESS => None,
            mac => mac.to_le_bytes().first_chunk().copied(),
        }
    }

    fn set(&self, mac: Option<Address>) {
        let bits = mac.map_or(NO_ADDRESS, |[a, b, c, d, e, f]| {
            u64::from_le_bytes([a, b, c, d, e, f, 0, 0])
        });
        self.0.store(bits, Ordering::Relaxed);
    }
}

impl Shared {
    fn filter(&self) -> MutexGuard<'_, Filter> {
        self.filter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn spreading(&self) -> MutexGuard<'_, Spreading> {
        self.spreading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which offloads the driver has switched on by a command; `None` if there was none, and all are on.
    fn accepted(&self) -> MutexGuard<'_, Option<GuestOffloads>> {
        self.accepted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn coalescing(&self) -> MutexGuard<'_, Parameters> {
        self.coalescing.lock().unwrap_or_else(PoisonError::into_inner)
    }
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
        if let Some(mac) = options.mac.filter(|mac| !is_of_interface(*mac)) {
            return Err(OptionsError::Mac(mac));
        }
        if !(1..=MAX_QUEUE_PAIRS).contains(&options.queue_pairs) {
            return Err(OptionsError::QueuePairs(options.queue_pairs));
        }
        let shared = Shared {
            link_up: backend.connected().into(),
            ..Shared::default()
        };
        shared.mac.set(options.mac);
        Ok(Self {
            received: backend.offloads() & offload::RECEIVED,
            backend: Lender::new(backend),
            options,
            shared: Arc::new(shared),
        })
    }

    /// Whether frames can be spread over pairs by their hash.
    fn scales(&self) -> bool {
        self.options.control && self.options.scaling && self.options.queue_pairs > 1
    }

    /// Whether the hash of each frame can be reported.
    fn reports(&self) -> bool {
        self.options.control && self.options.hash_report
    }

    fn hashes(&self) -> bool {
        self.scales() || self.reports()
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
        let queue = |max_size| QueueDescription { max_size, group: 0 };
        let mut queues = vec![queue(FRAMES); 2 * usize::from(self.options.queue_pairs)];
        if self.options.control {
            queues.push(queue(COMMANDS));
        }
        // Without a control queue nothing may be offered that is used through it. Where there is none for several pairs, it is a
        // front-end that has it.
        let has_control = self.options.control;
        let used_by_commands = [
            (features::MQ, self.options.queue_pairs > 1),
            (features::HASH_TUNNEL, self.hashes()),
            (features::RSS | features::RSS_CONTEXT, self.scales()),
            (features::HASH_REPORT, self.reports()),
            (control::FEATURES, has_control),
            (
                features::CTRL_GUEST_OFFLOADS,
                has_control && self.received != Features::NONE,
            ),
        ];
        let control = used_by_commands
            .into_iter()
            .filter(|(_, is_had)| *is_had)
            .fold(Features::NONE, |all, (feature, _)| all | feature);
        let offloads = offload::TRANSMITTED | self.received;
        Description {
            device_type: &DEVICE,
            features: features::MRG_RXBUF | features::STATUS | mac | mtu | control | offloads,
            queues,
            config_size: size_of::<Config>(),
            shared_memory: Vec::new(),
        }
    }

    fn left_to_front_end(&self) -> Features {
        features::CTRL_VQ
    }

    fn config(&self) -> Vec<u8> {
        let mut status = Status::NONE;
        for (bit, is_set) in [
            (Status::LINK_UP, &self.shared.link_up),
            (Status::ANNOUNCE, &self.shared.announce),
        ] {
            if is_set.load(Ordering::Relaxed) {
                status = status | bit;
            }
        }
        let mut config = Config {
            mac: self.shared.mac.get().unwrap_or_default(),
            status: status.0.into(),
            // dev:net:device-configuration-layout:01
            max_virtqueue_pairs: self.options.queue_pairs.into(),
            mtu: self.options.mtu.unwrap_or_default().into(),
            ..Config::default()
        };
        if self.hashes() {
            config.rss_max_key_size = hash::MAX_KEY as u8;
            config.rss_max_indirection_table_length = MAX_ENTRIES.into();
            config.supported_hash_types = hash::TYPES.0.into();
            config.supported_tunnel_types = TUNNELS.0.into();
        }
        config.as_bytes().to_vec()
    }

    /// Legacy drivers set the MAC address here (section 5.1.4.3).
    fn write_legacy_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        let length = data.len();
        let mut mac = self.shared.mac.get().unwrap_or_default();
        let place = mac.get_mut(offset..offset + length);
        place
            .ok_or(ConfigError::ReadOnly { offset, length })?
            .copy_from_slice(data);
        self.shared.mac.set(Some(mac));
        Ok(())
    }

    /// Of what the driver has said nothing is left (dev:net:setting-mac-address-filtering:01).
    fn reset(&mut self) {
        self.shared.mac.set(self.options.mac);
        self.shared.announce.store(false, Ordering::Relaxed);
        *self.shared.filter() = Filter::default();
        *self.shared.spreading() = Spreading::default();
        *self.shared.accepted() = None;
        *self.shared.coalescing() = Parameters::default();
    }

    fn save(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mac = self.shared.mac.get();
        bytes.push(mac.is_some().into());
        bytes.extend(mac.unwrap_or_default());
        self.shared.filter().save(&mut bytes);
        self.shared.spreading().save(&mut bytes);
        let accepted = *self.shared.accepted();
        bytes.push(accepted.is_some().into());
        bytes.extend(accepted.unwrap_or(GuestOffloads::NONE).0.to_le_bytes());
        self.shared.coalescing().save(&mut bytes);
        bytes
    }

    /// The driver may be elsewhere now, so it is asked to announce itself.
    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        let mut rest = Rest::all(state);
        let mut read = || {
            let (has_mac, mac) = (rest.flag()?, rest.array()?);
            let filter = Filter::restore(&mut rest)?;
            let spreading = Spreading::restore(&mut rest, self.options.queue_pairs)?;
            let (has_offloads, offloads) = (rest.flag()?, GuestOffloads(rest.u64()?));
            let accepted = has_offloads.then_some(offloads);
            let coalescing = Parameters::restore(&mut rest)?;
            let mac = has_mac.then_some(mac);
            rest.is_empty()
                .then_some((mac, filter, spreading, accepted, coalescing))
        };
        let (mac, filter, spreading, accepted, coalescing) = read().ok_or_else(|| DeviceError::SavedState {
            expected: "a MAC address, a filter, how frames are spread over pairs of queues, offloads, and how to notify",
            found: format!("{} bytes that are none", state.len()),
        })?;
        self.shared.mac.set(mac);
        self.shared
            .announce
            .store(self.options.control, Ordering::Relaxed);
        *self.shared.filter() = filter;
        *self.shared.spreading() = spreading;
        *self.shared.accepted() = accepted;
        *self.shared.coalescing() = coalescing;
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
            Numbering::new(session.features, self.options.queue_pairs),
            session,
        )))
    }
}

/// Whether an address can be that of an interface.
fn is_of_interface(mac: Address) -> bool {
    mac[0] & 1 == 0 && mac != [0; 6]
}
