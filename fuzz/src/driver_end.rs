//! A hostile device against [`DriverQueue`].

use std::collections::VecDeque;

use ringwright_memory::{Area, Buffer, DmaSegment};
use ringwright_ring::{AddRefusal, ByteOrder, DriverOptions, DriverQueue, RingError, Used};
use ringwright_spec::packed::DescFlags;
use ringwright_spec::{Features, feature};

use crate::guest::{Guest, MAIN, region};
use crate::script::Script;

/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 400;
/// What the memory beside the queue's holds.
const PATTERN: u8 = 0xa5;

/// Plays `input` and panics where a promise of the driver end is broken.
pub fn run(input: &[u8]) {
    let mut script = Script::new(input);
    if let Some(mut play) = Play::new(&mut script) {
        for _ in 0..MAX_ACTIONS {
            if script.is_empty() {
                break;
            }
            play.act(&mut script);
            play.check();
        }
        let _readable = format!(
            "{:?} {:?}",
            play.queue,
            play.broken.map(|error| error.to_string())
        );
        play.reset();
    }
}

/// A queue, its device, and what is known of both.
struct Play {
    guest: Guest,
    device: Device,
    queue: DriverQueue<Payload>,
    /// What the device has, oldest first.
    given: VecDeque<Given>,
    /// How many were ever given.
    count: u64,
    broken: Option<RingError>,
    features: Features,
    /// Pieces of the area to make chains of.
    pieces: Vec<DmaSegment>,
    /// What of the area is not the queue's.
    others: Vec<Buffer>,
}

/// What travels with a buffer. Never copied, so each is somewhere once.
#[derive(Debug)]
struct Payload(u64);

struct Given {
    number: u64,
    writable: u64,
    /// Not known of one that was added in a batch.
    id: Option<u16>,
}

/// Where the device stands that at times follows the rules.
struct Device {
    index: u16,
    wrap: bool,
    size: u16,
    packed: bool,
}

impl Play {
    fn new(script: &mut Script<'_>) -> Option<Self> {
        let [packed, indirect, event_idx, in_order, legacy, platform, big, huge] = script.flags();
        let chosen = [
            (packed, feature::RING_PACKED),
            (indirect, feature::INDIRECT_DESC),
            (event_idx, feature::EVENT_IDX),
            (in_order, feature::IN_ORDER),
            (!legacy, feature::VERSION_1),
            (platform, feature::ORDER_PLATFORM),
        ];
        let features = chosen
            .into_iter()
            .filter(|(chosen, _)| *chosen)
            .fold(Features::NONE, |features, (_, bit)| features | bit);
        let order = if legacy && big && !packed {
            ByteOrder::Big
        } else {
            ByteOrder::Little
        };
        let size = match huge {
            true => script.u16(),
            false if packed => 1 + u16::from(script.u8() % 20),
            false => 1 << script.below(5),
        };
        let longest = script.u8().into();
        let length = if size > 64 { 1 << 20 } else { 1 << 15 };
        let guest = Guest::new(length, order);
        let area = Area::from_region(guest.regions[0].clone()).expect("the region can be written");
        let before = area.allocate(64, 1).expect("the area is empty");
        let options = DriverOptions { indirect: longest };
        let queue = DriverQueue::with_byte_order(&area, size, features, options, order).ok()?;
        let after = area.allocate(64, 1)?;
        for other in [&before, &after] {
            other.slices().fill(0, 64, PATTERN).expect("all of the buffer");
        }
        let layout = queue.layout();
        Some(Self {
            device: Device {
                index: 0,
                wrap: true,
                size: layout.size,
                packed,
            },
            guest,
            queue,
            given: VecDeque::new(),
            count: 0,
            broken: None,
            features,
            pieces: pieces(),
            others: vec![before, after],
        })
    }

    fn act(&mut self, script: &mut Script<'_>) {
        match script.u8() % 20 {
            0..=2 => self.add(script),
            3 | 4 => {
                self.queue.publish();
                assert!(!self.queue.publish(), "nothing new, but a notification");
            }
            5..=7 => self.pop(),
            8..=10 => self.use_one(script),
            11 => self
                .guest
                .scribble(script, &self.queue.layout(), self.device.packed),
            12 => self.queue.disable_notifications(),
            13 => {
                self.queue.enable_notifications();
            }
            14 => {
                self.queue.notification_data(script.u16());
            }
            15 | 16 => self.add_all(script),
            17 | 18 => self.take_used(script),
            _ => self.reset(),
        }
    }

