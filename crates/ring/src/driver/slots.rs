//! What the driver ends of both formats share: the features that matter to them, and what is checked of a buffer.

use ringwright_memory::DmaSegment;
use ringwright_spec::split::DescFlags;
use ringwright_spec::{Features, feature};

use super::{AddError, AddRefusal};

/// Largest number of bytes that a chain describes.
const MAX_BYTES: u64 = 1 << 32;

/// The features that change what a driver end does.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub event_idx: bool,
    pub in_order: bool,
    /// Barriers for devices that are not a processor of this machine.
    pub order_platform: bool,
    /// Legacy devices often give wrong lengths (section 2.7.8.1): they are cut to what is possible.
    pub legacy: bool,
}

impl Options {
    /// The choices that the negotiated features imply.
    pub fn new(features: Features) -> Self {
        let has = |bit| features.contains(bit);
        Self {
            event_idx: has(feature::EVENT_IDX),
            in_order: has(feature::IN_ORDER),
            order_platform: has(feature::ORDER_PLATFORM),
            legacy: !has(feature::VERSION_1),
        }
    }
}

/// Why a buffer of so many elements cannot be added to a queue of `size`, where it is for their number alone.
pub(super) fn refusal(elements: usize, size: u16, broken: bool) -> AddRefusal {
    match elements {
        0 => AddRefusal::Empty,
        _ if broken => AddRefusal::Broken,
        _ if elements > usize::from(size) => AddRefusal::TooLong,
        _ => AddRefusal::Full,
    }
}

/// The refusal of a buffer of too many bytes.
#[cold]
pub(super) fn too_large<T>(data: T) -> Result<u16, AddError<T>> {
    let reason = AddRefusal::TooLarge;
    Err(AddError { data, reason })
}

/// Lengths of a buffer's elements.
#[derive(Clone, Copy, Default)]
pub(super) struct Extent {
    bytes: u64,
    writable: u64,
}

impl Extent {
    /// Calls `write` for each element with its descriptor flags, and adds up their lengths.
    #[inline(always)]
    pub fn for_each(
        readable: &[DmaSegment],
        writable: &[DmaSegment],
        mut write: impl FnMut(&DmaSegment, u16),
    ) -> Self {
        const NEXT: u16 = DescFlags::NEXT.0;
        const WRITE: u16 = DescFlags::WRITE.0;
        let mut extent = Self::default();
        let mut element = |segment: &DmaSegment, flags: u16| {
            extent.bytes += u64::from(segment.len());
            if flags & WRITE != 0 {
                extent.writable += u64::from(segment.len());
            }
            write(segment, flags);
        };
        // All but the last element have NEXT.
        if let [before @ .., last] = writable {
            for segment in readable {
                element(segment, NEXT);
            }
            for segment in before {
                element(segment, NEXT | WRITE);
            }
            element(last, WRITE);
        } else if let [before @ .., last] = readable {
            for segment in before {
                element(segment, NEXT);
            }
            element(last, 0);
        }
        extent
    }

    /// Whether a chain may have so many bytes.
    #[inline(always)]
    pub fn is_legal(&self) -> bool {
        self.bytes <= MAX_BYTES
    }

    /// The largest number of bytes that the device can write.
    #[inline(always)]
    pub fn writable(&self) -> u64 {
        self.writable
    }
}
