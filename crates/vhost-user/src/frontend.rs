//! The front-end: drives a device that another process serves.
//!
//! [`Frontend`] is a transport for the drivers of [`ringwright_driver`]. It brings the memory that the driver's rings and
//! buffers lie in, one memfd shared with the back-end, and waits for the back-end's notifications.
//!
//! ```no_run
//! use ringwright_driver::{Options, entropy::Entropy};
//! use ringwright_vhost_user::frontend::{Frontend, FrontendOptions};
//!
//! let frontend = Frontend::connect("/run/rng.sock", FrontendOptions::new(4))?;
//! let area = frontend.area().clone();
//! let mut entropy = Entropy::new(frontend, &area, Options::default())?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod config_features;
mod dialogue;
mod error;
mod in_flight;
mod migration;
mod queue;
mod reconnect;
mod transport;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ringwright_driver::Interrupt;
use ringwright_memory::{Area, Mapping, Region};
use ringwright_socket::{Error, readable};
use ringwright_spec::Features;
use ringwright_spec::status::Status;
use rustix::event::{EventfdFlags, eventfd};
use zerocopy::IntoBytes;

pub use error::FrontendError;

use crate::message::{
    Config, LOG_ALL, MAX_TABLE_REGIONS, MemoryRegion, MemoryTable, PROTOCOL_FEATURES, ProtocolFeatures,
    Request, SingleRegion,
};
use crate::socket::Socket;
use config_features::config_features;
use dialogue::Dialogue;
use in_flight::InFlight;
use queue::Queue;

/// The protocol features that a front-end here uses where they are offered.
pub const USED: ProtocolFeatures = ProtocolFeatures::MQ
    .union(ProtocolFeatures::LOG_SHMFD)
    .union(ProtocolFeatures::REPLY_ACK)
    .union(ProtocolFeatures::BACKEND_REQ)
    .union(ProtocolFeatures::CONFIG)
    .union(ProtocolFeatures::INFLIGHT_SHMFD)
    .union(ProtocolFeatures::RESET_DEVICE)
    .union(ProtocolFeatures::CONFIGURE_MEM_SLOTS)
    .union(ProtocolFeatures::STATUS)
    .union(ProtocolFeatures::DEVICE_STATE);

/// Guest address at which the back-end sees the front-end's memory. It differs from where it is in this process, so that a
/// back-end that takes one for the other does not go unnoticed.
const AREA_ADDRESS: u64 = 0x4000_0000;

/// Most virtqueues: the messages that pass a vring's descriptor have 8 bits for its index.
const MAX_QUEUES: u64 = 256;

/// Most bytes of the configuration space in one message; QEMU's back-ends take no more.
const CONFIG_CHUNK: usize = 256;

/// What the protocol does not tell a front-end, and how it works.
#[derive(Clone, Debug)]
pub struct FrontendOptions {
    /// Virtio device id of the device that is expected at the other end.
    pub device_id: u32,
    /// Number of virtqueues, where the back-end does not say (without MQ).
    pub queues: u16,
    /// Greatest size of a virtqueue, which the protocol has no word for.
    pub queue_size: u16,
    /// Bytes of memory for rings and buffers.
    pub memory: usize,
    /// How long to wait for an answer.
    pub timeout: Duration,
    /// Protocol features that may be used; a part of [`USED`].
    pub protocol_features: ProtocolFeatures,
}

impl FrontendOptions {
    /// For a device of type `device_id`: up to 16 virtqueues of 256, 16 MiB of memory, answers within 10 seconds.
    pub fn new(device_id: u32) -> Self {
        Self {
            device_id,
            queues: 16,
            queue_size: 256,
            memory: 16 << 20,
            timeout: Duration::from_secs(10),
            protocol_features: USED,
        }
    }
}

