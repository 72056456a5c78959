//! Configuration space of the network device (section 5.1.4); read-only for the driver, except for `mac` on legacy
//! interfaces.

use crate::data::{Le16, Le32};

wire! {
    /// `struct virtio_net_config`.
    pub struct Config {
        /// MAC address; valid with `MAC`.
        pub mac: [u8; 6],
        /// With `STATUS`: [`Status`].
        pub status: Le16,
        /// With `MQ` or `RSS`: most pairs of virtqueues, [`MAX_VIRTQUEUE_PAIRS`] at most.
        pub max_virtqueue_pairs: Le16,
        /// With `MTU`: the maximum MTU, at least [`MIN_MTU`].
        pub mtu: Le16,
        /// With `SPEED_DUPLEX`: Mbit/s; all above [`MAX_SPEED`] is unknown.
        pub speed: Le32,
        /// With `SPEED_DUPLEX`: a [`Duplex`].
        pub duplex: u8,
        /// With `RSS` or `HASH_REPORT`: most bytes of a hash key, at least 40.
        pub rss_max_key_size: u8,
        /// With `RSS`: most entries of an indirection table, at least 128.
        pub rss_max_indirection_table_length: Le16,
        /// With `RSS` or `HASH_REPORT`: [`HashTypes`](super::hash::HashTypes).
        pub supported_hash_types: Le32,
        /// With `HASH_TUNNEL`: [`TunnelTypes`](super::hash::TunnelTypes).
        pub supported_tunnel_types: Le32,
    }
}

layout!(Config, 28, mac @ 0, status @ 6, max_virtqueue_pairs @ 8, mtu @ 10, speed @ 12, duplex @ 16,
    rss_max_key_size @ 17, rss_max_indirection_table_length @ 18, supported_hash_types @ 20,
    supported_tunnel_types @ 24);

/// Greatest `max_virtqueue_pairs` (dev:net:device-configuration-layout:01).
pub const MAX_VIRTQUEUE_PAIRS: u16 = 0x8000;

/// Least `mtu` (dev:net:device-configuration-layout:02).
pub const MIN_MTU: u16 = 68;

// dev:net:device-configuration-layout:10 has a digit too many in both, 0x7ffffffff and 0xfffffffff, which do not fit
// the field. These are the numbers of the descriptive text.

/// Greatest `speed` that is one, in Mbit/s.
pub const MAX_SPEED: u32 = 0x7fff_ffff;

/// `speed` if unknown.
pub const SPEED_UNKNOWN: u32 = 0xffff_ffff;

flags! {
    /// Bits of `status`, the `VIRTIO_NET_S_` values.
    pub Status: u16 {
        /// The link is up.
        LINK_UP = 1,
        /// The driver shall announce itself with gratuitous packets.
        ANNOUNCE = 2,
    }
}

// dev:net:device-configuration-layout:11 has full and half the other way round. The descriptive text agrees with what
// devices and drivers do (Linux: DUPLEX_HALF 0, DUPLEX_FULL 1), so that is it.
constants! {
    /// Values of `duplex`.
    pub Duplex: u8 {
        /// Half duplex.
        HALF = 0x00,
        /// Full duplex.
        FULL = 0x01,
        /// Unknown, as is every other value.
        UNKNOWN = 0xff,
    }
}
