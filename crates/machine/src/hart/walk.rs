//! Page tables: Sv39, Sv48 and no translation at all (privileged specification, chapter "Supervisor-Level ISA").

use super::core::Core;
use super::exception::Exception;
use super::memory::Access;
use super::tlb::{PAGE, PAGE_BITS};

/// Field MODE of `satp`: no translation.
pub(super) const BARE: u64 = 0;
/// Field MODE of `satp`: three levels.
pub(super) const SV39: u64 = 8;
/// Field MODE of `satp`: four levels.
pub(super) const SV48: u64 = 9;

/// Bits of a virtual page number that one level translates.
pub(super) const LEVEL_BITS: u32 = 9;

/// Levels of page tables, at most.
pub(super) const LEVELS: u32 = 4;

/// Bits of a page table entry.
mod entry {
    pub(super) const VALID: u64 = 1 << 0;
    pub(super) const READ: u64 = 1 << 1;
    pub(super) const WRITE: u64 = 1 << 2;
    pub(super) const EXECUTE: u64 = 1 << 3;
    pub(super) const USER: u64 = 1 << 4;
    pub(super) const ACCESSED: u64 = 1 << 6;
    pub(super) const DIRTY: u64 = 1 << 7;
    /// Of extensions that are not here (Svnapot, Svpbmt), or reserved.
    pub(super) const RESERVED: u64 = 0xffc0 << 48;
    /// The physical page number, from bit 10 on.
    pub(super) const PAGE_NUMBER: u64 = (1 << 44) - 1;
}

impl Core {
    /// The physical address of virtual `address`, if the page tables allow the access, and the level of the page: 0 for
    /// 4 KiB, more for superpages.
    pub(super) fn walk(&self, address: u64, access: Access) -> Result<(u64, u32), Exception> {
        let levels = match self.satp >> 60 {
            SV39 => 3,
            SV48 => 4,
            _ => return physical(address, access).map(|address| (address, 0)),
        };
        let page_fault = access.page_fault();
        // The bits above the translated ones repeat the highest of those.
        let unused = 64 - PAGE_BITS - levels * LEVEL_BITS;
        if (address << unused) as i64 >> unused != address as i64 {
            return Err(page_fault);
        }
        let mut table = (self.satp & entry::PAGE_NUMBER) << PAGE_BITS;
        for level in (0..levels).rev() {
            let shift = PAGE_BITS + level * LEVEL_BITS;
            let index = address >> shift & ((1 << LEVEL_BITS) - 1);
            let place = (table + 8 * index).wrapping_sub(self.ram_base);
            let pte: u64 = self.words.load(place).ok_or(access.access_fault())?;
            if pte & entry::VALID == 0 || pte & entry::RESERVED != 0 {
                return Err(page_fault);
            }
            let target = (pte >> 10 & entry::PAGE_NUMBER) << PAGE_BITS;
            if pte & (entry::READ | entry::WRITE | entry::EXECUTE) == 0 {
                // These bits are reserved in an entry that points to a table.
                if pte & (entry::USER | entry::ACCESSED | entry::DIRTY) != 0 {
                    return Err(page_fault);
                }
                table = target;
                continue;
            }
            let within = (1 << shift) - 1;
            // A superpage starts at a multiple of its size.
            if target & within & !(PAGE - 1) != 0 || !self.allows(pte, access) {
                return Err(page_fault);
            }
            return Ok((target | address & within, level));
        }
        Err(page_fault)
    }

    /// Whether the leaf `pte` allows the access. Accessed and dirty bits are not set by the hart: without them there is a
    /// page fault (Svade).
    fn allows(&self, pte: u64, access: Access) -> bool {
        let is = |bits| pte & bits != 0;
        if is(entry::WRITE) && !is(entry::READ) {
            return false;
        }
        let mode = match (is(entry::USER), self.context.is_user()) {
            (true, true) | (false, false) => true,
            (true, false) => self.context.sum() && access != Access::Fetch,
            (false, true) => false,
        };
        let permission = match access {
            Access::Fetch => is(entry::EXECUTE),
            Access::Load => is(entry::READ) || self.context.mxr() && is(entry::EXECUTE),
            Access::Store => is(entry::WRITE),
        };
        let dirty = access != Access::Store || is(entry::DIRTY);
        mode && permission && is(entry::ACCESSED) && dirty
    }
}

/// Without translation, an address is physical, and has 56 bits.
fn physical(address: u64, access: Access) -> Result<u64, Exception> {
    match address >> 56 {
        0 => Ok(address),
        _ => Err(access.access_fault()),
    }
}
