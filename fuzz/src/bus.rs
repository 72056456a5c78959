//! A hostile driver against the models of registers: what Virtio over MMIO and over PCI have in common.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ringwright_device::Device;
use ringwright_device::block::{self, Block};
use ringwright_device::entropy::{self, Entropy};
use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, Layout, State};
use ringwright_spec::{Features, Status, feature};

use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 60;
/// Longer silence than this is a hang.
const DEADLINE: Duration = Duration::from_secs(8);
/// How long the device may take for a buffer before the story goes on.
const PATIENCE: Duration = Duration::from_millis(1);
/// Length of the main region.
const LENGTH: usize = 1 << 16;
/// Bytes of the main region that each virtqueue has.
const QUEUE_SPACE: u64 = 0x4000;
/// Virtqueues that accesses are about as a rule; devices have fewer.
const QUEUES: u64 = 3;

/// A model of registers, as far as both kinds are the same.
pub trait Model {
    /// The guest's memory.
    fn set_memory(&mut self, memory: Arc<Memory>);
    /// Any access, however wrong.
    fn access(&mut self, script: &mut Script<'_>);
    /// Reads the status.
    fn status(&mut self) -> Status;
    /// Writes the status.
    fn set_status(&mut self, status: Status);
    /// Accepts features.
    fn set_features(&mut self, features: Features);
    /// The queue size, where the driver cannot choose it.
    fn fixed_size(&self) -> Option<u16> {
        None
    }
    /// Sets up a virtqueue and enables it.
    fn enable(&mut self, queue: u16, layout: Layout);
    /// Resets one virtqueue.
    fn reset_queue(&mut self, queue: u16);
    /// Notifies the device of buffers.
    fn notify(&mut self, queue: u16);
    /// Takes what interrupts there are.
    fn acknowledge(&mut self);
    /// Goes on as another model of the same device, perhaps with a state that was changed on the way.
    fn move_on(&mut self, script: &mut Script<'_>);
    /// A reset from outside, which makes everything usable again.
    fn reset(&mut self);
    /// What holds whatever the driver has done.
    fn check(&mut self);
}

/// The monitor's end of the interrupts.
#[derive(Default)]
pub struct Interrupts {
    level: Mutex<Level>,
    changed: Condvar,
}

#[derive(Default)]
struct Level {
    asserted: bool,
    messages: u64,
}

impl Interrupts {
    /// The line changes.
    pub fn set(&self, asserted: bool) {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        assert_ne!(level.asserted, asserted, "the line is set to what it is");
        level.asserted = asserted;
        self.changed.notify_all();
    }

    /// A message is sent.
    pub fn send(&self) {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).messages += 1;
        self.changed.notify_all();
    }

    /// Whether the line is asserted.
    pub fn is_asserted(&self) -> bool {
        self.level.lock().unwrap_or_else(PoisonError::into_inner).asserted
    }

    /// Waits a little for anything to happen.
    fn wait(&self) {
        let level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        let messages = level.messages;
        let unchanged = |level: &mut Level| !level.asserted && level.messages == messages;
        let _timeout = self.changed.wait_timeout_while(level, PATIENCE, unchanged);
    }
}

/// A device that the script chooses.
pub fn device(choice: u8) -> Box<dyn Device> {
    if choice.is_multiple_of(2) {
        return Box::new(Entropy::new(Arc::new(entropy::backend::Os)));
    }
    let disk = block::backend::Memory::new(1 << 16).expect("a small disk");
    let options = block::Options {
        queues: 2,
        ..block::Options::default()
    };
    Box::new(Block::new(Arc::new(disk), options).expect("options of any disk"))
}

/// Plays the script, and then a driver by the rules, which is to be served.
pub fn play(script: &mut Script<'_>, model: &mut dyn Model, interrupts: &Interrupts, order: ByteOrder) {
    let mut play = Play {
        guest: Guest::new(LENGTH, order),
        drivers: Vec::new(),
        packed: false,
    };
    model.set_memory(play.memory());
    for _ in 0..MAX_ACTIONS {
        if script.is_empty() {
            break;
        }
        play.act(script, model, interrupts);
        model.check();
    }
    model.reset();
    assert_eq!(model.status(), Status::NONE);
    assert!(!interrupts.is_asserted(), "an interrupt survives a reset");
    model.set_memory(play.memory());
    play.serve_one(model);
}

/// A guest and the drivers of its virtqueues.
struct Play {
    guest: Guest,
    drivers: Vec<(u16, Driver)>,
    packed: bool,
}

impl Play {
    fn memory(&self) -> Arc<Memory> {
        let regions = self.guest.regions.to_vec();
        Arc::new(Memory::new(regions).expect("the regions do not overlap"))
    }

    fn act(&mut self, script: &mut Script<'_>, model: &mut dyn Model, interrupts: &Interrupts) {
        match script.u8() % 20 {
            0..=5 => model.access(script),
            6 => self.initialize(script, model),
            7 | 8 => self.enable(script, model),
            9..=12 => self.use_queue(script, model, interrupts),
            13 => {
                for (_, driver) in &self.drivers {
                    self.guest.scribble(script, &driver.layout, driver.packed);
                }
            }
            14 => self.guest.write64(self.guest.address(script), script.u64()),
            15 => model.set_status(Status(script.u8())),
            16 => model.reset_queue(script.below(QUEUES) as u16),
            17 => model.acknowledge(),
            18 => {
                model.move_on(script);
                model.set_memory(self.memory());
            }
            _ => self.change_memory(script, model),
        }
    }

