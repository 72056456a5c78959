//! Indicators: bits in the driver's memory that the device sets (sections 4.3.2.6 and 4.3.3.1).

use alloc::sync::Arc;

use ringwright_memory::{Area, Buffer};
use ringwright_spec::ccw::{Command, INDICATORS_LEN, ThinintArea};
use zerocopy::IntoBytes;

use super::ChannelSubsystem;
use super::channel::{Channel, Refusal};
use crate::{Interrupt, TransportError};

/// Where the classic queue indicators are in the memory.
const CLASSIC: usize = 0;
/// Where the configuration change indicators are.
const CONFIG: usize = CLASSIC + INDICATORS_LEN;
/// Where the summary indicator is.
const SUMMARY: usize = CONFIG + INDICATORS_LEN;
/// Where the two-stage queue indicators are: away from the summary, which other processors look at.
const AREA: usize = 64;
/// Bytes of them.
const AREA_LEN: usize = 64;

/// Memory for the indicators of one device, and what it has been told of them.
pub(super) struct Indicators {
    memory: Buffer,
    kind: Option<Kind>,
    /// Virtqueues from 0 on that have indicators.
    queues: u16,
}

/// The two kinds of queue indicators.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Classic,
    TwoStage,
}

impl Indicators {
    pub fn new(area: &Arc<Area>) -> Result<Self, TransportError> {
        let memory = area.allocate(AREA + AREA_LEN, AREA);
        Ok(Self {
            memory: memory.ok_or(TransportError::Unsupported("no memory left for indicators"))?,
            kind: None,
            queues: 0,
        })
    }

    /// Makes room for the indicator of virtqueue `index`.
    pub fn need(&mut self, index: u16) -> Result<(), TransportError> {
        if usize::from(index) >= 8 * AREA_LEN {
            return Err(TransportError::Unsupported("an indicator for so many virtqueues"));
        }
        self.queues = self.queues.max(index + 1);
        Ok(())
    }

    /// Whether the device has been told where they are.
    pub fn are_set_up(&self) -> bool {
        self.kind.is_some()
    }

    /// The device has been reset, and knows of no indicators any more.
    pub fn forget(&mut self) {
        self.kind = None;
        self.queues = 0;
    }

    /// Tells the device where they are: two-stage ones with an interruption subclass, if that is wanted and the device
    /// takes them, else classic ones.
    pub fn set_up<C: ChannelSubsystem>(
        &mut self,
        channel: &mut Channel<C>,
        adapter: Option<u8>,
    ) -> Result<(), TransportError> {
        for offset in 0..self.memory.len() {
            self.take(offset);
        }
        self.kind = Some(match adapter {
            Some(subclass) if self.set_up_two_stage(channel, subclass)? => Kind::TwoStage,
            _ => {
                self.set_up_classic(channel)?;
                Kind::Classic
            }
        });
        let address = self.address(CONFIG).to_be_bytes();
        let refused = TransportError::Protocol("the device rejects configuration change indicators");
        channel
            .give(Command::SET_CONF_IND, &address)
            .map_err(|refusal| refusal.or(refused))
    }

    /// What has been notified since the last call. Status must have been taken before: what is notified from then on
    /// interrupts again.
    pub fn take_all(&self) -> Interrupt {
        self.take_all_by(|offset| self.take(offset))
    }

    /// The same, by `take`, which clears the byte at an offset and says whether any bit was set.
    fn take_all_by(&self, mut take: impl FnMut(usize) -> bool) -> Interrupt {
        let mut take_range =
            |offset: usize, length| (offset..offset + length).fold(false, |any, offset| any | take(offset));
        let queue = match self.kind {
            None => return Interrupt::default(),
            Some(Kind::Classic) => take_range(CLASSIC, INDICATORS_LEN),
            Some(Kind::TwoStage) => {
                // drv:ccw:notification-via-adapter-i-o-interrupts:01: the summary first, so that a notification of a
                // virtqueue whose indicator has been looked at interrupts again.
                take_range(SUMMARY, 1);
                take_range(AREA, usize::from(self.queues).div_ceil(8))
            }
        };
        let config = take_range(CONFIG, INDICATORS_LEN);
        Interrupt { queue, config }
    }

    fn set_up_two_stage<C: ChannelSubsystem>(
        &self,
        channel: &mut Channel<C>,
        subclass: u8,
    ) -> Result<bool, TransportError> {
        let area = ThinintArea {
            summary_indicator: self.address(SUMMARY).into(),
            indicator: self.address(AREA).into(),
            bit_nr: 0.into(),
            isc: subclass,
        };
        match channel.give(Command::SET_IND_ADAPTER, area.as_bytes()) {
            Ok(()) => Ok(true),
            // Some devices know only classic ones (section 4.3.2.6.4).
            Err(Refusal::Rejected) => Ok(false),
            Err(Refusal::Failed(error)) => Err(error),
        }
    }

    fn set_up_classic<C: ChannelSubsystem>(&self, channel: &mut Channel<C>) -> Result<(), TransportError> {
        if usize::from(self.queues) > 8 * INDICATORS_LEN {
            return Err(TransportError::Unsupported(
                "classic indicators for more than 64 virtqueues",
            ));
        }
        let address = self.address(CLASSIC).to_be_bytes();
        let refused = TransportError::Protocol("the device rejects queue indicators");
        channel
            .give(Command::SET_IND, &address)
            .map_err(|refusal| refusal.or(refused))
    }

    fn address(&self, offset: usize) -> u64 {
        self.memory.segment().address() + offset as u64
    }

    /// Clears a byte, and says whether any bit was set.
    fn take(&self, offset: usize) -> bool {
        self.memory.swap(offset, 0).is_some_and(|byte| byte != 0)
    }
}

#[cfg(test)]
mod tests {
    use core::cell::Cell;

    use ringwright_ring::ByteOrder;

    use super::*;
    use crate::testing::lives::Shared;

    /// A device that notifies at the worst of times, by either kind of indicators: the driver has looked at the bit that it
    /// sets. It has to come to an interruption, or nobody would ever look again.
    #[test]
    fn a_notification_between_the_stages_interrupts_drv_ccw_notification_via_adapter_i_o_interrupts_01() {
        let mut indicators = Indicators::new(&Shared::at(0, ByteOrder::Big).area).unwrap();
        indicators.kind = Some(Kind::TwoStage);
        indicators.need(9).unwrap();
        for worst in [AREA, AREA + 1] {
            let (summary, bits) = (Cell::new(true), Cell::new(true));
            let interrupted = Cell::new(false);
            let notify = || {
                bits.set(true);
                interrupted.set(interrupted.get() | !summary.replace(true));
            };
            let seen = indicators.take_all_by(|offset| match offset {
                SUMMARY => summary.replace(false),
                _ if offset == worst => {
                    let any = bits.replace(false);
                    notify();
                    any
                }
                _ => false,
            });
            assert!(seen.queue && bits.get() && interrupted.get());
        }
    }
}
