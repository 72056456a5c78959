//! Block device (section 5.2): a disk, zoned or not.
//!
//! Each request queue is a group of its own, so that every queue has its thread; they share the backend.

pub mod backend;
mod counters;
mod flight;
#[cfg(test)]
mod late_tests;
#[cfg(test)]
mod legacy_tests;
mod options;
mod request;
mod request_queue;
#[cfg(test)]
mod resize_tests;
mod scsi;
#[cfg(test)]
mod scsi_tests;
#[cfg(test)]
mod settings_tests;
#[cfg(test)]
mod tests;
mod zone_file;
mod zone_journal;
#[cfg(test)]
mod zone_journal_tests;
mod zoned;
#[cfg(test)]
mod zoned_tests;
mod zones;

use std::fmt;
use std::io;
use std::mem::offset_of;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ringwright_spec::block::zoned::Characteristics;
use ringwright_spec::block::{self, Config, DiscardWriteZeroesFlags, SECTOR_SIZE, Topology, features};
use ringwright_spec::{Features, feature};
use zerocopy::IntoBytes;

use crate::{ConfigError, Description, Device, DeviceError, Outlet, QueueDescription, Session, Worker};
use backend::Backend;
use counters::Counters;
pub use counters::{KindCounters, RequestCounters};
pub use options::{Cache, DiskGeometry, DiskTopology, Options, OptionsError, ZoneModel, Zoned};
use request::{Limits, Terms};
use request_queue::RequestQueue;
pub use zone_file::{ZoneFile, ZoneFileError};
use zoned::ZonedDisk;
pub use zones::{Piece, Shape, Zone, Zones};

/// Most sectors in one segment of a discard, write zeroes or secure erase request: 512 MiB.
const MAX_DISCARD_SECTORS: u32 = 1 << 20;

/// Most segments in one discard, write zeroes or secure erase request.
const MAX_DISCARD_SEG: u32 = 16;

/// The control side of a disk.
pub struct Block {
    backend: Arc<dyn Backend>,
    options: Options,
    zoned: Option<Arc<ZonedDisk>>,
    /// The cache is a writeback one now. The queues look at it at each write.
    write_back: Arc<AtomicBool>,
    /// What the driver has accepted, once it has.
    negotiated: Option<Features>,
    handle: Handle,
}

/// A way to a disk that is in use, from any thread. Clones lead to the same one.
#[derive(Clone)]
pub struct Handle {
    backend: Arc<dyn Backend>,
    outlet: CurrentOutlet,
    zoned: Option<Arc<ZonedDisk>>,
    /// By queue.
    counters: Arc<[Arc<Counters>]>,
}

/// Sizes in bytes: before a change, and after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resized {
    /// Size before.
    pub before: u64,
    /// Size now.
    pub now: u64,
}

/// That of the session of now, if there is one.
#[derive(Clone, Debug, Default)]
struct CurrentOutlet(Arc<Mutex<Option<Outlet>>>);

impl CurrentOutlet {
    fn set(&self, outlet: Option<Outlet>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = outlet;
    }

    fn config_changed(&self) {
        if let Some(outlet) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            outlet.config_changed();
        }
    }
}

impl Handle {
    /// Looks at the size of the content again, which others may have changed, and tells the driver if it is another. Errors:
    /// those of [`Backend::refresh`]; `Unsupported` for a zoned disk, whose zones are laid out for the size that it has.
    pub fn refresh(&self) -> io::Result<Resized> {
        self.change(|backend| backend.refresh())
    }

    /// Gives the content another size in bytes, and tells the driver. Errors: those of [`Backend::resize`]; `Unsupported` for a
    /// zoned disk. What the content loses is gone, so whoever makes it smaller had better ask the driver first.
    pub fn resize(&self, size: u64) -> io::Result<Resized> {
        self.change(|backend| backend.resize(size))
    }

    fn change(&self, change: impl FnOnce(&dyn Backend) -> io::Result<()>) -> io::Result<Resized> {
        if self.zoned.is_some() {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                "a zoned disk keeps its size; serve it anew, with a new state of its zones",
            ));
        }
        let before = self.backend.capacity();
        change(&*self.backend)?;
        let now = self.backend.capacity();
        if now != before {
            self.capacity_changed();
        }
        Ok(Resized { before, now })
    }

    /// Size of the content in bytes.
    pub fn capacity(&self) -> u64 {
        self.backend.capacity()
    }

    /// What each queue has been asked for, by index.
    pub fn counters(&self) -> Vec<RequestCounters> {
        self.counters.iter().map(|queue| queue.snapshot()).collect()
    }

    /// The backend's capacity has changed: the driver is told (`dev:blk:device-operation:02`).
    pub fn capacity_changed(&self) {
        self.outlet.config_changed();
    }

    /// Makes zone `index` of a zoned disk read-only or offline, as hardware does that fails. `false` if there is no such
    /// zone, or it cannot be so.
    pub fn put_zone(&self, index: usize, zone: Zone) -> bool {
        self.zoned.as_ref().is_some_and(|zoned| zoned.put(index, zone))
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("outlet", &self.outlet)
            .finish_non_exhaustive()
    }
}

