//! The buffers that a driver end has given to the device, by buffer id (split: by first descriptor).
//!
//! `unsafe` is needed here because what travels with a buffer is there only while the device has it, which the buffer's
//! record tells.

use alloc::boxed::Box;
use alloc::vec;
use core::mem::MaybeUninit;

/// What is known of a buffer id or of a descriptor.
#[derive(Clone, Copy)]
pub struct Record {
    /// Bytes that the device can write; [`NOT_OUT`] if it does not have the buffer.
    writable: i64,
    /// What follows in a list of the format's own.
    pub link: u16,
    /// The last of the buffer's descriptors, where the format needs it.
    pub last: u16,
    /// Number of the buffer's descriptors.
    pub descriptors: u32,
}

/// In place of a number of bytes, and less than all: the device does not have the buffer.
const NOT_OUT: i64 = -1;

impl Record {
    /// Nothing is known.
    const NONE: Self = Self {
        writable: NOT_OUT,
        link: 0,
        last: 0,
        descriptors: 0,
    };

    /// Whether the device has the buffer.
    #[inline(always)]
    pub fn is_out(&self) -> bool {
        self.writable != NOT_OUT
    }

    /// Whether the device has the buffer, and can have written so many bytes.
    #[inline(always)]
    pub fn allows(&self, written: u32) -> bool {
        i64::from(written) <= self.writable
    }

    /// Bytes of the device-writable part.
    pub fn writable(&self) -> u64 {
        self.writable.unsigned_abs()
    }

    /// The same, as far as a used length can say.
    pub fn longest(&self) -> u32 {
        u32::try_from(self.writable).unwrap_or(u32::MAX)
    }
}

/// Records and what travels with the buffers.
pub struct Buffers<T> {
    records: Box<[Record]>,
    /// As many as there are records. Initialized where the record says that the buffer is out.
    data: Box<[MaybeUninit<T>]>,
}

impl<T> Buffers<T> {
    /// Of so many ids.
    pub fn new(size: u16) -> Self {
        Self {
            records: vec![Record::NONE; usize::from(size)].into(),
            data: (0..size).map(|_| MaybeUninit::uninit()).collect(),
        }
    }

    /// The record of `id`, if the device has a buffer of this id.
    pub fn get_out(&self, id: u32) -> Option<Record> {
        let record = self.records.get(id as usize)?;
        record.is_out().then_some(*record)
    }

    /// Number of buffers that the device has. They are counted here and now, so that nothing has to count on the way.
    pub fn out(&self) -> u16 {
        self.records.iter().filter(|record| record.is_out()).count() as u16
    }

    /// All of them at hand.
    #[inline(always)]
    pub fn by_id(&mut self) -> ById<'_, T> {
        ById {
            records: &mut self.records,
            data: &mut self.data,
        }
    }

    /// Links each record as `link` says.
    pub fn link_all(&mut self, link: impl Fn(u16) -> u16) {
        for (id, record) in (0..).zip(&mut self.records) {
            record.link = link(id);
        }
    }

    /// Takes back what travelled with the next buffer in flight with an id from `next` on, which it moves past it.
    pub fn take_from(&mut self, next: &mut u16) -> Option<T> {
        while let Some(record) = self.records.get(usize::from(*next)) {
            let (id, is_out) = (*next, record.is_out());
            *next += 1;
            if is_out {
                // SAFETY: there is such a record, and its buffer is out.
                return Some(unsafe { self.by_id().take(id.into()) });
            }
        }
        None
    }
}

/// [`Buffers`], with nothing between here and there: where they are stays in registers.
pub struct ById<'q, T> {
    records: &'q mut [Record],
    data: &'q mut [MaybeUninit<T>],
}

impl<T> ById<'_, T> {
    /// The record of `id`, if there is such an id.
    #[inline(always)]
    pub fn get(&self, id: u32) -> Option<&Record> {
        self.records.get(id as usize)
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
            self.record(id).writable = writable as i64;
        }
    }

    /// Takes back what travelled with buffer `id`.
    ///
    /// # Safety
    ///
    /// `id` is below the number of ids, and its record says that the buffer is out.
    #[inline(always)]
    pub unsafe fn take(&mut self, id: usize) -> T {
        // SAFETY: promised by the caller. While the buffer is out the data is initialized, and it is not read again after.
        unsafe {
            self.record(id).writable = NOT_OUT;
            self.data.get_unchecked(id).assume_init_read()
        }
    }
}

impl<T> Drop for Buffers<T> {
    fn drop(&mut self) {
        let mut next = 0;
        while self.take_from(&mut next).is_some() {}
    }
}
