//! Media device (section 5.22): a V4L2 device (camera, codec) driven over virtqueues.
//!
//! Payloads are V4L2's own structures in their 64-bit little-endian form. Here they are plain bytes of the right size;
//! `linux/videodev2.h` says what is in them.

use crate::DeviceType;
use crate::data::{Le32, Le64};

/// The media device, id 48.
pub const DEVICE: DeviceType = DeviceType {
    id: 48,
    name: "media",
    title: "Media Device",
    transitional_pci_id: None,
    queues: &["commandq", "eventq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {}

/// Index of the queue of commands and their responses.
pub const COMMANDQ: u16 = 0;
/// Index of the queue of events.
pub const EVENTQ: u16 = 1;

/// Shared memory region: the buffers that [`CmdMmap`] maps.
pub const SHM_ID_MMAP_BUFFERS: u8 = 0;

/// Most planes of a buffer.
pub const MAX_PLANES: usize = 8;
/// Size in bytes of `struct v4l2_buffer`.
pub const V4L2_BUFFER_SIZE: usize = 88;
/// Size in bytes of `struct v4l2_plane`.
pub const V4L2_PLANE_SIZE: usize = 64;
/// Size in bytes of `struct v4l2_event`.
pub const V4L2_EVENT_SIZE: usize = 136;

wire! {
    /// Device configuration (section 5.22.4), read-only for the driver.
    pub struct Config {
        /// V4L2's `device_caps`.
        pub device_caps: Le32,
        /// Kind of device node, V4L2's `vfl_devnode_type`.
        pub device_type: Le32,
        /// Name: UTF-8, terminated by NUL unless it fills the field.
        pub card: [u8; 32],
    }

    /// Start of every command (section 5.22.6.1.1).
    pub struct CmdHeader {
        /// [`Cmd`].
        pub cmd: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// Start of every response (section 5.22.6.1.1).
    pub struct RespHeader {
        /// 0 for success, otherwise a Linux error number.
        pub status: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// Opens a session.
    pub struct CmdOpen {
        /// With [`Cmd::OPEN`].
        pub hdr: CmdHeader,
    }

    /// Response to [`CmdOpen`].
    pub struct RespOpen {
        /// Status.
        pub hdr: RespHeader,
        /// Id of the session, which no other open session has.
        pub session_id: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// Closes a session; has no response.
    pub struct CmdClose {
        /// With [`Cmd::CLOSE`].
        pub hdr: CmdHeader,
        /// Id of the session.
        pub session_id: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// Start of an ioctl; its payload follows if the driver writes it, with what its pointers point to behind it.
    pub struct CmdIoctl {
        /// With [`Cmd::IOCTL`].
        pub hdr: CmdHeader,
        /// Id of the session.
        pub session_id: Le32,
        /// Number of the ioctl: the second argument of its `_IO*` macro in `linux/videodev2.h`.
        pub code: Le32,
    }

    /// Start of the response to [`CmdIoctl`]; its payload follows if the device writes it.
    pub struct RespIoctl {
        /// Status.
        pub hdr: RespHeader,
    }

    /// A piece of guest memory; lists of these stand for pointers to user memory in payloads.
    pub struct SgEntry {
        /// Guest physical address.
        pub start: Le64,
        /// Size in bytes.
        pub len: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// Maps a buffer of the device into [`SHM_ID_MMAP_BUFFERS`].
    pub struct CmdMmap {
        /// With [`Cmd::MMAP`].
        pub hdr: CmdHeader,
        /// Id of the session.
        pub session_id: Le32,
        /// [`MmapFlags`].
        pub flags: Le32,
        /// `mem_offset` of the plane.
        pub offset: Le32,
    }

    /// Response to [`CmdMmap`].
    pub struct RespMmap {
        /// Status.
        pub hdr: RespHeader,
        /// Offset of the mapping in the shared memory region.
        pub driver_addr: Le64,
        /// Size of the mapping in bytes, that of the buffer.
        pub len: Le64,
    }

    /// Ends a mapping.
    pub struct CmdMunmap {
        /// With [`Cmd::MUNMAP`].
        pub hdr: CmdHeader,
        /// Offset of the mapping in the shared memory region.
        pub driver_addr: Le64,
    }

    /// Response to [`CmdMunmap`].
    pub struct RespMunmap {
        /// Status.
        pub hdr: RespHeader,
    }

    /// Start of every event (section 5.22.6.2.1).
    pub struct EventHeader {
        /// [`EventType`].
        pub event: Le32,
        /// Id of the session.
        pub session_id: Le32,
    }

    /// A session has failed for good; the driver closes it.
    pub struct EventError {
        /// With [`EventType::ERROR`].
        pub hdr: EventHeader,
        /// A Linux error number.
        pub errno: Le32,
        /// Unused.
        pub reserved: Le32,
    }

    /// A buffer goes back to the driver.
    pub struct EventDqbuf {
        /// With [`EventType::DQBUF`].
        pub hdr: EventHeader,
        /// `struct v4l2_buffer`; the driver ignores its pointers.
        pub buffer: [u8; V4L2_BUFFER_SIZE],
        /// `struct v4l2_plane` of each plane; the driver ignores its pointers.
        pub planes: [[u8; V4L2_PLANE_SIZE]; MAX_PLANES],
    }

    /// A V4L2 event.
    pub struct EventEvent {
        /// With [`EventType::EVENT`].
        pub hdr: EventHeader,
        /// `struct v4l2_event`.
        pub event: [u8; V4L2_EVENT_SIZE],
    }
}
layout!(Config, 40, device_caps @ 0, device_type @ 4, card @ 8);
layout!(CmdHeader, 8, cmd @ 0, reserved @ 4);
layout!(RespHeader, 8, status @ 0, reserved @ 4);
layout!(CmdOpen, 8, hdr @ 0);
layout!(RespOpen, 16, hdr @ 0, session_id @ 8, reserved @ 12);
layout!(CmdClose, 16, hdr @ 0, session_id @ 8, reserved @ 12);
layout!(CmdIoctl, 16, hdr @ 0, session_id @ 8, code @ 12);
layout!(RespIoctl, 8, hdr @ 0);
layout!(SgEntry, 16, start @ 0, len @ 8, reserved @ 12);
layout!(CmdMmap, 20, hdr @ 0, session_id @ 8, flags @ 12, offset @ 16);
layout!(RespMmap, 24, hdr @ 0, driver_addr @ 8, len @ 16);
layout!(CmdMunmap, 16, hdr @ 0, driver_addr @ 8);
layout!(RespMunmap, 8, hdr @ 0);
layout!(EventHeader, 8, event @ 0, session_id @ 4);
layout!(EventError, 16, hdr @ 0, errno @ 8, reserved @ 12);
layout!(EventDqbuf, 608, hdr @ 0, buffer @ 8, planes @ 96);
layout!(EventEvent, 144, hdr @ 0, event @ 8);

constants! {
    /// Commands (`VIRTIO_MEDIA_CMD_XXX`).
    pub Cmd: u32 {
        /// [`CmdOpen`].
        OPEN = 1,
        /// [`CmdClose`].
        CLOSE = 2,
        /// [`CmdIoctl`].
        IOCTL = 3,
        /// [`CmdMmap`].
        MMAP = 4,
        /// [`CmdMunmap`].
        MUNMAP = 5,
    }

    /// Events (`VIRTIO_MEDIA_EVT_XXX`).
    pub EventType: u32 {
        /// [`EventError`].
        ERROR = 0,
        /// [`EventDqbuf`].
        DQBUF = 1,
        /// [`EventEvent`].
        EVENT = 2,
    }

    /// Where a buffer lives (`enum virtio_media_memory`), with the numbers of V4L2's `V4L2_MEMORY_MMAP`,
    /// `V4L2_MEMORY_USERPTR` and `V4L2_MEMORY_DMABUF`.
    pub Memory: u32 {
        /// In the device, which maps it on [`CmdMmap`].
        MMAP = 1,
        /// In guest memory, told by a list of [`SgEntry`].
        SHARED_PAGES = 2,
        /// In a virtio object, told by its UUID (16 bytes after the payload's structures).
        OBJECT = 4,
    }

    /// The ioctls that a device answers with ENOTTY (section 5.22.6.1.5.7), because another mechanism replaces them or
    /// they are the driver's own; their numbers are those of `linux/videodev2.h`.
    pub UnsupportedIoctl: u32 {
        /// Replaced by [`Config`].
        QUERYCAP = 0,
        /// Replaced by [`EventDqbuf`].
        DQBUF = 17,
        /// Replaced by the controls of the JPEG class.
        G_JPEGCOMP = 61,
        /// Replaced by the controls of the JPEG class.
        S_JPEGCOMP = 62,
        /// For the driver alone.
        LOG_STATUS = 70,
        /// Replaced by [`EventEvent`].
        DQEVENT = 89,
    }
}

flags! {
    /// Flags of [`CmdMmap`] (`VIRTIO_MEDIA_MMAP_FLAG_XXX`).
    pub MmapFlags: u32 {
        /// Writable; otherwise the mapping is read-only.
        RW = 1 << 0,
    }
}
