//! The steps of `cargo xtask test`.

use std::process::{Command, Stdio};

use anyhow::Result;

use super::{conform, features, guests, no_std};
use crate::command::{cargo, find, run};
use crate::deny;
use crate::setup::Peers;

/// One check.
pub struct Step {
    /// A word for the table.
    pub name: &'static str,
    /// What it shows.
    pub what: &'static str,
    /// Whether `--quick` keeps it.
    pub quick: bool,
    /// Runs it.
    pub run: fn(&Peers) -> Result<()>,
}

/// All of them, the cheap before the dear.
pub const STEPS: &[Step] = &[
    Step {
        name: "format",
        what: "rustfmt has nothing to change",
        quick: true,
        run: |_| quiet(cargo().args(["fmt", "--all", "--check"])),
    },
    Step {
        name: "clippy",
        what: "no warning in any target",
        quick: true,
        run: |_| quiet(cargo().args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])),
    },
    Step {
        name: "features",
        what: "no warning in any crate with no feature, each feature alone, and all",
        quick: false,
        run: |_| features::check(),
    },
    Step {
        name: "no_std",
        what: "the crates for bare metal build where there is no std",
        quick: true,
        run: |_| no_std::check(),
    },
    Step {
        name: "documentation",
        what: "rustdoc has no warning",
        quick: false,
        run: |_| {
            quiet(
                cargo()
                    .args(["doc", "--workspace", "--no-deps"])
                    .env("RUSTDOCFLAGS", "-D warnings"),
            )
        },
    },
    Step {
        name: "deny",
        what: "licences, sources and advisories of what we depend on",
        quick: false,
        run: dependencies,
    },
    Step {
        name: "test",
        what: "unit, integration and documentation tests, with the peers",
        quick: true,
        run: |peers| quiet(peers.announce(cargo().args(["test", "--workspace"]))),
    },
    Step {
        name: "conform",
        what: "the conformance suite finds nothing broken: our devices over vhost-user, on every bus, and our drivers",
        quick: false,
        run: |_| conform::check(),
    },
    Step {
        name: "guests",
        what: "programs on no operating system drive QEMU's and our devices, on four processors",
        quick: false,
        run: |_| crate::guests::run(&crate::guests::Args::test()),
    },
    Step {
        name: "machine-mmio",
        what: "Linux in the embedded machine uses every device, by legacy drivers over MMIO",
        quick: false,
        run: |peers| guests::check(peers, "--engine machine --bus mmio --legacy"),
    },
    Step {
        name: "machine-pci",
        what: "the same over PCI with MSI-X, over packed virtqueues",
        quick: false,
        run: |peers| {
            guests::check(
                peers,
                "--engine machine --bus pci --interrupts msix --interface modern --ring packed",
            )
        },
    },
    Step {
        name: "machine-intx",
        what: "the same by legacy drivers over PCI with INTx",
        quick: false,
        run: |peers| guests::check(peers, "--engine machine --bus pci --interrupts intx --legacy"),
    },
    Step {
        name: "shell",
        what: "the shell of a guest in the embedded machine is one as anywhere",
        quick: false,
        run: |peers| guests::tests(peers, "shell", &[]),
    },
    Step {
        name: "snapshot",
        what: "Linux is saved in the middle of traffic, and goes on in another process",
        quick: false,
        run: |peers| guests::tests(peers, "snapshot", &["mmio_split", "pci_packed"]),
    },
    Step {
        name: "qemu-split",
        what: "Linux under QEMU uses every device, over split virtqueues",
        quick: false,
        run: |peers| guests::check(peers, "--engine qemu --ring split"),
    },
    Step {
        name: "qemu-packed",
        what: "the same over packed virtqueues",
        quick: false,
        run: |peers| guests::check(peers, "--engine qemu --ring packed"),
    },
    Step {
        name: "vfio-user",
        what: "the same with the devices as PCI functions over vfio-user, and SeaBIOS on our disk",
        quick: false,
        run: crate::matrix::test,
    },
    Step {
        name: "soak-block",
        what: "a disk loses nothing when its server is killed, and a guest that moves does not either",
        quick: false,
        run: |_| crate::soak::run(&crate::soak::Args::test()),
    },
    Step {
        name: "disk",
        what: "Linux uses our disk: file systems, discards, zones, qcow2, NBD servers that are killed",
        quick: false,
        run: crate::matrix::block::test,
    },
    Step {
        name: "uml-split",
        what: "User Mode Linux uses the devices that it has drivers for",
        quick: false,
        run: |peers| guests::check(peers, "--engine uml --ring split"),
    },
    Step {
        name: "uml-packed",
        what: "the same over packed virtqueues",
        quick: false,
        run: |peers| guests::check(peers, "--engine uml --ring packed"),
    },
];

/// Building cargo-deny takes minutes: only a machine that is there for testing pays for it.
fn dependencies(_: &Peers) -> Result<()> {
    if find("cargo-deny").is_none() && std::env::var_os("CI").is_none() {
        println!("SKIPPED: cargo-deny is not installed; `cargo xtask deny` builds and runs it");
        return Ok(());
    }
    deny::check()
}

/// Runs without standard input, so that nothing can wait for an answer.
pub fn quiet(command: &mut Command) -> Result<()> {
    run(command.stdin(Stdio::null()))
}
