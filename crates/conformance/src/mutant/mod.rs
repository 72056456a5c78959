//! Devices that break one clause: a right device behind a [`Lens`].
//!
//! A lens changes what a driver sees and hears of a device: registers, interrupts, and what stands in rings and buffers
//! after the device has worked. What a check sees through it is what it would see of a device that is built wrong, and the
//! device's code has no switch for it.

mod channels;
mod registers;
mod transport;

use std::collections::BTreeMap;
use std::sync::Arc;

use ringwright_driver::Interrupt;
use ringwright_memory::{Memory, Width};
use ringwright_ring::Layout;
use ringwright_spec::ccw::channel::Irb;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, device_type, feature, split};

use crate::check::Check;
use crate::raw::Capabilities;

pub(crate) use channels::LensChannels;
pub use channels::{Feigned, Program};
pub(crate) use registers::LensRegisters;
pub(crate) use transport::LensTransport;

/// A device that breaks just one clause.
pub struct Mutant {
    /// What it does wrong, in a few words.
    pub name: &'static str,
    /// The clause that it breaks.
    pub breaks: &'static str,
    /// What makes it so.
    pub lens: Lens,
    /// Which of our devices it is, by its name in [`OURS`](crate::subject::OURS), if not the one of its check's type.
    pub on: Option<&'static str>,
    /// Names of other checks that cannot but see it, too; `*` for all of them.
    pub also: &'static [&'static str],
}

impl Mutant {
    /// What most mutants have in common: only their own check sees them.
    pub const ALONE: Self = Self {
        name: "",
        breaks: "",
        lens: Lens::CLEAR,
        on: None,
        also: &[],
    };

    /// Which of our devices it is, as a mutant of `check`, by its name in [`OURS`](crate::subject::OURS); `None` if it can be
    /// any of them.
    pub fn device(&self, check: &Check) -> Option<&'static str> {
        let of_type = || device_type::by_id(check.needs.device?).map(|device| device.name);
        self.on.or_else(of_type)
    }
}

/// What a driver sees differently. Each part is left out where nothing is different.
#[derive(Clone, Copy, Default)]
pub struct Lens {
    /// The features that are offered.
    pub offered: Option<fn(&mut Life, Features) -> Features>,
    /// The features that the device is told the driver accepts.
    pub accepted: Option<fn(&mut Life, Features) -> Features>,
    /// The status that is read.
    pub status: Option<fn(&mut Life, Status) -> Status>,
    /// The status that is written; `None` if it does not reach the device.
    pub set_status: Option<fn(&mut Life, Status) -> Option<Status>>,
    /// The greatest size of a virtqueue.
    pub queue_max_size: Option<fn(&mut Life, u16, u16) -> u16>,
    /// Where a virtqueue lies, as the device is told; `None` if it is not.
    pub enable_queue: Option<HearQueue>,
    /// Whether the reset of a virtqueue reaches the device.
    pub reset_queue: Option<fn(&mut Life, u16) -> bool>,
    /// Whether a notification reaches the device.
    pub notify: Option<fn(&mut Life, u16) -> bool>,
    /// What else happens after a notification, when the device has nothing more to do.
    pub notified: Option<fn(&mut Life, u16)>,
    /// The interrupt that is taken.
    pub interrupt: Option<fn(&mut Life, Interrupt) -> Interrupt>,
    /// A part of the configuration space that was read, from an offset on.
    pub config: Option<fn(&mut Life, usize, &mut [u8])>,
    /// Whether what is written to the configuration space reaches the device.
    pub write_config: Option<HearConfig>,
    /// A register that was read.
    pub read: Option<SeeRegister>,
    /// A register that is written; `None` if it does not reach the device.
    pub write: Option<HearRegister>,
    /// A channel program that is started; how it ends if it does not reach the device.
    pub command: Option<fn(&mut Program) -> Option<Feigned>>,
    /// A channel program that has ended.
    pub ended: Option<fn(&mut Program, &mut Irb)>,
    /// Whether a hypercall with these general registers reaches the device.
    pub diagnose: Option<fn(&[u64; 16]) -> bool>,
}

/// Index of a virtqueue and where it lies, as the driver says; as the device is told.
pub type HearQueue = fn(&mut Life, u16, Layout) -> Option<Layout>;

/// Offset and bytes of a write to the configuration space; whether it reaches the device.
pub type HearConfig = fn(&mut Life, usize, &[u8]) -> bool;

/// Name of the registers (`mmio`; `config`, `common`, `notify`, `isr`, `device`, `bar`), offset, width, and the value that was read; the value that is seen.
pub type SeeRegister = fn(&mut Shadow, &str, u64, Width, u32) -> u32;

/// Name of the registers, offset, width, and the value that is written; the value that reaches the device, if any does.
pub type HearRegister = fn(&mut Shadow, &str, u64, Width, u32) -> Option<u32>;

/// What a lens knows of the registers of its device.
#[derive(Default)]
pub struct Shadow {
    /// What was written last to the register of that name and offset.
    pub written: BTreeMap<(&'static str, u64), u32>,
    /// The capabilities of a PCI function.
    pub capabilities: Capabilities,
    /// What a lens wants to remember.
    pub note: u64,
}

impl Shadow {
    /// What was written last to a register; 0 if nothing was.
    pub fn last(&self, name: &'static str, offset: u64) -> u32 {
        self.written.get(&(name, offset)).copied().unwrap_or_default()
    }
}

impl Lens {
    /// Nothing is different.
    pub const CLEAR: Self = Self {
        offered: None,
        accepted: None,
        status: None,
        set_status: None,
        queue_max_size: None,
        enable_queue: None,
        reset_queue: None,
        notify: None,
        notified: None,
        interrupt: None,
        config: None,
        write_config: None,
        read: None,
        write: None,
        command: None,
        ended: None,
        diagnose: None,
    };
}

/// What a lens knows of the life of its device.
pub struct Life {
    /// Memory, as the device sees it.
    pub memory: Arc<Memory>,
    /// The features that the driver has accepted.
    pub features: Features,
    /// The status that the driver has written last.
    pub status: Status,
    /// Whether the device has been live at any time.
    pub was_live: bool,
    /// Where the virtqueues lie.
    pub layouts: BTreeMap<u16, Layout>,
    /// How many notifications there were.
    pub notifications: u32,
    /// What a lens wants to remember.
    pub note: u64,
}

impl Life {
    fn new(memory: Arc<Memory>) -> Self {
        Self {
            memory,
            features: Features::NONE,
            status: Status::NONE,
            was_live: false,
            layouts: BTreeMap::new(),
            notifications: 0,
            note: 0,
        }
    }

    /// Whether the virtqueues are packed.
    pub fn is_packed(&self) -> bool {
        self.features.contains(feature::RING_PACKED)
    }

    /// Whether the device is live.
    pub fn is_live(&self) -> bool {
        self.status.contains(Status::DRIVER_OK)
    }

    /// Reads memory as the device does. Zeros where there is none.
    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // A mutant that goes astray shows nothing, and its test says so.
        let _ = self.memory.read(address, &mut bytes);
        bytes
    }

    /// Reads 16 bits of memory.
    pub fn read16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address))
    }

    /// Writes memory as the device does.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(address, bytes);
    }

    /// Address of the entry of a split virtqueue's used ring that the device wrote last.
    pub fn last_used_entry(&self, queue: u16) -> Option<u64> {
        let layout = self.layouts.get(&queue)?;
        let index = self.read16(layout.device_area + 2).wrapping_sub(1) % layout.size;
        Some(layout.device_area + split::USED_RING + 8 * u64::from(index))
    }
}
