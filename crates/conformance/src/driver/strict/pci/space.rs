//! The configuration space of a strict PCI function.

use std::mem::offset_of;

use ringwright_device::transport::pci::{Bar, BarKind};
use ringwright_memory::Width;
use ringwright_spec::feature;
use ringwright_spec::pci::header::{self, bar, capability, command, msix, sr_iov, status};
use ringwright_spec::pci::{self as spec, Cap, CfgCap, CfgType, CommonCfg};

use super::{DEVICE_START, ISR_START, MULTIPLIER, NOTHING_START, NOTIFY_START, SECOND_START, VECTORS_START};
use crate::driver::past::Past;
use crate::driver::scenario::Oddity;

/// The BAR that the structures are in.
pub(in crate::driver) const BAR_INDEX: u8 = 4;
/// Its size, and where it is at first.
pub(in crate::driver) const BAR_SIZE: u32 = 0x10_0000;
const BAR_ADDRESS: u32 = 0xe000_0000;
const BAR_REGISTER: u64 = header::BAR0 as u64 + 4 * BAR_INDEX as u64;
/// I/O registers that a transitional device has.
pub(in crate::driver) const IO_SIZE: u32 = 0x40;
const IO_ADDRESS: u32 = 0xc000;

/// The MSI-X capability.
pub(in crate::driver) const MSIX_CAP: u64 = header::SIZE as u64;
/// The capability of the window.
pub(in crate::driver) const WINDOW_CAP: u64 = 0x50;
/// The data of the window.
pub(in crate::driver) const WINDOW_DATA: u64 = WINDOW_CAP + offset_of!(CfgCap, pci_cfg_data) as u64;
/// The first capability of the common configuration.
pub(in crate::driver) const COMMON_CAP: u64 = 0x80;
/// The SR-IOV capability, if it is there.
pub(in crate::driver) const SR_IOV_CAP: u64 = 0x100;
/// The first capability of those that stand for oddities.
const ODD_CAP: u64 = 0x68;
/// Bytes between capabilities of structures.
const STRIDE: u64 = 0x18;
/// Type that a capability has which is reserved.
pub(in crate::driver) const RESERVED_TYPE: u8 = 0x77;

/// The bytes, and which of their bits can be written.
pub(super) struct Space {
    bytes: Vec<u8>,
    writable: Vec<u8>,
}

/// Whether `length` bytes at `offset` touch a capability of virtio that nobody writes to.
pub(in crate::driver) fn is_capability(offset: u64, length: u64) -> bool {
    let end = offset + length;
    let in_window = offset >= WINDOW_CAP + 4 && end <= WINDOW_DATA + 4;
    end > WINDOW_CAP && offset < header::CONVENTIONAL_SIZE as u64 && !in_window
}

impl Space {
    pub fn new(past: &Past) -> Self {
        let mut space = Self {
            bytes: vec![0; header::EXPRESS_SIZE],
            writable: vec![0; header::EXPRESS_SIZE],
        };
        space.head(past);
        space.capabilities(past);
        space
    }

    /// Whether MSI-X is enabled.
    pub fn has_messages(&self) -> bool {
        let control = self.read(MSIX_CAP + msix::CONTROL as u64, Width::Two) as u16;
        self.bytes[MSIX_CAP as usize] == capability::MSIX && control & msix::ENABLE != 0
    }

    /// The BAR that the structures are in.
    pub fn bar(&self) -> Bar {
        let enabled = self.read(header::COMMAND as u64, Width::Two) as u16 & command::MEMORY != 0;
        let address = u64::from(self.read(BAR_REGISTER, Width::Four) & !0xf);
        Bar {
            index: BAR_INDEX,
            kind: BarKind::Memory32,
            prefetchable: false,
            size: BAR_SIZE.into(),
            address: enabled.then_some(address),
        }
    }

    /// Takes the BAR's address away, for a machine without firmware that has set it.
    pub fn unset_bar(&mut self) {
        self.write(BAR_REGISTER, Width::Four, 0);
    }

