//! PCM streams (sections 5.14.6.6 to 5.14.6.8) and channel maps (section 5.14.6.9).

use super::{Hdr, Info};
use crate::data::{Le32, Le64};

/// Most channels in a channel map.
pub const CHMAP_MAX_SIZE: usize = 18;

wire! {
    /// Start of a request about one stream (section 5.14.6.6); the whole of it for PREPARE, RELEASE, START and STOP.
    pub struct PcmHdr {
        /// [`Request`](super::Request).
        pub hdr: Hdr,
        /// Id of the stream.
        pub stream_id: Le32,
    }

    /// Information about a stream (section 5.14.6.6.2).
    pub struct PcmInfo {
        /// Function group.
        pub hdr: Info,
        /// [`PcmFeatures`].
        pub features: Le32,
        /// Supported [`PcmFormat`]s: bit n for format n.
        pub formats: Le64,
        /// Supported [`PcmRate`]s: bit n for rate n.
        pub rates: Le64,
        /// [`Direction`](super::Direction).
        pub direction: u8,
        /// Fewest channels.
        pub channels_min: u8,
        /// Most channels.
        pub channels_max: u8,
        /// Zero.
        pub padding: [u8; 5],
    }

    /// Selects the parameters of a stream (section 5.14.6.6.3).
    pub struct PcmSetParams {
        /// With [`Request::PCM_SET_PARAMS`](super::Request::PCM_SET_PARAMS).
        pub hdr: PcmHdr,
        /// Size of the driver's buffer in bytes.
        pub buffer_bytes: Le32,
        /// Size of a period in bytes, a divisor of `buffer_bytes`.
        pub period_bytes: Le32,
        /// [`PcmFeatures`].
        pub features: Le32,
        /// Number of channels.
        pub channels: u8,
        /// [`PcmFormat`].
        pub format: u8,
        /// [`PcmRate`].
        pub rate: u8,
        /// Zero.
        pub padding: u8,
    }

    /// Start of a message with frames (section 5.14.6.8), device-readable. The frames follow, device-readable on the tx
    /// queue and device-writable on the rx queue, then [`PcmStatus`].
    pub struct PcmXfer {
        /// Id of the stream.
        pub stream_id: Le32,
    }

    /// End of a message with frames (section 5.14.6.8), device-writable.
    pub struct PcmStatus {
        /// [`RequestStatus::OK`](super::RequestStatus::OK) or [`RequestStatus::IO_ERR`](super::RequestStatus::IO_ERR).
        pub status: Le32,
        /// Latency of the device in bytes.
        pub latency_bytes: Le32,
    }

    /// Information about a channel map (section 5.14.6.9.1).
    pub struct ChmapInfo {
        /// Function group.
        pub hdr: Info,
        /// [`Direction`](super::Direction).
        pub direction: u8,
        /// How many of the positions are valid.
        pub channels: u8,
        /// [`ChannelPosition`] of each channel.
        pub positions: [u8; CHMAP_MAX_SIZE],
    }
}
layout!(PcmHdr, 8, hdr @ 0, stream_id @ 4);
layout!(
    PcmInfo, 32,
    hdr @ 0, features @ 4, formats @ 8, rates @ 16, direction @ 24, channels_min @ 25, channels_max @ 26, padding @ 27,
);
layout!(
    PcmSetParams, 24,
    hdr @ 0, buffer_bytes @ 8, period_bytes @ 12, features @ 16, channels @ 20, format @ 21, rate @ 22, padding @ 23,
);
layout!(PcmXfer, 4, stream_id @ 0);
layout!(PcmStatus, 8, status @ 0, latency_bytes @ 4);
layout!(ChmapInfo, 24, hdr @ 0, direction @ 4, channels @ 5, positions @ 6);

flags! {
    /// What a stream can do, or is to do (`VIRTIO_SND_PCM_F_XXX`, which the document numbers by bit).
    pub PcmFeatures: u32 {
        /// Frames in memory of the host; a placeholder that is never selected.
        SHMEM_HOST = 1 << 0,
        /// Frames in memory of the guest; a placeholder that is never selected.
        SHMEM_GUEST = 1 << 1,
        /// The device polls the tx and rx queues, and needs no notifications.
        MSG_POLLING = 1 << 2,
        /// Events for elapsed periods of shared memory.
        EVT_SHMEM_PERIODS = 1 << 3,
        /// Events for underruns and overruns.
        EVT_XRUNS = 1 << 4,
    }
}

