//! Data conventions (section 1.4, "Structure Specifications"): integers of stated byte order, and bit-fields.
//!
//! `le16` of the document is [`Le16`], `be64` is [`Be64`], and so on; all have alignment 1, so structures made of them
//! have no padding. A bit-field `le32 { A:15; B:17 } x` lists its members from the least to the most significant bit of
//! an integer of that byte order: [`Bits`] names one member, and reads and writes it within the integer's value.

pub use zerocopy::big_endian::{U16 as Be16, U32 as Be32, U64 as Be64};
pub use zerocopy::little_endian::{I64 as SignedLe64, U16 as Le16, U32 as Le32, U64 as Le64};

/// One member of a bit-field: `WIDTH` bits from bit `SHIFT` of the integer that holds them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bits {
    shift: u32,
    width: u32,
}

impl Bits {
    /// The member of `width` bits whose least significant bit is bit `shift`. Panics (at compile time, where the
    /// document's members are constants) if it does not fit 64 bits.
    pub const fn new(shift: u32, width: u32) -> Self {
        assert!(width > 0 && shift < 64 && width <= 64 - shift);
        Self { shift, width }
    }

    /// The member that follows this one and has `width` bits.
    pub const fn then(self, width: u32) -> Self {
        Self::new(self.shift + self.width, width)
    }

    /// The bits of the integer that belong to this member.
    pub const fn mask(self) -> u64 {
        (u64::MAX >> (64 - self.width)) << self.shift
    }

    /// This member's value within `word`.
    pub const fn get(self, word: u64) -> u64 {
        (word & self.mask()) >> self.shift
    }

    /// `word` with this member set to `value`, of which the bits that do not fit are dropped.
    pub const fn set(self, word: u64, value: u64) -> u64 {
        (word & !self.mask()) | ((value << self.shift) & self.mask())
    }
}

/// A group of the document's constants or flags without its type, for programs that print what a number means.
#[derive(Clone, Copy, Debug)]
pub struct Group {
    /// Name of the type here.
    pub name: &'static str,
    /// The document's names without their common prefix, and their values; flags as masks.
    pub values: &'static [(&'static str, u64)],
}

/// A structure of the document without its type, for programs that print what a byte means.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Name of the type here.
    pub name: &'static str,
    /// Size in bytes.
    pub size: usize,
    /// Its fields in order.
    pub fields: &'static [Field],
}

/// A field of a [`Layout`].
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name of the field here: the document's, with `r#` before it where it is a word of Rust.
    pub name: &'static str,
    /// Offset in bytes from the start of the structure.
    pub offset: usize,
    /// Size in bytes.
    pub size: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::IntoBytes;

    wire! {
        /// The document's own example: `struct S { be16 { A:15; B:1 } x; be16 y; }`.
        struct S { x: Be16, y: Be16 }
    }
    layout!(S, 4, x @ 0, y @ 2);

    #[test]
    fn a_structure_knows_its_layout() {
        let fields = S::LAYOUT
            .fields
            .iter()
            .map(|field| (field.name, field.offset, field.size));
        assert!(fields.eq([("x", 0, 2), ("y", 2, 2)]));
        assert_eq!((S::LAYOUT.name, S::LAYOUT.size), ("S", 4));
    }

    #[test]
    fn the_documents_bit_field_example() {
        const A: Bits = Bits::new(0, 15);
        const B: Bits = A.then(1);
        for (a, b) in [(0u16, 0u16), (1, 0), (0, 1), (0x7fff, 1), (0x1234, 1)] {
            let word = B.set(A.set(0, a.into()), b.into()) as u16;
            let s = S {
                x: Be16::new(word),
                y: Be16::new(0xabcd),
            };
            // "CPU_TO_BE16(B << 15 | A)", then y.
            let x = (b << 15 | a).to_be_bytes();
            assert_eq!(s.as_bytes(), [x[0], x[1], 0xab, 0xcd]);
            assert_eq!((A.get(word.into()), B.get(word.into())), (a.into(), b.into()));
        }
    }

    #[test]
    fn a_member_keeps_its_neighbours() {
        const MIDDLE: Bits = Bits::new(4, 8);
        assert_eq!(MIDDLE.set(u64::MAX, 0), !0xff0);
        assert_eq!(MIDDLE.set(0, 0xfff), 0xff0);
        assert_eq!(Bits::new(0, 64).mask(), u64::MAX);
        assert_eq!(Bits::new(63, 1).mask(), 1 << 63);
    }
}
