//! The load through our own front-end while the storage is at fault now and then, and the server is killed, too. Requests may
//! fail then, with the status for that; what succeeds is right, nothing hangs, and when the fault is gone all is well again.

use std::ffi::CString;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use clap::ValueEnum;
use ringwright_spec::block::SECTOR_SIZE;
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::Common;
use crate::load::{Load, SECTORS, check_image};
use crate::model::Random;
use crate::server::{Ended, Server};
use crate::store::{Fault, Mounted, Store};
use crate::trouble::Trouble;

/// For how many seconds the server looks for its NBD server.
const RECONNECT: u64 = 1;
/// How long the load may take to see the end of a fault.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to ask for.
#[derive(clap::Args)]
pub struct Args {
    /// What is wrong.
    kind: Kind,
    #[command(flatten)]
    common: Common,
    /// The program `qemu-nbd`, for an NBD server that vanishes.
    #[arg(long)]
    qemu_nbd: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// The file system of the image is full (a tmpfs, so this process has to be in a mount namespace of its own).
    Full,
    /// Reads, writes and flushes of the image fail (a file of this process, by FUSE).
    Errors,
    /// The NBD server that has the image is killed, and comes back after requests have failed.
    Vanishing,
}

/// Where the image is.
enum Storage {
    Full(Tmpfs),
    Errors { store: Store, _mounted: Mounted },
    Vanishing(NbdServer),
}

/// Runs the load until the last process was killed, and says what happened.
pub fn run(args: &Args) -> Result<serde_json::Value> {
    let common = &args.common;
    let (storage, image) = Storage::prepare(args)?;
    let mut options = Vec::new();
    if args.kind == Kind::Vanishing {
        options.extend(["--reconnect".into(), RECONNECT.to_string()]);
    }
    let server = Server::start(&common.server, &image, common.folder.join("disk.sock"), options)?;
    let start = Instant::now();
    let trouble = Trouble::default();
    let mut load = Load::open(common, false, &server, trouble.clone())?;
    let adversary = Adversary {
        storage,
        server: &server,
        trouble,
        random: Random(common.seed),
        faults: 0,
    };
    let going_on = AtomicBool::new(true);
    let adversary = thread::scope(|scope| {
        let adversary = scope.spawn(|| {
            let outcome = adversary.run(common.kills, &going_on);
            going_on.store(false, SeqCst);
            outcome
        });
        let mut outcome = Ok(());
        while outcome.is_ok() && going_on.load(SeqCst) {
            outcome = load.step(&server);
        }
        going_on.store(false, SeqCst);
        let adversary = adversary.join();
        let adversary = adversary.map_err(|_| anyhow!("the thread with the faults has panicked"))?;
        outcome.and(adversary)
    })?;
    load.drain(&server)?;
    load.flush(&server).context("after the last fault")?;
    load.read_all(&server)?;
    ensure!(load.failed > 0, "no request has failed, so there was no fault");
    let Adversary { storage, faults, .. } = adversary;
    let kills = server.end()?;
    check_image(&storage.content()?, &load.model)?;
    Ok(serde_json::json!({
        "kills": kills,
        "faults": faults,
        "requests": load.completed,
        "requests_failed": load.failed,
        "sectors_written": load.model.written(),
        "sectors_compared": load.model.compared(),
        "seconds": start.elapsed().as_secs_f64(),
    }))
}

/// Who makes the trouble.
struct Adversary<'s> {
    storage: Storage,
    server: &'s Server,
    trouble: Trouble,
    random: Random,
    faults: u32,
}

impl<'s> Adversary<'s> {
    /// Faults and kills in turn, until there were so many kills.
    fn run(mut self, kills: u32, going_on: &AtomicBool) -> Result<Self> {
        while self.server.kills() < kills && going_on.load(SeqCst) {
            self.sleep(50, 500);
            self.begin_fault()?;
            self.sleep(100, 600);
            // A server has to reach its image to start.
            if let Storage::Full(_) = self.storage {
                self.kill(going_on)?;
                self.sleep(100, 300);
            }
            self.end_fault(going_on)?;
            self.faults += 1;
            self.kill(going_on)?;
            for _ in 0..self.random.below(3) {
                self.sleep(50, 500);
                self.kill(going_on)?;
            }
        }
        Ok(self)
    }

    /// Not to be woken up: the time is what it is all about.
    fn sleep(&mut self, least: u64, most: u64) {
        thread::sleep(Duration::from_millis(least + self.random.below(most - least + 1)));
    }

    /// Kills the server, and waits until the next one has answered a request: without its image it would not start.
    fn kill(&mut self, going_on: &AtomicBool) -> Result<()> {
        self.server.kill_once()?;
        self.trouble.served_anew();
        let killed = Instant::now();
        while !self.trouble.has_succeeded_after(killed) && going_on.load(SeqCst) {
            ensure!(
                killed.elapsed() < PATIENCE,
                "the disk does not go on with the next server"
            );
            self.sleep(5, 5);
        }
        Ok(())
    }

