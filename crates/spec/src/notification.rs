//! Driver notifications (section 2.9): what an available buffer notification carries.

use crate::data::Bits;

/// Member `vq_index`, or `vq_notif_config_data` where `VIRTIO_F_NOTIF_CONFIG_DATA` is negotiated.
pub const VQ_INDEX: Bits = Bits::new(0, 16);
/// Member `next_off`.
pub const NEXT_OFF: Bits = VQ_INDEX.then(15);
/// Member `next_wrap`.
pub const NEXT_WRAP: Bits = NEXT_OFF.then(1);

/// The data of an available buffer notification when `VIRTIO_F_NOTIFICATION_DATA` is negotiated.
///
/// It is le32 on PCI and MMIO, be32 on CCW; this is the integer's value, which has the same members for both. Without
/// that feature a notification carries the virtqueue index (or `vq_notif_config_data`) alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotificationData(pub u32);

impl NotificationData {
    /// The notification for a split virtqueue whose next entry of the available ring will get index `avail_idx`.
    pub const fn split(vq_index: u16, avail_idx: u16) -> Self {
        Self((avail_idx as u32) << 16 | vq_index as u32)
    }

    /// The notification for a packed virtqueue whose next descriptor will be written at offset `next_off` (15 bits)
    /// with the Driver Ring Wrap Counter `next_wrap` (`drv:packed:the-virtqueue-descriptor-table:03`).
    pub const fn packed(vq_index: u16, next_off: u16, next_wrap: bool) -> Self {
        let word = VQ_INDEX.set(0, vq_index as u64);
        let word = NEXT_OFF.set(word, next_off as u64);
        Self(NEXT_WRAP.set(word, next_wrap as u64) as u32)
    }

    /// The virtqueue index, or the `queue_notif_config_data` of the virtqueue.
    pub const fn vq_index(self) -> u16 {
        VQ_INDEX.get(self.0 as u64) as u16
    }

    /// Offset where the next descriptor of a packed virtqueue will be written; for a split one, the low 15 bits of
    /// the available index.
    pub const fn next_off(self) -> u16 {
        NEXT_OFF.get(self.0 as u64) as u16
    }

    /// The wrap counter that goes with [`Self::next_off`]; for a split virtqueue, bit 15 of the available index.
    pub const fn next_wrap(self) -> bool {
        NEXT_WRAP.get(self.0 as u64) != 0
    }

    /// The available index of a split virtqueue.
    pub const fn avail_idx(self) -> u16 {
        (self.0 >> 16) as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_by_format() {
        let split = NotificationData::split(3, 0x8005);
        assert_eq!(split.0, 0x8005_0003);
        assert_eq!(
            (split.vq_index(), split.next_off(), split.next_wrap()),
            (3, 5, true)
        );
        assert_eq!(split.avail_idx(), 0x8005);
        assert_eq!(NotificationData::packed(0xffff, 0x7fff, false).0, 0x7fff_ffff);
        assert_eq!(NotificationData::packed(0, 0, true).0, 0x8000_0000);
        assert!(!NotificationData::packed(1, 0xffff, false).next_wrap());
    }
}
