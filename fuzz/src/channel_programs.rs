//! A hostile guest against a device on a subchannel: instructions, channel programs, hostile virtqueues behind them, and
//! saved states that are damaged.

use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use ringwright_device::Device;
use ringwright_device::block::{self, Block};
use ringwright_device::entropy::{self, Entropy};
use ringwright_device::transport::ccw::{
    ChannelInterrupts, ChannelSubsystem, Interruption, Options, Subchannel,
};
use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, Layout, State};
use ringwright_spec::ccw::channel::{
    Ccw0, Ccw1, CcwFlags, ConditionCode, Irb, Orb, OrbControl, PmcwFlags, ScswControl, SubchannelStatus,
};
use ringwright_spec::ccw::{
    Command, DIAGNOSE_NOTIFY, FeatureDesc, RevInfo, Revision, ThinintArea, VqConfigBlock, VqInfoBlock,
    VqInfoBlockLegacy,
};
use ringwright_spec::{Features, Status, feature};
use zerocopy::IntoBytes;

use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 100;
/// How long the device may take for a buffer before the story goes on.
const PATIENCE: Duration = Duration::from_millis(1);
/// Length of the main region.
const LENGTH: usize = 1 << 16;
/// Bytes of the main region that each virtqueue has.
const QUEUE_SPACE: u64 = 0x2000;
/// Virtqueues that commands are about as a rule; devices have fewer.
const QUEUES: u64 = 3;
/// Where programs are, and the data of those that are as they should be.
const PROGRAMS: u64 = MAIN + 0x8000;
const DATA: u64 = MAIN + 0xa000;
/// Where indicators are.
const INDICATORS: u64 = MAIN + 0xb000;

/// Plays `input` and panics where the device does not end a program, or is of no use to the next driver.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    let mut play = Play::new(&mut script);
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        play.act(&mut script);
    }
    play.end();
}

/// A guest and its subchannel.
struct Play {
    subsystem: ChannelSubsystem,
    id: u32,
    interrupts: Arc<Interrupts>,
    guest: Guest,
    drivers: Vec<Driver>,
    disk: bool,
    options: Options,
}

impl Play {
    fn new(script: &mut Script<'_>) -> Self {
        let [disk, transitional, low_revision] = script.flags();
        let options = Options {
            subchannel: 9,
            transitional,
            max_revision: if low_revision {
                Revision::VIRTIO_1
            } else {
                Revision::READ_STATUS
            },
            ..Options::default()
        };
        let interrupts = Arc::new(Interrupts::default());
        let guest = Guest::new(LENGTH, ByteOrder::Little);
        let mut subchannel =
            Subchannel::new(device(disk), options.clone(), interrupts.clone()).expect("the device is sound");
        subchannel.set_memory(Arc::new(guest.memory().clone()));
        let id = subchannel.id();
        let mut subsystem = ChannelSubsystem::new();
        subsystem.attach(subchannel).expect("there is no other");
        let mut play = Self {
            subsystem,
            id,
            interrupts,
            guest,
            drivers: Vec::new(),
            disk,
            options,
        };
        play.enable();
        play
    }

    fn subchannel(&mut self) -> &mut Subchannel {
        self.subsystem.subchannel(self.id).expect("it is attached")
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.below(16) {
            0 | 1 => self.any_program(script),
            2 | 3 => self.any_command(script),
            4 | 5 => self.initialize(script),
            6..=8 => self.use_queue(script),
            9 => {
                for driver in &self.drivers {
                    self.guest.scribble(script, &driver.layout, driver.packed);
                }
            }
            10 => self.guest.write64(self.guest.address(script), script.u64()),
            11 => self.instruction(script),
            12 => self.diagnose(script),
            13 => self.snapshot(script),
            14 => self.replace_memory(script),
            _ => self.enable(),
        }
    }

