//! Commands to a network card (section 5.1.9.5).

use ringwright_memory::Buffer;
use ringwright_spec::Features;
use ringwright_spec::data::{Le16, Le32, Le64};
use ringwright_spec::network::control::{
    Announce, Class, Ctrl, CtrlCoal, CtrlCoalVq, GuestOffloads, GuestOffloadsCommand, HashTunnelCommand, Mac,
    Mq, NotfCoal, RssCtx, Rx, Stats, Vlan,
};
use ringwright_spec::network::features;
use ringwright_spec::network::hash::{RssCtxAddModify, RssCtxCap, TunnelTypes};
use ringwright_spec::network::statistics::StatsCapabilities;
use zerocopy::IntoBytes;

use super::arrival;
use super::control::Abilities;
use super::scaling::{Hashing, Scaling};
use super::statistics::{Counters, MOST_COUNTERS};

/// Most addresses of [`Command::Filter`], of both kinds together.
pub const MOST_ADDRESSES: usize = 128;

/// Bytes of the longest command: its head, two numbers, and the addresses. One that has a table and the longest key is
/// shorter.
pub(super) const LONGEST: usize = size_of::<Ctrl>() + 2 * size_of::<Le32>() + 6 * MOST_ADDRESSES;

/// Greatest VLAN identifier.
const LAST_VLAN: u16 = 0xfff;

