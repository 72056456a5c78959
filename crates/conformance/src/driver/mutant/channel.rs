//! A channel subsystem through a hand that may slip.

use std::sync::Arc;

use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::Memory;
use ringwright_spec::ccw::Command;
use ringwright_spec::ccw::channel::{Ccw1, CcwFlags, ConditionCode, Irb, Orb, Schib};
use zerocopy::{FromZeros, IntoBytes};

use super::{Slip, Told};
use crate::driver::strict::{SUBCHANNEL, StrictCcw};

/// Where another command has its data, after its word.
const DATA: u64 = 16;

/// Gives a command to the device, or others instead.
pub type SlipCommand = fn(&mut ChannelHand, Command) -> Told<ConditionCode>;

/// Sends a notification, given its data and host cookie.
pub type SlipHypercall = fn(&mut ChannelHand, u64, u64) -> Told<u64>;

/// The hand that slips on a channel subsystem: what it holds, and knows.
pub struct ChannelHand {
    channels: StrictCcw,
    memory: Arc<Memory>,
    /// What the driver has started last.
    orb: Orb,
    /// What a slip wants to remember.
    pub note: u64,
}

impl ChannelHand {
    /// Starts what the driver has wanted to start.
    pub fn go_on(&mut self) -> Told<ConditionCode> {
        self.channels.start(SUBCHANNEL, &self.orb)
    }

    /// Gives another command before, and leaves the driver's program as it is.
    pub fn give(&mut self, command: Command, data: &[u8]) -> Told {
        let program = u64::from(self.orb.channel_program.get());
        let mut before = vec![0; DATA as usize + data.len()];
        // A mutant that goes astray breaks nothing, and its test says so.
        let _ = self.memory.read(program, &mut before);
        let word = Ccw1 {
            command: command.0,
            flags: CcwFlags::NONE.0,
            count: (data.len() as u16).into(),
            data_address: ((program + DATA) as u32).into(),
        };
        self.write(program, word.as_bytes());
        self.write(program + DATA, data);
        self.go_on()?;
        self.channels.test(SUBCHANNEL)?;
        self.write(program, &before);
        Ok(())
    }

    /// Sends a notification.
    pub fn notify(&mut self, data: u64, cookie: u64) -> Told<u64> {
        self.channels.notify(SUBCHANNEL, data, cookie)
    }

    /// The word that the driver has started.
    pub fn word(&self) -> Ccw1 {
        let mut word = Ccw1::new_zeroed();
        let _ = self
            .memory
            .read(self.orb.channel_program.get().into(), word.as_mut_bytes());
        word
    }

    /// Changes it.
    pub fn set_word(&self, word: Ccw1) {
        self.write(self.orb.channel_program.get().into(), word.as_bytes());
    }

    /// Address of its data.
    pub fn data(&self) -> u64 {
        self.word().data_address.get().into()
    }

    /// Reads 64 bits of memory, big-endian as all is on this bus.
    pub fn read64(&self, address: u64) -> u64 {
        let mut bytes = [0; 8];
        let _ = self.memory.read(address, &mut bytes);
        u64::from_be_bytes(bytes)
    }

    /// Writes memory.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let _ = self.memory.write(address, bytes);
    }
}

/// The channel subsystem through such a hand.
pub(in crate::driver) struct SlipChannels {
    hand: ChannelHand,
    slip: &'static Slip,
}

impl SlipChannels {
    pub fn new(channels: StrictCcw, slip: &'static Slip, memory: Arc<Memory>) -> Self {
        let hand = ChannelHand {
            channels,
            memory,
            orb: Orb::default(),
            note: 0,
        };
        Self { hand, slip }
    }
}

impl ChannelSubsystem for SlipChannels {
    fn store(&mut self, id: u32) -> Told<Option<Schib>> {
        self.hand.channels.store(id)
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Told<ConditionCode> {
        self.hand.channels.modify(id, schib)
    }

    fn start(&mut self, _: u32, orb: &Orb) -> Told<ConditionCode> {
        self.hand.orb = *orb;
        match self.slip.command {
            Some(slip) => {
                let command = Command(self.hand.word().command);
                slip(&mut self.hand, command)
            }
            None => self.hand.go_on(),
        }
    }

    fn test(&mut self, id: u32) -> Told<(ConditionCode, Irb)> {
        self.hand.channels.test(id)
    }

    fn notify(&mut self, _: u32, data: u64, cookie: u64) -> Told<u64> {
        match self.slip.hypercall {
            Some(slip) => slip(&mut self.hand, data, cookie),
            None => self.hand.notify(data, cookie),
        }
    }
}
