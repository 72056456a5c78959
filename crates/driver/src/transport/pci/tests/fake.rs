//! A function that checks what the document demands of drivers, and can lie.

mod structures;

use alloc::rc::Rc;
use core::cell::{RefCell, RefMut};
use core::ops::Range;
use std::vec;
use std::vec::Vec;

use ringwright_memory::Width;
use ringwright_spec::pci::header::{self, bar, command, msix, status};
use ringwright_spec::pci::{self, CfgType};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use crate::testing::model::Model;
use crate::transport::{Registers, TransportError};

use super::super::{Region, Space};

/// BARs: of the legacy interface, of MSI-X, of the structures.
pub const IO_BAR: u8 = 0;
pub const MSIX_BAR: u8 = 1;
pub const BAR: u8 = 4;

/// Offsets of the structures in their BAR.
pub const COMMON: u32 = 0;
pub const ISR: u32 = 0x1000;
pub const DEVICE: u32 = 0x2000;
pub const NOTIFY: u32 = 0x3000;

/// What every modern device here offers besides the features of its type.
pub const MODERN: Features = feature::VERSION_1.union(feature::RING_RESET);

/// The function; clones are the same one.
#[derive(Clone)]
pub struct Fake(Rc<RefCell<Board>>);

/// What is behind it.
pub struct Board {
    pub model: Model,
    pub config: Vec<u8>,
    /// Index, the flags of the register, length.
    pub bars: Vec<(u8, u32, u64)>,
    /// Capabilities from 0x40 on, without their links.
    pub capabilities: Vec<Vec<u8>>,
    /// Of each virtqueue.
    pub notify_off: Vec<u16>,
    pub notif_config_data: Vec<u16>,
    /// MSI-X vectors.
    pub table: Vec<[u32; 4]>,
    /// Vectors to which nothing can be mapped, and what is said instead.
    pub unmappable: Vec<u16>,
    pub answer: u16,
    pub config_vector: u16,
    pub isr: u8,
    /// Whether the platform leads to I/O space and to memory space.
    pub reaches: [bool; 2],
    /// Accesses: BAR (or 0xff for configuration space) and offset.
    pub log: Vec<(u8, u64)>,
    pub faults: Range<usize>,
    device_feature_select: Option<u32>,
    driver_feature_select: Option<u32>,
    /// A vector was written, and is to be read back.
    awaits_vector: Option<u64>,
    /// It has been pulled out.
    pub gone: bool,
}

/// Its configuration space.
#[derive(Clone)]
pub struct ConfigSpace(pub Fake);

/// Registers in its BARs.
pub struct BarSpace {
    fake: Fake,
    bar: u8,
    offset: u64,
}

impl Fake {
    /// A device that is not transitional.
    pub fn modern(id: u32, offered: Features, sizes: &[u16]) -> Self {
        let fake = Self::new(id, pci::device_id(id).unwrap(), 1, offered, sizes);
        fake.board().add_modern();
        fake.board().seal();
        fake
    }

    pub fn transitional(id: u32, offered: Features, sizes: &[u16]) -> Self {
        let fake = Self::new(id, transitional_id(id), 0, offered, sizes);
        fake.board().bars.insert(0, (IO_BAR, bar::IO, 0x80));
        fake.board().add_modern();
        fake.board().seal();
        fake
    }

    pub fn legacy(id: u32, offered: Features, sizes: &[u16]) -> Self {
        let fake = Self::new(id, transitional_id(id), 0, offered, sizes);
        fake.board().bars.insert(0, (IO_BAR, bar::IO, 0x80));
        fake.board().model.legacy = true;
        fake.board().seal();
        fake
    }

    fn new(id: u32, device_id: u16, revision: u8, offered: Features, sizes: &[u16]) -> Self {
        let mut config = vec![0; header::CONVENTIONAL_SIZE];
        config[..2].copy_from_slice(&pci::VENDOR_ID.to_le_bytes());
        config[2..4].copy_from_slice(&device_id.to_le_bytes());
        config[header::REVISION_ID] = revision;
        config[header::INTERRUPT_PIN] = 1;
        Self(Rc::new(RefCell::new(Board {
            model: Model::new(id, offered, sizes),
            config,
            bars: vec![(MSIX_BAR, 0, 0x1000)],
            capabilities: vec![[0x11, 0, 3, 0, MSIX_BAR, 0, 0, 0, MSIX_BAR, 8, 0, 0].to_vec()],
            notify_off: (0..sizes.len() as u16).collect(),
            notif_config_data: (0..sizes.len() as u16).map(|index| 0x700 + index).collect(),
            table: vec![[0, 0, 0, 1]; 4],
            unmappable: Vec::new(),
            answer: pci::MSI_NO_VECTOR,
            config_vector: pci::MSI_NO_VECTOR,
            isr: 0,
            reaches: [true; 2],
            log: Vec::new(),
            faults: 0..0,
            device_feature_select: None,
            driver_feature_select: None,
            awaits_vector: None,
            gone: false,
        })))
    }

