//! A device whose registers hold anything, against the drivers' transports over MMIO and PCI and the drivers on them. The
//! script tampers with what is read; where it says nothing, and after its end, the registers are those of a device that
//! works. Whatever happens: no panic, no endless loop, and all memory is free again.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use ringwright_driver::block::{Block, Request};
use ringwright_driver::console::Console;
use ringwright_driver::entropy::Entropy;
use ringwright_driver::network::Network;
use ringwright_driver::session::Session;
use ringwright_driver::transport::Registers;
use ringwright_driver::transport::mmio::Mmio;
use ringwright_driver::transport::pci::{self, Interrupts, Message, Messages, Pci, Region as BarRegion};
use ringwright_driver::{DriverError, Options, Transport, TransportError};
use ringwright_memory::{Area, Mapping, Region, Width};
use ringwright_spec::pci::header::{self, bar};
use ringwright_spec::pci::{self as spec, CfgType, common_cfg, legacy};
use ringwright_spec::status::Status;
use ringwright_spec::{feature, mmio};

use crate::script::Script;

/// Bytes of memory for rings and buffers.
const LENGTH: usize = 1 << 20;

/// The number that a configuration space has in place of that of a BAR.
const CONFIG: usize = 6;
/// The registers of a device over MMIO.
const MMIO: usize = 7;

/// Plays the script.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let (way, kind) = (script.u8(), script.u8());
    let device = Device::new(script, [1, 2, 3, 4][usize::from(kind & 3)], way);
    let mapping = Mapping::anonymous(LENGTH).expect("memory");
    let area = Area::from_region(Region::new(0x10_0000, Arc::new(mapping))).expect("an area");
    let options = Options {
        queue_size: 1 << (kind >> 2 & 7),
        indirect: (way >> 4).into(),
        ..Options::default()
    };
    let registers = |space| Space {
        device: device.clone(),
        space,
        offset: 0,
    };
    match way & 3 {
        0 | 1 => {
            if let Ok(Some(transport)) = Mmio::probe(registers(MMIO)) {
                let _ = drive(transport, &area, options);
            }
        }
        _ => {
            let interrupts = match way >> 2 & 3 {
                0 => Interrupts::Polling,
                1 => Interrupts::Pin,
                _ => Interrupts::Messages(Box::new(Few(way >> 4))),
            };
            let pci_options = pci::Options {
                interrupts,
                prefer_legacy: kind & 0x20 != 0,
                ..pci::Options::default()
            };
            let map = |region: &BarRegion| {
                let mut space = registers(region.bar.into());
                space.offset = region.offset;
                (kind & 0x40 == 0).then_some(space)
            };
            if let Ok(Some(transport)) = Pci::probe(registers(CONFIG), map, pci_options) {
                let _ = drive(transport, &area, options);
            }
        }
    }
    let rest = area.allocate(LENGTH, 1);
    assert!(rest.is_some(), "all memory is free again");
}

/// Brings the driver of the device up, has it do a little of everything, and lets it go.
fn drive<T: Transport>(transport: T, area: &Arc<Area>, options: Options) -> Result<(), DriverError> {
    match transport.device_id() {
        1 => {
            let mut card = Network::new(transport, area, options)?;
            let _ = (card.link_up(), card.send(&[7; 60]), card.publish());
            use_session(card.session())
        }
        2 => {
            let mut disk = Block::new(transport, area, 3, options)?;
            if let Some(buffer) = area.allocate(512, 512) {
                let _ = disk.submit(0, Request::read(0, buffer), 0);
            }
            let _ = disk.publish(0);
            use_session(disk.session())
        }
        3 => {
            let mut console = Console::new(transport, area, options)?;
            let _ = (console.size(), console.write(b"output"));
            use_session(console.session())
        }
        _ => {
            let mut source = Entropy::new(transport, area, options)?;
            if let Some(buffer) = area.allocate(16, 1) {
                let _ = source.request(buffer);
            }
            use_session(source.session())
        }
    }
}

fn use_session<T: Transport>(session: &mut Session<T>) -> Result<(), DriverError> {
    for id in 0..3 {
        let _ = session.transport().shared_memory(id);
        let _ = session.transport().take_interrupt();
    }
    let _ = (
        session.config::<u64>(0),
        session.config::<[u8; 6]>(2),
        session.write_config(4, 7_u32),
    );
    session.check()?;
    session.suspend()?;
    session.resume()
}

/// Registers that remember what is written to them.
struct Device<'a> {
    script: Script<'a>,
    /// BARs, configuration space, registers over MMIO.
    spaces: [Vec<u8>; 8],
}

