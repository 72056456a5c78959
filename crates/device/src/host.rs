//! The host of a device: its control thread's side.

mod error;
mod groups;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use ringwright_memory::Memory;
use ringwright_ring::{ByteOrder, DeviceQueue, InflightRegion, Layout, State};
use ringwright_spec::{FeatureBit, Features, feature};

use crate::counters::Counters;
use crate::event_loop::EventLoop;
use crate::kick::Kick;
use crate::mailbox::{Message, mailbox};
use crate::saved::Saved;
use crate::{
    ConfigError, Description, Device, HostEvents, Meter, Notify, Outlet, QueueCounters, Session, Virtqueue,
};

pub use self::error::HostError;
use self::groups::Groups;

/// The ring features that every device has, because the rings have them.
const RING_FEATURES: Features = feature::VERSION_1
    .union(feature::INDIRECT_DESC)
    .union(feature::EVENT_IDX)
    .union(feature::RING_PACKED)
    .union(feature::IN_ORDER);

/// Runs a device: what transports stand on.
///
/// It belongs to one control thread. Each queue group is served by a thread of its own, which is started with the first
/// queue of the group and ends when the device is reset, or the host dropped. All methods that concern running queues
/// send a message to that thread and wait for its answer; a thread that has died gives [`HostError::WorkerGone`].
pub struct Host {
    device: Box<dyn Device>,
    description: Description,
    /// Features that the front-end has.
    elsewhere: Features,
    options: HostOptions,
    outlet: Outlet,
    features: Option<Features>,
    memory: Option<Arc<Memory>>,
    queues: Vec<QueueEntry>,
    groups: Groups,
    /// Saved state of workers that do not exist yet, by group.
    restored: BTreeMap<usize, Vec<u8>>,
    suspended: bool,
}

/// How a host runs its device.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// How long a thread looks for work before it sleeps. Zero: not at all.
    pub busy_poll: Duration,
    /// Device-independent features that the transport adds to the offer, because it is the one to support them.
    pub transport_features: Features,
    /// Features that are not offered even if all others would; nor are those that require them.
    pub masked_features: Features,
    /// Byte order of a guest whose driver uses the legacy interface (section 2.2.3).
    pub legacy_byte_order: ByteOrder,
    /// The processors that the threads of queue groups run on: that of group 0 on the first, and so on, from the first again
    /// when there are no more. Wherever the system lets them if empty.
    pub processors: Vec<usize>,
    /// Whether a front-end stands between driver and device that has what the device [leaves to it](Device::left_to_front_end).
    pub has_front_end: bool,
}

impl Default for HostOptions {
    /// No busy polling, everything that the device and its rings have, a guest of this machine's byte order.
    fn default() -> Self {
        Self {
            busy_poll: Duration::ZERO,
            transport_features: Features::NONE,
            masked_features: Features::NONE,
            legacy_byte_order: ByteOrder::NATIVE,
            processors: Vec::new(),
            has_front_end: false,
        }
    }
}

/// What a queue needs to start.
pub struct QueueSetup {
    /// Where the virtqueue is, and its size.
    pub layout: Layout,
    /// Where both ends stand; [`State::default`] for a new queue.
    pub state: State,
    /// Becomes readable when the driver has made buffers available; `None` if [`Host::kick`] says so.
    pub kick: Option<OwnedFd>,
    /// Sends the used buffer notifications.
    pub notify: Box<dyn Notify>,
}

struct QueueEntry {
    max_size: u16,
    group: usize,
    /// Present while the queue runs.
    kick: Option<Arc<Kick>>,
    counters: Arc<Counters>,
}

impl Host {
    /// A host for `device`. No thread runs yet; `events` hears of what the device has to say to its transport.
    pub fn new(
        device: Box<dyn Device>,
        options: HostOptions,
        events: Arc<dyn HostEvents>,
    ) -> Result<Self, HostError> {
        let description = device.description();
        let elsewhere = match options.has_front_end {
            true => device.left_to_front_end(),
            false => Features::NONE,
        };
        check_features(description.features | elsewhere, &description)?;
        let queues = description.queues.iter().map(|queue| QueueEntry {
            max_size: queue.max_size,
            group: queue.group,
            kick: None,
            counters: Arc::default(),
        });
        Ok(Self {
            queues: queues.collect(),
            device,
            description,
            elsewhere,
            options,
            outlet: Outlet::new(events),
            features: None,
            memory: None,
            groups: Groups::default(),
            restored: BTreeMap::new(),
            suspended: false,
        })
    }

