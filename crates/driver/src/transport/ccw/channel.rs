//! One subchannel, and channel programs of one command on it.

use alloc::sync::Arc;
use core::sync::atomic::{Ordering, fence};

use ringwright_memory::{Area, Buffer};
use ringwright_spec::ccw::Command;
use ringwright_spec::ccw::channel::{
    CCW_ALIGN, Ccw1, CcwFlags, ConditionCode, DeviceStatus, ERW_CONCURRENT_SENSE, FORMAT_1_LIMIT, Irb, Orb,
    OrbControl, PMCW_ISC, PMCW_ISC_SHIFT, PmcwCharacteristics, PmcwFlags, SCSW_DEFERRED_CC, SENSE_LEN, Scsw,
    ScswControl, Sense, SubchannelStatus,
};
use zerocopy::IntoBytes;

use super::ChannelSubsystem;
use crate::TransportError;
use crate::session::PATIENCE;

/// Most bytes of data that go with a command: more than any configuration space has, and all that SENSE ID returns.
pub(super) const DATA_LEN: usize = 512;

/// Where the data are in the memory of programs.
const DATA: usize = 16;

/// What every program is started with: format 1, any path.
const PATHS: u8 = 0xff;

/// Why a command was not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The device rejects it.
    Rejected,
    /// Something went wrong.
    Failed(TransportError),
}

impl From<TransportError> for Refusal {
    fn from(error: TransportError) -> Self {
        Self::Failed(error)
    }
}

impl Refusal {
    /// The error, where a rejection is one as well.
    pub fn or(self, rejected: TransportError) -> TransportError {
        match self {
            Self::Rejected => rejected,
            Self::Failed(error) => error,
        }
    }
}

/// An enabled subchannel. It is disabled when this is dropped.
pub(super) struct Channel<C: ChannelSubsystem> {
    pub subsystem: C,
    pub id: u32,
    /// The channel command word, and its data.
    memory: Buffer,
}

impl<C: ChannelSubsystem> Channel<C> {
    /// Enables the subchannel, with interruption subclass `subclass`. `None` if it is not there, or no device is.
    pub fn enable(
        subsystem: C,
        id: u32,
        subclass: u8,
        area: &Arc<Area>,
    ) -> Result<Option<Self>, TransportError> {
        let memory = area.allocate(DATA + DATA_LEN, CCW_ALIGN as usize);
        let memory = memory.ok_or(TransportError::Unsupported("no memory left for channel programs"))?;
        if memory.segment().address() + memory.len() as u64 > FORMAT_1_LIMIT {
            return Err(TransportError::Unsupported(
                "channel programs need memory below 2 GiB",
            ));
        }
        let mut channel = Self {
            subsystem,
            id,
            memory,
        };
        // Disabled first: whoever had it before may have selected a revision, which would stay.
        let found = channel.set_enabled(None)? && channel.set_enabled(Some(subclass))?;
        Ok(found.then_some(channel))
    }

    /// Gives a command that carries `payload`.
    pub fn give(&mut self, command: Command, payload: &[u8]) -> Result<(), Refusal> {
        self.put(payload)?;
        self.run(command, CcwFlags::NONE, payload.len())?;
        Ok(())
    }

    /// Gives a command whose payload the device fills in.
    pub fn ask(&mut self, command: Command, payload: &mut [u8]) -> Result<(), Refusal> {
        self.give(command, payload)?;
        self.get(payload)?;
        Ok(())
    }

    /// Gives a command to which the device answers with as much as it has. Says how much of `into` that is.
    pub fn ask_some(&mut self, command: Command, into: &mut [u8]) -> Result<usize, Refusal> {
        let ended = self.run(command, CcwFlags::SUPPRESS_LENGTH, into.len())?;
        let (into, _) = into.split_at_mut(into.len().saturating_sub(ended.count.get().into()));
        self.get(into)?;
        Ok(into.len())
    }

    /// Gives a command that carries as much of `payload` as the device takes.
    pub fn give_some(&mut self, command: Command, payload: &[u8]) -> Result<(), Refusal> {
        self.put(payload)?;
        self.run(command, CcwFlags::SUPPRESS_LENGTH, payload.len())?;
        Ok(())
    }

    /// Takes the status that is pending, if there is any: another interruption can come then.
    pub fn take_status(&mut self) -> Result<(), TransportError> {
        match self.subsystem.test(self.id)?.0 {
            ConditionCode::NOT_OPERATIONAL => Err(TransportError::Gone),
            _ => Ok(()),
        }
    }

    /// Sends a notification. Gives the cookie for the next one.
    pub fn notify(&mut self, data: u64, cookie: u64) -> Result<u64, TransportError> {
        let answer = self.subsystem.notify(self.id, data, cookie)?;
        match answer.cast_signed() < 0 {
            true => Err(TransportError::Protocol("a notification was refused")),
            false => Ok(answer),
        }
    }

    fn put(&self, payload: &[u8]) -> Result<(), TransportError> {
        let too_long = TransportError::Config {
            offset: 0,
            length: payload.len(),
        };
        self.memory.write(DATA, payload).map_err(|_| too_long)
    }

    fn get(&self, into: &mut [u8]) -> Result<(), TransportError> {
        let too_long = TransportError::Config {
            offset: 0,
            length: into.len(),
        };
        self.memory.read(DATA, into).map_err(|_| too_long)
    }