/// A connection to a back-end, as a driver's transport.
#[derive(Debug)]
pub struct Frontend {
    dialogue: Dialogue,
    options: FrontendOptions,
    /// What the back-end offers, the protocol's own bit included.
    offered: Features,
    features: Features,
    protocol: ProtocolFeatures,
    status: Status,
    queues: Vec<Queue>,
    /// Signalled by the back-end when a vring has an error.
    error: OwnedFd,
    /// An error has been signalled since the last reset.
    failed: bool,
    regions: Vec<Region>,
    /// The regions of which the back-end has been told.
    shared: bool,
    area: Arc<Area>,
    /// Where the back-end tracks the requests in flight of this session.
    in_flight: Option<InFlight>,
    /// Whether the back-end is to log what it writes.
    logging: bool,
    /// What the driver has written to the configuration space in this session, and where, the newest last.
    config_written: Vec<(usize, Vec<u8>)>,
}

impl Frontend {
    /// Connects to the back-end that listens at `path`.
    pub fn connect(path: impl AsRef<Path>, options: FrontendOptions) -> Result<Self, FrontendError> {
        let path = path.as_ref();
        let stream = UnixStream::connect(path).map_err(|source| FrontendError::Connect {
            path: path.to_owned(),
            source,
        })?;
        Self::new(stream, options)
    }

    /// Speaks to the back-end on a connected stream socket, and agrees with it on the protocol's features.
    pub fn new(stream: impl Into<OwnedFd>, options: FrontendOptions) -> Result<Self, FrontendError> {
        let Agreement {
            dialogue,
            offered,
            protocol,
            queues,
        } = Agreement::reach(stream, &options)?;
        let memory = Arc::new(Mapping::memfd("vhost-user", options.memory)?);
        let region = Region::new(AREA_ADDRESS, memory);
        let area = Area::from_region(region.clone()).ok_or(FrontendError::NoArea(options.memory))?;
        let queues = (0..queues.min(MAX_QUEUES))
            .map(|_| Queue::new())
            .collect::<Result<_, _>>()?;
        Ok(Self {
            dialogue,
            options,
            offered,
            features: Features::NONE,
            protocol,
            status: Status::NONE,
            queues,
            error: event()?,
            failed: false,
            regions: vec![region],
            shared: false,
            area,
            in_flight: None,
            logging: false,
            config_written: Vec::new(),
        })
    }

    /// The memory that the back-end reaches: rings and buffers go there.
    pub fn area(&self) -> &Arc<Area> {
        &self.area
    }

    /// The protocol features in use.
    pub fn protocol_features(&self) -> ProtocolFeatures {
        self.protocol
    }

    /// How many virtqueues the back-end has, or is assumed to have.
    pub fn queues(&self) -> u16 {
        self.queues.len() as u16
    }

