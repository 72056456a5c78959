//! Which functions there are, also behind bridges, and giving them addresses.

use alloc::vec::Vec;

use ringwright_spec::pci::header::{self, bridge, command};

use super::windows::{Window, Windows};
use super::{Address, Bar, ConfigAccess};
use crate::transport::{Registers, TransportError};

/// A function that was found.
#[derive(Debug)]
pub struct Function<C> {
    /// Where it is.
    pub address: Address,
    /// PCI Vendor ID.
    pub vendor_id: u16,
    /// PCI Device ID.
    pub device_id: u16,
    /// Its INTx# pin, 1 to 4 for INTA# to INTD#; 0 if it has none.
    pub interrupt_pin: u8,
    /// Its configuration space.
    pub config: C,
}

/// The functions on bus `root` and behind its bridges, as whoever configured them has left them: a bridge without a
/// secondary bus is not passed.
pub fn scan<A: ConfigAccess>(access: &A, root: u8) -> Result<Vec<Function<A::Function>>, TransportError> {
    let mut found = Vec::new();
    let mut buses = alloc::vec![root];
    let mut visited = 0;
    while let Some(&bus) = buses.get(visited) {
        visited += 1;
        for mut function in functions(access, bus)? {
            if let Some(bus) = secondary_bus(&mut function.config)?
                && bus != 0
                // Each bus once, whatever bridges say.
                && !buses.contains(&bus)
            {
                buses.push(bus);
            }
            found.push(function);
        }
    }
    Ok(found)
}

/// The same for a hierarchy that nobody has configured: numbers the buses from `root` on, and gives the base address
/// registers and bridges their addresses of `windows`. A register for which there is no room keeps address 0.
pub fn configure<A: ConfigAccess>(
    access: &A,
    root: u8,
    windows: &mut Windows,
) -> Result<Vec<Function<A::Function>>, TransportError> {
    let mut work = Configuration {
        access,
        windows,
        last_bus: root,
        found: Vec::new(),
    };
    work.bus(root)?;
    Ok(work.found)
}

struct Configuration<'a, A: ConfigAccess> {
    access: &'a A,
    windows: &'a mut Windows,
    last_bus: u8,
    found: Vec<Function<A::Function>>,
}

impl<A: ConfigAccess> Configuration<'_, A> {
    fn bus(&mut self, bus: u8) -> Result<(), TransportError> {
        for mut function in functions(self.access, bus)? {
            let is_bridge = secondary_bus(&mut function.config)?.is_some();
            self.assign(&mut function.config)?;
            if is_bridge {
                self.bridge(bus, &mut function.config)?;
            }
            self.found.push(function);
        }
        Ok(())
    }

    fn assign(&mut self, config: &mut A::Function) -> Result<(), TransportError> {
        let mut bars = Bar::read_all(config)?;
        // The largest first: so alignment leaves the smallest holes.
        bars.sort_by_key(|bar| core::cmp::Reverse(bar.length));
        for bar in &mut bars {
            let address = self.windows.place(bar).unwrap_or(0);
            bar.assign(config, address)?;
        }
        Ok(())
    }

    /// Numbers the buses behind a bridge on `bus`, configures what is there, and has the bridge pass on its addresses.
    fn bridge(&mut self, bus: u8, config: &mut A::Function) -> Result<(), TransportError> {
        let Some(secondary) = self.last_bus.checked_add(1) else {
            return Ok(());
        };
        self.last_bus = secondary;
        // While the buses behind it are numbered, it passes on everything.
        for (register, number) in [
            (bridge::PRIMARY_BUS, bus),
            (bridge::SECONDARY_BUS, secondary),
            (bridge::SUBORDINATE_BUS, u8::MAX),
        ] {
            config.write8(register as u64, number)?;
        }
        let before = self.borders();
        self.bus(secondary)?;
        let after = self.borders();
        config.write8(bridge::SUBORDINATE_BUS as u64, self.last_bus)?;
        let ranges = [0, 1, 2].map(|window| before[window].zip(after[window]));
        pass_on(config, ranges)
    }

    /// Where the windows go on, from what a bridge can tell apart.
    fn borders(&mut self) -> [Option<u64>; 3] {
        let aligns = [bridge::IO_ALIGN, bridge::MEMORY_ALIGN, bridge::MEMORY_ALIGN];
        let mut aligns = aligns.into_iter();
        self.windows.all().map(|window: Option<&mut Window>| {
            let align = aligns.next()?;
            window?.align(align)
        })
    }
}

