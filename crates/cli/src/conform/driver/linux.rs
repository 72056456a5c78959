//! Linux in the embedded machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use ringwright_conformance::driver::{Driver, Linux, LinuxError, LinuxParts, Rule, watch};
use ringwright_conformance::report::Report;
use ringwright_conformance::{Side, subject};
use ringwright_spec::device_type;

use super::super::conclude;
use super::super::options::Options;
use super::super::screen::Screen;
use super::{Scenarios, chosen};

/// Seconds that a guest may take in one scenario, if nothing is said.
const DEADLINE: u64 = 200;

/// What to say if there is no kernel.
const REMEDY: &str = "no guest: in a checkout, `cargo xtask setup boot` fetches it; elsewhere, --peers names a folder that has it";

/// Linux, in the machine that is in this program: it boots anew for each scenario, which takes some seconds.
///
/// The kernel is Debian's for RISC-V, as `cargo xtask setup boot` fetches it, or another one. For example:
/// ringwright conform driver linux --bus pci --type network --scenario packed --scenario 'pci-*'
#[derive(Args)]
pub struct LinuxSubject {
    /// The bus that the device is on.
    #[arg(long, value_enum, default_value = "mmio")]
    bus: Bus,
    /// The device that the driver is for: block, network or entropy.
    #[arg(long = "type", value_name = "TYPE", default_value = "block")]
    device_type: String,
    #[command(flatten)]
    scenarios: Scenarios,
    /// The folder of the kernel, with `vmlinuz` and `modules`, if not that in the peers folder.
    #[arg(long, value_name = "FOLDER")]
    kernel: Option<PathBuf>,
    /// The folder that `cargo xtask setup` has filled.
    #[arg(
        long,
        value_name = "FOLDER",
        env = "RINGWRIGHT_PEERS",
        default_value = "target/peers"
    )]
    peers: PathBuf,
}

/// The buses of the embedded machine.
#[derive(Clone, Copy, ValueEnum)]
enum Bus {
    Mmio,
    Pci,
}

impl LinuxSubject {
    /// Watches the driver.
    pub fn run(&self, rules: &[&'static Rule], options: &Options, screen: &mut Screen) -> anyhow::Result<u8> {
        let linux = self.open()?;
        let scenarios = chosen(&self.scenarios, |scenario| {
            scenario.is_for(linux.device(), linux.bus()) && Linux::bears(scenario)
        })?;
        let name = options.label.clone().unwrap_or_else(|| linux.name());
        let bus = linux.bus().to_string();
        let checks: Vec<_> = rules.iter().map(|rule| &rule.check).collect();
        screen.begin(&name, &checks)?;
        let start = Instant::now();
        let mut last = start;
        let driver: Arc<dyn Driver> = Arc::new(linux);
        let deadline = options.deadline_or(DEADLINE);
        let records = watch(&driver, rules, &scenarios, deadline, |scenario, ended| {
            let how = ended.as_ref().map_or_else(|error| first_line(error), |()| "done");
            let seconds = last.elapsed().as_secs_f64();
            last = Instant::now();
            // What cannot be shown cannot be shown later either, and is an error then.
            let _ = screen.say(&format!("scenario {:<26} {seconds:>6.1} s  {how}", scenario.name));
        });
        records.iter().try_for_each(|record| screen.tell(record))?;
        let report = Report::new(name, bus, Side::Driver, &records);
        conclude(report, start, options, screen)
    }

    fn open(&self) -> anyhow::Result<Linux> {
        let id = crate::explain::device_id(&self.device_type)?;
        let device = device_type::by_id(id).ok_or_else(|| anyhow!("there is no device type {id}"))?;
        let bus = match self.bus {
            Bus::Mmio => subject::Bus::Mmio,
            Bus::Pci => subject::Bus::Pci,
        };
        let usual = self.peers.join("kernels/riscv64");
        let kernel = self.kernel.as_ref().unwrap_or(&usual);
        let parts = LinuxParts {
            kernel: kernel.join("vmlinuz"),
            modules: kernel.join("modules"),
            busybox: self.peers.join("guest/riscv64/busybox"),
        };
        Linux::new(&parts, device, bus).map_err(|error| match error {
            LinuxError::Read { .. } => anyhow::Error::new(error).context(REMEDY),
            _ => error.into(),
        })
    }
}

/// The first line of what has gone wrong; the kernel's messages come after it.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
