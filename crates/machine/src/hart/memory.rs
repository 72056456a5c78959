//! Loads, stores and fetches: translation, memory, devices.

use super::core::Core;
use super::exception::Exception;
use super::tlb::{Context, PAGE, PAGE_BITS};
use super::walk::{LEVEL_BITS, LEVELS};
use ringwright_memory::Word;

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    Fetch,
    Load,
    Store,
}

impl Access {
    pub(super) fn page_fault(self) -> Exception {
        match self {
            Self::Fetch => Exception::InstructionPageFault,
            Self::Load => Exception::LoadPageFault,
            Self::Store => Exception::StorePageFault,
        }
    }

    pub(super) fn access_fault(self) -> Exception {
        match self {
            Self::Fetch => Exception::InstructionAccessFault,
            Self::Load => Exception::LoadAccessFault,
            Self::Store => Exception::StoreAccessFault,
        }
    }
}

/// Where a virtual address leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// This offset in memory.
    Memory(u64),
    /// This physical address, which is not memory.
    Device(u64),
}

/// A word as the bus and a register see it.
pub(super) trait Data: Word + Into<u64> {
    /// The low bits of a register.
    fn truncate(value: u64) -> Self;
}

macro_rules! data {
    ($($word:ty),*) => {
        $(impl Data for $word {
            #[inline(always)]
            fn truncate(value: u64) -> Self {
                value as Self
            }
        })*
    };
}
data!(u8, u16, u32, u64);

impl Core {
    /// Loads a word from virtual `address`.
    #[inline(always)]
    pub(super) fn load<D: Data>(&mut self, address: u64) -> Result<D, Exception> {
        let found = self.loads.find(address, size_of::<D>() as u64, self.context);
        match found.and_then(|offset| self.words.load(offset)) {
            Some(word) => Ok(word),
            None => self.load_slowly(address, size_of::<D>()).map(D::truncate),
        }
    }

    /// Stores `word` at virtual `address`.
    #[inline(always)]
    pub(super) fn store<D: Data>(&mut self, address: u64, word: D) -> Result<(), Exception> {
        let found = self.stores.find(address, size_of::<D>() as u64, self.context);
        match found.and_then(|offset| self.words.store(offset, word)) {
            Some(()) => Ok(()),
            None => self.store_slowly(address, size_of::<D>(), word.into()),
        }
    }

    /// The offset in memory of the aligned word of `size` bytes at virtual `address`, for an atomic access. Atomics on
    /// devices are access faults.
    pub(super) fn place_of_atomic(
        &mut self,
        address: u64,
        size: u64,
        access: Access,
    ) -> Result<u64, Exception> {
        if !address.is_multiple_of(size) {
            self.trap_value = address;
            return Err(match access {
                Access::Store => Exception::StoreAddressMisaligned,
                _ => Exception::LoadAddressMisaligned,
            });
        }
        match self.translate(address, access)? {
            Place::Memory(offset) => Ok(offset),
            Place::Device(_) => Err(self.fail(access.access_fault(), address)),
        }
    }

    /// The place of virtual `address`, or the exception of an access there.
    pub(super) fn translate(&mut self, address: u64, access: Access) -> Result<Place, Exception> {
        let tlb = match access {
            Access::Fetch => &self.fetches,
            Access::Load => &self.loads,
            Access::Store => &self.stores,
        };
        if let Some(offset) = tlb.find(address, 1, self.context) {
            return Ok(Place::Memory(offset));
        }
        let (physical, level) = match self.walk(address, access) {
            Ok(found) => found,
            Err(exception) => return Err(self.fail(exception, address)),
        };
        let offset = physical.wrapping_sub(self.ram_base);
        if offset >= self.words.len() {
            return Ok(Place::Device(physical));
        }
        let tlb = match access {
            Access::Fetch => &mut self.fetches,
            Access::Load => &mut self.loads,
            Access::Store => &mut self.stores,
        };
        tlb.insert(address, offset, self.context);
        if level != 0 {
            self.superpages.insert(superpage(address, level));
        }
        Ok(Place::Memory(offset))
    }

    /// SFENCE.VMA for all addresses; the jumps of [`Code`](super::code::Code) have to be forgotten as well.
    pub(super) fn forget_translations(&mut self) {
        self.epoch += 1;
        if self.epoch == Context::EPOCHS {
            self.epoch = 0;
            self.fetches.clear();
            self.loads.clear();
            self.stores.clear();
        }
        self.superpages.clear();
        self.context_changed();
    }

    /// SFENCE.VMA for `address`. `false`, with nothing done, if it may be in a superpage, of which more than one page may be
    /// remembered.
    pub(super) fn forget_translation(&mut self, address: u64) -> bool {
        if (1..LEVELS).any(|level| self.superpages.may_contain(superpage(address, level))) {
            return false;
        }
        self.fetches.remove(address);
        self.loads.remove(address);
        self.stores.remove(address);
        true
    }

    /// Remembers the value for `stval`.
    pub(super) fn fail(&mut self, exception: Exception, value: u64) -> Exception {
        self.trap_value = value;
        exception
    }

