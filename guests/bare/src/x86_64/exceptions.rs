//! Where the processor goes for interrupts, and for what this program never does on purpose.

use core::arch::asm;
use core::cell::UnsafeCell;

use super::power_off;
use crate::{Failed, println};

/// Exceptions that there are, and messages that there are handlers for, with the bytes of the code for each.
const EXCEPTIONS: usize = 32;
const EXCEPTION_BYTES: usize = 16;
const MESSAGES: usize = 16;
const MESSAGE_BYTES: usize = 32;

/// The vector of the first message. The last vector is that of spurious interrupts.
const FIRST_MESSAGE: usize = 0x40;
const VECTORS: usize = 256;

/// The selector of the code segment.
const CODE: u64 = 8;

/// Present, and an interrupt gate.
const GATE: u64 = 0x8e00;

#[repr(align(16))]
struct Table(UnsafeCell<[[u64; 2]; VECTORS]>);

// SAFETY: it is written once, by `begin`, before the processor reads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([[0; 2]; VECTORS]));

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: *mut [[u64; 2]; VECTORS],
}

/// Has exceptions reported, and messages noted. For the entry point, once.
pub(super) fn begin() {
    unsafe extern "C" {
        safe static bare_exceptions: [[u8; EXCEPTION_BYTES]; EXCEPTIONS];
        safe static bare_message_handlers: [[u8; MESSAGE_BYTES]; MESSAGES];
        safe static bare_spurious_handler: u8;
    }
    let mut entries = [[0; 2]; VECTORS];
    for (entry, code) in entries.iter_mut().zip(&bare_exceptions) {
        *entry = gate(code.as_ptr());
    }
    for (entry, code) in entries[FIRST_MESSAGE..].iter_mut().zip(&bare_message_handlers) {
        *entry = gate(code.as_ptr());
    }
    entries[VECTORS - 1] = gate(&raw const bare_spurious_handler);
    let table = TABLE.0.get();
    // SAFETY: this is done once, and nobody reads the table yet.
    unsafe { *table = entries };
    let pointer = Pointer {
        limit: (size_of::<[[u64; 2]; VECTORS]>() - 1) as u16,
        base: table,
    };
    // SAFETY: the table stays as it is now. Its entries lead to code that does not return, or returns and has changed
    // nothing but the bits for messages.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags, readonly)) }
}

fn gate(code: *const u8) -> [u64; 2] {
    let code = code.addr() as u64;
    let low = code & 0xffff | CODE << 16 | GATE << 32 | (code >> 16 & 0xffff) << 48;
    [low, code >> 32]
}

#[unsafe(no_mangle)]
extern "C" fn bare_trap(vector: usize, error: usize, address: usize, fault: usize) -> ! {
    println!("unexpected exception {vector}: error {error:#x} at {address:#x}, fault address {fault:#x}");
    power_off(Err(Failed))
}
