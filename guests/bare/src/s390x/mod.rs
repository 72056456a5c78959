//! z/Architecture, in a virtual machine with SCLP and a channel subsystem: QEMU's `s390-ccw-virtio`.

mod channels;
mod lowcore;
mod sclp;

use core::arch::{asm, global_asm};
use core::time::Duration;

use crate::{Failed, println};

pub(crate) use channels::wait_for_interrupt;
pub use channels::{Channels, SUBCLASS};

global_asm!(include_str!("entry.s"));

/// 64-bit addresses, no interruptions.
const MASK: u64 = 0x0000_0001_8000_0000;
/// With this, the processor also waits: for ever, as nothing interrupts it.
const WAIT: u64 = 0x0002_0000_0000_0000;

/// The address in a disabled-wait PSW by which a program says that it has ended well.
const PASSED: u64 = 0xfff;
const FAILED: u64 = 0xbad;

/// What there is when the program begins.
pub struct Boot(());

/// Nothing is passed.
pub(crate) fn boot(_: usize) -> Boot {
    lowcore::begin();
    sclp::begin();
    Boot(())
}

impl Boot {
    /// The channel subsystem.
    pub fn channels(&self) -> Channels {
        Channels::new()
    }
}

pub(crate) fn write(text: &[u8]) {
    sclp::write(text);
}

pub(crate) fn power_off(result: Result<(), Failed>) -> ! {
    let address = if result.is_ok() { PASSED } else { FAILED };
    let psw = [MASK | WAIT, address];
    // SAFETY: nothing is executed after this.
    unsafe { asm!("lpswe 0({})", in(reg_addr) &raw const psw, options(noreturn, readonly)) }
}

pub(crate) fn now() -> Duration {
    let mut clock = 0u64;
    // SAFETY: writes the clock there.
    unsafe { asm!("stckf 0({})", in(reg_addr) &raw mut clock, options(nostack)) }
    // A microsecond is 4096 of its units.
    Duration::from_nanos((u128::from(clock) * 1000 / 4096) as u64)
}

/// The processor has met something that this program never does on purpose.
#[unsafe(no_mangle)]
extern "C" fn bare_trap() -> ! {
    let (code, address) = lowcore::program_interruption();
    println!("unexpected program interruption {code:#x} at {address:#x}");
    power_off(Err(Failed))
}
