//! How a device speaks to its driver outside the virtqueues.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// What a transport wants to know of the device it presents.
///
/// Called from any of the device's threads, also while the control thread waits for that thread: implementations return
/// at once and do not call the [`crate::Host`].
pub trait HostEvents: Send + Sync {
    /// The configuration space has changed: send a configuration change notification (section 2.3).
    fn config_changed(&self);

    /// The device has met an error that only a reset cures: set DEVICE_NEEDS_RESET (section 2.1.2).
    fn needs_reset(&self, reason: &str);
}

/// A device's way to the driver outside the virtqueues. Clones lead to the same driver.
#[derive(Clone)]
pub struct Outlet {
    events: Arc<dyn HostEvents>,
    hold: Arc<Mutex<Hold>>,
}

/// Configuration change notifications are held back while the device is suspended.
#[derive(Default)]
struct Hold {
    suspended: bool,
    config_changed: bool,
}

impl Outlet {
    pub(crate) fn new(events: Arc<dyn HostEvents>) -> Self {
        Self {
            events,
            hold: Arc::default(),
        }
    }

    /// The configuration space now reads differently. While the device is suspended the notification waits for it to
    /// resume (`dev:init:device-suspend:04`, `dev:init:device-suspend:05`).
    pub fn config_changed(&self) {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        if hold.suspended {
            hold.config_changed = true;
        } else {
            drop(hold);
            self.events.config_changed();
        }
    }

    /// The device cannot go on until it is reset (`dev:core:device-status-field:02`).
    pub fn needs_reset(&self, reason: &str) {
        self.events.needs_reset(reason);
    }

    pub(crate) fn set_suspended(&self, suspended: bool) {
        let mut hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        hold.suspended = suspended;
        let held = !suspended && std::mem::take(&mut hold.config_changed);
        drop(hold);
        if held {
            self.events.config_changed();
        }
    }

    /// Whether a configuration change notification is held back.
    pub(crate) fn is_holding(&self) -> bool {
        self.hold
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .config_changed
    }

    /// Forgets what was held back, as a reset does.
    pub(crate) fn clear(&self) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = Hold::default();
    }
}

impl fmt::Debug for Outlet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outlet").finish_non_exhaustive()
    }
}
