//! The subchannel's control blocks, and the interruptions that tell of them: what the I/O instructions read and change.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ringwright_spec::ccw::channel::{
    ConditionCode, DeviceStatus, ERW_CONCURRENT_SENSE, ERW_SENSE_COUNT_SHIFT, Irb, KEY, Orb, PMCW_ISC,
    PMCW_ISC_SHIFT, Pmcw, PmcwCharacteristics, PmcwFlags, SCSW_DEFERRED_CC, SENSE_LEN, Schib, Scsw,
    ScswControl, ScswFlags, SubchannelStatus,
};

use super::program::{Ending, Outcome};
use super::{ChannelInterrupts, Interruption};

/// The only path of a subchannel.
const PATH: u8 = 0x80;

/// Flags of the path-management-control word that MODIFY SUBCHANNEL changes.
const MODIFIABLE: PmcwFlags = PmcwFlags::ENABLED
    .union(PmcwFlags::LIMIT_LOW)
    .union(PmcwFlags::LIMIT_HIGH)
    .union(PmcwFlags::MEASUREMENT_BLOCK)
    .union(PmcwFlags::CONNECT_TIME)
    .union(PmcwFlags::MULTIPATH);

/// Characteristics that it changes.
const MODIFIABLE_CHARACTERISTICS: PmcwCharacteristics = PmcwCharacteristics::MEASUREMENT_BLOCK_FORMAT
    .union(PmcwCharacteristics::EXTENDED_MEASUREMENT_WORD)
    .union(PmcwCharacteristics::CONCURRENT_SENSE);

const FUNCTIONS: ScswControl = ScswControl::START_FUNCTION
    .union(ScswControl::HALT_FUNCTION)
    .union(ScswControl::CLEAR_FUNCTION);

/// The status bits that say that something has ended, or is unusual.
const CONDITIONS: ScswControl = ScswControl::ALERT
    .union(ScswControl::INTERMEDIATE)
    .union(ScswControl::PRIMARY)
    .union(ScswControl::SECONDARY)
    .union(ScswControl::STATUS_PENDING);

/// What [`Orb::control`] and [`Scsw::flags`] have in common.
const COPIED_FROM_ORB: u16 = KEY
    | ScswFlags::SUSPEND.0
    | ScswFlags::FORMAT_1.0
    | ScswFlags::PREFETCH.0
    | ScswFlags::INITIAL_STATUS_INTERRUPTION.0
    | ScswFlags::ADDRESS_LIMIT_CHECKING.0
    | ScswFlags::SUPPRESS_SUSPENDED_INTERRUPTION.0;

/// The status of a subchannel. The instructions come from the thread that has the model; [`Status::alert`] comes from any.
pub(super) struct Status {
    id: u32,
    blocks: Mutex<Schib>,
    interrupts: Arc<dyn ChannelInterrupts>,
}

impl Status {
    pub fn new(
        id: u32,
        device_number: u16,
        channel_path: u8,
        interrupts: Arc<dyn ChannelInterrupts>,
    ) -> Self {
        Self {
            id,
            blocks: Mutex::new(initial(device_number, channel_path)),
            interrupts,
        }
    }

    /// Where interruptions go.
    pub fn interrupts(&self) -> &dyn ChannelInterrupts {
        &*self.interrupts
    }

    /// STORE SUBCHANNEL.
    pub fn store(&self) -> Schib {
        *self.lock()
    }

    /// Puts back what [`Status::store`] gave. If status is pending, so is the interruption.
    pub fn restore(&self, saved: Schib) {
        let mut blocks = self.lock();
        *blocks = saved;
        if control(&saved.scsw).contains(ScswControl::STATUS_PENDING) {
            self.interrupt(blocks);
        }
    }

    pub fn is_enabled(&self) -> bool {
        is_enabled(&self.lock().pmcw)
    }

