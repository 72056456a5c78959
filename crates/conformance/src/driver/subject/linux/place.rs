//! Where a strict device is in the embedded machine: a slot of virtio-mmio, or of the PCI bus.

use std::sync::Arc;

use ringwright_device::transport::pci::{Bar, PciInterrupts};
use ringwright_machine::{FunctionRegisters, Machine, SlotRegisters};
use ringwright_spec::DeviceType;

use super::Stage;
use crate::driver::strict::{Shared, Strict, StrictMmio, StrictPci, with};
use crate::subject::Bus;

/// The place of a strict device.
pub(super) enum Place {
    /// A slot of virtio-mmio.
    Mmio(StrictMmio),
    /// A PCI function.
    Pci(Arc<Function>),
}

impl Place {
    /// Something happens in the device; interrupts follow.
    pub fn act(&self, act: &mut dyn FnMut(&mut Strict)) {
        match self {
            Self::Mmio(registers) => registers.act(act),
            Self::Pci(function) => function.act(act),
        }
    }
}

/// Puts the device of `stage` into a slot of virtio-mmio.
pub(super) fn registers(
    machine: &mut Machine,
    device: &DeviceType,
    stage: &mut Stage<'_>,
) -> Result<Place, String> {
    let device = stage.device(device, Bus::Mmio, machine.memory().clone())?;
    let mut made = None;
    let attached = machine.attach_registers(|line| {
        let registers = StrictMmio::new(&device, Arc::new(move |level| line.set_level(level)));
        made = Some(Place::Mmio(registers.clone()));
        Arc::new(Slot(registers))
    });
    attached.map_err(|error| error.to_string())?;
    made.ok_or("no registers".into())
}

/// Puts it into a slot of the PCI bus.
pub(super) fn function(
    machine: &mut Machine,
    device: &DeviceType,
    stage: &mut Stage<'_>,
) -> Result<Place, String> {
    let device = stage.device(device, Bus::Pci, machine.memory().clone())?;
    let registers = StrictPci::new(&device);
    registers.unset_bar();
    let mut made = None;
    let attached = machine.attach_function(|interrupts| {
        let function = Arc::new(Function {
            registers,
            device,
            interrupts,
        });
        made = Some(Place::Pci(function.clone()));
        function
    });
    attached.map_err(|error| error.to_string())?;
    made.ok_or("no function".into())
}

/// The registers in the machine.
struct Slot(StrictMmio);

impl SlotRegisters for Slot {
    fn read(&self, offset: u64, data: &mut [u8]) {
        self.0.read_bytes(offset, data);
    }

    fn write(&self, offset: u64, data: &[u8]) {
        self.0.write_bytes(offset, data);
    }
}

/// The function in the machine.
pub(super) struct Function {
    device: Shared,
    registers: StrictPci,
    interrupts: Arc<dyn PciInterrupts>,
}

impl Function {
    fn act(&self, act: &mut dyn FnMut(&mut Strict)) {
        with(&self.device, act);
        self.registers.signal(&*self.interrupts);
    }
}

impl FunctionRegisters for Function {
    fn config_read(&self, offset: u64, data: &mut [u8]) {
        self.registers.read_bytes(offset, data);
        self.registers.signal(&*self.interrupts);
    }

    fn config_write(&self, offset: u64, data: &[u8]) -> bool {
        let before = self.registers.bar();
        self.registers.write_bytes(offset, data);
        self.registers.signal(&*self.interrupts);
        self.registers.bar() != before
    }

    fn bars(&self) -> Vec<Bar> {
        vec![self.registers.bar()]
    }

    fn bar_read(&self, _: u8, offset: u64, data: &mut [u8]) {
        self.registers.read_bytes(StrictPci::BAR + offset, data);
        self.registers.signal(&*self.interrupts);
    }

    fn bar_write(&self, _: u8, offset: u64, data: &[u8]) {
        self.registers.write_bytes(StrictPci::BAR + offset, data);
        self.registers.signal(&*self.interrupts);
    }
}
