//! The header before each packet (section 5.1.9).

use super::features;
use crate::Features;
use crate::data::{Le16, Le32};

wire! {
    /// `struct virtio_net_hdr` with all its fields. On the wire stand the first [`Hdr::size`] bytes.
    pub struct Hdr {
        /// [`HdrFlags`].
        pub flags: u8,
        /// A [`GsoType`], with [`GsoFlags`].
        pub gso_type: u8,
        /// Bytes of all headers up to the transport payload; exact only as `GUEST_HDRLEN` says.
        pub hdr_len: Le16,
        /// Most bytes of payload of each segment.
        pub gso_size: Le16,
        /// Where the checksum starts; with `RSC_INFO` the number of coalesced segments.
        pub csum_start: Le16,
        /// Where it is stored, counted from `csum_start`; with `RSC_INFO` the number of duplicated ACKs.
        pub csum_offset: Le16,
        /// Number of receive buffers of the packet; 0 on transmission.
        pub num_buffers: Le16,
        /// With `HASH_REPORT`: hash of the packet.
        pub hash_value: Le32,
        /// With `HASH_REPORT`: a [`HashReport`](super::hash::HashReport).
        pub hash_report: Le16,
        /// Padding.
        pub padding_reserved: Le16,
        /// With `HOST_UDP_TUNNEL_GSO` or `GUEST_UDP_TUNNEL_GSO`: where the outer transport header starts.
        pub outer_th_offset: Le16,
        /// With `HOST_UDP_TUNNEL_GSO` or `GUEST_UDP_TUNNEL_GSO`: where the inner network header starts.
        pub inner_nh_offset: Le16,
        /// With `OUT_NET_HEADER`: where the outer network header starts; 0 if not said.
        pub outer_nh_offset: Le16,
        /// With `IPSEC`: the security association; else padding (`padding_reserved_2`).
        pub ipsec_resource_hdr: IpsecResourceHdr,
    }

    /// Resource object of the security association of a packet, `struct ipsec_resource_hdr`; used only with the flag
    /// `SECURITY`.
    pub struct IpsecResourceHdr {
        /// Id of the resource object.
        pub resource_id: Le32,
        /// A [`ResourceType`](super::admin::ResourceType).
        pub resource_type: Le16,
    }
}

layout!(Hdr, 32, flags @ 0, gso_type @ 1, hdr_len @ 2, gso_size @ 4, csum_start @ 6, csum_offset @ 8,
    num_buffers @ 10, hash_value @ 12, hash_report @ 16, padding_reserved @ 18, outer_th_offset @ 20,
    inner_nh_offset @ 22, outer_nh_offset @ 24, ipsec_resource_hdr @ 26);
layout!(IpsecResourceHdr, 6, resource_id @ 0, resource_type @ 4);

impl Hdr {
    /// Bytes of the header with these negotiated features, in both directions alike
    /// (drv:net:packet-transmission:01).
    pub const fn size(features: Features) -> usize {
        // drv:net:setting-up-receive-buffers:04 gives 24 for HOST_UDP_TUNNEL_GSO and forgets GUEST_UDP_TUNNEL_GSO,
        // with which the structure has the two fields as well.
        const TUNNEL: Features = features::HOST_UDP_TUNNEL_GSO.union(features::GUEST_UDP_TUNNEL_GSO);
        if features.intersects(features::OUT_NET_HEADER.union(features::IPSEC)) {
            32
        } else if features.intersects(TUNNEL) {
            24
        } else if features.contains(features::HASH_REPORT) {
            20
        } else if features.intersects(crate::feature::VERSION_1.union(features::MRG_RXBUF)) {
            12
        } else {
            // Legacy drivers have num_buffers only with MRG_RXBUF (section 5.1.9.1).
            10
        }
    }
}

/// Most bytes of a received packet if the driver accepts any kind of segmentation offload (section 5.1.9.3).
pub const MAX_PACKET_GSO: usize = 65589;

/// Most bytes of a received packet otherwise, for the usual MTU of 1500.
pub const MAX_PACKET: usize = 1514;

flags! {
    /// Flags of a packet, the `VIRTIO_NET_HDR_F_` values.
    pub HdrFlags: u8 {
        /// The checksum is partial; `csum_start` and `csum_offset` say how to complete it.
        NEEDS_CSUM = 1,
        /// From the device: the checksum was validated.
        DATA_VALID = 2,
        /// From the device: `csum_start` and `csum_offset` are counters of coalescing.
        RSC_INFO = 4,
        /// The outer checksum of a UDP tunnel is partial.
        UDP_TUNNEL_CSUM = 8,
        /// The packet shall go, or went, through IPsec.
        SECURITY = 16,
        /// From the device: IPsec failed.
        SECURITY_ERR = 32,
        /// From the device: the security association reached a soft limit.
        SECURITY_SA_SOFT_EXPIRY_WARN = 64,
    }

    /// Flags added to a [`GsoType`], the other `VIRTIO_NET_HDR_GSO_` values.
    pub GsoFlags: u8 {
        /// In a UDP tunnel; the inner network header is IPv4.
        UDP_TUNNEL_IPV4 = 0x20,
        /// In a UDP tunnel; the inner network header is IPv6.
        UDP_TUNNEL_IPV6 = 0x40,
        /// The TCP packet has ECN set.
        ECN = 0x80,
    }
}

constants! {
    /// Kind of segmentation, the `VIRTIO_NET_HDR_GSO_` values without those of [`GsoFlags`].
    pub GsoType: u8 {
        /// None.
        NONE = 0,
        /// TCP over IPv4.
        TCPV4 = 1,
        /// UDP fragmentation (UFO), deprecated.
        UDP = 3,
        /// TCP over IPv6.
        TCPV6 = 4,
        /// UDP segmentation (USO).
        UDP_L4 = 5,
    }
}
