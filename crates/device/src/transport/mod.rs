//! Transports (chapter 4), the device's side: what puts any [`Device`](crate::Device) on a bus.
//!
//! A transport here is a model of registers. A virtual machine monitor routes the guest's accesses to it, gives it the
//! guest's memory, and takes its interrupts; bus topology and addresses stay the monitor's own affair. The transports are
//! dialects of one thing, `core`, which knows of status, features, virtqueues and notifications, but not of
//! registers.
//!
//! A model belongs to one thread at a time. Two things happen beside that: a [`Notifier`] lets processors send available
//! buffer notifications without waiting for whoever has the model, and interrupts come from the device's own threads.

pub mod ccw;
mod core;
pub mod mmio;
pub mod pci;
#[cfg(test)]
mod testing;

pub use self::core::{Notifier, Options, Relay, SnapshotError};
