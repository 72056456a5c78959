//! The control unit: what the channel commands do (section 4.3.1 and 4.3.2).

use std::sync::Arc;

use ringwright_ring::Layout;
use ringwright_spec::ccw::channel::{SENSE_LEN, Sense};
use ringwright_spec::ccw::{
    CU_TYPE, Command, FeatureDesc, RevInfo, Revision, SENSE_ID_LEN, SENSE_ID_RESERVED, SenseId, ThinintArea,
    VqConfigBlock, VqInfoBlock, VqInfoBlockLegacy,
};
use ringwright_spec::data::Be64;
use ringwright_spec::{Features, Status, feature};
use zerocopy::IntoBytes;

use super::data::Data;
use super::indicators::{Indicators, Refused};
use super::program::{ControlUnit, Refusal};
use crate::transport::core::{Core, Interface};

/// Bytes of the configuration space that differ this far apart are taken for bytes of one field.
const FIELD: usize = 4;

/// A virtio device as a control unit.
pub(super) struct Unit {
    pub core: Core,
    pub indicators: Arc<Indicators>,
    /// The highest revision there is.
    pub max_revision: Revision,
    /// Whether there is revision 0.
    pub transitional: bool,
    /// What the driver has selected, if it has.
    pub revision: Option<Revision>,
    /// What there is to say of the last unit check.
    pub sense: [u8; SENSE_LEN],
}

impl ControlUnit for Unit {
    fn execute(&mut self, command: Command, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let result = match command {
            Command::BASIC_SENSE => return self.basic_sense(data),
            Command::NO_OPERATION => return Ok(()),
            Command::SENSE_ID => self.sense_id(data),
            Command::SET_VIRTIO_REV => self.set_revision(data),
            _ => self.execute_in_revision(command, data),
        };
        self.sense = [0; SENSE_LEN];
        if result == Err(Refusal::CommandReject) {
            tracing::debug!(?command, "command reject");
            self.sense[0] = Sense::COMMAND_REJECT.0;
        }
        result
    }
}

impl Unit {
    /// The subchannel has been enabled or disabled (`dev:ccw:setting-the-virtio-revision:06`).
    pub fn unset_revision(&mut self) {
        self.revision = None;
    }

    /// Whether a driver may select `revision`.
    pub fn has_revision(&self, revision: Revision) -> bool {
        revision <= self.max_revision && (revision > Revision::LEGACY || self.transitional)
    }

    /// Resets the device. Its indicators are forgotten, so that nothing is notified any more
    /// (`dev:ccw:resetting-devices:02`).
    pub fn reset(&mut self) {
        self.core.reset();
        self.indicators.clear();
    }

    /// The commands that belong to a revision (`dev:ccw:basic-concepts:01`, `dev:ccw:setting-the-virtio-revision:04`).
    fn execute_in_revision(&mut self, command: Command, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let run = match command {
            Command::SET_VQ => Self::set_vq,
            Command::VDEV_RESET => Self::vdev_reset,
            Command::SET_IND => Self::set_ind,
            Command::SET_CONF_IND => Self::set_conf_ind,
            Command::SET_IND_ADAPTER => Self::set_ind_adapter,
            Command::READ_FEAT => Self::read_feat,
            Command::WRITE_FEAT => Self::write_feat,
            Command::READ_CONF => Self::read_conf,
            Command::WRITE_CONF => Self::write_conf,
            Command::WRITE_STATUS => Self::write_status,
            Command::READ_STATUS => Self::read_status,
            Command::READ_VQ_CONF => Self::read_vq_conf,
            _ => return Err(Refusal::CommandReject),
        };
        let needed = match command {
            Command::READ_STATUS => Revision::READ_STATUS,
            _ => Revision::LEGACY,
        };
        if self.revision()? < needed {
            return Err(Refusal::CommandReject);
        }
        run(self, data)
    }

    /// The revision selected. A driver that gives another command first is a legacy driver, with whom a transitional
    /// device goes on in revision 0.
    fn revision(&mut self) -> Result<Revision, Refusal> {
        match self.revision {
            Some(revision) => Ok(revision),
            None if self.transitional => {
                self.select(Revision::LEGACY);
                Ok(Revision::LEGACY)
            }
            None => Err(Refusal::CommandReject),
        }
    }

