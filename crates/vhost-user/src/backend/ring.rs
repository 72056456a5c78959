//! What a front-end has said of one vring.

use std::os::fd::OwnedFd;

use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, DeviceQueue, Layout, SetupError, State};

use super::BackendError;
use super::channel::Call;
use super::memory::MemorySlots;
use crate::message::VringAddress;

/// One vring, started or not.
#[derive(Default)]
pub(super) struct Ring {
    /// Queue size; 0 until the front-end sets it.
    pub size: u16,
    /// The areas, by user address.
    pub addresses: Option<VringAddress>,
    /// Where the ring goes on.
    pub position: Position,
    /// The text starts a ring by its first kick. It is enough to know what a kick will be: a ring that runs before its
    /// first kick does nothing that the kick would not have it do.
    pub kick: Kick,
    /// How used buffers are notified; shared with the running queue.
    pub call: Call,
    /// Whether the ring is enabled; tracked also while it is stopped.
    pub enabled: bool,
    /// The layout the device runs it with, while it does.
    pub running: Option<Layout>,
}

/// Where a ring goes on when it starts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Position {
    /// Where the front-end says, in the protocol's form.
    Base(u32),
    /// Where it was stopped. Kept, because the protocol's form is ambiguous: some front-ends (Linux in user mode) say 0 for
    /// a fresh packed ring, and a packed ring that has gone round once is at 0 too, with both wrap counters 0.
    State(State),
}

impl Default for Position {
    fn default() -> Self {
        Self::Base(0)
    }
}

impl Position {
    /// The protocol's form.
    pub fn base(self, packed: bool) -> u32 {
        match self {
            Self::Base(base) => base,
            Self::State(state) => state.to_vring_base(packed),
        }
    }

    /// The state for a ring that lies at `layout`; what a base leaves out is read from there.
    pub fn state(self, layout: &Layout, packed: bool, memory: &Memory) -> Result<State, SetupError> {
        let base = match self {
            Self::State(state) => return Ok(state),
            // Some front-ends (DPDK's virtio-user) know only the driver's half of a packed ring's base and leave the
            // device's half 0; nothing is in flight when they start a ring, so both are the same.
            Self::Base(base) if packed && base >> 16 == 0 => base << 16 | base,
            Self::Base(base) => base,
        };
        DeviceQueue::state_at_base(base, layout, packed, memory, ByteOrder::Little)
    }
}

/// How the front-end says that there are buffers.
#[derive(Default)]
pub(super) enum Kick {
    /// Not said yet: the ring is stopped.
    #[default]
    None,
    /// Not at all: the ring is polled.
    Poll,
    /// By this descriptor.
    Descriptor(OwnedFd),
}

impl Ring {
    /// Whether everything is there and the ring is to run.
    pub fn is_due(&self) -> bool {
        self.enabled && self.size != 0 && self.addresses.is_some() && !matches!(self.kick, Kick::None)
    }

    /// Whether it runs without kicks.
    pub fn is_polled(&self) -> bool {
        self.running.is_some() && matches!(self.kick, Kick::Poll)
    }

    /// Where the ring lies in guest addresses. `None` while the front-end has not said.
    pub fn layout(&self, index: u16, slots: &MemorySlots) -> Result<Option<Layout>, BackendError> {
        let Some(addresses) = &self.addresses else {
            return Ok(None);
        };
        let guest = |area, address| {
            slots
                .guest_address(address)
                .ok_or(BackendError::RingOutsideMemory { index, area, address })
        };
        Ok(Some(Layout {
            size: self.size,
            descriptor_area: guest("descriptor", addresses.descriptor)?,
            driver_area: guest("driver", addresses.available)?,
            device_area: guest("device", addresses.used)?,
        }))
    }

    /// Forgets all but the descriptors to notify by, as a reset of the device does.
    pub fn reset(&mut self) {
        *self = Self {
            call: self.call.clone(),
            ..Self::default()
        };
    }
}
