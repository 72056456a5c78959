//! A hostile client against the vfio-user [`Server`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use ringwright_device::transport::pci::Options;
use ringwright_memory::{Mapping, Region};
use ringwright_ring::{ByteOrder, State};
use ringwright_socket::{Error, Stream};
use ringwright_spec::pci::common_cfg as field;
use ringwright_spec::pci::header::{self, command as pci_command};
use ringwright_spec::{Status, feature};
use ringwright_vfio_user::message::{
    Capabilities, Command, DeviceFeature, DmaAccess, DmaMap, DmaUnmap, Header, IrqInfo, IrqSet,
    LoggingControl, LoggingRange, LoggingReport, MAX_DESCRIPTORS, MigData, MigState, OneWrite, RegionAccess,
    RegionInfo, VERSION, VersionData, WriteMulti,
};
use ringwright_vfio_user::server::Server;
use ringwright_vfio_user::socket::{Message, Socket, SocketError, Stop};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;
use zerocopy::IntoBytes;

use crate::bus::{device, tamper};
use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 60;
/// Longer silence than this is a hang.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long the device may take for a buffer, or for its next question, before the story goes on.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 1_000_000,
};
/// Questions that are answered in one go.
const MAX_QUESTIONS: usize = 64;
/// Length of the main region.
const LENGTH: usize = 1 << 16;
/// Bytes of the main region that each virtqueue has.
const QUEUE_SPACE: u64 = 0x4000;
/// Virtqueues that the story is about; devices have fewer.
const QUEUES: u64 = 3;
/// BAR of the virtio structures, and where the notifications are in it.
const STRUCTURES: u32 = 4;
const NOTIFY: u64 = 0x3000;

/// Plays `input` and panics where the server hangs, breaks the protocol, or does not serve its next client.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let [disk, private] = script.flags();
    let mut server =
        Server::for_device(device(disk.into()), Options::default()).expect("the device is sound");
    let stop = Stop::new().expect("a descriptor is left");
    session(&mut server, &stop, |socket| {
        play(&mut script, Play::new(socket, private));
    });
    session(&mut server, &stop, |socket| succeed(Play::new(socket, private)));
}

/// Connects a client to the server until it is done.
fn session(server: &mut Server, stop: &Stop, client: impl FnOnce(UnixStream)) {
    let (ours, theirs) = UnixStream::pair().expect("a descriptor is left");
    thread::scope(|scope| {
        // How it ends is the server's affair, that it ends is ours.
        let serving = scope.spawn(|| _ = server.serve_connection(theirs, stop));
        client(ours);
        // Joined, as a scope does not wait for what threads do at their very end, which looks like a leak then.
        serving.join().expect("no panic");
    });
}

fn play(script: &mut Script<'_>, mut play: Play) {
    play.introduce(script);
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() || play.client.socket.is_none() {
            break;
        }
        play.act(script);
    }
}

/// The next client finds a function that nobody has used, and uses it by the rules.
fn succeed(mut play: Play) {
    let mut rules = Script::new(&[]);
    play.introduce(&mut rules);
    let access = RegionAccess {
        offset: field::DEVICE_STATUS,
        region: STRUCTURES,
        count: 1,
    };
    let reply = play
        .client
        .ask(Command::RegionRead as u16, 0, &[access.as_bytes()], &[]);
    let reply = reply.expect("the next client is served");
    assert_eq!(reply.payload.last(), Some(&0), "the status after the last client");
    play.start_queue(&mut rules);
    play.client.take_intx(&play.call);
    // One buffer to be written. Random bytes fill it, for a disk it is no request: either is worth an interrupt.
    let layout = play.drivers[0].layout;
    play.guest.write64(layout.descriptor_area, MAIN + 0x8000);
    play.guest.write32(layout.descriptor_area + 8, 16);
    play.guest.write32(layout.descriptor_area + 12, 2);
    play.guest.write16(layout.driver_area + 2, 1);
    play.notify(0);
    for _ in 0..DEADLINE.as_millis() {
        play.settle();
        let mut event = [0; 8];
        if rustix::io::read(&play.call, &mut event).is_ok() {
            return;
        }
    }
    panic!("the next client's buffer is neither used nor refused");
}

