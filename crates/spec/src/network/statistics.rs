//! Statistics of the network device (section 5.1.9.5, "Device Statistics"): what a device can count, how to ask, and
//! the answers.

use crate::data::{Le16, Le64};

flags! {
    /// Types of statistics, the `VIRTIO_NET_STATS_TYPE_` values.
    pub StatsTypes: u64 {
        /// [`RxBasic`] of receive virtqueues.
        RX_BASIC = 1 << 0,
        /// [`RxCsum`] of receive virtqueues.
        RX_CSUM = 1 << 1,
        /// [`RxGso`] of receive virtqueues.
        RX_GSO = 1 << 2,
        /// [`RxSpeed`] of receive virtqueues.
        RX_SPEED = 1 << 3,
        /// [`TxBasic`] of transmit virtqueues.
        TX_BASIC = 1 << 16,
        /// [`TxCsum`] of transmit virtqueues.
        TX_CSUM = 1 << 17,
        /// [`TxGso`] of transmit virtqueues.
        TX_GSO = 1 << 18,
        /// [`TxSpeed`] of transmit virtqueues.
        TX_SPEED = 1 << 19,
        /// [`Cvq`] of the control virtqueue.
        CVQ = 1 << 32,
    }
}

constants! {
    /// Type of one answer, the `VIRTIO_NET_STATS_TYPE_REPLY_` values: the number of the bit in [`StatsTypes`].
    pub ReplyType: u8 {
        /// [`RxBasic`].
        RX_BASIC = 0,
        /// [`RxCsum`].
        RX_CSUM = 1,
        /// [`RxGso`].
        RX_GSO = 2,
        /// [`RxSpeed`].
        RX_SPEED = 3,
        /// [`TxBasic`].
        TX_BASIC = 16,
        /// [`TxCsum`].
        TX_CSUM = 17,
        /// [`TxGso`].
        TX_GSO = 18,
        /// [`TxSpeed`].
        TX_SPEED = 19,
        /// [`Cvq`].
        CVQ = 32,
    }
}

