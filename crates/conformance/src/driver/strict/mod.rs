//! A device that watches its driver.
//!
//! It has the virtqueues' memory in its hands, as a check has on the other side, and looks at every word of it. Nothing
//! happens in it but when a driver accesses a register, notifies, or [waits](Strict::turn), so that what rules see comes
//! in the order in which the driver has done it.

mod ccw;
mod end;
mod mmio;
mod model;
mod packed;
pub(super) mod pci;
mod split;
mod transport;
mod vhost_user;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use ringwright_driver::Interrupt;
use ringwright_memory::{Memory, Width};
use ringwright_ring::{Layout, State};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};

use super::event::{Chain, Change, Event, Place, Sent};
use super::past::Past;
use super::rule::{Rule, Watch};
use super::scenario::{Completes, Scenario};
use crate::subject::{Bus, Trace};
pub(super) use ccw::SUBCHANNEL;
pub use ccw::StrictCcw;
use end::End;
pub use mmio::{Line, StrictMmio};
use model::administer;
pub(super) use model::{
    APPEND, CONTEXTS, DISK, GRANULARITY, HASH_TYPES, MAC, MTU, PAIRS, PORTS, RANGES, RSS_ENTRIES, SEG_MAX,
    STATISTICS, TUNNEL_TYPES, ZONE_SECTORS,
};
pub use model::{Model, model};
pub use pci::StrictPci;
pub use transport::StrictTransport;

/// Turns after which a late buffer is used.
const LATE: u32 = 3;

/// A device that watches its driver, and does what its [`Scenario`] says.
pub struct Strict {
    past: Past,
    watches: Vec<(&'static Rule, Watch)>,
    trace: Trace,
    memory: Arc<Memory>,
    model: Box<dyn Model>,
    ends: BTreeMap<u16, Box<dyn End>>,
    /// Buffers that the model has not seen yet.
    pending: VecDeque<(u16, Chain)>,
    interrupt: Interrupt,
    generation: u32,
    /// Reads under which the configuration still changes.
    restless: u32,
    /// What becomes of the status, and after how many questions.
    becomes: Option<(u32, Status)>,
    /// Virtqueues that are being reset, and after how many questions they are.
    resetting: BTreeMap<u16, u32>,
    /// How often the driver has waited.
    turns: u32,
    quiet: bool,
    /// What becomes of the driver is not known.
    is_abandoned: bool,
    events: u64,
    /// What stands in the registers of a bus.
    selected: mmio::Selected,
    /// What it is on a PCI bus.
    function: pci::Function,
    /// What it is on a channel subsystem.
    subchannel: ccw::Subchannel,
}

/// A strict device that its driver and whoever waits for it have in common.
pub type Shared = Arc<Mutex<Strict>>;

/// Does something with a shared device.
pub fn with<R>(device: &Shared, act: impl FnOnce(&mut Strict) -> R) -> R {
    act(&mut device.lock().unwrap_or_else(PoisonError::into_inner))
}

impl Strict {
    /// A device that `rules` watch a driver from; the driver's memory is `memory`.
    pub fn new(
        model: Box<dyn Model>,
        bus: Bus,
        scenario: &'static Scenario,
        memory: Arc<Memory>,
        rules: impl IntoIterator<Item = &'static Rule>,
        trace: &Trace,
    ) -> Self {
        let mut past = Past::new(model.device(), bus, scenario);
        past.offered = (scenario.offers)(model.features());
        past.administration = model.queues();
        let function = pci::Function::new(&past);
        Self {
            past,
            watches: rules.into_iter().map(|rule| (rule, Watch::default())).collect(),
            trace: trace.clone(),
            memory,
            model,
            ends: BTreeMap::new(),
            pending: VecDeque::new(),
            interrupt: Interrupt::default(),
            generation: 0,
            restless: scenario.restless,
            becomes: None,
            resetting: BTreeMap::new(),
            turns: 0,
            quiet: false,
            is_abandoned: false,
            events: 0,
            selected: mmio::Selected::default(),
            function,
            subchannel: ccw::Subchannel::default(),
        }
    }

