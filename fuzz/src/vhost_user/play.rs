//! A front-end with its guest, and what they do.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringwright_memory::{Mapping, Region};
use ringwright_ring::{ByteOrder, InflightRegion, State};
use ringwright_spec::feature;
use ringwright_vhost_user::backend::OFFERED;
use ringwright_vhost_user::message::{
    DeviceState, Inflight, LOG_ALL, Log, MAX_DESCRIPTORS, MemoryRegion, MemoryTable, PROTOCOL_FEATURES,
    Request, SingleRegion, VringAddress, VringState,
};
use ringwright_vhost_user::socket::Socket;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;
use zerocopy::IntoBytes;

use super::client::{Client, flags};
use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::script::Script;

/// How long the device may take for a buffer before the story goes on.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// Where the front-end says that its main region lies.
const USER: u64 = 0x7f00_0000_0000;
/// Length of the main region.
const LENGTH: usize = 1 << 16;
/// Bytes of the main region that each virtqueue has.
const QUEUE_SPACE: u64 = 0x2000;
/// Virtqueues that messages are about as a rule; devices have fewer.
const QUEUES: u64 = 3;

/// A front-end and its guest.
pub(super) struct Play {
    pub client: Client,
    guest: Guest,
    drivers: Vec<Driver>,
    kick: OwnedFd,
    call: OwnedFd,
}

impl Play {
    pub fn new(socket: Socket) -> Self {
        let mapping = Mapping::memfd("guest", LENGTH).expect("a memfd");
        let main = Region::new(MAIN, Arc::new(mapping));
        let event = || eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd");
        Self {
            client: Client::new(socket),
            guest: Guest::with_main(main, ByteOrder::Little),
            drivers: Vec::new(),
            kick: event(),
            call: event(),
        }
    }

    pub fn act(&mut self, script: &mut Script<'_>) {
        match script.below(20) {
            0 => self.raw(script),
            1..=3 => self.any_request(script),
            4 | 5 => self.start_queue(script),
            6..=8 => self.use_queue(script),
            9 => {
                for driver in &self.drivers {
                    self.guest.scribble(script, &driver.layout, driver.packed);
                }
            }
            10 => self.guest.write64(self.guest.address(script), script.u64()),
            11 => _ = self.client.sync(),
            12 => self.vring_state(script),
            13 => self.vring_descriptor(script),
            14 => self.region(script),
            15 => self.table(script),
            16 | 17 => self.tracking(script),
            18 => self.log(script),
            _ => self.state(script),
        }
    }

    /// Gives memory for requests in flight that says what the script wants, or asks for fresh one.
    pub fn tracking(&mut self, script: &mut Script<'_>) {
        let [fresh, packed, odd_size, odd_header] = script.flags();
        let queue_size = if odd_size { script.u16() } else { 8 };
        let stride = InflightRegion::size(queue_size, packed);
        let mut description = Inflight {
            mmap_size: if odd_size { script.u16().into() } else { 2 * stride },
            queues: 2,
            queue_size,
            ..Inflight::default()
        };
        if fresh {
            let request = Request::GET_INFLIGHT_FD;
            return self
                .client
                .send(request, flags(script), &[description.as_bytes()], &[]);
        }
        let mut bytes = vec![0; 2 * stride as usize];
        for region in bytes.chunks_mut((stride as usize).max(1)) {
            // Entries in which few bits are set, so that some of them fit together.
            let (header, entry) = if packed { (32, 32) } else { (16, 16) };
            let (head, entries) = region.split_at_mut(header.min(region.len()));
            if odd_header {
                head.iter_mut().for_each(|byte| *byte = script.u8());
            } else {
                for (place, byte) in head.iter_mut().zip([0, 0, 0, 0, 0, 0, 0, 0, 1, 0]) {
                    *place = byte;
                }
                head[10..12].copy_from_slice(&queue_size.to_ne_bytes());
                head[12..]
                    .iter_mut()
                    .step_by(2)
                    .for_each(|byte| *byte = script.u8() % 12);
            }
            for entry in entries.chunks_mut(entry).take(16) {
                for at in [0, 2, 6, 8, 16, 18] {
                    if let Some(place) = entry.get_mut(at) {
                        *place = script.u8() % 10;
                    }
                }
                if let Some(address) = entry.get_mut(24..32) {
                    address.copy_from_slice(&self.guest.address(script).to_ne_bytes());
                }
            }
        }
        let file = rustix::fs::memfd_create("in flight", MemfdFlags::CLOEXEC).expect("a memfd");
        rustix::fs::ftruncate(&file, bytes.len() as u64).expect("a memfd grows");
        rustix::io::pwrite(&file, &bytes, 0).expect("a memfd can be written");
        if script.u8().is_multiple_of(8) {
            description.mmap_offset = script.u64();
        }
        self.client.send(
            Request::SET_INFLIGHT_FD,
            flags(script),
            &[description.as_bytes()],
            &[file.as_fd()],
        );
    }

