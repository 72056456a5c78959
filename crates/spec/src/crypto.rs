//! Crypto device (section 5.9): ciphers, hashes, MACs, AEADs, asymmetric ciphers and IPsec.
//!
//! [`session`] has the requests of the control virtqueue, [`dataq`] those of the data virtqueues, [`algorithm`] the
//! numbers of the algorithms, [`ipsec`] what administration commands carry. A request is a header, "flf" (fixed-length
//! fields), "vlf" (variable-length fields) and an outcome, without gaps. The structures whose names end in `Flf` are
//! the fixed-length fields; what follows them is told where they are described.

pub mod algorithm;
pub mod dataq;
pub mod ipsec;
pub mod session;

#[cfg(test)]
mod tests;

use crate::data::{Le32, Le64};
use crate::{DeviceType, Features};

/// The crypto device, id 20.
pub const DEVICE: DeviceType = DeviceType {
    id: 20,
    name: "crypto",
    title: "Crypto Device",
    transitional_pci_id: None,
    queues: &["dataq1", "controlq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

// Section 5.9.9 counts the bits of stateless mode 0 to 4; the list of feature bits has them from 1, after REVISION_1.
features! {
    /// The request format of revision 1: fixed-length fields are not padded.
    REVISION_1 = 0;
    /// The CIPHER service supports stateless mode.
    CIPHER_STATELESS_MODE = 1 requires [REVISION_1];
    /// The HASH service supports stateless mode.
    HASH_STATELESS_MODE = 2 requires [REVISION_1];
    /// The MAC service supports stateless mode.
    MAC_STATELESS_MODE = 3 requires [REVISION_1];
    /// The AEAD service supports stateless mode.
    AEAD_STATELESS_MODE = 4 requires [REVISION_1];
    /// The AKCIPHER service supports stateless mode.
    AKCIPHER_STATELESS_MODE = 5 requires [REVISION_1];
}

/// Index of the first data virtqueue; there are `max_dataqueues` of them.
pub const DATAQ1: u16 = 0;

/// Index of the control virtqueue, after the data virtqueues (section 5.9.2); `None` if it exceeds 16 bits.
pub const fn controlq(max_dataqueues: u32) -> Option<u16> {
    if max_dataqueues <= 0xffff {
        Some(max_dataqueues as u16)
    } else {
        None
    }
}

/// Bytes of the fixed-length fields on the control virtqueue without [`features::REVISION_1`], padding included.
pub const CTRLQ_OP_SPEC_HDR_LEGACY: usize = 56;

/// Bytes of the fixed-length fields on a data virtqueue without [`features::REVISION_1`], padding included.
pub const DATAQ_OP_SPEC_HDR_LEGACY: usize = 48;

/// Bytes of the fixed-length fields on the control virtqueue: those of their structure with
/// [`features::REVISION_1`], else [`CTRLQ_OP_SPEC_HDR_LEGACY`] (section 5.9.9.2).
pub const fn ctrl_flf_len(features: Features, structure: usize) -> usize {
    if features.contains(features::REVISION_1) {
        structure
    } else {
        CTRLQ_OP_SPEC_HDR_LEGACY
    }
}

/// Bytes of the fixed-length fields on a data virtqueue: those of their structure with [`features::REVISION_1`], else
/// [`DATAQ_OP_SPEC_HDR_LEGACY`] (section 5.9.9.3).
pub const fn data_flf_len(features: Features, structure: usize) -> usize {
    if features.contains(features::REVISION_1) {
        structure
    } else {
        DATAQ_OP_SPEC_HDR_LEGACY
    }
}

wire! {
    /// Configuration space, `struct virtio_crypto_config` (section 5.9.5). The masks of algorithms have the bits
    /// numbered as in [`algorithm`].
    pub struct Config {
        /// [`ConfigStatus`].
        pub status: Le32,
        /// Number of data virtqueues, 1 to 65535.
        pub max_dataqueues: Le32,
        /// Mask of [`Service`]s.
        pub crypto_services: Le32,
        /// Ciphers 0 to 31.
        pub cipher_algo_l: Le32,
        /// Ciphers 32 to 63.
        pub cipher_algo_h: Le32,
        /// Hashes.
        pub hash_algo: Le32,
        /// MACs 0 to 31.
        pub mac_algo_l: Le32,
        /// MACs 32 to 63.
        pub mac_algo_h: Le32,
        /// AEADs.
        pub aead_algo: Le32,
        /// Most bytes of a cipher key.
        pub max_cipher_key_len: Le32,
        /// Most bytes of an authentication key.
        pub max_auth_key_len: Le32,
        /// Asymmetric ciphers.
        pub akcipher_algo: Le32,
        /// Most bytes of the variable-length fields of a request on a data virtqueue.
        pub max_size: Le64,
    }
}

layout!(Config, 56, status @ 0, max_dataqueues @ 4, crypto_services @ 8, cipher_algo_l @ 12, cipher_algo_h @ 16,
    hash_algo @ 20, mac_algo_l @ 24, mac_algo_h @ 28, aead_algo @ 32, max_cipher_key_len @ 36, max_auth_key_len @ 40,
    akcipher_algo @ 44, max_size @ 48);

flags! {
    /// Bits of `status` in the configuration space, the `VIRTIO_CRYPTO_S_` values.
    pub ConfigStatus: u32 {
        /// The device is ready for requests.
        HW_READY = 1 << 0,
    }
}

constants! {
    /// Services (section 5.9.4), the `VIRTIO_CRYPTO_SERVICE_` values; bits of `crypto_services` by number.
    pub Service: u32 {
        /// Symmetric ciphers.
        CIPHER = 0,
        /// Hashes.
        HASH = 1,
        /// Message authentication codes.
        MAC = 2,
        /// Authenticated encryption with associated data.
        AEAD = 3,
        /// Asymmetric ciphers.
        AKCIPHER = 4,
        /// IPsec.
        IPSEC = 5,
    }

    /// Outcome of a request, `enum VIRTIO_CRYPTO_STATUS` (section 5.9.9.1); some structures carry it in 8 bits.
    pub Status: u32 {
        /// Success.
        OK = 0,
        /// Any other failure.
        ERR = 1,
        /// Authentication failed.
        BADMSG = 2,
        /// The operation or algorithm is not supported.
        NOTSUPP = 3,
        /// There is no such session.
        INVSESS = 4,
        /// There is no free session id; with `REVISION_1`.
        NOSPC = 5,
        /// The signature is wrong.
        KEY_REJECTED = 6,
        /// IPsec: success, but a soft limit of the security association was reached.
        IPSEC_SA_SOFT_EXPIRY = 7,
    }
}

/// First number that is no [`Status`], `VIRTIO_CRYPTO_MAX`.
pub const STATUS_MAX: u32 = 8;

/// The opcode of a service's operation, `VIRTIO_CRYPTO_OPCODE`.
pub const fn opcode(service: Service, op: u32) -> u32 {
    service.0 << 8 | op
}

constants! {
    /// Capability ids (section 5.9.7).
    pub CapId: u16 {
        /// Limits of IPsec, [`ipsec::ResourceCap`].
        IPSEC_RESOURCE_CAP = 0x0800,
        /// Modes of IPsec, [`ipsec::SaCapData`].
        IPSEC_SA_CAP = 0x0801,
    }

    /// Types of resource objects (section 5.9.8), the `VIRTIO_CRYPTO_RESOURCE_OBJ_` values.
    pub ResourceType: u16 {
        /// Outbound security association, [`ipsec::ResourceObjSa256bKey`].
        IPSEC_OUTBOUND_SA = 0x0200,
        /// Inbound security association, [`ipsec::ResourceObjSa256bKey`].
        IPSEC_INBOUND_SA = 0x0201,
    }
}