/// A command to a network card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// Turns a mode of reception on or off: [`Rx::PROMISC`], for example.
    Receive(Rx, bool),
    /// Frames to these addresses are received as well as those to the card itself: single ones, and multicast ones.
    Filter(&'a [[u8; 6]], &'a [[u8; 6]]),
    /// The card has another address (`drv:net:setting-mac-address-filtering:02`).
    Address([u8; 6]),
    /// Frames of a VLAN are received, or not any more: [`Vlan::ADD`] or [`Vlan::DEL`].
    Vlan(Vlan, u16),
    /// The network has been told where the card is.
    AcknowledgeAnnouncement,
    /// As many pairs of virtqueues are used, and frames of a flow are received where it sends.
    Pairs(u16),
    /// Frames are received where their hash says (receive-side scaling).
    Scale(Scaling<'a>),
    /// What is hashed for reports, where there is no receive-side scaling, to which that belongs.
    Hash(Hashing<'a>),
    /// Hashes are those of the inner headers in these tunnels.
    HashInside(TunnelTypes),
    /// Only these offloads are on from now on, of those that were negotiated: what arrives is complete but for them.
    Accept(GuestOffloads),
    /// How many contexts of receive-side scaling there can be: [`Network::contexts`](super::Network::contexts) then says it.
    AskContexts,
    /// There is a context with this id, from 1 on. As long as there is one, [`Pairs`](Self::Pairs) is no command
    /// (`drv:net:rss-context:03`).
    AddContext(u16, Scaling<'a>),
    /// It is another one.
    ModifyContext(u16, Scaling<'a>),
    /// It is gone.
    DeleteContext(u16),
    /// Notifications of all virtqueues of this kind come together: [`NotfCoal::TX_SET`] or [`NotfCoal::RX_SET`].
    Coalesce(NotfCoal, Coalescing),
    /// Those of the receive or transmit virtqueue of this index do.
    CoalesceVirtqueue(u16, Coalescing),
    /// How those of this virtqueue do: [`Network::coalescing`](super::Network::coalescing) then says it.
    AskCoalescing(u16),
    /// What the device counts: [`Network::statistics_types`](super::Network::statistics_types) then says it.
    AskStatisticsTypes,
    /// What the device has counted, of [`MOST_COUNTERS`] virtqueues at the most:
    /// [`Network::statistics`](super::Network::statistics) then has it. Needs [`AskStatisticsTypes`](Self::AskStatisticsTypes)
    /// before.
    AskStatistics(&'a [Counters]),
}

/// When a device notifies: after as many packets or microseconds, whatever comes first. After each packet if one is 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coalescing {
    /// Packets.
    pub packets: u32,
    /// Microseconds from the first of them on.
    pub microseconds: u32,
}

impl Command<'_> {
    /// How many pairs of virtqueues are sent by from this command on.
    pub(super) fn pairs(&self) -> Option<u16> {
        match self {
            Self::Pairs(pairs) => Some(*pairs),
            Self::Scale(scaling) => Some(scaling.transmit),
            _ => None,
        }
    }

    /// The features without which it must not be sent.
    pub(super) fn needs(&self) -> Features {
        match self {
            // drv:net:packet-receive-filtering:01, drv:net:packet-receive-filtering:02
            Self::Receive(Rx::PROMISC | Rx::ALLMULTI, _) => features::CTRL_RX,
            Self::Receive(..) => features::CTRL_RX_EXTRA,
            // drv:net:setting-mac-address-filtering:01
            Self::Filter(..) => features::CTRL_RX,
            Self::Address(_) => features::CTRL_RX | features::CTRL_MAC_ADDR,
            Self::Vlan(..) => features::CTRL_VLAN,
            Self::AcknowledgeAnnouncement => features::GUEST_ANNOUNCE,
            Self::Pairs(_) => features::MQ,
            // drv:net:receive-side-scaling-rss:01
            Self::Scale(_) => features::RSS,
            // drv:net:inner-header-hash:01
            Self::HashInside(_) => features::HASH_TUNNEL,
            // drv:net:setting-offloads-state:01
            Self::Accept(offloads) => features::CTRL_GUEST_OFFLOADS | arrival::of_offloads(*offloads),
            Self::Hash(_) => features::HASH_REPORT,
            // drv:net:rss-context:01
            Self::AskContexts | Self::AddContext(..) | Self::ModifyContext(..) | Self::DeleteContext(_) => {
                features::RSS_CONTEXT
            }
            // drv:net:notifications-coalescing:02, drv:net:notifications-coalescing:03
            Self::Coalesce(..) => features::NOTF_COAL,
            Self::CoalesceVirtqueue(..) | Self::AskCoalescing(_) => features::VQ_NOTF_COAL,
            Self::AskStatisticsTypes | Self::AskStatistics(_) => features::DEVICE_STATS,
        }
    }

    /// Whether it can be given to a card that can do this.
    pub(super) fn is_valid(&self, card: &Abilities) -> bool {
        let is_multicast = |address: &[u8; 6]| address[0] & 1 != 0;
        match self {
            Self::Receive(mode, _) => mode.0 <= Rx::NOBCAST.0,
            // drv:net:setting-mac-address-filtering:03
            Self::Filter(single, multicast) => {
                single.len() + multicast.len() <= MOST_ADDRESSES
                    && !single.iter().any(is_multicast)
                    && multicast.iter().all(is_multicast)
            }
            Self::Address(address) => !is_multicast(address),
            Self::Vlan(command, vlan) => matches!(*command, Vlan::ADD | Vlan::DEL) && *vlan <= LAST_VLAN,
            Self::AcknowledgeAnnouncement => true,
            // drv:net:automatic-receive-steering-in-multiqueue-mode:01,
            // drv:net:automatic-receive-steering-in-multiqueue-mode:02, drv:net:rss-context:03
            Self::Pairs(enabled) => (1..=card.pairs).contains(enabled) && card.contexts.is_empty(),
            Self::Scale(scaling) => scaling.is_valid(card),
            // With receive-side scaling it is that which says what is hashed.
            Self::Hash(hashing) => hashing.is_valid(card) && card.entries == 0,
            Self::AskContexts => true,
            Self::AddContext(id, scaling) => card.contexts.is_free(*id) && scaling.is_valid(card),
            Self::ModifyContext(id, scaling) => card.contexts.contains(*id) && scaling.is_valid(card),
            Self::DeleteContext(id) => card.contexts.contains(*id),
            // drv:net:inner-header-hash:02
            Self::HashInside(types) => card.tunnel_types.contains(*types),
            Self::Accept(offloads) => arrival::are_known(*offloads),
            Self::Coalesce(command, _) => matches!(*command, NotfCoal::TX_SET | NotfCoal::RX_SET),
            // drv:net:notifications-coalescing:01
            Self::CoalesceVirtqueue(index, _) | Self::AskCoalescing(index) => {
                usize::from(*index) < 2 * usize::from(card.pairs)
            }
            Self::AskStatisticsTypes => true,
            Self::AskStatistics(counters) => {
                counters.len() <= MOST_COUNTERS && counters.iter().all(|counters| counters.are_valid(card))
            }
        }
    }

    /// Bytes of what is answered beyond whether it is obeyed.
    pub(super) fn result(&self) -> usize {
        match self {
            Self::AskCoalescing(_) => size_of::<CtrlCoal>(),
            Self::AskContexts => size_of::<RssCtxCap>(),
            Self::AskStatisticsTypes => size_of::<StatsCapabilities>(),
            Self::AskStatistics(counters) => counters.iter().map(Counters::result).sum(),
            _ => 0,
        }
    }

    /// Writes it to the start of `buffer`; gives its length.
    pub(super) fn write(&self, buffer: &Buffer) -> usize {
        let (class, command) = match self {
            Self::Receive(mode, _) => (Class::RX, mode.0),
            Self::Filter(..) => (Class::MAC, Mac::TABLE_SET.0),
            Self::Address(_) => (Class::MAC, Mac::ADDR_SET.0),
            Self::Vlan(command, _) => (Class::VLAN, command.0),
            Self::AcknowledgeAnnouncement => (Class::ANNOUNCE, Announce::ACK.0),
            Self::Pairs(_) => (Class::MQ, Mq::VQ_PAIRS_SET.0),
            Self::Scale(_) => (Class::MQ, Mq::RSS_CONFIG.0),
            Self::Hash(_) => (Class::MQ, Mq::HASH_CONFIG.0),
            Self::HashInside(_) => (Class::HASH_TUNNEL, HashTunnelCommand::SET.0),
            Self::Accept(_) => (Class::GUEST_OFFLOADS, GuestOffloadsCommand::SET.0),
            Self::AskContexts => (Class::RSS_CTX, RssCtx::CAP_GET.0),
            Self::AddContext(..) => (Class::RSS_CTX, RssCtx::ADD.0),
            Self::ModifyContext(..) => (Class::RSS_CTX, RssCtx::MOD.0),
            Self::DeleteContext(_) => (Class::RSS_CTX, RssCtx::DEL.0),
            Self::Coalesce(command, _) => (Class::NOTF_COAL, command.0),
            Self::CoalesceVirtqueue(..) => (Class::NOTF_COAL, NotfCoal::VQ_SET.0),
            Self::AskCoalescing(_) => (Class::NOTF_COAL, NotfCoal::VQ_GET.0),
            Self::AskStatisticsTypes => (Class::STATS, Stats::QUERY.0),
            Self::AskStatistics(_) => (Class::STATS, Stats::GET.0),
        };
        let head = Ctrl {
            class: class.0,
            command,
        };
        let at = put(buffer, 0, head.as_bytes());
        match self {
            Self::Receive(_, on) => put(buffer, at, &[u8::from(*on)]),
            Self::Filter(single, multicast) => {
                let table = |at, addresses: &[[u8; 6]]| {
                    let entries = Le32::new(addresses.len() as u32);
                    let at = put(buffer, at, entries.as_bytes());
                    put(buffer, at, addresses.as_bytes())
                };
                table(table(at, single), multicast)
            }
            Self::Address(address) => put(buffer, at, address),
            Self::Vlan(_, number) | Self::Pairs(number) | Self::DeleteContext(number) => {
                put(buffer, at, Le16::new(*number).as_bytes())
            }
            Self::AcknowledgeAnnouncement | Self::AskStatisticsTypes | Self::AskContexts => at,
            Self::Scale(scaling) => scaling.write(buffer, at),
            Self::Hash(hashing) => hashing.write(buffer, at),
            Self::AddContext(id, scaling) | Self::ModifyContext(id, scaling) => {
                let head = RssCtxAddModify {
                    rss_ctx_id: (*id).into(),
                    ..RssCtxAddModify::default()
                };
                scaling.write(buffer, put(buffer, at, head.as_bytes()))
            }
            Self::HashInside(types) => put(buffer, at, Le32::new(types.0).as_bytes()),
            Self::Accept(offloads) => put(buffer, at, Le64::new(offloads.0).as_bytes()),
            Self::Coalesce(_, coalescing) => put(buffer, at, coalescing.fields().as_bytes()),
            Self::CoalesceVirtqueue(index, coalescing) => {
                let fields = CtrlCoalVq {
                    vq_index: (*index).into(),
                    coal: coalescing.fields(),
                    ..CtrlCoalVq::default()
                };
                put(buffer, at, fields.as_bytes())
            }
            // The index, and what is reserved behind it.
            Self::AskCoalescing(index) => put(buffer, at, Le32::new((*index).into()).as_bytes()),
            Self::AskStatistics(counters) => counters
                .iter()
                .fold(at, |at, counters| counters.write(buffer, at)),
        }
    }
}

impl Coalescing {
    /// That of a result.
    pub(super) fn of(fields: CtrlCoal) -> Self {
        Self {
            packets: fields.max_packets.get(),
            microseconds: fields.max_usecs.get(),
        }
    }

    fn fields(self) -> CtrlCoal {
        CtrlCoal {
            max_packets: self.packets.into(),
            max_usecs: self.microseconds.into(),
        }
    }
}

/// Writes `bytes` at `at`; gives where they end.
pub(super) fn put(buffer: &Buffer, at: usize, bytes: &[u8]) -> usize {
    buffer.write(at, bytes).expect(FITS);
    at + bytes.len()
}

/// A command is checked before it is written, and there is room for the longest.
pub(super) const FITS: &str = "a command fits into its buffer";
