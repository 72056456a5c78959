//! Random operations on both ends of a virtqueue, against a model of what each must see. `RINGWRIGHT_CASES` sets how many
//! random virtqueues are tried, of up to 600 operations each: 10000 make well over a million operations.

mod common;

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Shared, pieces};
use proptest::prelude::*;
use ringwright_memory::{Buffer, DmaSegment, Slices};
use ringwright_ring::{AddRefusal, ByteOrder, DeviceQueue, DriverOptions, DriverQueue, State, Token, Used};
use ringwright_spec::{Features, feature};

#[derive(Clone, Copy, Debug)]
enum Operation {
    Add {
        readable: usize,
        writable: usize,
    },
    /// So many buffers of one shape, but one of them, if it is there, of another.
    AddAll {
        count: usize,
        shape: Shape,
        odd: (usize, Shape),
    },
    DriverPublish,
    DriverPop,
    TakeUsed {
        limit: u16,
    },
    DriverNotifications(bool),
    Take,
    PushBack,
    Complete {
        which: usize,
        part: u32,
    },
    Serve {
        limit: u16,
        part: u32,
        put_off: usize,
    },
    DevicePublish,
    DeviceNotifications(bool),
    Restore,
}

/// Device-readable and device-writable elements.
type Shape = (usize, usize);

impl Operation {
    /// Whether it is the driver end's.
    fn is_drivers(self) -> bool {
        matches!(
            self,
            Self::Add { .. }
                | Self::AddAll { .. }
                | Self::DriverPublish
                | Self::DriverPop
                | Self::TakeUsed { .. }
                | Self::DriverNotifications(_)
        )
    }
}

/// How many operations were done, by format and end.
static DONE: [[AtomicU64; 2]; 2] = [const { [const { AtomicU64::new(0) }; 2] }; 2];

fn operation() -> impl Strategy<Value = Operation> {
    let shape = || (0..5_usize, 0..5_usize);
    prop_oneof![
        8 => shape().prop_map(|(readable, writable)| Operation::Add { readable, writable }),
        4 => (0..10_usize, shape(), (0..20_usize, shape())).prop_map(|(count, shape, odd)| {
            Operation::AddAll { count, shape, odd }
        }),
        4 => Just(Operation::DriverPublish),
        8 => Just(Operation::DriverPop),
        4 => (0..12_u16).prop_map(|limit| Operation::TakeUsed { limit }),
        2 => any::<bool>().prop_map(Operation::DriverNotifications),
        8 => Just(Operation::Take),
        1 => Just(Operation::PushBack),
        8 => (any::<usize>(), 0..4_u32).prop_map(|(which, part)| Operation::Complete { which, part }),
        4 => (0..12_u16, 0..4_u32, 0..20_usize).prop_map(|(limit, part, put_off)| {
            Operation::Serve { limit, part, put_off }
        }),
        4 => Just(Operation::DevicePublish),
        2 => any::<bool>().prop_map(Operation::DeviceNotifications),
        1 => Just(Operation::Restore),
    ]
}

/// Everything that is chosen when a virtqueue is set up.
#[derive(Clone, Copy, Debug)]
struct Setup {
    size: u16,
    features: Features,
    indirect: u16,
    order: ByteOrder,
}

fn setup() -> impl Strategy<Value = Setup> {
    let bits = [
        feature::EVENT_IDX,
        feature::IN_ORDER,
        feature::INDIRECT_DESC,
        feature::ORDER_PLATFORM,
    ];
    (any::<bool>(), 1..34_u16, 0..16_usize, 0..9_u16, 0..8_u8).prop_map(
        move |(packed, size, set, indirect, old)| {
            let chosen = bits
                .iter()
                .enumerate()
                .filter(|(bit, _)| set >> bit & 1 != 0)
                .map(|(_, feature)| *feature);
            let features = chosen.fold(Features::NONE, Features::union);
            if packed {
                let features = features | feature::VERSION_1 | feature::RING_PACKED;
                return Setup {
                    size,
                    features,
                    indirect,
                    order: ByteOrder::Little,
                };
            }
            let size = size.next_power_of_two();
            match old {
                0 => Setup {
                    size,
                    features,
                    indirect,
                    order: ByteOrder::Big,
                },
                1 => Setup {
                    size,
                    features,
                    indirect,
                    order: ByteOrder::Little,
                },
                _ => Setup {
                    size,
                    features: features | feature::VERSION_1,
                    indirect,
                    order: ByteOrder::Little,
                },
            }
        },
    )
}