    fn add(&mut self, script: &mut Script<'_>) {
        let (readable, writable) = (self.choose(script, 4), self.choose(script, 3));
        let number = self.count;
        self.count += 1;
        let free = self.queue.free();
        match self.queue.add(&readable, &writable, Payload(number)) {
            Ok(id) => {
                assert_eq!(self.broken, None, "a broken queue takes nothing");
                assert!(self.queue.free() < free);
                let writable = bytes(&writable);
                self.given.push_back(Given {
                    number,
                    writable,
                    id: Some(id),
                });
            }
            Err(error) => {
                assert_eq!(error.data.0, number, "what was refused comes back");
                self.check_refusal(error.reason, readable.len() + writable.len());
            }
        }
    }

    /// Adds a batch, of buffers that are mostly alike.
    fn add_all(&mut self, script: &mut Script<'_>) {
        let alike = (self.choose(script, 4), self.choose(script, 3));
        let odd = (self.choose(script, 4), self.choose(script, 3));
        let (count, place) = (script.below(24), script.below(24));
        let first = self.count;
        let shape = |number: u64| if number - first == place { &odd } else { &alike };
        let mut numbers = first..first + count;
        let chains = numbers.by_ref().map(|number| {
            let (readable, writable) = shape(number);
            (readable, writable, Payload(number))
        });
        let result = self.queue.add_all(chains);
        let asked = numbers.start;
        let refused = result.as_ref().err().map(|error| error.data.0);
        let end = refused.unwrap_or(asked);
        self.given.extend((first..end).map(|number| Given {
            number,
            writable: bytes(&shape(number).1),
            id: None,
        }));
        self.count += count;
        match result {
            Ok(()) => assert_eq!(asked, first + count, "all are added, or one is refused"),
            Err(error) => {
                assert_eq!(asked, end + 1, "nothing is asked for behind what was refused");
                let (readable, writable) = shape(end);
                self.check_refusal(error.reason, readable.len() + writable.len());
            }
        }
    }

    /// Checks why a buffer of so many elements was refused just now.
    fn check_refusal(&self, reason: AddRefusal, elements: usize) {
        match reason {
            AddRefusal::Full => assert!(usize::from(self.queue.free()) < elements),
            AddRefusal::Empty => assert_eq!(elements, 0),
            AddRefusal::TooLong => assert!(elements > self.device.size.into()),
            AddRefusal::Broken => assert!(self.broken.is_some()),
            reason => panic!("{reason}"),
        }
    }

    /// Less than `most` pieces.
    fn choose(&self, script: &mut Script<'_>, most: u64) -> Vec<DmaSegment> {
        let count = script.below(most);
        (0..count)
            .map(|_| self.pieces[script.index(self.pieces.len())])
            .collect()
    }

    fn pop(&mut self) {
        match self.queue.pop() {
            Ok(None) => assert_eq!(self.broken, None, "a broken queue says that it is"),
            Ok(Some(used)) => self.taken(&used),
            Err(error) => self.failed(error),
        }
    }

    fn take_used(&mut self, script: &mut Script<'_>) {
        let limit = script.u8().into();
        let mut batch = Vec::new();
        let result = self.queue.take_used(limit, |used| batch.push(used));
        batch.iter().for_each(|used| self.taken(used));
        match result {
            Ok(count) => {
                assert_eq!(usize::from(count), batch.len());
                assert!(count <= limit, "more than asked for");
                assert!(
                    limit == 0 || self.broken.is_none(),
                    "a broken queue says that it is"
                );
            }
            Err(error) => self.failed(error),
        }
    }

