//! A client with its guest, and what they do.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use ringwright_memory::{Mapping, Region};
use ringwright_ring::{ByteOrder, State};
use ringwright_spec::pci::common_cfg as field;
use ringwright_spec::pci::header::{self, command as pci_command};
use ringwright_spec::{Status, feature};
use ringwright_vfio_user::message::{
    Capabilities, Command, DeviceFeature, DmaMap, DmaUnmap, IrqSet, LoggingControl, LoggingRange,
    LoggingReport, MAX_DESCRIPTORS, MigData, MigState, RegionAccess, RegionInfo, VERSION, VersionData,
};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::fs::{MemfdFlags, Mode, OFlags};
use rustix::pipe::PipeFlags;
use zerocopy::IntoBytes;

use super::client::{Client, Manner, flags};
use super::{NOTIFY, STRUCTURES};
use crate::bus::tamper;
use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::script::Script;

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

/// A client and its guest.
pub(super) struct Play {
    pub client: Client,
    pub guest: Guest,
    /// Whether the guest's memory comes without a descriptor.
    private: bool,
    pub drivers: Vec<Driver>,
    pub call: OwnedFd,
    /// A state that the server gave away.
    state: Vec<u8>,
}

impl Play {
    pub fn new(stream: UnixStream, private: bool) -> Self {
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
    pub fn introduce(&mut self, script: &mut Script<'_>) {
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

    pub fn act(&mut self, script: &mut Script<'_>) {
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
    pub fn any_command(&mut self, script: &mut Script<'_>) {
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
        if script.u8().is_multiple_of(2)
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
    pub fn start_queue(&mut self, script: &mut Script<'_>) {
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
    pub fn use_queue(&mut self, script: &mut Script<'_>) {
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

    pub fn notify(&mut self, queue: u16) {
        let places = [NOTIFY, NOTIFY + 4 * u64::from(queue)];
        let writes = places.map(|place| (STRUCTURES, place, 2, queue.into()));
        self.client.write_all(&writes);
    }

    /// Lets the server ask for memory and the device interrupt, until neither has anything to say for a while.
    pub fn settle(&mut self) {
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
    pub fn map(&mut self, script: &mut Script<'_>) {
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

    pub fn unmap(&mut self, script: &mut Script<'_>) {
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

    pub fn irqs(&mut self, script: &mut Script<'_>) {
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
    pub fn access(&mut self, script: &mut Script<'_>) {
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
        if script.u8().is_multiple_of(8) {
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
    pub fn migrate(&mut self, script: &mut Script<'_>) {
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
    pub fn log(&mut self, script: &mut Script<'_>) {
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

    pub fn feature(&mut self, flags: u32, data: &[&[u8]]) {
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
    pub fn memory(&self, script: &mut Script<'_>) -> Option<OwnedFd> {
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
    pub fn descriptor(&self, script: &mut Script<'_>) -> OwnedFd {
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

fn event() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).expect("an eventfd")
}
