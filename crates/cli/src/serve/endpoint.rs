//! Where a device is served, and the thread that serves it.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use ringwright_device::{Device, Meter};
use ringwright_spec::{DeviceType, Features};
use ringwright_vhost_user::socket::Stop;

use super::protocol::{Protocol, Ready, Settings};

/// Longest path of a Unix socket in bytes: `sun_path` without its NUL.
const PATH_BYTES: usize = 107;

/// Where and how a device is served.
pub struct Endpoint {
    place: Place,
    protocol: Protocol,
    settings: Settings,
}

enum Place {
    Path(PathBuf),
    Listening(UnixListener),
    Connected(UnixStream),
}

/// A device whose socket is there, but that nobody is served yet.
pub struct Prepared {
    device_type: &'static DeviceType,
    ready: Ready,
    channel: Result<UnixListener, UnixStream>,
    socket: Option<PathBuf>,
}

/// A device that is being served. It ends when this is dropped, and takes its socket with it.
pub struct Served {
    device_type: &'static DeviceType,
    stop: Stop,
    thread: Option<JoinHandle<()>>,
    /// Nobody sends here any more when the thread ends.
    ended: Receiver<()>,
    socket: Option<PathBuf>,
}

impl Endpoint {
    /// On a socket that is made at `path`.
    pub fn path(path: impl Into<PathBuf>) -> Self {
        Self::at(Place::Path(path.into()))
    }

    /// On the Unix socket with file descriptor `number`, which listens or is connected.
    pub fn inherited(number: i32) -> anyhow::Result<Self> {
        let descriptor = ringwright_sys::descriptor::duplicate(number)
            .with_context(|| format!("file descriptor {number} is not open"))?;
        let listening = rustix::net::sockopt::socket_acceptconn(&descriptor)
            .with_context(|| format!("file descriptor {number} is no socket"))?;
        let place = match listening {
            true => Place::Listening(descriptor.into()),
            false => Place::Connected(connected(descriptor, number)?),
        };
        Ok(Self::at(place))
    }

    fn at(place: Place) -> Self {
        Self {
            place,
            protocol: Protocol::default(),
            settings: Settings::default(),
        }
    }

    /// Over this protocol.
    pub fn over(self, protocol: Protocol) -> Self {
        Self { protocol, ..self }
    }

    /// Without offering these features.
    pub fn without(mut self, features: Features) -> Self {
        self.settings.masked_features = self.settings.masked_features | features;
        self
    }

    /// With queues that are served on these processors.
    pub fn on(mut self, processors: Vec<usize>) -> Self {
        self.settings.processors = processors;
        self
    }

    /// With threads that look for work for this long before they sleep.
    pub fn busy_poll(mut self, time: Duration) -> Self {
        self.settings.busy_poll = time;
        self
    }
}

impl Prepared {
    /// Gets `device` ready at its endpoint.
    pub fn new(device: Box<dyn Device>, endpoint: Endpoint) -> anyhow::Result<Self> {
        let device_type = device.description().device_type;
        let ready = endpoint.protocol.ready(device, endpoint.settings)?;
        let (socket, channel) = match endpoint.place {
            Place::Path(path) => {
                let listener = listen(&path)?;
                (Some(path), Ok(listener))
            }
            Place::Listening(listener) => (None, Ok(listener)),
            Place::Connected(stream) => (None, Err(stream)),
        };
        Ok(Self {
            device_type,
            ready,
            channel,
            socket,
        })
    }

    /// What it is.
    pub fn device_type(&self) -> &'static DeviceType {
        self.device_type
    }

    /// The counters of its queues.
    pub fn meter(&self) -> Meter {
        self.ready.meter()
    }

    /// Starts to serve it.
    pub fn start(self) -> anyhow::Result<Served> {
        let Self {
            device_type,
            mut ready,
            channel,
            socket,
        } = self;
        let name = device_type.name;
        if let Some(path) = &socket {
            tracing::info!("{name}: waiting for a virtual machine at {}", path.display());
        }
        let stop = Stop::new()?;
        let stopped = stop.clone();
        let (ends, ended) = mpsc::channel();
        let serve = move || {
            let _ends = ends;
            let _span = tracing::info_span!("device", name).entered();
            let served = match channel {
                Ok(listener) => ready.serve(&listener, &stopped),
                Err(stream) => ready.serve_connection(stream, &stopped),
            };
            if let Err(error) = served {
                tracing::error!(%error, "not served any more");
            }
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(serve)
            .context("cannot start a thread")?;
        Ok(Served {
            device_type,
            stop,
            thread: Some(thread),
            ended,
            socket,
        })
    }
}

