//! The bus as a driver sees it (chapter 4, and appendix "Creating New Transports").

pub mod ccw;
#[cfg(feature = "device-tree")]
pub mod device_tree;
pub mod mmio;
pub mod pci;

mod config;
mod error;
mod legacy;
mod lent;
mod registers;

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

pub use error::TransportError;
pub use legacy::Legacy;
pub use registers::{Part, Registers};

/// One device on some bus: what every transport of the document offers to its driver.
///
/// No call waits for the device to make progress; where the document asks a driver to wait, it polls
/// [`status`](Transport::status) (reset, suspend) or [`queue_is_reset`](Transport::queue_is_reset).
pub trait Transport {
    /// The virtio device id; 0 for a placeholder without a device.
    fn device_id(&self) -> u32;

    /// The legacy interface, if this transport reaches its device through that: then the device does not offer
    /// `VIRTIO_F_VERSION_1` (section 2.2.3), nor any other feature above bit 31.
    fn legacy(&self) -> Option<Legacy> {
        None
    }

    /// Features that no driver may accept over this transport, even if they are offered
    /// (`drv:core:feature-bits:03`).
    fn unsupported_features(&self) -> Features {
        feature::NOT_ON_MMIO
    }

    /// The features that the device offers.
    fn device_features(&mut self) -> Result<Features, TransportError>;

    /// Writes the features that the driver accepts.
    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError>;

    /// The device status field.
    fn status(&mut self) -> Result<Status, TransportError>;

    /// Writes the device status field. [`Status::NONE`] begins a reset, which is done when the field reads 0.
    fn set_status(&mut self, status: Status) -> Result<(), TransportError>;

    /// The greatest size that virtqueue `index` may have; 0 if there is no such virtqueue.
    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError>;

    /// Tells the device where virtqueue `index` lies, and enables it. Again after a queue reset
    /// (`drv:core:virtqueue-re-enable:01`).
    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError>;

    /// Begins the reset of one virtqueue (`VIRTIO_F_RING_RESET`).
    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError>;

    /// Whether the reset of virtqueue `index`, once begun, is complete.
    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError>;

    /// Sends an available buffer notification for virtqueue `index`. `data` is the word of section 2.9, which the
    /// transport sends in place of the index if `VIRTIO_F_NOTIFICATION_DATA` has been negotiated.
    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError>;

    /// The configuration atomicity value: if it is the same before and after a read, the read was consistent.
    fn config_generation(&mut self) -> Result<u32, TransportError>;

    /// Reads fields of the device configuration space from `offset` on, as many as fill `data`, by accesses of `width`:
    /// that of the fields, or four bytes for 64-bit fields (`drv:pci:pci-device-layout:01`,
    /// `drv:mmio:mmio-device-register-layout:03`). Offset and length are multiples of it. The bytes come as they are in
    /// the configuration space.
    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError>;

    /// Writes fields of the device configuration space, in the same way.
    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError>;

    /// What the device has notified since the last call, acknowledged by this one. A transport that cannot tell (any
    /// more) reports what may be.
    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError>;

    /// Device address and length of shared memory region `id`, if the device has it.
    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError>;
}

/// Both registers tell when a virtqueue's reset is complete; one alone is not believed.
const STILL_IN_USE: TransportError =
    TransportError::Protocol("a virtqueue is in use although its reset is said to be complete");

/// What an interrupt was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// At least one virtqueue has used buffers.
    pub queue: bool,
    /// The device configuration has changed.
    pub config: bool,
}