    /// The descriptor that becomes readable when virtqueue `index` has used buffers, for an event loop.
    pub fn used_event(&self, index: u16) -> Option<BorrowedFd<'_>> {
        Some(self.queues.get(usize::from(index))?.call.as_fd())
    }

    /// Waits until the back-end has notified something of virtqueue `queue`, or of any if `None`, or of the device, which
    /// [`take_interrupt`](ringwright_driver::Transport::take_interrupt) then tells. `false` if nothing came within
    /// `timeout`.
    pub fn wait(&self, queue: Option<u16>, timeout: Duration) -> Result<bool, FrontendError> {
        Ok(self.ready(queue, timeout)?.iter().any(|ready| *ready))
    }

    /// Shares one more region of memory, also while virtqueues run. It must be a mapping of a file, and its guest addresses
    /// are the caller's choice; [`Frontend::area`] lies at 1 GiB.
    pub fn add_region(&mut self, region: Region) -> Result<(), FrontendError> {
        if self.shared && self.protocol.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            self.tell_region(Request::ADD_MEM_REG, &region)?;
            self.regions.push(region);
            return Ok(());
        }
        self.regions.push(region);
        if self.shared { self.share() } else { Ok(()) }
    }

    /// Takes back the region that starts at `guest_address`, also while virtqueues run.
    pub fn remove_region(&mut self, guest_address: u64) -> Result<(), FrontendError> {
        let position = self
            .regions
            .iter()
            .position(|region| region.guest_address() == guest_address);
        let region = self
            .regions
            .remove(position.ok_or(FrontendError::NoRegion(guest_address))?);
        if !self.shared {
            return Ok(());
        }
        if self.protocol.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            return self.tell_region(Request::REM_MEM_REG, &region);
        }
        self.share()
    }

    /// Tells the back-end of all regions.
    fn share(&mut self) -> Result<(), FrontendError> {
        if !self.shared && self.protocol.contains(ProtocolFeatures::CONFIGURE_MEM_SLOTS) {
            for region in self.regions.clone() {
                self.tell_region(Request::ADD_MEM_REG, &region)?;
            }
        } else {
            if self.regions.len() > MAX_TABLE_REGIONS {
                return Err(FrontendError::TooManyRegions(self.regions.len()));
            }
            let table = MemoryTable {
                count: self.regions.len() as u32,
                padding: 0,
            };
            let mut payload = table.as_bytes().to_vec();
            let mut files = Vec::new();
            for region in &self.regions {
                let (description, file) = describe(region)?;
                payload.extend_from_slice(description.as_bytes());
                files.push(file);
            }
            self.dialogue
                .tell(Request::SET_MEM_TABLE, payload.as_slice(), &files)?;
        }
        self.shared = true;
        Ok(())
    }

    fn tell_region(&mut self, request: Request, region: &Region) -> Result<(), FrontendError> {
        let (description, file) = describe(region)?;
        let files: &[BorrowedFd<'_>] = if request == Request::ADD_MEM_REG {
            &[file]
        } else {
            &[]
        };
        self.dialogue.tell(
            request,
            &SingleRegion {
                padding: 0,
                region: description,
            },
            files,
        )
    }

    /// The device features that are offered: the protocol's own bits are nobody else's business, and without CONFIG there
    /// is no configuration space to read what a feature is about.
    fn device_features(&self) -> Features {
        let unreadable = match self.protocol.contains(ProtocolFeatures::CONFIG) {
            true => Features::NONE,
            false => config_features(self.options.device_id),
        };
        self.offered - PROTOCOL_FEATURES - LOG_ALL - unreadable
    }

    /// Which of the queue, the error event and the back-end's channel are readable, in this order, the queues first.
    fn ready(&self, queue: Option<u16>, timeout: Duration) -> Result<Vec<bool>, FrontendError> {
        let chosen = |index: usize| queue.is_none_or(|queue| usize::from(queue) == index);
        let calls = self.queues.iter().enumerate().filter(|(index, _)| chosen(*index));
        let channel = self.dialogue.channel.as_ref();
        let mut descriptors: Vec<BorrowedFd<'_>> = calls.map(|(_, queue)| queue.call.as_fd()).collect();
        descriptors.push(self.error.as_fd());
        descriptors.extend(channel.map(AsFd::as_fd));
        // Nothing is due on the main socket now but its end.
        descriptors.push(self.dialogue.as_fd());
        let mut ready = readable(&descriptors, Some(timeout))?;
        match ready.pop() {
            Some(true) => Err(Error::Closed.into()),
            _ => Ok(ready),
        }
    }

    /// Takes what the back-end has notified since the last call.
    fn interrupt(&mut self) -> Result<Interrupt, FrontendError> {
        let mut interrupt = Interrupt::default();
        let ready = self.ready(None, Duration::ZERO)?;
        for (queue, _) in self.queues.iter().zip(&ready).filter(|(_, ready)| **ready) {
            interrupt.queue |= take(&queue.call);
        }
        let mut others = ready.into_iter().skip(self.queues.len());
        if others.next() == Some(true) && take(&self.error) {
            self.failed = true;
            interrupt.config = true;
        }
        if others.next() == Some(true) {
            self.dialogue.serve_channel()?;
        }
        interrupt.config |= std::mem::take(&mut self.dialogue.config_changed);
        Ok(interrupt)
    }

    /// Writes to the configuration space.
    fn tell_config(&mut self, offset: usize, data: &[u8]) -> Result<(), FrontendError> {
        for (start, chunk) in (offset..).step_by(CONFIG_CHUNK).zip(data.chunks(CONFIG_CHUNK)) {
            let head = Config {
                offset: start as u32,
                size: chunk.len() as u32,
                flags: Config::WRITABLE,
            };
            let payload = [head.as_bytes(), chunk].concat();
            self.dialogue.tell(Request::SET_CONFIG, payload.as_slice(), &[])?;
        }
        Ok(())
    }

    /// Reads from the configuration space. QEMU's back-ends ignore where a read begins and always give the start of the
    /// space, as QEMU itself never asks for anything else; so the start is what is asked for, up to their limit.
    fn config(&mut self, offset: usize, data: &mut [u8]) -> Result<(), FrontendError> {
        for (start, chunk) in (offset..)
            .step_by(CONFIG_CHUNK)
            .zip(data.chunks_mut(CONFIG_CHUNK))
        {
            let skip = if start + chunk.len() <= CONFIG_CHUNK {
                start
            } else {
                0
            };
            let length = skip + chunk.len();
            let head = Config {
                offset: (start - skip) as u32,
                size: length as u32,
                flags: Config::WRITABLE,
            };
            let request = [head.as_bytes(), &vec![0; length]].concat();
            let reply = self.dialogue.ask(Request::GET_CONFIG, request.as_slice(), &[])?;
            let answer = reply
                .read_prefix::<Config>()
                .filter(|(_, rest)| rest.len() == length);
            let Some((_, bytes)) = answer else {
                return Err(FrontendError::Config {
                    offset: start,
                    length: chunk.len(),
                });
            };
            chunk.copy_from_slice(&bytes[skip..]);
        }
        Ok(())
    }
}

