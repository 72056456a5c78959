//! Drivers that break one clause: a right driver whose hand slips.
//!
//! A [`Slip`] stands between a driver and its device, and changes what the device is told: registers, and what stands in
//! rings and buffers when the device is notified. The driver's code has no switch for it.

mod channel;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_driver::transport::Registers;
use ringwright_driver::{Interrupt, Transport, TransportError};
use ringwright_memory::{Memory, Width};
use ringwright_ring::Layout;
use ringwright_spec::status::Status;
use ringwright_spec::{Features, split};

use super::event::Access;
use super::strict::{StrictTransport, with};
use crate::subject::Bus;
pub(super) use channel::SlipChannels;
pub use channel::{ChannelHand, SlipCommand, SlipHypercall};

/// A driver that breaks just one clause.
pub struct Mutant {
    /// What it does wrong, in a few words.
    pub name: &'static str,
    /// The scenario in which it does.
    pub scenario: &'static str,
    /// What makes it so.
    pub slip: Slip,
    /// The driver that is right but for that, by its name among [`OURS`](super::OURS).
    pub driver: &'static str,
    /// The bus that it is on.
    pub bus: Bus,
    /// Names of other rules that cannot but see it, too.
    pub also: &'static [&'static str],
}

impl Mutant {
    /// What most mutants have in common: our rings, and only their own rule sees them.
    pub const ALONE: Self = Self {
        name: "",
        scenario: "plain",
        slip: Slip::NONE,
        driver: "rings",
        bus: Bus::Direct,
        also: &[],
    };

    /// Such a driver by that name, whose hand slips when it notifies the device.
    pub const fn notifying(self, name: &'static str, notify: fn(&mut Hand, u16, u32) -> Told) -> Self {
        let slip = Slip {
            notify: Some(notify),
            ..self.slip
        };
        Self { name, slip, ..self }
    }

    /// The same, and these other rules cannot but see it, too.
    pub const fn also(self, also: &'static [&'static str]) -> Self {
        Self { also, ..self }
    }
}

/// What a transport's call gives.
pub type Told<R = ()> = Result<R, TransportError>;

/// What the device is told differently. Each part is left out where nothing is different.
#[derive(Clone, Copy)]
pub struct Slip {
    /// The status is read.
    pub status: Option<fn(&mut Hand) -> Told<Status>>,
    /// The status is written.
    pub set_status: Option<fn(&mut Hand, Status) -> Told>,
    /// Features are accepted.
    pub accept: Option<fn(&mut Hand, Features) -> Told>,
    /// A virtqueue is enabled.
    pub enable_queue: Option<fn(&mut Hand, u16, Layout) -> Told>,
    /// The driver asks whether the reset of a virtqueue is complete.
    pub queue_is_reset: Option<fn(&mut Hand, u16) -> Told<bool>>,
    /// Buffers have been made available, of which the device is to be notified.
    pub notify: Option<fn(&mut Hand, u16, u32) -> Told>,
    /// The configuration atomicity value is read.
    pub generation: Option<fn(&mut Hand) -> Told<u32>>,
    /// The configuration space is read.
    pub read_config: Option<fn(&mut Hand, usize)>,
    /// An interrupt is taken.
    pub interrupt: Option<fn(&mut Hand, Interrupt)>,
    /// The driver waits.
    pub waits: Option<fn(&mut Hand)>,
    /// A register of a bus is accessed; there is no hand then.
    pub registers: Option<SlipAccess>,
    /// A command is given over channel I/O.
    pub command: Option<SlipCommand>,
    /// A notification is sent over channel I/O, with its data and a host cookie.
    pub hypercall: Option<SlipHypercall>,
}

/// Makes an access to the registers, or others instead. `note` is what a slip wants to remember.
pub type SlipAccess = fn(registers: &mut dyn Registers, note: &mut u64, access: Access) -> Told<u32>;

