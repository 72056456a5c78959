//! Hashes of packets, and what is done by them: receive-side scaling, its contexts, and reports (sections 5.1.9.4, 5.1.9.5).

use ringwright_memory::Buffer;
use ringwright_spec::data::Le16;
use ringwright_spec::network::hash::{HashConfig, HashReport, HashTypes, RssConfigHead, RssConfigTail};
use zerocopy::IntoBytes;

use super::command::put;
use super::control::Abilities;

/// Most entries of [`Scaling::table`].
pub const MOST_ENTRIES: usize = 128;

/// Greatest id of a context.
pub const MOST_CONTEXTS: u16 = 64;

/// How frames are spread over pairs of virtqueues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scaling<'a> {
    /// What is hashed: some of [`Network::hash_types`](super::Network::hash_types).
    pub types: HashTypes,
    /// The pair for each value of the last bits of a hash: as many as a power of two, [`MOST_ENTRIES`] or what the device
    /// has room for at the most.
    pub table: &'a [u16],
    /// The pair for what is not hashed.
    pub unclassified: u16,
    /// How many pairs are sent by.
    pub transmit: u16,
    /// The key of the hash, as long as the device has room for at the most.
    pub key: &'a [u8],
}

/// What is hashed of packets, for [reports](super::Pair::hash).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hashing<'a> {
    /// Some of [`Network::hash_types`](super::Network::hash_types).
    pub types: HashTypes,
    /// The key, as long as the device has room for at the most.
    pub key: &'a [u8],
}

/// The hash of a packet, as the device has reported it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hash {
    /// The hash.
    pub value: u32,
    /// What of the packet was hashed.
    pub of: HashReport,
}

/// The contexts of a card.
#[derive(Clone, Copy, Default)]
pub(super) struct Contexts {
    /// How many there can be, once the device has said so.
    pub most: u16,
    /// A bit for each id that is there, from 1 on.
    ids: u64,
}

impl Contexts {
    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.ids == 0
    }

    /// Whether there is one of this id.
    pub fn contains(self, id: u16) -> bool {
        self.is_id(id) && self.ids & bit(id) != 0
    }

    /// Whether there can be one of this id, and is not yet.
    pub fn is_free(self, id: u16) -> bool {
        self.is_id(id) && self.ids & bit(id) == 0
    }

    /// There is one of this id now, or not any more.
    pub fn set(&mut self, id: u16, is_there: bool) {
        match is_there {
            true => self.ids |= bit(id),
            false => self.ids &= !bit(id),
        }
    }

    /// drv:net:rss-context:02
    fn is_id(self, id: u16) -> bool {
        (1..=self.most.min(MOST_CONTEXTS)).contains(&id)
    }
}

/// The bit of an id that there is.
fn bit(id: u16) -> u64 {
    1 << (id - 1)
}

impl Scaling<'_> {
    pub(super) fn is_valid(&self, card: &Abilities) -> bool {
        // drv:net:receive-side-scaling-rss:03, drv:net:receive-side-scaling-rss:04
        let entries = self.table.len();
        let fits = entries.is_power_of_two() && entries <= MOST_ENTRIES.min(usize::from(card.entries));
        // drv:net:receive-side-scaling-rss:02
        let exist = self.table.iter().all(|pair| *pair < card.pairs) && self.unclassified < card.pairs;
        fits && exist
            && (1..=card.pairs).contains(&self.transmit)
            && Hashing {
                types: self.types,
                key: self.key,
            }
            .is_valid(card)
    }

    /// Writes it at `at`; gives where it ends. The identifier of a receive virtqueue is half its index, the number of its
    /// pair.
    pub(super) fn write(&self, buffer: &Buffer, at: usize) -> usize {
        let head = RssConfigHead {
            hash_types: self.types.0.into(),
            indirection_table_mask: (self.table.len() as u16 - 1).into(),
            unclassified_queue: self.unclassified.into(),
        };
        let tail = RssConfigTail {
            max_tx_vq: self.transmit.into(),
            hash_key_length: self.key.len() as u8,
        };
        let mut at = put(buffer, at, head.as_bytes());
        for pair in self.table {
            at = put(buffer, at, Le16::new(*pair).as_bytes());
        }
        let at = put(buffer, at, tail.as_bytes());
        put(buffer, at, self.key)
    }
}

impl Hashing<'_> {
    pub(super) fn is_valid(&self, card: &Abilities) -> bool {
        // drv:net:receive-side-scaling-rss:05
        self.key.len() <= usize::from(card.key) && card.hash_types.contains(self.types)
    }

    /// Writes it at `at`; gives where it ends.
    pub(super) fn write(&self, buffer: &Buffer, at: usize) -> usize {
        let head = HashConfig {
            hash_types: self.types.0.into(),
            hash_key_length: self.key.len() as u8,
            ..HashConfig::default()
        };
        put(buffer, put(buffer, at, head.as_bytes()), self.key)
    }
}
