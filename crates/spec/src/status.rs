//! The device status field (section 2.1).

flags! {
    /// The device status: which steps of the initialization are done, and whether the device still works.
    ///
    /// It starts as 0, and writing 0 to it resets the device. The driver never clears a single bit
    /// (`drv:core:device-status-field:02`); the device clears DRIVER_OK when it is suspended, and SUSPEND when it
    /// resumes (section 3.4).
    pub Status: u8 {
        /// The driver has found the device and recognized it as a virtio device.
        ACKNOWLEDGE = 1,
        /// The driver knows how to drive the device.
        DRIVER = 2,
        /// The driver is set up and ready to drive the device: it is live.
        DRIVER_OK = 4,
        /// The features are negotiated. The device leaves the bit clear if it does not accept the driver's subset.
        FEATURES_OK = 8,
        /// The driver has suspended the device; only if `VIRTIO_F_SUSPEND` is negotiated.
        SUSPEND = 16,
        /// The device has met an error that it cannot recover from without a reset.
        DEVICE_NEEDS_RESET = 64,
        /// The driver has given up on the device.
        FAILED = 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;
    use std::vec::Vec;

    #[test]
    fn names_and_sets() {
        let status = Status::ACKNOWLEDGE | Status::DRIVER;
        assert_eq!(status.names().collect::<Vec<_>>(), ["ACKNOWLEDGE", "DRIVER"]);
        assert!(status.contains(Status::DRIVER) && !status.contains(Status::DRIVER | Status::FAILED));
        assert!(status.intersects(Status::DRIVER | Status::FAILED));
        assert_eq!(status - Status::DRIVER, Status::ACKNOWLEDGE);
        assert_eq!(
            format!("{:?}", status | Status(32)),
            "Status(ACKNOWLEDGE | DRIVER | 0x20)"
        );
        assert_eq!(format!("{:?}", Status::NONE), "Status(0x0)");
        assert_eq!(Status(0xff).unnamed(), Status(32));
    }
}
