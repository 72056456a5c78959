//! The interrupt controller, a GICv2, and the frame of registers that makes messages its interrupts, a GICv2m.

use core::arch::asm;

use dtoolkit::Node;
use dtoolkit::fdt::{Fdt, FdtNode};
use dtoolkit::standard::NodeStandard;
use ringwright_driver::transport::pci::{Message, Messages};
use ringwright_memory::{MappedRegisters, NoRegister, Width};

/// Registers of the distributor.
const GICD_CTLR: u64 = 0;
const GICD_ISENABLER: u64 = 0x100;
const GICD_ITARGETSR: u64 = 0x800;
const GICD_ICFGR: u64 = 0xc00;

/// Registers of the processor's interface.
const GICC_CTLR: u64 = 0;
const GICC_PMR: u64 = 0x4;
const GICC_IAR: u64 = 0xc;
const GICC_EOIR: u64 = 0x10;

/// Registers of the frame.
const MSI_TYPER: u64 = 0x8;
const MSI_SETSPI_NS: u64 = 0x40;

/// From here on, what GICC_IAR reads as is no interrupt.
const SPECIAL: u32 = 1020;

/// Messages in use.
const MESSAGES: u16 = 16;

/// The messages of the first processor, looked at now and then.
pub(crate) struct Controller {
    interface: MappedRegisters,
    /// Where messages go.
    address: u64,
    /// The interrupt of vector 0.
    first: u32,
    /// A bit for each message that has come.
    come: u32,
}

impl Controller {
    /// The one that the device tree has; `None` if there is none.
    pub fn find(tree: Fdt<'static>) -> Option<Self> {
        let gic = tree
            .root()
            .children()
            .find(|node| node.is_compatible("arm,cortex-a15-gic"))?;
        let frame = gic
            .children()
            .find(|node| node.is_compatible("arm,gic-v2m-frame"))?;
        let (address, length) = place(frame, 0)?;
        let frame = registers(address, length)?;
        let distributor = place(gic, 0).and_then(|(address, length)| registers(address, length))?;
        let interface = place(gic, 1).and_then(|(address, length)| registers(address, length))?;
        let first = frame.read(MSI_TYPER, Width::Four).ok()? >> 16 & 0x3ff;
        let mut controller = Self {
            interface,
            address: address + MSI_SETSPI_NS,
            first,
            come: 0,
        };
        controller.enable(&distributor).ok()?;
        controller.collect().ok()?;
        controller.come = 0;
        Some(controller)
    }

    fn enable(&self, distributor: &MappedRegisters) -> Result<(), NoRegister> {
        for interrupt in (self.first..self.first + u32::from(MESSAGES)).map(u64::from) {
            distributor.write(GICD_ITARGETSR + interrupt, Width::One, 1)?;
            let edge = GICD_ICFGR + interrupt / 16 * 4;
            let before = distributor.read(edge, Width::Four)?;
            distributor.write(edge, Width::Four, before | 2 << (interrupt % 16 * 2))?;
            distributor.write(
                GICD_ISENABLER + interrupt / 32 * 4,
                Width::Four,
                1 << (interrupt % 32),
            )?;
        }
        distributor.write(GICD_CTLR, Width::Four, 1)?;
        self.interface.write(GICC_PMR, Width::Four, 0xff)?;
        self.interface.write(GICC_CTLR, Width::Four, 1)
    }

    /// Acknowledges all messages that have come.
    fn collect(&mut self) -> Result<(), NoRegister> {
        loop {
            let acknowledged = self.interface.read(GICC_IAR, Width::Four)?;
            let interrupt = acknowledged & 0x3ff;
            if interrupt >= SPECIAL {
                return Ok(());
            }
            self.interface.write(GICC_EOIR, Width::Four, acknowledged)?;
            if let Some(number) = interrupt.checked_sub(self.first).filter(|number| *number < 32) {
                self.come |= 1 << number;
            }
        }
    }
}

impl Messages for Controller {
    fn message(&mut self, vector: u16) -> Option<Message> {
        (vector < MESSAGES).then_some(Message {
            address: self.address,
            data: self.first + u32::from(vector),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        // The only refusals are of registers that there are not.
        let _ = self.collect();
        let bit = 1 << vector;
        let come = self.come & bit != 0;
        self.come &= !bit;
        come
    }
}

/// Waits for a message that has not been acknowledged.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: the processor goes on when an interrupt is pending, though it is masked.
    unsafe { asm!("wfi", options(nomem, nostack)) }
}

/// Address and length of an entry of `reg`.
fn place(node: FdtNode<'_>, index: usize) -> Option<(u64, u64)> {
    let entry = node.reg().ok()??.nth(index)?;
    Some((entry.address().ok()?, entry.size().ok()?))
}

fn registers(address: u64, length: u64) -> Option<MappedRegisters> {
    // SAFETY: the device tree says that they are there. An interrupt controller does not write to memory.
    unsafe { crate::memory::registers(address, length) }
}
