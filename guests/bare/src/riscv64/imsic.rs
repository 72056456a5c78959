//! The hart's own interrupt controller for messages, an IMSIC (the RISC-V Advanced Interrupt Architecture).

use core::arch::asm;

use dtoolkit::fdt::Fdt;
use dtoolkit::standard::NodeStandard;
use dtoolkit::{Node, Property};
use ringwright_driver::transport::pci::{Message, Messages};

/// Numbers of indirect registers: whether messages are delivered, the threshold, and which are enabled (the first 64).
const EIDELIVERY: usize = 0x70;
const EITHRESHOLD: usize = 0x72;
const EIE0: usize = 0xc0;

/// The interrupt of a hart by which supervisor mode hears of external interrupts.
const SUPERVISOR_EXTERNAL: u32 = 9;

/// Identities in use: from 1, which is that of vector 0.
const IDENTITIES: u16 = 16;

/// The messages of the first hart's supervisor mode, looked at now and then.
pub(crate) struct Controller {
    /// Where messages go.
    address: u64,
    /// A bit for each identity that has come.
    come: u64,
}

impl Controller {
    /// The one that the device tree has; `None` if there is none.
    pub fn find(tree: Fdt<'static>) -> Option<Self> {
        let soc = tree.find_node("/soc")?;
        let node = soc.children().find(|node| {
            let above = node.property("interrupts-extended");
            let cells = above
                .as_ref()
                .and_then(|above| above.value().get(4..8)?.try_into().ok());
            node.is_compatible("riscv,imsics") && cells.map(u32::from_be_bytes) == Some(SUPERVISOR_EXTERNAL)
        });
        let address = node?.reg().ok()??.next()?.address().ok()?;
        let mut imsic = Self { address, come: 0 };
        write_indirect(EIE0, ((1 << IDENTITIES) - 1) << 1);
        write_indirect(EITHRESHOLD, 0);
        write_indirect(EIDELIVERY, 1);
        imsic.collect();
        imsic.come = 0;
        // SAFETY: sie lets in external interrupts, once sstatus lets in any: until then they only end waiting.
        unsafe { asm!("csrs sie, {}", in(reg) 1 << SUPERVISOR_EXTERNAL, options(nomem, nostack)) }
        Some(imsic)
    }

    /// Claims all messages that have come.
    fn collect(&mut self) {
        loop {
            let top: u64;
            // SAFETY: CSR stopei has the identity in the upper half, 0 if none is pending; writing it claims that one.
            unsafe { asm!("csrrw {}, 0x15c, zero", out(reg) top, options(nomem, nostack)) }
            match top >> 16 {
                0 => return,
                identity => self.come |= 1 << identity,
            }
        }
    }
}

impl Messages for Controller {
    fn message(&mut self, vector: u16) -> Option<Message> {
        (vector < IDENTITIES).then_some(Message {
            address: self.address,
            data: u32::from(vector) + 1,
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        self.collect();
        let bit = 1u64 << (vector + 1);
        let come = self.come & bit != 0;
        self.come &= !bit;
        come
    }
}

/// Waits for a message that has not been claimed.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: the hart goes on when an interrupt is pending that sie lets in.
    unsafe { asm!("wfi", options(nomem, nostack)) }
}

/// Writes the indirect register `number`.
fn write_indirect(number: usize, value: u64) {
    // SAFETY: siselect and sireg are there if the device tree has an IMSIC; it is no memory.
    unsafe {
        asm!("csrw 0x150, {}", "csrw 0x151, {}", in(reg) number, in(reg) value, options(nomem, nostack));
    }
}
