//! Virtio over channel I/O (section 4.3).
//!
//! The transport stands on whatever carries out I/O instructions, a [`ChannelSubsystem`]. [`discover`] finds the devices,
//! [`Ccw::probe`] takes one: it enables the subchannel and selects a revision, downwards from the highest that both know.
//!
//! Channel programs and their data lie in memory below 2 GiB; virtqueues and buffers may lie anywhere. Every call that
//! asks something of the device runs a channel program and waits until it has ended, which takes no longer than the
//! device needs to answer.
//!
//! The end of a program and notifications have the status of the subchannel in common, and while one is pending the device
//! does not interrupt for the other. So a notification that meets the end of a program is not interrupted for: look at
//! [`take_interrupt`](Transport::take_interrupt) before waiting for an interruption.
//!
//! ```
//! use ringwright_driver::transport::ccw::{Ccw, CcwOptions, ChannelSubsystem, discover};
//! use ringwright_driver::{Options, entropy::Entropy};
//! # use std::sync::Arc;
//! # use ringwright_memory::Area;
//!
//! fn start(mut channels: impl ChannelSubsystem, area: &Arc<Area>) -> Result<(), Box<dyn std::error::Error>> {
//!     for found in discover(&mut channels, area)? {
//!         if found.device_id == 4
//!             && let Some(transport) = Ccw::probe(&mut channels, found.subchannel, area, CcwOptions::default())?
//!         {
//!             let entropy = Entropy::new(transport, area, Options::default())?;
//!         }
//!     }
//!     Ok(())
//! }
//! ```

mod channel;
mod config;
mod discovery;
#[cfg(test)]
mod fake;
mod indicators;
mod queue;
mod subsystem;
#[cfg(test)]
mod tests;

use alloc::sync::Arc;
use alloc::vec::Vec;

use ringwright_memory::{Area, Width};
use ringwright_ring::{ByteOrder, Layout};
use ringwright_spec::ccw::{Command, FeatureDesc, RevInfo, Revision};
use ringwright_spec::status::Status;
use ringwright_spec::{Features, feature};
use zerocopy::IntoBytes;

use super::legacy::Legacy;
use super::{Interrupt, Transport, TransportError};
use channel::{Channel, Refusal};
use config::Config;
use indicators::Indicators;

pub use discovery::{Found, discover};
pub use subsystem::ChannelSubsystem;

/// Words of feature bits.
const FEATURE_WORDS: u8 = 4;

/// What the user of the transport may choose.
#[derive(Clone, Copy, Debug)]
pub struct CcwOptions {
    /// The highest revision to try.
    pub max_revision: Revision,
    /// Whether to drive devices that have only the legacy interface, revision 0.
    pub transitional: bool,
    /// Interruption subclass of the subchannel.
    pub subclass: u8,
    /// To be notified of used buffers by adapter I/O interrupts of this subclass, if the device can; else, and always of
    /// configuration changes, by classic I/O interrupts.
    pub adapter_subclass: Option<u8>,
}

impl Default for CcwOptions {
    /// Every revision, classic and adapter I/O interrupts of subclass 3.
    fn default() -> Self {
        Self {
            max_revision: Revision::READ_STATUS,
            transitional: true,
            subclass: 3,
            adapter_subclass: Some(3),
        }
    }
}

/// A device behind a subchannel.
pub struct Ccw<C: ChannelSubsystem> {
    channel: Channel<C>,
    device_id: u8,
    revision: Revision,
    options: CcwOptions,
    indicators: Indicators,
    config: Config,
    /// What was written last, or read.
    status: Status,
    features: Features,
    /// Host cookies by virtqueue.
    cookies: Vec<u64>,
}

impl<C: ChannelSubsystem> Ccw<C> {
    /// The device on subchannel `id`; `None` if there is none, or it is no virtio device. `area` is memory that the channel
    /// subsystem reaches below 2 GiB.
    pub fn probe(
        subsystem: C,
        id: u32,
        area: &Arc<Area>,
        options: CcwOptions,
    ) -> Result<Option<Self>, TransportError> {
        let Some(mut channel) = Channel::enable(subsystem, id, options.subclass, area)? else {
            return Ok(None);
        };
        let Some(device_id) = discovery::sense_id(&mut channel)? else {
            return Ok(None);
        };
        let revision = select_revision(&mut channel, &options)?;
        Ok(Some(Self {
            channel,
            device_id,
            revision,
            options,
            indicators: Indicators::new(area)?,
            config: Config::default(),
            status: Status::NONE,
            features: Features::NONE,
            cookies: Vec::new(),
        }))
    }

