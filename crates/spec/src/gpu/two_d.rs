//! The control virtqueue's 2D commands (section 5.7.6.8), among them those of EDID, capability sets and blobs.
//!
//! Where no response is named it is a bare header.

use super::CtrlHdr;
use crate::data::{Le32, Le64};

/// Most scanouts of a device, `VIRTIO_GPU_MAX_SCANOUTS`.
pub const MAX_SCANOUTS: usize = 16;

wire! {
    /// Rectangle, `struct virtio_gpu_rect`; 0,0 is the top left corner.
    pub struct Rect {
        /// Left edge.
        pub x: Le32,
        /// Upper edge.
        pub y: Le32,
        /// Width.
        pub width: Le32,
        /// Height.
        pub height: Le32,
    }

    /// Response to `GET_DISPLAY_INFO`, `struct virtio_gpu_resp_display_info`.
    pub struct RespDisplayInfo {
        /// Header.
        pub hdr: CtrlHdr,
        /// The scanouts.
        pub pmodes: [DisplayOne; MAX_SCANOUTS],
    }

    /// One scanout, `struct virtio_gpu_display_one`.
    pub struct DisplayOne {
        /// Preferred position and size.
        pub r: Rect,
        /// Whether the user enabled the display.
        pub enabled: Le32,
        /// Flags; none is defined.
        pub flags: Le32,
    }

    /// `GET_EDID`, `struct virtio_gpu_get_edid`.
    pub struct GetEdid {
        /// Header.
        pub hdr: CtrlHdr,
        /// Which scanout.
        pub scanout: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// Response to `GET_EDID`, `struct virtio_gpu_resp_edid`.
    pub struct RespEdid {
        /// Header.
        pub hdr: CtrlHdr,
        /// Bytes of `edid` that are valid.
        pub size: Le32,
        /// Padding.
        pub padding: Le32,
        /// EDID data as VESA specifies it.
        pub edid: [u8; 1024],
    }

    /// `RESOURCE_CREATE_2D`, `struct virtio_gpu_resource_create_2d`.
    pub struct ResourceCreate2d {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource, chosen by the driver.
        pub resource_id: Le32,
        /// A [`Format`].
        pub format: Le32,
        /// Width.
        pub width: Le32,
        /// Height.
        pub height: Le32,
    }

    /// `RESOURCE_UNREF`, `struct virtio_gpu_resource_unref`.
    pub struct ResourceUnref {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `SET_SCANOUT`, `struct virtio_gpu_set_scanout`.
    pub struct SetScanout {
        /// Header.
        pub hdr: CtrlHdr,
        /// Part of the resource to show.
        pub r: Rect,
        /// Which scanout.
        pub scanout_id: Le32,
        /// Id of the resource, or 0 to disable the scanout.
        pub resource_id: Le32,
    }

    /// `RESOURCE_FLUSH`, `struct virtio_gpu_resource_flush`.
    pub struct ResourceFlush {
        /// Header.
        pub hdr: CtrlHdr,
        /// Part of the resource to bring to the screen.
        pub r: Rect,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `TRANSFER_TO_HOST_2D`, `struct virtio_gpu_transfer_to_host_2d`.
    pub struct TransferToHost2d {
        /// Header.
        pub hdr: CtrlHdr,
        /// Part of the resource to transfer.
        pub r: Rect,
        /// Where that part starts in the backing memory, in bytes.
        pub offset: Le64,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `RESOURCE_ATTACH_BACKING`, `struct virtio_gpu_resource_attach_backing`; `nr_entries` [`MemEntry`]s follow.
    pub struct ResourceAttachBacking {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Number of entries.
        pub nr_entries: Le32,
    }

    /// A piece of guest memory, `struct virtio_gpu_mem_entry`.
    pub struct MemEntry {
        /// Guest address.
        pub addr: Le64,
        /// Bytes.
        pub length: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `RESOURCE_DETACH_BACKING`, `struct virtio_gpu_resource_detach_backing`.
    pub struct ResourceDetachBacking {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `GET_CAPSET_INFO`, `struct virtio_gpu_get_capset_info`.
    pub struct GetCapsetInfo {
        /// Header.
        pub hdr: CtrlHdr,
        /// Which capability set, less than `num_capsets`.
        pub capset_index: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// Response to `GET_CAPSET_INFO`, `struct virtio_gpu_resp_capset_info`.
    pub struct RespCapsetInfo {
        /// Header.
        pub hdr: CtrlHdr,
        /// A [`CapsetId`].
        pub capset_id: Le32,
        /// Greatest version of it.
        pub capset_max_version: Le32,
        /// Greatest size of it in bytes.
        pub capset_max_size: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `GET_CAPSET`, `struct virtio_gpu_get_capset`. The response is a [`CtrlHdr`] and the capability set
    /// (`struct virtio_gpu_resp_capset`).
    pub struct GetCapset {
        /// Header.
        pub hdr: CtrlHdr,
        /// A [`CapsetId`].
        pub capset_id: Le32,
        /// Version of it.
        pub capset_version: Le32,
    }

    /// `RESOURCE_ASSIGN_UUID`, `struct virtio_gpu_resource_assign_uuid`.
    pub struct ResourceAssignUuid {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// Response to `RESOURCE_ASSIGN_UUID`, `struct virtio_gpu_resp_resource_uuid`.
    pub struct RespResourceUuid {
        /// Header.
        pub hdr: CtrlHdr,
        /// UUID of the exported object.
        pub uuid: [u8; 16],
    }

    /// `RESOURCE_CREATE_BLOB`, `struct virtio_gpu_resource_create_blob`; `nr_entries` [`MemEntry`]s follow.
    pub struct ResourceCreateBlob {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource, chosen by the driver.
        pub resource_id: Le32,
        /// A [`BlobMem`].
        pub blob_mem: Le32,
        /// [`BlobFlags`].
        pub blob_flags: Le32,
        /// Number of entries.
        pub nr_entries: Le32,
        /// Object of the rendering context, for blobs in host memory.
        pub blob_id: Le64,
        /// Bytes.
        pub size: Le64,
    }

    /// `SET_SCANOUT_BLOB`, `struct virtio_gpu_set_scanout_blob`.
    pub struct SetScanoutBlob {
        /// Header.
        pub hdr: CtrlHdr,
        /// Part of the resource to show.
        pub r: Rect,
        /// Which scanout.
        pub scanout_id: Le32,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Width of the resource.
        pub width: Le32,
        /// Height of the resource.
        pub height: Le32,
        /// A [`Format`].
        pub format: Le32,
        /// Padding.
        pub padding: Le32,
        /// Bytes of a line, for each plane.
        pub strides: [Le32; 4],
        /// Where each plane starts, in bytes.
        pub offsets: [Le32; 4],
    }
}

layout!(Rect, 16, x @ 0, y @ 4, width @ 8, height @ 12);
layout!(RespDisplayInfo, 408, hdr @ 0, pmodes @ 24);
layout!(DisplayOne, 24, r @ 0, enabled @ 16, flags @ 20);
layout!(GetEdid, 32, hdr @ 0, scanout @ 24, padding @ 28);
layout!(RespEdid, 1056, hdr @ 0, size @ 24, padding @ 28, edid @ 32);
layout!(ResourceCreate2d, 40, hdr @ 0, resource_id @ 24, format @ 28, width @ 32, height @ 36);
layout!(ResourceUnref, 32, hdr @ 0, resource_id @ 24, padding @ 28);
layout!(SetScanout, 48, hdr @ 0, r @ 24, scanout_id @ 40, resource_id @ 44);
layout!(ResourceFlush, 48, hdr @ 0, r @ 24, resource_id @ 40, padding @ 44);
layout!(TransferToHost2d, 56, hdr @ 0, r @ 24, offset @ 40, resource_id @ 48, padding @ 52);
layout!(ResourceAttachBacking, 32, hdr @ 0, resource_id @ 24, nr_entries @ 28);
layout!(MemEntry, 16, addr @ 0, length @ 8, padding @ 12);
layout!(ResourceDetachBacking, 32, hdr @ 0, resource_id @ 24, padding @ 28);
layout!(GetCapsetInfo, 32, hdr @ 0, capset_index @ 24, padding @ 28);
layout!(RespCapsetInfo, 40, hdr @ 0, capset_id @ 24, capset_max_version @ 28, capset_max_size @ 32, padding @ 36);
layout!(GetCapset, 32, hdr @ 0, capset_id @ 24, capset_version @ 28);
layout!(ResourceAssignUuid, 32, hdr @ 0, resource_id @ 24, padding @ 28);
layout!(RespResourceUuid, 40, hdr @ 0, uuid @ 24);
layout!(ResourceCreateBlob, 56, hdr @ 0, resource_id @ 24, blob_mem @ 28, blob_flags @ 32, nr_entries @ 36,
    blob_id @ 40, size @ 48);
layout!(SetScanoutBlob, 96, hdr @ 0, r @ 24, scanout_id @ 40, resource_id @ 44, width @ 48, height @ 52,
    format @ 56, padding @ 60, strides @ 64, offsets @ 80);

flags! {
    /// What a blob is used for, the `VIRTIO_GPU_BLOB_FLAG_` values.
    pub BlobFlags: u32 {
        /// Memory access.
        USE_MAPPABLE = 0x0001,
        /// Sharing between drivers.
        USE_SHAREABLE = 0x0002,
        /// Sharing with other devices.
        USE_CROSS_DEVICE = 0x0004,
    }
}

constants! {
    /// Format of a resource, `enum virtio_gpu_formats`: the order of the channels in memory.
    pub Format: u32 {
        /// Blue, green, red, alpha.
        B8G8R8A8_UNORM = 1,
        /// Blue, green, red, unused.
        B8G8R8X8_UNORM = 2,
        /// Alpha, red, green, blue.
        A8R8G8B8_UNORM = 3,
        /// Unused, red, green, blue.
        X8R8G8B8_UNORM = 4,
        /// Red, green, blue, alpha.
        R8G8B8A8_UNORM = 67,
        /// Unused, blue, green, red.
        X8B8G8R8_UNORM = 68,
        /// Alpha, blue, green, red.
        A8B8G8R8_UNORM = 121,
        /// Red, green, blue, unused.
        R8G8B8X8_UNORM = 134,
    }

    /// Capability set, a protocol of 3D commands: the `VIRTIO_GPU_CAPSET_` values.
    pub CapsetId: u32 {
        /// Virgl, first edition.
        VIRGL = 1,
        /// Virgl, second edition.
        VIRGL2 = 2,
        /// gfxstream.
        GFXSTREAM = 3,
        /// Venus.
        VENUS = 4,
        /// Cross-domain, for Wayland.
        CROSS_DOMAIN = 5,
    }

    /// What memory a blob has, the `VIRTIO_GPU_BLOB_MEM_` values.
    pub BlobMem: u32 {
        /// Guest memory.
        GUEST = 0x0001,
        /// Host memory.
        HOST3D = 0x0002,
        /// Host memory, with guest memory as its shadow.
        HOST3D_GUEST = 0x0003,
    }
}
