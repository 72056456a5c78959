//! What is served: a PCI function.

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use ringwright_memory::Memory;

const NOT_MIGRATABLE: &str = "this function cannot be migrated";

/// A PCI function as the server needs it. Accesses never fail: what they do is the function's affair, as on a bus.
///
/// Its interrupts go to the [`Interrupts`](super::Interrupts) that it is made with.
pub trait PciFunction: Send {
    /// Size of the configuration space in bytes: 256, or 4096 for PCI Express.
    fn config_size(&self) -> u64;

    /// Reads from the configuration space, within its size.
    fn read_config(&mut self, offset: u64, data: &mut [u8]);

    /// Writes to the configuration space, within its size.
    fn write_config(&mut self, offset: u64, data: &[u8]);

    /// Size in bytes of the memory or I/O ports behind a BAR (0 to 5); 0 if there is nothing.
    fn bar_size(&self, bar: u8) -> u64;

    /// Reads from what is behind a BAR, within its size.
    fn read_bar(&mut self, bar: u8, offset: u64, data: &mut [u8]);

    /// Writes to what is behind a BAR, within its size.
    fn write_bar(&mut self, bar: u8, offset: u64, data: &[u8]);

    /// Number of MSI-X vectors.
    fn vectors(&self) -> u16;

    /// The parts of a BAR that are better written through an event descriptor.
    fn doorbells(&self, _bar: u8) -> Vec<Doorbell<'_>> {
        Vec::new()
    }

    /// The file behind a BAR, and the parts of it that the client may map.
    fn mappable(&self, _bar: u8) -> Option<Mappable<'_>> {
        None
    }

    /// The memory that the function reaches, by DMA address, from now on. When this returns, no other is used any more.
    fn set_memory(&mut self, memory: Arc<Memory>);

    /// Resets the function: nothing is left of what any driver has done.
    fn reset(&mut self);

    /// Whether the function can be stopped, and its state saved and restored.
    fn is_migratable(&self) -> bool {
        false
    }

    /// Stops the function: it changes nothing any more, neither of its own nor in memory.
    fn stop(&mut self) -> Result<(), String> {
        Err(NOT_MIGRATABLE.into())
    }

    /// Lets a function run that was stopped.
    fn resume(&mut self) -> Result<(), String> {
        Err(NOT_MIGRATABLE.into())
    }

    /// The state of a function that is stopped.
    fn save(&mut self) -> Result<Vec<u8>, String> {
        Err(NOT_MIGRATABLE.into())
    }

    /// Takes up a state, in a function that is stopped.
    fn restore(&mut self, _state: &[u8]) -> Result<(), String> {
        Err(NOT_MIGRATABLE.into())
    }
}

/// A place in a BAR where a write does nothing but notify.
#[derive(Debug)]
pub struct Doorbell<'a> {
    /// Where it is in the BAR.
    pub offset: u64,
    /// Size of the write in bytes; 0 for any.
    pub size: u64,
    /// The value that is written; `None` for any.
    pub value: Option<u64>,
    /// Writing to this eventfd does what the write would.
    pub event: BorrowedFd<'a>,
}

/// A file behind a BAR.
#[derive(Debug)]
pub struct Mappable<'a> {
    /// The file.
    pub file: BorrowedFd<'a>,
    /// Where byte 0 of the BAR is in the file.
    pub offset: u64,
    /// Offset in the BAR, and length, of each part that may be mapped.
    pub areas: Vec<(u64, u64)>,
}
