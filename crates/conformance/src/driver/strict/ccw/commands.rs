//! What the channel commands do (sections 4.3.1 and 4.3.2).

use ringwright_memory::Width;
use ringwright_ring::Layout;
use ringwright_spec::ccw::{
    Command, INDICATORS_LEN, RevInfo, Revision, SENSE_ID_LEN, SENSE_ID_RESERVED, SenseId, ThinintArea,
    VqInfoBlock,
};
use ringwright_spec::status::Status;
use zerocopy::{FromBytes, IntoBytes};

use super::{Strict, Subchannel};
use crate::driver::event::{Channel, Event, Place, Sent};

/// A command was rejected.
pub(super) struct Rejected;

impl Strict {
    /// Carries out a command with its data. How many bytes of them it takes or gives.
    pub(super) fn command(&mut self, command: Command, data: &mut [u8]) -> Result<usize, Rejected> {
        if command != Command::WRITE_FEAT
            && let Some(features) = self.subchannel.features.take()
        {
            self.accept(features);
        }
        let known = data.len().min(Sent::KEPT);
        self.tell(Event::Channel(Channel::Command(
            command,
            data.len(),
            Sent(data[..known].to_vec()),
        )));
        match command {
            Command::NO_OPERATION => Ok(0),
            Command::BASIC_SENSE => {
                data.fill(0);
                if let Some(first) = data.first_mut() {
                    *first = std::mem::take(&mut self.subchannel.sense).0;
                }
                Ok(data.len())
            }
            Command::SENSE_ID => Ok(self.sense_id(data)),
            Command::SET_VIRTIO_REV => self.set_revision(data),
            _ => match self.past.revision {
                Some(revision) => self.command_of(revision, command, data),
                None => Err(Rejected),
            },
        }
    }

    /// Device type and model are those of something else (drv:ccw:basic-concepts:01).
    fn sense_id(&self, data: &mut [u8]) -> usize {
        let id = SenseId {
            reserved: SENSE_ID_RESERVED,
            cu_type: self.past.scenario.subchannel.control_unit.into(),
            cu_model: self.past.device.id as u8,
            dev_type: 0x3390.into(),
            dev_model: 0x0a,
        };
        let mut all = [0; SENSE_ID_LEN];
        all[..size_of::<SenseId>()].copy_from_slice(id.as_bytes());
        let length = data.len().min(all.len());
        data[..length].copy_from_slice(&all[..length]);
        length
    }

    /// Revision 0 is not to be had of a device that is not transitional.
    fn set_revision(&mut self, data: &[u8]) -> Result<usize, Rejected> {
        let (info, _) = RevInfo::read_from_prefix(data).map_err(|_| Rejected)?;
        let revision = Revision(info.revision.get());
        let most = self.past.scenario.subchannel.revision;
        let exists = (Revision::VIRTIO_1..=most).contains(&revision);
        if !exists || info.length.get() != 0 || self.past.revision.is_some() {
            return Err(Rejected);
        }
        self.past.revision = Some(revision);
        Ok(size_of::<RevInfo>())
    }

