//! RISC-V in supervisor mode, on a firmware that speaks SBI: QEMU's `virt` with OpenSBI, or this project's own machine.

mod finisher;
mod imsic;
mod sbi;

use core::arch::{asm, global_asm};
use core::sync::atomic::{AtomicU64, Ordering};
use core::time::Duration;

use dtoolkit::{Node, Property};

use crate::{Boot, Failed, println};

pub(crate) use imsic::{Controller, wait_for_interrupt};

global_asm!(include_str!("entry.s"));

/// How fast the clock counts, per second.
static CLOCK: AtomicU64 = AtomicU64::new(10_000_000);

/// `argument` is the address of the device tree.
pub(crate) fn boot(argument: usize) -> Boot {
    // SAFETY: the firmware passes the address of the device tree, which lies outside of the image.
    let boot = unsafe { Boot::at(argument) };
    if let Some(tree) = boot.device_tree() {
        finisher::find(tree);
        let cpus = tree.find_node("/cpus");
        let clock = cpus.and_then(|cpus| cpus.property("timebase-frequency"));
        if let Some(clock) = clock.and_then(|clock| clock.value_as::<u32>().ok()) {
            CLOCK.store(clock.into(), Ordering::Relaxed);
        }
    }
    boot
}

pub(crate) fn write(text: &[u8]) {
    sbi::write(text);
}

pub(crate) fn power_off(result: Result<(), Failed>) -> ! {
    finisher::finish(result.is_ok());
    sbi::shut_down(result.is_ok());
    loop {
        core::hint::spin_loop();
    }
}

pub(crate) fn now() -> Duration {
    let count: u64;
    // SAFETY: reads a counter.
    unsafe { asm!("rdtime {}", out(reg) count, options(nomem, nostack, preserves_flags)) }
    Duration::from_nanos(
        (u128::from(count) * 1_000_000_000 / u128::from(CLOCK.load(Ordering::Relaxed))) as u64,
    )
}

/// The processor has met something that this program never does on purpose.
#[unsafe(no_mangle)]
extern "C" fn bare_trap(cause: usize, address: usize, value: usize) -> ! {
    println!("unexpected trap: cause {cause:#x} at {address:#x}, value {value:#x}");
    power_off(Err(Failed))
}
