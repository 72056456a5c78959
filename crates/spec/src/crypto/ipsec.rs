//! IPsec capabilities and security associations (section 5.9.9.9), carried by administration commands of the crypto
//! device and of the network device. The structures are packed, as all of the document are (section 1.4).

use crate::data::{Le16, Le32, Le64};

flags! {
    /// Options of IPsec, the `VIRTIO_CRYPTO_IPSEC_` values.
    pub Options: u64 {
        /// Extended sequence numbers.
        ESN = 1 << 0,
        /// Encapsulation in UDP; for ESP.
        UDP_ENCAP = 1 << 1,
        /// Copy the DSCP.
        COPY_DSCP = 1 << 2,
        /// Decrement the time to live.
        DEC_TTL = 1 << 3,
        /// Copy "don't fragment".
        COPY_DF = 1 << 4,
        /// Copy ECN.
        ECN = 1 << 5,
        /// Lifetimes of security associations.
        SA_LIFETIME = 1 << 6,
    }
}

constants! {
    /// Protocol and mode, the `VIRTIO_CRYPTO_IPSEC_MODE_` values.
    pub Mode: u8 {
        /// ESP in tunnel mode.
        ESP_TUNNEL = 0x1,
        /// ESP in transport mode.
        ESP_TRANSPORT = 0x2,
        /// AH in tunnel mode.
        AH_TUNNEL = 0x3,
        /// AH in transport mode.
        AH_TRANSPORT = 0x4,
    }

    /// Direction, the `VIRTIO_CRYPTO_IPSEC_DIR_` values.
    pub Direction: u8 {
        /// Outbound.
        OUTBOUND = 0x1,
        /// Inbound.
        INBOUND = 0x2,
    }
}