impl<'a> Device<'a> {
    fn new(script: Script<'a>, id: u8, way: u8) -> Rc<RefCell<Self>> {
        let mut device = Self {
            script,
            spaces: [0x80, 0x1000, 0, 0, 0x4000, 0, 0x100, 0x200].map(|length| vec![0; length]),
        };
        // What each device type has to have for its driver to go on: an MTU, a capacity and a block size, a size.
        let mut config_space = [0; 36];
        match id {
            1 => config_space[..12].copy_from_slice(&[2, 3, 4, 5, 6, 7, 1, 0, 1, 0, 0xdc, 5]),
            2 => {
                (
                    config_space[0],
                    config_space[9],
                    config_space[21],
                    config_space[34],
                ) = (9, 2, 2, 3)
            }
            _ => config_space[0] = 80,
        }
        device.put(MMIO, mmio::MAGIC_VALUE, &mmio::MAGIC.to_le_bytes());
        device.put(MMIO, mmio::VERSION, &[2 - (way & 1)]);
        device.put(MMIO, mmio::DEVICE_ID, &[id]);
        device.put(MMIO, mmio::DEVICE_FEATURES, &[0xff; 4]);
        device.put(MMIO, mmio::QUEUE_SIZE_MAX, &[64]);
        device.put(MMIO, mmio::CONFIG, &config_space);

        let device_id = match way & 3 {
            2 => 0x1040 + u16::from(id),
            _ => [0, 0x1000, 0x1001, 0x1003, 0x1005][usize::from(id)],
        };
        device.put(CONFIG, 0, &spec::VENDOR_ID.to_le_bytes());
        device.put(CONFIG, 2, &device_id.to_le_bytes());
        device.put(
            CONFIG,
            header::STATUS as u64,
            &[header::status::CAPABILITIES as u8],
        );
        device.put(CONFIG, header::CAPABILITIES as u64, &[header::SIZE as u8]);
        for (index, low) in [(0, 0xc001), (1, 0xe000_0000), (4, 0xe010_000c_u32)] {
            device.put(CONFIG, header::BAR0 as u64 + 4 * index, &low.to_le_bytes());
        }
        let mut at = header::SIZE as u64;
        for (cfg_type, offset, length, extra) in [
            (CfgType::COMMON_CFG, 0, 64, None),
            (CfgType::ISR_CFG, 0x1000, 1, None),
            (CfgType::DEVICE_CFG, 0x2000, 64, None),
            (CfgType::NOTIFY_CFG, 0x3000, 0x100, Some([4, 0, 0, 0])),
            (CfgType::PCI_CFG, 0, 0, Some([0; 4])),
            (CfgType::SHARED_MEMORY_CFG, 0, 0x1000, Some([0; 4])),
        ] {
            let (offset, length): (u32, u32) = (offset, length);
            device.put(
                CONFIG,
                at,
                &[spec::CAP_ID_VNDR, at as u8 + 24, 24, cfg_type.0, 4, 1],
            );
            device.put(CONFIG, at + 8, &offset.to_le_bytes());
            device.put(CONFIG, at + 12, &length.to_le_bytes());
            device.put(CONFIG, at + 16, &extra.unwrap_or_default());
            at += 24;
        }
        device.put(
            CONFIG,
            at,
            &[header::capability::MSIX, 0, 3, 0, 1, 0, 0, 0, 1, 8, 0, 0],
        );
        device.put(4, common_cfg::DEVICE_FEATURE, &[0xff; 4]);
        device.put(4, 0x2000, &config_space);
        device.put(
            0,
            legacy::DEVICE_FEATURES,
            &feature::LEGACY_BITS.word(0).to_le_bytes(),
        );
        device.put(0, legacy::QUEUE_SIZE, &[64]);
        device.put(0, legacy::config_offset(way >> 2 & 3 > 1), &config_space);
        device.select_queue(4);
        Rc::new(RefCell::new(device))
    }

    fn put(&mut self, space: usize, at: u64, bytes: &[u8]) {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let place = at
            .checked_add(bytes.len())
            .and_then(|end| self.spaces[space].get_mut(at..end));
        if let Some(place) = place {
            place.copy_from_slice(bytes);
        }
    }

    /// Each virtqueue is as no driver has touched it.
    fn select_queue(&mut self, space: usize) {
        match space {
            MMIO => {
                self.put(MMIO, mmio::QUEUE_READY, &[0; 4]);
                self.put(MMIO, mmio::legacy::QUEUE_PFN, &[0; 4]);
            }
            4 => {
                self.put(4, common_cfg::QUEUE_SIZE, &[64, 0, 0xff, 0xff, 0, 0, 1, 0]);
            }
            _ => self.put(0, legacy::QUEUE_ADDRESS, &[0; 4]),
        }
    }