/// A client and its guest.
struct Play {
    client: Client,
    guest: Guest,
    /// Whether the guest's memory comes without a descriptor.
    private: bool,
    drivers: Vec<Driver>,
    call: OwnedFd,
    /// A state that the server gave away.
    state: Vec<u8>,
}

impl Play {
    fn new(stream: UnixStream, private: bool) -> Self {
        let mapping = Mapping::memfd("guest", LENGTH).expect("a memfd");
        let main = Region::new(MAIN, Arc::new(mapping));
        Self {
            client: Client::new(stream),
            guest: Guest::with_main(main, ByteOrder::Little),
            private,
            drivers: Vec::new(),
            call: event(),
            state: Vec::new(),
        }
    }

    /// The first message, mostly as it should be.
    fn introduce(&mut self, script: &mut Script<'_>) {
        let data = VersionData {
            capabilities: Capabilities {
                max_data_xfer_size: if script.u8() % 4 == 3 {
                    script.u64()
                } else {
                    1 << 20
                },
                ..Capabilities::ours()
            },
        };
        let mut bytes = data.to_bytes();
        if script.u8() % 8 == 7 {
            bytes = tamper(script, bytes);
        }
        let payload = [VERSION.as_bytes(), &bytes];
        self.client.ask(Command::Version as u16, 0, &payload, &[]);
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(18) {
            0 => self.client.send_raw(script),
            1 | 2 => self.any_command(script),
            3 | 4 => self.start_queue(script),
            5..=7 => self.use_queue(script),
            8 => {
                for driver in &self.drivers {
                    self.guest.scribble(script, &driver.layout, driver.packed);
                }
            }
            9 => self.guest.write64(self.guest.address(script), script.u64()),
            10 => self.map(script),
            11 => self.unmap(script),
            12 => self.irqs(script),
            13 => self.access(script),
            14 => self.migrate(script),
            15 => self.log(script),
            16 => self.client.manner = Manner::from(script.u8()),
            _ => self.settle(),
        }
    }

    /// Any command with a payload as long as it should be, and of any other kind as well.
    fn any_command(&mut self, script: &mut Script<'_>) {
        let number = script.below(20) as u16;
        let [odd_length, descriptors] = script.flags();
        let length = match Command::from_number(number) {
            _ if odd_length => script.index(256),
            Some(Command::Version) => 4,
            Some(Command::DmaMap | Command::DeviceGetRegionInfo) => 32,
            Some(Command::DmaUnmap) => size_of::<DmaUnmap>(),
            Some(Command::DeviceSetIrqs) => size_of::<IrqSet>(),
            Some(Command::RegionWriteMulti | Command::DeviceFeature) => 8 + script.index(48),
            Some(Command::MigDataRead | Command::MigDataWrite) => size_of::<MigData>(),
            Some(Command::DeviceReset) => 0,
            _ => 16,
        };
        let mut payload: Vec<u8> = (0..length).map(|_| script.u8()).collect();
        // Most begin with how long the reply may be.
        if script.u8() % 2 == 0
            && let Some(argsz) = payload.first_chunk_mut()
        {
            *argsz = 0x1000_u32.to_ne_bytes();
        }
        let count = if descriptors {
            script.index(MAX_DESCRIPTORS + 2)
        } else {
            0
        };
        let descriptors: Vec<OwnedFd> = (0..count).map(|_| self.descriptor(script)).collect();
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        self.client.ask(number, flags(script), &[&payload], &descriptors);
    }