    /// Back to what it is before any program has used it.
    pub fn reset(&self) {
        let mut blocks = self.lock();
        let pmcw = blocks.pmcw;
        *blocks = initial(pmcw.device_number.get(), pmcw.channel_paths[0]);
    }

    /// MODIFY SUBCHANNEL.
    pub fn modify(&self, new: &Schib) -> ConditionCode {
        let mut blocks = self.lock();
        let control = control(&blocks.scsw);
        if control.contains(ScswControl::STATUS_PENDING) {
            return ConditionCode::STATUS_PENDING;
        }
        if control.intersects(FUNCTIONS) {
            return ConditionCode::BUSY;
        }
        let changed = MODIFIABLE.0 | PMCW_ISC;
        let pmcw = &mut blocks.pmcw;
        pmcw.interruption_parameter = new.pmcw.interruption_parameter;
        pmcw.flags = ((pmcw.flags.get() & !changed) | (new.pmcw.flags.get() & changed)).into();
        pmcw.logical_path_mask = new.pmcw.logical_path_mask;
        pmcw.path_operational_mask = new.pmcw.path_operational_mask;
        pmcw.measurement_block_index = new.pmcw.measurement_block_index;
        let changed = MODIFIABLE_CHARACTERISTICS.0;
        let kept = pmcw.characteristics.get() & !changed;
        pmcw.characteristics = (kept | (new.pmcw.characteristics.get() & changed)).into();
        blocks.measurement_block_address = new.measurement_block_address;
        ConditionCode::DONE
    }

    /// START SUBCHANNEL, as far as the control blocks go: the program may run if this is [`ConditionCode::DONE`].
    pub fn start(&self, orb: &Orb) -> ConditionCode {
        let mut blocks = self.lock();
        if !is_enabled(&blocks.pmcw) {
            return ConditionCode::NOT_OPERATIONAL;
        }
        let busy = control(&blocks.scsw);
        if busy.contains(ScswControl::STATUS_PENDING) {
            return ConditionCode::STATUS_PENDING;
        }
        if busy.intersects(FUNCTIONS) {
            return ConditionCode::BUSY;
        }
        blocks.pmcw.interruption_parameter = orb.interruption_parameter;
        blocks.scsw = Scsw {
            flags: (orb.control.get() & COPIED_FROM_ORB).into(),
            control: (ScswControl::START_FUNCTION | ScswControl::START_PENDING)
                .0
                .into(),
            ..Scsw::default()
        };
        ConditionCode::DONE
    }

    /// RESUME SUBCHANNEL, likewise.
    pub fn resume(&self) -> ConditionCode {
        let mut blocks = self.lock();
        if !is_enabled(&blocks.pmcw) {
            return ConditionCode::NOT_OPERATIONAL;
        }
        let before = control(&blocks.scsw);
        if before.contains(ScswControl::STATUS_PENDING) {
            return ConditionCode::STATUS_PENDING;
        }
        if !before.contains(ScswControl::SUSPENDED) {
            return ConditionCode::BUSY;
        }
        let active = (before - ScswControl::SUSPENDED) | ScswControl::START_PENDING;
        blocks.scsw.control = active.0.into();
        ConditionCode::DONE
    }

