//! Requests of the data virtqueues (sections 5.9.9.3 to 5.9.9.9), which run the services.
//!
//! A request is an [`OpHeader`], the fixed-length fields of its opcode, the variable-length fields in the order told at
//! each structure, first the device-readable ones and after the semicolon the device-writable ones, and at last an
//! [`Inhdr`]. The fixed-length fields are [`data_flf_len`](super::data_flf_len) bytes, and of the structure for
//! stateless mode if that is negotiated for the service (section 5.9.9.3), whichever mode the request is in.

use super::{Service, opcode};
use crate::data::{Le32, Le64};

/// Bytes of the room for the operation in session mode, in [`SymDataFlf`].
pub const SYM_DATA_REQ_HDR_SIZE: usize = 40;

/// Bytes of the room for the operation in stateless mode, in [`SymDataFlfStateless`]. (The document's name has `DATE`
/// for `DATA`.)
pub const SYM_DATA_REQ_HDR_STATELESS_SIZE: usize = 72;

constants! {
    /// Opcodes of the data virtqueues.
    pub DataOpcode: u32 {
        /// Encrypt, [`SymDataFlf`].
        CIPHER_ENCRYPT = opcode(Service::CIPHER, 0x00),
        /// Decrypt, [`SymDataFlf`].
        CIPHER_DECRYPT = opcode(Service::CIPHER, 0x01),
        /// Hash, [`HashDataFlf`].
        HASH = opcode(Service::HASH, 0x00),
        /// Authenticate, [`MacDataFlf`].
        MAC = opcode(Service::MAC, 0x00),
        /// Encrypt, [`AeadDataFlf`].
        AEAD_ENCRYPT = opcode(Service::AEAD, 0x00),
        /// Decrypt and verify, [`AeadDataFlf`].
        AEAD_DECRYPT = opcode(Service::AEAD, 0x01),
        /// Encrypt, [`AkcipherDataFlf`].
        AKCIPHER_ENCRYPT = opcode(Service::AKCIPHER, 0x00),
        /// Decrypt, [`AkcipherDataFlf`].
        AKCIPHER_DECRYPT = opcode(Service::AKCIPHER, 0x01),
        /// Sign, [`AkcipherDataFlf`].
        AKCIPHER_SIGN = opcode(Service::AKCIPHER, 0x02),
        /// Verify, [`AkcipherDataFlf`].
        AKCIPHER_VERIFY = opcode(Service::AKCIPHER, 0x03),
        /// Make an IPsec packet, [`IpsecDataFlf`].
        IPSEC_OUTBOUND = opcode(Service::IPSEC, 0x00),
        /// Undo an IPsec packet, [`IpsecDataFlf`].
        IPSEC_INBOUND = opcode(Service::IPSEC, 0x01),
    }
}

flags! {
    /// Flags of an [`OpHeader`], the `VIRTIO_CRYPTO_FLAG_` values; ignored without `REVISION_1`.
    pub OpFlags: u32 {
        /// The request belongs to a session; else it is stateless.
        SESSION_MODE = 1,
    }
}