    #[cold]
    #[inline(never)]
    fn load_slowly(&mut self, address: u64, size: usize) -> Result<u64, Exception> {
        let mut bytes = [0; 8];
        let into = &mut bytes[..size];
        if address.is_multiple_of(size as u64) {
            match self.translate(address, Access::Load)? {
                Place::Memory(offset) => self.read_memory(offset, into),
                Place::Device(physical) => {
                    let read = self.bus.read(physical, into);
                    read.map_err(|_| self.fail(Exception::LoadAccessFault, address))?;
                }
            }
        } else {
            let (first, second, split) = self.places(address, size as u64, Access::Load)?;
            let (low, high) = into.split_at_mut(split);
            self.read_memory(first, low);
            self.read_memory(second, high);
        }
        Ok(u64::from_le_bytes(bytes))
    }

    #[cold]
    #[inline(never)]
    fn store_slowly(&mut self, address: u64, size: usize, value: u64) -> Result<(), Exception> {
        let bytes = value.to_le_bytes();
        let from = &bytes[..size];
        if address.is_multiple_of(size as u64) {
            match self.translate(address, Access::Store)? {
                Place::Memory(offset) => self.write_memory(offset, from),
                Place::Device(physical) => {
                    let written = self.bus.write(physical, from);
                    written.map_err(|_| self.fail(Exception::StoreAccessFault, address))?;
                }
            }
        } else {
            let (first, second, split) = self.places(address, size as u64, Access::Store)?;
            let (low, high) = from.split_at(split);
            self.write_memory(first, low);
            self.write_memory(second, high);
        }
        Ok(())
    }

    /// The places in memory of the two parts of a misaligned access, and the length of the first part. The second page is
    /// looked at before the first byte is touched. `stval` is the first address of the part that faults. Misaligned
    /// accesses to devices are access faults.
    fn places(&mut self, address: u64, size: u64, access: Access) -> Result<(u64, u64, usize), Exception> {
        let left = PAGE - address % PAGE;
        let split = left.min(size);
        let first = self.translate(address, access)?;
        let behind = address.wrapping_add(split);
        let second = match split < size {
            true => self.translate(behind, access)?,
            false => first,
        };
        match (first, second) {
            (Place::Memory(first), Place::Memory(second)) => Ok((first, second, split as usize)),
            (Place::Memory(_), Place::Device(_)) => Err(self.fail(access.access_fault(), behind)),
            (Place::Device(_), _) => Err(self.fail(access.access_fault(), address)),
        }
    }

    /// Reads bytes that are in one page of memory: an aligned word at once, others byte by byte.
    fn read_memory(&self, offset: u64, into: &mut [u8]) {
        match into.len() {
            2 if offset.is_multiple_of(2) => self.read_word::<u16>(offset, into),
            4 if offset.is_multiple_of(4) => self.read_word::<u32>(offset, into),
            8 if offset.is_multiple_of(8) => self.read_word::<u64>(offset, into),
            _ => {
                for (byte, offset) in into.iter_mut().zip(offset..) {
                    *byte = self.words.load(offset).unwrap_or(0);
                }
            }
        }
    }

    fn read_word<D: Data>(&self, offset: u64, into: &mut [u8]) {
        let word: u64 = self.words.load::<D>(offset).map_or(0, Into::into);
        into.copy_from_slice(&word.to_le_bytes()[..into.len()]);
    }

    /// Writes bytes that are in one page of memory: an aligned word at once, others byte by byte.
    fn write_memory(&self, offset: u64, from: &[u8]) {
        let mut bytes = [0; 8];
        bytes[..from.len()].copy_from_slice(from);
        let value = u64::from_le_bytes(bytes);
        // Within the page that was translated, so within memory.
        let written = match from.len() {
            2 if offset.is_multiple_of(2) => self.words.store(offset, value as u16),
            4 if offset.is_multiple_of(4) => self.words.store(offset, value as u32),
            8 if offset.is_multiple_of(8) => self.words.store(offset, value),
            _ => from
                .iter()
                .zip(offset..)
                .try_for_each(|(&byte, offset)| self.words.store(offset, byte)),
        };
        debug_assert!(written.is_some(), "a translated page is memory");
    }

    /// Zeroes the block of 64 bytes around virtual `address` (CBO.ZERO).
    pub(super) fn zero_block(&mut self, address: u64) -> Result<(), Exception> {
        let start = address & !63;
        match self.translate(start, Access::Store) {
            Ok(Place::Memory(offset)) => {
                self.write_memory_zeroes(offset);
                Ok(())
            }
            Ok(Place::Device(_)) => Err(self.fail(Exception::StoreAccessFault, address)),
            Err(exception) => Err(self.fail(exception, address)),
        }
    }

    fn write_memory_zeroes(&self, offset: u64) {
        for word in 0..8 {
            self.write_memory(offset + 8 * word, &[0; 8]);
        }
    }
}

/// A number for the superpage of `level` that `address` is in.
fn superpage(address: u64, level: u32) -> u64 {
    let shift = PAGE_BITS + level * LEVEL_BITS;
    (address >> shift) << shift | u64::from(level)
}
