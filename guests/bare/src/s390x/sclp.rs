//! The service-call interface, as far as a console needs it.

use core::arch::asm;
use core::cell::UnsafeCell;

use super::lowcore;

const WRITE_EVENT_DATA: u32 = 0x0076_0005;
const WRITE_EVENT_MASK: u32 = 0x0078_0005;

/// The event of text for an ASCII console, and its bit in masks of events.
const ASCII_CONSOLE: u8 = 0x1a;
const ASCII_CONSOLE_MASK: u32 = 1 << (32 - ASCII_CONSOLE);

/// Lengths of the headers of a block and of an event, and of the text that one event takes here.
const HEADER: usize = 8;
const EVENT_HEADER: usize = 6;
const TEXT: usize = 1024;

/// The external interruption of this interface.
const SERVICE_SIGNAL: u16 = 0x2401;
const SERVICE_SIGNAL_SUBCLASS: u64 = 0x200;

/// A block, which lies within one page.
#[repr(C, align(4096))]
struct Block(UnsafeCell<[u8; HEADER + EVENT_HEADER + TEXT]>);

// SAFETY: there is one thread, and only `call` uses it.
unsafe impl Sync for Block {}

static BLOCK: Block = Block(UnsafeCell::new([0; HEADER + EVENT_HEADER + TEXT]));

/// Gets the interface ready to take text. For the entry point.
pub(super) fn begin() {
    let control = [SERVICE_SIGNAL_SUBCLASS];
    // SAFETY: control register 0 has this and no other external interruption on, and `wait` alone lets them in.
    unsafe { asm!("lctlg %c0, %c0, 0({})", in(reg_addr) &raw const control, options(nostack, readonly)) }
    let mut request = [0; 20];
    request[2..4].copy_from_slice(&4u16.to_be_bytes());
    request[4..8].copy_from_slice(&ASCII_CONSOLE_MASK.to_be_bytes());
    request[8..12].copy_from_slice(&ASCII_CONSOLE_MASK.to_be_bytes());
    call(WRITE_EVENT_MASK, &[&request]);
}

/// Sends text to the console.
pub(super) fn write(text: &[u8]) {
    for part in text.chunks(TEXT) {
        let mut header = [0; EVENT_HEADER];
        header[..2].copy_from_slice(&((EVENT_HEADER + part.len()) as u16).to_be_bytes());
        header[2] = ASCII_CONSOLE;
        call(WRITE_EVENT_DATA, &[&header, part]);
    }
}

/// Calls the service `command` with a block of these parts, and waits until it is done.
fn call(command: u32, parts: &[&[u8]]) {
    let length = HEADER + parts.iter().map(|part| part.len()).sum::<usize>();
    // SAFETY: there is one thread, the last call is done, and no other reference is there.
    let block = unsafe { &mut *BLOCK.0.get() };
    block[..HEADER].fill(0);
    block[..2].copy_from_slice(&(length as u16).to_be_bytes());
    let mut rest = &mut block[HEADER..];
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    let mut condition: u64;
    loop {
        // SAFETY: SERVICE CALL reads and writes nothing but the block, which the reference above is not used for any more.
        unsafe {
            asm!(".insn rre, 0xb2200000, {command}, {block}", "ipm {condition}",
                command = in(reg) u64::from(command), block = in(reg) BLOCK.0.get(), condition = out(reg) condition,
                options(nostack));
        }
        match condition >> 28 & 3 {
            0 => return wait(),
            // Busy: with what came before.
            2 => {}
            // There is no such interface, and nobody to be told.
            _ => return,
        }
    }
}

/// Waits until the service is done.
fn wait() {
    unsafe extern "C" {
        fn bare_wait_external();
    }
    loop {
        // SAFETY: it returns after the next external interruption, with all registers that a function preserves.
        unsafe { bare_wait_external() }
        if lowcore::external_code() == SERVICE_SIGNAL {
            return;
        }
    }
}
