//! RPMB device (section 5.12): a replay protected memory block, as eMMC's (JESD84-B51, 6.6.22).

use crate::DeviceType;
use crate::data::{Be16, Be32};

/// The RPMB device, id 28.
pub const DEVICE: DeviceType = DeviceType {
    id: 28,
    name: "rpmb",
    title: "RPMB Device",
    transitional_pci_id: None,
    queues: &["requestq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {}

/// Index of the only virtqueue.
pub const REQUESTQ: u16 = 0;

/// Bytes in one unit of [`Config::capacity`].
pub const CAPACITY_UNIT: usize = 128 * 1024;
/// Largest value of [`Config::capacity`]: 16 MiB.
pub const CAPACITY_MAX: u8 = 0x80;
/// Bytes in one block, the unit of addresses and counts.
pub const BLOCK_SIZE: usize = 256;

wire! {
    /// Device configuration (section 5.12.4).
    pub struct Config {
        /// Capacity in units of 128 KiB, 0 to 0x80.
        pub capacity: u8,
        /// Most blocks that one request may write; 0 is no limit.
        pub max_wr_cnt: u8,
        /// Most blocks that one request may read; 0 is no limit.
        pub max_rd_cnt: u8,
    }

    /// A request or response (section 5.12.6.1). Its numbers are big-endian.
    pub struct Frame {
        /// Padding.
        pub stuff: [u8; 196],
        /// The key that [`ReqResp::REQ_PROGRAM_KEY`] programs; otherwise the HMAC SHA-256 of `data` to `req_resp` of
        /// all frames of the message.
        pub key_mac: [u8; 32],
        /// One block of data.
        pub data: [u8; BLOCK_SIZE],
        /// The driver's random number, copied into the response.
        pub nonce: [u8; 16],
        /// Number of successful authenticated writes.
        pub write_counter: Be32,
        /// Number of the first block.
        pub address: Be16,
        /// Number of blocks.
        pub block_count: Be16,
        /// [`OperationResult`], written by the device.
        pub result: Be16,
        /// [`ReqResp`].
        pub req_resp: Be16,
    }
}
layout!(Config, 3, capacity @ 0, max_wr_cnt @ 1, max_rd_cnt @ 2);
layout!(
    Frame, 512,
    stuff @ 0, key_mac @ 196, data @ 228, nonce @ 484, write_counter @ 500, address @ 504, block_count @ 506,
    result @ 508, req_resp @ 510,
);

constants! {
    /// What a frame is (`VIRTIO_RPMB_REQ_XXX` and `VIRTIO_RPMB_RESP_XXX`).
    pub ReqResp: u16 {
        /// Programs the authentication key, once.
        REQ_PROGRAM_KEY = 0x0001,
        /// Reads the write counter.
        REQ_GET_WRITE_COUNTER = 0x0002,
        /// Writes blocks.
        REQ_DATA_WRITE = 0x0003,
        /// Reads blocks.
        REQ_DATA_READ = 0x0004,
        /// Asks for the result of the key programming or write before it.
        REQ_RESULT_READ = 0x0005,
        /// Response to the programming of the key.
        RESP_PROGRAM_KEY = 0x0100,
        /// Response with the write counter.
        RESP_GET_COUNTER = 0x0200,
        /// Response to a write.
        RESP_DATA_WRITE = 0x0300,
        /// Response to a read, one frame for each block.
        RESP_DATA_READ = 0x0400,
    }

    /// How an operation ended (`VIRTIO_RPMB_RES_XXX`).
    pub OperationResult: u16 {
        /// Success.
        OK = 0x0000,
        /// An error that has no value of its own.
        GENERAL_FAILURE = 0x0001,
        /// The MAC does not match.
        AUTH_FAILURE = 0x0002,
        /// The write counter does not match.
        COUNT_FAILURE = 0x0003,
        /// The address is out of range.
        ADDR_FAILURE = 0x0004,
        /// Writing failed.
        WRITE_FAILURE = 0x0005,
        /// Reading failed.
        READ_FAILURE = 0x0006,
        /// No key is programmed yet.
        NO_AUTH_KEY = 0x0007,
        /// The write counter has reached its maximum.
        WRITE_COUNTER_EXPIRED = 0x0080,
    }
}
