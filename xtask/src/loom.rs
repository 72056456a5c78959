//! `cargo xtask loom`: the handshakes of both ends under loom, which tries every order that the memory model allows.

use std::process::Stdio;

use anyhow::Result;

use crate::command::{cargo, run as run_command, target_folder};

/// Builds the rings over loom's atomics and explores.
pub fn run() -> Result<()> {
    let mut test = cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "ringwright-ring",
        "--test",
        "loom",
    ])
    .env("RUSTFLAGS", "--cfg loom")
    // Link-time optimization takes longer than it saves.
    .env("CARGO_PROFILE_RELEASE_LTO", "false")
    .env("CARGO_TARGET_DIR", target_folder("loom"));
    run_command(test.stdin(Stdio::null()))
}
