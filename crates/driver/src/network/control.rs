//! The control virtqueue (section 5.1.9.5): commands to the card, one at a time.

use core::mem::offset_of;

use ringwright_memory::Buffer;
use ringwright_ring::{AddError, DriverQueue, Used};
use ringwright_spec::Features;
use ringwright_spec::network::control::Ack;
use ringwright_spec::network::hash::{HashTypes, TunnelTypes};
use ringwright_spec::network::{Config, controlq, features};

use super::broken;
use super::command::{Command, FITS, LONGEST, put};
use crate::init::Setup;
use crate::session::Session;
use crate::{DriverError, Transport};

/// The control virtqueue, and what its commands need.
pub(super) const FEATURES: Features = Features(
    features::CTRL_VQ.0
        | features::CTRL_RX.0
        | features::CTRL_RX_EXTRA.0
        | features::CTRL_VLAN.0
        | features::CTRL_MAC_ADDR.0
        | features::GUEST_ANNOUNCE.0
        | features::NOTF_COAL.0
        | features::VQ_NOTF_COAL.0,
);

/// What commands to a card with several pairs need.
pub(super) const STEERING: Features = Features(features::MQ.0 | features::RSS.0 | features::HASH_TUNNEL.0);

/// What a card can be commanded to do, by its number of pairs and its configuration space.
#[derive(Clone, Copy)]
pub(super) struct Abilities {
    /// Pairs that are set up.
    pub pairs: u16,
    pub hash_types: HashTypes,
    pub tunnel_types: TunnelTypes,
    /// Most entries of the indirection table, and bytes of the key.
    pub entries: u16,
    pub key: u8,
}

impl Abilities {
    /// Those of the card of `session`, on which as many pairs are set up.
    pub fn read<T: Transport>(session: &mut Session<T>, pairs: u16) -> Result<Self, DriverError> {
        let mut abilities = Self {
            pairs,
            hash_types: HashTypes::NONE,
            tunnel_types: TunnelTypes::NONE,
            entries: 0,
            key: 0,
        };
        if session.has(features::RSS) {
            abilities.hash_types = HashTypes(session.config(offset_of!(Config, supported_hash_types))?);
            abilities.entries = session.config(offset_of!(Config, rss_max_indirection_table_length))?;
            abilities.key = session.config(offset_of!(Config, rss_max_key_size))?;
        }
        if session.has(features::HASH_TUNNEL) {
            let types = TunnelTypes(session.config(offset_of!(Config, supported_tunnel_types))?);
            // drv:net:inner-header-hash:03
            abilities.tunnel_types = types.without(types.unnamed());
        }
        Ok(abilities)
    }
}

/// What became of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commanded {
    /// The device has it, or will have it with the next [`Network::publish`](super::Network::publish).
    Queued,
    /// Another one is outstanding: ask for its [answer](super::Network::answer) first.
    Busy,
    /// The features that it needs are not negotiated.
    Unavailable,
    /// The document allows no such command, or there are too many addresses in it, or fewer pairs of virtqueues.
    Invalid,
}

/// What the device makes of a command.
pub(super) struct Answer {
    pub obeyed: bool,
    /// How many pairs of virtqueues it was to be sent by.
    pub pairs: Option<u16>,
}

/// The control virtqueue.
pub(super) struct Control {
    index: u16,
    abilities: Abilities,
    queue: DriverQueue<Outstanding>,
    /// The only one, while no command is outstanding.
    buffer: Option<Buffer>,
}

/// A command that the device has.
struct Outstanding {
    buffer: Buffer,
    /// Where its answer is.
    ack: usize,
    pairs: Option<u16>,
}

impl Control {
    /// Sets it up for a card with these `abilities`, behind this number of pairs.
    pub fn new<T: Transport>(
        setup: &mut Setup<T>,
        pairs: u16,
        abilities: Abilities,
    ) -> Result<Self, DriverError> {
        let index = controlq(pairs).ok_or(broken("there is no index for the control virtqueue"))?;
        let queue = setup.queue(index, 2)?;
        let buffer = setup.session().allocate(LONGEST + size_of::<Ack>())?;
        Ok(Self {
            index,
            abilities,
            queue,
            buffer: Some(buffer),
        })
    }

    /// What the card can be commanded to do.
    pub fn abilities(&self) -> &Abilities {
        &self.abilities
    }

    /// Queues a command to a card with these features.
    pub fn command(&mut self, command: Command<'_>, features: Features) -> Commanded {
        if !features.contains(command.needs()) {
            return Commanded::Unavailable;
        }
        if !command.is_valid(&self.abilities) {
            return Commanded::Invalid;
        }
        let Some(buffer) = self.buffer.take() else {
            return Commanded::Busy;
        };
        let ack = command.write(&buffer);
        put(&buffer, ack, &[NO_ANSWER]);
        let segment = |offset, length| buffer.segment_at(offset, length).expect(FITS);
        let (sent, answer) = ([segment(0, ack)], [segment(ack, size_of::<Ack>())]);
        let outstanding = Outstanding {
            buffer,
            ack,
            pairs: command.pairs(),
        };
        match self.queue.add(&sent, &answer, outstanding) {
            Ok(_) => Commanded::Queued,
            // Only a broken virtqueue has no room for it, which says so when it is asked for the answer.
            Err(AddError { data, .. }) => {
                self.buffer = Some(data.buffer);
                Commanded::Busy
            }
        }
    }

    /// The answer to the command that is outstanding, if it has come.
    pub fn answer(&mut self) -> Result<Option<Answer>, DriverError> {
        let Some(Used { data, .. }) = self.queue.pop()? else {
            return Ok(None);
        };
        let mut ack = [0];
        data.buffer.read(data.ack, &mut ack).expect(FITS);
        self.buffer = Some(data.buffer);
        let obeyed = match Ack(ack[0]) {
            Ack::OK => true,
            Ack::ERR => false,
            _ => return Err(broken("ack of a command is neither OK nor ERR")),
        };
        Ok(Some(Answer {
            obeyed,
            pairs: data.pairs,
        }))
    }

    /// Shows the device the command.
    pub fn publish<T: Transport>(&mut self, session: &mut Session<T>) -> Result<(), DriverError> {
        session.publish(self.index, &mut self.queue)
    }
}

/// What stands where the device writes its answer.
const NO_ANSWER: u8 = 0xff;
