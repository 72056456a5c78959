//! The state of a device behind its subchannel.

use ringwright_spec::ccw::Revision;
use ringwright_spec::ccw::channel::{Orb, SENSE_LEN, Schib, ScswControl};
use zerocopy::{FromBytes, IntoBytes};

use super::Subchannel;
use super::indicators::Places;
use crate::codec::{Rest, put_bytes};
use crate::transport::SnapshotError;

/// First bytes of every saved state; the last one is the version.
const MAGIC: [u8; 4] = *b"RWC\x01";

impl Subchannel {
    /// Puts the device to rest: what is being processed is completed, then memory and interruptions stay as they are. The
    /// driver's instructions are to wait for [`Subchannel::resume`].
    pub fn pause(&mut self) {
        self.unit.core.pause();
    }

    /// Goes on after [`Subchannel::pause`] or [`Subchannel::restore`].
    pub fn resume(&mut self) {
        self.unit.core.resume();
    }

    /// The state of the subchannel, of the device, and of its virtqueues, perhaps in the middle of traffic. The device must
    /// be paused. The memory and adapter I/O interruptions that are pending are the monitor's to save.
    pub fn save(&self) -> Result<Vec<u8>, SnapshotError> {
        let mut bytes = MAGIC.to_vec();
        bytes.push(self.unit.revision.is_some().into());
        bytes.extend(self.unit.revision.unwrap_or(Revision::LEGACY).0.to_le_bytes());
        bytes.extend(self.unit.sense);
        bytes.extend(self.status.store().as_bytes());
        let (orb, at) = self.suspended.unwrap_or_default();
        bytes.extend(orb.as_bytes());
        bytes.extend(at.to_le_bytes());
        self.unit.indicators.places().save(&mut bytes);
        put_bytes(&mut bytes, &self.unit.core.save()?);
        Ok(bytes)
    }

    /// Takes up what [`Subchannel::save`] returned, perhaps in another process; the options must be the same. The device is
    /// paused then, its interruption is pending if status was, and it goes on with [`Subchannel::resume`], which
    /// needs the memory. After an error it is as after a reset.
    pub fn restore(&mut self, state: &[u8]) -> Result<(), SnapshotError> {
        self.reset();
        let saved = Saved::decode(state).ok_or(SnapshotError::Malformed("a device on a subchannel"))?;
        if let Some(revision) = saved.revision
            && !self.unit.has_revision(revision)
        {
            return Err(SnapshotError::Mismatch {
                expected: format!("a highest revision of {}", self.unit.max_revision.0),
                found: format!("selected revision {}", revision.0),
            });
        }
        self.unit.core.restore(saved.core)?;
        self.unit.revision = saved.revision;
        self.unit.sense = saved.sense;
        self.unit.indicators.restore(saved.places);
        self.suspended = saved.suspended;
        self.status.restore(saved.schib);
        Ok(())
    }
}

/// The parts of a saved state.
struct Saved<'a> {
    revision: Option<Revision>,
    sense: [u8; SENSE_LEN],
    schib: Schib,
    suspended: Option<(Orb, u32)>,
    places: Places,
    core: &'a [u8],
}

impl<'a> Saved<'a> {
    fn decode(state: &'a [u8]) -> Option<Self> {
        let mut rest = Rest::after(MAGIC, state)?;
        let (has_revision, revision) = (rest.flag()?, Revision(rest.u16()?));
        let sense = rest.array()?;
        let schib = Schib::read_from_bytes(&rest.array::<{ size_of::<Schib>() }>()?).ok()?;
        let orb = Orb::read_from_bytes(&rest.array::<{ size_of::<Orb>() }>()?).ok()?;
        let at = rest.u32()?;
        let is_suspended = ScswControl(schib.scsw.control.get()).contains(ScswControl::SUSPENDED);
        let saved = Self {
            revision: has_revision.then_some(revision),
            sense,
            schib,
            suspended: is_suspended.then_some((orb, at)),
            places: Places::restore(&mut rest)?,
            core: rest.bytes()?,
        };
        rest.is_empty().then_some(saved)
    }
}
