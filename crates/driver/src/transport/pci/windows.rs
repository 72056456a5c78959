//! Addresses that a host bridge passes on, for base address registers.

use super::{Bar, Space};

/// A range of addresses on the bus, given away from its start on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    next: u64,
    end: u64,
}

impl Window {
    /// The `length` addresses from `start` on; `None` if they do not end within 64 bits. Address 0 is not used.
    pub const fn new(start: u64, length: u64) -> Option<Self> {
        let next = if start == 0 { 1 } else { start };
        match start.checked_add(length) {
            Some(end) => Some(Self { next, end }),
            None => None,
        }
    }

    /// `length` addresses, a power of 2, at a multiple of that.
    fn take(&mut self, length: u64) -> Option<u64> {
        let start = self.next.checked_next_multiple_of(length)?;
        let end = start.checked_add(length).filter(|end| *end <= self.end)?;
        self.next = end;
        Some(start)
    }

    /// Skips to a multiple of `align`, and gives that.
    pub(super) fn align(&mut self, align: u64) -> Option<u64> {
        self.next = self.next.checked_next_multiple_of(align)?;
        Some(self.next)
    }
}

/// The address ranges of a host bridge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Windows {
    /// I/O space.
    pub io: Option<Window>,
    /// Memory space below 4 GiB.
    pub memory: Option<Window>,
    /// Memory space for prefetchable registers of 64 bits; without one, they are given addresses of `memory`.
    pub prefetchable: Option<Window>,
}

impl Windows {
    /// An address for `bar`; `None` if there is none left.
    pub(super) fn place(&mut self, bar: &Bar) -> Option<u64> {
        if bar.space == Space::Io {
            return self.io.as_mut()?.take(bar.length);
        }
        if bar.is_64_bit
            && bar.is_prefetchable
            && let Some(address) = self
                .prefetchable
                .as_mut()
                .and_then(|window| window.take(bar.length))
        {
            return Some(address);
        }
        self.memory.as_mut()?.take(bar.length)
    }

    /// All of them.
    pub(super) fn all(&mut self) -> [Option<&mut Window>; 3] {
        [self.io.as_mut(), self.memory.as_mut(), self.prefetchable.as_mut()]
    }
}