impl Slip {
    /// Nothing is different.
    pub const NONE: Self = Self {
        status: None,
        set_status: None,
        accept: None,
        enable_queue: None,
        queue_is_reset: None,
        notify: None,
        generation: None,
        read_config: None,
        interrupt: None,
        waits: None,
        registers: None,
        command: None,
        hypercall: None,
    };
}

/// Registers through a hand that may slip.
pub(super) struct SlipRegisters<R> {
    registers: R,
    slip: Option<SlipAccess>,
    note: u64,
}

impl<R: Registers> SlipRegisters<R> {
    pub fn new(registers: R, slip: Option<SlipAccess>) -> Self {
        Self {
            registers,
            slip,
            note: 0,
        }
    }

    fn access(&mut self, access: Access) -> Told<u32> {
        match self.slip {
            Some(slip) => slip(&mut self.registers, &mut self.note, access),
            None => access.make(&mut self.registers),
        }
    }
}

impl<R: Registers> Registers for SlipRegisters<R> {
    fn read(&mut self, offset: u64, width: Width) -> Told<u32> {
        self.access(Access {
            write: false,
            offset,
            width,
            value: 0,
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Told {
        let access = Access {
            write: true,
            offset,
            width,
            value,
        };
        self.access(access).map(drop)
    }
}

/// Registers of which several parts are used apart.
pub(super) struct SharedRegisters<R>(pub Arc<Mutex<R>>);

impl<R> Clone for SharedRegisters<R> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<R: Registers> Registers for SharedRegisters<R> {
    fn read(&mut self, offset: u64, width: Width) -> Told<u32> {
        let mut registers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registers.read(offset, width)
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Told {
        let mut registers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        registers.write(offset, width, value)
    }
}

/// The hand that slips: what it holds, and knows.
pub struct Hand {
    /// The device.
    pub device: StrictTransport,
    /// Memory, as the device reaches it.
    pub memory: Arc<Memory>,
    /// The features that the driver has accepted.
    pub features: Features,
    /// The status that the driver has written last.
    pub status: Status,
    /// Where the virtqueues lie.
    pub layouts: BTreeMap<u16, Layout>,
    /// How many notifications there were.
    pub notifications: u32,
    /// What a slip wants to remember.
    pub note: u64,
}

impl Hand {
    /// Reads memory. Zeros where there is none.
    pub fn read<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        // A mutant that goes astray breaks nothing, and its test says so.
        let _ = self.memory.read(address, &mut bytes);
        bytes
    }

    /// Reads 16 bits of memory.
    pub fn read16(&self, address: u64) -> u16 {
        u16::from_le_bytes(self.read(address))
    }

    /// Reads an address from memory.
    pub fn read_address(&self, address: u64) -> u64 {
        u64::from_le_bytes(self.read(address))
    }

    /// Writes memory.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(address, bytes);
    }

    /// Writes 16 bits of memory.
    pub fn write16(&self, address: u64, value: u16) {
        self.write(address, &value.to_le_bytes());
    }

    /// Address of the first descriptor of the buffer that was made available last in a split virtqueue.
    pub fn head(&self, queue: u16) -> u64 {
        let Some(layout) = self.layouts.get(&queue) else {
            return 0;
        };
        let slot = self.read16(layout.driver_area + 2).wrapping_sub(1) % layout.size;
        let entry = layout.driver_area + split::AVAIL_RING + 2 * u64::from(slot);
        layout.descriptor_area + 16 * u64::from(self.read16(entry))
    }

    /// Address of a descriptor of a packed virtqueue.
    pub fn slot(&self, queue: u16, slot: u16) -> u64 {
        let layout = self.layouts.get(&queue);
        layout.map_or(0, |layout| {
            layout.descriptor_area + 16 * u64::from(slot % layout.size)
        })
    }

    /// Address of the indirect table of the buffer that was made available last in a virtqueue.
    pub fn table(&self, queue: u16) -> u64 {
        self.read_address(self.head(queue))
    }

    /// Sets flags of the split descriptor at `address`.
    pub fn flag(&self, address: u64, set: u16) {
        self.write16(address + 12, self.read16(address + 12) | set);
    }

    /// Sets flags of the packed descriptor at `address`.
    pub fn flag_packed(&self, address: u64, set: u16) {
        self.write16(address + 14, self.read16(address + 14) | set);
    }
}

/// A transport through a hand that may slip; and the wait of its driver.
#[derive(Clone)]
pub(super) struct SlipTransport {
    hand: Arc<Mutex<Hand>>,
    slip: &'static Slip,
    id: u32,
}

impl SlipTransport {
    pub fn new(device: StrictTransport, slip: &'static Slip, memory: Arc<Memory>) -> Self {
        let id = device.device_id();
        let hand = Hand {
            device,
            memory,
            features: Features::NONE,
            status: Status::NONE,
            layouts: BTreeMap::new(),
            notifications: 0,
            note: 0,
        };
        Self {
            hand: Arc::new(Mutex::new(hand)),
            slip,
            id,
        }
    }

    /// The driver waits.
    pub fn wait(&self) {
        let mut hand = self.hand();
        if let Some(slip) = self.slip.waits {
            slip(&mut hand);
        }
        with(hand.device.device(), |device| device.turn());
    }

    fn hand(&self) -> MutexGuard<'_, Hand> {
        self.hand.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Transport for SlipTransport {
    fn device_id(&self) -> u32 {
        self.id
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        self.hand().device.device_features()
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        let mut hand = self.hand();
        hand.features = features;
        match self.slip.accept {
            Some(slip) => slip(&mut hand, features),
            None => hand.device.set_driver_features(features),
        }
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        let mut hand = self.hand();
        match self.slip.status {
            Some(slip) => slip(&mut hand),
            None => hand.device.status(),
        }
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        let mut hand = self.hand();
        let told = match self.slip.set_status {
            Some(slip) => slip(&mut hand, status),
            None => hand.device.set_status(status),
        };
        hand.status = status;
        told
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        self.hand().device.queue_max_size(index)
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        let mut hand = self.hand();
        let told = match self.slip.enable_queue {
            Some(slip) => slip(&mut hand, index, *layout),
            None => hand.device.enable_queue(index, layout),
        };
        hand.layouts.insert(index, *layout);
        told
    }

    fn reset_queue(&mut self, index: u16) -> Result<(), TransportError> {
        self.hand().device.reset_queue(index)
    }

    fn queue_is_reset(&mut self, index: u16) -> Result<bool, TransportError> {
        let mut hand = self.hand();
        match self.slip.queue_is_reset {
            Some(slip) => slip(&mut hand, index),
            None => hand.device.queue_is_reset(index),
        }
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        let mut hand = self.hand();
        hand.notifications += 1;
        match self.slip.notify {
            Some(slip) => slip(&mut hand, index, data),
            None => hand.device.notify(index, data),
        }
    }

    fn config_generation(&mut self) -> Result<u32, TransportError> {
        let mut hand = self.hand();
        match self.slip.generation {
            Some(slip) => slip(&mut hand),
            None => hand.device.config_generation(),
        }
    }

    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        let mut hand = self.hand();
        if let Some(slip) = self.slip.read_config {
            slip(&mut hand, offset);
        }
        hand.device.read_config(offset, width, data)
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) -> Result<(), TransportError> {
        self.hand().device.write_config(offset, width, data)
    }

    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        let mut hand = self.hand();
        let interrupt = hand.device.take_interrupt()?;
        if let Some(slip) = self.slip.interrupt {
            slip(&mut hand, interrupt);
        }
        Ok(interrupt)
    }

    fn shared_memory(&mut self, id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        self.hand().device.shared_memory(id)
    }
}
