//! The flattened device tree that a loader leaves in memory, and the devices that are in it.

use alloc::boxed::Box;
use alloc::vec::Vec;

use dtoolkit::fdt::Fdt;
use ringwright_driver::TransportError;
use ringwright_driver::transport::pci::{Ecam, Function, Messages, Region, configure};
use ringwright_driver::transport::{Registers, device_tree};
use ringwright_memory::MappedRegisters;

use crate::memory::registers;

/// What the loader left for the program.
pub struct Boot {
    tree: Option<Fdt<'static>>,
}

impl Boot {
    /// With the device tree at `address`, if there is one.
    ///
    /// # Safety
    ///
    /// If the memory at `address` begins like a device tree, it is this machine's, outside of the image, and nobody writes
    /// there.
    pub(crate) unsafe fn at(address: usize) -> Self {
        const MAGIC: u32 = 0xd00d_feed;
        let header = core::ptr::with_exposed_provenance::<u32>(address);
        // SAFETY: memory can be read; it is left alone if it does not begin like a device tree.
        if header.is_null() || !header.is_aligned() || u32::from_be(unsafe { header.read() }) != MAGIC {
            return Self { tree: None };
        }
        // SAFETY: the second word of a device tree is its length, and the caller promises it to be one that stays.
        let bytes = unsafe {
            let length = u32::from_be(header.add(1).read());
            core::slice::from_raw_parts(header.cast::<u8>(), length as usize)
        };
        Self {
            tree: Fdt::new(bytes).ok(),
        }
    }

    /// The device tree.
    pub fn device_tree(&self) -> Option<Fdt<'static>> {
        self.tree
    }

    /// The registers of every memory-mapped virtio device, and of placeholders for such devices.
    pub fn virtio_mmio(&self) -> Vec<MappedRegisters> {
        let found = self.tree.and_then(|tree| device_tree::mmio(tree.data()).ok());
        // SAFETY: the device tree says so.
        let registers = |at: &device_tree::Mmio| unsafe { registers(at.address, at.length) };
        found.unwrap_or_default().iter().filter_map(registers).collect()
    }

    /// Where the messages of a PCI function go, if there is an interrupt controller for messages that is known here. They
    /// end [`wait_for_interrupt`](crate::wait_for_interrupt).
    pub fn messages(&self) -> Option<Box<dyn Messages + Send>> {
        let controller = self.tree.and_then(crate::machine::Controller::find)?;
        Some(Box::new(controller))
    }

    /// The PCI host bridges.
    pub fn pci_hosts(&self) -> Vec<PciHost> {
        let found = self
            .tree
            .and_then(|tree| device_tree::pci_hosts(tree.data()).ok());
        let hosts = found.unwrap_or_default().into_iter();
        hosts.filter_map(PciHost::new).collect()
    }
}

/// A PCI host bridge, whose configuration spaces are in memory. No firmware has given anything an address.
pub struct PciHost {
    host: device_tree::PciHost,
    ecam: Ecam<MappedRegisters>,
}

impl PciHost {
    fn new(host: device_tree::PciHost) -> Option<Self> {
        // SAFETY: the device tree says that the configuration spaces are there. Nobody else configures functions, and only
        // drivers are given those of virtio devices.
        let registers = unsafe { registers(host.ecam, host.length) }?;
        let ecam = Ecam::new(registers, host.buses.clone());
        Some(Self { host, ecam })
    }

    /// The functions that there are, which this gives their addresses.
    pub fn functions(&self) -> Result<Vec<Function<impl Registers>>, TransportError> {
        configure(&self.ecam, *self.host.buses.start(), &mut self.host.windows())
    }

    /// The registers of a part of a virtio device's BAR.
    pub fn registers(&self, region: &Region) -> Option<Box<dyn Registers>> {
        let address = self.host.physical(region)?;
        // SAFETY: the device tree says that the bridge passes this on, and the device has been given what it passes on to.
        Some(Box::new(unsafe { registers(address, region.length) }?))
    }
}