    /// What the device is.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Everything a driver may negotiate: the bits of the device, of the rings, and of the transport, without those that
    /// are masked. None of them requires one that is not there (`dev:core:feature-bits:01`).
    pub fn offered_features(&self) -> Features {
        let all = self.description.features | RING_FEATURES | self.options.transport_features;
        self.supported(all - self.options.masked_features)
    }

    /// `features` without those that require others which are not among them.
    pub fn supported(&self, mut features: Features) -> Features {
        while let Some((unmet, _)) = unmet(features | self.elsewhere, &self.description) {
            features = features - Features::bit(unmet.bit);
        }
        features
    }

    /// Those of `features` that the device offers on a legacy interface.
    pub fn legacy_features(&self, features: Features) -> Features {
        self.device.legacy_features(features)
    }

    /// The negotiated features, once there are.
    pub fn features(&self) -> Option<Features> {
        self.features
    }

    /// Takes what the driver has accepted (section 2.2). Anything but a valid subset of the offer is refused
    /// (`dev:core:feature-bits:02`), and so is a change while queues run.
    pub fn set_features(&mut self, features: Features) -> Result<(), HostError> {
        if self.features == Some(features) {
            return Ok(());
        }
        let refused = features - self.offered_features();
        if !refused.is_empty() {
            return Err(HostError::NotOffered { refused });
        }
        check_features(features | self.elsewhere, &self.description)?;
        self.refuse_while_running()?;
        let refused = |reason| HostError::Refused { reason };
        self.device.negotiate(features).map_err(refused)?;
        // Workers know the features of their session only.
        self.end_groups();
        self.features = Some(features);
        Ok(())
    }

    /// The memory that rings and buffers are in, from now on, also while queues run. A queue whose ring is not in it
    /// stops and needs a reset; the error names the first.
    pub fn set_memory(&mut self, memory: Arc<Memory>) -> Result<(), HostError> {
        self.memory = Some(memory.clone());
        let mut lost = None;
        for group in self.groups.numbers() {
            let queues = self.groups.ask(group, |reply| Message::Memory {
                memory: memory.clone(),
                reply,
            })?;
            lost = lost.or(queues.into_iter().next());
        }
        match lost {
            None => Ok(()),
            Some((index, source)) => Err(HostError::Ring { index, source }),
        }
    }

    /// Starts a queue. Features and memory must be set. Buffers that are available already are processed at once.
    pub fn start_queue(&mut self, index: u16, setup: QueueSetup) -> Result<(), HostError> {
        self.start(index, setup, None)
    }

    /// As [`Host::start_queue`], with what is in flight tracked in `region`, so that nothing is lost if this process ends at
    /// any time and another one starts the queue with the same region. What was in flight then is processed first, and the
    /// queue goes on where the region says, not at the state given.
    pub fn start_tracked_queue(
        &mut self,
        index: u16,
        setup: QueueSetup,
        region: InflightRegion,
    ) -> Result<(), HostError> {
        self.start(index, setup, Some(region))
    }

    fn start(
        &mut self,
        index: u16,
        setup: QueueSetup,
        region: Option<InflightRegion>,
    ) -> Result<(), HostError> {
        let entry = self.entry(index)?;
        let group = entry.group;
        if entry.kick.is_some() {
            return Err(HostError::AlreadyRunning { index });
        }
        if setup.layout.size > entry.max_size {
            return Err(HostError::QueueTooLarge {
                index,
                size: setup.layout.size,
                max_size: entry.max_size,
            });
        }
        let counters = entry.counters.clone();
        let features = self.features.ok_or(HostError::NotNegotiated)?;
        let memory = self.memory.clone().ok_or(HostError::NoMemory)?;
        let kick = Arc::new(
            setup
                .kick
                .map_or_else(Kick::eventfd, Kick::new)
                .map_err(HostError::Kick)?,
        );
        let order = self.byte_order(features);
        let ring_error = |source| HostError::Ring { index, source };
        let mut ring = DeviceQueue::with_byte_order(setup.layout, features, memory, setup.state, order)
            .map_err(ring_error)?;
        if let Some(region) = region {
            let count = ring.track(region).map_err(ring_error)?;
            tracing::debug!(index, count, "buffers are in flight from before");
        }
        let queue = Box::new(Virtqueue::new(index, ring, setup.notify, counters));

        self.start_group(group, features)?;
        self.groups
            .ask(group, |reply| Message::Start {
                queue,
                kick: kick.clone(),
                reply,
            })?
            .map_err(|source| HostError::Worker { group, source })?;
        self.entry_mut(index)?.kick = Some(kick);
        Ok(())
    }

