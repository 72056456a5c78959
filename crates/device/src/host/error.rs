//! What a host cannot do.

use std::io;

use ringwright_ring::SetupError;
use ringwright_spec::Features;

use crate::DeviceError;

/// What a host cannot do.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The device has fewer queues.
    #[error("there is no queue {index}: the device has {queues}")]
    NoSuchQueue {
        /// The index asked for.
        index: u16,
        /// Number of queues.
        queues: usize,
    },
    /// The queue is started already.
    #[error("queue {index} runs already")]
    AlreadyRunning {
        /// Index of the queue.
        index: u16,
    },
    /// The queue is not started.
    #[error("queue {index} does not run")]
    NotRunning {
        /// Index of the queue.
        index: u16,
    },
    /// This can only be done while no queue runs.
    #[error("queue {index} still runs")]
    Running {
        /// Index of the first queue that runs.
        index: usize,
    },
    /// The queue size is more than the device accepts.
    #[error("queue {index} has size {size}, the device accepts at most {max_size}")]
    QueueTooLarge {
        /// Index of the queue.
        index: u16,
        /// Size asked for.
        size: u16,
        /// Largest size of this queue.
        max_size: u16,
    },
    /// Features come before queues (section 3.1).
    #[error("no features have been negotiated")]
    NotNegotiated,
    /// Memory comes before queues.
    #[error("the memory of the driver is not known yet")]
    NoMemory,
    /// The driver accepts what was not offered (`drv:core:feature-bits:01`).
    #[error("features {refused:?} were not offered")]
    NotOffered {
        /// The bits too many.
        refused: Features,
    },
    /// The device does not work with these features.
    #[error("the device refuses the features: {reason}")]
    Refused {
        /// Why.
        reason: &'static str,
    },
    /// A feature requires another one that is not there.
    #[error("feature {feature} requires {missing:?}")]
    Unmet {
        /// The document's name of the feature.
        feature: &'static str,
        /// At least one of these is missing.
        missing: Features,
    },
    /// The virtqueue cannot be set up, or not be reached any more.
    #[error("queue {index}: {source}")]
    Ring {
        /// Index of the queue.
        index: u16,
        /// What is wrong with it.
        source: SetupError,
    },
    /// The file descriptor for available buffer notifications cannot be used.
    #[error("available buffer notifications: {0}")]
    Kick(#[source] io::Error),
    /// The device's half for a queue group refuses.
    #[error("queue group {group}: {source}")]
    Worker {
        /// The queue group.
        group: usize,
        /// What it says.
        source: DeviceError,
    },
    /// The thread of a queue group has died. Resetting the device makes it usable again.
    #[error("the thread of queue group {group} has ended")]
    WorkerGone {
        /// The queue group.
        group: usize,
    },
    /// A thread cannot be started.
    #[error("starting a device thread: {0}")]
    Thread(#[source] io::Error),
    /// The device refuses.
    #[error(transparent)]
    Device(DeviceError),
    /// The bytes are not a saved state of this version.
    #[error("not the saved state of a device, or of another version")]
    SavedState,
    /// The saved state is one of another device type.
    #[error("saved state of device type {found}, expected {expected}")]
    SavedDevice {
        /// Device id of this device.
        expected: u32,
        /// Device id in the saved state.
        found: u32,
    },
}
