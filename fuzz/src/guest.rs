//! Memory that both ends see: on the heap, so that AddressSanitizer knows where it ends.
//!
//! `unsafe` is needed here to call such memory a region.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use ringwright_memory::{Memory, Region, Segment};
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::{packed, split};

use crate::script::Script;

/// Where the region with the virtqueue starts.
pub const MAIN: u64 = 0x1_0000;
/// Length of the regions besides the main one.
const SMALL: u64 = 0x1000;
/// A region that cannot be written.
const READ_ONLY: u64 = 0x8000_0000;
/// The last addresses there are.
const TOP: u64 = u64::MAX - (SMALL - 1);

/// The regions of a guest, and how its processor orders bytes.
pub struct Guest {
    /// The main region, one right behind it, a read-only one, and one at the end of the address space.
    pub regions: [Region; 4],
    memory: Memory,
    order: ByteOrder,
}

impl Guest {
    /// A guest whose main region has `length` bytes.
    pub fn new(length: usize, order: ByteOrder) -> Self {
        Self::with_main(region(MAIN, length, true), order)
    }

    /// A guest with the main region given, which starts at [`MAIN`].
    pub fn with_main(main: Region, order: ByteOrder) -> Self {
        let small = SMALL as usize;
        let end = MAIN + main.len();
        let regions = [
            main,
            region(end, small, true),
            region(READ_ONLY, small, false),
            region(TOP, small, true),
        ];
        let memory = Memory::new(regions.to_vec()).expect("the regions do not overlap");
        Self {
            regions,
            memory,
            order,
        }
    }

    /// All of the memory, as the guest sees it.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// What the main region holds.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.regions[0].len() as usize];
        self.memory
            .read(MAIN, &mut bytes)
            .expect("the main region is there");
        bytes
    }

    /// Writes two bytes, if there is memory at `address`.
    pub fn write16(&self, address: u64, value: u16) {
        self.write(
            address,
            match self.order {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            },
        );
    }

    /// Writes four bytes, if there is memory at `address`.
    pub fn write32(&self, address: u64, value: u32) {
        self.write(
            address,
            match self.order {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            },
        );
    }

    /// Writes eight bytes, if there is memory at `address`.
    pub fn write64(&self, address: u64, value: u64) {
        self.write(
            address,
            match self.order {
                ByteOrder::Little => value.to_le_bytes(),
                ByteOrder::Big => value.to_be_bytes(),
            },
        );
    }

    fn write<const N: usize>(&self, address: u64, bytes: [u8; N]) {
        // The script may well name addresses where there is none.
        let _no_memory = self.memory.write(address, &bytes);
    }

    /// Writes one to eight bytes to some place of the virtqueue.
    pub fn scribble(&self, script: &mut Script<'_>, layout: &Layout, packed: bool) {
        let [descriptors, driver, device] = lengths(layout.size, packed);
        let (start, length) = match script.u8() % 4 {
            0 => (layout.driver_area, driver),
            1 => (layout.device_area, device),
            _ => (layout.descriptor_area, descriptors),
        };
        let offset = script.below(length);
        match script.u8() % 4 {
            0 => self.write(start.wrapping_add(offset), [script.u8()]),
            1 => self.write16(start.wrapping_add(offset & !1), script.u16()),
            2 => self.write32(start.wrapping_add(offset & !3), script.u32()),
            _ => self.write64(start.wrapping_add(offset & !7), script.u64()),
        }
    }

    /// An address that the script chooses: in a region, at its border, or anywhere.
    pub fn address(&self, script: &mut Script<'_>) -> u64 {
        let main = self.regions[0].len();
        match script.u8() % 8 {
            0..=2 => MAIN + script.below(main),
            3 => (MAIN + main).wrapping_sub(script.u8().into()),
            4 => MAIN + main + script.below(SMALL + 16),
            5 => READ_ONLY + script.below(SMALL + 16),
            6 => TOP + script.below(SMALL),
            _ => script.u64(),
        }
    }
}

/// A virtqueue of `size` at the start of the main region.
pub fn layout(size: u16, packed: bool) -> Layout {
    let [descriptors, driver, _] = lengths(size, packed);
    let driver_area = MAIN + descriptors;
    Layout {
        size,
        descriptor_area: MAIN,
        driver_area,
        device_area: (driver_area + driver).next_multiple_of(4),
    }
}

/// The virtqueue at `layout`, moved up by `by` bytes.
pub fn shift(layout: Layout, by: u64) -> Layout {
    Layout {
        size: layout.size,
        descriptor_area: layout.descriptor_area + by,
        driver_area: layout.driver_area + by,
        device_area: layout.device_area + by,
    }
}

/// Lengths of the parts of a virtqueue of `size`, in bytes.
pub fn lengths(size: u16, packed: bool) -> [u64; 3] {
    if packed {
        return [packed::desc_size(size), 4, 4];
    }
    [
        split::desc_size(size),
        split::avail_size(size),
        split::used_size(size),
    ]
}

/// Memory aligned as a page is, which is what virtqueues of legacy layout need.
#[repr(align(4096))]
struct Page {
    _words: [AtomicU64; 512],
}

/// A region of `length` zeroes, which is a multiple of the page size.
pub fn region(address: u64, length: usize, writable: bool) -> Region {
    let page = || Page {
        _words: std::array::from_fn(|_| AtomicU64::new(0)),
    };
    let pages: Arc<[Page]> = (0..length / size_of::<Page>()).map(|_| page()).collect();
    let pointer = pages.as_ptr().cast::<u8>().cast_mut();
    // SAFETY: the pages are atomics, and as many as hold `length` bytes; the region keeps them.
    unsafe {
        let segment = Segment::new(pointer, pages.len() * size_of::<Page>());
        Region::from_raw(address, segment, writable, Arc::new(pages))
    }
}
