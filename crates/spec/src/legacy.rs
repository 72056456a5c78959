//! Legacy interfaces (section 1.3.1), as far as they concern device types.

use core::ops::Range;

/// Where the integers of a device type's configuration space are that legacy interfaces present in the guest's byte order
/// instead of little-endian (section 2.5.3); none for a device type without a legacy interface. The balloon device has
/// one, but stays little-endian (section 5.5.4.1).
pub const fn config_integers(device_id: u32) -> &'static [Range<usize>] {
    match device_id {
        1 => NETWORK,
        2 => BLOCK,
        3 => CONSOLE,
        8 => SCSI,
        _ => &[],
    }
}

/// Of [`network::Config`](crate::network::Config): `status`, `max_virtqueue_pairs`, `mtu`, `speed`,
/// `rss_max_indirection_table_length`, `supported_hash_types`, `supported_tunnel_types`.
const NETWORK: &[Range<usize>] = &[6..8, 8..10, 10..12, 12..16, 18..20, 20..24, 24..28];

/// Of [`block::Config`](crate::block::Config), up to `num_queues`: `capacity`, `size_max`, `seg_max`,
/// `geometry.cylinders`, `blk_size`, `topology.min_io_size`, `topology.opt_io_size`, `num_queues`; then the limits of
/// discard, write zeroes and secure erase requests. The zones are not for legacy devices.
const BLOCK: &[Range<usize>] = &[
    0..8,
    8..12,
    12..16,
    16..18,
    20..24,
    26..28,
    28..32,
    34..36,
    36..40,
    40..44,
    44..48,
    48..52,
    52..56,
    60..64,
    64..68,
    68..72,
];

/// Of [`console::Config`](crate::console::Config): all.
const CONSOLE: &[Range<usize>] = &[0..2, 2..4, 4..8, 8..12];

/// Of [`scsi::Config`](crate::scsi::Config): all.
const SCSI: &[Range<usize>] = &[
    0..4,
    4..8,
    8..12,
    12..16,
    16..20,
    20..24,
    24..28,
    28..30,
    30..32,
    32..36,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Layout;

    /// Every integer of the table is a field of the structure, and every field of more than one byte is in the table,
    /// except those that are no integers.
    fn check(layout: Layout, device_id: u32, others: &[&str]) {
        let integers = config_integers(device_id);
        for field in layout.fields.iter().filter(|field| field.size > 1) {
            let place = field.offset..field.offset + field.size;
            let other = others.contains(&field.name);
            assert_ne!(integers.contains(&place), other, "{}.{}", layout.name, field.name);
        }
    }

    #[test]
    fn integers_are_fields() {
        check(crate::network::Config::LAYOUT, 1, &["mac"]);
        let others = ["geometry", "topology", "unused1", "zoned"];
        check(crate::block::Config::LAYOUT, 2, &others);
        check(crate::console::Config::LAYOUT, 3, &[]);
        check(crate::scsi::Config::LAYOUT, 8, &[]);
        // Of structures within the block device's, `cylinders`, `min_io_size` and `opt_io_size`.
        let geometry = core::mem::offset_of!(crate::block::Config, geometry);
        let topology = core::mem::offset_of!(crate::block::Config, topology);
        for place in [
            geometry..geometry + 2,
            topology + 2..topology + 4,
            topology + 4..topology + 8,
        ] {
            assert!(BLOCK.contains(&place));
        }
        assert!(config_integers(5).is_empty() && config_integers(26).is_empty());
    }
}
