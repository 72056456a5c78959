//! The register model, driven as a processor would.

mod commands;
mod initialization;
mod instructions;
mod notifications;
mod snapshot;

use std::sync::{Condvar, Mutex};
use std::time::Instant;

use ringwright_memory::{Mapping, Region};
use ringwright_ring::Layout;
use ringwright_spec::ccw::channel::{Ccw1, CcwFlags, DeviceStatus, Orb, OrbControl, PmcwFlags, Scsw, Sense};
use ringwright_spec::ccw::{Command, RevInfo, VqInfoBlock};
use ringwright_spec::{Status, entropy};
use zerocopy::IntoBytes;

use super::*;
use crate::testing::{Completed, DEADLINE, Guest, Queue};
use crate::transport::testing::sevens;
use crate::{ConfigError, Description, DeviceError, QueueDescription, Session, Worker};

pub const NONE: CcwFlags = CcwFlags::NONE;
pub const SLI: CcwFlags = CcwFlags::SUPPRESS_LENGTH;

pub const FINE: SubchannelStatus = SubchannelStatus::NONE;
pub const LENGTH: SubchannelStatus = SubchannelStatus::INCORRECT_LENGTH;

/// Where the program is, and its data.
const PROGRAM: u32 = 0x1000;
pub const DATA: u32 = 0x2000;
/// Where indicators are.
pub const CLASSIC: u64 = 0x3000;
pub const CONFIG: u64 = 0x3008;
pub const SUMMARY: u64 = 0x3010;
pub const AREA: u64 = 0x3100;
/// Bytes of the memory that these are in.
pub const LOW: usize = 0x1_0000;

/// A subchannel, its interruptions, and the guest that drives it.
pub struct Board {
    pub subchannel: Subchannel,
    pub interrupts: Arc<Interrupts>,
    pub guest: Guest,
    pub memory: Arc<Memory>,
}

/// What a command came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub device: DeviceStatus,
    pub subchannel: SubchannelStatus,
    pub residual: u16,
}

/// It was carried out, and the lengths are correct.
pub const DONE: Answer = Answer {
    device: DeviceStatus::CHANNEL_END.union(DeviceStatus::DEVICE_END),
    subchannel: FINE,
    residual: 0,
};

impl Answer {
    /// The answer to a command that was not even begun, with an area of this length.
    pub fn refused(length: u16) -> Self {
        Self {
            device: DeviceStatus::UNIT_CHECK,
            subchannel: FINE,
            residual: length,
        }
    }

    /// The answer to a command that was rejected when its data were known.
    pub fn rejected() -> Self {
        Self {
            device: DONE.device | DeviceStatus::UNIT_CHECK,
            ..DONE
        }
    }

    pub fn with(self, subchannel: SubchannelStatus, residual: u16) -> Self {
        Self {
            subchannel,
            residual,
            ..self
        }
    }

    pub fn is_rejected(self) -> bool {
        self.device.contains(DeviceStatus::UNIT_CHECK)
    }
}

impl Board {
    /// A device on a subchannel that is enabled, with interruption subclass 3, and no revision yet.
    pub fn new(device: impl Device + 'static, features: Features) -> Self {
        Self::with_options(device, features, Options::default())
    }

    pub fn with_options(device: impl Device + 'static, features: Features, options: Options) -> Self {
        let guest = Guest::new(features);
        let low = Region::new(0, Arc::new(Mapping::anonymous(LOW).unwrap()));
        let memory = Arc::new(Memory::new(vec![low, guest.region.clone()]).unwrap());
        let mut board = Self::for_guest(device, options, guest, memory);
        board.enable(true);
        board
    }

    /// On a subchannel that is not enabled.
    pub fn for_guest(
        device: impl Device + 'static,
        options: Options,
        guest: Guest,
        memory: Arc<Memory>,
    ) -> Self {
        let interrupts = Arc::new(Interrupts::default());
        let mut subchannel = Subchannel::new(Box::new(device), options, interrupts.clone()).unwrap();
        subchannel.set_memory(memory.clone());
        Self {
            subchannel,
            interrupts,
            guest,
            memory,
        }
    }

    /// The same in `revision`.
    pub fn in_revision(device: impl Device + 'static, features: Features, revision: Revision) -> Self {
        let mut board = Self::new(device, features);
        assert_eq!(board.set_revision(revision.0, 0), DONE);
        board
    }

    pub fn enable(&mut self, enabled: bool) {
        let mut schib = self.subchannel.store();
        let flags = if enabled {
            PmcwFlags::ENABLED.0 | 3 << 11
        } else {
            0
        };
        schib.pmcw.flags = flags.into();
        assert_eq!(self.subchannel.modify(&schib), ConditionCode::DONE);
    }

