//! The device's notifications, collected for the driver.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ringwright_device::HostEvents;
use ringwright_driver::Interrupt;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

/// What the device has said since the driver last looked.
#[derive(Debug)]
pub(crate) struct Signal {
    queue: AtomicBool,
    config: AtomicBool,
    needs_reset: AtomicBool,
    /// Readable while there is something to take.
    event: OwnedFd,
}

impl Signal {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            queue: AtomicBool::new(false),
            config: AtomicBool::new(false),
            needs_reset: AtomicBool::new(false),
            event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// A used buffer notification.
    pub fn queue(&self) {
        self.raise(&self.queue);
    }

    /// Takes what there is. Costs a system call only if there is something.
    pub fn take(&self) -> Interrupt {
        if !self.is_raised() {
            return Interrupt::default();
        }
        // Emptied before the flags are taken: whatever is raised from here on makes it readable again.
        self.drain();
        Interrupt {
            queue: self.queue.swap(false, Ordering::AcqRel),
            config: self.config.swap(false, Ordering::AcqRel),
        }
    }

    /// Waits until there is something to take.
    pub fn wait(&self, timeout: Duration) -> bool {
        let deadline = Instant::now() + timeout;
        while !self.is_raised() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let timespec = Timespec {
                tv_sec: left.as_secs() as _,
                tv_nsec: left.subsec_nanos() as _,
            };
            let ready = poll(&mut [PollFd::new(&self.event, PollFlags::IN)], Some(&timespec));
            // The device may raise a flag, have it taken, and only then write the event: that is nothing to wake up for.
            if ready.is_ok_and(|ready| ready > 0) && !self.is_raised() {
                self.drain();
            }
        }
        true
    }

    /// Whether the device has asked to be reset.
    pub fn needs_reset(&self) -> bool {
        self.needs_reset.load(Ordering::Acquire)
    }

    /// Forgets everything, as a reset does.
    pub fn clear(&self) {
        self.take();
        self.needs_reset.store(false, Ordering::Release);
    }

    fn is_raised(&self) -> bool {
        self.queue.load(Ordering::Acquire) || self.config.load(Ordering::Acquire)
    }

    fn drain(&self) {
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Sets a flag, and wakes the driver if it was not set.
    fn raise(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::AcqRel) {
            let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
        }
    }
}

impl HostEvents for Signal {
    fn config_changed(&self) {
        self.raise(&self.config);
    }

    fn needs_reset(&self, reason: &str) {
        tracing::error!(reason, "the device needs a reset");
        self.needs_reset.store(true, Ordering::Release);
        // dev:core:device-status-field:03
        self.raise(&self.config);
    }
}
