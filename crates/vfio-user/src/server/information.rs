//! What the client is told: version, device, regions, interrupt types.

use zerocopy::IntoBytes;

use super::ServerError;
use super::connection::{Answer, Connection, exactly, prefix, room};
use crate::message::{
    CapHeader, Capabilities, Command, DeviceInfo, IoFd, IrqInfo, MAX_DESCRIPTORS, MmapArea, RegionInfo,
    RegionIoFds, SparseMmap, VERSION, Version, VersionData,
};
use crate::socket::Message;

/// Where the configuration space says which INTx pin the function has.
const INTERRUPT_PIN: u64 = 0x3d;

/// Interrupt types that there are: INTx, MSI (of which there is none) and MSI-X.
const IRQ_TYPES: u32 = IrqInfo::MSIX + 1;

impl Connection<'_> {
    /// Agrees on a version and on what both ends are capable of: the reply's list "must be a subset of those proposed".
    pub(super) fn negotiate(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let (proposed, data) = prefix::<Version>(Command::Version, message)?;
        let Version { major, minor } = proposed;
        if major != VERSION.major {
            return Err(ServerError::Version { major, minor });
        }
        let client = VersionData::from_bytes(data)
            .map_err(ServerError::Capabilities)?
            .capabilities;
        let ours = Capabilities::ours();
        let capabilities = Capabilities {
            write_multiple: ours.write_multiple && client.write_multiple,
            ..ours
        };
        tracing::debug!(major, minor, ?client, "client");
        self.meet(client);
        let version = Version {
            major,
            minor: minor.min(VERSION.minor),
        };
        let mut answer = Answer::of(version);
        answer.payload.extend(VersionData { capabilities }.to_bytes());
        Ok(answer)
    }

    pub(super) fn device_info(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let info: DeviceInfo = exactly(Command::DeviceGetInfo, message)?;
        room(Command::DeviceGetInfo, info.argsz, size_of::<DeviceInfo>())?;
        Ok(Answer::of(DeviceInfo {
            argsz: size_of::<DeviceInfo>() as u32,
            flags: DeviceInfo::PCI | DeviceInfo::RESET,
            num_regions: RegionInfo::COUNT,
            num_irqs: IRQ_TYPES,
        }))
    }

    /// What a region is. A client that leaves too little room for the capabilities gets none, no descriptor, and the size
    /// that it needs.
    pub(super) fn region_info(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::DeviceGetRegionInfo;
        let asked: RegionInfo = exactly(command, message)?;
        room(command, asked.argsz, size_of::<RegionInfo>())?;
        let index = asked.index;
        if index >= RegionInfo::COUNT {
            let (field, found) = ("index", index.into());
            return Err(ServerError::Value {
                command,
                field,
                found,
            });
        }
        let mut info = RegionInfo {
            argsz: size_of::<RegionInfo>() as u32,
            index,
            size: self.region_size(index),
            ..RegionInfo::default()
        };
        let mut answer = Answer::default();
        if info.size != 0 {
            info.flags = RegionInfo::READ | RegionInfo::WRITE;
        }
        let mappable = bar(index).and_then(|bar| self.function.mappable(bar));
        if let Some(mappable) = mappable.filter(|_| info.size != 0) {
            info.flags |= RegionInfo::MMAP;
            info.offset = mappable.offset;
            let mut capability = Vec::new();
            if mappable.areas != [(0, info.size)] {
                capability = sparse_mmap(&mappable.areas);
            }
            info.argsz += capability.len() as u32;
            if info.argsz <= asked.argsz {
                let file = mappable.file.try_clone_to_owned().map_err(ServerError::Event)?;
                answer.descriptors.push(file);
                if !capability.is_empty() {
                    info.flags |= RegionInfo::CAPS;
                    info.cap_offset = size_of::<RegionInfo>() as u32;
                }
                answer.payload = capability;
            }
        }
        answer.payload.splice(..0, info.as_bytes().iter().copied());
        Ok(answer)
    }

    /// The doorbells of a region, as many as the client can take the descriptors of.
    pub(super) fn region_io_fds(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::DeviceGetRegionIoFds;
        let asked: RegionIoFds = exactly(command, message)?;
        room(command, asked.argsz, size_of::<RegionIoFds>())?;
        for (field, found) in [("flags", asked.flags), ("count", asked.count)] {
            if found != 0 {
                let found = found.into();
                return Err(ServerError::Value {
                    command,
                    field,
                    found,
                });
            }
        }
        if self.region_size(asked.index) == 0 {
            let (field, found) = ("index", asked.index.into());
            return Err(ServerError::Value {
                command,
                field,
                found,
            });
        }
        let most = self.client.as_ref().map_or(1, |client| client.max_msg_fds);
        let most = usize::try_from(most).map_or(MAX_DESCRIPTORS, |most| most.min(MAX_DESCRIPTORS));
        let mut doorbells = bar(asked.index).map_or(Vec::new(), |bar| self.function.doorbells(bar));
        doorbells.truncate(most);
        let head = RegionIoFds {
            argsz: (size_of::<RegionIoFds>() + size_of::<IoFd>() * doorbells.len()) as u32,
            flags: 0,
            index: asked.index,
            count: doorbells.len() as u32,
        };
        let mut answer = Answer::of(head);
        if head.argsz <= asked.argsz {
            for (doorbell, fd_index) in doorbells.iter().zip(0..) {
                let part = IoFd {
                    offset: doorbell.offset,
                    size: doorbell.size,
                    fd_index,
                    kind: IoFd::EVENT,
                    flags: doorbell.value.map_or(0, |_| IoFd::DATAMATCH),
                    padding: 0,
                    datamatch: doorbell.value.unwrap_or(0),
                };
                answer.payload.extend_from_slice(part.as_bytes());
                let event = doorbell.event.try_clone_to_owned().map_err(ServerError::Event)?;
                answer.descriptors.push(event);
            }
        }
        Ok(answer)
    }

    pub(super) fn irq_info(&mut self, message: &Message) -> Result<Answer, ServerError> {
        let command = Command::DeviceGetIrqInfo;
        let asked: IrqInfo = exactly(command, message)?;
        room(command, asked.argsz, size_of::<IrqInfo>())?;
        if asked.index >= IRQ_TYPES {
            let (field, found) = ("index", asked.index.into());
            return Err(ServerError::Value {
                command,
                field,
                found,
            });
        }
        let flags = match asked.index {
            IrqInfo::INTX => IrqInfo::EVENTFD | IrqInfo::MASKABLE | IrqInfo::AUTOMASKED,
            _ => IrqInfo::EVENTFD | IrqInfo::MASKABLE,
        };
        Ok(Answer::of(IrqInfo {
            argsz: size_of::<IrqInfo>() as u32,
            flags,
            index: asked.index,
            count: self.irq_count(asked.index),
        }))
    }

    /// Number of interrupts of a type.
    pub(super) fn irq_count(&mut self, index: u32) -> u32 {
        match index {
            IrqInfo::INTX => {
                let mut pin = [0];
                self.function.read_config(INTERRUPT_PIN, &mut pin);
                u32::from(pin != [0])
            }
            IrqInfo::MSIX => self.interrupts.vectors().into(),
            _ => 0,
        }
    }

    /// Size of a region in bytes; 0 if there is none.
    pub(super) fn region_size(&self, index: u32) -> u64 {
        match bar(index) {
            Some(bar) => self.function.bar_size(bar),
            None if index == RegionInfo::CONFIG => self.function.config_size(),
            None => 0,
        }
    }
}

/// The BAR that a region is.
pub(super) fn bar(region: u32) -> Option<u8> {
    let bar = region.checked_sub(RegionInfo::BAR0)?;
    u8::try_from(bar).ok().filter(|bar| *bar < 6)
}

/// The capability for a region that can be mapped in part.
fn sparse_mmap(areas: &[(u64, u64)]) -> Vec<u8> {
    let header = CapHeader {
        id: CapHeader::SPARSE_MMAP,
        version: 1,
        next: 0,
    };
    let sparse = SparseMmap {
        nr_areas: areas.len() as u32,
        reserved: 0,
    };
    let mut bytes = [header.as_bytes(), sparse.as_bytes()].concat();
    for &(offset, size) in areas {
        bytes.extend_from_slice(MmapArea { offset, size }.as_bytes());
    }
    bytes
}
