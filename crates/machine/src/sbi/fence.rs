//! What one hart has others do: inter-processor interrupts and remote fences.

use super::{Answer, Arguments, Error};
use crate::control::Control;
use crate::{Fence, Interrupt};

/// Extension IPI.
pub fn interrupt(control: &Control, function: u64, arguments: &Arguments) -> Answer {
    if function != 0 {
        return Err(Error::NotSupported);
    }
    let signals = control.signals();
    for hart in selected(signals.len(), arguments)? {
        signals[hart].raise(Interrupt::Software);
    }
    Ok(0)
}

/// Extension RFENCE. A fence for some addresses or one address space is one for all: that is more than was asked for.
pub fn remote(control: &Control, function: u64, arguments: &Arguments) -> Answer {
    let fence = match function {
        0 => Fence::Instructions,
        1 | 2 => Fence::PageTables,
        // Those of the hypervisor extension.
        _ => return Err(Error::NotSupported),
    };
    let signals = control.signals();
    let harts: Vec<usize> = selected(signals.len(), arguments)?.collect();
    for hart in &harts {
        signals[*hart].fence(fence);
    }
    // The caller does not execute meanwhile, so harts that fence each other do not wait for each other.
    for hart in &harts {
        signals[*hart].wait_fenced();
    }
    Ok(0)
}

/// The harts that `hart_mask` and `hart_mask_base`, the first two arguments, choose. All of them must exist.
fn selected(harts: usize, arguments: &Arguments) -> Result<impl Iterator<Item = usize>, Error> {
    let [mask, base, ..] = *arguments;
    let all = if harts == 64 { !0 } else { (1u64 << harts) - 1 };
    let chosen = match base {
        u64::MAX => all,
        0..64 => mask
            .checked_shl(base as u32)
            .filter(|bits| bits >> base == mask)
            .unwrap_or(!0),
        _ if mask == 0 => 0,
        _ => !0,
    };
    if chosen & !all != 0 {
        return Err(Error::InvalidParameter);
    }
    Ok((0..harts).filter(move |hart| chosen & 1 << hart != 0))
}