    /// Words of any kind, which are then carried out.
    fn any_program(&mut self, script: &mut Script<'_>) {
        let [format_1, suspend, indirect, blocks, odd, no_path, modes] = script.flags();
        for number in 0..1 + script.below(6) {
            let command = match script.u8() {
                odd @ 200.. => odd,
                known => Command::ALL[usize::from(known) % Command::ALL.len()].0.0,
            };
            let flags = match script.u8() % 8 {
                0 => script.u8(),
                1 => CcwFlags::CHAIN_DATA.0,
                2 => 0,
                3 => CcwFlags::INDIRECT.0,
                _ => CcwFlags::CHAIN_COMMAND.0 | CcwFlags::SUPPRESS_LENGTH.0,
            };
            let count = script.any_u32() as u16;
            let address = self.data_address(script);
            // In a link of format 1 nothing else may be set.
            let (flags, count) =
                match command == Command::TRANSFER_IN_CHANNEL.0 && !script.u8().is_multiple_of(4) {
                    true => (0, 0),
                    false => (flags, count),
                };
            let place = PROGRAMS + number * 8;
            if format_1 {
                let word = Ccw1 {
                    command,
                    flags,
                    count: count.into(),
                    data_address: address.into(),
                };
                self.write(place, word.as_bytes());
            } else {
                let [_, high, middle, low] = address.to_be_bytes();
                let word = Ccw0 {
                    command,
                    data_address: [high, middle, low],
                    flags,
                    reserved: 0,
                    count: count.into(),
                };
                self.write(place, word.as_bytes());
            }
        }
        let mut control = OrbControl::NONE;
        for (chosen, bit) in [
            (format_1, OrbControl::FORMAT_1),
            (suspend, OrbControl::SUSPEND),
            (indirect, OrbControl::FORMAT_2_IDAW),
            (blocks, OrbControl::BLOCKS_OF_2K),
        ] {
            if chosen {
                control = control | bit;
            }
        }
        let control = control.0 ^ if odd { script.u16() } else { 0 };
        let start = match script.u8() % 8 {
            0 => script.u32(),
            1 => self.data_address(script),
            _ => PROGRAMS as u32,
        };
        let orb = Orb {
            interruption_parameter: 1.into(),
            control: control.into(),
            logical_path_mask: if no_path { script.u8() } else { 0xff },
            modes: if modes { script.u8() } else { 0 },
            channel_program: start.into(),
        };
        // Nothing can be started while the status of something else is pending.
        if !script.u8().is_multiple_of(8) {
            self.subchannel().test();
        }
        self.start(&orb);
    }

    /// A command with a structure that fits it, here and there with something else in it.
    fn any_command(&mut self, script: &mut Script<'_>) {
        let command = Command::ALL[script.index(Command::ALL.len())].0;
        let queue = script.below(QUEUES) as u16;
        let mut data = match command {
            Command::SET_VQ => {
                let [packed] = script.flags();
                self.vq_info(guest::layout(8, packed), queue)
            }
            Command::SET_IND | Command::SET_CONF_IND => self.guest.address(script).to_be_bytes().to_vec(),
            Command::SET_IND_ADAPTER => {
                let area = ThinintArea {
                    summary_indicator: self.guest.address(script).into(),
                    indicator: self.guest.address(script).into(),
                    bit_nr: u64::from(script.any_u32()).into(),
                    isc: script.u8() % 9,
                };
                area.as_bytes().to_vec()
            }
            Command::READ_FEAT | Command::WRITE_FEAT => feature_desc(script.u8() % 5, script.u32()),
            Command::WRITE_STATUS => vec![script.u8()],
            Command::READ_STATUS => vec![0],
            Command::READ_VQ_CONF => {
                let block = VqConfigBlock {
                    index: queue.into(),
                    max_queue_size: 0.into(),
                };
                block.as_bytes().to_vec()
            }
            Command::SET_VIRTIO_REV => revision(script.u8() % 4),
            Command::READ_CONF | Command::WRITE_CONF => (0..script.index(100)).map(|_| script.u8()).collect(),
            _ => vec![0; script.index(40)],
        };
        if script.u8().is_multiple_of(8) && !data.is_empty() {
            let place = script.index(data.len());
            data[place] = script.u8();
        }
        if script.u8().is_multiple_of(8) {
            data.resize(script.index(64), 0xee);
        }
        self.give(command, &data);
    }

