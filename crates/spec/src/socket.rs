//! Socket device (section 5.10): stream and packet sockets between guest and device, without IP.

use crate::DeviceType;
use crate::data::{Le16, Le32, Le64};

/// The socket device, id 19.
pub const DEVICE: DeviceType = DeviceType {
    id: 19,
    name: "socket",
    title: "Socket Device",
    transitional_pci_id: None,
    queues: &["rx", "tx", "event"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// Stream sockets. If nothing is negotiated, both ends act as if this were (`dev:vsock:feature-bits:02`,
    /// `drv:vsock:feature-bits:02`).
    STREAM = 0;
    /// Seqpacket sockets.
    SEQPACKET = 1;
    /// Stream sockets exist only if [`STREAM`] is negotiated too.
    NO_IMPLIED_STREAM = 2;
}

/// Index of the queue on which packets reach the driver.
pub const RX: u16 = 0;
/// Index of the queue on which packets reach the device.
pub const TX: u16 = 1;
/// Index of the queue on which the device sends [`Event`]s.
pub const EVENT: u16 = 2;

/// The host's context id.
pub const CID_HOST: u64 = 2;

/// The context ids that no guest has (section 5.10.4, `dev:vsock:receive-and-transmit:01`).
pub const RESERVED_CIDS: [u64; 5] = [0, 1, CID_HOST, 0xffff_ffff, 0xffff_ffff_ffff_ffff];

wire! {
    /// Device configuration (section 5.10.4).
    pub struct Config {
        /// The guest's context id; its upper 32 bits are zero.
        pub guest_cid: Le64,
    }

    /// Header of every packet (section 5.10.6); `len` bytes of payload follow it.
    pub struct Hdr {
        /// Context id of the sender; its upper 32 bits are zero.
        pub src_cid: Le64,
        /// Context id of the receiver; its upper 32 bits are zero.
        pub dst_cid: Le64,
        /// Port of the sender.
        pub src_port: Le32,
        /// Port of the receiver.
        pub dst_port: Le32,
        /// Size of the payload in bytes; the buffer may be longer.
        pub len: Le32,
        /// [`Type`].
        pub r#type: Le16,
        /// [`Op`].
        pub op: Le16,
        /// [`ShutdownFlags`] or [`SeqFlags`], according to `op` and `type`.
        pub flags: Le32,
        /// Size in bytes of the sender's receive buffer for this socket.
        pub buf_alloc: Le32,
        /// Payload bytes that the sender has received and passed on, a free-running counter.
        pub fwd_cnt: Le32,
    }

    /// An event (section 5.10.6.7).
    pub struct Event {
        /// [`EventId`].
        pub id: Le32,
    }
}
layout!(Config, 8, guest_cid @ 0);
layout!(
    Hdr, 44,
    src_cid @ 0, dst_cid @ 8, src_port @ 16, dst_port @ 20, len @ 24, r#type @ 28, op @ 30, flags @ 32,
    buf_alloc @ 36, fwd_cnt @ 40,
);
layout!(Event, 4, id @ 0);

constants! {
    /// What a packet is for (`VIRTIO_VSOCK_OP_XXX`).
    pub Op: u16 {
        /// Never valid.
        INVALID = 0,
        /// Asks for a connection.
        REQUEST = 1,
        /// Accepts it.
        RESPONSE = 2,
        /// Refuses or ends a connection at once.
        RST = 3,
        /// Announces that no more data will be received or sent ([`ShutdownFlags`]).
        SHUTDOWN = 4,
        /// Carries payload.
        RW = 5,
        /// Tells the sender's buffer space.
        CREDIT_UPDATE = 6,
        /// Asks for the receiver's buffer space.
        CREDIT_REQUEST = 7,
    }

    /// Socket types (`VIRTIO_VSOCK_TYPE_XXX`).
    pub Type: u16 {
        /// A stream of bytes.
        STREAM = 1,
        /// Messages and records.
        SEQPACKET = 2,
    }

    /// Events (`VIRTIO_VSOCK_EVENT_XXX`).
    pub EventId: u32 {
        /// All connections are gone, and the guest's context id may have changed.
        TRANSPORT_RESET = 0,
    }
}

flags! {
    /// Flags of [`Op::SHUTDOWN`] (`VIRTIO_VSOCK_SHUTDOWN_F_XXX`, which the document numbers by bit).
    pub ShutdownFlags: u32 {
        /// The sender will receive no more.
        RECEIVE = 1 << 0,
        /// The sender will send no more.
        SEND = 1 << 1,
    }

    /// Flags of [`Op::RW`] on seqpacket sockets (`VIRTIO_VSOCK_SEQ_XXX`).
    pub SeqFlags: u32 {
        /// Last packet of a message.
        EOM = 1 << 0,
        /// Last packet of a record.
        EOR = 1 << 1,
    }
}
