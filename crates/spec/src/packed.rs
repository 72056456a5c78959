//! Packed virtqueues (section 2.8): the descriptor ring and the two event suppression structures.

use crate::data::{Bits, Le16, Le32, Le64};

flags! {
    /// Flags of a descriptor of the ring (`VIRTQ_DESC_F_*`): those of split virtqueues and two more.
    pub DescFlags: u16 {
        /// The buffer continues in the next descriptor of the ring; reserved in used descriptors.
        NEXT = 1,
        /// The element is device-writable; in a used descriptor: the device wrote into the buffer.
        WRITE = 2,
        /// The element contains a table of descriptors.
        INDIRECT = 4,
        /// Equals the Driver Ring Wrap Counter in an available, the Device Ring Wrap Counter in a used descriptor.
        AVAIL = 1 << 7,
        /// Differs from the Driver Ring Wrap Counter in an available, equals the Device Ring Wrap Counter in a used
        /// descriptor.
        USED = 1 << 15,
    }
}

constants! {
    /// Descriptor Ring Change Event Flags (`RING_EVENT_FLAGS_*`): which notifications are wanted. Value 3 is reserved.
    pub EventFlags: u16 {
        /// All of them.
        ENABLE = 0,
        /// None.
        DISABLE = 1,
        /// When one descriptor, named by offset and wrap counter, is made available or used. Only with
        /// `VIRTIO_F_EVENT_IDX`.
        DESC = 2,
    }
}

wire! {
    /// A descriptor (`pvirtq_desc`), of the descriptor ring or of an indirect table.
    pub struct Desc {
        /// Address of the element, as the device sees it; unused in used descriptors.
        pub addr: Le64,
        /// Length of the element in bytes; in a used descriptor with flag WRITE, the number of bytes written.
        pub len: Le32,
        /// Buffer ID: valid in the last descriptor of a list, and in used descriptors.
        pub id: Le16,
        /// [`DescFlags`].
        pub flags: Le16,
    }

    /// Event suppression structure (`pvirtq_event_suppress`): the Driver Area is the one by which the driver
    /// suppresses used buffer notifications, the Device Area the one by which the device suppresses available buffer
    /// notifications.
    pub struct EventSuppress {
        /// [`EVENT_OFF`] and [`EVENT_WRAP`], if the flags are [`EventFlags::DESC`].
        pub desc: Le16,
        /// [`EVENT_FLAGS`]; the other bits are reserved and 0.
        pub flags: Le16,
    }
}

layout!(Desc, 16, addr @ 0, len @ 8, id @ 12, flags @ 14);
layout!(EventSuppress, 4, desc @ 0, flags @ 2);

/// Within [`EventSuppress::desc`], `desc_event_off`: offset of the descriptor in the ring.
pub const EVENT_OFF: Bits = Bits::new(0, 15);
/// Within [`EventSuppress::desc`], `desc_event_wrap`: the ring wrap counter when that descriptor is meant.
pub const EVENT_WRAP: Bits = EVENT_OFF.then(1);
/// Within [`EventSuppress::flags`], `desc_event_flags`: [`EventFlags`].
pub const EVENT_FLAGS: Bits = Bits::new(0, 2);

/// The largest queue size, which need not be a power of 2.
pub const MAX_QUEUE_SIZE: u16 = 1 << 15;

/// Alignment of the descriptor ring in bytes (`drv:packed:packed-virtqueues:01`).
pub const DESC_ALIGN: u64 = 16;
/// Alignment of both event suppression structures in bytes.
pub const EVENT_ALIGN: u64 = 4;

/// Size of the descriptor ring in bytes.
pub const fn desc_size(queue_size: u16) -> u64 {
    16 * queue_size as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_fields_fill_their_words() {
        assert_eq!(
            (EVENT_OFF.mask(), EVENT_WRAP.mask(), EVENT_FLAGS.mask()),
            (0x7fff, 0x8000, 3)
        );
    }

    #[test]
    fn flags_shared_with_split_virtqueues_agree() {
        use crate::split::DescFlags as Split;
        for (flag, name) in Split::ALL {
            assert!(DescFlags::ALL.contains(&(DescFlags(flag.0), name)));
        }
    }
}
