//! What a device knows of its driver.

use std::collections::BTreeMap;

use ringwright_ring::Layout;
use ringwright_spec::ccw::Revision;
use ringwright_spec::status::Status;
use ringwright_spec::{DeviceType, Features, feature};

use super::{Event, Scenario};
use crate::subject::Bus;

/// What a driver has done so far, before the event that a rule looks at.
#[derive(Clone, Debug)]
pub struct Past {
    /// The device type.
    pub device: &'static DeviceType,
    /// The bus between the two.
    pub bus: Bus,
    /// What the device does unusually.
    pub scenario: &'static Scenario,
    /// The features that the device offers.
    pub offered: Features,
    /// Index of the administration virtqueue, if there is one: how many others there are.
    pub administration: u16,
    /// The steps of this initialization.
    pub steps: Steps,
    /// The device status.
    pub status: Status,
    /// The device status as the driver has read or written it last.
    pub known: Status,
    /// How many times the driver has set DRIVER_OK after a reset.
    pub lives: u32,
    /// The revision that the driver has selected, over channel I/O.
    pub revision: Option<Revision>,
    /// The virtqueues that were enabled.
    pub queues: BTreeMap<u16, QueuePast>,
    /// How many buffers have been available, and used.
    pub buffers: (u32, u32),
}

/// What has happened since the last reset.
#[derive(Clone, Debug, Default)]
pub struct Steps {
    /// There was a reset.
    pub reset: bool,
    /// The features were read.
    pub offered: bool,
    /// The features that the driver has accepted.
    pub accepted: Option<Features>,
    /// The status was read again after FEATURES_OK was written.
    pub agreed: bool,
    /// The device did not agree to the features.
    pub refused: bool,
    /// The driver has told the device to suspend itself, and not to go on since.
    pub suspended: bool,
}

/// What has happened to a virtqueue.
#[derive(Clone, Debug, PartialEq)]
pub struct QueuePast {
    /// Where it lies.
    pub layout: Layout,
    /// Ids of the buffers that are available and not used, and how many descriptors of the ring or table each takes.
    pub exposed: BTreeMap<u16, usize>,
    /// Its reset was begun, and whether the driver has seen it complete.
    pub reset: Option<bool>,
}

impl Past {
    pub(super) fn new(device: &'static DeviceType, bus: Bus, scenario: &'static Scenario) -> Self {
        Self {
            device,
            bus,
            scenario,
            offered: Features::NONE,
            administration: 0,
            steps: Steps::default(),
            status: Status::NONE,
            known: Status::NONE,
            lives: 0,
            revision: None,
            queues: BTreeMap::new(),
            buffers: (0, 0),
        }
    }

    /// The features that the driver has accepted.
    pub fn features(&self) -> Features {
        self.steps.accepted.unwrap_or_default()
    }

    /// Whether the driver has accepted all of `features`.
    pub fn has(&self, features: Features) -> bool {
        self.features().contains(features)
    }

    /// Whether the virtqueues are packed.
    pub fn is_packed(&self) -> bool {
        self.has(feature::RING_PACKED)
    }

    /// Whether the driver has set DRIVER_OK and not reset the device since.
    pub fn is_live(&self) -> bool {
        self.status.contains(Status::DRIVER_OK)
    }

    /// Whether the driver has told the device to suspend itself, and not to go on since.
    pub fn is_suspended(&self) -> bool {
        self.steps.suspended
    }

    /// The bits that a status that is written has in addition to what it was.
    pub fn adds(&self, status: Status) -> Status {
        status - self.status
    }

    /// Buffers that are available and not used, in all virtqueues.
    pub fn exposed(&self) -> u32 {
        self.queues.values().map(|queue| queue.exposed.len() as u32).sum()
    }

    /// Takes an event in, after the rules have seen it. What the device makes of it is told by itself.
    pub(super) fn take(&mut self, event: &Event) {
        match event {
            Event::StatusRead(status) => {
                self.known = *status;
                if self.status.contains(Status::FEATURES_OK) || self.steps.refused {
                    self.steps.agreed = true;
                }
            }
            Event::StatusWritten(Status::NONE) => {
                self.known = Status::NONE;
                self.steps = Steps {
                    reset: true,
                    ..Steps::default()
                };
                self.queues.clear();
            }
            Event::StatusWritten(status) => {
                self.known = *status;
                let added = self.adds(*status);
                self.lives += u32::from(added.contains(Status::DRIVER_OK));
                if added.contains(Status::SUSPEND) {
                    self.steps.suspended = self.has(feature::SUSPEND);
                } else if status.contains(Status::DRIVER_OK) {
                    self.steps.suspended = false;
                }
            }
            Event::FeaturesRead(_) => self.steps.offered = true,
            Event::FeaturesAccepted(features) => self.steps.accepted = Some(*features),
            Event::QueueEnabled(index, layout) => {
                let queue = QueuePast {
                    layout: *layout,
                    exposed: BTreeMap::new(),
                    reset: None,
                };
                self.queues.insert(*index, queue);
            }
            Event::QueueReset(index) => {
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.reset = Some(false);
                    queue.exposed.clear();
                }
            }
            Event::QueueResetRead(index, true) => {
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.reset = queue.reset.map(|_| true);
                }
            }
            Event::Available(index, chain) => {
                self.buffers.0 += 1;
                if let Some(queue) = self.queues.get_mut(index) {
                    queue.exposed.insert(chain.id, chain.direct());
                }
            }
            _ => {}
        }
    }

    /// The platform has reset the device: there are no virtqueues any more. What the driver has done before is not undone.
    pub(super) fn withdraw(&mut self) {
        self.status = Status::NONE;
        self.queues.clear();
    }

    pub(super) fn used(&mut self, index: u16, id: u16) {
        self.buffers.1 += 1;
        if let Some(queue) = self.queues.get_mut(&index) {
            queue.exposed.remove(&id);
        }
    }
}
