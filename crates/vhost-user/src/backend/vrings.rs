//! The requests that concern one vring, and when it runs.

use std::os::fd::OwnedFd;

use ringwright_device::{EventNotify, Notify, QueueSetup};
use ringwright_spec::feature;

use super::BackendError;
use super::connection::{Connection, read};
use super::ring::{Kick, Position, Ring};
use crate::message::{Request, VringAddress, VringState};
use crate::socket::Message;

impl Connection<'_> {
    pub(super) fn set_vring_num(&mut self, state: VringState) -> Result<(), BackendError> {
        let index = self.index(Request::SET_VRING_NUM, state.index)?;
        let largest = self
            .host
            .description()
            .queues
            .get(usize::from(index))
            .map_or(0, |queue| queue.max_size);
        let size = u16::try_from(state.num)
            .ok()
            .filter(|size| (1..=largest).contains(size));
        let size = size.ok_or(BackendError::QueueSize {
            index,
            found: state.num,
            largest,
        })?;
        if self.ring(index).size != size {
            self.set_up_anew(index)?;
            self.ring(index).size = size;
        }
        self.update(index)
    }

    pub(super) fn set_vring_addr(&mut self, addresses: VringAddress) -> Result<(), BackendError> {
        let index = self.index(Request::SET_VRING_ADDR, addresses.index)?;
        // Device areas are logged where they are, whenever there is a log. Where else they could be, only a front-end with an
        // IOMMU knows. Without the flag the address means nothing; Linux in user mode sends all ones.
        if addresses.flags & VringAddress::LOG != 0
            && let Some(expected) = self.slots.guest_address(addresses.used)
            && expected != addresses.log
        {
            return Err(BackendError::LogAddress {
                index,
                expected,
                found: addresses.log,
            });
        }
        let place = |addresses: &VringAddress| (addresses.descriptor, addresses.available, addresses.used);
        if self.ring(index).addresses.as_ref().map(place) != Some(place(&addresses)) {
            self.set_up_anew(index)?;
            self.ring(index).addresses = Some(addresses);
        }
        self.update(index)
    }

    pub(super) fn set_vring_base(&mut self, state: VringState) -> Result<(), BackendError> {
        let index = self.index(Request::SET_VRING_BASE, state.index)?;
        self.set_up_anew(index)?;
        let packed = self.packed();
        let ring = self.ring(index);
        if ring.position.base(packed) != state.num {
            ring.position = Position::Base(state.num);
        }
        Ok(())
    }

    /// Stops the vring, until the next kick descriptor comes.
    pub(super) fn get_vring_base(&mut self, state: VringState) -> Result<VringState, BackendError> {
        let index = self.index(Request::GET_VRING_BASE, state.index)?;
        self.set_up_anew(index)?;
        let packed = self.packed();
        Ok(VringState {
            num: self.ring(index).position.base(packed),
            ..state
        })
    }

    pub(super) fn set_vring_kick(&mut self, message: Message) -> Result<(), BackendError> {
        let (index, descriptor) = self.descriptor(Request::SET_VRING_KICK, message)?;
        // A ring that runs goes on where it is, with the new descriptor.
        self.stop(index)?;
        self.ring(index).kick = descriptor.map_or(Kick::Poll, Kick::Descriptor);
        self.update(index)
    }

    pub(super) fn set_vring_call(&mut self, message: Message) -> Result<(), BackendError> {
        let (index, descriptor) = self.descriptor(Request::SET_VRING_CALL, message)?;
        let call = descriptor
            .map(|descriptor| event(index, descriptor))
            .transpose()?;
        let ring = self.ring(index);
        ring.call.set(call);
        // What was notified by the old descriptor a moment ago may not have been seen; one notification too many is
        // allowed.
        if ring.running.is_some() {
            ring.call.notify();
        }
        Ok(())
    }

    pub(super) fn set_vring_err(&mut self, message: Message) -> Result<(), BackendError> {
        let (index, descriptor) = self.descriptor(Request::SET_VRING_ERR, message)?;
        let error = descriptor
            .map(|descriptor| event(index, descriptor))
            .transpose()?;
        self.channel.set_error(index, error);
        Ok(())
    }

    pub(super) fn set_vring_enable(&mut self, state: VringState) -> Result<(), BackendError> {
        let request = Request::SET_VRING_ENABLE;
        let index = self.index(request, state.index)?;
        match state.num {
            0 => self.enable(index, false),
            1 => self.enable(index, true),
            found => Err(BackendError::Value {
                request,
                expected: "0 or 1",
                found: found.into(),
            }),
        }
    }

    pub(super) fn enable(&mut self, index: u16, enabled: bool) -> Result<(), BackendError> {
        self.ring(index).enabled = enabled;
        self.update(index)
    }

    pub(super) fn disable_all(&mut self) -> Result<(), BackendError> {
        self.indices().try_for_each(|index| self.enable(index, false))
    }

    /// Stops every ring that runs, and says which did.
    pub(super) fn stop_all(&mut self) -> Result<Vec<u16>, BackendError> {
        let rings = (0u16..).zip(&self.rings);
        let running: Vec<u16> = rings
            .filter(|(_, ring)| ring.running.is_some())
            .map(|(index, _)| index)
            .collect();
        running.iter().try_for_each(|index| self.stop(*index))?;
        Ok(running)
    }

    pub(super) fn start_each(&mut self, indices: &[u16]) -> Result<(), BackendError> {
        indices.iter().try_for_each(|index| self.update(*index))
    }

    pub(super) fn indices(&self) -> std::ops::Range<u16> {
        0..self.rings.len() as u16
    }

    /// Starts or stops a ring as everything known of it demands. A ring that is disabled is not processed: for the
    /// devices here there is no processing without side effects.
    fn update(&mut self, index: u16) -> Result<(), BackendError> {
        match (self.ring(index).is_due(), self.ring(index).running) {
            (true, None) => self.start(index)?,
            (false, Some(_)) => self.stop(index)?,
            _ => {}
        }
        self.channel
            .set_running(self.rings.iter().any(|ring| ring.running.is_some()));
        Ok(())
    }

    fn start(&mut self, index: u16) -> Result<(), BackendError> {
        let packed = self.packed();
        let ring = &self.rings[usize::from(index)];
        let Some(layout) = ring.layout(index, &self.slots)? else {
            return Ok(());
        };
        let state = ring
            .position
            .state(&layout, packed, &self.slots.memory()?)
            .map_err(|source| BackendError::RingMemory { index, source })?;
        let (notify, kick) = (Box::new(ring.call.clone()), duplicate(index, &ring.kick)?);
        let setup = QueueSetup {
            layout,
            state,
            kick,
            notify,
        };
        let region = self
            .in_flight
            .as_ref()
            .and_then(|in_flight| in_flight.region(index));
        let tracked = region.is_some();
        match region {
            Some(region) => self.host.start_tracked_queue(index, setup, region?)?,
            None => self.host.start_queue(index, setup)?,
        }
        self.ring(index).running = Some(layout);
        // The process before this one may have ended between a used buffer and its notification.
        if tracked {
            self.ring(index).call.notify();
        }
        tracing::debug!(index, ?layout, ?state, "vring started");
        Ok(())
    }

    /// Stops a ring, if it runs, and remembers where.
    pub(super) fn stop(&mut self, index: u16) -> Result<(), BackendError> {
        if self.ring(index).running.take().is_none() {
            return Ok(());
        }
        let state = self.host.stop_queue(index)?;
        self.ring(index).position = Position::State(state);
        tracing::debug!(index, ?state, "vring stopped");
        Ok(())
    }

    /// Stops a ring that is about to be set up anew. It does not start before its next kick descriptor, since the
    /// front-end replaces its parts one by one.
    fn set_up_anew(&mut self, index: u16) -> Result<(), BackendError> {
        if self.ring(index).running.is_some() {
            self.stop(index)?;
            self.ring(index).kick = Kick::None;
        }
        self.update(index)
    }

    /// The vring of an index that [`Connection::index`] has checked, or that counts the vrings.
    fn ring(&mut self, index: u16) -> &mut Ring {
        &mut self.rings[usize::from(index)]
    }

    pub(super) fn packed(&self) -> bool {
        self.host
            .features()
            .is_some_and(|features| features.contains(feature::RING_PACKED))
    }

    fn index(&self, request: Request, index: u32) -> Result<u16, BackendError> {
        let count = self.rings.len();
        let known = u16::try_from(index)
            .ok()
            .filter(|index| usize::from(*index) < count);
        known.ok_or(BackendError::NoSuchQueue {
            request,
            index,
            count,
        })
    }

    /// The vring and the descriptor of a message that passes one, or says that there is none.
    fn descriptor(
        &self,
        request: Request,
        mut message: Message,
    ) -> Result<(u16, Option<OwnedFd>), BackendError> {
        let word: u64 = read(request, &message)?;
        let index = self.index(request, (word & VringState::INDEX_MASK) as u32)?;
        let (flag, found) = (word & VringState::NO_DESCRIPTOR != 0, message.descriptors.len());
        let descriptor = message.descriptors.pop();
        if descriptor.is_some() == flag {
            return Err(BackendError::DescriptorFlag { request, flag, found });
        }
        Ok((index, descriptor))
    }
}

/// A descriptor to notify by.
fn event(index: u16, descriptor: OwnedFd) -> Result<EventNotify, BackendError> {
    EventNotify::new(descriptor).map_err(|source| BackendError::EventDescriptor { index, source })
}

/// The kick descriptor for the thread that serves the ring; the original stays for the next start.
fn duplicate(index: u16, kick: &Kick) -> Result<Option<OwnedFd>, BackendError> {
    match kick {
        Kick::None | Kick::Poll => Ok(None),
        Kick::Descriptor(descriptor) => descriptor
            .try_clone()
            .map(Some)
            .map_err(|source| BackendError::EventDescriptor { index, source }),
    }
}
