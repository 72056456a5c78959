//! What a device type implements: its control side, [`Device`], and its data side, [`Worker`].

use std::io;

use ringwright_ring::ByteOrder;
use ringwright_spec::{DeviceType, Features};

use crate::mailbox::Mailbox;
use crate::{Context, Outlet, Source, Waker};

/// What a device is, before any driver has met it.
#[derive(Clone, Debug)]
pub struct Description {
    /// The device type, as the document describes it.
    pub device_type: &'static DeviceType,
    /// Feature bits of the device type that this device offers. Ring features are the framework's to add.
    pub features: Features,
    /// The virtqueues, by index.
    pub queues: Vec<QueueDescription>,
    /// Size of the configuration space in bytes; [`Device::config`] returns as many.
    pub config_size: usize,
    /// The shared memory regions (section 2.10).
    pub shared_memory: Vec<SharedMemory>,
}

/// One virtqueue of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueDescription {
    /// The largest queue size the device accepts.
    pub max_size: u16,
    /// The queue group: all queues of a group are served by one worker on one thread. Groups count from 0.
    pub group: usize,
}

/// One shared memory region of a device (section 2.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemory {
    /// Shared memory id, as the device type defines it.
    pub id: u8,
    /// Length in bytes.
    pub length: u64,
}

/// The control side of a device. It lives on the control thread, with the [`crate::Host`] that owns it.
pub trait Device: Send {
    /// What this device is. The same at every call.
    fn description(&self) -> Description;

    /// Features that others of this device's require, and that a vhost-user front-end has instead of the device. They require
    /// none themselves. Where there is no front-end, a device that needs them is refused.
    fn left_to_front_end(&self) -> Features {
        Features::NONE
    }

    /// The whole configuration space as it reads now (section 2.5).
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    /// The driver writes to the configuration space. Without an implementation all of it is read-only.
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        Err(ConfigError::ReadOnly {
            offset,
            length: data.len(),
        })
    }

    /// The same through the legacy interface, where some device types let the driver write more.
    fn write_legacy_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.write_config(offset, data)
    }

    /// The driver is about to have accepted `features`, a valid subset of the offer. An error says why the device does not
    /// work with just these: then FEATURES_OK stays clear (`dev:core:feature-bits:02`). May be called again with others.
    fn negotiate(&mut self, _features: Features) -> Result<(), &'static str> {
        Ok(())
    }

    /// Those of `features` that the device offers on a legacy interface as well, of the bits that there are.
    fn legacy_features(&self, features: Features) -> Features {
        features
    }

    /// The half that serves the queues of `group`. It is moved to the group's thread and dropped there when the device
    /// is reset; a later session asks for a new one, so what must outlive a session is lent, see [`crate::Lender`].
    fn worker(&mut self, group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError>;

    /// The driver has reset the device (section 2.4). All workers have ended.
    fn reset(&mut self) {}

    /// The state of the control side that a later [`Device::restore`] takes up, in the device's own format.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up what [`Device::save`] returned, perhaps in another process. Called before any worker exists.
    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        expect_no_state(state)
    }
}

/// What a device knows while a driver uses it: from the first queue started until the device is reset.
pub struct Session {
    /// The negotiated features. Without VERSION_1 the driver uses the legacy interface.
    pub features: Features,
    /// Byte order of the integers in requests: little-endian, except on legacy interfaces, where it is the guest's.
    pub byte_order: ByteOrder,
    /// Where the device reports changes of its configuration space, and errors.
    pub outlet: Outlet,
    pub(crate) mailbox: Mailbox,
}

impl Session {
    /// A handle by which any thread can have the worker of this session called back with `source`.
    pub fn waker(&self, source: Source) -> Waker {
        Waker::new(self.mailbox.clone(), source)
    }
}

/// The data side of a device: serves the queues of one group on one thread, and is never locked.
///
/// Callbacks do not block, and each handles a bounded amount of work; [`crate::Virtqueue::pop`] sees to that. An error
/// from [`Worker::queue_ready`] or [`Worker::stop_queue`] stops that queue, an error from any other callback is only
/// reported; either way the driver is told that the device needs a reset (`dev:core:device-status-field:02`).
pub trait Worker: Send {
    /// The thread has started: the place to watch file descriptors and set timers.
    fn start(&mut self, _context: &mut Context) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The queue has been started; [`Worker::queue_ready`] follows, unless the device is suspended.
    fn start_queue(&mut self, _context: &mut Context, _queue: u16) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The queue has been started, or it has buffers that the worker may not have seen, or a callback left some because
    /// it had done its share.
    fn queue_ready(&mut self, context: &mut Context, queue: u16) -> Result<(), DeviceError>;

    /// A watched file descriptor is ready, or a waker was used. May come once more after the source was unwatched.
    fn source_ready(&mut self, _context: &mut Context, _source: Source) -> Result<(), DeviceError> {
        Ok(())
    }

    /// A timer has expired; it is not set any more.
    fn timer(&mut self, _context: &mut Context, _timer: u64) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The queue is about to stop: complete what is in flight, or push it back.
    fn stop_queue(&mut self, _context: &mut Context, _queue: u16) -> Result<(), DeviceError> {
        Ok(())
    }

    /// No callback will come until [`Worker::resume`]: complete what is in flight (`dev:init:device-suspend:08`).
    fn suspend(&mut self, _context: &mut Context) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The device runs again; [`Worker::queue_ready`] follows for every queue.
    fn resume(&mut self, _context: &mut Context) -> Result<(), DeviceError> {
        Ok(())
    }

    /// The worker's state for a later [`Worker::restore`]. Called while suspended or with all queues stopped.
    fn save(&self) -> Vec<u8> {
        Vec::new()
    }

    /// Takes up what [`Worker::save`] returned. Called before [`Worker::start`].
    fn restore(&mut self, state: &[u8]) -> Result<(), DeviceError> {
        expect_no_state(state)
    }
}

/// A device cannot go on, or not start.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The host's operating system refused something.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
    /// A saved state is not one of this device.
    #[error("saved state of the device: expected {expected}, found {found}")]
    SavedState {
        /// What the device can take up.
        expected: &'static str,
        /// What it was given.
        found: String,
    },
    /// A part of the device is missing or already in use.
    #[error("{0}")]
    Unavailable(&'static str),
}

impl DeviceError {
    /// For `map_err`: an operating system error with what was being done.
    pub fn io<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Io {
            what,
            source: source.into(),
        }
    }
}

/// An access to the configuration space that the device refuses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// It does not lie within the configuration space.
    #[error("{length} bytes at offset {offset} exceed the configuration space of {size} bytes")]
    OutOfBounds {
        /// Offset of the access in bytes.
        offset: usize,
        /// Length of the access in bytes.
        length: usize,
        /// Size of the configuration space in bytes.
        size: usize,
    },
    /// The field is not for the driver to write.
    #[error("the {length} bytes at offset {offset} of the configuration space are read-only")]
    ReadOnly {
        /// Offset of the access in bytes.
        offset: usize,
        /// Length of the access in bytes.
        length: usize,
    },
}

fn expect_no_state(state: &[u8]) -> Result<(), DeviceError> {
    if state.is_empty() {
        return Ok(());
    }
    Err(DeviceError::SavedState {
        expected: "none",
        found: format!("{} bytes", state.len()),
    })
}
