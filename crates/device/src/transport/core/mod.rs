//! What the transports have in common: a device with status, features, virtqueues, configuration space and notifications,
//! as the driver reaches it, but without registers.

mod config;
mod legacy;
mod level;
mod negotiation;
mod notifier;
mod queues;
mod relay;
mod signal;
mod snapshot;
mod status;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ringwright_memory::Memory;
use ringwright_ring::ByteOrder;
use ringwright_spec::{Features, Status, feature};

use crate::{Description, Device, Host, HostError, HostOptions, Meter, QueueCounters};

use self::config::Generation;
pub(crate) use self::level::Level;
pub use self::notifier::Notifier;
use self::queues::Queue;
pub(crate) use self::queues::{set_high, set_low};
pub use self::relay::Relay;
use self::signal::Signal;
pub use self::snapshot::SnapshotError;

/// How a transport presents a device, whichever it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// How long the device's threads look for work before they sleep. Zero: not at all.
    pub busy_poll: Duration,
    /// Features that are not offered even if device, rings and transport have them.
    pub masked_features: Features,
    /// Features that are the platform's to offer: ACCESS_PLATFORM if the memory has a translation, ORDER_PLATFORM if the
    /// processors see memory as devices do. All others are ignored.
    pub platform_features: Features,
    /// Byte order of a guest whose driver uses the legacy interface.
    pub legacy_byte_order: ByteOrder,
    /// What stands between the virtqueues and the driver, if anything.
    pub relay: Option<Arc<dyn Relay>>,
    /// The processors of the device's threads (see [`HostOptions::processors`]).
    pub processors: Vec<usize>,
}

impl Default for Options {
    /// Everything that device, rings and transport have, and nothing of the platform's.
    fn default() -> Self {
        Self {
            busy_poll: Duration::ZERO,
            masked_features: Features::NONE,
            platform_features: Features::NONE,
            legacy_byte_order: ByteOrder::NATIVE,
            relay: None,
            processors: Vec::new(),
        }
    }
}

/// Where a device's notifications go: the interrupts of a transport. Called from any of the device's threads; returns at
/// once and does not reach for the [`Core`].
pub(crate) trait Sink: Send + Sync {
    /// A used buffer notification of this virtqueue.
    fn used_buffer(&self, queue: u16);

    /// A configuration change notification.
    fn config_changed(&self);
}

/// Which of its two faces a transitional device shows (section 1.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Interface {
    /// The one of this document.
    Modern,
    /// The one from before it: no FEATURES_OK, features 0 to 31, the guest's byte order, virtqueues in one piece.
    Legacy,
}

/// A device as its driver reaches it, over whatever transport.
///
/// Methods that the driver triggers do not fail: what a driver does wrong is ignored, or breaks the device until it is
/// reset (DEVICE_NEEDS_RESET), with a logged reason.
pub(crate) struct Core {
    host: Host,
    sink: Arc<dyn Sink>,
    signal: Arc<Signal>,
    notifier: Notifier,
    relay: Option<Arc<dyn Relay>>,
    legacy_byte_order: ByteOrder,
    interface: Interface,
    status: Status,
    /// What the driver has written so far.
    driver_features: Features,
    queues: Vec<Queue>,
    generation: Generation,
    /// Whether the device may reach memory; else its virtqueues rest.
    dma: bool,
    /// The monitor has paused the device.
    paused: bool,
}

impl Core {
    /// A device that no driver has met yet. `features` are those that the transport adds; `interface` is the face that it
    /// shows first.
    pub fn new(
        device: Box<dyn Device>,
        options: &Options,
        features: Features,
        interface: Interface,
        sink: Arc<dyn Sink>,
    ) -> Result<Self, HostError> {
        let platform = options.platform_features & (feature::ACCESS_PLATFORM | feature::ORDER_PLATFORM);
        let host_options = HostOptions {
            busy_poll: options.busy_poll,
            transport_features: features | platform,
            // dev:feat:reserved-feature-bits:01
            masked_features: options.masked_features - feature::VERSION_1,
            legacy_byte_order: options.legacy_byte_order,
            processors: options.processors.clone(),
            ..HostOptions::default()
        };
        let signal = Arc::new(Signal::new(sink.clone()));
        let host = Host::new(device, host_options, signal.clone())?;
        let queues = &host.description().queues;
        let notifier = Notifier::new(queues.len()).map_err(HostError::Kick)?;
        Ok(Self {
            queues: queues.iter().map(|queue| Queue::new(queue.max_size)).collect(),
            generation: Generation::new(host.config()),
            legacy_byte_order: options.legacy_byte_order,
            relay: options.relay.clone(),
            status: Status::NONE,
            driver_features: Features::NONE,
            dma: true,
            paused: false,
            interface,
            notifier,
            signal,
            sink,
            host,
        })
    }

    /// Virtio device id.
    pub fn device_id(&self) -> u32 {
        self.host.description().device_type.id
    }

    /// What the device is.
    pub fn description(&self) -> &Description {
        self.host.description()
    }

    /// Bytes of the configuration space.
    pub fn config_size(&self) -> u64 {
        self.host.config().len() as u64
    }

    /// What has gone through each queue, by index.
    pub fn counters(&self) -> Vec<QueueCounters> {
        self.host.counters()
    }

    /// The same from any thread, and later.
    pub fn meter(&self) -> Meter {
        self.host.meter()
    }

    /// The memory that the driver's addresses lead to, from now on, also while queues run. A virtqueue that is not in it rests
    /// until it is again: a monitor that rearranges memory takes it away and gives it back in pieces.
    pub fn set_memory(&mut self, memory: Arc<Memory>) {
        self.rest_queues_outside(&memory);
        if let Err(error) = self.host.set_memory(memory.clone()) {
            tracing::error!(%error, "the device has lost a virtqueue");
        }
        self.start_queues_inside(&memory);
    }

    /// Lets the device reach memory, or not; virtqueues that run rest meanwhile.
    pub fn set_dma(&mut self, dma: bool) {
        if !std::mem::replace(&mut self.dma, dma) && dma {
            self.start_queues();
        } else if !dma {
            self.rest_queues();
        }
    }

    /// The way for available buffer notifications from any thread.
    pub fn notifier(&self) -> Notifier {
        self.notifier.clone()
    }

    /// The driver, or the transport itself, did what the device cannot go on from (`dev:core:device-status-field:02`).
    pub fn break_device(&self, reason: &str) {
        use crate::HostEvents;
        self.signal.needs_reset(reason);
    }
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("host", &self.host)
            .field("interface", &self.interface)
            .field("status", &self.status())
            .field("queues", &self.queues)
            .finish_non_exhaustive()
    }
}
