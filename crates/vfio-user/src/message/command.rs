//! The commands of both directions.

use std::fmt;

/// A command (`VFIO_USER_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Command {
    /// Agree on a version and capabilities; the first command.
    Version = 1,
    /// Memory that the server may reach.
    DmaMap = 2,
    /// Memory that it may reach no longer.
    DmaUnmap = 3,
    /// What the device is.
    DeviceGetInfo = 4,
    /// What one of its regions is.
    DeviceGetRegionInfo = 5,
    /// Which parts of a region can be accessed through file descriptors.
    DeviceGetRegionIoFds = 6,
    /// What one of its interrupt types is.
    DeviceGetIrqInfo = 7,
    /// What happens when an interrupt is triggered, or masked.
    DeviceSetIrqs = 8,
    /// Read from a region.
    RegionRead = 9,
    /// Write to a region.
    RegionWrite = 10,
    /// Read the client's memory; from the server.
    DmaRead = 11,
    /// Write the client's memory; from the server.
    DmaWrite = 12,
    /// Reset the device.
    DeviceReset = 13,
    /// Several short writes to regions.
    RegionWriteMulti = 15,
    /// Get, set or probe a feature of the device.
    DeviceFeature = 16,
    /// Read the device's state, for a migration.
    MigDataRead = 17,
    /// Write the device's state, for a migration.
    MigDataWrite = 18,
}

impl Command {
    /// Every command, with the text's name without its prefix.
    pub const ALL: [(Self, &'static str); 17] = [
        (Self::Version, "VERSION"),
        (Self::DmaMap, "DMA_MAP"),
        (Self::DmaUnmap, "DMA_UNMAP"),
        (Self::DeviceGetInfo, "DEVICE_GET_INFO"),
        (Self::DeviceGetRegionInfo, "DEVICE_GET_REGION_INFO"),
        (Self::DeviceGetRegionIoFds, "DEVICE_GET_REGION_IO_FDS"),
        (Self::DeviceGetIrqInfo, "DEVICE_GET_IRQ_INFO"),
        (Self::DeviceSetIrqs, "DEVICE_SET_IRQS"),
        (Self::RegionRead, "REGION_READ"),
        (Self::RegionWrite, "REGION_WRITE"),
        (Self::DmaRead, "DMA_READ"),
        (Self::DmaWrite, "DMA_WRITE"),
        (Self::DeviceReset, "DEVICE_RESET"),
        (Self::RegionWriteMulti, "REGION_WRITE_MULTI"),
        (Self::DeviceFeature, "DEVICE_FEATURE"),
        (Self::MigDataRead, "MIG_DATA_READ"),
        (Self::MigDataWrite, "MIG_DATA_WRITE"),
    ];

    /// The command of this number, if there is one.
    pub fn from_number(number: u16) -> Option<Self> {
        let (command, _) = Self::ALL.iter().find(|(command, _)| *command as u16 == number)?;
        Some(*command)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(command, _)| command == self);
        f.write_str(name.map_or("", |(_, name)| name))
    }
}
