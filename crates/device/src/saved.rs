//! The saved state of a host: a version, what the device saved, what its workers saved, where its queues stand.

use ringwright_ring::State;
use ringwright_spec::Features;

/// First bytes of every saved state; the last one is the version.
const MAGIC: [u8; 4] = *b"RWD\x01";

/// The parts of a saved state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Saved {
    pub device_id: u32,
    pub features: Features,
    pub device: Vec<u8>,
    /// By queue group.
    pub workers: Vec<(u32, Vec<u8>)>,
    /// By queue index.
    pub queues: Vec<(u16, State)>,
}

impl Saved {
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.device_id.to_le_bytes());
        bytes.extend(self.features.0.to_le_bytes());
        put_bytes(&mut bytes, &self.device);
        put_length(&mut bytes, self.workers.len());
        for (group, state) in &self.workers {
            bytes.extend(group.to_le_bytes());
            put_bytes(&mut bytes, state);
        }
        put_length(&mut bytes, self.queues.len());
        for (index, state) in &self.queues {
            bytes.extend(index.to_le_bytes());
            bytes.extend(state.next_available.to_le_bytes());
            bytes.extend(state.next_used.to_le_bytes());
            bytes.push(u8::from(state.available_wrap) | u8::from(state.used_wrap) << 1);
        }
        bytes
    }

    /// `None` if these are not the bytes of a saved state, from the first to the last.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest(bytes);
        if rest.array::<4>()? != MAGIC {
            return None;
        }
        let mut saved = Self {
            device_id: u32::from_le_bytes(rest.array()?),
            features: Features(u128::from_le_bytes(rest.array()?)),
            device: rest.bytes()?.to_vec(),
            ..Self::default()
        };
        for _ in 0..rest.length()? {
            let group = u32::from_le_bytes(rest.array()?);
            saved.workers.push((group, rest.bytes()?.to_vec()));
        }
        for _ in 0..rest.length()? {
            let index = u16::from_le_bytes(rest.array()?);
            let next_available = u16::from_le_bytes(rest.array()?);
            let next_used = u16::from_le_bytes(rest.array()?);
            let [wraps] = rest.array()?;
            let state = State {
                next_available,
                available_wrap: wraps & 1 != 0,
                next_used,
                used_wrap: wraps & 2 != 0,
            };
            saved.queues.push((index, state));
        }
        rest.0.is_empty().then_some(saved)
    }
}

fn put_length(bytes: &mut Vec<u8>, length: usize) {
    bytes.extend(u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, part: &[u8]) {
    put_length(bytes, part.len());
    bytes.extend(part);
}

/// What is left to decode.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    fn length(&mut self) -> Option<usize> {
        u32::from_le_bytes(self.array()?).try_into().ok()
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_state_is_taken_up_whole_or_not_at_all() {
        let saved = Saved {
            device_id: 2,
            features: Features::bit(127) | Features::bit(0),
            device: vec![1, 2, 3],
            workers: vec![(0, vec![]), (7, vec![9; 300])],
            queues: vec![(
                3,
                State {
                    next_available: 0x7ffe,
                    available_wrap: false,
                    next_used: 5,
                    used_wrap: true,
                },
            )],
        };
        let bytes = saved.encode();
        assert_eq!(Saved::decode(&bytes).unwrap(), saved);
        for length in 0..bytes.len() {
            assert!(
                Saved::decode(&bytes[..length]).is_none(),
                "{length} of {} bytes",
                bytes.len()
            );
        }
        assert!(Saved::decode(&[bytes.as_slice(), &[0]].concat()).is_none());
    }
}
