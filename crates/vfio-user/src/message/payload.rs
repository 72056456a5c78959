//! Payloads, as C lays them out: every field at its natural alignment, padding named.

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

/// Declares the payloads and checks their sizes at compile time.
macro_rules! payloads {
    ($( $(#[$meta:meta])* pub struct $name:ident: $size:literal { $( $(#[$fmeta:meta])* pub $field:ident : $ty:ty ),* $(,)? } )+) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
        #[repr(C)]
        pub struct $name { $( $(#[$fmeta])* pub $field: $ty ),* }

        impl Default for $name {
            fn default() -> Self {
                Self::new_zeroed()
            }
        }

        const _: () = assert!(size_of::<$name>() == $size);
    )+};
}

payloads! {
    /// VERSION: the version proposed or agreed on; JSON follows.
    pub struct Version: 4 {
        /// Must be the same on both ends.
        pub major: u16,
        /// The reply's is at most the command's.
        pub minor: u16,
    }

    /// DMA_MAP: memory that the server may reach, with its file descriptor if it can be mapped.
    pub struct DmaMap: 32 {
        /// Size of this structure.
        pub argsz: u32,
        /// [`DmaMap::READ`] and [`DmaMap::WRITE`].
        pub flags: u32,
        /// Where it starts in the file; 0 without one.
        pub offset: u64,
        /// DMA address of its first byte.
        pub address: u64,
        /// Size in bytes.
        pub size: u64,
    }

    /// DMA_UNMAP: memory that the server may reach no longer; repeated in the reply.
    pub struct DmaUnmap: 24 {
        /// Most bytes of the reply's payload.
        pub argsz: u32,
        /// [`DmaUnmap::ALL`].
        pub flags: u32,
        /// DMA address of its first byte.
        pub address: u64,
        /// Size in bytes.
        pub size: u64,
    }

    /// DEVICE_GET_INFO: what the device is.
    pub struct DeviceInfo: 16 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has.
        pub argsz: u32,
        /// [`DeviceInfo::RESET`] and [`DeviceInfo::PCI`].
        pub flags: u32,
        /// Number of regions.
        pub num_regions: u32,
        /// Number of interrupt types.
        pub num_irqs: u32,
    }

    /// DEVICE_GET_REGION_INFO: what a region is; capabilities follow.
    pub struct RegionInfo: 32 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has or would need.
        pub argsz: u32,
        /// [`RegionInfo::READ`], [`RegionInfo::WRITE`], [`RegionInfo::MMAP`], [`RegionInfo::CAPS`].
        pub flags: u32,
        /// Which region.
        pub index: u32,
        /// Where the first capability starts, from the start of this structure.
        pub cap_offset: u32,
        /// Size in bytes; 0 if there is no such region.
        pub size: u64,
        /// Where the region starts in its file descriptor.
        pub offset: u64,
    }

    /// What stands before every capability of a region.
    pub struct CapHeader: 8 {
        /// [`CapHeader::SPARSE_MMAP`].
        pub id: u16,
        /// Version of the capability.
        pub version: u16,
        /// Where the next capability starts, from the start of the [`RegionInfo`]; 0 if there is none.
        pub next: u32,
    }

    /// The capability for a region of which only parts can be mapped; [`MmapArea`]s follow.
    pub struct SparseMmap: 8 {
        /// Number of areas.
        pub nr_areas: u32,
        /// Not used.
        pub reserved: u32,
    }

    /// A part of a region that can be mapped.
    pub struct MmapArea: 16 {
        /// Where it starts in the region.
        pub offset: u64,
        /// Size in bytes.
        pub size: u64,
    }

    /// DEVICE_GET_REGION_IO_FDS: parts of a region that are accessed through file descriptors; [`IoFd`]s follow.
    pub struct RegionIoFds: 16 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has or would need.
        pub argsz: u32,
        /// 0.
        pub flags: u32,
        /// Which region.
        pub index: u32,
        /// Number of parts.
        pub count: u32,
    }

    /// A part of a region that is accessed through a file descriptor.
    pub struct IoFd: 40 {
        /// Where it starts in the region.
        pub offset: u64,
        /// Size of the access in bytes; 0 for any.
        pub size: u64,
        /// Which of the message's file descriptors.
        pub fd_index: u32,
        /// [`IoFd::EVENT`] or [`IoFd::REGION`].
        pub kind: u32,
        /// `KVM_IOEVENTFD_FLAG_*`.
        pub flags: u32,
        /// Not used.
        pub padding: u32,
        /// The value that is written, with [`IoFd::DATAMATCH`].
        pub datamatch: u64,
    }

    /// DEVICE_GET_IRQ_INFO: what an interrupt type is.
    pub struct IrqInfo: 16 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has.
        pub argsz: u32,
        /// [`IrqInfo::EVENTFD`], [`IrqInfo::MASKABLE`], [`IrqInfo::AUTOMASKED`], [`IrqInfo::NORESIZE`].
        pub flags: u32,
        /// Which interrupt type.
        pub index: u32,
        /// Number of interrupts of this type.
        pub count: u32,
    }

    /// DEVICE_SET_IRQS: what happens to some interrupts of a type; booleans or file descriptors come with it.
    pub struct IrqSet: 20 {
        /// Size of the payload.
        pub argsz: u32,
        /// One of the `DATA` flags and one of the `ACTION` flags.
        pub flags: u32,
        /// Which interrupt type.
        pub index: u32,
        /// The first interrupt.
        pub start: u32,
        /// Number of interrupts.
        pub count: u32,
    }

    /// REGION_READ and REGION_WRITE: an access to a region; the data follow.
    pub struct RegionAccess: 16 {
        /// Where it starts in the region.
        pub offset: u64,
        /// Which region.
        pub region: u32,
        /// Number of bytes.
        pub count: u32,
    }

    /// DMA_READ and DMA_WRITE: an access to the client's memory; the data follow.
    pub struct DmaAccess: 16 {
        /// DMA address.
        pub address: u64,
        /// Number of bytes.
        pub count: u64,
    }

    /// REGION_WRITE_MULTI: several writes; [`OneWrite`]s follow.
    pub struct WriteMulti: 8 {
        /// Number of writes, and in the reply, how many were done.
        pub wr_cnt: u64,
    }

    /// One write of several.
    pub struct OneWrite: 24 {
        /// Where it starts in the region.
        pub offset: u64,
        /// Which region.
        pub region: u32,
        /// Number of bytes, at most 8.
        pub count: u32,
        /// The data.
        pub data: [u8; 8],
    }

    /// DEVICE_FEATURE: a feature of the device; its data follow.
    pub struct DeviceFeature: 8 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has.
        pub argsz: u32,
        /// The feature's number ([`DeviceFeature::MASK`]) and what to do.
        pub flags: u32,
    }

    /// Data of the feature [`DeviceFeature::MIGRATION`].
    pub struct Migration: 8 {
        /// [`Migration::STOP_COPY`], [`Migration::P2P`], [`Migration::PRE_COPY`].
        pub flags: u64,
    }

    /// Data of the feature [`DeviceFeature::MIG_DEVICE_STATE`].
    pub struct MigState: 8 {
        /// One of the constants here.
        pub device_state: u32,
        /// Not used.
        pub data_fd: u32,
    }

    /// Data of the feature [`DeviceFeature::DMA_LOGGING_START`]; [`LoggingRange`]s follow.
    pub struct LoggingControl: 16 {
        /// Bytes that one bit of the log is to stand for.
        pub page_size: u64,
        /// Number of ranges; 0 for all addresses.
        pub num_ranges: u32,
        /// Not used.
        pub reserved: u32,
    }

    /// A range of DMA addresses whose writes are logged.
    pub struct LoggingRange: 16 {
        /// DMA address of the first byte.
        pub iova: u64,
        /// Length in bytes.
        pub length: u64,
    }

    /// Data of the feature [`DeviceFeature::DMA_LOGGING_REPORT`]; in the reply, the bitmap follows in words of 64 bits.
    pub struct LoggingReport: 24 {
        /// DMA address of the first byte.
        pub iova: u64,
        /// Length in bytes.
        pub length: u64,
        /// Bytes that one bit stands for; a power of two.
        pub page_size: u64,
    }

    /// MIG_DATA_READ and MIG_DATA_WRITE: a piece of the device's state; the bytes follow.
    pub struct MigData: 8 {
        /// In a command, most bytes of the reply's payload; in a reply, how many it has.
        pub argsz: u32,
        /// Number of bytes.
        pub size: u32,
    }
}

