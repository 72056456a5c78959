//! Memory device (section 5.15): a region of guest memory whose blocks are plugged and unplugged at run time.

use crate::DeviceType;
use crate::data::{Le16, Le64};

/// The memory device, id 24.
pub const DEVICE: DeviceType = DeviceType {
    id: 24,
    name: "memory",
    title: "Memory Device",
    transitional_pci_id: None,
    queues: &["guest-request"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// [`Config::node_id`](super::Config::node_id) holds and is an ACPI proximity domain.
    ACPI_PXM = 0;
    /// The driver never touches unplugged memory.
    UNPLUGGED_INACCESSIBLE = 1;
    /// The guest may be suspended with memory plugged.
    PERSISTENT_SUSPEND = 2;
}

/// Index of the only virtqueue.
pub const GUEST_REQUEST: u16 = 0;

wire! {
    /// Device configuration (section 5.15.4), read-only for the driver. All sizes and addresses are in bytes.
    pub struct Config {
        /// Size and alignment of a block, a power of two.
        pub block_size: Le64,
        /// Node of the memory, with [`features::ACPI_PXM`].
        pub node_id: Le16,
        /// Unused.
        pub padding: [u8; 6],
        /// Guest physical address of the region.
        pub addr: Le64,
        /// Size of the region.
        pub region_size: Le64,
        /// Size of its usable part, from the start.
        pub usable_region_size: Le64,
        /// How much is plugged.
        pub plugged_size: Le64,
        /// How much the device wants to be plugged.
        pub requested_size: Le64,
    }

    /// A request (section 5.15.6).
    pub struct Req {
        /// [`RequestType`].
        pub r#type: Le16,
        /// Unused.
        pub padding: [Le16; 3],
        /// The blocks, for every type but [`RequestType::UNPLUG_ALL`].
        pub u: ReqPlug,
    }

    /// Consecutive blocks, the data of a PLUG request (section 5.15.6.3).
    pub struct ReqPlug {
        /// Guest physical address of the first block.
        pub addr: Le64,
        /// Number of blocks.
        pub nb_blocks: Le16,
        /// Unused.
        pub padding: [Le16; 3],
    }

    /// A response (section 5.15.6).
    pub struct Resp {
        /// [`ResponseType`].
        pub r#type: Le16,
        /// Unused.
        pub padding: [Le16; 3],
        /// The state, for [`RequestType::STATE`].
        pub u: RespState,
    }

    /// State of the blocks, the data of the response to a STATE request (section 5.15.6.6).
    pub struct RespState {
        /// [`State`].
        pub r#type: Le16,
    }
}
layout!(
    Config, 56,
    block_size @ 0, node_id @ 8, padding @ 10, addr @ 16, region_size @ 24, usable_region_size @ 32,
    plugged_size @ 40, requested_size @ 48,
);
layout!(Req, 24, r#type @ 0, padding @ 2, u @ 8);
layout!(ReqPlug, 16, addr @ 0, nb_blocks @ 8, padding @ 10);
layout!(Resp, 10, r#type @ 0, padding @ 2, u @ 8);
layout!(RespState, 2, r#type @ 0);

/// Data of an UNPLUG request (section 5.15.6.4), of the same form.
pub type ReqUnplug = ReqPlug;
/// Data of a STATE request (section 5.15.6.6), of the same form.
pub type ReqState = ReqPlug;

constants! {
    /// Requests (`VIRTIO_MEM_REQ_XXX`).
    pub RequestType: u16 {
        /// Plugs unplugged blocks.
        PLUG = 0,
        /// Unplugs plugged blocks.
        UNPLUG = 1,
        /// Unplugs all blocks.
        UNPLUG_ALL = 2,
        /// Asks for the state of blocks.
        STATE = 3,
    }

    /// Responses (`VIRTIO_MEM_RESP_XXX`).
    pub ResponseType: u16 {
        /// Done.
        ACK = 0,
        /// Refused.
        NACK = 1,
        /// Not possible at present.
        BUSY = 2,
        /// The request is wrong.
        ERROR = 3,
    }

    /// States of a range of blocks (`VIRTIO_MEM_STATE_XXX`).
    pub State: u16 {
        /// All are plugged.
        PLUGGED = 0,
        /// None is plugged.
        UNPLUGGED = 1,
        /// Some are plugged.
        MIXED = 2,
    }
}
