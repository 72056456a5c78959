//! The conformance suite on everything of ours, by the program itself.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::steps::quiet;
use crate::program;

/// What serves each device over vhost-user, after `ringwright serve`.
const SERVED: [&str; 3] = ["block --memory 8388608", "entropy", "console --log /dev/null"];
const DEVICES: [&str; 5] = ["block", "host-managed", "network", "console", "entropy"];
const BUSES: [&str; 4] = ["direct", "mmio", "pci", "ccw"];
const DRIVERS: [&str; 5] = ["rings", "block", "network", "console", "entropy"];

/// Runs it; the first clause that is broken ends it.
pub fn check() -> Result<()> {
    let program = program::build("ringwright", "ringwright")?;
    for device in SERVED {
        let server = format!(
            "RUST_LOG=off exec '{}' serve {device} --socket {{socket}}",
            program.display()
        );
        let name = device.split(' ').next().unwrap_or(device);
        conform(
            &program,
            &["device", "vhost-user", "--type", name, "--command", &server],
        )?;
    }
    for bus in BUSES {
        for device in DEVICES {
            conform(&program, &["device", "ours", device, "--bus", bus])?;
        }
    }
    for (driver, bus) in DRIVERS
        .iter()
        .flat_map(|driver| ["direct", "mmio"].map(|bus| (driver, bus)))
    {
        conform(&program, &["driver", "ours", driver, "--bus", bus])?;
    }
    Ok(())
}

fn conform(program: &Path, arguments: &[&str]) -> Result<()> {
    quiet(Command::new(program).arg("conform").args(arguments))
}
