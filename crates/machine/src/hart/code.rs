//! Decoded instructions, in blocks.
//!
//! A block starts where control came in and ends behind a jump, at the end of the page, or when it is long. It is found in
//! two steps: by virtual address in a small direct-mapped table of jumps, which is emptied whenever translations may have
//! changed; and by place in memory in a table of all blocks.
//!
//! Nothing watches for writes to code. Instruction fetches see them no earlier than at a FENCE.I
//! (unprivileged specification, "Zifencei"), so a block is compared with memory when it is entered for the first time
//! after one, and decoded anew if it differs.

use super::compressed::expand;
use super::decode::decode;
use super::op::Op;
use super::tlb::{Filter, PAGE};
use ringwright_memory::Words;

/// The most instructions in a block.
const LONGEST: usize = 64;

/// Decoded instructions in the cache, at most; then it is emptied.
const OPS: usize = 1 << 19;

/// Lists of blocks.
const LISTS: usize = 1 << 14;

/// Entries in the table of jumps.
const JUMPS: usize = 1 << 12;

/// No block.
const NONE: u32 = u32::MAX;

/// Decoded instructions, and where to find them.
pub(super) struct Code {
    ops: Vec<Op>,
    /// The instructions in memory that `ops` were decoded from, in halfwords.
    halves: Vec<u16>,
    blocks: Vec<Block>,
    /// The first block of each list.
    lists: Box<[u32; LISTS]>,
    jumps: Box<[Jump; JUMPS]>,
    /// The pages of virtual addresses that `jumps` may have entries for.
    pages: Filter,
    /// The jumps of other epochs are forgotten.
    epoch: u16,
    /// Counts FENCE.I.
    generation: u64,
    /// The instruction that crosses a page border, of which `ops` has the decoded form.
    crossing: u32,
}

/// The extent of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    /// Where its decoded instructions start.
    start: u32,
    /// How many there are.
    count: u8,
    /// How many halfwords of instructions they are.
    halves: u8,
}

impl Extent {
    /// How many bytes of instructions.
    #[inline(always)]
    pub(super) fn bytes(self) -> u64 {
        2 * u64::from(self.halves)
    }
}

/// The first decoded instruction is none of a block, but the last one that crossed a page border; it is decoded every
/// time.
pub(super) const CROSSING: Extent = Extent {
    start: 0,
    count: 1,
    halves: 2,
};

struct Block {
    /// Offset in memory.
    offset: u64,
    extent: Extent,
    /// Where its halfwords start.
    halves: u32,
    /// The next block of the list.
    next: u32,
    /// The FENCE.I after which it was last compared with memory.
    generation: u64,
}

#[derive(Clone, Copy)]
struct Jump {
    /// The virtual address, odd for user mode.
    key: u64,
    extent: Extent,
    epoch: u16,
}

/// A jump of an epoch that is never current.
const NO_JUMP: Jump = Jump {
    key: 0,
    epoch: 0,
    extent: CROSSING,
};

impl Code {
    pub(super) fn new() -> Self {
        let mut code = Self {
            ops: Vec::with_capacity(OPS),
            halves: Vec::with_capacity(2 * OPS),
            blocks: Vec::with_capacity(OPS / 4),
            lists: Box::new([NONE; LISTS]),
            jumps: Box::new([NO_JUMP; JUMPS]),
            pages: Filter::new(),
            epoch: 0,
            generation: 0,
            crossing: 0,
        };
        code.clear();
        code
    }

    /// The block at virtual address `pc`, if control went there lately.
    #[inline(always)]
    pub(super) fn find(&self, pc: u64, user: bool) -> Option<Extent> {
        let jump = &self.jumps[jump_index(pc)];
        (jump.key == pc | u64::from(user) && jump.epoch == self.epoch).then_some(jump.extent)
    }

    /// The instructions of a block.
    #[inline(always)]
    pub(super) fn ops(&self, extent: Extent) -> &[Op] {
        let start = extent.start as usize;
        // An extent is only good until the cache is emptied, and no one keeps one.
        &self.ops[start..start + usize::from(extent.count)]
    }

    /// The block at `offset` in memory, where virtual address `pc` leads, decoded if need be. `None` if its first
    /// instruction does not end in the page.
    #[inline(never)]
    pub(super) fn enter(&mut self, words: &Words, offset: u64, pc: u64, user: bool) -> Option<Extent> {
        let extent = match self.known(words, offset) {
            Some(extent) => extent,
            None => self.decode(words, offset)?,
        };
        self.jumps[jump_index(pc)] = Jump {
            key: pc | u64::from(user),
            epoch: self.epoch,
            extent,
        };
        self.pages.insert(pc / PAGE);
        Some(extent)
    }

    /// Makes the block of one instruction that crosses a page border.
    pub(super) fn enter_crossing(&mut self, word: u32) -> Extent {
        self.ops[0] = decode(word, 0, 1);
        self.crossing = word;
        CROSSING
    }

