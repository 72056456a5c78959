//! QEMU's own devices without a guest.
//!
//! QEMU's qtest protocol makes the accesses that a guest's processor would make: one line of text each, over a socket. No
//! guest runs, so no kernel and no firmware is needed, and a machine is there in a tenth of a second. [`Qemu`] starts one
//! whose RAM is shared with this process, and gives what the drivers' transports stand on: memory that the devices reach
//! ([`Qemu::area`]), registers ([`Window`]), PCI configuration spaces ([`Config`]), and message-signalled interrupts,
//! which are aimed at RAM ([`RamMessages`]).
//!
//! ```no_run
//! use ringwright_driver::transport::mmio::Mmio;
//! use ringwright_driver::{Options, entropy::Entropy};
//! use ringwright_qtest::{MICROVM, Qemu};
//!
//! let program = "qemu-system-x86_64".as_ref();
//! let qemu = Qemu::start(program, &MICROVM, &["-device", "virtio-rng-device"])?;
//! for place in qemu.mmio_places() {
//!     if let Some(transport) = Mmio::probe(place)? {
//!         let entropy = Entropy::new(transport, qemu.area(), Options::default())?;
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
#![forbid(unsafe_code)]

mod client;
mod machine;
mod messages;
mod pci;
mod qemu;
mod window;

use std::io;

use ringwright_driver::TransportError;
use ringwright_memory::{MapError, MappingError};

pub use machine::{AARCH64_VIRT, MICROVM, Machine, PC, Pci, PciConfig, Q35, RISCV64_VIRT};
pub use messages::RamMessages;
pub use pci::Config;
pub use qemu::Qemu;
pub use window::Window;

/// Why there is no machine, or not any more.
#[derive(Debug, thiserror::Error)]
pub enum QtestError {
    /// The RAM that is to be shared.
    #[error(transparent)]
    Memory(#[from] MappingError),
    /// It is no region.
    #[error(transparent)]
    Region(#[from] MapError),
    /// The program was not started.
    #[error("{program}: {source}")]
    Start {
        /// Its path.
        program: String,
        /// What the system says.
        source: io::Error,
    },
    /// The connection to the program.
    #[error("the connection to QEMU: {0}")]
    Connection(#[from] io::Error),
    /// QEMU has ended. What it said is with it.
    #[error("QEMU has ended: {0}")]
    Ended(String),
    /// A register of the machine could not be accessed.
    #[error(transparent)]
    Transport(#[from] TransportError),
}