    /// What is known of the driver.
    pub fn past(&self) -> &Past {
        &self.past
    }

    /// What the rules have seen.
    pub fn watches(&self) -> &[(&'static Rule, Watch)] {
        &self.watches
    }

    /// The driver waits: whatever the device has still to do is done, or comes nearer.
    pub fn turn(&mut self) {
        self.wait();
        self.pass();
    }

    /// The driver waits, and nothing else happens.
    pub fn wait(&mut self) {
        self.look_at_all();
        self.tell(Event::Waits);
    }

    /// Time has passed: buffers that are to be used late come nearer to that. Of a driver that runs at the same time nothing
    /// is known then, so its virtqueues are left alone, unless nobody would tell of what is in them.
    pub fn pass(&mut self) {
        self.turns += 1;
        if self.past.scenario.suppresses && self.past.is_live() {
            let indices: Vec<_> = self.ends.keys().copied().collect();
            for index in indices {
                self.poll(index);
            }
        }
        if self.past.scenario.spurious && self.past.is_live() {
            self.interrupt.queue = true;
            self.interrupt.config = true;
        }
        if self.past.scenario.changes && self.past.is_live() {
            self.model.change();
            self.generation += 1;
            self.interrupt.config = true;
        }
        self.serve(true);
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The driver has ended, by itself or because it has met an error.
    pub fn end(&mut self, how: Result<(), String>) {
        self.look_at_all();
        if !self.is_abandoned {
            self.tell(Event::Ends(how));
        }
    }

    /// Nobody looks any longer, and what becomes of the driver is not known.
    pub(super) fn abandon(&mut self) {
        self.is_abandoned = true;
    }

    /// The driver's memory is this from now on.
    pub(super) fn set_memory(&mut self, memory: Arc<Memory>) {
        self.memory = memory;
    }

    /// Whether a driver has ever done something with the device, beyond looking at it.
    pub(super) fn is_touched(&self) -> bool {
        self.past.lives > 0 || self.past.steps.accepted.is_some() || self.past.known != Status::NONE
    }

    /// The platform resets the device, or takes it away: nothing is left of what the driver has given it, and that is no
    /// doing of the driver's.
    pub(super) fn withdraw(&mut self) {
        self.look_at_all();
        self.forget();
        self.becomes = None;
        self.past.withdraw();
        self.function = pci::Function::new(&self.past);
    }

    /// Forgets all virtqueues.
    fn forget(&mut self) {
        self.ends.clear();
        self.pending.clear();
        self.resetting.clear();
        self.model.forget(None);
        self.interrupt = Interrupt::default();
    }

    /// Shows an event to the rules.
    pub(super) fn tell(&mut self, event: Event) {
        self.events += 1;
        self.trace.note(format_args!("{event:x?}"));
        for (rule, watch) in &mut self.watches {
            (rule.watch)(watch, &self.past, &event);
        }
        self.past.take(&event);
    }

    fn features(&mut self) -> Features {
        self.tell(Event::FeaturesRead(self.past.offered));
        self.past.offered
    }

    fn accept(&mut self, features: Features) {
        self.tell(Event::FeaturesAccepted(features));
        self.model.negotiated(features);
    }

    fn status(&mut self) -> Status {
        if let Some((questions, status)) = &mut self.becomes {
            *questions = questions.saturating_sub(1);
            if *questions == 0 {
                self.past.status = *status;
                self.becomes = None;
            }
        }
        self.tell(Event::StatusRead(self.past.status));
        self.past.status
    }

    fn set_status(&mut self, status: Status) {
        self.look_at_all();
        let before = self.past.status;
        self.tell(Event::StatusWritten(status));
        let slow = self.past.scenario.slow;
        self.becomes = None;
        if status == Status::NONE {
            self.forget();
            match slow {
                0 => self.past.status = Status::NONE,
                _ => self.becomes = Some((slow, Status::NONE)),
            }
            return;
        }
        let added = status - before;
        let mut now = status;
        if added.contains(Status::FEATURES_OK) && self.past.scenario.refuses {
            self.past.steps.refused = true;
            now = now - Status::FEATURES_OK;
        }
        if added.contains(Status::SUSPEND) && self.past.has(feature::SUSPEND) {
            self.becomes = Some((slow.max(1), now - Status::DRIVER_OK));
        }
        if added.contains(Status::DRIVER_OK) && before.contains(Status::SUSPEND) {
            self.becomes = Some((slow.max(1), now - Status::SUSPEND));
        }
        self.past.status = now;
    }

    fn queue_max_size(&mut self, index: u16) -> u16 {
        self.tell(Event::QueueSizeRead(index));
        match index < self.model.queues() {
            true => self.past.scenario.queue_size,
            false => 0,
        }
    }

    fn enable_queue(&mut self, index: u16, layout: Layout) {
        self.enable_queue_at(index, layout, State::default());
    }

    fn enable_queue_at(&mut self, index: u16, layout: Layout, state: State) {
        self.tell(Event::QueueEnabled(index, layout));
        self.resetting.remove(&index);
        if layout.size != 0 {
            let events = self.past.has(feature::EVENT_IDX);
            let end = end::end(layout, self.past.is_packed(), events, state);
            // In one that goes on the device has already written.
            if state == State::default() {
                let asked = end.device_area(&self.memory);
                let reached = end::reaches_all(&self.memory, &layout, self.past.is_packed());
                self.tell(Event::QueueFound(index, asked, reached));
            }
            self.ends.insert(index, end);
        }
    }

    fn reset_queue(&mut self, index: u16) {
        self.look(index, false);
        self.tell(Event::QueueReset(index));
        self.ends.remove(&index);
        self.pending.retain(|(queue, _)| *queue != index);
        self.model.forget(Some(index));
        self.resetting.insert(index, self.past.scenario.slow);
    }

    fn queue_is_reset(&mut self, index: u16) -> bool {
        let questions = self.resetting.get_mut(&index);
        let done = questions.is_none_or(|questions| {
            *questions = questions.saturating_sub(1);
            *questions == 0
        });
        self.tell(Event::QueueResetRead(index, done));
        done
    }

    fn notify(&mut self, index: u16, data: u32) {
        self.tell(Event::Notified(index, data));
        self.look(index, true);
        self.serve(false);
    }

    fn generation(&mut self) -> u32 {
        self.tell(Event::GenerationRead(self.generation));
        self.generation
    }

    /// Reads the configuration space; zeros beyond its end.
    fn read_config(&mut self, offset: usize, width: Width, data: &mut [u8]) {
        self.tell(Event::ConfigRead(Place {
            offset,
            length: data.len(),
            width,
        }));
        self.copy_config(offset, data);
    }

    fn copy_config(&mut self, offset: usize, data: &mut [u8]) {
        let config = self.model.config();
        for (byte, number) in data.iter_mut().zip(offset..) {
            *byte = config.get(number).copied().unwrap_or_default();
        }
        if self.restless > 0 {
            self.restless -= 1;
            self.generation += 1;
            self.interrupt.config = self.past.is_live();
        }
    }

    fn write_config(&mut self, offset: usize, width: Width, data: &[u8]) {
        self.tell(Event::ConfigWritten(Place {
            offset,
            length: data.len(),
            width,
        }));
        for (byte, number) in data.iter().zip(offset..) {
            if let Some(place) = self.model.config().get_mut(number) {
                *place = *byte;
            }
        }
    }

    fn take_interrupt(&mut self) -> Interrupt {
        std::mem::take(&mut self.interrupt)
    }

    fn look_at_all(&mut self) {
        let indices: Vec<_> = self.ends.keys().copied().collect();
        for index in indices {
            self.look(index, false);
        }
    }

    /// Looks at a virtqueue, tells what it has found, and takes what is available.
    fn look(&mut self, index: u16, notified: bool) {
        let Some(end) = self.ends.get_mut(&index) else {
            return;
        };
        let end::Found {
            look,
            chains,
            altered,
        } = end.look(&self.memory, notified);
        self.tell_altered(index, altered);
        self.tell(Event::Looked(index, look));
        self.take(index, chains);
        if !self.past.scenario.suppresses {
            self.ask(index, false);
        }
        self.demand_reset();
    }

    /// The device breaks down, if this is the life in which it does.
    fn demand_reset(&mut self) {
        let most = self.past.scenario.demands_reset;
        let is_time = most != 0 && self.past.lives == 1 && self.pending.len() >= most;
        if is_time && self.past.is_live() && !self.past.status.contains(Status::DEVICE_NEEDS_RESET) {
            self.past.status = self.past.status | Status::DEVICE_NEEDS_RESET;
            self.interrupt.config = true;
        }
    }

    fn tell_altered(&mut self, index: u16, altered: Vec<Change>) {
        for change in altered {
            self.tell(Event::Altered(index, change));
        }
    }

    fn take(&mut self, index: u16, chains: Vec<Chain>) {
        for mut chain in chains {
            chain.sent = Sent(model::readable(&self.memory, &chain, Sent::KEPT));
            self.tell(Event::Available(index, chain.clone()));
            self.pending.push_back((index, chain));
        }
    }

    /// Says how the driver is to notify.
    fn ask(&mut self, index: u16, quiet: bool) {
        while let Some(end) = self.ends.get_mut(&index) {
            end.ask(&self.memory, quiet);
            if !self.poll(index) {
                return;
            }
        }
    }

    /// Takes what is available of a driver that runs at the same time. It may not have known yet what it was asked when it has
    /// made a buffer available, so that nothing is said of how. Whether there was something.
    fn poll(&mut self, index: u16) -> bool {
        let Some(end) = self.ends.get_mut(&index) else {
            return false;
        };
        let end::Found { chains, altered, .. } = end.look(&self.memory, false);
        self.tell_altered(index, altered);
        let found = !chains.is_empty();
        self.take(index, chains);
        found
    }

    /// Does what the driver has asked for, if its time has come.
    fn serve(&mut self, turn: bool) {
        let rests = Status::SUSPEND | Status::DEVICE_NEEDS_RESET;
        if !self.past.is_live() || self.past.status.intersects(rests) {
            return;
        }
        let due = match self.past.scenario.completes {
            Completes::AtOnce => true,
            Completes::Late => turn && self.turns.is_multiple_of(LATE),
            Completes::Reversed | Completes::OneByOne => turn,
            Completes::Never => false,
        };
        if due && !self.pending.is_empty() {
            let one_by_one = self.past.scenario.completes == Completes::OneByOne;
            self.serve_some(if one_by_one { 1 } else { self.pending.len() });
        }
    }

    /// Does so many of the things that it is asked for.
    fn serve_some(&mut self, many: usize) {
        let completes = self.past.scenario.completes;
        let reversed = matches!(completes, Completes::Reversed | Completes::OneByOne);
        for _ in 0..many {
            let next = match reversed {
                true => self.pending.pop_back(),
                false => self.pending.pop_front(),
            };
            let Some((index, chain)) = next else {
                break;
            };
            if index >= self.model.queues() {
                self.give_back(administer(&self.memory, index, &chain));
                continue;
            }
            let short = self.past.scenario.short;
            for done in self.model.serve(&self.memory, index, chain, short) {
                self.give_back(done);
            }
            for message in self.model.told() {
                self.tell(Event::Told(message));
            }
        }
        if self.past.scenario.suppresses {
            self.quiet = !self.quiet;
            let indices: Vec<_> = self.ends.keys().copied().collect();
            for index in indices {
                self.ask(index, self.quiet);
            }
        }
    }

    fn give_back(&mut self, done: model::Done) {
        if let Some(end) = self.ends.get_mut(&done.queue) {
            self.interrupt.queue |= end.give_back(&self.memory, done.id, done.written);
            self.past.used(done.queue, done.id);
            self.trace.note(format_args!("used: {done:?}"));
        }
    }
}
