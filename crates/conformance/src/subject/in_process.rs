//! Our own devices, in this process, on any bus; right ones, or mutants.

use std::sync::{Arc, Mutex};

use ringwright_device::Device;
use ringwright_device::transport::{ccw as ccw_device, mmio as mmio_device, pci as pci_device};
use ringwright_driver::Transport;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::ccw::{Ccw, CcwOptions};
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Bar, Interrupts, Pci, Window, Windows};
use ringwright_loopback::{Channels, Loopback, LoopbackOptions, MmioRegisters, PciBus};
use ringwright_memory::{Area, Memory};
use ringwright_spec::pci::CfgType;

use super::{Bus, Made, Raw, RawPci, Specimen, Subject, SubjectError, Trace, Traced};
use crate::mutant::{Lens, LensChannels, LensRegisters, LensTransport, Shadow};
use crate::raw::{Capabilities, RawCcw};

/// Bytes of memory for rings and buffers.
const MEMORY: usize = 4 << 20;

/// PCI vendor ids of data that nobody understands.
const VENDORS: [u16; 2] = [0x1234, 0x5678];
const VENDOR_DATA: [u8; 18] = *b"conformance checks";

/// Makes a device.
pub type MakeDevice = Box<dyn Fn() -> Result<Made, SubjectError> + Send + Sync>;

/// A device of this process.
pub struct InProcess {
    name: String,
    bus: Bus,
    make: MakeDevice,
    lens: Option<&'static Lens>,
}

/// A device on its bus, and the memory that it reaches.
struct Joined {
    transport: Box<dyn Transport + Send>,
    area: Arc<Area>,
    raw: Raw,
}

impl InProcess {
    /// What `make` makes, on `bus`. There is no vhost-user in one process; it is taken for [`Bus::Direct`].
    pub fn new(name: impl Into<String>, bus: Bus, make: MakeDevice) -> Self {
        Self {
            name: name.into(),
            bus,
            make,
            lens: None,
        }
    }

    /// The same device behind a lens, which makes it break a clause.
    pub fn behind(mut self, lens: &'static Lens) -> Self {
        self.lens = Some(lens);
        self
    }

