//! The bytes of saved states: integers are little-endian, everything else has its length before it.

use ringwright_ring::State;
use ringwright_spec::Features;

/// Appends a length, or a number of things.
pub(crate) fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

/// Appends bytes with their length.
pub(crate) fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_length(bytes, part.len());
    bytes.extend(part);
}

/// Appends where a virtqueue stands.
pub(crate) fn put_state(bytes: &mut Vec<u8>, state: State) {
    bytes.extend(state.next_available.to_le_bytes());
    bytes.extend(state.next_used.to_le_bytes());
    bytes.push(u8::from(state.available_wrap) | u8::from(state.used_wrap) << 1);
}

/// What is left to decode. Everything is `None` if there is not enough.
pub(crate) struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    /// What follows `magic`, with which `bytes` begins.
    pub fn after(magic: [u8; 4], bytes: &'a [u8]) -> Option<Self> {
        bytes.strip_prefix(&magic).map(Self)
    }

    /// All of `bytes`.
    pub fn all(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of an integer.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    /// A byte that says yes or no.
    pub fn flag(&mut self) -> Option<bool> {
        let [flag] = self.array()?;
        (flag <= 1).then_some(flag == 1)
    }

    /// 16 bits.
    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    /// 32 bits.
    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    /// 64 bits.
    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// A feature set.
    pub fn features(&mut self) -> Option<Features> {
        self.array().map(|bytes| Features(u128::from_le_bytes(bytes)))
    }

    /// A length, or a number of things.
    pub fn length(&mut self) -> Option<usize> {
        self.u32()?.try_into().ok()
    }

    /// Bytes that have their length before them.
    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }

    /// Where a virtqueue stands.
    pub fn state(&mut self) -> Option<State> {
        let next_available = self.u16()?;
        let next_used = self.u16()?;
        let [wraps] = self.array()?;
        Some(State {
            next_available,
            available_wrap: wraps & 1 != 0,
            next_used,
            used_wrap: wraps & 2 != 0,
        })
    }
}
