//! PCI host bridges.

use alloc::vec::Vec;
use core::ops::RangeInclusive;

use dtoolkit::fdt::FdtNode;
use dtoolkit::standard::NodeStandard;

use super::{NoDeviceTree, ToRoot, cells, walk};
use crate::transport::pci::{Region, Space, Window, Windows};

/// A PCI host bridge with the enhanced configuration access mechanism.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciHost {
    /// Physical address of the configuration spaces.
    pub ecam: u64,
    /// Their length in bytes.
    pub length: u64,
    /// The buses that they are for.
    pub buses: RangeInclusive<u8>,
    /// What the bridge passes on.
    pub ranges: Vec<PciRange>,
}

/// Addresses that a host bridge passes on to PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciRange {
    /// The address space on the bus.
    pub space: Space,
    /// Whether it is for registers with addresses of 64 bits.
    pub is_64_bit: bool,
    /// First address on the bus.
    pub bus_address: u64,
    /// Physical address of that.
    pub address: u64,
    /// Length in bytes.
    pub length: u64,
}

/// The nodes of `tree`, a flattened device tree, that are compatible with "pci-host-ecam-generic" and not disabled.
pub fn pci_hosts(tree: &[u8]) -> Result<Vec<PciHost>, NoDeviceTree> {
    let mut found = Vec::new();
    walk(tree, |node, to_root| {
        let node = Some(node).filter(|node| node.is_compatible("pci-host-ecam-generic"))?;
        found.push(host(node, to_root)?);
        Some(())
    })?;
    Ok(found)
}

impl PciHost {
    /// The addresses to give to base address registers.
    pub fn windows(&self) -> Windows {
        let window = |space, is_64_bit| {
            let mut ranges = self.ranges.iter();
            let range = ranges.find(|range| range.space == space && range.is_64_bit == is_64_bit)?;
            Window::new(range.bus_address, range.length)
        };
        Windows {
            io: window(Space::Io, false),
            memory: window(Space::Memory, false),
            prefetchable: window(Space::Memory, true),
        }
    }

    /// Physical address of a region of a BAR; `None` if the bridge does not pass it on.
    pub fn physical(&self, region: &Region) -> Option<u64> {
        let address = region.address?;
        self.ranges.iter().find_map(|range| {
            let offset = address.checked_sub(range.bus_address)?;
            let room = range.length.checked_sub(offset)?;
            let passes = range.space == region.space && region.length <= room;
            passes.then_some(range.address.checked_add(offset)?)
        })
    }
}

fn host(node: FdtNode<'_>, to_root: ToRoot<'_>) -> Option<PciHost> {
    let register = node.reg().ok()??.next()?;
    let (address, length) = (register.address().ok()?, register.size().ok()?);
    // The whole of them, if the node does not say.
    let buses = match cells(node, "bus-range")[..] {
        [first, last] => u8::try_from(first).ok()?..=u8::try_from(last).ok()?,
        _ => 0..=u8::MAX,
    };
    let ranges = node.ranges().ok()??.filter_map(|range| {
        let (bus, length) = (range.child_bus_address::<u128>().ok()?, range.length().ok()?);
        // The first of three cells tells the space.
        let (space, is_64_bit) = match bus >> (64 + 24) & 3 {
            1 => (Space::Io, false),
            2 => (Space::Memory, false),
            3 => (Space::Memory, true),
            _ => return None,
        };
        Some(PciRange {
            space,
            is_64_bit,
            bus_address: bus as u64,
            address: to_root(range.parent_bus_address().ok()?, length)?,
            length,
        })
    });
    Some(PciHost {
        ecam: to_root(address, length)?,
        length,
        buses,
        ranges: ranges.collect(),
    })
}