/// What one end wishes to be told of.
#[derive(Clone, Copy, Debug)]
enum Wish {
    /// Every batch.
    Every,
    /// The batch with what has this position (event index).
    At(u64),
    /// None.
    None,
}

/// How far something has come in the ring: in entries (split) or descriptors (packed), from the beginning of time.
#[derive(Clone, Copy, Debug, Default)]
struct Progress(u64);

impl Setup {
    fn packed(&self) -> bool {
        self.features.contains(feature::RING_PACKED)
    }

    fn event_idx(&self) -> bool {
        self.features.contains(feature::EVENT_IDX)
    }

    /// How much of the ring a buffer takes that occupies so many descriptors.
    fn units(&self, descriptors: u16) -> u64 {
        if self.packed() { descriptors.into() } else { 1 }
    }

    /// After how many units positions look the same.
    fn period(&self) -> u64 {
        if self.packed() {
            2 * u64::from(self.size)
        } else {
            1 << 16
        }
    }

    /// What an end wishes that never said so: event suppression structures of zeros ask for everything, event indices of
    /// zeros for the first buffer.
    fn initial(&self) -> Wish {
        if self.event_idx() && !self.packed() {
            Wish::At(0)
        } else {
            Wish::Every
        }
    }

    fn enabled(&self, next: Progress) -> Wish {
        if self.event_idx() {
            Wish::At(next.0)
        } else {
            Wish::Every
        }
    }

    fn disabled(&self, next: Progress) -> Wish {
        match (self.event_idx(), self.packed()) {
            (true, false) => Wish::At(next.0 + self.period() - 1),
            _ => Wish::None,
        }
    }

    /// Whether going on from `published` by `units` must notify an end with this wish.
    fn notifies(&self, wish: Wish, published: &mut Progress, units: u64) -> bool {
        let mut range = published.0..published.0 + units;
        published.0 = range.end;
        match wish {
            Wish::Every => units != 0,
            Wish::At(event) => range.any(|unit| unit % self.period() == event % self.period()),
            Wish::None => false,
        }
    }
}

struct Request {
    serial: u32,
    out: Buffer,
    back: Buffer,
}

/// What is known of a buffer that the device has.
#[derive(Clone, Copy, Debug)]
struct Expected {
    serial: u32,
    /// Once it is known.
    id: Option<u16>,
    readable: usize,
    writable: usize,
    descriptors: u16,
}

/// What goes into the virtqueue: device-readable elements, device-writable ones, and what travels with them.
type Chain = (Vec<DmaSegment>, Vec<DmaSegment>, Request);

/// What the driver writes into a buffer, and the device into its answer.
fn pattern(serial: u32) -> Vec<u8> {
    serial.to_le_bytes().repeat(3)
}

fn bytes(view: Slices<'_>) -> Vec<u8> {
    let mut bytes = vec![0; view.len()];
    view.read(0, &mut bytes).unwrap();
    bytes
}

/// What the device does with a buffer that must be this one.
fn process(chain: &ringwright_ring::Chain<'_>, expected: &Expected) {
    assert!(expected.id.is_none_or(|id| id == chain.id()));
    assert_eq!(chain.writable().len(), expected.writable);
    let pattern = pattern(expected.serial);
    assert_eq!(bytes(chain.readable()), pattern[..expected.readable]);
    chain.writable().write(0, &pattern[..expected.writable]).unwrap();
}

/// Bytes that the device says it wrote: none, a part, or all; all twice as often, for batches in order.
fn written(expected: &Expected, part: u32) -> u32 {
    (expected.writable as u32 * part.min(2)).div_ceil(2)
}

/// A used buffer is this one.
fn came_back(used: Used<Request>, expected: &Expected, written: u32) {
    assert_eq!((used.data.serial, used.written), (expected.serial, written));
    let mut bytes = vec![0; written as usize];
    used.data.back.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, pattern(expected.serial)[..written as usize]);
}

struct Model {
    setup: Setup,
    shared: Shared,
    driver: DriverQueue<Request>,
    device: DeviceQueue,
    serial: u32,
    added: VecDeque<Expected>,
    available: VecDeque<Expected>,
    taken: Vec<(Expected, Token)>,
    /// In the order of taking: for IN_ORDER, which of them are complete.
    order: VecDeque<(Expected, Option<u32>)>,
    /// Serials by the order of taking.
    newest: Vec<u32>,
    complete: VecDeque<(Expected, u32)>,
    used: VecDeque<(Expected, u32)>,
    driver_wish: Wish,
    device_wish: Wish,
    made_available: Progress,
    next_available: Progress,
    made_used: Progress,
    next_used: Progress,
}