    /// The revision that was selected.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// What carries out the I/O instructions, for what is its own: waiting for an interruption, for example.
    pub fn subsystem(&mut self) -> &mut C {
        &mut self.channel.subsystem
    }

    fn is_legacy(&self) -> bool {
        self.revision == Revision::LEGACY
    }

    /// Number of feature words that the revision reaches.
    fn feature_words(&self) -> u8 {
        if self.is_legacy() { 1 } else { FEATURE_WORDS }
    }
}

/// Selects the highest revision that the device accepts (`drv:ccw:setting-the-virtio-revision:01`), before any other of
/// virtio's commands (`drv:ccw:setting-the-virtio-revision:02`), and once
/// (`drv:ccw:setting-the-virtio-revision:03`).
fn select_revision<C: ChannelSubsystem>(
    channel: &mut Channel<C>,
    options: &CcwOptions,
) -> Result<Revision, TransportError> {
    let lowest = if options.transitional {
        Revision::LEGACY
    } else {
        Revision::VIRTIO_1
    };
    for revision in (lowest.0..=options.max_revision.0).rev() {
        let info = RevInfo {
            revision: revision.into(),
            length: 0.into(),
        };
        match channel.give(Command::SET_VIRTIO_REV, info.as_bytes()) {
            Ok(()) => return Ok(Revision(revision)),
            Err(Refusal::Rejected) => {}
            Err(Refusal::Failed(error)) => return Err(error),
        }
    }
    // Section 4.3.2.1.3: a legacy device does not know the command, and is driven as if revision 0 had been selected.
    match options.transitional {
        true => Ok(Revision::LEGACY),
        false => Err(TransportError::Unsupported(
            "the device has only the legacy interface, revision 0",
        )),
    }
}

impl<C: ChannelSubsystem> Transport for Ccw<C> {
    fn device_id(&self) -> u32 {
        self.device_id.into()
    }

    fn legacy(&self) -> Option<Legacy> {
        // A guest with channel I/O is big-endian.
        self.is_legacy().then_some(Legacy {
            byte_order: ByteOrder::Big,
            fixed_queue_size: true,
        })
    }

    fn unsupported_features(&self) -> Features {
        // Whether the device has been suspended cannot be seen below revision 2 (drv:init:device-suspend:02).
        match self.revision < Revision::READ_STATUS {
            true => feature::NOT_ON_CCW | feature::SUSPEND,
            false => feature::NOT_ON_CCW,
        }
    }

    fn device_features(&mut self) -> Result<Features, TransportError> {
        let mut features = Features::NONE;
        for index in 0..self.feature_words() {
            let mut block = FeatureDesc {
                features: 0.into(),
                index,
            };
            let asked = self.channel.ask(Command::READ_FEAT, block.as_mut_bytes());
            asked.map_err(rejected("READ_FEAT is rejected"))?;
            features = features.with_word(index.into(), block.features.get());
        }
        Ok(features)
    }

    fn set_driver_features(&mut self, features: Features) -> Result<(), TransportError> {
        for index in 0..self.feature_words() {
            let word = features.word(index.into());
            // Devices older than the features of the upper half have no place for them.
            if index >= 2 && word == 0 {
                continue;
            }
            let block = FeatureDesc {
                features: word.into(),
                index,
            };
            let given = self.channel.give(Command::WRITE_FEAT, block.as_bytes());
            given.map_err(rejected("WRITE_FEAT is rejected"))?;
        }
        self.features = features;
        Ok(())
    }

    fn status(&mut self) -> Result<Status, TransportError> {
        // drv:ccw:communicating-status-information:02, drv:ccw:communicating-status-information:03
        if self.revision >= Revision::READ_STATUS {
            let mut status = [0];
            let asked = self.channel.ask(Command::READ_STATUS, &mut status);
            asked.map_err(rejected("READ_STATUS is rejected"))?;
            self.status = Status(status[0]);
        }
        Ok(self.status)
    }

