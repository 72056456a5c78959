//! Pausing a device, and taking its state elsewhere.

use ringwright_spec::{Features, Status};

use super::config::Generation;
use super::queues::Queue;
use super::{Core, Interface};
use crate::HostError;
use crate::codec::{Rest, put_bytes, put_length};

/// A state cannot be saved or taken up.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The device runs, so its state changes while it is looked at.
    #[error("the device is not paused")]
    NotPaused,
    /// The bytes are no saved state of this transport and version.
    #[error("not the saved state of {0}, or of another version")]
    Malformed(&'static str),
    /// The saved state is of a model that was set up differently.
    #[error("the saved state has {found}, this has {expected}")]
    Mismatch {
        /// What this model has.
        expected: String,
        /// What the saved one had.
        found: String,
    },
    /// The device refuses.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Core {
    /// Puts the device to rest, for the monitor: what is being processed is completed, then memory and interrupts stay as
    /// they are.
    pub fn pause(&mut self) {
        if std::mem::replace(&mut self.paused, true) {
            return;
        }
        if !self.is_suspended()
            && let Err(error) = self.host.suspend()
        {
            self.break_device(&format!("the device cannot pause: {error}"));
        }
        self.signal.set_live(false);
        self.rest_queues();
    }

    /// Goes on after [`Core::pause`] or [`Core::restore`].
    pub fn resume(&mut self) {
        if !std::mem::replace(&mut self.paused, false) || self.is_suspended() {
            return;
        }
        if let Err(error) = self.host.resume() {
            self.break_device(&format!("the device cannot resume: {error}"));
        }
        self.start_queues();
        self.signal.set_live(self.status.contains(Status::DRIVER_OK));
    }

    /// The state of everything, while paused.
    pub fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        if !self.paused {
            return Err(SnapshotError::NotPaused);
        }
        let held = self.signal.is_holding() || self.host.holds_config_change();
        let mut bytes = vec![
            (self.interface == Interface::Legacy).into(),
            self.status.0,
            self.signal.is_broken().into(),
            held.into(),
        ];
        bytes.extend(self.driver_features.0.to_le_bytes());
        self.generation.save(&mut bytes);
        put_length(&mut bytes, self.queues.len());
        for queue in &self.queues {
            queue.save(&mut bytes);
        }
        put_bytes(&mut bytes, &self.host.save()?);
        Ok(bytes)
    }

    /// Takes up what [`Core::save`] returned, into a device that no driver has met. It is paused then. After an error it is
    /// as before any driver has met it.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        let outcome = self.try_restore(state);
        if outcome.is_err() {
            self.reset();
            self.resume();
        }
        outcome
    }

    fn try_restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        self.reset();
        self.paused = false;
        self.pause();
        let saved = Saved::decode(state, &self.queues)?;
        // Virtqueues rest with us while the device is paused, so the host knows of none.
        self.host.restore(saved.host)?;
        self.interface = saved.interface;
        self.status = saved.status;
        self.signal.restore(saved.broken, saved.held);
        self.driver_features = saved.driver_features;
        self.generation = saved.generation;
        self.queues = saved.queues;
        Ok(())
    }

    fn is_suspended(&self) -> bool {
        self.status.contains(Status::SUSPEND)
    }
}

/// The parts of a saved state.
struct Saved<'a> {
    interface: Interface,
    status: Status,
    /// DEVICE_NEEDS_RESET is set.
    broken: bool,
    /// A configuration change notification is to be sent.
    held: bool,
    driver_features: Features,
    generation: Generation,
    queues: Vec<Queue>,
    host: &'a [u8],
}

impl<'a> Saved<'a> {
    /// `queues` are those of the device that is to take it up.
    fn decode(state: &'a [u8], queues: &[Queue]) -> Result<Self, SnapshotError> {
        const MALFORMED: SnapshotError = SnapshotError::Malformed("a device on a bus");
        let rest = &mut Rest::all(state);
        let mut saved = Self::decode_head(rest).ok_or(MALFORMED)?;
        let count = rest.length().ok_or(MALFORMED)?;
        if count != queues.len() {
            return Err(SnapshotError::Mismatch {
                expected: format!("{} virtqueues", queues.len()),
                found: count.to_string(),
            });
        }
        for queue in queues {
            saved
                .queues
                .push(Queue::restore(queue.max_size(), rest).ok_or(MALFORMED)?);
        }
        saved.host = rest.bytes().filter(|_| rest.is_empty()).ok_or(MALFORMED)?;
        Ok(saved)
    }

    /// Everything before the queues.
    fn decode_head(rest: &mut Rest<'_>) -> Option<Self> {
        Some(Self {
            interface: if rest.flag()? {
                Interface::Legacy
            } else {
                Interface::Modern
            },
            status: rest.array().map(|[status]| Status(status)).filter(is_status)?,
            broken: rest.flag()?,
            held: rest.flag()?,
            driver_features: rest.features()?,
            generation: Generation::restore(rest)?,
            queues: Vec::new(),
            host: &[],
        })
    }
}

/// Whether the device can have this status; that it needs a reset is told apart from it.
fn is_status(status: &Status) -> bool {
    (status.unnamed() | *status & Status::DEVICE_NEEDS_RESET).is_empty()
}
