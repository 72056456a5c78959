//! Why a driver gives up on its device.

use ringwright_ring::{RingError, SetupError};
use ringwright_spec::Features;
use thiserror::Error;

use crate::TransportError;

/// An error after which the device has to be reset and set up anew, or left alone.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DriverError {
    /// The transport failed.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The device broke the rules of a virtqueue.
    #[error(transparent)]
    Ring(#[from] RingError),
    /// A virtqueue could not be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// The device is of another type.
    #[error("expected a device of type {expected}, found type {found}")]
    WrongDevice {
        /// Device id that the driver is for.
        expected: u32,
        /// Device id that the transport reports.
        found: u32,
    },
    /// The device does not offer `VIRTIO_F_VERSION_1`, and this transport has no legacy interface to drive it through.
    #[error("the device does not offer VIRTIO_F_VERSION_1, and this transport has no legacy interface")]
    Legacy,
    /// The device cleared FEATURES_OK: it does not accept the subset (`drv:init:device-initialization:03`).
    #[error("the device refused the features {0:?}")]
    FeaturesRefused(Features),
    /// The status field did not become 0 after a reset.
    #[error("the device did not finish its reset (status {0:?})")]
    ResetTimeout(ringwright_spec::status::Status),
    /// A virtqueue that was told to be reset never was (`drv:core:virtqueue-reset:01`).
    #[error("the device did not finish the reset of virtqueue {0}")]
    QueueResetTimeout(u16),
    /// The device was told to suspend or to resume and did neither that nor give up (`drv:init:device-suspend:02`,
    /// `drv:init:device-suspend:06`).
    #[error("the device did not suspend or resume (status {0:?})")]
    SuspendTimeout(ringwright_spec::status::Status),
    /// The device has set DEVICE_NEEDS_RESET.
    #[error("the device needs a reset")]
    NeedsReset,
    /// The device has been reset and not been set up since, or it is suspended.
    #[error("the device is not live: it has been reset and not set up since, or it is suspended")]
    NotLive,
    /// A virtqueue of the device type is absent, or too small for a single request.
    #[error("virtqueue {index} has at most {found} descriptors, this driver needs {needed}")]
    QueueTooSmall {
        /// Index of the virtqueue.
        index: u16,
        /// Greatest size that the device allows.
        found: u16,
        /// Least size that the driver can work with.
        needed: u16,
    },
    /// The area for memory that the device reaches is full.
    #[error("no {0} bytes left in the memory shared with the device")]
    OutOfMemory(usize),
    /// The device answered a request in a way that its chapter does not allow.
    #[error("the device broke the {device} chapter: {what}")]
    Device {
        /// Name of the device type.
        device: &'static str,
        /// What was expected and what was found.
        what: &'static str,
    },
}