    /// All that brings a device up, as a decent driver gives it, with here and there something else.
    fn initialize(&mut self, script: &mut Script<'_>) {
        let [legacy, packed, event_idx, indirect, two_stage, odd, again] = script.flags();
        if again {
            self.disable();
            self.enable();
        }
        let packed = packed && !legacy;
        let mut features = if legacy {
            Features::NONE
        } else {
            feature::VERSION_1
        };
        for (chosen, bit) in [
            (packed, feature::RING_PACKED),
            (event_idx, feature::EVENT_IDX),
            (indirect, feature::INDIRECT_DESC),
        ] {
            if chosen {
                features = features | bit;
            }
        }
        self.give(
            Command::SET_VIRTIO_REV,
            &revision(if legacy { 0 } else { 1 + script.u8() % 2 }),
        );
        self.give(Command::VDEV_RESET, &[]);
        self.drivers.clear();
        let mut status = Status::ACKNOWLEDGE | Status::DRIVER;
        self.give(Command::WRITE_STATUS, &[status.0]);
        for index in 0..4 {
            let word = features.word(index)
                ^ if odd && script.u8().is_multiple_of(4) {
                    script.u32()
                } else {
                    0
                };
            self.give(Command::WRITE_FEAT, &feature_desc(index as u8, word));
        }
        if !legacy {
            status = status | Status::FEATURES_OK;
            self.give(Command::WRITE_STATUS, &[status.0]);
        }
        for index in 0..QUEUES {
            let layout = match legacy {
                true => {
                    Layout::in_one_piece(MAIN + index * QUEUE_SPACE, 8, 4096).expect("a legacy virtqueue")
                }
                false => guest::shift(guest::layout(8, packed), index * QUEUE_SPACE),
            };
            let block = match legacy {
                true => {
                    let block = VqInfoBlockLegacy {
                        queue: layout.descriptor_area.into(),
                        align: 4096.into(),
                        index: (index as u16).into(),
                        size: 8.into(),
                    };
                    block.as_bytes().to_vec()
                }
                false => self.vq_info(layout, index as u16),
            };
            self.give(Command::SET_VQ, &block);
            self.drivers.push(Driver::new(layout, packed, State::default()));
        }
        if two_stage {
            let area = ThinintArea {
                summary_indicator: INDICATORS.into(),
                indicator: (INDICATORS + 8).into(),
                bit_nr: u64::from(script.u8()).into(),
                isc: 1,
            };
            self.give(Command::SET_IND_ADAPTER, area.as_bytes());
        } else {
            self.give(Command::SET_IND, &INDICATORS.to_be_bytes());
        }
        self.give(Command::SET_CONF_IND, &(INDICATORS + 16).to_be_bytes());
        self.give(Command::WRITE_STATUS, &[(status | Status::DRIVER_OK).0]);
    }

    /// Makes buffers available, notifies, and waits a little for the device.
    fn use_queue(&mut self, script: &mut Script<'_>) {
        let count = self.drivers.len();
        if count == 0 {
            return;
        }
        let index = script.index(count);
        for _ in 0..=script.below(4) {
            self.drivers[index].offer(&self.guest, script, true);
        }
        let before = self.interrupts.count();
        self.subchannel().notify(index as u64);
        self.interrupts.wait(before);
        if script.u8().is_multiple_of(2) {
            self.subchannel().test();
            self.write(INDICATORS, &[0; 24]);
        }
    }

