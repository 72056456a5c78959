//! A driver of a zoned disk that asks for anything, beside a simple model of what the document says of zones; and a state
//! file that says anything.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use ringwright_device::block::backend::{Backend, Memory as Storage};
use ringwright_device::block::{Block, Handle, Options, OptionsError, Zone, ZoneModel, Zoned};
use ringwright_device::{EventNotify, Host, HostEvents, HostOptions, QueueSetup};
use ringwright_memory::{Area, Buffer, Mapping, Memory, Region};
use ringwright_ring::{DriverOptions, DriverQueue, State};
use ringwright_spec::block::zoned::ZoneState;
use ringwright_spec::block::{ReqType, Status, features};
use ringwright_spec::feature;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use crate::place::folder;
use crate::script::Script;
use crate::zone_model::{Kind, Model, Request};

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 60;
/// Bytes of the disk.
const SIZE: u32 = 1 << 16;
/// Sectors of the longest transfer.
const MAX_SECTORS: u64 = 24;
/// The device takes no longer for a request.
const DEADLINE: Timespec = Timespec {
    tv_sec: 8,
    tv_nsec: 0,
};
/// Bytes of the head of a report, and of each zone in it.
const REPORT: usize = 64;

/// Plays `input` and panics where the disk does not do what the model does.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let folder = folder();
    let state = folder.path().join("zones");
    let [aware, packed, large_blocks] = script.flags();
    let block_size = if large_blocks { 1024 } else { 512 };
    let zone_size = u64::from(1 + script.u8() % 16) * 2048;
    let zone_capacity = match script.u8() % 4 {
        0 => 0,
        _ => (1 + u64::from(script.u8()) % (zone_size / 1024)) * 1024,
    };
    let max_active = u32::from(script.u8() % 5);
    let zoned = Zoned {
        model: if aware {
            ZoneModel::HostAware
        } else {
            ZoneModel::HostManaged
        },
        zone_size,
        zone_capacity,
        conventional: u32::from(script.u8() % 4),
        max_open: match (u32::from(script.u8() % 4), max_active) {
            (open, 0) => open,
            (open, active) => open.min(active),
        },
        max_active,
        max_append: match script.u8() % 4 {
            0 => Some(0),
            1 => Some(1024.min(zone_size)),
            _ => None,
        },
        state: Some(state.clone()),
    };
    let options = Options {
        block_size,
        zoned: Some(zoned),
        ..Options::default()
    };
    let storage: Arc<dyn Backend> = Arc::new(Storage::new(SIZE).expect("a small disk"));
    let disk = match Disk::new(&storage, &options, packed) {
        Ok(disk) => disk,
        // An append may be larger than the capacity of a zone.
        Err(OptionsError::Zones(_)) => return,
        Err(error) => panic!("{error}"),
    };
    let model = Model::new(&disk.host.config(), SIZE.into());
    let mut play = Play {
        disk,
        model,
        storage,
        options,
        packed,
        state,
    };
    play.compare();
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        play.act(&mut script);
        play.compare();
    }
}

struct Play {
    disk: Disk,
    model: Model,
    storage: Arc<dyn Backend>,
    options: Options,
    packed: bool,
    state: PathBuf,
}

impl Play {
    fn act(&mut self, script: &mut Script<'_>) {
        match script.u8() % 16 {
            0 => self.fail_hardware(script),
            1 => self.start_again(),
            2 => self.spoil(script),
            _ => self.ask(script),
        }
    }

    /// A request, more often one that can succeed.
    fn ask(&mut self, script: &mut Script<'_>) {
        let zones = self.model.zones.len() as u64;
        let index = script.below(zones);
        let zone = &self.model.zones[index as usize];
        let sector = match script.u8() % 8 {
            0 => script.below(u64::from(SIZE) / 512 + 8),
            1 => script.u64(),
            2 | 3 => zone.start,
            _ => zone.start + zone.written,
        };
        let kind = match script.u8() % 12 {
            0..=3 => Kind::Write,
            4 => Kind::Append,
            5 | 6 => Kind::Read,
            7 => Kind::Open,
            8 => Kind::Close,
            9 => Kind::Finish,
            10 => Kind::Reset,
            _ => Kind::ResetAll,
        };
        let sector = match kind {
            Kind::Write | Kind::Read => sector,
            _ if !script.u8().is_multiple_of(8) => zone.start,
            _ => sector,
        };
        let sectors = match script.u8() % 4 {
            0 => script.below(MAX_SECTORS),
            1 => zone.capacity.saturating_sub(zone.written).min(MAX_SECTORS),
            2 => 2,
            _ => 1 + script.below(4),
        };
        let value = script.u8();
        let request = Request {
            kind,
            sector,
            sectors,
            value,
        };
        let length = sectors as usize * 512;
        let (status, answer) = match kind {
            Kind::Write => self.disk.ask(ReqType::OUT, sector, &vec![value; length], 0),
            Kind::Append => self
                .disk
                .ask(ReqType::ZONE_APPEND, sector, &vec![value; length], 8),
            Kind::Read => self.disk.ask(ReqType::IN, sector, &[], length),
            Kind::Open => self.disk.ask(ReqType::ZONE_OPEN, sector, &[], 0),
            Kind::Close => self.disk.ask(ReqType::ZONE_CLOSE, sector, &[], 0),
            Kind::Finish => self.disk.ask(ReqType::ZONE_FINISH, sector, &[], 0),
            Kind::Reset => self.disk.ask(ReqType::ZONE_RESET, sector, &[], 0),
            Kind::ResetAll => self.disk.ask(ReqType::ZONE_RESET_ALL, sector, &[], 0),
        };
        self.model.apply(&request, status, &answer);
    }

