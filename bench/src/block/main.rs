//! Drives a disk that another process serves over vhost-user or vfio-user, and prints what it did as one JSON object.
//!
//! The driver is our own. It never sleeps: it looks for finished requests all the time and has the notifications of used
//! buffers turned off, so that it takes as little as it can of what is measured, the process at the other end.

#![forbid(unsafe_code)]

mod disk;
mod process;

use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use ringwright_driver::Transport;
use ringwright_memory::Area;
use ringwright_spec::block::DEVICE;
use ringwright_vfio_user::client::{Client, ClientOptions, Delivery};
use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
use ringwright_vhost_user::message::ProtocolFeatures;

use disk::{Disk, STALLED};
use process::Process;

/// Bytes of memory for all but the buffers.
const MEMORY: usize = 4 << 20;
/// How long a disk is left alone before its process is looked at.
const IDLE: Duration = Duration::from_millis(300);

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
            let frontend = Frontend::connect(&args.socket, options)?;
            let area = frontend.area().clone();
            measure(&args, frontend, &area)
        }
        Protocol::VfioUser => {
            let options = ClientOptions {
                memory: args.memory(),
                ..ClientOptions::default()
            };
            let client = Client::connect(&args.socket, options)?;
            let (transport, _) = client.virtio(Delivery::Polling)?;
            measure(&args, transport, client.area())
        }
    }
}

fn measure(args: &Args, transport: impl Transport, area: &Arc<Area>) -> Result<()> {
    let process = Process(args.pid);
    let mut disk = Disk::open(args, transport, area)?;
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
    disk.run(Duration::from_millis(args.warm_up), &mut latencies)?;
    latencies.reset();
    let cpu_before = process.cpu()?;
    let start = Instant::now();
    let requests = disk.run(Duration::from_millis(args.time), &mut latencies)?;
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