    /// Goes on in `revision`. What a driver on the other interface has left is none of this driver's business.
    fn select(&mut self, revision: Revision) {
        let interface = match revision {
            Revision::LEGACY => Interface::Legacy,
            _ => Interface::Modern,
        };
        if self.core.interface() != interface {
            self.reset();
            self.core.set_interface(interface);
        }
        self.revision = Some(revision);
    }

    fn sense_id(&self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let id = SenseId {
            reserved: SENSE_ID_RESERVED,
            cu_type: CU_TYPE.into(),
            // Every device id there is has 8 bits.
            cu_model: self.core.device_id() as u8,
            ..SenseId::default()
        };
        let mut extended = [0; SENSE_ID_LEN];
        let (start, _) = extended.split_at_mut(size_of::<SenseId>());
        start.copy_from_slice(id.as_bytes());
        data.put(&extended)
    }

    fn basic_sense(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        data.put(&std::mem::replace(&mut self.sense, [0; SENSE_LEN]))
    }

    /// SET_VIRTIO_REV: one that there is, without further data, and once
    /// (`dev:ccw:setting-the-virtio-revision:01` to `:05`).
    fn set_revision(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let info: RevInfo = data.take()?;
        let revision = Revision(info.revision.get());
        if !self.has_revision(revision) || info.length.get() != 0 || self.revision.is_some() {
            return Err(Refusal::CommandReject);
        }
        self.select(revision);
        Ok(())
    }

    /// The reset is finished when the command is (`dev:ccw:resetting-devices:01`).
    fn vdev_reset(&mut self, _data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        self.reset();
        Ok(())
    }

    fn read_status(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        // dev:ccw:communicating-status-information:02
        let status = self.core.status().0;
        data.exchange(|place: &mut u8| *place = status)
    }

    fn write_status(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let status: u8 = data.take()?;
        self.set_status(Status(status))
    }

    /// Either the status is what the driver wants it to be, or it stays as it was
    /// (`dev:ccw:communicating-status-information:01`).
    fn set_status(&mut self, written: Status) -> Result<(), Refusal> {
        if written.is_empty() {
            self.reset();
            return Ok(());
        }
        let before = self.core.status();
        let (added, cleared) = (written - before, before - written);
        let resumes = before.contains(Status::SUSPEND) && added.contains(Status::DRIVER_OK);
        // A driver below revision 2 does not know of DEVICE_NEEDS_RESET.
        let may_clear = match resumes {
            true => Status::DEVICE_NEEDS_RESET | Status::SUSPEND,
            false => Status::DEVICE_NEEDS_RESET,
        };
        if !(added - self.settable(before)).is_empty() || !(cleared - may_clear).is_empty() {
            return Err(Refusal::CommandReject);
        }
        // The one bit that the device may refuse comes first, so that the others stay as they were if it does.
        if added.contains(Status::FEATURES_OK) {
            self.core.write_status(before | Status::FEATURES_OK);
        }
        let modern = self.core.interface() == Interface::Modern;
        let negotiated = !modern || self.core.status().contains(Status::FEATURES_OK);
        if !negotiated && written.intersects(Status::FEATURES_OK | Status::DRIVER_OK) {
            return Err(Refusal::CommandReject);
        }
        self.core.write_status(written);
        Ok(())
    }

    /// The bits that the driver may set now.
    fn settable(&self, status: Status) -> Status {
        let always = Status::ACKNOWLEDGE | Status::DRIVER | Status::DRIVER_OK | Status::FAILED;
        if self.core.interface() == Interface::Legacy {
            return always;
        }
        let suspendable =
            status.contains(Status::DRIVER_OK) && self.core.negotiated_features().contains(feature::SUSPEND);
        let suspend = if suspendable {
            Status::SUSPEND
        } else {
            Status::NONE
        };
        always | Status::FEATURES_OK | suspend
    }

    /// The question is the index behind the place for the answer. There are no features beyond those that have a number.
    fn read_feat(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let offered = self.core.offered_features();
        data.exchange(|block: &mut FeatureDesc| {
            block.features = offered.word(block.index.into()).into();
        })
    }

