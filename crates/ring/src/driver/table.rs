//! Indirect tables of a driver end, one for each buffer id.
//!
//! `unsafe` is needed here to write them as words of memory that the device reads.

use alloc::sync::Arc;
use core::sync::atomic::Ordering::Relaxed;

use ringwright_memory::{Area, Buffer};

use crate::SetupError;
use crate::words::{Host, Part};

/// The memory of the tables.
pub struct Tables {
    buffer: Buffer,
    entries: u16,
}

impl Tables {
    /// Tables of `entries` for each of `count` ids; none if tables are of no use.
    pub fn allocate(area: &Arc<Area>, count: u16, entries: u16) -> Result<Option<Self>, SetupError> {
        if entries < 2 {
            return Ok(None);
        }
        let length = u64::from(count) * u64::from(entries) * 16;
        let room = SetupError::NoRoom { length };
        let buffer = usize::try_from(length)
            .ok()
            .and_then(|length| area.allocate(length, 16))
            .ok_or(room)?;
        Ok(Some(Self { buffer, entries }))
    }

    /// The memory, for keeping.
    pub fn into_buffer(self) -> Buffer {
        self.buffer
    }

    /// A writer of the tables, for as long as the buffer is kept.
    pub fn writer<const BIG_ENDIAN: bool>(&self) -> TableWriter<Host<BIG_ENDIAN>> {
        // SAFETY: the buffer is 16-aligned; the queue keeps it beside the ring that owns the writer.
        let part = unsafe { Host::new(self.buffer.as_ptr()) };
        TableWriter {
            part,
            address: self.buffer.segment().address(),
            entries: self.entries,
        }
    }
}

/// Writes tables.
pub struct TableWriter<P> {
    part: P,
    address: u64,
    entries: u16,
}

impl<P: Part> TableWriter<P> {
    /// The most elements that a table takes.
    #[inline(always)]
    pub fn entries(&self) -> u16 {
        self.entries
    }

    /// Address of the table of buffer `id`, as the device sees it.
    pub fn address(&self, id: u16) -> u64 {
        self.address + self.offset(id, 0) as u64
    }

    /// Writes entry `index` of the table of buffer `id`.
    ///
    /// # Safety
    ///
    /// `id` is below the number of tables, and `index` below [`entries`](Self::entries).
    pub unsafe fn write(&self, id: u16, index: u16, (address, tail): (u64, u64)) {
        let offset = self.offset(id, index);
        // SAFETY: by the contract the entry lies within the tables, which are 16-aligned.
        unsafe {
            self.part.store64(offset, address, Relaxed);
            self.part.store64(offset + 8, tail, Relaxed);
        }
    }

    fn offset(&self, id: u16, index: u16) -> usize {
        (usize::from(id) * usize::from(self.entries) + usize::from(index)) * 16
    }
}
