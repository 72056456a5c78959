//! The bus as a driver sees it (chapter 4, and appendix "Creating New Transports").

mod registers;

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::Features;
use ringwright_spec::status::Status;
use thiserror::Error;

pub use registers::Registers;

/// One device on some bus: what every transport of the document offers to its driver.
///
/// No call waits for the device to make progress; where the document asks a driver to wait (reset, queue reset,
/// suspend), it polls [`status`](Transport::status).
pub trait Transport {
    /// The virtio device id; 0 for a placeholder without a device.
    fn device_id(&self) -> u32;

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

    /// Tells the device where virtqueue `index` lies, and enables it.
    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError>;

    /// Begins the reset of one virtqueue (`VIRTIO_F_RING_RESET`).
    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError>;

    /// Sends an available buffer notification for virtqueue `index`. `data` is the word of section 2.9, which the
    /// transport sends in place of the index if `VIRTIO_F_NOTIFICATION_DATA` has been negotiated.
    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError>;

    /// The configuration atomicity value: if it is the same before and after a read, the read was consistent.
    fn config_generation(&mut self) -> Result<u32, TransportError>;

    /// Reads from the device configuration space at `offset`.
    fn read_config(&mut self, offset: usize, data: &mut [u8]) -> Result<(), TransportError>;

    /// Writes to the device configuration space at `offset`.
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), TransportError>;

    /// What the device has notified since the last call, acknowledged by this one.
    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError>;

    /// Device address and length of shared memory region `id`, if the device has it.
    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError>;
}

/// A transport that is lent to a driver serves another one afterwards.
impl<T: Transport + ?Sized> Transport for &mut T {
    fn device_id(&self) -> u32 {
        (**self).device_id()
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        (**self).device_features()
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        (**self).set_driver_features(features)
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        (**self).status()
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        (**self).set_status(status)
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        (**self).queue_max_size(index)
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        (**self).enable_queue(index, layout)
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        (**self).reset_queue(index)
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        (**self).notify(index, data)
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        (**self).config_generation()
    }

    fn read_config(&mut self, offset: usize, data: &mut [u8]) -> Result<(), TransportError> {
        (**self).read_config(offset, data)
    }

    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), TransportError> {
        (**self).write_config(offset, data)
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        (**self).take_interrupt()
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        (**self).shared_memory(id)
    }
}

/// What an interrupt was for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interrupt {
    /// At least one virtqueue has used buffers.
    pub queue: bool,
    /// The device configuration has changed.
    pub config: bool,
}

/// Why a transport could not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransportError {
    /// The device has been removed, or the process that provides it has gone.
    #[error("the device is gone")]
    Gone,
    /// The transport or this device does not have what was asked for.
    #[error("not supported by this device: {0}")]
    Unsupported(&'static str),
    /// There is no virtqueue of this index.
    #[error("the device has no virtqueue {0}")]
    NoQueue(u16),
    /// The access lies outside the device configuration space.
    #[error("configuration space has no {length} bytes at offset {offset}")]
    Config {
        /// First byte of the access.
        offset: usize,
        /// Its length in bytes.
        length: usize,
    },
    /// The registers that the transport was given do not have what is accessed.
    #[error("the device has no register of {} bytes at offset {offset:#x}", .width.bytes())]
    Register {
        /// First byte of the access.
        offset: u64,
        /// Its width.
        width: Width,
    },
    /// The other end answered in a way that the protocol of this transport does not allow.
    #[error("the other end broke the transport's protocol: {0}")]
    Protocol(&'static str),
    /// The operating system refused, with its error number.
    #[error("operating system error {0}")]
    Os(i32),
}
