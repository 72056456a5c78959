//! Network driver (section 5.1): Ethernet frames in, Ethernet frames out, and commands to the card, none waited for.
//!
//! A card has one pair of virtqueues, sends frames as they are and gets them complete, unless its user wants [more](Extras).

mod arrival;
mod command;
mod control;
mod offload;
mod pair;
mod scaling;
mod statistics;

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::mem::offset_of;

use ringwright_memory::Area;
use ringwright_spec::Features;
use ringwright_spec::network::config::Status;
use ringwright_spec::network::hash::{HashTypes, TunnelTypes};
use ringwright_spec::network::statistics::StatsTypes;
use ringwright_spec::network::{Config, DEVICE, features, pairs};

use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Options, Transport};
pub use arrival::{Arrival, Checksum, Segments, Tunnel};
pub use command::{Coalescing, Command, MOST_ADDRESSES};
pub use control::Commanded;
use control::{Abilities, Control};
pub use offload::Offload;
use pair::Framing;
pub use pair::{Pair, Sent};
pub use scaling::{Hash, Hashing, MOST_CONTEXTS, MOST_ENTRIES, Scaling};
pub use statistics::{Counters, MOST_COUNTERS, Statistics};

/// Features of the device type that this driver understands.
const UNDERSTOOD: Features =
    Features(features::MAC.0 | features::STATUS.0 | features::MTU.0 | features::MRG_RXBUF.0);

/// Link-layer header with one VLAN tag, which the MTU does not count.
const ETHERNET_HEADER: usize = 18;

/// The MTU where the device does not say; with the headers it gives the 1534 bytes that section 5.1.6.3 asks for,
/// and four for a VLAN tag.
const DEFAULT_MTU: u16 = 1504;

/// Frames that may be outstanding in each direction of a pair, if the virtqueues are large enough.
const BUFFERS: u16 = 256;

/// A network card.
pub struct Network<T: Transport> {
    session: Session<T>,
    /// At least one.
    pairs: Vec<Pair>,
    control: Option<Control>,
    mac: Option<[u8; 6]>,
    mtu: u16,
}

/// What the user of a card wants beyond frames as they are; nothing of it by default. What a device does not offer is not
/// had, and over legacy interfaces nothing is.
#[derive(Clone, Copy, Debug)]
pub struct Extras {
    /// [`Command`]s, for which there is a control virtqueue. A vhost-user back-end offers it for its front-end, which has
    /// to serve it, and is not to be asked for it.
    pub commands: bool,
    /// Most pairs of virtqueues that are set up. Several need commands: the first one alone is used until
    /// [`Command::Pairs`] or [`Command::Scale`] is obeyed.
    pub pairs: u16,
    /// The hash of each frame is reported: see [`Pair::hash`]. Needs commands: nothing is hashed before [`Command::Hash`] or
    /// [`Command::Scale`] is obeyed.
    pub hashes: bool,
    /// Checksums and segmentation may be left to the device: see [`Pair::send_partial`]. With segmentation each pair has
    /// some buffers of 64 KiB.
    pub offloads: bool,
    /// What is left to the device, and what it leaves to the driver, may be in UDP tunnels: see [`Offload::Tunneled`] and
    /// [`Segments::tunnel`]. Only together with the one or the other.
    pub tunnels: bool,
    /// Frames may arrive that are incomplete: see [`Pair::receive_incomplete`].
    pub incomplete: bool,
}

impl Default for Extras {
    fn default() -> Self {
        Self {
            commands: false,
            pairs: 1,
            hashes: false,
            offloads: false,
            tunnels: false,
            incomplete: false,
        }
    }
}

impl<T: Transport> Network<T> {
    /// Takes the device behind `transport`; its virtqueues and buffers lie in `area`.
    pub fn new(transport: T, area: &Arc<Area>, options: Options) -> Result<Self, DriverError> {
        Self::with(transport, area, options, Extras::default())
    }