impl Block {
    /// A disk with the content of `backend`.
    pub fn new(backend: Arc<dyn Backend>, options: Options) -> Result<Self, OptionsError> {
        options.check(backend.capacity())?;
        if options.block_size < backend.block_size() {
            return Err(OptionsError::SmallBlocks {
                block_size: options.block_size,
                least: backend.block_size(),
            });
        }
        let zoned = match &options.zoned {
            None => None,
            Some(zoned) => {
                let shape = options.shape(zoned, backend.capacity())?;
                let (file, zones) = match &zoned.state {
                    None => (None, Zones::new(shape)),
                    Some(path) => {
                        let (file, zones) = ZoneFile::open(path, shape, options.queues, options.queue_size)?;
                        (Some(file), zones)
                    }
                };
                Some(Arc::new(ZonedDisk::new(zones, file)))
            }
        };
        let outlet = CurrentOutlet::default();
        let change = outlet.clone();
        backend.on_change(Box::new(move || change.config_changed()));
        Ok(Self {
            write_back: Arc::new(AtomicBool::new(options.cache == Cache::WriteBack)),
            handle: Handle {
                backend: backend.clone(),
                outlet,
                zoned: zoned.clone(),
                counters: (0..options.queues).map(|_| Arc::default()).collect(),
            },
            backend,
            options,
            zoned,
            negotiated: None,
        })
    }