    /// All that starts a virtqueue, as a decent driver writes it, with here and there something else.
    fn start_queue(&mut self, script: &mut Script<'_>) {
        let [
            packed,
            event_idx,
            indirect,
            in_order,
            odd_size,
            odd_place,
            unmapped,
            reset,
        ] = script.flags();
        let queue = script.below(QUEUES) as u16;
        if self.drivers.is_empty() && !unmapped {
            self.map(script);
        }
        let mut features = feature::VERSION_1;
        for (chosen, bit) in [
            (packed, feature::RING_PACKED),
            (event_idx, feature::EVENT_IDX),
            (indirect, feature::INDIRECT_DESC),
            (in_order, feature::IN_ORDER),
        ] {
            if chosen {
                features = features | bit;
            }
        }
        let size = if odd_size { script.u16() } else { 8 };
        let layout = guest::shift(guest::layout(size, packed), u64::from(queue) * QUEUE_SPACE);
        let mut places = [layout.descriptor_area, layout.driver_area, layout.device_area];
        if odd_place {
            places[script.index(3)] = self.guest.address(script);
        }
        let command = pci_command::MEMORY | pci_command::BUS_MASTER;
        let mut writes = vec![(RegionInfo::CONFIG, header::COMMAND as u64, 2, command.into())];
        let mut put = |offset, size, value: u64| writes.push((STRUCTURES, offset, size, value));
        if self.drivers.is_empty() || reset {
            let status = [Status::NONE, Status::ACKNOWLEDGE, Status::DRIVER].map(|status| status.0);
            put(field::DEVICE_STATUS, 1, status[0].into());
            put(field::DEVICE_STATUS, 1, (status[1] | status[2]).into());
            for word in 0..2 {
                put(field::DRIVER_FEATURE_SELECT, 4, word.into());
                put(field::DRIVER_FEATURE, 4, features.word(word).into());
            }
            put(field::DEVICE_STATUS, 1, 0xb);
            self.drivers.clear();
        }
        put(field::QUEUE_SELECT, 2, queue.into());
        put(field::QUEUE_SIZE, 2, size.into());
        put(field::QUEUE_MSIX_VECTOR, 2, queue.into());
        let fields = [field::QUEUE_DESC, field::QUEUE_DRIVER, field::QUEUE_DEVICE];
        for (field, place) in fields.into_iter().zip(places) {
            put(field, 4, place & u64::from(u32::MAX));
            put(field + 4, 4, place >> 32);
        }
        put(field::QUEUE_ENABLE, 2, 1);
        put(field::DEVICE_STATUS, 1, 0xf);
        self.client.write_all(&writes);
        self.drivers.push(Driver::new(layout, packed, State::default()));
    }

    /// Makes buffers available, notifies, and answers the server's questions for as long as there are any.
    fn use_queue(&mut self, script: &mut Script<'_>) {
        let count = self.drivers.len();
        if count == 0 {
            return;
        }
        let index = script.index(count);
        for _ in 0..=script.below(4) {
            self.drivers[index].offer(&self.guest, script, true);
        }
        self.notify(index as u16);
        self.settle();
    }

    fn notify(&mut self, queue: u16) {
        let places = [NOTIFY, NOTIFY + 4 * u64::from(queue)];
        let writes = places.map(|place| (STRUCTURES, place, 2, queue.into()));
        self.client.write_all(&writes);
    }

    /// Lets the server ask for memory and the device interrupt, until neither has anything to say for a while.
    fn settle(&mut self) {
        for _ in 0..MAX_QUESTIONS {
            self.client.answer_all(&self.guest);
            let Some(socket) = &self.client.socket else {
                return;
            };
            let mut events = [
                PollFd::new(socket, PollFlags::IN),
                PollFd::new(&self.call, PollFlags::IN),
            ];
            match poll(&mut events, Some(&PATIENCE)) {
                Ok(0) => return,
                _ if events[0].revents().is_empty() => return,
                _ => self.client.take_one(),
            }
        }
    }