    pub fn orb(&self) -> Orb {
        Orb {
            interruption_parameter: 0xabcd.into(),
            control: OrbControl::FORMAT_1.0.into(),
            logical_path_mask: 0xff,
            modes: 0,
            channel_program: PROGRAM.into(),
        }
    }

    pub fn put(&self, address: u64, bytes: &[u8]) {
        self.memory.write(address, bytes).unwrap();
    }

    pub fn get<const N: usize>(&self, address: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read(address, &mut bytes).unwrap();
        bytes
    }

    /// Makes a program of one word.
    pub fn place(&self, command: Command, flags: CcwFlags, length: u16) {
        let word = Ccw1 {
            command: command.0,
            flags: flags.0,
            count: length.into(),
            data_address: DATA.into(),
        };
        self.put(PROGRAM.into(), word.as_bytes());
    }

    /// Runs the program that is there, and takes its status.
    pub fn run(&mut self) -> Scsw {
        let orb = self.orb();
        assert_eq!(self.subchannel.start(&orb), ConditionCode::DONE);
        let (code, irb) = self.subchannel.test();
        assert_eq!(code, ConditionCode::DONE);
        irb.scsw
    }

    /// Gives one command with a data area of `length` bytes.
    pub fn give(&mut self, command: Command, flags: CcwFlags, length: u16) -> Answer {
        self.place(command, flags, length);
        let scsw = self.run();
        Answer {
            device: DeviceStatus(scsw.device_status),
            subchannel: SubchannelStatus(scsw.subchannel_status),
            residual: scsw.count.get(),
        }
    }

    /// Sends a structure with a command, of the correct length.
    pub fn send(&mut self, command: Command, structure: &[u8]) -> Answer {
        self.put(DATA.into(), structure);
        self.give(command, NONE, structure.len() as u16)
    }

    /// What BASIC SENSE says.
    pub fn sense(&mut self) -> Sense {
        assert_eq!(self.give(Command::BASIC_SENSE, NONE, SENSE_LEN as u16), DONE);
        let [first, rest @ ..] = self.get::<SENSE_LEN>(DATA.into());
        assert_eq!(rest, [0; SENSE_LEN - 1]);
        Sense(first)
    }

    pub fn set_revision(&mut self, revision: u16, length: u16) -> Answer {
        let info = RevInfo {
            revision: revision.into(),
            length: length.into(),
        };
        self.send(Command::SET_VIRTIO_REV, info.as_bytes())
    }

    pub fn status(&mut self) -> Status {
        assert_eq!(self.give(Command::READ_STATUS, NONE, 1), DONE);
        let [status] = self.get(DATA.into());
        Status(status)
    }

    pub fn set_status(&mut self, status: Status) -> Answer {
        self.send(Command::WRITE_STATUS, &[status.0])
    }

    pub fn read_features(&mut self, index: u8) -> u32 {
        assert_eq!(
            self.send(Command::READ_FEAT, &[0xff, 0xff, 0xff, 0xff, index]),
            DONE
        );
        u32::from_le_bytes(self.get(DATA.into()))
    }

    pub fn write_features(&mut self, index: u8, word: u32) -> Answer {
        let mut structure = word.to_le_bytes().to_vec();
        structure.push(index);
        self.send(Command::WRITE_FEAT, &structure)
    }

    /// Section 3.1.1 up to FEATURES_OK.
    pub fn negotiate(&mut self) {
        let features = self.guest.features;
        assert_eq!(self.give(Command::VDEV_RESET, NONE, 0), DONE);
        assert_eq!(self.set_status(Status::ACKNOWLEDGE), DONE);
        assert_eq!(self.set_status(Status::ACKNOWLEDGE | Status::DRIVER), DONE);
        for index in 0..4 {
            assert_eq!(self.write_features(index, features.word(index.into())), DONE);
        }
        assert_eq!(self.set_status(negotiated()), DONE);
    }

    pub fn set_vq(&mut self, index: u16, layout: Layout) -> Answer {
        let block = VqInfoBlock {
            desc: layout.descriptor_area.into(),
            // dev:ccw:configuring-a-virtqueue:01
            res0: u32::MAX.into(),
            index: index.into(),
            size: layout.size.into(),
            driver: layout.driver_area.into(),
            device: layout.device_area.into(),
        };
        self.send(Command::SET_VQ, block.as_bytes())
    }

    pub fn set_classic(&mut self) {
        assert_eq!(self.send(Command::SET_IND, &CLASSIC.to_be_bytes()), DONE);
        assert_eq!(self.send(Command::SET_CONF_IND, &CONFIG.to_be_bytes()), DONE);
    }

