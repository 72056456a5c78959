//! Disks: many requests outstanding on two queues, each read checked against what was written.

use std::sync::Arc;

use ringwright_device::block;
use ringwright_driver::Transport;
use ringwright_driver::block::{Block, Completion, Refusal, Request};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::feature;

use crate::common::*;

/// The disk is used in extents, of which at most one request each is outstanding.
const EXTENTS: u64 = 64;
const EXTENT: usize = 2048;
const SECTORS: u64 = EXTENT as u64 / 512;
const REQUESTS: u64 = 500;
pub const QUEUES: u16 = 2;

const WRITE: u64 = 1 << 32;
const FLUSH: u64 = u64::MAX;

pub fn device() -> block::Block {
    let backend = Arc::new(block::backend::Memory::new(EXTENTS as u32 * EXTENT as u32).unwrap());
    let options = block::Options {
        queues: QUEUES,
        serial: "a serial number".into(),
        ..block::Options::default()
    };
    block::Block::new(backend, options).unwrap()
}

/// What extent `extent` contains when it has been written `version` times.
fn extent_content(extent: u64, version: u64) -> Vec<u8> {
    match version {
        0 => vec![0; EXTENT],
        _ => content(extent << 32 | version, EXTENT),
    }
}

pub fn bytes(buffer: &Buffer) -> Vec<u8> {
    let mut bytes = vec![0; buffer.len()];
    buffer.read(0, &mut bytes).unwrap();
    bytes
}

/// What the disk should contain, and what is under way.
struct Model {
    versions: Vec<u64>,
    busy: Vec<bool>,
    issued: u64,
    outstanding: u64,
    peak: u64,
}

impl Model {
    fn new() -> Self {
        Self {
            versions: vec![0; EXTENTS as usize],
            busy: vec![false; EXTENTS as usize],
            issued: 0,
            outstanding: 0,
            peak: 0,
        }
    }

    /// Submits the next request; `false` if its queue is full or there is no more.
    fn submit<T: Transport>(&mut self, disk: &mut Block<T>, area: &Arc<Area>, seed: u64) -> bool {
        if self.issued == REQUESTS {
            return false;
        }
        let random = mix(seed + self.issued);
        let queue = (random % u64::from(QUEUES)) as u16;
        let chosen = (random >> 8) % EXTENTS;
        let Some(extent) = (chosen..EXTENTS)
            .chain(0..chosen)
            .find(|extent| !self.busy[*extent as usize])
        else {
            return false;
        };
        let version = self.versions[extent as usize] + 1;
        let buffer = || area.allocate(EXTENT, 512).unwrap();
        let (request, tag) = match random >> 32 & 7 {
            0 => (Request::flush(), FLUSH),
            1..=3 => {
                let buffer = buffer();
                buffer.write(0, &extent_content(extent, version)).unwrap();
                (Request::write(extent * SECTORS, buffer), extent | WRITE)
            }
            _ => (Request::read(extent * SECTORS, buffer()), extent),
        };
        if let Err(refused) = disk.submit(queue, request, tag) {
            assert_eq!(refused.reason, Refusal::Full);
            return false;
        }
        if tag != FLUSH {
            self.busy[extent as usize] = true;
            self.versions[extent as usize] += u64::from(tag & WRITE != 0);
        }
        self.issued += 1;
        self.outstanding += 1;
        self.peak = self.peak.max(self.outstanding);
        true
    }

    fn complete(&mut self, completion: Completion) {
        completion.result.unwrap();
        self.outstanding -= 1;
        if completion.tag == FLUSH {
            return assert!(completion.data.into_buffer().is_none());
        }
        let extent = completion.tag & !WRITE;
        assert!(std::mem::take(&mut self.busy[extent as usize]));
        // Of a write, too: its buffer comes back as it was.
        let expected = extent_content(extent, self.versions[extent as usize]);
        assert!(
            bytes(&completion.data.into_buffer().unwrap()) == expected,
            "extent {extent}"
        );
    }
}

#[test]
fn requests_on_two_queues() {
    for (number, (format, size)) in shapes().into_iter().enumerate() {
        let loopback = join(device(), format);
        let area = loopback.area().clone();
        let mut disk = Block::new(loopback, &area, QUEUES, options(format, size)).unwrap();
        assert_eq!(disk.session().features() & !feature::DEVICE_TYPE_BITS, format);
        assert_eq!(disk.queues(), QUEUES);
        let peak = exercise(&mut disk, &area, number as u64, wait);
        // With tables each request takes one descriptor, else three.
        let most = match format.contains(feature::INDIRECT_DESC) {
            true => u64::from(size),
            false => u64::from(size / 3),
        };
        assert!(peak >= most.min(EXTENTS / 2), "{peak} at once");
        let counters = disk.session().transport().host().counters();
        let chains: u64 = counters.iter().map(|queue| queue.chains).sum();
        assert_eq!(chains, REQUESTS);
        assert!(counters.iter().all(|queue| queue.chains > 0 && queue.errors == 0));
        drop(disk);
        assert!(area.allocate(area.len(), 1).is_some(), "all memory is free again");
    }
}

/// Many requests on both queues of a disk that nobody has written to yet. Gives the most that were outstanding at once.
pub fn exercise<T: Transport>(
    disk: &mut Block<T>,
    area: &Arc<Area>,
    seed: u64,
    mut wait: impl FnMut(&mut T),
) -> u64 {
    let mut model = Model::new();
    let deadline = Deadline::new();
    while model.issued < REQUESTS || model.outstanding > 0 {
        deadline.check();
        while model.submit(disk, area, seed * REQUESTS) {}
        let before = model.outstanding;
        for queue in 0..QUEUES {
            disk.publish(queue).unwrap();
            while let Some(completion) = disk.poll(queue).unwrap() {
                model.complete(completion);
            }
        }
        let ready = [0, 1]
            .map(|queue| disk.enable_notifications(queue))
            .contains(&true);
        if model.outstanding == before && !ready {
            wait(disk.session().transport());
        }
    }
    model.peak
}

#[test]
fn the_serial_number_and_statuses() {
    for format in formats() {
        let loopback = join(device(), format);
        let area = loopback.area().clone();
        let mut disk = Block::new(loopback, &area, 1, options(format, 16)).unwrap();
        let geometry = disk.geometry();
        assert_eq!((geometry.capacity, geometry.block_size), (EXTENTS * SECTORS, 512));
        disk.submit(0, Request::get_id(area.allocate(20, 1).unwrap()), 0)
            .unwrap();
        disk.publish(0).unwrap();
        wait(disk.session().transport());
        let completion = disk.poll(0).unwrap().unwrap();
        completion.result.unwrap();
        assert_eq!(
            bytes(&completion.data.into_buffer().unwrap()),
            b"a serial number\0\0\0\0\0"
        );
    }
}
