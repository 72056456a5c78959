//! The process that is killed.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};

use crate::QUEUES;
use crate::model::Random;

/// How long a process lives, in milliseconds.
const LEAST: u64 = 50;
const MOST: u64 = 500;
/// How long a disk may take to be written to again.
const PATIENCE: Duration = Duration::from_secs(120);

/// One process after the other, the last of which stays.
pub struct Server {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<()>>>>,
}

struct Shared {
    program: PathBuf,
    image: PathBuf,
    socket: PathBuf,
    options: Vec<String>,
    process: Mutex<Option<Ended>>,
    kills: AtomicU32,
    killing: AtomicBool,
}

impl Server {
    /// Starts `program` on `image`, with more options.
    pub fn start(program: &Path, image: &Path, socket: PathBuf, options: Vec<String>) -> Result<Self> {
        let shared = Shared {
            program: program.into(),
            image: image.into(),
            socket,
            options,
            process: Mutex::new(None),
            kills: 0.into(),
            killing: false.into(),
        };
        shared.replace()?;
        Ok(Self {
            shared: Arc::new(shared),
            thread: Mutex::new(None),
        })
    }

    /// Kills the process, and starts another one, `kills` times from now on. One lives for 50 to 500 milliseconds from the
    /// moment on in which the disk is written to again.
    pub fn kill_again_and_again(&self, kills: u32, seed: u64) {
        let shared = self.shared.clone();
        shared.killing.store(true, SeqCst);
        let mut random = Random(seed);
        let thread = thread::spawn(move || {
            let mut outcome = Ok(());
            while outcome.is_ok() && shared.killing.load(SeqCst) && shared.kills.load(SeqCst) < kills {
                // Not to be woken up: the time is what it is all about.
                thread::sleep(Duration::from_millis(LEAST + random.below(MOST - LEAST + 1)));
                outcome = shared.replace().and_then(|()| shared.wait_for_work());
                shared.kills.fetch_add(1, SeqCst);
            }
            shared.killing.store(false, SeqCst);
            outcome
        });
        *self.thread.lock().unwrap_or_else(PoisonError::into_inner) = Some(thread);
    }

    /// Whether a process will be killed yet. If that has failed, [`Server::end`] says so.
    pub fn is_killing(&self) -> bool {
        self.shared.killing.load(SeqCst)
    }

    /// How many have been killed.
    pub fn kills(&self) -> u32 {
        self.shared.kills.load(SeqCst)
    }

    /// A connection to the process there is, once there is one.
    pub fn connect(&self, patience: Duration) -> Result<UnixStream> {
        let deadline = Instant::now() + patience;
        loop {
            match UnixStream::connect(&self.shared.socket) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => {
                    return Err(anyhow!(error).context("no server listens"));
                }
                Err(_) => thread::sleep(Duration::from_millis(1)),
            }
        }
    }

    /// Kills the process once, and starts another one.
    pub fn kill_once(&self) -> Result<()> {
        self.shared.replace()?;
        self.shared.kills.fetch_add(1, SeqCst);
        Ok(())
    }

    /// The process is to die, and nothing else happens until it has, but what `meanwhile` does.
    pub fn power_off(&self, meanwhile: impl FnOnce()) {
        let mut process = self.shared.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ended(child)) = &mut *process {
            // Fails only if it is dead already.
            let _ = child.kill();
        }
        meanwhile();
        *process = None;
    }

    /// Starts a process, if there is none; else kills that first.
    pub fn start_again(&self) -> Result<()> {
        self.shared.replace()
    }

    /// Kills the last process, and says how many were before it.
    pub fn end(self) -> Result<u32> {
        self.stop()?;
        Ok(self.kills())
    }

    fn stop(&self) -> Result<()> {
        self.shared.killing.store(false, SeqCst);
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let outcome = thread.map_or(Ok(Ok(())), JoinHandle::join);
        self.shared.kill();
        match outcome {
            Ok(outcome) => outcome,
            Err(_) => bail!("the thread that kills has panicked"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // What went wrong before this is what matters.
        let _ = self.stop();
    }
}

impl Shared {
    fn kill(&self) {
        drop(self.process.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Kills the process, if there is one, and starts another one. Fails if it has ended by itself.
    fn replace(&self) -> Result<()> {
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Ended(child)) = &mut *process
            && let Some(status) = child.try_wait()?
        {
            bail!("a server has ended by itself: {status}");
        }
        // The one before is dead, and waited for, before there is another one.
        *process = None;
        let mut command = Command::new(&self.program);
        command
            .args(["serve", "block"])
            .arg(&self.image)
            .args(&self.options)
            .args(["--queues", &QUEUES.to_string(), "--socket"])
            .arg(&self.socket)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null());
        *process = Some(Ended(command.spawn().context("starting a server")?));
        Ok(())
    }

    /// Waits until the image has been written to twice: the first time may be the last write of the process that was killed.
    fn wait_for_work(&self) -> Result<()> {
        let modified = || std::fs::metadata(&self.image)?.modified();
        let deadline = Instant::now() + PATIENCE;
        let (mut last, mut writes) = (modified()?, 0);
        while writes < 2 && self.killing.load(SeqCst) {
            if Instant::now() > deadline {
                bail!("nothing is written to the disk after a server was killed");
            }
            // Nobody tells of it.
            thread::sleep(Duration::from_millis(2));
            let now = modified()?;
            writes += u32::from(now != last);
            last = now;
        }
        Ok(())
    }
}

/// A process that is killed, and waited for, with this.
pub struct Ended(pub Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // SIGKILL. Both fail only if it is dead already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
