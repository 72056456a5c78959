//! A strict device behind a vhost-user front-end.
//!
//! The front-end has the device status and the configuration space. What is seen of the driver is what it has accepted, as far
//! as it concerns the back-end, and its virtqueues.

use ringwright_ring::{ByteOrder, DeviceQueue, Layout, State};
use ringwright_spec::Features;
use ringwright_spec::status::Status;

use super::Strict;
use crate::driver::scenario::Completes;

/// What the status of a device is for which the front-end runs a virtqueue.
const LIVE: Status =
    Status(Status::ACKNOWLEDGE.0 | Status::DRIVER.0 | Status::FEATURES_OK.0 | Status::DRIVER_OK.0);

impl Strict {
    /// The features that were accepted, which front-ends repeat.
    pub(in crate::driver) fn accept_again(&mut self, features: Features) {
        if self.past.steps.accepted != Some(features) {
            self.accept(features);
        }
    }

    /// The configuration space.
    pub(in crate::driver) fn config(&mut self) -> &mut Vec<u8> {
        self.model.config()
    }

    /// How many virtqueues there are.
    pub(in crate::driver) fn queues(&self) -> u16 {
        self.model.queues()
    }

    /// The front-end starts a virtqueue where `base` says, of which the driver has finished the set-up.
    pub(in crate::driver) fn start_queue(&mut self, index: u16, layout: Layout, base: u32) {
        if !self.past.is_live() {
            self.past.status = LIVE;
            self.past.lives += 1;
        }
        let packed = self.past.is_packed();
        // Some front-ends know only the driver's half of a packed virtqueue's base.
        let base = match packed && base >> 16 == 0 {
            true => base << 16 | base,
            false => base,
        };
        let state = DeviceQueue::state_at_base(base, &layout, packed, &self.memory, ByteOrder::Little);
        // One that is in no memory is at no place; a rule says that it is not reached.
        self.enable_queue_at(index, layout, state.unwrap_or_default());
    }

    /// The front-end asks where a virtqueue stops: whatever the device has still to do is done before.
    pub(in crate::driver) fn finish_queue(&mut self, index: u16) -> u32 {
        if self.past.scenario.completes != Completes::Never {
            self.serve_some(self.pending.len());
        }
        self.stop_queue(index)
    }

    /// A virtqueue does not run any more. It is not looked at once more: some front-ends only say so when the driver has reset
    /// the device and taken back what is in there.
    pub(in crate::driver) fn stop_queue(&mut self, index: u16) -> u32 {
        let base = self
            .ends
            .remove(&index)
            .map_or(State::default(), |end| end.state());
        self.pending.retain(|(queue, _)| *queue != index);
        self.model.forget(Some(index));
        self.past.queues.remove(&index);
        if self.ends.is_empty() {
            self.past.status = Status::NONE;
        }
        base.to_vring_base(self.past.is_packed())
    }

    /// Whether used buffers are to be notified of; from now on they are.
    pub(in crate::driver) fn take_call(&mut self) -> bool {
        let interrupt = std::mem::take(&mut self.interrupt);
        interrupt.queue || interrupt.config
    }

    /// Whether a buffer becomes available, after a notification.
    pub(in crate::driver) fn kicked(&mut self, index: u16) {
        self.notify(index, index.into());
    }
}
