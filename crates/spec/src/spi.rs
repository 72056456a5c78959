//! SPI controller device (section 5.21): transfers to the peripherals of a serial peripheral interface.
//!
//! A request is a [`TransferHead`], the bytes to send if any, the bytes to receive if any (device-writable), and a
//! [`TransferResult`].

use crate::DeviceType;
use crate::data::Le32;

/// The SPI controller device, id 45.
pub const DEVICE: DeviceType = DeviceType {
    id: 45,
    name: "spi",
    title: "SPI Controller Device",
    transitional_pci_id: None,
    queues: &["requestq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {}

/// Index of the only virtqueue.
pub const REQUESTQ: u16 = 0;

wire! {
    /// Device configuration (section 5.21.4), read-only for the driver. Delays are in nanoseconds.
    pub struct Config {
        /// Number of chipselects.
        pub cs_max_number: u8,
        /// 1 if the chipselect can be toggled after each transfer of a message, otherwise 0.
        pub cs_change_supported: u8,
        /// [`NbitsSupported`] for sending.
        pub tx_nbits_supported: u8,
        /// [`NbitsSupported`] for receiving.
        pub rx_nbits_supported: u8,
        /// Bit n is set if words of n + 1 bits are supported; 0 if all sizes are.
        pub bits_per_word_mask: Le32,
        /// [`ModeFuncSupported`].
        pub mode_func_supported: Le32,
        /// Highest clock rate in hertz; 0 is no limit.
        pub max_freq_hz: Le32,
        /// Longest delay between words; 0 if there can be none.
        pub max_word_delay_ns: Le32,
        /// Longest delay after the chipselect is asserted; 0 if there can be none.
        pub max_cs_setup_ns: Le32,
        /// Longest delay before the chipselect is deasserted; 0 if there can be none.
        pub max_cs_hold_ns: Le32,
        /// Longest delay after the chipselect is deasserted; 0 if there can be none.
        pub max_cs_inactive_ns: Le32,
    }

    /// Start of a request, device-readable (section 5.21.6.1). Delays are in nanoseconds.
    pub struct TransferHead {
        /// Index of the chipselect.
        pub chip_select_id: u8,
        /// Bits in a word.
        pub bits_per_word: u8,
        /// 1 if the chipselect is deasserted before the next transfer, 0 if it stays asserted.
        pub cs_change: u8,
        /// [`Nbits`] for sending.
        pub tx_nbits: u8,
        /// [`Nbits`] for receiving.
        pub rx_nbits: u8,
        /// Unused.
        pub reserved: [u8; 3],
        /// [`Mode`].
        pub mode: Le32,
        /// Clock rate in hertz.
        pub freq: Le32,
        /// Delay between words.
        pub word_delay_ns: Le32,
        /// Delay after the chipselect is asserted.
        pub cs_setup_ns: Le32,
        /// Delay before the chipselect is deasserted.
        pub cs_delay_hold_ns: Le32,
        /// Delay between deasserting the chipselect and asserting it again.
        pub cs_change_delay_inactive_ns: Le32,
    }

    /// End of a request, device-writable (section 5.21.6.1).
    pub struct TransferResult {
        /// [`ResultCode`].
        pub result: u8,
    }
}
layout!(
    Config, 32,
    cs_max_number @ 0, cs_change_supported @ 1, tx_nbits_supported @ 2, rx_nbits_supported @ 3,
    bits_per_word_mask @ 4, mode_func_supported @ 8, max_freq_hz @ 12, max_word_delay_ns @ 16, max_cs_setup_ns @ 20,
    max_cs_hold_ns @ 24, max_cs_inactive_ns @ 28,
);
layout!(
    TransferHead, 32,
    chip_select_id @ 0, bits_per_word @ 1, cs_change @ 2, tx_nbits @ 3, rx_nbits @ 4, reserved @ 5, mode @ 8, freq @ 12,
    word_delay_ns @ 16, cs_setup_ns @ 20, cs_delay_hold_ns @ 24, cs_change_delay_inactive_ns @ 28,
);
layout!(TransferResult, 1, result @ 0);

constants! {
    /// Bits transferred at once (section 5.21.6.1). 0 means the same as `SINGLE`; every other value is invalid.
    pub Nbits: u8 {
        /// One.
        SINGLE = 1,
        /// Two.
        DUAL = 2,
        /// Four.
        QUAD = 4,
        /// Eight.
        OCTAL = 8,
    }

    /// How a transfer ended (`VIRTIO_SPI_XXX`).
    pub ResultCode: u8 {
        /// Success.
        TRANS_OK = 0,
        /// A parameter is invalid or not supported, or the two buffers differ in size.
        PARAM_ERR = 1,
        /// The transfer failed.
        TRANS_ERR = 2,
    }
}

flags! {
    /// Supported numbers of bits transferred at once, besides one (section 5.21.4).
    pub NbitsSupported: u8 {
        /// Two.
        DUAL = 1 << 0,
        /// Four.
        QUAD = 1 << 1,
        /// Eight.
        OCTAL = 1 << 2,
    }

    /// What a device can do (section 5.21.4). Of each of the first two pairs, at least one is set.
    pub ModeFuncSupported: u32 {
        /// Clock phase 0.
        CPHA_0 = 1 << 0,
        /// Clock phase 1.
        CPHA_1 = 1 << 1,
        /// Clock polarity 0.
        CPOL_0 = 1 << 2,
        /// Clock polarity 1.
        CPOL_1 = 1 << 3,
        /// Chipselect active high; active low always is supported.
        CS_HIGH = 1 << 4,
        /// Least significant bit first; most significant first always is supported.
        LSB_FIRST = 1 << 5,
        /// Loopback; normal mode always is supported.
        LOOP = 1 << 6,
    }

    /// How to transfer (section 5.21.6.1).
    pub Mode: u32 {
        /// Clock phase 1: data changes on the clock's edge to the active level, and is sampled on the other.
        CPHA = 1 << 0,
        /// Clock polarity 1: the clock idles high.
        CPOL = 1 << 1,
        /// The chipselect is active high.
        CS_HIGH = 1 << 2,
        /// The least significant bit of a word goes first.
        LSB_FIRST = 1 << 3,
        /// Loopback.
        LOOP = 1 << 4,
    }
}
