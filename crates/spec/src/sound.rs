//! Sound device (section 5.14): jacks, PCM streams, channel maps and control elements.
//!
//! A control message is a device-readable request that starts with [`Hdr`], and a device-writable response that starts
//! with [`Hdr`] too, its code then a [`RequestStatus`].

mod ctl;
mod pcm;

pub use ctl::*;
pub use pcm::*;

use crate::DeviceType;
use crate::data::Le32;

/// The sound device, id 25.
pub const DEVICE: DeviceType = DeviceType {
    id: 25,
    name: "sound",
    title: "Sound Device",
    transitional_pci_id: None,
    queues: &["controlq", "eventq", "txq", "rxq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// The device has control elements.
    CTLS = 0;
}

/// Index of the queue of control messages.
pub const CONTROLQ: u16 = 0;
/// Index of the queue of events.
pub const EVENTQ: u16 = 1;
/// Index of the queue of frames for output streams.
pub const TXQ: u16 = 2;
/// Index of the queue of frames from input streams.
pub const RXQ: u16 = 3;

wire! {
    /// Device configuration (section 5.14.4), read-only for the driver.
    pub struct Config {
        /// Number of jacks.
        pub jacks: Le32,
        /// Number of PCM streams.
        pub streams: Le32,
        /// Number of channel maps.
        pub chmaps: Le32,
        /// Number of control elements; exists with [`features::CTLS`].
        pub controls: Le32,
    }

    /// Start of every request, response and event (section 5.14.6).
    pub struct Hdr {
        /// [`Request`], [`RequestStatus`] or [`EventType`].
        pub code: Le32,
    }

    /// An event (section 5.14.6), device-writable.
    pub struct Event {
        /// [`EventType`].
        pub hdr: Hdr,
        /// Id of the jack or stream that it concerns. [`EventType::CTL_NOTIFY`] has a form of its own, [`CtlEvent`].
        pub data: Le32,
    }

    /// Request for information about several items (section 5.14.6.1). The response is [`Hdr`] and `count` structures,
    /// which start with [`Info`].
    pub struct QueryInfo {
        /// [`Request::JACK_INFO`], [`Request::PCM_INFO`], [`Request::CHMAP_INFO`] or [`Request::CTL_INFO`].
        pub hdr: Hdr,
        /// Id of the first item.
        pub start_id: Le32,
        /// Number of items.
        pub count: Le32,
        /// Size in bytes of the structure that the driver expects of each.
        pub size: Le32,
    }

    /// Start of the information about an item (section 5.14.6.1).
    pub struct Info {
        /// Function group that the item belongs to, as High Definition Audio numbers them (its section 7.1.2).
        pub hda_fn_nid: Le32,
    }

    /// Start of a request about one jack (section 5.14.6.4).
    pub struct JackHdr {
        /// [`Request`].
        pub hdr: Hdr,
        /// Id of the jack.
        pub jack_id: Le32,
    }

    /// Information about a jack (section 5.14.6.4.1).
    pub struct JackInfo {
        /// Function group.
        pub hdr: Info,
        /// [`JackFeatures`].
        pub features: Le32,
        /// Pin default configuration, as in High Definition Audio (7.3.3.31).
        pub hda_reg_defconf: Le32,
        /// Pin capabilities, as in High Definition Audio (7.3.4.9).
        pub hda_reg_caps: Le32,
        /// 1 if something is plugged in, otherwise 0.
        pub connected: u8,
        /// Zero.
        pub padding: [u8; 7],
    }

    /// Changes association and sequence of a jack (section 5.14.6.4.2).
    pub struct JackRemap {
        /// With [`Request::JACK_REMAP`].
        pub hdr: JackHdr,
        /// Association.
        pub association: Le32,
        /// Sequence.
        pub sequence: Le32,
    }
}
layout!(Config, 16, jacks @ 0, streams @ 4, chmaps @ 8, controls @ 12);
layout!(Hdr, 4, code @ 0);
layout!(Event, 8, hdr @ 0, data @ 4);
layout!(QueryInfo, 16, hdr @ 0, start_id @ 4, count @ 8, size @ 12);
layout!(Info, 4, hda_fn_nid @ 0);
layout!(JackHdr, 8, hdr @ 0, jack_id @ 4);
layout!(
    JackInfo, 24,
    hdr @ 0, features @ 4, hda_reg_defconf @ 8, hda_reg_caps @ 12, connected @ 16, padding @ 17,
);
layout!(JackRemap, 16, hdr @ 0, association @ 8, sequence @ 12);

constants! {
    /// Requests of the control queue (`VIRTIO_SND_R_XXX`).
    pub Request: u32 {
        /// Information about jacks.
        JACK_INFO = 1,
        /// [`JackRemap`].
        JACK_REMAP = 2,
        /// Information about streams.
        PCM_INFO = 0x0100,
        /// [`PcmSetParams`].
        PCM_SET_PARAMS = 0x0101,
        /// Prepares a stream ([`PcmHdr`]).
        PCM_PREPARE = 0x0102,
        /// Releases a stream ([`PcmHdr`]).
        PCM_RELEASE = 0x0103,
        /// Starts a stream ([`PcmHdr`]).
        PCM_START = 0x0104,
        /// Stops a stream ([`PcmHdr`]).
        PCM_STOP = 0x0105,
        /// Information about channel maps.
        CHMAP_INFO = 0x0200,
        /// Information about control elements.
        CTL_INFO = 0x0300,
        /// The items of an enumerated element ([`CtlHdr`]; answered with a [`CtlEnumItem`] for each).
        CTL_ENUM_ITEMS = 0x0301,
        /// Reads the value of an element ([`CtlHdr`]; answered with [`CtlValue`]).
        CTL_READ = 0x0302,
        /// Writes the value of an element ([`CtlHdr`] and [`CtlValue`]).
        CTL_WRITE = 0x0303,
        /// Reads the metadata of an element ([`CtlHdr`]; answered with [`CtlTlv`]).
        CTL_TLV_READ = 0x0304,
        /// Writes the metadata of an element ([`CtlHdr`] and [`CtlTlv`]).
        CTL_TLV_WRITE = 0x0305,
        /// Executes a command for the metadata of an element ([`CtlHdr`] and [`CtlTlv`]).
        CTL_TLV_COMMAND = 0x0306,
    }

    /// Events (`VIRTIO_SND_EVT_XXX`).
    pub EventType: u32 {
        /// Something was plugged into a jack.
        JACK_CONNECTED = 0x1000,
        /// Something was unplugged from a jack.
        JACK_DISCONNECTED = 0x1001,
        /// A period of a stream's buffer has elapsed.
        PCM_PERIOD_ELAPSED = 0x1100,
        /// An output stream ran dry, or an input stream overflowed.
        PCM_XRUN = 0x1101,
        /// A control element changed ([`CtlEvent`]).
        CTL_NOTIFY = 0x1200,
    }

    /// How a request ended (`VIRTIO_SND_S_XXX`).
    pub RequestStatus: u32 {
        /// Success.
        OK = 0x8000,
        /// The message is malformed, or a parameter is invalid.
        BAD_MSG = 0x8001,
        /// The request or its parameters are not supported.
        NOT_SUPP = 0x8002,
        /// Input or output failed.
        IO_ERR = 0x8003,
    }

    /// Which way the sound goes (`VIRTIO_SND_D_XXX`).
    pub Direction: u8 {
        /// From the driver to the device.
        OUTPUT = 0,
        /// From the device to the driver.
        INPUT = 1,
    }
}

flags! {
    /// What a jack can do (`VIRTIO_SND_JACK_F_XXX`, which the document numbers by bit).
    pub JackFeatures: u32 {
        /// It can be remapped.
        REMAP = 1 << 0,
    }
}
