//! Drivers of other programs, watched by a strict device.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail, ensure};
use serde_json::Value;

use super::block::initramfs::{copy_folder, pack};
use crate::program;
use crate::setup::Peers;

/// The first program of the guests.
const INIT: &str = include_str!("../../../crates/cli/tests/conform_drivers/init.sh");

/// Seconds that a guest may take in one scenario.
const DEADLINE: &str = "300";

/// A driver, and what it is known to break.
struct Cell {
    program: Program,
    /// The device type, by its name and its virtio device id.
    device: (&'static str, u32),
    /// Names of rules.
    known: &'static [&'static str],
}

/// What has a driver.
#[derive(Clone, Copy)]
enum Program {
    /// Linux under QEMU, by the folder of the kernel.
    Linux(&'static str),
    /// User Mode Linux, by the folder of the kernel.
    UserModeLinux(&'static str),
    /// DPDK's virtio-user, with these arguments more.
    Dpdk(&'static str),
}

const BLOCK: (&str, u32) = ("block", 2);
const NETWORK: (&str, u32) = ("network", 1);
const ENTROPY: (&str, u32) = ("entropy", 4);
const CONSOLE: (&str, u32) = ("console", 3);

const fn cell(program: Program, device: (&'static str, u32), known: &'static [&'static str]) -> Cell {
    Cell {
        program,
        device,
        known,
    }
}

const CELLS: &[Cell] = &[
    cell(Program::UserModeLinux("uml-6.1"), BLOCK, &["blk.zoned-discard"]),
    cell(Program::UserModeLinux("uml-6.12"), BLOCK, &["blk.zoned-discard"]),
    cell(Program::UserModeLinux("uml-6.12"), NETWORK, &["net.num-buffers"]),
    cell(Program::UserModeLinux("uml-6.12"), CONSOLE, &[]),
    cell(Program::Dpdk(""), NETWORK, &[]),
    cell(Program::Dpdk(",packed_vq=1"), NETWORK, &[]),
    cell(
        Program::Linux("x86_64-6.1"),
        BLOCK,
        &["status.failed", "blk.zoned-discard"],
    ),
    cell(
        Program::Linux("x86_64"),
        BLOCK,
        &["status.failed", "blk.zoned-discard"],
    ),
    cell(
        Program::Linux("x86_64"),
        NETWORK,
        &["status.failed", "features.offered", "features.valid"],
    ),
    cell(Program::Linux("x86_64"), ENTROPY, &["status.failed"]),
    cell(
        Program::Linux("x86_64-backports"),
        BLOCK,
        &["status.failed", "blk.zoned-discard"],
    ),
];

/// Watches each driver that is wanted, and prints a table.
pub fn run(peers: &Peers, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let ringwright = program::build("ringwright", "ringwright")?;
    let mut surprises = Vec::new();
    let mut count = 0;
    println!(
        "{:<34} {:>5} {:>5} {:>5} {:>9} {:>8}  BREAKS",
        "DRIVER", "PASS", "FAIL", "N/A", "NOT SEEN", "SECONDS"
    );
    for cell in CELLS.iter().filter(|cell| wanted(&cell.name())) {
        count += 1;
        let outcome = cell.watch(&ringwright, peers.folder());
        surprises.extend(outcome.err().map(|error| format!("{}: {error:#}", cell.name())));
    }
    ensure!(count > 0, "no driver has such a name");
    match surprises.len() {
        0 => Ok(()),
        _ => bail!("{}", surprises.join("\n")),
    }
}

impl Cell {
    fn name(&self) -> String {
        let program = match self.program {
            Program::Linux(kernel) => format!("linux {kernel}"),
            Program::UserModeLinux(kernel) => format!("linux {kernel}"),
            Program::Dpdk(arguments) => format!("dpdk{arguments}"),
        };
        format!("{program} {}", self.device.0)
    }

    /// Watches it in all scenarios; an error if it breaks anything else than what is known.
    fn watch(&self, ringwright: &Path, peers: &Path) -> Result<()> {
        let folder = tempfile::tempdir()?;
        let way = match self.program {
            Program::Linux(_) => "vfio-user",
            Program::UserModeLinux(_) | Program::Dpdk(_) => "vhost-user",
        };
        let mut conform = Command::new(ringwright);
        conform.args(["conform", "driver", way, "--json", "-", "--deadline", DEADLINE]);
        conform.args(["--type", self.device.0, "--command"]);
        let output = conform
            .arg(self.command(folder.path(), peers)?)
            .stdin(Stdio::null())
            .output()
            .context("cannot start ringwright")?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .map_err(|_| anyhow!("no report: {}", String::from_utf8_lossy(&output.stderr).trim()))?;
        let checks = report["checks"].as_array().context("no checks")?;
        let named = |verdict: &str| -> Vec<&str> {
            let checks = checks.iter().filter(|check| check["verdict"] == verdict);
            checks.filter_map(|check| check["name"].as_str()).collect()
        };
        let broken = named("fail");
        println!(
            "{:<34} {:>5} {:>5} {:>5} {:>9} {:>8.1}  {}",
            self.name(),
            named("pass").len(),
            broken.len(),
            named("not-applicable").len(),
            named("not-seen").len(),
            report["seconds"].as_f64().unwrap_or(0.0),
            broken.join(", ")
        );
        ensure!(
            broken == self.known,
            "it breaks {broken:?}, known is {:?}",
            self.known
        );
        Ok(())
    }

    /// The command line that starts it.
    fn command(&self, folder: &Path, peers: &Path) -> Result<String> {
        let (device, id) = self.device;
        let bin = peers.join("bin");
        let bin = bin.display();
        Ok(match self.program {
            Program::Linux(kernel) => format!(
                "exec '{bin}/qemu-system-x86_64' -accel tcg -cpu max -m 256M -nodefaults -no-user-config -no-reboot -display none \
                 -object memory-backend-memfd,id=mem,size=256M,share=on -machine q35,memory-backend=mem -bios qboot.rom \
                 -kernel '{}' -initrd '{}' -append 'edd=off pci=nocrs no_timer_check panic=-1 quiet work={device}' \
                 -device '{{\"driver\":\"vfio-user-pci\",\"socket\":{{\"type\":\"unix\",\"path\":\"'{{socket}}'\"}}}}'",
                peers.join("kernels").join(kernel).join("vmlinuz").display(),
                initrd(kernel, folder, peers)?.display(),
            ),
            Program::UserModeLinux(kernel) => format!(
                "exec '{bin}/linux.{kernel}' mem=256M 'initrd={}' virtio_uml.device={{socket}}:{id} con=null con0=null,fd:2 \
                 panic=-1 quiet work={device}",
                initrd(kernel, folder, peers)?.display(),
            ),
            Program::Dpdk(arguments) => format!(
                "(sleep 4; echo stop; echo quit) | '{bin}/dpdk-testpmd' --lcores '0@0,1@0' --no-huge -m 512 --no-shconf --no-pci \
                 --vdev net_virtio_user0,path={{socket}},queues=1{arguments} -- -i --auto-start --forward-mode=txonly --no-mlockall \
                 --total-num-mbufs=16384"
            ),
        })
    }
}

/// The file system in memory of a guest with that kernel.
fn initrd(kernel: &str, folder: &Path, peers: &Path) -> Result<PathBuf> {
    let root = folder.join("root");
    for name in ["bin", "dev"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy(peers.join("guest/x86_64/busybox"), root.join("bin/busybox"))?;
    copy_folder(
        &peers.join("kernels").join(kernel).join("modules"),
        &root.join("modules"),
    )?;
    fs::write(root.join("init"), INIT)?;
    fs::set_permissions(root.join("init"), fs::Permissions::from_mode(0o755))?;
    let archive = folder.join("initrd");
    pack(&root, &archive, peers)?;
    Ok(archive)
}
