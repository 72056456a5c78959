//! The crate `virtio-drivers`: its `VirtQueue`, with EVENT_IDX.
//!
//! `unsafe` is needed here because the crate's platform trait and its adding and taking of buffers are.
//!
//! The platform is the cheapest there can be: addresses are what they are, sharing does nothing.

use std::alloc::{Layout, alloc_zeroed};
use std::ptr::NonNull;

use anyhow::{Context, Result, anyhow, ensure};
use virtio_drivers::queue::VirtQueue;
use virtio_drivers::transport::{DeviceStatus, DeviceType, InterruptStatus, Transport};
use virtio_drivers::{BufferDirection, Hal, PAGE_SIZE, PhysAddr};

use super::DriverEnd;
use crate::expect;
use crate::memory::Rings;
use crate::pattern::{BUFFERS, Pattern, QUEUE_SIZE};

/// The driver end.
pub struct Driver {
    queue: VirtQueue<Platform, { QUEUE_SIZE as usize }>,
    /// Of each chain of a batch: its readable segment.
    readable: Vec<[&'static [u8]; 1]>,
    /// Of each chain of a batch: its writable segments.
    writable: Vec<Vec<&'static mut [u8]>>,
    /// Which chain of the batch the crate has in flight under which token.
    slots: [u16; QUEUE_SIZE as usize],
    pattern: Pattern,
    written: u64,
    taken: u64,
    notifications: u64,
    failure: Option<anyhow::Error>,
}

impl Driver {
    /// The driver end of a fresh ring, in memory that is never given back.
    pub fn new(pattern: Pattern) -> Result<(Self, Rings)> {
        let mut transport = NoTransport { rings: None };
        let queue =
            VirtQueue::new(&mut transport, 0, pattern.indirect, true).map_err(|error| anyhow!("{error}"))?;
        let rings = transport.rings.context("virtio-drivers set up no ring")?;
        let (_, buffers) = Platform::dma_alloc(BUFFERS / PAGE_SIZE, BufferDirection::Both);
        let segment = |slot, segment| {
            let offset = pattern.offset(slot, segment) as usize;
            let length = pattern.length(segment) as usize;
            // SAFETY: the pattern's segments lie within `BUFFERS` bytes, apart from each other, and each is asked for once.
            // Nobody writes them while the crate has them: the raw device end writes no buffers.
            unsafe { std::slice::from_raw_parts_mut(buffers.as_ptr().add(offset), length) }
        };
        let driver = Self {
            queue,
            readable: (0..pattern.batch).map(|slot| [&*segment(slot, 0)]).collect(),
            writable: (0..pattern.batch)
                .map(|slot| {
                    (1..pattern.segments)
                        .map(|number| segment(slot, number))
                        .collect()
                })
                .collect(),
            slots: [0; QUEUE_SIZE as usize],
            pattern,
            written: 0,
            taken: 0,
            notifications: 0,
            failure: None,
        };
        Ok((driver, rings))
    }

    fn add_batch(&mut self) -> Result<()> {
        for (slot, (readable, writable)) in (0..).zip(self.readable.iter().zip(&mut self.writable)) {
            // SAFETY: the buffers live for ever and are not accessed while the queue has them.
            let token = unsafe { self.queue.add(readable, writable) }.map_err(|error| anyhow!("{error}"))?;
            self.slots[usize::from(token)] = slot;
        }
        Ok(())
    }

    fn take_batch(&mut self) -> Result<()> {
        let (mut total_written, mut taken) = (self.written, self.taken);
        while let Some(token) = self.queue.peek_used() {
            let slot = self.slots[usize::from(token)];
            let index = usize::from(slot);
            let readable: *const [&[u8]] = &self.readable[index];
            let writable: *mut [&mut [u8]] = self.writable[index].as_mut_slice();
            // SAFETY: both point into vectors that live as long as this and that nobody else uses meanwhile. (The crate
            // asks for one life time for the list and for the buffers in it, which no reference kept here can have.)
            let (readable, writable) = unsafe { (&*readable, &mut *writable) };
            // SAFETY: these are the buffers that were added under this token.
            let written = unsafe { self.queue.pop_used(token, readable, writable) };
            total_written += u64::from(written.map_err(|error| anyhow!("{error}"))?);
            taken += u64::from(slot);
        }
        (self.written, self.taken) = (total_written, taken);
        Ok(())
    }
}

impl DriverEnd for Driver {
    #[inline(never)]
    fn send(&mut self) {
        match self.add_batch() {
            Ok(()) => self.notifications += u64::from(self.queue.should_notify()),
            Err(error) => {
                self.failure.get_or_insert(error);
            }
        }
    }

