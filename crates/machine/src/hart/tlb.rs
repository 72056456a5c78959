//! Translations that were used lately.

/// Bits of an address within a page.
pub(super) const PAGE_BITS: u32 = 12;

/// Bytes of a page.
pub(super) const PAGE: u64 = 1 << PAGE_BITS;

/// Entries of a buffer, a power of two.
const ENTRIES: usize = 512;

/// Translations for one kind of access, direct mapped: from pages of virtual addresses to offsets in memory. What is here
/// allows the access; what is not needs a walk, be it because it is not mapped, not allowed, or not memory.
pub(super) struct Tlb(Box<[Entry; ENTRIES]>);

#[derive(Clone, Copy)]
struct Entry {
    /// Virtual address of the page, and in its low bits the [`Context`] that the entry is good for.
    tag: u64,
    /// What, added to a virtual address in the page, gives the offset in memory.
    distance: u64,
}

/// An entry that no address matches: the bits of `tag` between context and page are 0 in a key.
const EMPTY: Entry = Entry {
    tag: 1 << 11,
    distance: 0,
};

/// What besides the address decides whether an entry is good for an access, as bits that fit into a tag beside the three
/// that tell of misalignment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Context(u64);

impl Context {
    /// How many epochs there are. To forget all entries is to go on to the next epoch; only where there is none left, the
    /// entries have to be cleared.
    pub(super) const EPOCHS: u8 = 32;

    /// The context in user mode or not, with the bits SUM and MXR of `sstatus`.
    pub(super) fn new(epoch: u8, user: bool, sum: bool, mxr: bool) -> Self {
        let mode = u64::from(user) << 3 | u64::from(sum && !user) << 4 | u64::from(mxr) << 5;
        Self(mode | u64::from(epoch) << 6)
    }

    /// Whether in user mode.
    #[inline(always)]
    pub(super) fn is_user(self) -> bool {
        self.0 & 1 << 3 != 0
    }

    /// Whether the supervisor may access user pages.
    pub(super) fn sum(self) -> bool {
        self.0 & 1 << 4 != 0
    }

    /// Whether executable pages are readable.
    pub(super) fn mxr(self) -> bool {
        self.0 & 1 << 5 != 0
    }
}

impl Tlb {
    pub(super) fn new() -> Self {
        Self(Box::new([EMPTY; ENTRIES]))
    }

    /// The offset in memory of the `size` bytes (a power of two, at most 8) at `address`, if they are aligned and the
    /// translation is here.
    #[inline(always)]
    pub(super) fn find(&self, address: u64, size: u64, context: Context) -> Option<u64> {
        let entry = &self.0[index(address)];
        let key = address & (!(PAGE - 1) | (size - 1)) | context.0;
        (entry.tag == key).then(|| address.wrapping_add(entry.distance))
    }

    /// Adds the translation of the page of `address`, which is at `offset` in memory.
    pub(super) fn insert(&mut self, address: u64, offset: u64, context: Context) {
        self.0[index(address)] = Entry {
            tag: address & !(PAGE - 1) | context.0,
            distance: offset.wrapping_sub(address),
        };
    }

    /// Forgets the page of `address`, in all contexts.
    pub(super) fn remove(&mut self, address: u64) {
        let entry = &mut self.0[index(address)];
        if (entry.tag ^ address) < PAGE {
            *entry = EMPTY;
        }
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.0.fill(EMPTY);
    }
}

/// A set of numbers that may say yes where no would be right, but never the other way round.
pub(super) struct Filter([u64; 64]);

impl Filter {
    pub(super) fn new() -> Self {
        Self([0; 64])
    }

    pub(super) fn insert(&mut self, number: u64) {
        let (word, bit) = filter_place(number);
        self.0[word] |= bit;
    }

    pub(super) fn may_contain(&self, number: u64) -> bool {
        let (word, bit) = filter_place(number);
        self.0[word] & bit != 0
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }
}

/// One of 4096 bits, as a word and a mask.
fn filter_place(number: u64) -> (usize, u64) {
    // The golden ratio spreads numbers that are near each other.
    let hash = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
    ((hash >> 6) as usize, 1 << (hash & 63))
}

#[inline(always)]
fn index(address: u64) -> usize {
    (address >> PAGE_BITS) as usize % ENTRIES
}