    fn registers<R: Registers + Send + Clone + 'static>(
        &self,
        registers: R,
        name: &'static str,
        shadow: &Arc<Mutex<Shadow>>,
        trace: &Trace,
    ) -> Traced<LensRegisters<R>> {
        Traced::new(
            LensRegisters::new(registers, name, self.lens, shadow),
            name,
            trace,
        )
    }

    fn transport(
        &self,
        transport: impl Transport + Send + 'static,
        memory: Arc<Memory>,
    ) -> Box<dyn Transport + Send> {
        match self.lens {
            Some(lens) => Box::new(LensTransport::new(transport, lens, memory)),
            None => Box::new(transport),
        }
    }

    fn mmio(&self, device: Box<dyn Device>, trace: &Trace) -> Result<Joined, SubjectError> {
        let model = MmioRegisters::new(device, mmio_device::Options::default(), MEMORY)?;
        let registers = self.registers(model.clone(), "mmio", &Arc::default(), trace);
        let transport = Mmio::probe(registers.clone())?.ok_or(SubjectError::NoDevice(Bus::Mmio))?;
        Ok(Joined {
            transport: self.transport(transport, model.memory().clone()),
            area: model.area().clone(),
            raw: Raw::Mmio(Box::new(registers)),
        })
    }

    fn pci(&self, device: Box<dyn Device>, trace: &Trace) -> Result<Joined, SubjectError> {
        let bus = PciBus::new(MEMORY)?;
        // Some vendor's data, which are as long as what locates shared memory.
        let vendor_data = |vendor_id| pci_device::VendorData {
            vendor_id,
            data: VENDOR_DATA.to_vec(),
        };
        let options = pci_device::Options {
            vendor_data: VENDORS.map(vendor_data).to_vec(),
            // There is room for these then.
            conventional: true,
            ..pci_device::Options::default()
        };
        let slot = bus.attach(device, options)?;
        let mut windows = Windows {
            io: Window::new(0xc000, 0x1000),
            memory: Window::new(0xe000_0000, 0x1000_0000),
            prefetchable: None,
        };
        let none = || SubjectError::NoDevice(Bus::Pci);
        let function = pci::configure(&bus, 0, &mut windows)?.pop().ok_or_else(none)?;
        let mut config = function.config;
        let bars = Bar::read_all(&mut config)?;
        let capabilities = Capabilities::read(&mut config)?;
        let shadow = Arc::new(Mutex::new(Shadow {
            capabilities: capabilities.clone(),
            ..Shadow::default()
        }));
        let config = self.registers(config, "config", &shadow, trace);
        let map = {
            let (slot, lens, shadow, trace) = (slot.clone(), self.lens, shadow.clone(), trace.clone());
            move |region: &pci::Region| {
                let name = name(&capabilities, region);
                let registers = LensRegisters::new(slot.map(region)?, name, lens, &shadow);
                Some(Box::new(Traced::new(registers, name, &trace)) as Box<dyn Registers + Send>)
            }
        };
        let options = pci::Options {
            interrupts: Interrupts::Messages(slot.messages()),
            ..pci::Options::default()
        };
        let transport = Pci::probe(config.clone(), map.clone(), options)?.ok_or_else(none)?;
        Ok(Joined {
            transport: self.transport(transport, bus.memory().clone()),
            area: bus.area().clone(),
            raw: Raw::Pci(RawPci {
                config: Box::new(config),
                bars,
                map: Box::new(map),
            }),
        })
    }

    fn ccw(&self, device: Box<dyn Device>) -> Result<Joined, SubjectError> {
        let channels = Channels::new(MEMORY)?;
        let options = ccw_device::Options {
            subchannel: 7,
            ..ccw_device::Options::default()
        };
        let id = channels.attach(device, options)?;
        let area: Arc<Area> = channels.area().clone();
        let memory = channels.memory().clone();
        let diagnose = {
            let (channels, lens) = (channels.clone(), self.lens);
            move |registers: &mut [u64; 16]| {
                if lens
                    .and_then(|lens| lens.diagnose)
                    .is_none_or(|hear| hear(registers))
                {
                    channels.diagnose(registers);
                }
            }
        };
        let channels = LensChannels::new(channels, self.lens, memory.clone());
        let transport = Ccw::probe(channels.clone(), id, &area, CcwOptions::default())?;
        let transport = transport.ok_or(SubjectError::NoDevice(Bus::Ccw))?;
        let raw = RawCcw::new(Box::new(channels), id, &area);
        let raw = raw.map(|raw| raw.with_diagnose(Box::new(diagnose)));
        let raw = raw.map_or(Raw::Nothing, Raw::Ccw);
        Ok(Joined {
            transport: self.transport(transport, memory),
            area,
            raw,
        })
    }

    fn direct(&self, device: Box<dyn Device>) -> Result<Joined, SubjectError> {
        let options = LoopbackOptions {
            memory: MEMORY,
            ..LoopbackOptions::default()
        };
        let loopback = Loopback::new(device, options)?;
        let (area, memory) = (loopback.area().clone(), loopback.memory().clone());
        Ok(Joined {
            transport: self.transport(loopback, memory),
            area,
            raw: Raw::Nothing,
        })
    }
}

impl Subject for InProcess {
    fn name(&self) -> String {
        format!("{} ({})", self.name, self.bus)
    }

    fn bus(&self) -> Bus {
        self.bus
    }

    fn open(&self, trace: &Trace) -> Result<Specimen, SubjectError> {
        let Made {
            device,
            change,
            cable,
            keep,
        } = (self.make)()?;
        let Joined { transport, area, raw } = match self.bus {
            Bus::Mmio => self.mmio(device, trace),
            Bus::Pci => self.pci(device, trace),
            Bus::Ccw => self.ccw(device),
            Bus::Direct | Bus::VhostUser => self.direct(device),
        }?;
        Ok(Specimen {
            transport,
            area,
            raw,
            change,
            cable,
            keep,
        })
    }

    fn is_parallel(&self) -> bool {
        true
    }
}

/// Name of the registers in a region of a BAR.
fn name(capabilities: &Capabilities, region: &pci::Region) -> &'static str {
    let structure = capabilities
        .structures
        .iter()
        .find(|structure| (structure.bar, structure.offset) == (region.bar, region.offset));
    match structure.map(|structure| structure.cfg_type) {
        Some(CfgType::COMMON_CFG) => "common",
        Some(CfgType::NOTIFY_CFG) => "notify",
        Some(CfgType::ISR_CFG) => "isr",
        Some(CfgType::DEVICE_CFG) => "device",
        _ => "bar",
    }
}
