//! Runs one end of a virtqueue for a number of chains and prints the nanoseconds that each took, the harness's included.
//!
//! The other end is played by a harness that writes the ring's memory directly and is the same for every subject; see
//! [`raw_driver`] and [`raw_device`]. The subject `harness` is nobody: what it costs is the harness's own share. Under
//! callgrind, the difference between two runs that differ in the number of chains only is exact.
//!
//! One thread plays both ends, so no cache line travels between processors.

mod memory;
mod pattern;
mod place;
mod position;
mod raw_device;
mod raw_driver;
#[cfg(test)]
mod raw_tests;
mod subject;

use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};

use pattern::Pattern;
use raw_device::RawDevice;
use raw_driver::RawDriver;
use subject::{DeviceEnd, DriverEnd, ringwright, virtio_drivers, virtio_queue};

/// What to run.
#[derive(Parser)]
struct Args {
    /// Whose ring.
    subject: Subject,
    /// Which end of it.
    end: End,
    /// Format of the ring.
    format: Format,
    /// Chains before each publish.
    batch: u16,
    /// Elements of each chain, 1 to 3.
    segments: u16,
    /// Chains of one sample; a multiple of the batch.
    chains: u32,
    /// Samples, of which the best one counts.
    #[arg(default_value_t = 1)]
    samples: u32,
    /// Chains of more than one element in indirect tables.
    #[arg(long)]
    indirect: bool,
    /// A device end of ours writes down what is in flight.
    #[arg(long)]
    tracked: bool,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Subject {
    Ringwright,
    VirtioQueue,
    VirtioDrivers,
    Harness,
}

#[derive(Clone, Copy, ValueEnum)]
enum End {
    Device,
    Driver,
}

/// The two formats of section 2.6.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Split,
    Packed,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let pattern = Pattern::new(args.batch, args.segments, args.indirect)?;
    ensure!(
        args.batch != 0 && args.chains.is_multiple_of(args.batch.into()),
        "{} chains cannot be had in batches of {}",
        args.chains,
        args.batch
    );
    let best = match args.end {
        End::Device => device_end(&args, pattern),
        End::Driver => driver_end(&args, pattern),
    }?;
    println!("{best:.3}");
    Ok(())
}

fn device_end(args: &Args, pattern: Pattern) -> Result<f64> {
    match (args.subject, args.format) {
        (Subject::Ringwright, format) => {
            let (subject, rings) = ringwright::Device::new(format, pattern, args.tracked)?;
            serve(args, RawDriver::new(format, rings, pattern), subject)
        }
        (Subject::VirtioQueue, Format::Split) => {
            let (subject, rings) = virtio_queue::Device::new(pattern)?;
            serve(args, RawDriver::new(Format::Split, rings, pattern), subject)
        }
        (Subject::Harness, format) => {
            let (_unused, rings) = ringwright::Device::new(format, pattern, false)?;
            serve(args, RawDriver::new(format, rings, pattern), subject::Nobody)
        }
        _ => bail!("this subject has no such end or format"),
    }
}

fn driver_end(args: &Args, pattern: Pattern) -> Result<f64> {
    match (args.subject, args.format) {
        (Subject::Ringwright, format) => {
            let (subject, rings) = ringwright::Driver::new(format, pattern)?;
            drive(args, RawDevice::new(format, rings, pattern), subject)
        }
        (Subject::VirtioDrivers, Format::Split) => {
            let (subject, rings) = virtio_drivers::Driver::new(pattern)?;
            drive(args, RawDevice::new(Format::Split, rings, pattern), subject)
        }
        (Subject::Harness, format) => {
            let (_unused, rings) = ringwright::Driver::new(format, pattern)?;
            drive(args, RawDevice::new(format, rings, pattern), subject::Nobody)
        }
        _ => bail!("this subject has no such end or format"),
    }
}

/// Has `subject` serve what `harness` offers.
fn serve<S: DeviceEnd>(args: &Args, mut harness: RawDriver, mut subject: S) -> Result<f64> {
    let (best, rounds) = best_sample(args, || {
        harness.offer();
        subject.serve();
        harness.take();
    });
    if args.subject != Subject::Harness {
        harness.check(rounds)?;
        subject.check(rounds)?;
    }
    Ok(best)
}

/// Has `harness` serve what `subject` sends.
fn drive<S: DriverEnd>(args: &Args, mut harness: RawDevice, mut subject: S) -> Result<f64> {
    let (best, rounds) = best_sample(args, || {
        subject.send();
        harness.serve();
        subject.receive();
    });
    if args.subject != Subject::Harness {
        harness.check(rounds)?;
        subject.check(rounds)?;
    }
    Ok(best)
}

/// Nanoseconds per chain of the best sample, and the number of rounds done in all.
fn best_sample(args: &Args, mut round: impl FnMut()) -> (f64, u64) {
    /// Rounds before the first sample: caches and branch predictors are warm after them.
    const WARM_UP: u64 = 64;
    let per_sample = u64::from(args.chains / u32::from(args.batch));
    for _ in 0..WARM_UP {
        round();
    }
    let mut best = f64::INFINITY;
    for _ in 0..args.samples {
        let start = Instant::now();
        for _ in 0..per_sample {
            round();
        }
        best = best.min(start.elapsed().as_nanos() as f64 / f64::from(args.chains));
    }
    (best, WARM_UP + per_sample * u64::from(args.samples))
}

/// The error of a subject that did something else than it was asked.
fn expect(what: &str, found: u64, expected: u64) -> Result<()> {
    (found == expected)
        .then_some(())
        .with_context(|| format!("{what}: found {found}, expected {expected}"))
}
