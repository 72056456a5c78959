//! Our own rings.
//!
//! Used in the way that is cheapest: the calls that take a batch, and on the driver end, for a batch of one, those that take one.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use ringwright_memory::{Area, Buffer, DmaSegment, Mapping, Memory, Region, Words};
use ringwright_ring::{DeviceQueue, DriverOptions, DriverQueue, InflightRegion, Layout, State, Used};
use ringwright_spec::{Features, feature};

use super::{DeviceEnd, DriverEnd};
use crate::memory::Rings;
use crate::pattern::{MAX_SEGMENTS, Pattern, QUEUE_SIZE, trace};
use crate::place::Place;
use crate::{Format, expect};

fn features(format: Format, pattern: Pattern) -> Features {
    let packed = match format {
        Format::Split => Features::NONE,
        Format::Packed => feature::RING_PACKED,
    };
    let indirect = match pattern.indirect {
        true => feature::INDIRECT_DESC,
        false => Features::NONE,
    };
    feature::VERSION_1 | feature::EVENT_IDX | packed | indirect
}

/// The region that both ends of every ring here lie in.
fn region() -> Result<Region> {
    let mapping = Arc::new(Mapping::anonymous(Place::LENGTH)?);
    Ok(Region::new(Place::BASE, mapping))
}

/// Fresh memory to write down what is in flight.
fn inflight_region(format: Format) -> Result<InflightRegion> {
    let packed = format == Format::Packed;
    let length = InflightRegion::size(QUEUE_SIZE, packed) as usize;
    let words = Words::new(&Region::new(0, Arc::new(Mapping::anonymous(length)?)));
    let region = words.and_then(|words| InflightRegion::new(words, 0, QUEUE_SIZE, packed));
    region.context("memory for what is in flight")
}

/// The device end.
pub struct Device {
    queue: DeviceQueue,
    buffers: usize,
    pattern: Pattern,
    traced: u64,
    notifications: u64,
    failure: Option<anyhow::Error>,
}

impl Device {
    /// The device end of a fresh ring, which writes down what is in flight if `tracked`.
    pub fn new(format: Format, pattern: Pattern, tracked: bool) -> Result<(Self, Rings)> {
        let region = region()?;
        let rings = Place::rings(region.pointer());
        let buffers = region.pointer() as usize + (Place::BUFFERS - Place::BASE) as usize;
        // The raw driver end sees the memory for as long as the program runs.
        std::mem::forget(region.clone());
        let layout = Layout {
            size: QUEUE_SIZE,
            descriptor_area: Place::DESCRIPTOR_AREA,
            driver_area: Place::DRIVER_AREA,
            device_area: Place::DEVICE_AREA,
        };
        let memory = Arc::new(Memory::new(vec![region])?);
        let mut queue = DeviceQueue::new(layout, features(format, pattern), memory, State::default())?;
        if tracked {
            queue.track(inflight_region(format)?)?;
        }
        let device = Self {
            queue,
            buffers,
            pattern,
            traced: 0,
            notifications: 0,
            failure: None,
        };
        Ok((device, rings))
    }

    fn batch(&mut self) -> Result<()> {
        let mut traced = self.traced;
        self.queue.serve(u16::MAX, |chain| {
            let segments = chain.segments().iter();
            let sum = segments.map(|segment| trace(segment.pointer(), segment.len()));
            traced = traced.wrapping_add(sum.fold(0, u64::wrapping_add));
            Some(chain.writable().len() as u32)
        })?;
        self.traced = traced;
        self.notifications += u64::from(self.queue.publish()?);
        let more = self.queue.enable_notifications();
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

/// The driver end.
pub struct Driver {
    queue: DriverQueue<u16>,
    /// The segments of each chain of a batch: those the device reads, and those it writes.
    chains: Vec<([DmaSegment; 1], Vec<DmaSegment>)>,
    pattern: Pattern,
    received: Received,
    notifications: u64,
    failure: Option<anyhow::Error>,
    _buffers: Vec<Buffer>,
}

/// What came back, in sums.
#[derive(Default)]
struct Received {
    written: u64,
    chains: u64,
}

impl Received {
    fn add(&mut self, used: Used<u16>) {
        self.written += u64::from(used.written);
        self.chains += u64::from(used.data);
    }
}

impl Driver {
    /// The driver end of a fresh ring.
    pub fn new(format: Format, pattern: Pattern) -> Result<(Self, Rings)> {
        let region = region()?;
        std::mem::forget(region.clone());
        let base = region.pointer();
        let area = Area::from_region(region).context("an area of the region")?;
        let options = DriverOptions {
            indirect: if pattern.indirect { MAX_SEGMENTS } else { 0 },
        };
        let queue = DriverQueue::new(&area, QUEUE_SIZE, features(format, pattern), options)?;
        let layout = queue.layout();
        let at = |address: u64| base.wrapping_add((address - Place::BASE) as usize);
        let rings = Rings {
            descriptor_area: at(layout.descriptor_area),
            driver_area: at(layout.driver_area),
            device_area: at(layout.device_area),
            tables: std::ptr::null_mut(),
            tables_address: 0,
            buffers: 0,
        };
        let mut buffers = Vec::new();
        let mut chains = Vec::new();
        for _slot in 0..pattern.batch {
            let mut segment = |number| -> Result<DmaSegment> {
                let buffer = area
                    .allocate(pattern.length(number) as usize, 16)
                    .context("a buffer")?;
                let segment = buffer.segment();
                buffers.push(buffer);
                Ok(segment)
            };
            let readable = [segment(0)?];
            let writable = (1..pattern.segments).map(segment).collect::<Result<_>>()?;
            chains.push((readable, writable));
        }
        let driver = Self {
            queue,
            chains,
            pattern,
            received: Received::default(),
            notifications: 0,
            failure: None,
            _buffers: buffers,
        };
        Ok((driver, rings))
    }

    fn add_batch(&mut self) -> Result<()> {
        if let [(readable, writable)] = &self.chains[..] {
            self.queue.add(readable, writable, 0)?;
        } else {
            let chains = self.chains.iter().zip(0..);
            self.queue
                .add_all(chains.map(|((readable, writable), slot)| (readable, writable, slot)))?;
        }
        Ok(())
    }

    fn take_batch(&mut self) -> Result<()> {
        let received = &mut self.received;
        if self.chains.len() == 1 {
            while let Some(used) = self.queue.pop()? {
                received.add(used);
            }
        } else {
            self.queue.take_used(u16::MAX, |used| received.add(used))?;
        }
        ensure!(!self.queue.enable_notifications(), "used chains are left");
        Ok(())
    }
}

impl DriverEnd for Driver {
    #[inline(never)]
    fn send(&mut self) {
        match self.add_batch() {
            Ok(()) => self.notifications += u64::from(self.queue.publish()),
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
        expect("bytes written", self.received.written, written)?;
        expect(
            "sum of chains",
            self.received.chains,
            batch * (batch - 1) / 2 * rounds,
        )?;
        expect("available buffer notifications", self.notifications, rounds)
    }
}
