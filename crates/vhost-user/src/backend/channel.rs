//! What the device tells the front-end on its own: the back-end's channel and the error descriptors of the vrings.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_device::{EventNotify, HostEvents, Notify};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use zerocopy::IntoBytes;

use crate::message::{BackendRequest, Header};

/// The device's way to whichever front-end is connected. Used from all threads of the device.
#[derive(Default)]
pub(super) struct Channel(Mutex<State>);

#[derive(Default)]
struct State {
    /// Where requests go, if the front-end wants them.
    socket: Option<OwnedFd>,
    /// Error descriptors, by vring.
    errors: Vec<Option<EventNotify>>,
    /// Whether a vring runs. While none does, the device is suspended and sends nothing.
    running: bool,
    /// A change of the configuration space that the front-end has not been told of.
    config_changed: bool,
    /// The device needs a reset.
    needs_reset: bool,
}

impl Channel {
    /// For the next connection: nothing is known of the front-end.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    /// Sets the socket that requests are sent on.
    pub fn set_socket(&self, socket: OwnedFd) {
        self.lock().socket = Some(socket);
    }

    /// Sets the error descriptor of vring `index`.
    pub fn set_error(&self, index: u16, descriptor: Option<EventNotify>) {
        let mut state = self.lock();
        let index = usize::from(index);
        if state.errors.len() <= index {
            state.errors.resize_with(index + 1, || None);
        }
        if let Some(place) = state.errors.get_mut(index) {
            *place = descriptor;
        }
    }

    /// Says whether any vring runs; what was held back meanwhile is sent when one does.
    pub fn set_running(&self, running: bool) {
        let mut state = self.lock();
        state.running = running;
        state.flush();
    }

    /// Whether the device has asked for a reset since the last [`Channel::reset`].
    pub fn needs_reset(&self) -> bool {
        self.lock().needs_reset
    }

    /// The device has been reset.
    pub fn reset(&self) {
        let mut state = self.lock();
        state.needs_reset = false;
        state.config_changed = false;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Tells the front-end of a changed configuration space, if there is one and the device may.
    fn flush(&mut self) {
        let Some(socket) = self
            .socket
            .as_ref()
            .filter(|_| self.running && self.config_changed)
        else {
            return;
        };
        self.config_changed = false;
        let request = BackendRequest::CONFIG_CHANGE_MSG.0;
        let header = Header {
            request,
            flags: Header::VERSION,
            size: 0,
        };
        let sent = loop {
            match send(
                socket,
                header.as_bytes(),
                SendFlags::DONTWAIT | SendFlags::NOSIGNAL,
            ) {
                Err(Errno::INTR) => {}
                outcome => break outcome,
            }
        };
        match sent {
            Ok(size) if size == size_of::<Header>() => {}
            // A full channel holds messages that the front-end will read, and with them the new configuration.
            Err(Errno::AGAIN) => {}
            outcome => {
                tracing::debug!(?outcome, "the front-end's channel for requests is broken");
                self.socket = None;
            }
        }
    }
}

impl HostEvents for Channel {
    fn config_changed(&self) {
        let mut state = self.lock();
        state.config_changed = true;
        state.flush();
    }

    fn needs_reset(&self, reason: &str) {
        tracing::error!(reason, "the device needs a reset");
        let mut state = self.lock();
        state.needs_reset = true;
        state.errors.iter().flatten().for_each(Notify::notify);
        // dev:core:device-status-field:02: a configuration change notification tells a live driver.
        state.config_changed = true;
        state.flush();
    }
}

/// Notifies through the descriptor that the front-end gave last, which it may change while the vring runs.
#[derive(Clone, Default)]
pub(super) struct Call(Arc<Mutex<Option<EventNotify>>>);

impl Call {
    /// Replaces the descriptor; without one the front-end polls.
    pub fn set(&self, descriptor: Option<EventNotify>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = descriptor;
    }
}

impl Notify for Call {
    fn notify(&self) {
        // Taken once per notification, never contended except in the moment of a change.
        if let Some(descriptor) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            descriptor.notify();
        }
    }
}
