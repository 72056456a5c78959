//! Drivers of other programs, which come by a socket.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use anyhow::Context;
use clap::Args;
use ringwright_conformance::Side;
use ringwright_conformance::driver::{Driver, Remote, Rule, Way, watch};
use ringwright_conformance::report::{Report, Word};
use ringwright_spec::DeviceType;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tempfile::TempDir;

use super::super::conclude;
use super::super::options::Options;
use super::super::screen::Screen;
use super::{Scenarios, chosen};

/// Seconds that a driver may take in one scenario, if nothing is said: it may have to boot.
const DEADLINE: u64 = 120;

/// A driver that comes by a socket.
#[derive(Args)]
pub struct RemoteSubject {
    /// The Unix socket that the driver's side connects to, once for each scenario; with --command it may be left out.
    #[arg(required_unless_present = "command")]
    socket: Option<PathBuf>,
    /// The device that it is to meet, by its name or its virtio device id.
    #[arg(long = "type", value_name = "TYPE", default_value = "block")]
    device_type: String,
    /// What a shell is to start, anew for each scenario; `{socket}` in it stands for the path of the socket. Its end is that of
    /// the driver, and an exit code that is not 0 says that the driver has met an error.
    #[arg(long)]
    command: Option<String>,
    #[command(flatten)]
    scenarios: Scenarios,
}

impl RemoteSubject {
    /// Watches the driver.
    pub fn run(
        &self,
        way: Way,
        rules: &[&'static Rule],
        options: &Options,
        screen: &mut Screen,
    ) -> anyhow::Result<u8> {
        let device = self.device()?;
        let folder = TempDir::with_prefix("ringwright-conform-")?;
        let stop = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, stop.clone())?;
        }
        let deadline = options.deadline_or(DEADLINE);
        let subject = Arc::new(self.open(way, device, folder.path(), options, &stop)?);
        let name = options.label.clone().unwrap_or_else(|| subject.name());
        let checks: Vec<_> = rules.iter().map(|rule| &rule.check).collect();
        screen.begin(&name, &checks)?;
        let scenarios = chosen(&self.scenarios, |scenario| {
            scenario.is_for(device, subject.bus()) && scenario.is_bearable()
        })?;
        if self.command.is_none() {
            let socket = self.socket.as_deref().unwrap_or(Path::new(""));
            screen.say(&format!(
                "waiting at {}, once for each scenario",
                socket.display()
            ))?;
        }
        let start = Instant::now();
        let driver: Arc<dyn Driver> = subject.clone();
        // It keeps the deadline itself, and ends what it has started.
        let patience = deadline.saturating_mul(2);
        let mut last = start;
        let records = watch(&driver, rules, &scenarios, patience, |scenario, ended| {
            if subject.absence().is_some() || stop.load(Ordering::Relaxed) {
                return;
            }
            let how = ended.as_ref().map_or_else(String::as_str, |()| "done");
            let seconds = last.elapsed().as_secs_f64();
            last = Instant::now();
            // What cannot be shown cannot be shown later either, and is an error then.
            let _ = screen.say(&format!("scenario {:<26} {seconds:>6.1} s  {how}", scenario.name));
        });
        let is_stopped = stop.load(Ordering::Relaxed);
        if let Some(error) = subject.absence().filter(|_| !is_stopped) {
            return Err(error.clone().into());
        }
        records.iter().try_for_each(|record| screen.tell(record))?;
        let mut report = Report::new(name, way.name().into(), Side::Driver, &records);
        report.complete = !is_stopped;
        if report.complete
            && report
                .checks
                .iter()
                .all(|check| check.verdict.is_idle() && check.verdict != Word::Pass)
        {
            anyhow::bail!(
                "none of {} rules has seen its occasion: --verbose says why",
                records.len()
            );
        }
        conclude(report, start, options, screen)
    }

    fn device(&self) -> anyhow::Result<&'static DeviceType> {
        let id = crate::explain::device_id(&self.device_type)?;
        let known = [
            &ringwright_spec::block::DEVICE,
            &ringwright_spec::network::DEVICE,
            &ringwright_spec::console::DEVICE,
            &ringwright_spec::entropy::DEVICE,
        ];
        let names = known.map(|device| device.name).join(", ");
        let found = known.into_iter().find(|device| device.id == id);
        found.with_context(|| format!("there is no strict device of type {}: {names}", self.device_type))
    }

    fn open(
        &self,
        way: Way,
        device: &'static DeviceType,
        folder: &Path,
        options: &Options,
        stop: &Arc<AtomicBool>,
    ) -> anyhow::Result<Remote> {
        let socket = self.socket.clone().unwrap_or_else(|| folder.join("device.sock"));
        let place = socket.display().to_string();
        let subject = Remote::listen(way, device, socket, options.deadline_or(DEADLINE))
            .with_context(|| format!("cannot wait for a driver at {place}"))?
            .stopped_by(stop.clone());
        Ok(match &self.command {
            Some(command) => subject.started_by(command),
            None => subject,
        })
    }
}
