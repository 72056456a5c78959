//! A network card, to which every packet comes back that it sends.

use std::collections::VecDeque;
use std::mem::offset_of;

use ringwright_memory::Memory;
use ringwright_spec::network::config::Status;
use ringwright_spec::network::control::{Ack, Announce, Class, Ctrl, CtrlCoal, NotfCoal, RssCtx, Stats};
use ringwright_spec::network::hash::{HashTypes, TunnelTypes};
use ringwright_spec::network::header::HdrFlags;
use ringwright_spec::network::statistics::{
    Cvq, QueueStats, ReplyHdr, ReplyType, RxBasic, StatsTypes, TxBasic,
};
use ringwright_spec::network::{self, Config, Hdr, features as can};
use ringwright_spec::{DeviceType, Features, feature};
use zerocopy::{FromBytes, IntoBytes};

use super::{Done, MOST, Model, fill, readable};
use crate::driver::event::Chain;

/// The address of the card.
pub(in crate::driver) const MAC: [u8; 6] = [2, 0, 0, 0, 0, 9];

/// The greatest packet, without its Ethernet header.
pub(in crate::driver) const MTU: u16 = 1500;

/// Pairs of virtqueues.
pub(in crate::driver) const PAIRS: u16 = 2;

/// Most entries of the table by which packets are received.
pub(in crate::driver) const RSS_ENTRIES: u16 = 8;

/// What can be hashed, and inside which tunnels.
pub(in crate::driver) const HASH_TYPES: HashTypes = HashTypes(0x3f);
pub(in crate::driver) const TUNNEL_TYPES: TunnelTypes = TunnelTypes::VXLAN.union(TunnelTypes::GENEVE);

/// Contexts of receive-side scaling.
pub(in crate::driver) const CONTEXTS: u16 = 4;

/// What is counted.
pub(in crate::driver) const STATISTICS: StatsTypes = StatsTypes::RX_BASIC
    .union(StatsTypes::TX_BASIC)
    .union(StatsTypes::CVQ);

/// A network card.
pub(super) struct Card {
    config: Vec<u8>,
    negotiated: Features,
    pairs: [Pair; PAIRS as usize],
}

/// A pair of virtqueues.
#[derive(Default)]
struct Pair {
    /// Buffers of the receiveq.
    waiting: VecDeque<Chain>,
    /// Packets that have been sent and have not come back, with their headers.
    sent: VecDeque<Vec<u8>>,
}

impl Card {
    pub fn new() -> Self {
        let config = Config {
            mac: MAC,
            status: Status::LINK_UP.0.into(),
            max_virtqueue_pairs: PAIRS.into(),
            mtu: MTU.into(),
            rss_max_key_size: 40,
            rss_max_indirection_table_length: RSS_ENTRIES.into(),
            supported_hash_types: HASH_TYPES.0.into(),
            supported_tunnel_types: TUNNEL_TYPES.0.into(),
            ..Config::default()
        };
        Self {
            config: config.as_bytes().to_vec(),
            negotiated: Features::NONE,
            pairs: Default::default(),
        }
    }

    /// Index of the control virtqueue.
    fn controlq(&self) -> u16 {
        match self.negotiated.intersects(can::MQ | can::RSS) {
            true => 2 * PAIRS,
            false => 2,
        }
    }

    /// Does a command; the answer says whether it could, and has its result.
    fn command(&mut self, memory: &Memory, chain: &Chain) -> Vec<u8> {
        let sent = readable(memory, chain, MOST);
        let Ok((head, data)) = Ctrl::read_from_prefix(&sent) else {
            return vec![Ack::ERR.0];
        };
        let result = match (Class(head.class), head.command) {
            (Class::NOTF_COAL, command) if command == NotfCoal::VQ_GET.0 => {
                CtrlCoal::default().as_bytes().to_vec()
            }
            (Class::RSS_CTX, command) if command == RssCtx::CAP_GET.0 => CONTEXTS.to_le_bytes().to_vec(),
            (Class::STATS, command) if command == Stats::GET.0 => statistics(data),
            (Class::STATS, _) => STATISTICS.0.to_le_bytes().to_vec(),
            _ => Vec::new(),
        };
        let ack = self.ack(head);
        [&[ack.0], &result[..]].concat()
    }

    fn ack(&mut self, head: Ctrl) -> Ack {
        match Class(head.class) {
            Class::ANNOUNCE => {
                if head.command == Announce::ACK.0 {
                    self.set_status(Status::LINK_UP);
                }
                Ack::OK
            }
            Class::RX
            | Class::MAC
            | Class::VLAN
            | Class::MQ
            | Class::NOTF_COAL
            | Class::HASH_TUNNEL
            | Class::RSS_CTX
            | Class::STATS => Ack::OK,
            _ => Ack::ERR,
        }
    }

    fn set_status(&mut self, status: Status) {
        let at = offset_of!(Config, status);
        self.config[at..at + 2].copy_from_slice(&status.0.to_le_bytes());
    }
}

