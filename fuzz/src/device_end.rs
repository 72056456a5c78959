//! A hostile driver against [`DeviceQueue`].

use std::sync::Arc;

use ringwright_memory::{DirtyLog, Mapping, Memory, Region, Segment, Words};
use ringwright_ring::{
    ByteOrder, Chain, DeviceQueue, InflightRegion, Layout, RingError, State, Token, Violation,
};
use ringwright_spec::{Features, feature};

use crate::driver::Driver;
use crate::guest::{self, Guest, MAIN};
use crate::meddler::{Meddler, Trick};
use crate::script::Script;

/// The most a queue takes of memory, in pieces beyond one for each descriptor.
const SPARE_SEGMENTS: usize = 1024;
/// More actions than this make an input slow, not interesting.
const MAX_ACTIONS: usize = 400;
/// Longer views are not copied whole.
const MAX_COPY: usize = 1 << 16;

/// Plays `input` and panics where a promise of the device end is broken.
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
        play.drain();
    }
}

/// A queue, its driver, and what is known of both.
struct Play {
    guest: Guest,
    meddler: Arc<Meddler>,
    features: Features,
    order: ByteOrder,
    driver: Driver,
    queue: DeviceQueue,
    /// Where buffers in flight are tracked.
    tracked: Option<InflightRegion>,
    taken: Vec<Taken>,
    /// How often the queue has given a buffer, less those pushed back.
    count: u64,
    broken: Option<RingError>,
    /// Whether buffers were adopted that no queue ever gave.
    invented: bool,
}

/// A buffer in flight.
struct Taken {
    token: Token,
    /// Its number among those taken from this queue; none if it was adopted.
    number: Option<u64>,
    /// What it has room for; the queue does not know that of adopted ones.
    writable: u64,
}

