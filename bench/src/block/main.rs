//! Drives a disk that another process serves over vhost-user or vfio-user, and prints what it did as one JSON object.
//!
//! The driver is our own. It never sleeps: it looks for finished requests all the time and has the notifications of used
//! buffers turned off, so that it takes as little as it can of what is measured, the process at the other end.

#![forbid(unsafe_code)]

mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use ringwright_driver::block::{Block, Request};
use ringwright_driver::{Options, Transport};
use ringwright_memory::{Area, Buffer};
use ringwright_spec::block::{DEVICE, SECTOR_SIZE};
use ringwright_spec::{Features, block, feature};
use ringwright_vfio_user::client::{Client, ClientOptions, Delivery};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use ringwright_vhost_user::message::ProtocolFeatures;

use process::Process;

/// The features that all disks measured here have in common, so that the same work is asked of each.
const FEATURES: Features = Features(
    feature::VERSION_1.0
        | feature::INDIRECT_DESC.0
        | feature::EVENT_IDX.0
        | block::features::SEG_MAX.0
        | block::features::BLK_SIZE.0
        | block::features::FLUSH.0,
);
/// Request virtqueues driven.
const QUEUES: u16 = 1;
/// Descriptors of a request with its data in one piece: header, data, status.
const CHAIN: u16 = 3;
/// How long a disk may do nothing.
const STALLED: Duration = Duration::from_secs(10);

/// What to ask of which disk.
#[derive(Parser)]
struct Args {
    /// The socket of the disk.
    #[arg(long)]
    socket: PathBuf,
    /// How it is served there.
    #[arg(long)]
    protocol: Protocol,
    /// The process that serves it.
    #[arg(long)]
    pid: u32,
    /// What to ask for, at random places.
    #[arg(long)]
    operation: Operation,
    /// Bytes of each request.
    #[arg(long)]
    bytes: u32,
    /// Requests outstanding at any time.
    #[arg(long)]
    depth: u16,
    /// Milliseconds before the measurement.
    #[arg(long)]
    warm_up: u64,
    /// Milliseconds of the measurement.
    #[arg(long)]
    time: u64,
}

#[derive(Clone, Copy, ValueEnum)]
enum Protocol {
    VhostUser,
    VfioUser,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    Read,
    Write,
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.protocol {
        Protocol::VhostUser => {
            let mut options = FrontendOptions::new(DEVICE.id);
            // Likewise: not every back-end tracks what is in flight.
            options.protocol_features = options
                .protocol_features
                .without(ProtocolFeatures::INFLIGHT_SHMFD);
            let frontend = Frontend::connect(&args.socket, options)?;
            let area = frontend.area().clone();
            measure(&args, frontend, &area)
        }
        Protocol::VfioUser => {
            let client = Client::connect(&args.socket, ClientOptions::default())?;
            let (transport, _) = client.virtio(Delivery::Polling)?;
            measure(&args, transport, client.area())
        }
    }
}

fn measure(args: &Args, transport: impl Transport, area: &Arc<Area>) -> Result<()> {
    let process = Process(args.pid);
    let mut disk = Disk::open(args, transport, area)?;
    // From 1 ns to 10 s, to three digits.
    let mut latencies = Histogram::<u64>::new_with_bounds(1, STALLED.as_nanos() as u64, 3)?;
    disk.run(Duration::from_millis(args.warm_up), &mut latencies)?;
    latencies.reset();
    let cpu_before = process.cpu()?;
    let start = Instant::now();
    let requests = disk.run(Duration::from_millis(args.time), &mut latencies)?;
    let elapsed = start.elapsed();
    let cpu = process.cpu()?.saturating_sub(cpu_before);
    let microseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let record = serde_json::json!({
        "queues": QUEUES,
        "requests_per_second": requests as f64 / elapsed.as_secs_f64(),
        "cpu_seconds_per_million_requests": cpu.as_secs_f64() * 1e6 / requests as f64,
        "p50_us": microseconds(0.5),
        "p99_us": microseconds(0.99),
        "p999_us": microseconds(0.999),
        "resident_bytes": process.resident_bytes()?,
    });
    println!("{record}");
    Ok(())
}