/// Answers to the entries in `data`: all counters are 0.
fn statistics(data: &[u8]) -> Vec<u8> {
    let sizes = [
        (StatsTypes::RX_BASIC, ReplyType::RX_BASIC, size_of::<RxBasic>()),
        (StatsTypes::TX_BASIC, ReplyType::TX_BASIC, size_of::<TxBasic>()),
        (StatsTypes::CVQ, ReplyType::CVQ, size_of::<Cvq>()),
    ];
    let mut answer = Vec::new();
    for entry in data.chunks_exact(size_of::<QueueStats>()) {
        let Ok(entry) = QueueStats::read_from_bytes(entry) else {
            continue;
        };
        let [types] = entry.types_bitmap.map(|types| StatsTypes(types.get()));
        for (_, kind, size) in sizes.iter().filter(|(bit, ..)| types.contains(*bit)) {
            let header = ReplyHdr {
                r#type: kind.0,
                vq_index: entry.vq_index,
                size: (*size as u16).into(),
                ..ReplyHdr::default()
            };
            answer.extend(header.as_bytes());
            answer.resize(answer.len() + size - size_of::<ReplyHdr>(), 0);
        }
    }
    answer
}

impl Pair {
    /// Gives packets back, as far as there are buffers; `queue` is the receiveq.
    fn deliver(&mut self, memory: &Memory, queue: u16, merges: bool, done: &mut Vec<Done>) {
        while let Some(packet) = self.sent.front_mut() {
            let room = self.waiting.iter().scan(0, |sum, chain| {
                *sum += chain.length(true);
                Some(*sum)
            });
            let buffers = match merges {
                true => room.take_while(|room| *room < packet.len() as u64).count() + 1,
                false => 1,
            };
            if buffers > self.waiting.len() {
                return;
            }
            if let Some(num_buffers) = packet.get_mut(10..12) {
                num_buffers.copy_from_slice(&(buffers as u16).to_le_bytes());
            }
            let mut rest = &packet[..];
            for chain in self.waiting.drain(..buffers) {
                let written = fill(memory, &chain, 0, rest);
                rest = &rest[written as usize..];
                done.push(Done {
                    queue,
                    id: chain.id,
                    written,
                });
            }
            self.sent.pop_front();
        }
    }
}

/// The packet with this header as it is received; nothing if it would have to be segmented first.
fn returned(mut packet: Vec<u8>, header: usize) -> Option<Vec<u8>> {
    let (head, _) = Hdr::read_from_prefix(&[&packet[..], &[0; size_of::<Hdr>()]].concat()).ok()?;
    if head.gso_type != 0 {
        return None;
    }
    let (front, frame) = packet.split_at_mut_checked(header)?;
    front.fill(0);
    if HdrFlags(head.flags).contains(HdrFlags::NEEDS_CSUM) {
        let start = usize::from(head.csum_start.get());
        let sum = !ones_complement(frame.get(start..)?);
        let field = start + usize::from(head.csum_offset.get());
        frame
            .get_mut(field..field + 2)?
            .copy_from_slice(&sum.to_be_bytes());
    }
    Some(packet)
}

/// The ones' complement sum of the 16-bit words of `bytes`.
fn ones_complement(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|word| {
        let low = word.get(1).copied().unwrap_or_default();
        u64::from(u16::from_be_bytes([word[0], low]))
    });
    let mut sum: u64 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

impl Model for Card {
    fn device(&self) -> &'static DeviceType {
        &network::DEVICE
    }

    fn features(&self) -> Features {
        feature::VERSION_1 | can::MAC | can::STATUS | can::MTU
    }

    fn negotiated(&mut self, features: Features) {
        self.negotiated = features;
        if features.contains(can::GUEST_ANNOUNCE) {
            self.set_status(Status::LINK_UP | Status::ANNOUNCE);
        }
    }

    fn queues(&self) -> u16 {
        2 * PAIRS + 1
    }

    fn config(&mut self) -> &mut Vec<u8> {
        &mut self.config
    }

    /// The cable is pulled, or put in again.
    fn change(&mut self) {
        if let Some(byte) = self.config.get_mut(offset_of!(Config, status)) {
            *byte ^= Status::LINK_UP.0 as u8;
        }
    }

    /// A packet comes as a whole, so nothing is short.
    fn serve(&mut self, memory: &Memory, queue: u16, chain: Chain, _: bool) -> Vec<Done> {
        let mut done = Vec::new();
        let is_command = self.negotiated.contains(can::CTRL_VQ) && queue == self.controlq();
        if is_command {
            let answer = self.command(memory, &chain);
            done.push(Done {
                queue,
                id: chain.id,
                written: fill(memory, &chain, 0, &answer),
            });
            return done;
        }
        let Some(pair) = self.pairs.get_mut(usize::from(queue / 2)) else {
            return done;
        };
        match queue % 2 {
            0 => pair.waiting.push_back(chain),
            _ => {
                let packet = readable(memory, &chain, MOST);
                pair.sent.extend(returned(packet, Hdr::size(self.negotiated)));
                done.push(Done {
                    queue,
                    id: chain.id,
                    written: 0,
                });
            }
        }
        let merges = self.negotiated.contains(can::MRG_RXBUF);
        pair.deliver(memory, queue & !1, merges, &mut done);
        done
    }

    fn forget(&mut self, queue: Option<u16>) {
        for (index, pair) in (0u16..).zip(&mut self.pairs) {
            if queue.is_none_or(|queue| queue == 2 * index) {
                pair.waiting.clear();
            }
            if queue.is_none_or(|queue| queue == 2 * index + 1) {
                pair.sent.clear();
            }
        }
    }
}
