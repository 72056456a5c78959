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
    /// A vring state description, or the vring's next index or indices (`SET_VRING_BASE`).
    pub struct VringState: 8 {
        /// Index of the virtqueue.
        pub index: u32,
        /// The number the request is about.
        pub num: u32,
    }

    /// Where the three areas of a virtqueue lie. All addresses are user addresses, or I/O virtual addresses if
    /// ACCESS_PLATFORM is negotiated.
    pub struct VringAddress: 40 {
        /// Index of the virtqueue.
        pub index: u32,
        /// [`VringAddress::LOG`].
        pub flags: u32,
        /// Descriptor area.
        pub descriptor: u64,
        /// Device area (the used ring).
        pub used: u64,
        /// Driver area (the available ring).
        pub available: u64,
        /// Guest address at which writes to the used ring are logged.
        pub log: u64,
    }

    /// One region of memory that the front-end shares.
    pub struct MemoryRegion: 32 {
        /// Guest address at which it starts.
        pub guest_address: u64,
        /// Size in bytes.
        pub size: u64,
        /// Address of the same byte in the front-end's own address space.
        pub user_address: u64,
        /// Where the region starts in the file.
        pub mmap_offset: u64,
    }

    /// Head of the multiple memory regions description; `count` regions follow.
    pub struct MemoryTable: 8 {
        /// Number of regions, each with a file descriptor.
        pub count: u32,
        /// Not used.
        pub padding: u32,
    }

    /// The single memory region description.
    pub struct SingleRegion: 40 {
        /// Not used.
        pub padding: u64,
        /// The region.
        pub region: MemoryRegion,
    }

    /// Where the dirty log lies in its file.
    pub struct Log: 16 {
        /// Size of the log in bytes.
        pub size: u64,
        /// Where it starts in the file.
        pub offset: u64,
    }

    /// A change of, or a miss in, the translations of I/O virtual addresses.
    pub struct Iotlb: 32 {
        /// First I/O virtual address.
        pub address: u64,
        /// Size in bytes.
        pub size: u64,
        /// The user address it translates to.
        pub user_address: u64,
        /// 1: read, 2: write, 3: both.
        pub permissions: u8,
        /// 1: miss, 2: update, 3: invalidate, 4: access failed.
        pub kind: u8,
        /// Not used.
        pub padding: [u8; 6],
    }

    /// Head of an access to the device configuration space; `size` bytes follow.
    pub struct Config: 12 {
        /// First byte of the configuration space.
        pub offset: u32,
        /// Number of bytes.
        pub size: u32,
        /// [`Config::WRITABLE`] or [`Config::MIGRATION`].
        pub flags: u32,
    }

    /// An area of a file that belongs to a vring (`VRING_HOST_NOTIFIER_MSG`).
    pub struct VringArea: 24 {
        /// Index of the virtqueue, and flags.
        pub index: u64,
        /// Size of the area.
        pub size: u64,
        /// Where it starts in the file.
        pub offset: u64,
    }

    /// The shared memory in which requests in flight are tracked.
    pub struct Inflight: 24 {
        /// Size in bytes.
        pub mmap_size: u64,
        /// Where it starts in the file.
        pub mmap_offset: u64,
        /// Number of virtqueues.
        pub queues: u16,
        /// Size of the virtqueues.
        pub queue_size: u16,
        /// Not used.
        pub padding: u32,
    }

    /// Name of a buffer shared between devices.
    pub struct SharedObject: 16 {
        /// UUID, the first three components in big endian.
        pub uuid: [u8; 16],
    }

    /// How the device's state is to be moved.
    pub struct DeviceState: 8 {
        /// 0: save, 1: load.
        pub direction: u32,
        /// 0: the device is suspended.
        pub phase: u32,
    }

    /// A file to be mapped into a shared memory region.
    pub struct SharedMemoryMap: 40 {
        /// The shared memory region.
        pub shmid: u8,
        /// Not used.
        pub padding: [u8; 7],
        /// Where the memory starts in the file.
        pub fd_offset: u64,
        /// Where it appears in the region.
        pub shm_offset: u64,
        /// Size in bytes.
        pub len: u64,
        /// 0: read only, 1: writable.
        pub flags: u64,
    }
}

impl VringState {
    /// Most bits of a vring index that a file descriptor message can name.
    pub const INDEX_MASK: u64 = 0xff;
    /// In the messages that pass a vring's file descriptor: there is none.
    pub const NO_DESCRIPTOR: u64 = 1 << 8;
}

impl VringAddress {
    /// Writes to the used ring are logged.
    pub const LOG: u32 = 1 << 0;
}

impl DeviceState {
    /// The back-end writes its state.
    pub const SAVE: u32 = 0;
    /// The back-end reads a state.
    pub const LOAD: u32 = 1;
    /// The guest is stopped and the device is suspended: the one phase there is.
    pub const STOPPED: u32 = 0;
    /// In the answer: no descriptor comes with it.
    pub const NO_DESCRIPTOR: u64 = 1 << 8;
}

impl Config {
    /// The driver writes writable fields.
    pub const WRITABLE: u32 = 0;
    /// The front-end restores the whole space after migration.
    pub const MIGRATION: u32 = 1;
}