wire! {
    /// `struct virtio_crypto_op_header`.
    pub struct OpHeader {
        /// A [`DataOpcode`].
        pub opcode: Le32,
        /// Algorithm of the service; ignored for IPsec.
        pub algo: Le32,
        /// Id of the session; for IPsec that of the security association.
        pub session_id: Le64,
        /// [`OpFlags`].
        pub flag: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_inhdr`, device-writable.
    pub struct Inhdr {
        /// A [`Status`](super::Status).
        pub status: u8,
    }

    /// `struct virtio_crypto_hash_data_flf`; `src_data`; `hash_result`.
    pub struct HashDataFlf {
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the result.
        pub hash_result_len: Le32,
    }

    /// `struct virtio_crypto_hash_data_flf_stateless`; `src_data`; `hash_result`.
    pub struct HashDataFlfStateless {
        /// `sess_para`: a [`Hash`](super::algorithm::Hash).
        pub algo: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the result.
        pub hash_result_len: Le32,
        /// Reserved.
        pub reserved: Le32,
    }

    /// `struct virtio_crypto_mac_data_flf`; `src_data`; `hash_result`.
    pub struct MacDataFlf {
        /// The same fields.
        pub hdr: HashDataFlf,
    }

    /// `struct virtio_crypto_mac_data_flf_stateless`; `auth_key`, `src_data`; `hash_result`.
    pub struct MacDataFlfStateless {
        /// `sess_para`: a [`Mac`](super::algorithm::Mac).
        pub algo: Le32,
        /// `sess_para`: bytes of the key.
        pub auth_key_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the result.
        pub hash_result_len: Le32,
    }

    /// `struct virtio_crypto_cipher_data_flf`; `iv`, `src_data`; `dst_data`.
    pub struct CipherDataFlf {
        /// Bytes of the initialization vector or counter.
        pub iv_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the destination.
        pub dst_data_len: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// `struct virtio_crypto_alg_chain_data_flf`; `iv`, `src_data`, `aad`; `dst_data`, `hash_result`.
    pub struct AlgChainDataFlf {
        /// Bytes of the initialization vector or counter.
        pub iv_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the destination.
        pub dst_data_len: Le32,
        /// Where in the source the cipher starts.
        pub cipher_start_src_offset: Le32,
        /// Bytes of the source for the cipher.
        pub len_to_cipher: Le32,
        /// Where in the source the hash starts.
        pub hash_start_src_offset: Le32,
        /// Bytes of the source for the hash.
        pub len_to_hash: Le32,
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// Bytes of the result of the hash.
        pub hash_result_len: Le32,
        /// Reserved.
        pub reserved: Le32,
    }

    /// `struct virtio_crypto_sym_data_flf`; the variable-length fields are those of the `op_type`.
    pub struct SymDataFlf {
        /// [`CipherDataFlf`] or [`AlgChainDataFlf`], by `op_type`.
        pub op_type_flf: [u8; SYM_DATA_REQ_HDR_SIZE],
        /// A [`SymOp`](super::session::SymOp).
        pub op_type: Le32,
        /// Padding.
        pub padding: Le32,
    }

    /// A cipher, `sess_para` of stateless requests.
    pub struct CipherSessPara {
        /// A [`Cipher`](super::algorithm::Cipher) (for AEAD requests an [`Aead`](super::algorithm::Aead)).
        pub algo: Le32,
        /// Bytes of the key.
        pub key_len: Le32,
        /// An [`Op`](super::session::Op).
        pub op: Le32,
    }

    /// `struct virtio_crypto_cipher_data_flf_stateless`; `cipher_key`, `iv`, `src_data`; `dst_data`.
    pub struct CipherDataFlfStateless {
        /// The cipher.
        pub sess_para: CipherSessPara,
        /// Bytes of the initialization vector or counter.
        pub iv_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the destination.
        pub dst_data_len: Le32,
    }

    /// A chain, `sess_para` of stateless requests.
    pub struct AlgChainSessPara {
        /// An [`AlgChainOrder`](super::session::AlgChainOrder).
        pub alg_chain_order: Le32,
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// The cipher.
        pub cipher: CipherSessPara,
        /// The hash or MAC.
        pub hash: HashSessPara,
    }

    /// The hash or MAC of a chain, part of [`AlgChainSessPara`].
    pub struct HashSessPara {
        /// A [`Hash`](super::algorithm::Hash) or [`Mac`](super::algorithm::Mac), by `hash_mode`.
        pub algo: Le32,
        /// Bytes of the key.
        pub auth_key_len: Le32,
        /// A [`HashMode`](super::session::HashMode).
        pub hash_mode: Le32,
    }

    /// `struct virtio_crypto_alg_chain_data_flf_stateless`; `cipher_key`, `auth_key`, `iv`, `aad`, `src_data`;
    /// `dst_data`, `hash_result`. In session mode `src_data` goes before `aad`.
    pub struct AlgChainDataFlfStateless {
        /// The chain.
        pub sess_para: AlgChainSessPara,
        /// As in session mode.
        pub data: AlgChainDataFlf,
    }

    /// `struct virtio_crypto_sym_data_flf_stateless`; the variable-length fields are those of the `op_type`.
    pub struct SymDataFlfStateless {
        /// [`CipherDataFlfStateless`] or [`AlgChainDataFlfStateless`], by `op_type`.
        pub op_type_flf: [u8; SYM_DATA_REQ_HDR_STATELESS_SIZE],
        // A comment above it in the document says "device write only portion". It decides how the device reads the
        // rest, so it is device-readable, as in session mode.
        /// A [`SymOp`](super::session::SymOp).
        pub op_type: Le32,
    }

    /// `struct virtio_crypto_aead_data_flf`; `iv`, `src_data`, `aad`; `dst_data`, of which the tag is the end.
    pub struct AeadDataFlf {
        /// Bytes of the initialization vector: GCM 12 or 16, CCM 7 to 13.
        pub iv_len: Le32,
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the destination.
        pub dst_data_len: Le32,
        /// Bytes of the authentication tag.
        pub tag_len: Le32,
        /// Reserved.
        pub reserved: Le32,
    }

    /// `struct virtio_crypto_aead_data_flf_stateless`; `key`, `iv`, `src_data`, `aad`; `dst_data`.
    pub struct AeadDataFlfStateless {
        /// The AEAD.
        pub sess_para: CipherSessPara,
        /// Bytes of the initialization vector.
        pub iv_len: Le32,
        /// Bytes of the authentication tag.
        pub tag_len: Le32,
        /// Bytes of the additional authenticated data.
        pub aad_len: Le32,
        /// Bytes of the source.
        pub src_data_len: Le32,
        /// Bytes of the destination.
        pub dst_data_len: Le32,
    }

    /// `struct virtio_crypto_akcipher_data_flf`; `src_data`; `dst_data`. To verify, the source is the signature of
    /// `src_data_len` bytes and then the signed data of `dst_data_len`, and there is no destination.
    pub struct AkcipherDataFlf {
        /// Bytes of the source, or of the signature.
        pub src_data_len: Le32,
        /// Bytes of the destination, or of the signed data.
        pub dst_data_len: Le32,
    }

    /// `struct virtio_crypto_akcipher_data_flf_stateless`; `akcipher_key`, `src_data`; `dst_data`.
    pub struct AkcipherDataFlfStateless {
        /// `sess_para`: an [`Akcipher`](super::algorithm::Akcipher).
        pub algo: Le32,
        /// `sess_para`: a [`KeyType`](super::session::KeyType).
        pub key_type: Le32,
        /// `sess_para`: bytes of the key.
        pub key_len: Le32,
        /// `sess_para`: [`RsaSessionPara`](super::session::RsaSessionPara) or
        /// [`EcdsaSessionPara`](super::session::EcdsaSessionPara), by `algo`.
        pub u: [u8; 8],
        /// Bytes of the source, or of the signature.
        pub src_data_len: Le32,
        /// Bytes of the destination, or of the signed data.
        pub dst_data_len: Le32,
    }

    /// `struct virtio_crypto_ipsec_data_flf`; `src_data`; `dst_data`.
    pub struct IpsecDataFlf {
        /// Bytes of the source, a full IP or IPsec packet.
        pub src_data_len: Le32,
        /// Bytes of the destination, with room for headers and trailers.
        pub dst_data_len: Le32,
    }
}

layout!(OpHeader, 24, opcode @ 0, algo @ 4, session_id @ 8, flag @ 16, padding @ 20);
layout!(Inhdr, 1, status @ 0);
layout!(HashDataFlf, 8, src_data_len @ 0, hash_result_len @ 4);
layout!(HashDataFlfStateless, 16, algo @ 0, src_data_len @ 4, hash_result_len @ 8, reserved @ 12);
layout!(MacDataFlf, 8, hdr @ 0);
layout!(MacDataFlfStateless, 16, algo @ 0, auth_key_len @ 4, src_data_len @ 8, hash_result_len @ 12);
layout!(CipherDataFlf, 16, iv_len @ 0, src_data_len @ 4, dst_data_len @ 8, padding @ 12);
layout!(AlgChainDataFlf, 40, iv_len @ 0, src_data_len @ 4, dst_data_len @ 8, cipher_start_src_offset @ 12,
    len_to_cipher @ 16, hash_start_src_offset @ 20, len_to_hash @ 24, aad_len @ 28, hash_result_len @ 32,
    reserved @ 36);
layout!(SymDataFlf, 48, op_type_flf @ 0, op_type @ 40, padding @ 44);
layout!(CipherSessPara, 12, algo @ 0, key_len @ 4, op @ 8);
layout!(CipherDataFlfStateless, 24, sess_para @ 0, iv_len @ 12, src_data_len @ 16, dst_data_len @ 20);
layout!(HashSessPara, 12, algo @ 0, auth_key_len @ 4, hash_mode @ 8);
layout!(AlgChainSessPara, 32, alg_chain_order @ 0, aad_len @ 4, cipher @ 8, hash @ 20);
layout!(AlgChainDataFlfStateless, 72, sess_para @ 0, data @ 32);
layout!(SymDataFlfStateless, 76, op_type_flf @ 0, op_type @ 72);
layout!(AeadDataFlf, 24, iv_len @ 0, aad_len @ 4, src_data_len @ 8, dst_data_len @ 12, tag_len @ 16, reserved @ 20);
layout!(AeadDataFlfStateless, 32, sess_para @ 0, iv_len @ 12, tag_len @ 16, aad_len @ 20, src_data_len @ 24,
    dst_data_len @ 28);
layout!(AkcipherDataFlf, 8, src_data_len @ 0, dst_data_len @ 4);
layout!(AkcipherDataFlfStateless, 28, algo @ 0, key_type @ 4, key_len @ 8, u @ 12, src_data_len @ 20,
    dst_data_len @ 24);
layout!(IpsecDataFlf, 8, src_data_len @ 0, dst_data_len @ 4);
