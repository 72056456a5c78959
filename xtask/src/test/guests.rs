//! Real Linux guests on our devices: `ringwright boot --check`, as a user would run it.

use anyhow::Result;

use super::steps::quiet;
use crate::command::cargo;
use crate::setup::Peers;

/// Boots a guest by `engine` with virtqueues of format `ring` and has it use every device.
pub fn check(peers: &Peers, engine: &str, ring: &str) -> Result<()> {
    let mut boot = cargo();
    boot.args([
        "run",
        "--release",
        "--package",
        "ringwright",
        "--",
        "boot",
        "--check",
    ]);
    quiet(peers.announce(boot.args(["--engine", engine, "--ring", ring])))
}
