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

/// Runs tests of `ringwright` that need a fast guest: those of the file `file` whose names have one of `names`, or all.
pub fn tests(peers: &Peers, file: &str, names: &[&str]) -> Result<()> {
    let mut test = cargo();
    test.args([
        "test",
        "--release",
        "--package",
        "ringwright",
        "--test",
        file,
        "--",
        "--ignored",
    ]);
    quiet(peers.announce(test.args(names)))
}
