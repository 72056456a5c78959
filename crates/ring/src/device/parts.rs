//! The parts of a virtqueue as host memory.
//!
//! `unsafe` is needed here to make rings of them.

use ringwright_memory::{Access, Memory, Whole};
use ringwright_spec::{packed, split};

use crate::packed::PackedRing;
use crate::split::SplitRing;
use crate::words::{Host, Little};
use crate::{Format, Layout, SetupError};

/// The parts of one virtqueue.
pub(super) struct Parts {
    pub descriptors: Whole,
    pub driver: Whole,
    pub device: Whole,
}

impl Parts {
    /// Looks the parts up, each with the length that the format has for the queue size. `before` is what they were the last
    /// time.
    pub fn resolve(
        layout: &Layout,
        format: Format,
        memory: &Memory,
        before: Option<&Parts>,
    ) -> Result<Self, SetupError> {
        let size = layout.size;
        let (descriptors, driver, device) = match format {
            Format::Split => (
                (layout.descriptor_area, split::desc_size(size), 8, Access::Read),
                (
                    layout.driver_area,
                    split::avail_size(size),
                    split::AVAIL_ALIGN,
                    Access::Read,
                ),
                (
                    layout.device_area,
                    split::used_size(size),
                    split::USED_ALIGN,
                    Access::Write,
                ),
            ),
            Format::Packed => (
                (
                    layout.descriptor_area,
                    packed::desc_size(size),
                    8,
                    Access::ReadWrite,
                ),
                (layout.driver_area, 4, packed::EVENT_ALIGN, Access::Read),
                (layout.device_area, 4, packed::EVENT_ALIGN, Access::Write),
            ),
        };
        let part = |(address, length, align, access): (u64, u64, u64, Access), before: Option<&Whole>| {
            let whole = memory.resolve_whole(address, length as usize, access, before)?;
            // Where this end sees the region need not be as aligned as where the driver sees it.
            if !(whole.segment().pointer() as u64).is_multiple_of(align) {
                return Err(SetupError::Misaligned { address, align });
            }
            Ok(whole)
        };
        Ok(Self {
            descriptors: part(descriptors, before.map(|before| &before.descriptors))?,
            driver: part(driver, before.map(|before| &before.driver))?,
            device: part(device, before.map(|before| &before.device))?,
        })
    }

    /// The split ring of these parts.
    ///
    /// # Safety
    ///
    /// They were resolved as such for a legal layout of `size`, and they and their memory outlive the ring.
    pub unsafe fn split<const BIG_ENDIAN: bool>(&self, size: u16) -> SplitRing<Host<BIG_ENDIAN>> {
        let [descriptors, driver, device] =
            // SAFETY: `resolve` has checked lengths and alignments; the caller keeps the memory.
            self.pointers().map(|part| unsafe { Host::new(part) });
        // SAFETY: likewise; a legal split layout's size is a power of 2.
        unsafe { SplitRing::new(descriptors, driver, device, size) }
    }

    /// The packed ring of these parts.
    ///
    /// # Safety
    ///
    /// As for [`split`](Self::split).
    pub unsafe fn packed(&self, size: u16) -> PackedRing<Little> {
        let [descriptors, driver, device] =
            // SAFETY: as in `split`.
            self.pointers().map(|part| unsafe { Host::new(part) });
        // SAFETY: as in `split`.
        unsafe { PackedRing::new(descriptors, driver, device, size) }
    }

    fn pointers(&self) -> [*mut u8; 3] {
        [&self.descriptors, &self.driver, &self.device].map(|part| part.segment().pointer())
    }
}