    fn set_status(&mut self, status: Status) -> Result<(), TransportError> {
        if status.is_empty() {
            return self.reset();
        }
        if status.contains(Status::DRIVER_OK) && !self.indicators.are_set_up() {
            self.indicators
                .set_up(&mut self.channel, self.options.adapter_subclass)?;
        }
        match self.channel.give(Command::WRITE_STATUS, &[status.0]) {
            Ok(()) => self.status = status,
            // drv:ccw:communicating-status-information:01: the status is what it was. For FEATURES_OK that is the device's
            // way to say no; whoever sets it reads it again.
            Err(Refusal::Rejected) if (status - self.status).contains(Status::FEATURES_OK) => {}
            Err(Refusal::Rejected) => return Err(TransportError::Protocol("a device status is rejected")),
            Err(Refusal::Failed(error)) => {
                // The device may have taken it: what is written next must not clear a bit.
                self.status = self.status | status;
                return Err(error);
            }
        }
        Ok(())
    }

    fn queue_max_size(&mut self, index: u16) -> Result<u16, TransportError> {
        queue::max_size(&mut self.channel, index)
    }

    fn enable_queue(&mut self, index: u16, layout: &Layout) -> Result<(), TransportError> {
        self.indicators.need(index)?;
        match self.is_legacy() {
            true => queue::set_up_legacy(&mut self.channel, index, layout)?,
            false => queue::set_up(&mut self.channel, index, layout)?,
        }
        let queues = self.cookies.len().max(usize::from(index) + 1);
        self.cookies.resize(queues, 0);
        Ok(())
    }

    /// Reserved on this transport (section 4.3.4).
    fn reset_queue(&mut self, _index: u16) -> Result<(), TransportError> {
        Err(TransportError::Unsupported(
            "VIRTIO_F_RING_RESET over channel I/O",
        ))
    }

    fn queue_is_reset(&mut self, _index: u16) -> Result<bool, TransportError> {
        Err(TransportError::Unsupported(
            "VIRTIO_F_RING_RESET over channel I/O",
        ))
    }

    fn notify(&mut self, index: u16, data: u32) -> Result<(), TransportError> {
        let cookie = self.cookies.get_mut(usize::from(index));
        let cookie = cookie.ok_or(TransportError::NoQueue(index))?;
        let data = match self.features.contains(feature::NOTIFICATION_DATA) {
            true => data.into(),
            false => index.into(),
        };
        // drv:ccw:guest-host-notification:01
        *cookie = self.channel.notify(data, *cookie)?;
        Ok(())
    }

    /// Counts how often the configuration space was found to be different from what it was when it was read before.
    fn config_generation(&mut self) -> Result<u32, TransportError> {
        Ok(self.config.generation())
    }

    fn read_config(&mut self, offset: usize, _width: Width, data: &mut [u8]) -> Result<(), TransportError> {
        self.config.read(&mut self.channel, offset, data)
    }

    fn write_config(&mut self, offset: usize, _width: Width, data: &[u8]) -> Result<(), TransportError> {
        self.config.write(&mut self.channel, offset, data)
    }

    /// Takes the status of the subchannel too: if there is nothing to report, the next notification interrupts.
    fn take_interrupt(&mut self) -> Result<Interrupt, TransportError> {
        self.channel.take_status()?;
        Ok(self.indicators.take_all())
    }

    /// Reserved on this transport (section 4.3.4).
    fn shared_memory(&mut self, _id: u8) -> Result<Option<(u64, u64)>, TransportError> {
        Ok(None)
    }
}

impl<C: ChannelSubsystem> Ccw<C> {
    /// The reset is complete when the command is (section 4.3.3.3).
    fn reset(&mut self) -> Result<(), TransportError> {
        let given = self.channel.give(Command::VDEV_RESET, &[]);
        given.map_err(rejected("VDEV_RESET is rejected"))?;
        self.status = Status::NONE;
        self.features = Features::NONE;
        self.indicators.forget();
        self.cookies.clear();
        Ok(())
    }
}

/// For `map_err`: what to say if a command is rejected that never should be.
fn rejected(what: &'static str) -> impl FnOnce(Refusal) -> TransportError {
    move |refusal| refusal.or(TransportError::Protocol(what))
}
