//! Finding virtio devices: a STORE SUBCHANNEL loop, and SENSE ID (section 4.3.1).

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::Area;
use ringwright_spec::ccw::channel::{PmcwFlags, SUBCHANNEL_ID_ONE};
use ringwright_spec::ccw::{CU_TYPE, Command, SENSE_ID_LEN, SenseId};
use zerocopy::FromBytes;

use super::ChannelSubsystem;
use super::channel::{Channel, Refusal};
use crate::TransportError;

/// The bits of the characteristics that say of what type a subchannel is; 0 for I/O.
const SUBCHANNEL_TYPE: u32 = 0x00e0_0000;

/// A virtio device that has been found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Id of its subchannel.
    pub subchannel: u32,
    /// Device number.
    pub device_number: u16,
    /// Virtio device id.
    pub device_id: u8,
}

/// Finds the virtio devices of the first subchannel set. Each subchannel with a device is enabled for a moment. `area` is
/// memory that the channel subsystem reaches below 2 GiB.
pub fn discover(
    mut subsystem: impl ChannelSubsystem,
    area: &Arc<Area>,
) -> Result<Vec<Found>, TransportError> {
    let mut found = Vec::new();
    for number in 0..=u32::from(u16::MAX) {
        let subchannel = SUBCHANNEL_ID_ONE | number;
        // Subchannels are numbered without a gap.
        let Some(schib) = subsystem.store(subchannel)? else {
            break;
        };
        let flags = PmcwFlags(schib.pmcw.flags.get());
        let io = schib.pmcw.characteristics.get() & SUBCHANNEL_TYPE == 0;
        if !io || !flags.contains(PmcwFlags::DEVICE_NUMBER_VALID) {
            continue;
        }
        let Some(mut channel) = Channel::enable(&mut subsystem, subchannel, 0, area)? else {
            continue;
        };
        if let Some(device_id) = sense_id(&mut channel)? {
            found.push(Found {
                subchannel,
                device_number: schib.pmcw.device_number.get(),
                device_id,
            });
        }
    }
    Ok(found)
}

/// The virtio device id, if it is a virtio device's control unit. Device type and model are not looked at
/// (`drv:ccw:basic-concepts:01`).
pub(super) fn sense_id<C: ChannelSubsystem>(channel: &mut Channel<C>) -> Result<Option<u8>, TransportError> {
    let mut id = [0; SENSE_ID_LEN];
    match channel.ask_some(Command::SENSE_ID, &mut id) {
        // It has to be there as far as it is looked at.
        Ok(length) if length < size_of::<SenseId>() => return Ok(None),
        Ok(_) => {}
        // Some other device, which cannot tell what it is.
        Err(Refusal::Rejected) => return Ok(None),
        Err(Refusal::Failed(error)) => return Err(error),
    }
    let id = SenseId::read_from_prefix(&id).ok();
    Ok(id
        .filter(|(id, _)| id.cu_type.get() == CU_TYPE)
        .map(|(id, _)| id.cu_model))
}
