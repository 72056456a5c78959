//! The disk: its request virtqueues, each with the same number of requests outstanding.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use hdrhistogram::Histogram;
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::block::SECTOR_SIZE;
use ringwright_spec::{Features, block, feature};

use crate::{Args, Course, Load, Operation};

/// The features that all disks measured here have in common, so that the same work is asked of each.
const FEATURES: Features = Features(
    feature::VERSION_1.0
        | feature::INDIRECT_DESC.0
        | feature::EVENT_IDX.0
        | block::features::SEG_MAX.0
        | block::features::BLK_SIZE.0
        | block::features::FLUSH.0
        | block::features::MQ.0,
);
/// Descriptors of a request with its data in one piece: header, data, status.
const CHAIN: u16 = 3;
/// How long a disk may do nothing.
pub const STALLED: Duration = Duration::from_secs(10);

/// A disk with requests outstanding.
pub struct Disk<T: Transport> {
    driver: Block<T>,
    operation: Operation,
    course: Course,
    sectors_per_block: u64,
    queues: Vec<Queue>,
}

/// The requests of one virtqueue.
struct Queue {
    index: u16,
    /// When each was submitted, by tag.
    submitted: Vec<Instant>,
    /// Those that are finished and are to be submitted again.
    finished: Vec<(u64, Buffer)>,
}

impl<T: Transport> Disk<T> {
    /// Brings the disk up, and makes a buffer for each request.
    pub fn open(args: &Args, transport: T, area: &Arc<Area>) -> Result<Self> {
        ensure!(
            args.depth != 0 && args.bytes != 0 && u64::from(args.bytes).is_multiple_of(SECTOR_SIZE),
            "a depth and whole sectors are needed"
        );
        let options = Options {
            accept: FEATURES,
            indirect: CHAIN,
            ..Options::default()
        };
        let mut driver = Block::new(transport, area, args.queues, options)?;
        ensure!(
            driver.queues() == args.queues,
            "the disk has fewer than {} queues",
            args.queues
        );
        let sectors_per_block = u64::from(args.bytes) / SECTOR_SIZE;
        let blocks = driver.geometry().capacity / sectors_per_block;
        ensure!(blocks != 0, "the disk is smaller than one request");
        let mut queues = Vec::new();
        for index in 0..args.queues {
            driver.disable_notifications(index);
            let finished = (0..u64::from(args.depth))
                .map(|tag| Some((tag, area.allocate(args.bytes as usize, 4096)?)))
                .collect::<Option<_>>()
                .context("no memory for the buffers")?;
            queues.push(Queue {
                index,
                submitted: vec![Instant::now(); args.depth.into()],
                finished,
            });
        }
        Ok(Self {
            driver,
            operation: args.operation,
            course: Course::new(args.places, blocks),
            sectors_per_block,
            queues,
        })
    }
}

impl<T: Transport> Load for Disk<T> {
    fn run(&mut self, time: Duration, latencies: &mut Histogram<u64>) -> Result<u64> {
        let start = Instant::now();
        let mut now = start;
        let mut requests = 0;
        while now - start < time {
            for number in 0..self.queues.len() {
                self.submit_finished(number, now)?;
            }
            now = self.collect_some(latencies)?;
            requests += self.finished();
        }
        let last = self.outstanding();
        while self.outstanding() != 0 {
            self.collect_some(latencies)?;
        }
        Ok(requests + last)
    }
}

impl<T: Transport> Disk<T> {
    fn finished(&self) -> u64 {
        self.queues.iter().map(|queue| queue.finished.len() as u64).sum()
    }

    fn outstanding(&self) -> u64 {
        let all: u64 = self.queues.iter().map(|queue| queue.submitted.len() as u64).sum();
        all - self.finished()
    }

    /// Submits every finished request of a queue again.
    fn submit_finished(&mut self, number: usize, now: Instant) -> Result<()> {
        let queue = &mut self.queues[number];
        if queue.finished.is_empty() {
            return Ok(());
        }
        for (tag, buffer) in queue.finished.drain(..) {
            let sector = self.course.next() * self.sectors_per_block;
            let request = match self.operation {
                Operation::Read => Request::read(sector, buffer),
                Operation::Write => Request::write(sector, buffer),
            };
            self.driver.submit(queue.index, request, tag)?;
            queue.submitted[tag as usize] = now;
        }
        Ok(self.driver.publish(queue.index)?)
    }

    /// Waits until at least one request is finished, takes all that are, and gives the time at which they were.
    fn collect_some(&mut self, latencies: &mut Histogram<u64>) -> Result<Instant> {
        let mut spins = 0_u32;
        let before = self.finished();
        loop {
            for number in 0..self.queues.len() {
                self.collect(number, latencies)?;
            }
            if self.finished() != before {
                return Ok(Instant::now());
            }
            std::hint::spin_loop();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(1 << 20) {
                let submitted = self.queues.iter().flat_map(|queue| &queue.submitted);
                let newest = submitted.max().context("no requests")?;
                ensure!(
                    newest.elapsed() < STALLED,
                    "the disk does nothing for {STALLED:?}"
                );
            }
        }
    }

    /// Takes the finished requests of a queue.
    fn collect(&mut self, number: usize, latencies: &mut Histogram<u64>) -> Result<()> {
        let Queue {
            index,
            submitted,
            finished,
        } = &mut self.queues[number];
        let (before, mut failed) = (finished.len(), Ok(()));
        self.driver.poll_all(*index, u16::MAX, |done| {
            match (done.result, done.data.into_buffer()) {
                (Ok(()), Some(buffer)) => finished.push((done.tag, buffer)),
                (Ok(()), None) => failed = Err(anyhow!("a request lost its buffer")),
                (Err(error), _) => failed = Err(error.into()),
            }
        })?;
        failed?;
        if finished.len() != before {
            let now = Instant::now();
            for (tag, _) in &finished[before..] {
                latencies.saturating_record((now - submitted[*tag as usize]).as_nanos() as u64);
            }
        }
        Ok(())
    }
}
