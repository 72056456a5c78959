//! I2C adapter device (section 5.16): segments of I2C transactions.
//!
//! A request is an [`OutHdr`], the bytes of the segment unless there are none (device-writable if they are read,
//! device-readable if they are written), and an [`InHdr`].

use crate::data::{Bits, Le16, Le32};
use crate::{DeviceType, Features};

/// The I2C adapter device, id 34.
pub const DEVICE: DeviceType = DeviceType {
    id: 34,
    name: "i2c",
    title: "I2C Adapter Device",
    transitional_pci_id: None,
    queues: &["requestq"],
    features: features::ALL,
    config_size: 0,
};

features! {
    /// Requests may have no bytes, and [`OutFlags::M_RD`](super::OutFlags::M_RD) exists.
    ZERO_LENGTH_REQUEST = 0;
}

/// The features that must be negotiated (`dev:i2c:device-operation:01`, `drv:i2c:device-operation:01`).
///
/// A note in section 5.16.3 calls `VIRTIO_I2C_FLAGS_FAIL_NEXT` the mandatory feature; that is a flag of a request, and
/// the clauses name this one.
pub const MANDATORY_FEATURES: Features = features::ZERO_LENGTH_REQUEST;

/// Index of the only virtqueue.
pub const REQUESTQ: u16 = 0;

wire! {
    /// Start of a request, device-readable (section 5.16.6.1).
    pub struct OutHdr {
        /// Address of the I2C device: either [`ADDR_7_BIT`], or the members [`ADDR_10_BIT_HIGH`],
        /// [`ADDR_10_BIT_MARK`] and [`ADDR_10_BIT_LOW`]. All other bits are zero.
        pub addr: Le16,
        /// Unused.
        pub padding: Le16,
        /// [`OutFlags`].
        pub flags: Le32,
    }

    /// End of a request, device-writable (section 5.16.6.1).
    pub struct InHdr {
        /// [`MsgStatus`].
        pub status: u8,
    }
}
layout!(OutHdr, 8, addr @ 0, padding @ 2, flags @ 4);
layout!(InHdr, 1, status @ 0);

/// Bits A6 to A0 of a 7-bit address, in [`OutHdr::addr`].
pub const ADDR_7_BIT: Bits = Bits::new(1, 7);
/// Bits A9 and A8 of a 10-bit address, in [`OutHdr::addr`].
pub const ADDR_10_BIT_HIGH: Bits = Bits::new(1, 2);
/// Tells a 10-bit address, in [`OutHdr::addr`]: is [`ADDR_10_BIT_MARK_VALUE`], which I2C keeps free
/// among the 7-bit addresses.
pub const ADDR_10_BIT_MARK: Bits = ADDR_10_BIT_HIGH.then(5);
/// Bits A7 to A0 of a 10-bit address, in [`OutHdr::addr`].
pub const ADDR_10_BIT_LOW: Bits = ADDR_10_BIT_MARK.then(8);
/// Value of [`ADDR_10_BIT_MARK`] in a 10-bit address.
pub const ADDR_10_BIT_MARK_VALUE: u64 = 0b11110;

constants! {
    /// How a request ended (`VIRTIO_I2C_MSG_XXX`).
    pub MsgStatus: u8 {
        /// Success.
        OK = 0,
        /// Failure.
        ERR = 1,
    }
}

flags! {
    /// Flags of a request (`VIRTIO_I2C_FLAGS_XXX`, which the document numbers by bit).
    pub OutFlags: u32 {
        /// The next request belongs to the same group, and fails if this one does.
        FAIL_NEXT = 1 << 0,
        /// The request reads.
        M_RD = 1 << 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_bits_stand_where_the_table_puts_them() {
        assert_eq!(ADDR_7_BIT.set(0, 0b101_0001), 0b1010_0010);

        let address = 0b10_1000_0001;
        let low = ADDR_10_BIT_LOW.set(0, address);
        let marked = ADDR_10_BIT_MARK.set(low, ADDR_10_BIT_MARK_VALUE);
        let word = ADDR_10_BIT_HIGH.set(marked, address >> 8);
        assert_eq!(word, 0b1000_0001_1111_0100);
    }
}
