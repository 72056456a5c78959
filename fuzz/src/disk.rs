//! A disk's content as its queues use it, and the memory that they have data in.

use std::sync::Arc;

use ringwright_device::block::backend::{Lane, Request};
use ringwright_memory::{Area, Buffer, Mapping, Memory, Region, Slices};

/// Longest transfer.
pub const MAX_BYTES: usize = 1 << 14;

/// What is written around a request's data.
const CANARY: u8 = 0xc7;

/// Bytes on each side of a request's data that nobody may touch.
const MARGIN: usize = 4096;

/// Memory for the data of one request, with a margin on both sides.
pub struct Room {
    buffer: Buffer,
    memory: Arc<Memory>,
}

impl Default for Room {
    fn default() -> Self {
        let mapping = Mapping::anonymous(MAX_BYTES + 2 * MARGIN).expect("memory is left");
        let region = Region::new(0, Arc::new(mapping));
        let memory = Memory::new(vec![region.clone()]).expect("one region");
        let area = Area::from_region(region).expect("it is writable");
        let buffer = area.allocate(MAX_BYTES + 2 * MARGIN, 1).expect("all of it");
        let room = Self {
            buffer,
            memory: Arc::new(memory),
        };
        room.fill_all(CANARY);
        room
    }
}

impl Room {
    /// What the data are in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// The first `length` bytes.
    pub fn part(&self, length: usize) -> Slices<'_> {
        self.buffer.slices().part(MARGIN, length).expect("within")
    }

    /// Puts `bytes` in.
    pub fn put(&self, bytes: &[u8]) {
        self.part(bytes.len()).write(0, bytes).expect("within");
    }

    /// The first `length` bytes; panics if anything has been written elsewhere. Afterwards all is as new.
    pub fn take(&self, length: usize) -> Vec<u8> {
        let mut all = vec![0; self.buffer.len()];
        self.buffer.read(0, &mut all).expect("within");
        let end = MARGIN + length;
        let untouched = all[..MARGIN]
            .iter()
            .chain(&all[end..])
            .all(|byte| *byte == CANARY);
        assert!(untouched, "written outside of the request's data");
        self.fill_all(CANARY);
        all[MARGIN..end].to_vec()
    }

    fn fill_all(&self, byte: u8) {
        let all = self.buffer.slices();
        all.fill(0, all.len(), byte).expect("within");
    }
}

/// Carries out one request, however long it takes, on a lane that has no others.
pub fn carry_out(lane: &mut dyn Lane, request: &Request<'_>, memory: &Arc<Memory>) -> Result<(), String> {
    let outcome = match lane.now(request) {
        Some(outcome) => outcome,
        None => lane
            .later(0, request, memory)
            .and_then(|()| lane.submit())
            .and_then(|()| wait(lane)),
    };
    outcome.map_err(|error| error.to_string())
}

fn wait(lane: &mut dyn Lane) -> std::io::Result<()> {
    loop {
        if let Some((tag, outcome)) = lane.completed() {
            assert_eq!(tag, 0, "the only request");
            return outcome;
        }
        lane.wait()?;
    }
}
