//! Verifying loads on a disk that another process serves over vhost-user, while that process is killed again and again, or
//! while the guest moves to another one. Nothing may be lost, repeated or hung. What happened is printed as one JSON object.

#![forbid(unsafe_code)]

mod fault;
mod guest;
mod load;
mod machine;
mod model;
mod power;
mod server;
mod store;
mod trouble;
mod zoned;

use std::path::PathBuf;

use anyhow::Result;
use clap::Parser;

/// Request virtqueues.
const QUEUES: u16 = 2;

/// Loads a disk.
#[derive(Parser)]
enum Load {
    /// Through our own front-end and driver.
    Frontend(load::Args),
    /// Through these, on a zoned disk.
    Zoned(zoned::Args),
    /// Through these, on storage that is at fault now and then.
    Fault(fault::Args),
    /// Through these, on storage that loses power.
    Power(power::Args),
    /// Through QEMU, by Linux.
    Guest(guest::Args),
    /// Through QEMU, by Linux, which moves from one QEMU and server to others.
    Migration(guest::Args),
}

/// What every load needs.
#[derive(clap::Args)]
struct Common {
    /// The program `ringwright`.
    #[arg(long)]
    server: PathBuf,
    /// How often to kill it, or to move the guest.
    #[arg(long)]
    kills: u32,
    /// Number of the sequence of requests, and of the times between kills.
    #[arg(long)]
    seed: u64,
    /// Packed virtqueues.
    #[arg(long)]
    packed: bool,
    /// A folder for the image and the sockets.
    #[arg(long)]
    folder: PathBuf,
}

fn main() -> Result<()> {
    let record = match Load::parse() {
        Load::Frontend(args) => load::run(&args)?,
        Load::Zoned(args) => zoned::run(&args)?,
        Load::Fault(args) => fault::run(&args)?,
        Load::Power(args) => power::run(&args)?,
        Load::Guest(args) => guest::killed(&args)?,
        Load::Migration(args) => guest::moved(&args)?,
    };
    println!("{record}");
    Ok(())
}
