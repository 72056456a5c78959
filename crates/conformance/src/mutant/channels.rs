//! A channel subsystem seen through a lens.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::Memory;
use ringwright_spec::ccw::Command;
use ringwright_spec::ccw::channel::{
    Ccw1, CcwFlags, ConditionCode, DeviceStatus, ERW_CONCURRENT_SENSE, Irb, Orb, Schib, ScswControl, Sense,
};
use zerocopy::IntoBytes;

use super::Lens;

/// A channel subsystem that a lens lies before. Clones are the same one.
#[derive(Clone)]
pub(crate) struct LensChannels<C> {
    subsystem: C,
    lens: Option<&'static Lens>,
    state: Arc<Mutex<State>>,
}

struct State {
    program: Program,
    /// What the next TEST SUBCHANNEL says, if the device does not.
    pending: Option<Irb>,
}

/// What a lens knows of the channel programs of its device.
pub struct Program {
    memory: Arc<Memory>,
    /// The first command of the program.
    pub command: Command,
    /// Its flags.
    pub flags: CcwFlags,
    /// How many bytes of data it has.
    pub count: u16,
    /// Where these are.
    pub address: u64,
    /// What a lens wants to remember.
    pub note: u64,
}

/// How a program ends that the device does not see.
#[derive(Clone, Copy, Debug)]
pub enum Feigned {
    /// It is done.
    Done,
    /// The command is rejected.
    Rejected,
}

impl Program {
    /// A byte of the data; 0 beyond their end.
    pub fn byte(&self, number: u16) -> u8 {
        let mut byte = [0];
        if number < self.count {
            // Where there is no memory the device sees nothing either.
            let _ = self.memory.read(self.address + u64::from(number), &mut byte);
        }
        byte[0]
    }

    /// Changes a byte of the data.
    pub fn set_byte(&self, number: u16, byte: u8) {
        let _ = self.memory.write(self.address + u64::from(number), &[byte]);
    }
}

impl<C> LensChannels<C> {
    pub fn new(subsystem: C, lens: Option<&'static Lens>, memory: Arc<Memory>) -> Self {
        let program = Program {
            memory,
            command: Command::NO_OPERATION,
            flags: CcwFlags::NONE,
            count: 0,
            address: 0,
            note: 0,
        };
        Self {
            subsystem,
            lens,
            state: Arc::new(Mutex::new(State {
                program,
                pending: None,
            })),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: ChannelSubsystem> ChannelSubsystem for LensChannels<C> {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        self.subsystem.store(id)
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        self.subsystem.modify(id, schib)
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        let feigned = {
            let mut state = self.state();
            let program = &mut state.program;
            let mut word = Ccw1::default();
            // A program that is nowhere is none.
            let _ = program
                .memory
                .read(orb.channel_program.get().into(), word.as_mut_bytes());
            program.command = Command(word.command);
            program.flags = CcwFlags(word.flags);
            program.count = word.count.get();
            program.address = word.data_address.get().into();
            self.lens
                .and_then(|lens| lens.command)
                .and_then(|hear| hear(program))
        };
        match feigned {
            Some(feigned) => {
                self.state().pending = Some(feigned.irb());
                Ok(ConditionCode::DONE)
            }
            None => self.subsystem.start(id, orb),
        }
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        if let Some(irb) = self.state().pending.take() {
            return Ok((ConditionCode::DONE, irb));
        }
        let (code, mut irb) = self.subsystem.test(id)?;
        if code == ConditionCode::DONE
            && let Some(see) = self.lens.and_then(|lens| lens.ended)
        {
            see(&mut self.state().program, &mut irb);
        }
        Ok((code, irb))
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        self.subsystem.notify(id, data, cookie)
    }
}

impl Feigned {
    fn irb(self) -> Irb {
        let mut irb = Irb::default();
        let control = ScswControl::PRIMARY | ScswControl::SECONDARY | ScswControl::STATUS_PENDING;
        let mut status = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        if let Self::Rejected = self {
            status = status | DeviceStatus::UNIT_CHECK;
            irb.extended_status[1] = ERW_CONCURRENT_SENSE.into();
            irb.extended_control[0] = Sense::COMMAND_REJECT.0;
        }
        irb.scsw.control = control.0.into();
        irb.scsw.device_status = status.0;
        irb
    }
}
