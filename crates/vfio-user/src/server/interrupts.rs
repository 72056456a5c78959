//! The interrupts of the function, and the eventfds by which the client takes them.

use std::fmt;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ringwright_device::{EventNotify, Notify};

/// The interrupts of one function. The device's threads trigger them, the server says where they go.
///
/// What is triggered while it is masked, or while the client has no eventfd for it, is pending: it is signalled as soon as
/// it can be. One interrupt too many does no harm, one too few may be the last.
#[derive(Default)]
pub struct Interrupts {
    intx: Mutex<Line>,
    msix: OnceLock<Box<[Mutex<Vector>]>>,
}

/// The INTx line, level-triggered.
#[derive(Default)]
struct Line {
    level: bool,
    /// By the client, or by itself: it is masked when it is signalled.
    masked: bool,
    event: Option<EventNotify>,
}

/// One MSI-X vector.
#[derive(Default)]
struct Vector {
    pending: bool,
    masked: bool,
    event: Option<EventNotify>,
}

impl Interrupts {
    /// The function asserts or deasserts its INTx line.
    pub fn set_level(&self, level: bool) {
        let mut line = lock(&self.intx);
        line.level = level;
        line.settle();
    }

    /// The function sends the message of an MSI-X vector.
    pub fn message(&self, vector: u16) {
        self.with(vector, |vector| vector.pending = true);
    }

    /// Sets the number of MSI-X vectors, once.
    pub(super) fn set_vectors(&self, vectors: u16) {
        self.msix
            .get_or_init(|| (0..vectors).map(|_| Mutex::default()).collect());
    }

    /// Number of MSI-X vectors.
    pub(super) fn vectors(&self) -> u16 {
        self.msix().len() as u16
    }

    /// Where INTx goes from now on, if anywhere. It starts unmasked.
    pub(super) fn set_intx_event(&self, event: Option<EventNotify>) {
        let mut line = lock(&self.intx);
        line.event = event;
        line.masked = false;
        line.settle();
    }

    /// Where the message of a vector goes from now on, if anywhere.
    pub(super) fn set_msix_event(&self, vector: u16, event: Option<EventNotify>) {
        self.with(vector, |vector| vector.event = event);
    }

    /// Masks or unmasks INTx. Unmasked, it is signalled again if its level is still high.
    pub(super) fn mask_intx(&self, masked: bool) {
        let mut line = lock(&self.intx);
        line.masked = masked;
        line.settle();
    }

    /// Masks or unmasks a vector.
    pub(super) fn mask_msix(&self, vector: u16, masked: bool) {
        self.with(vector, |vector| vector.masked = masked);
    }

    /// Signals INTx for the client's own sake, whatever its level.
    pub(super) fn trigger_intx(&self) {
        lock(&self.intx).event.iter().for_each(Notify::notify);
    }

    /// The device is reset: nothing is pending any more.
    pub(super) fn reset(&self) {
        lock(&self.intx).level = false;
        self.msix().iter().for_each(|vector| lock(vector).pending = false);
    }

    /// The client is gone, with all of its eventfds.
    pub(super) fn forget_client(&self) {
        *lock(&self.intx) = Line::default();
        self.msix()
            .iter()
            .for_each(|vector| *lock(vector) = Vector::default());
    }

    /// The MSI-X vectors.
    fn msix(&self) -> &[Mutex<Vector>] {
        self.msix.get().map_or(&[], |vectors| vectors)
    }

    fn with(&self, vector: u16, change: impl FnOnce(&mut Vector)) {
        if let Some(vector) = self.msix().get(usize::from(vector)) {
            let mut vector = lock(vector);
            change(&mut vector);
            vector.settle();
        }
    }
}

impl Line {
    /// Signals a level that the client does not know of yet, and masks the line until it says that it does.
    fn settle(&mut self) {
        if let Some(event) = self.event.as_ref().filter(|_| self.level && !self.masked) {
            self.masked = true;
            event.notify();
        }
    }
}

impl Vector {
    /// Signals what is pending.
    fn settle(&mut self) {
        if let Some(event) = self.event.as_ref().filter(|_| self.pending && !self.masked) {
            self.pending = false;
            event.notify();
        }
    }
}

impl fmt::Debug for Interrupts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupts")
            .field("vectors", &self.vectors())
            .finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
