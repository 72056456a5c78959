//! The device status field (section 2.1), reset (section 2.4) and suspension (section 3.4).

use ringwright_spec::{Features, Status, feature};

use super::{Core, Interface};

/// Bits that the driver sets and the device only remembers.
const REMEMBERED: Status = Status::ACKNOWLEDGE.union(Status::DRIVER).union(Status::FAILED);

impl Core {
    /// The device status as the driver reads it.
    pub fn status(&self) -> Status {
        match self.signal.is_broken() {
            true => self.status | Status::DEVICE_NEEDS_RESET,
            false => self.status,
        }
    }

    /// The driver writes the device status: it sets bits, or resets the device with 0. Bits that it leaves out stay set,
    /// because it may not clear any (`drv:core:device-status-field:02`).
    pub fn write_status(&mut self, written: Status) {
        if written.is_empty() {
            return self.reset();
        }
        let added = written - self.status;
        self.status = self.status | (written & REMEMBERED);
        if added.contains(Status::FEATURES_OK) && self.interface == Interface::Modern {
            self.finish_negotiation();
        }
        if added.contains(Status::DRIVER_OK) {
            self.go_live();
        } else if added.contains(Status::SUSPEND) {
            self.suspend();
        }
    }

    /// Resets the device (`dev:core:device-reset:01`): when this returns, it touches no virtqueue and sends no
    /// notification until the driver has initialized it again (`dev:core:device-reset:02`).
    pub fn reset(&mut self) {
        self.signal.set_live(false);
        self.host.reset();
        self.signal.clear();
        self.status = Status::NONE;
        self.driver_features = Features::NONE;
        for index in 0..self.queue_count() {
            self.forget_queue(index);
        }
    }

    /// Whether the device processes virtqueues: DRIVER_OK is set, and the device is neither suspended nor broken.
    pub(super) fn is_live(&self) -> bool {
        self.status.contains(Status::DRIVER_OK) && !self.signal.is_broken()
    }

    /// DRIVER_OK: the device starts, or resumes after it was suspended.
    fn go_live(&mut self) {
        if self.interface == Interface::Modern && !self.status.contains(Status::FEATURES_OK) {
            return self.break_device("DRIVER_OK without FEATURES_OK (drv:init:device-initialization:01)");
        }
        if self.interface == Interface::Legacy {
            self.finish_legacy_negotiation();
        }
        if self.status.contains(Status::SUSPEND) {
            // dev:init:device-suspend:07: it resumes, or needs a reset.
            if let Err(error) = self.host.resume() {
                return self.break_device(&format!("the device cannot resume: {error}"));
            }
            self.status = self.status - Status::SUSPEND;
        }
        self.status = self.status | Status::DRIVER_OK;
        self.start_queues();
        self.signal.set_live(true);
    }

    /// SUSPEND: ignored before the device is initialized (`dev:init:device-suspend:01`), and where it was not negotiated.
    fn suspend(&mut self) {
        let negotiated = self.negotiated_features().contains(feature::SUSPEND);
        if !negotiated || !self.status.contains(Status::DRIVER_OK) {
            return;
        }
        // dev:init:device-suspend:06: it suspends, or needs a reset.
        if let Err(error) = self.host.suspend() {
            return self.break_device(&format!("the device cannot suspend: {error}"));
        }
        self.signal.set_live(false);
        self.status = (self.status | Status::SUSPEND) - Status::DRIVER_OK;
    }
}
