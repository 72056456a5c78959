//! The interrupt controllers (RISC-V Advanced Interrupt Architecture): [`Imsic`] takes message-signaled interrupts, [`Aplic`]
//! turns those that come by wire into messages.

mod aplic;
mod imsic;

pub use aplic::{Aplic, AplicState, SOURCES};
pub use imsic::{FileState, IDENTITIES, Imsic, PAGE};
