//! Commands of the control virtqueue (section 5.1.9.5).
//!
//! A command is a [`Ctrl`] and its data, device-readable, then one byte of [`Ack`] and perhaps a result,
//! device-writable. The data of hash and RSS commands is in [`hash`](super::hash), that of statistics in
//! [`statistics`](super::statistics). `VLAN_ADD` and `VLAN_DEL` carry a [`Le16`] VLAN id, the RX commands one byte of 0
//! or 1, `MAC_ADDR_SET` the six bytes of an address, `ANNOUNCE_ACK` nothing.

use crate::data::{Le16, Le32, Le64};

wire! {
    /// Head of a command, of `struct virtio_net_ctrl`.
    pub struct Ctrl {
        /// A [`Class`].
        pub class: u8,
        /// A command of that class.
        pub command: u8,
    }

    /// One table of `MAC_TABLE_SET`, `struct virtio_net_ctrl_mac`; as many addresses of 6 bytes follow. The data is two
    /// of them, unicast and then multicast.
    pub struct CtrlMac {
        /// Number of addresses.
        pub entries: Le32,
    }

    /// Data of `MQ_VQ_PAIRS_SET`, `struct virtio_net_ctrl_mq_pairs_set`.
    pub struct CtrlMqPairsSet {
        /// Pairs of virtqueues to use, [`VQ_PAIRS_MIN`] to [`VQ_PAIRS_MAX`].
        pub virtqueue_pairs: Le16,
    }

    /// Data of `GUEST_OFFLOADS_SET`.
    pub struct CtrlGuestOffloads {
        /// [`GuestOffloads`] that shall be enabled; all others are disabled.
        pub offloads: Le64,
    }

    /// Data of `NOTF_COAL_TX_SET` and `NOTF_COAL_RX_SET`, `struct virtio_net_ctrl_coal`.
    pub struct CtrlCoal {
        /// Packets after which to notify.
        pub max_packets: Le32,
        /// Microseconds after which to notify.
        pub max_usecs: Le32,
    }

    /// Data of `NOTF_COAL_VQ_SET` and `NOTF_COAL_VQ_GET`, `struct virtio_net_ctrl_coal_vq`; for the latter the device
    /// writes `coal`.
    pub struct CtrlCoalVq {
        /// Index of an enabled transmit or receive virtqueue.
        pub vq_index: Le16,
        /// Reserved.
        pub reserved: Le16,
        /// The parameters.
        pub coal: CtrlCoal,
    }
}

layout!(Ctrl, 2, class @ 0, command @ 1);
layout!(CtrlMac, 4, entries @ 0);
layout!(CtrlMqPairsSet, 2, virtqueue_pairs @ 0);
layout!(CtrlGuestOffloads, 8, offloads @ 0);
layout!(CtrlCoal, 8, max_packets @ 0, max_usecs @ 4);
layout!(CtrlCoalVq, 12, vq_index @ 0, reserved @ 2, coal @ 4);

/// Least number of pairs of `MQ_VQ_PAIRS_SET`.
pub const VQ_PAIRS_MIN: u16 = 1;

/// Greatest number of pairs of `MQ_VQ_PAIRS_SET`.
pub const VQ_PAIRS_MAX: u16 = 0x8000;

flags! {
    /// Offloads that `GUEST_OFFLOADS_SET` enables: the bits of the features, but for the two of UDP tunnels.
    pub GuestOffloads: u64 {
        /// Partial checksums.
        GUEST_CSUM = 1 << 1,
        /// TSOv4.
        GUEST_TSO4 = 1 << 7,
        /// TSOv6.
        GUEST_TSO6 = 1 << 8,
        /// TSO with ECN.
        GUEST_ECN = 1 << 9,
        /// UFO.
        GUEST_UFO = 1 << 10,
        /// GSO in UDP tunnels, feature bit 65.
        GUEST_UDP_TUNNEL_GSO = 1 << 46,
        /// Partial outer checksums of UDP tunnels, feature bit 66.
        GUEST_UDP_TUNNEL_GSO_CSUM = 1 << 47,
        /// USOv4.
        GUEST_USO4 = 1 << 54,
        /// USOv6.
        GUEST_USO6 = 1 << 55,
    }
}