impl Model {
    fn new(setup: Setup) -> Self {
        let Setup {
            size,
            features,
            indirect,
            order,
        } = setup;
        let shared = Shared::new(1 << 20);
        let options = DriverOptions { indirect };
        let driver = DriverQueue::with_byte_order(&shared.area, size, features, options, order).unwrap();
        let memory = shared.memory.clone();
        let state = State::default();
        let device = DeviceQueue::with_byte_order(driver.layout(), features, memory, state, order).unwrap();
        Self {
            setup,
            shared,
            driver,
            device,
            serial: 0,
            added: VecDeque::new(),
            available: VecDeque::new(),
            taken: Vec::new(),
            order: VecDeque::new(),
            newest: Vec::new(),
            complete: VecDeque::new(),
            used: VecDeque::new(),
            driver_wish: setup.initial(),
            device_wish: setup.initial(),
            made_available: Progress(0),
            next_available: Progress(0),
            made_used: Progress(0),
            next_used: Progress(0),
        }
    }

    fn has(&self, feature: Features) -> bool {
        self.setup.features.contains(feature)
    }

    fn step(&mut self, operation: Operation) {
        let packed = self.has(feature::RING_PACKED);
        DONE[usize::from(packed)][usize::from(operation.is_drivers())].fetch_add(1, Ordering::Relaxed);
        match operation {
            Operation::Add { readable, writable } => self.add((readable, writable)),
            Operation::AddAll { count, shape, odd } => self.add_all(count, shape, odd),
            Operation::DriverPublish => {
                let units = self
                    .added
                    .iter()
                    .map(|expected| self.setup.units(expected.descriptors))
                    .sum();
                self.available.append(&mut self.added);
                let notifies = self
                    .setup
                    .notifies(self.device_wish, &mut self.made_available, units);
                assert_eq!(
                    self.driver.publish(),
                    notifies,
                    "wish of the device: {:?}",
                    self.device_wish
                );
            }
            Operation::DriverPop => self.driver_pop(),
            Operation::TakeUsed { limit } => self.take_used(limit),
            Operation::DriverNotifications(false) => {
                self.driver.disable_notifications();
                self.driver_wish = self.setup.disabled(self.next_used);
            }
            Operation::DriverNotifications(true) => {
                let there = !self.used.is_empty();
                assert_eq!(self.driver.enable_notifications(), there);
                self.driver_wish = self.setup.enabled(self.next_used);
            }
            Operation::Take => self.take(),
            Operation::PushBack => self.push_back(),
            Operation::Complete { which, part } => self.complete(which, part),
            Operation::Serve { limit, part, put_off } => self.serve(limit, part, put_off),
            Operation::DevicePublish => {
                let in_order = self.has(feature::IN_ORDER);
                while in_order && let Some(&(expected, Some(written))) = self.order.front() {
                    self.order.pop_front();
                    self.complete.push_back((expected, written));
                }
                let units = self
                    .complete
                    .iter()
                    .map(|(expected, _)| self.setup.units(expected.descriptors))
                    .sum();
                self.used.append(&mut self.complete);
                let notifies = self.setup.notifies(self.driver_wish, &mut self.made_used, units);
                assert_eq!(
                    self.device.publish().unwrap(),
                    notifies,
                    "wish of the driver: {:?}",
                    self.driver_wish
                );
            }
            Operation::DeviceNotifications(false) => {
                self.device.disable_notifications();
                self.device_wish = self.setup.disabled(self.next_available);
            }
            Operation::DeviceNotifications(true) => {
                let there = !self.available.is_empty();
                assert_eq!(self.device.enable_notifications(), there);
                self.device_wish = self.setup.enabled(self.next_available);
            }
            Operation::Restore => self.restore(),
        }
        let on_device = self.available.len() + self.taken.len();
        assert_eq!(self.device.has_available(), !self.available.is_empty());
        assert!(on_device <= usize::from(self.setup.size));
    }

