//! Split virtqueues (section 2.7): the descriptor table, the available ring and the used ring.
//!
//! On legacy interfaces the layout is the same except that its integers have the guest's byte order and that the
//! three parts lie behind each other, see [`LegacyLayout`].

use crate::data::{Le16, Le32, Le64};

flags! {
    /// Flags of a descriptor (`VIRTQ_DESC_F_*`), for split and packed virtqueues.
    pub DescFlags: u16 {
        /// The buffer continues in the descriptor that `next` names.
        NEXT = 1,
        /// The buffer is device-writable, else it is device-readable.
        WRITE = 2,
        /// The buffer contains a table of descriptors.
        INDIRECT = 4,
    }

    /// Flags of the available ring (`VIRTQ_AVAIL_F_*`), by which the driver suppresses notifications.
    pub AvailFlags: u16 {
        /// The device need not send used buffer notifications.
        NO_INTERRUPT = 1,
    }

    /// Flags of the used ring (`VIRTQ_USED_F_*`), by which the device suppresses notifications.
    pub UsedFlags: u16 {
        /// The driver need not send available buffer notifications.
        NO_NOTIFY = 1,
    }
}

wire! {
    /// A descriptor (`virtq_desc`), of the descriptor table or of an indirect table.
    pub struct Desc {
        /// Address of the buffer, as the device sees it.
        pub addr: Le64,
        /// Length of the buffer in bytes.
        pub len: Le32,
        /// [`DescFlags`].
        pub flags: Le16,
        /// Index of the next descriptor of the chain, if flag NEXT is set.
        pub next: Le16,
    }

    /// The beginning of the available ring (`virtq_avail`). The ring of queue size [`Le16`] follows, each the index of
    /// the first descriptor of a chain, and after it the [`Le16`] `used_event`.
    pub struct Avail {
        /// [`AvailFlags`].
        pub flags: Le16,
        /// Where the driver puts the next entry, modulo the queue size; starts at 0 and only increases, modulo 65536.
        pub idx: Le16,
    }

    /// The beginning of the used ring (`virtq_used`). The ring of queue size [`UsedElem`] follows, and after it the
    /// [`Le16`] `avail_event`.
    pub struct Used {
        /// [`UsedFlags`].
        pub flags: Le16,
        /// Where the device puts the next entry, modulo the queue size; starts at 0 and only increases, modulo 65536.
        pub idx: Le16,
    }

    /// An entry of the used ring (`virtq_used_elem`).
    pub struct UsedElem {
        /// Index of the first descriptor of the chain that was used.
        pub id: Le32,
        /// Number of bytes written into the device-writable part of its buffer.
        pub len: Le32,
    }
}

layout!(Desc, 16, addr @ 0, len @ 8, flags @ 12, next @ 14);
layout!(Avail, 4, flags @ 0, idx @ 2);
layout!(Used, 4, flags @ 0, idx @ 2);
layout!(UsedElem, 8, id @ 0, len @ 4);

/// The largest queue size; every queue size is a power of 2.
pub const MAX_QUEUE_SIZE: u16 = 32768;

/// Alignment of the descriptor table in bytes (`drv:split:virtqueues:01` for all three).
pub const DESC_ALIGN: u64 = 16;
/// Alignment of the available ring in bytes.
pub const AVAIL_ALIGN: u64 = 2;
/// Alignment of the used ring in bytes.
pub const USED_ALIGN: u64 = 4;

/// Offset of the available ring's first entry.
pub const AVAIL_RING: u64 = size_of::<Avail>() as u64;
/// Offset of the used ring's first entry.
pub const USED_RING: u64 = size_of::<Used>() as u64;

/// Size of the descriptor table in bytes.
pub const fn desc_size(queue_size: u16) -> u64 {
    16 * queue_size as u64
}

/// Size of the available ring in bytes, `used_event` included.
pub const fn avail_size(queue_size: u16) -> u64 {
    6 + 2 * queue_size as u64
}

/// Size of the used ring in bytes, `avail_event` included.
pub const fn used_size(queue_size: u16) -> u64 {
    6 + 8 * queue_size as u64
}

/// Offset of `used_event` within the available ring: after the last entry.
pub const fn used_event_offset(queue_size: u16) -> u64 {
    AVAIL_RING + 2 * queue_size as u64
}

/// Offset of `avail_event` within the used ring: after the last entry.
pub const fn avail_event_offset(queue_size: u16) -> u64 {
    USED_RING + 8 * queue_size as u64
}

/// Whether `idx`, when it moved from `old` to `new`, passed the entry for which the other end wants a notification
/// (`virtq_need_event` of the document's virtqueue header). All three count modulo 65536.
pub const fn need_event(event: u16, new: u16, old: u16) -> bool {
    new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old)
}

/// Where the parts of a virtqueue lie on legacy interfaces (section 2.7.2), as offsets from its first byte; the
/// descriptor table comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyLayout {
    /// Offset of the available ring.
    pub avail: u64,
    /// Offset of the used ring: the first multiple of Queue Align after the available ring.
    pub used: u64,
    /// Bytes of the whole virtqueue, a multiple of Queue Align.
    pub size: u64,
}

impl LegacyLayout {
    /// The layout for a queue size and Queue Align (4096 on PCI); `None` if `queue_align` is not a power of 2.
    ///
    /// The document's formula reads `ALIGN(x) (((x) + qalign) & ~qalign)`, which for a power of 2 rounds to nothing
    /// useful. Meant, and used by every legacy driver, is rounding up to the next multiple of Queue Align.
    pub const fn new(queue_size: u16, queue_align: u32) -> Option<Self> {
        if !queue_align.is_power_of_two() {
            return None;
        }
        let align = queue_align as u64;
        let avail = desc_size(queue_size);
        let used = (avail + avail_size(queue_size)).next_multiple_of(align);
        let size = used + used_size(queue_size).next_multiple_of(align);
        Some(Self { avail, used, size })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_offsets_are_the_last_two_bytes() {
        for queue_size in [1, 2, 256, MAX_QUEUE_SIZE] {
            assert_eq!(used_event_offset(queue_size) + 2, avail_size(queue_size));
            assert_eq!(avail_event_offset(queue_size) + 2, used_size(queue_size));
        }
    }

    #[test]
    fn need_event_exactly_when_the_entry_was_passed() {
        for (event, new, old) in [
            (0, 1, 0),
            (5, 8, 5),
            (7, 8, 5),
            (0xffff, 0, 0xffff),
            (1, 2, 0xfffe),
        ] {
            assert!(need_event(event, new, old), "{event} {new} {old}");
        }
        for (event, new, old) in [(0, 0, 0), (8, 8, 5), (4, 8, 5), (0xffff, 0xffff, 0xfffe)] {
            assert!(!need_event(event, new, old), "{event} {new} {old}");
        }
    }

    #[test]
    fn legacy_layout_of_a_pci_queue() {
        // 256 entries: 4096 bytes of descriptors, 518 of available ring, used ring on the next page, 2054 bytes.
        let layout = LegacyLayout::new(256, 4096).unwrap();
        assert_eq!(
            layout,
            LegacyLayout {
                avail: 4096,
                used: 8192,
                size: 12288
            }
        );
        assert_eq!(LegacyLayout::new(256, 4095), None);
        assert_eq!(LegacyLayout::new(256, 0), None);
        assert!(LegacyLayout::new(MAX_QUEUE_SIZE, 1 << 31).is_some());
    }
}
