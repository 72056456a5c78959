//! The machine's memory.

use crate::AccessFault;
use ringwright_memory::{MapError, Mapping, MappingError, Memory, Region, Word, Words};
use std::sync::Arc;

/// The machine's memory: one range of physical addresses, shared with devices through its [`Region`].
#[derive(Debug)]
pub struct Ram {
    base: u64,
    words: Words,
    memory: Memory,
    region: Region,
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RamError {
    /// The range is not made of whole pages, is empty, or does not end within the 56 bits of a physical address.
    #[error("memory of {length:#x} bytes at {base:#x}: whole pages within 56 bits of address are expected")]
    Range {
        /// First physical address.
        base: u64,
        /// Length in bytes.
        length: u64,
    },
    /// The host gives no such memory.
    #[error("the host gives no {length:#x} bytes of memory")]
    Mapping {
        /// Length in bytes.
        length: u64,
        /// What the host said.
        source: MappingError,
    },
    /// The memory cannot be placed there.
    #[error(transparent)]
    Map(#[from] MapError),
}

impl Ram {
    /// `length` bytes of memory, all zero, at physical address `base`; both are multiples of 4096. The memory is a memfd,
    /// so that a device in another process can be given it.
    pub fn new(base: u64, length: u64) -> Result<Self, RamError> {
        let bad_range = RamError::Range { base, length };
        let Some(size) = usize::try_from(length).ok().filter(|&size| size != 0) else {
            return Err(bad_range);
        };
        let end = base.checked_add(length).filter(|&end| end <= 1 << 56);
        if end.is_none() || !(base | length).is_multiple_of(4096) {
            return Err(bad_range);
        }
        let mapping = Mapping::memfd("ringwright-machine", size)
            .map_err(|source| RamError::Mapping { length, source })?;
        let region = Region::new(base, Arc::new(mapping));
        let words = Words::new(&region).ok_or(bad_range)?;
        let memory = Memory::new(vec![region.clone()])?;
        Ok(Self {
            base,
            words,
            memory,
            region,
        })
    }

    /// First physical address.
    pub fn base(&self) -> u64 {
        self.base
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        self.words.len()
    }

    /// Whether there is no memory; there always is.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The memory as devices are given it.
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// Fills `into` from physical `address` on. Nothing is read if not all of the range is memory.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), AccessFault> {
        self.check(address, into.len())?;
        self.memory.read(address, into).map_err(|_| AccessFault)
    }

    /// Writes `from` from physical `address` on. Nothing is written if not all of the range is memory.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), AccessFault> {
        self.check(address, from.len())?;
        self.memory.write(address, from).map_err(|_| AccessFault)
    }

    /// The aligned word at physical `address`.
    pub fn load<W: Word>(&self, address: u64) -> Result<W, AccessFault> {
        self.words
            .load(address.wrapping_sub(self.base))
            .ok_or(AccessFault)
    }

    /// Puts `value` at physical `address`, which is aligned.
    pub fn store<W: Word>(&self, address: u64, value: W) -> Result<(), AccessFault> {
        self.words
            .store(address.wrapping_sub(self.base), value)
            .ok_or(AccessFault)
    }

    /// The memory as words at offsets from [`base`](Self::base).
    pub(crate) fn words(&self) -> &Words {
        &self.words
    }

    /// Whether all of the `length` bytes at `address` are memory.
    fn check(&self, address: u64, length: usize) -> Result<(), AccessFault> {
        let offset = address.checked_sub(self.base).ok_or(AccessFault)?;
        let left = self.len().checked_sub(offset).ok_or(AccessFault)?;
        if length as u64 > left {
            return Err(AccessFault);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_pages_within_the_address_space() {
        for (base, length) in [
            (0x8000_0000, 0),
            (0x8000_0000, 0x1800),
            (0x8000_0800, 0x1000),
            ((1 << 56) - 0x1000, 0x2000),
            (u64::MAX - 0xfff, 0x1000),
        ] {
            assert!(
                matches!(Ram::new(base, length), Err(RamError::Range { .. })),
                "{base:#x}"
            );
        }
        assert!(Ram::new((1 << 56) - 0x1000, 0x1000).is_ok());
    }

    #[test]
    fn bytes_and_words_are_the_same_memory() {
        let ram = Ram::new(0x8000_0000, 0x2000).unwrap();
        ram.write(0x8000_0ffe, &[1, 2, 3, 4]).unwrap();
        assert_eq!(ram.load::<u16>(0x8000_1000), Ok(0x0403));
        ram.store(0x8000_0ff8, 0x0102_0304_0506_0708_u64).unwrap();
        let mut bytes = [0; 3];
        ram.read(0x8000_0ffe, &mut bytes).unwrap();
        assert_eq!(bytes, [2, 1, 3]);
    }

    #[test]
    fn nothing_happens_where_memory_ends() {
        let ram = Ram::new(0x8000_0000, 0x1000).unwrap();
        assert_eq!(ram.write(0x8000_0ffe, &[1, 2, 3]), Err(AccessFault));
        assert_eq!(ram.load::<u16>(0x8000_0ffe), Ok(0));
        assert_eq!(ram.read(0x7fff_ffff, &mut [0, 0]), Err(AccessFault));
        assert_eq!(ram.read(u64::MAX, &mut [0, 0]), Err(AccessFault));
        assert_eq!(ram.load::<u64>(0x8000_1000), Err(AccessFault));
        assert_eq!(ram.load::<u64>(0x7fff_fff8), Err(AccessFault));
        assert_eq!(ram.store(0x8000_0002, 1_u32), Err(AccessFault), "misaligned");
        assert_eq!(ram.read(0x8000_1000, &mut []), Ok(()));
    }
}
