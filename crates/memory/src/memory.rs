//! A set of regions and the resolution of addresses in it.
//!
//! `unsafe` is needed here to wrap segments of the regions into views for the copies of the control path, and into atomics
//! for single bytes.

use crate::translate::Pieces;
use crate::{Access, DirtyLog, Fault, MapError, Region, Segment, Sink, Slices, Translate, Window};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicU8, Ordering::SeqCst};
#[cfg(debug_assertions)]
use core::sync::atomic::{AtomicUsize, Ordering};

/// An unchanging set of regions, sorted by address, with an optional translation before it and an optional log of
/// writes. Shared as `Arc<Memory>`; a change makes a new `Memory` (see [`MemoryMap`](crate::MemoryMap)).
#[derive(Clone)]
pub struct Memory {
    regions: Vec<Region>,
    translation: Option<Arc<dyn Translate>>,
    dirty_log: Option<Arc<DirtyLog>>,
    #[cfg(debug_assertions)]
    id: usize,
}

impl Memory {
    /// The memory made of `regions`, in any order. Refuses empty regions, regions past the end of the address
    /// space and regions that overlap; adjacent ones are fine.
    pub fn new(mut regions: Vec<Region>) -> Result<Self, MapError> {
        regions.sort_by_key(Region::guest_address);
        for region in &regions {
            let (address, length) = (region.guest_address(), region.len());
            if length == 0 {
                return Err(MapError::Empty { address });
            }
            // The last byte counts, so that a region may end exactly at 2^64.
            if address.checked_add(length - 1).is_none() {
                return Err(MapError::Overflow { address, length });
            }
        }
        for pair in regions.windows(2) {
            if let [lower, upper] = pair
                && upper.guest_address() - lower.guest_address() < lower.len()
            {
                return Err(MapError::Overlap {
                    first: lower.guest_address(),
                    second: upper.guest_address(),
                });
            }
        }
        Ok(Self {
            regions,
            translation: None,
            dirty_log: None,
            #[cfg(debug_assertions)]
            id: next_id(),
        })
    }

    /// The same memory behind `translation`, as VIRTIO_F_ACCESS_PLATFORM asks: addresses given to
    /// [`resolve`](Self::resolve) and its kin are then not guest-physical but what `translation` takes.
    pub fn with_translation(mut self, translation: Arc<dyn Translate>) -> Self {
        self.translation = Some(translation);
        #[cfg(debug_assertions)]
        {
            self.id = next_id();
        }
        self
    }

    /// The same memory with a log of the pages that the device wrote. Writes are recorded by
    /// [`mark_written`](Self::mark_written) and by [`write`](Self::write), not by resolving an address.
    pub fn with_dirty_log(mut self, log: Arc<DirtyLog>) -> Self {
        self.dirty_log = Some(log);
        self
    }

    /// The same memory without the log.
    pub fn without_dirty_log(mut self) -> Self {
        self.dirty_log = None;
        self
    }

    /// The log of written pages, if there is one. Its addresses are guest-physical.
    pub fn dirty_log(&self) -> Option<&DirtyLog> {
        self.dirty_log.as_deref()
    }