    /// The program has come to rest.
    pub fn conclude(&self, outcome: Outcome) {
        let mut blocks = self.lock();
        let scsw = &mut blocks.scsw;
        match outcome {
            Outcome::Ended(ending) => {
                set_ending(scsw, ending);
                let mut ended = ScswControl::START_FUNCTION
                    | ScswControl::PRIMARY
                    | ScswControl::SECONDARY
                    | ScswControl::STATUS_PENDING;
                let interruption = SubchannelStatus::PROGRAM_CONTROLLED_INTERRUPTION;
                if ending.subchannel_status.contains(interruption) {
                    ended = ended | ScswControl::INTERMEDIATE;
                }
                if !(ending.subchannel_status - interruption).is_empty()
                    || ending.device_status.contains(DeviceStatus::UNIT_CHECK)
                {
                    ended = ended | ScswControl::ALERT;
                }
                scsw.control = ended.0.into();
            }
            Outcome::Suspended(_, ending) => {
                set_ending(scsw, ending);
                let suspended = ScswControl::START_FUNCTION | ScswControl::SUSPENDED;
                scsw.control = suspended.0.into();
                let flags = ScswFlags(scsw.flags.get());
                if flags.contains(ScswFlags::SUPPRESS_SUSPENDED_INTERRUPTION)
                    && ending.subchannel_status.is_empty()
                {
                    return;
                }
                let pending = suspended | ScswControl::INTERMEDIATE | ScswControl::STATUS_PENDING;
                scsw.control = pending.0.into();
            }
        }
        self.interrupt(blocks);
    }

    /// There is no path to the device that the program would have used.
    pub fn conclude_without_path(&self) {
        let mut blocks = self.lock();
        let scsw = &mut blocks.scsw;
        scsw.flags = (scsw.flags.get() | SCSW_DEFERRED_CC).into();
        let control = ScswControl::START_FUNCTION | ScswControl::ALERT | ScswControl::STATUS_PENDING;
        scsw.control = control.0.into();
        self.interrupt(blocks);
    }

    /// TEST SUBCHANNEL. `sense` is what the device has to say of a unit check; it is gone if it is handed over.
    pub fn test(&self, sense: &mut [u8; SENSE_LEN]) -> (ConditionCode, Irb) {
        let mut blocks = self.lock();
        let mut irb = Irb {
            scsw: blocks.scsw,
            ..Irb::default()
        };
        if !is_enabled(&blocks.pmcw) {
            return (ConditionCode::NOT_OPERATIONAL, irb);
        }
        let before = control(&blocks.scsw);
        if !before.contains(ScswControl::STATUS_PENDING) {
            return (ConditionCode::STATUS_PENDING, irb);
        }
        irb.extended_status[0] = u32::from_be_bytes([0, PATH, 0, 0]).into();
        let characteristics = PmcwCharacteristics(blocks.pmcw.characteristics.get());
        let unit_check = DeviceStatus(irb.scsw.device_status).contains(DeviceStatus::UNIT_CHECK);
        if unit_check && characteristics.contains(PmcwCharacteristics::CONCURRENT_SENSE) {
            irb.extended_control = std::mem::take(sense);
            let report = ERW_CONCURRENT_SENSE | (SENSE_LEN as u32) << ERW_SENSE_COUNT_SHIFT;
            irb.extended_status[1] = report.into();
            irb.scsw.flags = (irb.scsw.flags.get() | ScswFlags::EXTENDED_CONTROL.0).into();
        }
        // A program that is suspended stays so, whatever else there was to say.
        let kept = match before.contains(ScswControl::SUSPENDED) {
            true => before - CONDITIONS,
            false => ScswControl::NONE,
        };
        blocks.scsw.control = kept.0.into();
        self.interrupts.withdraw(self.id);
        (ConditionCode::DONE, irb)
    }

    /// HALT SUBCHANNEL.
    pub fn halt(&self) -> ConditionCode {
        let mut blocks = self.lock();
        if !is_enabled(&blocks.pmcw) {
            return ConditionCode::NOT_OPERATIONAL;
        }
        let before = control(&blocks.scsw);
        let ended = ScswControl::ALERT | ScswControl::PRIMARY | ScswControl::SECONDARY;
        let pending = before & CONDITIONS;
        if pending == ScswControl::STATUS_PENDING || pending.intersects(ended) {
            return ConditionCode::STATUS_PENDING;
        }
        let started = before & ScswControl::START_FUNCTION;
        let halted = started | ScswControl::HALT_FUNCTION | ScswControl::STATUS_PENDING;
        blocks.scsw.control = halted.0.into();
        blocks.scsw.device_status = 0;
        blocks.scsw.subchannel_status = 0;
        self.interrupt(blocks);
        ConditionCode::DONE
    }

