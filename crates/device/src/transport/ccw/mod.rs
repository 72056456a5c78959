//! Virtio over channel I/O (section 4.3), the device's side.
//!
//! A [`Subchannel`] is a proxy device: the subchannel, its one channel path and its control unit, with a device behind
//! it. A virtual machine monitor gives it the I/O instructions of its processors. Their operands are passed as the blocks
//! that they are in the guest's memory, their results are condition codes; fetching operands, and the exceptions for
//! operands that are not valid, stay the monitor's affair. A channel program is carried out before the instruction that
//! starts it returns.
//!
//! [`ChannelSubsystem`] keeps subchannels by their ids.

mod commands;
mod data;
mod indicators;
mod program;
mod snapshot;
mod status;
mod subsystem;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use ringwright_memory::Memory;
use ringwright_ring::ByteOrder;
use ringwright_spec::ccw::Revision;
use ringwright_spec::ccw::channel::{
    ConditionCode, Irb, Orb, OrbControl, SENSE_LEN, SUBCHANNEL_ID_ONE, Schib, SubchannelStatus,
};
use ringwright_spec::notification::NotificationData;
use ringwright_spec::{Features, feature};

use super::core::{self, Core, Interface, Notifier};
use crate::{Device, HostError, QueueCounters};

use commands::Unit;
use indicators::Indicators;
use program::{Ending, Outcome};
use status::{Status, has_path};

pub use subsystem::ChannelSubsystem;

/// The device-independent features that this transport brings along. RING_RESET, ADMIN_VQ and shared memory are reserved
/// on it (section 4.3.4).
const FEATURES: Features = feature::NOTIFICATION_DATA
    .union(feature::SUSPEND)
    .union(feature::ANY_LAYOUT);

/// How a device presents itself over channel I/O.
#[derive(Clone, Debug)]
pub struct Options {
    /// What does not depend on the transport. A guest whose driver uses the legacy interface is big-endian, whatever this
    /// says.
    pub common: core::Options,
    /// Subchannel number: the right half of the subchannel id.
    pub subchannel: u16,
    /// Device number, by which an operating system knows the device.
    pub device_number: u16,
    /// Channel-path identifier. The type of the path is [`CHANNEL_PATH_TYPE`](ringwright_spec::ccw::CHANNEL_PATH_TYPE).
    pub channel_path: u8,
    /// The highest revision that a driver may select.
    pub max_revision: Revision,
    /// Whether drivers may use the legacy interface, revision 0.
    pub transitional: bool,
}

impl Default for Options {
    /// A transitional device with all revisions there are, as subchannel 0 with device number 0.
    fn default() -> Self {
        Self {
            common: core::Options::default(),
            subchannel: 0,
            device_number: 0,
            channel_path: 0,
            max_revision: Revision::READ_STATUS,
            transitional: true,
        }
    }
}

/// Takes the interruptions of subchannels. Called from any of a device's threads, and while the model is in use: it returns
/// at once and does not reach for the model.
pub trait ChannelInterrupts: Send + Sync {
    /// An I/O interruption is pending. A subchannel has one at a time: another one takes the place of the first.
    fn interrupt(&self, interruption: Interruption);

    /// The interruption of this subchannel, if it is still pending, is not any more: its status has been taken.
    fn withdraw(&self, subchannel: u32);

    /// An adapter I/O interruption of this subclass is pending.
    fn adapter_interrupt(&self, subclass: u8);
}

/// An I/O interruption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// Id of the subchannel.
    pub subchannel: u32,
    /// Interruption parameter.
    pub parameter: u32,
    /// Interruption subclass.
    pub subclass: u8,
}

/// A virtio-ccw proxy device, and the device behind it.
pub struct Subchannel {
    unit: Unit,
    status: Arc<Status>,
    memory: Option<Arc<Memory>>,
    /// The program that is suspended, and the address at which it is.
    suspended: Option<(Orb, u32)>,
    options: Options,
}

impl Subchannel {
    /// A device that no driver has met yet, on a subchannel that is not enabled.
    pub fn new(
        device: Box<dyn Device>,
        options: Options,
        interrupts: Arc<dyn ChannelInterrupts>,
    ) -> Result<Self, HostError> {
        let id = SUBCHANNEL_ID_ONE | u32::from(options.subchannel);
        let status = Arc::new(Status::new(
            id,
            options.device_number,
            options.channel_path,
            interrupts,
        ));
        let indicators = Arc::new(Indicators::new(status.clone()));
        let common = core::Options {
            legacy_byte_order: ByteOrder::Big,
            ..options.common.clone()
        };
        let core = Core::new(device, &common, FEATURES, Interface::Modern, indicators.clone())?;
        let unit = Unit {
            core,
            indicators,
            max_revision: options.max_revision,
            transitional: options.transitional,
            revision: None,
            sense: [0; SENSE_LEN],
        };
        Ok(Self {
            unit,
            status,
            memory: None,
            suspended: None,
            options,
        })
    }

