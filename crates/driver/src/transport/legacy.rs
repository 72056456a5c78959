//! Legacy interfaces: what they have in common.

use ringwright_ring::{ByteOrder, Layout};

use super::TransportError;

/// What a driver has to know of a legacy interface (the sections named so, and 2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Legacy {
    /// The guest's byte order: that of virtqueues, requests and the device configuration space.
    pub byte_order: ByteOrder,
    /// Whether virtqueues have the size that the device says, no smaller one (on PCI, section 4.1.5.1.3.1).
    pub fixed_queue_size: bool,
}

/// Page size and Queue Align of legacy virtqueues, in bytes: what PCI fixes, and what `DriverQueue` lays them out with.
pub(super) const PAGE_SIZE: u32 = ringwright_spec::pci::legacy::QUEUE_ALIGN;

/// The number of the first page of a legacy virtqueue, which is all that a device is told of its place
/// (section 2.7.2).
pub(super) fn first_page(layout: &Layout) -> Result<u32, TransportError> {
    let page = layout.page_frame_number(PAGE_SIZE).filter(|page| *page != 0);
    let page = page.ok_or(TransportError::Unsupported(
        "a legacy virtqueue at an address that is no page, or whose number does not fit 32 bits",
    ))?;
    match Layout::legacy(page, PAGE_SIZE, layout.size, PAGE_SIZE) == Some(*layout) {
        true => Ok(page),
        false => Err(TransportError::Unsupported(
            "a legacy virtqueue that is not in one piece",
        )),
    }
}
