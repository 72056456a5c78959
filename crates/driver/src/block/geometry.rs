//! What a disk says of itself in its configuration space (section 5.2.4).

use core::mem::offset_of;

use ringwright_spec::block::{Config, SECTOR_SIZE, features};

use crate::session::Session;
use crate::{DriverError, Transport};

/// What the device says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Capacity in sectors of 512 bytes.
    pub capacity: u64,
    /// Optimal block size in bytes; 512 if the device does not say.
    pub block_size: u32,
    /// Most bytes in the one data segment of a request.
    pub segment_size: u32,
    /// Whether the device refuses writes.
    pub read_only: bool,
    /// Whether the device has a volatile cache, which [`Request::flush`](super::Request::flush) makes stable.
    pub flush: bool,
}

impl Geometry {
    /// Reads the fields of the configuration space whose features are negotiated
    /// (`drv:core:device-configuration-space:02`).
    pub(super) fn read<T: Transport>(session: &mut Session<T>) -> Result<Self, DriverError> {
        let capacity = session.config(offset_of!(Config, capacity))?;
        let mut field = |feature, offset, absent| match session.has(feature) {
            true => session.config(offset),
            false => Ok(absent),
        };
        let segment_size = field(features::SIZE_MAX, offset_of!(Config, size_max), u32::MAX)?;
        let block_size = field(
            features::BLK_SIZE,
            offset_of!(Config, blk_size),
            SECTOR_SIZE as u32,
        )?;
        // Whoever uses the disk divides by it.
        if !block_size.is_power_of_two() || block_size < SECTOR_SIZE as u32 {
            return Err(DriverError::Device {
                device: "block",
                what: "blk_size is not a power of 2 from 512 on",
            });
        }
        Ok(Self {
            capacity,
            block_size,
            segment_size,
            read_only: session.has(features::RO),
            flush: session.has(features::FLUSH),
        })
    }
}