    /// A buffer of this shape and the next serial, as elements and as a request.
    fn request(&self, serial: u32, (readable, writable): Shape) -> Chain {
        let request = Request {
            serial,
            out: self.shared.buffer(12),
            back: self.shared.buffer(12),
        };
        request.out.write(0, &pattern(serial)).unwrap();
        request.back.write(0, &[0; 12]).unwrap();
        let split = |buffer: &Buffer, count| {
            if count == 0 {
                Vec::new()
            } else {
                pieces(buffer, count)
            }
        };
        let (out, back) = (split(&request.out, readable), split(&request.back, writable));
        (out, back, request)
    }

    /// Descriptors that a buffer of this shape takes.
    fn needed(&self, (readable, writable): Shape) -> u16 {
        let elements = (readable + writable) as u16;
        let indirect = self.has(feature::INDIRECT_DESC)
            && elements > 1
            && elements <= self.setup.indirect.min(self.setup.size);
        if indirect { 1 } else { elements }
    }

    /// Why a buffer of this shape is refused while so many descriptors are free.
    fn refusal(&self, shape: Shape, free: u16) -> Option<AddRefusal> {
        match (shape.0 + shape.1) as u16 {
            0 => Some(AddRefusal::Empty),
            _ if self.needed(shape) <= free => None,
            elements if elements > self.setup.size => Some(AddRefusal::TooLong),
            _ => Some(AddRefusal::Full),
        }
    }

    fn expect_added(&mut self, shape: Shape, id: Option<u16>) {
        let bytes = |count: usize| 12usize.checked_div(count).map_or(0, |each| each * count);
        let expected = Expected {
            serial: self.serial,
            id,
            readable: bytes(shape.0),
            writable: bytes(shape.1),
            descriptors: self.needed(shape),
        };
        self.serial += 1;
        self.added.push_back(expected);
    }

    fn add(&mut self, shape: Shape) {
        let (out, back, request) = self.request(self.serial, shape);
        let free = self.driver.free();
        let refusal = self.refusal(shape, free);
        match self.driver.add(&out, &back, request) {
            Ok(id) => {
                assert_eq!(refusal, None);
                assert_eq!(self.driver.free(), free - self.needed(shape));
                self.expect_added(shape, Some(id));
            }
            Err(error) => {
                assert_eq!((error.data.serial, Some(error.reason)), (self.serial, refusal));
                assert_eq!(self.driver.free(), free);
            }
        }
    }

    fn add_all(&mut self, count: usize, shape: Shape, (place, odd): (usize, Shape)) {
        let shapes: Vec<Shape> = (0..count)
            .map(|number| if number == place { odd } else { shape })
            .collect();
        let chains: Vec<Chain> = (self.serial..)
            .zip(&shapes)
            .map(|(serial, shape)| self.request(serial, *shape))
            .collect();
        let mut chains = chains.into_iter();
        let mut free = self.driver.free();
        let result = self.driver.add_all(&mut chains);
        let mut refusal = None;
        for shape in shapes {
            refusal = self.refusal(shape, free);
            if refusal.is_some() {
                break;
            }
            free -= self.needed(shape);
            self.expect_added(shape, None);
        }
        assert_eq!(self.driver.free(), free);
        let refused = result.err().map(|error| (error.data.serial, error.reason));
        assert_eq!(refused, refusal.map(|reason| (self.serial, reason)));
        // What comes after the refused one was not asked for.
        let rest = self.serial + u32::from(refused.is_some())..;
        let left: Vec<u32> = chains.map(|(_, _, request)| request.serial).collect();
        assert!(left.iter().copied().eq(rest.take(left.len())));
        assert!(refused.is_some() || left.is_empty());
    }

    fn take(&mut self) {
        let Some(expected) = self.available.pop_front() else {
            assert!(self.device.pop().unwrap().is_none());
            return;
        };
        let chain = self.device.pop().unwrap().unwrap();
        process(&chain, &expected);
        self.next_available.0 += self.setup.units(expected.descriptors);
        let expected = Expected {
            id: Some(chain.id()),
            ..expected
        };
        self.taken.push((expected, chain.into_token()));
        self.order.push_back((expected, None));
        self.newest.push(expected.serial);
    }

