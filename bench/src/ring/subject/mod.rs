//! Whose rings are measured.

pub mod ringwright;
pub mod virtio_drivers;
pub mod virtio_queue;

use anyhow::Result;

/// A device end.
pub trait DeviceEnd {
    /// Takes every chain that is available, finds the host memory of all its segments and completes it with all its
    /// writable bytes written; shows the driver the batch, decides whether to notify it, and asks to be notified of the
    /// next chain.
    fn serve(&mut self);

    /// Whether `rounds` batches were seen, and their segments where they are.
    fn check(&mut self, rounds: u64) -> Result<()>;
}

/// A driver end.
pub trait DriverEnd {
    /// Makes a batch of chains available and decides whether to notify the device.
    fn send(&mut self);

    /// Takes every used chain, knows which of those sent it is, and asks to be notified of the next.
    fn receive(&mut self);

    /// Whether `rounds` batches came back, with as many bytes written as was said.
    fn check(&mut self, rounds: u64) -> Result<()>;
}

/// Nobody: leaves the harness alone with the ring.
pub struct Nobody;

impl DeviceEnd for Nobody {
    #[inline(never)]
    fn serve(&mut self) {
        std::hint::black_box(self);
    }

    fn check(&mut self, _rounds: u64) -> Result<()> {
        Ok(())
    }
}

impl DriverEnd for Nobody {
    #[inline(never)]
    fn send(&mut self) {
        std::hint::black_box(self);
    }

    #[inline(never)]
    fn receive(&mut self) {
        std::hint::black_box(self);
    }

    fn check(&mut self, _rounds: u64) -> Result<()> {
        Ok(())
    }
}
