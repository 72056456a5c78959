//! The client: drives a PCI function that another process serves.
//!
//! [`Client`] is what a virtual machine monitor would be: it gives the function memory, reaches its registers, and takes its
//! interrupts. The memory for a driver's rings and buffers is an [`Area`] that the function reaches by DMA address; its
//! registers are [`RegionRegisters`], which drivers take for those of a device on a bus.
//!
//! ```no_run
//! use ringwright_driver::{Options, entropy::Entropy};
//! use ringwright_vfio_user::client::{Client, ClientOptions, Delivery};
//!
//! let client = Client::connect("/run/rng.sock", ClientOptions::default())?;
//! let (transport, irqs) = client.virtio(Delivery::Messages)?;
//! let mut entropy = Entropy::new(transport, client.area(), Options::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dialogue;
mod error;
mod features;
mod irqs;
mod registers;
mod virtio;

use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringwright_memory::{Area, Mapping, Memory, Region};
use zerocopy::{FromBytes, IntoBytes};

pub use error::ClientError;
pub use irqs::Irqs;
pub use registers::RegionRegisters;
pub use virtio::{Delivery, Virtio};

use crate::message::{
    Capabilities, Command, DeviceInfo, DmaMap, DmaUnmap, IoFd, RegionInfo, RegionIoFds, VERSION, Version,
    VersionData,
};
use crate::socket::Message;
use dialogue::Dialogue;

/// DMA address at which the function sees the driver's memory. It differs from where it is in this process, so that a
/// server that takes one for the other does not go unnoticed.
const AREA_ADDRESS: u64 = 0x1_4000_0000;

/// Most regions and interrupt types of a device that are taken seriously.
const MOST: u32 = 64;

/// How a client works.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Bytes of memory for rings and buffers.
    pub memory: usize,
    /// Whether the server may map that memory; otherwise it has to ask for every byte.
    pub share_memory: bool,
    /// How long to wait for an answer.
    pub timeout: Duration,
}

impl Default for ClientOptions {
    /// 16 MiB of shared memory, answers within 10 seconds.
    fn default() -> Self {
        Self {
            memory: 16 << 20,
            share_memory: true,
            timeout: Duration::from_secs(10),
        }
    }
}

/// A connection to the server of a PCI function. Clones are the same connection, which ends with the last of them.
#[derive(Clone, Debug)]
pub struct Client {
    dialogue: Arc<Dialogue>,
    capabilities: Capabilities,
    info: DeviceInfo,
    area: Arc<Area>,
}