    /// Gives memory for a dirty log, and has it written, or not any more.
    pub fn log(&mut self, script: &mut Script<'_>) {
        let [wrong, on, packed] = script.flags();
        let size = if wrong { script.u64() } else { script.u16().into() };
        let log = Log {
            size,
            offset: if wrong { script.u16().into() } else { 0 },
        };
        let file = match wrong {
            true => self.descriptor(script),
            false => {
                let file = rustix::fs::memfd_create("log", MemfdFlags::CLOEXEC).expect("a memfd");
                rustix::fs::ftruncate(&file, size).expect("a memfd grows");
                file
            }
        };
        self.client.send(
            Request::SET_LOG_BASE,
            flags(script),
            &[log.as_bytes()],
            &[file.as_fd()],
        );
        let mut features = feature::VERSION_1 | PROTOCOL_FEATURES;
        for (chosen, bit) in [(on, LOG_ALL), (packed, feature::RING_PACKED)] {
            if chosen {
                features = features | bit;
            }
        }
        let features = features.0 as u64;
        self.client
            .send(Request::SET_FEATURES, flags(script), &[features.as_bytes()], &[]);
    }

    /// Asks for the device's state, or gives it one. Something else follows at once: the back-end waits for the end of a
    /// state only for as long as the front-end waits too.
    pub fn state(&mut self, script: &mut Script<'_>) {
        let [wrong, save] = script.flags();
        let mut parameters = DeviceState {
            direction: if save {
                DeviceState::SAVE
            } else {
                DeviceState::LOAD
            },
            phase: DeviceState::STOPPED,
        };
        if wrong {
            (parameters.direction, parameters.phase) = (script.any_u32(), script.any_u32());
        }
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let file = match (script.u8() % 4, save) {
            (0, _) => self.descriptor(script),
            (_, true) => write,
            (_, false) => {
                let state: Vec<u8> = (0..script.index(200)).map(|_| script.u8()).collect();
                rustix::io::write(&write, b"RWD\x02").expect("an empty pipe has room");
                rustix::io::write(&write, &state).expect("an empty pipe has room");
                drop(write);
                read
            }
        };
        self.client.send(
            Request::SET_DEVICE_STATE_FD,
            flags(script),
            &[parameters.as_bytes()],
            &[file.as_fd()],
        );
        drop(file);
        self.client
            .send(Request::CHECK_DEVICE_STATE, flags(script), &[], &[]);
        self.client.send(Request::GET_FEATURES, 0, &[], &[]);
    }

    /// Bytes that need not be a message.
    pub fn raw(&mut self, script: &mut Script<'_>) {
        let length = script.index(64);
        let bytes: Vec<u8> = (0..length).map(|_| script.u8()).collect();
        self.client.send_raw(&bytes);
    }

    /// Any request with a payload as long as it should be.
    pub fn any_request(&mut self, script: &mut Script<'_>) {
        let request = Request(script.below(46) as u32);
        let flags = flags(script);
        let (length, count) = match request.rule() {
            Some(rule) => (rule.smallest, rule.fewest),
            None => (script.index(64), 0),
        };
        let odd = script.u8();
        let length = if odd.is_multiple_of(8) {
            script.index(512)
        } else {
            length
        };
        let count = if odd % 8 == 1 {
            script.index(MAX_DESCRIPTORS + 1)
        } else {
            count
        };
        let payload: Vec<u8> = (0..length).map(|_| script.u8()).collect();
        let descriptors: Vec<OwnedFd> = (0..count).map(|_| self.descriptor(script)).collect();
        self.client
            .send(request, flags, &[&payload], &borrow(&descriptors));
    }