    /// Runs a program of one command with a data area of `length` bytes.
    fn run(&mut self, command: Command, flags: CcwFlags, length: usize) -> Result<Scsw, Refusal> {
        let irb = self.run_unchecked(command, flags, length)?;
        let scsw = irb.scsw;
        if DeviceStatus(scsw.device_status).contains(DeviceStatus::UNIT_CHECK) {
            return match self.sense(&irb)?.contains(Sense::COMMAND_REJECT) {
                true => Err(Refusal::Rejected),
                false => Err(TransportError::Protocol("a unit check without command reject").into()),
            };
        }
        let status = SubchannelStatus(scsw.subchannel_status);
        if status.contains(SubchannelStatus::INCORRECT_LENGTH) {
            return Err(TransportError::Protocol("the data of a channel command have another length").into());
        }
        if !status.is_empty() {
            return Err(
                TransportError::Protocol("the channel subsystem has refused a channel program").into(),
            );
        }
        Ok(scsw)
    }

    /// Why there was a unit check: it may have come with the status.
    fn sense(&mut self, irb: &Irb) -> Result<Sense, TransportError> {
        if irb.extended_status[1].get() & ERW_CONCURRENT_SENSE != 0 {
            return Ok(Sense(irb.extended_control[0]));
        }
        let irb = self.run_unchecked(Command::BASIC_SENSE, CcwFlags::SUPPRESS_LENGTH, SENSE_LEN)?;
        if DeviceStatus(irb.scsw.device_status).contains(DeviceStatus::UNIT_CHECK)
            || irb.scsw.subchannel_status != 0
        {
            return Err(TransportError::Protocol("no sense data after a unit check"));
        }
        let mut sense = [0];
        self.get(&mut sense)?;
        Ok(Sense(sense[0]))
    }

    /// Runs a program of one command, and waits for its end.
    fn run_unchecked(
        &mut self,
        command: Command,
        flags: CcwFlags,
        length: usize,
    ) -> Result<Irb, TransportError> {
        let too_long = TransportError::Config { offset: 0, length };
        let area = self.memory.segment_at(DATA, length).ok_or(too_long)?;
        let word = Ccw1 {
            command: command.0,
            flags: flags.0,
            count: (length as u16).into(),
            data_address: (area.address() as u32).into(),
        };
        self.memory.write(0, word.as_bytes()).map_err(|_| too_long)?;
        let orb = Orb {
            interruption_parameter: self.id.into(),
            control: OrbControl::FORMAT_1.0.into(),
            logical_path_mask: PATHS,
            modes: 0,
            channel_program: (self.memory.segment().address() as u32).into(),
        };
        // The program is in memory before it is started, and its data are read after it has ended.
        fence(Ordering::SeqCst);
        self.start(&orb)?;
        let irb = self.wait()?;
        fence(Ordering::SeqCst);
        Ok(irb)
    }

    fn start(&mut self, orb: &Orb) -> Result<(), TransportError> {
        for _ in 0..PATIENCE {
            match self.subsystem.start(self.id, orb)? {
                ConditionCode::DONE => return Ok(()),
                // A notification came first; its indicators tell of it as well.
                ConditionCode::STATUS_PENDING => self.take_status()?,
                ConditionCode::BUSY => core::hint::spin_loop(),
                _ => return Err(TransportError::Gone),
            }
        }
        Err(TransportError::Protocol("the subchannel stays busy"))
    }

    fn wait(&mut self) -> Result<Irb, TransportError> {
        let ended = ScswControl::PRIMARY | ScswControl::SECONDARY;
        for _ in 0..PATIENCE {
            match self.subsystem.test(self.id)? {
                (ConditionCode::DONE, irb) => {
                    if irb.scsw.flags.get() & SCSW_DEFERRED_CC != 0 {
                        return Err(TransportError::Gone);
                    }
                    // Alert status alone is a notification.
                    if ScswControl(irb.scsw.control.get()).intersects(ended) {
                        return Ok(irb);
                    }
                }
                (ConditionCode::STATUS_PENDING, _) => core::hint::spin_loop(),
                _ => return Err(TransportError::Gone),
            }
        }
        Err(TransportError::Protocol("a channel program does not end"))
    }

    /// Enables the subchannel with an interruption subclass, or disables it. False if there is no device.
    fn set_enabled(&mut self, subclass: Option<u8>) -> Result<bool, TransportError> {
        for _ in 0..PATIENCE {
            let Some(mut schib) = self.subsystem.store(self.id)? else {
                return Ok(false);
            };
            let flags = PmcwFlags(schib.pmcw.flags.get());
            if !flags.contains(PmcwFlags::DEVICE_NUMBER_VALID) {
                return Ok(false);
            }
            if flags.contains(PmcwFlags::ENABLED) == subclass.is_some() {
                return Ok(true);
            }
            let cleared = flags.0 & !(PMCW_ISC | PmcwFlags::ENABLED.0);
            let set = subclass.map_or(0, |subclass| {
                PmcwFlags::ENABLED.0 | (u16::from(subclass) << PMCW_ISC_SHIFT) & PMCW_ISC
            });
            schib.pmcw.flags = (cleared | set).into();
            schib.pmcw.characteristics =
                (schib.pmcw.characteristics.get() | PmcwCharacteristics::CONCURRENT_SENSE.0).into();
            match self.subsystem.modify(self.id, &schib)? {
                // Stored again, to see whether it is so.
                ConditionCode::DONE | ConditionCode::BUSY => core::hint::spin_loop(),
                ConditionCode::STATUS_PENDING => self.take_status()?,
                _ => return Ok(false),
            }
        }
        Err(TransportError::Protocol(
            "the subchannel cannot be enabled or disabled",
        ))
    }
}

impl<C: ChannelSubsystem> Drop for Channel<C> {
    fn drop(&mut self) {
        // Nobody is left to hear of an error.
        let _ = self.set_enabled(None);
    }
}
