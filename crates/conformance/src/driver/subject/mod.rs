//! Drivers that are watched.

mod card;
mod linux;
mod ours;
mod packets;
mod pulse;
mod remote;
mod rings;
mod terminal;

use std::sync::{Arc, Mutex, PoisonError};

use ringwright_driver::transport::Part;
use ringwright_driver::transport::ccw::{Ccw, CcwOptions};
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Interrupts, Pci, Space};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Access, Area, Iotlb, Mapping, Memory, Region};
use ringwright_spec::DeviceType;
use ringwright_spec::pci::header;

use super::mutant::{SharedRegisters, Slip, SlipChannels, SlipRegisters, SlipTransport};
use super::rule::Rule;
use super::scenario::{Act, Oddity, Scenario};
use super::strict::pci::{BAR, BAR_INDEX};
use super::strict::{
    SUBCHANNEL, Shared, Strict, StrictCcw, StrictMmio, StrictPci, StrictTransport, model, with,
};
use crate::subject::{Bus, Trace};

pub use linux::{Linux, LinuxError, LinuxParts};
pub use ours::{OURS, ours, ours_on};
pub use remote::{Remote, RemoteError, Way};

/// A driver that is watched: it meets a strict device once for each scenario.
pub trait Driver: Send + Sync {
    /// Its name, for reports.
    fn name(&self) -> String;

    /// The device type that it is for.
    fn device(&self) -> &'static DeviceType;

    /// The bus between it and the device.
    fn bus(&self) -> Bus;

    /// Meets the device of `stage`, and does what the scenario asks for. An error says what has gone wrong with the
    /// driver, as far as it knows.
    fn meet(&self, stage: &mut Stage<'_>) -> Result<(), String>;
}

/// What a driver meets.
pub struct Stage<'a> {
    /// What the device does.
    pub scenario: &'static Scenario,
    /// What is unusual about the driver's hand.
    pub(super) slip: &'static Slip,
    pub(super) rules: &'a [&'static Rule],
    pub(super) trace: &'a Trace,
    /// The device, once it was made.
    pub(super) device: Slot,
}

/// A place for a device.
pub(super) type Slot = Arc<Mutex<Option<Shared>>>;

/// Where a driver in this process sits.
pub struct Seat {
    /// The bus, as the driver sees it.
    pub transport: Box<dyn Transport + Send>,
    /// Memory that the device reaches.
    pub area: Arc<Area>,
    /// Waits for the device.
    pub wait: Wait,
    /// What the driver is to do.
    pub act: Act,
    /// What it may choose.
    pub options: Options,
}

/// Waits for a device.
pub type Wait = Box<dyn FnMut() + Send>;

/// Bytes of memory of a driver in this process.
const MEMORY: usize = 4 << 20;
/// Where that is, for devices, and for devices behind an IOMMU.
const PHYSICAL: u64 = 0x4000_0000;
const TRANSLATED: u64 = 0x9_0000_0000;
/// The same where channel programs are in that memory, which do not reach beyond 2 GiB.
const TRANSLATED_LOW: u64 = 0x6000_0000;

impl Stage<'_> {
    /// The strict device of type `device`, for a driver whose memory is `memory`.
    pub fn device(&mut self, device: &DeviceType, bus: Bus, memory: Arc<Memory>) -> Result<Shared, String> {
        let model = model(device).ok_or("no model of such a device")?;
        let rules = self.rules.iter().copied();
        let strict = Strict::new(model, bus, self.scenario, memory, rules, self.trace);
        let shared = Arc::new(Mutex::new(strict));
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = Some(shared.clone());
        Ok(shared)
    }

    /// A seat on `bus` for a driver in this process, of a device of type `device`; none if there is no device. An error if
    /// our transport does not take it.
    pub fn seat(&mut self, device: &DeviceType, bus: Bus) -> Result<Option<Seat>, String> {
        let mapping = Arc::new(Mapping::memfd("driver", MEMORY).map_err(|error| error.to_string())?);
        let region = Region::new(PHYSICAL, mapping.clone());
        let memory = Memory::new(vec![region]).map_err(|error| error.to_string())?;
        let (memory, address) = match self.scenario.translates {
            false => (memory, PHYSICAL),
            true => {
                let address = if bus == Bus::Ccw {
                    TRANSLATED_LOW
                } else {
                    TRANSLATED
                };
                let table = Iotlb::new();
                table.insert(address, MEMORY as u64, PHYSICAL, Access::ReadWrite);
                (memory.with_translation(Arc::new(table)), address)
            }
        };
        let memory = Arc::new(memory);
        let area = Area::from_region(Region::new(address, mapping)).ok_or("no memory for the driver")?;
        let device = self.device(device, bus, memory.clone())?;
        let (transport, wait): (Box<dyn Transport + Send>, Wait) = match bus {
            Bus::Mmio => {
                let registers = StrictMmio::new(&device, Arc::new(|_| {}));
                let slipping = SlipRegisters::new(registers.clone(), self.slip.registers);
                match Mmio::probe(slipping).map_err(|error| error.to_string())? {
                    Some(transport) => (Box::new(transport), Box::new(move || registers.turn())),
                    None => return Ok(None),
                }
            }
            Bus::Pci => {
                let function = StrictPci::new(&device);
                let slipping = SlipRegisters::new(function.clone(), self.slip.registers);
                let slipping = Arc::new(Mutex::new(slipping));
                let config = Part::new(SharedRegisters(slipping.clone()), 0, header::EXPRESS_SIZE as u64)
                    .ok_or("no configuration space")?;
                let can_map = self.scenario.function.oddity != Oddity::Window;
                let map = |region: &pci::Region| {
                    let wanted = can_map && region.space == Space::Memory && region.bar == BAR_INDEX;
                    let start = BAR.checked_add(region.offset).filter(|_| wanted)?;
                    Part::new(SharedRegisters(slipping.clone()), start, region.length)
                };
                let interrupts = match self.scenario.function.vectors {
                    0 => Interrupts::Pin,
                    _ => Interrupts::Messages(Box::new(function)),
                };
                let options = pci::Options {
                    interrupts,
                    ..pci::Options::default()
                };
                match Pci::probe(config, map, options).map_err(|error| error.to_string())? {
                    Some(transport) => (Box::new(transport), Box::new(move || with(&device, Strict::turn))),
                    None => return Ok(None),
                }
            }
            Bus::Ccw => {
                let channels = StrictCcw::new(&device);
                let slipping = SlipChannels::new(channels.clone(), self.slip, memory);
                let options = CcwOptions {
                    transitional: false,
                    ..CcwOptions::default()
                };
                match Ccw::probe(slipping, SUBCHANNEL, &area, options).map_err(|error| error.to_string())? {
                    Some(transport) => (Box::new(transport), Box::new(move || channels.turn())),
                    None => return Ok(None),
                }
            }
            Bus::Direct | Bus::VhostUser => {
                let transport = SlipTransport::new(StrictTransport::new(&device), self.slip, memory);
                let waiting = transport.clone();
                (Box::new(transport), Box::new(move || waiting.wait()))
            }
        };
        Ok(Some(Seat {
            transport,
            area,
            wait,
            act: self.scenario.act,
            options: Options {
                indirect: 4,
                ..Options::default()
            },
        }))
    }
}
