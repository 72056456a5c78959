//! `cargo xtask qtest`: our drivers on QEMU's own devices, by the qtest protocol.

use std::process::Stdio;

use anyhow::Result;

use crate::command::{cargo, run as run_command};
use crate::setup::{self, Scope};

/// The command line of `cargo xtask qtest`.
#[derive(clap::Args)]
pub struct Args {
    /// Only rows that contain one of these words, such as `microvm` or `packed`.
    rows: Vec<String>,
}

/// Runs the rows, on one machine after the other.
pub fn run(args: &Args) -> Result<()> {
    let peers = setup::peers(Scope::Test)?;
    let mut test = cargo();
    test.args([
        "test",
        "--quiet",
        "--package",
        "ringwright-qtest",
        "--test",
        "strangers",
        "--",
    ])
    .args(&args.rows);
    run_command(peers.announce(test.stdin(Stdio::null())))
}
