//! Commands of 3D mode (section 5.7.6.9), which needs [`features::VIRGL`](super::features::VIRGL).
//!
//! The document lays out [`CtxCreate`], [`ResourceMapBlob`], [`RespMapInfo`] and [`ResourceUnmapBlob`], and only names
//! the other commands. Their layouts here are facts of Linux's `virtio_gpu.h`, which every implementation follows.

use super::CtrlHdr;
use crate::data::{Bits, Le32, Le64};

/// In `context_init` of [`CtxCreate`]: the [`CapsetId`](super::two_d::CapsetId) of the context, or 0 for the device's
/// choice.
pub const CONTEXT_INIT_CAPSET_ID: Bits = Bits::new(0, 8);

/// In `map_info` of [`RespMapInfo`]: a [`MapCache`]. `VIRTIO_GPU_MAP_CACHE_MASK` is its mask.
pub const MAP_INFO_CACHE: Bits = Bits::new(0, 4);

wire! {
    /// `CTX_CREATE`, `struct virtio_gpu_ctx_create`; the header's `ctx_id` names the new context.
    pub struct CtxCreate {
        /// Header.
        pub hdr: CtrlHdr,
        /// Bytes of `debug_name` that are valid.
        pub nlen: Le32,
        /// With `CONTEXT_INIT`: [`CONTEXT_INIT_CAPSET_ID`].
        pub context_init: Le32,
        /// Name for people.
        pub debug_name: [u8; 64],
    }

    /// `RESOURCE_MAP_BLOB`, `struct virtio_gpu_resource_map_blob`.
    pub struct ResourceMapBlob {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
        /// Where in the host visible memory region, in bytes.
        pub offset: Le64,
    }

    // The document writes u32, the native byte order, for these two fields; everything else of the device is
    // little-endian, and nothing else would be defined between two machines.
    /// Response to `RESOURCE_MAP_BLOB`, `struct virtio_gpu_resp_map_info`.
    pub struct RespMapInfo {
        /// Header.
        pub hdr: CtrlHdr,
        /// [`MAP_INFO_CACHE`].
        pub map_info: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `RESOURCE_UNMAP_BLOB`, `struct virtio_gpu_resource_unmap_blob`.
    pub struct ResourceUnmapBlob {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// From `virtio_gpu.h`: `CTX_ATTACH_RESOURCE` and `CTX_DETACH_RESOURCE`. `CTX_DESTROY` is a bare header.
    pub struct CtxResource {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// From `virtio_gpu.h`: `RESOURCE_CREATE_3D`.
    pub struct ResourceCreate3d {
        /// Header.
        pub hdr: CtrlHdr,
        /// Id of the resource, chosen by the driver.
        pub resource_id: Le32,
        /// Kind of texture, in the numbers of the 3D protocol.
        pub target: Le32,
        /// Format, in the numbers of the 3D protocol.
        pub format: Le32,
        /// Uses of the resource, in the bits of the 3D protocol.
        pub bind: Le32,
        /// Width.
        pub width: Le32,
        /// Height.
        pub height: Le32,
        /// Depth.
        pub depth: Le32,
        /// Number of elements of an array.
        pub array_size: Le32,
        /// Greatest mipmap level.
        pub last_level: Le32,
        /// Number of samples of a pixel.
        pub nr_samples: Le32,
        /// [`ResourceFlags`].
        pub flags: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// From `virtio_gpu.h`: a box, the part of a 3D resource.
    pub struct Box3d {
        /// Left edge.
        pub x: Le32,
        /// Upper edge.
        pub y: Le32,
        /// Front edge.
        pub z: Le32,
        /// Width.
        pub w: Le32,
        /// Height.
        pub h: Le32,
        /// Depth.
        pub d: Le32,
    }

    /// From `virtio_gpu.h`: `TRANSFER_TO_HOST_3D` and `TRANSFER_FROM_HOST_3D`.
    pub struct TransferHost3d {
        /// Header.
        pub hdr: CtrlHdr,
        /// Part of the resource.
        pub r#box: Box3d,
        /// Where that part starts in the backing memory, in bytes.
        pub offset: Le64,
        /// Id of the resource.
        pub resource_id: Le32,
        /// Mipmap level.
        pub level: Le32,
        /// Bytes of a line.
        pub stride: Le32,
        /// Bytes of a layer.
        pub layer_stride: Le32,
    }

    /// From `virtio_gpu.h`: `SUBMIT_3D`; `size` bytes of commands follow.
    pub struct CmdSubmit {
        /// Header.
        pub hdr: CtrlHdr,
        /// Bytes of commands.
        pub size: Le32,
        /// Padding.
        pub padding: Le32,
    }
}

layout!(CtxCreate, 96, hdr @ 0, nlen @ 24, context_init @ 28, debug_name @ 32);
layout!(ResourceMapBlob, 40, hdr @ 0, resource_id @ 24, padding @ 28, offset @ 32);
layout!(RespMapInfo, 32, hdr @ 0, map_info @ 24, padding @ 28);
layout!(ResourceUnmapBlob, 32, hdr @ 0, resource_id @ 24, padding @ 28);
layout!(CtxResource, 32, hdr @ 0, resource_id @ 24, padding @ 28);
layout!(ResourceCreate3d, 72, hdr @ 0, resource_id @ 24, target @ 28, format @ 32, bind @ 36, width @ 40,
    height @ 44, depth @ 48, array_size @ 52, last_level @ 56, nr_samples @ 60, flags @ 64, padding @ 68);
layout!(Box3d, 24, x @ 0, y @ 4, z @ 8, w @ 12, h @ 16, d @ 20);
layout!(TransferHost3d, 72, hdr @ 0, r#box @ 24, offset @ 48, resource_id @ 56, level @ 60, stride @ 64,
    layer_stride @ 68);
layout!(CmdSubmit, 32, hdr @ 0, size @ 24, padding @ 28);

flags! {
    /// From `virtio_gpu.h`: flags of a [`ResourceCreate3d`], the `VIRTIO_GPU_RESOURCE_FLAG_` values.
    pub ResourceFlags: u32 {
        /// Line 0 is the upper one.
        Y_0_TOP = 1 << 0,
    }
}

constants! {
    /// How the driver should cache a mapped blob, the `VIRTIO_GPU_MAP_CACHE_` values.
    pub MapCache: u32 {
        /// Unsaid.
        NONE = 0x00,
        /// Cached.
        CACHED = 0x01,
        /// Uncached.
        UNCACHED = 0x02,
        /// Write combining.
        WC = 0x03,
    }
}