wire! {
    /// Capability `IPSEC_RESOURCE_CAP`, `struct virtio_crypto_ipsec_resource_cap`.
    pub struct ResourceCap {
        /// Most inbound security associations.
        pub inb_sa_limit: Le32,
        /// Most outbound security associations.
        pub outb_sa_limit: Le32,
    }

    /// Capability `IPSEC_SA_CAP`, `struct virtio_crypto_ipsec_sa_cap_data`; `count` [`ModeCap`]s follow.
    pub struct SaCapData {
        /// Number of modes.
        pub count: u8,
        /// Reserved.
        pub reserved: [u8; 7],
    }

    /// What can be done in one mode, `struct virtio_crypto_ipsec_mode_cap`. The masks of algorithms have the bits
    /// numbered as in [`algorithm`](super::algorithm).
    pub struct ModeCap {
        /// A [`Mode`].
        pub mode: u8,
        /// Reserved.
        pub reserved: [u8; 3],
        /// Greatest window against replay; for inbound.
        pub max_replay_win_sz: Le32,
        /// [`Options`].
        pub options: Le32,
        /// Reserved.
        pub reserved1: Le32,
        /// Ciphers.
        pub cipher_algo: Le64,
        /// MACs.
        pub hmac_algo: Le64,
        /// AEADs.
        pub aead_algo: Le32,
        /// Most bytes of a cipher key.
        pub max_cipher_key_len: Le32,
        /// Most bytes of an authentication key.
        pub max_auth_key_len: Le32,
    }

    /// Outer header in tunnel mode, `struct virtio_crypto_ipsec_tunnel_param`.
    pub struct TunnelParam {
        // The document gives no numbers: "Tunnel type: IPv4 or IPv6".
        /// IPv4 or IPv6.
        pub r#type: u8,
        /// Reserved.
        pub reserved: [u8; 3],
        /// [`TunnelIpv4`] or [`TunnelIpv6`], by `type`.
        pub header: [u8; 40],
    }

    /// IPv4 header of a tunnel.
    pub struct TunnelIpv4 {
        /// Source address.
        pub src_ip: Le32,
        /// Destination address.
        pub dst_ip: Le32,
        /// Differentiated services code point.
        pub dscp: u8,
        /// "Don't fragment".
        pub df: u8,
        /// Time to live.
        pub ttl: u8,
        /// Reserved.
        pub reserved1: u8,
    }

    /// IPv6 header of a tunnel.
    pub struct TunnelIpv6 {
        /// Source address.
        pub src_addr: [u8; 16],
        /// Destination address.
        pub dst_addr: [u8; 16],
        /// Flow label.
        pub flabel: Le32,
        /// Hop limit.
        pub hlimit: u8,
        /// Differentiated services code point.
        pub dscp: u8,
        /// Reserved.
        pub reserved2: [u8; 2],
    }

    /// Lifetime, `struct virtio_crypto_ipsec_lifetime`: soft limits warn, hard limits end it.
    pub struct Lifetime {
        /// Soft limit in packets.
        pub packets_soft_limit: Le64,
        /// Soft limit in bytes.
        pub bytes_soft_limit: Le64,
        /// Hard limit in packets.
        pub packets_hard_limit: Le64,
        /// Hard limit in bytes.
        pub bytes_hard_limit: Le64,
    }

    /// Key of up to 256 bits.
    pub struct Key256b {
        /// Bytes of the key.
        pub length: Le16,
        /// Reserved.
        pub reserved: Le16,
        /// The key.
        pub data: [u8; 32],
    }

    // Inbound associations are said to be struct virtio_crypto_resource_obj_ipsec_sa, which is not laid out anywhere:
    // this structure is the only one there is.
    /// Security association, a resource object: `struct virtio_crypto_resource_obj_ipsec_sa_256b_key`.
    pub struct ResourceObjSa256bKey {
        /// A [`Mode`].
        pub mode: u8,
        /// A [`Direction`].
        pub direction: u8,
        /// Reserved.
        pub reserved: [u8; 2],
        /// Object id, by which the driver finds its own data.
        pub obj_id: Le32,
        /// Security parameter index.
        pub spi: Le32,
        /// Salt.
        pub salt: Le32,
        /// [`Options`].
        pub options: Le64,
        /// In tunnel mode, outbound: the outer header.
        pub param: TunnelParam,
        /// Source port of the encapsulation in UDP.
        pub udp_sport: Le16,
        /// Destination port of the encapsulation in UDP.
        pub udp_dport: Le16,
        /// Window against replay; 0 for none.
        pub replay_win_sz: Le32,
        /// A [`Cipher`](super::algorithm::Cipher).
        pub cipher_algo: Le64,
        /// Key of the cipher.
        pub cipher_key: Key256b,
        /// Authentication algorithm.
        pub auth_algo: Le64,
        /// Key of the authentication.
        pub auth_key: Key256b,
        /// Lifetime.
        pub life: Lifetime,
    }
}

layout!(ResourceCap, 8, inb_sa_limit @ 0, outb_sa_limit @ 4);
layout!(SaCapData, 8, count @ 0, reserved @ 1);
layout!(ModeCap, 44, mode @ 0, reserved @ 1, max_replay_win_sz @ 4, options @ 8, reserved1 @ 12, cipher_algo @ 16,
    hmac_algo @ 24, aead_algo @ 32, max_cipher_key_len @ 36, max_auth_key_len @ 40);
layout!(TunnelParam, 44, r#type @ 0, reserved @ 1, header @ 4);
layout!(TunnelIpv4, 12, src_ip @ 0, dst_ip @ 4, dscp @ 8, df @ 9, ttl @ 10, reserved1 @ 11);
layout!(TunnelIpv6, 40, src_addr @ 0, dst_addr @ 16, flabel @ 32, hlimit @ 36, dscp @ 37, reserved2 @ 38);
layout!(Lifetime, 32, packets_soft_limit @ 0, bytes_soft_limit @ 8, packets_hard_limit @ 16, bytes_hard_limit @ 24);
layout!(Key256b, 36, length @ 0, reserved @ 2, data @ 4);
layout!(ResourceObjSa256bKey, 196, mode @ 0, direction @ 1, reserved @ 2, obj_id @ 4, spi @ 8, salt @ 12,
    options @ 16, param @ 24, udp_sport @ 68, udp_dport @ 70, replay_win_sz @ 72, cipher_algo @ 76, cipher_key @ 84,
    auth_algo @ 120, auth_key @ 128, life @ 164);