    /// The same, with what the user wants beyond that.
    pub fn with(
        transport: T,
        area: &Arc<Area>,
        options: Options,
        extras: Extras,
    ) -> Result<Self, DriverError> {
        let wanted = extras.features();
        let understood = UNDERSTOOD | wanted;
        let settle = |session: &mut Session<T>, mut shared: Features| {
            if session.is_legacy() {
                shared = shared - wanted;
            }
            // Longer frames come in several buffers, so that none has to be as long as they.
            if !shared.contains(features::MRG_RXBUF) {
                shared = shared - arrival::SEGMENTS - arrival::TUNNELS;
            }
            // drv:net:device-configuration-layout:12, drv:net:device-configuration-layout:13
            if !shared.contains(features::CTRL_VQ) {
                shared = shared - (features::HASH_REPORT | features::CTRL_RX_EXTRA);
            }
            Ok(shared)
        };
        let mut setup = Setup::begin_with(transport, area, &DEVICE, understood, options, settle)?;
        let session = setup.session();
        let mac = match session.has(features::MAC) {
            true => Some(session.config(offset_of!(Config, mac))?),
            false => None,
        };
        let mtu = match session.has(features::MTU) {
            true => session.config(offset_of!(Config, mtu))?,
            false => DEFAULT_MTU,
        };
        let negotiated = session.features();
        let most = match negotiated.intersects(features::MQ | features::RSS) {
            true => pairs(
                negotiated,
                session.config(offset_of!(Config, max_virtqueue_pairs))?,
            ),
            false => 1,
        };
        if most == 0 {
            return Err(broken("max_virtqueue_pairs is 0"));
        }
        let framing = Framing::new(session.features(), session.byte_order());
        // drv:net:device-configuration-layout:07: each receive buffer holds a frame of the MTU.
        let room = mtu.max(DEFAULT_MTU);
        // drv:net:automatic-receive-steering-in-multiqueue-mode:01, drv:net:setting-up-receive-buffers:05: all that may be
        // enabled are set up and have buffers.
        let mut pairs = (0..most.min(extras.pairs.max(1)))
            .map(|number| Pair::new(&mut setup, number, framing, mtu, room))
            .collect::<Result<Vec<_>, _>>()?;
        let control = match setup.features().contains(features::CTRL_VQ) {
            true => {
                let abilities = Abilities::read(setup.session(), pairs.len() as u16)?;
                Some(Control::new(&mut setup, most, abilities)?)
            }
            false => None,
        };
        let mut session = setup.finish()?;
        for pair in &mut pairs {
            pair.publish(&mut session)?;
        }
        Ok(Self {
            session,
            pairs,
            control,
            mac,
            mtu,
        })
    }

    /// The session with the device.
    pub fn session(&mut self) -> &mut Session<T> {
        &mut self.session
    }

    /// The MAC address, if the device has one; else the driver's user chooses a locally administered one.
    pub fn mac(&self) -> Option<[u8; 6]> {
        self.mac
    }

    /// Longest payload of a frame in bytes, without the Ethernet header.
    pub fn mtu(&self) -> u16 {
        self.mtu
    }

    /// Whether the link is up; always, if the device does not say.
    pub fn link_up(&mut self) -> Result<bool, DriverError> {
        if !self.session.has(features::STATUS) {
            return Ok(true);
        }
        Ok(self.status()?.contains(Status::LINK_UP))
    }

    /// Whether the device wants the network to be told where its card is now. The user sends the frames that say so, and
    /// then [`Command::AcknowledgeAnnouncement`] (`drv:net:gratuitous-packet-sending:01`,
    /// `drv:net:gratuitous-packet-sending:02`).
    pub fn announcement_wanted(&mut self) -> Result<bool, DriverError> {
        if !self.session.has(features::GUEST_ANNOUNCE) {
            return Ok(false);
        }
        Ok(self.status()?.contains(Status::ANNOUNCE))
    }

    fn status(&mut self) -> Result<Status, DriverError> {
        self.session.config(offset_of!(Config, status)).map(Status)
    }

    /// How many pairs of virtqueues there are, enabled or not.
    pub fn pairs(&self) -> u16 {
        self.pairs.len() as u16
    }

    /// What the device can hash for [`Command::Scale`] and [`Command::Hash`].
    pub fn hash_types(&self) -> HashTypes {
        let abilities = self.control.as_ref().map(Control::abilities);
        abilities.map_or(HashTypes::NONE, |abilities| abilities.hash_types)
    }

    /// How many contexts of receive-side scaling there can be, once [`Command::AskContexts`] has been obeyed.
    pub fn contexts(&self) -> u16 {
        let abilities = self.control.as_ref().map(Control::abilities);
        abilities.map_or(0, |abilities| abilities.contexts.most)
    }

    /// The tunnels that the device looks into for [`Command::HashInside`].
    pub fn tunnel_types(&self) -> TunnelTypes {
        let abilities = self.control.as_ref().map(Control::abilities);
        abilities.map_or(TunnelTypes::NONE, |abilities| abilities.tunnel_types)
    }

    /// How the device coalesces notifications of the virtqueue that [`Command::AskCoalescing`] has asked for last, if it has
    /// obeyed.
    pub fn coalescing(&self) -> Option<Coalescing> {
        self.control.as_ref()?.coalescing()
    }

    /// What the device counts; nothing before it has obeyed [`Command::AskStatisticsTypes`].
    pub fn statistics_types(&self) -> StatsTypes {
        let abilities = self.control.as_ref().map(Control::abilities);
        abilities.map_or(StatsTypes::NONE, |abilities| abilities.statistics)
    }

