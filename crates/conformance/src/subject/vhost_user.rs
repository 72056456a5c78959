//! Any device behind a vhost-user socket.

use std::io::Read;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use ringwright_spec::device_type;
use ringwright_vhost_user::frontend::{Frontend, FrontendError, FrontendOptions};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::server::say;
use super::{Bus, Raw, Server, Specimen, Subject, SubjectError, Trace};

/// A back-end that listens at a socket. It is asked for one specimen after the other, each a connection.
#[derive(Debug)]
pub struct VhostUser {
    socket: PathBuf,
    options: FrontendOptions,
    link: Mutex<Link>,
}

/// What leads to the back-end.
#[derive(Debug, Default)]
struct Link {
    server: Option<Server>,
    /// The connection that was made last, as long as its specimen is there.
    last: Weak<Connection>,
    /// Whether the back-end ended that one, before it was over here.
    left: Arc<AtomicBool>,
}

/// How long a back-end may take to notice that a connection has ended.
const FAREWELL: Duration = Duration::from_secs(1);

/// A connection that is over when the back-end says so, too: many have one at a time, and turn a second one away.
#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    /// Set if the back-end ends it.
    left: Arc<AtomicBool>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        let mut descriptors = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        let ended = poll(&mut descriptors, Some(&Timespec::default())).is_ok_and(|ready| ready > 0);
        self.left.store(ended, Ordering::Relaxed);
        // One that is over already needs no end, and a back-end that never notices is not waited for.
        let _ = self.stream.shutdown(Shutdown::Write);
        let _ = self.stream.set_read_timeout(Some(FAREWELL));
        while let Ok(1..) = self.stream.read(&mut [0; 256]) {}
    }
}

impl VhostUser {
    /// The device of type `device_id` behind the socket at `path`.
    pub fn new(path: impl Into<PathBuf>, device_id: u32) -> Self {
        Self {
            socket: path.into(),
            options: FrontendOptions::new(device_id),
            link: Mutex::default(),
        }
    }

    /// The same, but `server` is started to listen there, as often as need be. It ends with the subject.
    pub fn served_by(mut self, server: Server) -> Self {
        self.link.get_mut().unwrap_or_else(PoisonError::into_inner).server = Some(server);
        self
    }

    fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Subject for VhostUser {
    fn name(&self) -> String {
        let device = device_type::by_id(self.options.device_id).map_or("device", |device| device.name);
        match self.link().server.as_ref().map(Server::program) {
            Some(program) => format!("{program} {device} (vhost-user)"),
            None => format!("{device} at {} (vhost-user)", self.socket.display()),
        }
    }

    fn bus(&self) -> Bus {
        Bus::VhostUser
    }

    fn open(&self, _trace: &Trace) -> Result<Specimen, SubjectError> {
        let mut link = self.link();
        let stream = match &mut link.server {
            Some(server) => server.connect(&self.socket)?,
            None => UnixStream::connect(&self.socket).map_err(|source| FrontendError::Connect {
                path: self.socket.clone(),
                source,
            })?,
        };
        link.left = Arc::default();
        let connection = Arc::new(Connection {
            stream: stream.try_clone().map_err(|source| SubjectError::System {
                what: "a connection".into(),
                source,
            })?,
            left: link.left.clone(),
        });
        link.last = Arc::downgrade(&connection);
        drop(link);
        let frontend = Frontend::new(stream, self.options.clone())?;
        Ok(Specimen {
            area: frontend.area().clone(),
            transport: Box::new(frontend),
            raw: Raw::Nothing,
            change: None,
            cable: None,
            keep: Box::new(connection),
        })
    }

    fn is_parallel(&self) -> bool {
        false
    }

    /// A back-end that ends well once its connection is over has done nothing wrong: many are there for one alone.
    fn end(&self, moment: Duration) -> Option<String> {
        let mut link = self.link();
        let status = link.server.as_mut()?.end(moment)?;
        let meant = status.success() && !link.left.load(Ordering::Relaxed);
        (!meant).then(|| say(status))
    }

    /// Closes the connection, as many back-ends have one at a time; a server that may be caught in a loop is started again.
    fn give_up(&self) {
        let mut link = self.link();
        if let Some(connection) = link.last.upgrade() {
            // One that is over already needs no end.
            let _ = connection.stream.shutdown(Shutdown::Both);
        }
        if let Some(server) = &mut link.server {
            server.stop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_known_who_has_ended_a_connection() {
        for first in [true, false] {
            let (stream, mut peer) = UnixStream::pair().unwrap();
            let left = Arc::default();
            let connection = Connection {
                stream,
                left: Arc::clone(&left),
            };
            if first {
                drop(peer);
                drop(connection);
            } else {
                let backend = std::thread::spawn(move || peer.read(&mut [0]).unwrap());
                drop(connection);
                assert_eq!(backend.join().unwrap(), 0);
            }
            assert_eq!(left.load(Ordering::Relaxed), first);
        }
    }
}
