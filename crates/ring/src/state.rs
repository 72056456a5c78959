//! Where one end stands in a virtqueue.

/// Position of one end of a virtqueue, for saving and restoring it.
///
/// Split virtqueues use free-running 16-bit indices and no wrap counters (these stay `true`); packed ones use offsets
/// below the queue size and a wrap counter for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Next buffer to be made available (driver) or to be taken (device).
    pub next_available: u16,
    /// Wrap counter that goes with `next_available` (section 2.8.1).
    pub available_wrap: bool,
    /// Next buffer to be used.
    pub next_used: u16,
    /// Wrap counter that goes with `next_used`.
    pub used_wrap: bool,
}

impl Default for State {
    /// A fresh virtqueue: everything 0, wrap counters 1.
    fn default() -> Self {
        Self {
            next_available: 0,
            available_wrap: true,
            next_used: 0,
            used_wrap: true,
        }
    }
}

impl State {
    /// The state that the vhost-user protocol's "vring base" tells. Split: the next available index; the used index is
    /// taken to be the same, as it is if nothing was in flight. Packed: both offsets with their wrap counters in bits 15
    /// and 31.
    ///
    /// Packed base 0 is taken to be a fresh virtqueue, because frontends that know nothing of packed ones send that. It
    /// also is what a virtqueue has after an odd number of whole laps. Where the virtqueue is at hand,
    /// [`DeviceQueue::state_at_base`](crate::DeviceQueue::state_at_base) tells both apart.
    pub fn from_vring_base(base: u32, packed: bool) -> Self {
        let (low, high) = (base as u16, (base >> 16) as u16);
        match (packed, base) {
            (true, 0) => Self::default(),
            (true, _) => Self {
                next_available: low & 0x7fff,
                available_wrap: low >> 15 != 0,
                next_used: high & 0x7fff,
                used_wrap: high >> 15 != 0,
            },
            (false, _) => Self {
                next_available: low,
                next_used: low,
                ..Self::default()
            },
        }
    }

    /// The state as vring base, the inverse of [`from_vring_base`](Self::from_vring_base).
    pub fn to_vring_base(self, packed: bool) -> u32 {
        if !packed {
            return u32::from(self.next_available);
        }
        let half = |offset: u16, wrap: bool| u32::from(offset & 0x7fff | u16::from(wrap) << 15);
        half(self.next_available, self.available_wrap) | half(self.next_used, self.used_wrap) << 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_base_holds_both_offsets_and_wrap_counters() {
        let state = State {
            next_available: 5,
            available_wrap: false,
            next_used: 0x7ffe,
            used_wrap: true,
        };
        assert_eq!(state.to_vring_base(true), 0xfffe_0005);
        assert_eq!(State::from_vring_base(0xfffe_0005, true), state);
        assert_eq!(State::from_vring_base(0, true), State::default());
        assert_eq!(
            State::from_vring_base(State::default().to_vring_base(true), true),
            State::default()
        );
    }

    #[test]
    fn split_base_is_the_available_index() {
        let state = State::from_vring_base(0x1_ffff, false);
        assert_eq!((state.next_available, state.next_used), (0xffff, 0xffff));
        assert_eq!(state.to_vring_base(false), 0xffff);
    }
}
