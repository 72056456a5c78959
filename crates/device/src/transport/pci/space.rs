//! A configuration space: bytes, which of their bits the driver may write, and the lists of capabilities.

use ringwright_spec::pci::header::{self, CONVENTIONAL_SIZE};

/// The configuration space of a function, without what lives outside it.
#[derive(Clone, Debug)]
pub(super) struct ConfigSpace {
    bytes: Vec<u8>,
    /// Bits that the driver can write.
    writable: Vec<u8>,
    /// What a reset brings back.
    initial: Vec<u8>,
    /// Where the next capability can begin.
    free: usize,
    /// Where the offset of the next capability goes.
    link: usize,
    /// The last extended capability, and where the next one can begin.
    extended: (Option<usize>, usize),
}

impl ConfigSpace {
    /// All zeroes, none of them writable.
    pub fn new(size: usize) -> Self {
        Self {
            bytes: vec![0; size],
            writable: vec![0; size],
            initial: vec![0; size],
            free: header::SIZE,
            link: header::CAPABILITIES,
            extended: (None, CONVENTIONAL_SIZE),
        }
    }

    /// What there is now, is what a reset brings back.
    pub fn finish(&mut self) {
        self.initial = self.bytes.clone();
    }

    /// Brings that back.
    pub fn reset(&mut self) {
        self.bytes = self.initial.clone();
    }

    /// Appends a capability: its bytes from the id on, the second one (the link) to be filled in, and the bits of them
    /// that the driver can write. Returns its offset; `None` if there is no room.
    pub fn add_capability(&mut self, bytes: &[u8], writable: &[u8]) -> Option<usize> {
        let offset = self.free;
        if offset + bytes.len() > CONVENTIONAL_SIZE {
            return None;
        }
        self.bytes[self.link] = offset as u8;
        self.link = offset + 1;
        self.free = (offset + bytes.len()).next_multiple_of(4);
        self.set(offset, bytes);
        self.bytes[self.link] = 0;
        self.allow(offset, writable);
        let status = self.u16(header::STATUS) | header::status::CAPABILITIES;
        self.set(header::STATUS, &status.to_le_bytes());
        Some(offset)
    }

    /// Appends an extended capability: its bytes behind the first word, and the bits of them that the driver can write.
    /// Returns the offset of the whole; `None` if there is no room.
    pub fn add_extended_capability(
        &mut self,
        id: u16,
        version: u8,
        bytes: &[u8],
        writable: &[u8],
    ) -> Option<usize> {
        let (last, offset) = self.extended;
        if offset + 4 + bytes.len() > self.bytes.len() {
            return None;
        }
        if let Some(last) = last {
            let word = self.u32(last) | header::extended_capability(0, 0, offset as u16);
            self.set(last, &word.to_le_bytes());
        }
        self.set(offset, &header::extended_capability(id, version, 0).to_le_bytes());
        self.set(offset + 4, bytes);
        self.allow(offset + 4, writable);
        self.extended = (Some(offset), (offset + 4 + bytes.len()).next_multiple_of(4));
        Some(offset)
    }

    /// Sets bytes, whether or not the driver could.
    pub fn set(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..][..bytes.len()].copy_from_slice(bytes);
    }

    /// Lets the driver write these bits.
    pub fn allow(&mut self, offset: usize, bits: &[u8]) {
        self.writable[offset..][..bits.len()].copy_from_slice(bits);
    }

    /// The driver reads. What is beyond the end reads as ones, as if nothing answered.
    pub fn read(&self, offset: usize, data: &mut [u8]) {
        data.fill(0xff);
        let present = self.bytes.get(offset..).unwrap_or_default();
        for (place, byte) in data.iter_mut().zip(present) {
            *place = *byte;
        }
    }

    /// The driver writes.
    pub fn write(&mut self, offset: usize, data: &[u8]) {
        let places = self.bytes.iter_mut().zip(&self.writable).skip(offset);
        for ((byte, writable), new) in places.zip(data) {
            *byte = *byte & !writable | new & writable;
        }
    }

    /// 16 bits of it.
    pub fn u16(&self, offset: usize) -> u16 {
        u16::from_le_bytes([self.bytes[offset], self.bytes[offset + 1]])
    }

    /// 32 bits of it.
    pub fn u32(&self, offset: usize) -> u32 {
        u32::from(self.u16(offset)) | u32::from(self.u16(offset + 2)) << 16
    }

    /// Takes up the bytes of another one; `None` if that is not one of the same function: it differs in what the driver
    /// cannot write.
    pub fn restore(&mut self, bytes: &[u8]) -> Option<()> {
        let fixed = |bytes: &[u8]| {
            let bits = bytes.iter().zip(&self.writable);
            bits.map(|(byte, writable)| byte & !writable).collect::<Vec<_>>()
        };
        if bytes.len() != self.bytes.len() || fixed(bytes) != fixed(&self.initial) {
            return None;
        }
        self.bytes = bytes.to_vec();
        Some(())
    }

    /// All of it.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}
