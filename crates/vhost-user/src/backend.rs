//! The back-end: serves a device to front-ends, one after the other.
//!
//! ```no_run
//! use ringwright_vhost_user::backend::{Backend, BackendOptions};
//! use ringwright_vhost_user::socket::Stop;
//! # fn device() -> Box<dyn ringwright_device::Device> { unimplemented!() }
//!
//! let listener = std::os::unix::net::UnixListener::bind("/run/rng.sock")?;
//! let mut backend = Backend::new(device(), BackendOptions::default())?;
//! backend.serve(&listener, &Stop::new()?)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod channel;
mod connection;
mod error;
mod in_flight;
mod log;
mod memory;
mod requests;
mod ring;
mod state;
mod vrings;

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use ringwright_device::{Device, Host, HostOptions};
use ringwright_memory::Memory;
use ringwright_socket::accept;
use ringwright_spec::{Features, feature};

pub use error::BackendError;
pub use memory::{MAX_SLOTS, MemorySlots};

use crate::message::ProtocolFeatures;
use crate::socket::{Socket, Stop};
use channel::Channel;
use connection::Connection;

/// The protocol features that a back-end here has.
pub const OFFERED: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::LOG_SHMFD)
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::CONFIG)
    .union(ProtocolFeatures::INFLIGHT_SHMFD)
    .union(ProtocolFeatures::RESET_DEVICE)
    .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(ProtocolFeatures::STATUS)
    .union(ProtocolFeatures::DEVICE_STATE)
    .union(ProtocolFeatures::GET_VRING_BASE_INFLIGHT);

/// The device-independent features that make sense here. The others are the front-end's own (RING_RESET,
/// NOTIFICATION_DATA, SR_IOV, ADMIN_VQ), need what is not offered (ACCESS_PLATFORM), or only slow a driver down
/// (ORDER_PLATFORM: the device is a processor like the driver's).
const RING_FEATURES: Features = feature::VERSION_1
    .union(feature::INDIRECT_DESC)
    .union(feature::EVENT_IDX)
    .union(feature::RING_PACKED)
    .union(feature::IN_ORDER);

/// How a device is served.
#[derive(Clone, Debug)]
pub struct BackendOptions {
    /// How the device's threads run.
    pub host: HostOptions,
    /// Device features that are not offered even if the device has them.
    pub masked_features: Features,
    /// Protocol features that are offered; a part of [`OFFERED`].
    pub protocol_features: ProtocolFeatures,
}

impl Default for BackendOptions {
    fn default() -> Self {
        Self {
            host: HostOptions::default(),
            masked_features: Features::NONE,
            protocol_features: OFFERED,
        }
    }
}

impl BackendOptions {
    /// What of a device's features goes to the front-end, whose messages carry 64 of them.
    fn offer(&self, host: &Host) -> Features {
        let sensible = Features(u64::MAX.into()) & (feature::DEVICE_TYPE_BITS | RING_FEATURES);
        // dev:core:feature-bits:01: what requires a masked feature goes with it.
        host.supported((host.offered_features() & sensible) - self.masked_features)
    }
}

/// A device and the threads that run it, for one front-end at a time.
pub struct Backend {
    host: Host,
    channel: Arc<Channel>,
    options: BackendOptions,
}

impl Backend {
    /// A back-end for `device`. No thread runs until a front-end starts a virtqueue. Fails if the device's description
    /// contradicts itself.
    pub fn new(device: Box<dyn Device>, mut options: BackendOptions) -> Result<Self, BackendError> {
        options.protocol_features = options.protocol_features.intersection(OFFERED);
        let channel = Arc::new(Channel::default());
        options.host.has_front_end = true;
        let host = Host::new(device, options.host.clone(), channel.clone())?;
        Ok(Self {
            host,
            channel,
            options,
        })
    }

    /// The host of the device, for its counters.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// Accepts one front-end after the other until `stop` is raised. What a front-end does wrong ends its connection
    /// only. An error is one of the listening socket.
    pub fn serve(&mut self, listener: &UnixListener, stop: &Stop) -> Result<(), BackendError> {
        while let Some(stream) = accept(listener, stop).map_err(BackendError::Listen)? {
            tracing::info!("front-end connected");
            match self.serve_connection(stream, stop) {
                Ok(()) => tracing::info!("front-end disconnected"),
                Err(error) => tracing::error!(%error, "vhost-user connection closed"),
            }
        }
        Ok(())
    }

    /// Serves one front-end on a connected stream socket until it goes or `stop` is raised, and returns the device to
    /// its initial state. Requests that are outstanding when `stop` is raised are completed first. An error is what ended the
    /// connection before that.
    pub fn serve_connection(&mut self, stream: impl Into<OwnedFd>, stop: &Stop) -> Result<(), BackendError> {
        let socket = Socket::new(stream).with_stop(stop.clone());
        self.channel.clear();
        let outcome = Connection::new(&mut self.host, &self.channel, &self.options, socket).run();
        // Told to stop, it ends what it has begun.
        if stop.is_raised()
            && let Err(error) = self.host.suspend()
        {
            tracing::warn!(%error, "requests may be left unanswered");
        }
        // Nothing of the front-end's is kept: not its memory, not its descriptors.
        self.channel.clear();
        self.host.reset();
        self.host.set_memory(Arc::new(Memory::new(Vec::new())?))?;
        match outcome {
            Err(error) if error.is_end() => Ok(()),
            outcome => outcome,
        }
    }
}
