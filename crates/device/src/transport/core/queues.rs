//! Virtqueues: set-up, start, reset.

use ringwright_memory::Memory;
use ringwright_ring::{DeviceQueue, Layout, State};
use ringwright_spec::feature;

use super::{Core, Interface};
use crate::QueueSetup;
use crate::codec::{Rest, put_state};

/// A virtqueue as the driver has set it up.
#[derive(Debug)]
pub(super) struct Queue {
    /// What the device accepts, whatever the format.
    max_size: u16,
    layout: Layout,
    enabled: bool,
    /// Where the virtqueue begins when it is started.
    state: State,
    /// It ran, and is to run again as soon as it may.
    resting: bool,
}

impl Queue {
    pub fn new(max_size: u16) -> Self {
        Self {
            max_size,
            layout: Layout::default(),
            enabled: false,
            state: State::default(),
            resting: false,
        }
    }

    /// For a saved state.
    pub fn save(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.layout.size.to_le_bytes());
        bytes.extend(self.layout.descriptor_area.to_le_bytes());
        bytes.extend(self.layout.driver_area.to_le_bytes());
        bytes.extend(self.layout.device_area.to_le_bytes());
        bytes.push(self.enabled.into());
        bytes.push(self.resting.into());
        put_state(bytes, self.state);
    }

    /// From a saved state.
    pub fn restore(max_size: u16, rest: &mut Rest<'_>) -> Option<Self> {
        Some(Self {
            max_size,
            layout: Layout {
                size: rest.u16()?,
                descriptor_area: rest.u64()?,
                driver_area: rest.u64()?,
                device_area: rest.u64()?,
            },
            enabled: rest.flag()?,
            resting: rest.flag()?,
            state: rest.state()?,
        })
    }

    /// What the device accepts.
    pub fn max_size(&self) -> u16 {
        self.max_size
    }

    /// It ran up to here, and is to go on.
    pub fn rest_at(&mut self, state: State) {
        self.state = state;
        self.resting = true;
    }
}

impl Core {
    /// Number of virtqueues.
    pub fn queue_count(&self) -> u16 {
        self.queues.len() as u16
    }

    /// The largest size of this virtqueue; 0 if there is none. A power of 2 unless packed virtqueues were negotiated.
    pub fn queue_max_size(&self, index: u16) -> u16 {
        let Some(queue) = self.queues.get(usize::from(index)) else {
            return 0;
        };
        match queue.max_size.checked_ilog2() {
            Some(log) if !self.is_packed() => 1 << log,
            _ => queue.max_size,
        }
    }

    /// Size and addresses of this virtqueue; the size is the largest before the driver chooses another. All 0 if there is
    /// no such virtqueue.
    pub fn queue_layout(&self, index: u16) -> Layout {
        let layout = self.queue(index).map(|queue| queue.layout).unwrap_or_default();
        let size = match layout.size {
            0 => self.queue_max_size(index),
            size => size,
        };
        Layout { size, ..layout }
    }

    /// Whether the driver has enabled this virtqueue.
    pub fn queue_is_enabled(&self, index: u16) -> bool {
        self.queue(index).is_some_and(|queue| queue.enabled)
    }

    /// The driver chooses the queue size. One that cannot be is a driver that the device cannot go on with: it has that
    /// size in mind from now on.
    pub fn set_queue_size(&mut self, index: u16, size: u32) {
        let max_size = self.queue_max_size(index);
        let legal =
            |size: &u16| (1..=max_size).contains(size) && (self.is_packed() || size.is_power_of_two());
        match u16::try_from(size).ok().filter(legal) {
            Some(size) => self.set_queue_layout(index, |layout| layout.size = size),
            None if max_size == 0 => {}
            None => self.break_device(&format!(
                "queue {index}: size {size} with a maximum of {max_size} \
                 (drv:mmio:mmio-device-register-layout:08, drv:pci:common-configuration-structure-layout:03)"
            )),
        }
    }

    /// The driver sets a part of the layout. Ignored while the virtqueue is enabled.
    pub fn set_queue_layout(&mut self, index: u16, set: impl FnOnce(&mut Layout)) {
        match self.queues.get_mut(usize::from(index)) {
            Some(queue) if !queue.enabled => set(&mut queue.layout),
            Some(_) => tracing::debug!(index, "a virtqueue that is enabled cannot be set up"),
            None => {}
        }
    }

    /// The driver enables the virtqueue: it starts now, or with DRIVER_OK (`dev:core:device-status-field:01`).
    pub fn enable_queue(&mut self, index: u16) {
        if let Some(queue) = self.queues.get_mut(usize::from(index))
            && !queue.enabled
        {
            queue.enabled = true;
            queue.state = State::default();
            self.start_queues();
        }
    }

    /// Whether the driver may reset a single virtqueue.
    pub fn can_reset_queues(&self) -> bool {
        self.negotiated_features().contains(feature::RING_RESET)
    }

    /// The driver resets the virtqueue (section 2.6.1): when this returns, nothing of it is executed and nothing notified
    /// (`dev:core:virtqueue-reset:01`), and all of it is in its default state (`dev:core:virtqueue-reset:02`).
    pub fn reset_queue(&mut self, index: u16) {
        self.disable_queue(index);
        self.forget_queue(index);
    }