    /// Maps the main region, or something else.
    fn map(&mut self, script: &mut Script<'_>) {
        let mut map = DmaMap {
            argsz: size_of::<DmaMap>() as u32,
            flags: DmaMap::READ | DmaMap::WRITE,
            offset: 0,
            address: MAIN,
            size: LENGTH as u64,
        };
        match script.u8() % 16 {
            8 => map.flags = script.u8().into(),
            9 => map.address = script.u64(),
            10 => map.size = script.u64(),
            11 => map.size = script.u16().into(),
            12 => map.offset = script.u16().into(),
            13 => map.offset = script.u64(),
            14 => (map.address, map.size) = (MAIN + (script.below(16) << 12), 0x1000),
            15 => (map.address, map.size) = (script.u64(), script.u16().into()),
            _ => {}
        }
        let file = self.memory(script);
        let file: Vec<_> = file.iter().map(AsFd::as_fd).collect();
        self.client.map(map, flags(script), &file);
    }

    fn unmap(&mut self, script: &mut Script<'_>) {
        let mut unmap = DmaUnmap {
            argsz: size_of::<DmaUnmap>() as u32,
            flags: 0,
            address: MAIN,
            size: LENGTH as u64,
        };
        match script.u8() % 8 {
            0 => (unmap.flags, unmap.address, unmap.size) = (DmaUnmap::ALL, 0, 0),
            1 => unmap.flags = script.u8().into(),
            2 => unmap.address = script.u64(),
            3 => unmap.size = script.u64(),
            4 => (unmap.address, unmap.size) = (MAIN + (script.below(16) << 12), 0x1000),
            5 => (unmap.address, unmap.size) = (0, u64::MAX),
            _ => {}
        }
        let number = Command::DmaUnmap as u16;
        self.client.ask(number, flags(script), &[unmap.as_bytes()], &[]);
    }

    fn irqs(&mut self, script: &mut Script<'_>) {
        let kinds = [IrqSet::DATA_NONE, IrqSet::DATA_BOOL, IrqSet::DATA_EVENTFD];
        let actions = [IrqSet::ACTION_MASK, IrqSet::ACTION_UNMASK, IrqSet::ACTION_TRIGGER];
        let kind = kinds[script.index(3)];
        let flags = kind | actions[script.index(3)];
        let (index, start, count) = (script.u8() % 4, script.u8() % 4, script.u8() % 5);
        let (mut bytes, mut descriptors) = (Vec::new(), Vec::new());
        match kind {
            IrqSet::DATA_BOOL => bytes = (0..count).map(|_| script.u8() % 2).collect(),
            IrqSet::DATA_EVENTFD => descriptors = (0..count).map(|_| self.descriptor(script)).collect(),
            _ => {}
        }
        let set = IrqSet {
            argsz: size_of::<IrqSet>() as u32,
            flags,
            index: index.into(),
            start: start.into(),
            count: count.into(),
        };
        let descriptors: Vec<_> = descriptors.iter().map(AsFd::as_fd).collect();
        let number = Command::DeviceSetIrqs as u16;
        self.client
            .ask(number, 0, &[set.as_bytes(), &bytes], &descriptors);
    }

    /// Reads or writes a region, within it as a rule.
    fn access(&mut self, script: &mut Script<'_>) {
        let [write, far, config] = script.flags();
        let region = if config {
            RegionInfo::CONFIG
        } else {
            u32::from(script.u8() % 10)
        };
        let offset = match far {
            true => script.u64(),
            false => script.below(0x4000),
        };
        let mut access = RegionAccess {
            offset,
            region,
            count: 1 << (script.u8() % 4),
        };
        if script.u8() % 8 == 0 {
            access.count = script.any_u32();
        }
        if write {
            let data: Vec<u8> = (0..access.count.min(64)).map(|_| script.u8()).collect();
            let number = Command::RegionWrite as u16;
            self.client
                .ask(number, flags(script), &[access.as_bytes(), &data], &[]);
            return;
        }
        let reply = self
            .client
            .ask(Command::RegionRead as u16, 0, &[access.as_bytes()], &[]);
        if let Some(reply) = reply.filter(|reply| reply.header.failure().is_none()) {
            let (found, data) = reply.read_prefix::<RegionAccess>().expect("what was accessed");
            assert_eq!((found, data.len()), (access, access.count as usize));
        }
    }

