//! GPU device (section 5.7): displays, their contents and the mouse cursor.
//!
//! Here is what all commands share, and the cursor commands; [`two_d`] and [`three_d`] have those of the control
//! virtqueue.
//! Each request starts with a [`CtrlHdr`], and so does each response, after the request in the same descriptor chain.

pub mod three_d;
pub mod two_d;

use crate::DeviceType;
use crate::data::{Le32, Le64};

/// The GPU device, id 16.
pub const DEVICE: DeviceType = DeviceType {
    id: 16,
    name: "gpu",
    title: "GPU Device",
    transitional_pci_id: None,
    queues: &["controlq", "cursorq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// 3D mode (virgl).
    VIRGL = 0;
    /// The device returns EDID data.
    EDID = 1;
    /// Resources can be given a UUID, for use by other virtio devices.
    RESOURCE_UUID = 2;
    /// Blob resources, which have a size instead of a format.
    RESOURCE_BLOB = 3;
    /// Several types of contexts and several synchronization timelines.
    CONTEXT_INIT = 4 requires [VIRGL];
    /// Blobs are aligned to `blob_alignment`.
    BLOB_ALIGNMENT = 5 requires [RESOURCE_BLOB];
}

/// Index of the virtqueue of control commands.
pub const CONTROLQ: u16 = 0;

/// Index of the virtqueue of cursor commands.
pub const CURSORQ: u16 = 1;

wire! {
    /// Configuration space, `struct virtio_gpu_config` (section 5.7.4).
    pub struct Config {
        /// Pending [`Events`]; read-only for the driver.
        pub events_read: Le32,
        /// The driver writes the [`Events`] that are to be cleared.
        pub events_clear: Le32,
        /// Number of scanouts, 1 to 16.
        pub num_scanouts: Le32,
        /// Number of capability sets.
        pub num_capsets: Le32,
        // "maximum value is 4294967296", section 5.7.4.1, needs 33 bits; of the powers of two, 2^31 is the greatest
        // that the field can hold.
        /// With `BLOB_ALIGNMENT`: alignment of blobs in bytes, a power of two.
        pub blob_alignment: Le32,
    }

    /// Header of every request and response, `struct virtio_gpu_ctrl_hdr` (section 5.7.6.7).
    pub struct CtrlHdr {
        /// A [`CtrlType`].
        pub r#type: Le32,
        /// [`CtrlFlags`].
        pub flags: Le32,
        /// With [`CtrlFlags::FENCE`]: returned in the response.
        pub fence_id: Le64,
        /// Rendering context, for 3D mode.
        pub ctx_id: Le32,
        /// With [`CtrlFlags::INFO_RING_IDX`]: ring of the context, 0 to 63.
        pub ring_idx: u8,
        /// Padding.
        pub padding: [u8; 3],
    }

    /// Position of a cursor, `struct virtio_gpu_cursor_pos` (section 5.7.6.10).
    pub struct CursorPos {
        /// Which scanout.
        pub scanout_id: Le32,
        /// Horizontal position.
        pub x: Le32,
        /// Vertical position.
        pub y: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `UPDATE_CURSOR` and `MOVE_CURSOR`, `struct virtio_gpu_update_cursor`; the latter uses `pos` alone.
    pub struct UpdateCursor {
        /// Header.
        pub hdr: CtrlHdr,
        /// New position.
        pub pos: CursorPos,
        /// Id of the resource with the cursor's image of 64 x 64.
        pub resource_id: Le32,
        /// Horizontal position of the hot spot in the image.
        pub hot_x: Le32,
        /// Vertical position of the hot spot in the image.
        pub hot_y: Le32,
        /// Padding.
        pub padding: Le32,
    }
}

layout!(Config, 20, events_read @ 0, events_clear @ 4, num_scanouts @ 8, num_capsets @ 12, blob_alignment @ 16);
layout!(CtrlHdr, 24, r#type @ 0, flags @ 4, fence_id @ 8, ctx_id @ 16, ring_idx @ 20, padding @ 21);
layout!(CursorPos, 16, scanout_id @ 0, x @ 4, y @ 8, padding @ 12);
layout!(UpdateCursor, 56, hdr @ 0, pos @ 24, resource_id @ 40, hot_x @ 44, hot_y @ 48, padding @ 52);

flags! {
    /// Events of the configuration space, the `VIRTIO_GPU_EVENT_` values.
    pub Events: u32 {
        /// The display configuration changed.
        DISPLAY = 1 << 0,
    }

    /// Flags of a header, the `VIRTIO_GPU_FLAG_` values.
    pub CtrlFlags: u32 {
        /// Answer only when the command is complete.
        FENCE = 1 << 0,
        /// `ring_idx` is valid.
        INFO_RING_IDX = 1 << 1,
    }
}

constants! {
    /// Type of a request or response, `enum virtio_gpu_ctrl_type` (section 5.7.6.7): the `VIRTIO_GPU_CMD_` values, and
    /// the `VIRTIO_GPU_RESP_` values with their `RESP_`.
    pub CtrlType: u32 {
        /// Fetch the output configuration.
        GET_DISPLAY_INFO = 0x0100,
        /// Create a 2D resource.
        RESOURCE_CREATE_2D = 0x0101,
        /// Destroy a resource.
        RESOURCE_UNREF = 0x0102,
        /// Show a resource on a scanout.
        SET_SCANOUT = 0x0103,
        /// Bring changes of a resource to the screen.
        RESOURCE_FLUSH = 0x0104,
        /// Copy from the backing memory to a 2D resource.
        TRANSFER_TO_HOST_2D = 0x0105,
        /// Give a resource backing memory.
        RESOURCE_ATTACH_BACKING = 0x0106,
        /// Take the backing memory from a resource.
        RESOURCE_DETACH_BACKING = 0x0107,
        /// Describe a capability set.
        GET_CAPSET_INFO = 0x0108,
        /// Fetch a capability set.
        GET_CAPSET = 0x0109,
        /// Fetch EDID data; with `EDID`.
        GET_EDID = 0x010a,
        /// Export a resource under a UUID; with `RESOURCE_UUID`.
        RESOURCE_ASSIGN_UUID = 0x010b,
        /// Create a blob resource; with `RESOURCE_BLOB`.
        RESOURCE_CREATE_BLOB = 0x010c,
        /// Show a blob resource on a scanout; with `RESOURCE_BLOB`.
        SET_SCANOUT_BLOB = 0x010d,

        /// Create a rendering context.
        CTX_CREATE = 0x0200,
        /// Destroy a rendering context.
        CTX_DESTROY = 0x0201,
        /// Let a context use a resource.
        CTX_ATTACH_RESOURCE = 0x0202,
        /// End a context's use of a resource.
        CTX_DETACH_RESOURCE = 0x0203,
        /// Create a 3D resource.
        RESOURCE_CREATE_3D = 0x0204,
        /// Copy from the backing memory to a 3D resource.
        TRANSFER_TO_HOST_3D = 0x0205,
        /// Copy from a 3D resource to its backing memory.
        TRANSFER_FROM_HOST_3D = 0x0206,
        /// Run commands in a context.
        SUBMIT_3D = 0x0207,
        /// Map a blob into the host visible memory region.
        RESOURCE_MAP_BLOB = 0x0208,
        /// Take a blob from the host visible memory region.
        RESOURCE_UNMAP_BLOB = 0x0209,

        /// Set the cursor's image and position.
        UPDATE_CURSOR = 0x0300,
        /// Set the cursor's position.
        MOVE_CURSOR = 0x0301,

        /// Success, without data.
        RESP_OK_NODATA = 0x1100,
        /// Success, with a [`two_d::RespDisplayInfo`].
        RESP_OK_DISPLAY_INFO = 0x1101,
        /// Success, with a [`two_d::RespCapsetInfo`].
        RESP_OK_CAPSET_INFO = 0x1102,
        /// Success, with a capability set.
        RESP_OK_CAPSET = 0x1103,
        /// Success, with a [`two_d::RespEdid`].
        RESP_OK_EDID = 0x1104,
        /// Success, with a [`two_d::RespResourceUuid`].
        RESP_OK_RESOURCE_UUID = 0x1105,
        /// Success, with a [`three_d::RespMapInfo`].
        RESP_OK_MAP_INFO = 0x1106,

        /// Unspecified error.
        RESP_ERR_UNSPEC = 0x1200,
        /// Out of memory.
        RESP_ERR_OUT_OF_MEMORY = 0x1201,
        /// No such scanout.
        RESP_ERR_INVALID_SCANOUT_ID = 0x1202,
        /// No such resource.
        RESP_ERR_INVALID_RESOURCE_ID = 0x1203,
        /// No such context.
        RESP_ERR_INVALID_CONTEXT_ID = 0x1204,
        /// Another parameter is invalid.
        RESP_ERR_INVALID_PARAMETER = 0x1205,
    }

    /// Shared memory region, `enum virtio_gpu_shm_id` (section 5.7.5).
    pub ShmId: u8 {
        /// None.
        UNDEFINED = 0,
        /// The host visible memory region, into which blobs are mapped.
        HOST_VISIBLE = 1,
    }
}