    #[inline(never)]
    fn receive(&mut self) {
        if let Err(error) = self.take_batch() {
            self.failure.get_or_insert(error);
        }
    }

    fn check(&mut self, rounds: u64) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        let batch = u64::from(self.pattern.batch);
        let written = u64::from(self.pattern.written()) * batch * rounds;
        expect("bytes written", self.written, written)?;
        expect("sum of chains", self.taken, batch * (batch - 1) / 2 * rounds)?;
        // It compares indices without regard to their wrapping, so once in 65536 chains it does not notify.
        let missed = rounds - self.notifications.min(rounds);
        ensure!(
            missed <= 1 + rounds * batch / 65536,
            "{missed} available buffer notifications are missing"
        );
        Ok(())
    }
}

/// Memory as the process has it.
struct Platform;

// SAFETY: memory is allocated page-aligned and zeroed, and never given back; there is no MMIO.
unsafe impl Hal for Platform {
    fn dma_alloc(pages: usize, _direction: BufferDirection) -> (PhysAddr, NonNull<u8>) {
        let layout = Layout::from_size_align(pages * PAGE_SIZE, PAGE_SIZE).expect("a layout of whole pages");
        // SAFETY: the crate asks for one page at least.
        let pointer = NonNull::new(unsafe { alloc_zeroed(layout) }).expect("memory for the ring");
        (pointer.as_ptr() as PhysAddr, pointer)
    }

    unsafe fn dma_dealloc(_address: PhysAddr, _pointer: NonNull<u8>, _pages: usize) -> i32 {
        0
    }

    unsafe fn mmio_phys_to_virt(_address: PhysAddr, _size: usize) -> NonNull<u8> {
        NonNull::dangling()
    }

    #[inline]
    unsafe fn share(buffer: NonNull<[u8]>, _direction: BufferDirection) -> PhysAddr {
        buffer.cast::<u8>().as_ptr() as PhysAddr
    }

    #[inline]
    unsafe fn unshare(_address: PhysAddr, _buffer: NonNull<[u8]>, _direction: BufferDirection) {}
}

/// A transport that only learns where the ring lies.
struct NoTransport {
    rings: Option<Rings>,
}

impl Transport for NoTransport {
    fn device_type(&self) -> DeviceType {
        DeviceType::Block
    }

    fn read_device_features(&mut self) -> u64 {
        0
    }

    fn write_driver_features(&mut self, _features: u64) {}

    fn max_queue_size(&mut self, _queue: u16) -> u32 {
        QUEUE_SIZE.into()
    }

    fn notify(&mut self, _queue: u16) {}

    fn get_status(&self) -> DeviceStatus {
        DeviceStatus::empty()
    }

    fn set_status(&mut self, _status: DeviceStatus) {}

    fn set_guest_page_size(&mut self, _size: u32) {}

    fn requires_legacy_layout(&self) -> bool {
        false
    }

    fn queue_set(
        &mut self,
        _queue: u16,
        _size: u32,
        descriptors: PhysAddr,
        driver: PhysAddr,
        device: PhysAddr,
    ) {
        self.rings = Some(Rings {
            descriptor_area: descriptors as *mut u8,
            driver_area: driver as *mut u8,
            device_area: device as *mut u8,
            tables: std::ptr::null_mut(),
            tables_address: 0,
            buffers: 0,
        });
    }

    fn queue_unset(&mut self, _queue: u16) {}

    fn queue_used(&mut self, _queue: u16) -> bool {
        false
    }

    fn ack_interrupt(&mut self) -> InterruptStatus {
        InterruptStatus::empty()
    }

    fn read_config_generation(&self) -> u32 {
        0
    }

    fn read_config_space<T>(&self, _offset: usize) -> virtio_drivers::Result<T> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }

    fn write_config_space<T>(&mut self, _offset: usize, _value: T) -> virtio_drivers::Result<()> {
        Err(virtio_drivers::Error::ConfigSpaceMissing)
    }
}
