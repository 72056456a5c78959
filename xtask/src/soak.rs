//! `cargo xtask soak`: property tests for much longer than `cargo xtask test` runs them, and a disk whose server is killed.

mod block;

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use clap::Subcommand;

use crate::command::{cargo, output, target_folder};
use crate::setup;

/// Random operations of one end and one format that one case comes to, at the least, on average.
const OPERATIONS_PER_CASE: u64 = 60;

/// The command line of `cargo xtask soak`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// A verifying load on a disk whose server is killed again and again: nothing may be lost, repeated or hung.
    Block(block::Args),
    /// Both ends of virtqueues against a model, with all formats, sizes and combinations of features.
    Ring {
        /// Random operations of each end in each format.
        #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
        operations: u64,
    },
    /// A hart of the embedded machine against QEMU's user mode emulation, with random programs.
    Hart {
        /// Programs, of about two thousand instructions each.
        #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..))]
        programs: u64,
        /// Number of the first program.
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

impl Args {
    /// What `cargo xtask test` runs.
    pub fn test() -> Self {
        Self {
            what: What::Block(block::Args::short()),
        }
    }
}

/// Runs the tests, and prints how many operations were done.
pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Block(args) => block::run(args),
        What::Ring { operations } => ring(*operations),
        What::Hart { programs, seed } => hart(*programs, *seed),
    }
}

fn ring(operations: u64) -> Result<()> {
    let cases = operations.div_ceil(OPERATIONS_PER_CASE);
    let said = output(&mut test("ringwright-ring", "model", cases))?;
    let mut counts = said
        .lines()
        .filter_map(|line| line.strip_prefix("operations of the "))
        .peekable();
    counts
        .peek()
        .context("the test does not say how many operations were done")?;
    for line in counts {
        println!("{line}");
        let (_, count) = line.rsplit_once(' ').unwrap_or_default();
        if count.parse::<u64>()? < operations {
            bail!("fewer than {operations} operations");
        }
    }
    Ok(())
}

fn hart(programs: u64, seed: u64) -> Result<()> {
    let peers = setup::peers(setup::Scope::Test)?;
    let mut test = test("ringwright-machine", "against_qemu", programs);
    let said = output(peers.announce(test.env("RINGWRIGHT_SEED", seed.to_string())))?;
    let count = said.lines().find(|line| line.starts_with("instructions in "));
    println!(
        "{}",
        count.context("the test does not say how many instructions were run")?
    );
    Ok(())
}

/// A test to be run with so many cases.
fn test(package: &str, name: &str, cases: u64) -> Command {
    let mut test = cargo();
    test.args(["test", "--package", package, "--test", name])
        .args(["--", "--nocapture"])
        .env("RINGWRIGHT_CASES", cases.to_string())
        // Optimized, but with all assertions and overflow checks.
        .env("CARGO_PROFILE_DEV_OPT_LEVEL", "2")
        .env("CARGO_TARGET_DIR", target_folder("soak"))
        .stdin(Stdio::null());
    test
}