    /// What [`Command::AskStatistics`] has asked for last; nothing if the device has not obeyed. An error ends it: the device
    /// has answered something else.
    pub fn statistics(&self) -> impl Iterator<Item = Result<Statistics, DriverError>> {
        let result = self.control.as_ref().map(Control::statistics);
        statistics::parse(result.unwrap_or_default())
    }

    /// The pair of this number, counted from 0.
    pub fn pair(&mut self, number: u16) -> Option<&mut Pair> {
        self.pairs.get_mut(usize::from(number))
    }

    /// [`Pair::receive`] of the first pair.
    pub fn receive(&mut self, frame: &mut [u8]) -> Result<Option<usize>, DriverError> {
        self.first().receive(frame)
    }

    /// [`Pair::receive_incomplete`] of the first pair.
    pub fn receive_incomplete(&mut self, frame: &mut [u8]) -> Result<Option<Arrival>, DriverError> {
        self.first().receive_incomplete(frame)
    }

    /// [`Pair::send`] of the first pair.
    pub fn send(&mut self, frame: &[u8]) -> Result<Sent, DriverError> {
        self.first().send(frame)
    }

    /// [`Pair::send_partial`] of the first pair.
    pub fn send_partial(&mut self, frame: &[u8], offload: Offload) -> Result<Sent, DriverError> {
        self.first().send_partial(frame, offload)
    }

    /// [`Pair::enable_notifications`] of the first pair.
    pub fn enable_notifications(&mut self) -> bool {
        self.first().enable_notifications()
    }

    /// [`Pair::enable_send_notifications`] of the first pair.
    pub fn enable_send_notifications(&mut self) -> bool {
        self.first().enable_send_notifications()
    }

    fn first(&mut self) -> &mut Pair {
        &mut self.pairs[0]
    }

    /// Queues a command; [`publish`](Self::publish) shows it to the device. One may be outstanding at a time.
    pub fn command(&mut self, command: Command<'_>) -> Result<Commanded, DriverError> {
        let Some(control) = &mut self.control else {
            return Ok(Commanded::Unavailable);
        };
        let outcome = control.command(command, self.session.features());
        if outcome == Commanded::Queued
            && let Some(enabled) = command.pairs()
        {
            // drv:net:automatic-receive-steering-in-multiqueue-mode:04: from now on. What it enables comes later.
            for pair in self.pairs.iter_mut().skip(usize::from(enabled)) {
                pair.enabled = false;
            }
        }
        Ok(outcome)
    }

    /// Whether the device has obeyed the command that is outstanding. `None` if it has not answered, or if there is none.
    pub fn answer(&mut self) -> Result<Option<bool>, DriverError> {
        let Some(control) = &mut self.control else {
            return Ok(None);
        };
        let Some(answer) = control.answer()? else {
            return Ok(None);
        };
        if answer.obeyed
            && let Some(enabled) = answer.pairs
        {
            for pair in self.pairs.iter_mut().take(usize::from(enabled)) {
                pair.enabled = true;
            }
        }
        Ok(Some(answer.obeyed))
    }

    /// Shows the device the frames queued for transmission, the buffers that wait for frames, and the command.
    pub fn publish(&mut self) -> Result<(), DriverError> {
        for pair in &mut self.pairs {
            pair.publish(&mut self.session)?;
        }
        match &mut self.control {
            Some(control) => control.publish(&mut self.session),
            None => Ok(()),
        }
    }
}

impl Extras {
    /// Features of the device type that this is for.
    fn features(self) -> Features {
        let mut wanted = Features::NONE;
        if self.commands {
            wanted = wanted | control::FEATURES;
        }
        if self.commands && self.pairs > 1 {
            wanted = wanted | control::STEERING;
        }
        if self.commands && self.hashes {
            wanted = wanted | control::REPORTS;
        }
        if self.offloads {
            wanted = wanted | offload::FEATURES;
        }
        if self.offloads && self.tunnels {
            wanted = wanted | offload::TUNNELS;
        }
        if self.incomplete {
            wanted = wanted | arrival::FEATURES;
        }
        if self.incomplete && self.tunnels {
            wanted = wanted | arrival::TUNNELS;
        }
        if self.incomplete && self.commands {
            wanted = wanted | features::CTRL_GUEST_OFFLOADS;
        }
        wanted
    }
}

fn broken(what: &'static str) -> DriverError {
    DriverError::Device {
        device: "network",
        what,
    }
}

#[cfg(test)]
mod arrival_tests;
#[cfg(test)]
mod control_tests;
#[cfg(test)]
mod offload_tests;
#[cfg(test)]
mod question_tests;
#[cfg(test)]
mod scaling_tests;
#[cfg(test)]
mod tests;
