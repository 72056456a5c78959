//! The processes that serve the disks.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::case::{Content, KERNEL, QEMU, RINGWRIGHT, TRACKED, VFIO_USER};
use crate::command::{Ended, find, target_folder};
use crate::setup::Peers;

/// How long an idle server looks for work before it sleeps: what `qemu-storage-daemon` does by itself.
const BUSY_POLL_MICROSECONDS: u64 = 32;
/// Queues of each disk, of which a client may use fewer.
const QUEUES: u16 = 2;
/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// The file system that is in memory.
const IN_MEMORY: &str = "/dev/shm";

/// A process that serves a disk; killed on drop.
pub struct Server {
    name: &'static str,
    socket: PathBuf,
    child: Ended,
    /// What it serves, if that is a file.
    image: Option<Image>,
}

/// Starts all who serve disks with this content, which is asked for in pieces of so many bytes.
pub fn start(
    content: Content,
    bytes: u32,
    program: &Path,
    peers: &Peers,
    folder: &Folder,
) -> Result<Vec<Server>> {
    let names: &[_] = match content {
        Content::Null => &[],
        Content::Memory => &[QEMU],
        Content::Cached | Content::Direct => &[QEMU, RINGWRIGHT],
    };
    let place = match content {
        Content::Memory => Path::new(IN_MEMORY),
        _ => folder.images.path(),
    };
    let mut images = images(place, names, content.capacity(), bytes)
        .with_context(|| format!("cannot write images in {}", place.display()))?
        .into_iter();
    let (theirs, ours) = (images.next(), images.next());
    let mut servers = Vec::new();
    let command = |socket: &Path| ringwright(content, program, ours.as_ref(), socket);
    servers.push(Server::start(RINGWRIGHT, command, folder)?);
    if content == Content::Null {
        let command = |socket: &Path| {
            let mut command = command(socket);
            command.arg("--vfio-user");
            command
        };
        servers.push(Server::start(VFIO_USER, command, folder)?);
    }
    let command = |socket: &Path| qemu(content, peers, theirs.as_ref(), socket);
    servers.push(Server::start(QEMU, command, folder)?);
    servers[0].image = ours;
    Ok(servers)
}

/// Our disk.
fn ringwright(content: Content, program: &Path, image: Option<&Image>, socket: &Path) -> Command {
    let mut command = Command::new(program);
    command.env("RUST_LOG", "warn").args(["serve", "block"]);
    match (content, image) {
        (Content::Memory, _) => command.arg("--memory").arg(content.capacity().to_string()),
        (_, Some(image)) => command.arg(&image.0),
        (_, None) => command.arg("--null").arg(content.capacity().to_string()),
    };
    command.args((content == Content::Direct).then_some("--direct"));
    command
        .args(["--queues", &QUEUES.to_string()])
        .args(["--busy-poll", &BUSY_POLL_MICROSECONDS.to_string()])
        .arg("--socket")
        .arg(socket);
    command
}

/// The other's disk, in a thread of its own, with the asynchronous I/O with which it is fastest.
fn qemu(content: Content, peers: &Peers, image: Option<&Image>, socket: &Path) -> Command {
    let mut command = Command::new(peers.folder().join("bin").join(QEMU));
    let capacity = content.capacity();
    let disk = match image {
        None => format!("null-co,node-name=disk,size={capacity},read-zeroes=off"),
        Some(image) => {
            let (direct, aio) = match content {
                Content::Direct => ("on", "native"),
                _ => ("off", "io_uring"),
            };
            let file = image.0.display().to_string().replace(',', ",,");
            format!("file,node-name=disk,filename={file},aio={aio},cache.direct={direct}")
        }
    };
    let export = format!(
        "vhost-user-blk,id=export,node-name=disk,writable=on,num-queues={QUEUES},iothread=thread,\
         addr.type=unix,addr.path={}",
        socket.display()
    );
    command.args([
        "--object",
        "iothread,id=thread",
        "--blockdev",
        &disk,
        "--export",
        &export,
    ]);
    command
}

