//! Block device (section 5.2): a disk.
//!
//! Each request queue is a group of its own, so that every queue has its thread; they share the backend.

pub mod backend;
mod flight;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod legacy_tests;
mod request;
mod request_queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use ringwright_spec::Features;
use ringwright_spec::block::{self, Config, ID_BYTES, SECTOR_SIZE, Topology, features};
use zerocopy::IntoBytes;

use crate::{Description, Device, DeviceError, QueueDescription, Session, Worker};
use backend::Backend;
use request_queue::RequestQueue;

/// Most data segments of one request. With head and status it fits the smallest queue size in common use, 128, because
/// no chain may be longer than its queue, wherever its descriptors are.
const SEG_MAX: u32 = 126;

/// Most sectors in one segment of a discard or write zeroes request: 512 MiB.
const MAX_DISCARD_SECTORS: u32 = 1 << 20;

/// Most segments in one discard or write zeroes request.
const MAX_DISCARD_SEG: u32 = 16;

/// Block size that requests had better be aligned to, the page size of common file systems.
const PHYSICAL_BLOCK: u32 = 4096;

/// How a disk presents itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// Number of request queues, each served by its own thread. At least 1.
    pub queues: u16,
    /// Largest queue size.
    pub queue_size: u16,
    /// Logical block size in bytes: a power of two, 512 to 4096.
    pub block_size: u32,
    /// The device ID string, at most 20 bytes of ASCII.
    pub serial: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            queues: 1,
            queue_size: 256,
            block_size: SECTOR_SIZE as u32,
            serial: String::new(),
        }
    }
}

/// Options that no disk can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// Number of queues.
    #[error("a disk has at least one request queue")]
    NoQueue,
    /// Logical block size.
    #[error("block size {0}: must be a power of two from 512 to 4096")]
    BlockSize(u32),
    /// Backend and block size do not fit.
    #[error("{capacity} bytes are no multiple of the block size {block_size}")]
    Capacity {
        /// Size of the backend in bytes.
        capacity: u64,
        /// Logical block size in bytes.
        block_size: u32,
    },
    /// The device ID string.
    #[error("serial {0:?}: must be at most 20 printable ASCII characters")]
    Serial(String),
}

/// The control side of a disk.
pub struct Block {
    backend: Arc<dyn Backend>,
    options: Options,
    serial: [u8; ID_BYTES],
}

impl Block {
    /// A disk with the content of `backend`.
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Result<Self, OptionsError> {
        let Options { block_size, .. } = options;
        let capacity = backend.capacity();
        if options.queues == 0 {
            return Err(OptionsError::NoQueue);
        }
        if !block_size.is_power_of_two() || !(SECTOR_SIZE as u32..=PHYSICAL_BLOCK).contains(&block_size) {
            return Err(OptionsError::BlockSize(block_size));
        }
        if !capacity.is_multiple_of(block_size.into()) {
            return Err(OptionsError::Capacity { capacity, block_size });
        }
        if options.serial.len() > ID_BYTES
            || !options.serial.bytes().all(|c| c == b' ' || c.is_ascii_graphic())
        {
            return Err(OptionsError::Serial(options.serial));
        }
        let mut serial = [0; ID_BYTES];
        serial[..options.serial.len()].copy_from_slice(options.serial.as_bytes());
        Ok(Self {
            backend,
            options,
            serial,
        })
    }

    fn features(&self) -> Features {
        let mut offered = features::FLUSH | features::SEG_MAX | features::BLK_SIZE | features::TOPOLOGY;
        if self.options.queues > 1 {
            offered = offered | features::MQ;
        }
        if self.backend.read_only() {
            offered | features::RO
        } else {
            offered | features::DISCARD | features::WRITE_ZEROES
        }
    }
}

impl Device for Block {
    fn description(&self) -> Description {
        let queue = |group| QueueDescription {
            max_size: self.options.queue_size,
            group,
        };
        Description {
            device_type: &block::DEVICE,
            features: self.features(),
            queues: (0..usize::from(self.options.queues)).map(queue).collect(),
            config_size: size_of::<Config>(),
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        let block_size = self.options.block_size;
        let mut config = Config {
            capacity: (self.backend.capacity() / SECTOR_SIZE).into(),
            seg_max: SEG_MAX.into(),
            blk_size: block_size.into(),
            topology: Topology {
                physical_block_exp: (PHYSICAL_BLOCK / block_size).trailing_zeros() as u8,
                min_io_size: ((PHYSICAL_BLOCK / block_size) as u16).into(),
                ..Topology::default()
            },
            num_queues: self.options.queues.into(),
            ..Config::default()
        };
        if !self.backend.read_only() {
            config.max_discard_sectors = MAX_DISCARD_SECTORS.into();
            config.max_discard_seg = MAX_DISCARD_SEG.into();
            config.discard_sector_alignment = (block_size / SECTOR_SIZE as u32).into();
            config.max_write_zeroes_sectors = MAX_DISCARD_SECTORS.into();
            config.max_write_zeroes_seg = MAX_DISCARD_SEG.into();
            config.write_zeroes_may_unmap = 1;
        }
        config.as_bytes().to_vec()
    }

    fn worker(&mut self, group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        // Each queue is a group.
        Ok(Box::new(RequestQueue::new(
            group as u16,
            self.backend.clone(),
            &self.options,
            self.serial,
            session,
        )?))
    }
}
