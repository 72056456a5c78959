//! Arm in 64-bit mode at EL1, on QEMU's `virt`.

mod gic;

use core::arch::{asm, global_asm};
use core::time::Duration;

use ringwright_memory::{MappedRegisters, NoRegister, Width};

use crate::{Boot, Failed, println};

pub(crate) use gic::{Controller, wait_for_interrupt};

global_asm!(include_str!("entry.s"));

/// Where QEMU puts the device tree for a program that is not Linux: at the beginning of memory.
const DEVICE_TREE: usize = 0x4000_0000;

/// The first serial port, a PL011 that needs no set-up.
const UART: usize = 0x0900_0000;

/// Semihosting: ends the emulator with a status.
const SYS_EXIT_EXTENDED: usize = 0x20;
const APPLICATION_EXIT: usize = 0x20026;

/// `argument` is the address of the device tree, if the loader passes it. The program ends here if `entry.s` has not mapped
/// memory as memory and devices as devices: an emulator runs it all the same, a processor would not.
pub(crate) fn boot(argument: usize) -> Boot {
    for (what, address, expected) in [
        ("memory", DEVICE_TREE, WRITE_BACK),
        ("the serial port", UART, DEVICE),
    ] {
        let attributes = attributes(address);
        if attributes != Some(expected) {
            println!("{what} is mapped with attributes {attributes:x?}, not {expected:#x}");
            power_off(Err(Failed));
        }
    }
    let address = if argument == 0 { DEVICE_TREE } else { argument };
    // SAFETY: the device tree is there or at the beginning of memory, which is outside of the image.
    unsafe { Boot::at(address) }
}

/// Attributes of addresses, as MAIR has them: device memory without gathering, reordering and early acknowledgement, and
/// normal memory with write-back caches.
const DEVICE: u8 = 0x00;
const WRITE_BACK: u8 = 0xff;

/// What the processor's own translation says of an address; `None` if it does not lead there.
fn attributes(address: usize) -> Option<u8> {
    const FAILED: u64 = 1;
    const PAGE: u64 = 0xf_ffff_ffff_f000;
    let result: u64;
    // SAFETY: only translates. With the MMU off, all is device memory.
    unsafe {
        asm!("at s1e1r, {}", "isb", "mrs {}, par_el1", in(reg) address, out(reg) result, options(nomem, nostack));
    }
    let leads_there = result & FAILED == 0 && result & PAGE == address as u64 & PAGE;
    leads_there.then_some((result >> 56) as u8)
}

pub(crate) fn write(text: &[u8]) {
    // The only refusals are of registers that there are not.
    let _ = write_serial(text);
}

fn write_serial(text: &[u8]) -> Result<(), NoRegister> {
    const DATA: u64 = 0;
    const FLAGS: u64 = 0x18;
    const TRANSMIT_FULL: u32 = 1 << 5;
    // SAFETY: the registers of the serial port are mapped there; it does not touch memory.
    let serial = unsafe { MappedRegisters::new(core::ptr::with_exposed_provenance_mut(UART), 0x1000) };
    for &byte in text {
        while serial.read(FLAGS, Width::Four)? & TRANSMIT_FULL != 0 {}
        serial.write(DATA, Width::Four, byte.into())?;
    }
    Ok(())
}

pub(crate) fn power_off(result: Result<(), Failed>) -> ! {
    let block = [APPLICATION_EXIT, usize::from(result.is_err())];
    // SAFETY: the emulator ends; if it has semihosting off, the processor traps, and `bare_trap` waits for ever.
    unsafe {
        asm!("hlt #0xf000", in("x0") SYS_EXIT_EXTENDED, in("x1") &raw const block, options(nostack));
    }
    loop {
        core::hint::spin_loop();
    }
}

pub(crate) fn now() -> Duration {
    let (count, frequency): (u64, u64);
    // SAFETY: reads a counter, and how fast it counts.
    unsafe {
        asm!("mrs {}, cntvct_el0", "mrs {}, cntfrq_el0", out(reg) count, out(reg) frequency,
            options(nomem, nostack, preserves_flags));
    }
    Duration::from_nanos((u128::from(count) * 1_000_000_000 / u128::from(frequency.max(1))) as u64)
}

/// The processor has met something that this program never does on purpose.
#[unsafe(no_mangle)]
extern "C" fn bare_trap(syndrome: usize, address: usize, fault: usize) -> ! {
    const UNKNOWN_INSTRUCTION: usize = 0;
    println!("unexpected exception: syndrome {syndrome:#x} at {address:#x}, fault address {fault:#x}");
    if syndrome >> 26 == UNKNOWN_INSTRUCTION {
        println!("this program ends by semihosting: give QEMU -semihosting");
        loop {
            core::hint::spin_loop();
        }
    }
    power_off(Err(Failed))
}
