//! Accesses to the configuration space, and what they set going.

use ringwright_spec::pci::header::{
    self, advanced_features, command, express, msix, power_management, sr_iov, status,
};

use super::bars::Bar;
use super::{Function, SharedMemoryPlace};

impl Function {
    /// The driver reads the configuration space. What is beyond its end reads as ones.
    pub fn config_read(&mut self, offset: u64, data: &mut [u8]) {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        self.read_through_window(offset, data.len());
        self.space.read(offset, data);
        let status = header::STATUS.checked_sub(offset).and_then(|at| data.get_mut(at));
        if let Some(status) = status.filter(|_| self.interrupts.is_pending()) {
            *status |= status::INTERRUPT as u8;
        }
        if self.hidden {
            hide_bars(offset, data);
        }
    }

    /// The driver writes to the configuration space. Returns whether [`Function::bars`] now tells something else.
    pub fn config_write(&mut self, offset: u64, data: &[u8]) -> bool {
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let before = self.bars();
        if !(self.hidden && touches(offset, data.len(), BARS.start, BARS.len())) {
            self.space.write(offset, data);
        }
        if self.resets_function(offset, data) {
            self.reset();
        } else {
            self.apply_control();
            self.write_through_window(offset, data.len());
        }
        self.bars() != before
    }

    /// The base address registers, and where the function answers.
    pub fn bars(&self) -> Vec<Bar> {
        let bars = self.places.bars.iter();
        let silent = self.hidden || self.is_asleep();
        bars.map(|bar| match silent {
            true => *bar,
            false => bar.with_address(&self.space),
        })
        .collect()
    }

    /// Where the shared memory regions of the device are. The monitor maps them.
    pub fn shared_memory(&self) -> &[SharedMemoryPlace] {
        &self.places.shared_memory
    }

    /// Size of the configuration space in bytes: 256, or 4096 for a PCI Express function.
    pub fn config_size(&self) -> usize {
        self.space.bytes().len()
    }

    /// How many virtual functions the driver has enabled.
    pub fn virtual_functions(&self) -> u16 {
        let Some(offset) = self.offsets.sr_iov else {
            return 0;
        };
        match self.space.u16(offset + sr_iov::CONTROL) & sr_iov::VF_ENABLE {
            0 => 0,
            _ => self
                .space
                .u16(offset + sr_iov::NUM_VFS)
                .min(self.space.u16(offset + sr_iov::TOTAL_VFS)),
        }
    }

    /// Carries out what the configuration space says now of interrupts and of access to memory.
    pub(super) fn apply_control(&mut self) {
        let command = self.space.u16(header::COMMAND);
        let bus_master = command & command::BUS_MASTER != 0 && !self.is_asleep();
        let control = self
            .offsets
            .msix
            .map_or(0, |offset| self.space.u16(offset + msix::CONTROL));
        let held = !bus_master || control & msix::FUNCTION_MASK != 0;
        let intx = command & command::INTX_DISABLE == 0 && !self.options.without_intx;
        self.interrupts.control(intx, control & msix::ENABLE != 0, held);
        self.core.set_dma(bus_master);
    }

    /// Whether the function is in power state D3hot, in which it answers to nothing but its configuration space.
    fn is_asleep(&self) -> bool {
        self.offsets.power.is_some_and(|offset| {
            let control = self.space.u16(offset + power_management::CONTROL);
            control & power_management::POWER_STATE == power_management::D3_HOT
        })
    }

    /// Whether the driver asks for a reset of the function.
    fn resets_function(&self, offset: usize, data: &[u8]) -> bool {
        let written = |capability: Option<usize>, field: usize, bit: u8| {
            let place = capability.map(|capability| capability + field);
            place
                .and_then(|place| place.checked_sub(offset))
                .and_then(|place| data.get(place))
                .is_some_and(|byte| byte & bit != 0)
        };
        let bit = (express::INITIATE_RESET >> 8) as u8;
        written(self.offsets.express, express::DEVICE_CONTROL + 1, bit)
            || written(
                self.offsets.advanced,
                advanced_features::CONTROL,
                advanced_features::INITIATE_RESET,
            )
    }
}

/// The base address registers.
const BARS: std::ops::Range<usize> = header::BAR0..header::BAR0 + 6 * 4;

/// Lets base address registers read as zero (`dev:pci:non-transitional-device-with-legacy-driver:01`).
fn hide_bars(offset: usize, data: &mut [u8]) {
    for place in BARS {
        if let Some(byte) = place.checked_sub(offset).and_then(|place| data.get_mut(place)) {
            *byte = 0;
        }
    }
}

/// Whether an access of `length` bytes at `offset` touches `size` bytes at `place`.
pub(super) fn touches(offset: usize, length: usize, place: usize, size: usize) -> bool {
    offset < place + size && place < offset.saturating_add(length)
}
