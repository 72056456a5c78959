//! Processes that do not outlive the matrix, however it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// How long a process may take to end that was asked to.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process in a group of its own, so that Ctrl-C reaches this program alone, which then ends the others in order.
pub struct Process {
    pub child: Child,
    /// Whether it has files to put in order when it ends.
    is_tidy: bool,
}

impl Process {
    /// Starts it.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = command.process_group(0).spawn();
        let program = command.get_program().display();
        Ok(Self {
            child: child.with_context(|| format!("cannot start {program}"))?,
            is_tidy: false,
        })
    }

    /// It is asked to end first, not killed.
    pub fn tidy(mut self) -> Self {
        self.is_tidy = true;
        self
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Kills it and all that it has started.
    pub fn kill(&mut self) {
        // If the group has gone already there is nothing to end.
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }

    fn ends_soon(&mut self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return true;
            }
            thread::sleep(Duration::from_millis(5));
        }
        false
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        if self.is_tidy && self.signal(Signal::TERM).is_ok() && self.ends_soon() {
            return;
        }
        self.kill();
    }
}

/// The lines of an output, as they come.
pub fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).trim().to_owned();
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Whether somebody wants this program to end.
#[derive(Clone)]
pub struct Interrupted(Arc<AtomicBool>);

impl Interrupted {
    /// From now on SIGINT, SIGTERM and SIGHUP end nothing; they are asked for here.
    pub fn on_signals() -> Result<Self> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            signal_hook::flag::register(signal, flag.clone()).context("cannot catch signals")?;
        }
        Ok(Self(flag))
    }

    /// Fails if somebody does.
    pub fn check(&self) -> Result<()> {
        match self.0.load(Ordering::Relaxed) {
            true => bail!("interrupted"),
            false => Ok(()),
        }
    }
}