    fn serve(&mut self, limit: u16, part: u32, put_off: usize) {
        let mut due: Vec<Expected> = self.available.iter().copied().take(limit.into()).collect();
        let mut served = 0;
        let count = self.device.serve(limit, |chain| {
            process(chain, &due[served]);
            due[served].id = Some(chain.id());
            if served == put_off {
                return None;
            }
            served += 1;
            Some(written(&due[served - 1], part))
        });
        assert_eq!(usize::from(count.unwrap()), served);
        assert_eq!(served, due.len().min(put_off));
        for expected in due.drain(..served) {
            self.available.pop_front();
            self.next_available.0 += self.setup.units(expected.descriptors);
            let written = written(&expected, part);
            if self.has(feature::IN_ORDER) {
                self.order.push_back((expected, Some(written)));
            } else {
                self.complete.push_back((expected, written));
            }
            self.newest.push(expected.serial);
        }
    }

    fn push_back(&mut self) {
        // Only the newest can be, and only while it is not complete.
        let Some(newest) = self.newest.last() else { return };
        let Some(index) = self
            .taken
            .iter()
            .position(|(expected, _)| expected.serial == *newest)
        else {
            return;
        };
        self.newest.pop();
        let (expected, token) = self.taken.remove(index);
        self.order.pop_back();
        self.next_available.0 -= self.setup.units(expected.descriptors);
        self.available.push_front(expected);
        self.device.push_back(token);
    }

    fn complete(&mut self, which: usize, part: u32) {
        if self.taken.is_empty() {
            return;
        }
        let (expected, token) = self.taken.swap_remove(which % self.taken.len());
        let written = written(&expected, part);
        if self.has(feature::IN_ORDER) {
            let entry = self
                .order
                .iter_mut()
                .find(|(e, _)| e.serial == expected.serial)
                .unwrap();
            entry.1 = Some(written);
        } else {
            self.order.retain(|(e, _)| e.serial != expected.serial);
            self.complete.push_back((expected, written));
        }
        self.device.complete(token, written).unwrap();
        let again = self.device.complete(Token::from_id(expected.id.unwrap()), 0);
        again.expect_err("completed twice");
    }

    fn driver_pop(&mut self) {
        let Some((expected, written)) = self.used.pop_front() else {
            assert!(self.driver.pop().unwrap().is_none());
            return;
        };
        self.next_used.0 += self.setup.units(expected.descriptors);
        came_back(self.driver.pop().unwrap().unwrap(), &expected, written);
    }

    fn take_used(&mut self, limit: u16) {
        let due = usize::from(limit).min(self.used.len());
        let mut taken = 0;
        let count = self.driver.take_used(limit, |used| {
            let (expected, written) = &self.used[taken];
            came_back(used, expected, *written);
            taken += 1;
        });
        assert_eq!((usize::from(count.unwrap()), taken), (due, due));
        for (expected, _) in self.used.drain(..due) {
            self.next_used.0 += self.setup.units(expected.descriptors);
        }
    }

    /// Another device end goes on where the first stops; what was in flight is completed there.
    fn restore(&mut self) {
        if self.has(feature::IN_ORDER) && !self.order.is_empty() {
            return;
        }
        self.step(Operation::DevicePublish);
        let Setup { features, order, .. } = self.setup;
        let packed = self.has(feature::RING_PACKED);
        let state = self.device.state();
        let base = state.to_vring_base(packed);
        let found =
            DeviceQueue::state_at_base(base, &self.device.layout(), packed, &self.shared.memory, order);
        assert_eq!(found, Ok(state));
        let (layout, memory) = (self.device.layout(), self.shared.memory.clone());
        self.device = DeviceQueue::with_byte_order(layout, features, memory, state, order).unwrap();
        for (expected, token) in &mut self.taken {
            let id = expected.id.unwrap();
            assert!(
                self.device
                    .adopt(id, self.setup.units(expected.descriptors) as u16)
            );
            assert!(!self.device.adopt(id, 1));
            *token = Token::from_id(id);
        }
        // Tokens made from ids cannot be pushed back.
        self.order.clear();
        self.newest.clear();
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("RINGWRIGHT_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(300),
        failure_persistence: None,
        max_shrink_iters: 20_000,
        ..ProptestConfig::default()
    })]

    fn random_operations_agree_with_the_model(
        setup in setup(),
        operations in prop::collection::vec(operation(), 1..600),
    ) {
        let mut model = Model::new(setup);
        for operation in operations {
            model.step(operation);
        }
    }
}

#[test]
fn both_ends_agree_with_the_model() {
    random_operations_agree_with_the_model();
    for (format, ends) in std::iter::zip(["split", "packed"], &DONE) {
        for (end, done) in std::iter::zip(["device", "driver"], ends) {
            println!(
                "operations of the {end} end, {format}: {}",
                done.load(Ordering::Relaxed)
            );
        }
    }
}