    /// A command of virtio, after a revision was selected.
    fn command_of(
        &mut self,
        revision: Revision,
        command: Command,
        data: &mut [u8],
    ) -> Result<usize, Rejected> {
        match command {
            Command::VDEV_RESET => {
                self.reset_subchannel();
                Ok(0)
            }
            Command::READ_STATUS if revision >= Revision::READ_STATUS => {
                let place = data.first_mut().ok_or(Rejected)?;
                *place = self.status().0;
                Ok(1)
            }
            Command::WRITE_STATUS => {
                let status = Status(*data.first().ok_or(Rejected)?);
                self.write_status(revision, status)
            }
            Command::READ_FEAT => {
                let (word, index) = feature_word(data)?;
                *word = self.features().word(index).to_le_bytes();
                Ok(5)
            }
            Command::WRITE_FEAT => {
                let (word, index) = feature_word(data)?;
                let so_far = self.subchannel.features.unwrap_or(self.past.features());
                self.subchannel.features = Some(so_far.with_word(index, u32::from_le_bytes(*word)));
                Ok(5)
            }
            Command::READ_CONF => Ok(self.read_whole_config(data)),
            Command::WRITE_CONF => Ok(self.write_whole_config(data)),
            Command::READ_VQ_CONF => {
                let (index, size) = data.split_first_chunk_mut::<2>().ok_or(Rejected)?;
                let size = size.first_chunk_mut::<2>().ok_or(Rejected)?;
                *size = self.queue_max_size(u16::from_be_bytes(*index)).to_be_bytes();
                Ok(4)
            }
            Command::SET_VQ => {
                let (block, _) = VqInfoBlock::read_from_prefix(data).map_err(|_| Rejected)?;
                let layout = Layout {
                    size: block.size.get(),
                    descriptor_area: block.desc.get(),
                    driver_area: block.driver.get(),
                    device_area: block.device.get(),
                };
                self.enable_queue(block.index.get(), layout);
                Ok(size_of::<VqInfoBlock>())
            }
            Command::SET_IND if self.subchannel.two_stage.is_none() => {
                self.subchannel.classic = Some(address(data)?);
                Ok(INDICATORS_LEN)
            }
            Command::SET_CONF_IND => {
                self.subchannel.config = Some(address(data)?);
                Ok(INDICATORS_LEN)
            }
            Command::SET_IND_ADAPTER
                if self.past.scenario.subchannel.two_stage && self.subchannel.classic.is_none() =>
            {
                let (area, _) = ThinintArea::read_from_prefix(data).map_err(|_| Rejected)?;
                self.subchannel.two_stage = Some(area);
                Ok(size_of::<ThinintArea>())
            }
            _ => Err(Rejected),
        }
    }

    /// The reset is complete when the command is, however slow the device is (section 4.3.3.3).
    fn reset_subchannel(&mut self) {
        self.set_status(Status::NONE);
        self.becomes = None;
        self.past.status = Status::NONE;
        self.subchannel = Subchannel {
            enabled: true,
            ..Subchannel::default()
        };
    }

    /// What the device does not agree to, it rejects. Below revision 2 that is all that a driver hears of it.
    fn write_status(&mut self, revision: Revision, status: Status) -> Result<usize, Rejected> {
        if status == Status::NONE {
            self.reset_subchannel();
            return Ok(1);
        }
        let agrees = !self.past.scenario.refuses;
        let asked = self.past.adds(status).contains(Status::FEATURES_OK);
        self.set_status(status);
        if asked && revision < Revision::READ_STATUS {
            self.past.steps.agreed = true;
        }
        match asked && !agrees {
            true => Err(Rejected),
            false => Ok(1),
        }
    }

    /// What is before the last byte comes along with it, whether the driver wants it or not.
    fn read_whole_config(&mut self, data: &mut [u8]) -> usize {
        let length = data.len().min(self.model.config().len());
        self.tell(Event::ConfigRead(Place {
            offset: length.saturating_sub(1),
            length: 1,
            width: Width::One,
        }));
        self.copy_config(0, &mut data[..length]);
        length
    }

    /// The driver writes what differs from what is there, or the last byte if nothing does.
    fn write_whole_config(&mut self, data: &[u8]) -> usize {
        let config = self.model.config();
        let length = data.len().min(config.len());
        let differs = (0..length).find(|index| config[*index] != data[*index]);
        let first = differs.unwrap_or(length.saturating_sub(1));
        self.write_config(first, Width::One, &data[first..length]);
        length
    }
}

/// The feature bits of a block, and which they are.
fn feature_word(data: &mut [u8]) -> Result<(&mut [u8; 4], u32), Rejected> {
    let (word, rest) = data.split_first_chunk_mut().ok_or(Rejected)?;
    let index = rest.first().ok_or(Rejected)?;
    Ok((word, (*index).into()))
}

fn address(data: &[u8]) -> Result<u64, Rejected> {
    let bytes = data.first_chunk().ok_or(Rejected)?;
    Ok(u64::from_be_bytes(*bytes))
}
