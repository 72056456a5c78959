//! `cargo xtask bench`: the project's speed beside that of the programs one would use instead, measured in one run.
//!
//! Progress goes to standard error, results to standard output.

mod block;
mod ring;

use anyhow::Result;
use clap::Subcommand;

/// The command line of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Subcommand)]
enum Bench {
    /// Instructions and nanoseconds per chain of both ends of a virtqueue, beside virtio-queue and virtio-drivers.
    Ring(Options),
    /// Requests per second, processor time and latency of disks of every kind, beside qemu-storage-daemon.
    Block(block::Options),
}

/// What the bench of rings takes.
#[derive(clap::Args)]
struct Options {
    /// Print the results as a JSON list of records.
    #[arg(long)]
    json: bool,
    /// Measure less, and less exactly.
    #[arg(long)]
    quick: bool,
}

/// Sets up, builds, measures and prints.
pub fn run(args: &Args) -> Result<()> {
    match &args.bench {
        Bench::Ring(options) => ring::run(options),
        Bench::Block(options) => block::run(options),
    }
}

/// A target and whether it is met.
fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "MISSED" }
}
