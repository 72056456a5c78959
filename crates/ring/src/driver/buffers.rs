//! The buffers that a driver end has given to the device, by buffer id (split: by first descriptor).
//!
//! `unsafe` is needed here because what travels with a buffer is there only while the device has it, which the buffer's
//! record tells.

use alloc::boxed::Box;
use alloc::vec;
use core::mem::MaybeUninit;

/// What is known of a buffer id or of a descriptor.
#[derive(Clone, Copy, Default)]
pub struct Record {
    /// One more than the bytes that the device can have written; 0 if the device does not have the buffer.
    limit: u64,
    /// What follows in a list of the format's own.
    pub link: u32,
    /// Number of the buffer's descriptors.
    pub descriptors: u16,
    /// The last of the buffer's descriptors, where the format needs it.
    pub last: u16,
}

impl Record {
    /// One more than the bytes that the device can have written; 0 if the device does not have the buffer.
    #[inline(always)]
    pub fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of the device-writable part, as many as a used length can say.
    pub fn writable(&self) -> u32 {
        u32::try_from(self.limit.saturating_sub(1)).unwrap_or(u32::MAX)
    }
}

/// Records and what travels with the buffers.
pub struct Buffers<T> {
    records: Box<[Record]>,
    /// As many as there are records. Initialized where the record's limit is not 0.
    data: Box<[MaybeUninit<T>]>,
}

impl<T> Buffers<T> {
    /// Of so many ids.
    pub fn new(size: u16) -> Self {
        Self {
            records: vec![Record::default(); usize::from(size)].into(),
            data: (0..size).map(|_| MaybeUninit::uninit()).collect(),
        }
    }

    /// The record of `id`, if there is such an id.
    #[inline(always)]
    pub fn get(&self, id: u32) -> Option<&Record> {
        self.records.get(id as usize)
    }

    /// Links each record as `link` says.
    pub fn link_all(&mut self, link: impl Fn(u16) -> u32) {
        for (id, record) in (0..).zip(&mut self.records) {
            record.link = link(id);
        }
    }

    /// The record of `id`.
    ///
    /// # Safety
    ///
    /// `id` is below the number of ids.
    #[inline(always)]
    pub unsafe fn record(&mut self, id: usize) -> &mut Record {
        debug_assert!(id < self.records.len());
        // SAFETY: promised by the caller.
        unsafe { self.records.get_unchecked_mut(id) }
    }

    /// Notes that the device has buffer `id`, which it had not, and can write so many bytes of it.
    ///
    /// # Safety
    ///
    /// `id` is below the number of ids.
    #[inline(always)]
    pub unsafe fn put(&mut self, id: usize, writable: u64, data: T) {
        // SAFETY: promised by the caller; there is one piece of data for each record.
        unsafe {
            self.data.get_unchecked_mut(id).write(data);
            self.record(id).limit = writable + 1;
        }
    }

    /// Takes back what travelled with buffer `id`.
    ///
    /// # Safety
    ///
    /// `id` is below the number of ids, and its record's limit is not 0.
    #[inline(always)]
    pub unsafe fn take(&mut self, id: usize) -> T {
        // SAFETY: promised by the caller. With a limit the data is initialized, and it is not read again without.
        unsafe {
            self.record(id).limit = 0;
            self.data.get_unchecked(id).assume_init_read()
        }
    }

    /// Takes back what travelled with the next buffer in flight with an id from `next` on, which it moves past it.
    pub fn take_from(&mut self, next: &mut u16) -> Option<T> {
        while let Some(record) = self.get((*next).into()) {
            let (id, limit) = (*next, record.limit);
            *next += 1;
            if limit != 0 {
                // SAFETY: there is such a record, with a limit.
                return Some(unsafe { self.take(id.into()) });
            }
        }
        None
    }
}

impl<T> Drop for Buffers<T> {
    fn drop(&mut self) {
        let mut next = 0;
        while self.take_from(&mut next).is_some() {}
    }
}
