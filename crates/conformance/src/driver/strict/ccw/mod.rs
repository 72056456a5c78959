//! A strict device on a channel subsystem (section 4.3): one subchannel, whose programs have one command each.

mod commands;
mod indicators;

use std::collections::BTreeMap;

use ringwright_driver::TransportError;
use ringwright_driver::transport::ccw::ChannelSubsystem;
use ringwright_memory::Memory;
use ringwright_spec::ccw::channel::{
    Ccw1, CcwFlags, ConditionCode, DeviceStatus, FORMAT_1_LIMIT, Irb, Orb, PmcwFlags, SUBCHANNEL_ID_ONE,
    Schib, ScswControl, Sense, SubchannelStatus,
};
use ringwright_spec::ccw::{Command, ThinintArea};
use ringwright_spec::notification::NotificationData;
use ringwright_spec::{Features, feature};

use super::end::read;
use super::{Shared, Strict, with};
use crate::driver::event::{Channel, Event};

use commands::Rejected;

/// The id of the subchannel.
pub(in crate::driver) const SUBCHANNEL: u32 = SUBCHANNEL_ID_ONE;

/// The channel subsystem of a strict device. Clones are the same one.
#[derive(Clone)]
pub struct StrictCcw(Shared);

/// What a strict device is on a channel subsystem.
#[derive(Default)]
pub(super) struct Subchannel {
    enabled: bool,
    /// What TEST SUBCHANNEL gives next.
    pending: Option<Irb>,
    sense: Sense,
    /// Features that are being written, word by word.
    features: Option<Features>,
    classic: Option<u64>,
    two_stage: Option<ThinintArea>,
    config: Option<u64>,
    /// The device has set queue indicators of the second stage, which the driver has not cleared since.
    raised: bool,
    /// What the last notification of each virtqueue has returned.
    cookies: BTreeMap<u16, u64>,
    /// The same of any virtqueue.
    cookie: u64,
}

impl StrictCcw {
    /// The channel subsystem on which `device` is.
    pub fn new(device: &Shared) -> Self {
        Self(device.clone())
    }

    /// The driver waits.
    pub fn turn(&self) {
        self.act(Strict::turn);
    }

    /// Something happens in the device; indicators and status of the subchannel follow.
    fn act<R>(&self, act: impl FnOnce(&mut Strict) -> R) -> R {
        with(&self.0, |device| {
            device.look_at_indicators();
            let done = act(device);
            device.indicate();
            done
        })
    }
}

impl ChannelSubsystem for StrictCcw {
    fn store(&mut self, id: u32) -> Result<Option<Schib>, TransportError> {
        let stored = |device: &mut Strict| {
            let mut schib = Schib::default();
            let enabled = if device.subchannel.enabled {
                PmcwFlags::ENABLED
            } else {
                PmcwFlags::NONE
            };
            schib.pmcw.flags = (PmcwFlags::DEVICE_NUMBER_VALID | enabled).0.into();
            schib
        };
        Ok((id == SUBCHANNEL).then(|| self.act(stored)))
    }

    fn modify(&mut self, id: u32, schib: &Schib) -> Result<ConditionCode, TransportError> {
        Ok(match id {
            SUBCHANNEL => self.act(|device| device.modify(schib)),
            _ => ConditionCode::NOT_OPERATIONAL,
        })
    }

    fn start(&mut self, id: u32, orb: &Orb) -> Result<ConditionCode, TransportError> {
        Ok(match id {
            SUBCHANNEL => self.act(|device| device.start(orb)),
            _ => ConditionCode::NOT_OPERATIONAL,
        })
    }

    fn test(&mut self, id: u32) -> Result<(ConditionCode, Irb), TransportError> {
        let gone = (ConditionCode::NOT_OPERATIONAL, Irb::default());
        Ok(match id {
            SUBCHANNEL => self.act(|device| match device.subchannel.pending.take() {
                _ if !device.subchannel.enabled => gone,
                Some(irb) => (ConditionCode::DONE, irb),
                None => (ConditionCode::STATUS_PENDING, Irb::default()),
            }),
            _ => gone,
        })
    }