    fn instruction(&mut self, script: &mut Script<'_>) {
        let kind = script.u8() % 6;
        let subchannel = self.subchannel();
        match kind {
            0 => _ = subchannel.halt(),
            1 => _ = subchannel.clear(),
            2 => _ = subchannel.cancel(),
            3 => _ = subchannel.resume_program(),
            4 => _ = subchannel.test(),
            _ => {
                let mut schib = subchannel.store();
                schib
                    .as_mut_bytes()
                    .iter_mut()
                    .for_each(|byte| *byte ^= script.u8());
                subchannel.modify(&schib);
            }
        }
    }

    fn diagnose(&mut self, script: &mut Script<'_>) {
        let mut registers = [0; 16];
        registers[1] = DIAGNOSE_NOTIFY;
        registers[2] = u64::from(self.id)
            ^ if script.u8().is_multiple_of(4) {
                script.u64()
            } else {
                0
            };
        registers[3] = script.any_u32().into();
        registers[4] = script.u64();
        self.subsystem.diagnose(&mut registers);
    }

    /// Moves the device to another model, perhaps with damage.
    fn snapshot(&mut self, script: &mut Script<'_>) {
        let (disk, options, interrupts) = (self.disk, self.options.clone(), self.interrupts.clone());
        let memory = Arc::new(self.guest.memory().clone());
        let subchannel = self.subchannel();
        subchannel.pause();
        let mut state = subchannel.save().expect("it is paused");
        let damaged = script.u8().is_multiple_of(2);
        if damaged {
            let place = script.index(state.len());
            state[place] ^= script.u8();
            state.truncate(state.len() - script.index(2));
        }
        let mut successor = Subchannel::new(device(disk), options, interrupts).expect("the device is sound");
        successor.set_memory(memory);
        let restored = successor.restore(&state);
        assert!(damaged || restored.is_ok(), "{restored:?}");
        successor.resume();
        self.subsystem.detach(self.id);
        self.subsystem.attach(successor).expect("there is no other");
    }

    /// The guest loses memory, or gets it back.
    fn replace_memory(&mut self, script: &mut Script<'_>) {
        let missing = script.index(8);
        let regions = self.guest.regions.iter().enumerate();
        let regions = regions.filter(|(index, _)| *index != missing);
        let regions = regions.map(|(_, region)| region.clone()).collect();
        let memory = Memory::new(regions).expect("they were fine before");
        self.subchannel().set_memory(Arc::new(memory));
    }

    fn enable(&mut self) {
        self.subchannel().test();
        let mut schib = self.subchannel().store();
        schib.pmcw.flags = (schib.pmcw.flags.get() | PmcwFlags::ENABLED.0).into();
        self.subchannel().modify(&schib);
    }

    fn disable(&mut self) {
        self.subchannel().test();
        let mut schib = self.subchannel().store();
        schib.pmcw.flags = (schib.pmcw.flags.get() & !PmcwFlags::ENABLED.0).into();
        self.subchannel().modify(&schib);
    }

    /// Gives one command, and takes its status.
    fn give(&mut self, command: Command, data: &[u8]) -> Irb {
        self.write(DATA, data);
        let word = Ccw1 {
            command: command.0,
            flags: CcwFlags::SUPPRESS_LENGTH.0,
            count: (data.len() as u16).into(),
            data_address: (DATA as u32).into(),
        };
        self.write(PROGRAMS, word.as_bytes());
        let orb = Orb {
            control: OrbControl::FORMAT_1.0.into(),
            logical_path_mask: 0xff,
            channel_program: (PROGRAMS as u32).into(),
            ..Orb::default()
        };
        self.subchannel().test();
        self.start(&orb);
        self.subchannel().test().1
    }

    /// Starts a program: it ends, or is suspended, before this returns.
    fn start(&mut self, orb: &Orb) {
        let subchannel = self.subchannel();
        if subchannel.start(orb) != ConditionCode::DONE {
            return;
        }
        let control = ScswControl(subchannel.store().scsw.control.get());
        assert!(
            control.intersects(ScswControl::STATUS_PENDING | ScswControl::SUSPENDED),
            "{control:?}"
        );
        assert!(!control.contains(ScswControl::START_PENDING), "{control:?}");
    }

