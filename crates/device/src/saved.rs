//! The saved state of a host: a version, what the device saved, what its workers saved, where its queues stand.

use ringwright_ring::State;
use ringwright_spec::Features;

use crate::codec::{Rest, put_bytes, put_length, put_state};

/// First bytes of every saved state; the last one is the version.
const MAGIC: [u8; 4] = *b"RWD\x02";

/// The parts of a saved state.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Saved {
    pub device_id: u32,
    /// The negotiated ones, if they are.
    pub features: Option<Features>,
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
        bytes.push(self.features.is_some().into());
        bytes.extend(self.features.unwrap_or_default().0.to_le_bytes());
        put_bytes(&mut bytes, &self.device);
        put_length(&mut bytes, self.workers.len());
        for (group, state) in &self.workers {
            bytes.extend(group.to_le_bytes());
            put_bytes(&mut bytes, state);
        }
        put_length(&mut bytes, self.queues.len());
        for (index, state) in &self.queues {
            bytes.extend(index.to_le_bytes());
            put_state(&mut bytes, *state);
        }
        bytes
    }

    /// `None` if these are not the bytes of a saved state, from the first to the last.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut rest = Rest::after(MAGIC, bytes)?;
        let mut saved = Self {
            device_id: rest.u32()?,
            features: match (rest.flag()?, rest.features()?) {
                (true, features) => Some(features),
                (false, _) => None,
            },
            device: rest.bytes()?.to_vec(),
            ..Self::default()
        };
        for _ in 0..rest.length()? {
            let group = rest.u32()?;
            saved.workers.push((group, rest.bytes()?.to_vec()));
        }
        for _ in 0..rest.length()? {
            let index = rest.u16()?;
            saved.queues.push((index, rest.state()?));
        }
        rest.is_empty().then_some(saved)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_saved_state_is_taken_up_whole_or_not_at_all() {
        let saved = Saved {
            device_id: 2,
            features: Some(Features::bit(127) | Features::bit(0)),
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