impl Play {
    fn new(script: &mut Script<'_>) -> Option<Self> {
        let [packed, indirect, event_idx, in_order, legacy, empty, big, huge] = script.flags();
        let chosen = [
            (packed, feature::RING_PACKED),
            (indirect, feature::INDIRECT_DESC),
            (event_idx, feature::EVENT_IDX),
            (in_order, feature::IN_ORDER),
            (!legacy, feature::VERSION_1),
            (empty, feature::NOTIFY_ON_EMPTY),
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
        let [odd_size, odd_layout, odd_state, logged, translated, tracked] = script.flags();
        let size = match (odd_size, huge) {
            (true, _) => script.u16(),
            (false, true) => 1 << script.below(16),
            (false, false) if packed => 1 + u16::from(script.u8() % 20),
            (false, false) => 1 << script.below(5),
        };
        let length = if size > 256 { 1 << 20 } else { 1 << 14 };
        let guest = Guest::new(length, order);
        let meddler = Arc::new(Meddler::new(guest.memory().clone()));
        let mut layout = guest::layout(size, packed);
        if odd_layout {
            layout.descriptor_area = guest.address(script) & !15;
            layout.driver_area = guest.address(script) & !3;
            layout.device_area = guest.address(script) & !3;
        }
        let state = if odd_state {
            odd_place(script, packed)
        } else {
            State::default()
        };
        let memory = memory(&guest.regions, logged, translated.then_some(&meddler));
        let mut queue = DeviceQueue::with_byte_order(layout, features, memory, state, order).ok()?;
        let tracked = tracked.then(|| inflight_region(size, packed));
        if let Some(region) = &tracked {
            queue
                .track(region.clone())
                .expect("fresh memory can be tracked in");
        }
        Some(Self {
            guest,
            meddler,
            features,
            order,
            driver: Driver::new(layout, packed, state),
            queue,
            tracked,
            taken: Vec::new(),
            count: 0,
            broken: None,
            invented: false,
        })
    }

    fn act(&mut self, script: &mut Script<'_>) {
        let layout = self.driver.layout;
        match script.u8() % 22 {
            0..=3 => self.driver.offer(
                &self.guest,
                script,
                self.features.contains(feature::INDIRECT_DESC),
            ),
            4 | 5 => self.guest.scribble(script, &layout, self.driver.packed),
            6 => self.guest.write64(self.guest.address(script), script.u64()),
            7 | 8 => self.pop(script),
            9 => self.complete(script),
            10 => self.complete_invented(script),
            11 => self.push_back(),
            12 | 13 => {
                self.guarded(|queue| _ = queue.publish());
                assert_ne!(self.queue.publish(), Ok(true), "nothing new, but a notification");
            }
            14 => self.guarded(DeviceQueue::disable_notifications),
            15 => {
                self.guarded(|queue| _ = queue.enable_notifications());
            }
            16 => self.set_memory(script),
            17 => self.save_and_restore(script),
            18 => self.meddler.plan(match script.u8() % 4 {
                0 => Trick::Forget(self.guest.address(script)),
                1 => Trick::Remap(self.guest.address(script), self.guest.address(script)),
                2 => Trick::Renew,
                _ => Trick::Write(MAIN + script.below(0x400) * 8, script.u64()),
            }),
            19 | 20 => self.serve(script),
            _ => {
                let (id, descriptors) = (script.u8().into(), script.u8().into());
                if self.queue.adopt(id, descriptors) {
                    self.adopted(id);
                    self.invented = true;
                }
            }
        }
    }

    fn pop(&mut self, script: &mut Script<'_>) {
        let regions = self.queue.memory().regions().to_vec();
        let limit = usize::from(self.queue.size()) + SPARE_SEGMENTS;
        match self.queue.pop() {
            Ok(None) => assert_eq!(self.broken, None, "a broken queue says that it is"),
            Ok(Some(chain)) => {
                assert_eq!(self.broken, None, "a broken queue gives nothing");
                check_chain(&chain, &regions, limit);
                if script.u8().is_multiple_of(2) {
                    touch(&chain);
                }
                let writable = chain.writable().len() as u64;
                let token = chain.into_token();
                assert!(
                    self.taken.iter().all(|taken| taken.token.id() != token.id()),
                    "an id twice in flight"
                );
                let number = Some(self.count);
                self.count += 1;
                self.taken.push(Taken {
                    token,
                    number,
                    writable,
                });
            }
            Err(error) => {
                // Every error but a translation's miss breaks the queue.
                let missed = self.queue.broken().is_none();
                assert!(
                    self.broken.is_none_or(|first| first == error),
                    "the first error stays"
                );
                assert!(!missed || matches!(error.kind, Violation::Address(_) | Violation::Part(_)));
            }
        }
    }

    /// Takes and gives back several in one go; sometimes puts one off, sometimes says that too much was written.
    fn serve(&mut self, script: &mut Script<'_>) {
        let regions = self.queue.memory().regions().to_vec();
        let limit = usize::from(self.queue.size()) + SPARE_SEGMENTS;
        let (most, put_off, lie) = (u16::from(script.u8() % 40), script.u8(), script.u8());
        let (broken, taken) = (self.broken, &self.taken);
        let (mut served, mut lied) = (0, false);
        let result = self.queue.serve(most, |chain| {
            assert_eq!(broken, None, "a broken queue gives nothing");
            assert!(!lied, "a refused length ends it");
            assert!(
                taken.iter().all(|taken| taken.token.id() != chain.id()),
                "an id twice in flight"
            );
            check_chain(chain, &regions, limit);
            if served == u64::from(put_off) {
                return None;
            }
            touch(chain);
            let writable = u32::try_from(chain.writable().len()).unwrap_or(u32::MAX);
            if served == u64::from(lie) && writable != u32::MAX {
                lied = true;
                return Some(writable + 1);
            }
            served += 1;
            Some(writable)
        });
        self.count += served;
        match result {
            Ok(count) => assert_eq!((u64::from(count), lied), (served, false)),
            Err(error) if lied => {
                assert!(matches!(error.kind, Violation::WrittenTooLong { .. }), "{error}");
                assert_eq!(
                    self.queue.broken(),
                    None,
                    "the device's own mistake breaks nothing"
                );
            }
            Err(error) => assert!(broken.is_none_or(|first| first == error), "the first error stays"),
        }
    }

    fn complete(&mut self, script: &mut Script<'_>) {
        if self.taken.is_empty() {
            return;
        }
        let taken = self.taken.remove(script.index(self.taken.len()));
        let written = match script.u8() % 4 {
            0 => 0,
            1 => script.any_u32(),
            _ => u32::try_from(taken.writable).unwrap_or(u32::MAX),
        };
        let id = taken.token.id();
        let mut result = Ok(());
        self.guarded(|queue| result = queue.complete(taken.token, written));
        if u64::from(written) > taken.writable {
            let refused =
                matches!(result, Err(error) if matches!(error.kind, Violation::WrittenTooLong { .. }));
            assert!(refused, "more bytes than the buffer has: {result:?}");
            result = self.queue.complete(Token::from_id(id), 0);
        }
        if self.is_lost(result) {
            return self.adopted(id);
        }
        assert_eq!(result, Ok(()), "a buffer in flight can be completed");
    }

    /// Whether the translation has lost the virtqueue, so that the driver cannot be told of a buffer. One that is broken
    /// already says why it is.
    fn is_lost(&self, result: Result<(), RingError>) -> bool {
        let translated = self.queue.memory().translation().is_some();
        let lost = |error: RingError| matches!(error.kind, Violation::Part(_)) || self.broken == Some(error);
        translated && result.is_err_and(lost)
    }

    /// Completes an id that is not in flight.
    fn complete_invented(&mut self, script: &mut Script<'_>) {
        let id = script.any_u32() as u16;
        if self.taken.iter().any(|taken| taken.token.id() == id) {
            return;
        }
        let before = self.queue.in_flight();
        let mut result = Ok(());
        self.guarded(|queue| result = queue.complete(Token::from_id(id), 0));
        let refused = matches!(result, Err(error) if error.kind == Violation::NotInFlight { id });
        assert!(
            refused || self.is_lost(result),
            "id {id} is not in flight: {result:?}"
        );
        assert_eq!(self.queue.in_flight(), before);
    }

    fn push_back(&mut self) {
        let newest = self.count.checked_sub(1);
        if newest.is_none() || self.taken.last().is_none_or(|last| last.number != newest) {
            return;
        }
        if let Some(taken) = self.taken.pop() {
            self.count -= 1;
            self.guarded(|queue| queue.push_back(taken.token));
        }
    }

    fn set_memory(&mut self, script: &mut Script<'_>) {
        let [no_main, no_neighbour, no_rom, no_top, logged, translated] = script.flags();
        let gone = [no_main, no_neighbour, no_rom, no_top];
        let regions: Vec<Region> = std::iter::zip(&self.guest.regions, gone)
            .filter(|(_, gone)| !gone)
            .map(|(region, _)| region.clone())
            .collect();
        let memory = memory(&regions, logged, translated.then_some(&self.meddler));
        let before = Arc::as_ptr(self.queue.memory());
        if self.queue.set_memory(memory).is_err() {
            assert_eq!(
                before,
                Arc::as_ptr(self.queue.memory()),
                "the memory stays after an error"
            );
        }
    }

    /// As over a vhost-user reconnection: everything but the ring and the ids in flight is lost.
    fn save_and_restore(&mut self, script: &mut Script<'_>) {
        let [odd, killed] = script.flags();
        if let Some(region) = self.tracked.clone().filter(|_| killed) {
            return self.take_over(region);
        }
        self.guarded(|queue| _ = queue.publish());
        let state = if odd {
            odd_place(script, self.driver.packed)
        } else {
            let base = self.queue.state().to_vring_base(self.driver.packed);
            let told = State::from_vring_base(base, self.driver.packed);
            if self.driver.packed {
                told
            } else {
                self.queue.state()
            }
        };
        let translated = self.queue.memory().translation().is_some();
        let waiting = usize::from(self.queue.in_flight()) != self.taken.len();
        let queue = DeviceQueue::with_byte_order(
            self.driver.layout,
            self.features,
            self.queue.memory().clone(),
            state,
            self.order,
        );
        let queue = match queue {
            Ok(queue) => queue,
            Err(error) => {
                assert!(
                    odd || translated || waiting || self.invented,
                    "own state refused: {error}"
                );
                return;
            }
        };
        (self.queue, self.broken, self.count) = (queue, None, 0);
        for taken in std::mem::take(&mut self.taken) {
            let descriptors = if self.driver.packed { script.u8().into() } else { 1 };
            let id = taken.token.id();
            if self.queue.adopt(id, descriptors) {
                self.adopted(id);
                // At an odd place there may be more in flight than was ever available.
                self.invented |= odd;
            }
        }
    }

    /// As after the process was killed: all that is known is in the virtqueue and in the memory where buffers in flight are
    /// tracked. What the driver wrote may contradict that.
    fn take_over(&mut self, region: InflightRegion) {
        let queue = DeviceQueue::with_byte_order(
            self.driver.layout,
            self.features,
            self.queue.memory().clone(),
            State::default(),
            self.order,
        );
        let Ok(mut queue) = queue else {
            return;
        };
        if queue.track(region).is_err() {
            return;
        }
        (self.queue, self.broken, self.count) = (queue, None, 0);
        self.taken.clear();
        self.invented = true;
    }

    fn adopted(&mut self, id: u16) {
        self.taken.push(Taken {
            token: Token::from_id(id),
            number: None,
            writable: u64::MAX,
        });
    }

    /// Does something with the queue that must not write anywhere in the main region but where the device may.
    fn guarded(&mut self, action: impl FnOnce(&mut DeviceQueue)) {
        // A translation may play tricks meanwhile, and a large region takes too long to compare.
        let plain = self.queue.memory().translation().is_none() && self.guest.regions[0].len() <= 1 << 14;
        if !plain {
            return action(&mut self.queue);
        }
        let before = self.guest.snapshot();
        action(&mut self.queue);
        let after = self.guest.snapshot();
        if before == after {
            return;
        }
        let Layout {
            size,
            descriptor_area,
            device_area,
            ..
        } = self.driver.layout;
        let [descriptors, _, device] = guest::lengths(size, self.driver.packed);
        let ring = if self.driver.packed { descriptors } else { 0 };
        let may = |address: u64| {
            address.wrapping_sub(descriptor_area) < ring || address.wrapping_sub(device_area) < device
        };
        for (offset, (old, new)) in (0..).zip(std::iter::zip(before, after)) {
            assert!(
                old == new || may(MAIN + offset),
                "byte {offset:#x} is not the device's to write"
            );
        }
    }

    fn check(&mut self) {
        let (queue, in_flight) = (&self.queue, usize::from(self.queue.in_flight()));
        assert!(
            in_flight <= usize::from(queue.size()),
            "more in flight than the queue has"
        );
        if self.features.contains(feature::IN_ORDER) {
            // Buffers wait for those before them.
            assert!(in_flight >= self.taken.len());
        } else {
            assert_eq!(in_flight, self.taken.len());
        }
        match self.broken {
            Some(error) => {
                assert_eq!(queue.broken(), Some(&error), "a broken queue stays as it is");
                assert!(!queue.has_available());
            }
            None => self.broken = queue.broken().copied(),
        }
    }

    /// Without a driver that goes on, the queue ends.
    fn drain(&mut self) {
        self.meddler.plan(Trick::Renew);
        for _ in 0..=self.queue.size() {
            match self.queue.pop() {
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return,
            }
        }
        panic!("more buffers than the queue has");
    }
}

/// Fresh memory to track buffers in flight in.
fn inflight_region(size: u16, packed: bool) -> InflightRegion {
    let length = InflightRegion::size(size, packed) as usize;
    let mapping = Mapping::anonymous(length).expect("memory can be had");
    let words = Words::new(&Region::new(0, Arc::new(mapping))).expect("mappings are whole words");
    InflightRegion::new(words, 0, size, packed).expect("it has the size asked for")
}

/// A position that the script chooses.
fn odd_place(script: &mut Script<'_>, packed: bool) -> State {
    let base = if script.u8().is_multiple_of(2) {
        script.u16().into()
    } else {
        script.u32()
    };
    State {
        // Only a state that was saved says this of a split virtqueue.
        next_used: (base as u16).wrapping_sub((base >> 16) as u16),
        ..State::from_vring_base(base, packed)
    }
}

fn memory(regions: &[Region], logged: bool, translation: Option<&Arc<Meddler>>) -> Arc<Memory> {
    let mut memory = Memory::new(regions.to_vec()).expect("the regions do not overlap");
    if logged {
        memory = memory.with_dirty_log(Arc::new(DirtyLog::new(1 << 20)));
    }
    if let Some(meddler) = translation {
        memory = memory.with_translation(meddler.clone());
    }
    Arc::new(memory)
}

/// A chain's segments lie in memory that the device may use so, and are as long as said.
fn check_chain(chain: &Chain<'_>, regions: &[Region], limit: usize) {
    let within = |segment: Segment, write: bool| {
        regions.iter().any(|region| {
            let start = (segment.pointer() as usize).wrapping_sub(region.pointer() as usize) as u64;
            start < region.len()
                && segment.len() as u64 <= region.len() - start
                && (!write || region.writable())
        })
    };
    let (mut count, mut bytes) = (0, 0);
    for (view, write) in [(chain.readable(), false), (chain.writable(), true)] {
        let mut length = 0;
        for segment in view.segments() {
            assert!(within(segment, write), "a segment outside the regions");
            length += segment.len();
            count += 1;
        }
        assert_eq!(length, view.len());
        bytes += length as u64;
    }
    assert!(count <= limit && bytes <= 1 << 32);
}

/// Reads and writes what a device may.
fn touch(chain: &Chain<'_>) {
    let (readable, writable) = (chain.readable(), chain.writable());
    let mut bytes = vec![0; readable.len().min(MAX_COPY)];
    readable.read(0, &mut bytes).expect("a view can be read");
    let length = writable.len().min(MAX_COPY);
    writable
        .fill(writable.len() - length, length, 0xa5)
        .expect("a view can be written");
    if !readable.is_empty() {
        assert!(
            readable.write(0, &[1]).is_err(),
            "the device-readable part is not to be written"
        );
    }
}
