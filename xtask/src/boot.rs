//! `cargo xtask boot`: real Linux on our devices, from nothing but a checkout.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;

use anyhow::{Context, Result};

use crate::command::cargo;
use crate::setup::{self, Scope};

/// The command line of `cargo xtask boot`.
#[derive(clap::Args)]
pub struct Args {
    /// Arguments for `ringwright boot`, such as --check.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Sets up, builds, and becomes `ringwright boot`, which then has the terminal and its signals to itself.
pub fn run(args: &Args) -> Result<()> {
    let peers = setup::peers(Scope::Boot)?;
    let mut boot = cargo();
    boot.args([
        "run",
        "--release",
        "--package",
        "ringwright",
        "--",
        "boot",
        "--peers",
    ])
    .arg(peers.folder());
    Err(peers.announce(&mut boot).args(&args.arguments).exec()).context("cannot start cargo")
}
