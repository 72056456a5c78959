//! What a PVH loader leaves for the program.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::CStr;

use ringwright_driver::transport::pci::Messages;
use ringwright_memory::MappedRegisters;

use super::apic::Apic;
use super::exceptions;
use super::pci::PciHost;
use crate::memory::registers;

/// `struct hvm_start_info`, as far as this program reads it.
#[repr(C)]
struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    modules: u32,
    module_list: u64,
    command_line: u64,
}

const MAGIC: u32 = 0x336e_c578;

/// What the loader left for the program.
pub struct Boot {
    command_line: &'static str,
}

/// `argument` is the address of the start information.
pub(crate) fn boot(argument: usize) -> Boot {
    exceptions::begin();
    // SAFETY: a PVH loader passes the address of this structure, outside of the image, and nobody writes there.
    let info = unsafe { core::ptr::with_exposed_provenance::<StartInfo>(argument).as_ref() };
    let info = info.filter(|info| info.magic == MAGIC && info.command_line != 0);
    let command_line = info.map(|info| {
        let text = core::ptr::with_exposed_provenance(info.command_line as usize);
        // SAFETY: where it is not 0, it is the address of a string that ends with 0; as above.
        unsafe { CStr::from_ptr(text) }
    });
    let command_line = command_line.and_then(|text| text.to_str().ok());
    Boot {
        command_line: command_line.unwrap_or_default(),
    }
}

impl Boot {
    /// The command line.
    pub fn command_line(&self) -> &'static str {
        self.command_line
    }

    /// The registers of every memory-mapped virtio device that the command line names, in the way that Linux and the
    /// specification's note on discovery have: `virtio_mmio.device=LENGTH@ADDRESS:INTERRUPT`.
    pub fn virtio_mmio(&self) -> Vec<MappedRegisters> {
        let words = self.command_line.split_ascii_whitespace();
        let named = words.filter_map(|word| word.strip_prefix("virtio_mmio.device="));
        let place = |device: &str| {
            let (length, rest) = device.split_once('@')?;
            let address = rest.split(':').next()?.strip_prefix("0x")?;
            Some((u64::from_str_radix(address, 16).ok()?, length.parse().ok()?))
        };
        let registers = |(address, length)| {
            // SAFETY: whoever starts the machine says so.
            unsafe { registers(address, length) }
        };
        named.filter_map(place).filter_map(registers).collect()
    }

    /// Where the messages of a PCI function go. They end [`wait_for_interrupt`](crate::wait_for_interrupt).
    pub fn messages(&self) -> Option<Box<dyn Messages + Send>> {
        Some(Box::new(Apic::new()?))
    }

    /// The PCI host bridge. Where there is none, it leads to no functions.
    pub fn pci_hosts(&self) -> Vec<PciHost> {
        PciHost::new().into_iter().collect()
    }
}
