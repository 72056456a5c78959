//! The configuration space, which is transmitted from its beginning (section 4.3.2.5).

use alloc::vec::Vec;

use ringwright_spec::ccw::Command;

use super::channel::{Channel, DATA_LEN};
use super::{ChannelSubsystem, TransportError, rejected};

/// What the configuration space was when it was read last, as far as it was.
#[derive(Debug, Default)]
pub(super) struct Config {
    known: Vec<u8>,
    generation: u32,
}

impl Config {
    /// Counts the changes that were noticed.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    pub fn read<C: ChannelSubsystem>(
        &mut self,
        channel: &mut Channel<C>,
        offset: usize,
        data: &mut [u8],
    ) -> Result<(), TransportError> {
        let mut config = [0; DATA_LEN];
        let config = self.fetch(channel, &mut config, offset, data.len())?;
        data.copy_from_slice(&config[offset..]);
        Ok(())
    }

    /// What is before the field goes with it, as it was just now.
    pub fn write<C: ChannelSubsystem>(
        &mut self,
        channel: &mut Channel<C>,
        offset: usize,
        data: &[u8],
    ) -> Result<(), TransportError> {
        let mut config = [0; DATA_LEN];
        let config = self.fetch(channel, &mut config, offset, data.len())?;
        config[offset..].copy_from_slice(data);
        let given = channel.give_some(Command::WRITE_CONF, config);
        given.map_err(rejected("WRITE_CONF is rejected"))
    }

    /// The configuration space up to the end of the `length` bytes at `offset`.
    fn fetch<'c, C: ChannelSubsystem>(
        &mut self,
        channel: &mut Channel<C>,
        config: &'c mut [u8; DATA_LEN],
        offset: usize,
        length: usize,
    ) -> Result<&'c mut [u8], TransportError> {
        let outside = TransportError::Config { offset, length };
        let end = offset.checked_add(length).ok_or(outside)?;
        let config = config.get_mut(..end).ok_or(outside)?;
        let present = channel.ask_some(Command::READ_CONF, config);
        if present.map_err(rejected("READ_CONF is rejected"))? < end {
            return Err(outside);
        }
        self.compare(config);
        Ok(config)
    }

    /// Notices a change since the last time.
    fn compare(&mut self, config: &[u8]) {
        let common = self.known.len().min(config.len());
        if self.known[..common] != config[..common] {
            self.generation = self.generation.wrapping_add(1);
            self.known.clear();
        }
        if self.known.len() < config.len() {
            self.known = config.to_vec();
        }
    }
}