    /// Moves the function through the states of a migration, and its state to and fro.
    fn migrate(&mut self, script: &mut Script<'_>) {
        match script.u8() % 4 {
            0 => {
                let size = u32::from(script.u16());
                let read = MigData {
                    argsz: size + 8,
                    size,
                };
                let reply = self
                    .client
                    .ask(Command::MigDataRead as u16, 0, &[read.as_bytes()], &[]);
                if let Some(reply) = reply
                    && let Some((head, data)) = reply.read_prefix::<MigData>()
                {
                    assert!(data.len() == head.size as usize && head.size <= size);
                    self.state = data.to_vec();
                }
            }
            1 => {
                let state = tamper(script, self.state.clone());
                let write = MigData {
                    argsz: (size_of::<MigData>() + state.len()) as u32,
                    size: state.len() as u32,
                };
                let payload = [write.as_bytes(), &state];
                self.client.ask(Command::MigDataWrite as u16, 0, &payload, &[]);
            }
            _ => {
                let state = MigState {
                    device_state: u32::from(script.u8() % 9),
                    data_fd: 0,
                };
                let operation = [DeviceFeature::SET, DeviceFeature::GET][script.index(2)];
                self.feature(DeviceFeature::MIG_DEVICE_STATE | operation, &[state.as_bytes()]);
            }
        }
    }

    /// Has writes to memory logged, and asks for the log.
    fn log(&mut self, script: &mut Script<'_>) {
        let page_size = 1 << (script.u8() % 16);
        let [odd] = script.flags();
        let (iova, length) = match odd {
            true => (script.u64(), script.u64()),
            false => (MAIN, LENGTH as u64),
        };
        match script.u8() % 4 {
            0 => self.feature(DeviceFeature::DMA_LOGGING_STOP | DeviceFeature::SET, &[]),
            1 => {
                let control = LoggingControl {
                    page_size,
                    num_ranges: u32::from(script.u8() % 3),
                    reserved: 0,
                };
                let range = LoggingRange { iova, length };
                let payload = [control.as_bytes(), range.as_bytes()];
                self.feature(DeviceFeature::DMA_LOGGING_START | DeviceFeature::SET, &payload);
            }
            _ => {
                let report = LoggingReport {
                    iova,
                    length,
                    page_size,
                };
                let flags = DeviceFeature::DMA_LOGGING_REPORT | DeviceFeature::GET;
                self.feature(flags, &[report.as_bytes()]);
            }
        }
    }

    fn feature(&mut self, flags: u32, data: &[&[u8]]) {
        let feature = DeviceFeature {
            argsz: 1 << 16,
            flags,
        };
        let payload: Vec<&[u8]> = [feature.as_bytes()]
            .into_iter()
            .chain(data.iter().copied())
            .collect();
        self.client.ask(Command::DeviceFeature as u16, 0, &payload, &[]);
    }

    /// The file of the main region, unless the memory is private.
    fn memory(&self, script: &mut Script<'_>) -> Option<OwnedFd> {
        match (script.u8() % 16, self.guest.regions[0].file()) {
            (15, _) => Some(self.descriptor(script)),
            (14, _) => None,
            (_, Some((file, _))) if !self.private => {
                Some(file.try_clone_to_owned().expect("a descriptor is left"))
            }
            _ => None,
        }
    }

    /// A descriptor of some kind, often the wrong one.
    fn descriptor(&self, script: &mut Script<'_>) -> OwnedFd {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        match script.u8() % 8 {
            0 => read,
            1 => write,
            2 => rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
                .expect("every system has one"),
            3 => {
                let file = rustix::fs::memfd_create("other", MemfdFlags::CLOEXEC).expect("a memfd");
                rustix::fs::ftruncate(&file, script.u16().into()).expect("a memfd grows");
                file
            }
            4 => eventfd(script.u32(), EventfdFlags::CLOEXEC).expect("an eventfd"),
            _ => self.call.try_clone().expect("a descriptor is left"),
        }
    }
}