    fn fail_hardware(&mut self, script: &mut Script<'_>) {
        let index = script.index(self.model.zones.len() + 1);
        let state = if script.u8().is_multiple_of(2) {
            ZoneState::RDONLY
        } else {
            ZoneState::OFFLINE
        };
        let written = self.model.zones.get(index).map_or(0, |zone| zone.written);
        let done = self.disk.handle.put_zone(index, Zone { state, written });
        assert_eq!(done, index < self.model.zones.len());
        if let Some(zone) = self.model.zones.get_mut(index) {
            zone.state = state;
        }
    }

    /// Another process takes the disk, with the zones as they were.
    fn start_again(&mut self) {
        let disk = Disk::new(&self.storage, &self.options, self.packed);
        self.disk = disk.expect("what the last process has left");
    }

    /// The state file is changed by someone else.
    fn spoil(&mut self, script: &mut Script<'_>) {
        let sound = std::fs::read(&self.state).expect("it is there");
        let mut bytes = sound.clone();
        for _ in 0..1 + script.u8() % 4 {
            let at = script.index(bytes.len());
            bytes[at] = script.u8();
        }
        if script.u8().is_multiple_of(8) {
            bytes.truncate(script.index(bytes.len()));
        }
        std::fs::write(&self.state, &bytes).expect("it can be written");
        match Disk::new(&self.storage, &self.options, self.packed) {
            Ok(disk) => {
                self.disk = disk;
                if bytes != sound {
                    self.model.distrust();
                }
            }
            Err(OptionsError::ZoneFile(_)) => {
                std::fs::write(&self.state, &sound).expect("it can be written");
                self.start_again();
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// What the disk reports is what the model has.
    fn compare(&mut self) {
        let room = REPORT + 64 * self.model.zones.len();
        let (status, report) = self.disk.ask(ReqType::ZONE_REPORT, 0, &[], room);
        assert_eq!(status, Status::OK);
        self.model.compare(&report);
    }
}

/// The disk, and a driver that asks one thing at a time.
struct Disk {
    host: Host,
    handle: Handle,
    ring: DriverQueue<Vec<Buffer>>,
    area: Arc<Area>,
    kick: OwnedFd,
    call: OwnedFd,
}

struct Deaf;

impl HostEvents for Deaf {
    fn config_changed(&self) {}

    fn needs_reset(&self, reason: &str) {
        panic!("the driver has kept to the rules: {reason}");
    }
}

impl Disk {
    fn new(storage: &Arc<dyn Backend>, options: &Options, packed: bool) -> Result<Self, OptionsError> {
        let block = Block::new(storage.clone(), options.clone())?;
        let handle = block.handle();
        let mut host = Host::new(Box::new(block), HostOptions::default(), Arc::new(Deaf)).expect("a disk");
        let mut accepted = feature::VERSION_1 | features::FLUSH | features::ZONED;
        if packed {
            accepted = accepted | feature::RING_PACKED;
        }
        host.set_features(accepted).expect("what it offers");
        let region = Region::new(
            0x1_0000,
            Arc::new(Mapping::anonymous(1 << 16).expect("memory is left")),
        );
        let memory = Memory::new(vec![region.clone()]).expect("one region");
        host.set_memory(Arc::new(memory)).expect("nothing runs");
        let area = Area::from_region(region).expect("it is writable");
        let ring = DriverQueue::new(&area, 4, accepted, DriverOptions::default()).expect("a virtqueue");
        let event = || eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).expect("a descriptor");
        let (kick, call) = (event(), event());
        let setup = QueueSetup {
            layout: ring.layout(),
            state: State::default(),
            kick: Some(kick.try_clone().expect("a descriptor")),
            notify: Box::new(EventNotify::new(call.try_clone().expect("a descriptor")).expect("an eventfd")),
        };
        host.start_queue(0, setup).expect("a thread");
        Ok(Self {
            host,
            handle,
            ring,
            area,
            kick,
            call,
        })
    }

    /// The status of a request, and what came before it.
    fn ask(&mut self, kind: ReqType, sector: u64, data: &[u8], room: usize) -> (Status, Vec<u8>) {
        let head = [&kind.0.to_le_bytes()[..], &[0; 4], &sector.to_le_bytes(), data].concat();
        let buffers = [head.len(), room + 1].map(|length| self.area.allocate(length, 1).expect("room"));
        let [readable, writable] = &buffers;
        readable.write(0, &head).expect("within");
        writable.slices().fill(0, room + 1, 0xa5).expect("within");
        let (from, to) = ([readable.segment()], [writable.segment()]);
        if self.ring.add(&from, &to, buffers.into()).is_err() {
            panic!("an empty virtqueue has room");
        }
        if self.ring.publish() {
            let _ = rustix::io::write(&self.kick, &1_u64.to_ne_bytes());
        }
        loop {
            self.ring.disable_notifications();
            if let Some(used) = self.ring.pop().expect("the device keeps to the rules") {
                let mut answer = vec![0; room + 1];
                used.data[1].read(0, &mut answer).expect("within");
                let status = Status(answer.pop().expect("the status"));
                return (status, answer);
            }
            if !self.ring.enable_notifications() {
                let ready = poll(&mut [PollFd::new(&self.call, PollFlags::IN)], Some(&DEADLINE));
                assert_ne!(ready, Ok(0), "the device hangs");
                let _ = rustix::io::read(&self.call, &mut [0; 8]);
            }
        }
    }
}
