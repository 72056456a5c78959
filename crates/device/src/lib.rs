//! VIRTIO 1.4 devices: what a device is, what runs it, and one module per device type.
//!
//! A device type implements two traits. [`Device`] is its control side: it describes itself, holds the configuration
//! space, and hands out workers. [`Worker`] is its data side: it serves the virtqueues of one queue group on a thread of
//! its own, through a [`Context`] that gives it chains to read and write. Neither knows the ring format, the transport,
//! or the process it runs in, and neither publishes or notifies: that is done for them after every callback.
//!
//! [`Host`] runs a device: a thread with an event loop for each queue group, controlled by messages. Every transport
//! stands on it.
#![forbid(unsafe_code)]

pub mod block;
pub mod console;
pub mod entropy;
pub mod network;
pub mod transport;

mod coalescing;
#[cfg(test)]
mod coalescing_tests;
mod codec;
mod context;
mod counters;
mod device;
mod event_loop;
mod host;
mod kick;
mod loan;
mod mailbox;
mod notify;
mod outlet;
mod patience;
mod poller;
mod saved;
#[cfg(test)]
mod testing;
mod virtqueue;
mod watch;

pub use coalescing::Coalescing;
pub use context::Context;
pub use counters::{Meter, QueueCounters};
pub use device::{
    ConfigError, Description, Device, DeviceError, QueueDescription, Session, SharedMemory, Worker,
};
pub use host::{Host, HostError, HostOptions, QueueSetup};
pub use loan::{Lender, Loan};
pub use mailbox::Waker;
pub use notify::{EventNotify, Notify};
pub use outlet::{HostEvents, Outlet};
pub use poller::{Interest, Source};
pub use virtqueue::Virtqueue;
pub use watch::Watch;
