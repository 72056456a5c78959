//! From the assembly of the entry point to the program, and its end.

use core::panic::PanicInfo;

use crate::{Boot, heap, machine, println};

/// The program has failed, and has said why on the console.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

/// Makes a function `fn(&Boot) -> Result<(), Failed>` the program that runs when the machine starts.
#[macro_export]
macro_rules! program {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn bare_program(boot: &$crate::Boot) -> ::core::result::Result<(), $crate::Failed> {
            $main(boot)
        }
    };
}

unsafe extern "Rust" {
    /// What [`program!`] defines.
    safe fn bare_program(boot: &Boot) -> Result<(), Failed>;
}

/// Where the assembly of every machine's entry point ends up, with what the loader left for the program.
#[unsafe(no_mangle)]
extern "C" fn bare_start(argument: usize) -> ! {
    heap::begin();
    let boot = machine::boot(argument);
    machine::power_off(bare_program(&boot))
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    println!("{info}");
    machine::power_off(Err(Failed))
}