    /// Reads; ones beyond the end.
    pub fn read(&self, offset: u64, width: Width) -> u32 {
        let mut value = [0; 4];
        for (byte, place) in value[..width.bytes()].iter_mut().zip(offset as usize..) {
            *byte = self.bytes.get(place).copied().unwrap_or(0xff);
        }
        u32::from_le_bytes(value)
    }

    /// Writes what can be written.
    pub fn write(&mut self, offset: u64, width: Width, value: u32) {
        let value = value.to_le_bytes();
        for (byte, place) in value[..width.bytes()].iter().zip(offset as usize..) {
            if let (Some(into), Some(mask)) = (self.bytes.get_mut(place), self.writable.get(place)) {
                *into = *into & !mask | byte & mask;
            }
        }
    }

    fn head(&mut self, past: &Past) {
        let oddity = past.scenario.function.oddity;
        let transitional = past.device.transitional_pci_id;
        let modern = spec::device_id(past.device.id).unwrap_or_default();
        let (id, revision) = match (oddity, transitional) {
            (Oddity::Transitional, Some(id)) => (id, 0),
            (Oddity::Revision, _) => (modern, 0x5a),
            _ => (modern, spec::NON_TRANSITIONAL_REVISION_ID),
        };
        self.put(header::VENDOR_ID, &spec::VENDOR_ID.to_le_bytes());
        self.put(header::DEVICE_ID, &id.to_le_bytes());
        self.put(header::STATUS, &status::CAPABILITIES.to_le_bytes());
        self.put(header::REVISION_ID, &[revision]);
        // Unclassified, of no base class: an operating system sets up nothing that has no class at all.
        self.put(header::CLASS_CODE, &[0, 0, 0xff]);
        let subsystem: u16 = match oddity {
            // Section 4.1.2.3: it is the virtio device id.
            Oddity::Transitional => past.device.id as u16,
            Oddity::Revision => 0xabcd,
            _ => 0x40,
        };
        self.put(header::SUBSYSTEM_VENDOR_ID, &spec::VENDOR_ID.to_le_bytes());
        self.put(header::SUBSYSTEM_ID, &subsystem.to_le_bytes());
        self.put(header::CAPABILITIES, &[MSIX_CAP as u8]);
        let answers = command::IO | command::MEMORY | command::BUS_MASTER | command::INTX_DISABLE;
        self.allow(header::COMMAND, &answers.to_le_bytes());
        self.allow(header::INTERRUPT_LINE, &[0xff]);
        self.put(header::INTERRUPT_PIN, &[1]);
        self.put(BAR_REGISTER as usize, &BAR_ADDRESS.to_le_bytes());
        self.allow(BAR_REGISTER as usize, &(!(BAR_SIZE - 1)).to_le_bytes());
        if oddity == Oddity::Transitional {
            self.put(header::BAR0, &(IO_ADDRESS | bar::IO).to_le_bytes());
            self.allow(header::BAR0, &(!(IO_SIZE - 1)).to_le_bytes());
        }
    }

