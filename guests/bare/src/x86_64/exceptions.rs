//! What happens when the processor meets something that this program never does on purpose.

use core::arch::asm;
use core::cell::UnsafeCell;

use super::power_off;
use crate::{Failed, println};

/// Exceptions that there are, and bytes of the code for each.
const EXCEPTIONS: usize = 32;
const ENTRY_BYTES: usize = 16;

/// The selector of the code segment.
const CODE: u64 = 8;

/// Present, and an interrupt gate.
const GATE: u64 = 0x8e00;

#[repr(align(16))]
struct Table(UnsafeCell<[[u64; 2]; EXCEPTIONS]>);

// SAFETY: it is written once, by `begin`, before the processor reads it.
unsafe impl Sync for Table {}

static TABLE: Table = Table(UnsafeCell::new([[0; 2]; EXCEPTIONS]));

#[repr(C, packed)]
struct Pointer {
    limit: u16,
    base: *mut [[u64; 2]; EXCEPTIONS],
}

/// Has exceptions reported. For the entry point, once.
pub(super) fn begin() {
    unsafe extern "C" {
        safe static bare_exceptions: [[u8; ENTRY_BYTES]; EXCEPTIONS];
    }
    let table = TABLE.0.get();
    let entries = bare_exceptions.each_ref().map(|entry| {
        let code = entry.as_ptr().addr() as u64;
        let low = code & 0xffff | CODE << 16 | GATE << 32 | (code >> 16 & 0xffff) << 48;
        [low, code >> 32]
    });
    // SAFETY: this is done once, and nobody reads the table yet.
    unsafe { *table = entries };
    let pointer = Pointer {
        limit: (size_of::<[[u64; 2]; EXCEPTIONS]>() - 1) as u16,
        base: table,
    };
    // SAFETY: the table stays as it is now, and each entry leads to code that does not return.
    unsafe { asm!("lidt [{}]", in(reg) &raw const pointer, options(nostack, preserves_flags, readonly)) }
}

#[unsafe(no_mangle)]
extern "C" fn bare_trap(vector: usize, error: usize, address: usize, fault: usize) -> ! {
    println!("unexpected exception {vector}: error {error:#x} at {address:#x}, fault address {fault:#x}");
    power_off(Err(Failed))
}
