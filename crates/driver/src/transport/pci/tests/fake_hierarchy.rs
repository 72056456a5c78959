//! Buses, bridges and functions that are nothing but configuration space.

use alloc::rc::Rc;
use core::cell::RefCell;
use core::ops::RangeInclusive;
use std::vec;

use ringwright_spec::pci::header::{bar, bridge};

use super::*;

/// A hierarchy of functions and bridges, which passes accesses on by the bus numbers that bridges are given.
#[derive(Clone, Default)]
pub struct Hierarchy {
    nodes: Rc<RefCell<Vec<Node>>>,
    root: u8,
}

/// A function, on the root bus or behind the bridge with this number.
struct Node {
    behind: Option<usize>,
    device: u8,
    function: u8,
    config: Vec<u8>,
    bars: Vec<(u8, u32, u64)>,
}

impl Hierarchy {
    /// An empty one, whose first bus is not number 0.
    pub fn with_root(root: u8) -> Self {
        Self {
            root,
            ..Self::default()
        }
    }

    pub fn add(&self, behind: Option<usize>, device: u8, function: u8, bars: &[(u8, u32, u64)]) -> usize {
        let mut config = vec![0; header::CONVENTIONAL_SIZE];
        config[..4].copy_from_slice(&[0xf4, 0x1a, 0x44, 0x10]);
        for (index, flags, _) in bars {
            config[header::BAR0 + 4 * usize::from(*index)] = *flags as u8;
        }
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Node {
            behind,
            device,
            function,
            config,
            bars: bars.to_vec(),
        });
        nodes.len() - 1
    }

    pub fn add_bridge(&self, behind: Option<usize>, device: u8) -> usize {
        let number = self.add(behind, device, 0, &[]);
        self.nodes.borrow_mut()[number].config[header::HEADER_TYPE] = bridge::TYPE;
        number
    }

    pub fn set(&self, number: usize, at: usize, bytes: &[u8]) {
        self.nodes.borrow_mut()[number].config[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub fn get<const N: usize>(&self, number: usize, at: usize) -> [u8; N] {
        self.nodes.borrow()[number].config[at..at + N].try_into().unwrap()
    }

    pub fn address(&self, number: usize, index: u8) -> u64 {
        let low = u32::from_le_bytes(self.get(number, header::BAR0 + 4 * usize::from(index)));
        let is_io = low & bar::IO != 0;
        let flags = if is_io { bar::IO_FLAGS } else { bar::MEMORY_FLAGS };
        let high = match !is_io && low & bar::MEMORY_WIDTH == bar::MEMORY_64 {
            true => u32::from_le_bytes(self.get(number, header::BAR0 + 4 + 4 * usize::from(index))),
            false => 0,
        };
        u64::from(high) << 32 | u64::from(low & !flags)
    }

    /// The function that an access to a bus reaches.
    fn find(&self, bus: u8, device: u8, function: u8) -> Option<usize> {
        let nodes = self.nodes.borrow();
        nodes.iter().position(|node| {
            let own = match node.behind {
                None => Some(self.root),
                Some(bridge) => reachable(&nodes, bridge, bus),
            };
            own == Some(bus) && (node.device, node.function) == (device, function)
        })
    }
}

/// The bus behind a bridge, if accesses to `bus` come so far.
fn reachable(nodes: &[Node], bridge: usize, bus: u8) -> Option<u8> {
    let mut above = Some(bridge);
    while let Some(number) = above {
        let config = &nodes[number].config;
        let behind = config[bridge::SECONDARY_BUS]..=config[bridge::SUBORDINATE_BUS];
        if config[bridge::SECONDARY_BUS] == 0 || !behind.contains(&bus) {
            return None;
        }
        above = nodes[number].behind;
    }
    Some(nodes[bridge].config[bridge::SECONDARY_BUS])
}

/// ECAM: all configuration spaces one after the other.
impl Registers for Hierarchy {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let (at, number) = ((offset & 0xfff) as usize, self.at(offset));
        Ok(match number {
            Some(number) if at < header::CONVENTIONAL_SIZE => {
                let nodes = self.nodes.borrow();
                let bytes = nodes[number].config[at..at + width.bytes()].iter().rev();
                bytes.fold(0, |value, byte| value << 8 | u32::from(*byte))
            }
            _ => u32::MAX >> (32 - 8 * width as u32),
        })
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let at = (offset & 0xfff) as usize;
        let number = self.at(offset).expect("writes go to what is there");
        let mut nodes = self.nodes.borrow_mut();
        let node = &mut nodes[number];
        let count = match node.config[header::HEADER_TYPE] & bridge::LAYOUT {
            0 => header::BARS,
            bridge::TYPE => bridge::BARS,
            _ => 0,
        };
        let is_bar = (header::BAR0..header::BAR0 + 4 * usize::from(count)).contains(&at);
        let mask = node.bars.iter().find_map(|(index, flags, length)| {
            let register = header::BAR0 + 4 * usize::from(*index);
            let is_64_bit = flags & bar::MEMORY_WIDTH == bar::MEMORY_64;
            match at.checked_sub(register) {
                Some(0) => Some(!(length - 1) as u32 & !0xf),
                Some(4) if is_64_bit => Some((!(length - 1) >> 32) as u32),
                _ => None,
            }
        });
        let value = match (is_bar, mask) {
            (false, _) => value,
            (true, None) => return Ok(()),
            (true, Some(mask)) => {
                let old = u32::from_le_bytes(node.config[at..at + 4].try_into().unwrap());
                old & !mask | value & mask
            }
        };
        node.config[at..at + width.bytes()].copy_from_slice(&value.to_le_bytes()[..width.bytes()]);
        Ok(())
    }
}

impl Hierarchy {
    fn at(&self, offset: u64) -> Option<usize> {
        let [bus, device, function] = [offset >> 20, offset >> 15 & 31, offset >> 12 & 7];
        self.find(bus as u8, device as u8, function as u8)
    }

    pub fn ecam(&self, buses: RangeInclusive<u8>) -> Ecam<Self> {
        Ecam::new(self.clone(), buses)
    }
}

/// Configuration mechanism 1 on top of it.
pub struct Ports {
    hierarchy: Hierarchy,
    address: u32,
}

impl Ports {
    pub fn new(hierarchy: Hierarchy) -> Self {
        Self {
            hierarchy,
            address: 0,
        }
    }
}

impl Registers for Ports {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        assert!((4..8).contains(&offset) && self.address >> 31 == 1);
        let (function, at) = (self.address >> 8 & 0xffff, self.address & 0xfc);
        self.hierarchy
            .read(u64::from(function) << 12 | u64::from(at) | offset & 3, width)
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        if offset == 0 {
            assert_eq!((width, value & 3), (Width::Four, 0));
            self.address = value;
            return Ok(());
        }
        let (function, at) = (self.address >> 8 & 0xffff, self.address & 0xfc);
        let place = u64::from(function) << 12 | u64::from(at) | offset & 3;
        self.hierarchy.write(place, width, value)
    }
}
