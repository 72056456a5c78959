//! The control virtqueue (section 5.1.9.5): commands to the card, one at a time.

use alloc::vec::Vec;
use core::mem::offset_of;

use ringwright_memory::Buffer;
use ringwright_ring::{AddError, DriverQueue, Used};
use ringwright_spec::Features;
use ringwright_spec::network::control::{Ack, CtrlCoal};
use ringwright_spec::network::hash::{HashTypes, RssCtxCap, TunnelTypes};
use ringwright_spec::network::statistics::{StatsCapabilities, StatsTypes};
use ringwright_spec::network::{Config, controlq, features};
use zerocopy::{FromBytes, IntoBytes};

use super::broken;
use super::command::{Coalescing, Command, FITS, LONGEST, put};
use super::scaling::Contexts;
use super::statistics::LONGEST_RESULT;
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
        | features::VQ_NOTF_COAL.0
        | features::DEVICE_STATS.0,
);

/// What commands to a card with several pairs need.
pub(super) const STEERING: Features =
    Features(features::MQ.0 | features::RSS.0 | features::RSS_CONTEXT.0 | features::HASH_TUNNEL.0);

/// What commands to a card that reports hashes need.
pub(super) const REPORTS: Features = Features(features::HASH_REPORT.0 | features::HASH_TUNNEL.0);

/// What a card can be commanded to do, by its number of pairs and its configuration space.
#[derive(Clone, Copy)]
pub(super) struct Abilities {
    /// Pairs that are set up.
    pub pairs: u16,
    /// Index of the control virtqueue.
    pub control: u16,
    /// What the device counts, once it has said so.
    pub statistics: StatsTypes,
    pub hash_types: HashTypes,
    pub tunnel_types: TunnelTypes,
    /// Most entries of the indirection table, and bytes of the key.
    pub entries: u16,
    pub key: u8,
    pub contexts: Contexts,
}

