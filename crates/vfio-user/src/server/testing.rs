//! A function whose insides the tests see, and a client that says anything.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ringwright_memory::Memory;
use rustix::event::{EventfdFlags, eventfd};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{Doorbell, Interrupts, Mappable, PciFunction, Server};
use crate::message::{Command, Header, VERSION, VersionData};
use crate::socket::{Message, Socket, Stop};

/// Longer than anything here takes.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// Size of the function's only BAR.
pub const BAR_SIZE: u64 = 0x4000;
/// Number of its MSI-X vectors.
pub const VECTORS: u16 = 5;

/// What the tests see of a function.
#[derive(Default)]
pub struct Insides {
    pub config: Vec<u8>,
    pub bar: Vec<u8>,
    pub memory: Option<Arc<Memory>>,
    pub resets: u32,
    pub running: bool,
}

/// BAR 2 is plain memory with a doorbell and a part that can be mapped; the configuration space is plain memory.
pub struct Double {
    pub insides: Arc<Mutex<Insides>>,
    doorbell: OwnedFd,
    file: OwnedFd,
}

impl Double {
    pub fn new() -> Self {
        let insides = Insides {
            config: vec![0; 256],
            bar: vec![0; BAR_SIZE as usize],
            running: true,
            ..Insides::default()
        };
        Self {
            insides: Arc::new(Mutex::new(insides)),
            doorbell: event(),
            file: rustix::fs::memfd_create("bar", rustix::fs::MemfdFlags::CLOEXEC).unwrap(),
        }
    }
}

impl PciFunction for Double {
    fn config_size(&self) -> u64 {
        256
    }

    fn read_config(&mut self, offset: u64, data: &mut [u8]) {
        let offset = offset as usize;
        data.copy_from_slice(&self.insides.lock().unwrap().config[offset..offset + data.len()]);
    }

    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let offset = offset as usize;
        self.insides.lock().unwrap().config[offset..offset + data.len()].copy_from_slice(data);
    }

    fn bar_size(&self, bar: u8) -> u64 {
        if bar == 2 { BAR_SIZE } else { 0 }
    }

    fn read_bar(&mut self, bar: u8, offset: u64, data: &mut [u8]) {
        assert_eq!(bar, 2);
        let offset = offset as usize;
        data.copy_from_slice(&self.insides.lock().unwrap().bar[offset..offset + data.len()]);
    }

    fn write_bar(&mut self, bar: u8, offset: u64, data: &[u8]) {
        assert_eq!(bar, 2);
        let offset = offset as usize;
        self.insides.lock().unwrap().bar[offset..offset + data.len()].copy_from_slice(data);
    }

    fn vectors(&self) -> u16 {
        VECTORS
    }

    fn doorbells(&self, _bar: u8) -> Vec<Doorbell<'_>> {
        let doorbell = |offset| Doorbell {
            offset,
            size: 2,
            value: (offset == 0x3000).then_some(7),
            event: self.doorbell.as_fd(),
        };
        vec![doorbell(0x3000), doorbell(0x3004)]
    }

    fn mappable(&self, _bar: u8) -> Option<Mappable<'_>> {
        Some(Mappable {
            file: self.file.as_fd(),
            offset: 0x1_0000,
            areas: vec![(0x1000, 0x1000), (0x3000, 0x1000)],
        })
    }

    fn set_memory(&mut self, memory: Arc<Memory>) {
        self.insides.lock().unwrap().memory = Some(memory);
    }

    fn reset(&mut self) {
        let mut insides = self.insides.lock().unwrap();
        insides.resets += 1;
        insides.running = true;
    }

    fn is_migratable(&self) -> bool {
        true
    }

    fn stop(&mut self) -> Result<(), String> {
        self.insides.lock().unwrap().running = false;
        Ok(())
    }

    fn resume(&mut self) -> Result<(), String> {
        self.insides.lock().unwrap().running = true;
        Ok(())
    }

    fn save(&mut self) -> Result<Vec<u8>, String> {
        Ok(self.insides.lock().unwrap().bar.clone())
    }

    fn restore(&mut self, state: &[u8]) -> Result<(), String> {
        if state.len() != BAR_SIZE as usize {
            return Err("not the state of a double".into());
        }
        self.insides.lock().unwrap().bar.copy_from_slice(state);
        Ok(())
    }
}

