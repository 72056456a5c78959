//! NBD servers that are killed under load.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};

use super::process::Process;

/// How often a server is killed.
pub const KILLS: u32 = 5;

/// How long it may take until a server that has been started anew has been written to.
const DEADLINE: Duration = Duration::from_secs(120);

/// How often a thread here looks for what it waits for.
const NAP: Duration = Duration::from_millis(10);

/// A server of one image. It ends with this.
pub struct Server {
    name: &'static str,
    image: PathBuf,
    socket: PathBuf,
    log: PathBuf,
    peers: PathBuf,
    process: Process,
}

impl Server {
    /// Starts the server for the disk `name`, whose image is in `folder`.
    pub fn start(name: &'static str, folder: &Path, peers: &Path) -> Result<Self> {
        let place = |kind: &str| folder.join(format!("{name}.{kind}"));
        let (image, socket, log) = (place("img"), place("nbd"), place("log"));
        let process = launch(name, &image, &socket, &log, peers)?;
        Ok(Self {
            name,
            image,
            socket,
            log,
            peers: peers.into(),
            process,
        })
    }

    /// The disk that it is for.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn restart(&mut self) -> Result<()> {
        self.process.kill();
        // What a killed server leaves would be in the next one's way.
        let _ = fs::remove_file(&self.socket);
        self.process = launch(self.name, &self.image, &self.socket, &self.log, &self.peers)?;
        Ok(())
    }

    fn written(&self) -> Result<SystemTime> {
        Ok(fs::metadata(&self.image)?.modified()?)
    }
}

/// The programs of the two kinds of server.
pub fn program(name: &str) -> &'static str {
    match name {
        "nbd-qemu" => "bin/qemu-nbd",
        _ => "bin/nbdkit",
    }
}

fn launch(name: &str, image: &Path, socket: &Path, log: &Path, peers: &Path) -> Result<Process> {
    let mut command = Command::new(peers.join(program(name)));
    match name {
        "nbd-qemu" => {
            command.args(["--persistent", "--shared=0", "--format=raw", "--cache=writeback"]);
            command.arg(format!("--socket={}", socket.display())).arg(image);
        }
        _ => {
            command.args(["--foreground", "--unix"]).arg(socket);
            command.arg(peers.join("nbdkit/nbdkit-file-plugin.so"));
            command.arg(format!("file={}", image.display()));
        }
    }
    let log = File::options().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let process = Process::start(&mut command)?;
    let deadline = Instant::now() + DEADLINE;
    while !socket.exists() {
        ensure!(Instant::now() < deadline, "{name} does not listen");
        thread::sleep(NAP);
    }
    Ok(process)
}

/// Kills a server again and again, each time after it was written to. The server ends with this.
pub struct Killer {
    stop: Arc<AtomicBool>,
    kills: Arc<AtomicU32>,
    thread: Option<JoinHandle<Result<Server>>>,
}

impl Killer {
    /// Starts; when there were kills enough `enough` is called, once.
    pub fn start(mut server: Server, enough: impl FnOnce() -> Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let kills = Arc::new(AtomicU32::new(0));
        let (stopped, counted) = (stop.clone(), kills.clone());
        let thread = thread::spawn(move || {
            for number in 0..KILLS {
                let before = server.written()?;
                let deadline = Instant::now() + DEADLINE;
                while server.written()? == before && Instant::now() < deadline {
                    if stopped.load(Ordering::Relaxed) {
                        return Ok(server);
                    }
                    thread::sleep(NAP);
                }
                ensure!(
                    server.written()? != before,
                    "nothing was written to the NBD server"
                );
                // Somewhere in the middle of what comes now.
                thread::sleep(NAP * 7 * number);
                server.restart()?;
                counted.fetch_add(1, Ordering::Relaxed);
            }
            enough()?;
            Ok(server)
        });
        Self {
            stop,
            kills,
            thread: Some(thread),
        }
    }

    /// Ends it. Gives the number of kills, and the server, which runs.
    pub fn stop(mut self) -> Result<(u32, Server)> {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().context("it was stopped already")?;
        let server = thread.join().ok().context("the killer has panicked")??;
        Ok((self.kills.load(Ordering::Relaxed), server))
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Whatever became of it, the server has ended then.
            let _ = thread.join();
        }
    }
}