    /// What every driver does, with here and there something else.
    fn initialize(&mut self, script: &mut Script<'_>, model: &mut dyn Model) {
        let [
            packed,
            event_idx,
            indirect,
            in_order,
            ring_reset,
            suspend,
            odd,
            with_data,
        ] = script.flags();
        let mut features = feature::VERSION_1;
        for (chosen, bit) in [
            (packed, feature::RING_PACKED),
            (event_idx, feature::EVENT_IDX),
            (indirect, feature::INDIRECT_DESC),
            (in_order, feature::IN_ORDER),
            (ring_reset, feature::RING_RESET),
            (suspend, feature::SUSPEND),
            (with_data, feature::NOTIFICATION_DATA),
        ] {
            if chosen {
                features = features | bit;
            }
        }
        if odd {
            features = features | Features(u128::from(script.u64()));
        }
        self.packed = packed;
        self.drivers.clear();
        model.set_status(Status::NONE);
        model.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        model.set_features(features);
        model.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
        for queue in 0..script.below(QUEUES) as u16 {
            self.start(model, queue, 8);
        }
        if !script.u8().is_multiple_of(4) {
            let status = model.status();
            model.set_status(status | Status::DRIVER_OK);
        }
    }

    fn enable(&mut self, script: &mut Script<'_>, model: &mut dyn Model) {
        let queue = script.below(QUEUES) as u16;
        let size = if script.u8().is_multiple_of(4) {
            script.u16()
        } else {
            8
        };
        self.start(model, queue, size);
    }

    fn start(&mut self, model: &mut dyn Model, queue: u16, size: u16) {
        let layout = place(queue, model.fixed_size().unwrap_or(size), self.packed);
        model.enable(queue, layout);
        self.drivers.retain(|(other, _)| *other != queue);
        self.drivers
            .push((queue, Driver::new(layout, self.packed, State::default())));
    }

    /// Makes buffers available, notifies, and waits a little for the device.
    fn use_queue(&mut self, script: &mut Script<'_>, model: &mut dyn Model, interrupts: &Interrupts) {
        let count = self.drivers.len();
        if count == 0 {
            return;
        }
        let (queue, driver) = &mut self.drivers[script.index(count)];
        for _ in 0..=script.below(4) {
            driver.offer(&self.guest, script, true);
        }
        model.notify(*queue);
        interrupts.wait();
    }

    /// Some of the regions are gone, or back.
    fn change_memory(&self, script: &mut Script<'_>, model: &mut dyn Model) {
        let keep: [bool; 4] = script.flags();
        let regions = self.guest.regions.iter().zip(keep);
        let regions = regions
            .filter(|(_, keep)| *keep)
            .map(|(region, _)| region.clone());
        model.set_memory(Arc::new(
            Memory::new(regions.collect()).expect("fewer regions do not overlap"),
        ));
    }

    /// One buffer that every device writes to, or refuses with its status.
    fn serve_one(&self, model: &mut dyn Model) {
        let layout = place(0, model.fixed_size().unwrap_or(8), false);
        let memory = self.guest.memory();
        let zeroes = [0; QUEUE_SPACE as usize];
        memory.write(MAIN, &zeroes).expect("the main region is there");
        model.set_status(Status::ACKNOWLEDGE | Status::DRIVER);
        model.set_features(feature::VERSION_1);
        model.set_status(Status::ACKNOWLEDGE | Status::DRIVER | Status::FEATURES_OK);
        model.enable(0, layout);
        let status = model.status();
        model.set_status(status | Status::DRIVER_OK);
        self.guest
            .write64(layout.descriptor_area, MAIN + LENGTH as u64 - 64);
        self.guest.write32(layout.descriptor_area + 8, 64);
        self.guest.write16(layout.descriptor_area + 12, 2);
        self.guest.write16(layout.driver_area + 2, 1);
        model.notify(0);
        let deadline = Instant::now() + DEADLINE;
        let mut used = [0; 2];
        while used == [0; 2] {
            assert!(
                Instant::now() < deadline,
                "the next driver is not served: {:?}",
                model.status()
            );
            std::thread::yield_now();
            memory
                .read(layout.device_area + 2, &mut used)
                .expect("the main region is there");
        }
    }
}

/// A virtqueue of its own place in the main region, in one piece where that is a legacy driver's.
fn place(queue: u16, size: u16, packed: bool) -> Layout {
    let start = MAIN + u64::from(queue) * QUEUE_SPACE;
    if !packed && let Some(layout) = Layout::in_one_piece(start, size, 4096) {
        return layout;
    }
    let layout = guest::layout(size, packed);
    let shift = start - MAIN;
    Layout {
        size,
        descriptor_area: layout.descriptor_area + shift,
        driver_area: layout.driver_area + shift,
        device_area: layout.device_area + shift,
    }
}

/// An offset where nothing is, or no offset at all.
pub fn far(script: &mut Script<'_>) -> u64 {
    match script.u8() % 4 {
        0 => script.u64(),
        1 => u64::MAX - u64::from(script.u8()),
        _ => script.below(0x1_0000),
    }
}

/// A state that was saved, with a byte changed or cut where the script says so.
pub fn tamper(script: &mut Script<'_>, mut state: Vec<u8>) -> Vec<u8> {
    match script.u8() % 4 {
        0 => {
            let index = script.index(state.len().max(1));
            if let Some(byte) = state.get_mut(index) {
                *byte ^= script.u8();
            }
        }
        1 => state.truncate(script.index(state.len() + 1)),
        _ => {}
    }
    state
}