    /// What is not offered can be accepted no more than after FEATURES_OK; the former is found out then, if it is not
    /// beyond all features.
    fn write_feat(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let block: FeatureDesc = data.take()?;
        let (index, word) = (block.index.into(), block.features.get());
        let beyond = Features::NONE.with_word(index, word).is_empty() && word != 0;
        if beyond || self.core.status().contains(Status::FEATURES_OK) {
            return Err(Refusal::CommandReject);
        }
        self.core.set_driver_features(index, word);
        Ok(())
    }

    /// The document has the whole configuration space transmitted; drivers ask for as much of it as they want.
    fn read_conf(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let mut config = vec![0; self.core.config_size() as usize];
        self.core.read_config(0, &mut config);
        data.put_some(&config)?;
        Ok(())
    }

    /// Transmits the configuration space from its beginning. Of that, what differs from what is there is written.
    fn write_conf(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let mut config = vec![0; self.core.config_size() as usize];
        let length = data.take_some(&mut config)?;
        let mut present = vec![0; length];
        self.core.read_config(0, &mut present);
        let mut start = 0;
        while let Some((first, last)) = next_difference(&config[..length], &present, start) {
            self.core.write_config(first as u64, &config[first..=last]);
            start = last + 1;
        }
        Ok(())
    }

    fn read_vq_conf(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let core = &self.core;
        data.exchange(|block: &mut VqConfigBlock| {
            // 0 if there is no such virtqueue.
            block.max_queue_size = core.queue_max_size(block.index.get()).into();
        })
    }

    fn set_vq(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        if self.core.interface() == Interface::Legacy {
            let block: VqInfoBlockLegacy = data.take()?;
            let (size, align) = (block.size.get(), block.align.get());
            let place = Layout::in_one_piece(block.queue.get(), size, align);
            return self.set_up(block.index.get(), block.queue.get(), size, place);
        }
        // dev:ccw:configuring-a-virtqueue:01: res0 is not looked at.
        let block: VqInfoBlock = data.take()?;
        let place = Layout {
            size: block.size.get(),
            descriptor_area: block.desc.get(),
            driver_area: block.driver.get(),
            device_area: block.device.get(),
        };
        self.set_up(block.index.get(), block.desc.get(), block.size.get(), Some(place))
    }

    /// Sets up a virtqueue, or stops using it if its address is 0.
    fn set_up(&mut self, index: u16, address: u64, size: u16, place: Option<Layout>) -> Result<(), Refusal> {
        if index >= self.core.queue_count() {
            return Err(Refusal::CommandReject);
        }
        if address == 0 {
            self.core.reset_queue(index);
            return Ok(());
        }
        let packed = self.core.negotiated_features().contains(feature::RING_PACKED);
        let place = place.filter(|place| place.check(packed).is_ok());
        let place = place.ok_or(Refusal::CommandReject)?;
        if size > self.core.queue_max_size(index) || self.core.queue_is_enabled(index) {
            return Err(Refusal::CommandReject);
        }
        self.core.set_queue_layout(index, |layout| *layout = place);
        self.core.enable_queue(index);
        Ok(())
    }

    fn set_ind(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let address: Be64 = data.take()?;
        Ok(self
            .indicators
            .set_classic(address.get(), self.core.queue_count())?)
    }

    fn set_conf_ind(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let address: Be64 = data.take()?;
        Ok(self.indicators.set_config(address.get())?)
    }

    fn set_ind_adapter(&mut self, data: &mut Data<'_, '_>) -> Result<(), Refusal> {
        let area: ThinintArea = data.take()?;
        Ok(self.indicators.set_two_stage(&area, self.core.queue_count())?)
    }
}

impl From<Refused> for Refusal {
    fn from(_: Refused) -> Self {
        Self::CommandReject
    }
}

/// The next field from `start` on, first and last byte, in which `new` and `old` differ.
fn next_difference(new: &[u8], old: &[u8], start: usize) -> Option<(usize, usize)> {
    let differ = |index: &usize| new[*index] != old[*index];
    let first = (start..new.len()).find(differ)?;
    let mut last = first;
    while let Some(next) = (last + 1..new.len().min(last + FIELD)).find(differ) {
        last = next;
    }
    Some((first, last))
}
