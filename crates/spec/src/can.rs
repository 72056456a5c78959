//! CAN device (section 5.20): a controller of a Controller Area Network.

use crate::data::{Bits, Le16, Le32};
use crate::{DeviceType, Features};

/// The CAN device, id 36.
pub const DEVICE: DeviceType = DeviceType {
    id: 36,
    name: "can",
    title: "CAN Device",
    transitional_pci_id: None,
    queues: &["Txq", "Rxq", "Controlq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// Classic CAN frames, of up to 8 bytes.
    CAN_CLASSIC = 0;
    /// CAN FD frames, of up to 64 bytes.
    CAN_FD = 1;
    /// Remote transmission requests.
    RTR_FRAMES = 2 requires [CAN_CLASSIC];
    /// Requests of the Txq are used only when the message has been sent on the bus. One clause calls it
    /// `VIRTIO_CAN_F_CAN_LATE_TX_ACK`.
    LATE_TX_ACK = 3;
}

/// The frame formats, of which at least one must be negotiated (section 5.20.3.1).
pub const FRAME_FORMATS: Features = features::CAN_CLASSIC.union(features::CAN_FD);

/// Index of the queue of messages to the bus.
pub const TXQ: u16 = 0;
/// Index of the queue of messages from the bus.
pub const RXQ: u16 = 1;
/// Index of the queue that starts and stops the controller.
pub const CONTROLQ: u16 = 2;

/// Most bytes in a classic frame.
pub const CLASSIC_LENGTH_MAX: u16 = 8;
/// Most bytes in a CAN FD frame.
pub const FD_LENGTH_MAX: u16 = 64;

/// Member of [`TxOut::can_id`]: a standard identifier; all other bits are zero.
pub const CAN_ID_STANDARD: Bits = Bits::new(0, 11);
/// Member of [`TxOut::can_id`]: an extended identifier ([`FrameFlags::EXTENDED`]); all other bits are zero.
pub const CAN_ID_EXTENDED: Bits = Bits::new(0, 29);

wire! {
    /// Device configuration (section 5.20.4), read-only for the driver.
    pub struct Config {
        /// [`ControllerStatus`].
        pub status: Le16,
    }

    /// A request of the Controlq, device-readable (section 5.20.5.1).
    pub struct ControlOut {
        /// [`MsgType::SET_CTRL_MODE_START`] or [`MsgType::SET_CTRL_MODE_STOP`].
        pub msg_type: Le16,
    }

    /// Its response, device-writable (section 5.20.5.1).
    pub struct ControlIn {
        /// [`OperationResult`].
        pub result: u8,
    }

    /// Start of a message to the bus, device-readable (section 5.20.5.2); `length` bytes of data, the `sdu`, follow.
    pub struct TxOut {
        /// [`MsgType::TX`], or [`MsgType::RX`] in [`Rx`].
        pub msg_type: Le16,
        /// Size of the data in bytes.
        pub length: Le16,
        /// Reserved for the length code of classic frames of 8 bytes.
        pub reserved_classic_dlc: u8,
        /// Unused.
        pub padding: u8,
        /// Reserved for the priority of CAN XL frames.
        pub reserved_xl_priority: Le16,
        /// [`FrameFlags`].
        pub flags: Le32,
        /// Identifier of the message: [`CAN_ID_STANDARD`] or [`CAN_ID_EXTENDED`].
        pub can_id: Le32,
    }

    /// Its response, device-writable (section 5.20.5.2).
    pub struct TxIn {
        /// [`OperationResult`].
        pub result: u8,
    }
}
layout!(Config, 2, status @ 0);
layout!(ControlOut, 2, msg_type @ 0);
layout!(ControlIn, 1, result @ 0);
layout!(
    TxOut, 16,
    msg_type @ 0, length @ 2, reserved_classic_dlc @ 4, padding @ 5, reserved_xl_priority @ 6, flags @ 8, can_id @ 12,
);
layout!(TxIn, 1, result @ 0);

/// Start of a message from the bus, device-writable (section 5.20.5.3), of the same form.
pub type Rx = TxOut;

constants! {
    /// Messages (`VIRTIO_CAN_TX`, `VIRTIO_CAN_RX` and `VIRTIO_CAN_SET_CTRL_MODE_XXX`).
    pub MsgType: u16 {
        /// A message to the bus.
        TX = 0x0001,
        /// A message from the bus.
        RX = 0x0101,
        /// Starts the controller.
        SET_CTRL_MODE_START = 0x0201,
        /// Stops the controller, its state at first.
        SET_CTRL_MODE_STOP = 0x0202,
    }

    /// How an operation ended (`VIRTIO_CAN_RESULT_XXX`); unknown values count as `NOT_OK`. Where a clause says
    /// `VIRTIO_CAN_OK`, which is not defined, `OK` is meant.
    pub OperationResult: u8 {
        /// Success.
        OK = 0,
        /// Failure.
        NOT_OK = 1,
    }
}

flags! {
    /// State of the controller (`VIRTIO_CAN_S_XXX`).
    pub ControllerStatus: u16 {
        /// It has stopped because of a bus-off condition.
        CTRL_BUSOFF = 1 << 0,
    }

    /// Kind of a frame (`VIRTIO_CAN_FLAGS_XXX`).
    pub FrameFlags: u32 {
        /// A CAN FD frame.
        FD = 0x4000,
        /// The identifier has 29 bits rather than 11.
        EXTENDED = 0x8000,
        /// A remote transmission request.
        RTR = 0x2000,
    }
}