    fn notify(&mut self, id: u32, data: u64, cookie: u64) -> Result<u64, TransportError> {
        match id {
            SUBCHANNEL => Ok(self.act(|device| device.hypercall(data as u32, cookie))),
            _ => Err(TransportError::Gone),
        }
    }
}

impl Strict {
    fn modify(&mut self, schib: &Schib) -> ConditionCode {
        if self.subchannel.pending.is_some() {
            return ConditionCode::STATUS_PENDING;
        }
        let enabled = PmcwFlags(schib.pmcw.flags.get()).contains(PmcwFlags::ENABLED);
        if enabled != self.subchannel.enabled {
            self.subchannel.enabled = enabled;
            self.tell(Event::Channel(Channel::Enabled(enabled)));
            self.past.revision = None;
        }
        ConditionCode::DONE
    }

    fn start(&mut self, orb: &Orb) -> ConditionCode {
        if !self.subchannel.enabled {
            return ConditionCode::NOT_OPERATIONAL;
        }
        if self.subchannel.pending.is_some() {
            return ConditionCode::STATUS_PENDING;
        }
        let mut irb = self.run(read_word(&self.memory, orb));
        let ended = ScswControl::PRIMARY | ScswControl::SECONDARY | ScswControl::STATUS_PENDING;
        irb.scsw.control = ended.0.into();
        self.subchannel.pending = Some(irb);
        ConditionCode::DONE
    }

    /// Carries out a command, of format 1.
    fn run(&mut self, word: Ccw1) -> Irb {
        let (flags, address) = (CcwFlags(word.flags), u64::from(word.data_address.get()));
        let mut data = vec![0; word.count.get().into()];
        let mut irb = Irb::default();
        let beyond = address + data.len() as u64 > FORMAT_1_LIMIT;
        if beyond
            || !(flags - CcwFlags::SUPPRESS_LENGTH).is_empty()
            || self.memory.read(address, &mut data).is_err()
        {
            irb.scsw.subchannel_status = SubchannelStatus::PROGRAM_CHECK.0;
            return irb;
        }
        let mut device = DeviceStatus::CHANNEL_END | DeviceStatus::DEVICE_END;
        let transferred = match self.command(Command(word.command), &mut data) {
            Ok(transferred) => transferred,
            Err(Rejected) => {
                self.subchannel.sense = Sense::COMMAND_REJECT;
                device = device | DeviceStatus::UNIT_CHECK;
                0
            }
        };
        // It has just been read there.
        let _ = self.memory.write(address, &data[..transferred]);
        let left = data.len() - transferred;
        if left != 0
            && !flags.contains(CcwFlags::SUPPRESS_LENGTH)
            && !device.contains(DeviceStatus::UNIT_CHECK)
        {
            irb.scsw.subchannel_status = SubchannelStatus::INCORRECT_LENGTH.0;
        }
        irb.scsw.count = (left as u16).into();
        irb.scsw.device_status = device.0;
        irb
    }

    /// Gives a host cookie that is another one each time.
    fn hypercall(&mut self, data: u32, cookie: u64) -> u64 {
        let index = match self.past.has(feature::NOTIFICATION_DATA) {
            true => NotificationData(data).vq_index(),
            false => u16::try_from(data).unwrap_or(u16::MAX),
        };
        let last = self.subchannel.cookies.get(&index).copied().unwrap_or_default();
        let expected = [last, self.subchannel.cookie];
        self.tell(Event::Channel(Channel::Hypercall { cookie, expected }));
        let next = self.events();
        self.subchannel.cookies.insert(index, next);
        self.subchannel.cookie = next;
        self.notify(index, data);
        next
    }
}

/// The word that a program begins with; zeros, which are no command, where there is none.
fn read_word(memory: &Memory, orb: &Orb) -> Ccw1 {
    let bytes: [u8; size_of::<Ccw1>()] = read(memory, orb.channel_program.get().into());
    zerocopy::transmute!(bytes)
}
