//! Base address registers: what lies where in which.

use std::ops::Range;

use ringwright_spec::pci::header::{self, bar, command};
use ringwright_spec::pci::{self, CommonCfg, legacy};

use super::options::Options;
use super::space::ConfigSpace;
use crate::Description;

/// BAR of the legacy interface.
pub(super) const LEGACY_BAR: u8 = 0;
/// BAR of the MSI-X table and its pending bits.
pub(super) const MSIX_BAR: u8 = 1;
/// BAR of shared memory regions.
pub(super) const SHARED_MEMORY_BAR: u8 = 2;
/// BAR of the virtio structures.
pub(super) const STRUCTURES_BAR: u8 = 4;

/// What can be mapped on its own begins at a multiple of this.
const PAGE: u64 = 4096;

/// A base address register of a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bar {
    /// Number of the (first) register.
    pub index: u8,
    /// The address space, and the width of addresses in it.
    pub kind: BarKind,
    /// Reads have no side effects.
    pub prefetchable: bool,
    /// Size in bytes, a power of 2.
    pub size: u64,
    /// Where the function answers: `None` while the driver has disabled that, or not set an address.
    pub address: Option<u64>,
}

/// The kinds of base address registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarKind {
    /// I/O space.
    Io,
    /// Memory space, an address of 32 bits.
    Memory32,
    /// Memory space, an address of 64 bits; takes two registers.
    Memory64,
}

/// A shared memory region of a device on PCI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedMemoryPlace {
    /// Shared memory id.
    pub id: u8,
    /// The BAR that contains it; the monitor maps it there.
    pub bar: u8,
    /// Offset within the BAR.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
}

/// Where everything is.
#[derive(Clone, Debug)]
pub(super) struct Places {
    /// The BARs, without addresses.
    pub bars: Vec<Bar>,
    /// Within [`STRUCTURES_BAR`].
    pub common: Range<u64>,
    pub isr: Range<u64>,
    pub device: Range<u64>,
    pub notify: Range<u64>,
    /// Within [`MSIX_BAR`].
    pub table: Range<u64>,
    pub pending: Range<u64>,
    pub shared_memory: Vec<SharedMemoryPlace>,
}

impl Places {
    pub fn new(device: &Description, config_size: u64, vectors: u16, options: &Options) -> Self {
        let queues = device.queues.len() as u64;
        let multiplier = u64::from(options.notify_off_multiplier.get());
        // dev:pci:notification-capability:09
        let notify_length = queues.saturating_sub(1) * multiplier + u64::from(pci::NOTIFY_DATA_SIZE);
        let notify = after(0x3000, notify_length);
        let table = after(0, u64::from(vectors) * header::msix::VECTOR_SIZE);
        let pending = after(
            table.end.next_multiple_of(PAGE / 2),
            u64::from(vectors).div_ceil(64) * 8,
        );
        let mut places = Self {
            bars: Vec::new(),
            common: after(0, size_of::<CommonCfg>() as u64),
            isr: after(0x1000, 1),
            device: after(0x2000, config_size),
            notify,
            table,
            pending,
            shared_memory: shared_memory(device),
        };
        if options.has_io() {
            let length = legacy::config_offset(true) + config_size;
            places.add(LEGACY_BAR, BarKind::Io, false, length);
        }
        if vectors > 0 {
            places.add(MSIX_BAR, BarKind::Memory32, false, places.pending.end.max(PAGE));
        }
        if let Some(last) = places.shared_memory.last() {
            places.add(
                SHARED_MEMORY_BAR,
                BarKind::Memory64,
                true,
                last.offset + last.length,
            );
        }
        if options.kind != super::Kind::Legacy {
            // Reading the ISR status has a side effect.
            places.add(STRUCTURES_BAR, BarKind::Memory64, false, places.notify.end);
        }
        places
    }

    fn add(&mut self, index: u8, kind: BarKind, prefetchable: bool, length: u64) {
        self.bars.push(Bar {
            index,
            kind,
            prefetchable,
            size: length.next_power_of_two(),
            address: None,
        });
    }
}

impl Bar {
    /// The register after a reset, and the bits of it that the driver can write, by which it learns the size.
    pub(super) fn register_bits(&self) -> (Vec<u8>, Vec<u8>) {
        let address = !(self.size - 1);
        let (flags, writable) = match self.kind {
            BarKind::Io => (bar::IO, address & !u64::from(bar::IO_FLAGS)),
            BarKind::Memory32 => (0, address),
            BarKind::Memory64 => (bar::MEMORY_64, address),
        };
        let prefetchable = if self.prefetchable { bar::PREFETCHABLE } else { 0 };
        let width = if self.kind == BarKind::Memory64 { 8 } else { 4 };
        let bytes = |word: u64| word.to_le_bytes()[..width].to_vec();
        (bytes((flags | prefetchable).into()), bytes(writable))
    }

    /// Offset of the register in the configuration space.
    pub(super) fn register(&self) -> usize {
        header::BAR0 + 4 * usize::from(self.index)
    }

    /// The register with the address that the driver has given it.
    pub(super) fn with_address(self, space: &ConfigSpace) -> Self {
        let low = space.u32(self.register());
        let (address, end_of_space, enable) = match self.kind {
            BarKind::Io => ((low & !bar::IO_FLAGS).into(), u32::MAX.into(), command::IO),
            BarKind::Memory32 => (
                (low & !bar::MEMORY_FLAGS).into(),
                u32::MAX.into(),
                command::MEMORY,
            ),
            BarKind::Memory64 => {
                let high = u64::from(space.u32(self.register() + 4));
                (
                    high << 32 | u64::from(low & !bar::MEMORY_FLAGS),
                    u64::MAX,
                    command::MEMORY,
                )
            }
        };
        let enabled = space.u16(header::COMMAND) & enable != 0;
        // All ones is what a driver writes to learn the size.
        let is_address = address != 0 && address + (self.size - 1) != end_of_space;
        Self {
            address: (enabled && is_address).then_some(address),
            ..self
        }
    }
}

/// Each region at a multiple of its size, as far as that is one (`dev:pci:shared-memory-capability:01`).
fn shared_memory(device: &Description) -> Vec<SharedMemoryPlace> {
    let mut end = 0u64;
    let places = device.shared_memory.iter().map(|region| {
        let offset = end.next_multiple_of(region.length.next_power_of_two().clamp(PAGE, 1 << 30));
        end = offset + region.length;
        SharedMemoryPlace {
            id: region.id,
            bar: SHARED_MEMORY_BAR,
            offset,
            length: region.length,
        }
    });
    places.collect()
}

fn after(start: u64, length: u64) -> Range<u64> {
    start..start + length
}