    fn capabilities(&mut self, past: &Past) {
        let function = &past.scenario.function;
        let oddity = function.oddity;
        // Without MSI-X the capability is one that nobody knows.
        let id = if function.vectors == 0 {
            0
        } else {
            capability::MSIX
        };
        self.put(MSIX_CAP as usize, &[id, WINDOW_CAP as u8]);
        let control = function.vectors.saturating_sub(1);
        self.put(MSIX_CAP as usize + msix::CONTROL, &control.to_le_bytes());
        let writable = msix::ENABLE | msix::FUNCTION_MASK;
        self.allow(MSIX_CAP as usize + msix::CONTROL, &writable.to_le_bytes());
        let table = VECTORS_START as u32 | u32::from(BAR_INDEX);
        self.put(MSIX_CAP as usize + msix::TABLE, &table.to_le_bytes());
        let pending = 0x5000 | u32::from(BAR_INDEX);
        self.put(MSIX_CAP as usize + msix::PENDING, &pending.to_le_bytes());

        let is_odd = matches!(oddity, Oddity::ReservedType | Oddity::ReservedBar);
        let after_window = if is_odd { ODD_CAP } else { COMMON_CAP };
        let window = Structure::of(CfgType::PCI_CFG, 0, 0);
        self.structure(WINDOW_CAP, after_window, oddity, window);
        // BAR, offset, length; the data is no memory.
        self.allow(WINDOW_CAP as usize + 4, &[0xff, 0, 0, 0]);
        self.allow(WINDOW_CAP as usize + 8, &[0xff; 8]);
        if is_odd {
            let mut odd = Structure::of(CfgType::COMMON_CFG, NOTHING_START, 0x1000);
            match oddity {
                Oddity::ReservedType => odd.cfg_type = CfgType(RESERVED_TYPE),
                _ => odd.bar = 7,
            }
            self.structure(ODD_CAP, COMMON_CAP, oddity, odd);
        }

        let large = |length: u64| match oddity {
            Oddity::LargeStructures => 0x1000,
            _ => length,
        };
        let config = match oddity {
            Oddity::LargeConfig => 0x2000,
            _ => past.device.config_size as u64,
        };
        let notify = u64::from(MULTIPLIER) * (u64::from(past.administration) + 1);
        let mut all = vec![
            Structure::of(CfgType::COMMON_CFG, 0, large(size_of::<CommonCfg>() as u64)),
            Structure::of(CfgType::NOTIFY_CFG, NOTIFY_START, large(notify)),
            Structure::of(CfgType::ISR_CFG, ISR_START, large(1)),
        ];
        if config != 0 {
            all.push(Structure::of(CfgType::DEVICE_CFG, DEVICE_START, config));
        }
        if oddity == Oddity::Twice {
            let second = Structure::of(CfgType::COMMON_CFG, SECOND_START, size_of::<CommonCfg>() as u64);
            all.push(second);
        }
        let last = all.len() - 1;
        for (number, structure) in all.into_iter().enumerate() {
            let at = COMMON_CAP + STRIDE * number as u64;
            let next = if number == last { 0 } else { at + STRIDE };
            self.structure(at, next, oddity, structure);
        }
        if past.offered.contains(feature::SR_IOV) {
            let word = header::extended_capability(capability::SR_IOV, 1, 0);
            self.put(SR_IOV_CAP as usize, &word.to_le_bytes());
            let control = sr_iov::VF_ENABLE | sr_iov::VF_MEMORY;
            self.allow(SR_IOV_CAP as usize + sr_iov::CONTROL, &control.to_le_bytes());
        }
    }

    fn structure(&mut self, at: u64, next: u64, oddity: Oddity, structure: Structure) {
        let extra = match structure.cfg_type {
            CfgType::NOTIFY_CFG | CfgType::PCI_CFG => 4,
            _ => 0,
        };
        let length = match oddity {
            Oddity::LongCapabilities => STRIDE as usize,
            _ => size_of::<Cap>() + extra,
        };
        let at = at as usize;
        let head = [spec::CAP_ID_VNDR, next as u8, length as u8, structure.cfg_type.0];
        self.put(at, &head);
        self.put(at + 4, &[structure.bar]);
        self.put(at + 8, &(structure.offset as u32).to_le_bytes());
        self.put(at + 12, &(structure.length as u32).to_le_bytes());
        if structure.cfg_type == CfgType::NOTIFY_CFG {
            self.put(at + 16, &MULTIPLIER.to_le_bytes());
        }
    }

    fn put(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    fn allow(&mut self, offset: usize, bits: &[u8]) {
        self.writable[offset..offset + bits.len()].copy_from_slice(bits);
    }
}

/// What a capability says of a structure.
struct Structure {
    cfg_type: CfgType,
    bar: u8,
    offset: u64,
    length: u64,
}

impl Structure {
    const fn of(cfg_type: CfgType, offset: u64, length: u64) -> Self {
        Self {
            cfg_type,
            bar: BAR_INDEX,
            offset,
            length,
        }
    }
}