    /// The regions by ascending address.
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }

    /// The translation, if there is one.
    pub fn translation(&self) -> Option<&Arc<dyn Translate>> {
        self.translation.as_ref()
    }

    /// The same memory, translation and log with other regions.
    pub(crate) fn with_regions(&self, regions: Vec<Region>) -> Result<Self, MapError> {
        let memory = Self::new(regions)?;
        Ok(Self {
            translation: self.translation.clone(),
            dirty_log: self.dirty_log.clone(),
            ..memory
        })
    }

    /// Gives `segments` the host memory of the `length` bytes at `address`: nothing if `length` is 0, one segment
    /// as a rule, several where the range crosses from one region into the next.
    ///
    /// The segments stay valid for as long as this `Memory` or a clone of its regions. After a fault, `segments`
    /// may have been given a part of the range.
    #[inline(always)]
    pub fn resolve(
        &self,
        window: &mut Window,
        address: u64,
        length: u32,
        access: Access,
        segments: &mut impl Sink,
    ) -> Result<(), Fault> {
        #[cfg(debug_assertions)]
        {
            debug_assert!(
                window.memory == 0 || window.memory == self.id,
                "a window serves one memory"
            );
            window.memory = self.id;
        }
        if let Some(segment) = window.direct.find(address, length.into(), access) {
            let full = |_| Fault::TooManySegments {
                address,
                length: length.into(),
            };
            return segments.push(segment).map_err(full);
        }
        self.resolve_slowly(window, address, length.into(), access, segments)
    }

    /// The one segment of `length` bytes at `address`. Faults with [`Fault::Split`] if they lie in several regions,
    /// even when those are neighbours in host memory. For structures that are kept at hand, such as virtqueues:
    /// the segment is valid for as long as this `Memory`, and with a translation, for one generation of that. No bytes
    /// are in no memory: a length of 0 faults.
    pub fn resolve_one(&self, address: u64, length: usize, access: Access) -> Result<Segment, Fault> {
        let length = length as u64;
        let mut one = One(None);
        match self.resolve_slowly(&mut Window::new(), address, length, access, &mut one) {
            Err(Fault::TooManySegments { .. }) => Err(Fault::Split { address, length }),
            Err(fault) => Err(fault),
            Ok(()) => one.0.ok_or(Fault::Unmapped { address }),
        }
    }

    /// The segments of a range.
    #[cfg(feature = "std")]
    pub(crate) fn pieces(&self, address: u64, length: u64, access: Access) -> Result<Vec<Segment>, Fault> {
        let mut segments = Vec::new();
        self.resolve_slowly(&mut Window::new(), address, length, access, &mut segments)?;
        Ok(segments)
    }

    /// Copies the bytes at `address` to `into`. After a fault, nothing was copied.
    pub fn read(&self, address: u64, into: &mut [u8]) -> Result<(), Fault> {
        let mut segments = Vec::new();
        self.resolve_slowly(
            &mut Window::new(),
            address,
            into.len() as u64,
            Access::Read,
            &mut segments,
        )?;
        // SAFETY: the segments are of this memory, which is borrowed for longer than the view lives.
        let copied = unsafe { Slices::new(&segments) }.read(0, into);
        debug_assert!(copied.is_ok(), "the segments of a range are as long as the range");
        Ok(())
    }

    /// Copies `from` to `address` and marks the pages in the dirty log. After a fault, nothing was copied.
    pub fn write(&self, address: u64, from: &[u8]) -> Result<(), Fault> {
        let mut segments = Vec::new();
        self.resolve_slowly(
            &mut Window::new(),
            address,
            from.len() as u64,
            Access::Write,
            &mut segments,
        )?;
        // SAFETY: the segments are of this memory, which is borrowed for longer than the view lives.
        let copied = unsafe { Slices::new(&segments) }.write(0, from);
        debug_assert!(copied.is_ok(), "the segments of a range are as long as the range");
        self.mark_written(&segments, from.len());
        Ok(())
    }

    /// Sets `bits` of the byte at `address` in one atomic step, marks its page in the dirty log, and gives what the byte was
    /// before. Sequentially consistent.
    pub fn set_bits(&self, address: u64, bits: u8) -> Result<u8, Fault> {
        let segment = self.resolve_one(address, 1, Access::ReadWrite)?;
        // SAFETY: the segment is of this memory, which is borrowed for longer than the reference lives, and was resolved
        // for writing.
        let byte = unsafe { segment.atomic::<AtomicU8>(0) };
        let before = byte.ok_or(Fault::Unmapped { address })?.fetch_or(bits, SeqCst);
        self.mark_written(&[segment], 1);
        Ok(before)
    }

    /// Marks the pages of the first `written` bytes of `segments`, which this memory resolved, in the dirty log.
    /// To be called after they were written and before the driver learns of it. Does nothing without a log.
    pub fn mark_written(&self, segments: &[Segment], written: usize) {
        let Some(log) = &self.dirty_log else { return };
        let mut left = written;
        for segment in segments {
            let start = segment.pointer() as usize;
            let end = start + segment.len().min(left);
            left -= end - start;
            // Host memory may appear at several guest addresses; all of them have changed.
            for region in &self.regions {
                let base = region.pointer() as usize;
                let (from, to) = (start.max(base), end.min(base + region.segment().len()));
                if from < to {
                    log.mark(region.guest_address() + (from - base) as u64, (to - from) as u64);
                }
            }
        }
    }

    #[cold]
    fn resolve_slowly(
        &self,
        window: &mut Window,
        address: u64,
        length: u64,
        access: Access,
        segments: &mut dyn Sink,
    ) -> Result<(), Fault> {
        if length == 0 {
            return Ok(());
        }
        if address.checked_add(length - 1).is_none() {
            return Err(Fault::Overflow { address, length });
        }
        let full = |_| Fault::TooManySegments { address, length };
        match &self.translation {
            None => self.walk(address, length, access, |region, segment| {
                window
                    .direct
                    .record(region.guest_address(), region.segment(), access);
                segments.push(segment).map_err(full)
            }),
            Some(translation) => {
                let generation = translation.generation();
                if window.generation != generation {
                    window.translated = Default::default();
                    window.generation = generation;
                }
                if let Some(segment) = window.translated.find(address, length, access) {
                    return segments.push(segment).map_err(full);
                }
                for piece in Pieces::new(&**translation, address, length, access) {
                    let piece = piece?;
                    let mut bus_address = piece.address;
                    self.walk(piece.guest_address, piece.length, access, |_, segment| {
                        window.translated.record(bus_address, segment, access);
                        // The range may end with the address space; then this is not looked at again.
                        bus_address = bus_address.wrapping_add(segment.len() as u64);
                        segments.push(segment).map_err(full)
                    })?;
                }
                Ok(())
            }
        }
    }

    /// Calls `visit` with each region that the range of guest-physical addresses touches, and the range's part in it.
    /// The range is not empty and does not overflow.
    fn walk(
        &self,
        mut address: u64,
        mut length: u64,
        access: Access,
        mut visit: impl FnMut(&Region, Segment) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let after = self
            .regions
            .partition_point(|region| region.guest_address() <= address);
        let mut regions = self
            .regions
            .get(after.saturating_sub(1)..)
            .unwrap_or_default()
            .iter();
        loop {
            let region = regions.next().ok_or(Fault::Unmapped { address })?;
            // An address below the region wraps to an offset beyond its end.
            let offset = address.wrapping_sub(region.guest_address());
            if offset >= region.len() {
                return Err(Fault::Unmapped { address });
            }
            if access.writes() && !region.writable() {
                return Err(Fault::Denied { address, access });
            }
            let here = length.min(region.len() - offset);
            let segment = region.segment().part(offset as usize, here as usize);
            visit(region, segment.ok_or(Fault::Unmapped { address })?)?;
            length -= here;
            if length == 0 {
                return Ok(());
            }
            address += here;
        }
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory")
            .field("regions", &self.regions)
            .field("translated", &self.translation.is_some())
            .field("logged", &self.dirty_log.is_some())
            .finish()
    }
}

/// Takes one segment.
struct One(Option<Segment>);

impl Sink for One {
    fn push(&mut self, segment: Segment) -> Result<(), crate::Full> {
        match self.0.replace(segment) {
            None => Ok(()),
            Some(_) => Err(crate::Full),
        }
    }
}

/// A number for each memory, so that debug builds notice a window used with the wrong one. Not 0.
#[cfg(debug_assertions)]
fn next_id() -> usize {
    static LAST: AtomicUsize = AtomicUsize::new(0);
    LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
}

#[cfg(test)]
#[path = "memory_tests.rs"]
mod tests;