impl Server {
    /// Starts a server on the second processor, and waits until it listens.
    fn start(name: &'static str, command: impl Fn(&Path) -> Command, folder: &Folder) -> Result<Self> {
        let socket = folder.sockets.path().join(format!("{name}.sock"));
        let mut command = not_outliving_us(on_processor(1, command(&socket)));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn();
        let child = Ended(child.with_context(|| format!("cannot start {name}"))?);
        let mut server = Self {
            name,
            socket,
            child,
            image: None,
        };
        let start = Instant::now();
        while !server.socket.exists() {
            if let Some(status) = server.child.0.try_wait()? {
                bail!("{name} ended with {status} before it served");
            }
            if start.elapsed() > START {
                bail!("{name} made no socket within {} s", START.as_secs());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// Whether this is the one that serves for `subject`.
    pub fn serves(&self, subject: &str) -> bool {
        let name = match subject {
            TRACKED | KERNEL => RINGWRIGHT,
            subject => subject,
        };
        self.name == name
    }

    /// Where it serves.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The file that it serves.
    pub fn image(&self) -> Option<&Path> {
        Some(&self.image.as_ref()?.0)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.0.id()
    }
}

/// Temporary folders: one for sockets, which must not have long names, and one for images, which is on a disk.
pub struct Folder {
    sockets: tempfile::TempDir,
    images: tempfile::TempDir,
}

impl Folder {
    /// Fresh ones.
    pub fn new() -> Result<Self> {
        let target = target_folder("bench");
        let images = std::fs::create_dir_all(&target)
            .and_then(|()| tempfile::Builder::new().prefix("disks-").tempdir_in(&target));
        Ok(Self {
            sockets: tempfile::tempdir().context("cannot create a temporary folder")?,
            images: images.with_context(|| format!("cannot create a folder in {}", target.display()))?,
        })
    }
}

/// An image file; gone on drop.
struct Image(tempfile::TempPath);

/// Files of `capacity` bytes, all of them written, in pieces of the requests' size: as the same load would have left them.
/// It decides how large the folios of the page cache are, and with large ones Linux 6.18's ext4 looks at every block of a
/// folio for each small write into it: 16 to 24 microseconds of processor time in place of 2, whoever writes. All files get
/// their pieces in turn, so that none has the better places in memory or on the disk.
fn images(place: &Path, names: &[&str], capacity: u64, bytes: u32) -> std::io::Result<Vec<Image>> {
    let mut files = Vec::new();
    for name in names {
        let file = tempfile::Builder::new()
            .prefix(&format!("ringwright-bench-{name}-"))
            .tempfile_in(place)?;
        let (file, path): (File, _) = file.into_parts();
        files.push((file, Image(path)));
    }
    let piece: Vec<u8> = (0..bytes / 4).flat_map(u32::to_le_bytes).collect();
    for _ in 0..capacity / u64::from(bytes) {
        for (file, _) in &mut files {
            file.write_all(&piece)?;
        }
    }
    for (file, _) in &files {
        file.sync_all()?;
    }
    Ok(files.into_iter().map(|(_, image)| image).collect())
}

/// `command`, kept on one processor if there are several and `taskset` is there.
pub fn on_processor(number: usize, command: Command) -> Command {
    let processors = thread::available_parallelism().map_or(1, usize::from);
    if number >= processors {
        return command;
    }
    under(&["taskset", "--cpu-list", &number.to_string()], command)
}

/// `command`, killed when this program ends, even if that is by a signal, if `setpriv` is there.
fn not_outliving_us(command: Command) -> Command {
    under(&["setpriv", "--pdeathsig", "KILL"], command)
}

/// `command` as executed by another one, which keeps the process id; or as it is where that is not installed.
fn under(wrapper: &[&str], command: Command) -> Command {
    if find(wrapper[0]).is_none() {
        return command;
    }
    let mut wrapped = Command::new(wrapper[0]);
    wrapped
        .args(&wrapper[1..])
        .arg(command.get_program())
        .args(command.get_args());
    wrapped.envs(
        command
            .get_envs()
            .filter_map(|(name, value)| Some((name, value?))),
    );
    wrapped
}
