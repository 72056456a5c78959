//! `ringwright conform driver`: what a driver makes of the document.

mod linux;
mod remote;

use std::sync::Arc;
use std::time::Instant;

use anyhow::{anyhow, bail};
use clap::{Args, Subcommand, ValueEnum};
use ringwright_conformance::driver::{
    Driver, Mutant, OURS, Rule, SCENARIOS, Scenario, Way, meet, ours_on, rules, scenario, watch,
};
use ringwright_conformance::report::Report;
use ringwright_conformance::{Record, Side, fits, subject};

use self::linux::LinuxSubject;
use self::remote::RemoteSubject;
use super::options::Options;
use super::screen::Screen;
use super::{HOLDS, conclude};

/// Check a driver.
///
/// It meets a device that watches everything it does, in one scenario after the other; in each the device does something
/// unusual, or wrong. A rule passes a driver only if it has seen the occasion that its clause is about.
#[derive(Args)]
#[command(arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    subject: Option<DriverSubject>,
    #[command(flatten)]
    options: Options,
}

/// A driver to check.
#[derive(Subcommand)]
enum DriverSubject {
    /// A driver that finds a PCI function: Linux, or any other, in a machine of QEMU's or another client of vfio-user.
    ///
    /// The device is served at the socket. For example, all on one line:
    ///
    /// ringwright conform driver vfio-user --command 'exec qemu-system-x86_64 -m 256 -display none -no-reboot
    /// -object memory-backend-memfd,id=m,size=256M,share=on -machine q35,memory-backend=m
    /// -kernel vmlinuz -initrd initrd -append panic=-1
    /// -device "{\"driver\":\"vfio-user-pci\",\"socket\":{\"type\":\"unix\",\"path\":\""{socket}"\"}}"'
    ///
    /// Everything that the driver does with the function's BARs is seen. The client answers a part of the configuration space
    /// itself, and has the table of MSI-X vectors. Firmware with a driver of its own, such as SeaBIOS, is watched as well:
    /// `-bios qboot.rom`, with `-append 'pci=nocrs edd=off ...'`, has none.
    VfioUser(RemoteSubject),
    /// A driver behind a vhost-user front-end: Linux in user mode, QEMU, DPDK's virtio-user.
    ///
    /// The device is a back-end, served at the socket. For example, all on one line:
    ///
    /// ringwright conform driver vhost-user --command
    /// 'exec linux.uml mem=256M initrd=initrd virtio_uml.device={socket}:2 con=null panic=-1'
    ///
    /// The virtqueues are seen, and the features that concern the back-end. The device status and the configuration space are the
    /// front-end's: rules about them are not applicable.
    VhostUser(RemoteSubject),
    Linux(LinuxSubject),
    Ours(OurSubject),
}

/// One of the drivers here, in this process.
#[derive(Args)]
struct OurSubject {
    /// Which; `rings` is our initialization and our rings alone, which do what no driver of a device type does.
    #[arg(value_parser = OURS.to_vec())]
    driver: String,
    /// The bus between it and the device.
    #[arg(long, value_enum, default_value = "direct")]
    bus: Bus,
    #[command(flatten)]
    scenarios: Scenarios,
    /// Let it break a clause, to see the rules catch it: `conform driver --list` names the mutants. `*` stands for anything.
    #[arg(long, value_name = "NAME", conflicts_with = "scenario")]
    mutant: Option<String>,
}

/// What a device does on purpose.
#[derive(Args)]
struct Scenarios {
    /// Only scenarios of this name. `*` stands for anything. May be given more than once.
    #[arg(long, value_name = "NAME")]
    scenario: Vec<String>,
}

/// Where one of our drivers can meet its device.
#[derive(Clone, Copy, ValueEnum)]
enum Bus {
    /// No bus: the device is told by the calls that the driver makes.
    Direct,
    Mmio,
    Pci,
    Ccw,
}

/// Watches the driver.
pub fn run(arguments: Arguments) -> anyhow::Result<u8> {
    let Arguments { subject, options } = arguments;
    let checks = options.select(rules().map(|rule| &rule.check))?;
    let chosen: Vec<&'static Rule> = rules()
        .filter(|rule| checks.iter().any(|check| check.name == rule.check.name))
        .collect();
    let mut screen = Screen::new(&options);
    if options.list {
        for rule in chosen {
            screen.describe(&rule.check, rule.mutants.iter().map(|mutant| mutant.name))?;
        }
        return Ok(HOLDS);
    }
    match subject {
        Some(DriverSubject::VfioUser(subject)) => subject.run(Way::VfioUser, &chosen, &options, &mut screen),
        Some(DriverSubject::VhostUser(subject)) => {
            subject.run(Way::VhostUser, &chosen, &options, &mut screen)
        }
        Some(DriverSubject::Linux(subject)) => subject.run(&chosen, &options, &mut screen),
        Some(DriverSubject::Ours(subject)) => run_ours(&subject, &chosen, &options, &mut screen),
        None => bail!("say which driver to check: `ringwright conform driver --help` lists the kinds"),
    }
}

