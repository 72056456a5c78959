//! What the driver ends of both formats share: the features that matter to them, and what is checked of a buffer.

use ringwright_memory::DmaSegment;
use ringwright_spec::{Features, feature};

use super::AddRefusal;

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

/// A buffer's size, checked.
pub(super) struct Extent {
    /// Number of elements, at least 1 and at most the queue size.
    pub elements: u16,
    /// Bytes that the device can say it has written.
    pub writable: u32,
}

impl Extent {
    /// Checks a buffer against the rules for chains in a queue of `size`.
    #[inline(always)]
    pub fn new(readable: &[DmaSegment], writable: &[DmaSegment], size: u16) -> Result<Self, AddRefusal> {
        let elements = readable.len() + writable.len();
        if elements == 0 {
            return Err(AddRefusal::Empty);
        }
        if elements > usize::from(size) {
            return Err(AddRefusal::TooLong);
        }
        let bytes = |part: &[DmaSegment]| part.iter().map(|segment| u64::from(segment.len())).sum::<u64>();
        let writable = bytes(writable);
        if bytes(readable) + writable > MAX_BYTES {
            return Err(AddRefusal::TooLarge);
        }
        // The length of a used buffer has 32 bits, so a device cannot say 2^32.
        let writable = u32::try_from(writable).unwrap_or(u32::MAX);
        Ok(Self {
            elements: elements as u16,
            writable,
        })
    }
}
