//! What is looked at in every guest, and what there has to be.

use super::cells::{Cell, Engine};
use super::disks::GROWN_BYTES;

/// Checks of one subject.
pub struct Section {
    /// A word for it.
    pub name: &'static str,
    /// The name of each.
    pub checks: &'static [&'static str],
}

/// The section of what belongs to no other.
pub const GUEST: &str = "guest";

/// All of them.
pub const SECTIONS: &[Section] = &[
    Section {
        name: GUEST,
        checks: &["kernel", "end"],
    },
    Section {
        name: "sysfs",
        checks: &[
            "virtqueues",
            "serial",
            "logical and physical block",
            "min and opt I/O, alignment",
            "discard max and granularity",
            "write zeroes max",
            "read-only",
            "cache",
            "cache set to write through",
            "cache set to write back",
        ],
    },
    Section {
        name: "discard",
        checks: &[
            "virtqueues",
            "blkdiscard",
            "blocks freed by blkdiscard",
            "zeroes after it",
            "fallocate --punch-hole",
            "blocks freed by --punch-hole",
            "zeroes after that",
            "errors in the log",
        ],
    },
    Section {
        name: "zeroes",
        checks: &[
            "virtqueues",
            "blkdiscard --zeroout",
            "zeroes after it",
            "fallocate --zero-range",
            "zeroes after that",
            "zeroes in the image",
            "errors in the log",
        ],
    },
    Section {
        name: "ext4",
        checks: &[
            "virtqueues",
            "mkfs.ext4",
            "mount",
            "fio --verify",
            "umount",
            "e2fsck -f -n",
            "e2fsck of the image, on the host",
            "fstrim",
            "blocks freed by fstrim",
            "e2fsck after fstrim",
            "content on the host",
            "errors in the log",
        ],
    },
    Section {
        name: "resize",
        checks: &[
            "virtqueues",
            "size in sectors",
            "the new end holds data",
            "errors in the log",
        ],
    },
    Section {
        name: "readonly",
        checks: &[
            "virtqueues",
            "ro in sysfs",
            "writes are refused",
            "content on the host",
            "image unchanged",
        ],
    },
    Section {
        name: "zoned",
        checks: &[
            "virtqueues",
            "model",
            "zones in sysfs",
            "blkzone report",
            "blkzone capacity",
            "blkzone open",
            "state after open",
            "blkzone close",
            "state after close",
            "a write beside the write pointer",
            "blkzone finish",
            "state after finish",
            "blkzone reset",
            "state after reset",
            "fio --zonemode=zbd",
            "mkzonefs",
            "mount of zonefs",
            "files of zonefs",
            "size after three writes",
            "read back from zonefs",
            "size after truncation",
        ],
    },
    Section {
        name: "qcow2",
        checks: &[
            "virtqueues",
            "content of the backing file",
            "fio --verify",
            "blkdiscard",
            "blkdiscard --zeroout",
            "zeroes after it",
            "errors in the log",
            "content on the host",
            "qemu-img check",
            "backing file unchanged",
        ],
    },
    Section {
        name: "nbd-qemu",
        checks: NBD,
    },
    Section {
        name: "nbd-nbdkit",
        checks: NBD,
    },
];

const NBD: &[&str] = &[
    "virtqueues",
    "fio --verify, server killed",
    "kills under load",
    "errors in the log",
    "content on the host",
];

/// What the guest has to see, where that is not for the host to find out. `None` if any value will do.
pub fn expected(cell: &Cell, section: &str, check: &str) -> Option<String> {
    let value = match (section, check) {
        (_, "virtqueues") => return Some(format!("{}, {}", cell.ring(), cell.queues)),
        (_, "errors in the log") => "",
        ("sysfs", "serial") => "main",
        ("sysfs", "logical and physical block") => "512 4096",
        ("sysfs", "min and opt I/O, alignment") => "8192 65536 0",
        // Later kernels make it a physical block at least.
        ("sysfs", "discard max and granularity") if cell.engine == Engine::Uml("6.1") => "536870912 512",
        ("sysfs", "discard max and granularity") => "536870912 4096",
        ("sysfs", "write zeroes max") => "536870912",
        ("sysfs", "read-only") => "0",
        ("sysfs", "cache") => "write back",
        ("sysfs", "cache set to write through") => "write through, write through",
        ("sysfs", "cache set to write back") => "write back, write back",
        ("resize", "size in sectors") => return Some((GROWN_BYTES / 512).to_string()),
        ("readonly", "ro in sysfs") => "1",
        ("zoned", "model") => "host-managed",
        ("zoned", "zones in sysfs") => "16 of 8192 sectors, open 4, active 6",
        ("zoned", "blkzone report") => "4 1 nw 12 2 em",
        ("zoned", "blkzone capacity") => "0x00001a000",
        ("zoned", "state after open") => "oe",
        ("zoned", "state after close") => "cl",
        ("zoned", "state after finish") => "fu",
        ("zoned", "state after reset") => "em",
        // The first zone has the superblock.
        ("zoned", "files of zonefs") => "3 and 12",
        ("zoned", "size after three writes") => "196608",
        ("zoned", "size after truncation") => "0",
        _ => return None,
    };
    Some(value.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guest_has_a_part_for_every_section() {
        let script = include_str!("guest.sh");
        for section in SECTIONS.iter().filter(|section| section.name != GUEST) {
            let function = format!("section_{}()", section.name.replace('-', "_"));
            assert!(script.contains(&function), "{function}");
        }
    }

    #[test]
    fn no_check_is_there_twice() {
        for section in SECTIONS {
            for (place, check) in section.checks.iter().enumerate() {
                assert!(!section.checks[..place].contains(check), "{check}");
            }
        }
    }
}
