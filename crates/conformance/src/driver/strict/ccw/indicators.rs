//! Indicators: bits in the driver's memory that the device sets (sections 4.3.2.6 and 4.3.3.1).

use ringwright_spec::ccw::channel::{Irb, ScswControl};
use ringwright_spec::ccw::{CONFIG_INDICATOR_BIT, INDICATORS_LEN, SUMMARY_INDICATOR_SET, ThinintArea};

use super::Strict;
use crate::driver::event::{Channel, Event};
use crate::driver::strict::end::read;

impl Strict {
    /// Tells the driver of what it has not been told yet: by indicators, and the status of the subchannel.
    pub(super) fn indicate(&mut self) {
        let interrupt = self.take_interrupt();
        if interrupt.queue {
            // Of any virtqueue something may have been used.
            for queue in 0..u64::from(self.model.queues()) {
                self.indicate_queue(queue);
            }
        }
        if interrupt.config
            && let Some(address) = self.subchannel.config
        {
            self.set_indicator(address + INDICATORS_LEN as u64 - 1, 1 << CONFIG_INDICATOR_BIT);
            self.alert();
        }
    }

    fn indicate_queue(&mut self, queue: u64) {
        if let Some(area) = self.subchannel.two_stage {
            let (byte, bit) = indicator(&area, queue);
            self.set_indicator(byte, bit);
            self.set_indicator(area.summary_indicator.get(), SUMMARY_INDICATOR_SET);
            self.subchannel.raised = true;
        } else if let Some(address) = self.subchannel.classic {
            self.set_indicator(address + INDICATORS_LEN as u64 - 1 - queue / 8, 1 << (queue % 8));
            self.alert();
        }
    }

    fn set_indicator(&self, address: u64, bits: u8) {
        // Indicators that are in no memory show nothing.
        let _ = self.memory.set_bits(address, bits);
    }

    fn alert(&mut self) {
        self.subchannel.pending.get_or_insert_with(|| {
            let mut irb = Irb::default();
            irb.scsw.control = (ScswControl::ALERT | ScswControl::STATUS_PENDING).0.into();
            irb
        });
    }

    /// Looks whether the driver has processed the second stage of queue indicators.
    pub(super) fn look_at_indicators(&mut self) {
        let Some(area) = self.subchannel.two_stage.filter(|_| self.subchannel.raised) else {
            return;
        };
        let is_set = |address, bits| read::<1>(&self.memory, address)[0] & bits != 0;
        let waiting = (0..u64::from(self.model.queues())).any(|queue| {
            let (byte, bit) = indicator(&area, queue);
            is_set(byte, bit)
        });
        if !waiting {
            self.subchannel.raised = false;
            let cleared = !is_set(area.summary_indicator.get(), u8::MAX);
            self.tell(Event::Channel(Channel::Processed { cleared }));
        }
    }
}

/// Byte and bit of a virtqueue's indicator of the second stage: bits are numbered from the left.
fn indicator(area: &ThinintArea, queue: u64) -> (u64, u8) {
    let number = area.bit_nr.get().wrapping_add(queue);
    (
        area.indicator.get().wrapping_add(number / 8),
        0x80 >> (number % 8),
    )
}