    /// The driver stops using the virtqueue: when this returns, the device does not access it any more
    /// (`dev:mmio:mmio-device-register-layout:07`). Enabled again, it begins anew.
    pub fn disable_queue(&mut self, index: u16) {
        self.stop_queue(index);
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            (queue.enabled, queue.resting) = (false, false);
        }
    }

    /// An available buffer notification that reached the model itself.
    pub fn notify(&mut self, index: u16) {
        if self.interface == Interface::Legacy {
            self.start_legacy_queue(index);
        }
        self.notifier.notify(index);
    }

    pub(super) fn queue(&self, index: u16) -> Option<&Queue> {
        self.queues.get(usize::from(index))
    }

    /// Starts every virtqueue that is to run and does not: all that are enabled if the device is live, else those that
    /// were put to rest.
    pub(super) fn start_queues(&mut self) {
        for index in 0..self.queue_count() {
            if self.is_live() || self.queue(index).is_some_and(|queue| queue.resting) {
                self.start_queue(index);
            }
        }
    }

    /// Starts the virtqueue, if it is enabled and does not run, and the device can do so now.
    pub(super) fn start_queue(&mut self, index: u16) {
        let possible = self.dma && !self.paused && !self.signal.is_broken();
        if !possible || !self.queue_is_enabled(index) || self.host.is_running(index) {
            return;
        }
        if let Err(reason) = self.try_start_queue(index) {
            self.break_device(&reason);
        }
    }

    /// Stops every virtqueue that runs, until [`Core::start_queues`].
    pub(super) fn rest_queues(&mut self) {
        for index in 0..self.queue_count() {
            self.rest_queue(index);
        }
    }

    /// Puts every virtqueue to rest that would not lie in `memory`.
    pub(super) fn rest_queues_outside(&mut self, memory: &Memory) {
        for index in 0..self.queue_count() {
            if self.host.is_running(index) && !self.lies_in(index, memory) {
                tracing::debug!(index, "the virtqueue is not in memory, and rests");
                self.rest_queue(index);
            }
        }
    }

    /// Starts those that rest and do lie in `memory`.
    pub(super) fn start_queues_inside(&mut self, memory: &Memory) {
        for index in 0..self.queue_count() {
            if self.queue(index).is_some_and(|queue| queue.resting) && self.lies_in(index, memory) {
                self.start_queue(index);
            }
        }
    }

    fn rest_queue(&mut self, index: u16) {
        if let Some(state) = self.stop_queue(index) {
            self.queues[usize::from(index)].rest_at(state);
        }
    }

    fn lies_in(&self, index: u16, memory: &Memory) -> bool {
        DeviceQueue::check(&self.queue_layout(index), self.is_packed(), memory).is_ok()
    }

    /// Stops the virtqueue if it runs, and says where it stands.
    fn stop_queue(&mut self, index: u16) -> Option<State> {
        if !self.host.is_running(index) {
            return None;
        }
        self.notifier.set_open(index, false);
        let outcome = self.host.stop_queue(index);
        if let Some(relay) = &self.relay {
            relay.stop(index);
        }
        if let Err(error) = &outcome {
            self.break_device(&format!("queue {index} cannot be stopped: {error}"));
        }
        outcome.ok()
    }

    /// Back to what it is after reset.
    pub(super) fn forget_queue(&mut self, index: u16) {
        self.notifier.set_open(index, false);
        if let Some(relay) = &self.relay {
            relay.forget(index);
        }
        if let Some(queue) = self.queues.get_mut(usize::from(index)) {
            *queue = Queue::new(queue.max_size);
        }
    }

    fn try_start_queue(&mut self, index: u16) -> Result<(), String> {
        let kick = self
            .notifier
            .kick(index)
            .map_err(|error| format!("queue {index}: {error}"))?;
        let sink = self.sink.clone();
        let mut setup = QueueSetup {
            layout: self.queue_layout(index),
            state: self.queue(index).map(|queue| queue.state).unwrap_or_default(),
            kick: Some(kick),
            notify: Box::new(move || sink.used_buffer(index)),
        };
        if let Some(relay) = &self.relay {
            let resumed = self.queue(index).is_some_and(|queue| queue.resting);
            setup = relay
                .start(index, self.negotiated_features(), setup, resumed)
                .map_err(|error| format!("queue {index}: {error}"))?;
        }
        if let Err(error) = self.host.start_queue(index, setup) {
            if let Some(relay) = &self.relay {
                relay.stop(index);
            }
            return Err(error.to_string());
        }
        self.notifier.set_open(index, true);
        self.queues[usize::from(index)].resting = false;
        Ok(())
    }

    fn is_packed(&self) -> bool {
        self.negotiated_features().contains(feature::RING_PACKED)
    }
}

/// Replaces the low half of an address.
pub(crate) fn set_low(address: &mut u64, half: u32) {
    *address = *address & !u64::from(u32::MAX) | u64::from(half);
}

/// Replaces the high half of an address.
pub(crate) fn set_high(address: &mut u64, half: u32) {
    *address = *address & u64::from(u32::MAX) | u64::from(half) << 32;
}
