//! Why a transport fails.

use ringwright_memory::Width;
use thiserror::Error;

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
