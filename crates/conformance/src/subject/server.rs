//! The program that serves a subject, started when there is need of it, and again when a check has killed it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use ringwright_sys::leash::{Leash, leashed};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::SubjectError;

/// How long a server may take until it listens, and to end when it is asked to.
const PATIENCE: Duration = Duration::from_secs(15);
/// How long to wait before its socket is tried again.
const AGAIN: Duration = Duration::from_millis(10);

/// A command line, and the process that it is now.
#[derive(Debug)]
pub struct Server {
    command: String,
    process: Option<Process>,
}

/// What a shell makes of a command line, in a process group of its own, which ends with it.
#[derive(Debug)]
pub(crate) struct Process {
    /// Its standard input is the leash.
    child: Child,
    /// Readable once it has ended.
    ended: OwnedFd,
}

impl Server {
    /// What a shell makes of `command`, in which `{socket}` stands for the path of the socket to listen at.
    pub fn new(command: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            process: None,
        }
    }

    /// The name of the program, as far as the command line begins with one.
    pub(super) fn program(&self) -> &str {
        program(&self.command)
    }

    /// Connects to the server at `socket`, and starts it before, if it does not run.
    pub(super) fn connect(&mut self, socket: &Path) -> Result<UnixStream, SubjectError> {
        let start = Instant::now();
        let mut fresh = self.process.is_none();
        loop {
            if self.process.is_none() {
                self.process = Some(self.start(socket)?);
            }
            match UnixStream::connect(socket) {
                Ok(stream) => return Ok(stream),
                Err(_) if start.elapsed() < PATIENCE => {}
                Err(error) => {
                    return Err(self.error(format!("does not listen at {}: {error}", socket.display())));
                }
            }
            // One that a check has killed is started again, once.
            if let Some(end) = self.end(AGAIN)
                && std::mem::replace(&mut fresh, true)
            {
                return Err(self.error(format!("does not listen at {}: {}", socket.display(), say(end))));
            }
        }
    }

    /// How it has ended, if it has, or does so within `moment`.
    pub(super) fn end(&mut self, moment: Duration) -> Option<ExitStatus> {
        let status = self.process.as_mut()?.within(moment)?;
        self.process = None;
        Some(status)
    }

    /// Ends it; the next connection starts it again.
    pub(super) fn stop(&mut self) {
        self.process = None;
    }

    fn start(&self, socket: &Path) -> Result<Process, SubjectError> {
        // What a killed one has left behind keeps many from listening. Anything but a socket is somebody's.
        if socket
            .symlink_metadata()
            .is_ok_and(|found| found.file_type().is_socket())
        {
            let _ = std::fs::remove_file(socket);
        }
        Process::start(&self.command, socket).map_err(|error| self.error(error.to_string()))
    }

    fn error(&self, what: String) -> SubjectError {
        SubjectError::Server {
            command: self.command.clone(),
            what,
        }
    }
}

impl Process {
    /// What a shell makes of `command`, in which `{socket}` stands for the path of a socket.
    pub(crate) fn start(command: &str, socket: &Path) -> io::Result<Self> {
        let socket = format!("'{}'", socket.display().to_string().replace('\'', r"'\''"));
        let mut child = leashed("/bin/sh".as_ref(), Leash::Input)
            .args(["-c", &command.replace("{socket}", &socket)])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()?;
        match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(ended) => Ok(Self { child, ended }),
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Waits for its end.
    pub(crate) fn within(&mut self, time: Duration) -> Option<ExitStatus> {
        self.wait(time);
        self.child.try_wait().ok().flatten()
    }

    /// Waits until it has ended, or that long.
    fn wait(&self, time: Duration) {
        let mut descriptors = [PollFd::new(&self.ended, PollFlags::IN)];
        // Times here are short, so that they fit; a wait that a signal ends is a shorter one.
        if let Ok(time) = Timespec::try_from(time) {
            let _ = poll(&mut descriptors, Some(&time));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let group = Pid::from_child(&self.child);
        // A group that has gone already needs no signal. Who leads it may have ended before others of it, which hear no TERM;
        // until somebody waits for it, its number is nobody else's.
        let _ = kill_process_group(group, Signal::TERM);
        self.wait(PATIENCE);
        let _ = kill_process_group(group, Signal::KILL);
        let _ = self.child.wait();
    }
}

/// The name of the program that a command line begins with, if it does.
pub(crate) fn program(command: &str) -> &str {
    let mut words = command.split_whitespace();
    let word = words
        .find(|word| *word != "exec" && !word.contains('='))
        .unwrap_or_default();
    let word = word.trim_matches(['(', '\'', '"']);
    word.rsplit('/').next().unwrap_or_default()
}

/// That it has ended, with a signal by its number, or an exit code.
pub(crate) fn say(status: ExitStatus) -> String {
    let how = match (status.signal(), status.code()) {
        // A shell says so of its last command.
        (Some(signal), _) => format!("killed by signal {signal}"),
        (None, Some(code @ 129..)) => format!("killed by signal {}", code - 128),
        (None, code) => format!("exit code {}", code.unwrap_or_default()),
    };
    format!("the subject has ended: {how}")
}
