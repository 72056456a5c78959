//! Traditional memory balloon device (section 5.5): takes memory from the guest and gives it back.
//!
//! The buffers of the inflate and deflate virtqueues are arrays of [`Le32`] page numbers, those of the statistics
//! virtqueue arrays of [`Stat`], the device-readable ones of free page hinting a single [`Le32`], which is a
//! [`CmdId`]. Hinted and reported pages are themselves the device-writable buffers.
//!
//! On a legacy interface the configuration space stays little-endian, unlike that of other devices; statistics and
//! command ids are in the guest's byte order.

use crate::data::{Le16, Le32, Le64};
use crate::{DeviceType, Features};

/// The traditional memory balloon device, id 5.
pub const DEVICE: DeviceType = DeviceType {
    id: 5,
    name: "balloon",
    title: "Traditional Memory Balloon Device",
    transitional_pci_id: Some(0x1002),
    queues: &["inflateq", "deflateq", "statsq", "free_page_vq", "reporting_vq"],
    features: features::ALL,
    config_size: size_of::<Config>(),
};

features! {
    /// The driver has to tell the device before it uses pages of the balloon.
    MUST_TELL_HOST = 0;
    /// The device has a virtqueue for memory statistics.
    STATS_VQ = 1;
    /// The driver may take pages back when the guest is out of memory.
    DEFLATE_ON_OOM = 2;
    /// The device has a virtqueue for hints of free pages.
    FREE_PAGE_HINT = 3;
    /// The driver fills deflated pages with `poison_val`.
    PAGE_POISON = 4;
    /// The device has a virtqueue for reports of free pages.
    PAGE_REPORTING = 5;
}

/// Index of the virtqueue by which pages go into the balloon.
pub const INFLATEQ: u16 = 0;

/// Index of the virtqueue by which pages leave the balloon.
pub const DEFLATEQ: u16 = 1;

/// Index of the virtqueue of memory statistics; only with [`features::STATS_VQ`].
pub const STATSQ: u16 = 2;

/// Index of the virtqueue of free page hints; only with [`features::FREE_PAGE_HINT`].
pub const FREE_PAGE_VQ: u16 = 3;

/// Index of the virtqueue of free page reports; only with [`features::PAGE_REPORTING`].
pub const REPORTING_VQ: u16 = 4;

/// Index of a virtqueue where only those that exist are counted, given the document's index of it.
///
/// Section 5.5.2 gives the three optional virtqueues fixed indices and says of each that it may not exist. Linux and
/// QEMU read that as: later ones move up, so without [`features::STATS_VQ`] `free_page_vq` is 2. Whoever has to work
/// with them needs this index; others keep to the document's. `features` are those that decide which virtqueues exist.
pub const fn contiguous_index(features: Features, index: u16) -> u16 {
    let mut moved = index;
    if index > STATSQ && !features.contains(features::STATS_VQ) {
        moved -= 1;
    }
    if index > FREE_PAGE_VQ && !features.contains(features::FREE_PAGE_HINT) {
        moved -= 1;
    }
    moved
}

/// Bytes of a page of the balloon, whatever the guest's page size: addresses are divided by this (section 5.5.6).
pub const PAGE_SIZE: u64 = 4096;

wire! {
    /// Configuration space, `struct virtio_balloon_config` (section 5.5.4).
    pub struct Config {
        /// Pages that the device wants in the balloon.
        pub num_pages: Le32,
        /// Pages that are in the balloon; written by the driver.
        pub actual: Le32,
        /// With `FREE_PAGE_HINT`: the current [`CmdId`].
        pub free_page_hint_cmd_id: Le32,
        /// With `PAGE_POISON`: what the driver fills free pages with; written by the driver.
        pub poison_val: Le32,
    }

    /// One statistic, `struct virtio_balloon_stat` (section 5.5.6.3).
    pub struct Stat {
        /// A [`StatTag`].
        pub tag: Le16,
        /// Its value, in the unit of the tag.
        pub val: Le64,
    }
}

layout!(Config, 16, num_pages @ 0, actual @ 4, free_page_hint_cmd_id @ 8, poison_val @ 12);
// drv:balloon:memory-statistics:05 wants buffers of a multiple of 6 bytes. The entries are said to have 10 bytes, and
// the structure is packed: 10 it is.
layout!(Stat, 10, tag @ 0, val @ 2);

constants! {
    /// Which statistic (section 5.5.6.4), the `VIRTIO_BALLOON_S_` values; amounts of memory are in bytes.
    pub StatTag: u16 {
        /// Memory swapped in.
        SWAP_IN = 0,
        /// Memory swapped out to disk.
        SWAP_OUT = 1,
        /// Number of major page faults.
        MAJFLT = 2,
        /// Number of minor page faults.
        MINFLT = 3,
        /// Memory not used for anything.
        MEMFREE = 4,
        /// All memory.
        MEMTOT = 5,
        /// Memory available to new applications without swapping.
        AVAIL = 6,
        /// Memory that can be reclaimed quickly without I/O.
        CACHES = 7,
        /// Number of successful huge page allocations.
        HTLB_PGALLOC = 8,
        /// Number of failed huge page allocations.
        HTLB_PGFAIL = 9,
    }

    /// Command id of free page hinting (section 5.5.6.5), the `VIRTIO_BALLOON_CMD_ID_` values; 2 and above name a
    /// round of hinting.
    pub CmdId: u32 {
        /// Stop hinting, and keep the hinted pages.
        STOP = 0,
        /// Stop hinting, and release the hinted pages to the guest.
        DONE = 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_virtqueues_move_up_where_only_existing_ones_count() {
        use features::*;
        let indices =
            |set| [INFLATEQ, DEFLATEQ, STATSQ, FREE_PAGE_VQ, REPORTING_VQ].map(|i| contiguous_index(set, i));
        assert_eq!(
            indices(STATS_VQ | FREE_PAGE_HINT | PAGE_REPORTING),
            [0, 1, 2, 3, 4]
        );
        assert_eq!(contiguous_index(FREE_PAGE_HINT | PAGE_REPORTING, FREE_PAGE_VQ), 2);
        assert_eq!(contiguous_index(FREE_PAGE_HINT | PAGE_REPORTING, REPORTING_VQ), 3);
        assert_eq!(contiguous_index(STATS_VQ | PAGE_REPORTING, REPORTING_VQ), 3);
        assert_eq!(contiguous_index(PAGE_REPORTING, REPORTING_VQ), 2);
    }
}
