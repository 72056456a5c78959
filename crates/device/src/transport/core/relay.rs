//! What may stand between a virtqueue and its driver.

use std::fmt;
use std::io;

use ringwright_spec::Features;

use crate::QueueSetup;

/// Stands between virtqueues and their driver, for a monitor whose memory can be read and written, but not mapped: the
/// device works on a copy of the memory, and this keeps the copy and the original alike.
///
/// Called by whoever uses the model, which may be in the midst of an access of the driver's: no method waits for the driver
/// or its memory.
pub trait Relay: fmt::Debug + Send + Sync {
    /// A virtqueue is about to start: anew, or, if `resumed`, where it was when it was stopped. Returns what the device is
    /// to start with instead, which may be the same.
    fn start(
        &self,
        index: u16,
        features: Features,
        setup: QueueSetup,
        resumed: bool,
    ) -> io::Result<QueueSetup>;

    /// The device does not process the virtqueue any more. It may be resumed.
    fn stop(&self, index: u16);

    /// The virtqueue is as after reset: what was on the way to the driver is not for anybody.
    fn forget(&self, index: u16);
}
