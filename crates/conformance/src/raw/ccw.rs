//! Channel programs of one command, legal or not (section 4.3).

use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::{Area, Buffer};
use ringwright_spec::ccw::channel::{
    CCW_ALIGN, Ccw1, CcwFlags, ConditionCode, DeviceStatus, ERW_CONCURRENT_SENSE, Irb, Orb, OrbControl,
    PMCW_ISC, PmcwFlags, ScswControl, Sense, SubchannelStatus,
};
use ringwright_spec::ccw::{Command, DIAGNOSE_NOTIFY};
use zerocopy::IntoBytes;

/// Where the data are in the memory of a program.
const DATA: usize = 16;
/// Most bytes of data.
const DATA_LEN: usize = 512;
/// How often it is asked whether a program has ended.
const PATIENCE: u32 = 1_000_000;

/// A subchannel, whose driver writes its programs itself.
pub struct RawCcw {
    subsystem: Box<dyn ChannelSubsystem + Send>,
    id: u32,
    memory: Buffer,
    diagnose: Option<Diagnose>,
}

/// The hypercall of notifications, with all 16 general registers.
pub type Diagnose = Box<dyn FnMut(&mut [u64; 16]) + Send>;

/// How a program has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProgramEnd {
    /// Device status.
    pub device: DeviceStatus,
    /// Subchannel status.
    pub subchannel: SubchannelStatus,
    /// The sense data's first byte, after a unit check.
    pub sense: Sense,
}

impl RawCcw {
    /// The subchannel `id`, with memory of `area` for programs. `None` if there is none left.
    pub fn new(subsystem: Box<dyn ChannelSubsystem + Send>, id: u32, area: &Arc<Area>) -> Option<Self> {
        let memory = area.allocate(DATA + DATA_LEN, CCW_ALIGN as usize)?;
        Some(Self {
            subsystem,
            id,
            memory,
            diagnose: None,
        })
    }

    /// The same with the hypercall of notifications in full.
    pub fn with_diagnose(mut self, diagnose: Diagnose) -> Self {
        self.diagnose = Some(diagnose);
        self
    }

    /// Runs a program of one command, with as many bytes of data as `data` has. They are what the device has left there
    /// when it returns.
    pub fn run(
        &mut self,
        command: Command,
        flags: CcwFlags,
        data: &mut [u8],
    ) -> Result<ProgramEnd, TransportError> {
        let irb = self.start(command, flags, data)?;
        let device = DeviceStatus(irb.scsw.device_status);
        let mut end = ProgramEnd {
            device,
            subchannel: SubchannelStatus(irb.scsw.subchannel_status),
            sense: Sense(0),
        };
        if device.contains(DeviceStatus::UNIT_CHECK) {
            let mut sense = [irb.extended_control[0]];
            if irb.extended_status[1].get() & ERW_CONCURRENT_SENSE == 0 {
                self.start(Command::BASIC_SENSE, CcwFlags::SUPPRESS_LENGTH, &mut sense)?;
            }
            end.sense = Sense(sense[0]);
        }
        Ok(end)
    }

    /// Sends an available buffer notification, for which the device has given no host cookie.
    pub fn notify(&mut self, data: u64) -> Result<u64, TransportError> {
        self.subsystem.notify(self.id, data, 0)
    }

    /// The same with the left half of general register 2, beside the subchannel id, full of ones. `None` if the hypercall
    /// cannot be made in full.
    pub fn notify_with_ones(&mut self, data: u64) -> Option<u64> {
        let mut registers = [0; 16];
        let id = u64::from(u32::MAX) << 32 | u64::from(self.id);
        registers[1..4].copy_from_slice(&[DIAGNOSE_NOTIFY, id, data]);
        self.diagnose.as_mut()?(&mut registers);
        Some(registers[2])
    }

    /// Disables the subchannel, and enables it again.
    pub fn enable_anew(&mut self) -> Result<(), TransportError> {
        for enabled in [false, true] {
            let gone = TransportError::Gone;
            let mut schib = self.subsystem.store(self.id)?.ok_or(gone)?;
            let flags = schib.pmcw.flags.get();
            let kept = flags & (PMCW_ISC | !PmcwFlags::ENABLED.0);
            schib.pmcw.flags = (kept | if enabled { PmcwFlags::ENABLED.0 } else { 0 }).into();
            for _ in 0..PATIENCE {
                match self.subsystem.modify(self.id, &schib)? {
                    ConditionCode::DONE => break,
                    ConditionCode::STATUS_PENDING => _ = self.subsystem.test(self.id)?,
                    _ => std::hint::spin_loop(),
                }
            }
        }
        Ok(())
    }

    fn start(&mut self, command: Command, flags: CcwFlags, data: &mut [u8]) -> Result<Irb, TransportError> {
        let too_long = || TransportError::Config {
            offset: 0,
            length: data.len(),
        };
        let area = self.memory.segment_at(DATA, DATA_LEN).ok_or_else(too_long)?;
        let word = Ccw1 {
            command: command.0,
            flags: flags.0,
            count: (data.len() as u16).into(),
            data_address: (area.address() as u32).into(),
        };
        self.memory.write(DATA, data).map_err(|_| too_long())?;
        self.memory.write(0, word.as_bytes()).map_err(|_| too_long())?;
        let orb = Orb {
            interruption_parameter: self.id.into(),
            control: OrbControl::FORMAT_1.0.into(),
            logical_path_mask: 0xff,
            modes: 0,
            channel_program: (self.memory.segment().address() as u32).into(),
        };
        fence(Ordering::SeqCst);
        let mut started = false;
        for _ in 0..PATIENCE {
            if !started {
                match self.subsystem.start(self.id, &orb)? {
                    ConditionCode::DONE => started = true,
                    ConditionCode::STATUS_PENDING => _ = self.subsystem.test(self.id)?,
                    ConditionCode::BUSY => std::hint::spin_loop(),
                    _ => return Err(TransportError::Gone),
                }
                continue;
            }
            let (code, irb) = self.subsystem.test(self.id)?;
            let ended = ScswControl::PRIMARY | ScswControl::SECONDARY;
            // Alert status alone is a notification.
            if code == ConditionCode::DONE && ScswControl(irb.scsw.control.get()).intersects(ended) {
                fence(Ordering::SeqCst);
                self.memory.read(DATA, data).map_err(|_| TransportError::Gone)?;
                return Ok(irb);
            }
        }
        Err(TransportError::Protocol("a channel program does not end"))
    }
}

impl ProgramEnd {
    /// Whether the device has done as it was told.
    pub fn is_done(&self) -> bool {
        self.subchannel.is_empty() && !self.device.contains(DeviceStatus::UNIT_CHECK)
    }

    /// Whether the device has rejected the command.
    pub fn is_rejected(&self) -> bool {
        self.device.contains(DeviceStatus::UNIT_CHECK) && self.sense.contains(Sense::COMMAND_REJECT)
    }
}