    /// Instruction number `index` of a block: its offset in bytes, and the instruction.
    pub(super) fn instruction(&self, extent: Extent, index: usize) -> (u64, u32) {
        if extent == CROSSING {
            return (0, self.crossing);
        }
        // Blocks are in the order of their instructions.
        let number = self
            .blocks
            .partition_point(|block| block.extent.start < extent.start);
        let first = self.blocks.get(number).map_or(0, |block| block.halves as usize);
        let half = |at: usize| self.halves.get(first + at).copied().unwrap_or(0);
        let mut at = 0;
        for _ in 0..index {
            at += length(half(at)) / 2;
        }
        let word = match length(half(at)) {
            2 => u32::from(half(at)),
            _ => u32::from(half(at + 1)) << 16 | u32::from(half(at)),
        };
        (2 * at as u64, word)
    }

    /// Forgets where virtual addresses lead: translations may have changed.
    pub(super) fn forget_jumps(&mut self) {
        self.pages.clear();
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            self.jumps.fill(NO_JUMP);
            self.epoch = 1;
        }
    }

    /// Forgets where the virtual addresses of the page of `address` lead, and perhaps others.
    pub(super) fn forget_jumps_into(&mut self, address: u64) {
        if self.pages.may_contain(address / PAGE) {
            self.forget_jumps();
        }
    }

    /// FENCE.I: instructions may have changed.
    pub(super) fn fence(&mut self) {
        self.generation += 1;
        self.forget_jumps();
    }

    /// How many instructions are decoded.
    #[cfg(test)]
    pub(super) fn decoded(&self) -> u64 {
        self.ops.len() as u64
    }

    /// The block at `offset`, if it is decoded and still what is in memory.
    fn known(&mut self, words: &Words, offset: u64) -> Option<Extent> {
        let mut number = self.lists[list_index(offset)];
        while let Some(block) = self.blocks.get_mut(number as usize) {
            if block.offset == offset {
                if block.generation != self.generation {
                    let first = block.halves as usize;
                    let halves = self.halves.get(first..first + usize::from(block.extent.halves))?;
                    if !same(words, offset, halves) {
                        // No longer to be found; a new one takes its place.
                        block.offset = u64::MAX;
                        return None;
                    }
                    block.generation = self.generation;
                }
                return Some(block.extent);
            }
            number = block.next;
        }
        None
    }

    /// Decodes the block at `offset`.
    fn decode(&mut self, words: &Words, offset: u64) -> Option<Extent> {
        if self.ops.len() + LONGEST > OPS || self.blocks.len() == self.blocks.capacity() {
            self.clear();
        }
        let (start, first_half) = (self.ops.len(), self.halves.len());
        let left = PAGE - offset % PAGE;
        let mut at = 0;
        while at < left && self.ops.len() - start < LONGEST {
            let half: u16 = words.load(offset + at)?;
            if at + length(half) as u64 > left {
                break;
            }
            let done = (self.ops.len() - start + 1) as u8;
            self.halves.push(half);
            let op = match length(half) {
                2 => match expand(half) {
                    Some(word) => decode(word, at as u16, done),
                    None => Op::Illegal,
                },
                _ => {
                    let upper: u16 = words.load(offset + at + 2)?;
                    self.halves.push(upper);
                    decode(u32::from(upper) << 16 | u32::from(half), at as u16, done)
                }
            };
            self.ops.push(op);
            at += length(half) as u64;
            if op.ends_block() {
                break;
            }
        }
        if at == 0 {
            return None;
        }
        let extent = Extent {
            start: start as u32,
            count: (self.ops.len() - start) as u8,
            halves: (at / 2) as u8,
        };
        let list = &mut self.lists[list_index(offset)];
        let block = Block {
            offset,
            extent,
            halves: first_half as u32,
            next: std::mem::replace(list, self.blocks.len() as u32),
            generation: self.generation,
        };
        self.blocks.push(block);
        Some(extent)
    }

    /// Forgets all blocks.
    fn clear(&mut self) {
        self.ops.clear();
        self.ops.push(Op::Illegal);
        self.halves.clear();
        self.blocks.clear();
        self.lists.fill(NONE);
        self.forget_jumps();
    }
}

/// Bytes of the instruction that starts with `half`.
fn length(half: u16) -> usize {
    if half & 3 == 3 { 4 } else { 2 }
}

/// Whether memory at `offset` holds `halves`.
fn same(words: &Words, offset: u64, halves: &[u16]) -> bool {
    let mut places = halves.iter().zip((offset..).step_by(2));
    places.all(|(&half, offset)| words.load(offset) == Some(half))
}

#[inline(always)]
fn jump_index(pc: u64) -> usize {
    (pc >> 1) as usize % JUMPS
}

fn list_index(offset: u64) -> usize {
    (offset >> 1) as usize % LISTS
}
