//! Chains of a shape that is known before they are looked at, so that nothing has to be counted.

use ringwright_memory::{Access, Segment, Window};

use super::chain::{Taken, Token};
use super::gather::{NEXT, WRITE};
use crate::split::Descriptor;

/// A chain of `N` elements, the first `READABLE` of them device-readable and the others device-writable, each within the
/// memory where the last such access was.
pub(super) struct Alike<const N: usize, const READABLE: usize> {
    pub segments: [Segment; N],
    lengths: [u32; N],
    /// The chain's last descriptor.
    pub last: Descriptor,
}

impl<const N: usize, const READABLE: usize> Alike<N, READABLE> {
    /// The chain that starts with `first`, if it is of this kind and all its descriptors' flags have the bits `state`
    /// besides. `next` gives the descriptor that follows one, if there is one and that one's flags are the given ones.
    #[inline(always)]
    pub fn gather(
        window: &Window,
        first: Descriptor,
        state: u16,
        mut next: impl FnMut(&Descriptor, u16) -> Option<Descriptor>,
    ) -> Option<Self> {
        let mut descriptors = [first; N];
        for number in 1..N {
            descriptors[number] = next(&descriptors[number - 1], Self::flags(number - 1) | state)?;
        }
        let last = descriptors[N - 1];
        if last.flags != Self::flags(N - 1) | state {
            return None;
        }
        let find = |number: usize| {
            let Descriptor { address, length, .. } = descriptors[number];
            let access = if number < READABLE {
                Access::Read
            } else {
                Access::Write
            };
            window.find(address, length, access)
        };
        let mut segments = [find(0)?; N];
        for (number, segment) in segments.iter_mut().enumerate().skip(1) {
            *segment = find(number)?;
        }
        let lengths = descriptors.map(|descriptor| descriptor.length);
        // Within the bytes that a chain may have at any rate.
        lengths
            .iter()
            .try_fold(0, |sum: u32, length| sum.checked_add(*length))?;
        Some(Self {
            segments,
            lengths,
            last,
        })
    }

    /// The flags of a descriptor of such a chain.
    const fn flags(number: usize) -> u16 {
        let write = if number < READABLE { 0 } else { WRITE };
        let next = if number + 1 < N { NEXT } else { 0 };
        write | next
    }

    /// The gathered chain.
    #[inline(always)]
    pub fn taken(&self, id: u16) -> Taken {
        let (readable, writable) = self.lengths.split_at(READABLE);
        let bytes = |lengths: &[u32]| lengths.iter().copied().map(u64::from).sum();
        Taken {
            readable: READABLE,
            writable: N - READABLE,
            readable_bytes: bytes(readable),
            token: Token {
                id,
                position: 0,
                writable: bytes(writable),
            },
        }
    }
}
