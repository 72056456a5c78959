//! Drivers of any program, which come to a strict device by a socket.

mod vfio_user;
mod vhost_user;

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ringwright_memory::Memory;
use ringwright_socket::{Stop, readable};
use ringwright_spec::DeviceType;
use rustix::net::sockopt::socket_peercred;
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};

use super::pulse::{Pulse, STEP};
use super::{Driver, Stage};
use crate::driver::strict::{Shared, Strict, with};
use crate::subject::Bus;
use crate::subject::server::{Process, program, say};

/// How a driver comes to its device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The device is a PCI function that another program shows the driver.
    VfioUser,
    /// The device is a back-end: registers and configuration are those of another program, its front-end.
    VhostUser,
}

/// How long a subject may take to end when its driver has left the device.
const FAREWELL: Duration = Duration::from_secs(5);

/// A driver in another process. Each scenario is a connection of its own; with a command also a process of its own.
#[derive(Debug)]
pub struct Remote {
    way: Way,
    device: &'static DeviceType,
    socket: PathBuf,
    listener: UnixListener,
    command: Option<String>,
    deadline: Duration,
    stop: Arc<AtomicBool>,
    /// How the first scenario has gone: whether a driver came at all, or why none did.
    came: OnceLock<Result<(), RemoteError>>,
}

/// Why there is no driver to watch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RemoteError {
    /// The command cannot be started.
    #[error("`{command}` cannot be started: {reason}")]
    Start {
        /// The command.
        command: String,
        /// What the system says.
        reason: String,
    },
    /// The subject has ended.
    #[error("nobody has connected to {}: {end}", socket.display())]
    Ended {
        /// Where it was waited for.
        socket: PathBuf,
        /// How.
        end: String,
    },
    /// Nobody came in time.
    #[error("nobody has connected to {} within {seconds} s", socket.display())]
    Nobody {
        /// Where it was waited for.
        socket: PathBuf,
        /// How long that was.
        seconds: u64,
    },
    /// Somebody came, and there was no driver.
    #[error("{} has been connected to, but no driver has done anything with the device{}", socket.display(), what(ended))]
    Untouched {
        /// Where it came.
        socket: PathBuf,
        /// What has become of it, if that is known.
        ended: Option<String>,
    },
    /// Nobody wants to know any longer.
    #[error("stopped")]
    Stopped,
}

fn what(ended: &Option<String>) -> String {
    ended
        .as_ref()
        .map_or_else(String::new, |ended| format!(": {ended}"))
}

impl Way {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::VfioUser => "vfio-user",
            Self::VhostUser => "vhost-user",
        }
    }
}

impl Remote {
    /// A driver of devices of type `device` that comes to `socket`, within `deadline` for each scenario. An error if nobody can
    /// be waited for there.
    pub fn listen(
        way: Way,
        device: &'static DeviceType,
        socket: PathBuf,
        deadline: Duration,
    ) -> io::Result<Self> {
        let is_socket = |socket: &Path| {
            let found = socket.symlink_metadata();
            found.is_ok_and(|found| found.file_type().is_socket())
        };
        // What a killed server has left behind. Anything but a socket is somebody's, and so is one that somebody listens at.
        if is_socket(&socket)
            && UnixStream::connect(&socket).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        {
            std::fs::remove_file(&socket)?;
        }
        let listener = UnixListener::bind(&socket)?;
        listener.set_nonblocking(true)?;
        Ok(Self {
            way,
            device,
            socket,
            listener,
            command: None,
            deadline,
            stop: Arc::default(),
            came: OnceLock::new(),
        })
    }

    /// A shell starts it anew for each scenario with `command`, in which `{socket}` stands for the path of the socket.
    pub fn started_by(mut self, command: impl Into<String>) -> Self {
        self.command = Some(command.into());
        self
    }

    /// Whatever runs ends soon after `stop` is set.
    pub fn stopped_by(mut self, stop: Arc<AtomicBool>) -> Self {
        self.stop = stop;
        self
    }

