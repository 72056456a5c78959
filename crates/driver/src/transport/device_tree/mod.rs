//! What a flattened device tree says of where devices are (feature `device-tree`).

mod pci;

use alloc::vec::Vec;

use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::{NodeStandard, Status};
use dtoolkit::{Node, Property};
use thiserror::Error;

pub use self::pci::{PciHost, PciRange, pci_hosts};

/// Nodes within each other; deeper ones are not looked at.
const DEPTH: usize = 32;

/// Memory-mapped registers of a virtio device, or a placeholder for one (section 4.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mmio {
    /// Physical address of the registers.
    pub address: u64,
    /// Their length in bytes.
    pub length: u64,
    /// The cells of property `interrupts`, which the interrupt controller gives a meaning.
    pub interrupts: Vec<u32>,
}

/// The bytes are no flattened device tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("no flattened device tree")]
pub struct NoDeviceTree;

/// The nodes of `tree`, a flattened device tree, that are compatible with "virtio,mmio" and not disabled. Of those whose
/// properties are no good nothing is said.
pub fn mmio(tree: &[u8]) -> Result<Vec<Mmio>, NoDeviceTree> {
    let mut found = Vec::new();
    walk(tree, |node, to_root| {
        let node = Some(node).filter(|node| node.is_compatible("virtio,mmio"))?;
        let register = node.reg().ok()??.next()?;
        let (address, length) = (register.address().ok()?, register.size().ok()?);
        found.push(Mmio {
            address: to_root(address, length)?,
            length,
            interrupts: cells(node, "interrupts"),
        });
        Some(())
    })?;
    Ok(found)
}

/// The physical address of a range of so many bytes at such an address on some bus.
type ToRoot<'a> = &'a dyn Fn(u64, u64) -> Option<u64>;

/// Shows every node that is not disabled, and how its `reg` addresses translate. What `visit` returns is for its own use
/// of `?`.
fn walk(
    tree: &[u8],
    mut visit: impl FnMut(FdtNode<'_>, ToRoot<'_>) -> Option<()>,
) -> Result<(), NoDeviceTree> {
    let tree = Fdt::new(tree).map_err(|_| NoDeviceTree)?;
    descend(tree.root(), &|address, _| Some(address), DEPTH, &mut visit);
    Ok(())
}

/// The cells of a property.
fn cells(node: FdtNode<'_>, name: &str) -> Vec<u32> {
    let property = node.property(name);
    let value = property.as_ref().map_or(&[][..], |property| property.value());
    let cells = value.as_chunks().0.iter();
    cells.map(|cell| u32::from_be_bytes(*cell)).collect()
}

fn descend(
    node: FdtNode<'_>,
    to_root: ToRoot<'_>,
    depth: usize,
    visit: &mut dyn FnMut(FdtNode<'_>, ToRoot<'_>) -> Option<()>,
) {
    if depth == 0 {
        return;
    }
    for child in node.children() {
        if !matches!(child.status(), Ok(Status::Okay)) {
            continue;
        }
        visit(child, to_root);
        let through_child = |address, length| to_root(to_parent(child, address, length)?, length);
        descend(child, &through_child, depth - 1, visit);
    }
}

/// The address on the bus above `bus` of `length` bytes at `address` on it: the same where `ranges` is empty, none where
/// there is no `ranges`.
fn to_parent(bus: FdtNode<'_>, address: u64, length: u64) -> Option<u64> {
    let mut ranges = bus.ranges().ok()??.peekable();
    if ranges.peek().is_none() {
        return Some(address);
    }
    ranges.find_map(|range| {
        let offset = address.checked_sub(range.child_bus_address().ok()?)?;
        let room = range.length::<u64>().ok()?.checked_sub(offset)?;
        let above: u64 = range.parent_bus_address().ok()?;
        (length <= room).then_some(above.checked_add(offset)?)
    })
}

#[cfg(test)]
mod tests;