    fn write(&mut self, space: usize, at: u64, bytes: &[u8]) {
        let is_bar = (header::BAR0 as u64..header::BAR0 as u64 + 24).contains(&at);
        match (space, at) {
            (MMIO, mmio::QUEUE_SEL) | (4, common_cfg::QUEUE_SELECT) | (0, legacy::QUEUE_SELECT) => {
                self.select_queue(space);
            }
            // Registers have as many bits as the BARs have bytes.
            (CONFIG, _) if is_bar => {
                let index = (at as usize - header::BAR0) / 4;
                let mask = match (self.spaces[index].len(), index) {
                    (0, 5) => u32::MAX,
                    (0, _) => 0,
                    (length, _) => !(length as u32 - 1),
                };
                let flags = [bar::IO, 0, 0, 0, bar::MEMORY_64 | bar::PREFETCHABLE, 0][index];
                let value = bytes.first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes));
                return self.put(CONFIG, at, &(value & mask | flags).to_le_bytes());
            }
            // The device suspends and resumes at once.
            (MMIO, mmio::STATUS) | (4, common_cfg::DEVICE_STATUS) => {
                let (before, now) = (Status(self.spaces[space][at as usize]), Status(bytes[0]));
                let stops = match before.contains(Status::SUSPEND) {
                    true => Status::SUSPEND,
                    false if now.contains(Status::SUSPEND) => Status::DRIVER_OK,
                    false => Status::NONE,
                };
                return self.put(space, at, &[(now - stops).0]);
            }
            _ => {}
        }
        self.put(space, at, bytes);
    }

    fn read(&mut self, space: usize, at: u64, width: Width) -> u32 {
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        let end = at.checked_add(width.bytes());
        let bytes = end
            .and_then(|end| self.spaces[space].get(at..end))
            .unwrap_or_default();
        let honest = bytes
            .iter()
            .rev()
            .fold(0, |value, byte| value << 8 | u32::from(*byte));
        let tampered = match self.script.u8() {
            0..0xd0 => honest,
            0xd0..0xd8 => u32::MAX,
            0xd8..0xe0 => 0,
            0xe0..0xf0 => honest ^ 1 << (self.script.u8() & 31),
            _ => self.script.any_u32(),
        };
        tampered & u32::MAX >> (32 - 8 * width as u32)
    }
}

/// Registers of one of the spaces.
struct Space<'a> {
    device: Rc<RefCell<Device<'a>>>,
    space: usize,
    offset: u64,
}

impl Registers for Space<'_> {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut device = self.device.borrow_mut();
        Ok(device.read(self.space, self.offset.wrapping_add(offset), width))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let bytes = &value.to_le_bytes()[..width.bytes()];
        let mut device = self.device.borrow_mut();
        device.write(self.space, self.offset.wrapping_add(offset), bytes);
        Ok(())
    }
}

/// A platform with so many messages, all of which come all the time.
struct Few(u8);

impl Messages for Few {
    fn message(&mut self, vector: u16) -> Option<Message> {
        (vector < self.0.into()).then_some(Message {
            address: 0xfee0_0000,
            data: vector.into(),
        })
    }

    fn take(&mut self, _vector: u16) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without tampering, every kind of device can be driven: otherwise the target would try little.
    #[test]
    fn honest_registers_are_those_of_devices_that_work() {
        for way in [0x40, 0x41, 0x42, 0x46, 0x43, 0x47] {
            for kind in 0..4 {
                let script = Script::new(&[]);
                let device = Device::new(script, kind + 1, way);
                let mapping = Mapping::anonymous(LENGTH).unwrap();
                let area = Area::from_region(Region::new(0x10_0000, Arc::new(mapping))).unwrap();
                let registers = |space| Space {
                    device: device.clone(),
                    space,
                    offset: 0,
                };
                let driven = match way & 3 {
                    0 | 1 => drive(
                        Mmio::probe(registers(MMIO)).unwrap().unwrap(),
                        &area,
                        Options::default(),
                    ),
                    _ => {
                        let map = |region: &BarRegion| {
                            let mut space = registers(region.bar.into());
                            space.offset = region.offset;
                            Some(space)
                        };
                        let options = pci::Options {
                            prefer_legacy: way & 3 == 3,
                            ..pci::Options::default()
                        };
                        drive(
                            Pci::probe(registers(CONFIG), map, options).unwrap().unwrap(),
                            &area,
                            Options::default(),
                        )
                    }
                };
                // Of legacy devices all but suspending.
                let lacks = matches!(
                    driven,
                    Err(DriverError::Transport(TransportError::Unsupported(_)))
                );
                assert_eq!(
                    (driven.is_ok(), lacks),
                    (way & 1 == 0, way & 1 != 0),
                    "{way:#x} {kind}: {driven:?}"
                );
            }
        }
    }
}
