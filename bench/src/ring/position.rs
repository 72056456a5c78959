//! A place in a packed ring, for the raw ends (section 2.8.1).

use crate::pattern::QUEUE_SIZE;

/// A descriptor's index and the wrap counter that belongs to it.
#[derive(Clone, Copy)]
pub struct Position {
    index: u16,
    wrap: bool,
}

impl Position {
    /// Where both ends start.
    pub const START: Self = Self { index: 0, wrap: true };
    /// Both of the flags that tell available from used.
    pub const BOTH: u64 = AVAIL | USED;

    /// `count` descriptors on, fewer than the ring has.
    #[inline(always)]
    pub fn after(self, count: u16) -> Self {
        let index = self.index + count;
        if index >= QUEUE_SIZE {
            Self {
                index: index - QUEUE_SIZE,
                wrap: !self.wrap,
            }
        } else {
            Self {
                index,
                wrap: self.wrap,
            }
        }
    }

    /// The descriptor's first word in the ring.
    #[inline(always)]
    pub fn word(self) -> usize {
        2 * usize::from(self.index)
    }

    /// Flags of a descriptor that is available here.
    #[inline(always)]
    pub fn available_flags(self) -> u64 {
        if self.wrap { AVAIL } else { USED }
    }

    /// Flags of a descriptor that is used here.
    #[inline(always)]
    pub fn used_flags(self) -> u64 {
        if self.wrap { Self::BOTH } else { 0 }
    }

    /// An event suppression structure that asks for a notification of the descriptor here (section 2.8.14).
    #[inline(always)]
    pub fn event(self) -> u32 {
        DESC | u32::from(self.wrap) << 15 | u32::from(self.index)
    }

    /// Whether an event suppression structure asks for a notification of one of the `count` descriptors from here on, or
    /// of all.
    #[inline(always)]
    pub fn is_wanted(self, count: u16, event: u32) -> bool {
        let wanted = Self {
            index: event as u16 & 0x7fff,
            wrap: event >> 15 & 1 != 0,
        };
        let distance = wanted.in_two_laps().wrapping_sub(self.in_two_laps()) % (2 * QUEUE_SIZE);
        ((event & FLAGS == DESC) & (distance < count)) | (event & FLAGS == ENABLE)
    }

    /// The index counted on through the lap with the other wrap counter.
    #[inline(always)]
    fn in_two_laps(self) -> u16 {
        self.index + QUEUE_SIZE * u16::from(!self.wrap)
    }
}

const AVAIL: u64 = 1 << 7;
const USED: u64 = 1 << 15;
/// The flags of an event suppression structure, in place.
const FLAGS: u32 = 3 << 16;
/// RING_EVENT_FLAGS_ENABLE.
const ENABLE: u32 = 0;
/// RING_EVENT_FLAGS_DESC.
const DESC: u32 = 2 << 16;
