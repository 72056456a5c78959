//! IOMMU device (section 5.13): translates and limits the memory accesses of other devices, its endpoints.
//!
//! A request is a device-readable part and, at the end of the device-writable part, a [`ReqTail`]. The document draws
//! both as one structure; the request structures here are the device-readable part alone, because the two parts are
//! never in one buffer.

use crate::DeviceType;
use crate::data::{Bits, Le16, Le32, Le64};

/// The IOMMU device, id 23.
pub const DEVICE: DeviceType = DeviceType {
    id: 23,
    name: "iommu",
    title: "IOMMU device",
    transitional_pci_id: None,
    queues: &["requestq", "eventq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// [`Config::input_range`](super::Config::input_range) holds.
    INPUT_RANGE = 0;
    /// [`Config::domain_range`](super::Config::domain_range) holds.
    DOMAIN_RANGE = 1;
    /// The MAP and UNMAP requests exist.
    MAP_UNMAP = 2;
    /// Endpoints without a domain are in bypass mode. Superseded by [`BYPASS_CONFIG`]; devices should not offer both
    /// (`dev:iommu:feature-bits:03`).
    BYPASS = 3;
    /// The PROBE request exists.
    PROBE = 4;
    /// [`MapFlags::MMIO`](super::MapFlags::MMIO) exists.
    MMIO = 5;
    /// [`Config::bypass`](super::Config::bypass) and [`AttachFlags::BYPASS`](super::AttachFlags::BYPASS) decide which
    /// endpoints are in bypass mode.
    BYPASS_CONFIG = 6;
}

/// Index of the request queue.
pub const REQUESTQ: u16 = 0;
/// Index of the queue on which the device reports each [`Fault`].
pub const EVENTQ: u16 = 1;

wire! {
    /// Device configuration (section 5.13.4).
    pub struct Config {
        /// Page sizes that can be mapped, a bitmap; the lowest bit set is the granularity. At least one is set.
        pub page_size_mask: Le64,
        /// Virtual addresses that can be mapped; exists with [`features::INPUT_RANGE`].
        pub input_range: Range64,
        /// Domain ids; exists with [`features::DOMAIN_RANGE`].
        pub domain_range: Range32,
        /// Size in bytes of the properties in a PROBE request; exists with [`features::PROBE`].
        pub probe_size: Le32,
        /// 1 if endpoints without a domain are in bypass mode, otherwise 0; the driver may write it. Exists with
        /// [`features::BYPASS_CONFIG`].
        pub bypass: u8,
        /// Unused.
        pub reserved: [u8; 3],
    }

    /// A range of addresses (`virtio_iommu_range_64`).
    pub struct Range64 {
        /// First address.
        pub start: Le64,
        /// Last address.
        pub end: Le64,
    }

    /// A range of ids (`virtio_iommu_range_32`).
    pub struct Range32 {
        /// First id.
        pub start: Le32,
        /// Last id.
        pub end: Le32,
    }

    /// Start of every request, device-readable (section 5.13.6).
    pub struct ReqHead {
        /// [`RequestType`].
        pub r#type: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }

    /// End of every request, device-writable (section 5.13.6).
    pub struct ReqTail {
        /// [`RequestStatus`].
        pub status: u8,
        /// Zero.
        pub reserved: [u8; 3],
    }

    /// ATTACH: puts an endpoint into a domain, which is created if it does not exist (section 5.13.6.3).
    pub struct ReqAttach {
        /// With [`RequestType::ATTACH`].
        pub head: ReqHead,
        /// Id of the domain.
        pub domain: Le32,
        /// Id of the endpoint.
        pub endpoint: Le32,
        /// [`AttachFlags`].
        pub flags: Le32,
        /// Zero; the device refuses anything else (`dev:iommu:attach-request:01`).
        pub reserved: [u8; 4],
    }

    /// DETACH: takes an endpoint out of its domain, which ends with its last endpoint (section 5.13.6.4).
    pub struct ReqDetach {
        /// With [`RequestType::DETACH`].
        pub head: ReqHead,
        /// Id of the domain.
        pub domain: Le32,
        /// Id of the endpoint.
        pub endpoint: Le32,
        /// Zero; the device ignores it (`dev:iommu:detach-request:01`).
        pub reserved: [u8; 8],
    }

    /// MAP: maps a range of a domain to physical addresses (section 5.13.6.5).
    pub struct ReqMap {
        /// With [`RequestType::MAP`].
        pub head: ReqHead,
        /// Id of the domain.
        pub domain: Le32,
        /// First virtual address.
        pub virt_start: Le64,
        /// Last virtual address.
        pub virt_end: Le64,
        /// Physical address of the first byte.
        pub phys_start: Le64,
        /// [`MapFlags`].
        pub flags: Le32,
    }

    /// UNMAP: removes all mappings that lie in a range (section 5.13.6.6).
    pub struct ReqUnmap {
        /// With [`RequestType::UNMAP`].
        pub head: ReqHead,
        /// Id of the domain.
        pub domain: Le32,
        /// First virtual address.
        pub virt_start: Le64,
        /// Last virtual address.
        pub virt_end: Le64,
        /// Zero.
        pub reserved: [u8; 4],
    }

    /// PROBE: asks for the properties of an endpoint (section 5.13.6.7). The device-writable part is
    /// [`Config::probe_size`] bytes of properties, each a [`ProbeProperty`] and its value, and the [`ReqTail`].
    pub struct ReqProbe {
        /// With [`RequestType::PROBE`].
        pub head: ReqHead,
        /// Id of the endpoint.
        pub endpoint: Le32,
        /// Zero; the device ignores it (`dev:iommu:probe-request:01`).
        pub reserved: [u8; 64],
    }

    /// Start of every property (section 5.13.6.7).
    pub struct ProbeProperty {
        /// [`PROBE_PROPERTY_TYPE`] and [`PROBE_PROPERTY_RESERVED`].
        pub r#type: Le16,
        /// Size in bytes of the value that follows.
        pub length: Le16,
    }

    /// Property RESV_MEM: virtual addresses that the driver may not map (section 5.13.6.8.1).
    pub struct ProbeResvMem {
        /// With [`ProbeType::RESV_MEM`] and a length of 20.
        pub head: ProbeProperty,
        /// [`ResvMemType`].
        pub subtype: u8,
        /// Zero.
        pub reserved: [u8; 3],
        /// First virtual address.
        pub start: Le64,
        /// Last virtual address.
        pub end: Le64,
    }

    /// Report of an access that the device refused, on the event queue (section 5.13.6.9).
    pub struct Fault {
        /// [`FaultReason`].
        pub reason: u8,
        /// Zero; the driver ignores reports where it is not (`drv:iommu:fault-reporting:01`).
        pub reserved: [u8; 3],
        /// [`FaultFlags`].
        pub flags: Le32,
        /// Id of the endpoint that caused it.
        pub endpoint: Le32,
        /// Zero; the driver ignores it.
        pub reserved1: Le32,
        /// Address of the access, with [`FaultFlags::ADDRESS`].
        pub address: Le64,
    }
}
layout!(
    Config, 40,
    page_size_mask @ 0, input_range @ 8, domain_range @ 24, probe_size @ 32, bypass @ 36, reserved @ 37,
);
layout!(Range64, 16, start @ 0, end @ 8);
layout!(Range32, 8, start @ 0, end @ 4);
layout!(ReqHead, 4, r#type @ 0, reserved @ 1);
layout!(ReqTail, 4, status @ 0, reserved @ 1);
layout!(ReqAttach, 20, head @ 0, domain @ 4, endpoint @ 8, flags @ 12, reserved @ 16);
layout!(ReqDetach, 20, head @ 0, domain @ 4, endpoint @ 8, reserved @ 12);
layout!(ReqMap, 36, head @ 0, domain @ 4, virt_start @ 8, virt_end @ 16, phys_start @ 24, flags @ 32);
layout!(ReqUnmap, 28, head @ 0, domain @ 4, virt_start @ 8, virt_end @ 16, reserved @ 24);
layout!(ReqProbe, 72, head @ 0, endpoint @ 4, reserved @ 8);
layout!(ProbeProperty, 4, r#type @ 0, length @ 2);
layout!(ProbeResvMem, 24, head @ 0, subtype @ 4, reserved @ 5, start @ 8, end @ 16);
layout!(Fault, 24, reason @ 0, reserved @ 1, flags @ 4, endpoint @ 8, reserved1 @ 12, address @ 16);

/// Member `type` of [`ProbeProperty`]: [`ProbeType`].
pub const PROBE_PROPERTY_TYPE: Bits = Bits::new(0, 12);
/// Member `reserved` of [`ProbeProperty`]: zero, or the driver ignores the property (`drv:iommu:probe-request:05`).
pub const PROBE_PROPERTY_RESERVED: Bits = PROBE_PROPERTY_TYPE.then(4);

constants! {
    /// Requests (`VIRTIO_IOMMU_T_XXX`).
    pub RequestType: u8 {
        /// [`ReqAttach`].
        ATTACH = 1,
        /// [`ReqDetach`].
        DETACH = 2,
        /// [`ReqMap`].
        MAP = 3,
        /// [`ReqUnmap`].
        UNMAP = 4,
        /// [`ReqProbe`].
        PROBE = 5,
    }

    /// How a request ended (`VIRTIO_IOMMU_S_XXX`).
    pub RequestStatus: u8 {
        /// Success.
        OK = 0,
        /// Communication failed.
        IOERR = 1,
        /// The request is not supported.
        UNSUPP = 2,
        /// The device failed.
        DEVERR = 3,
        /// A parameter is invalid.
        INVAL = 4,
        /// A parameter is out of range.
        RANGE = 5,
        /// There is no such entry.
        NOENT = 6,
        /// Bad address.
        FAULT = 7,
        /// Not enough resources.
        NOMEM = 8,
    }

    /// Properties of an endpoint (`VIRTIO_IOMMU_PROBE_T_XXX`); type 0 ends the list.
    pub ProbeType: u16 {
        /// [`ProbeResvMem`].
        RESV_MEM = 1,
    }

    /// Kinds of reserved addresses (`VIRTIO_IOMMU_RESV_MEM_T_XXX`); unknown ones count as `RESERVED`.
    pub ResvMemType: u8 {
        /// Reserved by the device.
        RESERVED = 0,
        /// Doorbell of message signaled interrupts.
        MSI = 1,
    }

    /// Why an access was refused (`VIRTIO_IOMMU_FAULT_R_XXX`); unknown reasons count as `UNKNOWN`.
    pub FaultReason: u8 {
        /// An internal error, or one that has no value of its own.
        UNKNOWN = 0,
        /// The endpoint has no domain.
        DOMAIN = 1,
        /// The address is not mapped, or not for such an access.
        MAPPING = 2,
    }
}

flags! {
    /// Flags of [`ReqAttach`] (`VIRTIO_IOMMU_ATTACH_F_XXX`).
    pub AttachFlags: u32 {
        /// The domain is a bypass domain; exists with [`features::BYPASS_CONFIG`].
        BYPASS = 1 << 0,
    }

    /// Flags of [`ReqMap`] (`VIRTIO_IOMMU_MAP_F_XXX`).
    pub MapFlags: u32 {
        /// Reading is allowed.
        READ = 1 << 0,
        /// Writing is allowed.
        WRITE = 1 << 1,
        /// The physical addresses are registers of a device; exists with [`features::MMIO`].
        MMIO = 1 << 2,
    }

    /// Flags of [`Fault`] (`VIRTIO_IOMMU_FAULT_F_XXX`).
    pub FaultFlags: u32 {
        /// The access was a read.
        READ = 1 << 0,
        /// The access was a write.
        WRITE = 1 << 1,
        /// [`Fault::address`] holds.
        ADDRESS = 1 << 8,
    }
}