    /// All that starts a virtqueue, as a decent front-end sends it, with here and there something else.
    pub fn start_queue(&mut self, script: &mut Script<'_>) {
        let [
            packed,
            no_extension,
            event_idx,
            indirect,
            odd_size,
            odd_base,
            odd_features,
        ] = script.flags();
        let index = script.below(QUEUES);
        let mut features = feature::VERSION_1;
        for (chosen, bit) in [
            (packed, feature::RING_PACKED),
            (event_idx, feature::EVENT_IDX),
            (indirect, feature::INDIRECT_DESC),
            (!no_extension, PROTOCOL_FEATURES),
        ] {
            if chosen {
                features = features | bit;
            }
        }
        let features = features.0 as u64 ^ if odd_features { script.u64() } else { 0 };
        let size = if odd_size { script.u16() } else { 8 };
        let base = match (odd_base, packed) {
            (true, _) => script.u32(),
            (false, true) => State::default().to_vring_base(true),
            (false, false) => 0,
        };
        let layout = guest::shift(guest::layout(size, packed), index * QUEUE_SPACE);
        let state = |num: u32| VringState {
            index: index as u32,
            num,
        };
        let address = VringAddress {
            index: index as u32,
            descriptor: user(layout.descriptor_area),
            available: user(layout.driver_area),
            used: user(layout.device_area),
            ..VringAddress::default()
        };
        let client = &mut self.client;
        client.send(Request::SET_PROTOCOL_FEATURES, 0, &[OFFERED.0.as_bytes()], &[]);
        client.send(Request::SET_FEATURES, flags(script), &[features.as_bytes()], &[]);
        if self.drivers.is_empty() {
            self.table(script);
        }
        let client = &mut self.client;
        client.send(
            Request::SET_VRING_NUM,
            flags(script),
            &[state(size.into()).as_bytes()],
            &[],
        );
        client.send(Request::SET_VRING_ADDR, flags(script), &[address.as_bytes()], &[]);
        client.send(
            Request::SET_VRING_BASE,
            flags(script),
            &[state(base).as_bytes()],
            &[],
        );
        client.send(
            Request::SET_VRING_CALL,
            flags(script),
            &[index.as_bytes()],
            &[self.call.as_fd()],
        );
        client.send(
            Request::SET_VRING_KICK,
            flags(script),
            &[index.as_bytes()],
            &[self.kick.as_fd()],
        );
        client.send(
            Request::SET_VRING_ENABLE,
            flags(script),
            &[state(1).as_bytes()],
            &[],
        );
        let state = State::from_vring_base(base, packed);
        self.drivers.push(Driver::new(layout, packed, state));
    }

    /// Makes buffers available, kicks, and waits a little for the device.
    pub fn use_queue(&mut self, script: &mut Script<'_>) {
        let count = self.drivers.len();
        if count == 0 {
            return;
        }
        let driver = &mut self.drivers[script.index(count)];
        for _ in 0..=script.below(4) {
            driver.offer(&self.guest, script, true);
        }
        // A full counter is a kick as well.
        let _full = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
        let _interrupted = poll(&mut [PollFd::new(&self.call, PollFlags::IN)], Some(&PATIENCE));
        let _empty = rustix::io::read(&self.call, &mut [0; 8]);
    }

    pub fn vring_state(&mut self, script: &mut Script<'_>) {
        let requests = [
            Request::SET_VRING_NUM,
            Request::SET_VRING_BASE,
            Request::GET_VRING_BASE,
            Request::SET_VRING_ENABLE,
        ];
        let state = VringState {
            index: script.below(QUEUES) as u32,
            num: script.any_u32(),
        };
        let request = requests[script.index(requests.len())];
        self.client.send(request, flags(script), &[state.as_bytes()], &[]);
    }

