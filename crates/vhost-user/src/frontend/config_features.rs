//! The features that stand for a field of the configuration space. A front-end that cannot read that space has nothing to
//! give a driver that accepts one of them.

use ringwright_spec::{Features, block, console, network};

/// The features of a device of this type with which a driver reads or writes the configuration space. None of device
/// types of which no driver is known here.
pub(super) fn config_features(device_id: u32) -> Features {
    /// `struct virtio_net_config` (section 5.1.4).
    const NETWORK: Features = {
        use network::features::*;
        MAC.union(STATUS)
            .union(MQ)
            .union(MTU)
            .union(SPEED_DUPLEX)
            .union(RSS)
            .union(HASH_REPORT)
            .union(HASH_TUNNEL)
    };
    /// `struct virtio_blk_config` (section 5.2.4).
    const BLOCK: Features = {
        use block::features::*;
        SIZE_MAX
            .union(SEG_MAX)
            .union(GEOMETRY)
            .union(BLK_SIZE)
            .union(TOPOLOGY)
            .union(CONFIG_WCE)
            .union(MQ)
            .union(DISCARD)
            .union(WRITE_ZEROES)
            .union(SECURE_ERASE)
            .union(ZONED)
    };
    /// `struct virtio_console_config` (section 5.3.4).
    const CONSOLE: Features = {
        use console::features::*;
        SIZE.union(MULTIPORT).union(EMERG_WRITE)
    };
    match device_id {
        id if id == network::DEVICE.id => NETWORK,
        id if id == block::DEVICE.id => BLOCK,
        id if id == console::DEVICE.id => CONSOLE,
        _ => Features::NONE,
    }
}
