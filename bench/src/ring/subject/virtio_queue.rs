//! The crate `virtio-queue`, with the memory of `vm-memory` that does nothing but map.
//!
//! Used in the way that is cheapest where there is a choice: all chains of a batch from one iterator instead of one by
//! one, memory by reference instead of by `Arc`, without a dirty bitmap, one region.

use anyhow::{Result, ensure};
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap};

use super::DeviceEnd;
use crate::expect;
use crate::memory::Rings;
use crate::pattern::{MAX_BATCH, Pattern, QUEUE_SIZE, trace};
use crate::place::Place;

/// The device end.
pub struct Device {
    queue: Queue,
    memory: &'static GuestMemoryMmap<()>,
    buffers: usize,
    pattern: Pattern,
    traced: u64,
    notifications: u64,
    failure: Option<anyhow::Error>,
}

impl Device {
    /// The device end of a fresh ring, in memory that is never given back.
    pub fn new(pattern: Pattern) -> Result<(Self, Rings)> {
        let ranges = [(GuestAddress(Place::BASE), Place::LENGTH)];
        let memory: &GuestMemoryMmap<()> = Box::leak(Box::new(GuestMemoryMmap::from_ranges(&ranges)?));
        let rings = Place::rings(memory.get_host_address(GuestAddress(Place::BASE))?);
        let mut queue = Queue::new(QUEUE_SIZE)?;
        let halves = |address: u64| (Some(address as u32), Some((address >> 32) as u32));
        let (low, high) = halves(Place::DESCRIPTOR_AREA);
        queue.set_desc_table_address(low, high);
        let (low, high) = halves(Place::DRIVER_AREA);
        queue.set_avail_ring_address(low, high);
        let (low, high) = halves(Place::DEVICE_AREA);
        queue.set_used_ring_address(low, high);
        queue.set_event_idx(true);
        queue.set_ready(true);
        ensure!(queue.is_valid(memory), "the ring is not valid");
        let buffers = memory.get_host_address(GuestAddress(Place::BUFFERS))? as usize;
        let device = Self {
            queue,
            memory,
            buffers,
            pattern,
            traced: 0,
            notifications: 0,
            failure: None,
        };
        Ok((device, rings))
    }

    fn batch(&mut self) -> Result<()> {
        let memory = self.memory;
        let mut traced = self.traced;
        let mut served = [(0, 0); MAX_BATCH as usize];
        let mut count = 0;
        for (chain, served) in self.queue.iter(memory)?.zip(&mut served) {
            let mut written = 0;
            *served = (chain.head_index(), 0);
            for descriptor in chain {
                let slice = memory.get_slice(descriptor.addr(), descriptor.len() as usize)?;
                traced = traced.wrapping_add(trace(slice.ptr_guard_mut().as_ptr(), slice.len()));
                if descriptor.is_write_only() {
                    written += descriptor.len();
                }
            }
            served.1 = written;
            count += 1;
        }
        for (head, written) in &served[..count] {
            self.queue.add_used(memory, *head, *written)?;
        }
        self.traced = traced;
        self.notifications += u64::from(self.queue.needs_notification(memory)?);
        let more = self.queue.enable_notification(memory)?;
        ensure!(!more, "chains are left");
        Ok(())
    }
}

impl DeviceEnd for Device {
    #[inline(never)]
    fn serve(&mut self) {
        if let Err(error) = self.batch() {
            self.failure.get_or_insert(error);
        }
    }

    fn check(&mut self, rounds: u64) -> Result<()> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        expect(
            "segments",
            self.traced,
            self.pattern.trace(self.buffers).wrapping_mul(rounds),
        )?;
        expect("used buffer notifications", self.notifications, rounds)
    }
}