    /// Stops a queue, after the worker has ended what it has in flight, and says where both ends stand.
    pub fn stop_queue(&mut self, index: u16) -> Result<State, HostError> {
        let entry = self.entry_mut(index)?;
        let group = entry.group;
        entry.kick.take().ok_or(HostError::NotRunning { index })?;
        self.groups
            .ask(group, |reply| Message::Stop { index, reply })?
            .ok_or(HostError::NotRunning { index })
    }

    /// Whether the queue has been started and not stopped.
    pub fn is_running(&self, index: u16) -> bool {
        self.entry(index).is_ok_and(|entry| entry.kick.is_some())
    }

    /// An available buffer notification, for transports that have no file descriptor for it. Nothing happens if the queue
    /// does not run, as a notification may come at any time (`dev:split:available-buffer-notification-suppression:05`).
    pub fn kick(&self, index: u16) {
        if let Ok(QueueEntry { kick: Some(kick), .. }) = self.entry(index) {
            kick.ring();
        }
    }

    /// The whole configuration space. Bytes that this device leaves out, but its device type has, are zero.
    pub fn config(&self) -> Vec<u8> {
        let mut config = self.device.config();
        config.resize(self.config_size(), 0);
        config
    }

    /// Reads the configuration space. Bytes that this device leaves out, but its device type has, read as zero.
    pub fn read_config(&self, offset: usize, data: &mut [u8]) -> Result<(), ConfigError> {
        self.check_config_range(offset, data.len())?;
        data.copy_from_slice(&self.config()[offset..][..data.len()]);
        Ok(())
    }