    pub fn board(&self) -> RefMut<'_, Board> {
        self.0.borrow_mut()
    }

    /// The way to the registers of a region.
    pub fn map(&self) -> impl FnMut(&Region) -> Option<BarSpace> + use<> {
        let fake = self.clone();
        move |region| {
            let [io, memory] = fake.board().reaches;
            let reached = match region.space {
                Space::Io => io,
                Space::Memory => memory,
            };
            let (bar, offset) = (region.bar, region.offset);
            let fake = fake.clone();
            reached.then_some(BarSpace { fake, bar, offset })
        }
    }
}

fn transitional_id(id: u32) -> u16 {
    let types = ringwright_spec::device_type::ids();
    let found = types.into_iter().find(|found| found.id == id);
    found.and_then(|found| found.transitional_pci_id).unwrap()
}

/// A Virtio Structure PCI Capability.
pub fn capability(cfg_type: CfgType, bar: u8, id: u8, offset: u32, length: u32, extra: &[u32]) -> Vec<u8> {
    let mut bytes = vec![
        pci::CAP_ID_VNDR,
        0,
        16 + 4 * extra.len() as u8,
        cfg_type.0,
        bar,
        id,
        0,
        0,
    ];
    for word in [offset, length].iter().chain(extra) {
        bytes.extend(word.to_le_bytes());
    }
    bytes
}

impl Board {
    fn add_modern(&mut self) {
        self.bars.push((BAR, bar::MEMORY_64 | bar::PREFETCHABLE, 0x4000));
        self.capabilities.extend([
            capability(CfgType::COMMON_CFG, BAR, 0, COMMON, 64, &[]),
            capability(CfgType::ISR_CFG, BAR, 0, ISR, 1, &[]),
            capability(CfgType::DEVICE_CFG, BAR, 0, DEVICE, 64, &[]),
            capability(CfgType::NOTIFY_CFG, BAR, 0, NOTIFY, 0x100, &[4]),
            capability(CfgType::PCI_CFG, 0, 0, 0, 0, &[0]),
        ]);
    }

    /// Writes the capabilities, linked, and gives the BARs their addresses.
    pub fn seal(&mut self) {
        let mut at = header::SIZE;
        self.config[at..].fill(0);
        self.config[header::STATUS] = status::CAPABILITIES as u8;
        self.config[header::CAPABILITIES] = at as u8;
        for (number, capability) in self.capabilities.iter().enumerate() {
            let next = at + capability.len().next_multiple_of(4);
            self.config[at..at + capability.len()].copy_from_slice(capability);
            if number + 1 < self.capabilities.len() {
                self.config[at + 1] = next as u8;
            }
            at = next;
        }
        for (index, flags, _) in self.bars.clone() {
            let register = header::BAR0 + 4 * usize::from(index);
            let address = (0xe000_0000 + 0x10_0000 * u32::from(index)) | flags;
            let address = if flags & bar::IO != 0 { 0xc001 } else { address };
            self.config[register..][..4].copy_from_slice(&address.to_le_bytes());
        }
        let size = self.table.len() as u16 - 1;
        if let Some(capability) = self.msix() {
            self.config[capability + 2..][..2].copy_from_slice(&size.to_le_bytes());
        }
    }

    /// Offset of the first capability with such an id and type.
    fn find(&self, id: u8, cfg_type: Option<CfgType>) -> Option<usize> {
        let mut at = header::SIZE;
        for capability in &self.capabilities {
            if capability[0] == id && cfg_type.is_none_or(|cfg_type| capability[3] == cfg_type.0) {
                return Some(at);
            }
            at += capability.len().next_multiple_of(4);
        }
        None
    }

    fn msix(&self) -> Option<usize> {
        self.find(header::capability::MSIX, None)
    }

    pub fn msix_enabled(&self) -> bool {
        self.msix()
            .is_some_and(|at| self.config16(at + msix::CONTROL) & msix::ENABLE != 0)
    }

