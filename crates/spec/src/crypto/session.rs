//! Requests of the control virtqueue (section 5.9.9.2), which create and destroy sessions.
//!
//! A request is a [`CtrlHeader`], the fixed-length fields of its opcode ([`ctrl_flf_len`](super::ctrl_flf_len) bytes),
//! the keys as variable-length fields, and an outcome, which is device-writable: [`CreateSessionInput`] or
//! [`DestroySessionInput`].

use super::{Service, opcode};
use crate::data::{Le32, Le64};

/// Bytes of the room for the hash or MAC of a chain, in [`AlgChainSessionFlf`].
pub const ALG_CHAIN_SESS_OP_SPEC_HDR_SIZE: usize = 16;

/// Bytes of the room for the operation, in [`SymCreateSessionFlf`].
pub const SYM_SESS_OP_SPEC_HDR_SIZE: usize = 48;

/// Bytes of the room for the parameters of the algorithm, in [`AkcipherCreateSessionFlf`].
pub const AKCIPHER_SESS_ALGO_SPEC_HDR_SIZE: usize = 44;

// The list of what each opcode carries forgets AKCIPHER_DESTROY_SESSION; it destroys as the others do.
constants! {
    /// Opcodes of the control virtqueue.
    pub CtrlOpcode: u32 {
        /// Create a session, [`SymCreateSessionFlf`].
        CIPHER_CREATE_SESSION = opcode(Service::CIPHER, 0x02),
        /// Destroy a session, [`DestroySessionFlf`].
        CIPHER_DESTROY_SESSION = opcode(Service::CIPHER, 0x03),
        /// Create a session, [`HashCreateSessionFlf`].
        HASH_CREATE_SESSION = opcode(Service::HASH, 0x02),
        /// Destroy a session, [`DestroySessionFlf`].
        HASH_DESTROY_SESSION = opcode(Service::HASH, 0x03),
        /// Create a session, [`MacCreateSessionFlf`].
        MAC_CREATE_SESSION = opcode(Service::MAC, 0x02),
        /// Destroy a session, [`DestroySessionFlf`].
        MAC_DESTROY_SESSION = opcode(Service::MAC, 0x03),
        /// Create a session, [`AeadCreateSessionFlf`].
        AEAD_CREATE_SESSION = opcode(Service::AEAD, 0x02),
        /// Destroy a session, [`DestroySessionFlf`].
        AEAD_DESTROY_SESSION = opcode(Service::AEAD, 0x03),
        /// Create a session, [`AkcipherCreateSessionFlf`].
        AKCIPHER_CREATE_SESSION = opcode(Service::AKCIPHER, 0x04),
        /// Destroy a session, [`DestroySessionFlf`].
        AKCIPHER_DESTROY_SESSION = opcode(Service::AKCIPHER, 0x05),
    }

    /// Direction of a cipher, the `VIRTIO_CRYPTO_OP_` values.
    pub Op: u32 {
        /// Encrypt.
        ENCRYPT = 1,
        /// Decrypt.
        DECRYPT = 2,
    }

    /// What a symmetric session does, the `VIRTIO_CRYPTO_SYM_OP_` values.
    pub SymOp: u32 {
        /// Nothing.
        NONE = 0,
        /// A cipher, [`CipherSessionFlf`].
        CIPHER = 1,
        /// A cipher and a hash or MAC, [`AlgChainSessionFlf`].
        ALGORITHM_CHAINING = 2,
    }

    /// Order of a chain, the `VIRTIO_CRYPTO_SYM_ALG_CHAIN_ORDER_` values.
    pub AlgChainOrder: u32 {
        /// Hash, then cipher.
        HASH_THEN_CIPHER = 1,
        /// Cipher, then hash.
        CIPHER_THEN_HASH = 2,
    }

    /// Hash of a chain, the `VIRTIO_CRYPTO_SYM_HASH_MODE_` values.
    pub HashMode: u32 {
        /// A hash, [`HashCreateSessionFlf`].
        PLAIN = 1,
        /// A MAC, [`MacCreateSessionFlf`].
        AUTH = 2,
        /// A nested hash.
        NESTED = 3,
    }

    /// Padding of RSA, the `VIRTIO_CRYPTO_RSA_..._PADDING` values.
    pub RsaPadding: u32 {
        /// Leading zeroes; only to encrypt and decrypt.
        RAW = 0,
        /// EMSA-PKCS1-v1_5.
        PKCS1 = 1,
    }

    /// Hash of RSA signatures, the other `VIRTIO_CRYPTO_RSA_` values.
    pub RsaHash: u32 {
        /// None.
        NO_HASH = 0,
        /// MD2.
        MD2 = 1,
        /// MD3.
        MD3 = 2,
        /// MD4.
        MD4 = 3,
        /// MD5.
        MD5 = 4,
        /// SHA-1.
        SHA1 = 5,
        /// SHA-256.
        SHA256 = 6,
        /// SHA-384.
        SHA384 = 7,
        /// SHA-512.
        SHA512 = 8,
        /// SHA-224.
        SHA224 = 9,
    }

    /// Elliptic curve, the `VIRTIO_CRYPTO_CURVE_` values.
    pub Curve: u32 {
        /// Unknown.
        UNKNOWN = 0,
        /// NIST P-192.
        NIST_P192 = 1,
        /// NIST P-224.
        NIST_P224 = 2,
        /// NIST P-256.
        NIST_P256 = 3,
        /// NIST P-384.
        NIST_P384 = 4,
        /// NIST P-521.
        NIST_P521 = 5,
    }

    /// Kind of an asymmetric key, the `VIRTIO_CRYPTO_AKCIPHER_KEY_TYPE_` values.
    pub KeyType: u32 {
        /// Public: RSAPublicKey in DER, or the value of an ECPoint.
        PUBLIC = 1,
        /// Private: RSAPrivateKey or ECPrivateKey in DER.
        PRIVATE = 2,
    }
}

