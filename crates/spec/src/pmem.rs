//! PMEM device (section 5.19): persistent memory that the driver maps, and a request to flush it.

use crate::DeviceType;
use crate::data::{Le32, Le64};

/// The PMEM device, id 27.
pub const DEVICE: DeviceType = DeviceType {
    id: 27,
    name: "pmem",
    title: "PMEM Device",
    transitional_pci_id: None,
    queues: &["req_vq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// The memory is a shared memory region, and the fields of [`Config`](super::Config) are zero.
    SHMEM_REGION = 0;
}

/// Index of the only virtqueue.
pub const REQ_VQ: u16 = 0;

/// Shared memory region: the memory, with [`features::SHMEM_REGION`] (`dev:pmem:device-initialization:02`).
pub const SHM_ID_REGION: u8 = 0;

wire! {
    /// Device configuration (section 5.19.4). Where driver clauses say `stop`, which no structure has, this `size` is
    /// meant: their counterparts for the device say so.
    pub struct Config {
        /// Guest physical address of the memory, without [`features::SHMEM_REGION`].
        pub start: Le64,
        /// Its size in bytes, without [`features::SHMEM_REGION`].
        pub size: Le64,
    }

    /// A request, device-readable (section 5.19.6).
    pub struct Req {
        /// [`RequestType`].
        pub r#type: Le32,
    }

    /// Its response, device-writable (section 5.19.7.2).
    pub struct Resp {
        /// [`Ret`].
        pub ret: Le32,
    }
}
layout!(Config, 16, start @ 0, size @ 8);
layout!(Req, 4, r#type @ 0);
layout!(Resp, 4, ret @ 0);

constants! {
    /// Requests (`VIRTIO_PMEM_REQ_TYPE_XXX`).
    pub RequestType: u32 {
        /// Makes all completed writes persistent.
        FLUSH = 0,
    }

    /// How a request ended (`dev:pmem:virtqueue-return:01`); the document gives the values no names.
    pub Ret: u32 {
        /// Success, "0".
        SUCCESS = 0,
        /// Failure, "-1".
        FAILURE = 0xffff_ffff,
    }
}