/// A server on a thread, and a connection to it; both end on drop.
pub struct Dialogue {
    pub socket: Socket,
    pub insides: Arc<Mutex<Insides>>,
    pub interrupts: Arc<Interrupts>,
    stop: Stop,
    server: Option<JoinHandle<Result<(), super::ServerError>>>,
}

impl Dialogue {
    /// A client that has not said anything.
    pub fn silent() -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let interrupts = Arc::new(Interrupts::default());
        let double = Double::new();
        let insides = double.insides.clone();
        let mut server = Server::new(Box::new(double), interrupts.clone());
        let stop = Stop::new().unwrap();
        let stopped = stop.clone();
        let server = std::thread::spawn(move || server.serve_connection(theirs, &stopped));
        Self {
            socket: Socket::new(ours).with_timeout(DEADLINE),
            insides,
            interrupts,
            stop,
            server: Some(server),
        }
    }

    /// A client that has agreed on a version.
    pub fn new() -> Self {
        let dialogue = Self::silent();
        let data = VersionData {
            capabilities: crate::message::Capabilities::ours(),
        };
        let payload = [VERSION.as_bytes(), &data.to_bytes()].concat();
        dialogue.ask(Command::Version, &payload, &[]).unwrap();
        dialogue
    }

    /// The reply to a command, or the errno value in it.
    pub fn ask(
        &self,
        command: Command,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Message, u32> {
        let id = command as u16 ^ 0x5a5a;
        self.socket.send(id, command, 0, &[payload], descriptors).unwrap();
        let reply = self.socket.receive().unwrap();
        let Header { id: found, flags, .. } = reply.header;
        assert_eq!((found, reply.header.command), (id, command as u16));
        assert!(reply.header.is_reply() && flags & !(Header::REPLY | Header::ERROR) == 0);
        match reply.header.failure() {
            None => Ok(reply),
            Some(errno) => {
                assert!(reply.payload.is_empty() && reply.descriptors.is_empty());
                Err(errno)
            }
        }
    }

    /// The reply's payload as a structure, and what follows it.
    pub fn get<T: FromBytes>(
        &self,
        command: Command,
        payload: &(impl IntoBytes + Immutable),
    ) -> Result<(T, Vec<u8>), u32> {
        let reply = self.ask(command, payload.as_bytes(), &[])?;
        let (head, rest) = reply.read_prefix().expect("a reply that is long enough");
        Ok((head, rest.to_vec()))
    }

    /// A command whose reply has nothing to say.
    pub fn tell(&self, command: Command, payload: &(impl IntoBytes + Immutable)) -> Result<(), u32> {
        self.ask(command, payload.as_bytes(), &[]).map(drop)
    }

    /// Ends the connection, and gives what the server says to that.
    pub fn end(mut self) -> Result<(), super::ServerError> {
        self.stop.raise();
        self.server.take().unwrap().join().unwrap()
    }

    /// What the server says when it ends by itself.
    pub fn outcome(&mut self) -> Result<(), super::ServerError> {
        self.server.take().unwrap().join().unwrap()
    }
}

impl Drop for Dialogue {
    fn drop(&mut self) {
        self.stop.raise();
        if let Some(server) = self.server.take()
            && !std::thread::panicking()
        {
            server.join().unwrap().unwrap();
        }
    }
}

/// An eventfd.
pub fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).unwrap()
}

/// How often an eventfd was signalled since the last call.
pub fn signalled(event: &OwnedFd) -> u64 {
    let mut count = [0; 8];
    match rustix::io::read(event, &mut count) {
        Ok(_) => u64::from_ne_bytes(count),
        Err(error) => {
            assert_eq!(error, rustix::io::Errno::AGAIN);
            0
        }
    }
}
