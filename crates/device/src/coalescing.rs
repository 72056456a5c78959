//! Used buffer notifications that are put off, so that one stands for several packets.

use std::time::{Duration, Instant};

/// When a driver is notified of used buffers: after so many packets, or so long after the first of them, whatever comes first.
/// If one is zero, as both are in a virtqueue that has just been started, after every callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Coalescing {
    /// Packets: buffers, but those that [`Virtqueue::join`](crate::Virtqueue::join) has made one.
    pub packets: u32,
    /// Time from the first packet on.
    pub time: Duration,
}

/// The notification of one virtqueue that is put off.
#[derive(Debug, Default)]
pub(crate) struct Delay {
    coalescing: Coalescing,
    /// Packets that the driver was shown and not notified of.
    packets: u32,
    /// When the first of them was shown; `None` if there is none.
    since: Option<Instant>,
}

impl Delay {
    /// Changes when to notify. `None` if that is always, as it was before; what is put off is then not put off any more.
    pub fn change(delay: Option<Self>, coalescing: Coalescing) -> Option<Self> {
        let is_none = coalescing.packets <= 1 || coalescing.time.is_zero();
        (!is_none).then(|| Self {
            coalescing,
            ..delay.unwrap_or_default()
        })
    }

    /// Whether the driver is not to be notified yet of `more` packets, and those before them. It is at the latest when there
    /// are `limit`.
    pub fn puts_off(&mut self, more: u32, limit: u16) -> bool {
        self.packets = self.packets.saturating_add(more);
        self.since.get_or_insert_with(Instant::now);
        !self.is_met(limit)
    }

    /// Whether the driver is to be notified now of the packets that were put off.
    pub fn is_met(&self, limit: u16) -> bool {
        self.packets >= self.coalescing.packets.min(limit.into())
            || self.due().is_some_and(|due| due <= Instant::now())
    }

    /// Whether there is a notification that is put off.
    pub fn is_owed(&self) -> bool {
        self.since.is_some()
    }

    /// When the driver is to be notified at the latest, if at all.
    pub fn due(&self) -> Option<Instant> {
        self.since?.checked_add(self.coalescing.time)
    }

    /// It has been decided whether to notify.
    pub fn decided(&mut self) {
        self.packets = 0;
        self.since = None;
    }
}