    /// A buffer came back.
    fn taken(&mut self, used: &Used<Payload>) {
        assert_eq!(self.broken, None, "a broken queue gives nothing");
        let number = used.data.0;
        let place = self.given.iter().position(|given| given.number == number);
        let given = place.and_then(|place| self.given.remove(place));
        let given = given.expect("what comes back was given, and did not come back before");
        assert!(
            u64::from(used.written) <= given.writable,
            "more bytes than the buffer has"
        );
        if self.features.contains(feature::IN_ORDER) {
            assert_eq!(place, Some(0), "in the order in which they were added");
        }
    }

    fn failed(&mut self, error: RingError) {
        assert!(
            self.broken.is_none_or(|first| first == error),
            "the first error stays"
        );
        assert_eq!(self.queue.broken(), Some(&error));
        self.broken = Some(error);
    }

    /// Marks a buffer used, by the rules for as long as the script does not choose otherwise.
    fn use_one(&mut self, script: &mut Script<'_>) {
        let [odd_id, odd_length, odd_index] = script.flags();
        let chosen = match self.given.len() {
            0 => None,
            length => self.given.get(script.index(length)),
        };
        let (mut id, mut written) = match chosen {
            Some(&Given {
                id: Some(id),
                writable,
                ..
            }) => (id.into(), writable as u32),
            // Often right, as ids are small.
            Some(_) => (u32::from(script.u8()) % u32::from(self.device.size), 0),
            None => (0, 0),
        };
        if odd_id {
            id = script.any_u32();
        }
        if odd_length {
            written = script.any_u32();
        }
        let layout = self.queue.layout();
        let device = &mut self.device;
        if device.packed {
            let entry = layout.descriptor_area + u64::from(device.index) * 16;
            self.guest.write32(entry + 8, written);
            self.guest.write16(entry + 12, id as u16);
            let state = if device.wrap {
                DescFlags::AVAIL.0 | DescFlags::USED.0
            } else {
                0
            };
            let write = if written != 0 { DescFlags::WRITE.0 } else { 0 };
            self.guest.write16(entry + 14, state | write);
            let step = if odd_index { script.u8().into() } else { 1 };
            device.advance(step);
        } else {
            let slot = u64::from(device.index) % u64::from(device.size);
            let entry = layout.device_area + 4 + slot * 8;
            self.guest.write32(entry, id);
            self.guest.write32(entry + 4, written);
            let step = if odd_index { script.u8().into() } else { 1 };
            device.index = device.index.wrapping_add(step);
            self.guest.write16(layout.device_area + 2, device.index);
        }
    }

    fn reset(&mut self) {
        let mut back: Vec<u64> = self.queue.reset().map(|payload| payload.0).collect();
        back.sort_unstable();
        let mut given: Vec<u64> = self.given.drain(..).map(|given| given.number).collect();
        given.sort_unstable();
        assert_eq!(back, given, "a reset gives back all that the device had");
        self.broken = None;
        (self.device.index, self.device.wrap) = (0, true);
        assert_eq!((self.queue.free(), self.queue.in_flight()), (self.device.size, 0));
        self.check();
    }

    fn check(&mut self) {
        let queue = &self.queue;
        assert!(queue.free() <= self.device.size);
        assert_eq!(usize::from(queue.in_flight()), self.given.len());
        assert_eq!(queue.broken(), self.broken.as_ref());
        for other in &self.others {
            let bytes = other.slices().read_array::<64>(0).expect("all of the buffer");
            assert_eq!(bytes, [PATTERN; 64], "memory that is not the queue's was written");
        }
    }
}

impl Device {
    fn advance(&mut self, step: u16) {
        self.index += step;
        while self.index >= self.size {
            self.index -= self.size;
            self.wrap = !self.wrap;
        }
    }
}

/// Number of bytes of all elements.
fn bytes(elements: &[DmaSegment]) -> u64 {
    elements.iter().map(|element| u64::from(element.len())).sum()
}

/// Pieces of memory of all lengths. No one ever looks at what is in them.
fn pieces() -> Vec<DmaSegment> {
    let area = Area::from_region(region(MAIN << 32, 0x2000, true)).expect("the region can be written");
    let buffer = area.allocate(0x2000, 1).expect("the area is empty");
    [1, 2, 15, 16, 512, 0x1000, 0x2000]
        .into_iter()
        .filter_map(|length| buffer.segment_at(0, length))
        .collect()
}
