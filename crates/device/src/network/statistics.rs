//! What an interface counts for its driver (section 5.1.9.5, "Device Statistics").

use ringwright_memory::Reader;
use ringwright_spec::data::{Le16, Le64};
use ringwright_spec::network::statistics::{
    Cvq, QueueStats, ReplyHdr, ReplyType, RxBasic, StatsCapabilities, StatsTypes, TxBasic,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::numbering::{Numbering, Role};
use crate::QueueCounters;

/// The types that there are, one for each virtqueue.
pub(super) const SUPPORTED: StatsCapabilities = StatsCapabilities {
    supported_stats_types: [Le64::new(
        StatsTypes::RX_BASIC.0 | StatsTypes::TX_BASIC.0 | StatsTypes::CVQ.0,
    )],
};

/// Most virtqueues that are asked for in a command: each of them many times over.
const MOST: usize = 64;

/// Counters since the device was reset; those of virtqueues, since it was made. All wrap around
/// (dev:net:device-statistics:07).
#[derive(Debug)]
pub(super) struct Statistics {
    numbering: Numbering,
    /// By number.
    pairs: Vec<Pair>,
    /// Commands, the one in hand included.
    pub commands: u64,
    /// Those before the one in hand that succeeded.
    pub succeeded: u64,
}

/// What is counted of a pair of virtqueues.
#[derive(Clone, Debug, Default)]
struct Pair {
    received: Traffic,
    sent: Traffic,
    /// What the receive and the transmit virtqueue count.
    queues: [QueueCounters; 2],
}

/// Frames of one direction.
#[derive(Clone, Debug, Default)]
pub(super) struct Traffic {
    frames: u64,
    bytes: u64,
    dropped: u64,
    malformed: u64,
}

impl Traffic {
    /// A frame of so many bytes has gone through.
    pub fn passed(&mut self, bytes: usize) {
        self.frames = self.frames.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes as u64);
    }

    /// A frame was dropped.
    pub fn dropped(&mut self) {
        self.dropped = self.dropped.wrapping_add(1);
    }

    /// A frame was dropped that was none.
    pub fn malformed(&mut self) {
        self.dropped();
        self.malformed = self.malformed.wrapping_add(1);
    }
}

impl Statistics {
    /// Nothing yet, for virtqueues of these numbers.
    pub fn new(numbering: Numbering) -> Self {
        Self {
            numbering,
            pairs: vec![Pair::default(); numbering.pairs.into()],
            commands: 0,
            succeeded: 0,
        }
    }

    /// Frames for the driver that went to a pair.
    pub fn received(&mut self, pair: u16) -> &mut Traffic {
        &mut self.pairs[usize::from(pair)].received
    }

    /// Frames of the driver that came by a pair.
    pub fn sent(&mut self, pair: u16) -> &mut Traffic {
        &mut self.pairs[usize::from(pair)].sent
    }

    /// What the receive and the transmit virtqueue of a pair count.
    pub fn queues(&mut self, pair: u16) -> &mut [QueueCounters; 2] {
        &mut self.pairs[usize::from(pair)].queues
    }

    /// What is answered to the entries in `data`. `None` if one of them is wrong (dev:net:device-statistics:02,
    /// dev:net:device-statistics:03).
    pub fn replies(&self, mut data: Reader<'_>) -> Option<Vec<u8>> {
        let (size, mut bytes) = (size_of::<QueueStats>(), Vec::new());
        if !data.remaining().is_multiple_of(size) || data.remaining() / size > MOST {
            return None;
        }
        while let Ok(entry) = data.read_array::<{ size_of::<QueueStats>() }>() {
            let entry = QueueStats::read_from_bytes(&entry).ok()?;
            let [types] = entry.types_bitmap.map(|types| StatsTypes(types.get()));
            let queue = entry.vq_index.get();
            let role = self.numbering.role(queue)?;
            let supported = match role {
                Role::Receive(_) => StatsTypes::RX_BASIC,
                Role::Transmit(_) => StatsTypes::TX_BASIC,
                Role::Control => StatsTypes::CVQ,
            };
            if types.0 & !supported.0 != 0 {
                return None;
            }
            // Nobody has to ask for something.
            if types == supported {
                bytes.extend(self.reply(queue, role));
            }
        }
        Some(bytes)
    }

    fn reply(&self, queue: u16, role: Role) -> Vec<u8> {
        match role {
            Role::Receive(pair) => {
                let Pair { received, queues, .. } = &self.pairs[usize::from(pair)];
                bytes(RxBasic {
                    hdr: header::<RxBasic>(ReplyType::RX_BASIC, queue),
                    rx_notifications: queues[0].kicks.into(),
                    rx_packets: received.frames.into(),
                    rx_bytes: received.bytes.into(),
                    rx_interrupts: queues[0].notifications.into(),
                    rx_drops: received.dropped.into(),
                    // Frames wait where they come from until there are buffers.
                    rx_drop_overruns: 0.into(),
                })
            }
            Role::Transmit(pair) => {
                let Pair { sent, queues, .. } = &self.pairs[usize::from(pair)];
                bytes(TxBasic {
                    hdr: header::<TxBasic>(ReplyType::TX_BASIC, queue),
                    tx_notifications: queues[1].kicks.into(),
                    tx_packets: sent.frames.into(),
                    tx_bytes: sent.bytes.into(),
                    tx_interrupts: queues[1].notifications.into(),
                    tx_drops: sent.dropped.into(),
                    tx_drop_malformed: sent.malformed.into(),
                })
            }
            Role::Control => bytes(Cvq {
                hdr: header::<Cvq>(ReplyType::CVQ, queue),
                command_num: self.commands.into(),
                // The one in hand succeeds: it is the one that is answered.
                ok_num: self.succeeded.wrapping_add(1).into(),
            }),
        }
    }
}

/// dev:net:device-statistics:04, dev:net:device-statistics:05
fn header<T>(kind: ReplyType, queue: u16) -> ReplyHdr {
    ReplyHdr {
        r#type: kind.0,
        vq_index: queue.into(),
        size: Le16::new(size_of::<T>() as u16),
        ..ReplyHdr::default()
    }
}

fn bytes(reply: impl IntoBytes + Immutable) -> Vec<u8> {
    reply.as_bytes().to_vec()
}
