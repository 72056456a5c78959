//! The capability list of a function, of which nothing is believed: Virtio Structure PCI Capabilities (section 4.1.4), and
//! MSI-X.

use alloc::vec::Vec;

use ringwright_spec::pci::header::{self, capability, msix, status};
use ringwright_spec::pci::{self, Cap, Cap64, CfgCap, CfgType, NotifyCap};

use super::{Bar, Space};
use crate::transport::{Registers, TransportError};

/// Capabilities that fit the configuration space: a list with more goes round in circles.
const MOST: usize = (header::CONVENTIONAL_SIZE - header::SIZE) / 4;

/// A part of a BAR that a structure takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// Number of the BAR.
    pub bar: u8,
    /// First byte within the BAR.
    pub offset: u64,
    /// Length in bytes.
    pub length: u64,
    /// Address space of the BAR.
    pub space: Space,
    /// Address of the first byte on the bus. `None` if the BAR has been given no address.
    pub address: Option<u64>,
}

/// What the capability list tells. Of each structure there may be several, the device's favourite first.
#[derive(Debug, Default)]
pub(super) struct Capabilities {
    /// Whether there is any Virtio Structure PCI Capability, usable or not: if not, it is a legacy device.
    pub is_modern: bool,
    pub common: Vec<Region>,
    /// With their `notify_off_multiplier`.
    pub notify: Vec<(Region, u32)>,
    pub isr: Vec<Region>,
    pub device: Vec<Region>,
    /// With their ids.
    pub shared_memory: Vec<(u8, Region)>,
    /// Offset of a PCI configuration access capability.
    pub window: Option<u64>,
    /// Offset of the MSI-X capability.
    pub msix: Option<u64>,
}

impl Capabilities {
    /// Walks the list of the function with configuration space `config` and base address registers `bars`.
    pub fn read(config: &mut impl Registers, bars: &[Bar]) -> Result<Self, TransportError> {
        let mut capabilities = Self::default();
        if config.read16(header::STATUS as u64)? & status::CAPABILITIES == 0 {
            return Ok(capabilities);
        }
        let mut next = config.read8(header::CAPABILITIES as u64)?;
        for _ in 0..MOST {
            // The two low bits are reserved, and the header is no place for capabilities.
            let offset = next & !3;
            if usize::from(offset) < header::SIZE {
                break;
            }
            let id = config.read8(offset.into())?;
            next = config.read8(u64::from(offset) + 1)?;
            match id {
                pci::CAP_ID_VNDR => capabilities.add_structure(config, offset, bars)?,
                // The first one, whole.
                capability::MSIX if usize::from(offset) + msix::SIZE <= header::CONVENTIONAL_SIZE => {
                    capabilities.msix.get_or_insert(offset.into());
                }
                _ => {}
            }
        }
        Ok(capabilities)
    }

    /// Adds the structure that the vendor-specific capability at `offset` locates, if it can be used. The order of
    /// preference is that of the list (`drv:pci:virtio-structure-pci-capabilities:02`).
    fn add_structure(
        &mut self,
        config: &mut impl Registers,
        offset: u8,
        bars: &[Bar],
    ) -> Result<(), TransportError> {
        let room = header::CONVENTIONAL_SIZE - usize::from(offset);
        if room < size_of::<Cap>() {
            return Ok(());
        }
        let cap: [u32; size_of::<Cap>() / 4] = read_words(config, offset.into())?;
        let cap: Cap = zerocopy::transmute!(cap.map(u32::to_le_bytes));
        // drv:pci:virtio-structure-pci-capabilities:03: longer ones are fine.
        let length = usize::from(cap.cap_len).min(room);
        if length < size_of::<Cap>() {
            return Ok(());
        }
        self.is_modern = true;
        // What follows is read only where it is known to be no window: drv:pci:pci-configuration-access-capability:02.
        let extra = u64::from(offset) + size_of::<Cap>() as u64;
        let region = |offset, length| Region::new(bars, cap.bar, offset, length);
        let structure = |least, align| {
            region(cap.offset.get().into(), cap.length.get().into())
                .filter(|region| region.length >= least && region.offset.is_multiple_of(align))
        };
        // drv:pci:virtio-structure-pci-capabilities:01: any other is ignored.
        match CfgType(cap.cfg_type) {
            CfgType::COMMON_CFG => {
                // As long as devices of version 1.0 have it; what comes after is there with its features.
                let least = pci::common_cfg::QUEUE_NOTIF_CONFIG_DATA;
                self.common.extend(structure(least, pci::COMMON_CFG_ALIGN.into()));
            }
            CfgType::NOTIFY_CFG if length >= size_of::<NotifyCap>() => {
                let size = u64::from(pci::NOTIFY_SIZE);
                let [multiplier] = read_words(config, extra)?;
                self.notify
                    .extend(structure(size, size).map(|region| (region, multiplier)));
            }
            CfgType::ISR_CFG => self.isr.extend(structure(1, 1)),
            CfgType::DEVICE_CFG => self.device.extend(structure(1, pci::DEVICE_CFG_ALIGN.into())),
            CfgType::PCI_CFG if length >= size_of::<CfgCap>() => {
                self.window.get_or_insert(offset.into());
            }
            CfgType::SHARED_MEMORY_CFG if length >= size_of::<Cap64>() => {
                let wide = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
                let [offset_hi, length_hi] = read_words(config, extra)?;
                let offset = wide(cap.offset.get(), offset_hi);
                let length = wide(cap.length.get(), length_hi);
                // dev:pci:shared-memory-capability:01, dev:pci:shared-memory-capability:02: within the BAR, each id once.
                let is_new = self.shared_memory.iter().all(|(id, _)| *id != cap.id);
                let memory = region(offset, length).filter(|region| region.length == length && is_new);
                self.shared_memory.extend(memory.map(|region| (cap.id, region)));
            }
            _ => {}
        }
        Ok(())
    }
}

/// The words of configuration space from `offset` on.
fn read_words<const N: usize>(config: &mut impl Registers, offset: u64) -> Result<[u32; N], TransportError> {
    let mut words = [0; N];
    for (word, offset) in words.iter_mut().zip((offset..).step_by(4)) {
        *word = config.read32(offset)?;
    }
    Ok(words)
}

impl Region {
    /// The bytes of a BAR that a device names. `None` if there is no such BAR
    /// (`drv:pci:virtio-structure-pci-capabilities:04`) or if they do not begin within it. A length beyond its end is cut
    /// (`drv:pci:virtio-structure-pci-capabilities:06`).
    pub(super) fn new(bars: &[Bar], index: u8, offset: u64, length: u64) -> Option<Self> {
        let bar = bars.iter().find(|bar| bar.index == index)?;
        let room = bar.length.checked_sub(offset)?;
        Some(Self {
            bar: index,
            offset,
            length: length.min(room),
            space: bar.space,
            address: match bar.address {
                0 => None,
                address => Some(address.checked_add(offset)?),
            },
        })
    }
}