    fn begin_fault(&mut self) -> Result<()> {
        self.trouble.begin(matches!(self.storage, Storage::Errors { .. }));
        match &mut self.storage {
            Storage::Full(tmpfs) => tmpfs.fill(),
            Storage::Errors { store, .. } => {
                store.set_fault(Fault::Errors);
                Ok(())
            }
            Storage::Vanishing(nbd) => {
                nbd.process = None;
                // Until requests have failed, and some more have.
                self.sleep(RECONNECT * 1000, RECONNECT * 1000 + 500);
                Ok(())
            }
        }
    }

    fn end_fault(&mut self, going_on: &AtomicBool) -> Result<()> {
        match &mut self.storage {
            Storage::Full(tmpfs) => tmpfs.make_room()?,
            Storage::Errors { store, .. } => store.set_fault(Fault::None),
            Storage::Vanishing(nbd) => {
                nbd.start()?;
                self.trouble.begin_to_end();
                let deadline = Instant::now() + PATIENCE;
                while self.trouble.is_now() && going_on.load(SeqCst) {
                    ensure!(
                        Instant::now() < deadline,
                        "the disk does not go on when its NBD server is back"
                    );
                    self.sleep(5, 5);
                }
                return Ok(());
            }
        }
        self.trouble.end();
        Ok(())
    }
}

impl Storage {
    /// The storage, and how it is named to the server.
    fn prepare(args: &Args) -> Result<(Self, PathBuf)> {
        let common = &args.common;
        let size = SECTORS * SECTOR_SIZE;
        let folder = common.folder.join("storage");
        std::fs::create_dir(&folder)?;
        let image = folder.join("disk.img");
        let storage = match args.kind {
            Kind::Full => {
                let tmpfs = Tmpfs::mount(&folder)?;
                std::fs::File::create(&image)?.set_len(size)?;
                Self::Full(tmpfs)
            }
            Kind::Errors => {
                let store = Store::new(vec![("disk.img".into(), vec![0; size as usize])], common.seed);
                let mounted = store.mount(&folder)?;
                Self::Errors {
                    store,
                    _mounted: mounted,
                }
            }
            Kind::Vanishing => {
                std::fs::File::create(&image)?.set_len(size)?;
                let socket = folder.join("nbd.sock");
                let name = format!("nbd+unix:///disk?socket={}", socket.display());
                let mut nbd = NbdServer {
                    program: args.qemu_nbd.clone().context("no --qemu-nbd given")?,
                    image,
                    socket,
                    process: None,
                };
                nbd.start()?;
                return Ok((Self::Vanishing(nbd), name.into()));
            }
        };
        Ok((storage, image))
    }

    /// What the image holds.
    fn content(&self) -> Result<Vec<u8>> {
        match self {
            Self::Full(tmpfs) => Ok(std::fs::read(tmpfs.folder.join("disk.img"))?),
            Self::Errors { store, .. } => store.content("disk.img").context("the image is not there"),
            Self::Vanishing(nbd) => Ok(std::fs::read(&nbd.image)?),
        }
    }
}

/// A file system that is full when it is told to.
struct Tmpfs {
    folder: PathBuf,
}

impl Tmpfs {
    fn mount(folder: &Path) -> Result<Self> {
        let size = CString::new(format!("size={}", SECTORS * SECTOR_SIZE * 2))?;
        mount("tmpfs", folder, "tmpfs", MountFlags::empty(), &*size)
            .context("mounting a file system of its own (is this in a mount namespace of its own?)")?;
        Ok(Self {
            folder: folder.into(),
        })
    }

    /// Something else takes all the room there is.
    fn fill(&self) -> Result<()> {
        let ballast = std::fs::File::create(self.folder.join("ballast"))?;
        // The load writes meanwhile, so that there may be less room than there was.
        for _ in 0..100 {
            let free = fstatvfs(&ballast)?;
            let size = ballast.metadata()?.len();
            match fallocate(
                &ballast,
                FallocateFlags::empty(),
                size,
                free.f_bavail * free.f_frsize,
            ) {
                Ok(()) | Err(Errno::NOSPC) => {}
                // Nothing to allocate.
                Err(Errno::INVAL) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn make_room(&self) -> Result<()> {
        Ok(std::fs::remove_file(self.folder.join("ballast"))?)
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // It also ends with the mount namespace.
        let _ = unmount(&self.folder, UnmountFlags::DETACH);
    }
}

/// An NBD server of the image.
struct NbdServer {
    program: PathBuf,
    image: PathBuf,
    socket: PathBuf,
    process: Option<Ended>,
}

impl NbdServer {
    /// Starts it, and waits until it listens.
    fn start(&mut self) -> Result<()> {
        let _ = std::fs::remove_file(&self.socket);
        let mut command = Command::new(&self.program);
        command
            .args([
                "--persistent",
                "--shared",
                "4",
                "--export-name",
                "disk",
                "--format",
                "raw",
            ])
            .arg("--discard=unmap")
            .arg("--socket")
            .arg(&self.socket)
            .arg(&self.image)
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        self.process = Some(Ended(command.spawn().context("starting qemu-nbd")?));
        let deadline = Instant::now() + PATIENCE;
        while UnixStream::connect(&self.socket).is_err() {
            if Instant::now() > deadline {
                bail!("qemu-nbd does not listen");
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}