/// Watches one of the drivers here.
fn run_ours(
    subject: &OurSubject,
    rules: &[&'static Rule],
    options: &Options,
    screen: &mut Screen,
) -> anyhow::Result<u8> {
    let driver = subject.open()?;
    let name = options.label.clone().unwrap_or_else(|| driver.name());
    let bus = driver.bus().to_string();
    let checks: Vec<_> = rules.iter().map(|rule| &rule.check).collect();
    screen.begin(&name, &checks)?;
    let start = Instant::now();
    let records = match &subject.mutant {
        Some(wanted) => slip(&driver, rules, wanted, subject, options)?,
        None => {
            let scenarios = chosen(&subject.scenarios, |_| true)?;
            watch(&driver, rules, &scenarios, options.deadline(), |_, _| {})
        }
    };
    records.iter().try_for_each(|record| screen.tell(record))?;
    conclude(
        Report::new(name, bus, Side::Driver, &records),
        start,
        options,
        screen,
    )
}

/// The scenarios that are named, or those that `usual` says if none is.
fn chosen(
    scenarios: &Scenarios,
    usual: impl Fn(&Scenario) -> bool,
) -> anyhow::Result<Vec<&'static Scenario>> {
    let named = |scenario: &Scenario| {
        let mut patterns = scenarios.scenario.iter();
        patterns.any(|pattern| fits(pattern, scenario.name))
    };
    let wanted = |scenario: &&Scenario| match scenarios.scenario.is_empty() {
        true => usual(scenario),
        false => named(scenario),
    };
    let chosen: Vec<_> = SCENARIOS.iter().filter(wanted).collect();
    if chosen.is_empty() {
        let names: Vec<_> = SCENARIOS.iter().map(|scenario| scenario.name).collect();
        bail!("no scenario is called so; there are {}", names.join(", "));
    }
    Ok(chosen)
}

impl OurSubject {
    fn open(&self) -> anyhow::Result<Arc<dyn Driver>> {
        let bus = match self.bus {
            Bus::Direct => subject::Bus::Direct,
            Bus::Mmio => subject::Bus::Mmio,
            Bus::Pci => subject::Bus::Pci,
            Bus::Ccw => subject::Bus::Ccw,
        };
        let missing = || anyhow!("there is no {} driver here", self.driver);
        let driver = ours_on(&self.driver, bus).ok_or_else(missing)?;
        Ok(Arc::new(driver))
    }
}

/// The driver meets the device once, as the mutant that `pattern` means.
fn slip(
    driver: &Arc<dyn Driver>,
    rules: &[&'static Rule],
    pattern: &str,
    subject: &OurSubject,
    options: &Options,
) -> anyhow::Result<Vec<Record>> {
    let mutant = find_mutant(pattern)?;
    if (mutant.driver, mutant.bus) != (subject.driver.as_str(), driver.bus()) {
        let Mutant {
            name, driver, bus, ..
        } = mutant;
        bail!("the mutant `{name}` is the driver `{driver}` with --bus {bus}");
    }
    let scenario = scenario(mutant.scenario).ok_or_else(|| anyhow!("no scenario {}", mutant.scenario))?;
    let start = Instant::now();
    let seen = meet(driver, rules, scenario, &mutant.slip, options.deadline());
    let record = |(rule, watch): (&'static Rule, _)| Record {
        check: &rule.check,
        verdict: rule.verdict(&watch),
        trace: seen.trace.clone(),
        took: start.elapsed(),
    };
    Ok(seen.watches.into_iter().map(record).collect())
}

/// The one mutant that `pattern` means.
fn find_mutant(pattern: &str) -> anyhow::Result<&'static Mutant> {
    let all = rules().flat_map(|rule| rule.mutants);
    let found: Vec<_> = all.filter(|mutant| fits(pattern, mutant.name)).collect();
    match found[..] {
        [one] => Ok(one),
        [] => bail!("there is no mutant `{pattern}`: `ringwright conform driver --list` names them"),
        _ => {
            let names: Vec<_> = found.iter().map(|mutant| mutant.name).collect();
            bail!(
                "{} mutants are called `{pattern}`: {}",
                found.len(),
                names.join("; ")
            )
        }
    }
}
