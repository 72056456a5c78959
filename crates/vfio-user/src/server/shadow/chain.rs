//! The buffers of a virtqueue between the client's memory and the shadow.

use ringwright_memory::Memory;
use ringwright_spec::split;

use super::Far;
use crate::server::remote::{GiveUp, Remote, RemoteError};

/// Most bytes that are copied in one go.
const CHUNK: usize = 1 << 20;

/// A descriptor, of either format.
#[derive(Clone, Copy)]
pub(super) struct Descriptor {
    address: u64,
    length: u32,
    pub flags: u16,
    /// What the formats have at different places: the next descriptor of a split virtqueue, the buffer id of a packed one.
    pub other: u16,
}

/// A chain that the device has been shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Taken {
    /// What the device will call it.
    pub id: u16,
    /// Descriptors in the ring that it occupies.
    pub descriptors: u16,
    /// The buffers that the device may write: address and length.
    pub writable: Vec<(u64, u32)>,
}

/// A write to the client's memory that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Due {
    pub address: u64,
    pub bytes: Vec<u8>,
}

impl Descriptor {
    pub const NEXT: u16 = split::DescFlags::NEXT.0;
    const WRITE: u16 = split::DescFlags::WRITE.0;
    const INDIRECT: u16 = split::DescFlags::INDIRECT.0;

    pub fn split(bytes: &[u8; 16]) -> Self {
        let [address, length, flags, other] = fields(bytes);
        Self {
            address,
            length: length as u32,
            flags: flags as u16,
            other: other as u16,
        }
    }

    pub fn packed(bytes: &[u8; 16]) -> Self {
        let Self { flags, other, .. } = Self::split(bytes);
        Self {
            flags: other,
            other: flags,
            ..Self::split(bytes)
        }
    }

    pub fn has_next(&self) -> bool {
        self.flags & Self::NEXT != 0
    }
}

/// An address of 64 bits, a length of 32, and two words of 16.
fn fields(bytes: &[u8; 16]) -> [u64; 4] {
    let all = u128::from_le_bytes(*bytes);
    [
        all as u64,
        (all >> 64) as u32 as u64,
        (all >> 96) as u16 as u64,
        (all >> 112) as u64,
    ]
}

/// What a fetch or a write-back works with.
pub(super) struct Copier<'a> {
    pub far: &'a Far,
    pub give_up: &'a GiveUp,
    /// Of which format the descriptors are.
    pub packed: bool,
}

impl Copier<'_> {
    fn remote(&self) -> &Remote {
        &self.far.remote
    }

    pub fn memory(&self) -> &Memory {
        &self.far.memory
    }

    /// Reads the client's memory. What is mapped needs no message.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), RemoteError> {
        if into.is_empty() {
            return Ok(());
        }
        if !self.far.holds(address) {
            // What is not there reads as zeroes, which nobody takes for anything.
            if self.memory().read(address, into).is_err() {
                into.fill(0);
            }
            return Ok(());
        }
        self.remote().read(address, into, self.give_up)
    }

    /// Writes to the client's memory.
    pub fn write(&self, address: u64, bytes: &[u8]) -> Result<(), RemoteError> {
        self.remote().write(address, bytes, self.give_up)
    }

    /// Writes to the shadow. What is not there is left to the ring to complain of.
    pub fn show(&self, address: u64, bytes: &[u8]) {
        if self.memory().write(address, bytes).is_err() {
            tracing::debug!(address, "no shadow");
        }
    }

    /// Fetches a part of the client's memory into the shadow.
    pub fn fetch(&self, address: u64, length: u32) -> Result<(), RemoteError> {
        let parts: Vec<_> = self.far.parts(address, length.into()).collect();
        let mut bytes = Vec::new();
        for (start, length) in parts {
            let mut done = 0;
            while done < length {
                bytes.resize((length - done).min(CHUNK as u64) as usize, 0);
                self.remote().read(start + done, &mut bytes, self.give_up)?;
                self.show(start + done, &bytes);
                done += bytes.len() as u64;
            }
        }
        Ok(())
    }

    /// Fetches the buffer of a descriptor if the device is to read it, remembers it if it is to be written, and follows it
    /// if it is a table.
    pub fn take(&self, descriptor: Descriptor, most: u16, taken: &mut Taken) -> Result<(), RemoteError> {
        match descriptor.flags {
            flags if flags & Descriptor::INDIRECT != 0 => self.take_table(descriptor, most, taken),
            flags if flags & Descriptor::WRITE != 0 => {
                taken.writable.push((descriptor.address, descriptor.length));
                Ok(())
            }
            _ => self.fetch(descriptor.address, descriptor.length),
        }
    }

    /// Fetches an indirect table, which may have no more descriptors than the virtqueue, and what they lead to.
    fn take_table(&self, table: Descriptor, most: u16, taken: &mut Taken) -> Result<(), RemoteError> {
        let count = (table.length / 16).min(most.into());
        let mut bytes = vec![0; count as usize * 16];
        self.read(table.address, &mut bytes)?;
        self.show(table.address, &bytes);
        let descriptors = bytes.as_chunks::<16>().0;
        let mut index = 0;
        for _ in descriptors {
            let Some(bytes) = descriptors.get(index) else {
                break;
            };
            // Those of a packed virtqueue follow each other, those of a split one say which is next.
            let descriptor = match self.packed {
                true => Descriptor::packed(bytes),
                false => Descriptor::split(bytes),
            };
            // There are no tables in tables.
            if descriptor.flags & Descriptor::INDIRECT == 0 {
                self.take(descriptor, most, taken)?;
            }
            index = match self.packed {
                true => index + 1,
                false if descriptor.has_next() => descriptor.other.into(),
                false => break,
            };
        }
        Ok(())
    }

    /// The writes that bring to the client what the device wrote: `written` bytes of the last chain, and all of those that it
    /// stands for.
    pub fn written(&self, chains: &[Taken], written: u32, due: &mut impl Extend<Due>) {
        for (index, chain) in chains.iter().enumerate() {
            let mut left = match index + 1 == chains.len() {
                true => u64::from(written),
                false => u64::MAX,
            };
            for &(address, length) in &chain.writable {
                let here = left.min(length.into());
                left -= here;
                self.write_back(address, here, due);
            }
        }
    }

    fn write_back(&self, address: u64, length: u64, due: &mut impl Extend<Due>) {
        for (start, length) in self.far.parts(address, length) {
            for offset in (0..length).step_by(CHUNK) {
                let mut bytes = vec![0; (length - offset).min(CHUNK as u64) as usize];
                let address = start + offset;
                if self.memory().read(address, &mut bytes).is_ok() {
                    due.extend([Due { address, bytes }]);
                }
            }
        }
    }
}