    /// Why there was no driver to watch, if there was none.
    pub fn absence(&self) -> Option<&RemoteError> {
        self.came.get()?.as_ref().err()
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Waits for a connection.
    fn accept(&self, process: &mut Option<Process>, end: Instant) -> Result<UnixStream, RemoteError> {
        let socket = || self.socket.clone();
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => return Ok(stream),
                Err(_) if self.is_stopped() => return Err(RemoteError::Stopped),
                Err(_) if Instant::now() > end => {
                    let (socket, seconds) = (socket(), self.deadline.as_secs());
                    return Err(RemoteError::Nobody { socket, seconds });
                }
                Err(_) => {}
            }
            let wait = readable(&[self.listener.as_fd()], Some(STEP));
            let status = process
                .as_mut()
                .and_then(|process| process.within(Duration::ZERO));
            if let (Some(status), Ok(ready)) = (status, wait)
                && ready == [false]
            {
                let (socket, end) = (socket(), say(status));
                return Err(RemoteError::Ended { socket, end });
            }
        }
    }

    /// Serves a connection until it ends, and says how that went; `None` if its time is up before.
    fn serve(&self, device: &Shared, stream: UnixStream, end: Instant) -> Option<Result<(), String>> {
        let stop = match Stop::new() {
            Ok(stop) => stop,
            Err(error) => return Some(Err(error.to_string())),
        };
        let Served { settle, run } = match self.way {
            Way::VfioUser => vfio_user::serve(device, stream, &stop),
            Way::VhostUser => vhost_user::serve(device, stream, &stop),
        };
        let (sender, receiver) = mpsc::channel();
        let serving = thread::spawn(move || {
            // Somebody waits for it as long as it runs.
            let _ = sender.send(run());
        });
        let mut pulse = Pulse::new();
        let outcome = loop {
            match receiver.recv_timeout(STEP) {
                Ok(outcome) => break Some(outcome),
                Err(RecvTimeoutError::Disconnected) => break Some(Err("the device has failed".into())),
                Err(RecvTimeoutError::Timeout) if self.is_stopped() || Instant::now() > end => {
                    with(device, Strict::abandon);
                    stop.raise();
                    break None;
                }
                Err(RecvTimeoutError::Timeout) => {
                    with(device, |device| pulse.beat(device));
                    settle();
                }
            }
        };
        // It has ended, or was told to; a panic was said above.
        let _ = serving.join();
        outcome
    }

    fn connection(&self, process: &mut Option<Process>, end: Instant) -> Result<UnixStream, RemoteError> {
        if let Some(command) = &self.command {
            // Of one that was killed there may be connections which nobody has accepted.
            while self.listener.accept().is_ok() {}
            let started = Process::start(command, &self.socket).map_err(|error| RemoteError::Start {
                command: command.clone(),
                reason: error.to_string(),
            });
            *process = Some(started?);
        }
        self.accept(process, end)
    }
}

impl Driver for Remote {
    fn name(&self) -> String {
        let who = self.command.as_deref().map(program).unwrap_or_default();
        let who = if who.is_empty() { "driver" } else { who };
        format!("{who}, {}, by {}", self.device.name, self.way.name())
    }

    fn device(&self) -> &'static DeviceType {
        self.device
    }

    fn bus(&self) -> Bus {
        match self.way {
            Way::VfioUser => Bus::Pci,
            Way::VhostUser => Bus::VhostUser,
        }
    }

    fn meet(&self, stage: &mut Stage<'_>) -> Result<(), String> {
        if let Some(error) = self.absence() {
            return Err(error.to_string());
        }
        let end = Instant::now() + self.deadline;
        let mut process = None;
        let stream = match self.connection(&mut process, end) {
            Ok(stream) => stream,
            Err(error) => {
                // That none comes to one scenario is no wonder if others were met.
                let _ = self.came.set(Err(error.clone()));
                return Err(error.to_string());
            }
        };
        let memory = Memory::new(Vec::new()).map_err(|error| error.to_string())?;
        let device = stage.device(self.device, self.bus(), Arc::new(memory))?;
        // One that has begun a session of its own does not end with its group.
        let peer = socket_peercred(&stream).ok().filter(|_| process.is_some());
        let outcome = self.serve(&device, stream, end);
        let is_over = outcome.is_some();
        if let Some(peer) = peer.filter(|_| !is_over) {
            kill(peer.pid);
        }
        if !is_over {
            with(&device, Strict::abandon);
        }
        let seconds = self.deadline.as_secs();
        let mut ended = outcome.unwrap_or_else(|| Err(format!("it did not end within {seconds} s")));
        if is_over && let Some(status) = process.as_mut().and_then(|process| process.within(FAREWELL)) {
            ended = match status.success() {
                true => ended,
                false => Err(say(status)),
            };
        }
        let came = match with(&device, |device| device.is_touched()) {
            true => Ok(()),
            false => Err(RemoteError::Untouched {
                socket: self.socket.clone(),
                ended: ended.clone().err(),
            }),
        };
        let _ = self.came.set(came);
        ended
    }
}

impl Drop for Remote {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Ends a process that has not ended in time, and those that it leads.
fn kill(process: Pid) {
    // It may have ended after all.
    let _ = match getpgid(Some(process)) {
        Ok(group) if group == process => kill_process_group(group, Signal::KILL),
        _ => kill_process(process, Signal::KILL),
    };
}

/// A device that somebody else's driver has come to.
struct Served {
    /// Passes on what the device has to say.
    settle: Box<dyn Fn()>,
    /// Answers whoever shows the device to the driver, until that goes.
    run: Box<dyn FnOnce() -> Result<(), String> + Send>,
}