    /// A way to this disk while it is in use.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    fn features(&self) -> Features {
        let options = &self.options;
        let optional = |is: bool, features: Features| if is { features } else { Features::NONE };
        let writable = !self.backend.read_only();
        // dev:blk:device-initialization:01
        features::FLUSH
            | features::SEG_MAX
            | features::BLK_SIZE
            | features::TOPOLOGY
            | optional(options.switchable_cache, features::CONFIG_WCE)
            | optional(options.size_max().is_some(), features::SIZE_MAX)
            | optional(options.geometry.is_some(), features::GEOMETRY)
            | optional(options.queues > 1, features::MQ)
            | optional(!writable, features::RO)
            | optional(writable && self.discards(), features::DISCARD)
            | optional(writable && self.zoned.is_none(), features::WRITE_ZEROES)
            | optional(writable && options.secure_erase, features::SECURE_ERASE)
            // dev:blk:device-operation:14
            | optional(self.backend.lifetime().is_some(), features::LIFETIME)
            // dev:blk:device-initialization:04
            | optional(self.zoned.is_some(), features::ZONED)
            | optional(options.barrier, features::BARRIER)
            | optional(options.scsi, features::SCSI)
    }

    fn discards(&self) -> bool {
        self.options.discard && self.zoned.is_none()
    }

    /// The cache as it is when a session begins whose driver accepts `features`.
    fn initial_cache(&self, features: Features) -> bool {
        // A driver that did not accept FLUSH never flushes (dev:blk:device-operation:11,
        // dev:blk:device-initialization:02).
        features.contains(features::FLUSH) && self.options.cache == Cache::WriteBack
    }

    /// The zones as the driver may see them. One that has not accepted them finds zeroes
    /// (`dev:blk:device-initialization:06`).
    fn characteristics(&self) -> Characteristics {
        let hidden = self
            .negotiated
            .is_some_and(|features| !features.contains(features::ZONED));
        match &self.zoned {
            Some(zoned) if !hidden => {
                let shape = zoned.shape();
                Characteristics {
                    zone_sectors: shape.zone_sectors.into(),
                    max_open_zones: shape.max_open.into(),
                    max_active_zones: shape.max_active.into(),
                    max_append_sectors: shape.max_append.into(),
                    write_granularity: (shape.write_granularity * SECTOR_SIZE as u32).into(),
                    model: shape.model.0,
                    unused2: [0; 3],
                }
            }
            _ => Characteristics::default(),
        }
    }

    fn topology(&self) -> Topology {
        let block_size = self.options.block_size;
        let topology = self.options.topology;
        let least = match topology.min_io_size {
            0 => topology.physical_block_size,
            bytes => bytes,
        };
        Topology {
            physical_block_exp: (topology.physical_block_size / block_size).ilog2() as u8,
            alignment_offset: topology.alignment_offset,
            min_io_size: u16::try_from(least / block_size).unwrap_or(u16::MAX).into(),
            opt_io_size: (topology.opt_io_size / block_size).into(),
        }
    }

    /// Most sectors of a range to be erased, and what it is aligned to.
    fn erasure(&self) -> (u32, u32) {
        let block = self.options.block_size / SECTOR_SIZE as u32;
        match &self.zoned {
            None => (MAX_DISCARD_SECTORS, block),
            // dev:blk:device-operation:37
            Some(zoned) => {
                let zone = zoned.shape().zone_sectors;
                (zone.max(MAX_DISCARD_SECTORS / zone * zone), zone)
            }
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

    fn legacy_features(&self, features: Features) -> Features {
        // dev:blk:device-initialization:05
        features - features::ZONED
    }

    fn negotiate(&mut self, features: Features) -> Result<(), &'static str> {
        let modern = features.contains(feature::VERSION_1);
        let managed = self
            .zoned
            .as_ref()
            .is_some_and(|zoned| zoned.shape().model == block::zoned::Model::HM);
        // dev:blk:device-initialization:07
        if modern && managed && !features.contains(features::ZONED) {
            return Err("a host-managed zoned disk is of no use to a driver without VIRTIO_BLK_F_ZONED");
        }
        self.negotiated = Some(features);
        // On a legacy interface features do not change the cache (section 5.2.5.2).
        if modern {
            self.write_back
                .store(self.initial_cache(features), Ordering::Relaxed);
        }
        Ok(())
    }

    fn config(&self) -> Vec<u8> {
        let options = &self.options;
        let sector_alignment = options.block_size / SECTOR_SIZE as u32;
        // A size that has changed may end within a block, which is not the driver's then.
        let blocks = self.backend.capacity() / u64::from(options.block_size);
        let mut config = Config {
            capacity: (blocks * u64::from(sector_alignment)).into(),
            size_max: options.size_max().unwrap_or(0).into(),
            seg_max: options.seg_max.into(),
            geometry: options.geometry.map(Into::into).unwrap_or_default(),
            blk_size: options.block_size.into(),
            topology: self.topology(),
            writeback: self.write_back.load(Ordering::Relaxed).into(),
            num_queues: options.queues.into(),
            zoned: self.characteristics(),
            ..Config::default()
        };
        if self.backend.read_only() {
            return config.as_bytes().to_vec();
        }
        if self.discards() {
            config.max_discard_sectors = MAX_DISCARD_SECTORS.into();
            config.max_discard_seg = MAX_DISCARD_SEG.into();
            config.discard_sector_alignment = sector_alignment.into();
        }
        if self.zoned.is_none() {
            config.max_write_zeroes_sectors = MAX_DISCARD_SECTORS.into();
            config.max_write_zeroes_seg = MAX_DISCARD_SEG.into();
            // dev:blk:device-operation:09
            config.write_zeroes_may_unmap = self.discards().into();
        }
        if options.secure_erase {
            let (sectors, alignment) = self.erasure();
            config.max_secure_erase_sectors = sectors.into();
            config.max_secure_erase_seg = MAX_DISCARD_SEG.into();
            config.secure_erase_sector_alignment = alignment.into();
        }
        config.as_bytes().to_vec()
    }

    /// The driver switches the cache. Whoever moves a device writes the whole space, of which the rest is as it was.
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        const WRITEBACK: usize = offset_of!(Config, writeback);
        let switchable = self
            .negotiated
            .is_some_and(|features| features.contains(features::CONFIG_WCE));
        let value = WRITEBACK.checked_sub(offset).and_then(|at| data.get(at));
        match value {
            Some(value @ (0 | 1)) if switchable => {
                self.write_back.store(*value == 1, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(ConfigError::ReadOnly {
                offset,
                length: data.len(),
            }),
        }
    }

    fn worker(&mut self, group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        let features = session.features;
        let legacy = !features.contains(feature::VERSION_1);
        // DRIVER_OK has been set, by a driver that has no say in the cache (section 5.2.5.2).
        if legacy && !features.contains(features::CONFIG_WCE) {
            self.write_back
                .store(self.initial_cache(features), Ordering::Relaxed);
        }
        self.handle.outlet.set(Some(session.outlet.clone()));
        let limits = |sectors, flags| Limits {
            sectors,
            ranges: MAX_DISCARD_SEG,
            flags,
        };
        let terms = Terms {
            serial: self.options.id(),
            capacity: self.backend.capacity(),
            block_size: self.options.block_size,
            read_only: self.backend.read_only(),
            features,
            byte_order: session.byte_order,
            write_back: self.write_back.clone(),
            lifetime: self.backend.lifetime(),
            may_unmap: self.discards(),
            discard: limits(MAX_DISCARD_SECTORS, DiscardWriteZeroesFlags::UNMAP),
            erase: limits(self.erasure().0, DiscardWriteZeroesFlags::NONE),
        };
        // Each queue is a group.
        Ok(Box::new(RequestQueue::new(
            group as u16,
            self.options.queue_size,
            self.backend.clone(),
            terms,
            self.zoned.clone(),
            self.handle.counters.get(group).cloned().unwrap_or_default(),
        )?))
    }

    fn reset(&mut self) {
        self.negotiated = None;
        self.write_back
            .store(self.options.cache == Cache::WriteBack, Ordering::Relaxed);
        self.handle.outlet.set(None);
    }

    /// One byte: the cache.
    fn save(&self) -> Vec<u8> {
        vec![self.write_back.load(Ordering::Relaxed).into()]
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        match state {
            [write_back @ (0 | 1)] => {
                self.write_back.store(*write_back == 1, Ordering::Relaxed);
                Ok(())
            }
            _ => Err(DeviceError::SavedState {
                expected: "one byte that says whether the cache is a writeback one",
                found: format!("{} bytes", state.len()),
            }),
        }
    }
}
