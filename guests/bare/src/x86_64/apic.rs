//! The processor's own interrupt controller, the local APIC, which messages are written to.

use core::arch::asm;
use core::sync::atomic::{AtomicU32, Ordering};

use ringwright_driver::transport::pci::{Message, Messages};
use ringwright_memory::{MappedRegisters, Width};

use super::device;

/// Where its registers are after a reset, and where messages go.
const ADDRESS: usize = 0xfee0_0000;

/// Registers.
const ID: u64 = 0x20;
const SPURIOUS: u64 = 0xf0;

/// In the register for spurious interrupts: the APIC is on. Their vector is 255.
const ON: u32 = 1 << 8 | 255;

/// Where the controllers are that came before it. The second port of each is its mask.
const OLD_CONTROLLERS: [u16; 2] = [0x20, 0xa0];

/// The processor's vector for vector 0 of a device. The handlers are in the assembly of the entry point.
const FIRST: u32 = 0x40;
const MESSAGES: u16 = 16;

/// A bit for each message that has come, set by its handler.
#[unsafe(no_mangle)]
static bare_messages: AtomicU32 = AtomicU32::new(0);

/// The messages of this processor.
pub(super) struct Apic {
    id: u32,
}

impl Apic {
    /// Turns it on; `None` if there is none.
    pub fn new() -> Option<Self> {
        // SAFETY: these are the registers of the local APIC, which is there on every PC and does not write to memory.
        let registers =
            unsafe { MappedRegisters::new(core::ptr::with_exposed_provenance_mut(ADDRESS), 0x1000) };
        registers.write(SPURIOUS, Width::Four, ON).ok()?;
        // The firmware has left the timer's interrupt on in the old controllers.
        for port in OLD_CONTROLLERS {
            device(port, 2).write(1, Width::One, 0xff).ok()?;
        }
        let id = registers.read(ID, Width::Four).ok()? >> 24;
        bare_messages.store(0, Ordering::Relaxed);
        Some(Self { id })
    }
}

impl Messages for Apic {
    fn message(&mut self, vector: u16) -> Option<Message> {
        (vector < MESSAGES).then_some(Message {
            address: ADDRESS as u64 | u64::from(self.id) << 12,
            data: FIRST + u32::from(vector),
        })
    }

    fn take(&mut self, vector: u16) -> bool {
        // What waits for interrupts to be let in comes now.
        // SAFETY: the handlers change nothing but the bits. Not `nostack`: the processor uses the stack.
        unsafe { asm!("sti", "nop", "cli") }
        let bit = 1 << vector;
        bare_messages.fetch_and(!bit, Ordering::Acquire) & bit != 0
    }
}

/// Waits for a message.
pub(crate) fn wait_for_interrupt() {
    // SAFETY: as in `take`; `hlt` ends with the next interrupt, which does not come between the two instructions.
    unsafe { asm!("sti", "hlt", "cli") }
}