    pub fn config16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.config[at], self.config[at + 1]])
    }

    fn begin(&mut self, bar: u8, offset: u64) -> Result<(), TransportError> {
        let number = self.log.len();
        self.log.push((bar, offset));
        match self.faults.contains(&number) {
            true => {
                self.awaits_vector = None;
                Err(TransportError::Os(5))
            }
            false => Ok(()),
        }
    }

    /// Where a register of a BAR is written: the writable bits.
    fn bar_mask(&self, at: usize) -> Option<u32> {
        self.bars.iter().find_map(|(index, flags, length)| {
            let register = header::BAR0 + 4 * usize::from(*index);
            let mask = !(length - 1);
            let is_64_bit = *flags & bar::IO == 0 && flags & bar::MEMORY_WIDTH == bar::MEMORY_64;
            match at.checked_sub(register) {
                Some(0) => Some(mask as u32 & !0xf),
                Some(4) if is_64_bit => Some((mask >> 32) as u32),
                _ => None,
            }
        })
    }

    fn write_config(&mut self, at: usize, width: Width, value: u32) {
        let bytes = &value.to_le_bytes()[..width.bytes()];
        let window = self.find(pci::CAP_ID_VNDR, Some(CfgType::PCI_CFG));
        let within_window = window.is_some_and(|window| (window + 4..window + 20).contains(&at));
        if at == header::COMMAND {
            assert_eq!(width, Width::Two);
            self.config[at..at + 2].copy_from_slice(bytes);
        } else if (header::BAR0..header::BAR0 + 24).contains(&at) {
            assert_eq!(width, Width::Four);
            let decodes = self.config16(header::COMMAND) & (command::IO | command::MEMORY);
            assert_eq!(decodes, 0, "a BAR is measured while the function does not answer");
            let Some(mask) = self.bar_mask(at) else { return };
            let old = u32::from_le_bytes(self.config[at..at + 4].try_into().unwrap());
            let new = old & !mask | value & mask;
            self.config[at..at + 4].copy_from_slice(&new.to_le_bytes());
        } else if self.msix().is_some_and(|msix| at == msix + msix::CONTROL) {
            let writable = msix::ENABLE | msix::FUNCTION_MASK;
            let new = self.config16(at) & !writable | value as u16 & writable;
            self.config[at..at + 2].copy_from_slice(&new.to_le_bytes());
        } else {
            assert!(
                within_window,
                "drv:pci:virtio-structure-pci-capabilities:07: {at:#x} is not for drivers"
            );
            self.config[at..at + width.bytes()].copy_from_slice(bytes);
        }
    }

    /// Where the window leads to, if this is an access through it.
    fn through_window(&self, at: usize, width: Width) -> Option<(u8, u64)> {
        let window = self.find(pci::CAP_ID_VNDR, Some(CfgType::PCI_CFG))?;
        if at != window + 16 {
            return None;
        }
        let word = |at: usize| u32::from_le_bytes(self.config[at..at + 4].try_into().unwrap());
        let (bar, offset, length) = (self.config[window + 4], word(window + 8), word(window + 12));
        assert_eq!(length, width as u32, "section 4.1.4.9: as long as it says");
        assert_eq!(
            offset % length,
            0,
            "drv:pci:pci-configuration-access-capability:01: aligned"
        );
        let named = self.capabilities.iter().any(|capability| {
            let word = |at: usize| u32::from_le_bytes(capability[at..at + 4].try_into().unwrap());
            capability[0] == pci::CAP_ID_VNDR
                && capability[3] != CfgType::PCI_CFG.0
                && capability[4] == bar
                && word(8) <= offset
                && offset + length <= word(8).saturating_add(word(12))
        });
        assert!(
            named,
            "drv:pci:pci-configuration-access-capability:02: no capability names {bar} {offset:#x}"
        );
        Some((bar, offset.into()))
    }

    /// Checks an access to a BAR from the bus.
    fn check_decode(&self, bar: u8) {
        let (_, flags, _) = self.bars.iter().find(|(index, ..)| *index == bar).unwrap();
        let needed = if flags & bar::IO != 0 {
            command::IO
        } else {
            command::MEMORY
        };
        assert_ne!(self.config16(header::COMMAND) & needed, 0, "the function answers");
        assert_ne!(self.config16(header::COMMAND) & command::BUS_MASTER, 0);
    }

    /// Uses the device's legacy interface from now on: nothing of it is known through the other.
    pub fn choose_legacy(&mut self) {
        self.model.legacy = true;
        self.model.status = Status::NONE;
    }
}

impl Registers for ConfigSpace {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut board = self.0.board();
        board.begin(0xff, offset)?;
        if board.gone {
            return Ok(u32::MAX >> (32 - 8 * width as u32));
        }
        let at = offset as usize;
        if let Some((bar, offset)) = board.through_window(at, width) {
            return Ok(board.read_bar(bar, offset, width));
        }
        let bytes = board.config[at..at + width.bytes()].iter().rev();
        Ok(bytes.fold(0, |value, byte| value << 8 | u32::from(*byte)))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let mut board = self.0.board();
        board.begin(0xff, offset)?;
        match board.through_window(offset as usize, width) {
            Some((bar, offset)) => board.write_bar(bar, offset, width, value),
            None => board.write_config(offset as usize, width, value),
        }
        Ok(())
    }
}

impl Registers for BarSpace {
    fn read(&mut self, offset: u64, width: Width) -> Result<u32, TransportError> {
        let mut board = self.fake.board();
        let offset = self.offset + offset;
        board.begin(self.bar, offset)?;
        if board.gone {
            return Ok(u32::MAX >> (32 - 8 * width as u32));
        }
        board.check_decode(self.bar);
        Ok(board.read_bar(self.bar, offset, width))
    }

    fn write(&mut self, offset: u64, width: Width, value: u32) -> Result<(), TransportError> {
        let mut board = self.fake.board();
        let offset = self.offset + offset;
        board.begin(self.bar, offset)?;
        if board.gone {
            return Ok(());
        }
        board.check_decode(self.bar);
        board.write_bar(self.bar, offset, width, value);
        Ok(())
    }
}
