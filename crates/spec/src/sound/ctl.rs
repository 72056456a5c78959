//! Control elements (section 5.14.6.10): volumes, switches and the like, modelled on ALSA's.

use super::{Hdr, Info};
use crate::data::{Bits, Le16, Le32, Le64};

/// Most values in an element of each type (`dev:sound:control-element-information:02`).
pub const CTL_COUNT_MAX: [(CtlType, u32); 6] = [
    (CtlType::BOOLEAN, 128),
    (CtlType::INTEGER, 128),
    (CtlType::INTEGER64, 64),
    (CtlType::ENUMERATED, 128),
    (CtlType::BYTES, 512),
    (CtlType::IEC958, 1),
];

/// Largest metadata in bytes (`drv:sound:control-element-metadata:04`).
pub const CTL_TLV_VALUE_MAX: usize = 65536;

/// Member of [`CtlInfo::role`]: [`Direction`](super::Direction), unless the whole is [`CtlRole::UNDEFINED`].
pub const CTL_ROLE_DIRECTION: Bits = Bits::new(0, 1);
/// Member of [`CtlInfo::role`]: [`CtlRole`].
pub const CTL_ROLE_ROLE: Bits = CTL_ROLE_DIRECTION.then(31);

wire! {
    /// Start of a request about one element (section 5.14.6.10).
    pub struct CtlHdr {
        /// [`Request`](super::Request).
        pub hdr: Hdr,
        /// Id of the element.
        pub control_id: Le32,
    }

    /// Information about an element (section 5.14.6.10.1).
    ///
    /// The document's structures have no padding but what they name (section 1.4). Linux declares this one for a
    /// compiler that pads: where 64-bit integers are aligned to 8 bytes, its `value` stands at offset 72 of 96 bytes.
    /// [`QueryInfo::size`](super::QueryInfo::size) shows which form a driver expects.
    pub struct CtlInfo {
        /// Function group.
        pub hdr: Info,
        /// [`CTL_ROLE_ROLE`] and [`CTL_ROLE_DIRECTION`].
        pub role: Le32,
        /// [`CtlType`].
        pub r#type: Le32,
        /// [`CtlAccess`].
        pub access: Le32,
        /// Number of values in the element, not 0.
        pub count: Le32,
        /// Tells elements of the same name apart.
        pub index: Le32,
        /// Name: ASCII, not empty, terminated by NUL.
        pub name: [u8; 44],
        /// [`CtlInteger`], [`CtlInteger64`] or [`CtlEnumerated`], for elements of these types.
        pub value: [u8; 24],
    }

    /// Range of an integer element (member `integer` of [`CtlInfo::value`]).
    pub struct CtlInteger {
        /// Smallest value.
        pub min: Le32,
        /// Largest value.
        pub max: Le32,
        /// Step; 0 if it varies.
        pub step: Le32,
    }

    /// Range of a 64-bit integer element (member `integer64` of [`CtlInfo::value`]).
    pub struct CtlInteger64 {
        /// Smallest value.
        pub min: Le64,
        /// Largest value.
        pub max: Le64,
        /// Step; 0 if it varies.
        pub step: Le64,
    }

    /// Range of an enumerated element (member `enumerated` of [`CtlInfo::value`]).
    pub struct CtlEnumerated {
        /// Number of items.
        pub items: Le32,
    }

    /// An item of an enumerated element (section 5.14.6.10.1).
    pub struct CtlEnumItem {
        /// Name: ASCII, not empty, terminated by NUL.
        pub item: [u8; 64],
    }

    /// Value of an element (section 5.14.6.10.2): `count` of little-endian 32-bit integers (boolean, integer, index of
    /// an enumerated item), 64-bit integers or bytes, or one [`CtlIec958`].
    pub struct CtlValue {
        /// The value.
        pub value: [u8; 512],
    }

    /// Value of an element of the digital audio interface (section 5.14.6.10.2).
    pub struct CtlIec958 {
        /// Channel status bits.
        pub status: [u8; 24],
        /// Subcode bits.
        pub subcode: [u8; 147],
        /// Unused.
        pub pad: u8,
        /// Subframe bits.
        pub dig_subframe: [u8; 4],
    }

    /// Start of metadata (section 5.14.6.10.3); its value follows.
    pub struct CtlTlv {
        /// Type, as ALSA or the device defines it.
        pub r#type: Le32,
        /// Size of the value in bytes, a multiple of 4.
        pub length: Le32,
    }

    /// An element changed (section 5.14.6.10.4).
    pub struct CtlEvent {
        /// With [`EventType::CTL_NOTIFY`](super::EventType::CTL_NOTIFY).
        pub hdr: Hdr,
        /// Id of the element.
        pub control_id: Le16,
        /// [`CtlEventMask`].
        pub mask: Le16,
    }
}
layout!(CtlHdr, 8, hdr @ 0, control_id @ 4);
layout!(
    CtlInfo, 92,
    hdr @ 0, role @ 4, r#type @ 8, access @ 12, count @ 16, index @ 20, name @ 24, value @ 68,
);
layout!(CtlInteger, 12, min @ 0, max @ 4, step @ 8);
layout!(CtlInteger64, 24, min @ 0, max @ 8, step @ 16);
layout!(CtlEnumerated, 4, items @ 0);
layout!(CtlEnumItem, 64, item @ 0);
layout!(CtlValue, 512, value @ 0);
layout!(CtlIec958, 176, status @ 0, subcode @ 24, pad @ 171, dig_subframe @ 172);
layout!(CtlTlv, 8, r#type @ 0, length @ 4);
layout!(CtlEvent, 8, hdr @ 0, control_id @ 4, mask @ 6);

constants! {
    /// What an element is for (`VIRTIO_SND_CTL_ROLE_XXX`).
    pub CtlRole: u32 {
        /// Not told.
        UNDEFINED = 0,
        /// Volume.
        VOLUME = 1,
        /// Mute switch.
        MUTE = 2,
        /// Gain.
        GAIN = 3,
    }

    /// Type of an element's value (`VIRTIO_SND_CTL_TYPE_XXX`).
    pub CtlType: u32 {
        /// 32-bit integers, 0 (off) or 1 (on).
        BOOLEAN = 0,
        /// 32-bit integers.
        INTEGER = 1,
        /// 64-bit integers.
        INTEGER64 = 2,
        /// Indices of items.
        ENUMERATED = 3,
        /// Bytes.
        BYTES = 4,
        /// [`CtlIec958`].
        IEC958 = 5,
    }
}

flags! {
    /// What the driver may do with an element (`VIRTIO_SND_CTL_ACCESS_XXX`, which the document numbers by bit).
    pub CtlAccess: u32 {
        /// Read the value.
        READ = 1 << 0,
        /// Write the value.
        WRITE = 1 << 1,
        /// Expect the value to change without an event.
        VOLATILE = 1 << 2,
        /// Expect no effect.
        INACTIVE = 1 << 3,
        /// Read the metadata.
        TLV_READ = 1 << 4,
        /// Write the metadata.
        TLV_WRITE = 1 << 5,
        /// Execute commands for the metadata.
        TLV_COMMAND = 1 << 6,
    }

    /// What of an element changed (`VIRTIO_SND_CTL_EVT_MASK_XXX`, which the document numbers by bit).
    pub CtlEventMask: u16 {
        /// The value.
        VALUE = 1 << 0,
        /// The information.
        INFO = 1 << 1,
        /// The metadata.
        TLV = 1 << 2,
    }
}
