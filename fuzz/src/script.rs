//! The input as a sequence of choices.

/// What is left of the input. After its end every number is 0.
///
/// Numbers are taken byte by byte, front to back, so that small changes of the input are small changes of the story.
pub struct Script<'a>(&'a [u8]);

impl<'a> Script<'a> {
    /// All of `input`.
    pub fn new(input: &'a [u8]) -> Self {
        Self(input)
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What is left, as it is.
    pub fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next byte.
    pub fn u8(&mut self) -> u8 {
        u8::from_le_bytes(self.bytes())
    }

    /// The next two bytes.
    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.bytes())
    }

    /// The next four bytes.
    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.bytes())
    }

    /// The next eight bytes.
    pub fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.bytes())
    }

    /// A number below `end`, which is 1 at least, from as many bytes as that needs.
    pub fn below(&mut self, end: u64) -> u64 {
        let number = match end {
            0..=0x100 => self.u8().into(),
            0x101..=0x1_0000 => self.u16().into(),
            _ => self.u64(),
        };
        number % end.max(1)
    }

    /// As [`below`](Self::below), as an index.
    pub fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    /// A number of any size, more often a small one.
    pub fn any_u32(&mut self) -> u32 {
        match self.u8() % 4 {
            0 | 1 => self.u8().into(),
            2 => self.u16().into(),
            _ => self.u32(),
        }
    }

    /// Bits of the next byte as answers to questions.
    pub fn flags<const N: usize>(&mut self) -> [bool; N] {
        let bits = self.u8();
        std::array::from_fn(|bit| bits >> (bit % 8) & 1 != 0)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let count = self.0.len().min(N);
        let (taken, left) = self.0.split_at(count);
        bytes[..count].copy_from_slice(taken);
        self.0 = left;
        bytes
    }
}