wire! {
    /// `struct virtio_crypto_ctrl_header`.
    pub struct CtrlHeader {
        /// A [`CtrlOpcode`].
        pub opcode: Le32,
        /// Algorithm of the service.
        pub algo: Le32,
        /// No flag is defined.
        pub flag: Le32,
        /// 0.
        pub reserved: Le32,
    }

    /// Outcome of creating a session, `struct virtio_crypto_create_session_input`, device-writable.
    pub struct CreateSessionInput {
        /// Id of the session, if the status is `OK`.
        pub session_id: Le64,
        /// A [`Status`](super::Status).
        pub status: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_destroy_session_flf`.
    pub struct DestroySessionFlf {
        /// Id of the session.
        pub session_id: Le64,
    }

    /// Outcome of destroying a session, `struct virtio_crypto_destroy_session_input`, device-writable.
    pub struct DestroySessionInput {
        /// A [`Status`](super::Status).
        pub status: u8,
    }

    /// `struct virtio_crypto_hash_create_session_flf`; nothing follows.
    pub struct HashCreateSessionFlf {
        /// A [`Hash`](super::algorithm::Hash).
        pub algo: Le32,
        /// Bytes of the result.
        pub hash_result_len: Le32,
    }

    /// `struct virtio_crypto_mac_create_session_flf`; the key follows.
    pub struct MacCreateSessionFlf {
        /// A [`Mac`](super::algorithm::Mac).
        pub algo: Le32,
        /// Bytes of the result.
        pub hash_result_len: Le32,
        /// Bytes of the key.
        pub auth_key_len: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_cipher_session_flf`; the key follows.
    pub struct CipherSessionFlf {
        /// A [`Cipher`](super::algorithm::Cipher).
        pub algo: Le32,
        /// Bytes of the key.
        pub key_len: Le32,
        /// An [`Op`].
        pub op: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_alg_chain_session_flf`; the cipher's key follows, then the MAC's.
    pub struct AlgChainSessionFlf {
        /// An [`AlgChainOrder`].
        pub alg_chain_order: Le32,
        /// A [`HashMode`].
        pub hash_mode: Le32,
        /// The cipher.
        pub cipher_hdr: CipherSessionFlf,
        /// [`HashCreateSessionFlf`] or [`MacCreateSessionFlf`], by `hash_mode`.
        pub algo_flf: [u8; ALG_CHAIN_SESS_OP_SPEC_HDR_SIZE],
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_sym_create_session_flf`; the keys follow, by `op_type`.
    pub struct SymCreateSessionFlf {
        /// [`CipherSessionFlf`] or [`AlgChainSessionFlf`], by `op_type`.
        pub op_flf: [u8; SYM_SESS_OP_SPEC_HDR_SIZE],
        /// A [`SymOp`].
        pub op_type: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_aead_create_session_flf`; the key follows.
    pub struct AeadCreateSessionFlf {
        /// An [`Aead`](super::algorithm::Aead).
        pub algo: Le32,
        /// Bytes of the key.
        pub key_len: Le32,
        /// Bytes of the authentication tag.
        pub tag_len: Le32,
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// An [`Op`].
        pub op: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_rsa_session_para`.
    pub struct RsaSessionPara {
        /// An [`RsaPadding`].
        pub padding_algo: Le32,
        /// An [`RsaHash`].
        pub hash_algo: Le32,
    }

    /// `struct virtio_crypto_ecdsa_session_para`.
    pub struct EcdsaSessionPara {
        /// A [`Curve`].
        pub curve_id: Le32,
    }

    /// `struct virtio_crypto_akcipher_create_session_flf`; the key follows.
    pub struct AkcipherCreateSessionFlf {
        /// An [`Akcipher`](super::algorithm::Akcipher).
        pub algo: Le32,
        /// A [`KeyType`].
        pub key_type: Le32,
        /// Bytes of the key.
        pub key_len: Le32,
        /// [`RsaSessionPara`] or [`EcdsaSessionPara`], by `algo`.
        pub algo_flf: [u8; AKCIPHER_SESS_ALGO_SPEC_HDR_SIZE],
    }
}

layout!(CtrlHeader, 16, opcode @ 0, algo @ 4, flag @ 8, reserved @ 12);
layout!(CreateSessionInput, 16, session_id @ 0, status @ 8, padding @ 12);
layout!(DestroySessionFlf, 8, session_id @ 0);
layout!(DestroySessionInput, 1, status @ 0);
layout!(HashCreateSessionFlf, 8, algo @ 0, hash_result_len @ 4);
layout!(MacCreateSessionFlf, 16, algo @ 0, hash_result_len @ 4, auth_key_len @ 8, padding @ 12);
layout!(CipherSessionFlf, 16, algo @ 0, key_len @ 4, op @ 8, padding @ 12);
layout!(AlgChainSessionFlf, 48, alg_chain_order @ 0, hash_mode @ 4, cipher_hdr @ 8, algo_flf @ 24, aad_len @ 40,
    padding @ 44);
layout!(SymCreateSessionFlf, 56, op_flf @ 0, op_type @ 48, padding @ 52);
layout!(AeadCreateSessionFlf, 24, algo @ 0, key_len @ 4, tag_len @ 8, aad_len @ 12, op @ 16, padding @ 20);
layout!(RsaSessionPara, 8, padding_algo @ 0, hash_algo @ 4);
layout!(EcdsaSessionPara, 4, curve_id @ 0);
layout!(AkcipherCreateSessionFlf, 56, algo @ 0, key_type @ 4, key_len @ 8, algo_flf @ 12);