impl DmaMap {
    /// The memory may be read.
    pub const READ: u32 = 1 << 0;
    /// The memory may be written.
    pub const WRITE: u32 = 1 << 1;
}

impl DmaUnmap {
    /// Everything is unmapped; address and size are 0 (`VFIO_DMA_UNMAP_FLAG_ALL`).
    pub const ALL: u32 = 1 << 1;
}

impl DeviceInfo {
    /// The device can be reset.
    pub const RESET: u32 = 1 << 0;
    /// The device is a PCI device.
    pub const PCI: u32 = 1 << 1;
}

impl RegionInfo {
    /// The region can be read.
    pub const READ: u32 = 1 << 0;
    /// The region can be written.
    pub const WRITE: u32 = 1 << 1;
    /// The region, or parts of it, can be mapped.
    pub const MMAP: u32 = 1 << 2;
    /// Capabilities follow.
    pub const CAPS: u32 = 1 << 3;

    /// Index of the first BAR; the others follow.
    pub const BAR0: u32 = 0;
    /// Index of the expansion ROM.
    pub const ROM: u32 = 6;
    /// Index of the configuration space.
    pub const CONFIG: u32 = 7;
    /// Index of the VGA ranges.
    pub const VGA: u32 = 8;
    /// Number of regions of a PCI device (`VFIO_PCI_NUM_REGIONS`).
    pub const COUNT: u32 = 9;
}