impl Served {
    /// Starts to serve `device`.
    pub fn start(device: Box<dyn Device>, endpoint: Endpoint) -> anyhow::Result<Self> {
        Prepared::new(device, endpoint)?.start()
    }

    /// What it is.
    pub fn device_type(&self) -> &'static DeviceType {
        self.device_type
    }

    /// The path of its socket, if it has made one.
    pub fn socket(&self) -> Option<&Path> {
        self.socket.as_deref()
    }

    /// Ends all of these: each completes what it has begun, until `patience` is over. What takes longer is left behind, for the
    /// end of the process.
    pub fn end(served: Vec<Self>, patience: Duration) {
        let deadline = Instant::now() + patience;
        for one in &served {
            one.stop.raise();
        }
        for mut one in served {
            let left = deadline.saturating_duration_since(Instant::now());
            if one.ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(
                    "{}: requests are still outstanding after {patience:?}; ending without them",
                    one.device_type.name
                );
                one.thread = None;
            }
        }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of the {} device has panicked", self.device_type.name);
        }
        if let Some(socket) = &self.socket
            && let Err(error) = std::fs::remove_file(socket)
        {
            tracing::debug!(%error, "cannot remove {}", socket.display());
        }
    }
}

/// Listens at `path`. A socket that a program has left behind there is replaced; one that somebody serves is not.
pub fn listen(path: &Path) -> anyhow::Result<UnixListener> {
    listen_by(path, |path| UnixListener::bind(path))
}

/// The same, with `bind` to make the socket.
pub fn listen_by(path: &Path, bind: fn(&Path) -> io::Result<UnixListener>) -> anyhow::Result<UnixListener> {
    let length = path.as_os_str().len();
    if length > PATH_BYTES {
        bail!(
            "socket path {}: {length} bytes long, and at most {PATH_BYTES} are possible",
            path.display()
        );
    }
    match bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_socket = path
                .symlink_metadata()
                .is_ok_and(|metadata| metadata.file_type().is_socket());
            if !is_socket {
                bail!("socket path {}: exists, and is not a socket", path.display());
            }
            match UnixStream::connect(path) {
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                    tracing::info!("replacing {}, which nobody serves any more", path.display());
                    std::fs::remove_file(path)
                        .and_then(|()| bind(path))
                        .with_context(|| format!("socket path {}", path.display()))
                }
                _ => bail!("socket path {}: another program serves there", path.display()),
            }
        }
        bound => bound.with_context(|| format!("cannot listen at {}", path.display())),
    }
}

fn connected(descriptor: OwnedFd, number: i32) -> anyhow::Result<UnixStream> {
    let stream = UnixStream::from(descriptor);
    stream
        .peer_addr()
        .with_context(|| format!("file descriptor {number} is no connected Unix socket"))?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_left_behind_is_replaced_and_one_in_use_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let first = listen(&path).unwrap();
        assert!(listen(&path).unwrap_err().to_string().contains("another program"));
        drop(first);
        assert!(listen(&path).is_ok());
    }

    #[test]
    fn paths_that_cannot_be_sockets_say_why() {
        let folder = tempfile::tempdir().unwrap();
        let message = |path: &Path| format!("{:#}", listen(path).unwrap_err());
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(message(&file).contains("not a socket"));
        assert!(file.exists());
        assert!(message(&folder.path().join("x".repeat(120))).contains("at most 107"));
        assert!(message(&folder.path().join("no/such/folder")).contains("No such file"));
    }

    #[test]
    fn descriptors_that_are_no_sockets_are_refused() {
        use std::os::fd::AsRawFd;
        let (pipe, _writer) = io::pipe().unwrap();
        assert!(Endpoint::inherited(pipe.as_raw_fd()).is_err());
        assert!(Endpoint::inherited(-5).is_err());
        let (near, _far) = UnixStream::pair().unwrap();
        assert!(matches!(
            Endpoint::inherited(near.as_raw_fd()).unwrap().place,
            Place::Connected(_)
        ));
    }
}