constants! {
    /// Sample formats (`VIRTIO_SND_PCM_FMT_XXX`).
    pub PcmFormat: u8 {
        /// IMA ADPCM, 4 bits.
        IMA_ADPCM = 0,
        /// Mu-law, 8 bits.
        MU_LAW = 1,
        /// A-law, 8 bits.
        A_LAW = 2,
        /// Signed, 8 bits.
        S8 = 3,
        /// Unsigned, 8 bits.
        U8 = 4,
        /// Signed, 16 bits.
        S16 = 5,
        /// Unsigned, 16 bits.
        U16 = 6,
        /// Signed, 18 bits in 3 bytes.
        S18_3 = 7,
        /// Unsigned, 18 bits in 3 bytes.
        U18_3 = 8,
        /// Signed, 20 bits in 3 bytes.
        S20_3 = 9,
        /// Unsigned, 20 bits in 3 bytes.
        U20_3 = 10,
        /// Signed, 24 bits in 3 bytes.
        S24_3 = 11,
        /// Unsigned, 24 bits in 3 bytes.
        U24_3 = 12,
        /// Signed, 20 bits in 4 bytes.
        S20 = 13,
        /// Unsigned, 20 bits in 4 bytes.
        U20 = 14,
        /// Signed, 24 bits in 4 bytes.
        S24 = 15,
        /// Unsigned, 24 bits in 4 bytes.
        U24 = 16,
        /// Signed, 32 bits.
        S32 = 17,
        /// Unsigned, 32 bits.
        U32 = 18,
        /// Floating point, 32 bits.
        FLOAT = 19,
        /// Floating point, 64 bits.
        FLOAT64 = 20,
        /// Direct stream digital, 8 bits.
        DSD_U8 = 21,
        /// Direct stream digital, 16 bits.
        DSD_U16 = 22,
        /// Direct stream digital, 32 bits.
        DSD_U32 = 23,
        /// Subframes of IEC 60958, 32 bits.
        IEC958_SUBFRAME = 24,
    }

    /// Frames per second (`VIRTIO_SND_PCM_RATE_XXX`). The document's names are bare numbers, hence the `R` before each.
    pub PcmRate: u8 {
        /// 5512 Hz.
        R5512 = 0,
        /// 8000 Hz.
        R8000 = 1,
        /// 11025 Hz.
        R11025 = 2,
        /// 16000 Hz.
        R16000 = 3,
        /// 22050 Hz.
        R22050 = 4,
        /// 32000 Hz.
        R32000 = 5,
        /// 44100 Hz.
        R44100 = 6,
        /// 48000 Hz.
        R48000 = 7,
        /// 64000 Hz.
        R64000 = 8,
        /// 88200 Hz.
        R88200 = 9,
        /// 96000 Hz.
        R96000 = 10,
        /// 176400 Hz.
        R176400 = 11,
        /// 192000 Hz.
        R192000 = 12,
        /// 384000 Hz.
        R384000 = 13,
        /// 12000 Hz.
        R12000 = 14,
        /// 24000 Hz.
        R24000 = 15,
    }

    /// Where the speaker of a channel stands (`VIRTIO_SND_CHMAP_XXX`).
    pub ChannelPosition: u8 {
        /// Undefined.
        NONE = 0,
        /// Silent.
        NA = 1,
        /// Mono stream.
        MONO = 2,
        /// Front left.
        FL = 3,
        /// Front right.
        FR = 4,
        /// Rear left.
        RL = 5,
        /// Rear right.
        RR = 6,
        /// Front centre.
        FC = 7,
        /// Low frequency effects.
        LFE = 8,
        /// Side left.
        SL = 9,
        /// Side right.
        SR = 10,
        /// Rear centre.
        RC = 11,
        /// Front left centre.
        FLC = 12,
        /// Front right centre.
        FRC = 13,
        /// Rear left centre.
        RLC = 14,
        /// Rear right centre.
        RRC = 15,
        /// Front left wide.
        FLW = 16,
        /// Front right wide.
        FRW = 17,
        /// Front left high.
        FLH = 18,
        /// Front centre high.
        FCH = 19,
        /// Front right high.
        FRH = 20,
        /// Top centre.
        TC = 21,
        /// Top front left.
        TFL = 22,
        /// Top front right.
        TFR = 23,
        /// Top front centre.
        TFC = 24,
        /// Top rear left.
        TRL = 25,
        /// Top rear right.
        TRR = 26,
        /// Top rear centre.
        TRC = 27,
        /// Top front left centre.
        TFLC = 28,
        /// Top front right centre.
        TFRC = 29,
        /// Top side left.
        TSL = 30,
        /// Top side right.
        TSR = 31,
        /// Left low frequency effects.
        LLFE = 32,
        /// Right low frequency effects.
        RLFE = 33,
        /// Bottom centre.
        BC = 34,
        /// Bottom left centre.
        BLC = 35,
        /// Bottom right centre.
        BRC = 36,
    }
}
