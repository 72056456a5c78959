//! One virtqueue, from set-up to stop.

use std::os::fd::{AsFd, OwnedFd};

use ringwright_ring::{Layout, State};
use ringwright_spec::feature;

use super::{Frontend, FrontendError, event, take};
use crate::message::{PROTOCOL_FEATURES, Request, VringAddress, VringState};

/// A virtqueue and its events.
#[derive(Debug)]
pub(super) struct Queue {
    /// Written to make the back-end look.
    pub kick: OwnedFd,
    /// Written by the back-end when it has used buffers.
    pub call: OwnedFd,
    /// Where it lies, once the back-end knows.
    set_up: Option<Layout>,
    /// Whether it runs.
    pub running: bool,
}

impl Queue {
    pub fn new() -> Result<Self, FrontendError> {
        Ok(Self {
            kick: event()?,
            call: event()?,
            set_up: None,
            running: false,
        })
    }

    /// Where it lies, if it is set up.
    pub fn layout(&self) -> Option<Layout> {
        self.set_up
    }
}

impl Frontend {
    /// Sets virtqueue `index` up to go on at `base` (the protocol's vring base: 0 for a fresh split one, 0x8000_8000 for a
    /// fresh packed one) and starts it if the driver has set DRIVER_OK. A queue that runs is stopped first.
    pub fn start_queue(&mut self, index: u16, layout: &Layout, base: u32) -> Result<(), FrontendError> {
        self.stop_queue(index)?;
        if !self.shared {
            self.share()?;
        }
        self.tell_queue(index, layout, base)?;
        if self.status.contains(ringwright_spec::status::Status::DRIVER_OK) {
            self.run(index)
        } else {
            Ok(())
        }
    }

    /// Tells the back-end all of virtqueue `index`, up to the kick descriptor that starts it.
    pub(super) fn tell_queue(&mut self, index: u16, layout: &Layout, base: u32) -> Result<(), FrontendError> {
        let number = u32::from(index);
        let state = |num| VringState { index: number, num };
        self.dialogue
            .tell(Request::SET_VRING_NUM, &state(layout.size.into()), &[])?;
        self.dialogue.tell(Request::SET_VRING_BASE, &state(base), &[])?;
        self.tell_addresses(index, layout)?;
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return Err(FrontendError::NoQueue(index));
        };
        let event = u64::from(index);
        self.dialogue
            .tell(Request::SET_VRING_ERR, &event, &[self.error.as_fd()])?;
        self.dialogue
            .tell(Request::SET_VRING_CALL, &event, &[queue.call.as_fd()])?;
        queue.set_up = Some(*layout);
        Ok(())
    }

    /// Tells the back-end where virtqueue `index` lies.
    pub(super) fn tell_addresses(&mut self, index: u16, layout: &Layout) -> Result<(), FrontendError> {
        let user = |address| {
            self.user_address(address)
                .ok_or(FrontendError::NotShared(address))
        };
        let addresses = VringAddress {
            index: index.into(),
            flags: if self.logging { VringAddress::LOG } else { 0 },
            descriptor: user(layout.descriptor_area)?,
            used: user(layout.device_area)?,
            available: user(layout.driver_area)?,
            log: layout.device_area,
        };
        self.dialogue.tell(Request::SET_VRING_ADDR, &addresses, &[])
    }

    /// Stops virtqueue `index` once the back-end has ended what it was doing, and returns its vring base.
    pub fn stop_queue(&mut self, index: u16) -> Result<Option<u32>, FrontendError> {
        let queue = self
            .queues
            .get_mut(usize::from(index))
            .ok_or(FrontendError::NoQueue(index))?;
        if queue.set_up.take().is_none() {
            return Ok(None);
        }
        queue.running = false;
        let request = Request::GET_VRING_BASE;
        let reply = self.dialogue.ask(
            request,
            &VringState {
                index: index.into(),
                num: 0,
            },
            &[],
        )?;
        let state = reply
            .read::<VringState>()
            .filter(|state| state.index == u32::from(index));
        state.map(|state| Some(state.num)).ok_or(FrontendError::Answer {
            request,
            found: Request(reply.header.request),
            flags: reply.header.flags,
            size: reply.payload.len(),
        })
    }

    /// The vring base of a virtqueue that was never used.
    pub(super) fn fresh_base(&self) -> u32 {
        State::default().to_vring_base(self.features.contains(feature::RING_PACKED))
    }

    /// Starts every virtqueue that is set up.
    pub(super) fn run_all(&mut self) -> Result<(), FrontendError> {
        (0..self.queues()).try_for_each(|index| self.run(index))
    }

    /// Stops every virtqueue, and forgets the notifications that came.
    pub(super) fn stop_all(&mut self) -> Result<(), FrontendError> {
        (0..self.queues()).try_for_each(|index| self.stop_queue(index).map(drop))?;
        for queue in &self.queues {
            take(&queue.kick);
            take(&queue.call);
        }
        take(&self.error);
        self.failed = false;
        Ok(())
    }

    /// Makes the back-end look at virtqueue `index`.
    pub(super) fn kick(&self, index: u16) -> Result<(), FrontendError> {
        let queue = self
            .queues
            .get(usize::from(index))
            .ok_or(FrontendError::NoQueue(index))?;
        // The only failure is a counter that is full, which is as good.
        let _ = rustix::io::write(&queue.kick, &1u64.to_ne_bytes());
        Ok(())
    }

    /// Makes this end look at virtqueue `index`.
    pub(super) fn wake(&self, index: u16) -> Result<(), FrontendError> {
        let queue = self
            .queues
            .get(usize::from(index))
            .ok_or(FrontendError::NoQueue(index))?;
        let _ = rustix::io::write(&queue.call, &1u64.to_ne_bytes());
        Ok(())
    }

    fn run(&mut self, index: u16) -> Result<(), FrontendError> {
        let Some(queue) = self.queues.get_mut(usize::from(index)) else {
            return Err(FrontendError::NoQueue(index));
        };
        if queue.set_up.is_none() || queue.running {
            return Ok(());
        }
        queue.running = true;
        self.run_again(index)
    }

    /// Starts a virtqueue that is set up and known to run.
    pub(super) fn run_again(&mut self, index: u16) -> Result<(), FrontendError> {
        let Some(queue) = self.queues.get(usize::from(index)) else {
            return Err(FrontendError::NoQueue(index));
        };
        self.dialogue
            .tell(Request::SET_VRING_KICK, &u64::from(index), &[queue.kick.as_fd()])?;
        if self.offered.contains(PROTOCOL_FEATURES) {
            let enabled = VringState {
                index: index.into(),
                num: 1,
            };
            self.dialogue.tell(Request::SET_VRING_ENABLE, &enabled, &[])?;
        }
        Ok(())
    }

    /// Where the byte that the device sees at `address` is in this process.
    fn user_address(&self, address: u64) -> Option<u64> {
        self.regions.iter().find_map(|region| {
            let offset = address.checked_sub(region.guest_address())?;
            (offset < region.len()).then(|| region.pointer() as u64 + offset)
        })
    }
}