impl Abilities {
    /// Those of the card of `session`, on which as many pairs are set up.
    pub fn read<T: Transport>(session: &mut Session<T>, pairs: u16) -> Result<Self, DriverError> {
        let mut abilities = Self {
            pairs,
            control: 0,
            statistics: StatsTypes::NONE,
            hash_types: HashTypes::NONE,
            tunnel_types: TunnelTypes::NONE,
            entries: 0,
            key: 0,
            contexts: Contexts::default(),
        };
        if session
            .features()
            .intersects(features::RSS | features::HASH_REPORT)
        {
            abilities.hash_types = HashTypes(session.config(offset_of!(Config, supported_hash_types))?);
            abilities.key = session.config(offset_of!(Config, rss_max_key_size))?;
        }
        if session.has(features::RSS) {
            abilities.entries = session.config(offset_of!(Config, rss_max_indirection_table_length))?;
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
    /// The document allows no such command, or there are too many addresses in it, or fewer pairs of virtqueues, or other
    /// contexts.
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
    abilities: Abilities,
    queue: DriverQueue<Outstanding>,
    /// The only one, while no command is outstanding.
    buffer: Option<Buffer>,
    /// What was answered to the last question that was obeyed.
    coalescing: Option<Coalescing>,
    /// The same, for statistics: as many of these bytes.
    statistics: Vec<u8>,
}

/// A command that the device has.
struct Outstanding {
    buffer: Buffer,
    /// Where its answer is.
    ack: usize,
    pairs: Option<u16>,
    /// The context that it makes, or deletes.
    context: Option<(u16, bool)>,
    question: Option<Question>,
}

/// What a command asks for.
#[derive(Clone, Copy)]
enum Question {
    Contexts,
    Coalescing,
    StatisticsTypes,
    Statistics,
}

impl Control {
    /// Sets it up for a card with these `abilities`, behind this number of pairs.
    pub fn new<T: Transport>(
        setup: &mut Setup<T>,
        pairs: u16,
        mut abilities: Abilities,
    ) -> Result<Self, DriverError> {
        let index = controlq(pairs).ok_or(broken("there is no index for the control virtqueue"))?;
        let queue = setup.queue(index, 2)?;
        let session = setup.session();
        let room = match session.has(features::DEVICE_STATS) {
            true => LONGEST_RESULT,
            false => size_of::<CtrlCoal>(),
        };
        let buffer = session.allocate(LONGEST + size_of::<Ack>() + room)?;
        abilities.control = index;
        Ok(Self {
            abilities,
            queue,
            buffer: Some(buffer),
            coalescing: None,
            statistics: Vec::with_capacity(room),
        })
    }

    /// What was answered to [`Command::AskCoalescing`], if it was obeyed.
    pub fn coalescing(&self) -> Option<Coalescing> {
        self.coalescing
    }

    /// The result of [`Command::AskStatistics`], nothing if it was not obeyed.
    pub fn statistics(&self) -> &[u8] {
        &self.statistics
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
        let answer = size_of::<Ack>() + command.result();
        let (sent, answer) = ([segment(0, ack)], [segment(ack, answer)]);
        let outstanding = Outstanding {
            buffer,
            ack,
            pairs: command.pairs(),
            context: match command {
                Command::AddContext(id, _) => Some((id, true)),
                Command::DeleteContext(id) => Some((id, false)),
                _ => None,
            },
            question: Question::of(&command),
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
        let Some(Used { data, written, .. }) = self.queue.pop()? else {
            return Ok(None);
        };
        let buffer = self.buffer.insert(data.buffer);
        let mut ack = [0];
        buffer.read(data.ack, &mut ack).expect(FITS);
        let obeyed = match Ack(ack[0]) {
            Ack::OK => true,
            Ack::ERR => false,
            _ => return Err(broken("ack of a command is neither OK nor ERR")),
        };
        let length = (written as usize).saturating_sub(size_of::<Ack>());
        let at = data.ack + size_of::<Ack>();
        if let Some((id, is_there)) = data.context
            && obeyed
        {
            self.abilities.contexts.set(id, is_there);
        }
        match data.question {
            Some(Question::Contexts) if obeyed => {
                let most = result::<RssCtxCap>(buffer, at, length)?.max_rss_contexts;
                self.abilities.contexts.most = most.get();
            }
            // drv:net:notifications-coalescing:04
            Some(Question::Coalescing) => {
                self.coalescing = match obeyed {
                    true => Some(Coalescing::of(result(buffer, at, length)?)),
                    false => None,
                };
            }
            Some(Question::StatisticsTypes) if obeyed => {
                let [types] = result::<StatsCapabilities>(buffer, at, length)?.supported_stats_types;
                let types = StatsTypes(types.get());
                self.abilities.statistics = types.without(types.unnamed());
            }
            Some(Question::Statistics) => {
                // The queue has seen to it that there is as much.
                self.statistics.resize(if obeyed { length } else { 0 }, 0);
                buffer.read(at, &mut self.statistics).expect(FITS);
            }
            _ => {}
        }
        Ok(Some(Answer {
            obeyed,
            pairs: data.pairs,
        }))
    }

    /// Shows the device the command.
    pub fn publish<T: Transport>(&mut self, session: &mut Session<T>) -> Result<(), DriverError> {
        session.publish(self.abilities.control, &mut self.queue)
    }
}

impl Question {
    fn of(command: &Command<'_>) -> Option<Self> {
        match command {
            Command::AskContexts => Some(Self::Contexts),
            Command::AskCoalescing(_) => Some(Self::Coalescing),
            Command::AskStatisticsTypes => Some(Self::StatisticsTypes),
            Command::AskStatistics(_) => Some(Self::Statistics),
            _ => None,
        }
    }
}

/// A result of `length` bytes at `at`, of which there are enough.
fn result<R: FromBytes + IntoBytes>(buffer: &Buffer, at: usize, length: usize) -> Result<R, DriverError> {
    let mut result = R::new_zeroed();
    if length < size_of::<R>() {
        return Err(broken("the result of a command is too short"));
    }
    buffer.read(at, result.as_mut_bytes()).expect(FITS);
    Ok(result)
}

/// What stands where the device writes its answer.
const NO_ANSWER: u8 = 0xff;
