//! Real Linux guests on our devices: `ringwright boot --check`, as a user would run it.

use anyhow::Result;

use super::steps::quiet;
use crate::command::cargo;
use crate::setup::Peers;

/// Boots a guest as `arguments` for `ringwright boot` say, and has it use every device.
pub fn check(peers: &Peers, arguments: &str) -> Result<()> {
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
    quiet(peers.announce(boot.args(arguments.split_whitespace())))
}

/// Saves guests in the middle of traffic and lets them go on in another process.
pub fn snapshots(peers: &Peers) -> Result<()> {
    let mut test = cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "ringwright",
        "--test",
        "snapshot",
        "--",
        "--ignored",
    ]);
    quiet(peers.announce(test.args(["mmio_split", "pci_packed"])))
}