    /// Writes to the configuration space. Ignored while the device is suspended (`dev:init:device-suspend:02`).
    pub fn write_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.check_config_range(offset, data.len())?;
        if self.suspended {
            return Ok(());
        }
        self.device.write_config(offset, data)
    }

    /// Writes to the configuration space as [`Host::write_config`] does, for a driver that uses the legacy interface.
    /// Integers are little-endian here as well.
    pub fn write_legacy_config(&mut self, offset: usize, data: &[u8]) -> Result<(), ConfigError> {
        self.check_config_range(offset, data.len())?;
        self.device.write_legacy_config(offset, data)
    }

    /// Resets the device: all queues stop where they are, all workers end, features are to be negotiated anew. When this
    /// returns, the device touches no queue and sends no notification (`dev:core:device-reset:02`). The memory stays.
    pub fn reset(&mut self) {
        self.end_groups();
        self.device.reset();
        self.outlet.clear();
        self.restored.clear();
        self.features = None;
        self.suspended = false;
    }

    /// Suspends the device (section 3.4): what is being processed is completed and notified
    /// (`dev:init:device-suspend:08`), then no queue is touched (`dev:init:device-suspend:03`) until
    /// [`Host::resume`]. Queues can be stopped, and the memory changed.
    pub fn suspend(&mut self) -> Result<(), HostError> {
        self.outlet.set_suspended(true);
        self.suspended = true;
        self.groups.ask_all(|reply| Message::Suspend { reply })
    }

    /// Goes on after [`Host::suspend`]; a configuration change notification that was held back is sent.
    pub fn resume(&mut self) -> Result<(), HostError> {
        self.outlet.set_suspended(false);
        self.suspended = false;
        self.groups.ask_all(|reply| Message::Resume { reply })
    }

    /// Whether the device is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspended
    }

    /// Whether a configuration change notification is held back until the device resumes.
    pub fn holds_config_change(&self) -> bool {
        self.outlet.is_holding()
    }

    /// The state of the device and of the queues that are started, versioned. The device must be suspended, or all its
    /// queues stopped.
    pub fn save(&self) -> Result<Vec<u8>, HostError> {
        if !self.suspended {
            self.refuse_while_running()?;
        }
        let mut saved = Saved {
            device_id: self.description.device_type.id,
            features: self.features,
            device: self.device.save(),
            ..Saved::default()
        };
        let mut workers = self.restored.clone();
        for group in self.groups.numbers() {
            let state = self.groups.ask(group, |reply| Message::Save { reply })?;
            workers.insert(group, state.worker);
            saved.queues.extend(state.queues);
        }
        saved.workers = workers
            .into_iter()
            .map(|(group, state)| (group as u32, state))
            .collect();
        saved.queues.sort_by_key(|(index, _)| *index);
        Ok(saved.encode())
    }

    /// Takes up what [`Host::save`] returned, into a host that has been reset or is new: sets the features, and returns
    /// the state of each queue that was started, for [`Host::start_queue`].
    pub fn restore(&mut self, state: &[u8]) -> Result<Vec<(u16, State)>, HostError> {
        self.refuse_while_running()?;
        let saved = Saved::decode(state).ok_or(HostError::SavedState)?;
        let device_id = self.description.device_type.id;
        if saved.device_id != device_id {
            return Err(HostError::SavedDevice {
                expected: device_id,
                found: saved.device_id,
            });
        }
        for (index, _) in &saved.queues {
            self.entry(*index)?;
        }
        if let Some(features) = saved.features {
            self.set_features(features)?;
        }
        self.device.restore(&saved.device).map_err(HostError::Device)?;
        let workers = saved
            .workers
            .into_iter()
            .map(|(group, state)| (group as usize, state));
        self.restored = workers.collect();
        Ok(saved.queues)
    }

    /// What has gone through each queue, by index.
    pub fn counters(&self) -> Vec<QueueCounters> {
        self.meter().read()
    }

    /// The same from any thread, and later.
    pub fn meter(&self) -> Meter {
        Meter::new(self.queues.iter().map(|entry| entry.counters.clone()))
    }

    fn entry(&self, index: u16) -> Result<&QueueEntry, HostError> {
        let queues = self.queues.len();
        self.queues
            .get(usize::from(index))
            .ok_or(HostError::NoSuchQueue { index, queues })
    }

    fn entry_mut(&mut self, index: u16) -> Result<&mut QueueEntry, HostError> {
        let queues = self.queues.len();
        self.queues
            .get_mut(usize::from(index))
            .ok_or(HostError::NoSuchQueue { index, queues })
    }

    /// Starts the thread of a group, unless it runs.
    fn start_group(&mut self, group: usize, features: Features) -> Result<(), HostError> {
        if self.groups.contains(group) {
            return Ok(());
        }
        let (mailbox, inbox) = mailbox().map_err(HostError::Thread)?;
        let session = Session {
            features,
            byte_order: self.byte_order(features),
            outlet: self.outlet.clone(),
            mailbox: mailbox.clone(),
        };
        let worker_error = |source| HostError::Worker { group, source };
        let mut worker = self.device.worker(group, &session).map_err(worker_error)?;
        if let Some(state) = self.restored.remove(&group) {
            worker.restore(&state).map_err(worker_error)?;
        }
        let event_loop = EventLoop::new(
            worker,
            self.queues.len(),
            inbox,
            self.outlet.clone(),
            self.options.busy_poll,
            self.suspended,
        )
        .map_err(HostError::Thread)?;
        let name = format!("{}-{group}", self.description.device_type.name);
        let processors = &self.options.processors;
        let processor = processors.get(group % processors.len().max(1)).copied();
        self.groups.start(group, name, processor, mailbox, event_loop)
    }

    /// Ends all threads. Queues that still run stop where they are.
    fn end_groups(&mut self) {
        self.groups.end();
        for entry in &mut self.queues {
            entry.kick = None;
        }
    }

    fn refuse_while_running(&self) -> Result<(), HostError> {
        match self.queues.iter().position(|entry| entry.kick.is_some()) {
            Some(index) => Err(HostError::Running { index }),
            None => Ok(()),
        }
    }

    /// Little-endian, except on legacy interfaces.
    fn byte_order(&self, features: Features) -> ByteOrder {
        match features.contains(feature::VERSION_1) {
            true => ByteOrder::Little,
            false => self.options.legacy_byte_order,
        }
    }

    fn config_size(&self) -> usize {
        let description = &self.description;
        description.config_size.max(description.device_type.config_size)
    }

    fn check_config_range(&self, offset: usize, length: usize) -> Result<(), ConfigError> {
        let size = self.config_size();
        match offset.checked_add(length) {
            Some(end) if end <= size => Ok(()),
            _ => Err(ConfigError::OutOfBounds { offset, length, size }),
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.end_groups();
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host")
            .field("device", &self.description.device_type.name)
            .field("features", &self.features)
            .field("suspended", &self.suspended)
            .finish_non_exhaustive()
    }
}

/// Every feature has those that it requires (`dev:core:feature-bits:01`, `dev:core:feature-bits:02`).
fn check_features(features: Features, description: &Description) -> Result<(), HostError> {
    match unmet(features, description) {
        None => Ok(()),
        Some((unmet, missing)) => Err(HostError::Unmet {
            feature: unmet.name,
            missing,
        }),
    }
}

/// A feature that requires another one which is not there, and that.
fn unmet(features: Features, description: &Description) -> Option<(&'static FeatureBit, Features)> {
    let tables = [description.device_type.features, feature::ALL];
    tables
        .into_iter()
        .find_map(|table| feature::unmet(features, table))
}
