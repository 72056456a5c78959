//! Virtqueues: their size and place (section 4.3.2.2).

use ringwright_ring::Layout;
use ringwright_spec::ccw::{Command, VqConfigBlock, VqInfoBlock, VqInfoBlockLegacy};
use zerocopy::IntoBytes;

use super::channel::Channel;
use super::{ChannelSubsystem, TransportError};
use crate::transport::legacy::PAGE_SIZE;

/// The greatest size that virtqueue `index` may have.
pub(super) fn max_size<C: ChannelSubsystem>(
    channel: &mut Channel<C>,
    index: u16,
) -> Result<u16, TransportError> {
    let mut block = VqConfigBlock {
        index: index.into(),
        max_queue_size: 0.into(),
    };
    let asked = channel.ask(Command::READ_VQ_CONF, block.as_mut_bytes());
    asked.map_err(|refusal| refusal.or(TransportError::NoQueue(index)))?;
    Ok(block.max_queue_size.get())
}

/// Tells the device where virtqueue `index` is.
pub(super) fn set_up<C: ChannelSubsystem>(
    channel: &mut Channel<C>,
    index: u16,
    layout: &Layout,
) -> Result<(), TransportError> {
    let block = VqInfoBlock {
        desc: layout.descriptor_area.into(),
        res0: 0.into(),
        index: index.into(),
        size: layout.size.into(),
        driver: layout.driver_area.into(),
        device: layout.device_area.into(),
    };
    give(channel, index, block.as_bytes())
}

/// The same in revision 0, where a virtqueue is in one piece.
pub(super) fn set_up_legacy<C: ChannelSubsystem>(
    channel: &mut Channel<C>,
    index: u16,
    layout: &Layout,
) -> Result<(), TransportError> {
    if Layout::in_one_piece(layout.descriptor_area, layout.size, PAGE_SIZE) != Some(*layout) {
        return Err(TransportError::Unsupported(
            "a legacy virtqueue that is not in one piece",
        ));
    }
    let block = VqInfoBlockLegacy {
        queue: layout.descriptor_area.into(),
        align: PAGE_SIZE.into(),
        index: index.into(),
        size: layout.size.into(),
    };
    give(channel, index, block.as_bytes())
}

fn give<C: ChannelSubsystem>(
    channel: &mut Channel<C>,
    index: u16,
    block: &[u8],
) -> Result<(), TransportError> {
    let given = channel.give(Command::SET_VQ, block);
    given.map_err(|refusal| refusal.or(TransportError::NoQueue(index)))
}
