//! `cargo xtask matrix`: real systems on our devices, in every way that a protocol can join the two.

pub mod block;
mod cells;
mod drivers;
mod firmware;

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use clap::Subcommand;

use crate::program;
use crate::setup::{self, Peers, Scope};
use cells::{CELLS, Cell, DEVICES, Seen};

/// The command line of `cargo xtask matrix`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    protocol: Protocol,
}

#[derive(Subcommand)]
enum Protocol {
    /// Linux for four processors under QEMU, with all devices as PCI functions over vfio-user; and SeaBIOS.
    VfioUser(Options),
    /// Linux on our disk, in the embedded machine, under QEMU and as User Mode Linux: file systems, discards, zones, qcow2,
    /// NBD servers that are killed.
    Block(block::Options),
    /// Drivers of other programs, watched by a strict device: Linux under QEMU over vfio-user, User Mode Linux and DPDK over
    /// vhost-user. What each breaks is known; anything else is an error.
    Drivers(Options),
}

#[derive(clap::Args)]
struct Options {
    /// Only cells whose names contain one of these words, such as `riscv64` or `packed`.
    cells: Vec<String>,
}

impl Options {
    fn select(&self, name: &str) -> bool {
        self.cells.is_empty() || self.cells.iter().any(|word| name.contains(word.as_str()))
    }
}

/// The cells that `cargo xtask test` runs: each kind of interrupt, each way to the guest's memory, each format, and SeaBIOS.
const TEST: [&str; 5] = [
    "x86_64 q35, MSI-X packed",
    "x86_64 q35, INTx split",
    "x86_64 q35, MSI-X, virtio-iommu split",
    "x86_64 q35, MSI-X, private memory packed",
    firmware::NAME,
];

/// Sets up, builds, runs every cell, and prints a table. Any cell that is not as it should be makes it an error.
pub fn run(args: &Args) -> Result<()> {
    match &args.protocol {
        Protocol::VfioUser(options) => run_cells(&setup::peers(Scope::Matrix)?, options),
        Protocol::Block(options) => block::run(options),
        Protocol::Drivers(options) => {
            drivers::run(&setup::peers(Scope::Drivers)?, |name| options.select(name))
        }
    }
}

/// The same for a few cells, which take minutes and need no other peers than all tests do.
pub fn test(peers: &Peers) -> Result<()> {
    let cells = TEST.map(str::to_owned).to_vec();
    run_cells(peers, &Options { cells })
}

fn run_cells(peers: &Peers, options: &Options) -> Result<()> {
    let ringwright = program::build("ringwright", "ringwright")?;
    let mut failures = Vec::new();
    let mut count = 0;
    print_head();
    for cell in CELLS {
        for ring in ["split", "packed"] {
            let name = format!("{} {ring}", cell.name);
            if !options.select(&name) {
                continue;
            }
            let seen = cell.run(ring, &ringwright, peers.folder());
            count += 1;
            failures.extend(print_row(cell, ring, seen).err().map(|error| (name, error)));
        }
    }
    if options.select(firmware::NAME) {
        count += 1;
        let checked = print_firmware(&ringwright, peers.folder());
        failures.extend(checked.err().map(|error| (firmware::NAME.to_owned(), error)));
    }
    ensure!(count > 0, "no cell has such a name");
    println!(
        "{} of {count} cells are as they should be",
        count - failures.len()
    );
    for (name, error) in &failures {
        println!("{name}: {error:#}");
    }
    match failures.len() {
        0 => Ok(()),
        failed => bail!("{failed} cells of the matrix failed"),
    }
}

fn print_head() {
    print!("{:<42} {:<6}", "CELL", "RING");
    DEVICES
        .iter()
        .for_each(|device| print!(" {:<7}", device.to_uppercase()));
    println!(" {:>7}  RESULT", "SECONDS");
}

fn print_row(cell: &Cell, ring: &str, seen: Result<Seen>) -> Result<()> {
    let (columns, seconds, verdict) = match seen {
        Ok(seen) => (seen.devices, seen.seconds, seen.verdict),
        Err(error) => (DEVICES.map(|_| "?".to_owned()), 0.0, Err(error)),
    };
    print!("{:<42} {ring:<6}", cell.name);
    columns.iter().for_each(|column| print!(" {column:<7}"));
    println!(" {seconds:>7.1}  {}", result(&verdict));
    verdict
}

fn print_firmware(ringwright: &Path, peers: &Path) -> Result<()> {
    let started = Instant::now();
    let checked = firmware::check(ringwright, peers);
    let boots = if checked.is_ok() { "boots" } else { "FAIL" };
    print!(
        "{:<42} {:<6} {boots:<7} {:<7} {:<7} {:<7}",
        firmware::NAME,
        "split",
        "-",
        "-",
        "-"
    );
    println!(" {:>7.1}  {}", started.elapsed().as_secs_f64(), result(&checked));
    checked
}

fn result(verdict: &Result<()>) -> &'static str {
    if verdict.is_ok() { "ok" } else { "FAILED" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_for_the_tests_is_there_once() {
        let mut names = vec![firmware::NAME.to_owned()];
        for cell in CELLS {
            names.extend(["split", "packed"].map(|ring| format!("{} {ring}", cell.name)));
        }
        for test in TEST {
            let found = names.iter().filter(|name| name.contains(test));
            assert_eq!(found.count(), 1, "{test}");
        }
    }
}
