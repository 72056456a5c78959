//! Hashes of received packets, and receive-side scaling (sections 5.1.9.4 and 5.1.9.5): types, reports, and the data of
//! the commands that configure them.

use crate::data::{Bits, Le16, Le32};

flags! {
    /// What of a packet is hashed, the `VIRTIO_NET_HASH_TYPE_` values; of those enabled, TCP goes before UDP before IP.
    pub HashTypes: u32 {
        /// IPv4: addresses.
        IPV4 = 1 << 0,
        /// IPv4: addresses and TCP ports.
        TCPV4 = 1 << 1,
        /// IPv4: addresses and UDP ports.
        UDPV4 = 1 << 2,
        /// IPv6: addresses.
        IPV6 = 1 << 3,
        /// IPv6: addresses and TCP ports.
        TCPV6 = 1 << 4,
        /// IPv6: addresses and UDP ports.
        UDPV6 = 1 << 5,
        /// IPv6 with extension headers: addresses.
        IP_EX = 1 << 6,
        /// IPv6 with extension headers: addresses and TCP ports.
        TCP_EX = 1 << 7,
        /// IPv6 with extension headers: addresses and UDP ports.
        UDP_EX = 1 << 8,
    }

    /// Tunnels whose inner header is hashed, the `VIRTIO_NET_HASH_TUNNEL_TYPE_` values.
    pub TunnelTypes: u32 {
        /// GRE of RFC 2784.
        GRE_2784 = 1 << 0,
        /// GRE of RFC 2890.
        GRE_2890 = 1 << 1,
        /// GRE of RFC 7676.
        GRE_7676 = 1 << 2,
        /// GRE in UDP, RFC 8086.
        GRE_UDP = 1 << 3,
        /// VXLAN.
        VXLAN = 1 << 4,
        /// VXLAN-GPE.
        VXLAN_GPE = 1 << 5,
        /// Geneve.
        GENEVE = 1 << 6,
        /// IP in IP.
        IPIP = 1 << 7,
        /// NVGRE.
        NVGRE = 1 << 8,
    }
}

constants! {
    /// Type of the hash of a packet, the `VIRTIO_NET_HASH_REPORT_` values: the number of the bit in [`HashTypes`]
    /// plus 1.
    pub HashReport: u16 {
        /// Not hashed.
        NONE = 0,
        /// [`HashTypes::IPV4`].
        IPV4 = 1,
        /// [`HashTypes::TCPV4`].
        TCPV4 = 2,
        /// [`HashTypes::UDPV4`].
        UDPV4 = 3,
        /// [`HashTypes::IPV6`].
        IPV6 = 4,
        /// [`HashTypes::TCPV6`].
        TCPV6 = 5,
        /// [`HashTypes::UDPV6`].
        UDPV6 = 6,
        /// [`HashTypes::IP_EX`].
        IPV6_EX = 7,
        /// [`HashTypes::TCP_EX`].
        TCPV6_EX = 8,
        /// [`HashTypes::UDP_EX`].
        UDPV6_EX = 9,
    }
}

/// In a receive virtqueue id, `struct rss_rq_id`: bits 1 to 16 of the virtqueue's index. The bit above is reserved.
pub const VQ_INDEX_1_16: Bits = Bits::new(0, 15);

wire! {
    /// Data of `HASH_TUNNEL_SET`, `struct virtnet_hash_tunnel`.
    pub struct HashTunnel {
        /// [`TunnelTypes`].
        pub enabled_tunnel_types: Le32,
    }

    /// Data of `MQ_HASH_CONFIG`, `struct virtio_net_hash_config`; `hash_key_length` bytes of key follow.
    pub struct HashConfig {
        /// [`HashTypes`].
        pub hash_types: Le32,
        /// 0, in the place of fields of the RSS configuration.
        pub reserved: [Le16; 4],
        /// Bytes of the key.
        pub hash_key_length: u8,
    }

    /// Head of the data of `MQ_RSS_CONFIG`, `struct virtio_net_rss_config`. The `indirection_table` follows, of
    /// `indirection_table_mask + 1` receive virtqueue ids ([`Le16`] of [`VQ_INDEX_1_16`]), then a [`RssConfigTail`].
    pub struct RssConfigHead {
        /// [`HashTypes`].
        pub hash_types: Le32,
        /// What to mask the hash with for an index into the table; one less than a power of two.
        pub indirection_table_mask: Le16,
        /// Receive virtqueue id for packets without hash.
        pub unclassified_queue: Le16,
    }

    /// Tail of `struct virtio_net_rss_config`; `hash_key_length` bytes of key follow.
    pub struct RssConfigTail {
        /// Number of transmit virtqueues that the driver may use.
        pub max_tx_vq: Le16,
        /// Bytes of the key.
        pub hash_key_length: u8,
    }

    /// Result of `RSS_CTX_CAP_GET`, `struct virtnet_rss_ctx_cap`.
    pub struct RssCtxCap {
        /// Most RSS contexts, besides the default configuration.
        pub max_rss_contexts: Le16,
    }

    /// Data of `RSS_CTX_ADD` and `RSS_CTX_MOD`, `struct virtnet_rss_ctx_add_modify`; an RSS configuration follows, as
    /// described at [`RssConfigHead`].
    pub struct RssCtxAddModify {
        /// Id of the context, 1 to `max_rss_contexts` (drv:net:rss-context:02).
        pub rss_ctx_id: Le16,
        /// Reserved.
        pub reserved: [u8; 6],
    }

    /// Data of `RSS_CTX_DEL`, `struct virtnet_rss_ctx_del`.
    pub struct RssCtxDel {
        /// Id of the context.
        pub rss_ctx_id: Le16,
    }
}

layout!(HashTunnel, 4, enabled_tunnel_types @ 0);
layout!(HashConfig, 13, hash_types @ 0, reserved @ 4, hash_key_length @ 12);
layout!(RssConfigHead, 8, hash_types @ 0, indirection_table_mask @ 4, unclassified_queue @ 6);
layout!(RssConfigTail, 3, max_tx_vq @ 0, hash_key_length @ 2);
layout!(RssCtxCap, 2, max_rss_contexts @ 0);
layout!(RssCtxAddModify, 8, rss_ctx_id @ 0, reserved @ 2);
layout!(RssCtxDel, 2, rss_ctx_id @ 0);
