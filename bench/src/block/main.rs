//! Drives a disk that another process serves over vhost-user or vfio-user, and prints what it did as one JSON object. Or does
//! to a file what its server would have to, for comparison.
//!
//! The driver is our own. It never sleeps: it looks for finished requests all the time and has the notifications of used
//! buffers turned off, so that it takes as little as it can of what is measured, the process at the other end.

#![forbid(unsafe_code)]

mod disk;
mod file;
mod process;

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use ringwright_spec::block::DEVICE;
use ringwright_vfio_user::client::{Client, ClientOptions, Delivery};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use ringwright_vhost_user::message::ProtocolFeatures;

use disk::{Disk, STALLED};
use file::File;
use process::Process;

/// Bytes of memory for all but the buffers.
const MEMORY: usize = 4 << 20;
/// How long a disk is left alone before its process is looked at.
const IDLE: Duration = Duration::from_millis(300);

/// What to ask of which disk.
#[derive(Parser)]
struct Args {
    /// The socket of the disk; or the file.
    #[arg(long)]
    path: PathBuf,
    /// How it is served there.
    #[arg(long)]
    protocol: Protocol,
    /// The process that serves it; this one if none is given.
    #[arg(long)]
    pid: Option<u32>,
    /// What to ask for.
    #[arg(long)]
    operation: Operation,
    /// Where.
    #[arg(long)]
    places: Places,
    /// Bytes of each request.
    #[arg(long)]
    bytes: u32,
    /// Request virtqueues.
    #[arg(long)]
    queues: u16,
    /// Requests outstanding in each of them at any time.
    #[arg(long)]
    depth: u16,
    /// Have requests in flight tracked, where the disk can do that.
    #[arg(long)]
    tracked: bool,
    /// Ask for nothing, and only say how much memory the process has.
    #[arg(long)]
    idle: bool,
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
    /// Not at all: the file is read and written, one request after the other.
    File,
}

#[derive(Clone, Copy, ValueEnum)]
enum Operation {
    Read,
    Write,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Places {
    Random,
    Sequential,
}

/// Where the requests go, in blocks of their size.
struct Course {
    places: Places,
    blocks: u64,
    /// The last block, or the state of the generator.
    last: u64,
}

impl Course {
    fn new(places: Places, blocks: u64) -> Self {
        let last = 0x9e37_79b9_7f4a_7c15;
        Self { places, blocks, last }
    }

    fn next(&mut self) -> u64 {
        let block = match self.places {
            Places::Random => {
                // Knuth's MMIX generator; its high bits are the random ones.
                self.last = self
                    .last
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                self.last >> 33
            }
            Places::Sequential => {
                self.last = self.last.wrapping_add(1);
                self.last
            }
        };
        block % self.blocks
    }
}

impl Args {
    /// Bytes of memory for everything that is shared with the disk.
    fn memory(&self) -> usize {
        MEMORY + self.bytes as usize * usize::from(self.depth) * usize::from(self.queues)
    }
}

fn main() -> Result<()> {
    let args = Args::parse();
    match args.protocol {
        Protocol::VhostUser => {
            let mut options = FrontendOptions::new(DEVICE.id);
            options.memory = args.memory();
            if !args.tracked {
                let features = options.protocol_features;
                options.protocol_features = features.without(ProtocolFeatures::INFLIGHT_SHMFD);
            }
            let frontend = Frontend::connect(&args.path, options)?;
            let area = frontend.area().clone();
            measure(&args, &mut Disk::open(&args, frontend, &area)?)
        }
        Protocol::VfioUser => {
            let options = ClientOptions {
                memory: args.memory(),
                ..ClientOptions::default()
            };
            let client = Client::connect(&args.path, options)?;
            let (transport, _) = client.virtio(Delivery::Polling)?;
            measure(&args, &mut Disk::open(&args, transport, client.area())?)
        }
        Protocol::File => measure(&args, &mut File::open(&args)?),
    }
}

/// What can be asked for something all the time.
trait Load {
    /// Keeps all requests outstanding for `time`, then waits for the last. Gives the number of requests finished.
    fn run(&mut self, time: Duration, latencies: &mut Histogram<u64>) -> Result<u64>;
}

fn measure(args: &Args, load: &mut impl Load) -> Result<()> {
    let process = Process(args.pid.unwrap_or_else(std::process::id));
    if args.idle {
        thread::sleep(IDLE);
        println!(
            "{}",
            serde_json::json!({ "resident_bytes": process.resident_bytes()? })
        );
        return Ok(());
    }
    // From 1 ns to 10 s, to three digits.
    let mut latencies = Histogram::<u64>::new_with_bounds(1, STALLED.as_nanos() as u64, 3)?;
    load.run(Duration::from_millis(args.warm_up), &mut latencies)?;
    latencies.reset();
    let cpu_before = process.cpu()?;
    let start = Instant::now();
    let requests = load.run(Duration::from_millis(args.time), &mut latencies)?;
    let elapsed = start.elapsed();
    let cpu = process.cpu()?.saturating_sub(cpu_before);
    let microseconds = |quantile| latencies.value_at_quantile(quantile) as f64 / 1000.0;
    let record = serde_json::json!({
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