    /// Whatever has happened, the next driver finds a device as it should be.
    fn end(mut self) {
        let memory = Arc::new(self.guest.memory().clone());
        let subchannel = self.subchannel();
        subchannel.reset();
        subchannel.set_memory(memory);
        self.enable();
        let status = |irb: Irb| {
            let status = (
                irb.scsw.device_status,
                SubchannelStatus(irb.scsw.subchannel_status),
            );
            assert_eq!(status, (0x0c, SubchannelStatus::NONE), "{irb:?}");
        };
        status(self.give(Command::NO_OPERATION, &[]));
        status(self.give(Command::SET_VIRTIO_REV, &revision(1)));
        status(self.give(Command::READ_FEAT, &feature_desc(1, 0)));
        let mut word = [0];
        self.guest
            .memory()
            .read(DATA, &mut word)
            .expect("the main region is there");
        assert_eq!(word[0] & 1, 1, "VERSION_1 is offered");
        status(self.give(Command::WRITE_STATUS, &[Status::ACKNOWLEDGE.0]));
        status(self.give(Command::VDEV_RESET, &[]));
    }

    fn vq_info(&self, layout: Layout, index: u16) -> Vec<u8> {
        let block = VqInfoBlock {
            desc: layout.descriptor_area.into(),
            res0: 0.into(),
            index: index.into(),
            size: layout.size.into(),
            driver: layout.driver_area.into(),
            device: layout.device_area.into(),
        };
        block.as_bytes().to_vec()
    }

    fn data_address(&self, script: &mut Script<'_>) -> u32 {
        match script.u8() % 4 {
            0 => self.guest.address(script) as u32,
            1 => PROGRAMS as u32 + 8 * script.below(8) as u32,
            _ => DATA as u32 + script.below(0x800) as u32,
        }
    }

    fn write(&self, address: u64, bytes: &[u8]) {
        self.guest
            .memory()
            .write(address, bytes)
            .expect("the main region is there");
    }
}

fn device(disk: bool) -> Box<dyn Device> {
    if !disk {
        return Box::new(Entropy::new(Arc::new(entropy::backend::Os)));
    }
    let disk = block::backend::Memory::new(1 << 16).expect("a small disk");
    let options = block::Options {
        queues: 2,
        ..block::Options::default()
    };
    Box::new(Block::new(Arc::new(disk), options).expect("options of any disk"))
}

fn revision(revision: u8) -> Vec<u8> {
    let info = RevInfo {
        revision: u16::from(revision).into(),
        length: 0.into(),
    };
    info.as_bytes().to_vec()
}

fn feature_desc(index: u8, word: u32) -> Vec<u8> {
    let block = FeatureDesc {
        features: word.into(),
        index,
    };
    block.as_bytes().to_vec()
}

/// Counts the interruptions.
#[derive(Default)]
struct Interrupts {
    count: Mutex<usize>,
    changed: Condvar,
}

impl Interrupts {
    fn count(&self) -> usize {
        *self.count.lock().expect("nobody panics")
    }

    /// Waits a little for more than `before`.
    fn wait(&self, before: usize) {
        let count = self.count.lock().expect("nobody panics");
        let waited = self
            .changed
            .wait_timeout_while(count, PATIENCE, |count| *count == before);
        drop(waited.expect("nobody panics"));
    }

    fn add(&self) {
        *self.count.lock().expect("nobody panics") += 1;
        self.changed.notify_all();
    }
}

impl ChannelInterrupts for Interrupts {
    fn interrupt(&self, _interruption: Interruption) {
        self.add();
    }

    fn withdraw(&self, _subchannel: u32) {}

    fn adapter_interrupt(&self, _subclass: u8) {
        self.add();
    }
}