wire! {
    /// Result of `STATS_QUERY`, `struct virtio_net_stats_capabilities`.
    pub struct StatsCapabilities {
        /// [`StatsTypes`] of the device.
        pub supported_stats_types: [Le64; 1],
    }

    /// One virtqueue of which `STATS_GET` asks; its data, `struct virtio_net_ctrl_queue_stats`, is an array of these.
    pub struct QueueStats {
        /// Index of the virtqueue.
        pub vq_index: Le16,
        /// Reserved.
        pub reserved: [Le16; 3],
        /// [`StatsTypes`] to fetch.
        pub types_bitmap: [Le64; 1],
    }

    /// Header of each answer of `STATS_GET`, `struct virtio_net_stats_reply_hdr`.
    pub struct ReplyHdr {
        /// A [`ReplyType`].
        pub r#type: u8,
        /// Reserved.
        pub reserved: u8,
        /// Index of the virtqueue.
        pub vq_index: Le16,
        /// Reserved.
        pub reserved1: Le16,
        /// Bytes of the answer, with this header.
        pub size: Le16,
    }

    /// `struct virtio_net_stats_cvq`.
    pub struct Cvq {
        /// Header.
        pub hdr: ReplyHdr,
        /// Commands received, with this one.
        pub command_num: Le64,
        /// Commands that succeeded, with this one.
        pub ok_num: Le64,
    }

    /// `struct virtio_net_stats_rx_basic`.
    pub struct RxBasic {
        /// Header.
        pub hdr: ReplyHdr,
        /// Notifications from the driver.
        pub rx_notifications: Le64,
        /// Packets passed to the driver.
        pub rx_packets: Le64,
        /// Bytes passed to the driver.
        pub rx_bytes: Le64,
        /// Interrupts sent.
        pub rx_interrupts: Le64,
        /// Packets dropped, for all reasons.
        pub rx_drops: Le64,
        /// Packets dropped for want of descriptors.
        pub rx_drop_overruns: Le64,
    }

    /// `struct virtio_net_stats_tx_basic`.
    pub struct TxBasic {
        /// Header.
        pub hdr: ReplyHdr,
        /// Notifications from the driver.
        pub tx_notifications: Le64,
        /// Packets sent by the device.
        pub tx_packets: Le64,
        /// Bytes sent by the device.
        pub tx_bytes: Le64,
        /// Interrupts sent.
        pub tx_interrupts: Le64,
        /// Packets dropped, for all reasons.
        pub tx_drops: Le64,
        /// Packets dropped because their descriptors are malformed.
        pub tx_drop_malformed: Le64,
    }

    /// `struct virtio_net_stats_rx_csum`; with `GUEST_CSUM`.
    pub struct RxCsum {
        /// Header.
        pub hdr: ReplyHdr,
        /// Packets with `DATA_VALID`.
        pub rx_csum_valid: Le64,
        /// Packets with `NEEDS_CSUM`.
        pub rx_needs_csum: Le64,
        /// Packets, neither TCP nor UDP, whose checksum the device does not know.
        pub rx_csum_none: Le64,
        /// Packets with a wrong checksum.
        pub rx_csum_bad: Le64,
    }

    /// `struct virtio_net_stats_tx_csum`; with `CSUM`.
    pub struct TxCsum {
        /// Header.
        pub hdr: ReplyHdr,
        /// Packets whose checksum was complete.
        pub tx_csum_none: Le64,
        /// Packets whose checksum the device had to complete.
        pub tx_needs_csum: Le64,
    }

    /// `struct virtio_net_stats_rx_gso`; with `GUEST_TSO4` or `GUEST_TSO6`. Bytes include headers.
    pub struct RxGso {
        /// Header.
        pub hdr: ReplyHdr,
        /// GSO packets received by the device.
        pub rx_gso_packets: Le64,
        /// Bytes of them.
        pub rx_gso_bytes: Le64,
        /// GSO packets coalesced by the device.
        pub rx_gso_packets_coalesced: Le64,
        /// Bytes of them.
        pub rx_gso_bytes_coalesced: Le64,
    }

    /// `struct virtio_net_stats_tx_gso`; with `HOST_TSO4`, `HOST_TSO6` or `HOST_USO`.
    pub struct TxGso {
        /// Header.
        pub hdr: ReplyHdr,
        /// GSO packets sent by the device.
        pub tx_gso_packets: Le64,
        /// Bytes of them.
        pub tx_gso_bytes: Le64,
        /// Segments made of GSO packets.
        pub tx_gso_segments: Le64,
        /// Bytes of the segments.
        pub tx_gso_segments_bytes: Le64,
        /// GSO packets that were not segmented.
        pub tx_gso_packets_noseg: Le64,
        /// Bytes of them.
        pub tx_gso_bytes_noseg: Le64,
    }

    /// `struct virtio_net_stats_rx_speed`.
    pub struct RxSpeed {
        /// Header.
        pub hdr: ReplyHdr,
        /// Packets dropped because they exceeded `speed`.
        pub rx_packets_allowance_exceeded: Le64,
        /// Bytes of them.
        pub rx_bytes_allowance_exceeded: Le64,
    }

    /// `struct virtio_net_stats_tx_speed`.
    pub struct TxSpeed {
        /// Header.
        pub hdr: ReplyHdr,
        /// Packets dropped because they exceeded `speed`.
        pub tx_packets_allowance_exceeded: Le64,
        /// Bytes of them.
        pub tx_bytes_allowance_exceeded: Le64,
    }
}

layout!(StatsCapabilities, 8, supported_stats_types @ 0);
layout!(QueueStats, 16, vq_index @ 0, reserved @ 2, types_bitmap @ 8);
layout!(ReplyHdr, 8, r#type @ 0, reserved @ 1, vq_index @ 2, reserved1 @ 4, size @ 6);
layout!(Cvq, 24, hdr @ 0, command_num @ 8, ok_num @ 16);
layout!(RxBasic, 56, hdr @ 0, rx_notifications @ 8, rx_packets @ 16, rx_bytes @ 24, rx_interrupts @ 32,
    rx_drops @ 40, rx_drop_overruns @ 48);
layout!(TxBasic, 56, hdr @ 0, tx_notifications @ 8, tx_packets @ 16, tx_bytes @ 24, tx_interrupts @ 32,
    tx_drops @ 40, tx_drop_malformed @ 48);
layout!(RxCsum, 40, hdr @ 0, rx_csum_valid @ 8, rx_needs_csum @ 16, rx_csum_none @ 24, rx_csum_bad @ 32);
layout!(TxCsum, 24, hdr @ 0, tx_csum_none @ 8, tx_needs_csum @ 16);
layout!(RxGso, 40, hdr @ 0, rx_gso_packets @ 8, rx_gso_bytes @ 16, rx_gso_packets_coalesced @ 24,
    rx_gso_bytes_coalesced @ 32);
layout!(TxGso, 56, hdr @ 0, tx_gso_packets @ 8, tx_gso_bytes @ 16, tx_gso_segments @ 24,
    tx_gso_segments_bytes @ 32, tx_gso_packets_noseg @ 40, tx_gso_bytes_noseg @ 48);
layout!(RxSpeed, 24, hdr @ 0, rx_packets_allowance_exceeded @ 8, rx_bytes_allowance_exceeded @ 16);
layout!(TxSpeed, 24, hdr @ 0, tx_packets_allowance_exceeded @ 8, tx_bytes_allowance_exceeded @ 16);
