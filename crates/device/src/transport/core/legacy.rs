//! What is different on legacy interfaces: features are final with their first use, virtqueues are one piece of memory
//! and may be used before DRIVER_OK, and the configuration space is in the guest's byte order.

use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::legacy::config_integers;

use super::{Core, Interface};

impl Core {
    /// Which face the device shows.
    pub fn interface(&self) -> Interface {
        self.interface
    }

    /// Shows the other face, to a driver that has just turned out to know only that one. Nothing happens once the driver
    /// has negotiated features.
    pub fn set_interface(&mut self, interface: Interface) {
        if self.host.features().is_none() {
            self.interface = interface;
        }
    }

    /// The driver of a legacy device says where the virtqueue is: in one piece from `address` on, the used ring aligned to
    /// `queue_align` bytes (section 2.7.2). `None` means that it has stopped using it.
    pub fn set_legacy_queue(&mut self, index: u16, address: Option<u64>, queue_align: u32) {
        let Some(address) = address else {
            return self.disable_queue(index);
        };
        let size = self.queue_layout(index).size;
        if size == 0 {
            return;
        }
        match Layout::in_one_piece(address, size, queue_align) {
            Some(place) => {
                self.set_queue_layout(index, |layout| *layout = place);
                self.enable_queue(index);
            }
            None => self.break_device(&format!(
                "queue {index}: no virtqueue of {size} at {address:#x} aligned to {queue_align}"
            )),
        }
    }

    /// Starts a virtqueue that a legacy driver uses before DRIVER_OK (section 3.1.2).
    pub(super) fn start_legacy_queue(&mut self, index: u16) {
        if self.queue_is_enabled(index) && !self.host.is_running(index) && !self.signal.is_broken() {
            self.finish_legacy_negotiation();
            self.start_queue(index);
        }
    }

    /// Takes the features that the driver has accepted, as far as they can be had: there is no way to refuse them.
    pub(super) fn finish_legacy_negotiation(&mut self) {
        let features = self
            .host
            .supported(self.driver_features & self.offered_features());
        if let Err(error) = self.host.set_features(features) {
            self.break_device(&error.to_string());
        }
    }

    /// The driver has written features, perhaps after it began to use the device.
    pub(super) fn renegotiate(&mut self) {
        if self.host.features().is_none() {
            return;
        }
        self.rest_queues();
        self.finish_legacy_negotiation();
        self.start_queues();
    }

    /// The configuration space, its integers in the byte order that the driver expects.
    pub(super) fn config_for_driver(&self) -> Vec<u8> {
        let mut config = self.host.config();
        self.swap_config(&mut config);
        config
    }

    /// What the driver writes to the configuration space, and where: if it has the other byte order, the whole of every
    /// integer that is touched. `None` if it exceeds the configuration space.
    pub(super) fn config_from_driver(&self, offset: usize, data: &[u8]) -> Option<(usize, Vec<u8>)> {
        if self.config_order() == ByteOrder::Little {
            return Some((offset, data.to_vec()));
        }
        let mut config = self.config_for_driver();
        let (mut start, mut end) = (offset, offset.checked_add(data.len())?);
        config.get_mut(start..end)?.copy_from_slice(data);
        for integer in config_integers(self.device_id()) {
            if integer.start < end && integer.end > start {
                (start, end) = (start.min(integer.start), end.max(integer.end));
            }
        }
        self.swap_config(&mut config);
        Some((start, config.get(start..end)?.to_vec()))
    }

    /// Between little-endian and the driver's byte order.
    fn swap_config(&self, config: &mut [u8]) {
        if self.config_order() == ByteOrder::Little {
            return;
        }
        for integer in config_integers(self.device_id()) {
            if let Some(bytes) = config.get_mut(integer.clone()) {
                bytes.reverse();
            }
        }
    }
}