impl Client {
    /// Connects to the server that listens at `path`.
    pub fn connect(path: impl AsRef<Path>, options: ClientOptions) -> Result<Self, ClientError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Self::new(stream, options)
    }

    /// Speaks to the server on a connected stream socket: agrees with it on a version, learns what the device is, and gives
    /// it memory.
    pub fn new(stream: impl Into<OwnedFd>, options: ClientOptions) -> Result<Self, ClientError> {
        let memory = Arc::new(Mapping::memfd("vfio-user", options.memory)?);
        let region = Region::new(AREA_ADDRESS, memory);
        let area = Area::from_region(region.clone()).ok_or(ClientError::NoArea(options.memory))?;
        let dialogue = Dialogue::start(stream.into(), options.timeout)?;
        let capabilities = negotiate(&dialogue)?;
        let asked = DeviceInfo {
            argsz: size_of::<DeviceInfo>() as u32,
            ..DeviceInfo::default()
        };
        let info: DeviceInfo = dialogue.get(Command::DeviceGetInfo, &asked)?.0;
        if info.flags & DeviceInfo::PCI == 0 || info.num_regions <= RegionInfo::CONFIG {
            return Err(ClientError::NotPci);
        }
        if info.num_regions > MOST || info.num_irqs > MOST {
            return Err(ClientError::Answer(Command::DeviceGetInfo));
        }
        let client = Self {
            dialogue: Arc::new(dialogue),
            capabilities,
            info,
            area,
        };
        client.add_region(&region, options.share_memory)?;
        Ok(client)
    }

    /// The memory that the function reaches: rings and buffers go there.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// All memory that the function reaches, by DMA address.
    pub fn memory(&self) -> Arc<Memory> {
        self.dialogue.memory.load()
    }

    /// What the server is capable of.
    pub fn capabilities(&self) -> &Capabilities {
        &self.capabilities
    }

    /// The configuration space.
    pub fn config(&self) -> RegionRegisters {
        RegionRegisters::new(self.clone(), RegionInfo::CONFIG, Vec::new())
    }

    /// What is behind a BAR. Its doorbells, if the server tells of any, are rung past the connection.
    pub fn bar(&self, bar: u8) -> Result<RegionRegisters, ClientError> {
        let region = RegionInfo::BAR0 + u32::from(bar);
        Ok(RegionRegisters::new(
            self.clone(),
            region,
            self.doorbells(region)?,
        ))
    }

    /// What a region is.
    pub fn region_info(&self, region: u32) -> Result<RegionInfo, ClientError> {
        let asked = RegionInfo {
            argsz: size_of::<RegionInfo>() as u32,
            index: region,
            ..RegionInfo::default()
        };
        Ok(self.dialogue.get(Command::DeviceGetRegionInfo, &asked)?.0)
    }

    /// Reads from a region.
    pub fn read_region(&self, region: u32, offset: u64, data: &mut [u8]) -> Result<(), ClientError> {
        registers::read(&self.dialogue, region, offset, data)
    }

    /// Writes to a region, and waits until that has been done.
    pub fn write_region(&self, region: u32, offset: u64, data: &[u8]) -> Result<(), ClientError> {
        registers::write(&self.dialogue, region, offset, data)
    }

    /// Lets the function reach one more region of memory at its guest address. With `shared` the server may map it, which must
    /// then be a mapping of a file; without, it asks for what it wants of it.
    pub fn add_region(&self, region: &Region, shared: bool) -> Result<(), ClientError> {
        let address = region.guest_address();
        let (file, offset) = match (shared, region.file()) {
            (false, _) => (None, 0),
            (true, Some((file, offset))) => (Some(file), offset),
            (true, None) => return Err(ClientError::NotAFile(address)),
        };
        let write = if region.writable() { DmaMap::WRITE } else { 0 };
        let map = DmaMap {
            argsz: size_of::<DmaMap>() as u32,
            flags: DmaMap::READ | write,
            offset,
            address,
            size: region.len(),
        };
        let descriptors: Vec<BorrowedFd<'_>> = file.into_iter().collect();
        // The server may ask for the memory before its answer is read.
        self.dialogue.memory.add(region.clone())?;
        let answer = self.dialogue.ask(Command::DmaMap, map.as_bytes(), &descriptors);
        if answer.is_err() {
            self.dialogue.memory.remove(address)?;
        }
        answer.map(drop)
    }

    /// Takes back the region at `address`. When this returns the server reaches it no longer.
    pub fn remove_region(&self, address: u64) -> Result<(), ClientError> {
        let memory = self.memory();
        let region = memory
            .regions()
            .iter()
            .find(|region| region.guest_address() == address);
        let unmap = DmaUnmap {
            argsz: size_of::<DmaUnmap>() as u32,
            flags: 0,
            address,
            size: region.ok_or(ClientError::NoRegion(address))?.len(),
        };
        self.dialogue.tell(Command::DmaUnmap, &unmap)?;
        self.dialogue.memory.remove(address)?;
        Ok(())
    }

    /// Resets the function.
    pub fn reset(&self) -> Result<(), ClientError> {
        self.dialogue.tell(Command::DeviceReset, &())
    }

    /// The doorbells of a region.
    fn doorbells(&self, region: u32) -> Result<Vec<(IoFd, OwnedFd)>, ClientError> {
        let command = Command::DeviceGetRegionIoFds;
        let asked = RegionIoFds {
            argsz: 4096,
            index: region,
            ..RegionIoFds::default()
        };
        let mut reply = match self.dialogue.ask(command, asked.as_bytes(), &[]) {
            // A server that has no doorbells need not know the command.
            Err(ClientError::Refused { .. }) => return Ok(Vec::new()),
            reply => reply?,
        };
        let descriptors = std::mem::take(&mut reply.descriptors);
        let (head, parts) = reply
            .read_prefix::<RegionIoFds>()
            .ok_or(ClientError::Answer(command))?;
        let size = match head.count {
            0 => return Ok(Vec::new()),
            // "Each array entry is at offset i * ((argsz - 32) / count)", where the head counts 16.
            count => (head.argsz as usize).saturating_sub(size_of::<RegionIoFds>()) / count as usize,
        };
        let mut doorbells = Vec::new();
        for part in parts.chunks(size.max(size_of::<IoFd>())) {
            let Ok((part, _)) = IoFd::read_from_prefix(part) else {
                break;
            };
            let event = descriptors
                .get(part.fd_index as usize)
                .ok_or(ClientError::Answer(command))?;
            if part.kind == IoFd::EVENT {
                doorbells.push((part, event.try_clone().map_err(ClientError::Resources)?));
            }
        }
        Ok(doorbells)
    }
}

/// Agrees with the server on a version, and learns what it is capable of.
fn negotiate(dialogue: &Dialogue) -> Result<Capabilities, ClientError> {
    let ours = VersionData {
        capabilities: Capabilities::ours(),
    };
    let proposal = [VERSION.as_bytes(), &ours.to_bytes()].concat();
    let reply: Message = dialogue.ask(Command::Version, &proposal, &[])?;
    let (version, data) = reply
        .read_prefix::<Version>()
        .ok_or(ClientError::Answer(Command::Version))?;
    let Version { major, minor } = version;
    if major != VERSION.major || minor > VERSION.minor {
        return Err(ClientError::Version { major, minor });
    }
    Ok(VersionData::from_bytes(data)
        .map_err(ClientError::Capabilities)?
        .capabilities)
}