    /// A device that is live, with one virtqueue and no indicators.
    pub fn start(&mut self) -> Queue {
        self.negotiate();
        let queue = self.guest.queue(0, 16);
        assert_eq!(self.set_vq(0, queue.layout()), DONE);
        assert_eq!(self.set_status(live()), DONE);
        queue
    }

    /// Makes what was added available, and notifies.
    pub fn publish(&mut self, queue: &mut Queue) {
        if queue.publish_only() {
            self.subchannel.notify(queue.index().into());
        }
    }

    /// One request from submission to completion; `wait` waits for the notification.
    pub fn request(&mut self, queue: &mut Queue, length: usize, wait: impl Fn(&mut Self)) -> Completed {
        queue.add(&[], &[length]);
        self.publish(queue);
        loop {
            if let Some(completed) = queue.poll_or_arm() {
                return completed;
            }
            wait(self);
        }
    }
}

pub fn negotiated() -> Status {
    Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK
}

pub fn live() -> Status {
    negotiated() | Status::DRIVER_OK
}

/// Writes to a configuration space: offset and bytes of each.
pub type Writes = Vec<(usize, Vec<u8>)>;

/// A device with any number of virtqueues that it does nothing with, and a configuration space of which it remembers what
/// is written.
pub struct Fields {
    pub queues: usize,
    pub config: Vec<u8>,
    pub written: Arc<Mutex<Writes>>,
    pub outlet: Arc<Mutex<Option<crate::Outlet>>>,
}

impl Fields {
    pub fn new(queues: usize, config: &[u8]) -> Self {
        Self {
            queues,
            config: config.to_vec(),
            written: Arc::default(),
            outlet: Arc::default(),
        }
    }
}

impl Device for Fields {
    fn description(&self) -> Description {
        let queue = QueueDescription {
            max_size: 24,
            group: 0,
        };
        Description {
            device_type: &entropy::DEVICE,
            features: Features::bit(63) | Features::bit(127),
            queues: vec![queue; self.queues],
            config_size: self.config.len(),
            shared_memory: Vec::new(),
        }
    }

    fn config(&self) -> Vec<u8> {
        self.config.clone()
    }

    /// The first 4 bytes are read-only.
    fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        let length = data.len();
        if offset < 4 {
            return Err(ConfigError::ReadOnly { offset, length });
        }
        self.written.lock().unwrap().push((offset, data.to_vec()));
        self.config[offset..offset + length].copy_from_slice(data);
        Ok(())
    }

    fn worker(&mut self, _group: usize, session: &Session) -> Result<Box<dyn Worker>, DeviceError> {
        *self.outlet.lock().unwrap() = Some(session.outlet.clone());
        Ok(Box::new(Idle))
    }
}

struct Idle;

impl Worker for Idle {
    fn queue_ready(&mut self, _context: &mut crate::Context, _queue: u16) -> Result<(), DeviceError> {
        Ok(())
    }
}

/// Interruptions that are pending, and how many there have been.
#[derive(Default)]
pub struct Interrupts {
    state: Mutex<Pending>,
    changed: Condvar,
}

#[derive(Clone, Debug, Default)]
pub struct Pending {
    pub interruption: Option<Interruption>,
    pub count: usize,
    pub adapter: Vec<u8>,
}

impl Interrupts {
    pub fn pending(&self) -> Pending {
        self.state.lock().unwrap().clone()
    }

    /// Waits for an I/O interruption, and takes it.
    pub fn wait(&self) -> Interruption {
        self.wait_for(|pending| pending.interruption.take())
    }

    /// Waits for an adapter I/O interruption, and takes it.
    pub fn wait_adapter(&self) -> u8 {
        self.wait_for(|pending| pending.adapter.pop())
    }

    fn wait_for<T>(&self, mut take: impl FnMut(&mut Pending) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.lock().unwrap();
        loop {
            if let Some(taken) = take(&mut state) {
                return taken;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no interruption in time");
            state = self.changed.wait_timeout(state, left).unwrap().0;
        }
    }
}

impl ChannelInterrupts for Interrupts {
    fn interrupt(&self, interruption: Interruption) {
        let mut state = self.state.lock().unwrap();
        state.interruption = Some(interruption);
        state.count += 1;
        self.changed.notify_all();
    }

    fn withdraw(&self, subchannel: u32) {
        let mut state = self.state.lock().unwrap();
        if state
            .interruption
            .is_some_and(|pending| pending.subchannel == subchannel)
        {
            state.interruption = None;
        }
    }

    fn adapter_interrupt(&self, subclass: u8) {
        self.state.lock().unwrap().adapter.push(subclass);
        self.changed.notify_all();
    }
}
