//! The first pages of memory, where the processor leaves and finds what belongs to interruptions.

use super::MASK;

const EXTERNAL_CODE: usize = 0x86;
const PROGRAM_CODE: usize = 0x8e;
const PROGRAM_OLD_PSW: usize = 0x150;
const EXTERNAL_NEW_PSW: usize = 0x1b0;
const PROGRAM_NEW_PSW: usize = 0x1d0;
const IO_NEW_PSW: usize = 0x1f0;

/// Says where interruptions lead.
pub(super) fn begin() {
    unsafe extern "C" {
        safe static bare_program_interruption: u8;
        safe static bare_interruption: u8;
    }
    new_psw(PROGRAM_NEW_PSW, (&raw const bare_program_interruption).addr());
    for place in [EXTERNAL_NEW_PSW, IO_NEW_PSW] {
        new_psw(place, (&raw const bare_interruption).addr());
    }
}

/// The code of the last program interruption, and where it was.
pub(super) fn program_interruption() -> (u16, u64) {
    (read(PROGRAM_CODE), read(PROGRAM_OLD_PSW + 8))
}

/// The code of the last external interruption.
pub(super) fn external_code() -> u16 {
    read(EXTERNAL_CODE)
}

fn new_psw(at: usize, address: usize) {
    let psw = core::ptr::with_exposed_provenance_mut::<[u64; 2]>(at);
    // SAFETY: the field is there in memory, and only this function's callers write it.
    unsafe { psw.write_volatile([MASK, address as u64]) }
}

fn read<T: Copy>(at: usize) -> T {
    // SAFETY: `T` is an integer in all calls here, and the field is there in memory, aligned.
    unsafe { core::ptr::with_exposed_provenance::<T>(at).read_volatile() }
}