impl CapHeader {
    /// Only parts of the region can be mapped (`VFIO_REGION_INFO_CAP_SPARSE_MMAP`).
    pub const SPARSE_MMAP: u16 = 1;
}

impl IoFd {
    /// An eventfd (`VFIO_USER_IO_FD_TYPE_IOEVENTFD`).
    pub const EVENT: u32 = 0;
    /// An ioregionfd (`VFIO_USER_IO_FD_TYPE_IOREGIONFD`).
    pub const REGION: u32 = 1;
    /// Only writes of [`IoFd::datamatch`] count (`KVM_IOEVENTFD_FLAG_DATAMATCH`).
    pub const DATAMATCH: u32 = 1 << 0;
}

impl IrqInfo {
    /// The type signals an eventfd.
    pub const EVENTFD: u32 = 1 << 0;
    /// Interrupts can be masked and unmasked.
    pub const MASKABLE: u32 = 1 << 1;
    /// An interrupt masks itself when it is triggered.
    pub const AUTOMASKED: u32 = 1 << 2;
    /// The interrupts are set up all at once.
    pub const NORESIZE: u32 = 1 << 3;

    /// Index of INTx.
    pub const INTX: u32 = 0;
    /// Index of MSI.
    pub const MSI: u32 = 1;
    /// Index of MSI-X.
    pub const MSIX: u32 = 2;
    /// Index of the error interrupt.
    pub const ERROR: u32 = 3;
    /// Index of the request for the device's release.
    pub const REQUEST: u32 = 4;
    /// Number of interrupt types of a PCI device (`VFIO_PCI_NUM_IRQS`).
    pub const COUNT: u32 = 5;
}

impl IrqSet {
    /// No data: for all interrupts of the range.
    pub const DATA_NONE: u32 = 1 << 0;
    /// A byte for each interrupt: for those whose byte is not 0.
    pub const DATA_BOOL: u32 = 1 << 1;
    /// A file descriptor for each interrupt, which is signalled when the action occurs; none at all to end that.
    pub const DATA_EVENTFD: u32 = 1 << 2;
    /// Mask.
    pub const ACTION_MASK: u32 = 1 << 3;
    /// Unmask.
    pub const ACTION_UNMASK: u32 = 1 << 4;
    /// Trigger.
    pub const ACTION_TRIGGER: u32 = 1 << 5;
}

impl DeviceFeature {
    /// The bits with the feature's number.
    pub const MASK: u32 = 0xffff;
    /// Give the feature's data.
    pub const GET: u32 = 1 << 16;
    /// Take the feature's data.
    pub const SET: u32 = 1 << 17;
    /// Say whether the feature is there, for what else is asked.
    pub const PROBE: u32 = 1 << 18;

    /// The device can be migrated; the data are a [`Migration`].
    pub const MIGRATION: u32 = 1;
    /// Where the device stands in a migration; the data are a [`MigState`].
    pub const MIG_DEVICE_STATE: u32 = 2;
    /// Begin to log writes to memory; the data are a [`LoggingControl`].
    pub const DMA_LOGGING_START: u32 = 6;
    /// Do not log writes any more.
    pub const DMA_LOGGING_STOP: u32 = 7;
    /// What was written; the data are a [`LoggingReport`].
    pub const DMA_LOGGING_REPORT: u32 = 8;
}

impl Migration {
    /// The state can be read while the device is stopped; always there.
    pub const STOP_COPY: u64 = 1 << 0;
    /// Not used in vfio-user.
    pub const P2P: u64 = 1 << 1;
    /// The state can be read while the device runs.
    pub const PRE_COPY: u64 = 1 << 2;
}

impl MigState {
    /// The device has failed and must be reset.
    pub const ERROR: u32 = 0;
    /// The device changes nothing.
    pub const STOP: u32 = 1;
    /// The device runs.
    pub const RUNNING: u32 = 2;
    /// The device changes nothing, and its state is being read.
    pub const STOP_COPY: u32 = 3;
    /// The device changes nothing, and a state is being written.
    pub const RESUMING: u32 = 4;
    /// The device runs, and its state is being read.
    pub const PRE_COPY: u32 = 6;
}
