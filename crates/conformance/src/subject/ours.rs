//! Our own devices, each in the simplest way it can be had.

use std::any::Any;
use std::fs::File;
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ringwright_device::block::backend::{Backend, Lane};
use ringwright_device::{Device, block, console, entropy, network};
use ringwright_spec::block::SECTOR_SIZE;
use ringwright_spec::block::zoned::ZoneState;

use super::{Bus, Change, InProcess, SubjectError};

/// Bytes of the disk.
const DISK: u32 = 8 << 20;

/// Sectors of a zone of the host-managed disk. The first two zones are conventional.
pub(crate) const ZONE_SECTORS: u64 = 512;
/// Its zones that hardware has failed.
pub(crate) const RDONLY_ZONE: u64 = 12;
pub(crate) const OFFLINE_ZONE: u64 = 13;

/// Pairs of virtqueues of the network card.
pub(crate) const PAIRS: u16 = 3;

/// Our device types, by the document's names, and a disk with zones.
pub const OURS: &[&str] = &["block", "host-managed", "network", "console", "entropy"];

/// Our device of the type of that name on `bus`; `None` if there is none.
pub fn ours(name: &str, bus: Bus) -> Option<InProcess> {
    let make: fn() -> Result<Made, SubjectError> = match name {
        "block" => disk,
        "host-managed" => host_managed,
        "network" => card,
        "console" => terminal,
        "entropy" => source,
        _ => return None,
    };
    Some(InProcess::new(format!("our {name}"), bus, Box::new(make)))
}

/// A device, and what belongs to it.
pub struct Made {
    /// The device.
    pub device: Box<dyn Device>,
    /// Makes its configuration change, if anything can.
    pub change: Option<Change>,
    /// The far end of its cable, if it has one, as in [`Specimen`](super::Specimen).
    pub cable: Option<UnixStream>,
    /// What it needs to go on working.
    pub keep: Box<dyn Any + Send>,
}

impl Made {
    /// A device whose configuration never changes.
    pub fn new(device: impl Device + 'static, keep: impl Any + Send) -> Self {
        Self {
            device: Box::new(device),
            change: None,
            cable: None,
            keep: Box::new(keep),
        }
    }
}

/// A disk in memory that can lose its end.
struct Shrinking {
    memory: Arc<block::backend::Memory>,
    capacity: AtomicU64,
}

impl Backend for Shrinking {
    fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    fn resize(&self, size: u64) -> io::Result<()> {
        self.capacity.store(size, Ordering::Relaxed);
        Ok(())
    }

    fn lane(self: Arc<Self>, depth: u16) -> io::Result<Box<dyn Lane>> {
        self.memory.clone().lane(depth)
    }
}

fn disk() -> Result<Made, SubjectError> {
    let memory = block::backend::Memory::new(DISK).map_err(system("memory for a disk"))?;
    let backend = Shrinking {
        memory: Arc::new(memory),
        capacity: AtomicU64::new(DISK.into()),
    };
    let options = block::Options {
        serial: "conformance".into(),
        ..block::Options::default()
    };
    let disk = block::Block::new(Arc::new(backend), options).map_err(|error| SubjectError::System {
        what: "a disk".into(),
        source: io::Error::other(error),
    })?;
    let handle = disk.handle();
    // It never comes to its beginning: checks are short.
    let change = move || handle.resize(handle.capacity() - SECTOR_SIZE).is_ok();
    Ok(Made {
        change: Some(Box::new(change)),
        ..Made::new(disk, ())
    })
}

/// A disk in memory with zones that have to be written in order, one of which is read-only, and one offline.
fn host_managed() -> Result<Made, SubjectError> {
    let memory = block::backend::Memory::new(DISK).map_err(system("memory for a disk"))?;
    let options = block::Options {
        serial: "conformance".into(),
        secure_erase: true,
        zoned: Some(block::Zoned {
            model: block::ZoneModel::HostManaged,
            zone_size: ZONE_SECTORS * SECTOR_SIZE,
            zone_capacity: ZONE_SECTORS / 2 * SECTOR_SIZE,
            conventional: 2,
            max_open: 3,
            max_active: 5,
            max_append: Some(16 * SECTOR_SIZE),
            state: None,
        }),
        ..block::Options::default()
    };
    let wrong = |what: &str| SubjectError::System {
        what: "a zoned disk".into(),
        source: io::Error::other(what.to_owned()),
    };
    let disk = block::Block::new(Arc::new(memory), options).map_err(|error| wrong(&error.to_string()))?;
    for (index, state) in [
        (RDONLY_ZONE, ZoneState::RDONLY),
        (OFFLINE_ZONE, ZoneState::OFFLINE),
    ] {
        let zone = block::Zone { state, written: 0 };
        if !disk.handle().put_zone(index as usize, zone) {
            return Err(wrong("a zone cannot be broken"));
        }
    }
    Ok(Made::new(disk, ()))
}

/// A network card whose cable leads to a socket.
fn card() -> Result<Made, SubjectError> {
    let (near, far) = UnixStream::pair().map_err(system("a cable"))?;
    let backend = network::backend::Stream::connected(near).map_err(system("a network card"))?;
    let options = network::Options {
        mac: Some([2, 0, 0, 0, 0, 1]),
        mtu: Some(1500),
        control: true,
        queue_pairs: PAIRS,
        scaling: true,
        hash_report: true,
    };
    let card = network::Network::new(Box::new(backend), options).map_err(|error| SubjectError::System {
        what: "a network card".into(),
        source: io::Error::other(error),
    })?;
    Ok(Made {
        cable: Some(far),
        ..Made::new(card, ())
    })
}

/// A console that nobody writes to, with another port beside it; their output goes nowhere.
fn terminal() -> Result<Made, SubjectError> {
    let (input, silent) = UnixStream::pair().map_err(system("a terminal"))?;
    let output = File::options()
        .write(true)
        .open("/dev/null")
        .map_err(system("/dev/null"))?;
    let backend =
        console::backend::Descriptors::new(input.into(), output.into()).map_err(system("a terminal"))?;
    let size = console::Size {
        columns: 80,
        rows: 25,
    };
    let nowhere = console::backend::Log::append("/dev/null").map_err(system("/dev/null"))?;
    let console = console::Port::console(Box::new(backend), Some(size));
    let other = console::Port::generic("ringwright.1", Box::new(nowhere));
    let device = console::Console::with_ports(console, vec![other], 3);
    let device = device.map_err(|error| SubjectError::System {
        what: "a console".into(),
        source: io::Error::other(error),
    })?;
    Ok(Made::new(device, silent))
}

fn source() -> Result<Made, SubjectError> {
    let backend = Arc::new(entropy::backend::Os);
    Ok(Made::new(entropy::Entropy::new(backend), ()))
}

fn system(what: &str) -> impl FnOnce(io::Error) -> SubjectError {
    let what = what.to_owned();
    move |source| SubjectError::System { what, source }
}
