//! A PC that boots PVH kernels: QEMU's `q35`, `pc` and `microvm`.

mod apic;
#[cfg(target_os = "linux")]
mod compiler;
mod exceptions;
mod pci;
mod start_info;

use core::arch::global_asm;
use core::arch::x86_64::_rdtsc;
use core::time::Duration;

use ringwright_memory::{NoRegister, PortRegisters, Width};

use crate::Failed;

pub(crate) use apic::wait_for_interrupt;
pub use pci::PciHost;
pub use start_info::Boot;
pub(crate) use start_info::boot;

global_asm!(include_str!("entry.s"), options(att_syntax));

/// The first serial port, a 16550 that needs no set-up under QEMU.
const SERIAL: u16 = 0x3f8;

/// QEMU's `isa-debug-exit`, at the address that guests commonly give it. The emulator ends with twice the value and one.
const DEBUG_EXIT: u16 = 0xf4;
const PASSED: u32 = 0x10;
const FAILED: u32 = 0x11;

pub(crate) fn write(text: &[u8]) {
    // The only refusals are of registers that there are not.
    let _ = write_serial(text);
}

fn write_serial(text: &[u8]) -> Result<(), NoRegister> {
    const DATA: u64 = 0;
    const LINE_STATUS: u64 = 5;
    const TRANSMIT_EMPTY: u32 = 1 << 5;
    let serial = device(SERIAL, 8);
    for &byte in text {
        while serial.read(LINE_STATUS, Width::One)? & TRANSMIT_EMPTY == 0 {}
        serial.write(DATA, Width::One, byte.into())?;
    }
    Ok(())
}

pub(crate) fn power_off(result: Result<(), Failed>) -> ! {
    let value = if result.is_ok() { PASSED } else { FAILED };
    // Without that device nothing happens.
    let _ = device(DEBUG_EXIT, 4).write(0, Width::Four, value);
    loop {
        core::hint::spin_loop();
    }
}

/// Not what it says: of the clock it is only known that it counts at least once in a nanosecond.
pub(crate) fn now() -> Duration {
    // SAFETY: every processor with 64 bits has this instruction.
    Duration::from_nanos(unsafe { _rdtsc() })
}

/// The ports of one of this module's devices.
fn device(port: u16, length: u16) -> PortRegisters {
    // SAFETY: this program may use every port, and none of these devices touches memory.
    unsafe { PortRegisters::new(port, length) }.expect("all of them end within 16 bits")
}
