//! The user at the guest's console.

use std::io::{self, PipeReader};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::bail;
use signal_hook::consts::{SIGUSR1, SIGUSR2};
use tempfile::TempDir;

use super::boot_log::BootLog;
use super::embedded::{self, Snapshot};
use super::engine::{Ended, Engine, Running};
use super::guest::Guest;
use super::peers::Parts;
use super::terminal::{self, Terminal, Wishes};
use super::{Arguments, folder};
use crate::serve::Disks;
use crate::signals::Ending;

/// How often the progress of a guest is shown that has not written anything yet.
const PROGRESS: Duration = Duration::from_millis(200);

/// A guest that runs, and our ends of it.
struct Session {
    running: Running,
    boot_console: PipeReader,
    console: UnixStream,
    disks: Disks,
    /// Files of this run, as long as it lasts.
    _folder: TempDir,
}

/// Joins the user's terminal to the guest's console until the guest has ended or the user leaves.
pub fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wished = Wished {
        ending: Ending::on_signals()?,
        saving: Ending::on(&[SIGUSR1])?,
        resizing: Ending::on(&[SIGUSR2])?,
    };
    let Session {
        mut running,
        boot_console,
        console,
        disks,
        _folder,
    } = start(arguments)?;
    let log = BootLog::follow(boot_console, arguments.verbose)?;
    let wishes = Wishes {
        leave: wished.ending.wish()?,
        save: wished.saving.wish()?,
    };
    let terminal = Terminal::join(console, wishes)?;
    let ended = attend(&mut running, &terminal, arguments, wished, &disks);
    // Nothing is said before the terminal is as it was.
    drop(terminal);
    drop(running);
    let seen = log.finish();
    match (ended, seen.panic.as_deref()) {
        (Ok(Ended::Wished(_)), _) | (Ok(Ended::Exited), None) => Ok(ExitCode::SUCCESS),
        (_, Some(reason)) => bail!("the guest's kernel has given up: {reason}{}", seen.text()),
        (Ok(Ended::Restarted), None) => {
            tracing::warn!("the guest wants to be started anew, and has ended");
            Ok(ExitCode::SUCCESS)
        }
        (Ok(Ended::Timeout), None) => bail!("the guest has been ended{}", seen.text()),
        (Err(error), None) => bail!("{error:#}{}", seen.text()),
    }
}

/// Boots a guest, or lets a saved one go on.
fn start(arguments: &Arguments) -> anyhow::Result<Session> {
    let folder = folder()?;
    let size = terminal::size();
    let mut disks = Disks::default();
    if let Some(file) = &arguments.restore {
        let snapshot = Snapshot::open(file)?;
        let guest = Guest::new(arguments, Engine::Machine, snapshot.setting, folder.path())?;
        let (devices, console) = guest.devices(size, &mut disks)?;
        let (boot_console, sink) = io::pipe()?;
        let running = Running::Embedded(embedded::restore(&guest, snapshot, devices, sink)?);
        return Ok(Session {
            running,
            boot_console,
            console,
            disks,
            _folder: folder,
        });
    }
    let engine = arguments.engine.unwrap_or(Engine::Machine);
    if arguments.save.is_some() && engine != Engine::Machine {
        bail!("only the embedded machine can be saved: --engine machine");
    }
    let setting = arguments.setting(engine)?;
    let emulation = setting.presentation.emulation;
    let parts = Parts::find(engine, emulation, &arguments.peers, arguments.kernel.as_deref())?;
    let guest = Guest::new(arguments, engine, setting, folder.path())?;
    let (devices, console) = guest.devices(size, &mut disks)?;
    let (running, boot_console) = Running::start(&guest, &parts, devices, "")?;
    Ok(Session {
        running,
        boot_console,
        console,
        disks,
        _folder: folder,
    })
}

/// Waits for the end, and does what the user wishes for until then. A guest that is booting must say something in time.
fn attend(
    running: &mut Running,
    terminal: &Terminal,
    arguments: &Arguments,
    mut wished: Wished,
    disks: &Disks,
) -> anyhow::Result<Ended> {
    let started = Instant::now();
    let mut silent = arguments.restore.is_none();
    loop {
        let ended = running.wait(
            silent.then_some(PROGRESS),
            &[&wished.ending, &wished.saving, &wished.resizing],
        )?;
        match ended {
            Ended::Timeout if terminal.has_spoken() => silent = false,
            Ended::Timeout if started.elapsed() < Duration::from_secs(arguments.timeout) => {
                terminal.show_progress(&progress(running, started.elapsed()));
            }
            Ended::Timeout => bail!(
                "nothing on the guest's console within {} s; {}",
                arguments.timeout,
                running.complaint()
            ),
            Ended::Wished(SAVE) => match (&arguments.save, &mut *running) {
                (Some(file), Running::Embedded(machine)) => {
                    machine.save(file)?;
                    return Ok(ended);
                }
                _ => wished.saving.wait()?,
            },
            Ended::Wished(RESIZE) => {
                wished.resizing.wait()?;
                disks.refresh();
            }
            _ => return Ok(ended),
        }
    }
}

/// Numbers of wishes, as [`attend`] waits for them.
const SAVE: usize = 1;
const RESIZE: usize = 2;

/// What is wished for by signals, or with keys.
struct Wished {
    ending: Ending,
    saving: Ending,
    resizing: Ending,
}

fn progress(running: &Running, elapsed: Duration) -> String {
    let instructions = running
        .instructions()
        .map(|count| format!(", {} million instructions", count / 1_000_000));
    format!(
        "booting: {:.0} s{}",
        elapsed.as_secs_f32(),
        instructions.unwrap_or_default()
    )
}