    /// CLEAR SUBCHANNEL.
    pub fn clear(&self) -> ConditionCode {
        let mut blocks = self.lock();
        if !is_enabled(&blocks.pmcw) {
            return ConditionCode::NOT_OPERATIONAL;
        }
        let cleared = ScswControl::CLEAR_FUNCTION | ScswControl::STATUS_PENDING;
        blocks.scsw = Scsw {
            control: cleared.0.into(),
            ..Scsw::default()
        };
        blocks.pmcw.path_operational_mask = u8::MAX;
        self.interrupt(blocks);
        ConditionCode::DONE
    }

    /// CANCEL SUBCHANNEL: what can be cancelled is a program that is suspended.
    pub fn cancel(&self) -> ConditionCode {
        let mut blocks = self.lock();
        if !is_enabled(&blocks.pmcw) {
            return ConditionCode::NOT_OPERATIONAL;
        }
        let before = control(&blocks.scsw);
        if before.contains(ScswControl::STATUS_PENDING) {
            return ConditionCode::STATUS_PENDING;
        }
        if !before.contains(ScswControl::SUSPENDED) {
            return ConditionCode::BUSY;
        }
        blocks.scsw.control = 0.into();
        ConditionCode::DONE
    }

    /// The device has something to say that no program asked for. An interruption is made only if none is pending for the
    /// subchannel.
    pub fn alert(&self) {
        let mut blocks = self.lock();
        let before = control(&blocks.scsw);
        if !is_enabled(&blocks.pmcw) || before.contains(ScswControl::STATUS_PENDING) {
            return;
        }
        let alert = before | ScswControl::ALERT | ScswControl::STATUS_PENDING;
        blocks.scsw.control = alert.0.into();
        // Nothing is left of what an earlier program was told.
        blocks.scsw.device_status = 0;
        blocks.scsw.subchannel_status = 0;
        self.interrupt(blocks);
    }

    /// Makes an interruption pending. The status stays locked until it is, so that nobody can take the status and leave
    /// the interruption.
    fn interrupt(&self, blocks: MutexGuard<'_, Schib>) {
        self.interrupts.interrupt(Interruption {
            subchannel: self.id,
            parameter: blocks.pmcw.interruption_parameter.get(),
            subclass: ((blocks.pmcw.flags.get() & PMCW_ISC) >> PMCW_ISC_SHIFT) as u8,
        });
    }

    fn lock(&self) -> MutexGuard<'_, Schib> {
        self.blocks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the logical-path mask of a program has the path that there is.
pub(super) fn has_path(orb: &Orb) -> bool {
    orb.logical_path_mask & PATH != 0
}

fn initial(device_number: u16, channel_path: u8) -> Schib {
    Schib {
        pmcw: Pmcw {
            flags: PmcwFlags::DEVICE_NUMBER_VALID.0.into(),
            device_number: device_number.into(),
            logical_path_mask: PATH,
            path_installed_mask: PATH,
            path_operational_mask: u8::MAX,
            path_available_mask: PATH,
            channel_paths: [channel_path, 0, 0, 0, 0, 0, 0, 0],
            ..Pmcw::default()
        },
        ..Schib::default()
    }
}

fn is_enabled(pmcw: &Pmcw) -> bool {
    PmcwFlags(pmcw.flags.get()).contains(PmcwFlags::ENABLED)
}

fn control(scsw: &Scsw) -> ScswControl {
    ScswControl(scsw.control.get())
}

fn set_ending(scsw: &mut Scsw, ending: Ending) {
    scsw.device_status = ending.device_status.0;
    scsw.subchannel_status = ending.subchannel_status.0;
    scsw.ccw_address = ending.ccw_address.into();
    scsw.count = ending.residual.into();
}
