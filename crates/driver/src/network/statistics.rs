//! What a card has counted (section 5.1.9.5, "Device Statistics").

use ringwright_memory::Buffer;
use ringwright_spec::network::statistics::{
    Cvq, QueueStats, ReplyHdr, ReplyType, RxBasic, RxCsum, RxGso, RxSpeed, StatsTypes, TxBasic, TxCsum,
    TxGso, TxSpeed,
};
use zerocopy::{FromBytes, IntoBytes};

use super::broken;
use super::command::put;
use super::control::Abilities;
use crate::DriverError;

/// Most virtqueues of [`Command::AskStatistics`](super::Command::AskStatistics).
pub const MOST_COUNTERS: usize = 16;

/// Bytes of the longest result: that of receive virtqueues, or of transmit virtqueues, with all types.
pub(super) const LONGEST_RESULT: usize = MOST_COUNTERS
    * max(
        size_of::<RxBasic>() + size_of::<RxCsum>() + size_of::<RxGso>() + size_of::<RxSpeed>(),
        size_of::<TxBasic>() + size_of::<TxCsum>() + size_of::<TxGso>() + size_of::<TxSpeed>(),
    );

/// Types of receive and of transmit virtqueues.
const RECEIVE: StatsTypes = StatsTypes(
    StatsTypes::RX_BASIC.0 | StatsTypes::RX_CSUM.0 | StatsTypes::RX_GSO.0 | StatsTypes::RX_SPEED.0,
);
const TRANSMIT: StatsTypes = StatsTypes(
    StatsTypes::TX_BASIC.0 | StatsTypes::TX_CSUM.0 | StatsTypes::TX_GSO.0 | StatsTypes::TX_SPEED.0,
);

/// Counters that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counters {
    /// Index of the virtqueue.
    pub queue: u16,
    /// Some of [`Network::statistics_types`](super::Network::statistics_types), of those for this kind of virtqueue.
    pub types: StatsTypes,
}

impl Counters {
    /// drv:net:device-statistics:01, drv:net:device-statistics:02
    pub(super) fn are_valid(&self, card: &Abilities) -> bool {
        let kind = match self.queue {
            control if control == card.control => StatsTypes::CVQ,
            queue if queue >= 2 * card.pairs => StatsTypes::NONE,
            queue if queue % 2 == 0 => RECEIVE,
            _ => TRANSMIT,
        };
        !self.types.is_empty() && kind.contains(self.types) && card.statistics.contains(self.types)
    }

    /// Bytes of the answer (drv:net:device-statistics:03).
    pub(super) fn result(&self) -> usize {
        let sizes = [
            (StatsTypes::RX_BASIC, size_of::<RxBasic>()),
            (StatsTypes::RX_CSUM, size_of::<RxCsum>()),
            (StatsTypes::RX_GSO, size_of::<RxGso>()),
            (StatsTypes::RX_SPEED, size_of::<RxSpeed>()),
            (StatsTypes::TX_BASIC, size_of::<TxBasic>()),
            (StatsTypes::TX_CSUM, size_of::<TxCsum>()),
            (StatsTypes::TX_GSO, size_of::<TxGso>()),
            (StatsTypes::TX_SPEED, size_of::<TxSpeed>()),
            (StatsTypes::CVQ, size_of::<Cvq>()),
        ];
        let asked = sizes.iter().filter(|(kind, _)| self.types.contains(*kind));
        asked.map(|(_, size)| size).sum()
    }

    /// Writes it at `at`; gives where it ends.
    pub(super) fn write(&self, buffer: &Buffer, at: usize) -> usize {
        let entry = QueueStats {
            vq_index: self.queue.into(),
            types_bitmap: [self.types.0.into()],
            ..QueueStats::default()
        };
        put(buffer, at, entry.as_bytes())
    }
}

/// Counters of one type, of the virtqueue that their header names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Frames of a receive virtqueue.
    RxBasic(RxBasic),
    /// Checksums of received frames.
    RxCsum(RxCsum),
    /// Received frames that were not segmented.
    RxGso(RxGso),
    /// Frames that were too many to be received.
    RxSpeed(RxSpeed),
    /// Frames of a transmit virtqueue.
    TxBasic(TxBasic),
    /// Checksums of frames that were sent.
    TxCsum(TxCsum),
    /// Frames that were segmented for being sent.
    TxGso(TxGso),
    /// Frames that were too many to be sent.
    TxSpeed(TxSpeed),
    /// Commands.
    Cvq(Cvq),
}

impl Statistics {
    /// The first ones in `result`, which moves on to the next.
    fn take(result: &mut &[u8]) -> Result<Self, DriverError> {
        let header = ReplyHdr::read_from_prefix(result);
        let (header, _) = header.map_err(|_| broken("statistics end within their header"))?;
        let size = usize::from(header.size.get());
        let (reply, rest) = result
            .split_at_checked(size)
            .ok_or(broken("statistics are longer than the result of the command"))?;
        *result = rest;
        let read = match ReplyType(header.r#type) {
            ReplyType::RX_BASIC => read(reply).map(Self::RxBasic),
            ReplyType::RX_CSUM => read(reply).map(Self::RxCsum),
            ReplyType::RX_GSO => read(reply).map(Self::RxGso),
            ReplyType::RX_SPEED => read(reply).map(Self::RxSpeed),
            ReplyType::TX_BASIC => read(reply).map(Self::TxBasic),
            ReplyType::TX_CSUM => read(reply).map(Self::TxCsum),
            ReplyType::TX_GSO => read(reply).map(Self::TxGso),
            ReplyType::TX_SPEED => read(reply).map(Self::TxSpeed),
            ReplyType::CVQ => read(reply).map(Self::Cvq),
            _ => return Err(broken("statistics are of a type that was not asked for")),
        };
        read.ok_or(broken("statistics are shorter than their type"))
    }
}

/// The statistics in the result of a command, one after the other; nothing follows what is wrong.
pub(super) fn parse(mut result: &[u8]) -> impl Iterator<Item = Result<Statistics, DriverError>> {
    core::iter::from_fn(move || {
        let next = (!result.is_empty()).then(|| Statistics::take(&mut result))?;
        if next.is_err() {
            result = &[];
        }
        Some(next)
    })
}

fn read<T: FromBytes>(reply: &[u8]) -> Option<T> {
    T::read_from_prefix(reply).ok().map(|(counters, _)| counters)
}

const fn max(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}
