//! A small RV64GC machine in pure Rust that boots an unmodified Linux kernel on this project's buses and devices.
//!
//! - [`Hart`] is a processor: it runs instructions until something needs the machine ([`Exit`]). It has supervisor and
//!   user mode; the machine itself plays the firmware below them (SBI).
//! - [`Ram`] is the memory that harts and devices share; [`Bus`] is everything else that a hart can address.
//! - [`Signals`] is how other threads reach a hart: interrupt lines, remote fences, wake-up, the wish to pause it.
//! - [`Clock`] is the time that all harts read.
#![forbid(unsafe_code)]

mod board;
pub mod boot;
mod bus;
mod clock;
mod control;
pub mod hart;
pub mod interrupts;
mod machine;
pub mod map;
mod pci;
mod ram;
pub mod rtc;
mod sbi;
mod snapshot;
mod softfloat;

pub use board::SlotRegisters;
pub use bus::{AccessFault, Bus};
pub use clock::{Clock, TIMEBASE_HZ};
pub use control::Outcome;
pub use hart::{Exception, Exit, Fatal, Fence, Hart, Interrupt, InterruptFile, Signals, State, Update};
pub use machine::{Kernel, Machine, MachineError, Options, Running};
pub use pci::FunctionRegisters;
pub use ram::{Ram, RamError};
pub use snapshot::SnapshotError;
