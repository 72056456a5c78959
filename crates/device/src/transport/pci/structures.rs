//! Accesses to the BARs.

use std::ops::Range;

use super::bars::{LEGACY_BAR, MSIX_BAR, STRUCTURES_BAR};
use super::options::Kind;
use super::{Function, Interface};

impl Function {
    /// The driver reads `data.len()` bytes at `offset` of a BAR. What is not there reads as zero.
    pub fn bar_read(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        data.fill(0);
        self.face(bar);
        let within = |place: &Range<u64>| place.contains(&offset).then(|| offset - place.start);
        match bar {
            LEGACY_BAR if self.options.kind != Kind::NonTransitional => self.read_legacy(offset, data),
            MSIX_BAR => {
                if let Some(offset) = within(&self.places.table) {
                    self.interrupts.msix.read_table(offset, data);
                } else if let Some(offset) = within(&self.places.pending) {
                    self.interrupts.msix.read_pending(offset, data);
                }
            }
            STRUCTURES_BAR if self.options.kind != Kind::Legacy => {
                if let Some(offset) = within(&self.places.common) {
                    self.read_common(offset as usize, data);
                } else if let Some(offset) = within(&self.places.device) {
                    self.core.read_config(offset, data);
                } else if let (Some(0), Some(isr)) = (within(&self.places.isr), data.first_mut()) {
                    *isr = self.interrupts.take_isr();
                }
            }
            _ => {}
        }
    }

    /// The driver writes at `offset` of a BAR. What it may not write, or not so, is ignored.
    pub fn bar_write(&mut self, bar: u8, offset: u64, data: &[u8]) {
        self.face(bar);
        let within = |place: &Range<u64>| place.contains(&offset).then(|| offset - place.start);
        match bar {
            LEGACY_BAR if self.options.kind != Kind::NonTransitional => self.write_legacy(offset, data),
            LEGACY_BAR if self.options.legacy_guard => self.guard_against_legacy(offset, data),
            MSIX_BAR => {
                if let Some(offset) = within(&self.places.table) {
                    self.interrupts.msix.write_table(offset, data);
                }
            }
            STRUCTURES_BAR if self.options.kind != Kind::Legacy => {
                if let Some(offset) = within(&self.places.common) {
                    self.write_common(offset, data);
                } else if let Some(offset) = within(&self.places.device) {
                    self.core.write_config(offset, data);
                } else if let Some(queue) = self.notify_places().queue(bar, offset, data) {
                    self.core.notify(queue);
                }
            }
            _ => {}
        }
    }

    /// A transitional device is what its driver takes it for, until features are negotiated.
    fn face(&mut self, bar: u8) {
        match bar {
            _ if self.options.kind != Kind::Transitional => {}
            LEGACY_BAR => self.core.set_interface(Interface::Legacy),
            STRUCTURES_BAR => self.core.set_interface(Interface::Modern),
            _ => {}
        }
    }
}
