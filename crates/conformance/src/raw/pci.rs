//! The capability list of a PCI function, as it stands there: nothing is left out because no driver would use it.

use ringwright_driver::TransportError;
use ringwright_driver::transport::Registers;
use ringwright_spec::pci::header::{self, capability, status};
use ringwright_spec::pci::{self, Cap, Cap64, CfgType};

/// Capabilities that fit the configuration space: a list with more goes round in circles.
const MOST: usize = (header::CONVENTIONAL_SIZE - header::SIZE) / 4;

/// The capabilities of a function that checks are about.
#[derive(Clone, Debug, Default)]
pub struct Capabilities {
    /// Virtio Structure PCI Capabilities (section 4.1.4), in their order.
    pub structures: Vec<Structure>,
    /// Offset of the MSI-X capability.
    pub msix: Option<u64>,
}

/// A Virtio Structure PCI Capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Structure {
    /// Its offset in the configuration space.
    pub at: u64,
    /// `cap_len`.
    pub cap_len: u8,
    /// `cfg_type`.
    pub cfg_type: CfgType,
    /// `bar`; of vendor data, the low half of `vendor_id`.
    pub bar: u8,
    /// `id`; of vendor data, the high half of `vendor_id`.
    pub id: u8,
    /// `offset`, with its high half for shared memory.
    pub offset: u64,
    /// `length`, with its high half for shared memory.
    pub length: u64,
}

impl Capabilities {
    /// Those of the function with configuration space `config`.
    pub fn read(config: &mut impl Registers) -> Result<Self, TransportError> {
        let mut capabilities = Self::default();
        if config.read16(header::STATUS as u64)? & status::CAPABILITIES == 0 {
            return Ok(capabilities);
        }
        let mut next = config.read8(header::CAPABILITIES as u64)?;
        for _ in 0..MOST {
            let at = u64::from(next & !3);
            if at < header::SIZE as u64 {
                break;
            }
            next = config.read8(at + 1)?;
            match config.read8(at)? {
                pci::CAP_ID_VNDR => capabilities.structures.push(Structure::read(config, at)?),
                capability::MSIX => capabilities.msix = Some(at),
                _ => {}
            }
        }
        Ok(capabilities)
    }

    /// The first structure of a type.
    pub fn structure(&self, cfg_type: CfgType) -> Option<&Structure> {
        self.of(cfg_type).next()
    }

    /// All structures of a type.
    pub fn of(&self, cfg_type: CfgType) -> impl Iterator<Item = &Structure> {
        self.structures
            .iter()
            .filter(move |structure| structure.cfg_type == cfg_type)
    }
}

impl Structure {
    fn read(config: &mut impl Registers, at: u64) -> Result<Self, TransportError> {
        let [kind, place, offset, length] = words(config, at)?;
        let [_, _, cap_len, cfg_type] = kind.to_le_bytes();
        let [bar, id, ..] = place.to_le_bytes();
        let cfg_type = CfgType(cfg_type);
        let high = match cfg_type == CfgType::SHARED_MEMORY_CFG && usize::from(cap_len) >= size_of::<Cap64>()
        {
            true => words(config, at + size_of::<Cap>() as u64)?,
            false => [0; 2],
        };
        Ok(Self {
            at,
            cap_len,
            cfg_type,
            bar,
            id,
            offset: u64::from(high[0]) << 32 | u64::from(offset),
            length: u64::from(high[1]) << 32 | u64::from(length),
        })
    }
}

fn words<const N: usize>(config: &mut impl Registers, at: u64) -> Result<[u32; N], TransportError> {
    let mut words = [0; N];
    for (word, offset) in words.iter_mut().zip((at..).step_by(4)) {
        *word = config.read32(offset)?;
    }
    Ok(words)
}