    pub fn vring_descriptor(&mut self, script: &mut Script<'_>) {
        let requests = [
            Request::SET_VRING_KICK,
            Request::SET_VRING_CALL,
            Request::SET_VRING_ERR,
            Request::SET_BACKEND_REQ_FD,
        ];
        let request = requests[script.index(requests.len())];
        let [none] = script.flags();
        let number = script.below(QUEUES) | if none { VringState::NO_DESCRIPTOR } else { 0 };
        let payload = if request == Request::SET_BACKEND_REQ_FD {
            &[]
        } else {
            number.as_bytes()
        };
        let descriptor = (!none).then(|| self.descriptor(script));
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.iter().map(AsFd::as_fd).collect();
        self.client.send(request, flags(script), &[payload], &descriptors);
    }

    /// Adds or removes a region of memory.
    pub fn region(&mut self, script: &mut Script<'_>) {
        let region = SingleRegion {
            region: self.description(script),
            padding: 0,
        };
        let add = script.u8().is_multiple_of(2);
        let request = if add {
            Request::ADD_MEM_REG
        } else {
            Request::REM_MEM_REG
        };
        let descriptor = add.then(|| self.memory(script));
        let descriptors: Vec<BorrowedFd<'_>> = descriptor.iter().map(AsFd::as_fd).collect();
        self.client
            .send(request, flags(script), &[region.as_bytes()], &descriptors);
    }

    /// Replaces the memory.
    pub fn table(&mut self, script: &mut Script<'_>) {
        let mut regions = vec![self.description(script)];
        let mut descriptors = vec![self.memory(script)];
        for _ in 0..script.below(3) {
            regions.push(self.description(script));
            descriptors.push(self.descriptor(script));
        }
        let table = MemoryTable {
            count: regions.len() as u32,
            padding: 0,
        };
        let payload = [table.as_bytes(), regions.as_bytes()];
        self.client.send(
            Request::SET_MEM_TABLE,
            flags(script),
            &payload,
            &borrow(&descriptors),
        );
    }

    /// The main region, or something else.
    pub fn description(&self, script: &mut Script<'_>) -> MemoryRegion {
        let mut region = MemoryRegion {
            guest_address: MAIN,
            size: LENGTH as u64,
            user_address: USER,
            mmap_offset: 0,
        };
        match script.u8() % 16 {
            0 => region.guest_address = script.u64(),
            1 => region.size = script.u64(),
            2 => region.size = script.u16().into(),
            3 => region.user_address = script.u64(),
            4 => region.mmap_offset = script.u64(),
            5 => region.mmap_offset = script.u16().into(),
            6 => (region.guest_address, region.size) = (script.u64(), script.u16().into()),
            _ => {}
        }
        region
    }

    /// The file of the main region, most of the time.
    pub fn memory(&self, script: &mut Script<'_>) -> OwnedFd {
        match self.guest.regions[0].file() {
            Some((file, _)) if !script.u8().is_multiple_of(8) => {
                file.try_clone_to_owned().expect("a descriptor is left")
            }
            _ => self.descriptor(script),
        }
    }

    /// A descriptor of some kind, often the wrong one.
    pub fn descriptor(&self, script: &mut Script<'_>) -> OwnedFd {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (near, far) = UnixStream::pair().expect("a pair of sockets");
        let open = |path: &str| rustix::fs::open(path, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty());
        let memory = |length: u64| {
            let file = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).expect("a memfd");
            rustix::fs::ftruncate(&file, length).expect("a memfd grows");
            file
        };
        match script.u8() % 12 {
            0 | 1 => self.kick.try_clone().expect("a descriptor is left"),
            2 | 3 => self.call.try_clone().expect("a descriptor is left"),
            4 => open("/dev/null").expect("every system has one"),
            5 => read,
            6 => write,
            7 => near.into(),
            8 => {
                let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
                drop(read);
                write
            }
            9 => memory(script.u16().into()),
            10 => eventfd(script.u32(), EventfdFlags::CLOEXEC).expect("an eventfd"),
            _ => far.into(),
        }
    }
}

fn borrow(descriptors: &[OwnedFd]) -> Vec<BorrowedFd<'_>> {
    descriptors
        .iter()
        .take(MAX_DESCRIPTORS)
        .map(AsFd::as_fd)
        .collect()
}

/// The front-end's address of a guest address in the main region.
fn user(guest_address: u64) -> u64 {
    guest_address - MAIN + USER
}
