//! Calls to the firmware.

use core::arch::asm;

/// Debug console extension.
const DBCN: usize = 0x4442_434e;
const DBCN_WRITE: usize = 0;

/// System reset extension.
const SRST: usize = 0x5352_5354;
const SRST_RESET: usize = 0;
const SHUTDOWN: usize = 0;
const NO_REASON: usize = 0;
const SYSTEM_FAILURE: usize = 1;

/// Sends text to the firmware's console.
pub(super) fn write(text: &[u8]) {
    let mut rest = text;
    while !rest.is_empty() {
        match call(DBCN, DBCN_WRITE, [rest.len(), rest.as_ptr() as usize, 0]) {
            Ok(written) => rest = &rest[written.min(rest.len())..],
            // Nobody could be told.
            Err(_) => return,
        }
    }
}

/// Turns the machine off; returns if the firmware cannot.
pub(super) fn shut_down(passed: bool) {
    let reason = if passed { NO_REASON } else { SYSTEM_FAILURE };
    let _ = call(SRST, SRST_RESET, [SHUTDOWN, reason, 0]);
}

fn call(extension: usize, function: usize, arguments: [usize; 3]) -> Result<usize, isize> {
    let [mut error, mut value, third] = arguments;
    // SAFETY: the firmware preserves all registers but these two; of this program's memory it touches only what it is
    // given, and reads only that.
    unsafe {
        asm!("ecall", in("a7") extension, in("a6") function, inout("a0") error, inout("a1") value, in("a2") third,
            options(nostack));
    }
    if error == 0 {
        Ok(value)
    } else {
        Err(error as isize)
    }
}
