//! What the guests have instead of an operating system: an entry point, memory, a console, and a way to end.
//!
//! There is one processor and one thread, no interrupt is enabled, and every address is the one that devices use.
//! A program says where it begins with [`program!`] and is then on its own:
//!
//! ```ignore
//! #![no_std]
//! #![no_main]
//!
//! fn main(boot: &bare::Boot) -> Result<(), bare::Failed> {
//!     bare::println!("this is bare metal");
//!     Ok(())
//! }
//!
//! bare::program!(main);
//! ```
//!
//! `unsafe` is needed here for what an operating system does: the instructions that no language has, memory at known
//! addresses, and the promise that both are used by nobody else.
#![no_std]

extern crate alloc;

mod clock;
mod console;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod device_tree;
mod heap;
mod memory;
#[cfg(not(target_arch = "s390x"))]
mod messages;
mod start;

#[cfg_attr(target_arch = "x86_64", path = "x86_64/mod.rs")]
#[cfg_attr(target_arch = "aarch64", path = "aarch64/mod.rs")]
#[cfg_attr(target_arch = "riscv64", path = "riscv64/mod.rs")]
#[cfg_attr(target_arch = "s390x", path = "s390x/mod.rs")]
mod machine;

pub use clock::Deadline;
pub use console::Console;
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
pub use device_tree::{Boot, PciHost};
#[cfg(target_arch = "s390x")]
pub use machine::{Boot, Channels, SUBCLASS};
#[cfg(target_arch = "x86_64")]
pub use machine::{Boot, PciHost};
pub use memory::area;
#[cfg(not(target_arch = "s390x"))]
pub use messages::MessageWords;
pub use start::Failed;

/// Waits until a device interrupts: by an I/O interruption, or by a message to what `Boot::messages` gave. It is for ever
/// if no device does, and may end without one.
pub fn wait_for_interrupt() {
    machine::wait_for_interrupt();
}