/// What a front-end and a back-end agree on when they meet.
struct Agreement {
    dialogue: Dialogue,
    offered: Features,
    protocol: ProtocolFeatures,
    queues: u64,
}

impl Agreement {
    fn reach(stream: impl Into<OwnedFd>, options: &FrontendOptions) -> Result<Self, FrontendError> {
        let socket = Socket::new(stream).with_timeout(options.timeout);
        let mut dialogue = Dialogue::new(socket);
        let offered = Features(dialogue.number(Request::GET_FEATURES)?.into());
        let mut protocol = ProtocolFeatures::NONE;
        if offered.contains(PROTOCOL_FEATURES) {
            let theirs = ProtocolFeatures(dialogue.number(Request::GET_PROTOCOL_FEATURES)?);
            protocol = theirs.intersection(USED).intersection(options.protocol_features);
            dialogue.tell(Request::SET_PROTOCOL_FEATURES, &protocol.0, &[])?;
        }
        dialogue.acknowledged = protocol.contains(ProtocolFeatures::REPLY_ACK);
        dialogue.tell(Request::SET_OWNER, &(), &[])?;
        let mut queues = u64::from(options.queues);
        if protocol.contains(ProtocolFeatures::MQ) {
            queues = dialogue.number(Request::GET_QUEUE_NUM)?;
        }
        if protocol.contains(ProtocolFeatures::BACKEND_REQ) {
            let (ours, theirs) = UnixStream::pair().map_err(FrontendError::Resources)?;
            dialogue.tell(Request::SET_BACKEND_REQ_FD, &(), &[theirs.as_fd()])?;
            dialogue.channel = Some(Socket::new(ours).with_timeout(options.timeout));
        }
        Ok(Self {
            dialogue,
            offered,
            protocol,
            queues,
        })
    }
}

/// How a region is described to the back-end, and its file.
fn describe(region: &Region) -> Result<(MemoryRegion, BorrowedFd<'_>), FrontendError> {
    let guest_address = region.guest_address();
    let (file, mmap_offset) = region.file().ok_or(FrontendError::NotAFile(guest_address))?;
    let user_address = region.pointer() as u64;
    Ok((
        MemoryRegion {
            guest_address,
            size: region.len(),
            user_address,
            mmap_offset,
        },
        file,
    ))
}

/// A new event counter that never blocks.
fn event() -> Result<OwnedFd, FrontendError> {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
        .map_err(|error| FrontendError::Resources(error.into()))
}

/// Whether an event has come since the last call.
fn take(event: &OwnedFd) -> bool {
    rustix::io::read(event, &mut [0; 8]).is_ok()
}