/// Has a bridge pass on the addresses from the first to below the second of each pair, if there are any: in I/O space, in
/// memory space, and of prefetchable memory.
fn pass_on(config: &mut impl Registers, ranges: [Option<(u64, u64)>; 3]) -> Result<(), TransportError> {
    // A base above its limit passes on nothing.
    let [io, memory, prefetchable] = ranges.map(|range| match range {
        Some((start, end)) if start < end => (start, end - 1),
        _ => (u64::MAX, 0),
    });
    config.write8(bridge::IO_BASE as u64, (io.0 >> 8) as u8)?;
    config.write8(bridge::IO_LIMIT as u64, (io.1 >> 8) as u8)?;
    config.write16(bridge::IO_UPPER as u64, (io.0 >> 16) as u16)?;
    config.write16(bridge::IO_UPPER as u64 + 2, (io.1 >> 16) as u16)?;
    config.write16(bridge::MEMORY_BASE as u64, (memory.0 >> 16) as u16)?;
    config.write16(bridge::MEMORY_LIMIT as u64, (memory.1 >> 16) as u16)?;
    config.write16(bridge::PREFETCHABLE_BASE as u64, (prefetchable.0 >> 16) as u16)?;
    config.write16(bridge::PREFETCHABLE_LIMIT as u64, (prefetchable.1 >> 16) as u16)?;
    config.write32(
        bridge::PREFETCHABLE_BASE_UPPER as u64,
        (prefetchable.0 >> 32) as u32,
    )?;
    config.write32(
        bridge::PREFETCHABLE_LIMIT_UPPER as u64,
        (prefetchable.1 >> 32) as u32,
    )?;
    let command = config.read16(header::COMMAND as u64)?;
    let passes = command::IO | command::MEMORY | command::BUS_MASTER;
    config.write16(header::COMMAND as u64, command | passes)
}

/// The functions on one bus.
fn functions<A: ConfigAccess>(access: &A, bus: u8) -> Result<Vec<Function<A::Function>>, TransportError> {
    let mut found = Vec::new();
    for device in 0..32 {
        let mut count = 1;
        for number in 0..8 {
            if number >= count {
                break;
            }
            let Some(address) = Address::new(bus, device, number) else {
                continue;
            };
            let Some(mut config) = access.function(address) else {
                return Ok(found);
            };
            let vendor_id = config.read16(header::VENDOR_ID as u64)?;
            if vendor_id == header::NO_VENDOR {
                continue;
            }
            if number == 0 && config.read8(header::HEADER_TYPE as u64)? & header::MULTI_FUNCTION != 0 {
                count = 8;
            }
            found.push(Function {
                address,
                vendor_id,
                device_id: config.read16(header::DEVICE_ID as u64)?,
                interrupt_pin: config.read8(header::INTERRUPT_PIN as u64)?,
                config,
            });
        }
    }
    Ok(found)
}

/// The bus behind a bridge; `None` if it is no bridge.
fn secondary_bus(config: &mut impl Registers) -> Result<Option<u8>, TransportError> {
    match config.read8(header::HEADER_TYPE as u64)? & bridge::LAYOUT {
        bridge::TYPE => config.read8(bridge::SECONDARY_BUS as u64).map(Some),
        _ => Ok(None),
    }
}