constants! {
    /// Answer to a command.
    pub Ack: u8 {
        /// Done.
        OK = 0,
        /// Failed.
        ERR = 1,
    }

    /// Class of a command, the `VIRTIO_NET_CTRL_` values (and `VIRTNET_RSS_CTX_CTRL`).
    pub Class: u8 {
        /// Receive modes, [`Rx`]; with `CTRL_RX` or `CTRL_RX_EXTRA`.
        RX = 0,
        /// MAC addresses, [`Mac`]; with `CTRL_RX` or `CTRL_MAC_ADDR`.
        MAC = 1,
        /// VLAN filter, [`Vlan`]; with `CTRL_VLAN`.
        VLAN = 2,
        /// Gratuitous packets, [`Announce`]; with `GUEST_ANNOUNCE`.
        ANNOUNCE = 3,
        /// Multiqueue and hashes, [`Mq`]; with `MQ`, `RSS` or `HASH_REPORT`.
        MQ = 4,
        /// Offloads, [`GuestOffloadsCommand`]; with `CTRL_GUEST_OFFLOADS`.
        GUEST_OFFLOADS = 5,
        /// Coalescing of notifications, [`NotfCoal`]; with `NOTF_COAL` or `VQ_NOTF_COAL`.
        NOTF_COAL = 6,
        /// Hashes of inner headers, [`HashTunnelCommand`]; with `HASH_TUNNEL`.
        HASH_TUNNEL = 7,
        /// Statistics, [`Stats`]; with `DEVICE_STATS`.
        STATS = 8,
        /// RSS contexts, [`RssCtx`]; with `RSS_CONTEXT`.
        RSS_CTX = 9,
    }

    /// Commands of [`Class::RX`]; each has one byte of data, 0 or 1.
    pub Rx: u8 {
        /// Receive everything.
        PROMISC = 0,
        /// Receive all multicast.
        ALLMULTI = 1,
        /// Receive all unicast.
        ALLUNI = 2,
        /// Receive no multicast.
        NOMULTI = 3,
        /// Receive no unicast.
        NOUNI = 4,
        /// Receive no broadcast.
        NOBCAST = 5,
    }

    /// Commands of [`Class::MAC`].
    pub Mac: u8 {
        /// Set the filter to two tables, [`CtrlMac`].
        TABLE_SET = 0,
        /// Set the default address.
        ADDR_SET = 1,
    }

    /// Commands of [`Class::VLAN`].
    pub Vlan: u8 {
        /// Let a VLAN pass.
        ADD = 0,
        /// Let a VLAN no longer pass.
        DEL = 1,
    }

    /// Commands of [`Class::ANNOUNCE`].
    pub Announce: u8 {
        /// The driver saw the request.
        ACK = 0,
    }

    /// Commands of [`Class::MQ`].
    pub Mq: u8 {
        /// Use so many pairs with automatic receive steering, [`CtrlMqPairsSet`].
        VQ_PAIRS_SET = 0,
        /// Steer by RSS, [`RssConfigHead`](super::hash::RssConfigHead).
        RSS_CONFIG = 1,
        /// Configure the hash, [`HashConfig`](super::hash::HashConfig).
        HASH_CONFIG = 2,
    }

    /// Commands of [`Class::GUEST_OFFLOADS`].
    pub GuestOffloadsCommand: u8 {
        /// Choose the offloads, [`CtrlGuestOffloads`].
        SET = 0,
    }

    /// Commands of [`Class::NOTF_COAL`].
    pub NotfCoal: u8 {
        /// For all transmit virtqueues, [`CtrlCoal`].
        TX_SET = 0,
        /// For all receive virtqueues, [`CtrlCoal`].
        RX_SET = 1,
        /// For one virtqueue, [`CtrlCoalVq`].
        VQ_SET = 2,
        /// Of one virtqueue, [`CtrlCoalVq`].
        VQ_GET = 3,
    }

    /// Commands of [`Class::HASH_TUNNEL`].
    pub HashTunnelCommand: u8 {
        /// Choose the tunnels, [`HashTunnel`](super::hash::HashTunnel).
        SET = 0,
    }

    /// Commands of [`Class::STATS`].
    pub Stats: u8 {
        /// Ask for the types, [`StatsCapabilities`](super::statistics::StatsCapabilities).
        QUERY = 0,
        /// Ask for counters, [`QueueStats`](super::statistics::QueueStats).
        GET = 1,
    }

    /// Commands of [`Class::RSS_CTX`], the `VIRTNET_RSS_CTX_CTRL_` values.
    pub RssCtx: u8 {
        /// Ask for the limit, [`RssCtxCap`](super::hash::RssCtxCap).
        CAP_GET = 0,
        /// Add a context, [`RssCtxAddModify`](super::hash::RssCtxAddModify).
        ADD = 1,
        /// Change a context, [`RssCtxAddModify`](super::hash::RssCtxAddModify).
        MOD = 2,
        /// Delete a context, [`RssCtxDel`](super::hash::RssCtxDel).
        DEL = 3,
    }
}