/// How the client answers questions about its memory.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Manner {
    Truth,
    Refusal,
    /// One byte more than was asked for.
    TooMuch,
    /// Nothing but the header.
    Nothing,
    /// As the reply to another command.
    Elsewhere,
    Silence,
}

impl From<u8> for Manner {
    fn from(choice: u8) -> Self {
        match choice % 8 {
            0 => Self::Refusal,
            1 => Self::TooMuch,
            2 => Self::Nothing,
            3 => Self::Elsewhere,
            4 => Self::Silence,
            _ => Self::Truth,
        }
    }
}

/// The client's end of the connection, until that is closed.
struct Client {
    socket: Option<Socket>,
    stream: Stream,
    manner: Manner,
    next_id: u16,
    /// Whether the server may be waiting for the rest of a message.
    adrift: bool,
    /// First and last addresses that the server was ever allowed to write to.
    writable: Vec<(u64, u64)>,
    /// Questions that came while the client waited for a reply, and have not been answered.
    questions: Vec<Message>,
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let other = stream.try_clone().expect("a descriptor is left");
        Self {
            socket: Some(Socket::new(stream).with_timeout(DEADLINE)),
            stream: Stream::new(other).with_timeout(DEADLINE),
            manner: Manner::Truth,
            next_id: 0,
            adrift: false,
            writable: Vec::new(),
            questions: Vec::new(),
        }
    }

    /// Bytes that need not be a message.
    fn send_raw(&mut self, script: &mut Script<'_>) {
        let length = script.index(64);
        let bytes: Vec<u8> = (0..length).map(|_| script.u8()).collect();
        // An error is found again when the next message is sent.
        let _error = self.stream.send(&bytes, &[]);
        self.adrift = true;
    }

    /// Sends a command, and waits for the reply if there is to be one: whatever else the server waits for, it does not keep
    /// its client waiting.
    fn ask(
        &mut self,
        command: u16,
        flags: u32,
        payload: &[&[u8]],
        descriptors: &[BorrowedFd<'_>],
    ) -> Option<Message> {
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        let length = payload.iter().map(|part| part.len()).sum::<usize>();
        let header = Header {
            id,
            command,
            size: (Header::SIZE + length) as u32,
            flags,
            error: 0,
        };
        let bytes = [&[header.as_bytes()], payload].concat().concat();
        let outcome = self.stream.send(&bytes, descriptors).map_err(SocketError::from);
        self.note(outcome)?;
        // A reply to nothing has none, and neither has what tells the server not to.
        if self.adrift || header.is_reply() || !header.wants_reply() {
            return None;
        }
        loop {
            let outcome = self.socket.as_ref()?.receive();
            let message = self.note(outcome)?;
            if message.header.is_command() {
                self.questions.push(message);
                continue;
            }
            let Header { id: found, .. } = message.header;
            assert_eq!((found, message.header.command), (id, command), "a reply to this");
            if message.header.failure().is_some() {
                assert!(message.payload.is_empty() && message.descriptors.is_empty());
            }
            return Some(message);
        }
    }

    /// Writes to regions, one write after the other, in one message.
    fn write_all(&mut self, writes: &[(u32, u64, u32, u64)]) {
        let mut payload = WriteMulti {
            wr_cnt: writes.len() as u64,
        }
        .as_bytes()
        .to_vec();
        for &(region, offset, count, value) in writes {
            let write = OneWrite {
                offset,
                region,
                count,
                data: value.to_le_bytes(),
            };
            payload.extend(write.as_bytes());
        }
        self.ask(Command::RegionWriteMulti as u16, 0, &[&payload], &[]);
    }

    fn map(&mut self, map: DmaMap, flags: u32, file: &[BorrowedFd<'_>]) {
        if map.flags & DmaMap::WRITE != 0
            && let Some(last) = map
                .size
                .checked_sub(1)
                .and_then(|rest| map.address.checked_add(rest))
        {
            self.writable.push((map.address, last));
        }
        self.ask(Command::DmaMap as u16, flags, &[map.as_bytes()], file);
    }

    /// Has the INTx line signal `event`.
    fn take_intx(&mut self, event: &OwnedFd) {
        let set = IrqSet {
            argsz: size_of::<IrqSet>() as u32,
            flags: IrqSet::DATA_EVENTFD | IrqSet::ACTION_TRIGGER,
            index: IrqInfo::INTX,
            start: 0,
            count: 1,
        };
        let number = Command::DeviceSetIrqs as u16;
        self.ask(number, 0, &[set.as_bytes()], &[event.as_fd()]);
    }

    /// Takes a message of the server's that nobody waits for.
    fn take_one(&mut self) {
        if let Some(socket) = &self.socket {
            let outcome = socket.receive();
            let message = self.note(outcome);
            self.questions
                .extend(message.filter(|message| message.header.is_command()));
        }
    }

    /// Answers all questions that have come.
    fn answer_all(&mut self, guest: &Guest) {
        for question in std::mem::take(&mut self.questions) {
            self.answer(&question, guest);
        }
    }

    fn answer(&mut self, question: &Message, guest: &Guest) {
        let (access, data) = question.read_prefix::<DmaAccess>().expect("a question");
        let mut bytes = Vec::new();
        let outcome = match Command::from_number(question.header.command) {
            Some(Command::DmaRead) => {
                assert!(data.is_empty() && access.count <= 1 << 20);
                bytes = vec![0; access.count as usize];
                guest.memory().read(access.address, &mut bytes)
            }
            Some(Command::DmaWrite) => {
                assert!(data.len() as u64 == access.count && access.count > 0);
                assert!(
                    self.may_write(access.address, access.address + (access.count - 1)),
                    "a write to {:#x} of {:#x} bytes",
                    access.address,
                    access.count
                );
                guest.memory().write(access.address, data)
            }
            _ => panic!("a question that servers do not ask"),
        };
        let Some(socket) = &self.socket else { return };
        let header = question.header;
        let head = access.as_bytes();
        let outcome = match (self.manner, outcome) {
            (Manner::Silence, _) => return,
            (Manner::Refusal, _) | (_, Err(_)) => socket.reply_error(&header, 14),
            (Manner::Truth, _) => socket.reply(&header, &[head, &bytes], &[]),
            (Manner::TooMuch, _) => socket.reply(&header, &[head, &bytes, &[0]], &[]),
            (Manner::Nothing, _) => socket.reply(&header, &[], &[]),
            (Manner::Elsewhere, _) => {
                let header = Header { command: 3, ..header };
                socket.reply(&header, &[head, &bytes], &[])
            }
        };
        self.note(outcome);
    }

    /// Whether every address of a range could ever be written.
    fn may_write(&self, first: u64, last: u64) -> bool {
        let mut next = first;
        // Each piece found brings the end nearer.
        while let Some((_, end)) = self
            .writable
            .iter()
            .find(|(start, end)| *start <= next && *end >= next)
        {
            if *end >= last {
                return true;
            }
            next = end + 1;
        }
        false
    }

    fn note<T>(&mut self, outcome: Result<T, SocketError>) -> Option<T> {
        match outcome {
            Ok(value) => return Some(value),
            Err(SocketError::Stream(Error::Closed | Error::Truncated { .. } | Error::Os { .. })) => {
                self.socket = None;
            }
            Err(error) => panic!("{error}"),
        }
        None
    }
}

/// Flags of a message: now and then such that no reply is wanted, or such that it is no command.
fn flags(script: &mut Script<'_>) -> u32 {
    match script.u8() {
        odd @ 0xf0.. => (odd & 0xf).into(),
        0xe0.. => Header::NO_REPLY,
        _ => 0,
    }
}

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}