/// A disk with requests outstanding.
struct Disk<T: Transport> {
    driver: Block<T>,
    operation: Operation,
    /// Blocks of the requests' size that the disk has.
    blocks: u64,
    sectors_per_block: u64,
    random: u64,
    /// When each request was submitted, by tag.
    submitted: Vec<Instant>,
    /// Finished requests that are to be submitted again.
    finished: Vec<(u64, Buffer)>,
}

impl<T: Transport> Disk<T> {
    /// Brings the disk up, and makes a buffer for each request.
    fn open(args: &Args, transport: T, area: &Arc<Area>) -> Result<Self> {
        ensure!(
            args.depth != 0 && args.bytes != 0 && u64::from(args.bytes).is_multiple_of(SECTOR_SIZE),
            "a depth and whole sectors are needed"
        );
        let options = Options {
            accept: FEATURES,
            indirect: CHAIN,
            ..Options::default()
        };
        let mut driver = Block::new(transport, area, QUEUES, options)?;
        driver.disable_notifications(0);
        let sectors_per_block = u64::from(args.bytes) / SECTOR_SIZE;
        let blocks = driver.geometry().capacity / sectors_per_block;
        ensure!(blocks != 0, "the disk is smaller than one request");
        let finished = (0..u64::from(args.depth))
            .map(|tag| Some((tag, area.allocate(args.bytes as usize, 4096)?)))
            .collect::<Option<_>>()
            .context("no memory for the buffers")?;
        Ok(Self {
            driver,
            operation: args.operation,
            blocks,
            sectors_per_block,
            random: 0x9e37_79b9_7f4a_7c15,
            submitted: vec![Instant::now(); args.depth.into()],
            finished,
        })
    }

    /// Keeps all requests outstanding for `time`, then waits for the last. Gives the number of requests finished.
    fn run(&mut self, time: Duration, latencies: &mut Histogram<u64>) -> Result<u64> {
        let start = Instant::now();
        let mut now = start;
        let mut requests = 0;
        while now - start < time {
            self.submit_finished(now)?;
            now = self.collect(latencies)?;
            requests += self.finished.len() as u64;
        }
        let last = self.submitted.len() - self.finished.len();
        while self.finished.len() != self.submitted.len() {
            self.collect(latencies)?;
        }
        Ok(requests + last as u64)
    }

    /// Submits every finished request again, at a random place.
    fn submit_finished(&mut self, now: Instant) -> Result<()> {
        for (tag, buffer) in self.finished.drain(..) {
            // Knuth's MMIX generator; its high bits are the random ones.
            self.random = self
                .random
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let sector = (self.random >> 33) % self.blocks * self.sectors_per_block;
            let request = match self.operation {
                Operation::Read => Request::read(sector, buffer),
                Operation::Write => Request::write(sector, buffer),
            };
            self.driver.submit(0, request, tag)?;
            self.submitted[tag as usize] = now;
        }
        Ok(self.driver.publish(0)?)
    }

    /// Waits until at least one request is finished, takes all that are, and gives the time at which they were.
    fn collect(&mut self, latencies: &mut Histogram<u64>) -> Result<Instant> {
        let before = self.finished.len();
        let mut spins = 0_u32;
        while self.finished.len() == before {
            let (finished, mut failed) = (&mut self.finished, Ok(()));
            self.driver
                .poll_all(0, u16::MAX, |done| match (done.result, done.data.into_buffer()) {
                    (Ok(()), Some(buffer)) => finished.push((done.tag, buffer)),
                    (Ok(()), None) => failed = Err(anyhow!("a request lost its buffer")),
                    (Err(error), _) => failed = Err(error.into()),
                })?;
            failed?;
            std::hint::spin_loop();
            spins = spins.wrapping_add(1);
            if spins.is_multiple_of(1 << 20) {
                let oldest = self.submitted.iter().min().context("no requests")?;
                ensure!(
                    oldest.elapsed() < STALLED,
                    "the disk does nothing for {STALLED:?}"
                );
            }
        }
        let now = Instant::now();
        for (tag, _) in &self.finished[before..] {
            latencies.saturating_record((now - self.submitted[*tag as usize]).as_nanos() as u64);
        }
        Ok(now)
    }
}
