//! Algorithms of the services (section 5.9.4): as values in requests, and as numbers of bits in the masks of the
//! configuration space.

constants! {
    /// Symmetric ciphers, the `VIRTIO_CRYPTO_CIPHER_` values; `TRIPLE_DES` stands for `3DES`.
    pub Cipher: u32 {
        /// None.
        NONE = 0,
        /// ARC4.
        ARC4 = 1,
        /// AES-ECB.
        AES_ECB = 2,
        /// AES-CBC.
        AES_CBC = 3,
        /// AES-CTR.
        AES_CTR = 4,
        /// DES-ECB.
        DES_ECB = 5,
        /// DES-CBC.
        DES_CBC = 6,
        /// 3DES-ECB.
        TRIPLE_DES_ECB = 7,
        /// 3DES-CBC.
        TRIPLE_DES_CBC = 8,
        /// 3DES-CTR.
        TRIPLE_DES_CTR = 9,
        /// KASUMI-F8.
        KASUMI_F8 = 10,
        /// SNOW3G-UEA2.
        SNOW3G_UEA2 = 11,
        /// AES-F8.
        AES_F8 = 12,
        /// AES-XTS.
        AES_XTS = 13,
        /// ZUC-EEA3.
        ZUC_EEA3 = 14,
    }

    /// Hashes, the `VIRTIO_CRYPTO_HASH_` values.
    pub Hash: u32 {
        /// None.
        NONE = 0,
        /// MD5.
        MD5 = 1,
        /// SHA1.
        SHA1 = 2,
        /// SHA-224.
        SHA_224 = 3,
        /// SHA-256.
        SHA_256 = 4,
        /// SHA-384.
        SHA_384 = 5,
        /// SHA-512.
        SHA_512 = 6,
        /// SHA3-224.
        SHA3_224 = 7,
        /// SHA3-256.
        SHA3_256 = 8,
        /// SHA3-384.
        SHA3_384 = 9,
        /// SHA3-512.
        SHA3_512 = 10,
        /// SHAKE128.
        SHA3_SHAKE128 = 11,
        /// SHAKE256.
        SHA3_SHAKE256 = 12,
    }

    /// Message authentication codes, the `VIRTIO_CRYPTO_MAC_` values.
    pub Mac: u32 {
        /// None.
        NONE = 0,
        /// HMAC-MD5.
        HMAC_MD5 = 1,
        /// HMAC-SHA1.
        HMAC_SHA1 = 2,
        /// HMAC-SHA-224.
        HMAC_SHA_224 = 3,
        /// HMAC-SHA-256.
        HMAC_SHA_256 = 4,
        /// HMAC-SHA-384.
        HMAC_SHA_384 = 5,
        /// HMAC-SHA-512.
        HMAC_SHA_512 = 6,
        /// CMAC-3DES.
        CMAC_3DES = 25,
        /// CMAC-AES.
        CMAC_AES = 26,
        /// KASUMI-F9.
        KASUMI_F9 = 27,
        /// SNOW3G-UIA2.
        SNOW3G_UIA2 = 28,
        /// GMAC-AES.
        GMAC_AES = 41,
        /// GMAC-TWOFISH.
        GMAC_TWOFISH = 42,
        /// CBCMAC-AES.
        CBCMAC_AES = 49,
        /// CBCMAC-KASUMI-F9.
        CBCMAC_KASUMI_F9 = 50,
        /// XCBC-AES.
        XCBC_AES = 53,
        /// ZUC-EIA3.
        ZUC_EIA3 = 54,
    }

    /// Authenticated encryption with associated data, the `VIRTIO_CRYPTO_AEAD_` values.
    pub Aead: u32 {
        /// None.
        NONE = 0,
        /// GCM.
        GCM = 1,
        /// CCM.
        CCM = 2,
        /// ChaCha20-Poly1305.
        CHACHA20_POLY1305 = 3,
    }

    /// Asymmetric ciphers, the `VIRTIO_CRYPTO_AKCIPHER_` values.
    pub Akcipher: u32 {
        /// None.
        NONE = 0,
        /// RSA.
        RSA = 1,
        /// ECDSA. Linux's `virtio_crypto.h` has 3 for it, after a DSA of 2 that the document does not know.
        ECDSA = 2,
    }
}