    /// Subchannel id, as the I/O instructions name it in general register 1.
    pub fn id(&self) -> u32 {
        SUBCHANNEL_ID_ONE | u32::from(self.options.subchannel)
    }

    /// The guest's memory, from now on, also while the driver uses the device: channel programs, their data, indicators and
    /// virtqueues are in it.
    pub fn set_memory(&mut self, memory: Arc<Memory>) {
        self.unit.indicators.set_memory(memory.clone());
        self.unit.core.set_memory(memory.clone());
        self.memory = Some(memory);
    }

    /// A reset of the machine: nothing is left of what any driver has done.
    pub fn reset(&mut self) {
        self.unit.reset();
        self.unit.unset_revision();
        self.unit.sense = [0; SENSE_LEN];
        self.suspended = None;
        self.status.reset();
    }

    /// What has gone through each queue, by index.
    pub fn counters(&self) -> Vec<QueueCounters> {
        self.unit.core.counters()
    }

    /// STORE SUBCHANNEL. The condition code is that of a subchannel that is there.
    pub fn store(&self) -> Schib {
        self.status.store()
    }

    /// MODIFY SUBCHANNEL.
    pub fn modify(&mut self, schib: &Schib) -> ConditionCode {
        let was_enabled = self.status.is_enabled();
        let done = self.status.modify(schib);
        if self.status.is_enabled() != was_enabled {
            self.unit.unset_revision();
        }
        done
    }

    /// START SUBCHANNEL. If the condition code is [`ConditionCode::DONE`], the program has been carried out, and its status
    /// is pending; or it has suspended itself.
    pub fn start(&mut self, orb: &Orb) -> ConditionCode {
        let begun = self.status.start(orb);
        if begun != ConditionCode::DONE {
            return begun;
        }
        if !has_path(orb) {
            self.status.conclude_without_path();
            return begun;
        }
        self.run(*orb, orb.channel_program.get(), false);
        begun
    }

    /// RESUME SUBCHANNEL.
    pub fn resume_program(&mut self) -> ConditionCode {
        let resumed = self.status.resume();
        if resumed == ConditionCode::DONE
            && let Some((orb, at)) = self.suspended.take()
        {
            self.run(orb, at, true);
        }
        resumed
    }

    /// TEST SUBCHANNEL.
    pub fn test(&mut self) -> (ConditionCode, Irb) {
        self.status.test(&mut self.unit.sense)
    }

    /// HALT SUBCHANNEL.
    pub fn halt(&mut self) -> ConditionCode {
        self.end_suspended(self.status.halt())
    }

    /// CLEAR SUBCHANNEL.
    pub fn clear(&mut self) -> ConditionCode {
        self.end_suspended(self.status.clear())
    }

    /// CANCEL SUBCHANNEL.
    pub fn cancel(&mut self) -> ConditionCode {
        self.end_suspended(self.status.cancel())
    }

    /// An available buffer notification: what DIAGNOSE 0x500 gives in general register 3.
    pub fn notify(&mut self, data: u64) {
        // With VIRTIO_F_NOTIFICATION_DATA the index is the right half of a word, else all of it.
        self.unit.core.notify(NotificationData(data as u32).vq_index());
    }

    /// Sends available buffer notifications without the model: `notify` with the right 16 bits of general register 3; if
    /// that returns `false`, it is for [`Subchannel::notify`].
    pub fn notifier(&self) -> Notifier {
        self.unit.core.notifier()
    }

    fn run(&mut self, orb: Orb, start: u32, resumed: bool) {
        let transport_mode = OrbControl(orb.control.get()).contains(OrbControl::TRANSPORT_MODE);
        let outcome = match &self.memory {
            Some(memory) if !transport_mode => {
                program::run(&memory.clone(), &orb, start, resumed, &mut self.unit)
            }
            // There is nothing to fetch, or nothing that can be understood.
            _ => Outcome::Ended(Ending {
                subchannel_status: SubchannelStatus::PROGRAM_CHECK,
                ..Ending::default()
            }),
        };
        self.suspended = match outcome {
            Outcome::Suspended(at, _) => Some((orb, at)),
            Outcome::Ended(_) => None,
        };
        self.status.conclude(outcome);
    }

    /// A program that is suspended is over if the instruction was carried out.
    fn end_suspended(&mut self, done: ConditionCode) -> ConditionCode {
        if done == ConditionCode::DONE {
            self.suspended = None;
        }
        done
    }
}

impl fmt::Debug for Subchannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subchannel")
            .field("options", &self.options)
            .field("revision", &self.unit.revision)
            .field("core", &self.unit.core)
            .finish_non_exhaustive()
    }
}
