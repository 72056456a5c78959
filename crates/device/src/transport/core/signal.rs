//! What the device says outside its virtqueues, on the way to the driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use super::Sink;
use crate::HostEvents;

/// Takes the host's events, from any thread, to the transport's sink as long as the driver is there to hear them.
pub(super) struct Signal {
    sink: Arc<dyn Sink>,
    /// DRIVER_OK is set: notifications are sent.
    live: AtomicBool,
    /// There is a configuration change notification to send when it is.
    held: AtomicBool,
    needs_reset: AtomicBool,
}

impl Signal {
    pub fn new(sink: Arc<dyn Sink>) -> Self {
        Self {
            sink,
            live: AtomicBool::new(false),
            held: AtomicBool::new(false),
            needs_reset: AtomicBool::new(false),
        }
    }

    /// Whether DEVICE_NEEDS_RESET is set.
    pub fn is_broken(&self) -> bool {
        self.needs_reset.load(SeqCst)
    }

    /// DRIVER_OK has been set or cleared. What has changed meanwhile, perhaps after the driver had read it, is told now.
    pub fn set_live(&self, live: bool) {
        self.live.store(live, SeqCst);
        if live {
            self.send_held();
        }
    }

    /// Whether there is a configuration change notification to send later.
    pub fn is_holding(&self) -> bool {
        self.held.load(SeqCst)
    }

    /// Takes up what another one has left: whether DEVICE_NEEDS_RESET is set, and whether a notification is held.
    pub fn restore(&self, broken: bool, held: bool) {
        self.needs_reset.store(broken, SeqCst);
        self.held.store(held, SeqCst);
    }

    /// Forgets everything, as a reset does.
    pub fn clear(&self) {
        self.live.store(false, SeqCst);
        self.held.store(false, SeqCst);
        self.needs_reset.store(false, SeqCst);
    }

    fn send_held(&self) {
        if self.held.swap(false, SeqCst) {
            self.sink.config_changed();
        }
    }
}

impl HostEvents for Signal {
    fn config_changed(&self) {
        self.held.store(true, SeqCst);
        // Whoever of this thread and the one that sets DRIVER_OK comes second, sends.
        if self.live.load(SeqCst) {
            self.send_held();
        }
    }

    fn needs_reset(&self, reason: &str) {
        tracing::error!(reason, "the device needs a reset");
        self.needs_reset.store(true, SeqCst);
        // dev:core:device-status-field:03
        self.config_changed();
    }
}
